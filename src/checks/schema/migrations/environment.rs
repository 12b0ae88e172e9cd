//! Where the migrations of an Alembic environment lie: its `ini` file, read as Alembic does
//! (alembic.sqlalchemy.org, "Editing the .ini File"), without running anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::revision::keyword_argument;
use crate::checks::CheckContext;

/// Bytes of one file that is read.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Revision files.
const FILES_MAX: usize = 10_000;
/// Directories within each other, where an environment wants them searched.
const DEPTH_MAX: usize = 8;
/// Replacements within each other.
const INTERPOLATION_MAX: usize = 10;

/// A migration environment.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Environment {
    /// Where `env.py` lies.
    pub location: PathBuf,
    /// Revision files, sorted.
    pub files: Vec<PathBuf>,
    /// The table that holds what was applied.
    pub version_table: String,
    /// Its `env.py` takes the database from a running Flask application.
    pub is_flask: bool,
}

/// The sections of an `ini` file: keys in lower case.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Finds the environment of the `ini` file; or says why there is none.
pub(super) fn find_environment(
    context: &CheckContext<'_>,
    config: &str,
    section: &str,
) -> Result<Environment, String> {
    let file = context.root.join(config);
    let text = read_text(&file).map_err(|why| format!("{config} {why}"))?;
    let sections = read_ini(&text);
    let here = file.parent().unwrap_or(context.root).to_owned();
    if !sections.contains_key(section) {
        return Err(format!("{config} has no section [{section}]"));
    }
    let value = |key: &str| lookup(&sections, section, key, &here);
    let inside = |written: &str| {
        let found = resolve(context, &here, written)?;
        let real = found
            .canonicalize()
            .map_err(|_| format!("{config} names {written}, which is not there"))?;
        let root = context.root.canonicalize().map_err(|e| e.to_string())?;
        if real.starts_with(&root) {
            Ok(found)
        } else {
            Err(format!(
                "{config} names {written}, which leads out of the workspace"
            ))
        }
    };
    let location = match value("script_location") {
        Some(written) => inside(&written)?,
        // Flask-Migrate keeps its file beside the environment.
        None if here.join("env.py").is_file() => here.clone(),
        None => return Err(format!("{config} has no script_location in [{section}]")),
    };
    let versions = match value("version_locations").filter(|list| !list.trim().is_empty()) {
        Some(list) => {
            let separator = value("path_separator").or_else(|| value("version_path_separator"));
            split_paths(&list, separator.as_deref())
                .iter()
                .map(|written| inside(written))
                .collect::<Result<Vec<_>, _>>()?
        }
        None => vec![location.join("versions")],
    };
    let recursive = value("recursive_version_locations").is_some_and(|v| {
        matches!(
            v.trim().to_lowercase().as_str(),
            "true" | "1" | "yes" | "on"
        )
    });
    let mut files = Vec::new();
    for directory in &versions {
        collect_files(directory, if recursive { DEPTH_MAX } else { 0 }, &mut files)?;
    }
    files.sort();
    files.dedup();
    let env = read_text(&location.join("env.py")).unwrap_or_default();
    Ok(Environment {
        location,
        files,
        version_table: keyword_argument(&env, "version_table")
            .unwrap_or_else(|| "alembic_version".to_owned()),
        is_flask: env.contains("current_app"),
    })
}

/// A small file of the workspace as text.
pub(super) fn read_text(file: &Path) -> Result<String, String> {
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
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

/// A path as written, or `package:path`.
fn resolve(context: &CheckContext<'_>, here: &Path, written: &str) -> Result<PathBuf, String> {
    let tidy = |path: PathBuf| -> PathBuf { path.components().collect() };
    if let Some((package, path)) = written.split_once(':') {
        let package: PathBuf = package.split('.').collect();
        let declared = &context.manifest.python.path;
        let bases = declared.iter().map(String::as_str).chain(["."]);
        return bases
            .map(|base| tidy(context.root.join(base).join(&package)))
            .find(|found| found.is_dir())
            .map(|found| tidy(found.join(path)))
            .ok_or_else(|| format!("{written} lies in a package that is not in the workspace"));
    }
    // Alembic takes it relative to where it runs: beside its file, or at the top of the workspace.
    let beside = tidy(here.join(written));
    let top = tidy(context.root.join(written));
    Ok(if !beside.exists() && top.exists() {
        top
    } else {
        beside
    })
}

fn split_paths(list: &str, separator: Option<&str>) -> Vec<String> {
    let is_separator = |c: char| match separator.map(str::trim) {
        Some("os" | ":") => c == ':',
        Some(";") => c == ';',
        Some("newline") => c == '\n',
        Some("space") => c.is_whitespace(),
        _ => c.is_whitespace() || c == ',',
    };
    list.split(is_separator)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn read_ini(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut section = String::new();
    let mut key: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with(char::is_whitespace)
            && let Some(key) = &key
        {
            if let Some(value) = sections.get_mut(&section).and_then(|s| s.get_mut(key)) {
                value.push('\n');
                value.push_str(trimmed);
            }
            continue;
        }
        if let Some(name) = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            name.clone_into(&mut section);
            sections.entry(section.clone()).or_default();
            key = None;
            continue;
        }
        let (name, value) = trimmed.split_once(['=', ':']).unwrap_or((trimmed, ""));
        let name = name.trim().to_lowercase();
        sections
            .entry(section.clone())
            .or_default()
            .insert(name.clone(), value.trim().to_owned());
        key = Some(name);
    }
    sections
}

/// The value with `%(name)s` replaced, as Python's `configparser` does it.
fn lookup(sections: &Sections, section: &str, key: &str, here: &Path) -> Option<String> {
    let raw = |key: &str| {
        if key == "here" {
            return Some(here.display().to_string());
        }
        let of = |section: &str| sections.get(section).and_then(|s| s.get(key));
        of(section).or_else(|| of("DEFAULT")).cloned()
    };
    let mut value = raw(key)?;
    for _ in 0..INTERPOLATION_MAX {
        let Some((before, rest)) = value.split_once("%(") else {
            break;
        };
        let (name, after) = rest.split_once(")s")?;
        value = format!("{before}{}{after}", raw(&name.to_lowercase())?);
        if value.len() > 64 << 10 {
            return None;
        }
    }
    Some(value.replace("%%", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ini_file_is_read_as_python_does() {
        let text = "[DEFAULT]\nbase = %(here)s/db\n[alembic]\nScript_Location: %(base)s/alembic\n# no\n\
                    version_locations =\n  a\n  b c\nsqlalchemy.url = sqlite:///100%%.db\n[other]\nscript_location=x\n";
        let sections = read_ini(text);
        let value = |section: &str, key: &str| lookup(&sections, section, key, Path::new("/w"));
        assert_eq!(
            value("alembic", "script_location").as_deref(),
            Some("/w/db/alembic")
        );
        assert_eq!(value("other", "script_location").as_deref(), Some("x"));
        assert_eq!(
            value("alembic", "sqlalchemy.url").as_deref(),
            Some("sqlite:///100%.db")
        );
        let list = value("alembic", "version_locations").unwrap();
        assert_eq!(split_paths(&list, None), ["a", "b", "c"]);
        assert_eq!(split_paths(&list, Some("newline")), ["a", "b c"]);
        assert_eq!(split_paths("a:b", Some("os")), ["a", "b"]);
    }

    #[test]
    fn a_circle_of_replacements_ends() {
        let sections = read_ini("[alembic]\na = %(b)s\nb = x%(a)s\n");
        assert!(lookup(&sections, "alembic", "a", Path::new("/w")).is_some_and(|v| v.len() < 100));
        assert_eq!(lookup(&sections, "alembic", "gone", Path::new("/w")), None);
    }
}
