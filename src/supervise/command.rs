//! Runs a command beside a service, as the service would: a probe, or what asks it to end. Bounded, and killed with its
//! group when the time is over or nobody waits for it any more.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::net::unix::pipe;

use super::failure::ProbeFailure;
use super::group::GroupChild;
use super::process::{CommandError, RunningService, ServiceSpec, command_of};

/// Last bytes kept of a command's output.
const OUTPUT_KEPT: usize = 4 << 10;

/// Lets a command ask the service to end, for `timeout_ms` altogether. It runs as the service does, with the main process
/// in `MAINPID`. When this returns the service still has to be stopped, or at the least what its main process left.
///
/// # Errors
/// The command did not end with 0, or not in time; its program's name may hold a secret.
pub(crate) async fn ask_to_end(
    service: &RunningService,
    command: &[String],
    spec: &ServiceSpec,
    timeout_ms: u64,
) -> Result<(), ProbeFailure> {
    let limit = Duration::from_millis(timeout_ms);
    let end = tokio::time::Instant::now() + limit;
    let mut spec = spec.clone();
    let pid = service.process.pid.to_string();
    spec.env.insert("MAINPID".to_owned(), pid);
    run(command, limit, &spec).await?;
    drop(tokio::time::timeout_at(end, service.main_ended()).await);
    Ok(())
}

/// Runs it to its end.
///
/// # Errors
/// It cannot be run, does not end with 0, or not in time; with its last output.
pub(super) async fn run(
    argv: &[String],
    limit: Duration,
    spec: &ServiceSpec,
) -> Result<(), ProbeFailure> {
    let name = argv.first().cloned().unwrap_or_default();
    let failed = |e: Error| ProbeFailure::new(format!("cannot run {name}: {e}"));
    let command = command_of(argv, spec).map_err(|error| match error {
        CommandError::Program(e) | CommandError::Limits(e) => failed(e),
        CommandError::User(user, e) => {
            ProbeFailure::new(format!("cannot run {name} as user {user}: {e}"))
        }
    })?;
    let (mut child, pipe) = GroupChild::start(command, &[]).map_err(failed)?;
    let mut output = Vec::new();
    let exit = {
        let ended = tokio::time::timeout(limit, child.wait());
        tokio::pin!(ended);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                exit = &mut ended => break exit.ok(),
                ready = pipe.readable(), if open => open = ready.is_ok() && drain(&pipe, &mut output),
            }
        }
    };
    if exit.is_none() {
        let _ = child.kill().await;
    }
    drain(&pipe, &mut output);
    let message = match exit {
        Some(exit) if exit.is_success() => return Ok(()),
        Some(exit) => format!("{name} ended with {exit}"),
        None => format!("{name} did not end within {} ms", limit.as_millis()),
    };
    Err(ProbeFailure {
        message,
        output: String::from_utf8_lossy(&output).trim_end().to_owned(),
    })
}

/// Takes what is in the pipe, and keeps the last bytes of all; `false` at its end.
fn drain(pipe: &pipe::Receiver, kept: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    // Bounded, so that a command that prints for ever does not keep us from its timeout.
    for _ in 0..64 {
        match pipe.try_read(&mut buffer) {
            Ok(n) if n > 0 => {
                kept.extend_from_slice(&buffer[..n]);
                kept.drain(..kept.len().saturating_sub(OUTPUT_KEPT));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}
