//! `ubs log`: the event log itself.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use super::replay::event_json;
use crate::engine::{last_supervisor, supervisor_of};
use crate::log::{EventFilter, Reader};

/// The event log: verify, rebuild, export, stats.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LogCommand {
    /// Read every event and check the chain: an edited, removed or reordered row is named.
    ///
    /// Exit code: 0 if all is well, 1 if something is wrong.
    Verify,
    /// Make every projection anew from the events
    Rebuild,
    /// Write every event as JSON, one a line
    Export {
        /// To this new file (mode 0600) instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show how large the log is
    Stats,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let reader = place.existing_reader()?;
    match args.command {
        LogCommand::Verify => {
            let mut found = reader.verify()?;
            if let Some(problem) = missing_wal(&place.state_dir, &reader)? {
                found.problems.insert(0, problem);
            }
            if ui.json {
                ui.print_json(&found)?;
            } else {
                let head = found.head.short();
                for problem in &found.problems {
                    ui.print(&render::labelled(
                        ui.paint,
                        ui.width,
                        "  ✗ ",
                        Tone::Bad,
                        problem,
                    ))?;
                }
                let opaque = match found.opaque {
                    0 => String::new(),
                    n => format!(", {n} of a kind or version that this ubs does not know"),
                };
                let events = usize::try_from(found.events).unwrap_or(usize::MAX);
                let (word, tone) = match found.problems.len() {
                    0 => ("intact".to_owned(), Tone::Good),
                    n => (
                        format!("NOT INTACT: {}", render::count(n, "problem")),
                        Tone::Bad,
                    ),
                };
                ui.print(&format!(
                    "{}: {}{opaque}, chain ends in {head}\n",
                    ui.paint.tone(tone, &word),
                    render::count(events, "event")
                ))?;
            }
            Ok(if found.problems.is_empty() {
                exit::GOOD
            } else {
                exit::BAD
            })
        }
        LogCommand::Rebuild => {
            drop(reader);
            let folded = place.open_log()?.rebuild()?;
            if ui.json {
                ui.print_json(&json!({ "events": folded }))?;
            } else {
                ui.print(&format!("projections rebuilt from {folded} events\n"))?;
            }
            Ok(exit::GOOD)
        }
        LogCommand::Export { output } => {
            match output {
                None => {
                    for recorded in reader.events(EventFilter::default())? {
                        ui.print_json_line(&event_json(&recorded?))?;
                    }
                }
                Some(path) => export_to(ui, &reader, &path)?,
            }
            Ok(exit::GOOD)
        }
        LogCommand::Stats => {
            let stats = reader.stats()?;
            if ui.json {
                ui.print_json(&stats)?;
                return Ok(exit::GOOD);
            }
            let moment = |at: Option<_>| at.map_or_else(|| "-".to_owned(), render::moment);
            let mut text = format!(
                "{} events, {} boots, {} missions, {} KiB, layout {}\nfrom {} to {}\n",
                stats.events,
                stats.boots,
                stats.missions,
                stats.bytes / 1024,
                stats.schema_version,
                moment(stats.first_at),
                moment(stats.last_at)
            );
            for (kind, number) in &stats.kinds {
                text.push_str(&format!("{number:>8}  {}\n", render::cut(kind, 40)));
            }
            ui.print(&text)?;
            Ok(exit::GOOD)
        }
    }
}

fn export_to(ui: &Ui, reader: &Reader, path: &PathBuf) -> Result<(), CliError> {
    let cannot = |error: std::io::Error| {
        CliError::usage(
            format!("cannot write {}: {error}", path.display()),
            "name a new file in a writable directory with enough free space",
        )
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(cannot)?;
    let mut out = std::io::BufWriter::new(file);
    let mut events = 0_u64;
    for recorded in reader.events(EventFilter::default())? {
        let text = serde_json::to_string(&event_json(&recorded?))
            .map_err(|error| CliError::Output(error.into()))?;
        writeln!(out, "{text}").map_err(cannot)?;
        events += 1;
    }
    out.flush().map_err(cannot)?;
    if ui.json {
        ui.print_json(&json!({ "events": events, "file": path.display().to_string() }))
    } else {
        ui.note(&format!("{events} events in {}", path.display()));
        Ok(())
    }
}

/// The file alone is behind what its supervisor wrote: it was copied without its write-ahead log.
fn missing_wal(state_dir: &Path, reader: &Reader) -> Result<Option<String>, CliError> {
    let Some(last) = last_supervisor(state_dir) else {
        return Ok(None);
    };
    let head = reader.head()?.0;
    let lacks = if head < last.log_head {
        format!(
            "supervisor.lock says that it had {} events when boot {} began, and it has {head}",
            last.log_head, last.boot
        )
    } else if reader.boot(last.boot)?.is_none() && supervisor_of(state_dir).is_none() {
        format!(
            "supervisor.lock names boot {}, which is not in the log",
            last.boot
        )
    } else {
        return Ok(None);
    };
    let mut wal = reader.path().as_os_str().to_owned();
    wal.push("-wal");
    let what = match std::fs::metadata(&wal) {
        Ok(wal) if wal.len() > 0 => "the end of the log is missing",
        _ => "the write-ahead log is missing",
    };
    Ok(Some(format!(
        "{what}: {lacks}; a log in use is log.db with log.db-wal, and `ubs log backup` copies both as one"
    )))
}
