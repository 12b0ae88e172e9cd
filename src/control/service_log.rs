//! The files of one service's output, the newest and those put aside, read as one: the only way in which they are
//! read, by `ubs logs`, `ubs top` and the API.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::domain::ids::At;
use crate::domain::output::OutputLine;

/// Longest line that is read; the supervisor writes shorter ones.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Files put aside are looked for up to this number.
const FILES_MAX: u32 = 1000;
/// So often the files are looked at, if they move each time.
const SCANS_MAX: u32 = 10;
/// The clock of files may be behind that of lines by so much.
const CLOCKS_APART_US: i64 = 1_000_000;

/// A line with its moment: that of the line before it, if it has none itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub at: At,
    pub line: OutputLine,
}

/// Device and inode.
type FileId = (u64, u64);

/// What is read of a file.
struct Opened {
    file: File,
    id: FileId,
    length: u64,
    /// It was last written then.
    written: At,
}

fn open(path: &Path) -> io::Result<Option<Opened>> {
    // Not waiting for a writer, should somebody have put a pipe there.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
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
        length: about.len(),
        written: At(written),
        file,
    }))
}

/// The file and those put aside, the newest first, each once. Looked at again if the newest became another one
/// meanwhile: the order would not be right.
fn open_all(path: &Path) -> io::Result<Vec<Opened>> {
    let mut looks = 0;
    loop {
        let (newest, found) = scan(path)?;
        looks += 1;
        if looks == SCANS_MAX || open(path)?.map(|file| file.id) == newest {
            return Ok(found);
        }
    }
}

/// The newest, if it is there, and all that are.
fn scan(path: &Path) -> io::Result<(Option<FileId>, Vec<Opened>)> {
    let mut found: Vec<Opened> = open(path)?.into_iter().collect();
    let newest = found.first().map(|file| file.id);
    let mut is_gap = false;
    for number in 1..=FILES_MAX {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{number}"));
        match open(Path::new(&aside))? {
            // It moved on while we looked.
            Some(file) if found.iter().any(|known| known.id == file.id) => {}
            Some(file) => found.push(file),
            // While they move there is one place without a file.
            None if is_gap => break,
            None => is_gap = true,
        }
    }
    Ok((newest, found))
}

/// Names of services that have output here.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
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
pub(crate) struct ServiceLog {
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
    pub(crate) fn open(path: &Path, since: Option<At>) -> io::Result<Self> {
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

    /// The last `number` lines that are `wanted`, of the last `most` bytes; newer files are read first, so that older
    /// ones need not be.
    pub(crate) fn last(
        &mut self,
        number: usize,
        mut most: u64,
        wanted: impl Fn(&Entry) -> bool,
    ) -> io::Result<VecDeque<Entry>> {
        let mut last = VecDeque::new();
        let files = std::mem::take(&mut self.left);
        for (place, file) in files.into_iter().enumerate() {
            let mut of_file = VecDeque::new();
            let mut reader = BufReader::new(file.file);
            let mut bytes = Vec::new();
            let skipped = file.length.saturating_sub(most);
            most -= file.length - skipped;
            if skipped > 0 {
                reader.seek(SeekFrom::Start(skipped))?;
            }
            // The first line may have begun before.
            let mut is_cut = skipped > 0;
            self.before = At(0);
            while read_line(&mut reader, &mut bytes)? > 0 {
                if is_cut {
                    is_cut = bytes.last() != Some(&b'\n');
                    bytes.clear();
                    continue;
                }
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
            if last.len() >= number || most == 0 {
                break;
            }
        }
        Ok(last)
    }

    /// The next line; `None` if there is none yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
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

    /// Adds what is new, until there are `most`. If some that had not been read is gone, the place among those that
    /// were added where it would be.
    pub(crate) fn read_new(
        &mut self,
        most: usize,
        new: &mut Vec<Entry>,
    ) -> io::Result<Option<usize>> {
        if !self.read_up_to(most, new)? {
            return Ok(None);
        }
        let gone_at = (!self.look()?).then_some(new.len());
        self.read_up_to(most, new)?;
        Ok(gone_at)
    }

    /// False if there may be more.
    fn read_up_to(&mut self, most: usize, new: &mut Vec<Entry>) -> io::Result<bool> {
        while new.len() < most {
            match self.next()? {
                Some(entry) => new.push(entry),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Looks for files that were begun since; false if some that had not been read may be gone.
    fn look(&mut self) -> io::Result<bool> {
        let Some((reader, id)) = &mut self.reading else {
            self.left = open_all(&self.path)?;
            return Ok(true);
        };
        match open(&self.path)? {
            Some(newest) if newest.id != *id => {}
            Some(same) => {
                // Emptied by somebody: what is written now begins anew.
                if same.length < reader.stream_position()? {
                    reader.seek(SeekFrom::Start(0))?;
                    self.partial.clear();
                }
                return Ok(true);
            }
            None => return Ok(true),
        }
        let mut files = open_all(&self.path)?;
        let known = files.iter().position(|file| file.id == *id);
        match known {
            Some(known) => files.truncate(known),
            // Deleted: of those that are there, what was read before is older than its last line.
            None => {
                let read_up_to = self.before.0.saturating_sub(CLOCKS_APART_US);
                files.retain(|file| file.written.0 >= read_up_to);
            }
        }
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
            texts(last.last(3, u64::MAX, |_| true).unwrap()),
            ["no time", "3", "4"]
        );
        let mut odd = ServiceLog::open(&path, None).unwrap();
        let found = odd
            .last(9, u64::MAX, |entry| entry.line.text != "3")
            .unwrap();
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
            assert_eq!(log.read_new(2, &mut found).unwrap(), None);
            assert_eq!(found.len(), 2);
            assert_eq!(log.read_new(9, &mut found).unwrap(), None);
            assert_eq!(texts(found), ["half", "6", "7"]);
        }
        // What was being read is gone.
        for n in [1, 2] {
            fs::remove_file(aside(n)).unwrap();
        }
        fs::write(dir.path().join("new"), line(8, "8")).unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        let mut found = Vec::new();
        assert_eq!(log.read_new(9, &mut found).unwrap(), Some(0));
        assert_eq!(texts(found), ["8"]);
    }

    fn new_texts(log: &mut ServiceLog) -> Vec<String> {
        let mut found = Vec::new();
        log.read_new(9, &mut found).unwrap();
        texts(found)
    }

    #[test]
    fn what_is_written_to_a_file_that_was_put_aside_already_comes_before_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        fs::write(
            &path,
            line(1, "first, which is long") + "2026-11-24T10:00:01Z ha",
        )
        .unwrap();
        let mut log = ServiceLog::open(&path, None).unwrap();
        log.last(5, u64::MAX, |_| true).unwrap();
        assert_eq!(new_texts(&mut log), [""; 0]);
        let mut rest = File::options().append(true).open(&path).unwrap();
        fs::rename(&path, dir.path().join("web.log.1")).unwrap();
        fs::write(&path, line(2, "new") + "2026-11-24T10:00:02Z n").unwrap();
        io::Write::write_all(&mut rest, b"lf\n2026-11-24T10:00:01Z torn").unwrap();
        assert_eq!(new_texts(&mut log), ["half", "torn", "new"]);
    }

    #[test]
    fn a_file_that_is_deleted_or_emptied_is_followed_from_its_beginning_and_nothing_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let stamp = |us: i64, text: &str| format!("{} {text}\n", At(us));
        // The file that was put aside was last written long before.
        let now = crate::log::now().0;
        fs::write(dir.path().join("web.log.1"), stamp(now - 9_000_000, "old")).unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(9);
        let aside = File::options()
            .append(true)
            .open(dir.path().join("web.log.1"));
        aside.unwrap().set_modified(long_ago).unwrap();
        fs::write(&path, stamp(now, "1, which is long")).unwrap();
        let mut log = ServiceLog::open(&path, None).unwrap();
        assert_eq!(new_texts(&mut log), ["old", "1, which is long"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(new_texts(&mut log), [""; 0]);
        fs::write(&path, stamp(now, "2, which is long")).unwrap();
        assert_eq!(new_texts(&mut log), ["2, which is long"]);
        fs::write(&path, stamp(now, "3")).unwrap();
        assert_eq!(new_texts(&mut log), ["3"]);
    }

    #[test]
    fn of_much_output_only_the_end_is_read_from_a_whole_line_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        fs::write(
            dir.path().join("web.log.1"),
            line(1, "one") + &line(2, "two"),
        )
        .unwrap();
        fs::write(&path, line(3, "three")).unwrap();
        let last = |most| {
            let mut log = ServiceLog::open(&path, None).unwrap();
            texts(log.last(9, most, |_| true).unwrap())
        };
        assert_eq!(last(10), [""; 0]);
        assert_eq!(last(27), ["three"]);
        assert_eq!(last(27 + 25), ["three"]);
        assert_eq!(last(27 + 26), ["two", "three"]);
        assert_eq!(last(1_000), ["one", "two", "three"]);
        fs::write(&path, "y".repeat(3 << 20)).unwrap();
        assert!(last(1 << 20).len() <= 1);
    }
}
