//! Runs one command under isolation and limits, and says what it could not isolate.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::overlay::Overlay;
use super::watch::{Strays, Watch};
use crate::domain::event::ExitKind;
use crate::kernel::{
    Confinement, IsolationSupport, Namespaces, find_program, has_filter, isolation_support,
    outranks_the_confined, spawn_confined,
};
use crate::manifest::SandboxLimits;

/// One command to run in the sandbox. The environment is exactly `env`; standard input is empty.
#[derive(Debug, Clone)]
pub(crate) struct SandboxSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The only directories that may be written, where the host can enforce it; they must exist.
    pub writable: Vec<PathBuf>,
    /// This directory looks writable; what is written below it is kept in memory and gone afterwards.
    /// Needs an empty directory that may be used for it, on a host that isolates the file system.
    pub overlay: Option<Overlay>,
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

/// What the host isolates, and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Isolation {
    /// One line each: `network: isolated (own namespace)`, `processes: not isolated (...)`.
    pub lines: Vec<String>,
    /// Names of what is isolated: `network`, `filesystem`, `environment`, `memory`, `time`.
    pub isolated: Vec<String>,
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
/// strays are found where the host has no process namespaces.
///
/// # Errors
/// The command could not be started.
pub(crate) fn run_sandboxed(spec: &SandboxSpec) -> Result<SandboxOutcome, SandboxError> {
    run_with(spec, isolation_support())
}

/// What a command with these limits, without network, would be isolated from on this host.
#[must_use]
pub(crate) fn host_isolation(limits: SandboxLimits) -> Isolation {
    let support = isolation_support();
    let spec = SandboxSpec {
        argv: Vec::new(),
        cwd: PathBuf::new(),
        env: BTreeMap::new(),
        writable: vec![PathBuf::new()],
        overlay: None,
        network: false,
        limits,
        timeout_ms: limits.time_ms,
        stdin: Vec::new(),
        stdin_more: None,
        loopback: None,
    };
    describe(&spec, support.namespaces, support)
}

/// As [`run_sandboxed`]; where the host cannot lay something to write on over a directory, it stays read-only.
///
/// # Errors
/// As [`run_sandboxed`].
pub(crate) fn run_laid_over(mut spec: SandboxSpec) -> Result<SandboxOutcome, SandboxError> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Ordering::Relaxed) {
        spec.overlay = None;
    }
    match run_sandboxed(&spec) {
        Err(error) if spec.overlay.is_some() => {
            tracing::debug!("no layer over the workspace: {error}");
            spec.overlay = None;
            let outcome = run_sandboxed(&spec)?;
            REFUSED.store(true, Ordering::Relaxed);
            Ok(outcome)
        }
        ended => ended,
    }
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
    let program = find_program(&shown, &spec.env, &spec.cwd).map_err(failed)?;
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

    let overlay = spec
        .overlay
        .as_ref()
        .map(|overlay| Ok((real(&overlay.directory)?, real(&overlay.base)?)))
        .transpose()?;
    if overlay.is_some() && !support.namespaces.mount {
        return Err(failed(std::io::Error::other(
            "this host cannot isolate the file system",
        )));
    }

    if let Some(loopback) = &spec.loopback {
        let why = if spec.network {
            "a server on the program's own loopback device needs a network of its own"
        } else if !support.namespaces.net {
            "this host cannot isolate the network"
        } else if loopback.listener.is_full() {
            "the channel for the listening socket has no room for it"
        } else {
            ""
        };
        if !why.is_empty() {
            return Err(failed(std::io::Error::other(why)));
        }
    }

    let marker = uuid::Uuid::now_v7().to_string();
    let mut env = spec.env.clone();
    env.insert("UBS_RESULT_FD".into(), "3".into());
    env.insert("UBS_SANDBOX".into(), marker.clone());
    let hidden = private_paths(spec.network, writable.iter().chain([&cwd, &program]));
    let namespaces = Namespaces {
        net: support.namespaces.net && !spec.network,
        ..support.namespaces
    };
    let confinement = Confinement {
        namespaces,
        program: &program,
        argv: &spec.argv,
        env: &env,
        cwd: &cwd,
        overlay: overlay.as_ref().map(|(d, b)| (d.as_path(), b.as_path())),
        overlay_tmp: spec.overlay.as_ref().is_some_and(|overlay| overlay.tmp),
        writable: &writable,
        hidden: &hidden,
        filter: !spec.network,
        loopback: spec.loopback.as_ref().map(|server| server.port),
        limits: spec.limits,
        rehearse: false,
    };
    let confined = spawn_confined(&confinement).map_err(failed)?;
    let strays = Strays {
        group: confined.child.id(),
        marker: format!("UBS_SANDBOX={marker}"),
    };
    let ended = spec
        .stdin_more
        .as_ref()
        .map(|more| more.try_clone())
        .transpose()
        .and_then(|more| {
            let server = spec.loopback.as_ref().map(|server| &server.listener);
            Watch::new(confined, &spec.stdin, more, strays, server)
        })
        .and_then(|watch| watch.run(started + Duration::from_millis(spec.timeout_ms)))
        .map_err(failed)?;
    if let Some(source) = ended.not_started {
        return Err(failed(source));
    }
    Ok(SandboxOutcome {
        exit: ended.exit,
        timed_out: ended.timed_out,
        stdout: ended.stdout.kept,
        stderr: ended.stderr.kept,
        result_truncated: ended.result.truncated,
        result: ended.result.kept,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        isolation: describe(spec, namespaces, support),
    })
}

/// What is isolated, in the words of the report.
fn describe(spec: &SandboxSpec, namespaces: Namespaces, support: &IsolationSupport) -> Isolation {
    let refused = |name: &str| {
        support
            .refused
            .get(name)
            .cloned()
            .unwrap_or_else(|| "not together with the other namespaces here".into())
    };
    let no_mounts = || refused("filesystem");
    let mib = |bytes: u64| bytes >> 20;
    let limits = spec.limits;
    let local_sockets = if has_filter() {
        "no local sockets"
    } else {
        "of local sockets, the known ones are hidden"
    };
    let facts: [(&str, Result<String, String>); 9] = [
        (
            "network",
            match (namespaces.net, spec.network) {
                (true, _) => Ok(match &spec.loopback {
                    None => format!("own namespace with a loopback device only; {local_sockets}"),
                    Some(Loopback { port, .. }) => format!(
                        "own namespace with a loopback device only, port {port} of which leads to us; {local_sockets}"
                    ),
                }),
                (false, true) => Err("allowed for this command".into()),
                (false, false) => Err(refused("network")),
            },
        ),
        (
            "filesystem",
            if namespaces.mount {
                Ok(format!(
                    "read-only but for {} writable directories",
                    spec.writable.len()
                ))
            } else {
                Err(no_mounts())
            },
        ),
        (
            "environment",
            // Without a user namespace, another process of the same user may be asked for its environment.
            if namespaces.user || namespaces.pid || outranks_the_confined() {
                Ok("only the given variables".into())
            } else {
                Err("only the given variables, but /proc shows those of other processes of this user".into())
            },
        ),
        (
            "home",
            if namespaces.mount {
                Ok("read-only, known credential files hidden".into())
            } else {
                Err(no_mounts())
            },
        ),
        (
            "processes",
            if namespaces.pid {
                Ok("own namespace".into())
            } else {
                Err(format!(
                    "{}; strays are ended by their marker",
                    refused("processes")
                ))
            },
        ),
        (
            "memory",
            Ok(format!(
                "{} MiB of address space a process",
                mib(limits.memory_bytes)
            )),
        ),
        ("cpu time", Ok(format!("{} s a process", limits.cpu_s))),
        (
            "file size",
            Ok(format!("{} MiB a file", mib(limits.file_bytes))),
        ),
        ("time", Ok(format!("{} ms of wall time", spec.timeout_ms))),
    ];
    let mut isolation = Isolation {
        lines: Vec::new(),
        isolated: Vec::new(),
    };
    for (name, fact) in facts {
        match fact {
            Ok(how) => {
                isolation.lines.push(format!("{name}: isolated ({how})"));
                isolation.isolated.push(name.to_owned());
            }
            Err(why) => isolation
                .lines
                .push(format!("{name}: not isolated ({why})")),
        }
    }
    isolation
}

/// Credential stores below the home directory that no trial needs.
const PRIVATE_IN_HOME: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".config/gcloud",
    ".config/gh",
    ".config/op",
    ".password-store",
    ".local/share/keyrings",
    ".mozilla",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".vault-token",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".psql_history",
    ".cargo/credentials.toml",
];

/// Local sockets lead out of a network namespace; the file system's read-only flag does not stop them.
const LOCAL_SERVICES: &[&str] = &[
    "/run/docker.sock",
    "/run/docker",
    "/run/podman",
    "/run/containerd",
    "/run/dbus",
    "/run/postgresql",
    "/run/mysqld",
    "/run/redis",
    "/run/user",
    "/run/systemd/private",
    "/run/snapd.socket",
    "/run/nscd",
];

/// Secrets of the host that its root may read, and a trial that runs as root should not.
const PRIVATE_OF_HOST: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/systemd",
];

/// Keys of the host's SSH server.
const SSH_DIRECTORY: &str = "/etc/ssh";

/// Files in [`SSH_DIRECTORY`] that hold a private key.
fn ssh_host_keys() -> Vec<PathBuf> {
    let names = std::fs::read_dir(SSH_DIRECTORY).into_iter().flatten();
    let paths = names.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ssh_host_") && name.ends_with("_key")
        })
        .collect()
}

/// What the command shall find empty. Nothing that it was given explicitly lies in there.
pub(super) fn private_paths<'a>(
    network: bool,
    given: impl Iterator<Item = &'a PathBuf> + Clone,
) -> Vec<PathBuf> {
    let home = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten()
        .map(|user| user.dir);
    let homes = home
        .into_iter()
        .chain(std::env::var_os("HOME").map(PathBuf::from));
    let mut paths: Vec<PathBuf> = homes
        .flat_map(|home| PRIVATE_IN_HOME.iter().map(move |name| home.join(name)))
        .collect();
    paths.extend(PRIVATE_OF_HOST.iter().map(PathBuf::from));
    paths.extend(ssh_host_keys());
    if !network {
        paths.extend(LOCAL_SERVICES.iter().map(PathBuf::from));
    }
    // Real names, each once: a mount on a link would go astray.
    let mut paths: Vec<PathBuf> = paths.iter().filter_map(|p| p.canonicalize().ok()).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|p| !given.clone().any(|given| given.starts_with(p)));
    paths
}
