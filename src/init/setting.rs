//! What stands around the code: the application's name, its interpreter, its environment files.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::LazyLock;

use regex::Regex;

use super::code::{ApplicationCode, is_side};
use super::draft::{ConfigDraft, Draft, Note, PythonDraft, Units};
use super::files::Files;
use super::text::{name_of, plain};
use super::variables::EnvFiles;
use crate::manifest::EnvFile;

/// Found without being named.
const VENVS: [&str; 2] = [".venv", "venv"];
/// Usual elsewhere.
const OTHER_VENVS: [&str; 4] = ["env", ".virtualenv", "virtualenv", ".env"];
const REQUIREMENTS: [&str; 6] = [
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
    "requirements.lock",
    "requirements-prod.txt",
];
const LOCKS: [&str; 6] = [
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "pylock.toml",
    "conda-lock.yml",
];
const EXAMPLES: [&str; 8] = [
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.dist",
    "env.example",
    "example.env",
    ".example.env",
    "sample.env",
];
/// The directory of sources in `setup.cfg` and `setup.py`.
static PACKAGE_DIRECTORY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?m)^\s*where\s*=\s*([\w./-]+)\s*$|^(?:package_dir\s*=)?\s*=\s*([\w./-]+)\s*$|package_dir\s*=\s*\{\s*["']["']\s*:\s*["']([\w./-]+)["']"#).ok()
});

/// `SettingsConfigDict(env_file=".env.local")`, `load_dotenv("local.env")`.
static ENV_FILE_IN_CODE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:\benv_file\s*=\s*|\bload_dotenv\(\s*(?:dotenv_path\s*=\s*)?)[(\[]?\s*["']([^"'\n]{1,200})["']"#).ok()
});
/// Files that are looked into for it.
const READERS_MAX: usize = 200;
/// Environment files that a manifest gets.
const ENV_FILES_MAX: usize = 8;

/// `[app]`.
pub(super) fn name(draft: &mut Draft, files: &Files, units: &Units) {
    let (name, from) = project_name(files)
        .map(|name| (name, "pyproject.toml"))
        .or_else(|| Some((units.name.clone()?, "the compose file")))
        .unwrap_or_else(|| {
            let directory = files.root().file_name().unwrap_or_default();
            (directory.to_string_lossy().into_owned(), "the directory")
        });
    draft.name = name_of(&name, "app");
    let text = format!("name from {from}");
    draft.name_notes.push(Note::sure(text));
}

fn project_name(files: &Files) -> Option<String> {
    let document = pyproject(files)?;
    let name = |path: &[&str]| Some(item_at(document.as_table(), path)?.as_str()?.to_owned());
    name(&["project", "name"]).or_else(|| name(&["tool", "poetry", "name"]))
}

fn pyproject(files: &Files) -> Option<toml_edit::Document<Rc<str>>> {
    let text = files.text("pyproject.toml")?;
    let wrong = |error: &toml_edit::TomlError| {
        let before = error.span().map_or("", |span| &text[..span.start]);
        let line = before.matches('\n').count() + 1;
        files.message(format!(
            "pyproject.toml:{line} is no TOML: {}",
            error.message()
        ));
    };
    toml_edit::Document::parse(text.clone())
        .inspect_err(wrong)
        .ok()
}

fn item_at<'t>(table: &'t toml_edit::Table, path: &[&str]) -> Option<&'t toml_edit::Item> {
    let (first, below) = path.split_first()?;
    let item = table.get(first)?;
    below
        .iter()
        .try_fold(item, |item, key| item.as_table_like()?.get(key))
}

/// Directories of sources that the packaging names: `where`, `package-dir`, `from`, and their kin.
pub(super) fn source_directories(files: &Files) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if let Some(document) = pyproject(files) {
        let at = |path: &[&str]| item_at(document.as_table(), path);
        let texts = |path: &[&str]| -> Vec<String> {
            let values = at(path).and_then(toml_edit::Item::as_array);
            let values = values
                .into_iter()
                .flatten()
                .filter_map(toml_edit::Value::as_str);
            values.map(str::to_owned).collect()
        };
        found.extend(texts(&["tool", "setuptools", "packages", "find", "where"]));
        for path in [
            &["tool", "setuptools", "package-dir", ""][..],
            &["tool", "pdm", "build", "package-dir"],
            &["tool", "uv", "build-backend", "module-root"],
        ] {
            found.extend(
                at(path)
                    .and_then(toml_edit::Item::as_str)
                    .map(str::to_owned),
            );
        }
        // `packages = ["src/shop"]`.
        let wheel = texts(&["tool", "hatch", "build", "targets", "wheel", "packages"]);
        found.extend(
            wheel
                .iter()
                .filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned())),
        );
        let packages = at(&["tool", "poetry", "packages"]).and_then(toml_edit::Item::as_array);
        let tables = packages
            .into_iter()
            .flatten()
            .filter_map(toml_edit::Value::as_inline_table);
        found.extend(tables.filter_map(|table| Some(table.get("from")?.as_str()?.to_owned())));
    }
    for name in ["setup.cfg", "setup.py"] {
        let text = files.text(name);
        let (Some(text), Some(pattern)) = (text, PACKAGE_DIRECTORY.as_ref()) else {
            continue;
        };
        let captures = pattern.captures_iter(&text);
        let named = captures.filter_map(|found| found.iter().skip(1).flatten().next());
        found.extend(named.map(|path| path.as_str().to_owned()));
    }
    let inside = found
        .iter()
        .filter_map(|path| super::container::inside(path));
    let mut found: Vec<String> = inside
        .filter(|path| path != "." && files.is_dir(path))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// `[python]`.
pub(super) fn python(files: &Files, code: &ApplicationCode<'_>) -> PythonDraft {
    let mut python = PythonDraft::default();
    let is_venv = |dir: &str| files.exists(&format!("{dir}/bin/python"));
    let elsewhere = || {
        let below = code.roots.iter().filter(|root| *root != ".");
        let below = below.flat_map(|root| VENVS.map(|venv| format!("{root}/{venv}")));
        OTHER_VENVS
            .iter()
            .map(|venv| (*venv).to_owned())
            .chain(below)
            .find(|dir| is_venv(dir))
    };
    if let Some(venv) = VENVS.iter().find(|dir| is_venv(dir)) {
        python.notes.push(Note::sure(format!(
            "interpreter: that of {venv}, which is found without being named"
        )));
    } else if let Some(venv) = elsewhere() {
        python.interpreter = Some(format!("{venv}/bin/python"));
    } else {
        python.notes.push(Note::unsure(
            "there is no virtual environment in this directory: that of $VIRTUAL_ENV or python3 of PATH is used; name another one with interpreter = \"path/to/python\"",
        ));
    }
    if code.roots != ["."] && !code.roots.is_empty() {
        python.path.clone_from(&code.roots);
    }
    let below = code
        .roots
        .iter()
        .filter(|root| *root != ".")
        .map(|root| format!("{root}/requirements.txt"));
    python.requirements = REQUIREMENTS
        .iter()
        .map(|name| (*name).to_owned())
        .chain(below)
        .find(|name| files.is_file(name));
    if python.requirements.is_none() {
        if let Some(lock) = files.first(&LOCKS) {
            python
                .notes
                .push(Note::sure(format!("packages are pinned in {lock}")));
        } else if files.is_file("pyproject.toml") {
            python.notes.push(Note::sure(
                "packages are declared in pyproject.toml; no file that pins their versions was seen",
            ));
        }
    }
    python
}

/// Everything that declares packages, as one text.
pub(super) fn packages(files: &Files, python: &PythonDraft) -> String {
    let mut all = String::new();
    let named = python.requirements.as_deref();
    for name in named.into_iter().chain(["pyproject.toml", "Pipfile"]) {
        if let Some(text) = files.text(name) {
            all.push_str(&text.to_lowercase());
        }
    }
    all
}

/// Environment files that the sources name.
fn named_in_code(code: &ApplicationCode<'_>) -> Vec<String> {
    let readers: BTreeSet<&str> = code
        .facts
        .env_reads
        .iter()
        .map(|read| read.place.file.as_str())
        .filter(|file| !is_side(file))
        .take(READERS_MAX)
        .collect();
    let mut named = Vec::new();
    for file in readers {
        let (Some(text), Some(pattern)) = (code.files.text(file), ENV_FILE_IN_CODE.as_ref()) else {
            continue;
        };
        for found in pattern.captures_iter(&text).take(ENV_FILES_MAX) {
            named.extend(found.get(1).map(|name| name.as_str().to_owned()));
        }
    }
    named
}

/// `[config]` without its variables, and what the environment files hold.
pub(super) fn config(
    files: &Files,
    code: &ApplicationCode<'_>,
    units: &Units,
) -> (ConfigDraft, EnvFiles) {
    let mut config = ConfigDraft::default();
    let mut env = EnvFiles::default();
    let places: Vec<String> = std::iter::once(String::new())
        .chain(
            code.roots
                .iter()
                .filter(|root| *root != ".")
                .map(|root| format!("{root}/")),
        )
        .collect();
    let mut found: Vec<String> = places
        .iter()
        .map(|place| format!("{place}.env"))
        .filter(|file| files.is_file(file))
        .collect();
    if files.is_file(".flaskenv") {
        // Fixers write into the first file, and this one is shared with everybody.
        if found.is_empty() {
            found.push(".env".to_owned());
        }
        found.push(".flaskenv".to_owned());
        config.notes.push(Note::sure(
            "Flask lets .env win over .flaskenv; here the later file wins",
        ));
    }
    for file in named_in_code(code) {
        let inside = super::container::inside(&file).filter(|file| files.is_file(file));
        found.extend(inside.filter(|file| !found.contains(file)));
    }
    for file in &units.env_files {
        match super::container::inside(file) {
            Some(file) if !found.contains(&file) => found.push(file),
            Some(_) => {}
            None => config.notes.push(Note::unsure(format!(
                "the environment file {} lies outside the workspace; it is not read",
                plain(file)
            ))),
        }
    }
    found.truncate(ENV_FILES_MAX);
    let none = std::collections::BTreeMap::new();
    for file in &found {
        if let Some(text) = files.text(file) {
            for entry in EnvFile::parse(&text, &none, &env.current).entries {
                env.current.insert(entry.name, entry.value);
            }
        }
    }
    if found.is_empty() {
        config.notes.push(Note::sure(
            "there is no .env yet; when there is one, it is read",
        ));
    }
    config.files = if found.is_empty() {
        vec![".env".to_owned()]
    } else {
        found
    };
    config.example = places
        .iter()
        .flat_map(|place| EXAMPLES.map(|name| format!("{place}{name}")))
        .find(|file| files.is_file(file));
    if let Some(example) = &config.example
        && let Some(text) = files.text(example)
    {
        let parsed = EnvFile::parse(&text, &none, &none);
        for (line, why) in parsed.malformed.iter().take(5) {
            files.message(format!("{example}:{line} is not an assignment: {why}"));
        }
        env.example = Some((example.clone(), parsed));
    }
    (config, env)
}
