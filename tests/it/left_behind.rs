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

#[test]
fn a_playbook_waits_for_approval_and_a_fix_that_was_kept_is_tried_first() {
    let workspace = Workspace::with_manifest(
        r#"
[app]
name = "played"
stable_after = "50ms"
[heal]
attempts = 2
backoff = "10ms"
[heal.policy]
open = "auto"
[[heal.playbook]]
match = { code = 'layer\.failed', output = 'no engine (?<name>.+)' }
run = ["touch", "${name}"]
[[layer]]
name = "base"
[[layer.service]]
name = "web"
run = ["sh", "-c", "test -f 'a; b' || { echo no engine 'a; b' >&2; exit 1; }; touch ran; exec sleep 60"]
ready = { exec = ['test', '-f', 'ran'], interval = '10ms' }
restart = 'never'
[[layer]]
name = "extra"
critical = false
rehearse = { command = ['sh', 'check.sh'] }
"#,
    );
    workspace.write("check.sh", "exit 1\n");
    workspace.ubs(&["boot", "--until-up"]).expect(1);
    assert!(!workspace.path("a; b").exists());
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug_of = |status: &str| {
        let mut all = open.as_array().unwrap().iter();
        let found = all.find(|mission| mission["status"] == status);
        found.unwrap_or_else(|| panic!("{open:#}"))["slug"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let waiting = slug_of("awaiting_approval");
    let shown = workspace.ubs(&["missions", "show", &waiting]).expect(0);
    assert!(shown.stdout.contains("touch 'a; b'"), "{}", shown.stdout);
    workspace.ubs(&["missions", "approve", &waiting]).expect(0);
    assert!(workspace.path("a; b").exists());
    // The playbook makes it anew.
    let refused = workspace.ubs(&["fixes", "keep", &waiting]).expect(2);
    assert!(
        refused.stderr.contains("the playbook"),
        "{}",
        refused.stderr
    );

    let other = open
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["slug"] != waiting.as_str());
    let other = other.unwrap()["slug"].as_str().unwrap().to_owned();
    workspace.write(
        "yes.diff",
        "--- a/check.sh\n+++ b/check.sh\n@@ -1 +1 @@\n-exit 1\n+exit 0\n",
    );
    workspace.ubs(&["missions", "requeue", &other]);
    workspace
        .ubs(&["missions", "claim", &other, "--worker", "ann"])
        .expect(0);
    let propose = [
        "missions", "propose", &other, "--worker", "ann", "--patch", "yes.diff",
    ];
    workspace.ubs(&propose).expect(0);
    workspace.ubs(&["fixes", "keep", &other]).expect(0);
    workspace.ubs(&["fixes", "undo", &other]).expect(0);
    assert_eq!(workspace.read("check.sh"), "exit 1\n");
    workspace.ubs(&["missions", "requeue", &other]).expect(0);
    workspace.ubs(&["worker", "--once"]).expect(0);
    assert_eq!(workspace.read("check.sh"), "exit 0\n");
    let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
    let last = fixes.as_array().unwrap().last().unwrap();
    assert!(
        last["fixer"].as_str().unwrap().starts_with("kept:"),
        "{last:#}"
    );
}
