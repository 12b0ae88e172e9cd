//! One boot's events in the log, and the state folded from them.
//!
//! Appending and reading block the caller: an append for the time of one commit (bounded by the file
//! system's sync), a read for that of a few pages. The boot cannot go on before either is done, so neither
//! is worth a thread.

use super::error::EngineError;
use super::settle::append_boot;
use crate::domain::boot::{self, BootCommand, BootRefusal, BootState, Context};
use crate::domain::ids::{BootId, Seq};
use crate::log::{EventFilter, Log, LogError, Reader, Recorded, now};

/// Called for every event of the boot, with the state after it.
pub(super) type Observer<'a> = Box<dyn FnMut(&Recorded, &BootState) + 'a>;

/// The boot in the log.
pub(super) struct BootLog<'a> {
    pub log: Log,
    pub reader: Reader,
    pub boot: BootId,
    pub state: BootState,
    /// The last event that was folded.
    pub seen: Seq,
    pub observer: Observer<'a>,
}

/// The moment and the randomness of one decision.
pub(super) fn context() -> Context {
    let mut random = [0; 2];
    // Without randomness there is no jitter; nothing else depends on it.
    let _ = getrandom::fill(&mut random);
    Context {
        at: now(),
        random_per_mille: u16::from_le_bytes(random) % 1001,
    }
}

impl BootLog<'_> {
    /// Folds what is new in the log, whoever wrote it.
    pub(super) fn pump(&mut self) -> Result<(), EngineError> {
        let filter = EventFilter {
            boot: Some(self.boot),
            after: Some(self.seen),
            ..EventFilter::default()
        };
        for recorded in self.reader.events(filter)? {
            let recorded = recorded?;
            self.seen = recorded.seq;
            if let Some(event) = recorded.event() {
                let state = std::mem::take(&mut self.state);
                self.state = boot::evolve(state, recorded.at, recorded.mission, event);
                (self.observer)(&recorded, &self.state);
            }
        }
        Ok(())
    }

    /// Gives the boot machine what a person asks; whether it changes anything, or why it is refused.
    pub(super) fn request(
        &mut self,
        command: BootCommand,
    ) -> Result<Result<bool, BootRefusal>, EngineError> {
        let boot = self.boot;
        let context = context();
        let decided =
            self.log
                .transact(move |tx| -> Result<Result<bool, BootRefusal>, LogError> {
                    let state = tx.boot(boot)?.unwrap_or_default();
                    match boot::decide(&state, context, command) {
                        Ok(events) => {
                            let changes = !events.is_empty();
                            append_boot(tx, boot, context, events)?;
                            Ok(Ok(changes))
                        }
                        Err(refusal) => Ok(Err(refusal)),
                    }
                })??;
        self.pump()?;
        Ok(decided)
    }

    /// Gives commands to the boot machine, in one transaction, and folds what came of them.
    pub(super) fn command(&mut self, commands: Vec<BootCommand>) -> Result<(), EngineError> {
        let boot = self.boot;
        let context = context();
        let refused = self
            .log
            .transact(move |tx| -> Result<Option<BootRefusal>, LogError> {
                let mut state = tx.boot(boot)?.unwrap_or_default();
                for command in commands {
                    match boot::decide(&state, context, command) {
                        Ok(events) => {
                            for event in &events {
                                state = boot::evolve(state, context.at, None, event);
                            }
                            append_boot(tx, boot, context, events)?;
                        }
                        Err(BootRefusal::Late { .. } | BootRefusal::Ended) => {}
                        Err(refusal) => return Ok(Some(refusal)),
                    }
                }
                Ok(None)
            })??;
        self.pump()?;
        match refused {
            None => Ok(()),
            Some(refusal) => Err(EngineError::Bug(refusal.to_string())),
        }
    }
}
