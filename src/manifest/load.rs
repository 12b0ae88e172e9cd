//! Finds, reads and validates `ubs.toml`.

use std::path::{Path, PathBuf};

use super::parse::{MANIFEST_BYTES_MAX, parse, too_large};
use super::problem::{Fault, ManifestError, invalid};
use super::read::{UnreadFile, read_small};
use super::types::Manifest;

/// Name of the manifest.
pub(crate) const MANIFEST_NAME: &str = "ubs.toml";

/// `ubs.toml` in `start` or in a directory above it, up to the root of the file system.
///
/// A relative `start` is taken from the current directory.
#[must_use]
pub(crate) fn find_manifest(start: &Path) -> Option<PathBuf> {
    let start = std::path::absolute(start).ok()?;
    start
        .ancestors()
        .map(|directory| directory.join(MANIFEST_NAME))
        .find(|file| file.is_file())
}

impl Manifest {
    /// Reads and validates the manifest at `path`. Its directory is the workspace, as an absolute path.
    ///
    /// # Errors
    /// It is missing, not a readable regular file, larger than 1 MiB, not UTF-8, or has problems: all of
    /// them are reported at once.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let unreadable = |why: &str, help: &str| ManifestError::Unreadable {
            path: path.to_owned(),
            why: why.to_owned(),
            help: help.to_owned(),
        };
        let bytes = read_small(path, MANIFEST_BYTES_MAX).map_err(|unread| match unread {
            UnreadFile::Missing => unreadable(
                "there is no such file",
                "`-C DIR` or `--manifest FILE` names another place; docs/manifest.md has a complete example of a manifest",
            ),
            UnreadFile::NotRegular(what) => {
                unreadable(&format!("is {what}, not a file"), "name the file itself")
            }
            UnreadFile::TooLarge(bytes) => too_large(path, bytes),
            UnreadFile::Io(error) => unreadable(
                &format!("cannot be read: {error}"),
                "make it readable for the user that runs ubs",
            ),
        })?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let fault = Fault::new(
                    "not UTF-8",
                    "the manifest is not UTF-8 text",
                    "save the file as UTF-8",
                );
                // The text before the bad byte is the same, so its place is too.
                let text = String::from_utf8_lossy(&bytes);
                return Err(invalid(path, &text, vec![(at..at + 1, fault)]));
            }
        };
        let mut manifest = Self::parse(text, path)?;
        if let Ok(absolute) = std::path::absolute(&manifest.workspace) {
            manifest.workspace = absolute;
        }
        Ok(manifest)
    }

    /// Validates the text of a manifest that lies, or will lie, at `path`. Reads no file.
    ///
    /// # Errors
    /// It has problems: all of them are reported at once.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        parse(text, path)
    }
}
