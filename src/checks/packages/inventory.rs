//! What an interpreter has, against what the workspace wants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use pep508_rs::{ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, PackageName};

use super::declared::{self, Declared};
use super::installed::{self, Distribution};
use super::{conflicts, names};
use crate::checks::context::CheckContext;
use crate::checks::python::PythonHost;
use crate::domain::finding::Finding;
use crate::source::{Guard, SourceFacts};

/// Parts of the names of extras that are not for who runs an application.
const BROAD: [&str; 5] = ["all", "dev", "test", "doc", "lint"];

/// What an interpreter has, and what the workspace wants.
pub(in crate::checks) struct Packages {
    /// By normalised name; of several with one name the first on the path counts.
    pub(super) installed: BTreeMap<PackageName, Distribution>,
    pub(super) declared: Vec<Declared>,
    /// Top-level names that the sources import.
    imported: BTreeSet<String>,
    /// `None` if the interpreter does not say what it is.
    pub(super) markers: Option<MarkerEnvironment>,
    /// Others use the interpreter too.
    pub(super) shared: bool,
    /// The installed packages that the declared ones lead to, once somebody asked.
    pub(super) reached: OnceLock<BTreeSet<PackageName>>,
}

/// The import path as this process finds it: what the sandbox shows in the workspace's place may be a copy.
fn on_this_side(context: &CheckContext<'_>, path: &[String]) -> Vec<String> {
    let found = |entry: &String| {
        let below = Path::new(entry).strip_prefix(&context.manifest.workspace);
        let copied = below.ok().map(|below| context.root.join(below));
        let copied = copied.filter(|copied| copied.is_dir());
        copied.map_or_else(|| entry.clone(), |copied| copied.display().to_string())
    };
    path.iter().map(found).collect()
}

impl Packages {
    /// Reads all metadata.
    pub(in crate::checks) fn read(context: &CheckContext<'_>, host: &PythonHost) -> Self {
        Self {
            installed: installed::read(&on_this_side(context, &host.path)),
            declared: declared::read(context.root, context.manifest),
            imported: imported(context.facts()),
            markers: marker_environment(&host.markers),
            shared: host.shared,
            reached: OnceLock::new(),
        }
    }

    /// Packages that do not fit together, and declared ones that are not there.
    pub(in crate::checks) fn findings(&self) -> Vec<Finding> {
        let Some(markers) = &self.markers else {
            return Vec::new();
        };
        let mut findings = conflicts::of_declared(&self.declared, &self.installed, markers);
        let mut unfit = conflicts::of_installed(&self.installed, markers);
        // In an interpreter that others use, their packages are not this application's concern.
        if self.shared && !unfit.is_empty() {
            let used =
                conflicts::reached(&self.declared, &self.imported(), &self.installed, markers);
            unfit.retain(|(name, _)| used.contains(name));
        }
        findings.extend(unfit.into_iter().map(|(_, finding)| finding));
        findings
    }

    /// The installed packages whose modules the sources import.
    fn imported(&self) -> Vec<&PackageName> {
        let is_imported = |name: &PackageName, distribution: &Distribution| {
            // A distribution without a list of its files is known by its name alone.
            self.imported
                .contains(&name.as_dist_info_name().to_string())
                || !distribution.modules().is_disjoint(&self.imported)
        };
        self.installed
            .iter()
            .filter(|(name, distribution)| is_imported(name, distribution))
            .map(|(name, _)| name)
            .collect()
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

    /// The extra of the distribution that `importer` belongs to which brings `package`, as it is asked for:
    /// `uvicorn[standard]`.
    pub(in crate::checks) fn extra_with(&self, importer: &str, package: &str) -> Option<String> {
        let (name, _) = self.owner_of(importer)?;
        let distribution = self.installed.get(&PackageName::from_str(name).ok()?)?;
        let package = PackageName::from_str(package).ok()?;
        let markers = self.markers.as_ref()?;
        let needs = distribution.needs.iter();
        let extras = needs
            .filter(|need| need.name == package)
            .filter_map(|need| {
                let text = need.marker.try_to_string()?;
                let (_, rest) = text.split_once("extra == ")?;
                let quote = rest.chars().next()?;
                let extra = ExtraName::from_str(rest.get(1..)?.split(quote).next()?).ok()?;
                let brings = need.evaluate_markers(markers, std::slice::from_ref(&extra));
                (brings && !need.evaluate_markers(markers, &[])).then(|| extra.to_string())
            });
        // What brings everything, or is for who develops the package, is not what is asked for.
        let mut extras = extras.filter(|extra| !BROAD.iter().any(|broad| extra.contains(broad)));
        Some(format!("{name}[{}]", extras.next()?))
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

/// Top-level names that the sources import when they run.
fn imported(facts: &SourceFacts) -> BTreeSet<String> {
    facts
        .imports
        .iter()
        .filter(|import| import.guard != Guard::TypeChecking)
        .filter_map(|import| import.module.split('.').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at an interpreter with one package that lacks another.
    fn told(shared: bool, imported: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("Desk_Kit-1.0.dist-info");
        std::fs::create_dir(&info).unwrap();
        let metadata =
            "Metadata-Version: 2.1\nName: Desk-Kit\nVersion: 1.0\nRequires-Dist: drawing\n";
        std::fs::write(info.join("METADATA"), metadata).unwrap();
        std::fs::write(info.join("RECORD"), "desk/__init__.py,,\n").unwrap();
        let packages = Packages {
            installed: installed::read(&[dir.path().to_string_lossy().into_owned()]),
            declared: Vec::new(),
            imported: imported.iter().map(|name| (*name).to_owned()).collect(),
            markers: marker_environment(&markers()),
            shared,
            reached: OnceLock::new(),
        };
        let findings = packages.findings();
        findings
            .into_iter()
            .map(|finding| finding.subject)
            .collect()
    }

    fn markers() -> BTreeMap<String, String> {
        let values = [
            ("implementation_name", "cpython"),
            ("implementation_version", "3.11.2"),
            ("os_name", "posix"),
            ("platform_machine", "x86_64"),
            ("platform_python_implementation", "CPython"),
            ("platform_release", "6.1"),
            ("platform_system", "Linux"),
            ("platform_version", "#1"),
            ("python_full_version", "3.11.2"),
            ("python_version", "3.11"),
            ("sys_platform", "linux"),
        ];
        values
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn what_an_optional_part_lacks_is_asked_for_by_the_extra_that_brings_it() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("desk-1.0.dist-info");
        std::fs::create_dir(&info).unwrap();
        let metadata = "Metadata-Version: 2.1\nName: desk\nVersion: 1.0\nRequires-Dist: drawing; extra == \"test\"\n\
                        Requires-Dist: drawing>=2; extra == \"pictures\"\nRequires-Dist: ink\n\
                        Requires-Dist: paint; sys_platform == \"win32\" and extra == \"pictures\"\n";
        std::fs::write(info.join("METADATA"), metadata).unwrap();
        std::fs::write(info.join("RECORD"), "desk/__init__.py,,\n").unwrap();
        let packages = Packages {
            installed: installed::read(&[dir.path().to_string_lossy().into_owned()]),
            declared: Vec::new(),
            imported: BTreeSet::new(),
            markers: marker_environment(&markers()),
            shared: false,
            reached: OnceLock::new(),
        };
        let told = |package| packages.extra_with("desk.art", package);
        assert_eq!(told("drawing").as_deref(), Some("desk[pictures]"));
        for package in ["ink", "paint", "other"] {
            assert_eq!(told(package), None, "{package}");
        }
        assert_eq!(packages.extra_with("json", "drawing"), None);
    }

    #[test]
    fn what_others_installed_and_the_application_does_not_import_is_theirs() {
        let broken = vec!["Desk-Kit -> drawing".to_owned()];
        assert_eq!(told(true, &["json"]), Vec::<String>::new());
        // By the list of its files, and by its name.
        assert_eq!(told(true, &["desk"]), broken);
        assert_eq!(told(true, &["desk_kit"]), broken);
        // An environment of its own is the application's.
        assert_eq!(told(false, &["json"]), broken);
    }
}
