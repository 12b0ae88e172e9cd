//! What one service is given or denied at its start: a umask and resource limits (setrlimit(2)).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use crate::manifest::ServiceLimits;

/// From the first `SIGXCPU`, which says why, to the `SIGKILL`.
const CPU_GRACE_S: u64 = 5;

/// Limits the program that the command starts. Before it becomes another user, so that we may raise what only we may.
///
/// # Errors
/// A limit is over the hard one of this process, and it may not raise that: the key and both numbers.
pub(crate) fn limit_child(
    command: &mut Command,
    limits: &ServiceLimits,
    mask: Option<u32>,
) -> io::Result<()> {
    let wanted = [
        ("open_files", Resource::RLIMIT_NOFILE, limits.open_files),
        ("processes", Resource::RLIMIT_NPROC, limits.processes),
        ("memory", Resource::RLIMIT_AS, limits.memory_bytes),
        ("cpu_time", Resource::RLIMIT_CPU, limits.cpu_s),
        ("core", Resource::RLIMIT_CORE, limits.core_bytes),
        ("file_size", Resource::RLIMIT_FSIZE, limits.file_bytes),
    ];
    let mut set = Vec::new();
    for (key, resource, value) in wanted {
        let Some(value) = value else { continue };
        let (_, hard) = getrlimit(resource)?;
        if value > hard && !nix::unistd::geteuid().is_root() {
            return Err(io::Error::other(format!(
                "limits.{key} asks for {value}, and the user that runs ubs may give {hard} at most (`ulimit -H`)"
            )));
        }
        let highest = match resource {
            Resource::RLIMIT_CPU if hard >= value => value.saturating_add(CPU_GRACE_S).min(hard),
            _ => value,
        };
        set.push((resource, value, highest));
    }
    let mask = mask.map(Mode::from_bits_truncate);
    if set.is_empty() && mask.is_none() {
        return Ok(());
    }
    let apply = move || {
        if let Some(mask) = mask {
            umask(mask);
        }
        for &(resource, soft, hard) in &set {
            setrlimit(resource, soft, hard)?;
        }
        Ok(())
    };
    // SAFETY: system calls on integers prepared before; nothing is allocated.
    unsafe { command.pre_exec(apply) };
    Ok(())
}
