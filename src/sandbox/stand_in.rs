//! A copy of the workspace in the place of the live one: whose it is, and what of the live one it lacks.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::find_program;

/// Where the environments of a workspace lie that a copy leaves out.
pub(super) const ENVIRONMENTS: [&str; 3] = [".venv", "venv", "node_modules"];

/// Whom root runs code as that nobody approved.
const TRIAL_USER: u32 = 65534;

/// Prepares a copy of the workspace `live` to be seen in its place: root gives it to a user without rights, where
/// there is one to give it to, and it has the directories in which the environments are shown.
///
/// # Errors
/// A directory cannot be read or made.
pub(crate) fn prepare_copy(copy: &Path, live: &Path) -> std::io::Result<()> {
    for name in ENVIRONMENTS {
        let point = copy.join(name);
        if live.join(name).is_dir() && point.symlink_metadata().is_err() {
            fs::create_dir(point)?;
        }
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(TRIAL_USER), Some(TRIAL_USER));
    // A host whose user ids do not reach so far.
    if give(copy).is_err() {
        return Ok(());
    }
    let mut left = vec![copy.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            give(&entry.path())?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

/// The file that a program's name means in `cwd`, in `copy` of the workspace `live`: what a copy leaves out of the live
/// one's environments is shown in its place.
///
/// # Errors
/// As [`find_program`].
pub(crate) fn find_program_in_copy(
    name: &str,
    env: &BTreeMap<String, String>,
    cwd: &Path,
    copy: &Path,
    live: &Path,
) -> io::Result<PathBuf> {
    let found = find_program(name, env, cwd);
    let is_of_environment = Path::new(name).components().any(|part| {
        ENVIRONMENTS
            .iter()
            .any(|e| part.as_os_str() == OsStr::new(e))
    });
    if found.is_ok() || copy == live || !is_of_environment {
        return found;
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match real(cwd).strip_prefix(real(copy)) {
        Ok(below) => find_program(name, env, &live.join(below)),
        Err(_) => found,
    }
}
