//! What a fixer may install: what the workspace declares, or what lies below that, into an environment of its own.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::str::FromStr;

use pep508_rs::{PackageName, VersionOrUrl};

use super::declared::{self, Declared};
use super::inventory::Packages;
use super::need::Need;
use super::{conflicts, normalise};
use crate::checks::context::CheckContext;
use crate::checks::interpreter::interpreter;
use crate::domain::remedy::Remedy;
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

/// Where environments lie that nobody names.
const ENVIRONMENTS: [&str; 2] = [".venv", "venv"];

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
            let mut all = ENVIRONMENTS
                .iter()
                .map(|name| workspace.join(name).join("bin/python"));
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
    /// Installs a package that is missing, if the workspace declares it, or a package that it declares needs it.
    pub(in crate::checks) fn install_fix(
        &self,
        context: &CheckContext<'_>,
        package: &str,
    ) -> Option<Remedy> {
        let environment = own_environment(context).filter(|_| !self.shared)?;
        let name = PackageName::from_str(package).ok()?;
        let markers = self.markers.as_ref()?;
        let is_wanted = |need: &Need| need.name == name && need.evaluate_markers(markers, &[]);
        let declared = self
            .declared
            .iter()
            .find(|one| !one.constraint && is_wanted(&one.need));
        let below = || {
            let reached = conflicts::reached(&self.declared, &[], &self.installed, markers);
            self.installed
                .iter()
                .filter(|(name, _)| reached.contains(*name))
                .find_map(|(_, d)| d.needs.iter().find(|need| is_wanted(need)))
        };
        let need = declared.map(|one| &one.need).or_else(below)?;
        if matches!(need.version_or_url, Some(VersionOrUrl::Url(_))) {
            return None;
        }
        Some(Remedy::Packages {
            what: format!("install {package}, which is declared, into {environment}"),
            environment,
            requirements: vec![need.to_string()],
            vary: None,
            module: package.to_owned(),
        })
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
    }

    fn reached(&self) -> BTreeSet<PackageName> {
        let reached = |markers| conflicts::reached(&self.declared, &[], &self.installed, markers);
        self.markers.as_ref().map(reached).unwrap_or_default()
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
        let reached = self.reached();
        let others = self
            .installed
            .iter()
            .filter(|(name, _)| reached.contains(*name));
        let needs: BTreeSet<String> = others
            .flat_map(|(_, distribution)| &distribution.needs)
            .filter(|need| need.name.as_ref() == package && need.evaluate_markers(markers, &[]))
            .filter_map(|need| match &need.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(wanted)) => Some(format!(
                    "{package}{}",
                    wanted.to_string().replace(", ", ",")
                )),
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
    pub(in crate::checks) fn declared_in(&self, package: &str) -> Option<(&str, u32)> {
        let name = PackageName::from_str(package).ok()?;
        let mut declared = self.declared.iter();
        let one = declared.find(|one| !one.constraint && one.need.name == name)?;
        Some((&one.file, one.line))
    }
}
