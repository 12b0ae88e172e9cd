//! Whether the reports of a trial show that the failure is gone and nothing else got worse.

use super::checks::Baseline;
use crate::domain::event::CheckChange;
use crate::domain::finding::{CheckReport, CheckStatus, Severity};
use crate::domain::ids::Signature;
use crate::domain::mission::{Failure, SignedFailure, group_failures};

pub(super) fn compare(baseline: &Baseline, after: &[CheckReport]) -> Vec<CheckChange> {
    after
        .iter()
        .map(|report| CheckChange {
            check: report.name,
            before: baseline
                .get(&report.name)
                .copied()
                .unwrap_or(CheckStatus::Skipped),
            after: report.status,
        })
        .collect()
}

/// Why these reports do not show that the failure is gone, if they do not.
pub(crate) fn still_there(
    signature: &Signature,
    failure: &Failure,
    reports: &[CheckReport],
) -> Option<String> {
    if let Some(report) = reports.iter().find(|r| r.status == CheckStatus::Error) {
        return Some(format!("the {} check {}", report.name, report.summary));
    }
    let open = open_failures(reports);
    let is_it =
        |found: &&SignedFailure| found.signature == *signature || is_moved(&found.failure, failure);
    open.iter()
        .find(is_it)
        .map(|still| format!("the failure is still there: {}", still.failure.error))
}

/// Whether these reports have that very failure.
pub(crate) fn is_reported(signature: &Signature, reports: &[CheckReport]) -> bool {
    let open = open_failures(reports);
    open.iter().any(|found| found.signature == *signature)
}

/// The same thing is broken, in other words.
fn is_moved(found: &Failure, failure: &Failure) -> bool {
    let is_same = found.code == failure.code
        && found.subject == failure.subject
        && found.check == failure.check;
    is_same || failure.shares_table_with(found)
}

fn open_failures(reports: &[CheckReport]) -> Vec<SignedFailure> {
    group_failures(reports.iter().flat_map(|report| {
        report
            .findings
            .iter()
            .filter(|f| f.severity >= Severity::Warning)
            .map(|f| (report.name, f))
    }))
}

/// Whether the trial's reports show that the failure is gone and nothing else got worse.
pub(super) fn judge(
    signature: &Signature,
    failure: &Failure,
    changes: &[CheckChange],
    reports: &[CheckReport],
) -> (bool, String) {
    let open = open_failures(reports);
    if let Some(still) = open.iter().find(|f| f.signature == *signature) {
        return (
            false,
            format!("the failure is still there: {}", still.failure.error),
        );
    }
    if let Some(worse) = changes
        .iter()
        .find(|c| c.after.blocks() && c.after > c.before)
    {
        let what = reports
            .iter()
            .find(|r| r.name == worse.check)
            .and_then(|r| r.findings.first())
            .map_or_else(String::new, |f| format!(": {}", f.message));
        return (
            false,
            format!(
                "the {} check got worse ({} to {}){what}",
                worse.check,
                worse.before.as_str(),
                worse.after.as_str()
            ),
        );
    }
    // A failure that moved: the same thing is broken, in other words.
    if let Some(moved) = open.iter().find(|f| is_moved(&f.failure, failure)) {
        return (
            false,
            format!(
                "{} is still broken: {}",
                failure.subject, moved.failure.error
            ),
        );
    }
    let looked = match failure.check {
        Some(check) => reports.iter().any(|r| {
            r.name == check && !matches!(r.status, CheckStatus::Skipped | CheckStatus::Error)
        }),
        None => true,
    };
    if !looked {
        return (
            false,
            "the check that found the failure could not be carried out".to_owned(),
        );
    }
    let reason = match failure.check {
        Some(check) => format!("the {check} check no longer reports {}", failure.subject),
        None => {
            "no check is worse; only the next start shows whether the layer comes up".to_owned()
        }
    };
    (true, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{CheckName, Finding, Measured};
    use crate::domain::remedy::Cause;
    use crate::domain::signature::sign_finding;

    fn report(name: CheckName, findings: Vec<Finding>) -> CheckReport {
        CheckReport {
            name,
            status: CheckStatus::of(&findings),
            duration_ms: 0,
            summary: String::new(),
            findings,
            measured: Measured::Nothing,
        }
    }

    fn verdict_of(before: Vec<CheckReport>, after: Vec<CheckReport>) -> (bool, String) {
        let finding = before[0].findings[0].clone();
        let failure = Failure::of_finding(before[0].name, &finding);
        let baseline: Baseline = before.iter().map(|r| (r.name, r.status)).collect();
        judge(
            &sign_finding(&finding),
            &failure,
            &compare(&baseline, &after),
            &after,
        )
    }

    fn broken(code: &str, subject: &str) -> Finding {
        Finding::new(code, Severity::Critical, subject, "broken")
    }

    #[test]
    fn a_fix_holds_when_its_failure_is_gone_even_if_its_check_now_sees_more() {
        let before = vec![report(
            CheckName::Schema,
            vec![broken("schema.duplicate_table", "m")],
        )];
        let after = vec![report(
            CheckName::Schema,
            vec![broken("schema.missing_table", "s")],
        )];
        assert!(verdict_of(before, after).0);
    }

    #[test]
    fn a_fix_that_breaks_another_check_does_not_hold() {
        let before = vec![
            report(CheckName::Schema, vec![broken("schema.missing_table", "s")]),
            report(CheckName::Rehearsal, vec![]),
        ];
        let after = vec![
            report(CheckName::Schema, vec![]),
            report(
                CheckName::Rehearsal,
                vec![broken("rehearsal.failed", "apis")],
            ),
        ];
        let (holds, reason) = verdict_of(before, after);
        assert!(!holds);
        assert!(reason.contains("rehearsal check got worse"), "{reason}");
    }

    #[test]
    fn a_failure_that_only_changes_its_words_is_still_there() {
        let mut first = broken("rehearsal.failed", "apis");
        first.cause = Some(Cause::Exception("ValueError: a".into()));
        let mut second = first.clone();
        second.cause = Some(Cause::Exception("TypeError: b".into()));
        let before = vec![report(CheckName::Rehearsal, vec![first])];
        let after = vec![report(CheckName::Rehearsal, vec![second])];
        assert!(!verdict_of(before, after).0);
    }
}
