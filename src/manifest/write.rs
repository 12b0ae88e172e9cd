//! Writes a whole file in one step: after a crash the old one is there or the new one, never a part.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// What happens to a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced; a symbolic link is replaced too, never followed.
    Replaced,
    /// It stays, and the error is of the kind `AlreadyExists`.
    Kept,
}

/// Writes a temporary file beside `path`, synchronises it, moves it into place and synchronises the
/// directory. `mode` holds whatever the user's mask is; only the owner can read the file before that. A file that is
/// replaced keeps its owner, group and extended attributes as far as we may give them; a new one that root makes belongs
/// to whom its directory belongs.
///
/// # Errors
/// Nothing was written, or the name is not known to be durable.
pub(crate) fn write_atomically(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    existing: Existing,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}.ubs-"))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    keep_owner_and_attributes(path, directory, file.as_file())?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    match existing {
        Existing::Replaced => file.persist(path)?,
        Existing::Kept => file.persist_noclobber(path)?,
    };
    sync_directory(directory)
}

/// Largest extended attribute, and longest list of their names (xattr(7)).
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Gives the file the owner and attributes of the one that it replaces. Where that is the owner's right alone, a file
/// that we may write is replaced by one of ours, as editors do.
fn keep_owner_and_attributes(path: &Path, directory: &Path, file: &File) -> io::Result<()> {
    let found = path
        .symlink_metadata()
        .ok()
        .filter(std::fs::Metadata::is_file);
    let is_new = found.is_none();
    let like = found.map_or_else(|| directory.metadata(), Ok)?;
    let made = file.metadata()?;
    if (like.uid(), like.gid()) != (made.uid(), made.gid()) {
        match fchown(file, Some(like.uid()), Some(like.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    if is_new {
        return Ok(());
    }
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let Ok(bytes) = rustix::fs::llistxattr(path, &mut names) else {
        // This file system has none.
        return Ok(());
    };
    let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
    for name in names[..bytes]
        .split(|byte| *byte == 0)
        .filter(|n| !n.is_empty())
    {
        let Ok(length) = rustix::fs::lgetxattr(path, name, &mut value[..]) else {
            continue;
        };
        let flags = rustix::fs::XattrFlags::empty();
        if let Err(error) = rustix::fs::fsetxattr(file, name, &value[..length], flags) {
            let name = String::from_utf8_lossy(name);
            tracing::debug!(path = %path.display(), %name, %error, "an attribute could not be kept");
        }
    }
    Ok(())
}

/// Makes the directory's entries durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_atomically(&path, b"one", 0o600, Existing::Kept).unwrap();
        let kept = write_atomically(&path, b"two", 0o644, Existing::Kept).unwrap_err();
        assert_eq!(kept.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o600);
        write_atomically(&path, b"two", 0o666, Existing::Replaced).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(), 0o666);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let attribute = rustix::fs::XattrFlags::empty();
        let has_attributes = rustix::fs::setxattr(&path, "user.note", b"kept", attribute).is_ok();
        let is_root = nix::unistd::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&path, Some(65534), Some(65533)).unwrap();
        }
        write_atomically(&path, b"three", 0o600, Existing::Replaced).unwrap();
        let found = path.metadata().unwrap();
        assert!(!is_root || (found.uid(), found.gid()) == (65534, 65533));
        let mut value = [0; 16];
        let kept = rustix::fs::getxattr(&path, "user.note", &mut value);
        assert!(!has_attributes || &value[..kept.unwrap()] == b"kept");
        // What root makes in somebody's directory is theirs.
        if is_root {
            std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
            let new = dir.path().join("new");
            write_atomically(&new, b"", 0o600, Existing::Kept).unwrap();
            assert_eq!(new.metadata().unwrap().uid(), 65534);
            std::fs::remove_file(new).unwrap();
        }
        assert!(write_atomically(&dir.path().join("no/x"), b"", 0o600, Existing::Kept).is_err());
    }
}
