//! Several real processes on one log: this test binary starts itself again.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

const ROLE: &str = "UBS_TEST_LOG_ROLE";
const PATH: &str = "UBS_TEST_LOG_PATH";
const PROCESSES: usize = 4;
const EVENTS: u64 = 50;
const MISSIONS: usize = 40;

/// Not a test of its own: what the children run.
#[test]
fn child() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(PATH)) else {
        return;
    };
    let log = Log::open(Path::new(&path)).unwrap();
    match role.as_str() {
        "append" => {
            let boot = BootId(Uuid::now_v7());
            log.append(vec![of_boot(boot, 1, boot_started("child"))])
                .unwrap();
            for n in 1..EVENTS {
                let event = Event::Note {
                    text: format!("{} {n}", std::process::id()),
                };
                log.append(vec![of_boot(boot, 2, event)]).unwrap();
            }
        }
        "claim" => {
            let missions = Missions::new(log);
            let worker = format!("process {}", std::process::id());
            while let Some(state) = missions.claim_next(&worker, 600_000).unwrap() {
                println!("CLAIMED {}", state.id.unwrap());
            }
        }
        "crash" => {
            for n in 1..10 {
                log.append(vec![of_boot(boot_id(1), n, boot_started("crash"))])
                    .unwrap();
            }
        }
        other => panic!("no such role: {other}"),
    }
}

fn start(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "log::tests::processes::child", "--nocapture"])
        .env(ROLE, role)
        .env(PATH, path)
        .stdout(Stdio::piped());
    command
}

fn start_all(role: &str, path: &Path) -> Vec<Child> {
    let spawn = |_| start(role, path).spawn().unwrap();
    (0..PROCESSES).map(spawn).collect()
}

/// None of them finds a log: they also race to make it.
#[test]
fn processes_append_to_one_log() {
    let (_dir, path) = place();
    for child in start_all("append", &path) {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_sound(&path, PROCESSES as u64 * EVENTS);
    assert_anchored(&path);
    let boots = Reader::open(&path).unwrap().boots(10).unwrap();
    assert_eq!(boots.len(), PROCESSES);
}

/// Whichever of them commits that event is killed before it can anchor it; the others go on.
#[test]
fn a_process_that_is_killed_does_not_disturb_the_others() {
    let (_dir, path) = place();
    let spawn = |_| {
        let mut command = start("append", &path);
        command.env("UBS_CRASH_AT", "after_commit:60").spawn()
    };
    let children: Vec<_> = (0..PROCESSES).map(|n| spawn(n).unwrap()).collect();
    let killed = children
        .into_iter()
        .filter(|_| cfg!(debug_assertions))
        .map(|child| child.wait_with_output().unwrap().status.success())
        .filter(|success| !success)
        .count();
    if cfg!(debug_assertions) {
        assert_eq!(killed, 1);
        let head = Reader::open(&path).unwrap().head().unwrap();
        assert!(head > Seq((PROCESSES as u64 - 1) * EVENTS), "{head:?}");
        assert_sound(&path, head.0);
        assert_anchored(&path);
    }
}

#[test]
fn processes_claim_each_mission_once() {
    let (_dir, path) = place();
    let missions = Missions::new(Log::open(&path).unwrap());
    for n in 0..MISSIONS {
        missions
            .file(signature(&n.to_string()), failure(&n.to_string()))
            .unwrap();
    }
    let mut claimed = vec![];
    for child in start_all("claim", &path) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        claimed.extend(
            text.lines()
                .filter_map(|line| Some(line.split_once("CLAIMED ")?.1.to_owned())),
        );
    }
    assert_eq!(claimed.len(), MISSIONS);
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), MISSIONS);
}

/// `kill -9` just before and just after a commit.
#[test]
fn a_crash_around_a_commit_leaves_a_sound_log() {
    for (point, events) in [("before_commit:5", 4), ("after_commit:5", 5)] {
        let (_dir, path) = place();
        let child = start("crash", &path)
            .env("UBS_CRASH_AT", point)
            .output()
            .unwrap();
        if cfg!(debug_assertions) {
            assert!(!child.status.success());
            assert!(anchor(&path).0 < 5);
            assert_sound(&path, events);
            // And the next writer anchors what the crash left, even if it has nothing to do, and goes
            // on where it ended.
            drop(Log::open(&path).unwrap());
            assert_anchored(&path);
            let log = Log::open(&path).unwrap();
            assert_eq!(
                log.append(vec![note("next")]).unwrap(),
                vec![Seq(events + 1)]
            );
        }
    }
}
