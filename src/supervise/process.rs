//! A service: one supervised process with its group and its output.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use regex::Regex;
use tokio::sync::watch;

use super::group::GroupChild;
use super::notify::{Hearing, Said, hear, why_not};
use super::output::{Clean, LineTarget, LineWatch, Onlooker, Output, is_trouble};
use super::ping::Ping;
use crate::domain::event::{ExitKind, ProcessRef};
use crate::domain::probes::ProbeTimes;
use crate::kernel::{self, MemoryKills, NotifySocket, Signal};
use crate::manifest::{LogRules, ServiceLimits};

/// Where sockets are made for what services say of themselves: a path of such a socket has 107 bytes at most.
const NOTIFY_PARENTS: [&str; 3] = ["/tmp", "/run", "/dev/shm"];

/// What to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceSpec {
    /// Name of the service.
    pub name: String,
    /// Program and arguments; the program is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// User to run as; needs privileges.
    pub user: Option<String>,
    /// Permissions that its new files do not get.
    pub umask: Option<u32>,
    /// What each of its processes may use.
    pub limits: ServiceLimits,
    /// Where relative paths of its probes begin.
    pub workspace: PathBuf,
    /// A line that its output is searched for.
    pub awaited_line: Option<Regex>,
    /// It says of itself when it is ready (sd_notify(3)).
    pub notifies: bool,
    /// Ask the databases of schemas, by name, whether they answer.
    pub pings: BTreeMap<String, Ping>,
    /// Entries of `env` that no process but this service's carries: what left the group is found by them.
    pub marks: Vec<String>,
    /// Where its output is kept.
    pub log_path: PathBuf,
    /// How its output is kept.
    pub logs: LogRules,
    /// Who sees its output beside that.
    pub onlooker: Option<Onlooker>,
}

/// The service could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// The program does not exist or cannot be executed.
    #[error("cannot run {program} for service {service}: {source}")]
    Program {
        /// Which service.
        service: String,
        /// Which program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It cannot run as that user.
    #[error("cannot run service {service} as user {user}: {source}")]
    User {
        /// Which service.
        service: String,
        /// Which user.
        user: String,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be heard.
    #[error(
        "cannot make a socket for what service {service} says of itself (NOTIFY_SOCKET): {source}"
    )]
    Notify {
        /// Which service.
        service: String,
        /// Why not.
        source: io::Error,
    },
    /// Its output cannot be kept.
    #[error("cannot keep the output of service {service} in {}: {source}", path.display())]
    Log {
        /// Which service.
        service: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A service that was started. Dropped before its end, it is killed with its group.
#[derive(Debug)]
pub(crate) struct RunningService {
    /// The process, the leader of its group.
    pub process: ProcessRef,
    group: GroupChild,
    output: Output,
    memory_kills: MemoryKills,
    signs: Signs,
    /// Written into its log when it has ended.
    said_at_stop: Vec<String>,
    _hearing: Option<Hearing>,
}

/// What a running service has shown of itself since it was started.
#[derive(Debug, Clone)]
pub(crate) struct Signs {
    /// When it was started.
    pub started: SystemTime,
    line: Option<watch::Receiver<bool>>,
    said: Option<watch::Receiver<Said>>,
    probes: Arc<Mutex<ProbeTimes>>,
}

impl Signs {
    /// A probe was tried.
    pub(super) fn note_probe(&self, took: Duration, good: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.note(us, good);
    }

    /// What its probes took so far.
    pub(crate) fn probe_times(&self) -> ProbeTimes {
        *self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once the awaited line was printed.
    pub(super) async fn line_seen(&self) {
        wait_until(self.line.clone(), |seen| *seen).await;
    }

    /// Returns once it has said that it is ready.
    pub(super) async fn notified(&self) {
        wait_until(self.said.clone(), |said| said.ready).await;
    }

    /// What it has said instead.
    pub(super) fn why_not_notified(&self) -> String {
        self.said
            .as_ref()
            .map_or_else(String::new, |said| why_not(&said.borrow()))
    }
}

/// Never returns if nobody can say it any more: the service's end is told elsewhere.
async fn wait_until<T>(told: Option<watch::Receiver<T>>, is_it: impl FnMut(&T) -> bool) {
    if let Some(mut told) = told
        && told.wait_for(is_it).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Why a command cannot be made ready.
pub(super) enum CommandError {
    /// No such program.
    Program(io::Error),
    /// No such user.
    User(String, io::Error),
    /// More than this process may give.
    Limits(io::Error),
}

/// A command as the service runs its own: with its environment, in its directory, as its user.
pub(super) fn command_of(argv: &[String], spec: &ServiceSpec) -> Result<Command, CommandError> {
    let program = argv.first().map_or("", String::as_str);
    let file =
        kernel::find_program_again(program, &spec.env, &spec.cwd).map_err(CommandError::Program)?;
    // An absolute path and no `pre_exec`: so std can use posix_spawn(3), which does not copy our page tables.
    let mut command = Command::new(file);
    command
        .args(argv.get(1..).unwrap_or_default())
        .env_clear()
        .envs(&spec.env)
        .current_dir(&spec.cwd);
    kernel::limit_child(&mut command, &spec.limits, spec.umask).map_err(CommandError::Limits)?;
    if let Some(user) = &spec.user {
        kernel::run_as(&mut command, user).map_err(|e| CommandError::User(user.clone(), e))?;
    }
    Ok(command)
}

/// Starts a service in its own process group, without input, and keeps its output, each line passed
/// through `clean`. Needs a tokio runtime with I/O.
///
/// A process that leaves the group on purpose (setsid(2)) outlives a service that ends by itself; a stop ends it too.
///
/// # Errors
/// No such program or user, or the log cannot be written.
pub(crate) fn spawn(spec: &ServiceSpec, clean: Clean) -> Result<RunningService, SpawnError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    let failed = |source| SpawnError::Program {
        service: spec.name.clone(),
        program: program.clone(),
        source,
    };
    let mut command = command_of(&spec.argv, spec).map_err(|error| match error {
        CommandError::Program(source) | CommandError::Limits(source) => failed(source),
        CommandError::User(user, source) => SpawnError::User {
            service: spec.name.clone(),
            user,
            source,
        },
    })?;
    match Output::prepare(&spec.log_path) {
        // A disk that is full or read-only passes; a service that is not restarted meanwhile is down.
        Err(source) if !is_trouble(&source) => {
            return Err(SpawnError::Log {
                service: spec.name.clone(),
                path: spec.log_path.clone(),
                source,
            });
        }
        _ => {}
    }
    let unheard = |source| SpawnError::Notify {
        service: spec.name.clone(),
        source,
    };
    let socket = spec.notifies.then(|| notify_socket(spec)).transpose();
    let socket = socket.map_err(unheard)?;
    if let Some(socket) = &socket {
        command.env("NOTIFY_SOCKET", &socket.path);
    }
    let started = SystemTime::now();
    let (group, pipe) =
        GroupChild::start(command, &spec.marks).map_err(|source| match &spec.user {
            Some(user) if source.kind() == io::ErrorKind::PermissionDenied => SpawnError::User {
                service: spec.name.clone(),
                user: user.clone(),
                source,
            },
            _ => failed(source),
        })?;
    // Not waited for yet, so it still has its entry in /proc, dead or alive.
    let process = kernel::process_ref(group.id()).unwrap_or_else(|| ProcessRef {
        pid: group.id(),
        ..ProcessRef::default()
    });
    let heard = socket.map(|socket| hear(socket, group.id(), &spec.marks));
    let (hearing, said) = heard.transpose().map_err(unheard)?.unzip();
    let (seen, line) = watch::channel(false);
    let awaited = spec.awaited_line.clone();
    let line = awaited.is_some().then_some(line);
    let watch = awaited.map(|pattern| LineWatch { pattern, seen });
    let target = LineTarget {
        service: spec.name.clone(),
        path: spec.log_path.clone(),
        rules: spec.logs,
        onlooker: spec.onlooker.clone(),
    };
    let output = Output::start(pipe, target, clean, watch);
    let memory_kills = MemoryKills::in_own_group();
    Ok(RunningService {
        process,
        group,
        output,
        memory_kills,
        signs: Signs {
            started,
            line,
            said,
            probes: Arc::default(),
        },
        said_at_stop: Vec::new(),
        _hearing: hearing,
    })
}

fn notify_socket(spec: &ServiceSpec) -> io::Result<NotifySocket> {
    let mut parents = vec![std::env::temp_dir()];
    parents.extend(NOTIFY_PARENTS.map(PathBuf::from));
    parents.extend(spec.log_path.parent().map(PathBuf::from));
    NotifySocket::new(&parents, spec.user.as_deref())
}

impl RunningService {
    /// Waits for the end of the main process. When this returns, nothing of its group runs, and its output
    /// is in the log. May be dropped (in a `select!`) and called again.
    pub(crate) async fn wait(&mut self) -> ExitKind {
        let exit = self.group.wait().await;
        self.output.finish().await;
        exit
    }

    /// How it ended, if that is known already.
    #[cfg(test)]
    pub(crate) fn exit(&self) -> Option<ExitKind> {
        self.group.exit()
    }

    /// Signals the group. Nothing happens if the service has ended.
    ///
    /// # Errors
    /// The group runs as another user.
    #[cfg(test)]
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.group.signal(signal)
    }

    /// What it has shown since it was started.
    pub(crate) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    /// Returns once the main process has ended; what it left may still run.
    pub(super) async fn main_ended(&self) {
        self.group.leader_ended().await;
    }

    /// Adds a line of ours to its output once it was stopped.
    pub(crate) fn note_when_stopped(&mut self, line: String) {
        self.said_at_stop.push(line);
    }

    /// Signals the group and waits for all of it, and for what left it; kills what is left after `timeout_ms`.
    /// What had to be killed is written into the service's log, and the exit is then `SIGKILL`, whatever the main
    /// process said.
    pub(crate) async fn stop(&mut self, signal: Signal, timeout_ms: u64) -> ExitKind {
        let stopped = self
            .group
            .stop(signal, Duration::from_millis(timeout_ms))
            .await;
        self.output.finish().await;
        for line in std::mem::take(&mut self.said_at_stop) {
            self.output.note(&line);
        }
        if stopped.killed.is_empty() {
            return stopped.exit;
        }
        let killed = stopped.killed.join(", ");
        let time = if timeout_ms.is_multiple_of(1000) {
            format!("{} s", timeout_ms / 1000)
        } else {
            format!("{timeout_ms} ms")
        };
        self.output.note(&format!(
            "ubs: did not end within {time} and was killed: {killed}"
        ));
        ExitKind::Signal(Signal::SIGKILL as i32)
    }

    /// What is known of a `SIGKILL` that did not come from us.
    pub(crate) fn why_killed(&self) -> &'static str {
        if self.memory_kills.have_grown() {
            "SIGKILL: out of memory"
        } else {
            "SIGKILL, not ours"
        }
    }

    /// Kills every process of the service at once.
    pub(crate) async fn kill(&mut self) -> ExitKind {
        let exit = self.group.kill().await;
        self.output.finish().await;
        exit
    }

    /// The last lines of its output, cleaned, without timestamps.
    #[must_use]
    pub(crate) fn tail(&self) -> Vec<String> {
        self.output.tail()
    }
}
