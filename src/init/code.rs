//! The static scan's facts, as this room asks for them: modules by the name under which the application
//! imports them, what importing one of them imports, and single lines.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Files;
use crate::source::{Guard, Place, SourceFacts};

/// Lines of one statement that are looked at.
const STATEMENT_LINES_MAX: usize = 20;
/// Names that are handed on from module to module are followed so often.
const REEXPORTS_MAX: usize = 4;
/// Modules of the standard library that applications name their own files after; a directory with one
/// of them must not come first in the import path.
const STANDARD: [&str; 28] = [
    "abc",
    "ast",
    "asyncio",
    "calendar",
    "code",
    "collections",
    "copy",
    "csv",
    "email",
    "enum",
    "http",
    "io",
    "json",
    "logging",
    "math",
    "numbers",
    "operator",
    "platform",
    "profile",
    "queue",
    "random",
    "secrets",
    "select",
    "signal",
    "statistics",
    "string",
    "token",
    "types",
];

/// The sources of an application.
pub(super) struct ApplicationCode<'a> {
    pub facts: &'a SourceFacts,
    pub files: &'a Files,
    /// Directories that belong in front of the import path; `.` is the workspace itself.
    pub roots: Vec<String>,
    /// File of each module, by the name under which it is imported.
    modules: BTreeMap<String, String>,
    /// The other way round.
    by_file: BTreeMap<String, String>,
    /// Imports of each module: the imported module, and whether importing alone does it.
    imports: BTreeMap<String, Vec<(String, bool)>>,
}

/// Tests, examples, documentation and tools: not what is booted.
pub(super) fn is_side(file: &str) -> bool {
    let mut parts = file.split('/').rev();
    let name = parts.next().unwrap_or("");
    name.starts_with("test_")
        || name.ends_with("_test.py")
        || matches!(name, "conftest.py" | "noxfile.py" | "fabfile.py")
        || file == "setup.py"
        || parts.any(|part| {
            matches!(
                part,
                "test"
                    | "tests"
                    | "testing"
                    | "example"
                    | "examples"
                    | "doc"
                    | "docs"
                    | "docs_src"
                    | "benchmark"
                    | "benchmarks"
                    | "node_modules"
                    | "site-packages"
            ) || (part.starts_with('.') && part.len() > 1)
        })
}

impl<'a> ApplicationCode<'a> {
    /// `directories`: where services run, as far as that is known.
    pub(super) fn of(facts: &'a SourceFacts, files: &'a Files, directories: &[String]) -> Self {
        let roots = find_roots(facts, directories);
        let rename = |module: &str| rename(&roots, module);
        let modules: BTreeMap<String, String> = facts
            .modules
            .iter()
            .map(|(module, file)| (rename(module), file.clone()))
            .collect();
        let mut imports: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        for import in &facts.imports {
            if import.guard == Guard::TypeChecking {
                continue;
            }
            let always = matches!(import.guard, Guard::Always | Guard::Tried);
            let module = rename(&import.module);
            let targets = imports.entry(rename(&import.from)).or_default();
            if let Some(name) = &import.name {
                let submodule = format!("{module}.{name}");
                if modules.contains_key(&submodule) {
                    targets.push((submodule, always));
                }
            }
            targets.push((module, always));
        }
        let all_inside = facts
            .modules
            .iter()
            .all(|(_, file)| is_side(file) || roots.iter().any(|root| lies_in(file, root)));
        let mut listed = roots;
        if !all_inside || listed.is_empty() {
            listed.push(".".to_owned());
        }
        Self {
            facts,
            files,
            roots: listed,
            by_file: modules
                .iter()
                .map(|(module, file)| (file.clone(), module.clone()))
                .collect(),
            modules,
            imports,
        }
    }

    /// The name under which a module is imported.
    pub(super) fn name(&self, module: &str) -> String {
        rename(&self.roots, module)
    }

    /// The file of a module, by the name under which it is imported.
    pub(super) fn file_of(&self, module: &str) -> Option<&str> {
        self.modules.get(module).map(String::as_str)
    }

    /// The import root that a module lies in, if it is not the workspace itself.
    pub(super) fn root_of(&self, module: &str) -> Option<&str> {
        let file = self.file_of(module)?;
        self.roots
            .iter()
            .map(String::as_str)
            .find(|root| *root != "." && file.starts_with(&format!("{root}/")))
    }

    /// Modules that bind a name of another module when they are imported, with their files; those that
    /// take it from one of these too.
    pub(super) fn importers_of(&self, module: &str, name: &str) -> BTreeMap<&str, &str> {
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        let mut sources: BTreeSet<String> = BTreeSet::from([module.to_owned()]);
        for _ in 0..REEXPORTS_MAX {
            let before = found.len();
            for import in &self.facts.imports {
                let takes =
                    matches!(import.name.as_deref(), Some(taken) if taken == name || taken == "*");
                if !takes
                    || !matches!(import.guard, Guard::Always | Guard::Tried)
                    || !sources.contains(&self.name(&import.module))
                {
                    continue;
                }
                if let Some((known, file)) = self.modules.get_key_value(&self.name(&import.from))
                    && known != module
                {
                    found.insert(known, file);
                }
            }
            if found.len() == before {
                break;
            }
            sources.extend(found.keys().map(|known| (*known).to_owned()));
        }
        found
    }

    /// Every module with its file.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_file
            .iter()
            .map(|(file, module)| (module.as_str(), file.as_str()))
    }

    /// The module in a file.
    pub(super) fn module_of(&self, file: &str) -> Option<&str> {
        self.by_file.get(file).map(String::as_str)
    }

    /// Modules that importing these loads; with `late`, those that their functions import too.
    pub(super) fn reached(&self, entries: &[String], late: bool) -> BTreeSet<&str> {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = entries.iter().map(String::as_str).collect();
        while let Some(module) = open.pop() {
            // Importing `a.b.c` imports `a` and `a.b` first.
            let mut end = module.len();
            loop {
                let name = &module[..end];
                if let Some((known, _)) = self.modules.get_key_value(name)
                    && reached.insert(known)
                {
                    let targets = self.imports.get(name).into_iter().flatten();
                    open.extend(
                        targets
                            .filter(|(_, always)| late || *always)
                            .map(|(target, _)| target.as_str()),
                    );
                }
                match module[..end].rfind('.') {
                    Some(dot) => end = dot,
                    None => break,
                }
            }
        }
        reached
    }

    /// The text of the statement that begins at a place, up to where its brackets are closed.
    pub(super) fn statement(&self, place: &Place) -> Option<String> {
        let text = self.files.text(&place.file)?;
        let first = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let mut statement = String::new();
        let mut depth = 0_i64;
        for line in text.lines().skip(first).take(STATEMENT_LINES_MAX) {
            statement.push_str(line);
            statement.push('\n');
            for c in line.chars() {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
            }
            if depth <= 0 {
                break;
            }
        }
        Some(statement)
    }

    /// Whether a module does its work only when it is run as a program.
    pub(super) fn has_main_guard(&self, module: &str) -> bool {
        self.file_of(module)
            .and_then(|file| self.files.text(file))
            .is_some_and(|text| text.contains("__main__"))
    }
}

fn lies_in(file: &str, directory: &str) -> bool {
    file.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A module's name below the import roots.
fn rename(roots: &[String], module: &str) -> String {
    for root in roots.iter().filter(|root| *root != ".") {
        let prefix = root.replace('/', ".");
        if let Some(rest) = module
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            return rest.to_owned();
        }
    }
    module.to_owned()
}

/// Directories that the application's own imports need in the import path, beside the workspace.
pub(super) fn find_roots(facts: &SourceFacts, directories: &[String]) -> Vec<String> {
    let packages: BTreeSet<&str> = facts
        .modules
        .iter()
        .filter(|(_, file)| file.ends_with("__init__.py"))
        .map(|(module, _)| module.as_str())
        .collect();
    let tops: BTreeSet<&str> = facts
        .modules
        .iter()
        .map(|(module, _)| module.split('.').next().unwrap_or(module))
        .collect();
    // Name of a module or package below a directory that is none itself, with that directory.
    let mut below: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut roots: BTreeSet<String> = BTreeSet::new();
    for (module, file) in &facts.modules {
        if is_side(file) {
            continue;
        }
        let parts: Vec<&str> = module.split('.').collect();
        // The scan may know a root already.
        let path = file.trim_end_matches(".py").trim_end_matches("/__init__");
        if let Some(root) = path
            .strip_suffix(&parts.join("/"))
            .and_then(|root| root.strip_suffix('/'))
        {
            roots.insert(root.to_owned());
            continue;
        }
        for at in 1..parts.len().min(4) {
            if packages.contains(parts[..at].join(".").as_str()) {
                break;
            }
            below
                .entry(parts[at])
                .or_default()
                .insert(parts[..at].join("/"));
        }
    }
    for import in &facts.imports {
        if import.guard == Guard::TypeChecking || is_side(&import.place.file) {
            continue;
        }
        let top = import.module.split('.').next().unwrap_or("");
        if tops.contains(top) || STANDARD.contains(&top) {
            continue;
        }
        let found = below.get(top).into_iter().flatten();
        // Only those that the importing file itself lies in: another one would be a guess.
        let near: Vec<&String> = found
            .filter(|root| import.place.file.starts_with(&format!("{root}/")))
            .collect();
        if let [root] = near[..] {
            roots.insert(root.clone());
        }
    }
    for directory in directories {
        let prefix = format!("{directory}/");
        let has_modules = facts
            .modules
            .iter()
            .any(|(_, file)| file.starts_with(&prefix));
        let is_package = packages.contains(directory.replace('/', ".").as_str());
        if has_modules && !is_package && directory != "." {
            roots.insert(directory.clone());
        }
    }
    // The deepest first: a name is taken below the nearest root.
    let mut roots: Vec<String> = roots.into_iter().collect();
    roots.sort_by_key(|root| std::cmp::Reverse(root.len()));
    roots
}
