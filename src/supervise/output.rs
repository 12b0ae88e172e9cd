//! Keeps what a service prints: line by line, cleaned, with the time, in a file of bounded size.
//!
//! A silent service costs a task and a descriptor: buffers and files come with the first byte. Writing to
//! the log file blocks the runtime for the time of a write(2) to the page cache; that is on purpose, since
//! handing each line to another thread would cost more.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::unistd::{AccessFlags, access};
use regex::Regex;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::domain::output::{push_json, push_text};
use crate::manifest::{LogFormat, LogRules};

/// Takes what must not be kept out of a line (redaction).
pub(crate) type Clean = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Gets a service's name and a line that it printed.
type See = dyn Fn(&str, &str) + Send + Sync;

/// Sees each line beside its file. It must return at once.
#[derive(Clone)]
pub(crate) struct Onlooker(pub Arc<See>);

impl std::fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Onlooker")
    }
}

/// Where the lines of a service go.
#[derive(Debug, Clone)]
pub(super) struct LineTarget {
    /// Its name.
    pub service: String,
    pub path: PathBuf,
    pub rules: LogRules,
    pub onlooker: Option<Onlooker>,
}

impl LineTarget {
    fn show(&self, line: &str) {
        if let Some(Onlooker(see)) = &self.onlooker {
            see(&self.service, line);
        }
    }
}

/// Longest line that is kept, bytes; the rest of a longer one is dropped.
pub(super) const LINE_MAX: usize = 16 << 10;

/// Bytes of a line that are seen by `clean` past those that are kept, so that it is not shown half a secret.
const LINE_SLACK: usize = 1 << 10;

/// Lines kept in memory.
const TAIL_LINES: usize = 40;

/// Bytes read at once.
const CHUNK: usize = 8 << 10;

/// Reads taken from the pipe after the service's end: a stray writer may not stop.
const READS_AFTER_END: usize = 256;

/// How often all log files were asked to be put aside.
static ROTATIONS: AtomicU64 = AtomicU64::new(0);

/// Each service's log file is put aside as `.1` before its next line.
pub(crate) fn rotate_logs() {
    ROTATIONS.fetch_add(1, Ordering::Relaxed);
}

/// A line that is waited for.
#[derive(Debug)]
pub(super) struct LineWatch {
    /// What it matches, after redaction: as it is in the log.
    pub pattern: Regex,
    /// Told once.
    pub seen: watch::Sender<bool>,
}

/// The output of one service.
#[derive(Debug)]
pub(crate) struct Output {
    target: LineTarget,
    tail: Arc<Mutex<VecDeque<String>>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Output {
    /// Sees to it that the log can be written: what is at the path is a file that can be, or the directory (mode 0700)
    /// takes one. A silent service gets none: making files is what the start of many would wait for most.
    pub(super) fn prepare(path: &Path) -> io::Result<()> {
        make_directory(path)?;
        match fs::symlink_metadata(path) {
            Ok(_) => open_log(path).map(drop),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let directory = path.parent().unwrap_or(Path::new("."));
                Ok(access(directory, AccessFlags::W_OK | AccessFlags::X_OK)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the pipe in a task until [`Output::finish`], or until nobody holds it open for writing.
    pub(super) fn start(
        pipe: pipe::Receiver,
        target: LineTarget,
        clean: Clean,
        watch: Option<LineWatch>,
    ) -> Self {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (stop, stopped) = oneshot::channel();
        let lines = LineWriter {
            log: OutputLog::new(target.clone()),
            clean,
            watch,
            tail: Arc::clone(&tail),
            partial: Vec::new(),
            dropped: 0,
        };
        let task = tokio::spawn(read(pipe, lines, stopped));
        Self {
            target,
            tail,
            stop: Some(stop),
            task: Some(task),
        }
    }

    /// Takes what is in the pipe now, and stops: a stray process may hold it open for ever.
    pub(super) async fn finish(&mut self) {
        self.stop = None;
        if let Some(task) = &mut self.task {
            let _ = task.await;
            self.task = None;
        }
    }

    /// Adds a line of our own. Only after [`Output::finish`], so that it is the last one.
    pub(super) fn note(&self, line: &str) {
        let mut log = OutputLog::new(self.target.clone());
        log.write(line);
        log.flush();
        self.target.show(line);
        push_line(&self.tail, line.to_owned());
    }

    /// The last lines, cleaned, the oldest first.
    #[must_use]
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

async fn read(pipe: pipe::Receiver, mut lines: LineWriter, mut stopped: oneshot::Receiver<()>) {
    loop {
        let last = tokio::select! {
            biased;
            _ = &mut stopped => true,
            ready = pipe.readable() => ready.is_err(),
        };
        // The buffer lives between two waits only, so it is no part of a waiting task.
        let mut reads = if last { READS_AFTER_END } else { 1 };
        let mut ended = last;
        while reads > 0 {
            reads -= 1;
            let mut buffer = [0; CHUNK];
            match pipe.try_read(&mut buffer) {
                Ok(n) if n > 0 => lines.take(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        lines.log.flush();
        if ended {
            lines.end();
            return;
        }
    }
}

/// Makes lines of bytes.
struct LineWriter {
    log: OutputLog,
    clean: Clean,
    /// Until it is seen.
    watch: Option<LineWatch>,
    tail: Arc<Mutex<VecDeque<String>>>,
    partial: Vec<u8>,
    dropped: usize,
}

impl LineWriter {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = (LINE_MAX + LINE_SLACK).saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(&text[..text.len().min(room)]);
            self.dropped += text.len().saturating_sub(room);
            if complete {
                self.line();
            }
        }
    }

    fn line(&mut self) {
        let mut bytes = std::mem::take(&mut self.partial);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let mut text = (self.clean)(&String::from_utf8_lossy(&bytes));
        if text.len() > LINE_MAX {
            let end = text.floor_char_boundary(LINE_MAX);
            self.dropped += text.len() - end;
            text.truncate(end);
        }
        if let Some(watch) = self.watch.take_if(|watch| watch.pattern.is_match(&text)) {
            watch.seen.send_replace(true);
        }
        if self.dropped > 0 {
            text.push_str(&format!(" [{} bytes cut]", self.dropped));
            self.dropped = 0;
        }
        self.log.write(&text);
        self.log.target.show(&text);
        push_line(&self.tail, text);
    }

    fn end(&mut self) {
        if !self.partial.is_empty() {
            self.line();
        }
        self.log.flush();
    }
}

fn push_line(tail: &Mutex<VecDeque<String>>, line: String) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(line);
}

/// The file, and those put aside.
struct OutputLog {
    target: LineTarget,
    file: Option<File>,
    size: u64,
    /// When the file was begun.
    begun: SystemTime,
    /// It was said that output is removed.
    said_removed: bool,
    pending: Vec<u8>,
    pending_lines: u64,
    missing: Option<Missing>,
    /// [`ROTATIONS`] when the file was last put aside.
    rotations: u64,
}

/// Lines that could not be kept.
struct Missing {
    lines: u64,
    since: String,
    reason: String,
    /// Something of them may be in the file, without the end of its line.
    is_torn: bool,
}

fn stamp() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// The disk or its file system refuses, and may not do so later.
pub(super) fn is_trouble(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(libc::EIO)
}

impl OutputLog {
    fn new(target: LineTarget) -> Self {
        Self {
            target,
            file: None,
            size: 0,
            begun: SystemTime::now(),
            said_removed: false,
            pending: Vec::new(),
            pending_lines: 0,
            missing: None,
            rotations: ROTATIONS.load(Ordering::Relaxed),
        }
    }

    fn push_stamped(&self, bytes: &mut Vec<u8>, line: &str) {
        match self.target.rules.format {
            LogFormat::Text => push_text(bytes, &stamp(), line),
            LogFormat::Json => push_json(bytes, &stamp(), &self.target.service, line),
        }
    }

    fn write(&mut self, line: &str) {
        let mut pending = std::mem::take(&mut self.pending);
        self.push_stamped(&mut pending, line);
        self.pending = pending;
        self.pending_lines += 1;
        if self.pending.len() >= LINE_MAX {
            self.flush();
        }
    }

    /// A disk that is full or read-only must not end the service: its lines are counted, and when they can
    /// be kept again that is said before the next one.
    fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let lines = std::mem::take(&mut self.pending_lines);
        if pending.is_empty() {
            return;
        }
        if let Some(missing) = &self.missing {
            let text = format!(
                "[ubs: {} lines from {} on are missing here: {}]",
                missing.lines, missing.since, missing.reason
            );
            let mut said = Vec::new();
            // A line that was cut off by the full disk gets its end.
            if missing.is_torn {
                said.push(b'\n');
            }
            self.push_stamped(&mut said, &text);
            said.append(&mut pending);
            pending = said;
        }
        match self.append(&pending) {
            Ok(()) => self.missing = None,
            Err(error) => {
                let is_torn = self.file.take().is_some();
                if self.missing.is_none() {
                    tracing::warn!(path = %self.target.path.display(), %error, "the output of a service cannot be kept");
                }
                let missing = self.missing.get_or_insert_with(|| Missing {
                    lines: 0,
                    since: stamp(),
                    reason: error.to_string(),
                    is_torn: false,
                });
                missing.lines += lines;
                missing.is_torn |= is_torn;
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Deleted, or put aside by another program: what is written from now on belongs into a new file.
        if self
            .file
            .as_ref()
            .is_some_and(|file| !is_at(file, &self.target.path))
        {
            self.file = None;
        }
        if self.file.is_none() {
            let file = open_log(&self.target.path)?;
            let about = file.metadata()?;
            self.size = about.len();
            self.begun = about.created().unwrap_or_else(|_| SystemTime::now());
            self.file = Some(file);
        }
        let length = bytes.len() as u64;
        let rotations = ROTATIONS.load(Ordering::Relaxed);
        let is_asked = std::mem::replace(&mut self.rotations, rotations) != rotations;
        let is_full = self.size + length > self.target.rules.size_max;
        let mut said = Vec::new();
        if self.size > 0 && (is_asked || is_full || is_older(self.begun, &self.target.rules)) {
            self.file = None;
            let is_removed = rotate(&self.target.path, &self.target.rules)?;
            self.size = 0;
            self.begun = SystemTime::now();
            if is_removed && !std::mem::replace(&mut self.said_removed, true) {
                let text = "[ubs: older output was removed, and will be again: `[logs]` says how much is kept]";
                self.push_stamped(&mut said, text);
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open_log(&self.target.path)?),
        };
        if !said.is_empty() {
            file.write_all(&said)?;
            self.size += said.len() as u64;
        }
        file.write_all(bytes)?;
        self.size += length;
        Ok(())
    }
}

/// That very file stands at the path.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |about: fs::Metadata| (about.dev(), about.ino());
    let here = file.metadata().ok().map(id);
    here.is_some() && here == fs::symlink_metadata(path).ok().map(id)
}

fn make_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent();
    match directory.filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        Some(missing) => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(missing),
        None => Ok(()),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    make_directory(path)?;
    // Not through a link, and not waiting for a reader, should somebody have put a pipe there.
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// The moment is longer ago than output is kept.
fn is_older(moment: SystemTime, rules: &LogRules) -> bool {
    let age = moment.elapsed().unwrap_or_default();
    rules
        .age_ms_max
        .is_some_and(|ms| age > Duration::from_millis(ms))
}

/// Puts the file aside as `.1`, the newest of those; says whether older output was removed.
fn rotate(path: &Path, rules: &LogRules) -> io::Result<bool> {
    let aside = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let mut is_removed = false;
    // The oldest, and what was kept while `keep` was larger.
    for n in rules.keep.. {
        match fs::remove_file(aside(n)) {
            Ok(()) => is_removed = true,
            Err(e) if e.kind() == ErrorKind::NotFound => break,
            Err(e) => return Err(e),
        }
    }
    for n in (1..rules.keep).rev() {
        let old = aside(n);
        if rules.age_ms_max.is_some() {
            let last = fs::symlink_metadata(&old).and_then(|about| about.modified());
            if last.is_ok_and(|last| is_older(last, rules)) {
                fs::remove_file(&old)?;
                is_removed = true;
                continue;
            }
        }
        match fs::rename(&old, aside(n + 1)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::rename(path, aside(1))?;
    Ok(is_removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::output::OutputLine;

    fn target(path: &Path, rules: LogRules) -> LineTarget {
        LineTarget {
            service: "web".to_owned(),
            path: path.to_owned(),
            rules,
            onlooker: None,
        }
    }

    #[test]
    fn every_line_is_in_one_file_while_files_are_put_aside_and_what_goes_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let rules = LogRules {
            size_max: 8 << 10,
            keep: 40,
            format: LogFormat::Json,
            ..LogRules::default()
        };
        let lines_of = |path: &Path| -> Vec<String> {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines = text.lines().map(|line| OutputLine::parse(line).text);
            lines.collect()
        };
        let aside = |n: u32| dir.path().join(format!("web.log.{n}"));
        let mut log = OutputLog::new(target(&path, rules));
        let mut printed = 0..;
        let mut print = |log: &mut OutputLog, lines: usize| {
            for number in printed.by_ref().take(lines) {
                log.write(&format!("line {number} {}", "x".repeat(number % 90)));
                if number % 7 == 0 {
                    log.flush();
                }
            }
            log.flush();
        };
        print(&mut log, 1000);
        let files = (1..=40).rev().map(aside).chain([path.clone()]);
        let all: Vec<String> = files.flat_map(|path| lines_of(&path)).collect();
        assert_eq!(all.len(), 1000);
        for (number, line) in all.iter().enumerate() {
            assert!(line.starts_with(&format!("line {number} ")), "{line}");
        }
        assert!(aside(5).exists() && !aside(40).exists());
        // Less is kept from now on; what goes is said in the file, the first time.
        log.target.rules.keep = 2;
        print(&mut log, 1000);
        assert!(aside(2).exists() && !aside(3).exists());
        let files = [aside(2), aside(1), path.clone()];
        assert!(
            files
                .iter()
                .all(|path| fs::metadata(path).unwrap().len() <= rules.size_max)
        );
        let last = lines_of(&path).pop().unwrap();
        assert!(last.starts_with("line 1999 "), "{last}");
        log.said_removed = false;
        log.target.rules.keep = 1000;
        print(&mut log, 100);
        assert!(!lines_of(&path).iter().any(|line| line.contains("removed")));
        log.target.rules.keep = 1;
        print(&mut log, 2000);
        let said = log.said_removed;
        assert!(said && fs::metadata(&path).is_ok());
    }

    #[test]
    fn what_is_older_than_its_age_is_put_aside_and_then_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let rules = LogRules {
            age_ms_max: Some(60_000),
            ..LogRules::default()
        };
        let mut log = OutputLog::new(target(&path, rules));
        log.write("one");
        log.flush();
        log.begun -= Duration::from_secs(61);
        log.write("two");
        log.flush();
        let aside = dir.path().join("web.log.1");
        assert!(fs::read_to_string(&aside).unwrap().ends_with("one\n"));
        let old = SystemTime::now() - Duration::from_secs(61);
        File::options()
            .append(true)
            .open(&aside)
            .unwrap()
            .set_modified(old)
            .unwrap();
        log.begun -= Duration::from_secs(61);
        log.write("three");
        log.flush();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("older output was removed") && text.ends_with("three\n"),
            "{text}"
        );
        assert!(fs::read_to_string(&aside).unwrap().ends_with("two\n"));
        assert!(!dir.path().join("web.log.2").exists());
    }

    #[test]
    fn a_log_that_can_be_written_is_made_with_the_first_line_and_one_that_cannot_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/web.log");
        Output::prepare(&path).unwrap();
        assert!(path.parent().unwrap().is_dir() && !path.exists());
        fs::create_dir(&path).unwrap();
        assert!(Output::prepare(&path).is_err());
    }

    #[test]
    fn a_log_file_that_is_gone_is_written_anew_and_one_is_put_aside_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let mut log = OutputLog::new(target(&path, LogRules::default()));
        let mut print = |line: &str, is_asked: bool| {
            // Not the counter itself, which other tests' files follow too.
            log.rotations = log.rotations.wrapping_sub(u64::from(is_asked));
            log.write(line);
            log.flush();
        };
        print("first", false);
        fs::remove_file(&path).unwrap();
        print("second", false);
        assert!(read("web.log").ends_with("second\n") && !read("web.log").contains("first"));
        fs::rename(&path, dir.path().join("moved")).unwrap();
        print("third", false);
        print("fourth", false);
        assert!(read("moved").ends_with("second\n"));
        assert_eq!(read("web.log").lines().count(), 2);
        print("fifth", true);
        assert_eq!(read("web.log").lines().count(), 1);
        assert_eq!(read("web.log.1").lines().count(), 2);
    }
}
