//! Runs one command under isolation and limits, and says what it could not isolate.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::bounds::Bounds;
use super::report::{Facts, Isolation, describe};
use super::stand_in::find_program_in_copy;
use super::view::{Sight, View, new_root, wall, writable_in};
use super::watch::{Strays, Watch};
use crate::domain::event::ExitKind;
use crate::kernel::{
    Confinement, ControlGroup, IsolationSupport, Namespaces, Sockets, Wall, find_program,
    isolation_support, spawn_confined,
};
use crate::manifest::SandboxLimits;

/// One command to run in the sandbox. The environment is exactly `env`; standard input is empty.
#[derive(Debug, Clone)]
pub(crate) struct SandboxSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory, on the host: one of the workspace is that of its copy.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// What the program sees of the host; without it the system and `cwd`.
    pub view: Option<View>,
    /// The only directories whose content stays, where the host can enforce it; they must exist.
    pub writable: Vec<PathBuf>,
    /// A private directory: HOME and TMPDIR on a host that gives no root of the program's own. Where there is one, they
    /// lie in memory, and this directory is not seen. Without it, both are what `env` says.
    pub home: Option<PathBuf>,
    /// The network is reachable.
    pub network: bool,
    /// Limits.
    pub limits: SandboxLimits,
    /// Wall time, milliseconds.
    pub timeout_ms: u64,
    /// Bytes given on standard input.
    pub stdin: Vec<u8>,
    /// A pipe whose bytes follow them, until its end; given up when the program ends.
    pub stdin_more: Option<Arc<OwnedFd>>,
    /// A server of the caller's on the program's own loopback device; needs a host that isolates the network.
    pub loopback: Option<Loopback>,
}

/// See [`SandboxSpec::loopback`].
///
/// The socket is in the program's network and nowhere else: what the caller accepts was connected by this
/// program, and the host's own port of that number is neither used nor reached.
#[derive(Debug, Clone)]
pub(crate) struct Loopback {
    /// Of 127.0.0.1 in the program's network. One below 1024 is as good as any: the network is the program's own.
    pub port: u16,
    /// Gets the listening socket, on which connections queue from before the program starts; it must have room
    /// for it. Perhaps nothing comes, if the program cannot be started. When it has ended, its connections end,
    /// and nobody connects any more: an `accept` that waits then waits for ever.
    pub listener: Sender<TcpListener>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(crate) struct SandboxOutcome {
    /// How the process ended.
    pub exit: ExitKind,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// It was killed because of what it used: `more than 512 processes`.
    pub exceeded: Option<String>,
    /// First bytes of standard output and standard error, at most 256 KiB each; more is read and dropped.
    pub stdout: Vec<u8>,
    /// See `stdout`.
    pub stderr: Vec<u8>,
    /// What was written to file descriptor 3 (named in `UBS_RESULT_FD`), at most 16 MiB.
    pub result: Vec<u8>,
    /// `result` was longer.
    pub result_truncated: bool,
    /// Wall time.
    pub duration_ms: u64,
    /// What was isolated.
    pub isolation: Isolation,
}

/// The command could not be run at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The program does not exist or cannot be executed.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// What was to be run.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs the command and waits for it. Blocking; leaves no process of it behind.
///
/// The program sees exactly `spec.env`, plus `UBS_RESULT_FD=3` and `UBS_SANDBOX=<uuid>`, by which
/// strays are found where the host has no process namespaces. Where the kernel cannot make a workspace look writable,
/// it is read-only.
///
/// # Errors
/// The command could not be started.
pub(crate) fn run_sandboxed(spec: &SandboxSpec) -> Result<SandboxOutcome, SandboxError> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let support = isolation_support();
    let looks_writable = spec.view.as_ref().is_some_and(|view| view.looks_writable);
    if !looks_writable || !support.namespaces.root {
        return run_with(spec, support);
    }
    if !REFUSED.load(Ordering::Relaxed) {
        match run_with(spec, support) {
            Err(error) => tracing::debug!("no layer over the workspace: {error}"),
            ended => return ended,
        }
    }
    let mut spec = spec.clone();
    if let Some(view) = &mut spec.view {
        view.looks_writable = false;
    }
    let outcome = run_with(&spec, support)?;
    REFUSED.store(true, Ordering::Relaxed);
    Ok(outcome)
}

/// As [`run_sandboxed`], on a host that can isolate only so much.
pub(super) fn run_with(
    spec: &SandboxSpec,
    support: &IsolationSupport,
) -> Result<SandboxOutcome, SandboxError> {
    let started = Instant::now();
    let shown = spec.argv.first().cloned().unwrap_or_default();
    let failed = |source| SandboxError::Spawn {
        program: shown.clone(),
        source,
    };
    let found = match &spec.view {
        Some(View { workspace, at, .. }) => {
            find_program_in_copy(&shown, &spec.env, &spec.cwd, workspace, at)
        }
        None => find_program(&shown, &spec.env, &spec.cwd),
    };
    let program = found.map_err(failed)?;
    // Real names: mounts are made by name, and a link would lead them astray.
    let real = |path: &PathBuf| {
        path.canonicalize().map_err(|e| {
            failed(std::io::Error::new(
                e.kind(),
                format!("{}: {e}", path.display()),
            ))
        })
    };
    let cwd = real(&spec.cwd)?;
    let writable = spec
        .writable
        .iter()
        .map(real)
        .collect::<Result<Vec<_>, _>>()?;
    check_loopback(spec, support).map_err(failed)?;

    let marker = uuid::Uuid::now_v7().to_string();
    let mut env = spec.env.clone();
    env.insert("UBS_RESULT_FD".into(), "3".into());
    env.insert("UBS_SANDBOX".into(), marker.clone());
    let namespaces = Namespaces {
        net: support.namespaces.net && !spec.network,
        ..support.namespaces
    };
    let sight = Sight {
        view: spec.view.as_ref(),
        program: &program,
        cwd: &cwd,
        writable: &writable,
        network: spec.network,
        disk_bytes: spec.limits.disk_bytes,
    };
    let own_root = namespaces.root.then(|| new_root(&sight));
    let mut written = writable.clone();
    let wall = match &own_root {
        Some((root, _)) => Wall {
            writable: writable_in(root),
            readable: None,
            listable: Vec::new(),
            no_tcp: false,
        },
        None => {
            written.extend(spec.home.as_ref().map(real).transpose()?);
            let mut wall = wall(&sight, !spec.network && !namespaces.net);
            wall.writable.extend(written.iter().cloned());
            wall
        }
    };
    if let Some(private) = &spec.home {
        let (home, tmp) = match &own_root {
            Some((_, home)) => (home.as_path(), Path::new("/tmp")),
            None => (private.as_path(), private.as_path()),
        };
        env.insert("HOME".to_owned(), home.display().to_string());
        env.insert("TMPDIR".to_owned(), tmp.display().to_string());
    }
    let inside = |path: &Path| match &spec.view {
        Some(view) if own_root.is_some() => view.inside(path),
        _ => path.to_owned(),
    };
    let owner = owner_of(spec, &cwd, &program);
    if let Some(owner) = owner {
        for directory in &written {
            give(directory, owner).map_err(failed)?;
        }
    }
    // A program learns from its name where it lies: Python, which environment it is of.
    let mut argv = spec.argv.clone();
    if let Some(name) = argv.first_mut()
        && name.starts_with('/')
    {
        *name = inside(Path::new(name)).display().to_string();
    }
    let limits = spec.limits;
    let group = ControlGroup::new(&marker, limits.processes, limits.total_memory_bytes);
    let confinement = Confinement {
        namespaces,
        program: &inside(&program),
        argv: &argv,
        env: &env,
        cwd: &inside(&cwd),
        root: own_root.as_ref().map(|(root, _)| root),
        wall: Some(&wall),
        owner,
        sockets: match (spec.network, namespaces.net) {
            (true, _) => Sockets::Open,
            (false, true) => Sockets::OwnNetwork,
            (false, false) => Sockets::None,
        },
        control_group: group.as_ref(),
        loopback: spec.loopback.as_ref().map(|server| server.port),
        limits,
        rehearse: false,
    };
    let confined = spawn_confined(&confinement).map_err(failed)?;
    let strays = Strays {
        group: confined.child.id(),
        marker: format!("UBS_SANDBOX={marker}"),
    };
    let bounds = Bounds::new(confined.child.id(), limits, group.is_some(), &written);
    let ended = spec
        .stdin_more
        .as_ref()
        .map(|more| more.try_clone())
        .transpose()
        .and_then(|more| {
            let server = spec.loopback.as_ref().map(|server| &server.listener);
            Watch::new(confined, &spec.stdin, more, strays, server)
        })
        .and_then(|watch| watch.run(started + Duration::from_millis(spec.timeout_ms), bounds))
        .map_err(failed)?;
    let facts = Facts {
        network: spec.network,
        loopback: spec.loopback.as_ref().map(|server| server.port),
        limits,
        timeout_ms: spec.timeout_ms,
        is_grouped: group.is_some(),
        keeps_root: owner.is_none() && nix::unistd::geteuid().is_root(),
        looks_writable: spec.view.as_ref().is_some_and(|view| view.looks_writable),
    };
    if let Some(source) = ended.not_started {
        return Err(failed(source));
    }
    Ok(SandboxOutcome {
        exit: ended.exit,
        timed_out: ended.timed_out,
        exceeded: ended.exceeded,
        stdout: ended.stdout.kept,
        stderr: ended.stderr.kept,
        result_truncated: ended.result.truncated,
        result: ended.result.kept,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        isolation: describe(&facts, namespaces, support),
    })
}

/// Programs get a root of their own here, in which a copy of the workspace lies at the path of the live one.
#[must_use]
pub(crate) fn has_own_root() -> bool {
    isolation_support().namespaces.root
}

fn check_loopback(spec: &SandboxSpec, support: &IsolationSupport) -> std::io::Result<()> {
    let Some(loopback) = &spec.loopback else {
        return Ok(());
    };
    let why = if spec.network {
        "a server on the program's own loopback device needs a network of its own"
    } else if !support.namespaces.net {
        "this host cannot isolate the network"
    } else if loopback.listener.is_full() {
        "the channel for the listening socket has no room for it"
    } else {
        return Ok(());
    };
    Err(std::io::Error::other(why))
}

/// Whom root runs the program as: the owner of what is seen as the workspace. `None`: nobody else, because that is
/// us, or because another user could not execute the program.
fn owner_of(spec: &SandboxSpec, cwd: &Path, program: &Path) -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let seen = spec.view.as_ref().map_or(cwd, |view| &view.workspace);
    let found = seen.metadata().ok()?;
    let is_for_all = |path: &Path| path.metadata().is_ok_and(|m| m.mode() & 0o005 == 0o005);
    let real = program.canonicalize().ok()?;
    let can_run = is_for_all(&real) && real.parent().is_none_or(is_for_all);
    (found.uid() != 0 && can_run).then(|| (found.uid(), found.gid()))
}

/// What root made for the program becomes its own: a directory and what lies in it, no further.
fn give(directory: &Path, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    std::os::unix::fs::lchown(directory, Some(uid), Some(gid))?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid))?;
        }
    }
    Ok(())
}
