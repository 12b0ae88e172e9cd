//! Tells when another process may have written to the log, without looking at it again and again.
//!
//! A write to the write-ahead log is seen at once (inotify(7)), but before its commit can be read: that is after
//! the file system's sync. So it is followed by a few looks, and then by none until the next write.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::kernel::FileWatch;

/// Looks after a write, each so many milliseconds after the one before.
const LOOKS_AFTER_MS: [u64; 5] = [5, 20, 100, 500, 2_000];
/// Between two looks at a log that cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A watch on the log; it looks now and then if the system gives none.
pub(super) struct LogWatch {
    events: Option<FileWatch>,
    /// Looks since the last write.
    looks: usize,
}

impl LogWatch {
    /// On the log whose file is `log`. To be called when something was written to it.
    pub(super) fn on(log: &Path) -> Self {
        let events = match watch(log) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!("the log cannot be watched, and is looked at every 10 s: {error}");
                None
            }
        };
        Self { events, looks: 0 }
    }

    /// Waits until the log is worth a look. May be dropped and called again.
    pub(super) async fn next(&mut self) {
        let Some(events) = &self.events else {
            return tokio::time::sleep(LOOK_EVERY).await;
        };
        let look = async {
            match LOOKS_AFTER_MS.get(self.looks) {
                Some(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
                None => std::future::pending().await,
            }
        };
        let goes_on = tokio::select! {
            goes_on = events.written() => {
                self.looks = 0;
                goes_on
            }
            () = look => {
                self.looks += 1;
                return;
            }
        };
        if !goes_on {
            tracing::warn!("the log's write-ahead file was replaced; it is looked at every 10 s");
            self.events = None;
        }
    }
}

fn watch(log: &Path) -> io::Result<FileWatch> {
    let mut wal = log.as_os_str().to_owned();
    wal.push("-wal");
    FileWatch::on(Path::new(&wal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_and_then_followed_by_a_few_looks_and_silence() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.db");
        let wal = dir.path().join("log.db-wal");
        std::fs::write(&wal, "a").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut watch = LogWatch::on(&log);
            watch.looks = LOOKS_AFTER_MS.len();
            let none = tokio::time::timeout(Duration::from_millis(50), watch.next());
            assert!(none.await.is_err(), "nothing is due");
            std::fs::write(&wal, "ab").unwrap();
            watch.next().await;
            assert_eq!(watch.looks, 0);
            watch.next().await;
            watch.next().await;
            assert_eq!(watch.looks, 2, "it is looked at again");
            std::fs::remove_file(&wal).unwrap();
            watch.next().await;
            assert!(watch.events.is_none(), "it looks now and then instead");
        });
    }
}
