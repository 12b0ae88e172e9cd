//! All that a confined child needs, prepared before the `fork`: nothing may be allocated after it.

use std::ffi::{CString, c_char};
use std::os::fd::OwnedFd;

use seccompiler::BpfProgram;

use super::loopback::LoopbackPlan;

/// Which namespaces the program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Namespaces {
    /// User ids of its own (needed for all others without privileges).
    pub user: bool,
    /// Mounts (and with it IPC and host name) of its own: everything read-only but the writable directories.
    pub mount: bool,
    /// Processes of its own. Only together with `mount`, since it needs a `/proc` of its own.
    pub pid: bool,
    /// A network of its own, which holds only a loopback device.
    pub net: bool,
}

/// A directory that looks writable while nothing of it is written.
pub(super) struct OverlayPlan {
    pub target: CString,
    /// Gets a file system in memory, which holds `upper` and `work`.
    pub base: CString,
    pub upper: CString,
    pub work: CString,
    /// Options of the mount (<https://docs.kernel.org/filesystems/overlayfs.html>).
    pub options: CString,
    /// `/tmp` gets a layer too.
    pub tmp: Option<TmpPlan>,
}

/// The layer over `/tmp`, made below the same `base`.
pub(super) struct TmpPlan {
    pub upper: CString,
    pub work: CString,
    /// Where it is made.
    pub merged: CString,
    pub options: CString,
    /// Mounts below `/tmp` that stay what they are.
    pub kept: Vec<CString>,
}

/// Everything that the child needs, prepared before the `fork`.
pub(super) struct Plan {
    pub namespaces: Namespaces,
    /// Identity maps of all ids, for root.
    pub root_maps: Option<(Vec<u8>, Vec<u8>)>,
    pub own_uid_map: Vec<u8>,
    pub own_gid_map: Vec<u8>,
    pub fresh_dev: bool,
    pub overlay: Option<OverlayPlan>,
    pub writable: Vec<CString>,
    /// With `true` for a directory.
    pub hidden: Vec<(CString, bool)>,
    pub cwd: CString,
    pub program: CString,
    pub argv: CStrings,
    pub env: CStrings,
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
    pub status: OwnedFd,
    pub result: OwnedFd,
    pub filter: Option<&'static BpfProgram>,
    /// Only in a network of the program's own.
    pub loopback: Option<LoopbackPlan>,
    pub rehearse: bool,
}

/// An array of C strings, ended by a null pointer, as execve(2) wants it.
pub(super) struct CStrings {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers lead into `_owned`, which never changes, and whose heap blocks move with it.
unsafe impl Send for CStrings {}
// SAFETY: as above: read-only after construction.
unsafe impl Sync for CStrings {}

impl CStrings {
    pub(super) fn new(owned: Vec<CString>) -> Self {
        let pointers = owned
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Self {
            _owned: owned,
            pointers,
        }
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}
