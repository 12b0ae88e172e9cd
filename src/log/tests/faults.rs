//! Every write of the log fails in turn, and the power goes at any of them: no acknowledged event is lost, the log opens
//! and verifies. The faults are those of a disk below SQLite. Each case is one seed, so that it can be played again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::kernel::{DiskFault, DiskOperation, FaultyDisk, Random};

/// What a disk may say.
const FAULTS: [DiskFault; 2] = [DiskFault::Full, DiskFault::Error];

/// A log that does not exist yet, on a disk of its own.
fn place_on_disk(seed: u64) -> (tempfile::TempDir, PathBuf, FaultyDisk) {
    let (dir, path) = place();
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let disk = FaultyDisk::at(path.parent().unwrap(), seed);
    (dir, path, disk)
}

fn texts(path: &Path) -> Vec<String> {
    let reader = Reader::open(path).unwrap();
    let events = reader.events(EventFilter::default()).unwrap();
    let text = |recorded: Recorded| match recorded.event() {
        Some(Event::Note { text }) => text.clone(),
        _ => String::new(),
    };
    events.map(|event| text(event.unwrap())).collect()
}

/// What a log is given, one after the other: some notes, as an append or as a transaction, large ones now and then, so
/// that the write-ahead log is copied into the log meanwhile.
fn append_at_random(log: &Log, n: u64, random: &mut Random) -> (bool, Vec<String>) {
    let large = if random.below(8) == 0 { 40_000 } else { 0 };
    let text = |i: u64| format!("{n}.{i}{}", "x".repeat(large));
    let wanted: Vec<String> = (0..=random.below(3)).map(text).collect();
    let events: Vec<NewEvent> = wanted.iter().map(|text| note(text)).collect();
    let written = if random.below(2) == 0 {
        log.append(events).is_ok()
    } else {
        let append = move |tx: &mut Tx<'_>| -> Result<(), LogError> {
            events
                .into_iter()
                .try_for_each(|event| tx.append(event).map(drop))
        };
        matches!(log.transact(append), Ok(Ok(())))
    };
    (written, wanted)
}

/// A boot of 24 appends and transactions on a disk that fails now and then.
fn survives_a_disk_that_fails(seed: u64) {
    let (_dir, path, disk) = place_on_disk(seed);
    let mut random = Random::new(seed);
    let mut chance = Random::new(seed ^ 0xd15c);
    let log = Log::open(&path).unwrap();
    disk.fail_when(move |_| {
        let fault = FAULTS[usize::try_from(chance.below(2)).unwrap()];
        (chance.below(16) == 0).then_some(fault)
    });
    let mut acknowledged = Vec::new();
    for n in 0..24 {
        let (written, wanted) = append_at_random(&log, n, &mut random);
        if written {
            acknowledged.extend(wanted);
        }
    }
    drop(log);
    disk.fail_when(|_| None);
    assert_eq!(texts(&path), acknowledged, "seed {seed}");
    assert_sound(&path, acknowledged.len() as u64);
    // And it goes on.
    Log::open(&path)
        .unwrap()
        .append(vec![note("after")])
        .unwrap();
    assert_sound(&path, acknowledged.len() as u64 + 1);
}

/// The power goes at some operation, from the making of the log to the end of it; before that the disk may have failed
/// once. What was written and not synced is there, is there in part, or is not. Gives how many operations there were.
fn survives_a_power_cut(seed: u64, at: u64) -> u64 {
    let (dir, path, disk) = place_on_disk(seed);
    let mut random = Random::new(seed);
    let (mut count, error_at) = (0, random.below(2 * at.min(1_000)));
    disk.fail_when(move |_| {
        count += 1;
        match count {
            _ if count > at => Some(DiskFault::PowerCut),
            _ if count == error_at => Some(DiskFault::Error),
            _ => None,
        }
    });
    let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
    if let Ok(log) = Log::open(&path) {
        for n in 0..24 {
            let (written, wanted) = append_at_random(&log, n, &mut random);
            if written {
                acknowledged.extend(wanted);
            } else {
                unknown.push((acknowledged.len(), wanted));
            }
        }
    }
    let copy = dir.path().join("copy/log.db");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    disk.after_power_cut(copy.parent().unwrap()).unwrap();
    drop(Log::open(&copy).unwrap_or_else(|error| panic!("seed {seed}, {at}: {error}")));
    let found = texts(&copy);
    // What was refused may be there, whole, where it was refused: nobody was told that it is not.
    let mut left = found.as_slice();
    for n in 0..=acknowledged.len() {
        for (_, batch) in unknown.iter().filter(|(place, _)| *place == n) {
            left = left.strip_prefix(batch.as_slice()).unwrap_or(left);
        }
        if let Some(next) = acknowledged.get(n) {
            let rest = left.strip_prefix(std::slice::from_ref(next));
            left = rest.unwrap_or_else(|| panic!("seed {seed}, {at}: {next:.20} is lost"));
        }
    }
    assert!(left.is_empty(), "seed {seed}, {at}: {left:?}");
    assert_sound(&copy, found.len() as u64);
    disk.operations()
}

/// A boot with every kind of event, in batches as a supervisor appends them.
fn recorded_boot() -> Vec<Vec<NewEvent>> {
    let about = |(at, event): (usize, Event)| NewEvent {
        at: At(i64::try_from(at).unwrap()),
        boot: Some(boot_id(7)),
        mission: Some(mission_id(7)),
        event: match event {
            Event::MissionFiled {
                slug,
                signature,
                failure,
                ..
            } => Event::MissionFiled {
                mission: mission_id(7),
                slug,
                signature,
                failure,
            },
            other => other,
        },
    };
    let all: Vec<NewEvent> = samples::all().into_iter().enumerate().map(about).collect();
    all.chunks(8).map(<[NewEvent]>::to_vec).collect()
}

fn kinds(path: &Path) -> Vec<String> {
    let reader = Reader::open(path).unwrap();
    let events = reader.events(EventFilter::default()).unwrap();
    events.map(|event| event.unwrap().kind).collect()
}

/// The boot is written where operation `nth` of the disk fails, `times` in a row, from the making of the log on; what was
/// not acknowledged is given again. Gives how many operations there were.
fn survives_one_write(nth: u64, times: u64, fault: DiskFault) -> u64 {
    let (_dir, path, disk) = place_on_disk(nth);
    let count = Arc::new(AtomicU64::new(0));
    disk.fail_when(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        (nth..nth.saturating_add(times))
            .contains(&number)
            .then_some(fault)
    });
    let mut again = 0;
    let mut is_trouble = |error: LogError| {
        assert!(error.is_trouble(), "write {nth}: {error}");
        again += 1;
        assert!(again <= times, "write {nth}: {error}");
    };
    let log = loop {
        match Log::open(&path) {
            Ok(log) => break log,
            Err(error) => is_trouble(error),
        }
    };
    let mut wanted = Vec::new();
    for batch in recorded_boot() {
        wanted.extend(batch.iter().map(|new| new.event.kind().to_owned()));
        while let Err(error) = log.append(batch.clone()) {
            is_trouble(error);
        }
    }
    drop(log);
    let operations = disk.operations();
    disk.fail_when(|_| None);
    assert_eq!(kinds(&path), wanted, "write {nth}");
    assert_sound(&path, wanted.len() as u64);
    let kept = projections(&path);
    Log::open(&path).unwrap().rebuild().unwrap();
    assert_eq!(projections(&path), kept, "write {nth}");
    operations
}

/// Each operation of the recorded boot in turn that `is_chosen` takes.
fn each_write(is_chosen: impl Fn(u64) -> bool) {
    let operations = survives_one_write(u64::MAX, 0, DiskFault::Full);
    assert!(operations > 100, "{operations}");
    for nth in (0..operations).filter(|nth| is_chosen(*nth)) {
        for (n, fault) in FAULTS.into_iter().enumerate() {
            survives_one_write(nth, 1 + (nth + n as u64) % 3, fault);
        }
    }
}

#[test]
fn the_disk_of_these_tests_tears_writes_and_forgets_what_was_not_synced() {
    let (dir, path, disk) = place_on_disk(3);
    let log = Log::open(&path).unwrap();
    log.append(vec![note("kept")]).unwrap();
    let synced = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&synced);
    disk.fail_when(move |operation| {
        let is_sync = operation == DiskOperation::Sync;
        count.fetch_add(u64::from(is_sync), Ordering::SeqCst);
        is_sync.then_some(DiskFault::PowerCut)
    });
    assert!(log.append(vec![note(&"x".repeat(100_000))]).is_err());
    assert!(log.append(vec![note("no power")]).is_err());
    assert_eq!(synced.load(Ordering::SeqCst), 1);
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    disk.after_power_cut(&copy).unwrap();
    let wal = |directory: &Path| std::fs::read(directory.join("log.db-wal")).unwrap();
    assert_ne!(wal(&copy), wal(path.parent().unwrap()));
    drop(Log::open(&copy.join("log.db")).unwrap());
    assert_eq!(texts(&copy.join("log.db")), ["kept"]);
}

#[test]
fn every_write_of_a_boot_may_fail_and_nothing_is_lost() {
    each_write(|nth| nth % 23 == 5);
}

#[test]
#[ignore = "minutes: each write of a boot"]
fn every_single_write_of_a_boot_may_fail_and_nothing_is_lost() {
    each_write(|_| true);
}

#[test]
fn no_acknowledged_event_is_lost_on_a_disk_that_fails() {
    (0..12).for_each(survives_a_disk_that_fails);
}

#[test]
fn no_acknowledged_event_is_lost_when_the_power_goes() {
    let operations = survives_a_power_cut(0, u64::MAX);
    assert!(operations > 200, "{operations}");
    for seed in 1..24 {
        survives_a_power_cut(seed, Random::new(seed).below(operations));
    }
}

#[test]
#[ignore = "minutes: the same with thousands of seeds"]
fn no_acknowledged_event_is_lost_whatever_the_seed() {
    for seed in 100..2_000 {
        survives_a_disk_that_fails(seed);
        survives_a_power_cut(seed, Random::new(seed).below(600));
    }
}
