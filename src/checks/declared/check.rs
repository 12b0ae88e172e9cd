//! Runs the declared checks and puts what they gave together.

use std::collections::BTreeMap;
use std::time::Instant;

use super::answer::{Answer, Found};
use super::passed::Inputs;
use super::{builtin, program};
use crate::checks::context::CheckContext;
use crate::checks::outcome::CheckOutcome;
use crate::domain::code::Code;
use crate::domain::finding::{CheckStatus, DeclaredRun, Finding, Measured, Severity};
use crate::manifest::{CheckKind, CheckSeverity, DeclaredCheck};

/// Checks that run side by side.
const AT_ONCE_MAX: usize = 4;
/// Bytes of a check's own line in the report.
const SUMMARY_BYTES_MAX: usize = 300;

/// What one check came to.
struct Run {
    run: DeclaredRun,
    findings: Vec<Finding>,
}

/// The declared checks that are due, and whether one that has to be carried out could not be.
pub(in crate::checks) fn check(context: &CheckContext<'_>) -> (CheckOutcome, bool) {
    let due: Vec<&DeclaredCheck> = context
        .manifest
        .checks
        .iter()
        .filter(|check| program::is_due(check, context.is_live))
        .collect();
    if due.is_empty() {
        let when = if context.is_live {
            "while the system runs"
        } else {
            "before a boot"
        };
        return (
            CheckOutcome::skipped(&format!("no [[check]] is for a look {when}")),
            false,
        );
    }
    let mut done: BTreeMap<&str, Run> = BTreeMap::new();
    let mut waiting = due.clone();
    while !waiting.is_empty() {
        // A check needs those above it only, so at least the first one can run.
        let is_settled = |check: &&DeclaredCheck| {
            let is_waiting = |need: &String| waiting.iter().any(|other| other.name == *need);
            !check.needs.iter().any(is_waiting)
        };
        let ready: Vec<&DeclaredCheck> = waiting
            .iter()
            .copied()
            .filter(|check| is_settled(check))
            .take(AT_ONCE_MAX)
            .collect();
        let done_now: Vec<(&DeclaredCheck, Run)> = std::thread::scope(|scope| {
            let threads: Vec<_> = ready
                .into_iter()
                .map(|check| match failed_need(check, &done) {
                    Some(need) => (check, Err(skipped(check, &need))),
                    None => (check, Ok(scope.spawn(move || run_one(context, check)))),
                })
                .collect();
            threads
                .into_iter()
                .map(|(check, ended)| match ended {
                    Err(run) => (check, run),
                    Ok(thread) => match thread.join() {
                        Ok(run) => (check, run),
                        Err(panic) => std::panic::resume_unwind(panic),
                    },
                })
                .collect()
        });
        for (check, run) in done_now {
            waiting.retain(|other| other.name != check.name);
            done.insert(&check.name, run);
        }
    }
    let runs: Vec<Run> = due
        .iter()
        .filter_map(|check| done.remove(check.name.as_str()))
        .collect();
    together(context, runs)
}

/// The check that it needs and that did not pass. One that is not due now is not asked.
fn failed_need(check: &DeclaredCheck, done: &BTreeMap<&str, Run>) -> Option<String> {
    let did_fail = |need: &&String| {
        done.get(need.as_str())
            .is_some_and(|need| need.run.status != CheckStatus::Healthy)
    };
    check.needs.iter().find(did_fail).cloned()
}

fn skipped(check: &DeclaredCheck, need: &str) -> Run {
    Run {
        run: DeclaredRun {
            name: check.name.clone(),
            status: CheckStatus::Skipped,
            duration_ms: 0,
            results: 0,
            summary: format!("needs {need}, which did not pass"),
        },
        findings: Vec::new(),
    }
}

fn run_one(context: &CheckContext<'_>, check: &DeclaredCheck) -> Run {
    let begun = Instant::now();
    let worst = worst(context, check);
    let inputs = Inputs::of(context, check);
    let (answer, is_known) = match inputs.as_ref().and_then(Inputs::passed) {
        Some(results) => {
            let answer = Answer {
                results,
                ..Answer::default()
            };
            (Ok(answer), true)
        }
        None => (ask(context, check), false),
    };
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (status, results, summary, findings) = match answer {
        Err(why) => {
            // Not to know is never less than a warning.
            let severity = worst.max(Severity::Warning);
            let why = context.redactor.clean(&why, SUMMARY_BYTES_MAX);
            let message = format!("the check {} could not be carried out: {why}", check.name);
            let code = Code::of_declared(&check.name, "error");
            let mut finding = Finding::new(code, severity, &check.name, message).at(
                context.manifest_name(),
                check.line,
                0,
            );
            finding.layer = check.layer.clone();
            (
                CheckStatus::Error,
                0,
                format!("could not be carried out: {why}"),
                vec![finding],
            )
        }
        Ok(answer) => {
            let results = answer.results.unwrap_or(0);
            let mut findings: Vec<Finding> = answer
                .found
                .into_iter()
                .map(|found| finding(context, check, worst, found))
                .collect();
            if answer.more > 0 {
                let message = format!(
                    "{} more findings of {} are not listed",
                    answer.more, check.name
                );
                findings.push(Finding::of(Code::CheckMore, &check.name, message));
            }
            let status = CheckStatus::of(&findings);
            let did_not_look = answer
                .skipped
                .or_else(|| (answer.results == Some(0)).then(|| "no results".to_owned()));
            match did_not_look.filter(|_| findings.is_empty()) {
                Some(why) => (
                    CheckStatus::Skipped,
                    0,
                    format!("looked at nothing: {why}"),
                    findings,
                ),
                None => (status, results, said(status, &findings, is_known), findings),
            }
        }
    };
    if let Some(inputs) = inputs.filter(|_| !is_known) {
        if status == CheckStatus::Healthy && findings.is_empty() {
            inputs.keep(Some(results).filter(|results| *results > 0));
        } else {
            inputs.forget();
        }
    }
    Run {
        run: DeclaredRun {
            name: check.name.clone(),
            status,
            duration_ms,
            results,
            summary: context
                .redactor
                .clean(&summary.replace(['\n', '\t'], " "), SUMMARY_BYTES_MAX),
        },
        findings,
    }
}

fn said(status: CheckStatus, findings: &[Finding], is_known: bool) -> String {
    match (findings.len(), is_known) {
        (0, true) => "passed on the same inputs before".to_owned(),
        (0, false) => "passed".to_owned(),
        (1, _) => format!("1 finding ({})", status.as_str()),
        (n, _) => format!("{n} findings ({})", status.as_str()),
    }
}

fn ask(context: &CheckContext<'_>, check: &DeclaredCheck) -> Result<Answer, String> {
    let answer = match &check.kind {
        CheckKind::Program { run, format } => program::run(context, check, run, *format)?,
        _ => builtin::look(context, check)?,
    };
    let before = context
        .earlier
        .declared_results
        .get(&check.name)
        .copied()
        .unwrap_or(0);
    let has_none = answer.results.unwrap_or(0) == 0 && answer.found.is_empty();
    if before > 0 && has_none {
        return Err(format!("gave no results, and {before} in the last boot"));
    }
    Ok(answer)
}

/// The most that a finding of this check can be.
fn worst(context: &CheckContext<'_>, check: &DeclaredCheck) -> Severity {
    let declared = match check.severity {
        CheckSeverity::Critical => Severity::Critical,
        CheckSeverity::Warning => Severity::Warning,
        CheckSeverity::Info => Severity::Info,
    };
    let of_layer = |name: &String| {
        context
            .manifest
            .layers
            .iter()
            .find(|layer| layer.name == *name)
    };
    let is_optional = check
        .layer
        .as_ref()
        .and_then(of_layer)
        .is_some_and(|layer| !layer.critical);
    if is_optional {
        declared.min(Severity::Warning)
    } else {
        declared
    }
}

fn finding(
    context: &CheckContext<'_>,
    check: &DeclaredCheck,
    worst: Severity,
    found: Found,
) -> Finding {
    // A code goes where nothing is redacted any more.
    let is_secret = context.redactor.redact(&found.rule) != found.rule;
    let rule = if is_secret { "failed" } else { &found.rule };
    let subject = if found.subject.trim().is_empty() {
        &check.name
    } else {
        &found.subject
    };
    let severity = found.severity.unwrap_or(worst).min(worst);
    let code = Code::of_declared(&check.name, rule);
    // What it is about is in our own messages; others rely on it standing beside them.
    let is_said = *subject == check.name || found.message.contains(subject.as_str());
    let is_place = found
        .location
        .as_ref()
        .is_some_and(|at| at.file == *subject);
    let message = match is_said || is_place {
        true => found.message,
        false => format!("{subject}: {}", found.message),
    };
    let mut finding = Finding::new(code, severity, subject.as_str(), message);
    finding.location = found.location;
    finding.remedy = found.remedy.or_else(|| check.remedy.clone());
    finding.detail = found.detail;
    finding.layer = check.layer.clone();
    finding
}

fn together(context: &CheckContext<'_>, runs: Vec<Run>) -> (CheckOutcome, bool) {
    let mut checks = Vec::new();
    let mut findings = Vec::new();
    let mut is_lost = false;
    for Run {
        run,
        findings: found,
    } in runs
    {
        is_lost |= run.status == CheckStatus::Error
            && found
                .iter()
                .any(|finding| finding.severity == Severity::Critical);
        checks.push(run);
        findings.extend(found);
    }
    let count = |status: CheckStatus| checks.iter().filter(|run| run.status == status).count();
    let (passed, skipped) = (count(CheckStatus::Healthy), count(CheckStatus::Skipped));
    let mut summary = format!("{passed} of {} passed", checks.len());
    for (number, word) in [
        (skipped, "not looked at"),
        (count(CheckStatus::Error), "could not be carried out"),
    ] {
        if number > 0 {
            summary.push_str(&format!(", {number} {word}"));
        }
    }
    tracing::debug!(%summary, live = context.is_live, "declared checks");
    let outcome = CheckOutcome {
        summary,
        findings,
        skipped: skipped == checks.len(),
        measured: Measured::Declared { checks },
    };
    (outcome, is_lost)
}
