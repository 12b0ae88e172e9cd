//! `[[notify]]`: tells somebody outside what happened. An approval that nobody hears of heals nothing.
//!
//! One thread for each, which reads the log from where it was last (`cursor`), so that nothing is lost: a kill between
//! a delivery and the note of it tells something twice. Blocks nobody else. May rely on `domain`, `http`, `log` and the
//! plain types of `manifest`.

mod cursor;
mod deliver;
mod notice;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::ids::Seq;
use crate::domain::redact::Redactor;
use crate::log::{EventFilter, LogError, Reader, Recorded, now};
use crate::manifest::{Environment, Notify, NotifyBy, NotifyOn};
use cursor::Cursor;
use deliver::{Address, deliver};
use notice::{document, kind_of, notice_of};

/// Longest time for one delivery.
const DELIVERY_WITHIN: Duration = Duration::from_secs(10);
/// And for one of a boot that is over.
const LAST_WITHIN: Duration = Duration::from_secs(5);
/// Time until what was not delivered is tried again; it doubles up to the longest.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// What could not be delivered for so long is passed over, so that the rest is heard.
const TOO_OLD_MS: u64 = 7 * 86_400_000;
/// The log is looked at after so long a time, told or not: others write to it too.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What it tells of.
pub(crate) struct NotifyPlace<'a> {
    pub app: &'a str,
    pub workspace: &'a Path,
    pub state_dir: &'a Path,
    pub log: &'a Path,
    pub environment: &'a Environment,
    pub redactor: &'a Arc<Redactor>,
    /// The log's end when the boot began: who is new here hears of what comes after it.
    pub head: Seq,
}

/// Those who tell.
#[derive(Default)]
pub(crate) struct Notifier {
    /// Each is woken when the log has something new, and tries once more when nobody can wake it.
    tellers: Vec<(SyncSender<()>, JoinHandle<()>)>,
    seen: Seq,
}

impl Notifier {
    /// Begins to tell. One that cannot is said, and ends no boot.
    pub(crate) fn start(entries: &[Notify], place: &NotifyPlace<'_>) -> Self {
        let mut tellers = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let started = Teller::new(entry, number, entries, place).and_then(|teller| {
                let (wake, woken) = sync_channel(1);
                let thread = std::thread::Builder::new().name("notify".to_owned());
                let thread = thread.spawn(move || teller.run(&woken));
                Ok((wake, thread.map_err(|error| error.to_string())?))
            });
            match started {
                Ok(teller) => tellers.push(teller),
                Err(why) => {
                    let number = number + 1;
                    tracing::warn!(
                        "nobody hears of anything through [[notify]] number {number}: {why}"
                    );
                }
            }
        }
        Self {
            tellers,
            seen: place.head,
        }
    }

    /// The log goes up to here.
    pub(crate) fn tell(&mut self, head: Seq) {
        if head <= self.seen {
            return;
        }
        self.seen = head;
        for (wake, _) in &self.tellers {
            // One that has not looked yet will.
            let _ = wake.try_send(());
        }
    }

    /// Delivers what is left, as far as that goes within the time; the next boot delivers the rest.
    pub(crate) fn finish(self, within: Duration) {
        let until = Instant::now() + within;
        let (wakes, threads): (Vec<_>, Vec<_>) = self.tellers.into_iter().unzip();
        drop(wakes);
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Tells one.
struct Teller {
    on: Vec<NotifyOn>,
    app: String,
    address: Address,
    cursor: Cursor,
    log: PathBuf,
    /// Kept from one look to the next.
    reader: Option<Reader>,
    /// How far all was passed was last written then.
    written: Instant,
    redactor: Arc<Redactor>,
}

impl Teller {
    fn new(
        entry: &Notify,
        number: usize,
        entries: &[Notify],
        place: &NotifyPlace<'_>,
    ) -> Result<Self, String> {
        // The variable's name is said, never the value.
        let expand = |text: &String| place.environment.expand(text).map_err(|e| e.to_string());
        let address = match &entry.by {
            NotifyBy::Exec(argv) => Address::Program {
                argv: argv.iter().map(expand).collect::<Result<_, _>>()?,
                workspace: place.workspace.to_owned(),
            },
            NotifyBy::Webhook { url, shape } => Address::Webhook {
                url: expand(url)?,
                shape: *shape,
            },
        };
        // The same one that stands twice is told twice.
        let same = entries[..number]
            .iter()
            .filter(|other| other.by == entry.by);
        let name = blake3::hash(format!("{:?} {}", entry.by, same.count()).as_bytes());
        let directory = place.state_dir.join("notify");
        std::fs::create_dir_all(&directory)
            .and_then(|()| {
                Cursor::open(
                    &directory.join(format!("{}.json", &name.to_hex()[..16])),
                    place.head,
                )
            })
            .map(|cursor| Self {
                on: entry.on.clone(),
                app: place.app.to_owned(),
                address,
                cursor,
                log: place.log.to_owned(),
                reader: None,
                written: Instant::now(),
                redactor: Arc::clone(place.redactor),
            })
            .map_err(|error| format!("cannot write to {}: {error}", directory.display()))
    }

    fn run(mut self, woken: &Receiver<()>) {
        let mut retry_after = RETRY_AFTER;
        let mut said = String::new();
        let mut is_over = false;
        loop {
            let within = if is_over {
                LAST_WITHIN
            } else {
                DELIVERY_WITHIN
            };
            let mut told = self.tell_new(within);
            // Where nothing was told only the place is another: that is not worth a write for each event.
            if told.is_ok() && (is_over || self.written.elapsed() >= LOOK_EVERY) {
                told = self.write();
            }
            let wait = match &told {
                Ok(()) => {
                    retry_after = RETRY_AFTER;
                    LOOK_EVERY
                }
                Err(why) => {
                    if *why != said {
                        let why = self.redactor.clean(why, 300);
                        tracing::warn!(
                            "a notification is not delivered, and tried again later: {why}"
                        );
                    }
                    retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
                    retry_after / 2
                }
            };
            said = told.err().unwrap_or_default();
            if is_over {
                return;
            }
            // While it waits for another try, what is new waits too.
            let until = Instant::now() + wait;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match woken.recv_timeout(left) {
                    Ok(()) if said.is_empty() => break,
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        is_over = true;
                        break;
                    }
                }
            }
        }
    }

    /// Tells what is new, in order, until something cannot be told.
    fn tell_new(&mut self, within: Duration) -> Result<(), String> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.log).map_err(cannot_read)?,
        };
        self.tell_from(&reader, within)?;
        // One with which something is wrong is opened anew.
        self.reader = Some(reader);
        Ok(())
    }

    fn tell_from(&mut self, reader: &Reader, within: Duration) -> Result<(), String> {
        let filter = EventFilter {
            after: Some(self.cursor.seq()),
            ..EventFilter::default()
        };
        for recorded in reader.events(filter).map_err(cannot_read)? {
            let recorded = recorded.map_err(cannot_read)?;
            let is_news = self.is_news(&recorded);
            if is_news {
                self.tell(reader, &recorded, within)?;
            }
            self.cursor.pass(recorded.seq);
            if is_news {
                self.write()?;
            }
        }
        Ok(())
    }

    /// It is one to tell of, and not too old.
    fn is_news(&self, recorded: &Recorded) -> bool {
        let kind = recorded.event().and_then(kind_of);
        kind.is_some_and(|on| self.on.contains(&on)) && now().ms_since(recorded.at) < TOO_OLD_MS
    }

    /// Tells it, or counts that it is not told.
    fn tell(
        &mut self,
        reader: &Reader,
        recorded: &Recorded,
        within: Duration,
    ) -> Result<(), String> {
        let mission = match recorded.mission {
            Some(mission) => reader.mission(mission).map_err(cannot_read)?,
            None => None,
        };
        let Some(notice) = notice_of(recorded, mission.as_ref()) else {
            return Ok(());
        };
        let cause = format!("{} {}", notice.on.as_str(), notice.signature);
        if let Some(suppressed) = self.cursor.may_tell(&cause, recorded.at) {
            let document = document(
                &notice,
                recorded,
                mission.as_ref(),
                &self.app,
                suppressed,
                &self.redactor,
            );
            deliver(&self.address, &document, within)?;
            self.cursor.tell(&cause, recorded.at);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), String> {
        self.written = Instant::now();
        let written = self.cursor.write();
        written.map_err(|error| format!("how far it was told cannot be written: {error}"))
    }
}

fn cannot_read(error: LogError) -> String {
    format!("the log cannot be read: {error}")
}
