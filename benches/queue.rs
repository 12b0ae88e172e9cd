//! What a claim costs, against a bare loop that makes the same durable update on the same disk.
//!
//! `cargo bench --bench queue`. Both take turns, since the speed of a shared disk drifts; the ratio is the median of
//! the turns' ratios. Files go to `target/`, because a temporary directory may be in memory.

#![allow(missing_docs)]

mod shared;

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};
use shared::{fresh, median};
use ubs::testing::{encode_frame, reported_failure};
use ubs::{Event, Log, MissionState, Missions, Signature};

/// Missions that each turn claims.
const CLAIMS: u32 = 1_000;
const ROUNDS: usize = 7;
const LEASE_MS: u64 = 600_000;

fn filled(path: &Path) -> Missions {
    let missions = Missions::new(Log::open(path).unwrap());
    for number in 0..CLAIMS {
        let failure = reported_failure(&format!("service-{number}"));
        missions
            .file(Signature(number.to_string()), failure)
            .unwrap();
    }
    missions
}

fn ours(dir: &Path) -> f64 {
    let missions = filled(&fresh(dir, "ours.db"));
    let begun = Instant::now();
    for _ in 0..CLAIMS {
        missions.claim_next("bench", LEASE_MS).unwrap().unwrap();
    }
    f64::from(CLAIMS) / begun.elapsed().as_secs_f64()
}

/// Finds the oldest, writes its event and its row, and commits: nothing is decided or chained.
fn bare(dir: &Path) -> f64 {
    let path = fresh(dir, "bare.db");
    drop(filled(&path));
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = full;")
        .unwrap();
    let frame = encode_frame(&Event::Note {
        text: "x".repeat(40),
    })
    .unwrap();
    let sql = "SELECT seq_first, mission_id, state FROM missions WHERE seq_first = \
        (SELECT min(seq_first) FROM missions WHERE status <> 'closed' AND (status = 'filed' \
        OR status = 'rejected' AND not_before <= ?1 \
        OR status IN ('claimed', 'proposed', 'verified') AND lease_until <= ?1))";
    let begun = Instant::now();
    for number in 0..CLAIMS {
        let run = |sql: &str| conn.prepare_cached(sql).unwrap().execute([]).unwrap();
        run("BEGIN IMMEDIATE");
        let (first, mission, state): (i64, Vec<u8>, Vec<u8>) = conn
            .prepare_cached(sql)
            .unwrap()
            .query_row([1], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        let parsed: MissionState = serde_json::from_slice(&state).unwrap();
        let state = serde_json::to_vec(&parsed).unwrap();
        let seq = i64::from(CLAIMS + number + 1);
        conn.prepare_cached(
            "INSERT INTO events (seq, event_id, boot_id, mission_id, kind, version, at, payload, chain) \
             VALUES (?1, ?2, NULL, ?3, 'mission_claimed', 1, ?1, ?4, ?5)",
        )
        .unwrap()
        .execute(params![seq, uuid::Uuid::now_v7().as_bytes(), mission, frame, [7_u8; 32]])
        .unwrap();
        conn.prepare_cached(
            "UPDATE missions SET seq_last = ?2, status = 'claimed', updated_at = ?2, lease_until = ?3, state = ?4 \
             WHERE seq_first = ?1",
        )
        .unwrap()
        .execute(params![first, seq, i64::MAX, state])
        .unwrap();
        run("COMMIT");
    }
    f64::from(CLAIMS) / begun.elapsed().as_secs_f64()
}

fn main() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-queue");
    std::fs::create_dir_all(&dir).unwrap();
    let turns: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (bare(&dir), ours(&dir))).collect();
    let bare = median(turns.iter().map(|turn| turn.0).collect());
    let ours = median(turns.iter().map(|turn| turn.1).collect());
    let ratio = median(turns.iter().map(|turn| turn.1 / turn.0).collect());
    println!("| durable claims, one worker | {bare:.0} /s | {ours:.0} /s | {ratio:.2} | 0.60 |");
    let _ = std::fs::remove_dir_all(&dir);
}
