//! Landlock: access to files and TCP that the kernel takes away from a process and all that it starts (landlock(7)).
//!
//! In a new root it is the inner wall; on a host that gives no namespaces it is the wall.

use std::ffi::{CString, c_long};
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::c_strings::c_string;
use super::step::{Failure, WALL, errno};

/// Access to files, by version of the interface (linux/landlock.h).
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
/// Everything up to version 3 but reading and executing.
const WRITE: u64 = ((1 << 15) - 1) & !READ;
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// What a file, not a directory, can be given.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;
/// Binding and connecting TCP.
const TCP: u64 = 3;
/// Abstract sockets, and signals to processes outside.
const SCOPES: u64 = 3;

const CREATE_RULESET_VERSION: c_long = 1;
const RULE_PATH_BENEATH: c_long = 1;

/// What a program may reach; anything else is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wall {
    /// Directories and files that may be written.
    pub writable: Vec<PathBuf>,
    /// What may be read, besides what may be written; `None`: everything that can be seen.
    pub readable: Option<Vec<PathBuf>>,
    /// Directories whose names may be read, and those of all below.
    pub listable: Vec<PathBuf>,
    /// No TCP.
    pub no_tcp: bool,
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RulesetAttr {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed: u64,
    parent_fd: i32,
}

/// Version of the interface; 0 where the kernel has none or it is switched off.
pub(crate) fn landlock_version() -> i32 {
    static VERSION: OnceLock<i32> = OnceLock::new();
    *VERSION.get_or_init(|| {
        // SAFETY: asks for a number; no memory is read.
        let version = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::null::<RulesetAttr>(),
                0,
                CREATE_RULESET_VERSION,
            )
        };
        i32::try_from(version).unwrap_or(0).max(0)
    })
}

/// This kernel can hold a program to a wall: version 2 and later, since with the first no file can be moved from one
/// directory to another.
pub(crate) fn has_landlock() -> bool {
    landlock_version() >= 2
}

/// A wall, prepared.
pub(super) struct WallPlan {
    attr: RulesetAttr,
    attr_bytes: usize,
    rules: Vec<(CString, u64)>,
}

impl WallPlan {
    /// `None` where the kernel cannot.
    pub(super) fn new(wall: &Wall) -> io::Result<Option<Self>> {
        let version = landlock_version();
        if !has_landlock() {
            return Ok(None);
        }
        let mut write = WRITE;
        if version < 3 {
            write &= !TRUNCATE;
        }
        let mut rules = Vec::new();
        let mut add = |paths: &[PathBuf], access: u64| -> io::Result<()> {
            for path in paths {
                let text = c_string(path.as_os_str())?;
                // Whether it is a directory is looked up by the child: here it may not exist yet.
                rules.push((text, access));
            }
            Ok(())
        };
        let handled = match &wall.readable {
            None => {
                add(&wall.writable, write)?;
                write
            }
            Some(readable) => {
                add(&wall.writable, write | READ)?;
                add(readable, READ)?;
                add(&wall.listable, READ_DIR)?;
                write | READ
            }
        };
        let attr = RulesetAttr {
            fs: handled,
            net: if wall.no_tcp { TCP } else { 0 },
            scoped: SCOPES,
        };
        // A kernel refuses what it does not know, even if it is zero.
        let fields = match version {
            ..=3 => 1,
            4 | 5 => 2,
            _ => 3,
        };
        Ok(Some(Self {
            attr,
            attr_bytes: fields * size_of::<u64>(),
            rules,
        }))
    }

    /// Restricts this process. Runs between `fork` and `exec`. Needs `PR_SET_NO_NEW_PRIVS`.
    pub(super) fn restrict(&self) -> Result<(), Failure> {
        // SAFETY: structures laid out as the kernel wants them with their sizes, strings that end with NUL,
        // descriptors of our own.
        unsafe {
            let ruleset = libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const self.attr,
                self.attr_bytes,
                0,
            );
            if ruleset < 0 {
                return Err((WALL, errno()));
            }
            for (path, access) in &self.rules {
                let fd = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
                if fd < 0 {
                    // What does not exist needs no access.
                    continue;
                }
                let mut status: libc::stat = std::mem::zeroed();
                let is_directory = libc::fstat(fd, &raw mut status) == 0
                    && status.st_mode & libc::S_IFMT == libc::S_IFDIR;
                let allowed =
                    self.attr.fs & access & if is_directory { u64::MAX } else { OF_FILES };
                let rule = PathBeneathAttr {
                    allowed,
                    parent_fd: fd,
                };
                let added = libc::syscall(
                    libc::SYS_landlock_add_rule,
                    ruleset,
                    RULE_PATH_BENEATH,
                    &raw const rule,
                    0,
                );
                let why = errno();
                libc::close(fd);
                if added < 0 {
                    return Err((WALL, why));
                }
            }
            let restricted = libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0);
            let why = errno();
            libc::syscall(libc::SYS_close, ruleset);
            if restricted < 0 {
                return Err((WALL, why));
            }
        }
        Ok(())
    }
}

// Moving between directories is part of what may be written.
const _: () = assert!(WRITE & REFER != 0);
