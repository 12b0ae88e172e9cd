//! Starts a program under confinement: what is prepared before `fork`, and what is told afterwards.
//!
//! Three processes, when the host allows a process namespace: the *monitor* (our child, which builds the
//! namespaces and waits), the *init* of the namespace (reports how the program ended; when it ends the
//! kernel kills everything left in the namespace) and the *program*. Otherwise the child becomes the
//! program itself, and what it leaves behind has to be found by its environment marker.
//!
//! What happens between `fork` and `exec` is in [`super::enter`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};

use super::c_strings::{CStrings, c_string};
use super::control_group::ControlGroup;
use super::filter::{Sockets, filters};
use super::landlock::{Wall, WallPlan};
use super::loopback::{LoopbackPlan, hand_over_pair};
use super::new_root::{NewRoot, RootPlan};
use super::plan::{Namespaces, Plan};
use super::step::STEPS;
use crate::manifest::SandboxLimits;

/// Lowest number for our own descriptors, so that none of them is the program's descriptor 3.
const FD_MIN: i32 = 10;

/// Open files of one confined process: enough for an application, too few to hurt the host.
const OPEN_FILES_MAX: u64 = 4096;

/// What to run, and how it is confined.
#[derive(Debug)]
pub(crate) struct Confinement<'a> {
    /// Namespaces, as far as the host allows.
    pub namespaces: Namespaces,
    /// The file to execute; relative to `cwd`.
    pub program: &'a Path,
    /// Arguments, the program's name first.
    pub argv: &'a [String],
    /// The whole environment.
    pub env: &'a BTreeMap<String, String>,
    /// Working directory.
    pub cwd: &'a Path,
    /// The root of its own, where the namespaces have one.
    pub root: Option<&'a NewRoot>,
    /// What it may reach, where the kernel has Landlock.
    pub wall: Option<&'a Wall>,
    /// User and group that it runs as; `None`: ours.
    pub owner: Option<(u32, u32)>,
    /// Sockets that it may make, where the kernel has filters ([`has_filter`]).
    pub sockets: Sockets,
    /// What bounds it and all that it starts.
    pub control_group: Option<&'a ControlGroup>,
    /// Listen for us on this port of the program's own 127.0.0.1, before it starts ([`Confined::loopback`]).
    pub loopback: Option<u16>,
    /// Limits; `time_ms` is the caller's.
    pub limits: SandboxLimits,
    /// Only try whether the namespaces can be entered; nothing is executed.
    pub rehearse: bool,
}

/// A confined program that runs.
#[derive(Debug)]
pub(crate) struct Confined {
    /// Our child, with piped standard streams; the leader of its own session.
    pub child: Child,
    /// What the program writes to descriptor 3.
    pub result: OwnedFd,
    /// Where [`Report`]s arrive.
    pub status: OwnedFd,
    /// Whence the listening socket can be taken ([`super::receive_listener`]).
    pub loopback: Option<OwnedFd>,
}

/// What the confined side reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// The program ended with this wait status (waitpid(2)).
    Ended(i32),
    /// The program was never executed: this step failed.
    Failed {
        /// What was being done.
        step: &'static str,
        /// Why not.
        errno: i32,
    },
}

impl Report {
    /// Reads one report.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (step, rest) = bytes.split_first_chunk::<4>()?;
        let (value, _) = rest.split_first_chunk::<4>()?;
        let (step, value) = (i32::from_ne_bytes(*step), i32::from_ne_bytes(*value));
        if step == 0 {
            return Some(Self::Ended(value));
        }
        let step = STEPS.get(usize::try_from(step).ok()?)?;
        Some(Self::Failed { step, errno: value })
    }
}

/// A pipe whose write end is numbered high and closed on exec.
fn high_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let high = fcntl(writer.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(FD_MIN))?;
    // SAFETY: fcntl has just made this descriptor for us.
    Ok((reader.into(), unsafe { OwnedFd::from_raw_fd(high) }))
}

/// The identity map of all ids that we have ourselves, for user_namespaces(7).
fn identity_map(of: &str) -> Option<Vec<u8>> {
    let mut map = String::new();
    for line in fs::read_to_string(of).ok()?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (first, count) = (fields.next()?, fields.nth(1)?);
        map.push_str(&format!("{first} {first} {count}\n"));
    }
    Some(map.into_bytes())
}

/// This kernel can refuse a program single system calls.
pub(crate) fn has_filter() -> bool {
    !filters(Sockets::OwnNetwork).is_empty()
}

/// Starts the program.
///
/// The calling thread has to live as long as the program: the kernel kills the child when the thread
/// that started it ends (prctl(2), `PR_SET_PDEATHSIG`), so that nothing outlives a killed `ubs`.
///
/// # Errors
/// A string holds a NUL byte, no process or pipe can be made, or somebody is to listen in a network that is not
/// the program's own. What fails after `fork` is a [`Report`].
pub(crate) fn spawn_confined(what: &Confinement<'_>) -> io::Result<Confined> {
    let (status, status_writer) = high_pipe()?;
    let (result, result_writer) = high_pipe()?;
    let (loopback, loopback_plan) = match what.loopback {
        None => (None, None),
        // Never on the host's own device.
        Some(_) if !what.namespaces.net => {
            return Err(io::Error::other("this host cannot isolate the network"));
        }
        Some(port) => {
            let (ours, out) = hand_over_pair()?;
            (Some(ours), Some(LoopbackPlan { port, out }))
        }
    };
    let root = nix::unistd::geteuid().is_root();
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let argv = what
        .argv
        .iter()
        .map(|a| c_string(OsStr::new(a)))
        .collect::<io::Result<Vec<_>>>()?;
    let env = what
        .env
        .iter()
        .map(|(k, v)| c_string(OsStr::new(&format!("{k}={v}"))));
    let mut limits = vec![
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, OPEN_FILES_MAX),
        (libc::RLIMIT_FSIZE, what.limits.file_bytes),
        (libc::RLIMIT_CPU, what.limits.cpu_s),
        (libc::RLIMIT_AS, what.limits.memory_bytes),
    ];
    if what.namespaces.user {
        limits.push((libc::RLIMIT_NPROC, what.limits.processes));
    }
    let plan = Plan {
        namespaces: what.namespaces,
        root_maps: root
            .then(|| {
                Some((
                    identity_map("/proc/self/uid_map")?,
                    identity_map("/proc/self/gid_map")?,
                ))
            })
            .flatten(),
        own_uid_map: format!("{uid} {uid} 1\n").into_bytes(),
        own_gid_map: format!("{gid} {gid} 1\n").into_bytes(),
        root: what.root.map(RootPlan::new).transpose()?,
        wall: what.wall.map(WallPlan::new).transpose()?.flatten(),
        owner: what.owner.unwrap_or((uid.as_raw(), gid.as_raw())),
        changes_user: what
            .owner
            .is_some_and(|owner| owner != (uid.as_raw(), gid.as_raw())),
        cwd: c_string(what.cwd.as_os_str())?,
        program: c_string(what.program.as_os_str())?,
        argv: CStrings::new(argv),
        env: CStrings::new(env.collect::<io::Result<_>>()?),
        limits,
        status: status_writer,
        result: result_writer,
        filters: filters(what.sockets),
        control_groups: what
            .control_group
            .map_or_else(|| Ok(Vec::new()), ControlGroup::entrances)?,
        loopback: loopback_plan,
        rehearse: what.rehearse,
    };
    // The program named here is never executed: `Plan::enter` executes the right one and does not return.
    let mut command = Command::new("/proc/self/exe");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: `enter` keeps to async-signal-safe calls and allocates nothing; see there.
    unsafe { command.pre_exec(move || plan.enter()) };
    let child = command.spawn()?;
    // The plan, and with it our copies of the write ends, goes with the command.
    drop(command);
    Ok(Confined {
        child,
        result,
        status,
        loopback,
    })
}

/// Makes the command the leader of a session of its own (setsid(2)): no terminal, no signals of ours.
pub(crate) fn in_new_session(command: &mut Command) {
    // SAFETY: one async-signal-safe system call; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
}

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// The name.
    pub name: String,
    /// The home directory.
    pub home: String,
}

/// What the user database says; `None` if there is no such user, or it cannot be read.
pub(crate) fn account(name: &str) -> Option<Account> {
    let user = nix::unistd::User::from_name(name).ok()??;
    Some(Account {
        name: user.name,
        home: user.dir.to_str()?.to_owned(),
    })
}

/// Makes the command run as that user, with the user's groups (initgroups(3)). Costs a real `fork`.
///
/// # Errors
/// No such user, or the user database cannot be read.
pub(crate) fn run_as(command: &mut Command, name: &str) -> io::Result<()> {
    let Some(user) = nix::unistd::User::from_name(name)? else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no user {name}"),
        ));
    };
    if user.uid == nix::unistd::geteuid() && !user.uid.is_root() {
        return Ok(());
    }
    let groups = nix::unistd::getgrouplist(&c_string(OsStr::new(name))?, user.gid)?;
    let become_user = move || {
        nix::unistd::setgroups(&groups)?;
        nix::unistd::setgid(user.gid)?;
        nix::unistd::setuid(user.uid)?;
        Ok(())
    };
    // SAFETY: three system calls on data prepared before; nothing is allocated.
    unsafe { command.pre_exec(become_user) };
    Ok(())
}
