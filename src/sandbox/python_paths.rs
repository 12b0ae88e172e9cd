//! Where an interpreter and what it imports lie: its prefix, that of the environment, and what path files name.
//!
//! Everything is read, nothing is run: a path file (`.pth`) may hold code.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::lexical::normalise;

/// Links followed from a program's name to its file.
const LINKS_MAX: usize = 16;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Most entries of a directory of packages that are looked at.
const PACKAGES_MAX: usize = 20_000;

/// What has to be shown for that program to run, beside the system: for an interpreter its prefix and packages, for
/// another program its file.
pub(super) fn interpreter_paths(program: &Path) -> Vec<PathBuf> {
    let mut paths = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    let mut file = program.to_owned();
    for _ in 0..LINKS_MAX {
        if let Some(prefix) = prefix_of(&file) {
            prefixes.insert(prefix);
        }
        paths.insert(file.clone());
        let Ok(to) = fs::read_link(&file) else { break };
        file = match file.parent() {
            Some(parent) => normalise(&parent.join(to)),
            None => to,
        };
    }
    if let Ok(real) = program.canonicalize() {
        prefixes.extend(prefix_of(&real));
        paths.insert(real);
    }
    let homes: Vec<PathBuf> = prefixes
        .iter()
        .filter_map(|prefix| base_of(prefix))
        .collect();
    prefixes.extend(homes);
    // An environment may be a link to a directory elsewhere.
    let real: Vec<PathBuf> = prefixes
        .iter()
        .filter_map(|p| p.canonicalize().ok())
        .collect();
    prefixes.extend(real);
    for prefix in &prefixes {
        paths.extend(named_by_packages(prefix));
    }
    paths.extend(prefixes);
    paths.into_iter().collect()
}

/// What programs that come with `bin/` are installed in, if it is no more than that: an interpreter or an environment.
fn prefix_of(program: &Path) -> Option<PathBuf> {
    let bin = program.parent()?;
    let prefix = bin.parent()?;
    // A shim is a script that starts the interpreter of a version manager, which lies beside it.
    let is_managed = bin.ends_with("shims") && prefix.join("versions").is_dir();
    let is_python = bin.ends_with("bin")
        && (prefix.join("pyvenv.cfg").is_file() || library_directories(prefix).next().is_some());
    // `~/bin/python` must not show the home directory.
    let is_home = is_home(prefix);
    ((is_managed || is_python) && !is_home && prefix.parent().is_some()).then(|| prefix.to_owned())
}

fn is_home(directory: &Path) -> bool {
    let homes = std::env::var_os("HOME").map(PathBuf::from);
    homes.is_some_and(|home| home.starts_with(directory))
        || Path::new("/usr").starts_with(directory)
}

/// The installation that a virtual environment was made from (`pyvenv.cfg`, PEP 405).
fn base_of(prefix: &Path) -> Option<PathBuf> {
    let text = read_bounded(&prefix.join("pyvenv.cfg"))?;
    let home = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "home").then(|| PathBuf::from(value.trim()))
    })?;
    let real = home.canonicalize().ok()?;
    prefix_of(&real.join("python3"))
}

/// `PREFIX/lib/python3.11`.
fn library_directories(prefix: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(prefix.join("lib"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path())
}

/// Directories elsewhere that packages of that prefix are imported from: path files, editable installations (PEP 660)
/// and those of setuptools before them.
fn named_by_packages(prefix: &Path) -> Vec<PathBuf> {
    let mut named = Vec::new();
    for library in library_directories(prefix) {
        for packages in ["site-packages", "dist-packages"] {
            named.extend(named_in(&library.join(packages)));
        }
    }
    named
}

pub(super) fn named_in(packages: &Path) -> Vec<PathBuf> {
    let mut named = Vec::new();
    let entries = fs::read_dir(packages).into_iter().flatten().flatten();
    for entry in entries.take(PACKAGES_MAX) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".pth") || name.ends_with(".egg-link") {
            let text = read_bounded(&entry.path()).unwrap_or_default();
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| !line.starts_with("import ") && line.starts_with('/'));
            named.extend(lines.map(PathBuf::from));
        } else if name.ends_with(".dist-info") {
            let text = read_bounded(&entry.path().join("direct_url.json"));
            named.extend(text.and_then(|text| editable_project(&text)));
        }
    }
    named.retain(|path| path.is_dir() && !is_home(path) && path.parent().is_some());
    named
}

/// `direct_url.json` (PEP 610).
#[derive(Deserialize)]
struct DirectUrl {
    url: String,
    dir_info: Option<DirInfo>,
}

#[derive(Deserialize)]
struct DirInfo {
    #[serde(default)]
    editable: bool,
}

fn editable_project(text: &str) -> Option<PathBuf> {
    let direct: DirectUrl = serde_json::from_str(text).ok()?;
    direct.dir_info.filter(|info| info.editable)?;
    let path = direct.url.strip_prefix("file://")?;
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .ok()?;
    Some(PathBuf::from(path.into_owned()))
}

fn read_bounded(path: &Path) -> Option<String> {
    let file = fs::File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "base/bin",
            "base/lib/python3.11",
            "w/.venv/bin",
            "elsewhere/pkg",
            "old/src",
        ] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::create_dir_all(at("w/.venv/lib/python3.11/site-packages/x-1.dist-info")).unwrap();
        fs::write(at("base/bin/python3"), "").unwrap();
        symlink(at("base/bin/python3"), at("w/.venv/bin/python")).unwrap();
        let home = format!("home = {}\nversion = 3\n", at("base/bin").display());
        fs::write(at("w/.venv/pyvenv.cfg"), home).unwrap();
        let packages = at("w/.venv/lib/python3.11/site-packages");
        let url = format!(
            r#"{{"url": "file://{}", "dir_info": {{"editable": true}}}}"#,
            at("elsewhere/pkg").display()
        );
        fs::write(packages.join("x-1.dist-info/direct_url.json"), url).unwrap();
        let lines = format!(
            "import os; os.system('x')\n{}\nrelative\n/\n",
            at("old/src").display()
        );
        fs::write(packages.join("old.pth"), lines).unwrap();
        dir
    }

    #[test]
    fn an_environment_shows_its_base_and_what_is_installed_from_elsewhere() {
        let dir = tree();
        let paths = interpreter_paths(&dir.path().join("w/.venv/bin/python"));
        for wanted in [
            "base",
            "w/.venv",
            "elsewhere/pkg",
            "old/src",
            "base/bin/python3",
        ] {
            assert!(
                paths.contains(&dir.path().join(wanted)),
                "{wanted}: {paths:?}"
            );
        }
        assert!(!paths.contains(&dir.path().join("w")) && !paths.contains(&PathBuf::from("/")));
    }

    #[test]
    fn an_environment_that_is_a_link_shows_where_it_leads() {
        let dir = tree();
        fs::create_dir(dir.path().join("v")).unwrap();
        symlink(dir.path().join("w/.venv"), dir.path().join("v/.venv")).unwrap();
        let paths = interpreter_paths(&dir.path().join("v/.venv/bin/python"));
        for wanted in ["base", "w/.venv", "elsewhere/pkg"] {
            assert!(
                paths.contains(&dir.path().join(wanted)),
                "{wanted}: {paths:?}"
            );
        }
    }

    #[test]
    fn a_program_of_the_home_directory_shows_itself_alone() {
        let dir = tree();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/tool"), "").unwrap();
        let paths = interpreter_paths(&dir.path().join("bin/tool"));
        assert_eq!(paths, [dir.path().join("bin/tool")]);
    }
}
