//! One line for each event: what a person reads in a timeline and while a boot runs.
//!
//! The texts are made from the event and the state after it, so that live output and replay say the
//! same. How a line is placed (offset, indent, colour) is the caller's.

use super::render::{Tone, count, duration, moment};
use crate::domain::boot::{BootState, LayerStatus};
use crate::domain::event::{CheckPhase, Event, ExitKind, HealOutcome, LayerPlan};
use crate::domain::finding::{CheckReport, CheckStatus, Decision, Measured};
use crate::domain::healing::{OFFERED, UNVERIFIED};
use crate::domain::health::last_words;
use crate::domain::ids::MissionId;
use crate::kernel::Signal;
use crate::log::{Body, Recorded};

const SIGKILL: i32 = Signal::SIGKILL as i32;

/// How deep a line lies: the boot itself, what an attempt does, a part of that (a mission, a service).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    Boot,
    Attempt,
    Part,
}

/// What one event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) depth: Depth,
    /// `CHECK`, `LAYER`, `MISSION`, `AUTO-FIX`, `SANDBOX` ...
    pub(crate) label: &'static str,
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

fn line(depth: Depth, label: &'static str, tone: Tone, text: impl Into<String>) -> Line {
    Line {
        depth,
        label,
        tone,
        text: text.into(),
    }
}

/// The line of an event; `state` is the boot's after it.
pub(crate) fn describe(recorded: &Recorded, state: &BootState) -> Line {
    match &recorded.body {
        Body::Known(event) if event.is_of_mission() => describe_mission(recorded, event, state),
        Body::Known(event) => describe_boot(recorded, event, state),
        Body::Opaque { why, payload } => line(
            Depth::Attempt,
            "OPAQUE",
            Tone::Dim,
            format!(
                "{} (version {}, {}): {why}",
                recorded.kind,
                recorded.version,
                count(payload.len(), "byte")
            ),
        ),
    }
}

fn describe_boot(recorded: &Recorded, event: &Event, state: &BootState) -> Line {
    use Event as E;
    match event {
        E::BootStarted {
            app,
            plan,
            supervisor,
            ..
        } => line(
            Depth::Boot,
            "BOOT",
            Tone::Strong,
            format!(
                "{app} boots in mode {}: {}, {} (supervisor {})",
                plan.mode.as_str(),
                count(plan.layers.len(), "layer"),
                count(
                    plan.layers.iter().map(|l| l.services.len()).sum(),
                    "service"
                ),
                supervisor.pid
            ),
        ),
        E::AttemptStarted { attempt } => line(
            Depth::Boot,
            "ATTEMPT",
            Tone::Strong,
            format!("attempt {attempt} of at most {}", state.plan.attempts_max),
        ),
        E::CheckStarted { check, phase } => line(
            Depth::Attempt,
            "CHECK",
            Tone::Dim,
            format!("{} begins{}", check.title(), live(*phase)),
        ),
        E::CheckFinished { report, phase } if is_live_registration(report, *phase) => line(
            Depth::Boot,
            "REGISTRATION",
            super::render::tone_of_status(report.status),
            report.summary.clone(),
        ),
        E::CheckFinished { report, phase } => line(
            Depth::Attempt,
            "CHECK",
            super::render::tone_of_status(report.status),
            format!(
                "{}{}: {} ({}) {}",
                report.name.title(),
                live(*phase),
                report.status.as_str().to_uppercase(),
                duration(report.duration_ms),
                report.summary
            ),
        ),
        E::DecisionMade {
            decision,
            because,
            skipped_layers,
        } => line(
            Depth::Attempt,
            "DECISION",
            super::render::tone_of_decision(*decision),
            decision_text(*decision, because, skipped_layers),
        ),
        E::MissionsSettled { open, closed } => line(
            Depth::Attempt,
            "MISSIONS",
            Tone::Dim,
            format!("{open} open, {closed} closed now"),
        ),
        E::HealFinished {
            mission,
            outcome,
            reason,
        } => {
            let tone = match outcome {
                HealOutcome::Applied | HealOutcome::Closed => Tone::Good,
                HealOutcome::AwaitingApproval | HealOutcome::NeedsPerson => Tone::Warn,
                HealOutcome::Rejected | HealOutcome::HeldElsewhere => Tone::Dim,
            };
            let word = match outcome {
                HealOutcome::Applied if reason.contains(UNVERIFIED) => "applied",
                HealOutcome::Applied => "healed",
                HealOutcome::Rejected => "not healed",
                HealOutcome::AwaitingApproval => "waits for approval",
                HealOutcome::NeedsPerson => "needs a person",
                HealOutcome::HeldElsewhere => "not worked on here",
                HealOutcome::Closed => "already closed",
            };
            let slug = slug_of(state, *mission);
            let text = match reason.starts_with(OFFERED) {
                true => format!("{slug}: {reason}"),
                false => format!("{slug}: {word}: {reason}"),
            };
            line(Depth::Part, "HEAL", tone, text)
        }
        E::Retried {
            attempt,
            at,
            reason,
        } => line(
            Depth::Attempt,
            "RETRY",
            Tone::Accent,
            format!(
                "attempt {attempt} in {}: {reason}",
                duration(at.ms_since(recorded.at))
            ),
        ),
        E::LayerStarted { layer } => line(
            Depth::Attempt,
            "LAYER",
            Tone::Dim,
            format!("{layer} starts"),
        ),
        E::LayerUp { layer } => {
            let took = state
                .layer(layer)
                .and_then(|l| Some(l.up_at?.ms_since(l.started_at?)))
                .unwrap_or(0);
            line(
                Depth::Attempt,
                "LAYER",
                Tone::Good,
                format!("{layer}: UP ({})", duration(took)),
            )
        }
        E::LayerFailed {
            layer,
            critical,
            error,
            output,
            ..
        } => {
            let needed = *critical || state.layer(layer).is_some_and(|l| l.critical);
            let said =
                last_words(output).map_or_else(String::new, |said| format!("; it said: {said}"));
            line(
                Depth::Attempt,
                "LAYER",
                if needed { Tone::Bad } else { Tone::Warn },
                format!(
                    "{layer}: FAILED ({}): {error}{said}",
                    if needed { "critical" } else { "optional" }
                ) + if *critical {
                    ""
                } else {
                    "; Boot continues (non-critical)"
                },
            )
        }
        E::LogGap {
            kept,
            lost,
            from,
            to,
            reason,
        } => line(
            Depth::Attempt,
            "LOG",
            if *lost > 0 { Tone::Bad } else { Tone::Warn },
            format!(
                "not written from {} to {}: {reason}; {kept} events were kept and follow, {}",
                moment(*from),
                moment(*to),
                match lost {
                    0 => "none is lost".to_owned(),
                    n => format!("{n} older ones are LOST"),
                }
            ),
        ),
        E::LogPruned {
            events,
            last,
            before,
            ..
        } => line(
            Depth::Boot,
            "LOG",
            Tone::Warn,
            format!(
                "{events} events up to {last}, from before {}, were pruned",
                moment(*before)
            ),
        ),
        E::LayerSkipped { layer, because } => line(
            Depth::Attempt,
            "LAYER",
            Tone::Warn,
            format!("{layer}: SKIPPED until layer {because} is up"),
        ),
        E::ServiceSteered { service, order, by } => line(
            Depth::Part,
            "SERVICE",
            Tone::Accent,
            format!("{service}: {} asked for by {by}", order.as_str()),
        ),
        E::RulesSet { rules } => line(
            Depth::Attempt,
            "RULES",
            Tone::Dim,
            format!("for {}", count(rules.len(), "service")),
        ),
        E::TermsSet { terms, .. } => line(
            Depth::Attempt,
            "NEEDS",
            Tone::Dim,
            format!("and ends of {}", count(terms.len(), "service")),
        ),
        E::PlanChanged {
            layers,
            removed,
            by,
            ..
        } => line(
            Depth::Attempt,
            "PLAN",
            Tone::Accent,
            format!("{}, by {by}", changed_plan(layers, removed)),
        ),
        E::ClockSet { from, to } => {
            let said = match to.ms_since(*from) {
                0 => format!("set back by {}", duration(from.ms_since(*to))),
                ms => format!("set forward, or the host slept: {} further", duration(ms)),
            };
            line(Depth::Attempt, "CLOCK", Tone::Warn, said)
        }
        E::ValidationPlanned {
            every_ms,
            checks,
            by,
        } => {
            let checks: Vec<&str> = checks.iter().map(|check| check.as_str()).collect();
            let every =
                every_ms.map_or_else(|| "not".to_owned(), |ms| format!("every {}", duration(ms)));
            line(
                Depth::Attempt,
                "PLAN",
                Tone::Accent,
                format!("validated {every} ({}), by {by}", checks.join(", ")),
            )
        }
        E::ServiceSkipped { service, because } => line(
            Depth::Part,
            "SERVICE",
            Tone::Warn,
            format!("{service}: SKIPPED: {because}"),
        ),
        E::ServiceUnready { service, reason } => line(
            Depth::Part,
            "SERVICE",
            Tone::Warn,
            format!("{service}: not ready any more: {reason}"),
        ),
        E::AnswerNotAttributed { service, why } => line(
            Depth::Part,
            "SERVICE",
            Tone::Dim,
            format!("{service}: answer not attributed: {why}"),
        ),
        E::ServiceStable { service } => line(
            Depth::Part,
            "SERVICE",
            Tone::Dim,
            format!("{service}: stable"),
        ),
        E::ServiceRecovered { service, ends } => line(
            Depth::Part,
            "SERVICE",
            Tone::Good,
            format!(
                "{service}: ready for long enough after {}",
                count(usize::try_from(*ends).unwrap_or(usize::MAX), "restart")
            ),
        ),
        E::ServiceStarted { service, process } => line(
            Depth::Part,
            "SERVICE",
            Tone::Dim,
            format!("{service} runs as process {}", process.pid),
        ),
        E::ServiceReady { service } => {
            let found = state.service(service).map(|(_, s)| s);
            let took = found.and_then(|s| Some(s.ready_at?.ms_since(s.started_at?)));
            let word = match found {
                Some(s) if s.plan.oneshot => "done",
                Some(s) if !s.rules.probed => "up, not probed",
                _ => "ready",
            };
            line(
                Depth::Part,
                "SERVICE",
                Tone::Good,
                format!("{service}: {word} ({})", duration(took.unwrap_or(0))),
            )
        }
        E::ServiceExited {
            service,
            exit: ExitKind::Signal(SIGKILL),
            expected: true,
        } => line(
            Depth::Part,
            "SERVICE",
            Tone::Warn,
            format!("{service} had not ended when asked to and was killed (SIGKILL)"),
        ),
        E::ServiceExited {
            service,
            exit,
            expected,
        } => line(
            Depth::Part,
            "SERVICE",
            if *expected { Tone::Dim } else { Tone::Warn },
            format!(
                "{service} ended with {exit}{}",
                if *expected { "" } else { ", unasked" }
            ),
        ),
        // With a fix, not after an end.
        E::ServiceRestarting {
            service,
            restart: 0,
            reason,
            ..
        } => line(
            Depth::Part,
            "RESTART",
            Tone::Accent,
            format!("{service} {reason}"),
        ),
        E::ServiceRestarting {
            service,
            restart,
            at,
            reason,
        } => line(
            Depth::Part,
            "RESTART",
            Tone::Warn,
            format!(
                "{service} in {} (restart {restart}): it {reason}",
                duration(at.ms_since(recorded.at))
            ),
        ),
        E::ServiceFailed { service, error } => line(
            Depth::Part,
            "SERVICE",
            Tone::Bad,
            format!("{service} is given up: it {error}"),
        ),
        E::BootUp { degraded } => up_line(*degraded, state),
        E::ValidationStarted { validation } => line(
            Depth::Boot,
            "VALIDATION",
            Tone::Dim,
            format!(
                "validation {validation} of the running system: configuration, schema, rehearsal, service health"
            ),
        ),
        E::ValidationFinished {
            validation,
            decision,
        } => line(
            Depth::Boot,
            "VALIDATION",
            super::render::tone_of_decision(*decision),
            format!(
                "validation {validation}: a boot would be told {}",
                decision.title()
            ),
        ),
        E::BreakerTripped { signature, seen } => line(
            Depth::Attempt,
            "BREAKER",
            Tone::Bad,
            format!("failure {signature} was seen {seen} times: no more tries in this boot"),
        ),
        E::StopRequested { by } => line(
            Depth::Boot,
            "STOP",
            Tone::Accent,
            format!("asked for by {by}; layers stop in reverse order"),
        ),
        E::BootStopped => line(Depth::Boot, "BOOT", Tone::Good, "stopped, as asked"),
        E::BootFailed { reason } => {
            line(Depth::Boot, "BOOT", Tone::Bad, format!("failed: {reason}"))
        }
        E::BootInterrupted { reason, reaped } => line(
            Depth::Boot,
            "BOOT",
            Tone::Bad,
            format!(
                "interrupted: {reason}; {} left running, and ended",
                if *reaped == 1 {
                    "1 process was".to_owned()
                } else {
                    format!("{reaped} processes were")
                }
            ),
        ),
        E::Note { text } => line(Depth::Attempt, "NOTE", Tone::Dim, text.clone()),
        other => line(Depth::Attempt, "EVENT", Tone::Dim, other.kind()),
    }
}

fn describe_mission(recorded: &Recorded, event: &Event, state: &BootState) -> Line {
    use Event as E;
    let slug = match event {
        E::MissionFiled { slug, .. }
        | E::MissionRecurred { slug, .. }
        | E::MissionClosed { slug, .. } => slug.clone(),
        _ => recorded
            .mission
            .map_or_else(|| "a mission".to_owned(), |id| slug_of(state, id)),
    };
    let say = |label, tone, text: String| line(Depth::Part, label, tone, format!("{slug}{text}"));
    match event {
        E::MissionFiled { failure, .. } => say(
            "GOVERNANCE",
            if failure.critical {
                Tone::Bad
            } else {
                Tone::Warn
            },
            format!(" filed: {}", failure.error),
        ),
        E::MissionRecurred { failure, .. } => say(
            "MISSION",
            Tone::Warn,
            format!(" seen again: {}", failure.error),
        ),
        E::MissionClaimed { worker, until } => say(
            "MISSION",
            Tone::Dim,
            format!(" claimed by {worker} until {}", moment(*until)),
        ),
        E::LeaseExtended { worker, until } => say(
            "MISSION",
            Tone::Dim,
            format!(" held by {worker} until {}", moment(*until)),
        ),
        E::LeaseExpired { worker } => say(
            "MISSION",
            Tone::Warn,
            format!(": the lease of {worker} ran out"),
        ),
        E::MissionReleased { worker, reason } => say(
            "MISSION",
            Tone::Dim,
            format!(" given back by {worker}: {reason}"),
        ),
        E::FixProposed { proposal, .. } => say(
            "AUTO-FIX",
            Tone::Accent,
            match proposal.runs_migrations() {
                // What they risk, the trial shows.
                true => format!(": {} ({})", proposal.summary, proposal.fixer),
                false => format!(
                    ": {} ({}, {})",
                    proposal.summary,
                    proposal.fixer,
                    proposal.risk.as_str()
                ),
            },
        ),
        E::FixTried { verdict } => say(
            "SANDBOX",
            if verdict.holds { Tone::Good } else { Tone::Bad },
            format!(
                ": {} ({}): {}",
                if verdict.holds {
                    "holds"
                } else {
                    "does not hold"
                },
                duration(verdict.duration_ms),
                verdict.reason
            ),
        ),
        E::FixVerified => say("SANDBOX", Tone::Dim, ": verified".into()),
        E::FixRejected { reason, retry_at } => say(
            "AUTO-FIX",
            Tone::Bad,
            format!(": rejected: {reason}; not before {}", moment(*retry_at)),
        ),
        E::ApprovalRequested => say(
            "MISSION",
            Tone::Warn,
            format!(": needs approval: `ubs missions approve {slug}`"),
        ),
        E::FixApproved { by } => say("MISSION", Tone::Good, format!(": approved by {by}")),
        E::PromotionStarted { files, databases } => say(
            "AUTO-FIX",
            Tone::Dim,
            format!(
                ": promotion of {} begins",
                [(files.len(), "file"), (databases.len(), "database change"),]
                    .into_iter()
                    .filter(|(number, _)| *number > 0)
                    .map(|(number, what)| count(number, what))
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
        ),
        E::FixApplied { summary, .. } => {
            let is_schema = recorded
                .mission
                .and_then(|id| state.missions.iter().find(|m| m.id == id))
                .is_some_and(|mission| {
                    let findings = state.reports.values().flat_map(|r| &r.findings);
                    findings
                        .filter(|f| f.code.family() == "schema")
                        .any(|f| crate::domain::signature::sign_finding(f) == mission.signature)
                });
            let schema = if is_schema {
                " (Schema fixed automatically)"
            } else {
                ""
            };
            say(
                "AUTO-FIX",
                Tone::Good,
                format!(": APPLIED: {summary}{schema}"),
            )
        }
        E::PromotionUndone { reason } => say("AUTO-FIX", Tone::Warn, format!(": undone: {reason}")),
        E::FixRolledBack { reason } => {
            say("ROLLBACK", Tone::Warn, format!(": taken back: {reason}"))
        }
        E::FixBlessed { healthy_ms } => say(
            "BLESSED",
            Tone::Good,
            format!(
                ": its fix stays: the system was healthy with it for {}",
                duration(*healthy_ms)
            ),
        ),
        E::FixUndone { by, reason } => say(
            "ROLLBACK",
            Tone::Warn,
            format!(": its fix was taken back by {by}: {reason}"),
        ),
        E::MissionQuarantined { reason } => {
            say("MISSION", Tone::Warn, format!(": needs a person: {reason}"))
        }
        E::MissionRequeued { by } => say(
            "MISSION",
            Tone::Accent,
            format!(": back in the queue, by {by}"),
        ),
        E::MissionClosed { resolution, .. } => {
            say("MISSION", Tone::Good, format!(" closed: {resolution}"))
        }
        other => say("EVENT", Tone::Dim, format!(": {}", other.kind())),
    }
}

fn live(phase: CheckPhase) -> &'static str {
    match phase {
        CheckPhase::Preflight => "",
        CheckPhase::Validation => " (running system)",
    }
}

fn decision_text(decision: Decision, because: &[String], skipped: &[String]) -> String {
    let mut text = decision.title().to_owned();
    if !because.is_empty() {
        text = format!("{text}: {}", because.join(", "));
    }
    if !skipped.is_empty() {
        text = format!("{text}; will not start: {}", skipped.join(", "));
    }
    text
}

fn up_line(degraded: bool, state: &BootState) -> Line {
    let took = duration(state.updated_at.ms_since(state.started_at));
    if !degraded {
        return line(
            Depth::Boot,
            "UP",
            Tone::Good,
            format!("all layers are up, {took} after the boot began"),
        );
    }
    let missing: Vec<&str> = state
        .layers
        .iter()
        .filter(|l| l.status != LayerStatus::Up)
        .map(|l| l.name.as_str())
        .collect();
    line(
        Depth::Boot,
        "UP",
        Tone::Warn,
        format!(
            "degraded, without {}, {took} after the boot began",
            missing.join(", ")
        ),
    )
}

fn slug_of(state: &BootState, id: MissionId) -> String {
    state
        .missions
        .iter()
        .find(|m| m.id == id)
        .map_or_else(|| format!("mission {id}"), |m| m.slug.clone())
}

/// The registration of the running system: its routes, and which services are alive.
fn is_live_registration(report: &CheckReport, phase: CheckPhase) -> bool {
    phase == CheckPhase::Validation && matches!(report.measured, Measured::Registration { .. })
}

/// `new or changed: api, worker; gone: old`.
fn changed_plan(layers: &[LayerPlan], removed: &[String]) -> String {
    let services = layers.iter().flat_map(|layer| &layer.services);
    let mut names: Vec<&str> = services.map(|service| service.name.as_str()).collect();
    if names.is_empty() {
        names.extend(layers.iter().map(|layer| layer.name.as_str()));
    }
    let gone: Vec<&str> = removed.iter().map(String::as_str).collect();
    let parts = [("new or changed", names), ("gone", gone)];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    parts.join("; ")
}

/// Worth a line even when the details are not wanted.
pub(crate) fn is_headline(event: &Event) -> bool {
    use Event as E;
    match event {
        E::RulesSet { .. }
        | E::TermsSet { .. }
        | E::ServiceStable { .. }
        | E::CheckStarted { .. }
        | E::MissionsSettled { .. }
        | E::LayerStarted { .. }
        | E::ServiceStarted { .. }
        | E::MissionClaimed { .. }
        | E::LeaseExtended { .. }
        | E::FixVerified
        | E::PromotionStarted { .. }
        | E::HealFinished { .. } => false,
        E::ServiceExited { expected, .. } => !expected,
        E::CheckFinished { report, phase } => {
            *phase == CheckPhase::Preflight
                || is_live_registration(report, *phase)
                || report.status > CheckStatus::Healthy
        }
        _ => true,
    }
}
