//! A boot whose log fails, operation of the disk by operation: no service is stopped by that.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::event::{Event, Mode};
use crate::engine::{Boot, Until};
use crate::kernel::{DiskFault, FaultyDisk};
use crate::log::{EventFilter, Log, Reader};
use crate::manifest::Manifest;

/// Names the operations that fail, for the process of its own.
const FAULTS: &str = "UBS_TEST_FAULTS";

const MANIFEST: &str = r#"
[app]
name = "shop"
[[layer]]
name = "all"
[[layer.service]]
name = "web"
run = ["sh", "-c", "echo $$ >> starts; exec sleep 600"]
min_uptime = "30ms"
stable_after = "200ms"
"#;

/// A boot that ends by itself once its service is stable. The disk fails at operation `nth` and for two more. Gives how
/// many operations there were.
fn boots_though_write_fails(nth: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let state_dir = root.join(".ubs");
    fs::create_dir(&state_dir).unwrap();
    let disk = FaultyDisk::at(&state_dir, nth);
    let log_path = state_dir.join("log.db");
    let log = Log::open(&log_path).unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let fault = if nth.is_multiple_of(2) {
        DiskFault::Full
    } else {
        DiskFault::Error
    };
    disk.fail_when(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        (nth..nth.saturating_add(3))
            .contains(&number)
            .then_some(fault)
    });
    let before = disk.operations();
    let manifest = Manifest::parse(MANIFEST, &root.join("ubs.toml")).unwrap();
    let reader = log.reader().unwrap();
    let environment = BTreeMap::from([("PATH".into(), std::env::var("PATH").unwrap())]);
    let end = Boot::new(manifest, log, reader, &state_dir, environment)
        .mode(Mode::Layered)
        .until(Until::Stable)
        .run();
    let operations = disk.operations() - before;
    disk.fail_when(|_| None);
    let starts = fs::read_to_string(root.join("starts")).unwrap_or_default();
    match end {
        Ok(end) => {
            assert!(end.is_good(), "operation {nth}: {:?}", end.state.outcome);
            assert_eq!(starts.lines().count(), 1, "operation {nth}");
        }
        // What cannot even be begun is refused, with nothing started.
        Err(error) => assert_eq!(starts, "", "operation {nth}: {error}"),
    }
    let reader = Reader::open(&log_path).unwrap();
    assert_eq!(
        reader.verify().unwrap().problems,
        Vec::<String>::new(),
        "operation {nth}"
    );
    let events = reader.events(EventFilter::default()).unwrap();
    let started = events
        .filter_map(Result::ok)
        .filter(|recorded| matches!(recorded.event(), Some(Event::ServiceStarted { .. })))
        .count();
    assert_eq!(started, starts.lines().count(), "operation {nth}");
    operations
}

/// A boot takes over the signals and the orphans of its process, so it gets one of its own.
#[test]
#[ignore = "run by the tests below"]
fn boots_on_a_disk_that_fails() {
    let Ok(every) = std::env::var(FAULTS) else {
        return;
    };
    let every: u64 = every.parse().unwrap();
    let operations = boots_though_write_fails(u64::MAX);
    assert!(operations > 30, "{operations}");
    for nth in (0..operations).filter(|nth| nth % every == every / 2) {
        boots_though_write_fails(nth);
    }
}

#[track_caller]
fn run_with_faults(every: u64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("engine::tests::log_faults::boots_on_a_disk_that_fails")
        .env(FAULTS, every.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_log_that_fails_stops_no_service() {
    run_with_faults(47);
}

#[test]
#[ignore = "a minute: each operation of a boot"]
fn a_log_that_fails_at_any_operation_stops_no_service() {
    run_with_faults(1);
}
