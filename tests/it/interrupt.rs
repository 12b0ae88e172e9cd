//! Signals that come while `ubs` waits for something that may take long: it ends in order, within a bound.

use crate::support::{Running, Workspace, await_that, time};

use std::fs::File;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

/// How soon a second signal is answered, or a first one before the boot began. Without threads for what
/// blocks it would be 3 s at least (the grace for marked processes), or never (a lock).
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

fn manifest(script: &str) -> String {
    format!(
        "[app]\nname = \"probe\"\nstable_after = \"200ms\"\n\n[[layer]]\nname = \"one\"\n\n[[layer.service]]\nname = \"a\"\n\
         run = ['sh', '-c', '''{script}''']\nstop = {{ timeout = \"60s\" }}\n"
    )
}

/// Ignores `SIGTERM`, and says so once it does.
const STUBBORN: &str = "trap '' TERM; echo x > ready; while :; do sleep 0.05; done";

/// A workspace whose supervisor was killed while its stubborn service ran in a session of its own.
fn interrupted() -> Workspace {
    let script = format!("setsid sh -c \"{STUBBORN}\" & wait");
    let workspace = Workspace::with_manifest(&manifest(&script));
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_that("the service runs", || workspace.path("ready").exists());
    running.signal(Signal::SIGKILL);
    running.wait();
    workspace
}

/// Waits until the boot prepares itself: from then on it listens for signals.
fn await_preparation(running: &Running) {
    let pid = running.pid();
    await_that("it prepares the boot", || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        tasks.flatten().any(|task| {
            let name = std::fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name.trim() == "start")
        })
    });
}

#[test]
fn a_second_signal_kills_a_stubborn_service_at_once() {
    let _time = time::lock();
    let workspace = Workspace::with_manifest(&manifest(STUBBORN));
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_that("the service runs", || workspace.path("ready").exists());
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGINT);
    await_that("it stops", || {
        workspace
            .kinds()
            .iter()
            .any(|kind| kind == "stop_requested")
    });
    let begun = Instant::now();
    running.signal(Signal::SIGINT);
    running.wait().expect(0);
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn a_signal_while_what_an_earlier_boot_left_is_killed_ends_the_program() {
    let _time = time::lock();
    let workspace = interrupted();
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_preparation(&running);
    let begun = Instant::now();
    running.signal(Signal::SIGINT);
    let run = running.wait().expect(2);
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    assert!(run.stderr.contains("stopped by SIGINT"), "{}", run.stderr);
    // The next one finishes it.
    workspace.ubs(&["stop"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn a_signal_while_another_process_holds_the_promotion_lock_ends_the_program() {
    let _time = time::lock();
    let workspace = Workspace::with_manifest(&manifest(STUBBORN));
    let state = workspace.path(".ubs");
    workspace.ubs(&["log", "stats"]);
    std::fs::create_dir_all(&state).expect("a directory");
    let file = File::create(state.join("promotion.lock")).expect("a file");
    let held = Flock::lock(file, FlockArg::LockExclusive).expect("a lock");
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_preparation(&running);
    let begun = Instant::now();
    running.signal(Signal::SIGTERM);
    let run = running.wait().expect(2);
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    assert!(run.stderr.contains("stopped by SIGTERM"), "{}", run.stderr);
    drop(held);
    assert!(!workspace.path("ready").exists(), "nothing was started");
}

#[test]
fn a_signal_during_the_preflight_ends_it_with_what_it_runs() {
    let _time = time::lock();
    let check = "[[check]]\nname = \"slow\"\nrun = ['sh', '-c', 'echo x > begun; sleep 600']\n";
    let workspace = Workspace::with_manifest(&(manifest(STUBBORN) + check));
    let running = workspace.start(&["boot"]);
    await_that("the check runs", || {
        let told = workspace.ubs(&["replay", "last", "--events", "--json"]);
        told.stdout.matches("check_started").count() == 5
    });
    let begun = Instant::now();
    running.signal(Signal::SIGTERM);
    // It never came up.
    let run = running.wait().expect(1);
    assert!(run.stdout.contains("stopped, as asked"), "{}", run.stdout);
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    assert!(!workspace.path("ready").exists(), "nothing was started");
    assert!(workspace.leftovers().is_empty());
}
