//! Commands on a mission that only change where it stands.

use super::super::context::{AppPaths, CliError, Ui};
use super::super::exit;
use super::show::{show, summary};
use crate::domain::ids::MissionId;
use crate::domain::mission::{MissionCommand, MissionState, MissionStatus};
use crate::fix::{keep_shown, shown_files};
use crate::log::Missions;

pub(super) fn id_of(state: &MissionState) -> Result<MissionId, CliError> {
    state.id.ok_or_else(|| {
        CliError::usage(
            "the mission was never filed",
            "`ubs missions` lists the missions",
        )
    })
}

/// A queue that exists: commands on a mission make no new log.
pub(super) fn queue(place: &AppPaths) -> Result<Missions, CliError> {
    drop(place.existing_reader()?);
    Ok(Missions::new(place.open_log()?))
}

pub(super) fn command_mission(
    ui: &Ui,
    place: &AppPaths,
    name: &str,
    command: MissionCommand,
) -> Result<u8, CliError> {
    let missions = queue(place)?;
    let id = id_of(&missions.find(name)?)?;
    let state = missions.command(id, command)?;
    if ui.json {
        ui.print_json(&state)?;
    } else {
        ui.print(&summary(ui, &state))?;
    }
    Ok(exit::GOOD)
}

pub(super) fn claim(
    ui: &Ui,
    place: &AppPaths,
    mission: Option<String>,
    worker: String,
    lease_ms: u64,
) -> Result<u8, CliError> {
    let missions = queue(place)?;
    let claimed = match mission {
        Some(name) => {
            let id = id_of(&missions.find(&name)?)?;
            Some(missions.command(id, MissionCommand::Claim { worker, lease_ms })?)
        }
        None => missions.claim_next(&worker, lease_ms)?,
    };
    match claimed {
        Some(state) => {
            let files = shown_files(&place.workspace, &state);
            if let Some(id) = state.id
                && let Err(error) = keep_shown(&place.workspace, &place.state_dir, id, &files)
            {
                tracing::warn!(%error, "cannot keep what the claim shows; a refusal will not show the difference");
            }
            show(ui, place, &state)?;
            let is_claimed = state.status == MissionStatus::Claimed;
            Ok(if is_claimed { exit::GOOD } else { exit::BAD })
        }
        None => {
            if ui.json {
                ui.print_json(&serde_json::Value::Null)?;
            } else {
                ui.note("no mission can be taken now");
            }
            Ok(exit::BAD)
        }
    }
}
