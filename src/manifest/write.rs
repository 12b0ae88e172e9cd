//! Writes a whole file in one step: after a crash the old one is there or the new one, never a part.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
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
/// directory. `mode` holds whatever the user's mask is; only the owner can read the file before that.
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
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    match existing {
        Existing::Replaced => file.persist(path)?,
        Existing::Kept => file.persist_noclobber(path)?,
    };
    sync_directory(directory)
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
        assert!(write_atomically(&dir.path().join("no/x"), b"", 0o600, Existing::Kept).is_err());
    }
}
