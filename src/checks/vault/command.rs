//! A vault behind a program of the user's: it prints a JSON object, or lines of `NAME=value`.
//!
//! It needs the user's network and credentials, so it runs outside of the sandbox, by intention, as a
//! service of the manifest does: in a process group of its own that is killed at the end, with a bounded time
//! and a bounded output. What it says on standard error is dropped, because it may name a secret.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use zeroize::Zeroizing;

use super::asked::{Asked, block_on, program_environment};
use super::names::read_names;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::kernel::{self, Signal};

/// Most that the program may print.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// What is wrong with the vault behind the program.
pub(super) fn check(asked: &Asked<'_>, argv: &[String]) -> Vec<Finding> {
    match run_and_compare(asked, argv) {
        Ok(findings) => findings,
        Err(finding) => vec![*finding],
    }
}

fn run_and_compare(asked: &Asked<'_>, argv: &[String]) -> Result<Vec<Finding>, Box<Finding>> {
    let argv = argv
        .iter()
        .map(|word| asked.expand(word, "the command"))
        .collect::<Result<Vec<_>, _>>()?;
    let name = argv.first().map_or("", String::as_str);
    let unreachable = |why: String| {
        let message = format!("the vault's command {name} {why}");
        let finding = asked.about(Code::VaultUnreachable, Severity::Critical, message);
        Box::new(finding.remedy(
            "run it by hand in the workspace; it has to print a JSON object or lines of NAME=value",
        ))
    };
    let limit = Duration::from_millis(asked.vault.timeout_ms);
    let ran = block_on(run(asked, &argv, limit)).and_then(|ran| ran);
    let output = match ran {
        Err(error) => return Err(unreachable(format!("cannot be run: {error}"))),
        Ok(ProgramEnd::TimedOut) => {
            return Err(unreachable(format!(
                "did not end within {} ms",
                limit.as_millis()
            )));
        }
        Ok(ProgramEnd::TooMuch) => {
            return Err(unreachable(format!(
                "printed more than {OUTPUT_BYTES_MAX} bytes"
            )));
        }
        Ok(ProgramEnd::Ended(status, output)) if status.success() => output,
        Ok(ProgramEnd::Ended(status, _)) => {
            return Err(unreachable(format!("ended with {status}")));
        }
    };
    let names = read_names(&output).map_err(|why| {
        let message = format!("what the vault's command {name} prints {why}");
        Box::new(asked.about(Code::VaultAnswerInvalid, Severity::Critical, message))
    })?;
    Ok(asked.missing_keys(&names, &format!("what {name} prints")))
}

enum ProgramEnd {
    Ended(ExitStatus, Zeroizing<Vec<u8>>),
    TimedOut,
    TooMuch,
}

/// The program and its group; dropped, both are killed and the program is waited for.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // While the leader is not waited for, the group's number cannot mean anybody else.
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = kernel::kill_group(self.0.id(), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

async fn run(asked: &Asked<'_>, argv: &[String], limit: Duration) -> io::Result<ProgramEnd> {
    let env = program_environment(asked);
    let name = argv.first().map_or("", String::as_str);
    let mut command = Command::new(kernel::find_program(name, &env, asked.root)?);
    let (reader, writer) = io::pipe()?;
    let mut reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    command
        .args(&argv[1..])
        .env_clear()
        .envs(&env)
        .current_dir(asked.root)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null())
        .process_group(0);
    let mut group = Group(command.spawn()?);
    // The writing end that is ours would keep the pipe open.
    drop(command);
    let pidfd = kernel::watch_pidfd(group.0.id())?;
    let mut output = Zeroizing::new(Vec::with_capacity(64 << 10));
    let work = async {
        let mut ended = false;
        while output.len() <= OUTPUT_BYTES_MAX {
            let read = reader.read_buf(&mut *output);
            tokio::select! {
                biased;
                read = read => if read? == 0 { break },
                watched = pidfd.readable(), if !ended => {
                    drop(watched?);
                    ended = true;
                    // What it left behind may hold the pipe open for ever.
                    let _ = kernel::kill_group(group.0.id(), Signal::SIGKILL);
                }
            }
        }
        if output.len() <= OUTPUT_BYTES_MAX && !ended {
            drop(pidfd.readable().await?);
            let _ = kernel::kill_group(group.0.id(), Signal::SIGKILL);
        }
        Ok::<_, io::Error>(())
    };
    let in_time = tokio::time::timeout(limit, work).await;
    drop(pidfd);
    match in_time {
        Err(_) => Ok(ProgramEnd::TimedOut),
        Ok(worked) => {
            worked?;
            if output.len() > OUTPUT_BYTES_MAX {
                return Ok(ProgramEnd::TooMuch);
            }
            Ok(ProgramEnd::Ended(group.0.wait()?, output))
        }
    }
}
