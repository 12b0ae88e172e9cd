//! File descriptors: waiting on several, and cloning files without copying their bytes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
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

/// Makes `target` share all bytes of `source`, copy-on-write (ioctl_ficlone(2)); `false` if the file system cannot.
pub(crate) fn try_reflink(source: &File, target: &File) -> bool {
    // SAFETY: both descriptors are open for the time of the call; FICLONE takes an integer argument.
    unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONE, source.as_raw_fd()) == 0 }
}
