//! Every write of the log fails in turn, and the machine dies at any byte: no acknowledged event is lost,
//! the log opens and verifies. Each case is one seed, so that it can be played again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::*;
use crate::log::ledger::{Fault, FaultAt, Faults};

/// What a disk may say: it is full, it fails on writing or syncing, it is read-only.
const CODES: [i32; 4] = [
    ffi::SQLITE_FULL,
    ffi::SQLITE_IOERR_WRITE,
    ffi::SQLITE_IOERR_FSYNC,
    ffi::SQLITE_READONLY,
];

/// Xorshift: numbers that depend on the seed alone (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
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

/// A boot of 24 appends and transactions on a disk that fails one time in four.
fn survives_a_disk_that_fails(seed: u64) {
    let (_dir, path) = place();
    let mut random = Random::new(seed);
    let mut chance = Random::new(seed ^ 0xd15c);
    let faults = Faults(Box::new(move |at| {
        if at == FaultAt::Committed {
            return None;
        }
        let code = CODES[usize::try_from(chance.below(4)).unwrap()];
        (chance.below(4) == 0).then(|| Fault {
            code,
            loses_transaction: chance.below(2) == 0,
        })
    }));
    let log = Log::open_on(&path, faults).unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..24 {
        let wanted: Vec<String> = (0..=random.below(3)).map(|i| format!("{n}.{i}")).collect();
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
        if written {
            acknowledged.extend(wanted);
        }
    }
    drop(log);
    assert_eq!(texts(&path), acknowledged, "seed {seed}");
    assert_sound(&path, acknowledged.len() as u64);
    // And it goes on.
    Log::open(&path)
        .unwrap()
        .append(vec![note("after")])
        .unwrap();
    assert_sound(&path, acknowledged.len() as u64 + 1);
}

/// The machine dies while an append is written: of what lies behind the last one that was acknowledged, the disk
/// has a part, garbage, or nothing.
fn survives_a_torn_end(seed: u64) {
    let (dir, path) = place();
    let mut random = Random::new(seed);
    let log = Log::open(&path).unwrap();
    let acknowledged: Vec<String> = (0..=random.below(12)).map(|n| format!("{n}")).collect();
    for text in &acknowledged {
        log.append(vec![note(text)]).unwrap();
    }
    let wal = |of: &Path| of.with_file_name("log.db-wal");
    let synced = std::fs::read(wal(&path)).unwrap().len();
    let last = "x".repeat(usize::try_from(random.below(20_000)).unwrap());
    log.append(vec![note(&last)]).unwrap();
    let copy = dir.path().join("copy/log.db");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let mut torn = std::fs::read(wal(&path)).unwrap();
    assert!(
        torn.len() > synced,
        "seed {seed}: the write-ahead log begins anew"
    );
    let cut = synced + usize::try_from(random.below((torn.len() - synced) as u64)).unwrap();
    match random.below(3) {
        0 => torn.truncate(cut),
        1 => torn[cut..].fill(0),
        _ => torn[cut..]
            .iter_mut()
            .for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap()),
    }
    std::fs::write(wal(&copy), torn).unwrap();
    drop(Log::open(&copy).unwrap());
    let found = texts(&copy);
    // The anchor may have been written, or the last append whole before the cut.
    assert_eq!(found[..acknowledged.len()], acknowledged, "seed {seed}");
    assert!(found.len() <= acknowledged.len() + 1, "seed {seed}");
    assert_sound(&copy, found.len() as u64);
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

/// The boot is written where write `nth` fails, `times` in a row, and what was not acknowledged is given again. Gives
/// how many writes there were.
fn survives_one_write(nth: u64, times: u64, fault: Fault) -> u64 {
    let (_dir, path) = place();
    let (written, late) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, seen_late) = (Arc::clone(&written), Arc::clone(&late));
    let faults = Faults(Box::new(move |at| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let fails = (nth..nth.saturating_add(times)).contains(&number);
        seen_late.fetch_add(
            u64::from(fails && at == FaultAt::Committed),
            Ordering::SeqCst,
        );
        fails.then_some(fault)
    }));
    let log = Log::open_on(&path, faults).unwrap();
    let (mut wanted, mut again) = (Vec::new(), 0);
    for batch in recorded_boot() {
        wanted.extend(batch.iter().map(|new| new.event.kind().to_owned()));
        while let Err(error) = log.append(batch.clone()) {
            assert!(error.is_trouble(), "write {nth}: {error}");
            again += 1;
            assert!(again <= times, "write {nth}: {error}");
        }
    }
    drop(log);
    let found = kinds(&path);
    // What was written and not acknowledged is there twice: it was given again.
    let mut left = wanted.iter().peekable();
    for kind in &found {
        let _ = left.next_if_eq(&kind);
    }
    assert_eq!(left.next(), None, "write {nth}: it is lost");
    if late.load(Ordering::SeqCst) == 0 {
        assert_eq!(found, wanted, "write {nth}");
    }
    assert_sound(&path, found.len() as u64);
    let kept = projections(&path);
    Log::open(&path).unwrap().rebuild().unwrap();
    assert_eq!(projections(&path), kept, "write {nth}");
    written.load(Ordering::SeqCst)
}

/// Each write of the recorded boot in turn that `is_chosen` takes.
fn each_write(is_chosen: impl Fn(u64) -> bool) {
    let fault = |code, loses_transaction| Fault {
        code,
        loses_transaction,
    };
    let writes = survives_one_write(u64::MAX, 0, fault(ffi::SQLITE_FULL, false));
    assert!(writes > 100, "{writes}");
    for nth in (0..writes).filter(|nth| is_chosen(*nth)) {
        for (n, code) in CODES.into_iter().enumerate() {
            let times = 1 + (nth + n as u64) % 3;
            survives_one_write(nth, times, fault(code, (nth + n as u64).is_multiple_of(2)));
        }
    }
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
fn no_acknowledged_event_is_lost_with_a_torn_end() {
    (0..24).for_each(survives_a_torn_end);
}

#[test]
#[ignore = "minutes: the same with thousands of seeds"]
fn no_acknowledged_event_is_lost_whatever_the_seed() {
    for seed in 100..2_000 {
        survives_a_disk_that_fails(seed);
        survives_a_torn_end(seed);
    }
}
