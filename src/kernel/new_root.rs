//! A root of the program's own: a file system in memory, in which is mounted what was named, and nothing else.
//!
//! What is prepared before `fork` is at the top; below it runs between `fork` and `exec`: only async-signal-safe
//! calls, and nothing is allocated.
//!
//! The order (mount_namespaces(7), pivot_root(2)): copies of the mounts that will be shown are taken while the host's
//! root is still where it was; a file system in memory is mounted over one of its directories and filled; then it
//! becomes the root and the host's root is let go. Paths in the new root are resolved in it (openat2(2),
//! `RESOLVE_IN_ROOT`), so that no link in something shown leads out of it.

use std::ffi::{CStr, CString, OsStr, c_int, c_long};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::c_strings::c_string;
use super::step::{
    BASE, Failure, MAKE, OVERLAY, PIVOT, PRIVATE, PROC, SCRATCH, SEAL, SHOW, check, errno,
};

/// Most things shown; each takes a descriptor while the root is built.
const SOURCES_MAX: usize = 256;
/// Where the new root is put together: any directory will do.
const BASES: [&str; 3] = ["/tmp", "/usr", "/etc"];
/// The bounded file system for what is written, while the root is built.
const SCRATCH_PATH: &CStr = c".scratch";
/// Mounted over files that shall be found empty.
const EMPTY_FILE: &CStr = c".scratch/empty";
/// Mounted over directories that shall be found empty.
const EMPTY_DIRECTORY: &CStr = c".scratch/nothing";
/// What of the kernel's own files a program has no use for: keys, addresses, the system request key.
const PROC_HIDDEN: [&CStr; 6] = [
    c"proc/keys",
    c"proc/key-users",
    c"proc/kcore",
    c"proc/kallsyms",
    c"proc/timer_list",
    c"proc/sysrq-trigger",
];

/// What a new root holds; made in this order, parents as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootEntry {
    /// A file or directory of the host, read-only. One that is gone is left out.
    Show { from: PathBuf, at: PathBuf },
    /// A directory of the host that may be written.
    Write { from: PathBuf, at: PathBuf },
    /// A device of the host.
    Device { path: PathBuf },
    /// A directory of the host that looks writable; what is written lies in the bounded memory.
    Cover { from: PathBuf, at: PathBuf },
    /// An empty directory in the bounded memory.
    Scratch { at: PathBuf, is_for_all: bool },
    /// A symbolic link.
    Link { to: PathBuf, at: PathBuf },
    /// A directory of something shown that is to be found empty. One that does not exist is left out.
    Empty { at: PathBuf },
}

/// A root of the program's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NewRoot {
    /// What it holds.
    pub entries: Vec<RootEntry>,
    /// Bytes that can be written to what lies in memory, in total.
    pub scratch_bytes: u64,
    /// Files and directories of it.
    pub scratch_files: u64,
}

/// The same, prepared.
pub(super) struct RootPlan {
    base: CString,
    scratch_options: CString,
    sources: Vec<CString>,
    steps: Vec<Step>,
}

enum Step {
    /// An empty directory; that it exists is well.
    Directory {
        parent: CString,
        name: CString,
    },
    /// An empty file, on which one is mounted.
    File {
        parent: CString,
        name: CString,
    },
    Link {
        parent: CString,
        name: CString,
        to: CString,
    },
    /// Source number `source` is mounted.
    Mount {
        source: usize,
        at: CString,
        attributes: u64,
        may_lack: bool,
    },
    Cover {
        source: usize,
        at: CString,
    },
    Scratch {
        /// Its name in the scratch.
        name: CString,
        at: CString,
        mode: libc::mode_t,
    },
    Empty {
        at: CString,
    },
}

/// A path of the new root, relative to it; `.` for the root itself.
fn inside(path: &Path) -> io::Result<CString> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.as_os_str().is_empty() {
        return Ok(c".".to_owned());
    }
    c_string(relative.as_os_str())
}

impl RootPlan {
    /// # Errors
    /// Too much to be shown, a path is not absolute or holds `..` or a NUL byte.
    pub(super) fn new(root: &NewRoot) -> io::Result<Self> {
        let base = BASES
            .iter()
            .find(|base| Path::new(base).is_dir())
            .ok_or_else(|| io::Error::other("none of /tmp, /usr and /etc is a directory"))?;
        let mut plan = Self {
            base: c_string(OsStr::new(base))?,
            scratch_options: CString::new(format!(
                "mode=0711,size={},nr_inodes={}",
                root.scratch_bytes, root.scratch_files
            ))?,
            sources: Vec::new(),
            steps: Vec::new(),
        };
        for entry in &root.entries {
            plan.add(entry)?;
        }
        if plan.sources.len() > SOURCES_MAX {
            let text = format!(
                "a sandbox can be shown at most {SOURCES_MAX} files and directories of the host, and these are {}",
                plan.sources.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(plan)
    }

    fn add(&mut self, entry: &RootEntry) -> io::Result<()> {
        let read_only = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
        match entry {
            RootEntry::Show { from, at } => {
                // What does not exist here would become an empty mount point.
                let Ok(found) = from.metadata() else {
                    return Ok(());
                };
                self.mount_point(at, found.is_dir())?;
                self.mount(from, at, read_only, true)
            }
            RootEntry::Write { from, at } => {
                self.mount_point(at, true)?;
                self.mount(from, at, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, false)
            }
            RootEntry::Device { path } => {
                self.mount_point(path, false)?;
                self.mount(path, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, true)
            }
            RootEntry::Cover { from, at } => {
                self.mount_point(at, true)?;
                let source = self.source(from)?;
                let at = inside(at)?;
                self.steps.push(Step::Cover { source, at });
                Ok(())
            }
            RootEntry::Scratch { at, is_for_all } => {
                self.mount_point(at, true)?;
                self.steps.push(Step::Scratch {
                    name: CString::new(format!("d{}", self.steps.len()))?,
                    at: inside(at)?,
                    mode: if *is_for_all { 0o1777 } else { 0o700 },
                });
                Ok(())
            }
            RootEntry::Link { to, at } => {
                let (parent, name) = self.parents(at)?;
                let to = c_string(to.as_os_str())?;
                self.steps.push(Step::Link { parent, name, to });
                Ok(())
            }
            RootEntry::Empty { at } => {
                self.steps.push(Step::Empty { at: inside(at)? });
                Ok(())
            }
        }
    }

    fn source(&mut self, from: &Path) -> io::Result<usize> {
        self.sources.push(c_string(from.as_os_str())?);
        Ok(self.sources.len() - 1)
    }

    fn mount(&mut self, from: &Path, at: &Path, attributes: u64, may_lack: bool) -> io::Result<()> {
        let source = self.source(from)?;
        self.steps.push(Step::Mount {
            source,
            at: inside(at)?,
            attributes,
            may_lack,
        });
        Ok(())
    }

    /// Its directories, and what it is.
    fn mount_point(&mut self, at: &Path, is_directory: bool) -> io::Result<()> {
        let (parent, name) = self.parents(at)?;
        self.steps.push(if is_directory {
            Step::Directory { parent, name }
        } else {
            Step::File { parent, name }
        });
        Ok(())
    }

    /// Makes the directories above that path; gives the last of them, and the name in it.
    fn parents(&mut self, at: &Path) -> io::Result<(CString, CString)> {
        let odd = || {
            let text = format!("{} cannot be shown in a sandbox", at.display());
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let relative = at.strip_prefix("/").map_err(|_| odd())?;
        let mut parent = PathBuf::new();
        let mut names = relative.components().peekable();
        while let Some(component) = names.next() {
            let Component::Normal(name) = component else {
                return Err(odd());
            };
            let (above, name) = (inside(&parent)?, c_string(name)?);
            if names.peek().is_none() {
                return Ok((above, name));
            }
            parent.push(OsStr::from_bytes(name.as_bytes()));
            self.steps.push(Step::Directory {
                parent: above,
                name,
            });
        }
        Err(odd())
    }
}

// What follows runs between `fork` and `exec`.

/// mount_setattr(2): `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// openat2(2): `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const MOUNT_ATTR_NOEXEC: u64 = 8;
const AT_RECURSIVE: c_int = 0x8000;
/// open_tree(2).
const OPEN_TREE_CLONE: c_int = 1;
/// move_mount(2).
const MOVE_MOUNT_F_EMPTY_PATH: c_long = 4;
/// move_mount(2).
const MOVE_MOUNT_T_EMPTY_PATH: c_long = 0x40;
/// openat2(2).
const RESOLVE_IN_ROOT: u64 = 0x10;
/// openat2(2).
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;

/// mount(2).
fn mount(
    step: i32,
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: u64,
    data: &CStr,
) -> Result<(), Failure> {
    // SAFETY: all strings end with NUL and live through the call.
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    check(step, done).map(drop)
}

/// A negative number that a raw system call returned is a failure.
fn checked(step: i32, returned: c_long) -> Result<c_int, Failure> {
    if returned < 0 {
        Err((step, errno()))
    } else {
        // Descriptors and zero: both fit.
        Ok(c_int::try_from(returned).unwrap_or(0))
    }
}

/// Sets attributes of the mount at that descriptor.
fn set_attributes(step: i32, fd: RawFd, is_recursive: bool, set: u64) -> Result<(), Failure> {
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if is_recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends with NUL; `attr` is laid out as the kernel wants it and its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            c_long::from(fd),
            c"".as_ptr(),
            c_long::from(flags),
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    checked(step, done).map(drop)
}

/// A copy of the mounts at that path, not yet anywhere.
fn open_tree(step: i32, path: &CStr) -> Result<RawFd, Failure> {
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC;
    // SAFETY: a string that ends with NUL.
    let tree = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            c_long::from(libc::AT_FDCWD),
            path.as_ptr(),
            c_long::from(flags),
        )
    };
    checked(step, tree)
}

fn close(fd: RawFd) {
    // SAFETY: a descriptor of our own.
    unsafe { libc::close(fd) };
}

/// The directory that becomes the root.
#[derive(Clone, Copy)]
struct Root(RawFd);

impl Root {
    /// Opens a path in it, wherever its links would lead.
    fn open(self, step: i32, path: &CStr) -> Result<RawFd, Failure> {
        let how = OpenHow {
            flags: u64::from((libc::O_PATH | libc::O_CLOEXEC).cast_unsigned()),
            mode: 0,
            resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        // SAFETY: the path ends with NUL; `how` is laid out as the kernel wants it and its size is given.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                c_long::from(self.0),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        };
        checked(step, fd)
    }

    /// Mounts the tree there, and closes it.
    fn attach(self, step: i32, tree: RawFd, at: &CStr) -> Result<(), Failure> {
        let target = self.open(step, at);
        let attached = target.and_then(|target| {
            // SAFETY: strings that end with NUL, descriptors of our own.
            let moved = unsafe {
                libc::syscall(
                    libc::SYS_move_mount,
                    c_long::from(tree),
                    c"".as_ptr(),
                    c_long::from(target),
                    c"".as_ptr(),
                    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
                )
            };
            close(target);
            checked(step, moved).map(drop)
        });
        close(tree);
        attached
    }
}

/// Whose the scratch is.
pub(super) type Owner = (libc::uid_t, libc::gid_t);

impl RootPlan {
    /// Builds the root and enters it. The process has mounts and processes of its own.
    pub(super) fn enter(&self, owner: Owner) -> Result<(), Failure> {
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        mount(PRIVATE, c"none", c"/", c"", flags, c"")?;
        let mut trees = [-1; SOURCES_MAX];
        for (tree, path) in trees.iter_mut().zip(&self.sources) {
            // Whether it may be missing is known to whoever mounts it.
            *tree = open_tree(SHOW, path).unwrap_or_else(|(_, errno)| -errno);
        }
        let base = &self.base;
        // SAFETY: a string that ends with NUL.
        unsafe { libc::umask(0o022) };
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        mount(
            BASE,
            c"tmpfs",
            base,
            c"tmpfs",
            flags,
            c"mode=0755,size=1m,nr_inodes=4k",
        )?;
        // SAFETY: strings that end with NUL.
        let root = unsafe {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
            let root = check(BASE, libc::open(base.as_ptr(), flags))?;
            check(BASE, libc::fchdir(root))?;
            for name in [SCRATCH_PATH, c"proc", c".lower", c".merged"] {
                check(BASE, libc::mkdir(name.as_ptr(), 0o755))?;
            }
            root
        };
        mount(
            SCRATCH,
            c"tmpfs",
            SCRATCH_PATH,
            c"tmpfs",
            flags,
            &self.scratch_options,
        )?;
        // SAFETY: a string that ends with NUL.
        unsafe {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
            close(check(
                SCRATCH,
                libc::open(EMPTY_FILE.as_ptr(), flags, 0o444),
            )?);
            check(SCRATCH, libc::mkdir(EMPTY_DIRECTORY.as_ptr(), 0o555))?;
        }
        for step in &self.steps {
            step.perform(Root(root), &trees, owner)?;
        }
        self.mount_proc(Root(root))?;
        for tree in trees.iter().filter(|tree| **tree >= 0) {
            close(*tree);
        }
        // SAFETY: strings that end with NUL, a descriptor of our own.
        unsafe {
            libc::umount2(SCRATCH_PATH.as_ptr(), libc::MNT_DETACH);
            for name in [SCRATCH_PATH, c".lower", c".merged"] {
                libc::rmdir(name.as_ptr());
            }
            set_attributes(SEAL, root, false, MOUNT_ATTR_RDONLY)?;
            let here = c".".as_ptr();
            // The old root comes to lie over the new one, and is let go (pivot_root(2)).
            let pivoted = libc::syscall(libc::SYS_pivot_root, here, here);
            checked(PIVOT, pivoted)?;
            check(PIVOT, libc::umount2(here, libc::MNT_DETACH))?;
            check(PIVOT, libc::chdir(c"/".as_ptr()))?;
            close(root);
        }
        Ok(())
    }

    /// The processes of the namespace that this process is the first of. Read-only: as the host's root, even in a
    /// user namespace, the kernel's settings could be written otherwise.
    fn mount_proc(&self, root: Root) -> Result<(), Failure> {
        let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount(PROC, c"proc", c"proc", c"proc", flags, c"")?;
        for hidden in PROC_HIDDEN {
            let tree = open_tree(PROC, EMPTY_FILE)?;
            set_attributes(PROC, tree, false, MOUNT_ATTR_RDONLY)?;
            match root.attach(PROC, tree, hidden) {
                Ok(()) | Err((_, libc::ENOENT)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

impl Step {
    fn perform(&self, root: Root, trees: &[c_int], owner: Owner) -> Result<(), Failure> {
        match self {
            // A parent that lies in something read-only exists, or what wants it says so.
            Self::Directory { parent, name } => {
                if let Ok(parent) = root.open(MAKE, parent) {
                    // SAFETY: a string that ends with NUL, a descriptor of our own.
                    unsafe { libc::mkdirat(parent, name.as_ptr(), 0o755) };
                    close(parent);
                }
                Ok(())
            }
            Self::File { parent, name } => {
                if let Ok(parent) = root.open(MAKE, parent) {
                    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
                    // SAFETY: as above.
                    unsafe {
                        let file = libc::openat(parent, name.as_ptr(), flags, 0o444);
                        if file >= 0 {
                            libc::close(file);
                        }
                    }
                    close(parent);
                }
                Ok(())
            }
            Self::Link { parent, name, to } => {
                let parent = root.open(MAKE, parent)?;
                // SAFETY: as above.
                unsafe { libc::symlinkat(to.as_ptr(), parent, name.as_ptr()) };
                close(parent);
                Ok(())
            }
            Self::Mount {
                source,
                at,
                attributes,
                may_lack,
            } => {
                let tree = trees[*source];
                let done = if tree < 0 {
                    Err((SHOW, -tree))
                } else {
                    set_attributes(SHOW, tree, true, *attributes)
                        .and_then(|()| duplicate(tree))
                        .and_then(|tree| root.attach(SHOW, tree, at))
                };
                match done {
                    // Gone, or out of our reach.
                    Err((_, libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::ELOOP))
                        if *may_lack =>
                    {
                        Ok(())
                    }
                    done => done,
                }
            }
            Self::Cover { source, at } => cover(root, trees[*source], at, owner),
            Self::Scratch { name, at, mode } => {
                // SAFETY: strings that end with NUL, descriptors of our own.
                unsafe {
                    let scratch = root.open(SCRATCH, SCRATCH_PATH)?;
                    check(SCRATCH, libc::mkdirat(scratch, name.as_ptr(), 0o700))?;
                    check(SCRATCH, libc::fchmodat(scratch, name.as_ptr(), *mode, 0))?;
                    let (uid, gid) = owner;
                    libc::fchownat(scratch, name.as_ptr(), uid, gid, 0);
                    let tree = libc::syscall(
                        libc::SYS_open_tree,
                        c_long::from(scratch),
                        name.as_ptr(),
                        c_long::from(OPEN_TREE_CLONE | libc::O_CLOEXEC),
                    );
                    close(scratch);
                    root.attach(SCRATCH, checked(SCRATCH, tree)?, at)
                }
            }
            Self::Empty { at } => {
                let Ok(target) = root.open(SHOW, at) else {
                    return Ok(());
                };
                close(target);
                let tree = open_tree(SHOW, EMPTY_DIRECTORY)?;
                set_attributes(SHOW, tree, true, MOUNT_ATTR_RDONLY)?;
                root.attach(SHOW, tree, at)
            }
        }
    }
}

/// So that each user closes its own.
fn duplicate(fd: RawFd) -> Result<RawFd, Failure> {
    // SAFETY: a descriptor of our own.
    check(SHOW, unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
}

/// Lays something to write on over a directory (<https://docs.kernel.org/filesystems/overlayfs.html>).
fn cover(root: Root, lower: RawFd, at: &CStr, (uid, gid): Owner) -> Result<(), Failure> {
    if lower < 0 {
        return Err((OVERLAY, -lower));
    }
    // SAFETY: strings that end with NUL, a structure of the right type, descriptors of our own.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        check(OVERLAY, libc::fstat(lower, &raw mut status))?;
        for name in [c".scratch/upper", c".scratch/work"] {
            check(OVERLAY, libc::mkdir(name.as_ptr(), 0o755))?;
        }
        let upper = c".scratch/upper".as_ptr();
        libc::chmod(upper, status.st_mode & 0o7777);
        libc::chown(upper, uid, gid);
    }
    set_attributes(OVERLAY, lower, true, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    root.attach(OVERLAY, duplicate(lower)?, c".lower")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let options = c"lowerdir=.lower,upperdir=.scratch/upper,workdir=.scratch/work";
    mount(OVERLAY, c"overlay", c".merged", c"overlay", flags, options)?;
    let tree = open_tree(OVERLAY, c".merged")?;
    // SAFETY: strings that end with NUL.
    unsafe {
        libc::umount2(c".merged".as_ptr(), libc::MNT_DETACH);
        libc::umount2(c".lower".as_ptr(), libc::MNT_DETACH);
    }
    root.attach(OVERLAY, tree, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(entries: Vec<RootEntry>) -> io::Result<RootPlan> {
        RootPlan::new(&NewRoot {
            entries,
            scratch_bytes: 1,
            scratch_files: 1,
        })
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for odd in ["relative", "/a/../b", "/"] {
            let at = PathBuf::from(odd);
            assert!(
                plan(vec![RootEntry::Scratch {
                    at,
                    is_for_all: false
                }])
                .is_err(),
                "{odd}"
            );
        }
    }

    #[test]
    fn more_than_can_be_shown_is_an_error_and_what_is_gone_is_left_out() {
        let show = |from: &str| RootEntry::Show {
            from: from.into(),
            at: "/x".into(),
        };
        assert_eq!(plan(vec![show("/no/such/file")]).unwrap().steps.len(), 0);
        let Err(error) = plan(vec![show("/"); SOURCES_MAX + 1]) else {
            panic!("accepted");
        };
        assert!(error.to_string().contains("257"), "{error}");
    }
}
