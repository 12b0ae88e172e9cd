//! Changes of a workspace that are not the contents of files: a directory that is made, permissions that are added, a
//! pid file, lock or socket that is moved aside.
//!
//! Planned first, with what is there now, so that each can be carried out again after a crash, and taken back.

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apply::{ApplyError, resolve};
use super::tracked::is_tracked;
use crate::domain::mission::{Change, Proposal};
use crate::kernel::leftover;
use crate::manifest::sync_directory;

/// Where what is moved aside lies, below the state directory.
const ASIDE: &str = "aside";
/// Permissions that a fix may add: the owner's.
const BITS: u32 = 0o700;

/// One such change, with what was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// A directory is made.
    Make {
        /// Relative to the workspace.
        path: String,
        /// The directories that are missing, the outermost first.
        missing: Vec<String>,
    },
    /// Permissions are added.
    Mode {
        /// Relative to the workspace.
        path: String,
        before: u32,
        after: u32,
    },
    /// It is moved aside.
    Aside {
        /// Relative to the workspace.
        path: String,
        /// Where to.
        kept: PathBuf,
        /// The very file.
        inode: u64,
    },
}

/// What the proposal changes beside the contents of files. Reads, never writes. `name`: of the promotion, for what is
/// moved aside.
pub(super) fn plan_places(
    root: &Path,
    state_dir: &Path,
    name: impl Display,
    proposal: &Proposal,
) -> Result<Vec<Place>, ApplyError> {
    let mut places = Vec::new();
    for change in &proposal.changes {
        match change {
            Change::MakeDirectory { path } => places.push(Place::Make {
                path: path.clone(),
                missing: missing_directories(root, path)?,
            }),
            Change::AddMode { path, bits } => {
                let about = lstat(&resolve(root, path)?, path)?;
                let before = about.mode() & 0o7777;
                if bits & !BITS != 0 {
                    return Err(refuse(path, "only permissions of the owner are added"));
                }
                if about.uid() != nix::unistd::geteuid().as_raw() {
                    return Err(refuse(path, "it belongs to another user"));
                }
                places.push(Place::Mode {
                    path: path.clone(),
                    before,
                    after: before | bits,
                });
            }
            Change::MoveAside { path } => {
                let full = require_left_behind(root, path)?;
                let file = full.file_name().unwrap_or_default().to_string_lossy();
                places.push(Place::Aside {
                    path: path.clone(),
                    kept: state_dir.join(ASIDE).join(format!("{name}-{file}")),
                    inode: lstat(&full, path)?.ino(),
                });
            }
            _ => {}
        }
    }
    Ok(places)
}

/// The file, if the process that it belonged to is gone and the version control does not know it.
pub(super) fn require_left_behind(root: &Path, path: &str) -> Result<PathBuf, ApplyError> {
    let full = resolve(root, path)?;
    let not = |why: String| ApplyError::NotLeftBehind {
        path: path.escape_debug().to_string(),
        why,
    };
    if is_tracked(root, path) {
        return Err(not("the version control has it, or may have it".to_owned()));
    }
    leftover(&full).map_err(not)?;
    Ok(full)
}

fn refuse(path: &str, why: &'static str) -> ApplyError {
    ApplyError::Path {
        path: path.escape_debug().to_string(),
        why,
    }
}

fn lstat(full: &Path, path: &str) -> Result<fs::Metadata, ApplyError> {
    fs::symlink_metadata(full).map_err(|source| ApplyError::Io {
        verb: "look at",
        path: path.to_owned(),
        source,
    })
}

/// The directory and those above it that do not exist, the outermost first.
fn missing_directories(root: &Path, path: &str) -> Result<Vec<String>, ApplyError> {
    resolve(root, path)?;
    let mut missing = Vec::new();
    for above in Path::new(path).ancestors() {
        let Some(name) = above.to_str().filter(|name| !name.is_empty()) else {
            break;
        };
        match fs::symlink_metadata(root.join(above)) {
            Ok(about) if about.is_dir() => break,
            Ok(_) => return Err(refuse(name, "something that is no directory lies there")),
            Err(_) => missing.insert(0, name.to_owned()),
        }
    }
    Ok(missing)
}

/// Carries the changes out in the copy of a trial. What is moved aside may not be there: no copy has sockets.
pub(super) fn try_places(root: &Path, proposal: &Proposal) -> Result<(), ApplyError> {
    for change in &proposal.changes {
        let fail = |verb, path: &String| {
            let path = path.clone();
            move |source| ApplyError::Io { verb, path, source }
        };
        match change {
            Change::MakeDirectory { path } => {
                missing_directories(root, path)?;
                fs::create_dir_all(resolve(root, path)?).map_err(fail("create", path))?;
            }
            Change::AddMode { path, bits } => {
                let full = resolve(root, path)?;
                if let Ok(about) = fs::symlink_metadata(&full) {
                    let mode = fs::Permissions::from_mode((about.mode() | bits & BITS) & 0o7777);
                    fs::set_permissions(&full, mode).map_err(fail("change the mode of", path))?;
                }
            }
            Change::MoveAside { path } => {
                crate::kernel::remove_tree(&resolve(root, path)?).map_err(fail("remove", path))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Brings every place to what the plan says. Idempotent.
pub(super) fn carry_out_places(root: &Path, places: &[Place]) -> Result<(), ApplyError> {
    for place in places {
        match place {
            Place::Make { path, missing } => {
                for name in missing {
                    make(&resolve(root, name)?).map_err(io_error("create", path))?;
                }
            }
            Place::Mode {
                path,
                before,
                after,
            } => {
                let full = resolve(root, path)?;
                let now = lstat(&full, path)?.mode() & 0o7777;
                if now != *before && now != *after {
                    return Err(ApplyError::Changed { path: path.clone() });
                }
                fs::set_permissions(&full, fs::Permissions::from_mode(*after))
                    .map_err(io_error("change the mode of", path))?;
            }
            Place::Aside { path, kept, inode } => {
                let full = resolve(root, path)?;
                let there = fs::symlink_metadata(&full).ok().map(|about| about.ino());
                let is_done = there != Some(*inode) && kept.symlink_metadata().is_ok();
                if is_done {
                    continue;
                }
                if there != Some(*inode) {
                    return Err(ApplyError::Changed { path: path.clone() });
                }
                // Once more: a process may have begun since.
                require_left_behind(root, path)?;
                move_to(&full, kept).map_err(io_error("move aside", path))?;
            }
        }
    }
    Ok(())
}

/// Takes back what can be, the last first. Gives what stays, and why.
pub(super) fn undo_places(root: &Path, places: &[Place]) -> Vec<String> {
    let mut stays = Vec::new();
    for place in places.iter().rev() {
        let (path, undone) = match place {
            Place::Make { path, missing } => (path, remove_empty(root, missing)),
            Place::Mode {
                path,
                before,
                after,
            } => (path, undo_mode(root, path, *before, *after)),
            Place::Aside { path, kept, .. } => (path, put_back(root, path, kept)),
        };
        if let Err(why) = undone {
            stays.push(format!("{path} stays, because {why}"));
        }
    }
    stays
}

fn io_error(verb: &'static str, path: &str) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_owned();
    move |source| ApplyError::Io { verb, path, source }
}

fn make(full: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(full) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }?;
    full.parent().map_or(Ok(()), sync_directory)
}

/// Renames; across file systems a pid file or lock directory is copied, and a socket, which holds nothing, removed.
fn move_to(full: &Path, kept: &Path) -> io::Result<()> {
    if let Some(directory) = kept.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    // Left by an earlier fix of the mission.
    crate::kernel::remove_tree(kept)?;
    match fs::rename(full, kept) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let about = fs::symlink_metadata(full)?;
            if about.is_dir() {
                fs::create_dir(kept)?;
                for entry in fs::read_dir(full)? {
                    let entry = entry?;
                    fs::copy(entry.path(), kept.join(entry.file_name()))?;
                }
            } else if about.is_file() {
                fs::copy(full, kept)?;
            } else {
                fs::write(kept, "a socket on which nobody listened\n")?;
            }
            crate::kernel::remove_tree(full)?;
        }
        other => other?,
    }
    full.parent().map_or(Ok(()), sync_directory)
}

fn remove_empty(root: &Path, made: &[String]) -> Result<(), String> {
    for name in made.iter().rev() {
        let full = resolve(root, name).map_err(|error| error.to_string())?;
        match fs::remove_dir(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {
                return Err(format!("something lies in {name} by now"));
            }
            other => other.map_err(|error| error.to_string())?,
        }
    }
    Ok(())
}

fn undo_mode(root: &Path, path: &str, before: u32, after: u32) -> Result<(), String> {
    let full = resolve(root, path).map_err(|error| error.to_string())?;
    let now = fs::symlink_metadata(&full).map_err(|error| error.to_string())?;
    if now.mode() & 0o7777 != after {
        return Err("its mode was changed since".to_owned());
    }
    fs::set_permissions(&full, fs::Permissions::from_mode(before))
        .map_err(|error| error.to_string())
}

fn put_back(root: &Path, path: &str, kept: &Path) -> Result<(), String> {
    let full = resolve(root, path).map_err(|error| error.to_string())?;
    if kept.symlink_metadata().is_err() {
        return Ok(());
    }
    if full.symlink_metadata().is_ok() {
        return Err(format!(
            "another one lies there by now; the old one is {}",
            kept.display()
        ));
    }
    fs::rename(kept, &full).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mission::Risk;
    use crate::kernel::dead_pid;

    fn proposal(changes: Vec<Change>) -> Proposal {
        Proposal {
            fixer: "test".into(),
            summary: "test".into(),
            risk: Risk::Additive,
            changes,
        }
    }

    fn plan(root: &Path, state: &Path, changes: Vec<Change>) -> Result<Vec<Place>, ApplyError> {
        let mission = "mission";
        plan_places(root, state, mission, &proposal(changes))
    }

    #[test]
    fn what_is_changed_is_as_it_was_once_it_is_taken_back() {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, state) = (root.path(), state.path());
        fs::write(root.join("app.pid"), dead_pid().to_string()).unwrap();
        fs::create_dir(root.join("data")).unwrap();
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o500)).unwrap();
        let places = plan(
            root,
            state,
            vec![
                Change::MakeDirectory {
                    path: "var/uploads".into(),
                },
                Change::AddMode {
                    path: "data".into(),
                    bits: 0o200,
                },
                Change::MoveAside {
                    path: "app.pid".into(),
                },
            ],
        )
        .unwrap();
        let mode = || fs::metadata(root.join("data")).unwrap().mode() & 0o777;
        // A crash in between lets them be carried out again.
        for _ in 0..2 {
            carry_out_places(root, &places).unwrap();
            assert!(root.join("var/uploads").is_dir());
            assert_eq!(mode(), 0o700);
            assert!(!root.join("app.pid").exists());
            assert_eq!(fs::read_dir(state.join(ASIDE)).unwrap().count(), 1);
        }
        assert_eq!(undo_places(root, &places), Vec::<String>::new());
        assert!(!root.join("var").exists() && root.join("app.pid").exists());
        assert_eq!(mode(), 0o500);
        carry_out_places(root, &places).unwrap();
        fs::write(root.join("var/uploads/a.txt"), "kept").unwrap();
        fs::write(root.join("app.pid"), "1").unwrap();
        let stays = undo_places(root, &places).join("; ");
        assert!(stays.contains("something lies in var/uploads"), "{stays}");
        assert!(stays.contains("another one lies there"), "{stays}");
        assert!(root.join("var/uploads/a.txt").exists());
    }

    #[test]
    fn what_lies_outside_is_tracked_or_is_somebodys_is_never_touched() {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, state) = (root.path(), state.path());
        fs::write(root.join("own.pid"), std::process::id().to_string()).unwrap();
        fs::write(root.join("notes.txt"), "12 monkeys").unwrap();
        fs::write(root.join("known.pid"), dead_pid().to_string()).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        let mut index = b"DIRC\0\0\0\x02".to_vec();
        index.extend(b"known.pid\0");
        fs::write(root.join(".git/index"), index).unwrap();
        std::os::unix::fs::symlink("/tmp", root.join("link")).unwrap();
        for path in [
            "own.pid",
            "notes.txt",
            "known.pid",
            "../x.pid",
            "/tmp/x.pid",
            "link/x.pid",
            ".git/index",
            "absent.pid",
        ] {
            let path = path.to_owned();
            assert!(
                plan(root, state, vec![Change::MoveAside { path: path.clone() }]).is_err(),
                "{path}"
            );
        }
        for path in ["../x", "link/x", ".git/x", "notes.txt/x"] {
            let path = path.to_owned();
            assert!(
                plan(
                    root,
                    state,
                    vec![Change::MakeDirectory { path: path.clone() }]
                )
                .is_err(),
                "{path}"
            );
        }
        let (path, bits) = ("notes.txt".to_owned(), 0o222);
        assert!(plan(root, state, vec![Change::AddMode { path, bits }]).is_err());
    }
}
