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

/// The log, read once for all who follow.
pub(super) struct Source(Mutex<Pages>);

struct Pages {
    log: PathBuf,
    reader: Option<Reader>,
    kept: VecDeque<Page>,
}

/// Some events, as they are sent.
#[derive(Clone)]
struct Page {
    after: Seq,
    last: Seq,
    text: Bytes,
}

impl Source {
    pub(super) fn new(log: &Path) -> Self {
        Self(Mutex::new(Pages {
            log: log.to_owned(),
            reader: None,
            kept: VecDeque::new(),
        }))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn reader(&mut self) -> Result<&Reader, LogError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.log)?,
        };
        Ok(self.reader.insert(reader))
    }

    /// What comes after this place; `None` if nothing does.
    fn after(&mut self, after: Seq) -> Result<Option<Page>, LogError> {
        if let Some(at) = self.kept.iter().position(|page| page.after == after) {
            // Who comes behind wants it too.
            let page = self.kept.remove(at);
            self.kept.extend(page.clone());
            return Ok(page);
        }
        // Pages end at the same places for all, so that those who are late read together.
        let end = Seq((after.0 / PAGE as u64 + 1) * PAGE as u64);
        let page = match self.read(after, Some(end))? {
            // Nothing is left there: pruned.
            None => self.read(after, None)?,
            page => page,
        };
        self.kept.extend(page.clone());
        let bytes = |kept: &VecDeque<Page>| kept.iter().map(|page| page.text.len()).sum::<usize>();
        while self.kept.len() > PAGES_KEPT
            || (self.kept.len() > 1 && bytes(&self.kept) > PAGES_BYTES_MAX)
        {
            self.kept.pop_front();
        }
        Ok(page)
    }

    fn read(&mut self, after: Seq, until: Option<Seq>) -> Result<Option<Page>, LogError> {
        let filter = EventFilter {
            after: Some(after),
            until,
            ..EventFilter::default()
        };
        let (mut text, mut last) = (String::new(), after);
        for recorded in self.reader()?.events(filter)?.take(PAGE) {
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
}

/// One who follows. Events are read when they are sent, so a slow reader costs no memory.
pub(super) struct Follow {
    source: Arc<Source>,
    after: Seq,
    head: watch::Receiver<Seq>,
    begun: bool,
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
    pub(super) fn open(
        source: &Arc<Source>,
        after: Option<Seq>,
        head: watch::Receiver<Seq>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, LogError> {
        let now = source.pages().reader()?.head()?;
        Ok(Self {
            source: Arc::clone(source),
            after: after.unwrap_or(now),
            head,
            begun: false,
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
            self.head.mark_unchanged();
            let page = self.source.pages().after(self.after);
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
