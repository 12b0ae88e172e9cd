//! The start of a sandbox with a root of its own, against bubblewrap's with as much isolation, in the same run.
//!
//! Budget: 1.5 times bubblewrap's (the median of each), or the program says that bubblewrap is missing.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;
const BUDGET: f64 = 1.5;

fn main() -> ExitCode {
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("no directory for a workspace: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Once for what is found out only once.
    ubs::testing::run_true_in_sandbox(dir.path());
    let has_reference = bubblewrap(dir.path());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time(|| {
            ubs::testing::run_true_in_sandbox(dir.path());
            true
        }));
        if has_reference {
            theirs.push(time(|| bubblewrap(dir.path())));
        }
    }
    let our_median = report("ubs", &mut ours);
    if !has_reference {
        println!("bubblewrap is not installed, or cannot run here: nothing to compare with");
        return ExitCode::SUCCESS;
    }
    let their_median = report("bubblewrap", &mut theirs);
    let ratio = our_median.as_secs_f64() / their_median.as_secs_f64();
    println!("ratio of the medians {ratio:.2}, budget {BUDGET}");
    ExitCode::from(u8::from(ratio > BUDGET))
}

fn time(run: impl FnOnce() -> bool) -> Duration {
    let begun = Instant::now();
    assert!(run(), "the program ran");
    begun.elapsed()
}

fn report(name: &str, times: &mut [Duration]) -> Duration {
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "{name:10} start and end of `true`: median {median:.2?}, best {:.2?}, worst {:.2?} of {ROUNDS}",
        times[0],
        times[times.len() - 1]
    );
    median
}

/// `true` with own users, mounts, processes, network, IPC and host name, the system and one directory.
fn bubblewrap(workspace: &Path) -> bool {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
    ]);
    for name in ["bin", "sbin", "lib", "lib64", "share", "include", "local"] {
        let path = format!("/usr/{name}");
        command.args(["--ro-bind-try", &path, &path]);
    }
    for (to, at) in [
        ("usr/bin", "/bin"),
        ("usr/lib", "/lib"),
        ("usr/lib64", "/lib64"),
    ] {
        command.args(["--symlink", to, at]);
    }
    for name in [
        "passwd",
        "group",
        "hosts",
        "nsswitch.conf",
        "ld.so.cache",
        "ssl",
        "localtime",
    ] {
        let path = format!("/etc/{name}");
        command.args(["--ro-bind-try", &path, &path]);
    }
    command.args([
        "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/root",
    ]);
    command
        .arg("--ro-bind")
        .args([workspace, workspace])
        .arg("--chdir")
        .arg(workspace);
    command.args(["/usr/bin/true"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
