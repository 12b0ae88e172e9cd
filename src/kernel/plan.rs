//! All that a confined child needs, prepared before the `fork`: nothing may be allocated after it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use seccompiler::BpfProgram;

use super::c_strings::CStrings;
use super::landlock::WallPlan;
use super::loopback::LoopbackPlan;
use super::new_root::{Owner, RootPlan};

/// Which namespaces the program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Namespaces {
    /// User ids of its own (needed for all others without privileges).
    pub user: bool,
    /// A root and processes of its own, and with them mounts, IPC and host name.
    pub root: bool,
    /// A network of its own, which holds only a loopback device.
    pub net: bool,
}

/// Everything that the child needs, prepared before the `fork`.
pub(super) struct Plan {
    pub namespaces: Namespaces,
    /// Identity maps of all ids, for root.
    pub root_maps: Option<(Vec<u8>, Vec<u8>)>,
    pub own_uid_map: Vec<u8>,
    pub own_gid_map: Vec<u8>,
    pub root: Option<RootPlan>,
    pub wall: Option<WallPlan>,
    /// Whom the program runs as.
    pub owner: Owner,
    /// Whether that is another user than ours.
    pub changes_user: bool,
    pub cwd: CString,
    pub program: CString,
    pub argv: CStrings,
    pub env: CStrings,
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
    pub status: OwnedFd,
    pub result: OwnedFd,
    pub filters: &'static [BpfProgram],
    /// `cgroup.procs` of the control groups to enter.
    pub control_groups: Vec<OwnedFd>,
    /// Only in a network of the program's own.
    pub loopback: Option<LoopbackPlan>,
    pub rehearse: bool,
}
