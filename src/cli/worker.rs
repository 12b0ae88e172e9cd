//! `ubs worker`: claims missions and works on them, without a boot.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::render;
use super::render::Tone;
use crate::domain::event::HealOutcome;
use crate::domain::ids::{At, MissionId};
use crate::domain::mission::{MissionState, MissionStatus};
use crate::fix::{Worked, Worker};
use crate::log::{Missions, now};

/// Time between two looks at the queue.
const POLL: Duration = Duration::from_secs(2);

/// Claim missions and work on them with the built-in fixers.
///
/// With --json one document a line, for each mission worked on; with --once too, one array at the end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Work on what can be worked on now, and end
    #[arg(long)]
    once: bool,
    /// Name in the log [default: `worker PID`]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// A worker on the application at `place`.
pub(super) fn worker_at(place: &AppPaths, name: &str) -> Result<(Worker, Missions), CliError> {
    let manifest = place.manifest()?;
    let missions = Missions::new(place.open_log()?);
    let worker = Worker::new(
        name,
        manifest,
        &place.state_dir,
        missions.clone(),
        AppPaths::process_env(),
    );
    Ok((worker, missions))
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let name = args
        .name
        .unwrap_or_else(|| format!("worker {}", std::process::id()));
    let (worker, missions) = worker_at(&place, &name)?;
    // Missions that came to nothing here are not tried again by this worker until they change.
    let mut done = Vec::new();
    let mut given_up: BTreeSet<(MissionId, At)> = BTreeSet::new();
    let mut has_failed = false;
    loop {
        let mut any = false;
        for state in missions.open()? {
            let Some(id) = state.id.filter(|_| may_be_worked_on(&state, now())) else {
                continue;
            };
            if given_up.contains(&(id, state.updated_at)) {
                continue;
            }
            any = true;
            let worked = worker.work(id);
            crate::control::poke(&place.state_dir);
            let after = missions.get(id)?;
            given_up.insert((id, after.updated_at));
            let worked = match worked {
                Ok(worked) => worked,
                // The other missions have nothing to do with it.
                Err(error) => {
                    has_failed = true;
                    let error = CliError::from(error);
                    ui.error(&error);
                    if ui.json {
                        let failed = json!({
                            "mission_id": id,
                            "slug": state.slug,
                            "outcome": "error",
                            "reason": error.to_string(),
                        });
                        if args.once {
                            done.push(failed);
                        } else {
                            ui.print_json_line(&failed)?;
                        }
                    }
                    continue;
                }
            };
            if ui.json && args.once {
                done.push(worked_json(&state.slug, id, &worked));
            } else {
                report(ui, &state.slug, id, &worked)?;
            }
        }
        if args.once {
            if !any {
                ui.note("no mission waits for a worker");
            }
            if ui.json {
                ui.print_json(&done)?;
            }
            return Ok(if has_failed { exit::BAD } else { exit::GOOD });
        }
        if !any {
            std::thread::sleep(POLL);
        }
    }
}

fn may_be_worked_on(state: &MissionState, at: At) -> bool {
    match state.status {
        // What nobody is promoting any more is finished.
        MissionStatus::Filed | MissionStatus::Promoting => true,
        MissionStatus::Rejected => at >= state.not_before,
        MissionStatus::Claimed | MissionStatus::Proposed | MissionStatus::Verified => {
            state.lease.as_ref().is_none_or(|lease| at >= lease.until)
        }
        _ => false,
    }
}

fn report(ui: &Ui, slug: &str, id: MissionId, worked: &Worked) -> Result<(), CliError> {
    if ui.json {
        return ui.print_json_line(&worked_json(slug, id, worked));
    }
    let tone = match worked.outcome {
        HealOutcome::Applied | HealOutcome::Closed => Tone::Good,
        HealOutcome::Rejected => Tone::Bad,
        _ => Tone::Warn,
    };
    ui.print(&render::labelled(
        ui.paint,
        ui.width,
        &format!("[{}] ", word_of(worked.outcome)),
        tone,
        &format!("{slug}: {}", worked.reason),
    ))
}

pub(super) fn word_of(outcome: HealOutcome) -> &'static str {
    match outcome {
        HealOutcome::Applied => "APPLIED",
        HealOutcome::Rejected => "REJECTED",
        HealOutcome::AwaitingApproval => "AWAITING APPROVAL",
        HealOutcome::NeedsPerson => "NEEDS A PERSON",
        HealOutcome::HeldElsewhere => "HELD ELSEWHERE",
        HealOutcome::Closed => "CLOSED",
    }
}

pub(super) fn worked_json(slug: &str, id: MissionId, worked: &Worked) -> Value {
    json!({
        "mission_id": id,
        "slug": slug,
        "outcome": worked.outcome,
        "reason": worked.reason,
    })
}
