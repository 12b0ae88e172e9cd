//! `/services/NAME/logs`: what a service printed, from the file that the supervisor keeps; its end, and what comes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::output::OutputLine;

/// Most lines at once.
pub(super) const LINES_MAX: u32 = 10_000;
/// Lines where none are asked for.
pub(super) const LINES_DEFAULT: u32 = 100;
/// Most bytes that are read for them, and at once when following.
const BYTES_MAX: u64 = 1 << 20;
/// Time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A comment is sent after so many looks without a line.
const LOOKS_UNTIL_SIGN: u32 = 75;

/// Where the output of a service is.
pub(super) fn path_of(output_dir: &Path, service: &str) -> PathBuf {
    output_dir.join(format!("{service}.log"))
}

/// The last lines of the file, and where they end. A file that is not there has none.
pub(super) fn tail(path: &Path, lines: u32) -> io::Result<(Vec<OutputLine>, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(BYTES_MAX);
    let (text, end) = read_lines(&mut file, start)?;
    let mut found: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    // The first one may have begun before.
    if start > 0 && !found.is_empty() {
        found.remove(0);
    }
    let first = found.len().saturating_sub(lines as usize);
    let found = found.into_iter().skip(first).map(line_of);
    Ok((found.collect(), end))
}

/// Whole lines from `start` on, and where they end.
fn read_lines(file: &mut File, start: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(BYTES_MAX).read_to_end(&mut text)?;
    let whole = text.iter().rposition(|&byte| byte == b'\n');
    // A line that is longer than what is read at once is given in parts.
    let whole = whole.map_or(0, |at| at + 1);
    if whole > 0 || (text.len() as u64) < BYTES_MAX {
        text.truncate(whole);
    }
    let end = start + text.len() as u64;
    Ok((text, end))
}

fn line_of(line: &[u8]) -> OutputLine {
    let text = String::from_utf8_lossy(line);
    OutputLine::parse(text.trim_end_matches('\n'))
}

/// One who follows the output of a service.
pub(super) struct FollowLog {
    path: PathBuf,
    /// Device and inode of the file that is read; none yet.
    file: Option<(File, (u64, u64))>,
    at: u64,
    first: Vec<OutputLine>,
    begun: bool,
    quiet: u32,
    _permit: OwnedSemaphorePermit,
}

impl FollowLog {
    /// From the last lines on.
    pub(super) fn open(
        path: PathBuf,
        lines: u32,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let (first, at) = tail(&path, lines)?;
        let file = open_file(&path).ok();
        Ok(Self {
            path,
            file,
            at,
            first,
            begun: false,
            quiet: 0,
            _permit: permit,
        })
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut follow| async move {
            let text = follow.next().await?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), follow))
        }))
    }

    /// What is sent next; `None` if the file can no longer be read.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            let first = std::mem::take(&mut self.first);
            return Some(format!(": output\n\n{}", events(first)));
        }
        loop {
            let lines = match self.look() {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::warn!("a reader of {} is let go: {error}", self.path.display());
                    return None;
                }
            };
            if !lines.is_empty() {
                self.quiet = 0;
                return Some(events(lines));
            }
            self.quiet += 1;
            if self.quiet >= LOOKS_UNTIL_SIGN {
                self.quiet = 0;
                return Some(": alive\n\n".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&mut self) -> io::Result<Vec<OutputLine>> {
        if let Some((file, _)) = &mut self.file {
            let (text, end) = read_lines(file, self.at)?;
            self.at = end;
            if !text.is_empty() {
                let lines = text.split_inclusive(|&byte| byte == b'\n');
                return Ok(lines.map(line_of).collect());
            }
        }
        // Put aside because it was full: go on with the new one.
        if let Ok((file, id)) = open_file(&self.path)
            && self.file.as_ref().is_none_or(|(_, known)| *known != id)
        {
            self.file = Some((file, id));
            self.at = 0;
        }
        Ok(Vec::new())
    }
}

fn open_file(path: &Path) -> io::Result<(File, (u64, u64))> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    Ok((file, (found.dev(), found.ino())))
}

fn events(lines: Vec<OutputLine>) -> String {
    let mut text = String::new();
    for line in lines {
        let document = serde_json::to_string(&line).unwrap_or_default();
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
    fn the_last_lines_are_read_and_what_is_unfinished_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        assert_eq!(tail(&path, 5).unwrap(), (vec![], 0));
        fs::write(&path, format!("{T1} a\n{T2} b c\n{T2} d\n{T2} half")).unwrap();
        let (lines, end) = tail(&path, 2).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!((texts, end), (vec!["b c", "d"], 71));
        assert_eq!(lines[0].at, T2);
        // More than is read at once: its end, from a whole line on.
        fs::write(&path, "t x\n".repeat(1 << 19)).unwrap();
        assert_eq!(tail(&path, 3).unwrap().0.len(), 3);
        fs::write(&path, "y".repeat(3 << 20)).unwrap();
        assert!(tail(&path, 3).unwrap().0.len() <= 1);
    }

    #[test]
    fn a_follower_goes_on_with_the_new_file() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        runtime.block_on(async {
            fs::write(&path, format!("{T1} a\n")).unwrap();
            let permit = permits.acquire_owned().await.unwrap();
            let mut follow = FollowLog::open(path.clone(), 5, permit).unwrap();
            assert!(follow.next().await.unwrap().contains(r#""text":"a""#));
            fs::rename(&path, dir.path().join("web.log.1")).unwrap();
            fs::write(&path, format!("{T2} b\n")).unwrap();
            assert_eq!(
                follow.next().await.unwrap(),
                format!("data: {{\"at\":\"{T2}\",\"text\":\"b\"}}\n\n")
            );
        });
    }
}
