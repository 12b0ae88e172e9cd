//! What a fixer may install: what the workspace declares, or what lies below that, into an environment of its own.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::str::FromStr;

use pep508_rs::pep440_rs::VersionSpecifiers;
use pep508_rs::{PackageName, VersionOrUrl};

use super::declared::{self, Declared};
use super::inventory::Packages;
use super::need::Need;
use super::{conflicts, normalise};
use crate::checks::context::CheckContext;
use crate::checks::edits::read_source;
use crate::checks::interpreter::{VENV_INTERPRETERS, interpreter};
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy, UNDECLARED};
use crate::manifest::Manifest;

/// A package that the workspace declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredPackage {
    /// As it is declared.
    pub name: String,
    /// Which versions, as pip's constraints say it; none if any does.
    pub constraint: Option<String>,
    /// Relative to the workspace.
    pub file: String,
    /// 1-based.
    pub line: u32,
}

/// The packages that the workspace of the manifest declares.
pub(crate) fn declared_packages(manifest: &Manifest) -> Vec<DeclaredPackage> {
    let of_one = |one: Declared| {
        let has_versions = matches!(
            one.need.version_or_url,
            Some(VersionOrUrl::VersionSpecifier(_))
        );
        let name = one.need.name.to_string();
        let plain = Need {
            extras: Vec::new(),
            ..one.need
        };
        DeclaredPackage {
            name,
            constraint: has_versions.then(|| plain.to_string()),
            file: one.file,
            line: one.line,
        }
    };
    let all = declared::read(&manifest.workspace, manifest);
    all.into_iter().map(of_one).collect()
}

/// The virtual environment of the application's interpreter, if it lies in the workspace and is its own.
fn own_environment(context: &CheckContext<'_>) -> Option<String> {
    let python = interpreter(context.manifest, context.root, context.environment).ok()?;
    let environment = python.parent()?.parent()?;
    let inside = environment.strip_prefix(&context.manifest.workspace).ok()?;
    let is_own = environment.join("pyvenv.cfg").is_file()
        && !environment.is_symlink()
        && !inside.as_os_str().is_empty();
    is_own.then(|| inside.to_str().map(str::to_owned))?
}

/// End of a remedy.
pub(in crate::checks) const ADD_TO_REQUIREMENTS: &str = "and add it to its requirements";

/// What to do about a package that is declared and not installed.
fn install_declared(package: &str, file: &str, line: u32) -> String {
    format!(
        "install {package} with the application's interpreter: {file}:{line} declares it, so installing what {file} \
         lists does"
    )
}

/// A requirement as pip reads it: `idna>=2.5,<4`.
fn within(package: &str, versions: &VersionSpecifiers) -> String {
    format!("{package}{}", versions.to_string().replace(", ", ","))
}

/// Lock files that name a distribution and its version in a table `package`.
const LOCKS: [&str; 3] = ["uv.lock", "poetry.lock", "pdm.lock"];

/// Makes the environment of the workspace anew, whose interpreter cannot be started.
pub(in crate::checks) fn anew_fix(context: &CheckContext<'_>) -> Option<Remedy> {
    let workspace = &context.manifest.workspace;
    let is_broken = |python: &Path| {
        let is_there = python.symlink_metadata().is_ok();
        is_there && !python.is_file()
    };
    let python = match &context.manifest.python.interpreter {
        Some(named) => {
            let python = workspace.join(named);
            (is_broken(&python) || !python.parent()?.parent()?.exists()).then_some(python)
        }
        None => {
            let mut all = VENV_INTERPRETERS.iter().map(|name| workspace.join(name));
            all.find(|python| is_broken(python))
        }
    };
    anew(context, &python?)
}

/// Makes the environment of the workspace anew in which a program lies that cannot be started.
pub(in crate::checks) fn moved_fix(context: &CheckContext<'_>, program: &Path) -> Option<Remedy> {
    let environment = program.parent()?.parent()?;
    environment.join("pyvenv.cfg").is_file().then_some(())?;
    anew(context, program)
}

fn anew(context: &CheckContext<'_>, program: &Path) -> Option<Remedy> {
    let workspace = &context.manifest.workspace;
    let bin = program.parent().filter(|bin| bin.ends_with("bin"))?;
    let inside = bin.parent()?.strip_prefix(workspace).ok()?;
    let environment = inside.to_str().filter(|inside| !inside.is_empty())?;
    let is_plain = inside
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !is_plain || workspace.join(inside).is_symlink() {
        return None;
    }
    let declared = declared::read(workspace, context.manifest);
    let wanted: Vec<&Declared> = declared.iter().filter(|one| !one.constraint).collect();
    let is_url = |one: &&Declared| matches!(one.need.version_or_url, Some(VersionOrUrl::Url(_)));
    if wanted.is_empty() || wanted.iter().any(is_url) {
        return None;
    }
    Some(Remedy::Packages {
        what: format!("make {environment} anew, with what the workspace declares"),
        environment: environment.to_owned(),
        requirements: wanted.iter().map(|one| one.need.to_string()).collect(),
        vary: None,
        module: String::new(),
    })
}

impl Packages {
    /// Gives a finding about a missing package or about versions that do not go together what mends it.
    pub(in crate::checks) fn mend(&self, context: &CheckContext<'_>, finding: &mut Finding) {
        if finding.fix.is_some() {
            return;
        }
        let Some(package) = finding.facts.get("package").cloned() else {
            return;
        };
        match finding.code {
            Code::RehearsalMissingPackage => {
                let adds = finding.remedy.as_deref();
                if adds.is_some_and(|text| text.ends_with(ADD_TO_REQUIREMENTS))
                    && let Some((file, line)) = self.declared_in(&package)
                {
                    finding.remedy = Some(install_declared(&package, file, line));
                }
                finding.fix = self.install_fix(context, &package);
                if finding.fix.is_none()
                    && let Some(other) = self.named_after(&package)
                {
                    let (name, file, line) = (other.need.name.as_ref(), &other.file, other.line);
                    let declared = install_declared(name, file, line);
                    finding.remedy =
                        Some(format!("{declared}, if {name} is what brings {package}"));
                    finding.fix = self.install(context, name, vec![other.need.to_string()]);
                }
                if finding.fix.is_none()
                    && let Some(requirement) = self.recorded(context, &package)
                {
                    finding.fix = self.install(context, &package, vec![requirement]);
                    if finding.fix.is_some() {
                        let why = "the workspace does not declare it".to_owned();
                        finding.facts.insert(NEEDS_APPROVAL.to_owned(), why);
                        finding.facts.insert(UNDECLARED.to_owned(), package);
                    }
                }
            }
            Code::RehearsalDependencyConflict => {
                let Ok(name) = PackageName::from_str(&package) else {
                    return;
                };
                let mut wanted = self.needs_of_others(name.as_ref());
                let declared = self.declared.iter().filter(|one| {
                    let is_url = matches!(one.need.version_or_url, Some(VersionOrUrl::Url(_)));
                    one.need.name == name && !is_url
                });
                wanted.extend(declared.map(|one| one.need.to_string()));
                finding.fix = self.install(context, &package, wanted);
                if finding.fix.is_some() {
                    let why = "nothing is seen to fail because of it".to_owned();
                    finding.facts.insert(NEEDS_APPROVAL.to_owned(), why);
                }
            }
            _ => {}
        }
    }

    /// The requirement of a package that nobody declares, if a lock file of the workspace has it, or something that is
    /// declared names it for an extra. A name that is merely like the module's may be anybody's.
    fn recorded(&self, context: &CheckContext<'_>, package: &str) -> Option<String> {
        let name = normalise(package);
        for lock in LOCKS {
            let Some(text) = read_source(&context.manifest.workspace, lock) else {
                continue;
            };
            let document = toml_edit::Document::parse(text.as_str()).ok();
            let tables = document
                .as_ref()
                .and_then(|document| document.get("package")?.as_array_of_tables());
            for table in tables.into_iter().flatten() {
                let text = |key: &str| table.get(key).and_then(|value| value.as_str());
                let is_it = text("name").is_some_and(|found| normalise(found) == name);
                if let Some(version) = text("version").filter(|_| is_it) {
                    return Some(format!("{name}=={version}"));
                }
            }
        }
        let mut needs = self.reached_needs();
        let need = needs.find(|need| normalise(need.name.as_ref()) == name)?;
        match &need.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(wanted)) => Some(within(&name, wanted)),
            Some(VersionOrUrl::Url(_)) => None,
            None => Some(name),
        }
    }

    /// The one declared and missing distribution whose name has that of a module that nothing declares: it may bring
    /// it, as `python-dateutil` does `dateutil`.
    fn named_after(&self, module: &str) -> Option<&Declared> {
        let markers = self.markers.as_ref()?;
        let module = normalise(module);
        let is_it = |one: &&Declared| {
            let name = one.need.name.as_ref();
            let begins = name.strip_prefix(&module);
            let ends = name.strip_suffix(&module);
            let is_part = begins.is_some_and(|rest| rest.starts_with('-'))
                || ends.is_some_and(|rest| rest.ends_with('-') || rest == "py");
            let is_url = matches!(one.need.version_or_url, Some(VersionOrUrl::Url(_)));
            is_part
                && !is_url
                && !one.constraint
                && one.need.evaluate_markers(markers, &[])
                && self.version_of(name).is_none()
        };
        let mut found = self.declared.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// Installs a package that is missing, if the workspace declares it, or a package that it declares needs it.
    fn install_fix(&self, context: &CheckContext<'_>, package: &str) -> Option<Remedy> {
        let name = PackageName::from_str(package).ok()?;
        let markers = self.markers.as_ref()?;
        let is_wanted = |need: &Need| need.name == name && need.evaluate_markers(markers, &[]);
        let declared = self
            .declared
            .iter()
            .find(|one| !one.constraint && is_wanted(&one.need));
        let below = || self.reached_needs().find(|need| is_wanted(need));
        let need = declared.map(|one| &one.need).or_else(below)?;
        if matches!(need.version_or_url, Some(VersionOrUrl::Url(_))) {
            return None;
        }
        self.install(context, package, vec![need.to_string()])
    }

    fn install(
        &self,
        context: &CheckContext<'_>,
        package: &str,
        requirements: Vec<String>,
    ) -> Option<Remedy> {
        let environment = own_environment(context).filter(|_| !self.shared)?;
        Some(Remedy::Packages {
            what: format!("install {package} into {environment}"),
            environment,
            requirements,
            vary: None,
            module: package.to_owned(),
        })
    }

    /// Installs a package that is missing, in the versions that are known to have the module, if something that is
    /// declared needs it.
    fn install_within(
        &self,
        context: &CheckContext<'_>,
        package: &str,
        within: &str,
    ) -> Option<Remedy> {
        let mut fix = self.install_fix(context, package)?;
        if let Remedy::Packages { requirements, .. } = &mut fix {
            requirements.push(within.to_owned());
        }
        Some(fix)
    }

    /// Takes another version of the installed package of a module with which an import fails; if its files are not
    /// those that were installed, the same version again.
    pub(in crate::checks) fn vary_fix(
        &self,
        context: &CheckContext<'_>,
        module: &str,
    ) -> Option<Remedy> {
        let (name, _) = self.owner_of(module)?;
        // What nobody declares, and nothing that is declared needs, is not the workspace's.
        if !self.reached().contains(&PackageName::from_str(name).ok()?) {
            return None;
        }
        self.vary(context, name, None, module)
    }

    /// Takes the newest version of an installed package that works, and that `within` allows, which is known to.
    pub(in crate::checks) fn known_fix(
        &self,
        context: &CheckContext<'_>,
        (package, within): (&str, &str),
        module: &str,
    ) -> Option<Remedy> {
        self.vary(context, package, Some(within), module)
            .or_else(|| self.install_within(context, package, within))
    }

    fn reached(&self) -> &BTreeSet<PackageName> {
        self.reached.get_or_init(|| {
            let reached =
                |markers| conflicts::reached(&self.declared, &[], &self.installed, markers);
            self.markers.as_ref().map(reached).unwrap_or_default()
        })
    }

    /// Installs those packages of the workspace anew whose files are not those that were installed: for a crash in native
    /// code, of which nothing says whose it is. Their names and versions, and what installs them, where that may be.
    pub(in crate::checks) fn damaged_fix(
        &self,
        context: &CheckContext<'_>,
    ) -> Option<(String, Option<Remedy>)> {
        let reached = self.reached().iter();
        let damaged: Vec<(String, &str)> = reached
            .filter_map(|name| self.installed.get(name))
            .filter(|distribution| distribution.is_damaged())
            .map(|distribution| (normalise(&distribution.name), &*distribution.version_text))
            .collect();
        let (first, _) = damaged.first()?;
        let spelt = |between: &str| -> Vec<String> {
            let all = damaged.iter();
            all.map(|(name, version)| format!("{name}{between}{version}"))
                .collect()
        };
        let shown = spelt(" ").join(", ");
        let environment = own_environment(context).filter(|_| !self.shared);
        let fix = environment.map(|environment| Remedy::Packages {
            what: format!("install {shown} anew, whose files are not those that were installed"),
            environment,
            requirements: spelt("=="),
            vary: None,
            module: first.clone(),
        });
        Some((shown, fix))
    }

    /// What the packages that the workspace comes to need.
    fn reached_needs(&self) -> impl Iterator<Item = &Need> {
        let installed = self.installed.iter();
        let reached = installed.filter(|(name, _)| self.reached().contains(*name));
        reached.flat_map(|(_, distribution)| &distribution.needs)
    }

    fn vary(
        &self,
        context: &CheckContext<'_>,
        package: &str,
        within: Option<&str>,
        module: &str,
    ) -> Option<Remedy> {
        let environment = own_environment(context).filter(|_| !self.shared)?;
        let name = PackageName::from_str(package).ok()?;
        let distribution = self.installed.get(&name)?;
        let version = distribution.version_text.as_str();
        let name = normalise(&distribution.name);
        let module = module.to_owned();
        if within.is_none() && distribution.is_damaged() {
            return Some(Remedy::Packages {
                what: format!(
                    "install {name} {version} anew, whose files are not those that were installed"
                ),
                environment,
                requirements: vec![format!("{name}=={version}")],
                vary: None,
                module,
            });
        }
        let mut requirements = self.needs_of_others(&name);
        requirements.extend(within.map(str::to_owned));
        Some(Remedy::Packages {
            what: format!(
                "take the newest version of {name} below {version} that works, in {environment}"
            ),
            environment,
            requirements,
            vary: Some(format!("{name}=={version}")),
            module,
        })
    }

    /// What the packages that the workspace comes to ask of the version of one of them.
    fn needs_of_others(&self, package: &str) -> Vec<String> {
        let Some(markers) = &self.markers else {
            return Vec::new();
        };
        let needs: BTreeSet<String> = self
            .reached_needs()
            .filter(|need| need.name.as_ref() == package && need.evaluate_markers(markers, &[]))
            .filter_map(|need| match &need.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(wanted)) => Some(within(package, wanted)),
                _ => None,
            })
            .collect();
        needs.into_iter().collect()
    }

    /// The installed package of a module, if its files are not those that were installed.
    pub(in crate::checks) fn damaged(&self, module: &str) -> Option<(&str, &str)> {
        let (name, version) = self.owner_of(module)?;
        let distribution = self.installed.get(&PackageName::from_str(name).ok()?)?;
        distribution.is_damaged().then_some((name, version))
    }

    /// The file and the line that declare a package.
    fn declared_in(&self, package: &str) -> Option<(&str, u32)> {
        let name = PackageName::from_str(package).ok()?;
        let mut declared = self.declared.iter();
        let one = declared.find(|one| !one.constraint && one.need.name == name)?;
        Some((&one.file, one.line))
    }
}
