//! The examples that look at a log, run on a log that is made here, through the public API alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use ubs::{At, BootId, BootPlan, Event, Fingerprint, Log, NewEvent, ProcessRef};
use uuid::Uuid;

/// Built if it is not yet, or not of these sources: `cargo test --test` builds no examples.
fn example(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["run", "--quiet", "--example", name, "--"]);
    command
}

fn run(name: &str, log: &Path, moment: Option<&str>) -> String {
    let output = example(name).arg(log).args(moment).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn a_log(dir: &Path) -> PathBuf {
    let path = dir.join("log.db");
    let log = Log::open(&path).unwrap();
    let boot = BootId(Uuid::from_u128(1));
    let started = Event::BootStarted {
        app: "grace".into(),
        plan: BootPlan::default(),
        supervisor: ProcessRef::default(),
        fingerprint: Fingerprint::default(),
    };
    let moment = |text: &str| text.parse::<At>().unwrap();
    let event = |at: &str, event| NewEvent {
        at: moment(at),
        boot: Some(boot),
        mission: None,
        event,
    };
    log.append(vec![
        event("2026-11-24T10:00:00Z", started),
        event("2026-11-24T10:00:01Z", Event::AttemptStarted { attempt: 1 }),
        event("2026-11-24T10:00:02Z", Event::BootUp { degraded: false }),
        event("2026-11-24T10:00:03Z", Event::BootStopped),
    ])
    .unwrap();
    path
}

#[test]
fn replay_prints_the_state_after_each_event() {
    let dir = tempfile::tempdir().unwrap();
    let log = a_log(dir.path());
    let text = run("replay", &log, None);
    assert!(
        text.contains("boot_up") && text.contains("attempt 1, running"),
        "{text}"
    );
    assert!(text.contains("attempt 1, ended"), "{text}");
    let text = run("replay", &log, Some("2026-11-24T10:00:02Z"));
    assert!(
        text.contains("running") && !text.contains("ended"),
        "{text}"
    );
}

#[test]
fn health_tells_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let log = a_log(dir.path());
    assert!(run("health", &log, None).starts_with("down (ended)"));
    let then = run("health", &log, Some("2026-11-24T10:00:02.5Z"));
    assert!(then.starts_with("healthy (running)"), "{then}");
    assert!(then.contains("missions: 0 open"), "{then}");
    let output = example("health").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage"));
}
