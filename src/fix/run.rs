//! Commands of a proposal: an argument list, never a shell.
//!
//! In a trial they run in the sandbox. In a promotion they run in the live workspace, after a person has approved
//! them, with a bounded time and none of the application's variables.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::apply::ApplyError;
use crate::domain::mission::{Change, Proposal};
use crate::domain::redact::sanitise;
use crate::kernel::kill_group;

/// Longest run of one command.
pub(super) const RUN_MAX: Duration = Duration::from_secs(60);
/// Time between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of standard error that a message quotes.
const SAID_BYTES_MAX: u64 = 512;
/// How long it is waited for what a command said that left something running.
const HELD_PIPE_MAX: Duration = Duration::from_millis(200);
/// What the command gets of our environment.
const VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"];

/// A step of a promotion that changes something that is not a file or database of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// A command.
    Run(Vec<String>),
    /// Milliseconds to wait.
    Wait(u64),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(command) => f.write_str(&command_text(command)),
            Self::Wait(ms) => write!(f, "wait {ms} ms"),
        }
    }
}

/// The steps of a proposal, in order.
pub(super) fn steps_of(proposal: &Proposal) -> Vec<Step> {
    let steps = proposal.changes.iter().filter_map(|change| match change {
        Change::Run { command } => Some(Step::Run(command.clone())),
        Change::Wait { ms } => Some(Step::Wait(*ms)),
        _ => None,
    });
    steps.collect()
}

/// The command as a shell would take it, for a person to read.
pub(crate) fn command_text(command: &[String]) -> String {
    let quoted = command.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        let word = sanitise(word);
        if !word.is_empty() && word.chars().all(is_plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

impl Step {
    /// Carries it out in the live workspace.
    ///
    /// # Errors
    /// The command cannot be started, fails, or takes too long.
    pub(super) fn carry_out(&self, workspace: &Path) -> Result<(), ApplyError> {
        match self {
            Self::Wait(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(())
            }
            Self::Run(command) => run(command, workspace, RUN_MAX).map_err(|why| ApplyError::Run {
                command: command_text(command),
                why,
            }),
        }
    }
}

fn run(command: &[String], workspace: &Path, within: Duration) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace).env_clear();
    command.envs(
        VARIABLES
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?))),
    );
    let ended = finish(&mut command, within, SAID_BYTES_MAX).map_err(|why| match why {
        Unfinished::NotStarted(error) => format!("cannot be started: {error}"),
        Unfinished::Late => format!("did not end within {} s", within.as_secs()),
        Unfinished::Io(error) => error.to_string(),
    })?;
    if ended.status.success() {
        return Ok(());
    }
    let status = ended.status;
    let said = ended.said_within(HELD_PIPE_MAX).unwrap_or_default();
    let said = sanitise(String::from_utf8_lossy(&said).trim());
    Err(match said.is_empty() {
        true => format!("failed ({status})"),
        false => format!("failed ({status}): {said}"),
    })
}

/// Why a command came to no end of its own.
#[derive(Debug)]
pub(super) enum Unfinished {
    NotStarted(io::Error),
    /// It was killed, with what it had started.
    Late,
    Io(io::Error),
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    said: Receiver<Vec<u8>>,
}

impl Ended {
    /// The beginning of its standard error, or all of it. `None`: what it left running holds the pipe.
    pub(super) fn said_within(self, time: Duration) -> Option<Vec<u8>> {
        self.said.recv_timeout(time).ok()
    }
}

/// Runs a command in a group of processes of its own until it ends, and keeps the first bytes of its standard error.
pub(super) fn finish(
    command: &mut Command,
    within: Duration,
    said_bytes_max: u64,
) -> Result<Ended, Unfinished> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Unfinished::NotStarted)?;
    let stderr = child.stderr.take();
    // Read beside it, so that it never waits for a full pipe; what it leaves running may hold the pipe for ever.
    let (say, said) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let Some(mut stderr) = stderr else { return };
        let mut text = Vec::new();
        let _ = (&mut stderr).take(said_bytes_max).read_to_end(&mut text);
        let _ = say.send(text);
        let _ = io::copy(&mut stderr, &mut io::sink());
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(Unfinished::Io)? {
            Some(status) => break status,
            None if begun.elapsed() > within => {
                let _ = kill_group(child.id(), Signal::SIGKILL);
                let _ = child.wait();
                return Err(Unfinished::Late);
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    Ok(Ended { status, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &[&str]) -> Vec<String> {
        command.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_command_is_an_argument_list_and_its_failure_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let hostile = "a; touch b $(touch c)";
        run(&words(&["mkdir", hostile]), dir.path(), RUN_MAX).unwrap();
        assert!(dir.path().join(hostile).is_dir());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let why = run(&words(&["mkdir", "x/y"]), dir.path(), RUN_MAX).unwrap_err();
        assert!(why.contains("No such file"), "{why}");
        let why = run(
            &words(&["sleep", "60"]),
            dir.path(),
            Duration::from_millis(50),
        );
        assert!(why.unwrap_err().contains("did not end"));
        assert_eq!(command_text(&words(&["mkdir", "it's"])), r"mkdir 'it'\''s'");
    }
    #[test]
    fn a_command_that_is_late_ends_with_what_it_started() {
        use crate::kernel::{is_alive, process_ref};

        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.current_dir(dir.path());
        command.args(["-c", "sleep 60 & echo $! >pid; wait"]);
        let late = finish(&mut command, Duration::from_millis(300), 64);
        assert!(matches!(late, Err(Unfinished::Late)), "{late:?}");
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let pid: u32 = pid.trim().parse().unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while process_ref(pid).is_some_and(|process| is_alive(&process)) {
            assert!(Instant::now() < until, "process {pid} lives");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
