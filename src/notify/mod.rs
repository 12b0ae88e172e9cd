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
use crate::manifest::{Environment, Notify, NotifyOn};
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

/// Whether each of these could be told.
///
/// # Errors
/// Which one cannot, and why: the variable that its address is made of has no value.
pub(crate) fn require_addresses(
    entries: &[Notify],
    environment: &Environment,
) -> Result<(), String> {
    for (number, entry) in entries.iter().enumerate() {
        Address::of(entry, Path::new(""), environment)
            .map_err(|why| format!("number {}: {why}", number + 1))?;
    }
    Ok(())
}

/// One who is told.
struct Told {
    entry: Notify,
    /// With every variable filled in: another value is another address.
    address: Address,
    /// Where it lies how far it was told.
    cursor: PathBuf,
    /// Woken when the log has something new, and tries once more when nobody can wake it.
    wake: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// Those who tell.
#[derive(Default)]
pub(crate) struct Notifier {
    told: Vec<Told>,
    /// Those who are told no more deliver what is left, and end.
    ending: Vec<JoinHandle<()>>,
    seen: Seq,
}

impl Notifier {
    /// Begins to tell. One that cannot is said, and ends no boot.
    pub(crate) fn start(entries: &[Notify], place: &NotifyPlace<'_>) -> Self {
        let mut notifier = Self {
            seen: place.head,
            ..Self::default()
        };
        notifier.change(entries, place);
        notifier
    }

    /// Tells these from now on. Who is told as before goes on undisturbed; of who is told something else from now on
    /// the place in the log goes on; who is new hears of what comes; who is gone is told what is left, once.
    pub(crate) fn change(&mut self, entries: &[Notify], place: &NotifyPlace<'_>) {
        let mut before = std::mem::take(&mut self.told);
        let mut tellers = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            match Planned::of(entry, number, entries, place) {
                Ok(planned) => {
                    let same = before.iter().position(|told| {
                        told.entry == *entry
                            && told.address == planned.address
                            && told.cursor == planned.cursor
                    });
                    match same {
                        Some(same) => self.told.push(before.swap_remove(same)),
                        None => tellers.push((number, entry, planned)),
                    }
                }
                Err(why) => say_silent(number, &why),
            }
        }
        // Their last try begins now.
        let mut ending: Vec<(PathBuf, JoinHandle<()>)> = before
            .into_iter()
            .map(|told| (told.cursor, told.thread))
            .collect();
        for (number, entry, planned) in tellers {
            // Two must not tell from one place at once.
            let same = ending
                .iter()
                .position(|(cursor, _)| *cursor == planned.cursor);
            let earlier = same.map(|same| ending.swap_remove(same).1);
            let (address, cursor) = (planned.address.clone(), planned.cursor.clone());
            let (wake, woken) = sync_channel(1);
            let thread = std::thread::Builder::new().name("notify".to_owned());
            let thread = match earlier {
                Some(earlier) => thread.spawn(move || {
                    let _ = earlier.join();
                    match planned.open() {
                        Ok(teller) => teller.run(&woken),
                        Err(why) => say_silent(number, &why),
                    }
                }),
                // At once, where nobody is in the way: what happens from here on is told, whatever becomes of us.
                None => match planned.open() {
                    Ok(teller) => thread.spawn(move || teller.run(&woken)),
                    Err(why) => {
                        say_silent(number, &why);
                        continue;
                    }
                },
            };
            match thread {
                Ok(thread) => self.told.push(Told {
                    entry: entry.clone(),
                    address,
                    cursor,
                    wake,
                    thread,
                }),
                Err(error) => say_silent(number, &error.to_string()),
            }
        }
        self.ending.retain(|thread| !thread.is_finished());
        self.ending
            .extend(ending.into_iter().map(|(_, thread)| thread));
    }

    /// The log goes up to here.
    pub(crate) fn tell(&mut self, head: Seq) {
        if head <= self.seen {
            return;
        }
        self.seen = head;
        for told in &self.told {
            // One that has not looked yet will.
            let _ = told.wake.try_send(());
        }
    }

    /// Delivers what is left, as far as that goes within the time; the next boot delivers the rest.
    pub(crate) fn finish(self, within: Duration) {
        let until = Instant::now() + within;
        let mut threads = self.ending;
        // Nobody can wake them any more.
        threads.extend(self.told.into_iter().map(|told| told.thread));
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn say_silent(number: usize, why: &str) {
    let number = number + 1;
    tracing::warn!("nobody hears of anything through [[notify]] number {number}: {why}");
}

/// One who is to be told.
struct Planned {
    on: Vec<NotifyOn>,
    app: String,
    address: Address,
    /// Where it lies how far it was told.
    cursor: PathBuf,
    head: Seq,
    log: PathBuf,
    redactor: Arc<Redactor>,
}

/// Tells one.
struct Teller {
    planned: Planned,
    cursor: Cursor,
    /// Kept from one look to the next.
    reader: Option<Reader>,
    /// How far all was passed was last written then.
    written: Instant,
}

impl Planned {
    fn of(
        entry: &Notify,
        number: usize,
        entries: &[Notify],
        place: &NotifyPlace<'_>,
    ) -> Result<Self, String> {
        // The same one that stands twice is told twice.
        let same = entries[..number]
            .iter()
            .filter(|other| other.by == entry.by);
        let name = blake3::hash(format!("{:?} {}", entry.by, same.count()).as_bytes());
        let name = format!("{}.json", &name.to_hex()[..16]);
        Ok(Self {
            on: entry.on.clone(),
            app: place.app.to_owned(),
            address: Address::of(entry, place.workspace, place.environment)?,
            cursor: place.state_dir.join("notify").join(name),
            head: place.head,
            log: place.log.to_owned(),
            redactor: Arc::clone(place.redactor),
        })
    }

    /// Reads how far it was told, if ever.
    fn open(self) -> Result<Teller, String> {
        let directory = self.cursor.parent().unwrap_or(Path::new("."));
        let cursor = std::fs::create_dir_all(directory)
            .and_then(|()| Cursor::open(&self.cursor, self.head))
            .map_err(|error| format!("cannot write to {}: {error}", directory.display()))?;
        Ok(Teller {
            planned: self,
            cursor,
            reader: None,
            written: Instant::now(),
        })
    }
}

impl Teller {
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
                        let why = self.planned.redactor.clean(why, 300);
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
            None => Reader::open(&self.planned.log).map_err(cannot_read)?,
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
        kind.is_some_and(|on| self.planned.on.contains(&on))
            && now().ms_since(recorded.at) < TOO_OLD_MS
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
                &self.planned.app,
                suppressed,
                &self.planned.redactor,
            );
            deliver(&self.planned.address, &document, within)?;
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
