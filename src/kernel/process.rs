//! Naming, finding, signalling and ending processes, by what `/proc` says (proc(5)).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
pub(crate) use nix::sys::signal::Signal;
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::domain::event::{ExitKind, ProcessRef};

/// Time between two looks at processes that were told to end.
const REAP_POLL: Duration = Duration::from_millis(10);

/// Time allowed for killed processes to disappear: one in an uninterruptible wait may never.
const REAP_KILL: Duration = Duration::from_secs(5);

/// More than `/proc/PID/stat` ever holds.
const STAT_BYTES_MAX: usize = 2048;

/// What `/proc/PID/stat` says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// Processor time, with that of its children that have ended.
    pub(super) cpu_ticks: u64,
    pub(super) start_ticks: u64,
    /// Memory in use (resident).
    pub(super) pages: u64,
}

impl Stat {
    /// A zombie, or about to be gone.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

pub(super) fn read_stat(pid: u32) -> Option<Stat> {
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    // The kernel gives all of it at once: 52 numbers and a short name. One system call where a vector takes six.
    let mut text = [0; STAT_BYTES_MAX];
    let length = io::Read::read(&mut file, &mut text).ok()?;
    parse_stat(&text[..length])
}

/// The name of the program (field 2) may hold spaces, line ends and `)`: fields are counted from the last `)`.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let after_name = stat.iter().rposition(|&b| b == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?; // field 3
    let parent = fields.next()?.parse().ok()?; // field 4
    let group = fields.next()?.parse().ok()?; // field 5
    // Fields 14 to 17; times of children may be negative in odd kernels.
    let times = fields.by_ref().skip(8).take(4);
    let cpu_ticks = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    let start_ticks = fields.nth(4)?.parse().ok()?; // field 22
    let pages = fields.nth(1).and_then(|pages| pages.parse().ok()); // field 24
    Some(Stat {
        state,
        parent,
        group,
        cpu_ticks,
        start_ticks,
        pages: pages.unwrap_or(0),
    })
}

fn host_boot() -> Option<String> {
    static BOOT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    })
    .clone()
}

/// Names the process that has this pid now; `None` if there is none.
#[must_use]
pub(crate) fn process_ref(pid: u32) -> Option<ProcessRef> {
    let start_ticks = read_stat(pid)?.start_ticks;
    Some(ProcessRef {
        pid,
        start_ticks,
        host_boot: host_boot()?,
    })
}

/// That very process still runs: same pid, start time and host boot. A zombie is dead.
#[must_use]
pub(crate) fn is_alive(process: &ProcessRef) -> bool {
    host_boot().as_deref() == Some(process.host_boot.as_str())
        && read_stat(process.pid)
            .is_some_and(|s| s.start_ticks == process.start_ticks && !s.is_dead())
}

/// How a child ended, from what wait(2) said.
pub(crate) fn exit_kind(status: ExitStatus) -> ExitKind {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitKind::Code(code),
        (None, Some(signal)) => ExitKind::Signal(signal),
        (None, None) => ExitKind::Unknown,
    }
}

/// The signal of that name, with or without `SIG`, in any case: `TERM`, `sigint`.
#[must_use]
pub(crate) fn parse_signal(name: &str) -> Option<Signal> {
    let upper = name.trim().to_ascii_uppercase();
    let full = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    full.parse().ok()
}

/// Signals every process of a group. A group without members is no error.
///
/// # Errors
/// The group belongs to somebody else, or is 0 or 1 (which would mean ourselves, or everybody).
pub(crate) fn kill_group(pgid: u32, signal: Signal) -> io::Result<()> {
    let Some(group) = i32::try_from(pgid).ok().filter(|g| *g > 1) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{pgid} is no process group"),
        ));
    };
    match killpg(Pid::from_raw(group), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Signals that very process, and never another one that got its pid. `false`: it is gone.
#[must_use]
pub(crate) fn signal_process(process: &ProcessRef, signal: Signal) -> bool {
    let pidfd = open_pidfd(process.pid).ok();
    // With the pidfd held, the pid cannot come to mean another process between this look and the signal.
    if !is_alive(process) {
        return false;
    }
    if let Some(pidfd) = pidfd {
        // SAFETY: plain system call on a descriptor that we own; a null siginfo is allowed.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                pidfd.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        return sent == 0;
    }
    i32::try_from(process.pid)
        .is_ok_and(|pid| nix::sys::signal::kill(Pid::from_raw(pid), signal).is_ok())
}

/// A descriptor that stands for the process and becomes readable when it ends (pidfd_open(2), Linux 5.3).
pub(crate) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call with two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// As [`open_pidfd`], for waiting in the current tokio runtime.
pub(crate) fn watch_pidfd(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = open_pidfd(pid)?;
    // SAFETY: the `OwnedFd` belongs to the `AsyncFd` from here on and names the same descriptor until both are dropped.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(io::Error::from)
}

pub(super) fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The live processes, other than ourselves, whose first environment holds exactly `NAME=value`.
///
/// Sees only processes whose environment we may read (our own user's, or all as root).
#[must_use]
pub(crate) fn processes_with_env(marker: &str) -> Vec<ProcessRef> {
    let own = std::process::id();
    pids()
        .filter(|&pid| pid != own)
        .filter_map(|pid| {
            // Named before its environment is read: a pid that changes hands in between is then not alive.
            let process = process_ref(pid)?;
            let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environ
                .split(|&b| b == 0)
                .any(|entry| entry == marker.as_bytes())
                .then_some(process)
        })
        .filter(is_alive)
        .collect()
}

/// Ends every process that carries the marker: `SIGTERM`, and after `grace_ms` `SIGKILL`, until none is left.
///
/// Processes that appear meanwhile are part of an orderly end (a shell that cleans up) and get no `SIGTERM`.
///
/// Returns how many different processes were signalled. Bounded: gives up 5 s after the first `SIGKILL`.
pub(crate) fn reap_marked(marker: &str, grace_ms: u64) -> u32 {
    let mut seen: std::collections::BTreeSet<(u32, u64)> = std::collections::BTreeSet::new();
    let grace_end = Instant::now() + Duration::from_millis(grace_ms);
    let end = grace_end + REAP_KILL;
    let mut first = true;
    loop {
        let processes = processes_with_env(marker);
        if processes.is_empty() || Instant::now() >= end {
            return u32::try_from(seen.len()).unwrap_or(u32::MAX);
        }
        let killing = Instant::now() >= grace_end;
        for process in &processes {
            seen.insert((process.pid, process.start_ticks));
            if killing {
                let _ = signal_process(process, Signal::SIGKILL);
            } else if first {
                let _ = signal_process(process, Signal::SIGTERM);
                // One that is halted does not hear it before it goes on.
                let _ = signal_process(process, Signal::SIGCONT);
            }
        }
        first = false;
        std::thread::sleep(REAP_POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_name_of_a_program_cannot_confuse_the_fields() {
        let stat =
            b"42 (a) S 1 9) x (b) R 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 4711 26";
        let stat = parse_stat(stat).unwrap();
        assert_eq!((stat.state, stat.start_ticks), (b'R', 4711));
        assert_eq!((stat.parent, stat.group), (7, 8));
        let stat = b"7 (a) b 1 2) S 3 4 4 0 -1 4194560 9 0 0 0 10 20 30 40 20 0 1 0 555 1000 25 99";
        let wanted = Stat {
            state: b'S',
            parent: 3,
            group: 4,
            cpu_ticks: 100,
            start_ticks: 555,
            pages: 25,
        };
        assert_eq!(parse_stat(stat), Some(wanted));
        assert!(parse_stat(b"7 no name").is_none());
        assert!(parse_stat(b"42 (a").is_none());
        assert!(parse_stat(b"").is_none());
    }

    #[test]
    fn a_process_is_alive_until_it_is_a_zombie() {
        let own = process_ref(std::process::id()).unwrap();
        assert!(is_alive(&own));
        assert!(!is_alive(&ProcessRef {
            start_ticks: own.start_ticks + 1,
            ..own.clone()
        }));
        assert!(!is_alive(&ProcessRef {
            host_boot: "another".into(),
            ..own
        }));

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = process_ref(child.id()).unwrap();
        assert!(is_alive(&process));
        let pidfd = open_pidfd(child.id()).unwrap();
        assert!(signal_process(&process, Signal::SIGKILL));
        let mut entries = [crate::kernel::PollEntry::readable(pidfd.as_raw_fd())];
        crate::kernel::poll(&mut entries, Some(Duration::from_secs(10))).unwrap();
        assert!(entries[0].ready, "the pidfd tells that the process ended");
        assert!(!is_alive(&process), "a zombie is dead");
        child.wait().unwrap();
        assert!(!is_alive(&process));
        assert!(!signal_process(&process, Signal::SIGKILL));
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(parse_signal("TERM"), Some(Signal::SIGTERM));
        assert_eq!(parse_signal("sigint"), Some(Signal::SIGINT));
        assert_eq!(parse_signal("NOPE"), None);
    }

    #[test]
    fn groups_that_mean_everybody_are_refused() {
        assert!(kill_group(0, Signal::SIGTERM).is_err());
        assert!(kill_group(1, Signal::SIGTERM).is_err());
    }

    #[test]
    fn marked_processes_are_found_and_reaped_even_if_they_ignore_sigterm() {
        let marker = format!("UBS_TEST={}", uuid::Uuid::now_v7());
        let (name, value) = marker.split_once('=').unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
            .env(name, value)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        assert!(
            processes_with_env(&marker)
                .iter()
                .any(|p| p.pid == child.id())
        );
        assert!(
            processes_with_env(&marker[..marker.len() - 1]).is_empty(),
            "only exact entries"
        );
        assert!(reap_marked(&marker, 50) >= 1);
        assert!(processes_with_env(&marker).is_empty());
        child.wait().unwrap();
    }
}
