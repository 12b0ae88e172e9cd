//! The files of one service's output, the newest and those put aside, read as one.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::domain::ids::At;
use crate::domain::output::OutputLine;

/// Longest line that is read; the supervisor writes shorter ones.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Files put aside are looked for up to this number.
const FILES_MAX: u32 = 1000;

/// A line with its moment: that of the line before it, if it has none itself.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Entry {
    pub at: At,
    pub line: OutputLine,
}

/// Device and inode.
type FileId = (u64, u64);

/// What is read of a file.
struct Opened {
    file: File,
    id: FileId,
    /// It was last written then.
    written: At,
}

fn open(path: &Path) -> io::Result<Option<Opened>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok(None);
    }
    let written = about.mtime().saturating_mul(1_000_000) + about.mtime_nsec() / 1_000;
    Ok(Some(Opened {
        id: (about.dev(), about.ino()),
        written: At(written),
        file,
    }))
}

/// The file and those put aside, the newest first, each once although it is put aside meanwhile.
fn open_all(path: &Path) -> io::Result<Vec<Opened>> {
    let mut found: Vec<Opened> = open(path)?.into_iter().collect();
    for number in 1..=FILES_MAX {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{number}"));
        match open(Path::new(&aside))? {
            Some(file) if found.iter().all(|known| known.id != file.id) => found.push(file),
            Some(_) => {}
            None => break,
        }
    }
    Ok(found)
}

/// Names of services that have output here.
pub(super) fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            let (rest, last) = name.rsplit_once('.')?;
            let is_aside = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
            let name = if is_aside { rest } else { name };
            name.strip_suffix(".log").map(str::to_owned)
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Reads a line with its end; at most [`LINE_BYTES_MAX`] of it.
fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<usize> {
    let left = LINE_BYTES_MAX.saturating_sub(line.len() as u64);
    file.by_ref().take(left).read_until(b'\n', line)
}

fn entry(bytes: &[u8], before: &mut At) -> Entry {
    let text = String::from_utf8_lossy(bytes);
    let line = OutputLine::parse(text.trim_end_matches('\n'));
    *before = line.moment().unwrap_or(*before);
    Entry { at: *before, line }
}

/// The lines of a service, the oldest first, and then what comes.
pub(in crate::cli) struct ServiceLog {
    path: PathBuf,
    /// What is still to be read, the next last.
    left: Vec<Opened>,
    reading: Option<(BufReader<File>, FileId)>,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
    before: At,
}

impl ServiceLog {
    /// From the oldest line on that may be of `since` or later.
    pub(in crate::cli) fn open(path: &Path, since: Option<At>) -> io::Result<Self> {
        let mut left = open_all(path)?;
        if let Some(since) = since {
            left.retain(|file| file.written >= since);
        }
        Ok(Self {
            path: path.to_owned(),
            left,
            reading: None,
            partial: Vec::new(),
            before: At(0),
        })
    }

    /// The last `number` lines that are `wanted`; newer files are read first, so that older ones need not be.
    pub(in crate::cli) fn last(
        &mut self,
        number: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> io::Result<VecDeque<Entry>> {
        let mut last = VecDeque::new();
        let files = std::mem::take(&mut self.left);
        for (place, file) in files.into_iter().enumerate() {
            let mut of_file = VecDeque::new();
            let mut reader = BufReader::new(file.file);
            let mut bytes = Vec::new();
            self.before = At(0);
            while read_line(&mut reader, &mut bytes)? > 0 {
                // The end of a line that is being written comes when following.
                if place == 0 && bytes.last() != Some(&b'\n') && !is_longest(&bytes) {
                    break;
                }
                let entry = entry(&bytes, &mut self.before);
                if wanted(&entry) && number > 0 {
                    if of_file.len() == number - last.len() {
                        of_file.pop_front();
                    }
                    of_file.push_back(entry);
                }
                bytes.clear();
            }
            if place == 0 {
                self.partial = bytes;
                self.reading = Some((reader, file.id));
            }
            while let Some(entry) = of_file.pop_back() {
                last.push_front(entry);
            }
            if last.len() >= number {
                break;
            }
        }
        Ok(last)
    }

    /// The next line; `None` if there is none yet.
    pub(in crate::cli) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some((reader, _)) = &mut self.reading else {
                let Some(next) = self.left.pop() else {
                    return Ok(None);
                };
                self.reading = Some((BufReader::new(next.file), next.id));
                continue;
            };
            read_line(reader, &mut self.partial)?;
            let is_whole = self.partial.last() == Some(&b'\n') || is_longest(&self.partial);
            let is_last = self.left.is_empty();
            // A file that was put aside gets no more; what it ends with is a line.
            if is_whole || (!is_last && !self.partial.is_empty()) {
                let bytes = std::mem::take(&mut self.partial);
                return Ok(Some(entry(&bytes, &mut self.before)));
            }
            if is_last {
                return Ok(None);
            }
            self.reading = None;
        }
    }

    /// Adds what is new, until there are `most`; false if some that had not been read is gone.
    pub(in crate::cli) fn read_new(
        &mut self,
        most: usize,
        new: &mut Vec<Entry>,
    ) -> io::Result<bool> {
        let mut is_whole = true;
        for looks in [false, true] {
            if looks {
                is_whole = self.look()?;
            }
            loop {
                if new.len() >= most {
                    return Ok(is_whole);
                }
                match self.next()? {
                    Some(entry) => new.push(entry),
                    None => break,
                }
            }
        }
        Ok(is_whole)
    }

    /// Looks for files that were begun since; false if some that had not been read are gone.
    fn look(&mut self) -> io::Result<bool> {
        let Some((_, id)) = &self.reading else {
            self.left = open_all(&self.path)?;
            return Ok(true);
        };
        match open(&self.path)? {
            Some(newest) if newest.id != *id => {}
            _ => return Ok(true),
        }
        let mut files = open_all(&self.path)?;
        let known = files.iter().position(|file| file.id == *id);
        files.truncate(known.unwrap_or(files.len()));
        self.left = files;
        Ok(known.is_some())
    }
}

fn is_longest(bytes: &[u8]) -> bool {
    bytes.len() as u64 >= LINE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, text: &str) -> String {
        format!("2026-11-24T10:00:{second:02}Z {text}\n")
    }

    fn texts(entries: impl IntoIterator<Item = Entry>) -> Vec<String> {
        entries.into_iter().map(|entry| entry.line.text).collect()
    }

    fn rest(log: &mut ServiceLog) -> Vec<String> {
        texts(std::iter::from_fn(|| log.next().unwrap()))
    }

    #[test]
    fn files_put_aside_are_read_as_one_and_followed_over_what_is_put_aside_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.b.log");
        let aside = |n: u32| dir.path().join(format!("a.b.log.{n}"));
        fs::write(aside(2), line(1, "1") + "no time\n").unwrap();
        fs::write(aside(1), line(3, "3")).unwrap();
        fs::write(&path, line(4, "4") + "2026-11-24T10:00:05Z ha").unwrap();
        assert_eq!(names_in(dir.path()), ["a.b"]);
        let mut log = ServiceLog::open(&path, None).unwrap();
        assert_eq!(rest(&mut log), ["1", "no time", "3", "4"]);
        let mut last = ServiceLog::open(&path, None).unwrap();
        assert_eq!(
            texts(last.last(3, |_| true).unwrap()),
            ["no time", "3", "4"]
        );
        let mut odd = ServiceLog::open(&path, None).unwrap();
        let found = odd.last(9, |entry| entry.line.text != "3").unwrap();
        assert_eq!(found[1].at, found[0].at);
        assert_eq!(texts(found), ["1", "no time", "4"]);

        // The line is finished, and two files are put aside before we look again.
        fs::write(&path, line(4, "4") + &line(5, "half")).unwrap();
        fs::rename(&path, aside(4)).unwrap();
        fs::write(aside(3), line(6, "6")).unwrap();
        fs::write(&path, line(7, "7")).unwrap();
        for (from, to) in [(3, 1), (4, 2)] {
            fs::rename(aside(from), aside(to)).unwrap();
        }
        for log in [&mut log, &mut last] {
            let mut found = Vec::new();
            assert!(log.read_new(2, &mut found).unwrap());
            assert_eq!(found.len(), 2);
            assert!(log.read_new(9, &mut found).unwrap());
            assert_eq!(texts(found), ["half", "6", "7"]);
        }
        // What was being read is gone.
        for n in [1, 2] {
            fs::remove_file(aside(n)).unwrap();
        }
        fs::write(dir.path().join("new"), line(8, "8")).unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(!log.look().unwrap());
        assert_eq!(rest(&mut log), ["8"]);
    }
}
