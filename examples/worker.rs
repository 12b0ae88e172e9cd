//! Claim a mission, propose a fix, see the verdict.
//!
//! ```text
//! cargo run --example worker -- WORKSPACE PROPOSAL.json
//! ```
//!
//! The proposal is JSON, for example
//! `{"summary": "say hello", "changes": [{"write": {"path": "greeting.txt", "text": "hello\n"}}]}`.
//! A file that exists is changed by `{"patch": "UNIFIED DIFF"}`, or by a `write` with the digest of what was read as
//! `before`, so that no edit made meanwhile is lost.
//! It is tried on a copy of the workspace in the sandbox. If it holds, it is applied, or waits for
//! a person to approve it, as the manifest's `[heal]` policy says.

use std::error::Error;
use std::path::Path;

use ubs::{Log, Manifest, Missions, Worker, parse_proposal};

/// How long this worker may be silent before another one may take the mission.
const LEASE_MS: u64 = 10 * 60 * 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(workspace), Some(proposal)) = (arguments.next(), arguments.next()) else {
        return Err("usage: worker WORKSPACE PROPOSAL.json".into());
    };
    let workspace = Path::new(&workspace).canonicalize()?;
    let state_dir = workspace.join(".ubs");

    // The queue is a projection of the log: opening the log opens the queue.
    let missions = Missions::new(Log::open(&state_dir.join("log.db"))?);

    // Claiming decides inside one write transaction: no two workers ever hold the same mission.
    let name = format!("example worker {}", std::process::id());
    let Some(mission) = missions.claim_next(&name, LEASE_MS)? else {
        println!("no mission waits for a worker");
        return Ok(());
    };
    let id = mission.id.ok_or("a mission that was claimed has an id")?;
    println!("claimed {}", mission.slug);
    if let Some(failure) = &mission.failure {
        println!("  what failed: {}", failure.error);
        for criterion in &failure.criteria {
            println!("  fixed when:  {criterion}");
        }
    }

    let proposal = parse_proposal(&std::fs::read_to_string(proposal)?, &name, &workspace)?;
    println!("proposing: {}", proposal.summary);

    // The worker copies the workspace, carries the proposal out there, runs every check in the
    // sandbox, and judges: the failure must be gone and nothing else may be worse.
    let manifest = Manifest::load(&workspace.join("ubs.toml"))?;
    let environment = std::env::vars().collect();
    let worker = Worker::new(name, manifest, &state_dir, missions, environment);
    let (worked, verdict) = worker.offer(id, proposal)?;
    if let Some(verdict) = verdict {
        let word = if verdict.holds {
            "holds"
        } else {
            "does not hold"
        };
        println!("verdict: {word}: {}", verdict.reason);
        for change in &verdict.checks {
            let (before, after) = (change.before.as_str(), change.after.as_str());
            println!("  {}: {before} -> {after}", change.check);
        }
    }
    println!("outcome: {:?}: {}", worked.outcome, worked.reason);
    Ok(())
}
