//! What an interpreter has, against what the workspace wants.

use std::collections::BTreeMap;
use std::str::FromStr;

use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, PackageName};

use super::declared::{self, Declared};
use super::installed::{self, Distribution};
use super::{conflicts, names};
use crate::checks::context::CheckContext;
use crate::checks::python::PythonHost;
use crate::domain::finding::{Finding, Severity};

/// What an interpreter has, and what the workspace wants.
pub(in crate::checks) struct Packages {
    /// By normalised name; of several with one name the first on the path counts.
    pub(super) installed: BTreeMap<PackageName, Distribution>,
    pub(super) declared: Vec<Declared>,
    /// `None` if the interpreter does not say what it is.
    pub(super) markers: Option<MarkerEnvironment>,
    /// Others use the interpreter too.
    pub(super) shared: bool,
}

impl Packages {
    /// Reads all metadata.
    pub(in crate::checks) fn read(context: &CheckContext<'_>, host: &PythonHost) -> Self {
        Self {
            installed: installed::read(&host.path),
            declared: declared::read(context.root, context.manifest),
            markers: marker_environment(&host.markers),
            shared: host.shared,
        }
    }

    /// Packages that do not fit together, and declared ones that are not there.
    pub(in crate::checks) fn findings(&self) -> Vec<Finding> {
        let Some(markers) = &self.markers else {
            return Vec::new();
        };
        let mut findings = conflicts::of_declared(&self.declared, &self.installed, markers);
        let reached = conflicts::reached(&self.declared, &self.installed, markers);
        for (name, mut finding) in conflicts::of_installed(&self.installed, markers) {
            // In an interpreter that others use, their packages are not this application's concern.
            if self.shared && !reached.contains(&name) {
                if !self.declared.is_empty() {
                    continue;
                }
                finding.severity = Severity::Info;
            }
            findings.push(finding);
        }
        findings
    }

    /// What to install for a module that is missing, in the spelling of who declares it.
    pub(in crate::checks) fn providing(&self, module: &str) -> String {
        let needs = self
            .declared
            .iter()
            .map(|declared| &declared.need.name)
            .chain(
                self.installed
                    .values()
                    .flat_map(|distribution| distribution.needs.iter().map(|need| &need.name)),
            );
        names::providing(module, needs.map(AsRef::as_ref))
    }

    /// The installed distribution that `module` belongs to, as its metadata says, with its version.
    pub(in crate::checks) fn owner_of(&self, module: &str) -> Option<(&str, &str)> {
        let top = module.split('.').next().unwrap_or(module);
        self.installed
            .values()
            .find(|distribution| distribution.modules().contains(top))
            .map(|distribution| {
                (
                    distribution.name.as_str(),
                    distribution.version_text.as_str(),
                )
            })
    }

    /// The installed version of a distribution.
    pub(in crate::checks) fn version_of(&self, distribution: &str) -> Option<String> {
        let name = PackageName::from_str(distribution).ok()?;
        let found = self.installed.get(&name)?;
        Some(found.version_text.clone())
    }

    /// The distribution declares that it needs `package`, on any condition.
    pub(in crate::checks) fn needs(&self, distribution: &str, package: &str) -> bool {
        let (Ok(distribution), Ok(package)) = (
            PackageName::from_str(distribution),
            PackageName::from_str(package),
        ) else {
            return false;
        };
        self.installed
            .get(&distribution)
            .is_some_and(|d| d.needs.iter().any(|need| need.name == package))
    }
}

/// `None` if a value is missing or is no version.
fn marker_environment(values: &BTreeMap<String, String>) -> Option<MarkerEnvironment> {
    let value = |name: &str| values.get(name).map(String::as_str);
    // A development build says `3.15.0+`, which is no version; `packaging` reads it so too.
    let full = value("python_full_version")?;
    let full = if full.ends_with('+') {
        format!("{full}local")
    } else {
        full.to_owned()
    };
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: value("implementation_name")?,
        implementation_version: value("implementation_version")?,
        os_name: value("os_name")?,
        platform_machine: value("platform_machine")?,
        platform_python_implementation: value("platform_python_implementation")?,
        platform_release: value("platform_release")?,
        platform_system: value("platform_system")?,
        platform_version: value("platform_version")?,
        python_full_version: &full,
        python_version: value("python_version")?,
        sys_platform: value("sys_platform")?,
    })
    .ok()
}
