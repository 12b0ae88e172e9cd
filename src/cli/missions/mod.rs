//! `ubs missions`: the queue, for people and for programs that fix.

mod args;
mod file;
mod list;
mod propose;
mod queue;
mod show;
mod text;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use super::worker::worker_at;
use crate::domain::event::HealOutcome;
use crate::domain::mission::MissionCommand;
use args::MissionsCommand;
use file::file;
use list::list;
use propose::{propose, report, report_with, try_only};
use queue::{claim, command_mission, id_of};
use show::{approval_text, document, show};
use text::clean;

pub(crate) use args::{Args, ProposeArgs};

/// The same as `ubs missions try`.
pub(crate) fn run_try(ui: &Ui, global: &Global, args: &ProposeArgs) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    try_only(ui, &place, args)
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    use MissionsCommand as C;
    let place = AppPaths::find(global)?;
    match args.command.unwrap_or(C::List { all: false }) {
        C::List { all } => list(ui, &place, all),
        C::Show { mission } => {
            let reader = place.existing_reader()?;
            let state = reader.find_mission(&mission)?;
            show(ui, &place, &state)?;
            Ok(exit::GOOD)
        }
        C::File {
            subject,
            error,
            layer,
            traceback,
        } => file(ui, &place, subject, error, layer, traceback),
        C::Claim {
            mission,
            worker,
            lease,
        } => claim(ui, &place, mission, worker.worker, lease.ms()),
        C::Heartbeat {
            mission,
            worker,
            lease,
        } => {
            let command = MissionCommand::Heartbeat {
                worker: worker.worker,
                lease_ms: lease.ms(),
            };
            command_mission(ui, &place, &mission, command)
        }
        C::Propose(args) => propose(ui, &place, &args),
        C::Try(args) => try_only(ui, &place, &args),
        C::Complete {
            mission,
            worker,
            resolution,
        } => {
            let (by, missions) = worker_at(&place, &worker.worker)?;
            let state = missions.find(&mission)?;
            let id = id_of(&state)?;
            let worked = by.complete(id, &clean(&place, &resolution)?)?;
            if worked.outcome == HealOutcome::Rejected && !ui.json {
                ui.print(&render::labelled(
                    ui.paint,
                    ui.width,
                    "[NOT CLOSED] ",
                    Tone::Bad,
                    &format!("{}: {}", state.slug, worked.reason),
                ))?;
                return Ok(exit::BAD);
            }
            report(ui, &state.slug, id, &worked, None)
        }
        C::Fail {
            mission,
            worker,
            reason,
        } => {
            let command = MissionCommand::GiveUp {
                worker: worker.worker,
                reason: clean(&place, &reason)?,
            };
            command_mission(ui, &place, &mission, command)
        }
        C::Approve { mission, by } => {
            let (worker, missions) = worker_at(&place, &by)?;
            let state = missions.find(&mission)?;
            let id = id_of(&state)?;
            // What is approved, as it was shown.
            let diff = if ui.json {
                document(&place, &state)?["diff"].take()
            } else {
                ui.print_unless_silent(&approval_text(ui, &place, &state)?)?;
                serde_json::Value::Null
            };
            let worked = worker.approve(id, &by)?;
            let code = report_with(ui, &state.slug, id, &worked, None, diff)?;
            // Asked again: it is not what was approved.
            let is_applied = worked.outcome != HealOutcome::AwaitingApproval;
            Ok(if is_applied { code } else { exit::BAD })
        }
        C::Reject {
            mission,
            reason,
            by,
        } => {
            let reason = clean(&place, &reason)?;
            command_mission(ui, &place, &mission, MissionCommand::Decline { by, reason })
        }
        C::Release {
            mission,
            worker,
            reason,
        } => {
            let command = MissionCommand::Release {
                worker: worker.worker,
                reason: clean(&place, &reason)?,
            };
            command_mission(ui, &place, &mission, command)
        }
        C::Requeue { mission, by } => {
            command_mission(ui, &place, &mission, MissionCommand::Requeue { by })
        }
    }
}
