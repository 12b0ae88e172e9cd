//! What is broken in a boot right now, which open missions its results close, and whether a fix
//! made anything worse.

use super::proof::{is_layer_stable, is_proved_by_running};
use super::state::BootState;
use crate::domain::code::Code;
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Severity};
use crate::domain::mission::{Failure, MissionState, MissionStatus, SignedFailure, group_failures};
use crate::domain::signature::sign_layer_failure;

/// Everything that is broken now: findings from `warning` on, and layers that failed while they ran.
#[must_use]
pub(crate) fn open_failures(state: &BootState) -> Vec<SignedFailure> {
    let findings = state.reports.values().flat_map(|report| {
        report
            .findings
            .iter()
            .filter(|f| f.severity >= Severity::Warning)
            .map(|f| (report.name, f))
    });
    let mut failures = group_failures(findings);
    for layer in &state.layers {
        if let Some(failure) = &layer.failure {
            let signature = sign_layer_failure(
                &layer.name,
                &failure.service,
                &failure.error,
                &failure.output,
            );
            if failures.iter().any(|f| f.signature == signature) {
                continue;
            }
            failures.push(SignedFailure {
                signature,
                failure: Failure {
                    check: None,
                    code: Code::LayerFailed,
                    subject: failure.service.clone(),
                    layer: Some(layer.name.clone()),
                    critical: layer.critical,
                    error: failure.error.clone(),
                    remedy: None,
                    traceback: failure.output.clone(),
                    location: None,
                    criteria: vec![format!("layer {} is up", layer.name)],
                    fix: None,
                    cause: None,
                    facts: std::collections::BTreeMap::new(),
                },
            });
        }
    }
    failures
}

fn is_masked(report: &CheckReport) -> bool {
    report.status == CheckStatus::Error || report.findings.iter().any(|f| f.code.masks_check())
}

/// Why this boot's results close `mission`, if they do: its failure is not among `still_open` and
/// what would show it was really looked at.
#[must_use]
pub(crate) fn closable(
    state: &BootState,
    still_open: &[SignedFailure],
    mission: &MissionState,
) -> Option<String> {
    let workable = matches!(
        mission.status,
        MissionStatus::Applied
            | MissionStatus::Filed
            | MissionStatus::Rejected
            | MissionStatus::Quarantined
            | MissionStatus::AwaitingApproval
    );
    let signature = mission.signature.as_ref()?;
    let failure = mission.failure.as_ref()?;
    // The report is older than the fix: the layer that it freed shows what the check would.
    if mission.status == MissionStatus::Applied
        && let Some(layer) = failure.layer.as_deref().and_then(|name| state.layer(name))
        && layer
            .started_at
            .is_some_and(|started| started > mission.updated_at)
        && is_layer_stable(layer)
    {
        return Some(format!(
            "layer {} is up and stable with the fix",
            layer.name
        ));
    }
    if !workable || still_open.iter().any(|f| f.signature == *signature) {
        return None;
    }
    // A check that passes before anything has started proves no fix.
    if mission.status == MissionStatus::Applied && !is_proved_by_running(state, failure) {
        return None;
    }
    match failure.check {
        Some(check) => {
            let report = state.reports.get(&check)?;
            // One declared check says nothing of another.
            let looked = match check {
                CheckName::Declared => report.has_asked(&failure.code),
                _ => report.status != CheckStatus::Skipped && !is_masked(report),
            };
            looked.then(|| {
                if still_open
                    .iter()
                    .any(|f| failure.shares_table_with(&f.failure))
                {
                    "other tables are missing now than then; another mission has them".to_owned()
                } else if mission.status == MissionStatus::Applied {
                    let proved_by = match &failure.layer {
                        Some(layer) => format!("layer {layer} is"),
                        None => "all that is needed is".to_owned(),
                    };
                    format!(
                        "proved by the {check} check of attempt {}, and {proved_by} up and stable",
                        state.attempt
                    )
                } else {
                    format!("no longer reported by the {check} check")
                }
            })
        }
        None => {
            let layer = state.layer(failure.layer.as_deref()?)?;
            is_layer_stable(layer).then(|| format!("layer {} is up and stable", layer.name))
        }
    }
}

/// Checks that ended worse than in the attempt before.
#[must_use]
pub(crate) fn regressed_checks(state: &BootState) -> Vec<CheckName> {
    state
        .reports
        .values()
        .filter(|report| {
            state
                .previous
                .get(&report.name)
                .is_some_and(|before| report.status.blocks() && report.status > *before)
        })
        .map(|report| report.name)
        .collect()
}
