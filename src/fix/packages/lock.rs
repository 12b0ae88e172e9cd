//! The lock file of a project, written by its own tool for a version that is pinned.
//!
//! The tool runs outside of the sandbox, since it asks the index, in a directory that has the declarations and nothing
//! else of the application. Nothing may be built there, because that runs the code of what is built: what would need it
//! is refused, and each tool is told not to. What it writes counts only if it is what was tried.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use toml_edit::{Document, Item, TableLike, Value};

use super::installer::{Installer, said, why};
use crate::checks::normalise;
use crate::domain::ids::Digest;
use crate::domain::mission::Change;
use crate::domain::remedy::TextEdit;
use crate::fix::apply::{read_file, write_atomically};
use crate::kernel::remove_tree;

/// What declares the project.
pub(in crate::fix) const PROJECT: &str = "pyproject.toml";
/// Settings of the tools beside it: the index, for example.
const SETTINGS: [&str; 3] = ["uv.toml", "poetry.toml", "pdm.toml"];
/// A larger change of a lock file is another lock file, not another version of one package.
const CHANGED_BYTES_MAX: usize = 256 << 10;
/// How long the least difference is looked for; then it is a larger one.
const DIFF_WITHIN: Duration = Duration::from_secs(5);
/// What Poetry says from 2.0 on, where nothing is made newer without being asked for. Versions that know neither build
/// in another way, and are not run again.
const NO_SUCH_OPTION: &str = "The option \"--no-update\" does not exist";
/// Variables that would lead a tool elsewhere, or let it run code of its own finding.
const NOT_INHERITED: [&str; 13] = [
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "UV_WORKING_DIRECTORY",
    "UV_FROZEN",
    "UV_LOCKED",
    "PDM_PROJECT",
    "PDM_LOCKFILE",
];

/// What holds exact versions, and who writes it.
#[derive(Debug)]
pub(in crate::fix) struct Lock {
    /// In the workspace.
    pub file: &'static str,
    /// As a person writes it anew.
    pub command: &'static str,
    tool: Option<Tool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Uv,
    Poetry,
    Pdm,
}

/// Lock files, by their names.
pub(in crate::fix) const LOCKS: [Lock; 4] = [
    Lock {
        file: "uv.lock",
        command: "uv lock",
        tool: Some(Tool::Uv),
    },
    Lock {
        file: "poetry.lock",
        command: "poetry lock",
        tool: Some(Tool::Poetry),
    },
    Lock {
        file: "pdm.lock",
        command: "pdm lock",
        tool: Some(Tool::Pdm),
    },
    Lock {
        file: "Pipfile.lock",
        command: "pipenv lock",
        tool: None,
    },
];

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Uv => "uv",
            Self::Poetry => "poetry",
            Self::Pdm => "pdm",
        }
    }

    /// Why it may have to run code for these declarations, if so. It has switches against that for what it downloads;
    /// the project itself, and what is declared by its place, are built all the same.
    fn runs_code(self, declared: &str) -> Option<String> {
        let Ok(document) = Document::parse(declared) else {
            return Some(format!("{PROJECT} cannot be read"));
        };
        let has = |keys: &[&str]| {
            let first: &Item = document.as_item();
            let mut keys = keys.iter();
            keys.try_fold(first, |item, key| item.get(*key)).is_some()
        };
        let is_computed = document
            .get("project")
            .and_then(|project| project.get("dynamic")?.as_array())
            .is_some_and(|names| !names.is_empty());
        if self != Self::Poetry && (is_computed || !has(&["project"])) {
            return Some(format!(
                "{PROJECT} leaves a part of its metadata to code (`dynamic`)"
            ));
        }
        if has(&["tool", "uv", "workspace"]) {
            return Some("it is one of several projects of a workspace of uv".to_owned());
        }
        if has(&["tool", "poetry", "requires-plugins"]) || has(&["tool", "pdm", "plugins"]) {
            return Some("the project asks for plugins of its tool".to_owned());
        }
        by_place(document.as_item(), false)
            .map(|one| format!("it would have to build {one}, which is declared by its place"))
    }

    /// In a directory that has the declarations and the lock file.
    fn command(self, program: &Path, installer: &Installer<'_>, is_old: bool) -> Command {
        let mut command = Command::new(program);
        command.arg("lock").env_clear().envs(installer.process_env);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        match self {
            Self::Uv => {
                command.args(["--no-build", "--no-progress", "--color", "never"]);
                if let Some(python) = installer.base_python() {
                    command.arg("--python").arg(python);
                }
                command.env("UV_PYTHON_DOWNLOADS", "never");
            }
            Self::Poetry => {
                // Before 2.0 everything else would become newer.
                if is_old {
                    command.arg("--no-update");
                }
                command.args(["--no-interaction", "--no-ansi", "--no-plugins"]);
                // It builds in an environment that it lets virtualenv make, which has no creator of this name.
                command
                    .env("POETRY_VIRTUALENVS_CREATE", "false")
                    .env("VIRTUALENV_CREATOR", "none");
            }
            Self::Pdm => {
                command.args(["--update-reuse", "--skip", ":all"]);
                command
                    .env("PDM_ONLY_BINARY", ":all:")
                    .env("PDM_NO_BINARY", "")
                    .env("PDM_USE_UV", "false")
                    .env("PDM_USE_VENV", "false")
                    .env("PDM_IGNORE_SAVED_PYTHON", "1")
                    .env("PDM_CHECK_UPDATE", "false")
                    .env("PDM_NON_INTERACTIVE", "1");
            }
        }
        command
    }
}

/// A dependency that is named by a path or an URL.
fn by_place(item: &Item, are_dependencies: bool) -> Option<String> {
    if let Some(table) = item.as_table_like() {
        return in_table(table, are_dependencies);
    }
    if let Some(tables) = item.as_array_of_tables() {
        return tables.iter().find_map(|table| in_table(table, false));
    }
    item.as_value().and_then(in_value)
}

fn in_table(table: &dyn TableLike, are_dependencies: bool) -> Option<String> {
    const PLACES: [&str; 8] = [
        "path",
        "git",
        "url",
        "file",
        "hg",
        "svn",
        "workspace",
        "editable",
    ];
    table.iter().find_map(|(key, item)| {
        let places = item.as_table_like().filter(|_| are_dependencies);
        if places.is_some_and(|one| PLACES.iter().any(|key| one.contains_key(key))) {
            return Some(key.to_owned());
        }
        // Poetry takes several of one name, uv several sources.
        let several = item.as_array().filter(|_| are_dependencies);
        let mut several = several
            .into_iter()
            .flatten()
            .filter_map(Value::as_inline_table);
        if several.any(|one| PLACES.iter().any(|key| one.contains_key(key))) {
            return Some(key.to_owned());
        }
        let named = ["dependencies", "dev-dependencies", "sources"].contains(&key);
        by_place(item, named)
    })
}

fn in_value(value: &Value) -> Option<String> {
    if let Some(all) = value.as_array() {
        return all.iter().find_map(in_value);
    }
    let text = value.as_str()?.trim();
    let is_url = |at: &str| {
        let at = at.trim_start();
        ["git+", "hg+", "svn+", "bzr+", "file:", "http:", "https:"]
            .iter()
            .any(|scheme| at.starts_with(scheme))
    };
    let by_name = text.split_once('@').is_some_and(|(_, at)| is_url(at));
    if !by_name && !text.contains(" @ ") && !text.starts_with("-e ") {
        return None;
    }
    // The rest may hold a password.
    let name = text.split(['@', '[', ' ']).next().unwrap_or_default();
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    Some(match is_name(name) {
        true => name.to_owned(),
        false => "a dependency".to_owned(),
    })
}

/// The packages of a lock file: name, version, and whether there is a wheel of it.
fn packages_in(lock: &str) -> Option<Vec<(String, String, bool)>> {
    let document = Document::parse(lock).ok()?;
    let tables = document.get("package")?.as_array_of_tables()?;
    let of_table = |table: &toml_edit::Table| {
        let text = |key: &str| table.get(key)?.as_str();
        let is_wheel = |text: &str| {
            text.split(['#', '?'])
                .next()
                .is_some_and(|one| one.ends_with(".whl"))
        };
        let names_wheel = |file: &toml_edit::InlineTable| {
            file.iter()
                .any(|(_, value)| value.as_str().is_some_and(is_wheel))
        };
        let has_wheel = match table.get("wheels").or_else(|| table.get("files")) {
            Some(files) => {
                let mut files = files.as_array().into_iter().flatten();
                files.any(|file| file.as_inline_table().is_some_and(names_wheel))
            }
            // Older ones list all files at the end.
            None => !table.contains_key("sdist"),
        };
        Some((
            normalise(text("name")?),
            text("version")?.to_owned(),
            has_wheel,
        ))
    };
    Some(tables.iter().filter_map(of_table).collect())
}

impl Lock {
    /// The change of the lock file that its tool makes of it if the project declares `declared`; `None` if it stays as
    /// it is. `pins`: what it must have then, name and version; `install`: what was tried, as `name==version`; `scratch`
    /// is removed again.
    pub(in crate::fix) fn renew(
        &self,
        installer: &Installer<'_>,
        declared: &str,
        pins: &[(&str, &str)],
        install: &[String],
        scratch: &Path,
    ) -> Result<Option<Change>, String> {
        let tool = self
            .tool
            .ok_or_else(|| format!("`{}` is not run by itself", self.command))?;
        if let Some(why) = tool.runs_code(declared) {
            return Err(why);
        }
        let before =
            read_file(installer.workspace, self.file).map_err(|error| error.to_string())?;
        let before = before.and_then(|bytes| String::from_utf8(bytes).ok());
        let before = before.ok_or_else(|| format!("{} cannot be read", self.file))?;
        let known = packages_in(&before).unwrap_or_default();
        if let Some((name, version, _)) = known.iter().find(|(.., has_wheel)| !has_wheel) {
            return Err(format!(
                "there is no wheel of {name} {version}, so it may have to be built"
            ));
        }
        let program = installer
            .program(tool.program())
            .ok_or_else(|| format!("{} is not found", tool.program()))?;
        let after = self.written(tool, &program, installer, declared, &before, scratch);
        let _ = remove_tree(scratch);
        let after = after?;
        self.require_as_tried(&after, pins, install)?;
        let edits = line_edits(&before, &after);
        if edits.is_empty() {
            return Ok(None);
        }
        let bytes: usize = edits.iter().map(|edit| edit.text.len()).sum();
        if bytes > CHANGED_BYTES_MAX {
            return Err(format!("`{}` writes most of it anew", self.command));
        }
        Ok(Some(Change::Edit {
            path: self.file.to_owned(),
            before: Digest::of(before.as_bytes()),
            edits,
        }))
    }

    /// The lock file as the tool leaves it.
    fn written(
        &self,
        tool: Tool,
        program: &Path,
        installer: &Installer<'_>,
        declared: &str,
        before: &str,
        scratch: &Path,
    ) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", scratch.display());
        remove_tree(scratch).map_err(failed)?;
        fs::create_dir_all(scratch).map_err(failed)?;
        for (file, text) in [(PROJECT, declared), (self.file, before)] {
            write_atomically(&scratch.join(file), text.as_bytes(), 0o600).map_err(failed)?;
        }
        for file in SETTINGS {
            if let Ok(Some(bytes)) = read_file(installer.workspace, file) {
                write_atomically(&scratch.join(file), &bytes, 0o600).map_err(failed)?;
            }
        }
        let run = |is_old: bool| {
            let mut command = tool.command(program, installer, is_old);
            command.current_dir(scratch);
            said(command)
        };
        let mut done = run(tool == Tool::Poetry)?;
        if done
            .as_ref()
            .is_err_and(|said| said.contains(NO_SUCH_OPTION))
        {
            done = run(false)?;
        }
        done.map_err(|said| why(tool.program(), &said))?;
        let after = read_file(scratch, self.file).map_err(|error| error.to_string())?;
        let after = after.and_then(|bytes| String::from_utf8(bytes).ok());
        after.ok_or_else(|| format!("`{}` leaves no {}", self.command, self.file))
    }

    /// Whatever the lock file names of what was tried has the version that was.
    fn require_as_tried(
        &self,
        lock: &str,
        pins: &[(&str, &str)],
        install: &[String],
    ) -> Result<(), String> {
        let found = packages_in(lock).unwrap_or_default();
        let tried = install.iter().filter_map(|one| one.split_once("=="));
        for (name, version) in pins.iter().copied().chain(tried) {
            let versions = || found.iter().filter(|(known, ..)| *known == normalise(name));
            let is_pinned = pins.contains(&(name, version));
            let is_named = is_pinned || versions().next().is_some();
            if is_named && !versions().any(|(_, known, _)| known == version) {
                return Err(format!(
                    "`{}` does not take {name} {version}, which was tried",
                    self.command
                ));
            }
        }
        Ok(())
    }
}

/// The lines that differ, as edits of the first text.
fn line_edits(before: &str, after: &str) -> Vec<TextEdit> {
    let diff = similar::TextDiff::configure()
        .timeout(DIFF_WITHIN)
        .diff_lines(before, after);
    let (old, new) = (diff.old_slices(), diff.new_slices());
    let mut edits = Vec::new();
    let (mut at, mut line) = (0, 0);
    for op in diff.ops() {
        let (tag, from, to) = op.as_tag_tuple();
        let length = |lines: std::ops::Range<usize>| -> usize {
            old[lines].iter().map(|line| line.len()).sum()
        };
        at += length(line..from.start);
        line = from.start;
        if tag != similar::DiffTag::Equal {
            edits.push(TextEdit {
                offset: at as u64,
                length: length(from) as u64,
                text: new[to].concat(),
            });
        }
    }
    edits
}

#[cfg(test)]
mod tests;
