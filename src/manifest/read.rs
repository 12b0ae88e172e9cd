//! Reads one small text file, whatever stands at its path: a pipe that nobody writes to, a device or a
//! directory must neither hang nor surprise.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum UnreadFile {
    Missing,
    /// What it is instead of a file.
    NotRegular(&'static str),
    TooLarge(u64),
    Io(std::io::Error),
}

/// The bytes of a regular file of at most `bytes_max`.
pub(crate) fn read_small(path: &Path, bytes_max: u64) -> Result<Vec<u8>, UnreadFile> {
    read_small_if(path, bytes_max, |_| Ok(()))
}

/// The same of a file of which `may` approves: it sees what is read, whatever has come to its path meanwhile.
pub(crate) fn read_small_if(
    path: &Path,
    bytes_max: u64,
    may: impl FnOnce(&fs::Metadata) -> std::io::Result<()>,
) -> Result<Vec<u8>, UnreadFile> {
    // Opening a device can have an effect, so it is not opened to find out what it is.
    require_regular(&fs::metadata(path).map_err(unread)?)?;
    let file = fs::OpenOptions::new()
        .read(true)
        // If it has become a pipe meanwhile, opening it does not wait.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(unread)?;
    let metadata = file.metadata().map_err(unread)?;
    require_regular(&metadata)?;
    may(&metadata).map_err(UnreadFile::Io)?;
    if metadata.len() > bytes_max {
        return Err(UnreadFile::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > bytes_max {
        return Err(UnreadFile::TooLarge(bytes.len() as u64));
    }
    Ok(bytes)
}

fn require_regular(metadata: &fs::Metadata) -> Result<(), UnreadFile> {
    if metadata.is_file() {
        Ok(())
    } else if metadata.is_dir() {
        Err(UnreadFile::NotRegular("a directory"))
    } else {
        Err(UnreadFile::NotRegular("a pipe, socket or device"))
    }
}

fn unread(error: std::io::Error) -> UnreadFile {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => UnreadFile::Missing,
        _ => UnreadFile::Io(error),
    }
}
