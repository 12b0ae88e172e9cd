//! `/services/NAME/logs`: what a service printed, from the file that the supervisor keeps; its end, and what comes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::Follower;
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

/// The last lines of the file. One that is not there has none.
pub(super) fn tail(path: &Path, lines: u32) -> io::Result<Vec<OutputLine>> {
    let file = open_file(path)?;
    let last = file.map(|mut opened| tail_of(&mut opened.file, lines));
    Ok(last.transpose()?.unwrap_or_default().0)
}

/// The last lines of this file, and where they end.
fn tail_of(file: &mut File, lines: u32) -> io::Result<(Vec<OutputLine>, u64)> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(BYTES_MAX);
    let text = read_lines(file, start, false)?;
    let end = start + text.len() as u64;
    let mut found: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    // The first one may have begun before.
    if start > 0 && !found.is_empty() {
        found.remove(0);
    }
    let first = found.len().saturating_sub(lines as usize);
    let found = found.into_iter().skip(first).map(line_of);
    Ok((found.collect(), end))
}

/// Whole lines from `start` on; if nothing more comes, what stands behind the last of them is one too.
fn read_lines(file: &mut File, start: u64, is_over: bool) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(BYTES_MAX).read_to_end(&mut text)?;
    let is_more = text.len() as u64 == BYTES_MAX;
    let whole = text.iter().rposition(|&byte| byte == b'\n');
    match whole {
        Some(at) if is_more || !is_over => text.truncate(at + 1),
        None if !is_more && !is_over => text.clear(),
        // A line that is longer than what is read at once is given in parts.
        _ => {}
    }
    Ok(text)
}

fn line_of(line: &[u8]) -> OutputLine {
    let text = String::from_utf8_lossy(line);
    OutputLine::parse(text.trim_end_matches('\n'))
}

/// The end of a file that grows and is put aside.
struct Tail {
    path: PathBuf,
    /// What is read; none yet.
    opened: Option<Opened>,
    /// So far.
    at: u64,
}

/// One who follows the output of a service. The file is read beside the supervisor's own thread.
pub(super) struct FollowLog {
    /// Not while it is being read.
    tail: Option<Tail>,
    /// The last lines, until they are sent.
    first: Option<Vec<OutputLine>>,
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
        let mut opened = open_file(&path)?;
        // Of that very file: the next moment another one may be at the path.
        let (first, at) = match &mut opened {
            Some(opened) => tail_of(&mut opened.file, lines)?,
            None => (Vec::new(), 0),
        };
        Ok(Self {
            tail: Some(Tail { path, opened, at }),
            first: Some(first),
            quiet: 0,
            _permit: permit,
        })
    }

    async fn look(&mut self) -> io::Result<Vec<OutputLine>> {
        let Some(mut tail) = self.tail.take() else {
            return Err(io::Error::other("it was left while it was read"));
        };
        let read = move || {
            let lines = tail.look();
            (tail, lines)
        };
        let (tail, lines) = tokio::task::spawn_blocking(read)
            .await
            .map_err(io::Error::other)?;
        self.tail = Some(tail);
        lines
    }
}

impl Tail {
    fn look(&mut self) -> io::Result<Vec<OutputLine>> {
        // Before the old one is read: then that holds all that it ever will.
        let newer = open_file(&self.path).ok().flatten();
        let newer = newer.filter(|found| {
            let opened = self.opened.as_ref();
            opened.is_none_or(|opened| opened.id != found.id)
        });
        if let Some(opened) = &mut self.opened {
            let text = read_lines(&mut opened.file, self.at, newer.is_some())?;
            self.at += text.len() as u64;
            if !text.is_empty() {
                let lines = text.split_inclusive(|&byte| byte == b'\n');
                return Ok(lines.map(line_of).collect());
            }
        }
        let Some(mut newer) = newer else {
            return Ok(Vec::new());
        };
        let text = read_lines(&mut newer.file, 0, false)?;
        self.at = text.len() as u64;
        self.opened = Some(newer);
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        Ok(lines.map(line_of).collect())
    }
}

impl Follower for FollowLog {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(format!(": output\n\n{}", events(first)).into());
        }
        loop {
            let lines = match self.look().await {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::warn!("a reader of output is let go: {error}");
                    return None;
                }
            };
            if !lines.is_empty() {
                self.quiet = 0;
                return Some(events(lines).into());
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

struct Opened {
    file: File,
    /// Device and inode.
    id: (u64, u64),
}

/// `None`: there is no such file yet.
fn open_file(path: &Path) -> io::Result<Option<Opened>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let id = (found.dev(), found.ino());
    Ok(Some(Opened { file, id }))
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
        assert_eq!(tail(&path, 5).unwrap(), vec![]);
        fs::write(&path, format!("{T1} a\n{T2} b c\n{T2} d\n{T2} half")).unwrap();
        let (lines, end) = tail_of(&mut File::open(&path).unwrap(), 2).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!((texts, end), (vec!["b c", "d"], 71));
        assert_eq!(lines[0].at, T2);
        // More than is read at once: its end, from a whole line on.
        fs::write(&path, "t x\n".repeat(1 << 19)).unwrap();
        assert_eq!(tail(&path, 3).unwrap().len(), 3);
        fs::write(&path, "y".repeat(3 << 20)).unwrap();
        assert!(tail(&path, 3).unwrap().len() <= 1);
    }

    #[test]
    fn no_line_is_lost_or_cut_where_a_file_is_put_aside_between_two_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        fs::write(&path, format!("{T1} first, which is long\n{T1} ha")).unwrap();
        let permit = permits.try_acquire_owned().unwrap();
        let mut follow = FollowLog::open(path.clone(), 5, permit).unwrap();
        let mut tail = follow.tail.take().unwrap();
        assert_eq!(tail.look().unwrap(), vec![]);
        let mut rest = File::options().append(true).open(&path).unwrap();
        fs::rename(&path, dir.path().join("web.log.1")).unwrap();
        fs::write(&path, format!("{T2} new\n{T2} n")).unwrap();
        io::Write::write_all(&mut rest, format!("lf\n{T1} torn").as_bytes()).unwrap();
        let mut texts = Vec::new();
        for _ in 0..4 {
            let lines = tail.look().unwrap();
            texts.extend(lines.into_iter().map(|line| line.text));
        }
        assert_eq!(texts, ["half", "torn", "new"]);
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
            let sent = follow.next().await.unwrap();
            assert!(String::from_utf8_lossy(&sent).contains(r#""text":"a""#));
            fs::rename(&path, dir.path().join("web.log.1")).unwrap();
            fs::write(&path, format!("{T2} b\n")).unwrap();
            assert_eq!(
                follow.next().await.unwrap(),
                format!("data: {{\"at\":\"{T2}\",\"text\":\"b\"}}\n\n")
            );
        });
    }
}
