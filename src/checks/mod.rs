//! The pre-flight checks: each looks at a workspace and says what it saw as findings.
//!
//! May rely on `manifest`, `domain` and `sandbox`. Knows nothing of missions, fixers or boots. A check
//! changes nothing: application code runs only in the sandbox, databases are opened for reading.

mod advice;
mod config;
mod earlier;
mod imports;
mod packages;
mod python;
mod question;
mod raised;
mod registration;
mod rehearsal;
mod schema;
mod shared;
mod sources;
#[cfg(test)]
pub(crate) mod testing;
mod vault;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::domain::code::Code;
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding, Location, Measured};
use crate::domain::redact::Redactor;
use crate::domain::remedy::Remedy;
use crate::domain::words::count;
use crate::manifest::{Environment, Manifest};

pub(crate) use earlier::Earlier;
pub(crate) use python::{interpreter, service_environment};
pub(crate) use registration::{LiveService, LiveSystem, check_running};
pub use schema::ExpectedSchema;
pub(crate) use schema::{migration_books, migration_command};
pub(crate) use shared::SharedRuns;
pub(crate) use sources::Sources;

/// Findings of one check; one more says how many there were.
const FINDINGS_MAX: usize = 200;
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const FACT_BYTES_MAX: usize = 64 << 10;
const NAME_BYTES_MAX: usize = 256;

/// What a check looks at.
#[derive(Debug)]
pub(crate) struct CheckContext<'a> {
    /// The declaration.
    pub manifest: &'a Manifest,
    /// The workspace, or a copy of it.
    pub root: &'a Path,
    /// The environment that the application would get there.
    pub environment: &'a Environment,
    /// Keeps secrets out of findings.
    pub redactor: &'a Redactor,
    /// A private directory that may be written.
    pub scratch: &'a Path,
    /// Variables of the application that are replaced for this run.
    pub overrides: BTreeMap<String, String>,
    /// Imports that the checks of one pre-flight do once.
    pub shared: &'a SharedRuns,
    /// The static scan, made once for all checks of one pre-flight.
    pub sources: &'a Sources,
    /// What the last boot that was up ran on.
    pub earlier: &'a Earlier,
}

impl CheckContext<'_> {
    /// The manifest's name, for locations.
    fn manifest_name(&self) -> String {
        let manifest = self.manifest;
        manifest
            .path
            .strip_prefix(&manifest.workspace)
            .unwrap_or(&manifest.path)
            .display()
            .to_string()
    }
}

/// What one check gives, before it is cleaned and judged.
#[derive(Debug, Default)]
struct Outcome {
    summary: String,
    findings: Vec<Finding>,
    measured: Measured,
    /// Nothing in the manifest asks for the check.
    skipped: bool,
}

impl Outcome {
    fn skipped(why: &str) -> Self {
        Self {
            summary: why.to_owned(),
            skipped: true,
            ..Self::default()
        }
    }
}

/// Runs one check. Never fails and never hangs: what cannot be carried out is a finding.
#[must_use]
pub(crate) fn run_check(check: CheckName, context: &CheckContext<'_>) -> CheckReport {
    let begun = Instant::now();
    let outcome = match check {
        CheckName::Config => Ok(config::check(context)),
        CheckName::Schema => schema::check(context),
        CheckName::Rehearsal => rehearsal::check(context),
        CheckName::Registration => registration::check(context),
    };
    let (outcome, failed) = match outcome {
        Ok(outcome) => (outcome, false),
        Err(error) => (cannot_be_carried_out(check, &error), true),
    };
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut report = finish_report(check, outcome, context.redactor, duration_ms);
    if failed {
        report.status = CheckStatus::Error;
    }
    report
}

/// Cleans and judges what a check gave.
fn finish_report(
    check: CheckName,
    outcome: Outcome,
    redactor: &Redactor,
    duration_ms: u64,
) -> CheckReport {
    let status = if outcome.skipped {
        CheckStatus::Skipped
    } else {
        CheckStatus::of(&outcome.findings)
    };
    CheckReport {
        name: check,
        status,
        duration_ms,
        summary: redactor.clean(&outcome.summary, MESSAGE_BYTES_MAX),
        findings: tidy(check, outcome.findings, redactor),
        measured: outcome.measured,
    }
}

fn cannot_be_carried_out(check: CheckName, error: &python::ProbeError) -> Outcome {
    let finding = Finding::of(
        Code::CheckError,
        check.as_str(),
        format!("the {check} check could not be carried out: {error}"),
    );
    Outcome {
        summary: format!("could not be carried out: {error}"),
        findings: vec![finding],
        ..Outcome::default()
    }
}

/// Worst first, clean, bounded.
fn tidy(check: CheckName, mut findings: Vec<Finding>, redactor: &Redactor) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let more = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    let mut findings: Vec<Finding> = findings
        .into_iter()
        .map(|finding| clean_finding(finding, redactor))
        .collect();
    if more > 0 {
        findings.push(Finding::of(
            Code::CheckMore,
            check.as_str(),
            format!("{more} more findings are not listed"),
        ));
    }
    findings
}

fn clean_finding(finding: Finding, redactor: &Redactor) -> Finding {
    let one_line = |text: &str, max| redactor.clean(&text.replace(['\n', '\t'], " "), max);
    Finding {
        subject: one_line(&finding.subject, NAME_BYTES_MAX),
        message: one_line(&finding.message, MESSAGE_BYTES_MAX),
        location: finding.location.map(|location| Location {
            file: one_line(&location.file, 2 * NAME_BYTES_MAX),
            ..location
        }),
        remedy: finding
            .remedy
            .map(|remedy| one_line(&remedy, MESSAGE_BYTES_MAX)),
        layer: finding.layer.map(|layer| one_line(&layer, NAME_BYTES_MAX)),
        detail: redactor.clean(&finding.detail, raised::DETAIL_BYTES_MAX),
        // A fixer needs it to the letter: one that would have to be changed is left out.
        fix: finding.fix.and_then(|fix| clean_fix(fix, redactor)),
        cause: finding.cause.filter(|cause| {
            cause.text().len() <= FACT_BYTES_MAX && !has_secret(cause.text(), redactor)
        }),
        facts: finding
            .facts
            .into_iter()
            .filter(|(_, value)| value.len() <= FACT_BYTES_MAX)
            // So are facts.
            .filter(|(_, value)| !has_secret(value, redactor))
            .collect(),
        ..finding
    }
}

/// A fix as it is, or none: one that had to be shortened or redacted would be another. The reason of what is
/// left to a person stays where only its statements have to go.
fn clean_fix(fix: Remedy, redactor: &Redactor) -> Option<Remedy> {
    let is_clean = |fix: &Remedy| {
        fix.texts().map(str::len).sum::<usize>() <= FACT_BYTES_MAX
            && !fix.texts().any(|text| has_secret(text, redactor))
    };
    if is_clean(&fix) {
        return Some(fix);
    }
    match fix {
        Remedy::ByHand { reason, .. } => Some(Remedy::ByHand {
            reason,
            statements: None,
        })
        .filter(is_clean),
        _ => None,
    }
}

fn has_secret(text: &str, redactor: &Redactor) -> bool {
    redactor.redact(text) != text
}
