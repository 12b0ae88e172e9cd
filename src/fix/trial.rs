//! The trial: a proposal is carried out on a copy of the workspace and a clone of its databases,
//! and every check runs there.
//!
//! It holds if the mission's failure is gone there and no other check is worse than before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::apply::{ApplyError, plan_files, write_files};
use super::database::apply_statements;
use super::dummies::replace_secrets;
use super::migrate::{Migrated, migrate};
use super::migration_run::{Run, Upgrade};
use super::postgres::{ServerOutcome, ServerTrial, try_on_clone};
use super::server_migration::migrate_server;
use crate::checks::{CheckContext, SharedRuns, Sources, is_postgres, run_check, sqlite_path};
use crate::domain::event::{CheckChange, Verdict};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Severity};
use crate::domain::ids::Signature;
use crate::domain::mission::{Change, Failure, Proposal, Risk, SignedFailure, group_failures};
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest};
use crate::sandbox::{CopyError, WorkspaceCopy, clone_database};

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

/// The database of each `[[schema]]` of the manifest.
#[derive(Default)]
pub(super) struct Databases {
    /// SQLite files.
    pub files: BTreeMap<String, PathBuf>,
    /// URLs of PostgreSQL databases; they may hold a password.
    pub servers: BTreeMap<String, String>,
}

/// The databases of the manifest, as the application in `root` would open them.
pub(super) fn databases(manifest: &Manifest, environment: &Environment, root: &Path) -> Databases {
    let mut databases = Databases::default();
    for schema in &manifest.schemas {
        let Ok(url) = environment.expand(&schema.database) else {
            continue;
        };
        if let Some(path) = sqlite_path(&url, root) {
            databases.files.insert(schema.name.clone(), path);
        } else if is_postgres(&url) {
            databases.servers.insert(schema.name.clone(), url);
        }
    }
    databases
}

/// The URL of each `[[schema]]` of the manifest that is a PostgreSQL database. They may hold a password: for
/// connecting only.
pub fn server_urls(manifest: &Manifest, environment: &Environment) -> BTreeMap<String, String> {
    databases(manifest, environment, &manifest.workspace).servers
}

/// The SQLite URL with the clone as its file: the driver and the options stay.
fn at_clone(url: &str, clone: &Path) -> String {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("sqlite", ""));
    let query = rest
        .split_once('?')
        .map_or(String::new(), |(_, q)| format!("?{q}"));
    let uri = if rest.trim_start_matches('/').starts_with("file:") {
        "file:"
    } else {
        ""
    };
    format!("{scheme}:///{uri}{}{query}", clone.display())
}

/// A copy of the workspace with clones of its databases, on which nothing can be broken.
struct Stage {
    copy: WorkspaceCopy,
    scratch: PathBuf,
    manifest: Manifest,
    overrides: BTreeMap<String, String>,
    /// Clone of each schema's database.
    databases: BTreeMap<String, PathBuf>,
    /// URL of each schema's live PostgreSQL database.
    servers: BTreeMap<String, String>,
    /// Clones of those that the proposal changes.
    clones: BTreeMap<String, ServerTrial>,
}

impl Stage {
    fn set_up(
        manifest: &Manifest,
        process_env: &BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Self, TrialError> {
        let workspace = &manifest.workspace;
        let environment = Environment::load(manifest, workspace, process_env.clone().into_iter())
            .map_err(|error| TrialError::Environment(error.to_string()))?;
        let Databases {
            files: live,
            servers,
        } = databases(manifest, &environment, workspace);
        let files: Vec<PathBuf> = live.values().cloned().collect();
        make_directory(directory)?;
        let copy = WorkspaceCopy::create(workspace, directory, &files)?;
        let scratch = directory.join("scratch");
        make_directory(&scratch)?;
        let mut stage = Self {
            copy,
            scratch,
            manifest: manifest.clone(),
            overrides: BTreeMap::new(),
            databases: BTreeMap::new(),
            servers,
            clones: BTreeMap::new(),
        };
        for (index, schema) in manifest.schemas.iter().enumerate() {
            let (Some(path), Ok(url)) =
                (live.get(&schema.name), environment.expand(&schema.database))
            else {
                continue;
            };
            // A relative URL means the clone inside the copy; an absolute one has to be replaced
            // everywhere, or the trial would reach the live database.
            let inside = sqlite_path(&url, stage.copy.root()).filter(|clone| clone != path);
            let clone = match inside {
                Some(clone) => clone,
                None => {
                    let clone = directory.join(format!("database-{index}.sqlite"));
                    if path.exists() {
                        clone_database(path, &clone)?;
                    }
                    stage.manifest.schemas[index].database = at_clone(&url, &clone);
                    clone
                }
            };
            for (name, (value, _)) in &environment.values {
                if *value == path.display().to_string() {
                    let clone = clone.display().to_string();
                    stage.overrides.insert(name.clone(), clone);
                } else if sqlite_path(value, stage.copy.root()).as_ref() == Some(path) {
                    stage
                        .overrides
                        .insert(name.clone(), at_clone(value, &clone));
                }
            }
            stage.databases.insert(schema.name.clone(), clone);
        }
        Ok(stage)
    }

    /// Files and statements; migrations run later, when secrets are hidden from code that nobody approved.
    fn carry_out(&mut self, proposal: &Proposal) -> Result<(), ApplyError> {
        let files = plan_files(self.copy.root(), proposal)?;
        write_files(self.copy.root(), &files)?;
        let mut on_servers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for change in &proposal.changes {
            if let Change::Sql { schema, statements } = change {
                if self.servers.contains_key(schema) {
                    let all = on_servers.entry(schema).or_default();
                    all.extend(statements.iter().cloned());
                    continue;
                }
                let path = self
                    .databases
                    .get(schema)
                    .ok_or_else(|| ApplyError::UnknownSchema(schema.clone()))?;
                apply_statements(path, statements, proposal.risk)?;
            }
        }
        for (schema, statements) in on_servers {
            let live = &self.servers[schema];
            let clone = try_on_clone(live, &statements)?;
            crate::kernel::crash_point("trial.cloned");
            self.clones.insert(schema.to_owned(), clone);
        }
        Ok(())
    }

    /// Lets everything in the trial see the clones, and the schema check, which asks by itself, the live
    /// servers that nothing changes. `environment`: that of the application, with its secrets; `is_approved`:
    /// the application gets the clones' URLs, with the password; other code has no network to use them.
    fn reach_servers(&mut self, environment: &Environment, is_approved: bool) {
        for schema in &mut self.manifest.schemas {
            let Ok(url) = environment.expand(&schema.database) else {
                continue;
            };
            if !is_postgres(&url) {
                continue;
            }
            // Two sections may look at one database.
            let clone = self
                .clones
                .iter()
                .find(|(name, _)| self.servers.get(*name) == Some(&url))
                .map(|(_, clone)| clone.url());
            if let Some(clone) = clone.as_ref().filter(|_| is_approved) {
                for (name, (value, _)) in &environment.values {
                    if *value == url {
                        self.overrides.insert(name.clone(), clone.clone());
                    }
                }
            }
            let reached = clone.unwrap_or(url);
            // It is expanded again.
            if !reached.contains("${") {
                schema.database = reached;
            }
        }
    }
}

impl Stage {
    /// Runs the migrations of the proposal on clones. Images of SQLite's results lie beside `images`, and begin with
    /// its name. `environment`: that of the application, with its secrets, which `process_env` may hide.
    fn migrate(
        &mut self,
        proposal: &Proposal,
        environment: &Environment,
        process_env: &BTreeMap<String, String>,
        images: &Path,
    ) -> Result<BTreeMap<String, Migrated>, TrialError> {
        let mut migrated = BTreeMap::new();
        for change in &proposal.changes {
            let Change::Migrate {
                schema,
                tool,
                target,
            } = change
            else {
                continue;
            };
            let root = self.copy.root();
            let hidden = Environment::load(&self.manifest, root, process_env.clone().into_iter())
                .map_err(|error| TrialError::Environment(error.to_string()))?;
            let run = Run {
                manifest: &self.manifest,
                root,
                scratch: &self.scratch,
                environment: &hidden,
                overrides: &self.overrides,
            };
            let upgrade = Upgrade {
                schema,
                tool: *tool,
                target,
            };
            if let Some(url) = self.servers.get(schema) {
                let clone = migrate_server(&run, upgrade, url, environment)?;
                self.clones.insert(schema.clone(), clone);
                continue;
            }
            let database = self
                .databases
                .get(schema)
                .ok_or_else(|| ApplyError::UnknownSchema(schema.clone()))?;
            migrated.insert(schema.clone(), migrate(&run, upgrade, database, images)?);
        }
        Ok(migrated)
    }
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
pub(super) fn still_there(signature: &Signature, reports: &[CheckReport]) -> Option<String> {
    if let Some(report) = reports.iter().find(|r| r.status == CheckStatus::Error) {
        return Some(format!("the {} check {}", report.name, report.summary));
    }
    open_failures(reports)
        .iter()
        .find(|f| f.signature == *signature)
        .map(|still| format!("the failure is still there: {}", still.failure.error))
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
    if let Some(moved) = open.iter().find(|f| {
        f.failure.code == failure.code
            && f.failure.subject == failure.subject
            && f.failure.check == failure.check
    }) {
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
