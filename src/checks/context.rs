//! What every check is given to look at.

use std::collections::BTreeMap;
use std::path::Path;

use super::earlier::Earlier;
use super::shared::SharedRuns;
use super::sources::Sources;
use crate::domain::finding::Finding;
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest, Origin, Service};
use crate::source::SourceFacts;

/// What a check looks at.
#[derive(Debug)]
pub(crate) struct CheckContext<'a> {
    /// The declaration.
    pub manifest: &'a Manifest,
    /// The workspace, or a copy of it.
    pub root: &'a Path,
    /// The environment that the application would get there.
    pub environment: &'a Environment,
    /// Keeps secrets out of findings.
    pub redactor: &'a Redactor,
    /// A private directory that may be written.
    pub scratch: &'a Path,
    /// The state directory, where it may lie in what is checked.
    pub state: Option<&'a Path>,
    /// Variables of the application that are replaced for this run.
    pub overrides: BTreeMap<String, String>,
    /// Imports that the checks of one pre-flight do once.
    pub shared: &'a SharedRuns,
    /// The static scan, made once for all checks of one pre-flight.
    pub sources: &'a Sources,
    /// A boot is about to begin: what is in its way now is looked at.
    pub before_boot: bool,
    /// The system runs: what is declared for it is looked at, and what is declared for a pre-flight only is not.
    pub is_live: bool,
    /// What the last boot that was up ran on.
    pub earlier: &'a Earlier,
}

impl CheckContext<'_> {
    /// The manifest's name, for locations.
    pub(super) fn manifest_name(&self) -> String {
        let manifest = self.manifest;
        manifest
            .path
            .strip_prefix(&manifest.workspace)
            .unwrap_or(&manifest.path)
            .display()
            .to_string()
    }

    /// The finding at the line of the variable's value: in the environment file that sets it, else in the manifest.
    pub(super) fn at_variable(&self, finding: Finding, name: &str) -> Finding {
        if let Some((_, Origin::File(file, line))) = self.environment.values.get(name) {
            return finding.at(file.display().to_string(), *line, 0);
        }
        let declared = self.manifest.config.vars.get(name);
        finding.at(self.manifest_name(), declared.map_or(0, |var| var.line), 0)
    }

    /// The finding at the line of the service in the manifest.
    pub(super) fn at_service(&self, finding: Finding, service: &Service) -> Finding {
        finding.at(self.manifest_name(), service.line, 0)
    }

    /// What the sources say: scanned when a check asks for the first time.
    pub(super) fn facts(&self) -> &SourceFacts {
        self.sources
            .facts(self.manifest, self.root, self.environment)
    }
}
