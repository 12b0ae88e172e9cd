//! Turns what the engine reports into events, or refuses it.

use super::evolve::evolve;
use super::state::{
    AfterStop, BootState, LayerState, LayerStatus, Phase, ServiceState, ServiceStatus,
};
use crate::domain::backoff::backoff_ms;
use crate::domain::event::{
    BootPlan, CheckPhase, Event, ExitKind, Fingerprint, HealOutcome, Mode, ProcessRef,
    RestartPolicy,
};
use crate::domain::finding::{CheckName, CheckReport, Decision, decide_go};
use crate::domain::ids::{At, MissionId};

/// What the outside world contributes to a decision: the moment and a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Now.
    pub at: At,
    /// 0 to 1000, for jitter.
    pub random_per_mille: u16,
}

/// A report of the engine, or a request.
#[derive(Debug, Clone, PartialEq)]
pub enum BootCommand {
    /// Begin.
    Start {
        /// Name of the application.
        app: String,
        /// What the boot will do.
        plan: BootPlan,
        /// Who supervises.
        supervisor: ProcessRef,
        /// What it runs on.
        fingerprint: Box<Fingerprint>,
    },
    /// A check begins.
    BeginCheck {
        /// Which.
        check: CheckName,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// A check ended.
    EndCheck {
        /// What it found.
        report: Box<CheckReport>,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// Missions are filed and closed.
    Settled {
        /// Missions filed or seen again.
        open: u32,
        /// Missions closed.
        closed: u32,
    },
    /// Work on a mission ended.
    EndHeal {
        /// Which.
        mission: MissionId,
        /// How.
        outcome: HealOutcome,
        /// One sentence.
        reason: String,
    },
    /// The wait before the next attempt is over.
    BackoffElapsed,
    /// A layer begins to start.
    StartLayer {
        /// Which.
        layer: String,
    },
    /// A service's process runs.
    ServiceStarted {
        /// Which.
        service: String,
        /// Its process.
        process: ProcessRef,
    },
    /// A service is ready.
    ServiceReady {
        /// Which.
        service: String,
    },
    /// A service's process ended.
    ServiceExited {
        /// Which.
        service: String,
        /// How.
        exit: ExitKind,
        /// Why, if something is known beyond the exit: a failed liveness probe.
        reason: Option<String>,
        /// Last lines of its output, redacted.
        output: String,
    },
    /// A service could not be started, or was not ready in time.
    ServiceUnstartable {
        /// Which.
        service: String,
        /// Why, redacted.
        error: String,
        /// Last lines of its output, redacted.
        output: String,
    },
    /// A validation of the live system begins.
    BeginValidation,
    /// Somebody wants the boot to stop.
    RequestStop {
        /// Who or what.
        by: String,
    },
    /// The supervisor is known to be dead.
    Interrupt {
        /// What is known.
        reason: String,
        /// Processes that were ended.
        reaped: u32,
    },
}

/// A report that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootRefusal {
    /// It comes from work that the boot no longer waits for; the engine drops it.
    #[error("{what} comes too late: the boot is {phase}")]
    Late {
        /// What was reported.
        what: &'static str,
        /// Where the boot stands.
        phase: &'static str,
    },
    /// The plan has no such part.
    #[error("the boot's plan has no {what} named {name}")]
    Unknown {
        /// `layer`, `service`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A second start.
    #[error("the boot has already begun")]
    AlreadyStarted,
    /// The boot is over.
    #[error("the boot has ended")]
    Ended,
    /// Never allowed here: the engine has a bug.
    #[error("{what} is impossible while the boot is {phase}")]
    Impossible {
        /// What was reported.
        what: &'static str,
        /// Where the boot stands.
        phase: &'static str,
    },
}

/// Collects events and keeps the state that they lead to.
struct Draft {
    state: BootState,
    events: Vec<Event>,
    context: Context,
}

impl Draft {
    fn push(&mut self, event: Event) {
        let state = std::mem::take(&mut self.state);
        self.state = evolve(state, self.context.at, None, &event);
        self.events.push(event);
    }
}

/// What happens when the engine reports `command` to a boot in `state`.
///
/// # Errors
/// The state does not allow it. [`BootRefusal::Late`] is harmless, the others are bugs.
pub fn decide(
    state: &BootState,
    context: Context,
    command: BootCommand,
) -> Result<Vec<Event>, BootRefusal> {
    let mut draft = Draft {
        state: state.clone(),
        events: Vec::new(),
        context,
    };
    if let BootCommand::Start {
        app,
        plan,
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

fn late(state: &BootState, what: &'static str) -> BootRefusal {
    BootRefusal::Late {
        what,
        phase: state.phase.as_str(),
    }
}

fn handle(draft: &mut Draft, command: BootCommand) -> Result<(), BootRefusal> {
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
            if layer.status != LayerStatus::Starting && layer.status != LayerStatus::Up
                || found.status != ServiceStatus::Starting
                || found.plan.oneshot
            {
                return Err(late(state, "a service's readiness"));
            }
            let layer = layer.name.clone();
            draft.push(Event::ServiceReady { service });
            raise_layer(draft, &layer);
        }
        C::ServiceExited {
            service,
            exit,
            reason,
            output,
        } => {
            exit_service(draft, service, exit, reason, output)?;
        }
        C::ServiceUnstartable {
            service,
            error,
            output,
        } => {
            let (layer, found) = find_service(state, &service)?;
            let waits = matches!(layer.status, LayerStatus::Starting | LayerStatus::Up)
                && !matches!(found.status, ServiceStatus::Ready | ServiceStatus::Done)
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

fn require_checking(
    state: &BootState,
    check: CheckName,
    phase: CheckPhase,
    what: &'static str,
) -> Result<(), BootRefusal> {
    let checking = match phase {
        CheckPhase::Preflight => state.phase == Phase::Preflight,
        CheckPhase::Validation => state.phase == Phase::Running && state.validating,
    };
    if !checking || state.checks_finished.contains(&check) || !state.plan.checks.contains(&check) {
        return Err(late(state, what));
    }
    Ok(())
}

fn find_service<'a>(
    state: &'a BootState,
    name: &str,
) -> Result<(&'a LayerState, &'a ServiceState), BootRefusal> {
    state.service(name).ok_or_else(|| BootRefusal::Unknown {
        what: "service",
        name: name.to_owned(),
    })
}

fn start_attempt(draft: &mut Draft, attempt: u32) {
    draft.push(Event::AttemptStarted { attempt });
    if draft.state.plan.checks.is_empty() {
        draft.push(Event::DecisionMade {
            decision: Decision::Go,
            because: vec!["no check is asked for".to_owned()],
            skipped_layers: vec![],
        });
        draft.push(Event::MissionsSettled { open: 0, closed: 0 });
    }
}

/// After the last check of a run: GO or NO-GO.
fn end_check_run(draft: &mut Draft, phase: CheckPhase) {
    let state = &draft.state;
    if !state
        .plan
        .checks
        .iter()
        .all(|c| state.checks_finished.contains(c))
    {
        return;
    }
    let decision = decide_go(state.reports.values());
    if phase == CheckPhase::Validation {
        let validation = state.validations;
        draft.push(Event::ValidationFinished {
            validation,
            decision,
        });
        return;
    }
    let because = |blocks: bool| {
        state
            .reports
            .values()
            .filter(|r| r.status.blocks() == blocks)
            .flat_map(|r| &r.findings)
            .filter(|f| {
                if blocks {
                    f.severity == crate::domain::finding::Severity::Critical
                } else {
                    f.layer.is_some()
                }
            })
            .map(|f| format!("{} {}", f.code, f.subject))
            .collect::<Vec<_>>()
    };
    let skipped_layers = match decision {
        Decision::GoDegraded => state
            .reports
            .values()
            .flat_map(CheckReport::failed_layers)
            .map(str::to_owned)
            .collect(),
        _ => vec![],
    };
    let because = match decision {
        Decision::Go => vec![],
        Decision::GoDegraded => because(false),
        Decision::NoGo => because(true),
    };
    draft.push(Event::DecisionMade {
        decision,
        because,
        skipped_layers,
    });
}

fn settle(draft: &mut Draft, open: u32, closed: u32) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let waits = state.phase == Phase::Settling
        || state.unsettled && matches!(state.phase, Phase::Starting | Phase::Running);
    if !waits {
        return Err(late(state, "the filing of missions"));
    }
    draft.push(Event::MissionsSettled { open, closed });
    if draft.state.phase != Phase::Healing {
        return Ok(());
    }
    if draft.state.plan.mode != Mode::Resilient {
        let reason = blocked_reason(&draft.state);
        draft.push(Event::BootFailed { reason });
        return Ok(());
    }
    let breaker_max = draft.state.plan.breaker_max;
    let tripped = draft
        .state
        .blocking_missions()
        .filter_map(|m| draft.state.seen.get(&m.signature).map(|seen| (m, *seen)))
        .find(|(_, seen)| *seen >= breaker_max)
        .map(|(m, seen)| (m.signature.clone(), m.slug.clone(), seen));
    if let Some((signature, slug, seen)) = tripped {
        draft.push(Event::BreakerTripped { signature, seen });
        draft.push(Event::BootFailed {
            reason: format!("{slug} failed {seen} times in this boot: a person is needed"),
        });
    }
    Ok(())
}

fn blocked_reason(state: &BootState) -> String {
    match state.critical_layer_failure() {
        Some((layer, failure)) => format!("layer {} failed: {}", layer.name, failure.error),
        None => {
            let findings = state
                .reports
                .values()
                .flat_map(|r| &r.findings)
                .filter(|f| f.severity == crate::domain::finding::Severity::Critical)
                .count();
            match findings {
                0 => "NO-GO: a check could not be carried out".to_owned(),
                1 => "NO-GO: 1 critical finding".to_owned(),
                n => format!("NO-GO: {n} critical findings"),
            }
        }
    }
}

/// After the last blocking mission: try again, or give up.
fn end_healing(draft: &mut Draft) {
    let state = &draft.state;
    let count = |outcome| {
        state
            .blocking_missions()
            .filter(|m| m.outcome == Some(outcome))
            .count()
    };
    let applied = count(HealOutcome::Applied) + count(HealOutcome::Closed);
    let rolled_back = state
        .missions
        .iter()
        .any(|m| m.rolled_back && m.attempt == state.attempt);
    let waiting = count(HealOutcome::AwaitingApproval);
    let ran = state.critical_layer_failure().is_some();
    let why = if applied > 0 {
        Some(format!(
            "{applied} fix{} applied",
            if applied == 1 { "" } else { "es" }
        ))
    } else if rolled_back {
        Some("a fix was taken back".to_owned())
    } else if ran && waiting == 0 {
        Some(format!("{}; it may pass", blocked_reason(state)))
    } else {
        None
    };
    let attempt = state.attempt + 1;
    match why {
        Some(reason) if attempt <= state.plan.attempts_max => {
            let wait_ms = backoff_ms(
                state.attempt,
                state.plan.backoff_ms,
                state.plan.backoff_ms_max,
                draft.context.random_per_mille,
            );
            let at = draft.context.at.plus_ms(wait_ms);
            draft.push(Event::Retried {
                attempt,
                at,
                reason,
            });
        }
        why => {
            let mut reason = blocked_reason(state);
            if why.is_some() {
                reason = format!(
                    "{reason}; all {} attempts are used up",
                    state.plan.attempts_max
                );
            } else if waiting > 0 {
                reason = format!("{reason}; {waiting} fix(es) wait for approval");
            } else {
                let healed = state
                    .missions
                    .iter()
                    .any(|m| m.closed || m.outcome == Some(HealOutcome::Applied));
                let further = if healed { "further " } else { "" };
                reason = format!("{reason}; no {further}fix could be applied");
            }
            draft.push(Event::BootFailed { reason });
        }
    }
}

fn start_layer(draft: &mut Draft, name: &str) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let layer = state.layer(name).ok_or_else(|| BootRefusal::Unknown {
        what: "layer",
        name: name.to_owned(),
    })?;
    let allowed = match (state.phase, layer.status) {
        (Phase::Starting, LayerStatus::Pending) => true,
        (Phase::Running, LayerStatus::Failed | LayerStatus::Skipped) => {
            !layer.services.iter().any(ServiceState::is_alive)
        }
        _ => false,
    };
    if !allowed {
        return Err(late(state, "a layer's start"));
    }
    draft.push(Event::LayerStarted {
        layer: name.to_owned(),
    });
    raise_layer(draft, name);
    Ok(())
}

/// The layer is up if all its services are ready.
fn raise_layer(draft: &mut Draft, name: &str) {
    let up = draft.state.layer(name).is_some_and(|layer| {
        layer.status == LayerStatus::Starting
            && layer
                .services
                .iter()
                .all(|s| matches!(s.status, ServiceStatus::Ready | ServiceStatus::Done))
    });
    if up {
        draft.push(Event::LayerUp {
            layer: name.to_owned(),
        });
    }
}

fn fail_service(draft: &mut Draft, layer: &str, service: String, error: String, output: String) {
    draft.push(Event::ServiceFailed {
        service: service.clone(),
        error: error.clone(),
    });
    let critical =
        draft.state.plan.mode == Mode::Fast || draft.state.layer(layer).is_some_and(|l| l.critical);
    draft.push(Event::LayerFailed {
        layer: layer.to_owned(),
        error: format!("service {service} {error}"),
        service,
        critical,
        output,
    });
}

fn exit_service(
    draft: &mut Draft,
    service: String,
    exit: ExitKind,
    reason: Option<String>,
    output: String,
) -> Result<(), BootRefusal> {
    let state = &draft.state;
    let (layer, found) = find_service(state, &service)?;
    if !found.is_alive() {
        return Err(late(state, "a service's exit"));
    }
    let plan = found.plan.clone();
    let was_ready = found.status == ServiceStatus::Ready;
    let stopping = state.phase == Phase::Stopping
        || !matches!(layer.status, LayerStatus::Starting | LayerStatus::Up);
    let layer = layer.name.clone();
    if stopping {
        draft.push(Event::ServiceExited {
            service,
            exit,
            expected: true,
        });
        return Ok(());
    }
    if plan.oneshot && exit.is_success() {
        draft.push(Event::ServiceExited {
            service: service.clone(),
            exit,
            expected: true,
        });
        draft.push(Event::ServiceReady { service });
        raise_layer(draft, &layer);
        return Ok(());
    }
    let ended_well = exit.is_success() && reason.is_none();
    // A service that is done with its work, by its own policy.
    if ended_well && was_ready && plan.restart != RestartPolicy::Always {
        draft.push(Event::ServiceExited {
            service,
            exit,
            expected: true,
        });
        return Ok(());
    }
    draft.push(Event::ServiceExited {
        service: service.clone(),
        exit,
        expected: false,
    });
    let what = match reason {
        Some(reason) => format!("was ended: {reason}"),
        None if plan.oneshot => format!("ended with {exit}"),
        None if was_ready => format!("ended with {exit}"),
        None => format!("ended with {exit} before it was ready"),
    };
    let at = draft.context.at;
    let recent = draft.state.service(&service).map_or(0, |(_, s)| {
        s.restarts
            .iter()
            .filter(|r| at.ms_since(**r) < plan.restart_window_ms)
            .count()
    });
    let restart = u32::try_from(recent).unwrap_or(u32::MAX).saturating_add(1);
    let may_restart = match plan.restart {
        RestartPolicy::Never => false,
        RestartPolicy::Always => !plan.oneshot,
        RestartPolicy::OnFailure => !ended_well && !plan.oneshot,
    };
    if may_restart && restart <= plan.restarts_max {
        let wait_ms = backoff_ms(
            restart,
            plan.restart_backoff_ms,
            plan.restart_backoff_ms_max,
            draft.context.random_per_mille,
        );
        draft.push(Event::ServiceRestarting {
            service,
            restart,
            at: at.plus_ms(wait_ms),
            reason: what,
        });
    } else {
        let error = if may_restart {
            format!("{what}; given up after {} restarts", plan.restarts_max)
        } else {
            what
        };
        fail_service(draft, &layer, service, error, output);
    }
    Ok(())
}

/// What follows by itself from where the boot stands now.
fn complete(draft: &mut Draft) {
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
