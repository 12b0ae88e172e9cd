//! `/services/NAME/logs`: what a service printed, from the files that the supervisor keeps; its end, and what comes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::Follower;
use super::service_log::{Entry, ServiceLog};
use crate::domain::output::OutputLine;

/// Most lines at once.
pub(super) const LINES_MAX: u32 = 10_000;
/// Lines where none are asked for.
pub(super) const LINES_DEFAULT: u32 = 100;
/// Most bytes that are read for them.
const BYTES_MAX: u64 = 1 << 20;
/// Most lines at once when following: of the longest that the supervisor writes, a MiB.
const LINES_AT_ONCE: usize = 64;
/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A comment is sent after so many looks without a line.
const LOOKS_UNTIL_SIGN: u32 = 75;
/// Files were removed before they were read.
const REMOVED: &str = "event: removed\ndata: {}\n\n";

/// Where the output of a service is.
pub(super) fn path_of(output_dir: &Path, service: &str) -> PathBuf {
    output_dir.join(format!("{service}.log"))
}

/// The last lines. A service that printed nothing has none.
pub(super) fn tail(path: &Path, lines: u32) -> io::Result<Vec<OutputLine>> {
    last_of(&mut ServiceLog::open(path, None)?, lines)
}

fn last_of(log: &mut ServiceLog, lines: u32) -> io::Result<Vec<OutputLine>> {
    let last = log.last(lines as usize, BYTES_MAX, |_| true)?;
    Ok(last.into_iter().map(|entry| entry.line).collect())
}

/// One who follows the output of a service. The files are read beside the supervisor's own thread.
pub(super) struct FollowLog {
    /// Not while it is being read.
    log: Option<ServiceLog>,
    /// The last lines, until they are sent.
    first: Option<Vec<OutputLine>>,
    quiet: u32,
    _permit: OwnedSemaphorePermit,
}

/// What came, and where among it some is missing.
type News = (Vec<Entry>, Option<usize>);

impl FollowLog {
    /// From the last lines on.
    pub(super) fn open(path: &Path, lines: u32, permit: OwnedSemaphorePermit) -> io::Result<Self> {
        let mut log = ServiceLog::open(path, None)?;
        let first = last_of(&mut log, lines)?;
        Ok(Self {
            log: Some(log),
            first: Some(first),
            quiet: 0,
            _permit: permit,
        })
    }

    async fn look(&mut self) -> io::Result<News> {
        let Some(mut log) = self.log.take() else {
            return Err(io::Error::other("it was left while it was read"));
        };
        let read = move || {
            let mut new = Vec::new();
            let gone_at = log.read_new(LINES_AT_ONCE, &mut new);
            (log, gone_at.map(|gone_at| (new, gone_at)))
        };
        let (log, news) = tokio::task::spawn_blocking(read)
            .await
            .map_err(io::Error::other)?;
        self.log = Some(log);
        news
    }
}

impl Follower for FollowLog {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(format!(": output\n\n{}", events(&first)).into());
        }
        loop {
            let (new, gone_at) = match self.look().await {
                Ok(news) => news,
                Err(error) => {
                    tracing::warn!("a reader of output is let go: {error}");
                    return None;
                }
            };
            if !new.is_empty() || gone_at.is_some() {
                self.quiet = 0;
                let lines: Vec<OutputLine> = new.into_iter().map(|entry| entry.line).collect();
                let (before, after) = lines.split_at(gone_at.unwrap_or(lines.len()));
                let removed = gone_at.map_or("", |_| REMOVED);
                return Some(format!("{}{removed}{}", events(before), events(after)).into());
            }
            self.quiet += 1;
            if self.quiet >= LOOKS_UNTIL_SIGN {
                self.quiet = 0;
                return Some(": alive\n\n".into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn events(lines: &[OutputLine]) -> String {
    let mut text = String::new();
    for line in lines {
        let document = serde_json::to_string(line).unwrap_or_default();
        text.push_str(&format!("data: {document}\n\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const T1: &str = "2026-11-24T10:00:00Z";
    const T2: &str = "2026-11-24T10:00:01Z";

    #[test]
    fn the_last_lines_are_read_over_files_put_aside_and_what_is_unfinished_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        assert_eq!(tail(&path, 5).unwrap(), vec![]);
        fs::write(dir.path().join("web.log.1"), format!("{T1} a\n")).unwrap();
        fs::write(&path, format!("{T2} b c\n{T2} half")).unwrap();
        let texts = |lines| -> Vec<String> {
            let last = tail(&path, lines).unwrap().into_iter();
            last.map(|line| line.text).collect()
        };
        assert_eq!(
            (texts(1), texts(5)),
            (
                vec!["b c".to_owned()],
                vec!["a".to_owned(), "b c".to_owned()]
            )
        );
        assert_eq!(tail(&path, 1).unwrap()[0].at, T2);
        // More than is read at once: its end, from a whole line on.
        fs::write(&path, "t x\n".repeat(1 << 19)).unwrap();
        assert_eq!(tail(&path, 3).unwrap().len(), 3);
    }

    #[test]
    fn a_follower_misses_nothing_of_files_that_are_put_aside_twice_between_two_looks() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let aside = |n: u32| dir.path().join(format!("web.log.{n}"));
        let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        runtime.block_on(async {
            fs::write(&path, format!("{T1} a\n")).unwrap();
            let permit = permits.acquire_owned().await.unwrap();
            let mut follow = FollowLog::open(&path, 5, permit).unwrap();
            let sent = follow.next().await.unwrap();
            assert!(String::from_utf8_lossy(&sent).contains(r#""text":"a""#));
            let event = |text: &str| format!("data: {{\"at\":\"{T2}\",\"text\":\"{text}\"}}\n\n");
            fs::rename(&path, aside(2)).unwrap();
            fs::write(aside(1), format!("{T2} b\n")).unwrap();
            fs::write(&path, format!("{T2} c\n")).unwrap();
            assert_eq!(follow.next().await.unwrap(), event("b") + &event("c"));
            // What is gone unread is said.
            fs::remove_file(&path).unwrap();
            for n in [1, 2] {
                fs::remove_file(aside(n)).unwrap();
            }
            fs::write(&path, format!("{T2} d\n")).unwrap();
            assert_eq!(
                follow.next().await.unwrap(),
                REMOVED.to_owned() + &event("d")
            );
        });
    }
}
