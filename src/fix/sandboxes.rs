//! The directories of trials below `sandboxes` of the state directory: who works in one holds its lock, and what
//! nobody holds was left by a process that died, and is removed at the next start.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::domain::ids::MissionId;
use crate::kernel::remove_tree;

const LOCK: &str = ".lock";
/// Between the mission and the rest of an image's name.
pub(super) const IMAGE: &str = ".migrated-";

/// The directory of a mission's trials.
pub(super) fn sandbox_directory(state_dir: &Path, mission: MissionId) -> PathBuf {
    state_dir.join("sandboxes").join(mission.to_string())
}

/// A mission's sandbox, held until this is dropped, also against other processes.
pub(super) struct HeldSandbox {
    _lock: Flock<fs::File>,
    path: PathBuf,
}

impl HeldSandbox {
    /// Waits for whoever holds it.
    pub(super) fn hold(state_dir: &Path, mission: MissionId) -> io::Result<Self> {
        let base = state_dir.join("sandboxes");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&base)?;
        let path = base.join(format!("{mission}{LOCK}"));
        loop {
            if let Some(held) = Self::take(&path, FlockArg::LockExclusive)? {
                return Ok(held);
            }
        }
    }

    /// `None` if somebody holds it, or removed it meanwhile.
    fn take(path: &Path, how: FlockArg) -> io::Result<Option<Self>> {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let lock = match Flock::lock(file, how) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(errno.into()),
        };
        // Whoever held it before removed it: then another file lies there, or none.
        let ours = lock.metadata()?.ino();
        let there = fs::symlink_metadata(path).ok().map(|about| about.ino());
        Ok((there == Some(ours)).then(|| Self {
            _lock: lock,
            path: path.to_owned(),
        }))
    }
}

impl Drop for HeldSandbox {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what trials left that nobody works on any more: copies of the workspace, and images of migrated
/// databases, which nothing refers to before they are in a promotion's journal.
///
/// # Errors
/// Something cannot be removed.
pub(crate) fn sweep_sandboxes(state_dir: &Path) -> io::Result<()> {
    let base = state_dir.join("sandboxes");
    let entries = match fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let mission_of = |name: &str| -> Option<MissionId> { name.split('.').next()?.parse().ok() };
    let missions: BTreeSet<MissionId> = names.iter().filter_map(|n| mission_of(n)).collect();
    for mission in missions {
        let path = base.join(format!("{mission}{LOCK}"));
        let Some(_held) = HeldSandbox::take(&path, FlockArg::LockExclusiveNonblock)? else {
            continue;
        };
        for name in names.iter().filter(|n| mission_of(n) == Some(mission)) {
            let path = base.join(name);
            if name.ends_with(LOCK) {
                continue;
            }
            remove_tree(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(state: &Path) -> Vec<String> {
        let entries = fs::read_dir(state.join("sandboxes")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let [held, left]: [MissionId; 2] = [
            "01a21d9f-38d6-7274-973b-c17f4aa77588",
            "01a21d9f-38d6-7274-973b-c17f4aa77589",
        ]
        .map(|id| id.parse().unwrap());
        let holder = HeldSandbox::hold(dir.path(), held).unwrap();
        for mission in [held, left] {
            let sandbox = sandbox_directory(dir.path(), mission);
            fs::create_dir_all(sandbox.join("workspace")).unwrap();
            fs::write(format!("{}{IMAGE}x", sandbox.display()), "image").unwrap();
        }
        // Not ours.
        fs::write(dir.path().join("sandboxes/note"), "").unwrap();
        // Left by a process that died while it held it.
        fs::write(dir.path().join(format!("sandboxes/{left}{LOCK}")), "").unwrap();
        sweep_sandboxes(dir.path()).unwrap();
        let kept = [
            held.to_string(),
            format!("{held}{LOCK}"),
            format!("{held}{IMAGE}x"),
            "note".to_owned(),
        ];
        assert_eq!(names(dir.path()), kept);
        drop(holder);
        sweep_sandboxes(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["note"]);
    }

    #[test]
    fn who_waits_for_a_sandbox_gets_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mission: MissionId = "01a21d9f-38d6-7274-973b-c17f4aa77588".parse().unwrap();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _held = HeldSandbox::hold(dir.path(), mission).unwrap();
                        let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0, "two hold one sandbox");
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }
}
