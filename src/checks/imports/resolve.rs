//! Whether the module and the name that an import asks for exist; in doubt they do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::source::{Import, ModuleScope, SourceFacts};

/// What the interpreter says of a top-level name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModuleOrigin {
    /// Its own.
    Standard,
    /// All of it lies in the workspace.
    Workspace,
    /// Elsewhere, or partly.
    Installed,
    /// Nowhere.
    Missing,
    /// It could not tell.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What an import asks for in vain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing<'a> {
    /// A module of the workspace.
    Module(String),
    /// A name of a module of the workspace.
    Name {
        module: &'a str,
        name: &'a str,
        nearest: Option<String>,
    },
    /// A top-level module that the interpreter does not have.
    Package(&'a str),
}

/// A name counts as meant if it is that similar (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;
/// `from a import *` of a module that does the same: more are a circle.
const STARS_MAX: usize = 16;
/// What every module has.
const MODULE_ATTRIBUTES: [&str; 12] = [
    "__name__",
    "__file__",
    "__doc__",
    "__dict__",
    "__spec__",
    "__loader__",
    "__package__",
    "__path__",
    "__builtins__",
    "__annotations__",
    "__cached__",
    "__class__",
];

/// The modules of the workspace.
pub(super) struct ModuleIndex<'a> {
    /// By each dotted name.
    scopes: HashMap<&'a str, &'a ModuleScope>,
    /// Dotted names that something lies below.
    packages: BTreeSet<&'a str>,
    /// Directories of the import path.
    bases: Vec<PathBuf>,
}

impl<'a> ModuleIndex<'a> {
    pub(super) fn new(root: &Path, path: &[String], facts: &'a SourceFacts) -> Self {
        let by_file: HashMap<&str, &ModuleScope> = facts
            .scopes
            .iter()
            .map(|scope| (scope.file.as_str(), scope))
            .collect();
        let mut index = Self {
            scopes: HashMap::new(),
            packages: BTreeSet::new(),
            bases: if path.is_empty() {
                vec![root.to_owned()]
            } else {
                path.iter().map(|base| root.join(base)).collect()
            },
        };
        for (name, file) in &facts.modules {
            if let Some(scope) = by_file.get(file.as_str()) {
                index.scopes.entry(name).or_insert(scope);
            }
            let mut end = name.len();
            while let Some(dot) = name.get(..end).and_then(|part| part.rfind('.')) {
                index.packages.extend(name.get(..dot));
                end = dot;
            }
        }
        index
    }

    pub(super) fn scope(&self, module: &str) -> Option<&'a ModuleScope> {
        self.scopes.get(module).copied()
    }

    fn is_known(&self, module: &str) -> bool {
        self.scopes.contains_key(module) || self.packages.contains(module)
    }

    /// A module of that name lies beside the importing one, or in a directory that is no package and may
    /// join the import path later.
    fn lies_beside(&self, import: &Import, top: &str) -> bool {
        let own = import
            .from
            .rsplit_once('.')
            .map_or("", |(package, _)| package);
        let is_known = |parent: &str| {
            self.is_known(&if parent.is_empty() {
                top.to_owned()
            } else {
                format!("{parent}.{top}")
            })
        };
        let is_package = |name: &str| self.scope(name).is_some_and(|scope| scope.is_package);
        is_known(own)
            || self
                .packages
                .iter()
                .any(|parent| !is_package(parent) && is_known(parent))
    }

    /// Something of that name lies on the import path: an extension, a generated or an ignored file.
    fn lies_on_path(&self, module: &str) -> bool {
        let relative = module.replace('.', "/");
        let (directory, stem) = relative.rsplit_once('/').unwrap_or(("", &relative));
        self.bases.iter().any(|base| {
            let Ok(entries) = std::fs::read_dir(base.join(directory)) else {
                return false;
            };
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.split('.').next() == Some(stem)
            })
        })
    }

    /// What is missing, if it is certain.
    pub(super) fn missing<'i>(
        &self,
        import: &'i Import,
        known: &BTreeMap<String, ModuleOrigin>,
    ) -> Option<Missing<'i>> {
        let top = import.module.split('.').next()?;
        let found = known.get(top).copied().unwrap_or_default();
        if !self.is_known(top) {
            // A script beside it, a directory that joins the path later: somebody knows the name.
            let is_doubtful = self.lies_beside(import, top) || self.lies_on_path(top);
            return (found == ModuleOrigin::Missing && !is_doubtful)
                .then_some(Missing::Package(top));
        }
        if found != ModuleOrigin::Workspace {
            return None;
        }
        let mut end = 0;
        for part in import.module.split('.') {
            let parent = import.module.get(..end.max(1) - 1).unwrap_or("");
            end += part.len() + 1;
            let module = import.module.get(..end - 1)?;
            if self.is_known(module) {
                continue;
            }
            let may_change = self.scope(parent).is_some_and(|scope| scope.is_dynamic);
            let is_there = may_change || self.lies_on_path(module);
            return (!is_there).then(|| Missing::Module(module.to_owned()));
        }
        let name = import.name.as_deref().filter(|name| *name != "*")?;
        let full = format!("{}.{name}", import.module);
        if self.is_known(&full)
            || self.has_name(&import.module, name, 0)
            || self.lies_on_path(&full)
        {
            return None;
        }
        let nearest = self.scope(&import.module).and_then(|scope| {
            let close = scope
                .names
                .iter()
                .map(|other| (strsim::jaro_winkler(other, name), other));
            close
                .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, other)| other.clone())
        });
        Some(Missing::Name {
            module: &import.module,
            name,
            nearest,
        })
    }

    /// In doubt it has.
    fn has_name(&self, module: &str, name: &str, depth: usize) -> bool {
        let Some(scope) = self.scope(module) else {
            // A directory without `__init__` has modules only; another module may have anything.
            return !self.packages.contains(module);
        };
        scope.is_dynamic
            || MODULE_ATTRIBUTES.contains(&name)
            || scope.names.contains(name)
            || depth >= STARS_MAX
            || scope
                .stars
                .iter()
                .any(|star| self.has_name(star, name, depth + 1))
    }
}
