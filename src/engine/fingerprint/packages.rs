//! Installed packages with their versions, read from the names of their metadata directories.
//!
//! No Python is run: of `lib/python3.X/site-packages/NAME-VERSION.dist-info` beside the interpreter
//! the name says it all (PyPA specification "Recording installed projects").

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Packages that are named; an environment has some hundreds.
const PACKAGES_MAX: usize = 2_000;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 20_000;

/// The packages of the environment that `interpreter` (`ENVIRONMENT/bin/python`) belongs to.
pub(super) fn packages(interpreter: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for directory in site_packages(interpreter) {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.take(ENTRIES_MAX).flatten() {
            let name = entry.file_name();
            if let Some((name, version)) = name.to_str().and_then(name_and_version) {
                found.insert(name, version);
            }
        }
    }
    while found.len() > PACKAGES_MAX {
        found.pop_last();
    }
    found
}

/// `lib` and `lib64` may be one; Debian's own interpreter has `dist-packages`.
fn site_packages(interpreter: &Path) -> Vec<PathBuf> {
    let Some(environment) = interpreter.parent().and_then(Path::parent) else {
        return vec![];
    };
    let mut directories: Vec<PathBuf> = ["lib", "lib64", "local/lib"]
        .into_iter()
        .filter_map(|lib| fs::read_dir(environment.join(lib)).ok())
        .flat_map(|entries| entries.take(ENTRIES_MAX).flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name)))
        .filter_map(|directory| fs::canonicalize(directory).ok())
        .collect();
    directories.sort();
    directories.dedup();
    directories
}

/// `fastapi`, `0.115.0` of `fastapi-0.115.0.dist-info`; the name as it is compared: in lower case,
/// with `-` for runs of `-`, `_` and `.` (PEP 503).
fn name_and_version(directory: &str) -> Option<(String, String)> {
    let (name, version) = directory.strip_suffix(".dist-info")?.rsplit_once('-')?;
    let parts: Vec<&str> = name
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    let name = parts.join("-").to_ascii_lowercase();
    (!name.is_empty() && !version.is_empty()).then(|| (name, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_beside_the_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("lib/python3.12/site-packages");
        for name in [
            "fastapi-0.115.0.dist-info",
            "typing_extensions-4.12.2.dist-info",
            "zope.interface-7.0.dist-info",
            "fastapi",
            "odd.dist-info",
            "-1.dist-info",
        ] {
            fs::create_dir_all(site.join(name)).unwrap();
        }
        let found: Vec<_> = packages(&dir.path().join("bin/python"))
            .into_iter()
            .collect();
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(
            found,
            [
                pair("fastapi", "0.115.0"),
                pair("typing-extensions", "4.12.2"),
                pair("zope-interface", "7.0"),
            ]
        );
        assert!(packages(Path::new("/no/such/bin/python")).is_empty());
        assert!(packages(Path::new("python")).is_empty());
    }

    #[test]
    fn no_more_than_the_bound_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("lib/python3.12/site-packages");
        for n in 0..=PACKAGES_MAX {
            fs::create_dir_all(site.join(format!("p{n}-1.dist-info"))).unwrap();
        }
        assert_eq!(packages(&dir.path().join("bin/python")).len(), PACKAGES_MAX);
    }
}
