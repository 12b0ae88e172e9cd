//! The files that a `sql:` pattern names, in the order in which they are applied.

use std::path::{Path, PathBuf};

use super::sql_names::in_order;

/// Files and bytes of SQL that are applied.
const SQL_FILES_MAX: usize = 1_000;
const SQL_BYTES_MAX: u64 = 8 << 20;

/// The files inside of the workspace that match, bounded in number and size.
pub(super) fn sql_files(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
        return Err(format!("{pattern} leads out of the workspace"));
    }
    let root = root
        .canonicalize()
        .map_err(|error| format!("the workspace cannot be read: {error}"))?;
    let escaped = glob::Pattern::escape(&root.display().to_string());
    let matches = glob::glob(&format!("{escaped}/{pattern}"))
        .map_err(|error| format!("{pattern} is not a valid pattern: {error}"))?;
    let mut files = Vec::new();
    let mut bytes = 0;
    for file in matches {
        let file = file.map_err(|error| error.to_string())?;
        let is_inside = file.canonicalize().is_ok_and(|f| f.starts_with(&root));
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if !is_inside || !metadata.is_file() {
            continue;
        }
        bytes += metadata.len();
        files.push(file);
        if files.len() > SQL_FILES_MAX || bytes > SQL_BYTES_MAX {
            return Err(format!(
                "{pattern} matches too much: at most {SQL_FILES_MAX} files and {SQL_BYTES_MAX} bytes are read"
            ));
        }
    }
    if files.is_empty() {
        return Err(format!("no file matches {pattern}"));
    }
    files.sort();
    Ok(in_order(files))
}
