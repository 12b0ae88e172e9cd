//! The system calls that a confined program is refused.
//!
//! A network namespace does not hold what these lead to: a Unix socket in the file system belongs to
//! whoever made it (unix(7)), a pair of datagram sockets sends to any path, vsock(7) reaches the host of a virtual
//! machine, io_uring(7) makes sockets without socket(2), and the kernel's keys are those of the user (keyrings(7)).
//! A filter cannot look at the address given to connect(2), so no such socket can be made at all.
//!
//! The rest of the list is what no application needs and an attack does: other processes' memory, new namespaces,
//! mounts, clocks, modules.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Which sockets a program may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sockets {
    /// Of the Internet and local ones: the network is allowed.
    Open,
    /// Of the Internet, in a network that holds only a loopback device.
    #[default]
    OwnNetwork,
    /// None: the host gives no network of the program's own.
    None,
}

/// Refused whatever their arguments are.
const REFUSED: &[i64] = &[
    // Other ways to sockets and to the kernel's inside.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // The kernel's keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    // Namespaces and mounts.
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // The host.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
];

/// The x32 ABI has the numbers of x86-64 with this bit, and is the same architecture to a filter.
#[cfg(target_arch = "x86_64")]
const ABIS: [i64; 2] = [0, 0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const ABIS: [i64; 1] = [0];

/// Kinds of sockets in the second argument, without their flags.
const TYPE_MASK: u64 = 0xf;

/// The filters of one kind, one after the other; none where this kernel has no filters or the architecture is not
/// known.
pub(super) fn filters(sockets: Sockets) -> &'static [BpfProgram] {
    static OPEN: OnceLock<Vec<BpfProgram>> = OnceLock::new();
    static OWN: OnceLock<Vec<BpfProgram>> = OnceLock::new();
    static NONE: OnceLock<Vec<BpfProgram>> = OnceLock::new();
    let made = match sockets {
        Sockets::Open => &OPEN,
        Sockets::OwnNetwork => &OWN,
        Sockets::None => &NONE,
    };
    made.get_or_init(|| {
        if !is_available() {
            return Vec::new();
        }
        build(sockets).unwrap_or_else(|error| {
            tracing::debug!("no system call filter: {error}");
            Vec::new()
        })
    })
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

fn number(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

fn argument(index: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, value)
}

/// A rule for each of the alternatives.
fn any_of<const N: usize>(
    conditions: [(u8, SeccompCmpOp, u64); N],
) -> Result<Vec<SeccompRule>, BackendError> {
    conditions
        .into_iter()
        .map(|(index, how, value)| SeccompRule::new(vec![argument(index, how, value)?]))
        .collect()
}

/// Any other domain than these.
fn other_domains(allowed: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    let conditions = allowed
        .iter()
        .map(|domain| argument(0, SeccompCmpOp::Ne, number(*domain)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(vec![SeccompRule::new(conditions)?])
}

fn build(sockets: Sockets) -> Result<Vec<BpfProgram>, BackendError> {
    let socket = match sockets {
        Sockets::None => Vec::new(),
        Sockets::OwnNetwork => other_domains(&[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK])?,
        Sockets::Open => other_domains(&[
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
            libc::AF_UNIX,
        ])?,
    };
    let masked = SeccompCmpOp::MaskedEq(TYPE_MASK);
    // A raw local socket is one of datagrams (unix(7)).
    let pairs = any_of([
        (1, masked.clone(), number(libc::SOCK_DGRAM)),
        (1, masked, number(libc::SOCK_RAW)),
    ])?;
    let new_user = number(libc::CLONE_NEWUSER);
    let namespaces = any_of([(0, SeccompCmpOp::MaskedEq(new_user), new_user)])?;
    // Characters put into the terminal's input (ioctl_tty(2), `TIOCSTI`, `TIOCLINUX`).
    let terminal = any_of([
        (1, SeccompCmpOp::Eq, libc::TIOCSTI),
        (1, SeccompCmpOp::Eq, libc::TIOCLINUX),
    ])?;
    let mut rules = BTreeMap::new();
    let mut unknown = BTreeMap::new();
    for abi in ABIS {
        rules.extend(REFUSED.iter().map(|call| (call | abi, Vec::new())));
        rules.insert(libc::SYS_socket | abi, socket.clone());
        rules.insert(libc::SYS_socketpair | abi, pairs.clone());
        rules.insert(libc::SYS_clone | abi, namespaces.clone());
        rules.insert(libc::SYS_unshare | abi, namespaces.clone());
        rules.insert(libc::SYS_ioctl | abi, terminal.clone());
        // Its flags lie in memory, where a filter cannot look: the C library then takes clone(2).
        unknown.insert(libc::SYS_clone3 | abi, Vec::new());
    }
    Ok(vec![
        program(unknown, libc::ENOSYS)?,
        program(rules, libc::EACCES)?,
    ])
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_built() {
        for kind in [Sockets::Open, Sockets::OwnNetwork, Sockets::None] {
            assert_eq!(build(kind).unwrap().len(), 2, "{kind:?}");
        }
    }
}
