//! What an environment is, as its files say.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The interpreter that an environment was made from, if it is still there.
pub(super) fn base_python(environment: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let home = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "home").then(|| PathBuf::from(value.trim()))
    })?;
    let program = home.join("python3");
    (home.is_absolute() && program.is_file()).then_some(program)
}

/// The environment of a workspace has an interpreter that could be started, and programs that can find it.
pub(in crate::fix) fn is_usable(environment: &Path) -> bool {
    environment.join("pyvenv.cfg").is_file()
        && environment.join("bin/python").is_file()
        && !has_moved(environment)
}

/// Programs of the environment name an interpreter that is not there: it was copied or renamed.
fn has_moved(environment: &Path) -> bool {
    let Ok(entries) = fs::read_dir(environment.join("bin")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let mut first = Vec::new();
        let about = entry.metadata().is_ok_and(|about| about.is_file());
        let file = about.then(|| fs::File::open(entry.path()));
        let Some(Ok(file)) = file else { return false };
        if file.take(512).read_to_end(&mut first).is_err() {
            return false;
        }
        let line = first
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let Some(line) = line.strip_prefix(b"#!/") else {
            return false;
        };
        let line = String::from_utf8_lossy(line);
        let program = format!(
            "/{}",
            line.split([' ', '\t', '\r']).next().unwrap_or_default()
        );
        let program = Path::new(&program);
        let is_python = program
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("python"));
        is_python && !program.starts_with("/usr") && !program.exists()
    })
}

/// Names of the metadata directories of an environment, sorted: what is installed there.
pub(in crate::fix) fn installed(environment: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for python in fs::read_dir(environment.join("lib"))? {
        let packages = python?.path().join("site-packages");
        let Ok(entries) = fs::read_dir(packages) else {
            continue;
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".dist-info") {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}
