//! Starts a program under confinement: what is prepared before `fork`, and what is told afterwards.
//!
//! Three processes, when the host allows a process namespace: the *monitor* (our child, which builds the
//! namespaces and waits), the *init* of the namespace (reports how the program ended; when it ends the
//! kernel kills everything left in the namespace) and the *program*. Otherwise the child becomes the
//! program itself, and what it leaves behind has to be found by its environment marker.
//!
//! What happens between `fork` and `exec` is in [`super::enter`].

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};

use super::filter::filter;
use super::loopback::{LoopbackPlan, hand_over_pair};
use super::plan::{CStrings, Namespaces, OverlayPlan, Plan, TmpPlan};
use super::step::STEPS;
use crate::manifest::SandboxLimits;

/// Lowest number for our own descriptors, so that none of them is the program's descriptor 3.
const FD_MIN: i32 = 10;

/// Open files of one confined process: enough for an application, too few to hurt the host.
const OPEN_FILES_MAX: u64 = 4096;

/// Processes of one user in its own user namespace: a brake on fork bombs (root is exempt, setrlimit(2)).
const PROCESSES_MAX: u64 = 4096;

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
    /// A directory that looks writable, with an empty one outside of which nothing is written for it.
    pub overlay: Option<(&'a Path, &'a Path)>,
    /// With it, `/tmp` looks writable too; nothing but what is named here may be mounted below it.
    pub overlay_tmp: bool,
    /// Directories that may be written.
    pub writable: &'a [PathBuf],
    /// Files and directories that the program shall find empty.
    pub hidden: &'a [PathBuf],
    /// Refuse the system calls that lead out of a network namespace, where the kernel can
    /// ([`has_filter`]).
    pub filter: bool,
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

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} holds a NUL byte", text.to_string_lossy()),
        )
    })
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

fn overlay_plan(
    (target, base): (&Path, &Path),
    writable: &[PathBuf],
    tmp: bool,
) -> io::Result<OverlayPlan> {
    let (upper, work) = (base.join("upper"), base.join("work"));
    let tmp = if tmp {
        let (upper, work) = (base.join("tmp-upper"), base.join("tmp-work"));
        let below = writable.iter().map(PathBuf::as_path).chain([target]);
        Some(TmpPlan {
            options: overlay_options(Path::new("/tmp"), &upper, &work)?,
            upper: c_string(upper.as_os_str())?,
            work: c_string(work.as_os_str())?,
            merged: c_string(base.join("tmp-merged").as_os_str())?,
            kept: below
                .filter(|path| path.starts_with("/tmp"))
                .map(|path| c_string(path.as_os_str()))
                .collect::<io::Result<_>>()?,
        })
    } else {
        None
    };
    Ok(OverlayPlan {
        target: c_string(target.as_os_str())?,
        base: c_string(base.as_os_str())?,
        options: overlay_options(target, &upper, &work)?,
        upper: c_string(upper.as_os_str())?,
        work: c_string(work.as_os_str())?,
        tmp,
    })
}

fn overlay_options(lower: &Path, upper: &Path, work: &Path) -> io::Result<CString> {
    let mut options = Vec::new();
    for (name, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
        let path = path.as_os_str().as_bytes();
        if path.iter().any(|byte| matches!(byte, b',' | b':' | b'\\')) {
            let why = "a comma, colon or backslash in the name of a directory to lay over";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if !options.is_empty() {
            options.push(b',');
        }
        options.extend_from_slice(name.as_bytes());
        options.push(b'=');
        options.extend_from_slice(path);
    }
    c_string(OsStr::from_bytes(&options))
}

/// This kernel can refuse a program single system calls.
pub(crate) fn has_filter() -> bool {
    filter().is_some()
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
    let paths = |paths: &[PathBuf]| {
        paths
            .iter()
            .map(|p| c_string(p.as_os_str()))
            .collect::<io::Result<Vec<_>>>()
    };
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
        limits.push((libc::RLIMIT_NPROC, PROCESSES_MAX));
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
        // A `/dev` of its own would hide what the caller needs from there.
        fresh_dev: !what
            .writable
            .iter()
            .map(PathBuf::as_path)
            .chain([what.cwd])
            .any(|p| p.starts_with("/dev")),
        overlay: what
            .overlay
            .map(|overlay| overlay_plan(overlay, what.writable, what.overlay_tmp))
            .transpose()?,
        writable: paths(what.writable)?,
        hidden: what
            .hidden
            .iter()
            .map(|p| Ok((c_string(p.as_os_str())?, p.is_dir())))
            .collect::<io::Result<_>>()?,
        cwd: c_string(what.cwd.as_os_str())?,
        program: c_string(what.program.as_os_str())?,
        argv: CStrings::new(argv),
        env: CStrings::new(env.collect::<io::Result<_>>()?),
        limits,
        status: status_writer,
        result: result_writer,
        filter: if what.filter { filter() } else { None },
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
