//! `/events`: the log as it grows, as server-sent events, resumable by the place in the log.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::answer::Follower;
use super::query::query_of;
use crate::domain::ids::Seq;
use crate::log::{EventFilter, LogError, Reader};

/// Events that are read at once.
const PAGE: usize = 256;
/// No event is added to a page that has so many bytes.
const PAGE_BYTES: usize = 256 << 10;
/// A comment is sent after so long without an event, so that a reader that is gone is found out.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Pages that are kept for those who follow at the log's end: most of them want the same.
const PAGES_KEPT: usize = 32;
/// Bytes of the pages that are kept.
const PAGES_BYTES_MAX: usize = 4 << 20;
/// Between two pages so much may gather: many events are then one write for each reader. One that comes alone is not
/// held up.
const GATHER: Duration = Duration::from_millis(20);

/// The log, read once for all who follow, and not in the supervisor's own thread.
pub(super) struct Source {
    log: PathBuf,
    reader: Mutex<Option<Reader>>,
    kept: Mutex<Kept>,
    /// One reads at a time; who waits for it mostly finds what it wants then.
    turn: tokio::sync::Mutex<()>,
    #[cfg(test)]
    reads: std::sync::atomic::AtomicUsize,
}

/// The pages that were sent last.
#[derive(Default)]
struct Kept(VecDeque<Page>);

/// Some events, as they are sent.
#[derive(Clone)]
struct Page {
    after: Seq,
    last: Seq,
    text: Bytes,
}

impl Source {
    pub(super) fn new(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            reader: Mutex::default(),
            kept: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            #[cfg(test)]
            reads: std::sync::atomic::AtomicUsize::default(),
        }
    }

    /// What comes after this place; `None` if nothing does.
    async fn after(self: &Arc<Self>, after: Seq) -> Result<Option<Page>, LogError> {
        if let Some(page) = locked(&self.kept).after(after) {
            return Ok(Some(page));
        }
        let _turn = self.turn.lock().await;
        if let Some(page) = locked(&self.kept).after(after) {
            return Ok(Some(page));
        }
        let source = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || source.read_after(after));
        let page = match read.await {
            Ok(read) => read?,
            // The runtime ends.
            Err(_) => None,
        };
        if let Some(page) = &page {
            locked(&self.kept).keep(page.clone());
        }
        Ok(page)
    }

    /// The place of the log's last event.
    async fn end(self: &Arc<Self>) -> Result<Seq, LogError> {
        let source = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || source.with_reader(Reader::head));
        read.await.unwrap_or_else(|_| Ok(Seq::default()))
    }

    fn read_after(&self, after: Seq) -> Result<Option<Page>, LogError> {
        #[cfg(test)]
        self.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // Pages end at the same places for all, so that those who are late read together.
        let end = Seq((after.0 / PAGE as u64 + 1) * PAGE as u64);
        self.with_reader(|reader| match read(reader, after, Some(end))? {
            // Nothing is left there: pruned.
            None => read(reader, after, None),
            page => Ok(page),
        })
    }

    fn with_reader<T>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut kept = locked(&self.reader);
        let reader = match kept.take() {
            Some(reader) => reader,
            None => Reader::open(&self.log)?,
        };
        read(kept.insert(reader))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn after(&mut self, after: Seq) -> Option<Page> {
        let at = self.0.iter().position(|page| page.after == after)?;
        // Who comes behind wants it too.
        let page = self.0.remove(at)?;
        self.0.push_back(page.clone());
        Some(page)
    }

    fn keep(&mut self, page: Page) {
        self.0.push_back(page);
        let bytes = |kept: &VecDeque<Page>| kept.iter().map(|page| page.text.len()).sum::<usize>();
        while self.0.len() > PAGES_KEPT || (self.0.len() > 1 && bytes(&self.0) > PAGES_BYTES_MAX) {
            self.0.pop_front();
        }
    }
}

fn read(reader: &Reader, after: Seq, until: Option<Seq>) -> Result<Option<Page>, LogError> {
    let filter = EventFilter {
        after: Some(after),
        until,
        ..EventFilter::default()
    };
    let (mut text, mut last) = (String::new(), after);
    for recorded in reader.events(filter)?.take(PAGE) {
        let recorded = recorded?;
        last = recorded.seq;
        let json = recorded.to_json();
        text.push_str(&format!("id: {}\ndata: {json}\n\n", recorded.seq));
        if text.len() >= PAGE_BYTES {
            break;
        }
    }
    if text.is_empty() {
        return Ok(None);
    }
    let text = Bytes::from(text);
    Ok(Some(Page { after, last, text }))
}

/// One who follows. Events are read when they are sent, so a slow reader costs no memory.
pub(super) struct Follow {
    source: Arc<Source>,
    after: Seq,
    head: watch::Receiver<Seq>,
    begun: bool,
    /// The log was asked at least once: the head may not have been told yet.
    looked: bool,
    /// When the last page was sent.
    sent: Instant,
    _permit: OwnedSemaphorePermit,
}

/// The place after which events are wanted: `after=SEQ`. `None`: only what comes.
pub(super) fn after_of(query: &str, last_id: Option<&str>) -> Result<Option<Seq>, String> {
    let query = query_of(query, &["after"])?;
    let given = query.first().map(|(_, place)| place.as_str());
    let place = last_id
        .or(given)
        .map(|text| text.parse().map(Seq))
        .transpose();
    place.map_err(|_| "`after` is the place of an event in the log, a number".to_owned())
}

impl Follow {
    pub(super) async fn open(
        source: &Arc<Source>,
        after: Option<Seq>,
        head: watch::Receiver<Seq>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, LogError> {
        let now = source.end().await?;
        Ok(Self {
            source: Arc::clone(source),
            after: after.unwrap_or(now),
            head,
            begun: false,
            looked: false,
            sent: Instant::now(),
            _permit: permit,
        })
    }
}

impl Follower for Follow {
    async fn next(&mut self) -> Option<Bytes> {
        // The head of the answer reaches its reader at once.
        if !std::mem::replace(&mut self.begun, true) {
            return Some(format!(": after {}\n\n", self.after.0).into());
        }
        loop {
            // Up to here it is known; what others write is told.
            let head = *self.head.borrow_and_update();
            let page = match self.after < head || !self.looked {
                true => self.source.after(self.after).await,
                false => Ok(None),
            };
            self.looked = true;
            match page {
                Ok(Some(page)) => {
                    self.after = page.last;
                    self.sent = Instant::now();
                    return Some(page.text);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("a reader of /events is let go: {error}");
                    return None;
                }
            }
            match tokio::time::timeout(SIGN_OF_LIFE, self.head.changed()).await {
                Ok(Ok(())) => tokio::time::sleep_until(self.sent + GATHER).await,
                // The supervisor ends.
                Ok(Err(_)) => return None,
                Err(_) => return Some(": alive\n\n".into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;
    use crate::log::{Log, NewEvent, now};

    /// Appends so many notes; gives the log's end.
    fn note(log: &Log, count: usize) -> Seq {
        let note = |n: usize| NewEvent {
            at: now(),
            boot: None,
            mission: None,
            event: Event::Note {
                text: format!("note {n}"),
            },
        };
        log.append((0..count).map(note).collect()).unwrap();
        log.reader().unwrap().head().unwrap()
    }

    /// Reads until the event of that place; gives the places in the order in which they came.
    async fn follow_until(mut follow: Follow, last: Seq) -> Vec<u64> {
        let mut places = Vec::new();
        while places.last() != Some(&last.0) {
            let sent = follow.next().await.unwrap();
            let text = std::str::from_utf8(&sent).unwrap();
            let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
            places.extend(ids.map(|id| id.parse::<u64>().unwrap()));
        }
        places
    }

    #[test]
    fn many_who_follow_cost_one_reading_and_each_gets_every_event_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(&dir.path().join("log.db")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let source = Arc::new(Source::new(log.path()));
        let (tell, told) = watch::channel(note(&log, 2 * PAGE));
        let permits = Arc::new(tokio::sync::Semaphore::new(200));
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            let last = Seq(2 * PAGE as u64 + 300);
            for _ in 0..200 {
                let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
                let follow = Follow::open(&source, Some(Seq(0)), told.clone(), permit);
                all.spawn(follow_until(follow.await.unwrap(), last));
            }
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                tell.send(note(&log, 100)).unwrap();
            }
            let every: Vec<u64> = (1..=last.0).collect();
            while let Some(one) = all.join_next().await {
                assert_eq!(one.unwrap(), every);
            }
        });
        let reads = source.reads.load(std::sync::atomic::Ordering::SeqCst);
        assert!(reads < 20, "{reads} readings of 8 pages");
    }

    #[test]
    fn the_place_is_a_number_or_now() {
        assert_eq!(after_of("", None), Ok(None));
        assert_eq!(after_of("after=7", None), Ok(Some(Seq(7))));
        // A browser that connects again says where it was.
        assert_eq!(after_of("after=7", Some("9")), Ok(Some(Seq(9))));
        for bad in ["after=", "after=x", "after=-1", "x=1", "after"] {
            assert!(after_of(bad, None).is_err(), "{bad}");
        }
    }
}
