//! `ubs log`: the event log itself.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::{AppPaths, CliError, Ui, moment_of};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use crate::engine::{last_supervisor, supervisor_of};
use crate::fix::fixes_on_probation;
use crate::log::{ArchiveError, Missions, Reader, Recorded, compact};

/// The event log: verify, rebuild, export, import, backup, prune, stats.
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
    /// Take over an export into an empty log, if its chain is intact: all of it or nothing
    Import {
        /// What `ubs log export` wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Copy the log into a new file (mode 0600) as it is at one moment, also while it is written
    Backup {
        /// The new file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove what is old, from the beginning on
    ///
    /// Never what a boot needs that runs, the newest, the last good one, or an open mission. An event says what was
    /// removed, and the chain goes on from there.
    Prune {
        /// How much to keep: 90d, 12h
        #[arg(long, value_name = "AGE")]
        keep: String,
    },
    /// Show how large the log is
    Stats,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    if let LogCommand::Import { file } = &args.command {
        return import(ui, &place, file);
    }
    let reader = place.existing_reader()?;
    match args.command {
        // Done above, since it needs no log.
        LogCommand::Import { .. } => Ok(exit::GOOD),
        LogCommand::Backup { file } => {
            reader.backup(&file).map_err(archive_error)?;
            let events = reader.head()?.0;
            if ui.json {
                ui.print_json(&json!({ "file": file.display().to_string() }))?;
            } else {
                ui.print(&format!(
                    "the log up to event {events} is in {}\n",
                    file.display()
                ))?;
            }
            Ok(exit::GOOD)
        }
        LogCommand::Prune { keep } => prune(ui, &place, &reader, &keep),
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
                    reader
                        .export(|recorded, frame| ui.print_json_line(&exported(recorded, frame)))?;
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

/// An event as programs read it, with the frame by which `ubs log import` has it again byte by byte.
fn exported(recorded: &Recorded, frame: &[u8]) -> Value {
    let mut event = recorded.to_json();
    event["frame"] = frame
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into();
    event
}

fn archive_error(error: ArchiveError) -> CliError {
    match error {
        ArchiveError::Log(error) => error.into(),
        error => CliError::usage(error.to_string(), "see `ubs log --help`"),
    }
}

fn import(ui: &Ui, place: &AppPaths, file: &Path) -> Result<u8, CliError> {
    let log = place.open_log()?;
    let (events, head) = log.import(file).map_err(archive_error)?;
    if ui.json {
        ui.print_json(&json!({ "events": events, "head": head }))?;
    } else {
        ui.print(&format!(
            "{events} events imported, chain ends in {}\n",
            head.short()
        ))?;
    }
    Ok(exit::GOOD)
}

fn prune(ui: &Ui, place: &AppPaths, reader: &Reader, keep: &str) -> Result<u8, CliError> {
    let before = moment_of(keep)?;
    if before.0 < 0 {
        return Err(CliError::usage(
            format!("no log is as old as {keep}"),
            "say how much to keep: 90d, 12h",
        ));
    }
    // What is pruned can no longer be checked.
    if let Some(problem) = reader.chain_problem()? {
        return Err(CliError::usage(
            format!("the log is not what was written, so nothing is pruned: {problem}"),
            "`ubs log verify` tells all; keep a copy of the log (`ubs log backup`)",
        ));
    }
    let good = reader.last_good_boot()?.map(|boot| boot.0);
    let log = place.open_log()?;
    let fixes = fixes_on_probation(&place.state_dir, &Missions::new(log.clone()))?;
    let on_probation = fixes.iter().map(|fix| fix.mission.0).collect();
    let pruned = log.prune(before, good, on_probation)?;
    let path = reader.path();
    if pruned.events > 0
        && let Err(error) = compact(path)
    {
        ui.note(&format!(
            "the log is pruned, and its file stays as large as it was: {error}; the room is used by later events"
        ));
    }
    if ui.json {
        ui.print_json(&pruned)?;
        return Ok(exit::GOOD);
    }
    let held = pruned
        .held_by
        .map_or_else(String::new, |by| format!("; {by}, keeps the rest"));
    ui.print(&format!(
        "{} events from before {} pruned, {} are left{held}\n",
        pruned.events,
        render::moment(before),
        pruned.left
    ))?;
    Ok(exit::GOOD)
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
    reader.export(|recorded, frame| -> Result<(), CliError> {
        let text = serde_json::to_string(&exported(recorded, frame))
            .map_err(|error| CliError::Output(error.into()))?;
        writeln!(out, "{text}").map_err(cannot)?;
        events += 1;
        Ok(())
    })?;
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
