//! The checks, on a workspace or on the copy of a trial.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{TrialError, make_directory};
use crate::checks::{CheckContext, Earlier, Gap, SharedRuns, Sources, gaps, run_check};
use crate::domain::finding::{CheckName, CheckReport};
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest};

/// What each check reported before the proposal.
pub(crate) type Baseline = Vec<CheckReport>;

/// Where checks run, and with what.
pub(crate) struct CheckPlace<'a> {
    pub manifest: &'a Manifest,
    /// The workspace, or a copy of it.
    pub root: &'a Path,
    /// A private directory that may be written.
    pub scratch: &'a Path,
    /// The state directory, unless `root` is a copy, which has none.
    pub state: Option<&'a Path>,
    pub process_env: &'a BTreeMap<String, String>,
    /// Variables of the application that are replaced for this run.
    pub overrides: BTreeMap<String, String>,
    /// See [`CheckContext`].
    pub before_boot: bool,
    /// See [`CheckContext`].
    pub is_live: bool,
    /// What the last boot that was up ran on.
    pub earlier: &'a Earlier,
}

/// What the manifest leaves without a look: what, its name, and why.
pub(crate) fn list_gaps(place: &CheckPlace<'_>) -> Vec<Gap> {
    let process = place.process_env.clone().into_iter();
    let environment = Environment::load(place.manifest, place.root, process).unwrap_or_default();
    gaps(place.manifest, &environment)
}

/// The checks that this manifest has.
pub(crate) fn checks_of(manifest: &Manifest) -> Vec<CheckName> {
    let mut checks = CheckName::ALL.to_vec();
    if !manifest.checks.is_empty() {
        checks.push(CheckName::Declared);
    }
    checks
}

/// Runs the checks side by side and gives their reports in the order of the report.
///
/// # Errors
/// The environment files cannot be read, or a directory cannot be made.
#[allow(clippy::too_many_arguments)]
pub(crate) fn run_checks(
    place: &CheckPlace<'_>,
    checks: &[CheckName],
) -> Result<Vec<CheckReport>, TrialError> {
    let load = |root: &Path| {
        let process = place.process_env.clone().into_iter();
        Environment::load(place.manifest, root, process)
            .map_err(|error| TrialError::Environment(error.to_string()))
    };
    let environment = load(place.root)?.with_services(place.manifest);
    let mut secrets = environment.secret_values(place.manifest);
    // A copy may hold dummies; what a trial says must not have the live secrets either.
    if place.root != place.manifest.workspace {
        let live = load(&place.manifest.workspace);
        secrets.extend(live.map_or_else(|_| Vec::new(), |live| live.secret_values(place.manifest)));
    }
    let redactor = Redactor::new(secrets);
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
                state: place.state,
                overrides: place.overrides.clone(),
                shared: &shared,
                sources: &sources,
                before_boot: place.before_boot,
                is_live: place.is_live,
                earlier: place.earlier,
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
