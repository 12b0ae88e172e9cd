//! What the engine has to do now.

use std::collections::BTreeSet;

use super::needs::{Roster, unmet_layer};
use super::state::{BootMission, BootState, LayerState, LayerStatus, Phase};
use crate::domain::event::{CheckPhase, HealOutcome, Mode};
use crate::domain::finding::CheckName;
use crate::domain::ids::{At, MissionId};
use crate::domain::service::{self, ProcessStep, ServiceState};

/// One thing to do. The engine does each step once for as long as [`next`] names it, and reports
/// what came of it as a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Run a check and report it.
    RunCheck {
        /// Which check.
        check: CheckName,
        /// In the pre-flight, or while the system runs.
        phase: CheckPhase,
    },
    /// File missions for the failures that are there, close those whose failure is gone.
    Settle,
    /// Work on a mission.
    Heal {
        /// Which one.
        mission: MissionId,
        /// Attempt in which it was seen, so that the same mission in a later attempt is a new step.
        attempt: u32,
    },
    /// Wait, then begin the next attempt.
    WaitForRetry {
        /// Until when.
        until: At,
    },
    /// Begin to start a layer.
    StartLayer {
        /// Which layer.
        layer: String,
    },
    /// Start a service's process.
    StartService {
        /// Which service.
        service: String,
        /// Not before this moment.
        at: Option<At>,
    },
    /// Stop a service's process.
    StopService {
        /// Which service.
        service: String,
    },
    /// Wait until the next service has proved itself, is stable or is recovered.
    WaitForServices {
        /// Until when.
        at: At,
    },
    /// Begin a validation now: the system just came up.
    Look,
    /// Wait, then begin a validation.
    Validate {
        /// Until when.
        at: At,
    },
}

/// What the engine has to do now, in this state. Empty while it has to wait for what it already
/// does, and for ever once the boot has ended.
#[must_use]
pub(crate) fn next(state: &BootState) -> Vec<Step> {
    match state.phase {
        Phase::New | Phase::Ended => vec![],
        Phase::Preflight => run_checks(state, CheckPhase::Preflight),
        Phase::Settling => vec![Step::Settle],
        Phase::Healing => state
            .to_heal()
            .map(|m| Step::Heal {
                mission: m.id,
                attempt: m.attempt,
            })
            .into_iter()
            .collect(),
        Phase::BackingOff { until } => vec![Step::WaitForRetry { until }],
        Phase::Starting => {
            let mut steps = supervise(state);
            if state.unsettled {
                steps.push(Step::Settle);
            }
            steps
        }
        Phase::Running => run(state),
        Phase::Stopping => stop(state),
    }
}

fn run_checks(state: &BootState, phase: CheckPhase) -> Vec<Step> {
    state
        .plan
        .checks
        .iter()
        .filter(|check| !state.checks_finished.contains(check))
        .map(|&check| Step::RunCheck { check, phase })
        .collect()
}

/// Starts what may start, restarts what is due, stops what must not run.
fn supervise(state: &BootState) -> Vec<Step> {
    let mut steps = Vec::new();
    let roster = Roster::of(state);
    for layer in &state.layers {
        match layer.status {
            LayerStatus::Pending => {
                let may_start = layer.after.iter().all(|before| state.is_passed(before));
                if may_start {
                    steps.push(Step::StartLayer {
                        layer: layer.name.clone(),
                    });
                }
            }
            // A service that failed takes nothing of its layer down with it.
            LayerStatus::Starting | LayerStatus::Up | LayerStatus::Failed => {
                for service in &layer.services {
                    let name = || service.plan.name.clone();
                    steps.extend(service::next(service, roster.has_met(service)).map(|step| {
                        match step {
                            ProcessStep::Start { at } => Step::StartService {
                                service: name(),
                                at,
                            },
                            ProcessStep::Stop => Step::StopService { service: name() },
                        }
                    }));
                }
            }
            LayerStatus::Skipped | LayerStatus::Stopped => {
                steps.extend(layer.services.iter().filter(|s| s.is_alive()).map(|s| {
                    Step::StopService {
                        service: s.plan.name.clone(),
                    }
                }));
            }
        }
    }
    if let Some(at) = state.next_moment() {
        steps.push(Step::WaitForServices { at });
    }
    steps
}

fn run(state: &BootState) -> Vec<Step> {
    let mut steps = supervise(state);
    let start = |layer: &LayerState| Step::StartLayer {
        layer: layer.name.clone(),
    };
    // What was stopped because of another layer starts when that is up, healed or by itself.
    let freed = state.layers.iter().filter(|l| {
        let up = |name: &String| {
            state
                .layer(name)
                .is_some_and(|l| l.status == LayerStatus::Up)
        };
        l.waits_for.as_ref().is_some_and(up)
            && l.may_start_again()
            && l.after.iter().all(|before| {
                let waits = state.layer(before).is_some_and(|l| l.waits_for.is_some());
                !waits && state.is_passed(before)
            })
            && unmet_layer(state, &l.name).is_none()
    });
    steps.extend(freed.map(start));
    if state.validating {
        steps.extend(run_checks(state, CheckPhase::Validation));
        return steps;
    }
    if state.unsettled {
        steps.push(Step::Settle);
        return steps;
    }
    if state.is_look_due() {
        steps.push(Step::Look);
        return steps;
    }
    if let Some(at) = state.validation_due {
        steps.push(Step::Validate { at });
    }
    // Of what may start again, those wait for no other layer.
    let may_start = |l: &LayerState| l.waits_for.is_none() && l.may_start_again();
    let layers = state.layers.iter();
    let freed = layers.filter(|l| may_start(l) && is_cause_gone(state, &l.name));
    steps.extend(freed.map(start));
    if state.plan.mode != Mode::Resilient {
        return steps;
    }
    // Behind the running system: first the layer that a fix freed, then the next mission.
    let is_applied =
        |m: &&BootMission| m.outcome == Some(HealOutcome::Applied) && !m.layer_restarted;
    let healed = state.missions.iter().filter(is_applied).find_map(|m| {
        let layer = state.layer(m.layer.as_deref()?)?;
        may_start(layer).then_some(layer)
    });
    // With a fix taken back, what failed may run again.
    let is_taken_back = |m: &BootMission| m.rolled_back && !m.layer_restarted && !m.closed;
    let freed = || {
        let mut layers = state.layers.iter();
        let failed = layers.find(|l| l.status == LayerStatus::Failed && may_start(l));
        failed.filter(|_| state.missions.iter().any(is_taken_back))
    };
    if let Some(layer) = healed.or_else(freed) {
        let step = start(layer);
        if !steps.contains(&step) {
            steps.push(step);
        }
    } else if let Some(mission) = state
        .missions
        .iter()
        .find(|m| m.outcome.is_none() && !m.closed && state.may_ask(m))
    {
        steps.push(Step::Heal {
            mission: mission.id,
            attempt: mission.attempt,
        });
    }
    steps
}

/// What was filed for the layer is closed, and it was not started since: a person says that the cause is gone.
fn is_cause_gone(state: &BootState, layer: &str) -> bool {
    let missions = || {
        let missions = state.missions.iter();
        missions.filter(|m| m.layer.as_deref() == Some(layer))
    };
    missions().all(|m| m.closed) && missions().next_back().is_some_and(|m| !m.layer_restarted)
}

/// Stops in the reverse of needs: a service only when nothing that needs it, and no layer that comes after its own,
/// has a process left.
fn stop(state: &BootState) -> Vec<Step> {
    let alive: Vec<(&LayerState, &ServiceState)> = state
        .layers
        .iter()
        .flat_map(|l| l.services.iter().map(move |s| (l, s)))
        .filter(|(_, s)| s.is_alive())
        .collect();
    let held_layers = layers_before(state, &alive);
    let held: BTreeSet<&str> = alive
        .iter()
        .flat_map(|(_, s)| &s.terms.needs)
        .map(|need| need.service.as_str())
        .collect();
    let is_free = |(layer, service): &&(&LayerState, &ServiceState)| {
        !held_layers.contains(layer.name.as_str()) && !held.contains(service.plan.name.as_str())
    };
    let free: Vec<_> = alive.iter().filter(is_free).collect();
    // In a circle, which no plan of ours has, all stop at once.
    let stopped = if free.is_empty() {
        alive.iter().collect()
    } else {
        free
    };
    let stopped = stopped.into_iter().rev();
    stopped
        .map(|(_, service)| Step::StopService {
            service: service.plan.name.clone(),
        })
        .collect()
}

/// Every layer that one with a process comes after, directly or not.
fn layers_before<'s>(
    state: &'s BootState,
    alive: &[(&'s LayerState, &'s ServiceState)],
) -> BTreeSet<&'s str> {
    let mut before = BTreeSet::new();
    let mut open: Vec<&LayerState> = alive.iter().map(|(layer, _)| *layer).collect();
    open.dedup_by_key(|layer| layer.name.as_str());
    while let Some(layer) = open.pop() {
        for name in &layer.after {
            if let Some(found) = state.layer(name)
                && before.insert(found.name.as_str())
            {
                open.push(found);
            }
        }
    }
    before
}
