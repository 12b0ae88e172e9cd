//! What the log costs, against a stated reference measured in the same run on the same disk.
//!
//! `cargo bench --bench log` prints one table. `cargo bench --bench log -- 100000` uses a smaller
//! log for the reading part (the default is a million events). Files go to `target/`, because a
//! temporary directory may be in memory and would measure nothing.

#![allow(missing_docs)]

mod shared;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use shared::{fresh, median};
use ubs::testing::{decode_frame, encode_frame};
use ubs::{
    BootId, BootPlan, BootState, Event, EventFilter, Fingerprint, Log, NewEvent, ProcessRef,
    Reader, Replay, now,
};
use uuid::Uuid;

/// Bytes of the text of a note, so that its frame has about 300.
const TEXT_BYTES: usize = 290;
/// How long each appending loop runs at a time, after [`WARM_UP`].
const RUN: Duration = Duration::from_millis(1_200);
/// Both loops begin with a WAL that grows, which costs more than one that is written over: what is
/// measured is a log that has been in use for a moment.
const WARM_UP: Duration = Duration::from_millis(1_500);
const PRODUCERS: usize = 64;
/// An appending loop and its reference take turns this often, in short turns, since the speed of a
/// shared disk drifts; the ratio is the median of the turns' ratios.
const ROUNDS: usize = 5;
/// Reading is repeated, and the best run of each counts: nothing but a disturbance makes it slower.
const READS: usize = 3;

fn text() -> String {
    let sentence = "layer database: migration 0042 applied in 18 ms; ";
    sentence.chars().cycle().take(TEXT_BYTES).collect()
}

fn note(boot: Option<BootId>, text: &str) -> NewEvent {
    NewEvent {
        at: now(),
        boot,
        mission: None,
        event: Event::Note { text: text.into() },
    }
}

fn boot_started(boot: BootId) -> NewEvent {
    NewEvent {
        at: now(),
        boot: Some(boot),
        mission: None,
        event: Event::BootStarted {
            app: "demo".into(),
            plan: BootPlan::default(),
            supervisor: ProcessRef::default(),
            fingerprint: Fingerprint::default(),
        },
    }
}

/// The reference: the same rows into the same tables, by a loop that does nothing else.
fn bare_appends(dir: &Path, batch: usize) -> f64 {
    let path = fresh(dir, "bare.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = full;")
        .unwrap();
    conn.execute_batch(include_str!("../schema/0001_log.sql"))
        .unwrap();
    let frame = encode_frame(&note(None, &text()).event).unwrap();
    let (id, chain) = (*Uuid::now_v7().as_bytes(), [7_u8; 32]);
    let (mut seq, mut warm, mut started) = (0_i64, None, Instant::now());
    while warm.is_none() || started.elapsed() < RUN {
        if warm.is_none() && started.elapsed() >= WARM_UP {
            (warm, started) = (Some(seq), Instant::now());
        }
        conn.prepare_cached("BEGIN IMMEDIATE")
            .unwrap()
            .execute([])
            .unwrap();
        for _ in 0..batch {
            seq += 1;
            conn.prepare_cached(
                "INSERT INTO events (seq, event_id, boot_id, mission_id, kind, version, at, \
                 payload, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .unwrap()
            .execute(params![
                seq,
                id,
                None::<[u8; 16]>,
                None::<[u8; 16]>,
                "note",
                1,
                seq,
                frame,
                chain
            ])
            .unwrap();
        }
        conn.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
    }
    (seq - warm.unwrap_or(0)) as f64 / started.elapsed().as_secs_f64()
}

/// Events a second, and events a commit.
fn our_appends(dir: &Path, producers: usize, in_boot: bool) -> (f64, f64) {
    let path = fresh(dir, "ours.db");
    let log = Log::open(&path).unwrap();
    let boot = in_boot.then(|| BootId(Uuid::now_v7()));
    if let Some(boot) = boot {
        log.append(vec![boot_started(boot)]).unwrap();
    }
    let barrier = Arc::new(Barrier::new(producers + 1));
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (log, barrier) = (log.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                let (text, started, mut count) = (text(), Instant::now(), 0_u64);
                while started.elapsed() < WARM_UP {
                    log.append(vec![note(boot, &text)]).unwrap();
                }
                while started.elapsed() < WARM_UP + RUN {
                    log.append(vec![note(boot, &text)]).unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    barrier.wait();
    std::thread::sleep(WARM_UP);
    let (started, before) = (Instant::now(), log.commits());
    let count: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    let seconds = started.elapsed().as_secs_f64();
    let commits = (log.commits() - before).max(1);
    (count as f64 / seconds, count as f64 / commits as f64)
}

/// Makes a log of `count` events, all of one boot.
fn make_log(dir: &Path, count: u64) -> (PathBuf, BootId) {
    let path = fresh(dir, "million.db");
    let log = Log::open(&path).unwrap();
    let boot = BootId(Uuid::now_v7());
    log.append(vec![boot_started(boot)]).unwrap();
    let (text, mut left) = (text(), count - 1);
    while left > 0 {
        let batch = left.min(5_000);
        log.append((0..batch).map(|_| note(Some(boot), &text)).collect())
            .unwrap();
        left -= batch;
    }
    (path, boot)
}

/// The reference for reading: scan, decode, hash; no chain compared, nothing folded.
fn bare_scan(path: &Path) -> u64 {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn
        .prepare("SELECT kind, version, payload, chain FROM events ORDER BY seq")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let (mut count, mut sum) = (0, 0_u64);
    while let Some(row) = rows.next().unwrap() {
        let kind = row.get_ref(0).unwrap().as_str().unwrap();
        let payload = row.get_ref(2).unwrap().as_blob().unwrap();
        sum ^= u64::from(blake3::hash(payload).as_bytes()[0]);
        std::hint::black_box(decode_frame(kind, row.get(1).unwrap(), payload));
        count += 1;
    }
    std::hint::black_box(sum);
    count
}

fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let value = work();
    (started.elapsed().as_secs_f64(), value)
}

fn row(what: &str, reference: &str, ours: &str, ratio: &str, wanted: &str) {
    println!("| {what:<46} | {reference:>14} | {ours:>14} | {ratio:>6} | {wanted:<14} |");
}

fn compare_rates(what: &str, reference: f64, ours: f64, ratio: f64, wanted: &str) {
    row(
        what,
        &format!("{reference:.0} /s"),
        &format!("{ours:.0} /s"),
        &format!("{ratio:.2}"),
        wanted,
    );
}

fn compare_appends(dir: &Path, producers: usize, in_boot: bool, wanted: &str) {
    let (mut ours, mut reference, mut sizes) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (rate, batch) = our_appends(dir, producers, in_boot);
        ours.push(rate);
        sizes.push(batch);
        reference.push(bare_appends(dir, (batch.round() as usize).max(1)));
    }
    let notes = if in_boot { "notes of a boot" } else { "notes" };
    let what = format!(
        "append, {producers} at once, {notes}, {:.0} a commit",
        median(sizes)
    );
    let ratios = ours.iter().zip(&reference).map(|(o, r)| o / r).collect();
    compare_rates(
        &what,
        median(reference),
        median(ours),
        median(ratios),
        wanted,
    );
}

/// Wall time of a whole process, median of 21, after one to warm up.
fn process_ms(program: &str, arguments: &[&str]) -> Option<f64> {
    let run = || {
        let started = Instant::now();
        let output = Command::new(program).args(arguments).output().ok()?;
        let ms = started.elapsed().as_secs_f64() * 1_000.0;
        (!output.stdout.is_empty()).then_some(ms)
    };
    run()?;
    Some(median((0..21).filter_map(|_| run()).collect()))
}

fn main() {
    // `cargo bench` itself passes `--bench`.
    let count: u64 = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-log");
    std::fs::create_dir_all(&dir).unwrap();
    row("what", "reference", "ours", "ratio", "wanted");
    row(&"-".repeat(46), "", "", "", "");
    compare_appends(&dir, PRODUCERS, false, ">= 0.70");
    compare_appends(&dir, PRODUCERS, true, "");
    compare_appends(&dir, 1, false, ">= 0.60");
    let full = median((0..3).map(|_| bare_appends(&dir, 256)).collect());
    row(
        "the bare loop, 256 a commit",
        &format!("{full:.0} /s"),
        "",
        "",
        "",
    );

    let (path, boot) = make_log(&dir, count);
    let reader = Reader::open(&path).unwrap();
    let best = |work: &dyn Fn() -> u64| {
        let rate = |_| {
            let (took, events) = seconds(work);
            assert_eq!(events, count);
            count as f64 / took
        };
        (0..READS).map(rate).fold(0.0, f64::max)
    };
    let walk = |mut replay: Replay<'_>| {
        let mut events = 0;
        while let Some(recorded) = replay.advance() {
            recorded.unwrap();
            events += 1;
        }
        events
    };
    let bare = best(&|| bare_scan(&path));
    let compare = |what: &str, wanted: &str, work: &dyn Fn() -> u64| {
        let ours = best(work);
        compare_rates(what, bare, ours, ours / bare, wanted);
    };
    compare("replay with the chain checked", ">= 1,000,000/s", &|| {
        walk(Replay::verified(&reader, boot, EventFilter::default()).unwrap())
    });
    compare("replay without", "", &|| {
        walk(Replay::new(&reader, boot, EventFilter::default()).unwrap())
    });
    compare("verify: chain, frames, pages, projections", "", &|| {
        let verification = reader.verify().unwrap();
        assert_eq!(verification.problems, Vec::<String>::new());
        verification.events
    });
    let log = Log::open(&path).unwrap();
    compare("rebuild of the projections", "", &|| log.rebuild().unwrap());
    drop(log);

    let opened: Vec<f64> = (0..101)
        .map(|_| {
            seconds(|| {
                let reader = Reader::open(&path).unwrap();
                reader.health(|_: &BootState| true).unwrap()
            })
            .0 * 1_000.0
        })
        .collect();
    row(
        "open and health, in the process",
        "",
        &format!("{:.2} ms", median(opened)),
        "",
        "",
    );
    let program = env!("CARGO_BIN_EXE_ubs");
    let state = dir.join("state");
    let _ = std::fs::remove_dir_all(&state);
    std::fs::create_dir_all(&state).unwrap();
    std::fs::rename(&path, state.join("log.db")).unwrap();
    let state = state.to_string_lossy().into_owned();
    let version = process_ms(program, &["--version"]);
    let health = process_ms(program, &["--state", &state, "health", "--json"]);
    match (version, health) {
        (Some(version), Some(health)) => row(
            "`ubs health` against `ubs --version`",
            &format!("{version:.2} ms"),
            &format!("{health:.2} ms"),
            &format!("+{:.2}", health - version),
            "< +10 ms",
        ),
        _ => row(
            "`ubs health` against `ubs --version`",
            "",
            "no command yet",
            "",
            "",
        ),
    }
    let _ = std::fs::remove_dir_all(&dir);
}
