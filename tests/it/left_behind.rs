//! What an earlier run left behind, or what is not there, when a service starts: healed by the boot itself.

use crate::support::Workspace;

const SERVICE: &str = r#"
import os, sys, time
if os.path.exists("run/app.pid"):
    sys.exit("already running: run/app.pid exists")
with open("var/data/state.bin", "w") as file:
    file.write("x")
open("ran", "w").close()
while True:
    time.sleep(0.05)
"#;

fn application() -> Workspace {
    let workspace = Workspace::with_manifest(
        r#"
[app]
name = "left"
stable_after = "50ms"
[heal]
attempts = 4
backoff = "10ms"
[[layer]]
name = "base"
[[layer.service]]
name = "web"
run = ["python3", "service.py"]
ready = { exec = ['test', '-f', 'ran'], interval = '10ms' }
restart = 'never'
"#,
    );
    workspace.write("service.py", SERVICE);
    workspace
}

fn pid_of_nobody() -> String {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid.to_string()
}

#[test]
fn a_boot_moves_a_dead_process_s_pid_file_aside_and_makes_the_directory_that_is_missing() {
    let workspace = application();
    workspace.write("run/app.pid", &pid_of_nobody());
    let run = workspace.ubs(&["boot", "--until-up"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(!workspace.path("run/app.pid").exists());
    assert_eq!(workspace.read("var/data/state.bin"), "x");
    let aside = std::fs::read_dir(workspace.path(".ubs/aside")).unwrap();
    assert_eq!(aside.count(), 1);
}

#[test]
fn a_pid_file_whose_process_lives_stays() {
    let workspace = application();
    workspace.write("run/app.pid", &std::process::id().to_string());
    workspace.ubs(&["boot", "--until-up"]).expect(1);
    assert!(workspace.path("run/app.pid").exists());
}
