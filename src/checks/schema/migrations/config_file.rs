//! The options of an Alembic environment: its `ini` file, and `[tool.alembic]` of a `pyproject.toml` for what
//! the `ini` file does not say (Alembic 1.16 and newer). Read as Alembic does, without running anything.
//!
//! Read for it: alembic `config.py` (`get_alembic_option`, `get_version_locations_list`, `_inis_from_config`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, Value};

use super::text_file::read_text;

/// Replacements within each other.
const INTERPOLATION_MAX: usize = 10;
/// Bytes of a value with everything replaced.
const VALUE_BYTES_MAX: usize = 64 << 10;
const PYPROJECT: &str = "pyproject.toml";

/// The sections of an `ini` file: keys in lower case.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// What the files of one environment say.
#[derive(Debug, Default)]
pub(super) struct AlembicOptions {
    sections: Sections,
    section: String,
    /// Where the `ini` file lies.
    here: PathBuf,
    /// Strings and lists of strings of `[tool.alembic]`, a switch as `true` or `false`.
    toml: BTreeMap<String, Vec<String>>,
    toml_here: PathBuf,
}

impl AlembicOptions {
    /// Reads `config`, relative to `root`, and the file that Alembic reads beside it.
    pub(super) fn read(root: &Path, config: &str, section: &str) -> Result<Self, String> {
        let file = root.join(config);
        let directory = file.parent().unwrap_or(root).to_owned();
        let mut options = Self {
            section: section.to_owned(),
            here: directory.clone(),
            toml_here: directory.clone(),
            ..Self::default()
        };
        let text = read_text(&file).map_err(|why| format!("{config} {why}"))?;
        if file.file_name().is_some_and(|name| name == PYPROJECT) {
            options.toml = read_toml(&text).map_err(|why| format!("{config} {why}"))?;
            if options.toml.is_empty() {
                return Err(format!("{config} has no section [tool.alembic]"));
            }
            if let Ok(text) = read_text(&directory.join("alembic.ini")) {
                options.sections = read_ini(&text);
            }
            return Ok(options);
        }
        options.sections = read_ini(&text);
        for place in [directory.as_path(), root] {
            if let Ok(text) = read_text(&place.join(PYPROJECT))
                && let Ok(toml) = read_toml(&text)
                && !toml.is_empty()
            {
                (options.toml, options.toml_here) = (toml, place.to_owned());
                break;
            }
        }
        if !options.sections.contains_key(section) && options.toml.is_empty() {
            return Err(format!("{config} has no section [{section}]"));
        }
        Ok(options)
    }

    /// The value of an option.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.ini(key).or_else(|| {
            let values = self.toml.get(key)?;
            self.in_toml(values.first()?)
        })
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value.trim() == "true")
    }

    /// The value of an option that is a list of paths.
    pub(super) fn paths(&self, key: &str) -> Option<Vec<String>> {
        if let Some(list) = self.ini(key).filter(|list| !list.trim().is_empty()) {
            let separator = self
                .ini("path_separator")
                .or_else(|| self.ini("version_path_separator"));
            return Some(split_paths(&list, separator.as_deref()));
        }
        let values = self.toml.get(key)?;
        values.iter().map(|value| self.in_toml(value)).collect()
    }

    fn ini(&self, key: &str) -> Option<String> {
        lookup(&self.sections, &self.section, key, &self.here)
    }

    fn in_toml(&self, value: &str) -> Option<String> {
        let here = self.toml_here.display().to_string();
        replace(value.to_owned(), &|name| {
            (name == "here").then(|| here.clone())
        })
    }
}

fn read_toml(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let document = Document::parse(text).map_err(|error| {
        let reported = error.message().to_owned();
        format!("cannot be parsed: {reported}")
    })?;
    let mut options = BTreeMap::new();
    let Some(table) = document
        .get("tool")
        .and_then(Item::as_table_like)
        .and_then(|tool| tool.get("alembic"))
        .and_then(Item::as_table_like)
    else {
        return Ok(options);
    };
    for (key, item) in table.iter() {
        let values = match item.as_value() {
            Some(Value::String(text)) => vec![text.value().clone()],
            Some(Value::Boolean(switch)) => vec![switch.value().to_string()],
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect(),
            _ => continue,
        };
        options.insert(key.to_owned(), values);
    }
    Ok(options)
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

/// The value of a section, or the default of all, with what it names put in.
fn lookup(sections: &Sections, section: &str, key: &str, here: &Path) -> Option<String> {
    let raw = |key: &str| {
        if key == "here" {
            return Some(here.display().to_string());
        }
        let of = |section: &str| sections.get(section).and_then(|s| s.get(key));
        of(section).or_else(|| of("DEFAULT")).cloned()
    };
    replace(raw(key)?, &raw)
}

/// The value with `%(name)s` replaced, as Python's `configparser` does it.
fn replace(mut value: String, named: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    for _ in 0..INTERPOLATION_MAX {
        let Some((before, rest)) = value.split_once("%(") else {
            break;
        };
        let (name, after) = rest.split_once(")s")?;
        value = format!("{before}{}{after}", named(&name.to_lowercase())?);
        if value.len() > VALUE_BYTES_MAX {
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

    #[test]
    fn what_an_ini_file_does_not_say_comes_from_pyproject() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("db")).unwrap();
        std::fs::write(
            root.join("db/pyproject.toml"),
            "[tool.alembic]\nscript_location = \"%(here)s/alembic\"\nrecursive_version_locations = true\n\
             version_locations = [\"%(here)s/one\", \"two%%\"]\nversion_table = 'x'\n",
        )
        .unwrap();
        let read = |config: &str| AlembicOptions::read(root, config, "alembic");
        let here = root.join("db").display().to_string();
        let options = read("db/pyproject.toml").unwrap();
        assert_eq!(
            options.text("script_location").unwrap(),
            format!("{here}/alembic")
        );
        let expected = [format!("{here}/one"), "two%".to_owned()];
        assert_eq!(options.paths("version_locations").unwrap(), expected);
        assert!(options.is_on("recursive_version_locations"));
        // A file beside it goes before, also where only the `ini` file is named.
        std::fs::write(
            root.join("db/alembic.ini"),
            "[alembic]\nscript_location = own\nrecursive_version_locations = false\n",
        )
        .unwrap();
        for config in ["db/alembic.ini", "db/pyproject.toml"] {
            let options = read(config).unwrap();
            assert_eq!(
                options.text("script_location").as_deref(),
                Some("own"),
                "{config}"
            );
            assert_eq!(
                options.text("version_table").as_deref(),
                Some("x"),
                "{config}"
            );
            assert!(!options.is_on("recursive_version_locations"), "{config}");
        }
        std::fs::write(root.join("pyproject.toml"), "[project]\nname = 'x'\n").unwrap();
        let error = read("pyproject.toml").unwrap_err();
        assert_eq!(error, "pyproject.toml has no section [tool.alembic]");
        std::fs::write(root.join("pyproject.toml"), "[project\n").unwrap();
        let error = read("pyproject.toml").unwrap_err();
        assert!(
            error.starts_with("pyproject.toml cannot be parsed"),
            "{error}"
        );
    }
}
