//! Asks how an application is, or how it was.
//!
//! ```text
//! cargo run --example health -- .ubs/log.db                       now
//! cargo run --example health -- .ubs/log.db 2026-11-24T10:00:00Z  at that moment
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use ubs::At;
use ubs::Reader;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: health LOG [MOMENT]")?);
    let reader = Reader::open(&path)?;

    let health = match arguments.next() {
        // The past is folded from the events up to that moment.
        Some(moment) => reader.health_at(moment.to_string_lossy().parse::<At>()?)?,
        // The present is one row. Whether the supervisor still runs is not in the log, so it is
        // asked: a log whose last word is "running" says nothing after a power cut.
        None => reader.health(|state| {
            let pid = state.supervisor.as_ref().map_or(0, |process| process.pid);
            Path::new(&format!("/proc/{pid}")).exists()
        })?,
    };

    println!("{} ({})", health.status.as_str(), health.phase);
    if let (Some(app), Some(boot)) = (&health.app, health.boot_id) {
        println!("application {app}, boot {boot}, attempt {}", health.attempt);
    }
    if let Some(reason) = &health.reason {
        println!("because: {reason}");
    }
    for layer in &health.layers {
        println!("layer {}: {}", layer.name, layer.status);
        for service in &layer.services {
            println!("  service {}: {}", service.name, service.status);
        }
    }
    println!(
        "missions: {} open, {} need a person",
        health.missions_open, health.missions_need_person
    );
    // Everything above is also one JSON document.
    println!("{}", serde_json::to_string(&health)?);
    Ok(())
}
