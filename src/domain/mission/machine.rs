//! The mission's machine: `decide` and `evolve`.
//!
//! Pure: `decide` turns a command into events or refuses it, `evolve` folds an event into the
//! state.

use super::command::{LEASE_MS_MAX, MissionCommand, MissionRefusal};
use super::order::Proposal;
use super::state::{Lease, MissionState, MissionStatus};
use crate::domain::backoff::backoff_ms;
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Signature};

/// Claims before a mission is quarantined.
pub(crate) const MISSION_ATTEMPTS_MAX: u32 = 5;
/// Wait after the first rejection; doubles each time.
pub(crate) const REJECTION_BACKOFF_MS: u64 = 1_000;
/// Longest wait after a rejection.
pub(crate) const REJECTION_BACKOFF_MS_MAX: u64 = 15 * 60 * 1_000;

fn wrong(state: &MissionState, verb: &'static str) -> MissionRefusal {
    MissionRefusal::WrongStatus {
        status: state.status.as_str(),
        verb,
    }
}

fn require_holder(state: &MissionState, worker: &str, at: At) -> Result<(), MissionRefusal> {
    match &state.lease {
        Some(lease) if lease.worker == worker && at < lease.until => Ok(()),
        _ => Err(MissionRefusal::NotHolder {
            worker: worker.to_owned(),
        }),
    }
}

fn require_lease(lease_ms: u64) -> Result<(), MissionRefusal> {
    if (1..=LEASE_MS_MAX).contains(&lease_ms) {
        Ok(())
    } else {
        Err(MissionRefusal::BadLease { asked: lease_ms })
    }
}

fn rejection(state: &MissionState, at: At, reason: String) -> Vec<Event> {
    let mut events = vec![Event::FixRejected {
        reason,
        retry_at: at.plus_ms(rejection_backoff_ms(state.attempts)),
    }];
    if state.attempts >= MISSION_ATTEMPTS_MAX {
        events.push(Event::MissionQuarantined {
            reason: format!("{} fixes were tried and none held", state.attempts),
        });
    }
    events
}

/// The wait after the `attempts`-th claim was rejected.
#[must_use]
pub(crate) fn rejection_backoff_ms(attempts: u32) -> u64 {
    backoff_ms(attempts, REJECTION_BACKOFF_MS, REJECTION_BACKOFF_MS_MAX, 0)
}

/// Open again, whoever works on it, and its fix is still there: what failed came back.
fn is_open_again(status: MissionStatus) -> bool {
    use MissionStatus as S;
    matches!(
        status,
        S::Filed
            | S::Claimed
            | S::Proposed
            | S::Verified
            | S::Rejected
            | S::Quarantined
            | S::AwaitingApproval
    )
}

/// What happens when `command` is given to a mission in `state` at `at`.
///
/// # Errors
/// The state does not allow the command.
pub(crate) fn decide(
    state: &MissionState,
    at: At,
    command: MissionCommand,
) -> Result<Vec<Event>, MissionRefusal> {
    use MissionCommand as C;
    use MissionStatus as S;
    if state.status == S::Unfiled && !matches!(command, C::File { .. }) {
        return Err(wrong(state, "worked on"));
    }
    match command {
        C::File {
            id,
            signature,
            failure,
        } => match state.status {
            S::Unfiled => Ok(vec![Event::MissionFiled {
                mission: id,
                slug: failure.slug(at),
                signature,
                failure,
            }]),
            _ => Err(wrong(state, "filed")),
        },
        C::Recur { failure } => match state.status {
            S::Closed => Err(wrong(state, "seen again")),
            _ => Ok(vec![Event::MissionRecurred {
                slug: state.slug.clone(),
                signature: state
                    .signature
                    .clone()
                    .unwrap_or_else(|| Signature(String::new())),
                failure,
            }]),
        },
        C::Claim { worker, lease_ms } => claim(state, at, worker, lease_ms),
        C::Heartbeat { worker, lease_ms } => {
            require_lease(lease_ms)?;
            require_holder(state, &worker, at)?;
            Ok(vec![Event::LeaseExtended {
                worker,
                until: at.plus_ms(lease_ms),
            }])
        }
        C::Release { worker, reason } => match state.status {
            S::Claimed | S::Proposed | S::Verified => {
                require_holder(state, &worker, at)?;
                Ok(vec![Event::MissionReleased { worker, reason }])
            }
            _ => Err(wrong(state, "released")),
        },
        C::Propose { worker, proposal } => {
            if state.status != S::Claimed {
                return Err(wrong(state, "given a proposal"));
            }
            require_holder(state, &worker, at)?;
            if proposal.changes.is_empty() {
                return Err(MissionRefusal::EmptyProposal);
            }
            Ok(vec![Event::FixProposed { worker, proposal }])
        }
        C::Judge {
            worker,
            verdict,
            needs_approval,
        } => {
            if state.status != S::Proposed {
                return Err(wrong(state, "judged"));
            }
            require_holder(state, &worker, at)?;
            if !verdict.holds {
                let reason = verdict.reason.clone();
                let mut events = vec![Event::FixTried { verdict }];
                events.extend(rejection(state, at, reason));
                return Ok(events);
            }
            let mut events = vec![Event::FixTried { verdict }, Event::FixVerified];
            if needs_approval {
                events.push(Event::ApprovalRequested);
            }
            Ok(events)
        }
        C::Approve { by } => match state.status {
            S::AwaitingApproval => Ok(vec![Event::FixApproved { by }]),
            _ => Err(wrong(state, "approved")),
        },
        C::AskAgain { verdict } => match state.status {
            S::Verified => Ok(vec![Event::FixTried { verdict }, Event::ApprovalRequested]),
            _ => Err(wrong(state, "put up for approval again")),
        },
        C::GiveUp { worker, reason } => match state.status {
            S::Claimed | S::Proposed | S::Verified => {
                require_holder(state, &worker, at)?;
                Ok(rejection(
                    state,
                    at,
                    format!("given up by {worker}: {reason}"),
                ))
            }
            _ => Err(wrong(state, "given up")),
        },
        C::Decline { by, reason } => match state.status {
            S::AwaitingApproval | S::Verified | S::Proposed | S::Claimed => {
                Ok(rejection(state, at, format!("declined by {by}: {reason}")))
            }
            _ => Err(wrong(state, "declined")),
        },
        C::StartPromotion { files, databases } => match state.status {
            S::Verified => Ok(vec![Event::PromotionStarted { files, databases }]),
            _ => Err(wrong(state, "promoted")),
        },
        C::FinishPromotion => match (state.status, &state.proposal) {
            (S::Promoting, Some(proposal)) => Ok(vec![Event::FixApplied {
                fixer: proposal.fixer.clone(),
                summary: proposal.summary.clone(),
            }]),
            _ => Err(wrong(state, "applied")),
        },
        C::UndoPromotion { reason } => match state.status {
            S::Promoting => {
                let mut events = vec![Event::PromotionUndone {
                    reason: reason.clone(),
                }];
                events.extend(rejection(state, at, reason));
                Ok(events)
            }
            _ => Err(wrong(state, "undone")),
        },
        // Also after the mission was closed: the fix is on probation for longer than that.
        C::RollBack { reason } => match state.status {
            S::Applied | S::Closed => {
                let mut events = vec![Event::FixRolledBack {
                    reason: reason.clone(),
                }];
                events.extend(rejection(state, at, reason));
                Ok(events)
            }
            status if is_open_again(status) => Ok(vec![Event::FixRolledBack { reason }]),
            _ => Err(wrong(state, "rolled back")),
        },
        C::Bless { healthy_ms } => match state.status {
            S::Applied | S::Closed => Ok(vec![Event::FixBlessed { healthy_ms }]),
            _ => Err(wrong(state, "blessed")),
        },
        // Nobody makes it anew behind the person's back.
        C::Undo { by, reason } => match state.status {
            S::Applied | S::Closed => {
                let quarantine = format!("its fix was taken back by {by}: {reason}");
                Ok(vec![
                    Event::FixUndone { by, reason },
                    Event::MissionQuarantined { reason: quarantine },
                ])
            }
            status if is_open_again(status) => Ok(vec![Event::FixUndone { by, reason }]),
            _ => Err(wrong(state, "undone")),
        },
        C::Quarantine { reason } => match state.status {
            S::Closed | S::Quarantined | S::Promoting => Err(wrong(state, "quarantined")),
            _ => Ok(vec![Event::MissionQuarantined { reason }]),
        },
        C::Close { resolution } => match state.status {
            S::Closed | S::Promoting => Err(wrong(state, "closed")),
            _ => Ok(vec![Event::MissionClosed {
                slug: state.slug.clone(),
                resolution,
            }]),
        },
        C::Requeue { by } => match state.status {
            // One that waits already is offered for longer.
            S::Quarantined | S::Rejected | S::Filed => Ok(vec![Event::MissionRequeued { by }]),
            _ => Err(wrong(state, "put back into the queue")),
        },
    }
}

fn claim(
    state: &MissionState,
    at: At,
    worker: String,
    lease_ms: u64,
) -> Result<Vec<Event>, MissionRefusal> {
    use MissionStatus as S;
    require_lease(lease_ms)?;
    let mut events = Vec::new();
    match state.status {
        S::Filed => {}
        S::Rejected if at >= state.not_before => {}
        S::Rejected => {
            return Err(MissionRefusal::TooEarly {
                until: state.not_before,
            });
        }
        S::Claimed | S::Proposed | S::Verified => match &state.lease {
            Some(lease) if at < lease.until => {
                return Err(MissionRefusal::Held {
                    holder: lease.worker.clone(),
                    until: lease.until,
                });
            }
            Some(lease) => events.push(Event::LeaseExpired {
                worker: lease.worker.clone(),
            }),
            None => {}
        },
        _ => return Err(wrong(state, "claimed")),
    }
    if state.attempts >= MISSION_ATTEMPTS_MAX {
        events.push(Event::MissionQuarantined {
            reason: format!("claimed {} times without a fix that holds", state.attempts),
        });
    } else {
        events.push(Event::MissionClaimed {
            worker,
            until: at.plus_ms(lease_ms),
        });
    }
    Ok(events)
}

/// The state after `event`, which belongs to this mission. Events of other kinds change nothing.
#[must_use]
pub(crate) fn evolve(
    mut state: MissionState,
    at: At,
    boot: Option<BootId>,
    event: &Event,
) -> MissionState {
    use MissionStatus as S;
    match event {
        Event::MissionFiled {
            mission,
            slug,
            signature,
            failure,
        } => {
            state = MissionState {
                id: Some(*mission),
                signature: Some(signature.clone()),
                slug: slug.clone(),
                boot,
                status: S::Filed,
                failure: Some(failure.clone()),
                filed_at: at,
                not_before: at,
                ..MissionState::default()
            };
        }
        Event::MissionRecurred { failure, .. } => {
            state.recurrences += 1;
            state.failure = Some(failure.clone());
            if state.status == S::Applied {
                // The fix did not hold: the mission is open again.
                if let Some(proposal) = &state.proposal {
                    state.fixers_failed.push(proposal.fixer.clone());
                }
                state.status = S::Filed;
                state.reason = "the failure came back after the fix".to_owned();
            }
        }
        Event::MissionClaimed { worker, until } => {
            state.status = S::Claimed;
            state.attempts += 1;
            state.lease = Some(Lease {
                worker: worker.clone(),
                until: *until,
            });
        }
        Event::LeaseExtended { worker, until } => {
            state.lease = Some(Lease {
                worker: worker.clone(),
                until: *until,
            });
        }
        Event::LeaseExpired { .. } => state.lease = None,
        Event::MissionReleased { reason, .. } => {
            state.status = S::Filed;
            // A mission given back untouched was not an attempt at it.
            state.attempts = state.attempts.saturating_sub(1);
            state.lease = None;
            state.reason = reason.clone();
        }
        Event::FixProposed { proposal, .. } => {
            state.status = S::Proposed;
            state.proposal = Some(proposal.clone());
        }
        Event::FixTried { verdict }
            if state
                .proposal
                .as_ref()
                .is_some_and(Proposal::runs_migrations) =>
        {
            state.reason.clone_from(&verdict.reason);
        }
        Event::FixVerified => state.status = S::Verified,
        Event::ApprovalRequested => {
            state.status = S::AwaitingApproval;
            state.lease = None;
            state.reason = match &state.proposal {
                // What migrations do is known from the trial alone.
                Some(proposal) if proposal.runs_migrations() => format!(
                    "proved, and waits for approval: {} ({})",
                    proposal.summary, state.reason
                ),
                Some(proposal) => format!("proved, and waits for approval: {}", proposal.summary),
                None => String::new(),
            };
        }
        Event::FixApproved { .. } => state.status = S::Verified,
        Event::FixRejected { reason, retry_at } => {
            state.status = S::Rejected;
            state.lease = None;
            state.not_before = *retry_at;
            state.reason = reason.clone();
            if let Some(proposal) = &state.proposal {
                state.fixers_failed.push(proposal.fixer.clone());
            }
        }
        Event::PromotionStarted { .. } => state.status = S::Promoting,
        Event::FixApplied { summary, .. } => {
            state.status = S::Applied;
            state.lease = None;
            state.reason = summary.clone();
        }
        Event::FixUndone { .. } => {
            if let Some(proposal) = &state.proposal {
                state.fixers_failed.push(proposal.fixer.clone());
            }
        }
        Event::MissionQuarantined { reason } => {
            state.status = S::Quarantined;
            state.lease = None;
            state.reason = reason.clone();
        }
        Event::MissionRequeued { .. } => {
            state.status = S::Filed;
            state.attempts = 0;
            state.not_before = at;
            state.fixers_failed.clear();
        }
        Event::MissionClosed { resolution, .. } => {
            state.status = S::Closed;
            state.lease = None;
            state.reason = resolution.clone();
        }
        _ => return state,
    }
    state.updated_at = at;
    state
}

#[cfg(test)]
mod tests;
