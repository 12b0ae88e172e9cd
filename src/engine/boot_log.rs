//! One boot's events in the log, and the state folded from them.
//!
//! Appending and reading block the caller: an append for the time of one commit (bounded by the file
//! system's sync), a read for that of a few pages. The boot cannot go on before either is done, so neither
//! is worth a thread.
//!
//! A log that cannot be written stops nothing: events are decided on the state in memory and kept, and
//! written without waiting once that goes. What the log then adds up to is what counts again.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::error::EngineError;
use super::settle::append_boot;
use crate::domain::boot::{self, BootCommand, BootRefusal, BootState, Context, Phase};
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Seq};
use crate::log::{
    Appending, EventFilter, Kept, KeptBatch, Log, LogError, NewEvent, Reader, Recorded, now,
    unwritten,
};

/// How long a decision waits for others that hold the log; then its events are kept in memory.
const APPEND_WITHIN: Duration = Duration::from_secs(2);
/// Time until what is kept is tried again; it doubles up to the longest.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// How long a boot that ends tries to write what is kept.
const LAST_TRY: Duration = Duration::from_secs(1);
/// Time between two looks at it.
const POLL: Duration = Duration::from_millis(50);

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
    /// While the log cannot be written.
    pub kept: Option<Unwritten>,
    /// Events that were folded before they were written.
    pub own: Option<RangeInclusive<Seq>>,
}

/// What waits until the log can be written.
pub(super) struct Unwritten {
    kept: Kept,
    retry_at: Instant,
    retry_after: Duration,
    writing: Option<(Appending, KeptBatch)>,
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
    /// Folds what is new in the log, whoever wrote it; first writes what could not be written, if that
    /// goes now.
    pub(super) fn pump(&mut self) -> Result<(), EngineError> {
        self.write_kept()?;
        match self.fold_new() {
            Err(error) if self.bears(&error) => self.trouble(&error),
            folded => folded?,
        }
        if self
            .kept
            .as_ref()
            .is_some_and(|k| k.writing.is_none() && k.kept.is_done())
        {
            self.kept = None;
            match self.fold_anew() {
                Err(error) if self.bears(&error) => self.trouble(&error),
                folded => {
                    folded?;
                    tracing::warn!("the log is written again");
                }
            }
        }
        Ok(())
    }

    fn fold_new(&mut self) -> Result<(), LogError> {
        let filter = EventFilter {
            boot: Some(self.boot),
            after: Some(self.seen),
            ..EventFilter::default()
        };
        for recorded in self.reader.events(filter)? {
            let recorded = recorded?;
            self.seen = recorded.seq;
            if self
                .own
                .as_ref()
                .is_some_and(|own| own.contains(&recorded.seq))
            {
                continue;
            }
            if let Some(event) = recorded.event() {
                let state = std::mem::take(&mut self.state);
                self.state = boot::evolve(state, recorded.at, recorded.mission, event);
                (self.observer)(&recorded, &self.state);
            }
        }
        Ok(())
    }

    /// Folds the boot from its first event, after what was kept: others may have written in between, and
    /// what the log says is what counts from here on.
    fn fold_anew(&mut self) -> Result<(), LogError> {
        let filter = EventFilter {
            boot: Some(self.boot),
            until: Some(self.seen),
            ..EventFilter::default()
        };
        let mut state = BootState::default();
        for recorded in self.reader.events(filter)? {
            let recorded = recorded?;
            if let Some(event) = recorded.event() {
                state = boot::evolve(state, recorded.at, recorded.mission, event);
            }
        }
        self.state = state;
        Ok(())
    }

    /// Gives the boot machine what a person asks; whether it changes anything, or why it is refused. If the
    /// log cannot be written, it is done all the same, and the events are kept.
    pub(super) fn request(
        &mut self,
        command: BootCommand,
    ) -> Result<Result<bool, BootRefusal>, EngineError> {
        if self.kept.is_some() {
            return Ok(self.keep_one(context(), command));
        }
        let boot = self.boot;
        let context = context();
        let to_write = command.clone();
        let decided = self.log.transact_within(
            APPEND_WITHIN,
            move |tx| -> Result<Result<bool, BootRefusal>, LogError> {
                let state = tx.boot(boot)?.unwrap_or_default();
                match boot::decide(&state, context, to_write) {
                    Ok(events) => {
                        let changes = !events.is_empty();
                        append_boot(tx, boot, context, events)?;
                        Ok(Ok(changes))
                    }
                    Err(refusal) => Ok(Err(refusal)),
                }
            },
        );
        let decided = match decided {
            Err(error) if self.bears(&error) => {
                self.trouble(&error);
                return Ok(self.keep_one(context, command));
            }
            decided => decided?,
        };
        self.pump()?;
        Ok(decided)
    }

    /// Gives commands to the boot machine, in one transaction, and folds what came of them. If the log
    /// cannot be written, the events are kept and folded all the same.
    pub(super) fn command(&mut self, commands: Vec<BootCommand>) -> Result<(), EngineError> {
        if self.kept.is_some() {
            return self.keep(commands);
        }
        let boot = self.boot;
        let context = context();
        let to_write = commands.clone();
        let refused = self.log.transact_within(
            APPEND_WITHIN,
            move |tx| -> Result<Option<BootRefusal>, LogError> {
                let state = tx.boot(boot)?.unwrap_or_default();
                let (events, refusal) = boot::decide_each(&state, context, to_write);
                append_boot(tx, boot, context, events)?;
                Ok(refusal)
            },
        );
        let refused = match refused {
            Err(error) if self.bears(&error) => {
                self.trouble(&error);
                return self.keep(commands);
            }
            refused => refused?,
        };
        self.pump()?;
        match refused {
            None => Ok(()),
            Some(refusal) => Err(EngineError::Bug(refusal.to_string())),
        }
    }

    /// The boot goes on although the log has this error. One that has not begun does not begin.
    fn bears(&self, error: &LogError) -> bool {
        error.is_trouble() && self.state.phase != Phase::New
    }

    /// Decides on the state in memory, and keeps the events.
    fn keep(&mut self, commands: Vec<BootCommand>) -> Result<(), EngineError> {
        let context = context();
        for command in commands {
            match self.keep_one(context, command) {
                Ok(_) | Err(BootRefusal::Late { .. } | BootRefusal::Ended) => {}
                Err(refusal) => return Err(EngineError::Bug(refusal.to_string())),
            }
        }
        Ok(())
    }

    /// Whether it changes anything.
    fn keep_one(&mut self, context: Context, command: BootCommand) -> Result<bool, BootRefusal> {
        let events = boot::decide(&self.state, context, command)?;
        let changes = !events.is_empty();
        for event in events {
            let new = self.event(context.at, event);
            let state = std::mem::take(&mut self.state);
            self.state = boot::evolve(state, new.at, None, &new.event);
            (self.observer)(&unwritten(&new), &self.state);
            if let Some(waiting) = &mut self.kept {
                waiting.kept.push(new);
            }
        }
        Ok(changes)
    }

    fn event(&self, at: At, event: Event) -> NewEvent {
        NewEvent {
            at,
            boot: Some(self.boot),
            mission: None,
            event,
        }
    }

    /// From here on events are kept.
    pub(super) fn trouble(&mut self, error: &LogError) {
        if self.kept.is_some() {
            return;
        }
        tracing::error!(
            "{error}; the services go on, events are kept in memory, healing waits until the log can be written"
        );
        self.kept = Some(Unwritten {
            kept: Kept::new(now(), error.to_string()),
            retry_at: Instant::now() + RETRY_AFTER,
            retry_after: RETRY_AFTER,
            writing: None,
        });
    }

    /// The log cannot be written: what needs it has to wait.
    pub(super) fn is_troubled(&self) -> bool {
        self.kept.is_some()
    }

    /// Since when the log is not written; `None` while it is. Nobody else than the running supervisor can know.
    pub(super) fn not_written_since(&self) -> Option<At> {
        self.kept.as_ref().map(|unwritten| unwritten.kept.since())
    }

    /// Waits until what is kept is worth a look; for ever if nothing is. May be dropped and called again.
    pub(super) async fn kept_due(&self) {
        match &self.kept {
            None => std::future::pending().await,
            Some(unwritten) if unwritten.writing.is_some() => tokio::time::sleep(POLL).await,
            Some(unwritten) => tokio::time::sleep_until(unwritten.retry_at.into()).await,
        }
    }

    /// Writes what is kept, without waiting for it.
    fn write_kept(&mut self) -> Result<(), EngineError> {
        let gap = self.event(now(), Event::BootStopped);
        let Some(unwritten) = &mut self.kept else {
            return Ok(());
        };
        let at = gap.at;
        if let Some((appending, batch)) = unwritten.writing.take() {
            match appending.outcome() {
                None => {
                    unwritten.writing = Some((appending, batch));
                    return Ok(());
                }
                Some(Ok(seqs)) => {
                    let first = seqs.first().copied().unwrap_or_default();
                    let last = seqs.last().copied().unwrap_or_default();
                    // Nobody has seen the event that tells of the gap.
                    let seen = Seq(first.0 + u64::from(batch.tells_gap()));
                    self.own = Some(seen..=last);
                    unwritten.kept.written(at);
                    unwritten.retry_at = Instant::now();
                    // What is in the log is folded before more is written, so that one range is enough.
                    return Ok(());
                }
                Some(Err(error)) => {
                    unwritten.retry_at = Instant::now() + unwritten.retry_after;
                    unwritten.retry_after = (unwritten.retry_after * 2).min(RETRY_AFTER_MAX);
                    let is_trouble = error.is_trouble();
                    unwritten.kept.put_back(batch, error.to_string());
                    return if is_trouble {
                        Ok(())
                    } else {
                        Err(error.into())
                    };
                }
            }
        }
        if unwritten.kept.is_done() || Instant::now() < unwritten.retry_at {
            return Ok(());
        }
        let batch = unwritten.kept.take(gap);
        match self.log.append_later(batch.to_events()) {
            Ok(appending) => unwritten.writing = Some((appending, batch)),
            Err(error) => {
                unwritten.retry_at = Instant::now() + unwritten.retry_after;
                unwritten.kept.put_back(batch, error.to_string());
            }
        }
        Ok(())
    }

    /// Before the boot's end: a last try to write what is kept, for a bounded time.
    pub(super) async fn write_last(&mut self) -> Result<(), EngineError> {
        let until = Instant::now() + LAST_TRY;
        while let Some(unwritten) = &mut self.kept {
            unwritten.retry_at = unwritten.retry_at.min(Instant::now() + POLL);
            if Instant::now() >= until {
                tracing::error!(
                    "{} events of the boot's end were not written, and {} were lost before: {}",
                    unwritten.kept.len(),
                    unwritten.kept.lost(),
                    unwritten.kept.reason()
                );
                return Ok(());
            }
            self.pump()?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::BootPlan;

    fn boot_log(path: &std::path::Path) -> BootLog<'static> {
        let log = Log::open(path).unwrap();
        let reader = Reader::open(path).unwrap();
        let mut boot_log = BootLog {
            log,
            reader,
            boot: BootId(uuid::Uuid::now_v7()),
            state: BootState::default(),
            seen: Seq::default(),
            observer: Box::new(|_, _| {}),
            kept: None,
            own: None,
        };
        let start = BootCommand::Start {
            app: "app".to_owned(),
            plan: BootPlan::default(),
            rules: vec![],
            terms: vec![],
            needing: vec![],
            supervisor: crate::domain::event::ProcessRef::default(),
            fingerprint: Box::default(),
        };
        boot_log.command(vec![start]).unwrap();
        boot_log
    }

    #[test]
    fn what_is_kept_is_told_and_written_by_its_own_timer() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = boot_log(&dir.path().join("log.db"));
        assert_eq!(log.not_written_since(), None);
        let before = now();
        log.trouble(&LogError::Stopped);
        let since = log.not_written_since().unwrap();
        assert!(since >= before && since <= now());
        let by = "a person".to_owned();
        let stop = BootCommand::RequestStop { by };
        // What a person asks is done, although it cannot be written yet.
        assert_eq!(log.request(stop).unwrap(), Ok(true));
        let is_written = |log: &BootLog<'_>| {
            let events = log.reader.events(EventFilter::default()).unwrap();
            let kinds = events.map(|recorded| recorded.unwrap().kind);
            kinds.collect::<Vec<_>>().contains(&"log_gap".to_owned())
        };
        assert!(!is_written(&log));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let written = async {
            while log.not_written_since().is_some() {
                log.kept_due().await;
                log.pump().unwrap();
            }
            assert!(is_written(&log));
            let idle = tokio::time::timeout(Duration::from_millis(10), log.kept_due());
            assert!(idle.await.is_err(), "nothing is due");
        };
        runtime.block_on(async {
            let timed = tokio::time::timeout(Duration::from_secs(20), written);
            timed.await.expect("it wakes up by itself");
        });
    }
}
