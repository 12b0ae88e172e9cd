//! Keys of the manifest whose effect only a whole program shows; `src/engine/tests/manifest_keys.txt` has the others.

use crate::support::{Workspace, await_that};
use nix::sys::signal::Signal;

fn manifest(heal: &str) -> Workspace {
    Workspace::with_manifest(&format!(
        "[app]\nname = 'keys'\nstable_after = '50ms'\n{heal}\n[[layer]]\nname = 'all'\n\
         [[layer.service]]\nname = 'a'\nrun = 'sleep 1000'\nmin_uptime = '20ms'\n"
    ))
}

#[test]
fn a_sandboxed_command_has_the_time_and_the_memory_of_the_manifest() {
    let slow = manifest("[heal.sandbox.limits]\ntime = '200ms'");
    let ended = slow.ubs(&["sandbox", "--json", "--", "sleep", "30"]).json();
    assert_eq!(ended["timed_out"], true, "{ended}");
    let small = manifest("[heal.sandbox.limits]\ntotal_memory = '64MiB'\nmemory = '4GiB'");
    let hungry = "import time; kept = b'x' * (300 << 20); time.sleep(1); print(len(kept))";
    let run = ["sandbox", "--json", "--", "python3", "-c", hungry];
    let ended = small.ubs(&run).json();
    assert_eq!(ended["stdout"], "", "{ended}");
    assert_ne!(ended["exit"], "exit code 0", "{ended}");
}

#[test]
fn an_offer_that_nobody_takes_ends_after_its_time() {
    let workspace = manifest("[heal]\noffer = '100ms'");
    workspace.write(
        "ubs.toml",
        &format!(
            "{}[[layer]]\nname = 'extra'\ncritical = false\nrehearse = {{ command = 'false' }}\n\
             [[layer.service]]\nname = 'b'\nrun = 'sleep 1000'\n",
            workspace.read("ubs.toml")
        ),
    );
    let running = workspace.start(&["boot"]);
    await_that("the mission needs a person", || {
        let missions = workspace.ubs(&["missions", "--json"]).json();
        missions[0]["status"] == "quarantined"
    });
    running.signal(Signal::SIGTERM);
    running.wait();
}

/// Process ids of the service before and after a fix of a mission that belongs to no layer.
fn pids_around_a_fix(restart: &str, status: &str) -> (String, String) {
    let workspace = manifest(&format!("[heal]\n{restart}"));
    let running = workspace.start(&["boot"]);
    workspace.ubs(&["wait", "--for", "stable"]).expect(0);
    let pid = || workspace.ubs(&["status", "a", "--json"]).json()["pid"].to_string();
    let before = pid();
    let file = ["missions", "file", "--subject", "x", "--error", "is wrong"];
    workspace.ubs(&file).expect(0);
    let slug = workspace.ubs(&["missions", "--json"]).json()[0]["slug"].clone();
    let slug = slug.as_str().expect("a mission");
    workspace.write(
        "fix.json",
        r#"{"summary": "bring it", "changes": [{"write": {"path": "new.txt", "text": "here\n"}}]}"#,
    );
    for command in [
        &["missions", "claim", slug, "--worker", "ann"][..],
        &[
            "missions", "propose", slug, "--worker", "ann", "--file", "fix.json",
        ],
        &["missions", "approve", slug],
    ] {
        workspace.ubs(command).expect(0);
    }
    await_that("the fix has had its look", || {
        let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
        fixes[0]["status"] == status && (status == "blessed" || pid() != before)
    });
    let after = pid();
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    (before, after)
}

#[test]
fn services_are_started_again_with_a_fix_unless_the_manifest_says_never() {
    let never =
        std::thread::spawn(|| pids_around_a_fix("restart = 'never'\nprobation = '1ms'", "blessed"));
    let (before, after) = pids_around_a_fix("probation = '5m'", "probation");
    assert_ne!(before, after);
    let (before, after) = never.join().expect("its run");
    assert_eq!(before, after);
}
