//! Where the migrations of an Alembic environment lie, in which table it keeps what was applied, and where it runs:
//! from its files (alembic.sqlalchemy.org, "Editing the .ini File"), without running anything.

use std::path::{Path, PathBuf};

use super::config_file::AlembicOptions;
use super::revision::{Argument, keyword_argument};
use super::text_file::read_text;

/// Revision files.
const FILES_MAX: usize = 10_000;
/// Directories within each other, where an environment wants them searched.
const DEPTH_MAX: usize = 8;
/// Where Alembic keeps what was applied if nobody says otherwise.
const VERSION_TABLE: &str = "alembic_version";

/// A migration environment.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Environment {
    /// Where `env.py` lies.
    pub location: PathBuf,
    /// Revision files, sorted.
    pub files: Vec<PathBuf>,
    /// The table that holds what was applied; or the line of `env.py` that computes its name.
    pub version_table: Result<String, u32>,
    /// The schema of that table, if `env.py` names one.
    pub version_schema: Option<String>,
    /// Its `env.py` takes the database from a running Flask application.
    pub is_flask: bool,
    /// Where it runs: beside its file, if its paths are relative to that; otherwise at the top of the workspace.
    pub directory: PathBuf,
}

/// Finds the environment of `config`, relative to `root`; or says why there is none. `python_path`: directories
/// of the import path, relative to `root` too.
pub(super) fn find_environment(
    root: &Path,
    python_path: &[String],
    config: &str,
    section: &str,
) -> Result<Environment, String> {
    let options = AlembicOptions::read(root, config, section)?;
    let file = root.join(config);
    let here = file.parent().unwrap_or(root).to_owned();
    let place = PathBase {
        root,
        here: &here,
        python_path,
    };
    let real_root = root.canonicalize().map_err(|e| e.to_string())?;
    let inside = |written: &str| {
        let found = place.resolve(written)?;
        let real = found
            .canonicalize()
            .map_err(|_| format!("{config} names {written}, which is not there"))?;
        if real.starts_with(&real_root) {
            Ok(found)
        } else {
            Err(format!(
                "{config} names {written}, which leads out of the workspace"
            ))
        }
    };
    let written = options.text("script_location");
    let location = match &written {
        Some(written) => inside(written)?,
        // Flask-Migrate keeps its file beside the environment.
        None if here.join("env.py").is_file() => here.clone(),
        None => return Err(format!("{config} has no script_location in [{section}]")),
    };
    let versions = match options.paths("version_locations") {
        Some(list) => list
            .iter()
            .map(|written| inside(written))
            .collect::<Result<Vec<_>, _>>()?,
        None => vec![location.join("versions")],
    };
    let recursive = options.is_on("recursive_version_locations");
    let mut files = Vec::new();
    for directory in &versions {
        collect_files(directory, if recursive { DEPTH_MAX } else { 0 }, &mut files)?;
    }
    files.sort();
    files.dedup();
    let env = read_text(&location.join("env.py")).unwrap_or_default();
    let argument = |name: &str| match keyword_argument(&env, name) {
        Argument::Option(key) => Ok(options.text(&key)),
        Argument::Text(text) => Ok(Some(text)),
        Argument::Absent => Ok(None),
        Argument::Computed(line) => Err(line),
    };
    let version_table =
        argument("version_table").map(|table| table.unwrap_or_else(|| VERSION_TABLE.to_owned()));
    let is_flask = env.contains("current_app");
    let is_beside = !is_flask
        && written.is_some_and(|written| {
            let is_plain = !written.contains(':') && !Path::new(&written).is_absolute();
            is_plain && here.join(&written).exists()
        });
    Ok(Environment {
        location,
        files,
        version_schema: argument("version_table_schema").ok().flatten(),
        version_table,
        is_flask,
        directory: if is_beside { here } else { root.to_owned() },
    })
}

fn collect_files(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    // A new environment has no directory of versions yet.
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if depth > 0 && name != "__pycache__" && !entry.path().is_symlink() {
                collect_files(&path, depth - 1, files)?;
            }
        } else if name.ends_with(".py") && !name.starts_with(".#") && !name.starts_with("__init__")
        {
            files.push(path);
            if files.len() > FILES_MAX {
                return Err(format!("there are more than {FILES_MAX} revision files"));
            }
        }
    }
    Ok(())
}

/// What paths are relative to.
struct PathBase<'a> {
    root: &'a Path,
    here: &'a Path,
    python_path: &'a [String],
}

impl PathBase<'_> {
    /// A path as written, or `package:path`.
    fn resolve(&self, written: &str) -> Result<PathBuf, String> {
        let tidy = |path: PathBuf| -> PathBuf { path.components().collect() };
        if let Some((package, path)) = written.split_once(':') {
            let package: PathBuf = package.split('.').collect();
            let bases = self.python_path.iter().map(String::as_str).chain(["."]);
            return bases
                .map(|base| tidy(self.root.join(base).join(&package)))
                .find(|found| found.is_dir())
                .map(|found| tidy(found.join(path)))
                .ok_or_else(|| {
                    format!("{written} lies in a package that is not in the workspace")
                });
        }
        // Alembic takes it relative to where it runs: beside its file, or at the top of the workspace.
        let beside = tidy(self.here.join(written));
        let top = tidy(self.root.join(written));
        Ok(if !beside.exists() && top.exists() {
            top
        } else {
            beside
        })
    }
}
