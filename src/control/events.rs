//! `/events`: the log as it grows, as server-sent events, resumable by the place in the log.

use std::path::Path;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::domain::ids::Seq;
use crate::log::{EventFilter, LogError, Reader};

/// Events that are read at once.
const PAGE: usize = 256;
/// A comment is sent after so long without an event, so that a reader that is gone is found out.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// One who follows. Events are read when they are sent, so a slow reader costs no memory.
pub(super) struct Follow {
    reader: Reader,
    after: Seq,
    head: watch::Receiver<Seq>,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

/// The place after which events are wanted: `after=SEQ`. `None`: only what comes.
pub(super) fn after_of(query: &str, last_id: Option<&str>) -> Result<Option<Seq>, String> {
    let mut after = last_id;
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("after", place)) => after = after.or(Some(place)),
            _ => return Err("only `after=SEQ` is known here".to_owned()),
        }
    }
    let place = after.map(|text| text.parse().map(Seq)).transpose();
    place.map_err(|_| "`after` is the place of an event in the log, a number".to_owned())
}

impl Follow {
    pub(super) fn open(
        log: &Path,
        after: Option<Seq>,
        head: watch::Receiver<Seq>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, LogError> {
        let reader = Reader::open(log)?;
        let after = match after {
            Some(after) => after,
            None => reader.head()?,
        };
        Ok(Self {
            reader,
            after,
            head,
            begun: false,
            _permit: permit,
        })
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut follow| async move {
            let text = follow.next().await?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), follow))
        }))
    }

    /// What is sent next; `None` if the log can no longer be read.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.head.mark_unchanged();
            match self.page() {
                Ok(page) if !page.is_empty() => {
                    self.begun = true;
                    return Some(page);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("a reader of /events is let go: {error}");
                    return None;
                }
            }
            // The head of the answer reaches its reader at once.
            if !std::mem::replace(&mut self.begun, true) {
                return Some(format!(": after {}\n\n", self.after.0));
            }
            match tokio::time::timeout(SIGN_OF_LIFE, self.head.changed()).await {
                Ok(Ok(())) => {}
                // The supervisor ends.
                Ok(Err(_)) => return None,
                Err(_) => return Some(": alive\n\n".to_owned()),
            }
        }
    }

    fn page(&mut self) -> Result<String, LogError> {
        let filter = EventFilter {
            after: Some(self.after),
            ..EventFilter::default()
        };
        let mut text = String::new();
        for recorded in self.reader.events(filter)?.take(PAGE) {
            let recorded = recorded?;
            self.after = recorded.seq;
            let json = recorded.to_json();
            text.push_str(&format!("id: {}\ndata: {json}\n\n", recorded.seq));
        }
        Ok(text)
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
