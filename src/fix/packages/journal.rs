//! The change of the live environment, and what takes it back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::environment::{installed, is_usable};
use super::installer::Installer;
use crate::domain::redact::Redactor;
use crate::fix::apply::{remove_file, write_atomically};
use crate::kernel::remove_tree;

/// A larger environment is not copied, so it is not changed either.
const ENVIRONMENT_BYTES_MAX: u64 = 4 << 30;
/// Where an environment that is made anew lies meanwhile, beside its place.
const ASIDE: &str = ".ubs-environment-aside";

/// What a promotion does to an environment; the wheels and the copy of before lie in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::fix) struct JournalPackages {
    /// Relative to the workspace.
    pub environment: String,
    /// As `name==version`.
    pub install: Vec<String>,
}

impl JournalPackages {
    fn live(&self, workspace: &Path) -> PathBuf {
        workspace.join(&self.environment)
    }

    /// Copies the environment and takes the wheels over; before anything is changed.
    pub(in crate::fix) fn keep(
        &self,
        workspace: &Path,
        journal: &Path,
        wheels: &Path,
    ) -> Result<(), String> {
        let live = self.live(workspace);
        let said = |error: io::Error| error.to_string();
        let bytes = match bytes_of(&live, ENVIRONMENT_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            bytes => bytes.map_err(said)?,
        };
        if bytes > ENVIRONMENT_BYTES_MAX {
            return Err(format!(
                "{} has more than 4 GiB, so no copy of it is kept and it is not changed; install {} by hand",
                self.environment,
                self.install.join(" ")
            ));
        }
        copy(wheels, &journal.join("wheels"))?;
        if live.symlink_metadata().is_err() {
            return Ok(());
        }
        copy(&live, &journal.join("environment")).inspect_err(|_| {
            let _ = remove_tree(&journal.join("environment"));
        })
    }

    /// Installs what is to be installed; what an interrupted run left is put back first. Idempotent.
    pub(in crate::fix) fn carry_out(
        &self,
        workspace: &Path,
        journal: &Path,
        process_env: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let (begun, done) = (journal.join("packages-begun"), Self::done(journal));
        if Self::is_done(journal) {
            return Ok(());
        }
        if begun.exists() {
            self.put_back(workspace, journal)?;
        }
        mark(&begun, "")?;
        crate::kernel::crash_point("promote.packages_begun");
        let installer = Installer {
            workspace,
            environment: &self.environment,
            process_env,
            at: None,
            base: None,
        };
        let live = self.live(workspace);
        if !is_usable(&live) {
            let aside = live.with_file_name(ASIDE);
            let said =
                |error: io::Error| format!("{} cannot be moved aside: {error}", self.environment);
            remove_tree(&aside).map_err(said)?;
            // A copy of it lies in the journal.
            if live.symlink_metadata().is_ok() {
                fs::rename(&live, &aside).map_err(said)?;
            }
            crate::kernel::crash_point("promote.environment_aside");
            let mut made = installer;
            made.base = Some(&aside);
            made.make()?;
            made.install(&self.install, &journal.join("wheels"))?;
            remove_tree(&aside).map_err(said)?;
        } else {
            installer.install(&self.install, &journal.join("wheels"))?;
        }
        crate::kernel::crash_point("promote.packages_installed");
        let all = installed(&self.live(workspace)).map_err(|error| error.to_string())?;
        mark(&done, &all.join("\n"))
    }

    /// The mark of an installation that came to its end, and what the environment had then.
    fn done(journal: &Path) -> PathBuf {
        journal.join("packages-done")
    }

    /// The installation came to its end.
    pub(in crate::fix) fn is_done(journal: &Path) -> bool {
        Self::done(journal).exists()
    }

    /// The environment has what the promotion left there.
    pub(in crate::fix) fn is_unchanged(&self, workspace: &Path, journal: &Path) -> bool {
        let left = fs::read_to_string(Self::done(journal));
        let now = installed(&self.live(workspace));
        matches!((left, now), (Ok(left), Ok(now)) if left == now.join("\n"))
    }

    /// The copy of before takes the environment's place again. Idempotent, and whole after any interruption.
    pub(in crate::fix) fn put_back(&self, workspace: &Path, journal: &Path) -> Result<(), String> {
        let said = |error: io::Error| format!("{} cannot be put back: {error}", self.environment);
        let (begun, kept) = (journal.join("packages-begun"), journal.join("environment"));
        let live = self.live(workspace);
        let beside = |end: &str| live.with_file_name(format!(".ubs-environment-{end}"));
        let (fresh, old) = (beside("before"), beside("after"));
        if !begun.exists() {
            return Ok(());
        }
        // Moved aside, and interrupted before the copy took its place: it is complete then.
        if !live.exists() && fresh.exists() {
            fs::rename(&fresh, &live).map_err(said)?;
        } else {
            remove_tree(&fresh).map_err(said)?;
            remove_tree(&old).map_err(said)?;
            let was_there = kept.symlink_metadata().is_ok();
            if was_there {
                copy(&kept, &fresh)?;
            }
            if live.symlink_metadata().is_ok() {
                fs::rename(&live, &old).map_err(said)?;
            }
            crate::kernel::crash_point("take_back.environment_aside");
            if was_there {
                fs::rename(&fresh, &live).map_err(said)?;
            }
        }
        remove_tree(&old).map_err(said)?;
        remove_tree(&live.with_file_name(ASIDE)).map_err(said)?;
        for mark in [Self::done(journal), begun] {
            remove_file(&mark).map_err(said)?;
        }
        Ok(())
    }
}

fn mark(path: &Path, text: &str) -> Result<(), String> {
    write_atomically(path, text.as_bytes(), 0o600).map_err(|error| error.to_string())
}

/// A copy with modes, times and links as they are; never a hard link.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let output = Command::new("cp")
        .arg("-a")
        .arg("--")
        .args([from, to])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cp cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{} cannot be copied: {}",
        from.display(),
        Redactor::default().clean(said.trim(), 400)
    ))
}

/// Bytes of the files below a directory, counted up to a bound.
fn bytes_of(directory: &Path, max: u64) -> io::Result<u64> {
    let mut bytes = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes += about.len();
            }
            if bytes > max {
                return Ok(bytes);
            }
        }
    }
    Ok(bytes)
}
