//! The trial: a proposal is carried out on a copy of the workspace and a clone of its databases,
//! and every check runs there.
//!
//! It holds if what failed works there and no finding is new. The manifest is the live one, whatever the proposal
//! writes to the copy of it.

mod checks;
mod command;
pub(super) mod error;
mod judge;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::apply::ApplyError;
use super::database::definitions_digest;
use super::dummies::replace_secrets;
use super::fixers::is_built_in;
use super::migrate::MigratedImage;
use super::playbooks::playbook_of;
use crate::checks::Earlier;
use crate::domain::event::{CheckChange, Verdict};
use crate::domain::finding::CheckName;
use crate::domain::ids::{Digest, Signature};
use crate::domain::mission::{Failure, Proposal, Risk};
use crate::fix::postgres::server_trial::{ServerOutcome, ServerTrial};
use crate::manifest::{Environment, Manifest};
use crate::sandbox::has_own_root;
use judge::{Judgement, compare, judge, judge_before_start};
use stage::{Stage, WHEELS};

pub(crate) use checks::{Baseline, CheckPlace, checks_of, list_gaps, run_checks};
pub(crate) use command::run_in_trial;
pub use error::TrialError;
pub(super) use judge::{is_reported, still_there};
pub(crate) use stage::server_urls;
pub(super) use stage::{Databases, databases};

/// What a trial gives: the verdict, and what the databases looked like afterwards.
pub(super) struct Trial {
    pub verdict: Verdict,
    /// Digest of the definitions of each schema's database after the proposal.
    pub definitions: BTreeMap<String, Digest>,
    /// Each schema's database after its migrations.
    pub migrated: BTreeMap<String, MigratedImage>,
    /// The catalog of each PostgreSQL database that the proposal changes.
    pub servers: BTreeMap<String, ServerOutcome>,
    /// The wheels of the packages that it installs; removed with this.
    pub wheels: Option<Wheels>,
    /// What the proposal really risks, as measured.
    pub risk: Risk,
    /// What migrations lose or change besides what they add.
    pub side_effects: Vec<String>,
    /// What the trial does not show, or what is no longer looked at.
    pub doubts: Vec<String>,
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
    earlier: &Earlier,
    directory: &Path,
    state: &Path,
    signature: &Signature,
    failure: &Failure,
    proposal: &Proposal,
    baseline: &Baseline,
) -> Result<Trial, TrialError> {
    let begun = Instant::now();
    let _remove = RemoveOnDrop(directory);
    let mut stage = Stage::set_up(manifest, process_env, directory, state)?;
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
        wheels: None,
        risk: proposal.risk,
        side_effects: Vec::new(),
        doubts: Vec::new(),
    };
    if let Err(error) = stage.carry_out(proposal) {
        return Ok(refused(&error));
    }
    match stage.install(proposal, process_env, directory) {
        Ok(path) => {
            let path = path.map(|path| ("PYTHONPATH".to_owned(), path));
            stage.overrides.extend(path);
        }
        Err(error) => return Ok(refused(&error)),
    }
    // After the proposal, which may change the same files.
    let environment = Environment::load(
        &stage.manifest,
        stage.copy.root(),
        process_env.clone().into_iter(),
    )
    .map_err(|error| TrialError::Environment(error.to_string()))?;
    // What a person has to look at for what it changes is still code of ours.
    let is_strange =
        proposal.risk >= Risk::Open && !is_built_in(failure, &manifest.workspace, proposal);
    if is_strange {
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
    stage.prepare()?;
    let steps_unseen = command::try_commands(&stage, &environment, proposal, directory)?;
    stage.reach_servers(&environment, !is_strange);
    // That a clone lies elsewhere, and may have no rows, says nothing of the live database.
    let mut earlier = earlier.clone();
    earlier
        .databases
        .retain(|schema, _| !stage.clones.contains_key(schema));
    let place = CheckPlace {
        manifest: &stage.manifest,
        root: stage.copy.root(),
        scratch: &stage.scratch,
        state: Some(&stage.state),
        process_env,
        overrides: stage.overrides.clone(),
        before_boot: false,
        is_live: false,
        earlier: &earlier,
    };
    let reports = run_checks(&place, &checks_of(&stage.manifest))?;
    let changes = compare(baseline, &reports);
    let mut judged = judge(signature, failure, baseline, &reports);
    if !judged.holds && failure.check == Some(CheckName::Declared) && starts_services(proposal) {
        let still = std::mem::take(&mut judged.reason);
        let before_start = judge_before_start(failure, baseline, &reports, &still);
        judged = match before_start.holds {
            true => before_start,
            false => Judgement {
                reason: still,
                ..judged
            },
        };
    }
    let Judgement {
        holds,
        mut reason,
        mut doubts,
        unseen,
    } = judged;
    let playbook = playbook_of(manifest, proposal).ok().flatten();
    match playbook.and_then(|playbook| playbook.verify.as_ref()) {
        // It is taken back if that does not pass.
        Some(_) if !unseen.is_empty() => {
            reason = format!(
                "{reason}; its verify has to show the rest: {}",
                unseen.join("; ")
            );
        }
        Some(_) => {}
        None => doubts.extend(unseen),
    }
    doubts.extend(steps_unseen);
    if holds && !has_own_root() {
        let why = "this host gives a trial no root of its own (`ubs sandbox --report` says why)";
        doubts.push(why.to_owned());
    }
    let mut risk = proposal.risk;
    if !doubts.is_empty() {
        risk = risk.max(Risk::Guarded);
        reason = format!("{reason}; it needs approval: {}", doubts.join("; "));
    }
    let of_files = migrated.iter().map(|(schema, m)| (schema, &m.side_effects));
    let of_servers = stage
        .clones
        .iter()
        .map(|(schema, c)| (schema, &c.side_effects));
    let mut side_effects = Vec::new();
    for (schema, found) in of_files
        .chain(of_servers)
        .filter(|(_, found)| !found.is_empty())
    {
        risk = risk.max(Risk::Destructive);
        side_effects.extend(found.iter().cloned());
        let found = found.join(", ");
        reason = format!("{reason}; on database {schema} the migrations do more than add: {found}");
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
        let digest = definitions_digest(path).map_err(ApplyError::from)?;
        definitions.insert(schema.clone(), digest);
    }
    Ok(Trial {
        verdict: verdict(holds, reason, changes),
        definitions,
        migrated,
        servers,
        wheels: keep_wheels(directory).map_err(|source| TrialError::Io {
            path: directory.join(WHEELS),
            source,
        })?,
        risk,
        side_effects,
        doubts,
    })
}

fn starts_services(proposal: &Proposal) -> bool {
    let mut changes = proposal.changes.iter();
    changes.any(|change| !change.restarts().is_empty())
}

/// A directory of wheels, removed when this is dropped.
pub(super) struct Wheels(pub PathBuf);

impl Drop for Wheels {
    fn drop(&mut self) {
        let _ = crate::kernel::remove_tree(&self.0);
    }
}

/// The trial's directory goes; its wheels are needed for the promotion. Their name is that of an image of the mission,
/// which a sweep removes.
fn keep_wheels(directory: &Path) -> std::io::Result<Option<Wheels>> {
    let wheels = directory.join(WHEELS);
    if !wheels.exists() {
        return Ok(None);
    }
    let kept = directory.with_extension("wheels");
    crate::kernel::remove_tree(&kept)?;
    std::fs::rename(&wheels, &kept)?;
    Ok(Some(Wheels(kept)))
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        if let Err(error) = crate::kernel::remove_tree(self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a trial's directory could not be removed");
        }
    }
}

fn require_isolation(manifest: &Manifest) -> Result<Vec<String>, TrialError> {
    let isolation = crate::sandbox::host_isolation(manifest.heal.sandbox_limits);
    let missing = missing_of(manifest, &isolation.isolated);
    if missing.is_empty() {
        Ok(isolation.lines)
    } else {
        Err(TrialError::Isolation {
            missing: missing.join(", "),
        })
    }
}

/// What the manifest requires, and this host does not isolate.
fn missing_of<'m>(manifest: &'m Manifest, isolated: &[String]) -> Vec<&'m str> {
    let required = manifest.heal.sandbox_require.iter();
    let missing = required.filter(|name| !isolated.contains(name));
    missing.map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lacks_is_required_by_name() {
        let text = "[app]\nname = 'a'\n[heal.sandbox]\nrequire = ['network', 'home']\n";
        let manifest = Manifest::parse(text, Path::new("ubs.toml")).unwrap();
        let gives = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        assert_eq!(missing_of(&manifest, &gives(&["network"])), ["home"]);
        assert!(missing_of(&manifest, &gives(&["home", "network"])).is_empty());
        let none = Manifest::parse("[app]\nname = 'a'\n", Path::new("ubs.toml")).unwrap();
        assert!(missing_of(&none, &[]).is_empty());
    }
}
