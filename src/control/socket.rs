//! Where the socket lies, and how it is reached by a short path: one in a socket's address has at most 108 bytes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::kernel::is_listened_on;

/// Its name in the state directory.
pub(super) const NAME: &str = "control.sock";
/// What it is called until it has its permissions.
const UNFINISHED: &str = "control.sock.new";

/// A directory by a path of a few bytes, for as long as this lives.
pub(super) struct ShortPath(File);

impl ShortPath {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(dir)?;
        Ok(Self(dir))
    }

    pub(super) fn to(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}

/// The socket of this supervisor; its file goes with it.
pub(super) struct Socket {
    dir: ShortPath,
    /// Device and inode.
    file: (u64, u64),
}

impl Socket {
    /// Listens in `dir`. The socket of a dead supervisor is replaced; one that answers is not.
    pub(super) fn bind(dir: &Path) -> io::Result<(Self, UnixListener)> {
        let dir = ShortPath::of(dir)?;
        let (path, unfinished) = (dir.to(NAME), dir.to(UNFINISHED));
        require_stale(&path)?;
        remove_if_there(&unfinished)?;
        let listener = UnixListener::bind(&unfinished)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
        fs::rename(&unfinished, &path)?;
        let file = id_of(&path)?;
        Ok((Self { dir, file }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let path = self.dir.to(NAME);
        // Not that of another supervisor.
        if id_of(&path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(path);
        }
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn require_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let what = format!("{NAME} is there and is no socket; remove it");
            return Err(io::Error::new(ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    match is_listened_on(path) {
        Ok(false) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(true) => {
            let what = "another supervisor answers there";
            Err(io::Error::new(ErrorKind::AddrInUse, what))
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
