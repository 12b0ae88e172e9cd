//! Which exact versions a proposal installs: those that pip finds, or the newest older one with which it works.

use std::time::{Duration, Instant};

use super::{WorkError, Worker};
use crate::checks::{DeclaredPackage, declared_packages};
use crate::domain::ids::{Digest, MissionId, Signature};
use crate::domain::mission::{Change, Failure, Proposal};
use crate::domain::remedy::{Remedy, TextEdit};
use crate::fix::packages::{Installer, pin};

/// Versions of one distribution that are tried, the newest first.
const VERSIONS_MAX: usize = 8;
/// No further one is tried after that.
const SEARCH_WITHIN: Duration = Duration::from_secs(120);

fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

impl Worker {
    /// The proposal with exact versions, and what was held back pinned where it is declared; or why there is none.
    pub(super) fn with_versions(
        &self,
        mission: MissionId,
        signature: &Signature,
        failure: &Failure,
        proposal: Proposal,
    ) -> Result<Result<Proposal, String>, WorkError> {
        let Some(Remedy::Packages {
            environment,
            requirements,
            vary,
            ..
        }) = &failure.fix
        else {
            return Ok(Ok(proposal));
        };
        let declared = declared_packages(&self.manifest);
        let constraints: Vec<String> = declared
            .iter()
            .filter_map(|d| d.constraint.clone())
            .collect();
        let installer = Installer {
            workspace: &self.manifest.workspace,
            environment,
            process_env: &self.process_env,
        };
        let _held = self.hold_sandbox(mission)?;
        let scratch = self.sandbox_dir(mission).join("resolve");
        let installing = |install: Vec<String>| Proposal {
            summary: format!("install {} into {environment}", install.join(", ")),
            changes: vec![Change::Packages {
                environment: environment.clone(),
                install,
            }],
            ..proposal.clone()
        };
        let Some((name, installed)) = vary.as_deref().and_then(|vary| vary.split_once("==")) else {
            let found = installer.resolve(requirements, &constraints, &scratch);
            return Ok(match found {
                Ok(exact) if exact.is_empty() => Err("pip finds nothing to install".to_owned()),
                Ok(exact) => Ok(installing(exact)),
                Err(why) => Err(why),
            });
        };
        let begun = Instant::now();
        let mut below = installed.to_owned();
        let mut last = String::new();
        for _ in 0..VERSIONS_MAX {
            if begun.elapsed() >= SEARCH_WITHIN {
                break;
            }
            let mut wanted = requirements.clone();
            wanted.push(format!("{name}<{below}"));
            let exact = match installer.resolve(&wanted, &constraints, &scratch) {
                Ok(exact) => exact,
                Err(why) => {
                    if last.is_empty() {
                        last = why;
                    }
                    break;
                }
            };
            let version = exact.iter().find_map(|one| {
                let (found, version) = one.split_once("==")?;
                (plain(found) == plain(name)).then(|| version.to_owned())
            });
            let Some(version) = version else { break };
            let mut candidate = installing(exact);
            let trial = self.try_on_a_copy(mission, signature, failure, &candidate)?;
            if trial.verdict.holds {
                if let Some((change, place)) = self.pinned(&declared, name, &version) {
                    candidate.summary = format!("{}, and pin it in {place}", candidate.summary);
                    candidate.changes.push(change);
                }
                return Ok(Ok(candidate));
            }
            last = format!("with {name} {version}, {}", trial.verdict.reason);
            below = version;
        }
        Ok(Err(format!(
            "no version of {name} below {installed} that the workspace's declarations allow was seen to work{}{last}",
            if last.is_empty() { "" } else { ": " }
        )))
    }

    /// The edit that declares exactly that version: in the line that declares the package, else at the end of the
    /// requirements.
    fn pinned(
        &self,
        declared: &[DeclaredPackage],
        name: &str,
        version: &str,
    ) -> Option<(Change, String)> {
        let known = declared.iter().find(|d| plain(&d.name) == plain(name));
        let file = match known {
            Some(known) => known.file.clone(),
            None => declared
                .iter()
                .map(|d| &d.file)
                .find(|file| file.ends_with(".txt"))?
                .clone(),
        };
        let text = std::fs::read_to_string(self.manifest.workspace.join(&file)).ok()?;
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let edit = match known {
            Some(known) => {
                let index = usize::try_from(known.line).ok()?.checked_sub(1)?;
                let mut lines = text.split_inclusive('\n');
                let start: usize = lines.by_ref().take(index).map(str::len).sum();
                let line = lines.next()?.trim_end_matches(['\n', '\r']);
                let (range, text) = pin(line, name, version)?;
                TextEdit {
                    offset: (start + range.start) as u64,
                    length: range.len() as u64,
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
        let change = Change::Edit {
            path: file.clone(),
            before: Digest::of(text.as_bytes()),
            edits: vec![edit],
        };
        Some((change, file))
    }
}
