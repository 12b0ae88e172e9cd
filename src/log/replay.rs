//! A past boot, event by event, with the state after each: the same `evolve` that ran live.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::error::LogError;
use super::events::{EventFilter, Events};
use super::reader::Reader;
use super::record::Recorded;
use super::row::{Page, scan};
use super::verify::{Base, ChainCheck, PAGES_AHEAD, read_anchor, read_base};
use crate::domain::boot::{BootState, evolve};
use crate::domain::ids::{BootId, Digest, Seq};

/// A past boot, event by event, with the state after each.
///
/// ```no_run
/// # use ubs::{EventFilter, Reader, Replay};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reader = Reader::open(".ubs/log.db".as_ref())?;
/// let boot = reader.last_boot()?.ok_or("nothing was ever booted")?;
/// for step in Replay::new(&reader, boot, EventFilter::default())? {
///     let (recorded, state) = step?;
///     println!("{} {} {}", recorded.at, recorded.kind, state.phase.as_str());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Replay<'a> {
    source: ReplaySource<'a>,
    state: BootState,
    boot: BootId,
    filter: EventFilter,
}

#[derive(Debug)]
enum ReplaySource<'a> {
    /// The boot's events, by their index.
    Boot(Events<'a>),
    /// Every event, with its chain.
    Checked(Checked),
}

impl<'a> Replay<'a> {
    /// Replays `boot` as far as `filter` says. Events that the filter leaves out by place or mission
    /// still count for the state; those after its end do not.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn new(reader: &'a Reader, boot: BootId, filter: EventFilter) -> Result<Self, LogError> {
        let events = reader.events(EventFilter {
            boot: Some(boot),
            mission: None,
            after: None,
            ..filter.clone()
        })?;
        Ok(Self {
            source: ReplaySource::Boot(events),
            state: BootState::default(),
            boot,
            filter,
        })
    }

    /// The same, reading the whole log from its first event and checking the chain on the way: the
    /// first event that does not fit ends the replay with [`LogError::Broken`].
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn verified(
        reader: &'a Reader,
        boot: BootId,
        filter: EventFilter,
    ) -> Result<Self, LogError> {
        Ok(Self {
            source: ReplaySource::Checked(Checked::start(reader.path().to_owned())?),
            state: BootState::default(),
            boot,
            filter,
        })
    }

    /// The state after the events so far.
    #[must_use]
    pub fn state(&self) -> &BootState {
        &self.state
    }

    /// The next event; [`Self::state`] is then the state after it. What the iterator does, without
    /// the copy of the state.
    pub fn advance(&mut self) -> Option<Result<Recorded, LogError>> {
        loop {
            let next = match &mut self.source {
                ReplaySource::Boot(events) => events.next(),
                ReplaySource::Checked(checked) => checked.next_of(self.boot, &self.filter),
            };
            let recorded = match next? {
                Ok(recorded) => recorded,
                Err(error) => return Some(Err(error)),
            };
            if let Some(event) = recorded.event() {
                let state = std::mem::take(&mut self.state);
                self.state = evolve(state, recorded.at, recorded.mission, event);
            }
            let wanted = recorded.seq > self.filter.after.unwrap_or_default()
                && (self.filter.mission.is_none() || self.filter.mission == recorded.mission);
            if wanted {
                return Some(Ok(recorded));
            }
        }
    }
}

impl Iterator for Replay<'_> {
    type Item = Result<(Recorded, BootState), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let recorded = self.advance()?;
        Some(recorded.map(|recorded| (recorded, self.state.clone())))
    }
}

enum Ahead {
    Anchor(Base, Option<(u64, Digest)>),
    Page(Page),
    Failed(LogError),
}

/// The whole log with its chain; a second thread reads ahead.
#[derive(Debug)]
struct Checked {
    path: PathBuf,
    ahead: Receiver<Ahead>,
    /// Pages that were read, to be filled again.
    empties: Sender<Page>,
    page: Page,
    row: usize,
    chain: ChainCheck,
    ended: bool,
}

impl Checked {
    fn start(path: PathBuf) -> Result<Self, LogError> {
        let reader = Reader::open(&path)?;
        let (send, ahead) = bounded(PAGES_AHEAD);
        let (empties, empty) = bounded(PAGES_AHEAD);
        std::thread::Builder::new()
            .name("ubs-replay".to_owned())
            .spawn(move || {
                // A failed send: nobody wants the rest.
                if let Err(Some(error)) = read_ahead(&reader, &send, &empty) {
                    let _ = send.send(Ahead::Failed(error));
                }
            })
            .map_err(LogError::io("start a thread that reads", &path))?;
        Ok(Self {
            path,
            ahead,
            empties,
            page: Page::default(),
            row: 0,
            chain: ChainCheck::new(Base::default(), None),
            ended: false,
        })
    }

    fn broken(&mut self, what: String) -> Option<Result<Recorded, LogError>> {
        self.ended = true;
        Some(Err(LogError::Broken {
            path: self.path.clone(),
            what,
        }))
    }

    /// The next event of `boot` up to the filter's end.
    fn next_of(
        &mut self,
        boot: BootId,
        filter: &EventFilter,
    ) -> Option<Result<Recorded, LogError>> {
        loop {
            if self.ended {
                return None;
            }
            let (mut found, mut problem) = (None, None);
            for row in self.page.rows(self.row) {
                self.row += 1;
                let checked = match &row {
                    Ok(raw) => self.chain.check(raw),
                    Err(malformed) => Err(malformed.to_string()),
                };
                if let Err(what) = checked {
                    problem = Some(what);
                    break;
                }
                let Ok(raw) = row else { continue };
                if filter.until.is_some_and(|until| Seq(raw.seq) > until) {
                    self.ended = true;
                    break;
                }
                let in_time = filter.until_at.is_none_or(|at| raw.at <= at.0);
                if raw.boot == Some(boot.0) && in_time {
                    found = Some(raw.to_recorded());
                    break;
                }
            }
            if let Some(what) = problem {
                return self.broken(what);
            }
            if let Some(recorded) = found {
                return Some(Ok(recorded));
            }
            if self.ended {
                return None;
            }
            match self.ahead.recv() {
                Ok(Ahead::Anchor(base, anchor)) => self.chain = ChainCheck::new(base, anchor),
                Ok(Ahead::Page(page)) => {
                    let read = std::mem::replace(&mut self.page, page);
                    self.row = 0;
                    // Full or closed: the page is simply dropped.
                    let _ = self.empties.try_send(read);
                }
                Ok(Ahead::Failed(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Err(_) => {
                    self.ended = true;
                    return match self.chain.check_end() {
                        Ok(()) => None,
                        Err(what) => self.broken(what),
                    };
                }
            }
        }
    }
}

/// `Err(None)`: the receiver is gone.
fn read_ahead(
    reader: &Reader,
    send: &Sender<Ahead>,
    empty: &Receiver<Page>,
) -> Result<(), Option<LogError>> {
    let error = |source| Some(reader.error(source));
    let _snapshot = reader.snapshot().map_err(Some)?;
    let anchor = read_anchor(reader.conn()).map_err(error)?;
    let base = read_base(reader.conn()).map_err(error)?;
    send.send(Ahead::Anchor(base, anchor)).map_err(|_| None)?;
    let mut page = Page::default();
    scan(reader.conn(), 0, error, |row| {
        page.push(row);
        if !page.is_full() {
            return Ok(());
        }
        let mut next = empty.try_recv().unwrap_or_default();
        next.clear();
        let full = std::mem::replace(&mut page, next);
        send.send(Ahead::Page(full)).map_err(|_| None)
    })?;
    send.send(Ahead::Page(page)).map_err(|_| None)
}
