//! Which exact versions a proposal installs: those that pip finds, or the newest older one with which it works.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use pep508_rs::pep440_rs::VersionSpecifiers;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};

use super::search::VersionSearch;
use super::{CUT_SHORT, WorkError, Worker};
use crate::checks::{DeclaredPackage, declared_packages, normalise};
use crate::domain::ids::{Digest, MissionId, Signature};
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::redact::Redactor;
use crate::domain::remedy::{Remedy, TextEdit, UNDECLARED};
use crate::fix::apply::edited;
use crate::fix::packages::{
    Installer, LOCKS, Lock, PROJECT, installed as installed_in, is_usable, pin, pin_after,
    pin_after_in_poetry, pin_in_poetry, pin_in_project,
};
use crate::fix::trial::checks_of;

/// Versions of one distribution that are tried.
const VERSIONS_MAX: usize = 8;
/// Versions that are looked at, with those that do not go with what is declared.
const CANDIDATES_MAX: usize = 16;
/// No further one is tried after that.
const SEARCH_WITHIN: Duration = Duration::from_secs(120);

/// What a requirement says of the versions of a distribution.
fn specifiers_of(text: &str, name: &str) -> Option<VersionSpecifiers> {
    let need = Requirement::<VerbatimUrl>::from_str(text).ok()?;
    match need.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(wanted))
            if normalise(need.name.as_ref()) == normalise(name) =>
        {
            Some(wanted)
        }
        _ => None,
    }
}

fn series_of(version: &str, tried: usize) -> String {
    let parts: Vec<&str> = version.split('.').take(2).collect();
    if tried > 1 && parts.len() == 2 {
        parts.join(".")
    } else {
        version.to_owned()
    }
}

fn is_exact(requirement: &str) -> bool {
    requirement
        .split_once("==")
        .is_some_and(|(name, version)| !name.is_empty() && !version.contains([',', '*', ';']))
}

/// The normalised name of a requirement.
fn name_of(requirement: &str) -> String {
    let end = ['=', '<', '>', '!', '~', '[', ';', ' '];
    normalise(requirement.split(end).next().unwrap_or(requirement))
}

/// What is installed in an environment, for whichever Python, as `name==version`.
fn versions_in(environment: &Path) -> Vec<String> {
    let names = installed_in(environment).unwrap_or_default();
    let exact = names.iter().filter_map(|name| {
        let (name, version) = name.strip_suffix(".dist-info")?.rsplit_once('-')?;
        Some(format!("{name}=={version}"))
    });
    exact.collect()
}

/// What writes a lock file, and where.
struct Tools<'a> {
    installer: &'a Installer<'a>,
    scratch: PathBuf,
}

/// A file in which versions are pinned, as it was read.
struct PinnedFile {
    text: String,
    /// In its order.
    edits: Vec<TextEdit>,
}

impl PinnedFile {
    fn after(&self) -> Option<String> {
        String::from_utf8(edited(self.text.as_bytes(), &self.edits)?).ok()
    }
}

impl Worker {
    /// The proposal with exact versions, and what was held back pinned where it is declared; or why there is none.
    /// Of several versions each is tried, and what was seen before stays this worker's baseline.
    pub(super) fn with_versions(
        &mut self,
        mission: MissionId,
        signature: &Signature,
        failure: &Failure,
        proposal: Proposal,
    ) -> Result<Result<Proposal, String>, WorkError> {
        let Some(Remedy::Packages {
            environment,
            requirements,
            vary,
            module,
            ..
        }) = &failure.fix
        else {
            return Ok(Ok(proposal));
        };
        // What a playbook or a kept fix proposes is as somebody wrote it.
        let as_asked = Change::Packages {
            environment: environment.clone(),
            install: requirements.clone(),
        };
        if proposal.changes != [as_asked] {
            return Ok(Ok(proposal));
        }
        let declared = declared_packages(&self.manifest);
        let constraints: Vec<String> = declared
            .iter()
            .filter_map(|d| d.constraint.clone())
            .collect();
        let _held = self.hold_sandbox(mission)?;
        let scratch = self.sandbox_dir(mission).join("resolve");
        let anew = scratch.join("environment");
        let is_anew = !is_usable(&self.manifest.workspace.join(environment));
        let installer = Installer {
            workspace: &self.manifest.workspace,
            environment,
            process_env: &self.process_env,
            // What is there now does not matter for what is made anew.
            at: is_anew.then_some(anew.as_path()),
            base: None,
        };
        let tools = Tools {
            installer: &installer,
            scratch: self.sandbox_dir(mission).join("lock"),
        };
        let mut requirements = requirements.clone();
        if is_anew && !module.is_empty() {
            // Made anew because it was moved, and everything else stays in it as it is.
            let place = self.manifest.workspace.join(environment);
            let but: Vec<String> = requirements
                .iter()
                .chain(vary)
                .map(|one| name_of(one))
                .collect();
            let all = versions_in(&place).into_iter();
            requirements.extend(all.filter(|one| !but.contains(&name_of(one))));
        }
        let requirements = &requirements;
        let installing = |install: Vec<String>| Proposal {
            summary: if is_anew {
                format!("make {environment} anew, with {}", install.join(", "))
            } else {
                format!("install {} into {environment}", install.join(", "))
            },
            changes: vec![Change::Packages {
                environment: environment.clone(),
                install,
            }],
            ..proposal.clone()
        };
        let Some((name, installed)) = vary.as_deref().and_then(|vary| vary.split_once("==")) else {
            // What was there worked; the newest that is allowed may not. Another Python may have no wheel of it.
            let place = self.manifest.workspace.join(environment);
            let mut kept = constraints.clone();
            kept.extend(versions_in(&place));
            let mut found = installer.resolve(requirements, &kept, &scratch);
            // Asking the same again would fail again.
            if found.is_err() && kept.len() > constraints.len() {
                found = installer.resolve(requirements, &constraints, &scratch);
            }
            return Ok(match found {
                // Installed, as its metadata says, and damaged: the same again.
                Ok(exact) if exact.is_empty() && requirements.iter().all(|one| is_exact(one)) => {
                    Ok(installing(requirements.clone()))
                }
                Ok(exact) if exact.is_empty() => Err("pip finds nothing to install".to_owned()),
                Ok(exact) => {
                    let mut candidate = installing(exact);
                    if failure.facts.contains_key(UNDECLARED) {
                        self.declare(&mut candidate, &declared, requirements, &tools);
                    }
                    Ok(candidate)
                }
                Err(why) => Err(why),
            });
        };
        // What holds now does not change from one version to the next.
        if self.baseline.is_none() {
            let reports = self.reports_now(mission, &checks_of(&self.manifest))?;
            self.baseline = Some(reports);
        }
        let begun = Instant::now();
        let mut search = match installer.versions(name, &scratch) {
            Ok(known) => VersionSearch::below(installed, &known),
            Err(_) => None,
        };
        let allowed: Vec<VersionSpecifiers> = requirements
            .iter()
            .chain(&constraints)
            .filter_map(|text| specifiers_of(text, name))
            .collect();
        if let Some(search) = &mut search {
            search.retain(|version| allowed.iter().all(|one| one.contains(version)));
        }
        let mut below = installed.to_owned();
        let mut last = String::new();
        let mut best = None;
        let mut tried = 0;
        for _ in 0..CANDIDATES_MAX {
            // That it is the newest is worth less time than that one works.
            let within = SEARCH_WITHIN / if best.is_some() { 2 } else { 1 };
            if tried == VERSIONS_MAX || begun.elapsed() >= within {
                break;
            }
            let mut wanted = requirements.clone();
            match &search {
                Some(search) => match search.next() {
                    Some(version) => wanted.push(format!("{name}=={version}")),
                    None => break,
                },
                None => wanted.push(format!("{name}<{below}")),
            }
            let resolved = installer.resolve(&wanted, &constraints, &scratch);
            let exact = match (resolved, &mut search) {
                (Ok(exact), _) => exact,
                (Err(why), Some(search)) => {
                    last = why;
                    search.tried(false);
                    continue;
                }
                (Err(why), None) => {
                    if last.is_empty() {
                        last = why;
                    }
                    break;
                }
            };
            let version = exact.iter().find_map(|one| {
                let (found, version) = one.split_once("==")?;
                (normalise(found) == normalise(name)).then(|| version.to_owned())
            });
            let Some(version) = version else { break };
            let candidate = installing(exact);
            tried += 1;
            let trial = self.try_on_a_copy(mission, signature, failure, &candidate)?;
            if self.is_cancelled() {
                last = CUT_SHORT.to_owned();
                break;
            }
            let works = trial.verdict.holds;
            if works {
                best = Some((candidate, version.clone()));
            } else {
                last = format!("with {name} {version}, {}", trial.verdict.reason);
            }
            match &mut search {
                Some(search) => search.tried(works),
                None if works => break,
                // Without a list: the version before, then the line before.
                None => below = series_of(&version, tried),
            }
        }
        if let Some((mut candidate, version)) = best {
            self.pin_in(&mut candidate, &declared, &[(name, &version)], &tools);
            return Ok(Ok(candidate));
        }
        Ok(Err(format!(
            "no version of {name} below {installed} that the workspace's declarations allow was seen to work{}{last}",
            if last.is_empty() { "" } else { ": " }
        )))
    }

    /// What nobody declares is declared from then on.
    fn declare(
        &self,
        candidate: &mut Proposal,
        declared: &[DeclaredPackage],
        requirements: &[String],
        tools: &Tools<'_>,
    ) {
        let Some(Change::Packages { install, .. }) = candidate.changes.first().cloned() else {
            return;
        };
        let wanted: Vec<String> = requirements.iter().map(|one| name_of(one)).collect();
        let exact = install.iter().filter_map(|one| one.split_once("=="));
        let pins: Vec<(&str, &str)> = exact
            .filter(|(name, _)| wanted.contains(&normalise(name)))
            .collect();
        self.pin_in(candidate, declared, &pins, tools);
    }

    /// Pins the versions where they are declared, and in the lock file by its own tool; what none of that can keep true
    /// needs a person's approval, and says so.
    fn pin_in(
        &self,
        candidate: &mut Proposal,
        declared: &[DeclaredPackage],
        pins: &[(&str, &str)],
        tools: &Tools<'_>,
    ) {
        let mut pinned: BTreeMap<String, PinnedFile> = BTreeMap::new();
        let mut unpinned = Vec::new();
        for (name, version) in pins {
            match self.pinned(declared, name, version) {
                Some((file, text, edit)) => {
                    let file = pinned.entry(file).or_insert_with(|| PinnedFile {
                        text,
                        edits: Vec::new(),
                    });
                    file.edits.push(edit);
                    file.edits.sort_by_key(|edit| edit.offset);
                }
                None => unpinned.push(format!("{name}=={version}")),
            }
        }
        let workspace = &self.manifest.workspace;
        let locks: Vec<&Lock> = LOCKS
            .iter()
            .filter(|lock| workspace.join(lock.file).is_file())
            .collect();
        let project = pinned.get(PROJECT).and_then(PinnedFile::after);
        let mut renewed = Vec::new();
        let mut why = None;
        for lock in &locks {
            match self.renewed(lock, candidate, project.as_deref(), pins, tools) {
                Ok(change) => renewed.extend(change),
                Err(reason) => {
                    why = Some(format!(
                        "{} still has the other version, because {reason}: run `{}` once it is approved",
                        lock.file, lock.command
                    ));
                    renewed.clear();
                    break;
                }
            }
        }
        if locks.is_empty() && !unpinned.is_empty() && !declared.is_empty() {
            why = Some(format!(
                "it cannot be pinned where the workspace declares its packages: pin {} by hand",
                unpinned.join(" and ")
            ));
        }
        let mut places: Vec<String> = pinned.keys().cloned().collect();
        let changes = pinned.into_iter().map(|(path, file)| Change::Edit {
            path,
            before: Digest::of(file.text.as_bytes()),
            edits: file.edits,
        });
        candidate.changes.extend(changes);
        if !renewed.is_empty() {
            let by = locks.iter().map(|lock| format!("`{}`", lock.command));
            places.push(format!(
                "the lock file by {}",
                by.collect::<Vec<_>>().join(" and ")
            ));
            candidate.changes.append(&mut renewed);
        }
        if !places.is_empty() {
            candidate.summary = format!(
                "{}, and pin it in {}",
                candidate.summary,
                places.join(" and ")
            );
        }
        if let Some(why) = why {
            candidate.risk = candidate.risk.max(Risk::Guarded);
            candidate.summary = format!("{}; {why}", candidate.summary);
        }
    }

    /// What the tool of a lock file makes of it; or why that is left to a person.
    fn renewed(
        &self,
        lock: &Lock,
        candidate: &Proposal,
        project: Option<&str>,
        pins: &[(&str, &str)],
        tools: &Tools<'_>,
    ) -> Result<Option<Change>, String> {
        let project = project.ok_or_else(|| format!("{PROJECT} does not name it"))?;
        let install: Vec<String> = candidate
            .changes
            .iter()
            .flat_map(|change| match change {
                Change::Packages { install, .. } => install.clone(),
                _ => Vec::new(),
            })
            .collect();
        let environment = self.environment().map_err(|error| error.to_string())?;
        let redactor = Redactor::new(environment.secret_values(&self.manifest));
        let change = lock
            .renew(tools.installer, project, pins, &install, &tools.scratch)
            .map_err(|why| redactor.redact(&why))?;
        let is_clean = |edit: &TextEdit| redactor.redact(&edit.text) == edit.text;
        match &change {
            Some(Change::Edit { edits, .. }) if !edits.iter().all(is_clean) => {
                Err("what it would write there looks like a secret".to_owned())
            }
            _ => Ok(change),
        }
    }

    /// The edit that declares exactly that version, with its file and what that holds: in the line that declares the
    /// package, else at the end of the requirements.
    fn pinned(
        &self,
        declared: &[DeclaredPackage],
        name: &str,
        version: &str,
    ) -> Option<(String, String, TextEdit)> {
        let known = declared
            .iter()
            .find(|d| normalise(&d.name) == normalise(name));
        let file = match known {
            Some(known) => known.file.clone(),
            None => {
                let files = || declared.iter().map(|d| &d.file);
                let text = files().find(|file| file.ends_with(".txt"));
                text.or_else(|| files().next())?.clone()
            }
        };
        let text = std::fs::read_to_string(self.manifest.workspace.join(&file)).ok()?;
        // A line without a hash beside lines with one is refused by pip.
        if text.contains("--hash=") {
            return None;
        }
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let edit = match known {
            Some(known) => {
                let index = usize::try_from(known.line).ok()?.checked_sub(1)?;
                let mut lines = text.split_inclusive('\n');
                let start: usize = lines.by_ref().take(index).map(str::len).sum();
                let line = lines.next()?.trim_end_matches(['\n', '\r']);
                let pinned = pin(line, name, version)
                    .map(|(range, text)| (start + range.start..start + range.end, text));
                let of_toml = || match file.ends_with(".toml") {
                    true => pin_in_project(&text, name, version)
                        .or_else(|| pin_in_poetry(&text, name, version)),
                    false => None,
                };
                let (range, text) = pinned.or_else(of_toml)?;
                TextEdit {
                    offset: range.start as u64,
                    length: range.len() as u64,
                    text,
                }
            }
            None if file.ends_with(".toml") => {
                let (offset, text) = pin_after(&text, name, version)
                    .or_else(|| pin_after_in_poetry(&text, name, version))?;
                TextEdit {
                    offset: offset as u64,
                    length: 0,
                    text,
                }
            }
            None => TextEdit {
                offset: text.len() as u64,
                length: 0,
                text: format!(
                    "{}{name}=={version}{end}",
                    if text.is_empty() || text.ends_with('\n') {
                        ""
                    } else {
                        end
                    }
                ),
            },
        };
        Some((file, text, edit))
    }
}
