//! What a check gives, and how that becomes a report: findings are cleaned, sorted and bounded here, once for all
//! checks.

use super::raised::DETAIL_BYTES_MAX;
use crate::domain::code::Code;
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding, Location, Measured};
use crate::domain::redact::Redactor;
use crate::domain::remedy::Remedy;

/// Findings of one check; one more says how many there were.
const FINDINGS_MAX: usize = 200;
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const FACT_BYTES_MAX: usize = 64 << 10;
const NAME_BYTES_MAX: usize = 256;

/// What one check gives, before it is cleaned and judged.
#[derive(Debug, Default)]
pub(super) struct CheckOutcome {
    pub summary: String,
    pub findings: Vec<Finding>,
    pub measured: Measured,
    /// Nothing in the manifest asks for the check.
    pub skipped: bool,
}

impl CheckOutcome {
    pub(super) fn skipped(why: &str) -> Self {
        Self {
            summary: why.to_owned(),
            skipped: true,
            ..Self::default()
        }
    }
}

/// Cleans and judges what a check gave.
pub(super) fn finish_report(
    check: CheckName,
    outcome: CheckOutcome,
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
        detail: redactor.clean(&finding.detail, DETAIL_BYTES_MAX),
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
