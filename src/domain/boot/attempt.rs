//! Decisions about an attempt: its checks, GO or NO-GO, and whether healing leads to another one.

use super::command::BootRefusal;
use super::draft::{BootDraft, late};
use super::state::{BootState, Phase};
use crate::domain::backoff::{backoff_ms, backoff_ms_with};
use crate::domain::event::{CheckPhase, Event, HealOutcome, Mode};
use crate::domain::finding::{
    CheckName, CheckReport, Decision, Finding, Severity, UNPROVEN, decide_go,
};
use crate::domain::remedy::MAY_PASS;

/// First wait for what is out of reach and not ours: a server that starts takes seconds, whatever the first wait after
/// a fix is. It doubles each time, and chance takes nothing away, so that five attempts wait 15 s.
const OTHERS_MS: u64 = 1_000;

pub(super) fn require_checking(
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

pub(super) fn start_attempt(draft: &mut BootDraft, attempt: u32) {
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
pub(super) fn end_check_run(draft: &mut BootDraft, phase: CheckPhase) {
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
                    f.severity == Severity::Critical
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
        Decision::GoUnproven => vec![UNPROVEN.to_owned()],
    };
    draft.push(Event::DecisionMade {
        decision,
        because,
        skipped_layers,
    });
}

pub(super) fn settle(draft: &mut BootDraft, open: u32, closed: u32) -> Result<(), BootRefusal> {
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
    let waits = may_pass(&draft.state);
    let tripped = draft
        .state
        .blocking_missions()
        .filter(|_| !waits)
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

/// All that stands in the way is out of reach for the moment: a server that starts, a lock.
fn may_pass(state: &BootState) -> bool {
    let mut critical = state
        .reports
        .values()
        .flat_map(|report| &report.findings)
        .filter(|finding| finding.severity == Severity::Critical)
        .peekable();
    let passes = |finding: &Finding| finding.facts.contains_key(MAY_PASS);
    state.critical_layer_failure().is_none() && critical.peek().is_some() && critical.all(passes)
}

fn blocked_reason(state: &BootState) -> String {
    match state.critical_layer_failure() {
        Some((layer, failure)) => format!("layer {} failed: {}", layer.name, failure.error),
        None => {
            let findings = state
                .reports
                .values()
                .flat_map(|r| &r.findings)
                .filter(|f| f.severity == Severity::Critical)
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
pub(super) fn end_healing(draft: &mut BootDraft) {
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
    let waits_for_others = applied == 0 && !rolled_back && may_pass(state);
    let why = if applied > 0 {
        Some(format!(
            "{applied} fix{} applied",
            if applied == 1 { "" } else { "es" }
        ))
    } else if rolled_back {
        Some("a fix was taken back".to_owned())
    } else if (ran && waiting == 0) || waits_for_others {
        Some(format!("{}; it may pass", blocked_reason(state)))
    } else {
        None
    };
    let attempt = state.attempt + 1;
    match why {
        Some(reason) if attempt <= state.plan.attempts_max => {
            let (first, max) = (state.plan.backoff_ms, state.plan.backoff_ms_max);
            let wait_ms = if waits_for_others {
                backoff_ms_with(state.attempt, first.max(OTHERS_MS), max, 0, 0)
            } else {
                backoff_ms(state.attempt, first, max, draft.context.random_per_mille)
            };
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
