//! A small file of the workspace as text.

use std::path::Path;

/// Bytes of one file that is read.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A small file of the workspace as text.
pub(super) fn read_text(file: &Path) -> Result<String, String> {
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
}
