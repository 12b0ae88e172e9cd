//! Which files a pass reads: every `.py` below the roots that no `.gitignore` hides, no virtual environment
//! owns, and that lies in the workspace itself, not behind a link out of it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

/// Directories that never hold the application's own sources.
const SKIPPED_DIRECTORIES: [&str; 6] = [
    "node_modules",
    "__pycache__",
    "site-packages",
    "dist-packages",
    ".ubs",
    ".git",
];
/// Deeper trees are no source trees.
const DEPTH_MAX: usize = 64;

/// One file to read.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub path: PathBuf,
    /// Relative to the workspace, with `/`.
    pub shown: String,
    /// Dotted names, by each root that it lies below; that of the nearest root first.
    pub modules: Vec<String>,
    /// It is a package's `__init__`.
    pub is_package: bool,
}

/// The files below the roots, sorted, and whether there are more than `files_max`.
pub(super) fn list_files(
    workspace: &Path,
    roots: &[String],
    files_max: usize,
) -> (Vec<SourceFile>, bool) {
    let Ok(workspace) = workspace.canonicalize() else {
        return (Vec::new(), false);
    };
    let here = [".".to_owned()];
    let roots = if roots.is_empty() { &here[..] } else { roots };
    let mut bases: Vec<PathBuf> = roots
        .iter()
        .filter_map(|root| root_directory(&workspace, root))
        .collect();
    // The nearest root first: the longest path.
    bases.sort_by_key(|base| std::cmp::Reverse(base.components().count()));
    bases.dedup();
    let mut found: BTreeMap<PathBuf, ()> = BTreeMap::new();
    let mut truncated = false;
    for base in &bases {
        for entry in walker(&workspace, base).flatten() {
            if !is_python_file(&entry) {
                continue;
            }
            if found.len() >= files_max {
                truncated = true;
                break;
            }
            found.insert(entry.into_path(), ());
        }
    }
    let files = found
        .into_keys()
        .filter_map(|path| source_file(&workspace, &bases, path))
        .collect();
    (files, truncated)
}

/// A root that lies in the workspace, also through links.
fn root_directory(workspace: &Path, root: &str) -> Option<PathBuf> {
    let base = workspace.join(root).canonicalize().ok()?;
    (base.starts_with(workspace) && base.is_dir()).then_some(base)
}

fn walker(workspace: &Path, base: &Path) -> ignore::Walk {
    let root = base.to_owned();
    // What the workspace's own `.gitignore` says of the root itself is not asked: it was named.
    WalkBuilder::new(base)
        .standard_filters(false)
        .hidden(true)
        .git_ignore(true)
        .require_git(false)
        .parents(base == workspace || !is_ignored_itself(workspace, base))
        .follow_links(false)
        .max_depth(Some(DEPTH_MAX))
        .filter_entry(move |entry| {
            entry.path() == root
                || entry.file_type().is_none_or(|kind| !kind.is_dir())
                || is_source_directory(entry)
        })
        .build()
}

/// A `.gitignore` between the workspace and the root hides the root.
fn is_ignored_itself(workspace: &Path, base: &Path) -> bool {
    let mut builder = ignore::gitignore::GitignoreBuilder::new(workspace);
    let mut above = base.parent();
    while let Some(directory) = above.filter(|directory| directory.starts_with(workspace)) {
        builder.add(directory.join(".gitignore"));
        above = directory.parent();
    }
    builder
        .build()
        .is_ok_and(|rules| rules.matched_path_or_any_parents(base, true).is_ignore())
}

fn is_source_directory(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    !SKIPPED_DIRECTORIES.contains(&name.as_ref()) && !entry.path().join("pyvenv.cfg").exists()
}

fn is_python_file(entry: &DirEntry) -> bool {
    // A link to a file is read only if it stays in the workspace; its target is walked anyway.
    entry.file_type().is_some_and(|kind| kind.is_file())
        && entry.path().extension().is_some_and(|end| end == "py")
}

fn source_file(workspace: &Path, bases: &[PathBuf], path: PathBuf) -> Option<SourceFile> {
    let shown = slashed(path.strip_prefix(workspace).ok()?);
    let mut modules = Vec::new();
    let is_package = path.file_stem().is_some_and(|stem| stem == "__init__");
    for base in bases {
        let Ok(inside) = path.strip_prefix(base) else {
            continue;
        };
        let inside = inside.with_extension("");
        let inside = if is_package {
            inside.parent().unwrap_or(&inside)
        } else {
            &inside
        };
        let name = slashed(inside).replace('/', ".");
        if !name.is_empty() && !modules.contains(&name) {
            modules.push(name);
        }
    }
    if modules.is_empty() {
        // The root itself is a package: it is imported by the name of its directory, if at all.
        modules.push(path.parent()?.file_name()?.to_string_lossy().into_owned());
    }
    Some(SourceFile {
        path,
        shown,
        modules,
        is_package,
    })
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_string_lossy()),
            _ => None,
        })
        .collect();
    parts.join("/")
}
