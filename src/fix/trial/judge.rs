//! Whether the reports of a trial show that what failed works and nothing got worse.
//!
//! Pure. That a check reports nothing any more is no proof: it may have been kept from looking. A fix holds
//! if what failed is seen to work and no finding is new; where less is looked at than before, a person decides.

use std::collections::BTreeSet;

use super::checks::Baseline;
use crate::domain::code::Code;
use crate::domain::event::CheckChange;
use crate::domain::finding::{
    CheckName, CheckReport, CheckStatus, DryRun, Finding, LayerRehearsal, Measured,
    RehearsalOutcome, Severity,
};
use crate::domain::ids::Signature;
use crate::domain::mission::{Failure, SignedFailure, group_failures};
use crate::domain::remedy::{Cause, LEADS_TO, Remedy};
use crate::domain::signature::sign_finding;

/// Files that are named in one reason.
const FILES_SHOWN: usize = 3;

/// What the reports of a trial show.
#[derive(Debug, PartialEq)]
pub(super) struct Judgement {
    /// What failed works, and nothing got worse.
    pub holds: bool,
    /// Why, or why not.
    pub reason: String,
    /// What is not shown, or no longer looked at: a person has to approve the fix.
    pub doubts: Vec<String>,
    /// What no sandbox shows of the failure itself: the same, unless something else has to show it once it is applied.
    pub unseen: Vec<String>,
}

pub(super) fn compare(baseline: &Baseline, after: &[CheckReport]) -> Vec<CheckChange> {
    after
        .iter()
        .map(|report| CheckChange {
            check: report.name,
            before: report_of(baseline, report.name).map_or(CheckStatus::Skipped, |r| r.status),
            after: report.status,
        })
        .collect()
}

fn report_of(reports: &[CheckReport], check: CheckName) -> Option<&CheckReport> {
    reports.iter().find(|report| report.name == check)
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
    if let Some(still) = open.iter().find(is_it) {
        return Some(format!(
            "the failure is still there: {}",
            still.failure.error
        ));
    }
    let is_same = |found: &&SignedFailure| {
        let found = &found.failure;
        let is_next = is_next_step(&failure.code, &found.code, found.fix.as_ref());
        found.critical
            && !is_next
            && found.check == failure.check
            && found.subject == failure.subject
    };
    if let Some(other) = open.iter().find(is_same) {
        let (subject, error) = (&failure.subject, &other.failure.error);
        return Some(format!("{subject} is still broken: {error}"));
    }
    let layer = failure.layer.as_deref()?;
    rehearsal_of(reports, layer)
        .filter(|run| run.outcome == RehearsalOutcome::Failed)
        .map(|_| format!("layer {layer} does not pass its dry run"))
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
    group_failures(open_findings(reports))
}

fn open_findings(reports: &[CheckReport]) -> impl Iterator<Item = (CheckName, &Finding)> {
    reports.iter().flat_map(|report| {
        report
            .findings
            .iter()
            .filter(|f| f.severity >= Severity::Warning)
            .map(|f| (report.name, f))
    })
}

/// Whether the trial's reports show that what failed works and nothing got worse.
pub(super) fn judge(
    signature: &Signature,
    failure: &Failure,
    baseline: &Baseline,
    reports: &[CheckReport],
) -> Judgement {
    let (mut doubts, mut unseen) = (Vec::new(), Vec::new());
    match objection(signature, failure, baseline, reports, &mut doubts) {
        Some(reason) => Judgement {
            holds: false,
            reason,
            doubts: Vec::new(),
            unseen,
        },
        None => {
            if failure.check == Some(CheckName::Declared)
                && !reports.iter().any(|report| report.has_asked(&failure.code))
            {
                unseen.push(format!(
                    "the check that reported {} does not run in a trial",
                    failure.code
                ));
            }
            doubts.extend(less_looked_at(baseline, reports));
            Judgement {
                holds: true,
                reason: reason_to_hold(failure, reports),
                doubts,
                unseen,
            }
        }
    }
}

/// The same of a proposal that lets services start again, where a declared check still fails in the copy, as `still`
/// says: it asks what runs, so that only the new start shows whether it passes. Nothing else may be worse.
pub(super) fn judge_before_start(
    failure: &Failure,
    baseline: &Baseline,
    reports: &[CheckReport],
    still: &str,
) -> Judgement {
    let unseen = Failure {
        check: None,
        layer: None,
        cause: None,
        ..failure.clone()
    };
    let mut judgement = judge(&Signature(String::new()), &unseen, baseline, reports);
    if judgement.holds {
        judgement.reason = "no check is worse".to_owned();
        let why = format!("no sandbox shows what a new start of services does ({still})");
        judgement.unseen.push(why);
    }
    judgement
}

fn reason_to_hold(failure: &Failure, reports: &[CheckReport]) -> String {
    let passes = failure
        .layer
        .as_deref()
        .filter(|layer| rehearsal_of(reports, layer).is_some());
    match (failure.check, passes) {
        (Some(check @ CheckName::Rehearsal), Some(layer)) => {
            format!(
                "the {check} check no longer reports {}, and layer {layer} passes its dry run",
                failure.subject
            )
        }
        (Some(check), _) => format!("the {check} check no longer reports {}", failure.subject),
        (None, _) => {
            "no check is worse; only the next start shows whether the layer comes up".to_owned()
        }
    }
}

/// The first reason why the fix does not hold.
fn objection(
    signature: &Signature,
    failure: &Failure,
    baseline: &Baseline,
    reports: &[CheckReport],
    doubts: &mut Vec<String>,
) -> Option<String> {
    let open = open_failures(reports);
    if let Some(still) = open.iter().find(|f| f.signature == *signature) {
        return Some(format!(
            "the failure is still there: {}",
            still.failure.error
        ));
    }
    let changes = compare(baseline, reports);
    if let Some(worse) = changes
        .iter()
        .find(|c| c.after.blocks() && c.after > c.before)
    {
        let what = report_of(reports, worse.check)
            .and_then(|r| r.findings.first())
            .map_or_else(String::new, |f| format!(": {}", f.message));
        return Some(format!(
            "the {} check got worse ({} to {}){what}",
            worse.check,
            worse.before.as_str(),
            worse.after.as_str()
        ));
    }
    if let Some(found) = same_subject(failure, baseline, reports) {
        return Some(format!(
            "{} is still broken: {}",
            failure.subject, found.message
        ));
    }
    let looked = failure.check.is_none_or(|check| {
        report_of(reports, check).is_some_and(|report| match report.status {
            // Nothing is declared, and nothing is wrong with the programs and directories of services.
            CheckStatus::Skipped => check == CheckName::Config,
            status => status != CheckStatus::Error,
        })
    });
    if !looked {
        return Some("the check that found the failure could not be carried out".to_owned());
    }
    if let Some(why) = works_not(failure, baseline, reports, doubts) {
        return Some(why);
    }
    new_finding(failure, baseline, reports, doubts)
}

/// An open finding about what failed, whatever it is called now.
fn same_subject<'a>(
    failure: &Failure,
    baseline: &Baseline,
    reports: &'a [CheckReport],
) -> Option<&'a Finding> {
    let check = failure.check?;
    let known = known_signatures(baseline);
    let passes = layer_passes(failure, reports);
    open_findings(reports)
        .filter(|(name, finding)| *name == check && finding.subject == failure.subject)
        .map(|(_, finding)| finding)
        .filter(|finding| !is_next_step(&failure.code, &finding.code, finding.fix.as_ref()))
        .find(|finding| {
            let was_beside = known.contains(&sign_finding(finding)) && finding.code != failure.code;
            // What a dry run does beside, is seen when it gets through.
            let is_beside = passes && finding.code == Code::RehearsalSideEffect;
            finding.severity == Severity::Critical
                || finding.code == failure.code
                || !(was_beside || is_beside)
        })
}

/// Once a database can be opened, its migrations are seen to wait, and will be run by a fix of their own.
fn is_next_step(code: &Code, next: &Code, fix: Option<&Remedy>) -> bool {
    *code == Code::SchemaUnreachable
        && matches!(next, Code::SchemaNotMigrated | Code::SchemaPendingMigration)
        && matches!(fix, Some(Remedy::Migrate { .. }))
}

fn known_signatures(reports: &[CheckReport]) -> BTreeSet<Signature> {
    open_findings(reports)
        .map(|(_, finding)| sign_finding(finding))
        .collect()
}

fn layers(reports: &[CheckReport]) -> &[LayerRehearsal] {
    match report_of(reports, CheckName::Rehearsal).map(|r| &r.measured) {
        Some(Measured::Rehearsal { layers, .. }) => layers,
        _ => &[],
    }
}

fn rehearsal_of<'a>(reports: &'a [CheckReport], layer: &str) -> Option<&'a LayerRehearsal> {
    layers(reports).iter().find(|l| l.layer == layer)
}

fn layer_passes(failure: &Failure, reports: &[CheckReport]) -> bool {
    failure
        .layer
        .as_deref()
        .and_then(|layer| rehearsal_of(reports, layer))
        .is_some_and(|l| l.outcome == RehearsalOutcome::Pass)
}

/// Files of the application that a dry run imported; none if that is not known.
fn files_of(run: &LayerRehearsal) -> Option<&[String]> {
    let files = run.seen.as_ref().map(|seen: &DryRun| &seen.files)?;
    (!files.is_empty()).then_some(files.as_slice())
}

/// Why what failed is not seen to work. What cannot be seen at all is a doubt.
fn works_not(
    failure: &Failure,
    baseline: &Baseline,
    reports: &[CheckReport],
    doubts: &mut Vec<String>,
) -> Option<String> {
    let rehearsed = failure
        .layer
        .as_deref()
        .and_then(|layer| rehearsal_of(reports, layer));
    if let Some(run) = rehearsed.filter(|run| run.outcome != RehearsalOutcome::Pass) {
        // A dry run may write nothing: only the start shows whether such a layer is well.
        let was_so = rehearsal_of(baseline, &run.layer).is_some_and(|l| l.outcome == run.outcome);
        if run.outcome == RehearsalOutcome::Failed || !was_so {
            return Some(format!("layer {} does not pass its dry run", run.layer));
        }
    }
    let raised = matches!(failure.cause, Some(Cause::Exception(_)));
    // The definitions of tables are compared as they are written; nothing has to be imported for that.
    if !raised || failure.code == Code::SchemaDuplicateTable {
        return None;
    }
    let file = failure.location.as_ref().map(|at| at.file.as_str())?;
    if !file.ends_with(".py") {
        return None;
    }
    match rehearsed.and_then(files_of) {
        Some(files) if files.iter().any(|f| f == file) => None,
        Some(_) => Some(format!(
            "{file} failed, and the dry run of layer {} does not import it any more: that it works is not shown",
            failure.layer.as_deref().unwrap_or("")
        )),
        None if rehearsed.is_some() => None,
        None => {
            let mut all = layers(reports).iter().filter_map(files_of).flatten();
            if !all.any(|f| f == file) {
                doubts.push(format!(
                    "that {file} works is not shown, because no dry run imports it"
                ));
            }
            None
        }
    }
}

/// A finding that was not there before, and that nothing hid.
fn new_finding(
    failure: &Failure,
    baseline: &Baseline,
    reports: &[CheckReport],
    doubts: &mut Vec<String>,
) -> Option<String> {
    let known = known_signatures(baseline);
    let now = known_signatures(reports);
    let gone: Vec<(CheckName, &Finding)> = open_findings(baseline)
        .filter(|(_, finding)| !now.contains(&sign_finding(finding)))
        .collect();
    // An exception may name the copy's path: then the same finding has another signature.
    let was_reported = |check: CheckName, finding: &Finding| {
        open_findings(baseline).any(|(name, before)| {
            name == check
                && before.code == finding.code
                && before.subject == finding.subject
                && before.severity >= finding.severity
        })
    };
    for (check, finding) in open_findings(reports) {
        if known.contains(&sign_finding(finding)) || was_reported(check, finding) {
            continue;
        }
        let Some(before) = report_of(baseline, check) else {
            // Nobody measured it: its status was compared.
            continue;
        };
        let was_hidden = !finding.code.masks_check()
            && gone
                .iter()
                .any(|(name, hider)| *name == check && hides(hider, finding));
        let moved = failure.layer.is_some()
            && failure.check == Some(check)
            && finding.severity == Severity::Critical
            && finding.layer == failure.layer;
        if was_hidden && !moved {
            continue;
        }
        if before.findings.iter().any(|f| f.code == Code::CheckMore) {
            doubts.push(format!(
                "the {check} check listed only a part of its findings before, so this may be new: {}",
                finding.message
            ));
            continue;
        }
        return Some(format!(
            "the {check} check reports what it did not report before: {}",
            finding.message
        ));
    }
    None
}

/// While `hider` was there, `finding` could not be seen.
fn hides(hider: &Finding, finding: &Finding) -> bool {
    let same_layer = hider.layer.is_some() && hider.layer == finding.layer;
    // A database is compared with the models when its migrations have run.
    let waits = matches!(
        hider.code,
        Code::SchemaPendingMigration | Code::SchemaNotMigrated | Code::SchemaUnknownRevision
    );
    // A foreign key is compared once the table that it leads to is there.
    let leads_to = finding.facts.get(LEADS_TO);
    let waits_for_table = hider.code == Code::SchemaMissingTable
        && finding.code == Code::SchemaMissingConstraint
        && leads_to.is_some_and(|table| hider.facts.get("table") == Some(table));
    let is_next = is_next_step(&hider.code, &finding.code, finding.fix.as_ref());
    hider.code.masks_check() || same_layer || waits || waits_for_table || is_next
}

/// Where the checks looked at less than before.
fn less_looked_at(baseline: &Baseline, reports: &[CheckReport]) -> Vec<String> {
    let mut less = Vec::new();
    for before in baseline {
        let Some(after) = report_of(reports, before.name) else {
            continue;
        };
        let check = before.name;
        // No variable was declared before either.
        let is_the_same =
            check == CheckName::Config && matches!(before.measured, Measured::Nothing);
        if after.status == CheckStatus::Skipped
            && before.status != CheckStatus::Skipped
            && !is_the_same
        {
            less.push(format!("the {check} check is skipped now"));
            continue;
        }
        let mut fewer = |what: &str, before: u32, after: u32| {
            if after < before {
                less.push(format!(
                    "the {check} check looks at {after} {what} instead of {before}"
                ));
            }
        };
        match (&before.measured, &after.measured) {
            (Measured::Config { declared: b, .. }, Measured::Config { declared: a, .. }) => {
                fewer("declared variables", *b, *a)
            }
            (
                Measured::Schema {
                    tables_expected: b,
                    tables_live: live_b,
                },
                Measured::Schema {
                    tables_expected: a,
                    tables_live: live_a,
                },
            ) => {
                fewer("expected tables", *b, *a);
                fewer("tables of the database", *live_b, *live_a);
            }
            (
                Measured::Rehearsal {
                    layers_tested: b,
                    layers: layers_b,
                    ..
                },
                Measured::Rehearsal {
                    layers_tested: a,
                    layers: layers_a,
                    ..
                },
            ) => {
                fewer("layers", *b, *a);
                for run in layers_b {
                    let now = layers_a.iter().find(|l| l.layer == run.layer);
                    less.extend(now.and_then(|now| imports_less(run, now)));
                }
            }
            (
                Measured::Registration {
                    expected: b,
                    routes: routes_b,
                    ..
                },
                Measured::Registration {
                    expected: a,
                    routes: routes_a,
                    ..
                },
            ) => {
                fewer("services", *b, *a);
                fewer("routes", *routes_b, *routes_a);
            }
            (Measured::Declared { checks: b }, Measured::Declared { checks: a }) => {
                for run in b.iter().filter(|run| run.status != CheckStatus::Skipped) {
                    let now = a.iter().find(|now| now.name == run.name);
                    // One that is skipped now looks at nothing.
                    let looks = now.is_some_and(|now| now.status != CheckStatus::Skipped);
                    let what = format!("declared checks called {}", run.name);
                    fewer(&what, 1, u32::from(looks));
                    if let Some(now) = now.filter(|_| looks) {
                        let what = format!("results of {}", run.name);
                        fewer(&what, run.results, now.results);
                    }
                }
            }
            _ => {}
        }
    }
    less
}

fn imports_less(before: &LayerRehearsal, after: &LayerRehearsal) -> Option<String> {
    let (before_files, after_files) = (files_of(before)?, files_of(after)?);
    let now: BTreeSet<&String> = after_files.iter().collect();
    let missing: Vec<&str> = before_files
        .iter()
        .filter(|file| !now.contains(file))
        .map(String::as_str)
        .collect();
    let shown = missing[..missing.len().min(FILES_SHOWN)].join(", ");
    let more = match missing.len().saturating_sub(FILES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!missing.is_empty()).then(|| {
        format!(
            "the dry run of layer {} no longer imports {shown}{more}",
            before.layer
        )
    })
}

#[cfg(test)]
mod tests;
