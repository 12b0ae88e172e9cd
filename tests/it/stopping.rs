//! How services are stopped, who is reaped, and what a service gets of its supervisor.

use crate::support::{Running, Workspace, await_that};

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

fn manifest(services: &[(&str, &str, &str)]) -> String {
    let mut text = "[app]\nname = \"probe\"\n\n[[layer]]\nname = \"one\"\n".to_owned();
    for (name, script, more) in services {
        text.push_str(&format!(
            "\n[[layer.service]]\nname = \"{name}\"\nrun = ['sh', '-c', '''{script}''']\n{more}\n"
        ));
    }
    text
}

fn boot(workspace: &Workspace) -> Running {
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_that("the service runs", || workspace.path("up").exists());
    running
}

/// Ends in order, half a second after it was asked to.
const SLOW_WORKER: &str = "trap \"sleep 0.5; echo saved > saved; exit 0\" TERM; \
     echo up > up; while :; do sleep 0.05; done";

#[test]
fn a_wrapper_that_ends_first_does_not_cost_its_child_the_grace() {
    let workspace = Workspace::with_manifest(&manifest(&[(
        "a",
        "echo go && sh worker.sh; true",
        "stop = { timeout = \"30s\" }",
    )]));
    workspace.write("worker.sh", SLOW_WORKER);
    let running = boot(&workspace);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert_eq!(workspace.read("saved"), "saved\n");
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn daemons_in_a_session_of_their_own_are_ended_too_and_in_order() {
    let workspace = Workspace::with_manifest(&manifest(&[
        (
            "a",
            "setsid sh worker.sh & exec sleep 600",
            "stop = { timeout = \"30s\" }",
        ),
        ("b", "setsid sleep 600 & exit 0", "oneshot = true"),
    ]));
    workspace.write("worker.sh", SLOW_WORKER);
    let running = boot(&workspace);
    await_that("the task is done", || workspace.leftovers().len() >= 4);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert_eq!(workspace.read("saved"), "saved\n");
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn what_had_to_be_killed_is_said() {
    let script = "sh -c \"trap : TERM INT; echo up > up; while :; do sleep 0.05; done\"; true";
    let workspace = Workspace::with_manifest(&manifest(&[(
        "a",
        script,
        "stop = { timeout = \"300ms\" }",
    )]));
    let running = boot(&workspace);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert!(workspace.leftovers().is_empty());
    let replay = workspace.ubs(&["replay", "last"]).expect(0).stdout;
    assert!(
        replay.contains("a did not end in the time it had and was killed"),
        "{replay}"
    );
    let log = workspace.read(".ubs/logs/a.log");
    assert!(
        log.contains("ubs: did not end within 300 ms and was killed: sh (process "),
        "{log}"
    );
}

#[test]
fn signals_that_mean_nothing_change_nothing_and_a_third_one_neither() {
    let script = "trap : TERM; echo up > up; while :; do sleep 0.05; done";
    let workspace =
        Workspace::with_manifest(&manifest(&[("a", script, "stop = { timeout = \"60s\" }")]));
    // In the background, so it has no terminal.
    workspace
        .ubs(&["boot", "--mode", "layered", "--detach"])
        .expect(0);
    let status = workspace.ubs(&["health", "--json"]).json();
    let lock: serde_json::Value =
        serde_json::from_str(&workspace.read(".ubs/supervisor.lock")).expect("JSON");
    let pid = i32::try_from(lock["process"]["pid"].as_i64().expect("a pid")).expect("a pid");
    let signal = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    for harmless in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP] {
        signal(harmless).expect("it lives");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(!workspace.leftovers().is_empty(), "{status}");
    assert!(
        !workspace
            .kinds()
            .iter()
            .any(|kind| kind == "stop_requested")
    );
    signal(Signal::SIGINT).expect("it lives");
    await_that("it stops", || {
        workspace
            .kinds()
            .iter()
            .any(|kind| kind == "stop_requested")
    });
    let begun = Instant::now();
    let _ = signal(Signal::SIGINT);
    let _ = signal(Signal::SIGINT);
    let path = format!("/proc/{pid}");
    await_that("it ends", || {
        !Path::new(&path).exists()
            || std::fs::read_to_string(format!("{path}/stat")).is_ok_and(|s| s.contains(") Z "))
    });
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(workspace.leftovers().is_empty());
}
