//! The trial: a proposal is carried out on a copy of the workspace and a clone of its databases,
//! and every check runs there.
//!
//! It holds if the mission's failure is gone there and no other check is worse than before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::apply::ApplyError;
use super::dummies::replace_secrets;
use super::migrate::Migrated;
use super::stage::Stage;
use crate::checks::{CheckContext, SharedRuns, Sources, run_check};
use crate::domain::event::{CheckChange, Verdict};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Severity};
use crate::domain::ids::Signature;
use crate::domain::mission::{Failure, Proposal, Risk, SignedFailure, group_failures};
use crate::domain::redact::Redactor;
use crate::fix::postgres::server_trial::{ServerOutcome, ServerTrial};
use crate::manifest::{Environment, Manifest};
use crate::sandbox::CopyError;

/// A trial could not be made; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The workspace could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The proposal cannot be carried out.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The environment files cannot be read.
    #[error("{0}")]
    Environment(String),
    /// A directory for the trial cannot be made.
    #[error("cannot make {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The manifest wants more than the host isolates.
    #[error("heal.sandbox.require asks for {missing}, which this host cannot isolate")]
    Isolation {
        /// What is missing.
        missing: String,
    },
}

/// Status of each check before the proposal.
pub type Baseline = BTreeMap<CheckName, CheckStatus>;

/// Where checks run: a workspace or a copy of it.
pub(super) struct CheckPlace<'a> {
    pub manifest: &'a Manifest,
    pub root: &'a Path,
    pub scratch: &'a Path,
    pub process_env: &'a BTreeMap<String, String>,
    pub overrides: BTreeMap<String, String>,
}

/// Runs the four checks side by side and gives their reports in the order of the report.
///
/// `root` is the workspace or a copy of it, `scratch` a private directory that may be written,
/// `overrides` replace variables of the application for this run.
///
/// # Errors
/// The environment files cannot be read, or a directory cannot be made.
pub fn run_checks(
    manifest: &Manifest,
    root: &Path,
    scratch: &Path,
    process_env: &BTreeMap<String, String>,
    overrides: BTreeMap<String, String>,
    checks: &[CheckName],
) -> Result<Vec<CheckReport>, TrialError> {
    run_checks_at(
        &CheckPlace {
            manifest,
            root,
            scratch,
            process_env,
            overrides,
        },
        checks,
    )
}

fn run_checks_at(
    place: &CheckPlace<'_>,
    checks: &[CheckName],
) -> Result<Vec<CheckReport>, TrialError> {
    let environment = Environment::load(
        place.manifest,
        place.root,
        place.process_env.clone().into_iter(),
    )
    .map_err(|error| TrialError::Environment(error.to_string()))?;
    let redactor = Redactor::new(environment.secret_values(place.manifest));
    let shared = SharedRuns::plan(place.manifest, checks);
    let sources = Sources::default();
    let run = |check: CheckName| -> Result<CheckReport, TrialError> {
        let scratch = place.scratch.join(check.as_str());
        make_directory(&scratch)?;
        Ok(run_check(
            check,
            &CheckContext {
                manifest: place.manifest,
                root: place.root,
                environment: &environment,
                redactor: &redactor,
                scratch: &scratch,
                overrides: place.overrides.clone(),
                shared: &shared,
                sources: &sources,
            },
        ))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = checks
            .iter()
            .map(|&check| scope.spawn(move || run(check)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

pub(super) fn make_directory(path: &Path) -> Result<(), TrialError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| TrialError::Io {
            path: path.to_owned(),
            source,
        })
}

/// What a trial gives: the verdict, and what the databases looked like afterwards.
pub(super) struct Trial {
    pub verdict: Verdict,
    /// Digest of the definitions of each schema's database after the proposal.
    pub definitions: BTreeMap<String, crate::domain::ids::Digest>,
    /// Each schema's database after its migrations.
    pub migrated: BTreeMap<String, Migrated>,
    /// The catalog of each PostgreSQL database that the proposal changes.
    pub servers: BTreeMap<String, ServerOutcome>,
    /// What the proposal really risks, as measured.
    pub risk: Risk,
    /// What migrations lose or change besides what they add.
    pub beyond: Vec<String>,
}

/// Tries `proposal` on a copy below `directory`, which is removed again.
///
/// # Errors
/// The copy could not be made. A proposal that cannot be carried out there is a verdict, not an error.
#[allow(clippy::too_many_arguments)]
pub(super) fn try_proposal(
    manifest: &Manifest,
    process_env: &BTreeMap<String, String>,
    overrides: &BTreeMap<String, String>,
    directory: &Path,
    signature: &Signature,
    failure: &Failure,
    proposal: &Proposal,
    baseline: &Baseline,
) -> Result<Trial, TrialError> {
    let begun = Instant::now();
    let _remove = RemoveOnDrop(directory);
    let mut stage = Stage::set_up(manifest, process_env, directory)?;
    if proposal.risk >= Risk::Open {
        // Nobody approved this code yet: what the manifest lets the application do, it may not.
        for rehearse in stage
            .manifest
            .layers
            .iter_mut()
            .filter_map(|l| l.rehearse.as_mut())
        {
            rehearse.network = false;
        }
    }
    let isolation = require_isolation(manifest)?;
    let verdict = |holds: bool, reason: String, checks: Vec<CheckChange>| Verdict {
        holds,
        reason,
        checks,
        isolation: isolation.clone(),
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let refused = |error: &ApplyError| Trial {
        verdict: verdict(
            false,
            format!("the proposal cannot be carried out: {error}"),
            vec![],
        ),
        definitions: BTreeMap::new(),
        migrated: BTreeMap::new(),
        servers: BTreeMap::new(),
        risk: proposal.risk,
        beyond: Vec::new(),
    };
    if let Err(error) = stage.carry_out(proposal) {
        return Ok(refused(&error));
    }
    // After the proposal, which may change the same files.
    let environment = Environment::load(
        &stage.manifest,
        stage.copy.root(),
        process_env.clone().into_iter(),
    )
    .map_err(|error| TrialError::Environment(error.to_string()))?;
    if proposal.risk >= Risk::Open {
        let dummies = replace_secrets(manifest, &environment, stage.copy.root())?;
        for (name, dummy) in dummies {
            stage.overrides.entry(name).or_insert(dummy);
        }
    }
    stage.overrides = overrides
        .iter()
        .chain(&stage.overrides)
        .map(owned)
        .collect();
    let migrated = match stage.migrate(proposal, &environment, process_env, directory) {
        Ok(migrated) => migrated,
        Err(TrialError::Apply(error)) => return Ok(refused(&error)),
        Err(error) => return Err(error),
    };
    stage.reach_servers(&environment, proposal.risk < Risk::Open);
    let place = CheckPlace {
        manifest: &stage.manifest,
        root: stage.copy.root(),
        scratch: &stage.scratch,
        process_env,
        overrides: stage.overrides.clone(),
    };
    let reports = run_checks_at(&place, &CheckName::ALL)?;
    let changes = compare(baseline, &reports);
    let (holds, mut reason) = judge(signature, failure, &changes, &reports);
    let mut risk = proposal.risk;
    let of_files = migrated.iter().map(|(schema, m)| (schema, &m.beyond));
    let of_servers = stage.clones.iter().map(|(schema, c)| (schema, &c.beyond));
    let mut all_beyond = Vec::new();
    for (schema, beyond) in of_files.chain(of_servers).filter(|(_, b)| !b.is_empty()) {
        risk = risk.max(Risk::Destructive);
        all_beyond.extend(beyond.iter().cloned());
        let beyond = beyond.join(", ");
        reason =
            format!("{reason}; on database {schema} the migrations do more than add: {beyond}");
    }
    for (schema, clone) in &stage.clones {
        reason = format!(
            "{reason}; database {schema} was tried on {}",
            clone.tried_on
        );
    }
    let outcome =
        |(schema, clone): (&String, &ServerTrial)| (schema.clone(), clone.outcome.clone());
    let servers = stage.clones.iter().map(outcome).collect();
    let mut definitions = BTreeMap::new();
    for (schema, path) in &stage.databases {
        let digest = super::database::definitions_digest(path).map_err(ApplyError::from)?;
        definitions.insert(schema.clone(), digest);
    }
    Ok(Trial {
        verdict: verdict(holds, reason, changes),
        definitions,
        migrated,
        servers,
        risk,
        beyond: all_beyond,
    })
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

fn require_isolation(manifest: &Manifest) -> Result<Vec<String>, TrialError> {
    let isolation = crate::sandbox::host_isolation(manifest.heal.sandbox_limits);
    let missing: Vec<&str> = manifest
        .heal
        .sandbox_require
        .iter()
        .filter(|name| !isolation.isolated.contains(name))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        Ok(isolation.lines)
    } else {
        Err(TrialError::Isolation {
            missing: missing.join(", "),
        })
    }
}

fn compare(baseline: &Baseline, after: &[CheckReport]) -> Vec<CheckChange> {
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
pub(super) fn still_there(
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
pub(super) fn is_reported(signature: &Signature, reports: &[CheckReport]) -> bool {
    let open = open_failures(reports);
    open.iter().any(|found| found.signature == *signature)
}

/// The same thing is broken, in other words.
fn is_moved(found: &Failure, failure: &Failure) -> bool {
    found.code == failure.code && found.subject == failure.subject && found.check == failure.check
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
fn judge(
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
    use crate::domain::finding::{Finding, Measured};
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
        first
            .facts
            .insert("exception".into(), "ValueError: a".into());
        let mut second = first.clone();
        second
            .facts
            .insert("exception".into(), "TypeError: b".into());
        let before = vec![report(CheckName::Rehearsal, vec![first])];
        let after = vec![report(CheckName::Rehearsal, vec![second])];
        assert!(!verdict_of(before, after).0);
    }
}
