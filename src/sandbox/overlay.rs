//! A directory that looks writable to a command, while what is written lies in memory.

use std::io;
use std::path::{Path, PathBuf};

/// See [`super::SandboxSpec::overlay`].
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
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
    pub(crate) fn over(directory: &Path, base: &Path) -> io::Result<Option<Self>> {
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

/// Something is mounted below that directory (proc_pid_mountinfo(5)); a file that cannot be read says yes.
#[must_use]
pub(crate) fn has_mounts_below(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else {
        return true;
    };
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return true;
    };
    mounts.lines().any(|line| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        // Blanks and the like are written in octal.
        let point = point
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\");
        let point = Path::new(&point);
        point != directory && point.starts_with(&directory)
    })
}
