//! What several benches do alike.

use std::path::{Path, PathBuf};

/// Where a log lies that is not there yet.
pub(crate) fn fresh(dir: &Path, name: &str) -> PathBuf {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("{name}{suffix}")));
    }
    dir.join(name)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
