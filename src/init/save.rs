//! Puts the file into place in one step: either the whole of it is there, or what was there before.

use std::path::Path;

use crate::manifest::{Existing, write_atomically};

/// Anyone may read it: it holds no secrets.
const MODE: u32 = 0o644;

/// Why the file was not written.
#[derive(Debug)]
pub(super) enum Unsaved {
    /// Something of this name is there.
    Exists,
    Io(std::io::Error),
}

/// Writes the file. A link of that name is replaced, never followed; without `replace`, nothing is.
pub(super) fn save(path: &Path, text: &str, replace: bool) -> Result<(), Unsaved> {
    if !replace && path.symlink_metadata().is_ok() {
        return Err(Unsaved::Exists);
    }
    let existing = if replace {
        Existing::Replaced
    } else {
        // Also if another process has made it meanwhile.
        Existing::Kept
    };
    write_atomically(path, text.as_bytes(), MODE, existing).map_err(|error| {
        if !replace && error.kind() == std::io::ErrorKind::AlreadyExists {
            Unsaved::Exists
        } else {
            Unsaved::Io(error)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_is_overwritten_unless_asked_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ubs.toml");
        save(&path, "one", false).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert!(matches!(save(&path, "two", false), Err(Unsaved::Exists)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        save(&path, "two", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        let target = dir.path().join("precious");
        std::fs::write(&target, "kept").unwrap();
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink("precious", &link).unwrap();
        assert!(matches!(save(&link, "x", false), Err(Unsaved::Exists)));
        save(&link, "x", true).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
        assert!(link.symlink_metadata().unwrap().is_file());
        let dangling = dir.path().join("dangling.toml");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(matches!(save(&dangling, "x", false), Err(Unsaved::Exists)));
        let directory = dir.path().join("dir.toml");
        std::fs::create_dir(&directory).unwrap();
        assert!(matches!(save(&directory, "x", true), Err(Unsaved::Io(_))));
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains(".ubs-"))
            .collect();
        assert!(left.is_empty());
    }
}
