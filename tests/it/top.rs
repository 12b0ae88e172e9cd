//! `ubs top` on a real terminal, which is one of tmux.

use std::process::Command;

use crate::support::{Workspace, await_that, ubs_binary};
use nix::sys::signal::Signal;

/// A terminal of a server of its own, which ends with it.
struct Terminal {
    name: String,
}

impl Terminal {
    fn open(workspace: &Workspace, width: u16, height: u16) -> Option<Self> {
        let name = format!("ubs-test-{}-{width}", std::process::id());
        let ubs = ubs_binary().canonicalize().expect("the program");
        let run = Command::new("tmux")
            .args([
                "-L",
                &name,
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-s",
                "top",
            ])
            .args(["-x", &width.to_string(), "-y", &height.to_string()])
            .arg("-c")
            .arg(workspace.root())
            .arg(format!("{} top; echo LEFT; sleep 1000", ubs.display()))
            .status();
        match run {
            Ok(status) if status.success() => Some(Self { name }),
            other => {
                eprintln!("skipped: tmux: {other:?}");
                assert!(std::env::var_os("CI").is_none(), "tmux is missing");
                None
            }
        }
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let run = Command::new("tmux")
            .args(["-L", &self.name])
            .args(arguments)
            .output();
        String::from_utf8_lossy(&run.expect("tmux").stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "top"])
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "top", key]);
    }

    fn shows(&self, wanted: &str) {
        await_that(wanted, || self.screen().contains(wanted));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn the_terminal_view_shows_steers_and_leaves_at_both_sizes() {
    let workspace = Workspace::with_manifest(
        "[app]\nname = \"shop\"\nstable_after = \"50ms\"\n[[layer]]\nname = \"backend\"\n\
         [[layer.service]]\nname = \"api\"\nrun = ['sh', '-c', 'echo hello from api; exec sleep 1000']\n\
         min_uptime = \"20ms\"\n\
         [[layer.service]]\nname = \"worker\"\nrun = ['sh', '-c', 'echo hello from worker; exec sleep 1000']\n\
         min_uptime = \"20ms\"\n",
    );
    let running = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait", "--for", "stable"]).expect(0);
    for (width, height) in [(80, 24), (200, 50)] {
        let Some(terminal) = Terminal::open(&workspace, width, height) else {
            break;
        };
        for wanted in [
            "shop",
            "backend",
            "worker",
            "up (not probed)",
            "hello from api",
        ] {
            terminal.shows(wanted);
        }
        let screen = terminal.screen();
        assert_eq!(screen.lines().count(), usize::from(height), "{screen}");
        assert!(
            screen
                .lines()
                .all(|line| line.chars().count() <= usize::from(width)),
            "{screen}"
        );
        terminal.press("j");
        terminal.shows("hello from worker");
        terminal.press("?");
        terminal.shows("any key closes this");
        terminal.press("x");
        terminal.press("s");
        terminal.shows("stop worker? y does it");
        terminal.press("y");
        terminal.shows("stopped");
        terminal.press("u");
        await_that("it runs again", || {
            workspace.ubs(&["wait", "worker"]).code == 0
        });
        terminal.press("q");
        // The terminal is given back.
        terminal.shows("LEFT");
    }
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}
