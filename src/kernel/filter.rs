//! The system calls that a confined program without network is refused.
//!
//! A network namespace does not hold what these lead to: a Unix socket in the file system belongs to
//! whoever made it (unix(7)), vsock(7) reaches the host of a virtual machine, io_uring(7) makes sockets
//! without socket(2), and the kernel's keys are those of the user (keyrings(7)). A filter cannot look at
//! the address given to connect(2), so no such socket can be made at all; socketpair(2) can.

use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Kinds of sockets that lead out of a network namespace.
const SOCKET_DOMAINS: [i32; 2] = [libc::AF_UNIX, libc::AF_VSOCK];

/// Refused whatever their arguments are.
const REFUSED: [i64; 8] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
];

/// The x32 ABI has the numbers of x86-64 with this bit, and is the same architecture to a filter.
#[cfg(target_arch = "x86_64")]
const ABIS: [i64; 2] = [0, 0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const ABIS: [i64; 1] = [0];

/// The filter, if this kernel has such filters and this architecture is known.
pub(super) fn filter() -> Option<&'static BpfProgram> {
    static FILTER: OnceLock<Option<BpfProgram>> = OnceLock::new();
    FILTER
        .get_or_init(|| {
            if !is_available() {
                return None;
            }
            build()
                .map_err(|error| tracing::debug!("no system call filter: {error}"))
                .ok()
        })
        .as_ref()
}

/// seccomp(2), `SECCOMP_GET_ACTION_AVAIL`.
fn is_available() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one u32 that lives through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

fn build() -> Result<BpfProgram, BackendError> {
    let domain = |domain: i32| {
        let condition = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(domain.unsigned_abs()),
        )?;
        SeccompRule::new(vec![condition])
    };
    let sockets = SOCKET_DOMAINS
        .into_iter()
        .map(domain)
        .collect::<Result<Vec<_>, _>>()?;
    let mut rules = std::collections::BTreeMap::new();
    for abi in ABIS {
        rules.insert(libc::SYS_socket | abi, sockets.clone());
        rules.extend(REFUSED.map(|call| (call | abi, Vec::new())));
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EACCES.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}
