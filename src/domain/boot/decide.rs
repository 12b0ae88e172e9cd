//! Turns what the engine reports into events, or refuses it.

use super::attempt::{end_check_run, end_healing, require_checking, settle, start_attempt};
use super::command::{BootCommand, BootRefusal};
use super::draft::{BootDraft, find_service, late};
use super::layers::{pass_time, skip_lost, start_layer, tell};
use super::refresh::refresh;
use super::replan::change_plan;
use super::state::{AfterStop, BootState, LayerState, LayerStatus, Phase};
use super::steer::steer;
use crate::domain::event::Event;
use crate::domain::service::{Context, Report, ServiceStatus};

/// What happens when the engine reports `command` to a boot in `state`.
///
/// # Errors
/// The state does not allow it. [`BootRefusal::Late`] is harmless, the others are bugs.
pub(crate) fn decide(
    state: &BootState,
    context: Context,
    command: BootCommand,
) -> Result<Vec<Event>, BootRefusal> {
    let mut draft = BootDraft::of(state, context);
    take(&mut draft, command)?;
    Ok(draft.events)
}

/// The same for several commands, one after the other: their events, and the bug that kept the rest from being asked.
/// What is harmless to refuse is left out. The state of a large boot is copied once, and not for each command.
pub(crate) fn decide_each(
    state: &BootState,
    context: Context,
    commands: Vec<BootCommand>,
) -> (Vec<Event>, Option<BootRefusal>) {
    let mut draft = BootDraft::of(state, context);
    for command in commands {
        let before = draft.events.len();
        let Err(refusal) = take(&mut draft, command) else {
            continue;
        };
        if draft.events.len() > before {
            draft.go_back(state, before);
        }
        if !matches!(refusal, BootRefusal::Late { .. } | BootRefusal::Ended) {
            return (draft.events, Some(refusal));
        }
    }
    (draft.events, None)
}

fn take(draft: &mut BootDraft, command: BootCommand) -> Result<(), BootRefusal> {
    if let BootCommand::Start {
        app,
        plan,
        rules,
        terms,
        needing,
        supervisor,
        fingerprint,
    } = command
    {
        if draft.state.phase != Phase::New {
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
        if !terms.is_empty() || !needing.is_empty() {
            draft.push(Event::TermsSet { terms, needing });
        }
        start_attempt(draft, 1);
        complete(draft);
        return Ok(());
    }
    match draft.state.phase {
        Phase::Ended => return Err(BootRefusal::Ended),
        Phase::New => {
            return Err(BootRefusal::Impossible {
                what: "a report",
                phase: "new",
            });
        }
        _ => {}
    }
    handle(draft, command)?;
    complete(draft);
    Ok(())
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
            tell(draft, &service, Report::Started(process), String::new())?;
        }
        C::ServiceReady { service } => tell(draft, &service, Report::Ready, String::new())?,
        C::ServiceUnready { service, reason } => {
            tell(draft, &service, Report::Unready(reason), String::new())?;
        }
        C::AnswerNotAttributed { service, why } => {
            let (_, found) = find_service(state, &service)?;
            if found.status != ServiceStatus::Ready {
                return Err(late(state, "who answered a service's probe"));
            }
            draft.push(Event::AnswerNotAttributed { service, why });
        }
        C::Refresh { service, reason } => refresh(draft, &service, reason)?,
        C::TimePassed => pass_time(draft),
        C::ServiceExited {
            service,
            exit,
            reason,
            output,
        } => tell(draft, &service, Report::Exited { exit, reason }, output)?,
        C::ServiceUnstartable {
            service,
            error,
            output,
        } => tell(draft, &service, Report::Unstartable(error), output)?,
        C::Steer { service, order, by } => steer(draft, &service, order, by)?,
        C::SetClock { from, to } => draft.push(Event::ClockSet { from, to }),
        C::ChangePlan { change, by } => change_plan(draft, change, by)?,
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
    skip_lost(draft, false);
    let state = &draft.state;
    match state.phase {
        Phase::Starting if state.layers.iter().all(LayerState::is_settled) => {
            let degraded = state.layers.iter().any(|l| l.status != LayerStatus::Up);
            draft.push(Event::BootUp { degraded });
        }
        Phase::Healing if state.to_heal().is_none() => {
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
