//! A directory that looks writable to a command, while what is written lies in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::run::{SandboxError, SandboxOutcome, SandboxSpec, has_mounts_below, run_sandboxed};

/// See [`SandboxSpec::overlay`].
#[derive(Debug, Clone)]
pub struct Overlay {
    /// What looks writable.
    pub directory: PathBuf,
    /// An empty directory.
    pub base: PathBuf,
    /// `/tmp` looks writable in the same way, where the kernel can. Nothing else may be mounted below it.
    pub tmp: bool,
}

impl Overlay {
    /// Over `directory`, and over `/tmp` where that is possible, by way of `base`, which is made. `None` where another
    /// file system is mounted within, which would be missing from the layer.
    ///
    /// # Errors
    /// `base` cannot be made.
    pub fn over(directory: &Path, base: &Path) -> io::Result<Option<Self>> {
        if has_mounts_below(directory) {
            return Ok(None);
        }
        std::fs::create_dir(base)?;
        let tmp = Path::new("/tmp");
        Ok(Some(Self {
            tmp: !tmp.starts_with(directory) && !has_mounts_below(tmp),
            directory: directory.to_owned(),
            base: base.to_owned(),
        }))
    }
}

/// As [`run_sandboxed`]; where the host cannot lay something to write on over a directory, it stays read-only.
///
/// # Errors
/// As [`run_sandboxed`].
pub fn run_laid_over(mut spec: SandboxSpec) -> Result<SandboxOutcome, SandboxError> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Ordering::Relaxed) {
        spec.overlay = None;
    }
    match run_sandboxed(&spec) {
        Err(error) if spec.overlay.is_some() => {
            tracing::debug!("no layer over the workspace: {error}");
            spec.overlay = None;
            let outcome = run_sandboxed(&spec)?;
            REFUSED.store(true, Ordering::Relaxed);
            Ok(outcome)
        }
        ended => ended,
    }
}
