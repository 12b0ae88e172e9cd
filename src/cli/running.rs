//! What the running supervisor says of itself; else what the log says, and that it is the log that says it.

use super::context::{AppPaths, CliError, Ui, supervisor_lives};
use super::options::Global;
use crate::control::{self, Client, CurrentBoot};
use crate::domain::boot::BootState;
use crate::domain::health::Health;
use crate::engine::supervisor_of;

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The supervisor.
    Supervisor,
    /// The log, because no supervisor runs.
    Log,
    /// The log, because the supervisor that runs did not answer, and why.
    LogInstead(String),
}

/// The newest boot as it is now.
pub(crate) struct Now {
    pub(crate) state: BootState,
    pub(crate) health: Health,
    pub(crate) source: Source,
    /// Its supervisor runs.
    pub(crate) runs: bool,
}

/// The newest boot as it is now; `None` if there was none yet.
pub(crate) fn now(place: &AppPaths) -> Result<Option<Now>, CliError> {
    let source = match ask(place) {
        Ok(told) => {
            return Ok(Some(Now {
                health: told.health(),
                state: told.state,
                source: Source::Supervisor,
                runs: true,
            }));
        }
        Err(source) => source,
    };
    let Some(reader) = place.reader()? else {
        return Ok(None);
    };
    let health = reader.health(supervisor_lives)?;
    let Some(boot) = health.boot_id else {
        return Ok(None);
    };
    let state = reader.boot(boot)?.unwrap_or_default();
    Ok(Some(Now {
        runs: supervisor_lives(&state) && !state.is_ended(),
        state,
        health,
        source,
    }))
}

/// What the supervisor says, or from where to take it instead.
fn ask(place: &AppPaths) -> Result<CurrentBoot, Source> {
    // One of another process namespace is not seen, and answers all the same.
    let is_seen = supervisor_of(&place.state_dir).is_some();
    let instead = |why: String| {
        if is_seen {
            Source::LogInstead(why)
        } else {
            Source::Log
        }
    };
    let client = Client::new(&place.state_dir).map_err(|error| instead(error.to_string()))?;
    let reply = client
        .get("/boots/current")
        .map_err(|error| instead(error.to_string()))?;
    if !reply.is_good() {
        let why = reply.error().unwrap_or("it says nothing of use").to_owned();
        return Err(instead(why));
    }
    serde_json::from_value(reply.body)
        .map_err(|error| instead(format!("it is of another version: {error}")))
}

/// Says on standard error that the log had to answer.
pub(crate) fn note_source(ui: &Ui, source: &Source) {
    if let Source::LogInstead(why) = source {
        ui.note(&format!(
            "the supervisor was asked and did not answer, so this is what the log says ({why})"
        ));
    }
}

/// Tells the supervisor, if there is one, that the log has something new.
pub(super) fn poke(global: &Global) {
    if let Ok(place) = AppPaths::find(global) {
        control::poke(&place.state_dir);
    }
}
