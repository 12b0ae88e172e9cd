//! Open files: the soft limit, which services get as it was, and which descriptors they inherit (none).
//!
//! A supervisor needs two descriptors a service; a service may rely on a small limit (select(2) handles 1,024).

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More are never needed, and some programs close every descriptor up to the limit.
const SOFT_MAX: u64 = 1 << 20;

/// Descriptors that other threads may open while a process is started under the old limit.
const ROOM_FOR_OTHERS: u64 = 128;

/// The limits before they were raised: soft, hard.
static BEFORE: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises our soft limit to the hard one; [`spawn_as_before`] starts processes with the old one.
pub(crate) fn raise_open_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let raised = hard.min(SOFT_MAX);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
        let _ = BEFORE.set((soft, hard));
    }
}

/// Starts the command with the soft limit from before [`raise_open_files`]. `newest` is a descriptor opened just now:
/// the kernel gives the lowest free number, so it says how many are open.
pub(crate) fn spawn_as_before(command: &mut Command, newest: RawFd) -> io::Result<Child> {
    let Some(&(soft, hard)) = BEFORE.get() else {
        return command.spawn();
    };
    let Ok((raised, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return command.spawn();
    };
    let in_use = u64::try_from(newest).unwrap_or(0);
    if in_use + ROOM_FOR_OTHERS < soft {
        // The child gets what we have, and std may use posix_spawn(3). Nobody reaches the limit meanwhile.
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        let child = command.spawn();
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard)?;
        return child;
    }
    let lower = move || {
        // A limit of the service's own, set before, stays.
        if getrlimit(Resource::RLIMIT_NOFILE)? != (raised, hard) {
            return Ok(());
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(io::Error::from)
    };
    // SAFETY: two system calls on integers; nothing is allocated.
    unsafe { command.pre_exec(lower) };
    command.spawn()
}

/// What whoever started us left open is for no service.
pub(crate) fn close_inherited_on_exec() {
    let entries = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let open = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for descriptor in open.filter(|&descriptor| descriptor > 2) {
        // SAFETY: two plain system calls; a descriptor that is closed by now is an error without effect.
        unsafe {
            let flags = libc::fcntl(descriptor, libc::F_GETFD);
            if flags >= 0 {
                libc::fcntl(descriptor, libc::F_SETFD, flags | libc::FD_CLOEXEC);
            }
        }
    }
}
