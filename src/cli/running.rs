//! What the running supervisor says of itself; else what the log says, and that it is the log that says it.

use super::context::{AppPaths, CliError, Ui, supervisor_lives};
use super::options::Global;
use crate::control::{self, Client, ClientError, CurrentBoot};
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
    /// The log, because the supervisor that runs hangs: it did not answer in time.
    Hanging(String),
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
    let mut health = reader.health(supervisor_lives)?;
    let Some(boot) = health.boot_id else {
        return Ok(None);
    };
    if let Source::Hanging(why) = &source {
        health = health.unwatched(why);
    }
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
    let reply = Client::new(&place.state_dir).and_then(|client| client.get("/boots/current"));
    let reply = reply.map_err(|error| instead(&error, is_seen))?;
    let why = match reply.is_good() {
        true => match serde_json::from_value(reply.body) {
            Ok(told) => return Ok(told),
            Err(error) => format!("it is of another version: {error}"),
        },
        false if reply.is_of_a_hanging_loop() => {
            return Err(Source::Hanging("its door does, it does not".to_owned()));
        }
        false => reply.error().unwrap_or("it says nothing of use").to_owned(),
    };
    Err(if is_seen {
        Source::LogInstead(why)
    } else {
        Source::Log
    })
}

/// `is_seen`: its process is seen.
fn instead(error: &ClientError, is_seen: bool) -> Source {
    match error {
        // Of another process namespace: who listens is there all the same.
        ClientError::Hangs { within } => {
            Source::Hanging(format!("nothing within {} s", within.as_secs()))
        }
        error if is_seen => Source::LogInstead(error.to_string()),
        _ => Source::Log,
    }
}

/// Says on standard error that the log had to answer.
pub(crate) fn note_source(ui: &Ui, source: &Source) {
    if let Source::LogInstead(why) | Source::Hanging(why) = source {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_supervisor_that_says_nothing_hangs_and_one_without_a_door_does_not() {
        let hangs = ClientError::Hangs {
            within: Duration::from_secs(8),
        };
        for is_seen in [true, false] {
            let wanted = Source::Hanging("nothing within 8 s".to_owned());
            assert_eq!(instead(&hangs, is_seen), wanted);
        }
        let absent = || ClientError::Absent(std::io::ErrorKind::NotFound.into());
        assert_eq!(instead(&absent(), false), Source::Log);
        assert!(matches!(instead(&absent(), true), Source::LogInstead(_)));
    }
}
