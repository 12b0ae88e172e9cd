//! Removes trees that an application made, whatever it made of them.
//!
//! `std::fs::remove_dir_all` recurses with a stack frame and a descriptor a level: 20,000 nested directories end
//! the process. Here a level costs a few words. A tree is walked by descriptors, so that no path grows too long and
//! no symbolic link is followed; the way up is `..`, checked to be the directory that we came from. Directories
//! that forbid their own removal are given back to their owner first. Other devices are left alone.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Names of directories kept of one level; a level with more is read again.
const NAMES_MAX: usize = 1024;

/// A level is read so often at most: somebody who keeps making new directories must not keep us for ever.
const PASSES_MAX: u32 = 10_000;

/// A directory, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(fd: impl AsFd) -> nix::Result<Self> {
        let about = fstat(fd)?;
        Ok(Self {
            device: about.st_dev,
            inode: about.st_ino,
        })
    }
}

/// One directory on the way down.
struct Level {
    /// In the directory above.
    name: CString,
    identity: Identity,
    /// Directories in it that are still to be removed.
    directories: Vec<CString>,
    /// Something in it was removed since it was last read.
    is_progress: bool,
    passes: u32,
}

/// Removes the directory and everything in it, or the file or symbolic link of that name. What is not there is
/// removed already.
///
/// # Errors
/// Something cannot be removed; everything else is.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path
        .file_name()
        .and_then(|name| CString::new(name.as_bytes()).ok());
    let name = name.ok_or(io::ErrorKind::InvalidInput)?;
    let above = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let above = match nix::fcntl::open(above, flags, Mode::empty()) {
        Ok(above) => above,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    match unlinkat(&above, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(errno) => return Err(errno.into()),
    }
    match Removal::begin(above, name)?.run() {
        None => Ok(()),
        Some(errno) => Err(errno.into()),
    }
}

struct Removal {
    /// The directory that the last level is.
    at: OwnedFd,
    /// From the root of the tree; never empty while the removal runs.
    levels: Vec<Level>,
    /// The directory that holds the tree.
    above: Identity,
    /// The first thing that went wrong.
    failure: Option<Errno>,
}

impl Removal {
    fn begin(above: OwnedFd, name: CString) -> nix::Result<Self> {
        let holder = Identity::of(&above)?;
        let (at, identity) = enter(&above, &name, holder)?;
        Ok(Self {
            at,
            levels: vec![Level::new(name, identity)],
            above: holder,
            failure: None,
        })
    }

    fn fail(&mut self, errno: Errno) {
        self.failure.get_or_insert(errno);
    }

    /// Removes all; gives the first failure.
    fn run(mut self) -> Option<Errno> {
        let root = self.levels[0].identity;
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.directories.pop() {
                let parent = level.identity;
                match enter(&self.at, &name, parent) {
                    Ok((_, inside)) if inside.device != root.device => self.fail(Errno::EXDEV),
                    Ok((fd, inside)) => {
                        self.at = fd;
                        self.levels.push(Level::new(name, inside));
                    }
                    Err(Errno::ENOENT) => {}
                    Err(errno) => self.fail(errno),
                }
                continue;
            }
            if level.is_progress && level.passes < PASSES_MAX {
                level.passes += 1;
                if let Some(errno) = read_level(&self.at, level) {
                    self.failure.get_or_insert(errno);
                }
                if !level.directories.is_empty() || level.is_progress {
                    continue;
                }
            }
            if let Err(errno) = self.leave() {
                self.fail(errno);
                break;
            }
        }
        self.failure
    }

    /// Goes up and removes the directory that we were in.
    fn leave(&mut self) -> nix::Result<()> {
        let Some(level) = self.levels.pop() else {
            return Ok(());
        };
        let up = open_directory(&self.at, c"..")?;
        let expected = self
            .levels
            .last()
            .map_or(self.above, |above| above.identity);
        if Identity::of(&up)? != expected {
            // Moved meanwhile: `..` is not ours to remove anything from.
            return Err(Errno::ESTALE);
        }
        self.at = up;
        match unlinkat(&self.at, level.name.as_c_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {
                if let Some(above) = self.levels.last_mut() {
                    above.is_progress = true;
                }
            }
            Err(errno) => self.fail(errno),
        }
        Ok(())
    }
}

impl Level {
    fn new(name: CString, identity: Identity) -> Self {
        Self {
            name,
            identity,
            directories: Vec::new(),
            is_progress: true,
            passes: 0,
        }
    }
}

fn open_directory(at: impl AsFd, name: &std::ffi::CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, OFlag::O_RDONLY | flags, Mode::empty())
}

/// Opens the directory `name` and makes it ours to empty; refuses one from which there is no way back.
fn enter(
    at: &OwnedFd,
    name: &std::ffi::CStr,
    parent: Identity,
) -> nix::Result<(OwnedFd, Identity)> {
    let opened = open_directory(at, name).or_else(|errno| {
        if errno != Errno::EACCES {
            return Err(errno);
        }
        // Mode 0: opened as a name only, and given back to its owner through that.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let named = openat(at, name, flags, Mode::empty())?;
        let by_descriptor = format!("/proc/self/fd/{}", named.as_raw_fd());
        fs::set_permissions(by_descriptor, Permissions::from_mode(0o700)).map_err(|_| errno)?;
        open_directory(at, name)
    })?;
    let mode = Mode::from_bits_truncate(fstat(&opened)?.st_mode);
    if !mode.contains(Mode::S_IRWXU) {
        // Of another owner: then what follows says what is refused.
        let _ = fchmod(&opened, mode | Mode::S_IRWXU);
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let back = openat(&opened, c"..", flags, Mode::empty())?;
    if Identity::of(&back)? != parent {
        return Err(Errno::ESTALE);
    }
    let identity = Identity::of(&opened)?;
    Ok((opened, identity))
}

/// Removes what is no directory, and keeps the names of some of the directories; gives the first failure.
fn read_level(at: &OwnedFd, level: &mut Level) -> Option<Errno> {
    level.is_progress = false;
    let mut entries = match open_directory(at, c".").and_then(Dir::from_fd) {
        Ok(entries) => entries,
        Err(errno) => return Some(errno),
    };
    let mut failure = None;
    for entry in entries.iter() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(errno) => return failure.or(Some(errno)),
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != Some(Type::Directory) {
            match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) => {
                    level.is_progress = true;
                    continue;
                }
                Err(Errno::ENOENT) => continue,
                Err(Errno::EISDIR) => {}
                Err(errno) => {
                    failure.get_or_insert(errno);
                    continue;
                }
            }
        }
        if level.directories.len() == NAMES_MAX {
            break;
        }
        level.directories.push(name.to_owned());
    }
    failure
}

/// A scratch directory that nobody holds was left if it is older: nobody needs so long to hold the one that he made.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// A directory of our own with mode 0700 that an application may do what it likes with; removed when dropped. Locked
/// (flock(2)) until then, so that what a killed process left can be told from what is in use.
#[derive(Debug)]
pub(crate) struct ScratchDirectory {
    path: PathBuf,
    _held: Option<Flock<fs::File>>,
}

impl ScratchDirectory {
    /// Makes one with a name of its own in `parent`.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        let path = made.keep();
        // Without a lock, as on some network file systems, it is only not told from what was left.
        let directory = fs::File::open(&path).ok();
        let held = directory.and_then(|at| Flock::lock(at, FlockArg::LockExclusiveNonblock).ok());
        Ok(Self { path, _held: held })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes what killed processes of this user left in `parent`: directories with that prefix that nobody holds.
pub(crate) fn sweep_scratch(parent: &Path, prefix: &str) {
    sweep_older(parent, prefix, LEFT_AFTER);
}

fn sweep_older(parent: &Path, prefix: &str, age: Duration) {
    let own = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_named = entry.file_name().as_bytes().starts_with(prefix.as_bytes());
        let is_left = |about: &fs::Metadata| {
            let modified = about.modified().ok().and_then(|at| at.elapsed().ok());
            about.is_dir() && about.uid() == own && modified.is_some_and(|old| old >= age)
        };
        if !is_named || !entry.metadata().is_ok_and(|about| is_left(&about)) {
            continue;
        }
        let path = entry.path();
        let held = fs::File::open(&path)
            .ok()
            .and_then(|at| Flock::lock(at, FlockArg::LockExclusiveNonblock).ok());
        if held.is_some()
            && let Err(error) = remove_tree(&path)
        {
            tracing::debug!(path = %path.display(), %error, "a scratch directory stays");
        }
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch directory could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::mkdirat;
    use nix::unistd::AccessFlags;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_held_stays() {
        let parent = tempfile::tempdir().unwrap();
        let held = ScratchDirectory::new_in(parent.path(), "ubs-x-").unwrap();
        let left = parent.path().join("ubs-x-left");
        fs::create_dir_all(left.join("trial/workspace")).unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        symlink(&other, parent.path().join("ubs-x-link")).unwrap();
        sweep_scratch(parent.path(), "ubs-x-");
        assert!(left.exists(), "it is new");
        sweep_older(parent.path(), "ubs-x-", Duration::ZERO);
        assert!(!left.exists() && other.exists() && held.path().exists());
    }

    /// Makes `levels` directories within each other, by descriptors: the path would be too long.
    fn nest(root: &Path, levels: usize) {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let mut at = nix::fcntl::open(root, flags, Mode::empty()).unwrap();
        for _ in 0..levels {
            mkdirat(&at, c"directory-with-a-name", Mode::S_IRWXU).unwrap();
            at = openat(&at, c"directory-with-a-name", flags, Mode::empty()).unwrap();
        }
    }

    /// With the small stack that a thread of a program may have.
    fn on_a_small_stack(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(128 << 10);
            thread.spawn_scoped(scope, work).unwrap().join().unwrap();
        });
    }

    #[test]
    fn twenty_thousand_nested_directories_are_removed() {
        // In memory where that is possible: a disk takes a minute.
        let memory = Some(Path::new("/dev/shm"))
            .filter(|shm| nix::unistd::access(*shm, AccessFlags::W_OK).is_ok());
        let dir = tempfile::tempdir_in(memory.unwrap_or(&std::env::temp_dir())).unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        nest(&tree, 20_000);
        on_a_small_stack(|| remove_tree(&tree).unwrap());
        assert!(!tree.exists());
    }

    #[test]
    fn what_forbids_its_removal_goes_and_what_a_link_leads_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("closed/within")).unwrap();
        fs::create_dir_all(tree.join("readonly")).unwrap();
        fs::write(tree.join("closed/within/file"), "").unwrap();
        fs::write(tree.join("readonly/file"), "").unwrap();
        symlink(&kept, tree.join("link")).unwrap();
        for (name, mode) in [
            ("closed/within", 0),
            ("closed", 0),
            ("readonly", 0o555),
            ("", 0),
        ] {
            fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
        }
        // Root may always; an ordinary user is the test.
        let nobody = nix::unistd::geteuid().is_root().then_some(65_534);
        as_user(nobody, dir.path(), || remove_tree(&tree).unwrap());
        assert!(!tree.exists());
        assert!(kept.join("file").exists());
        symlink(&kept, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err() && kept.join("file").exists());
        remove_tree(&tree).unwrap();
    }

    /// Runs `work` in a thread that has the rights of this user, to whom all of `dir` then belongs.
    fn as_user(user: Option<u32>, dir: &Path, work: impl FnOnce() + Send) {
        let Some(user) = user else { return work() };
        let status = std::process::Command::new("chown")
            .args(["-R", &user.to_string()])
            .arg(dir)
            .status();
        assert!(status.unwrap().success());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // SAFETY: the plain system call changes this thread only, which ends with it.
                let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, user, -1) };
                assert_eq!(changed, 0);
                work();
            });
        });
    }

    #[test]
    fn many_directories_side_by_side_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for at in 0..NAMES_MAX * 2 + 7 {
            fs::create_dir_all(tree.join(at.to_string()).join("within")).unwrap();
        }
        fs::write(tree.join("file"), "").unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
