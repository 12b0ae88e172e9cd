//! A lock between processes: a file that one of them holds, with a short text about who that is.
//!
//! The system releases it when its holder ends, however it ends. The file itself stays.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The text is the holder's, and no file of ours is longer.
const TEXT_BYTES_MAX: u64 = 4096;

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub(crate) struct LockFile(Flock<File>);

/// What a try without waiting came to.
#[derive(Debug)]
pub(crate) enum LockAttempt {
    Taken(LockFile),
    /// Another process holds it, and left this text.
    Held(String),
}

impl LockFile {
    /// Takes the lock, and waits for whoever holds it.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(crate) fn wait_for(path: &Path) -> io::Result<Self> {
        Flock::lock(open(path)?, FlockArg::LockExclusive)
            .map(Self)
            .map_err(|(_, errno)| errno.into())
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(crate) fn try_take(path: &Path) -> io::Result<LockAttempt> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(LockAttempt::Taken(Self(lock))),
            Err((file, Errno::EWOULDBLOCK)) => {
                Ok(LockAttempt::Held(read_text(&file).unwrap_or_default()))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// What the process wrote that holds the lock now. `None` if nobody does, or the file cannot be read.
    pub(crate) fn text_of_holder(path: &Path) -> Option<String> {
        let file = File::open(path).ok()?;
        let text = read_text(&file).ok()?;
        let attempt = Flock::lock(file, FlockArg::LockSharedNonblock);
        // Otherwise what the file says is history.
        matches!(attempt, Err((_, Errno::EWOULDBLOCK))).then_some(text)
    }

    /// Replaces the text by `text`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write_text(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text)
    }
}

/// Follows no link, and never waits for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn read_text(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_others_read_who() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        assert!(LockFile::text_of_holder(&path).is_none());
        let LockAttempt::Taken(mut lock) = LockFile::try_take(&path).unwrap() else {
            panic!("nobody holds it");
        };
        lock.write_text(b"a long first text").unwrap();
        lock.write_text(b"me").unwrap();
        assert_eq!(LockFile::text_of_holder(&path).as_deref(), Some("me"));
        let attempt = LockFile::try_take(&path).unwrap();
        assert!(matches!(&attempt, LockAttempt::Held(text) if text == "me"));
        drop(lock);
        // What is left of the text is nobody's.
        assert!(LockFile::text_of_holder(&path).is_none());
        LockFile::wait_for(&path).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("a.lock"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(LockFile::try_take(&link).is_err());
        assert!(LockFile::wait_for(&link).is_err());
        assert!(!target.exists());
    }
}
