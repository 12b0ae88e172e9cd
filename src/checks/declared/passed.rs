//! Remembers which checks passed on which files, so that a slow program does not run on the same ones again.
//!
//! Only a pass is kept, in the state directory; without `inputs`, nothing is.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::python::run_environment;
use crate::manifest::{DeclaredCheck, Existing, read_small, write_atomically};

/// Directory in the state directory.
const DIRECTORY: &str = "checks";
/// Files that the patterns name; more are not remembered.
const FILES_MAX: usize = 10_000;
/// Bytes in them.
const BYTES_MAX: u64 = 64 << 20;
/// What is kept is a few words.
const KEPT_BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
    results: Option<u32>,
}

/// A check on its inputs as they are.
pub(super) struct Inputs {
    file: PathBuf,
    key: String,
}

impl Inputs {
    /// `None`: the check names no inputs, they cannot be read, or there is no state directory.
    pub(super) fn of(context: &CheckContext<'_>, check: &DeclaredCheck) -> Option<Self> {
        let state = context.state.filter(|state| state.is_dir())?;
        if check.inputs.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        add(format!("{check:?}").as_bytes());
        // Of a run in a boot it holds the boot's own mark, which decides nothing.
        let mut env = run_environment(context, &AsRun::default());
        for name in context.overrides.keys() {
            env.remove(name);
        }
        add(format!("{env:?}").as_bytes());
        let (mut files, mut left) = (0, BYTES_MAX);
        for pattern in &check.inputs {
            let root = glob::Pattern::escape(&context.root.display().to_string());
            let mut paths: Vec<PathBuf> = glob::glob(&format!("{root}/{pattern}"))
                .ok()?
                .collect::<Result<_, _>>()
                .ok()?;
            paths.sort();
            for path in paths.into_iter().filter(|path| path.is_file()) {
                files += 1;
                if files > FILES_MAX {
                    return None;
                }
                let bytes = read_small(&path, left).ok()?;
                left -= (bytes.len() as u64).min(left);
                add(path
                    .strip_prefix(context.root)
                    .ok()?
                    .as_os_str()
                    .as_encoded_bytes());
                add(&bytes);
            }
        }
        Some(Self {
            file: state.join(DIRECTORY).join(format!("{}.json", check.name)),
            key: hasher.finalize().to_hex().to_string(),
        })
    }

    /// It passed on the same, with so many results.
    pub(super) fn passed(&self) -> Option<Option<u32>> {
        let text = read_small(&self.file, KEPT_BYTES_MAX).ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        (kept.key == self.key).then_some(kept.results)
    }

    /// It passed. That it cannot be kept costs time only.
    pub(super) fn keep(&self, results: Option<u32>) {
        let kept = Kept {
            key: self.key.clone(),
            results,
        };
        let directory = self.file.parent().unwrap_or(Path::new("."));
        let Ok(text) = serde_json::to_vec(&kept) else {
            return;
        };
        let kept = fs::create_dir_all(directory)
            .and_then(|()| write_atomically(&self.file, &text, 0o600, Existing::Replaced));
        if let Err(error) = kept {
            tracing::debug!(%error, "that a check passed is not kept");
        }
    }

    /// It did not pass.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }
}
