//! Walks a past boot and prints the state after each event.
//!
//! ```text
//! cargo run --example replay -- .ubs/log.db                       the newest boot
//! cargo run --example replay -- .ubs/log.db 2026-11-24T10:00:00Z  as far as it was then
//! ```
//!
//! The application need not be up, and the log may be a copy: it is only read.

use std::error::Error;
use std::path::PathBuf;

use ubs::{At, EventFilter, Reader, Replay};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: replay LOG [MOMENT]")?);
    let until_at: Option<At> = match arguments.next() {
        Some(moment) => Some(moment.to_string_lossy().parse()?),
        None => None,
    };

    let reader = Reader::open(&path)?;
    // Every boot is in the log, newest first; `unfinished_boots` are those that have not ended.
    let Some(boot) = reader.boots(1)?.into_iter().next() else {
        println!("nothing was ever booted here");
        return Ok(());
    };
    println!(
        "boot {} of {}, begun {}",
        boot.boot_id, boot.app, boot.started_at
    );

    // `verified` reads the whole log and checks its chain on the way; `new` reads the boot alone.
    let filter = EventFilter {
        until_at,
        ..EventFilter::default()
    };
    for step in Replay::verified(&reader, boot.boot_id, filter)? {
        // The state is the one that the engine had when it went on from here.
        let (recorded, state) = step?;
        println!(
            "{:>6}  {}  {:<20} attempt {}, {}",
            recorded.seq,
            recorded.at,
            recorded.kind,
            state.attempt,
            state.phase.as_str(),
        );
    }
    Ok(())
}
