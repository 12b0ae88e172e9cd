//! What the boot imports for sure: from the modules that the manifest names, through unconditional imports
//! only, with the `__init__` of every package on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::ModuleIndex;
use crate::manifest::{Manifest, Service};
use crate::source::{Guard, Import, SourceFacts};

/// Who imports a file for sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached {
    /// The module that the manifest names.
    pub entry: String,
    pub layer: Option<String>,
    pub is_critical: bool,
    /// The layer's dry run imports it.
    pub is_rehearsed: bool,
}

/// Programs that take `module:attribute`.
const SERVERS: [&str; 6] = [
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
];

/// For each file, who imports it.
pub(super) fn reached_files(
    manifest: &Manifest,
    index: &ModuleIndex<'_>,
    facts: &SourceFacts,
) -> BTreeMap<String, Vec<Reached>> {
    let mut by_module: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in facts.imports.iter().filter(|i| i.guard == Guard::Always) {
        by_module.entry(&import.from).or_default().push(import);
    }
    let mut files: BTreeMap<String, Vec<Reached>> = BTreeMap::new();
    for entry in entries(manifest) {
        for file in walk(&entry.entry, index, &by_module) {
            files.entry(file).or_default().push(entry.clone());
        }
    }
    files
}

fn entries(manifest: &Manifest) -> Vec<Reached> {
    let mut all = Vec::new();
    for layer in &manifest.layers {
        let mut add = |module: &str, is_rehearsed| {
            all.push(Reached {
                entry: module.to_owned(),
                layer: Some(layer.name.clone()),
                is_critical: layer.critical,
                is_rehearsed,
            });
        };
        for module in layer.rehearse.iter().flat_map(|rehearse| &rehearse.imports) {
            add(module, true);
        }
        for module in layer.services.iter().filter_map(service_module) {
            add(module, false);
        }
    }
    if let Some(app) = manifest.registration.as_ref().and_then(|r| r.app.as_ref()) {
        all.push(Reached {
            entry: app.module.clone(),
            layer: None,
            is_critical: true,
            is_rehearsed: false,
        });
    }
    all
}

/// The module that a service's command imports, where that is plain.
fn service_module(service: &Service) -> Option<&str> {
    // Another directory or path: other modules.
    let is_plain = service.cwd.is_none()
        && !service.env.contains_key("PYTHONPATH")
        && !service.run.iter().any(|word| {
            word.contains("${") || word.starts_with("--app-dir") || word.starts_with("--chdir")
        });
    if !is_plain {
        return None;
    }
    let mut words = service.run.iter().map(String::as_str);
    let mut program = words.next()?.rsplit('/').next()?;
    if program.starts_with("python") {
        // Options before `-m` could change the path.
        if words.next()? != "-m" {
            return None;
        }
        program = words.next()?;
        if !SERVERS.contains(&program) {
            return Some(program);
        }
    }
    if !SERVERS.contains(&program) {
        return None;
    }
    words
        .filter(|word| !word.starts_with('-'))
        .filter_map(|word| word.split_once(':'))
        .map(|(module, _)| module)
        .find(|module| {
            module
                .split('.')
                .all(|part| part.starts_with(|c: char| c.is_alphabetic() || c == '_'))
        })
}

/// Files that importing a module runs, if all goes well.
fn walk(
    entry: &str,
    index: &ModuleIndex<'_>,
    imports: &BTreeMap<&str, Vec<&Import>>,
) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![entry.to_owned()];
    while let Some(module) = next.pop() {
        if !seen.insert(module.clone()) {
            continue;
        }
        // The packages on the way are imported first.
        if let Some((package, _)) = module.rsplit_once('.') {
            next.push(package.to_owned());
        }
        let Some(scope) = index.scope(&module) else {
            continue;
        };
        files.insert(scope.file.clone());
        // What plays with its own names may play with its imports.
        if scope.is_dynamic {
            continue;
        }
        for import in imports.get(scope.module.as_str()).into_iter().flatten() {
            next.push(import.module.clone());
            if let Some(name) = &import.name {
                let full = format!("{}.{name}", import.module);
                // A name of the package itself goes before a module of that name.
                let is_bound = index
                    .scope(&import.module)
                    .is_none_or(|scope| scope.is_dynamic || scope.names.contains(name));
                if !is_bound || index.scope(&import.module).is_none() {
                    next.push(full);
                }
            }
        }
    }
    files
}
