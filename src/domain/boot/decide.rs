//! Turns what the engine reports into events, or refuses it.

use super::attempt::{end_check_run, end_healing, require_checking, settle, start_attempt};
use super::command::{BootCommand, BootRefusal, Context};
use super::draft::{BootDraft, find_service, late};
use super::layers::{exit_service, fail_service, pass_time, raise_layer, start_layer};
use super::refresh::{is_refreshed, refresh, start_anew};
use super::state::{AfterStop, BootState, LayerStatus, Phase, ServiceStatus};
use crate::domain::event::Event;

/// What happens when the engine reports `command` to a boot in `state`.
///
/// # Errors
/// The state does not allow it. [`BootRefusal::Late`] is harmless, the others are bugs.
pub(crate) fn decide(
    state: &BootState,
    context: Context,
    command: BootCommand,
) -> Result<Vec<Event>, BootRefusal> {
    let mut draft = BootDraft {
        state: state.clone(),
        events: Vec::new(),
        context,
    };
    if let BootCommand::Start {
        app,
        plan,
        rules,
        supervisor,
        fingerprint,
    } = command
    {
        if state.phase != Phase::New {
            return Err(BootRefusal::AlreadyStarted);
        }
        draft.push(Event::BootStarted {
            app,
            plan,
            supervisor,
            fingerprint: *fingerprint,
        });
        if !rules.is_empty() {
            draft.push(Event::RulesSet { rules });
        }
        start_attempt(&mut draft, 1);
        complete(&mut draft);
        return Ok(draft.events);
    }
    match state.phase {
        Phase::Ended => return Err(BootRefusal::Ended),
        Phase::New => {
            return Err(BootRefusal::Impossible {
                what: "a report",
                phase: "new",
            });
        }
        _ => {}
    }
    handle(&mut draft, command)?;
    complete(&mut draft);
    Ok(draft.events)
}

fn handle(draft: &mut BootDraft, command: BootCommand) -> Result<(), BootRefusal> {
    use BootCommand as C;
    let state = &draft.state;
    match command {
        C::Start { .. } => return Err(BootRefusal::AlreadyStarted),
        C::BeginCheck { check, phase } => {
            require_checking(state, check, phase, "a check's begin")?;
            if state.checks_started.contains(&check) {
                return Err(late(state, "a check's second begin"));
            }
            draft.push(Event::CheckStarted { check, phase });
        }
        C::EndCheck { report, phase } => {
            require_checking(state, report.name, phase, "a check's end")?;
            draft.push(Event::CheckFinished {
                report: *report,
                phase,
            });
            end_check_run(draft, phase);
        }
        C::Settled { open, closed } => settle(draft, open, closed)?,
        C::EndHeal {
            mission,
            outcome,
            reason,
        } => {
            let waits = state.missions.iter().any(|m| m.id == mission);
            if !waits || !matches!(state.phase, Phase::Healing | Phase::Running) {
                return Err(late(state, "the end of work on a mission"));
            }
            draft.push(Event::HealFinished {
                mission,
                outcome,
                reason,
            });
        }
        C::BackoffElapsed => match state.phase {
            Phase::BackingOff { .. } => {
                let attempt = state.attempt + 1;
                start_attempt(draft, attempt);
            }
            _ => return Err(late(state, "the end of a wait")),
        },
        C::StartLayer { layer } => start_layer(draft, &layer)?,
        C::ServiceStarted { service, process } => {
            find_service(state, &service)?;
            draft.push(Event::ServiceStarted { service, process });
        }
        C::ServiceReady { service } => {
            let (layer, found) = find_service(state, &service)?;
            let unproved = found.proved_at().is_some_and(|at| at > draft.context.at);
            if !layer.status.is_supervised()
                || !matches!(
                    found.status,
                    ServiceStatus::Starting | ServiceStatus::Unready
                )
                || found.plan.oneshot
                || unproved
            {
                return Err(late(state, "a service's readiness"));
            }
            let layer = layer.name.clone();
            draft.push(Event::ServiceReady { service });
            raise_layer(draft, &layer);
        }
        C::ServiceUnready { service, reason } => {
            let (layer, found) = find_service(state, &service)?;
            if !layer.status.is_supervised() || found.status != ServiceStatus::Ready {
                return Err(late(state, "a service's lost readiness"));
            }
            draft.push(Event::ServiceUnready { service, reason });
        }
        C::Refresh { service, reason } => refresh(draft, &service, reason)?,
        C::TimePassed => pass_time(draft),
        C::ServiceExited {
            service,
            exit,
            reason,
            output,
        } => {
            if is_refreshed(state, &service) {
                start_anew(draft, service, exit);
            } else {
                exit_service(draft, service, exit, reason, output)?;
            }
        }
        C::ServiceUnstartable {
            service,
            error,
            output,
        } => {
            let (layer, found) = find_service(state, &service)?;
            let waits = layer.status.is_supervised()
                && matches!(
                    found.status,
                    ServiceStatus::Pending | ServiceStatus::Starting | ServiceStatus::Restarting
                )
                && state.phase != Phase::Stopping;
            if !waits {
                return Err(late(state, "a service's failure to start"));
            }
            let layer = layer.name.clone();
            fail_service(draft, &layer, service, error, output);
        }
        C::BeginValidation => {
            if state.phase != Phase::Running || state.validating {
                return Err(late(state, "a validation"));
            }
            let validation = state.validations + 1;
            draft.push(Event::ValidationStarted { validation });
        }
        C::RequestStop { by } => {
            if state.phase == Phase::Stopping && state.after_stop == AfterStop::End {
                return Err(late(state, "a second request to stop"));
            }
            draft.push(Event::StopRequested { by });
        }
        C::Interrupt { reason, reaped } => draft.push(Event::BootInterrupted { reason, reaped }),
    }
    Ok(())
}

/// What follows by itself from where the boot stands now.
fn complete(draft: &mut BootDraft) {
    let state = &draft.state;
    match state.phase {
        Phase::Starting if state.layers.iter().all(|l| l.status.is_settled()) => {
            let degraded = state.layers.iter().any(|l| l.status != LayerStatus::Up);
            draft.push(Event::BootUp { degraded });
        }
        Phase::Healing if state.blocking_missions().all(|m| m.outcome.is_some()) => {
            end_healing(draft);
        }
        Phase::Stopping if !state.any_alive() => match state.after_stop.clone() {
            AfterStop::End => draft.push(Event::BootStopped),
            AfterStop::Fail { reason } => draft.push(Event::BootFailed { reason }),
            AfterStop::Settle => {}
        },
        _ => {}
    }
}
