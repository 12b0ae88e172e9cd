//! File descriptors: waiting on several, and cloning files without copying their bytes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// One descriptor to wait on. A negative one is skipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollEntry {
    fd: RawFd,
    events: i16,
    /// After [`poll`]: something can be read or written without waiting (end of file and errors included).
    pub ready: bool,
}

impl PollEntry {
    /// Wait until it can be read.
    pub(crate) fn readable(fd: RawFd) -> Self {
        Self {
            fd,
            events: libc::POLLIN,
            ready: false,
        }
    }

    /// Wait until it can be written.
    pub(crate) fn writable(fd: RawFd) -> Self {
        Self {
            fd,
            events: libc::POLLOUT,
            ready: false,
        }
    }

    /// Not waited on.
    pub(crate) fn none() -> Self {
        Self::readable(-1)
    }
}

/// Waits until one of the descriptors is ready, or the time is up. An interrupting signal ends the wait early.
pub(crate) fn poll(entries: &mut [PollEntry], timeout: Option<Duration>) -> io::Result<()> {
    let mut fds: Vec<libc::pollfd> = entries
        .iter()
        .map(|e| libc::pollfd {
            fd: e.fd,
            events: e.events,
            revents: 0,
        })
        .collect();
    // Rounded up, so that a wait for less than a millisecond does not spin.
    let timeout_ms = timeout.map_or(-1, |t| {
        i32::try_from(t.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    // SAFETY: the pointer and the length describe one live vector of pollfd.
    let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    if n < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    for (entry, fd) in entries.iter_mut().zip(&fds) {
        entry.ready = n > 0 && fd.revents != 0;
    }
    Ok(())
}

/// Reads and writes on it return `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// How an SQLite database begins (<https://sqlite.org/fileformat2.html>, 1.3).
const DATABASE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The bytes of a file, at most `bytes_max`; `None` if it is an SQLite database. Whether it is one is
/// seen only once it is open, and then it stays open, as [`read_start_keeping_open`] explains.
pub(crate) fn read_unless_database(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let known = std::fs::symlink_metadata(path)?;
    if kept().contains_key(&(known.dev(), known.ino()))
        && read_start_keeping_open(path, DATABASE_MAGIC.len())? == DATABASE_MAGIC
    {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let mut start = [0; DATABASE_MAGIC.len()];
    if file.read_at(&mut start, 0)? == start.len() && start == *DATABASE_MAGIC {
        let found = file.metadata()?;
        keep_open(&mut kept(), (found.dev(), found.ino()), file);
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

type Kept = BTreeMap<(u64, u64), File>;

/// Descriptors that are never closed while their file exists.
fn kept() -> MutexGuard<'static, Kept> {
    static KEPT: Mutex<Kept> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody has locks on a file that is gone.
    kept.retain(|_, file| file.metadata().is_ok_and(|found| found.nlink() > 0));
    kept
}

/// A second descriptor of the same file must not be closed either, so it is given up.
fn keep_open(kept: &mut Kept, key: (u64, u64), file: File) {
    if let Some(other) = kept.insert(key, file) {
        std::mem::forget(other);
    }
}

/// The first bytes of a file that this process may also have open as an SQLite database: as many as
/// `bytes`, fewer if it is shorter. Follows no symbolic link.
///
/// The file stays open for as long as it exists. To close any descriptor of a file drops every lock
/// that this process holds on it (fcntl(2), "Record locks"), and SQLite's locks are such locks: a
/// database whose locks are gone is one that another process may change in the middle of our
/// transaction (<https://sqlite.org/howtocorrupt.html>, 2.2).
pub(crate) fn read_start_keeping_open(path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
    let mut kept = kept();
    let found = std::fs::symlink_metadata(path)?;
    let key = (found.dev(), found.ino());
    if !kept.contains_key(&key) {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let opened = file.metadata()?;
        if (opened.dev(), opened.ino()) != key {
            keep_open(&mut kept, (opened.dev(), opened.ino()), file);
            return Err(io::Error::other(
                "it was replaced while it was being opened",
            ));
        }
        kept.insert(key, file);
    }
    let Some(file) = kept.get(&key) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut start = vec![0; bytes];
    let mut length = 0;
    while length < bytes {
        match file.read_at(&mut start[length..], length as u64) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    start.truncate(length);
    Ok(start)
}

/// Makes `target` share all bytes of `source`, copy-on-write (ioctl_ficlone(2)); `false` if the file system cannot.
pub(crate) fn try_reflink(source: &File, target: &File) -> bool {
    // SAFETY: both descriptors are open for the time of the call; FICLONE takes an integer argument.
    unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONE, source.as_raw_fd()) == 0 }
}
