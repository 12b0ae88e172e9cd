//! Runs one check, whatever it comes to.

use std::time::Instant;

use super::context::CheckContext;
use super::outcome::{CheckOutcome, finish_report};
use super::packages::anew_fix;
use super::python::ProbeError;
use super::{config, declared, registration, rehearsal, schema};
use crate::domain::code::Code;
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding};

/// Runs one check. Never fails and never hangs: what cannot be carried out is a finding.
#[must_use]
pub(crate) fn run_check(check: CheckName, context: &CheckContext<'_>) -> CheckReport {
    let begun = Instant::now();
    let mut could_not = false;
    let outcome = match check {
        CheckName::Config => Ok(config::check(context)),
        CheckName::Schema => schema::check(context),
        CheckName::Rehearsal => rehearsal::check(context),
        CheckName::Registration => registration::check(context),
        CheckName::Declared => {
            let (outcome, is_lost) = declared::check(context);
            could_not = is_lost;
            Ok(outcome)
        }
    };
    let (outcome, failed) = match outcome {
        Ok(outcome) => (outcome, could_not),
        Err(error) => (cannot_be_carried_out(context, check, &error), true),
    };
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut report = finish_report(check, outcome, context.redactor, duration_ms);
    if failed {
        report.status = CheckStatus::Error;
    }
    report
}

fn cannot_be_carried_out(
    context: &CheckContext<'_>,
    check: CheckName,
    error: &ProbeError,
) -> CheckOutcome {
    let mut finding = Finding::of(
        Code::CheckError,
        check.as_str(),
        format!("the {check} check could not be carried out: {error}"),
    );
    if matches!(error, ProbeError::Interpreter(_)) {
        finding.fix = anew_fix(context);
    }
    CheckOutcome {
        summary: format!("could not be carried out: {error}"),
        findings: vec![finding],
        ..CheckOutcome::default()
    }
}
