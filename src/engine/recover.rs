//! What the next boot does about one whose supervisor died: ends what was left running, records the
//! end, gives back its missions, finishes or undoes a half-done promotion, removes what its trials left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::error::{EngineError, RecoverError};
use super::lock::SupervisorLock;
use super::mark::{service_mark, work_mark};
use super::settle::append_boot;
use crate::domain::boot::{self, BootCommand, BootState, Context};
use crate::domain::ids::BootId;
use crate::domain::mission::MissionCommand;
use crate::fix::{PromoteError, recover_promotions, recover_take_backs, sweep_sandboxes};
use crate::kernel;
use crate::log::{Log, LogError, Missions, MissionsError, Reader, now};

/// Time between `SIGTERM` and `SIGKILL` for what a dead supervisor left behind.
const GRACE_MS: u64 = 3_000;

/// A boot whose supervisor died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterruptedBoot {
    /// Which one.
    pub boot: BootId,
    /// Name of the application.
    pub app: String,
    /// Processes of it that were still running, and were ended.
    pub reaped: u32,
}

/// Does for interrupted boots what the next boot would do, without one: ends what was left running,
/// records it, finishes or undoes a half-done promotion (on a server only the next boot does: it knows the
/// URL).
///
/// # Errors
/// A supervisor is alive, or something cannot be cleaned up.
pub(crate) fn end_interrupted(
    log: &Log,
    reader: &Reader,
    workspace: &Path,
    state_dir: &Path,
) -> Result<Vec<InterruptedBoot>, EngineError> {
    let _lock = SupervisorLock::take(state_dir)?;
    let context = Context {
        at: now(),
        random_per_mille: 0,
    };
    Ok(recover(
        log,
        reader,
        workspace,
        state_dir,
        None,
        context,
        &AtomicBool::new(false),
    )?)
}

/// Records every boot that was interrupted. The caller holds the supervisor lock, so no boot of
/// this workspace can be alive. `stop` is looked at between two steps; what is not done then is left to
/// the next call.
///
/// Blocks: it waits for processes to end, for the promotion lock and for databases.
pub(super) fn recover(
    log: &Log,
    reader: &Reader,
    workspace: &Path,
    state_dir: &Path,
    servers: Option<&BTreeMap<String, String>>,
    context: Context,
    stop: &AtomicBool,
) -> Result<Vec<InterruptedBoot>, RecoverError> {
    let go_on = || match stop.load(Ordering::SeqCst) {
        true => Err(RecoverError::Stopped),
        false => Ok(()),
    };
    let mut interrupted = Vec::new();
    for (boot, state) in reader.unfinished_boots()? {
        go_on()?;
        let reaped = reap(boot, &state);
        interrupted.push(InterruptedBoot {
            boot,
            app: state.app.clone(),
            reaped,
        });
        let reason = format!(
            "the supervisor (process {}) died while the boot was {}",
            state.supervisor.as_ref().map_or(0, |s| s.pid),
            state.phase.as_str()
        );
        log.transact(move |tx| -> Result<(), LogError> {
            let Some(state) = tx.boot(boot)? else {
                return Ok(());
            };
            let command = BootCommand::Interrupt { reason, reaped };
            match boot::decide(&state, context, command) {
                Ok(events) => append_boot(tx, boot, context, events),
                Err(_) => Ok(()),
            }
        })??;
    }
    go_on()?;
    let missions = Missions::new(log.clone());
    recover_promotions(workspace, state_dir, &missions, servers)?;
    // What is left half-way is no reason not to boot: what fails because of it says so.
    match recover_take_backs(workspace, state_dir, &missions) {
        Ok(()) => {}
        Err(PromoteError::Missions(error)) => return Err(error.into()),
        Err(error) => tracing::warn!(
            "a fix that was being taken back stays so: {error}; the next boot tries again (`ubs fixes` lists the fixes)"
        ),
    }
    // Nobody needs what lies there; it only takes room.
    if let Err(error) = sweep_sandboxes(state_dir) {
        tracing::warn!("what a trial left behind cannot be removed: {error}");
    }
    release_held(&missions)?;
    Ok(interrupted)
}

/// Gives back missions that a dead boot holds, so that nobody has to wait for the lease.
fn release_held(missions: &Missions) -> Result<(), RecoverError> {
    for state in missions.open()? {
        let (Some(id), Some(lease)) = (state.id, &state.lease) else {
            continue;
        };
        if !lease.worker.starts_with("boot ") {
            continue;
        }
        let command = MissionCommand::Release {
            worker: lease.worker.clone(),
            reason: "the boot that worked on it was interrupted".to_owned(),
        };
        match missions.command(id, command) {
            Ok(_) | Err(MissionsError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Ends every process of a dead boot: those that carry its mark, and those that its log names.
fn reap(boot: BootId, state: &BootState) -> u32 {
    let mut reaped = kernel::reap_marked(&work_mark(boot), 0);
    reaped += kernel::reap_marked(&service_mark(boot), GRACE_MS);
    // A service may have cleared its environment; its process is known from the log.
    for service in state.layers.iter().flat_map(|layer| &layer.services) {
        if let Some(process) = service.process.as_ref().filter(|p| kernel::is_alive(p)) {
            let _ = kernel::kill_group(process.pid, Signal::SIGKILL);
            reaped += 1;
        }
    }
    reaped
}
