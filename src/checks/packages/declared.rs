//! The packages that the workspace declares: its requirements file, as pip reads it (with `-r` and `-c`,
//! continued lines, hashes), and `[project] dependencies` (PEP 621) and `[tool.poetry.dependencies]` of
//! `pyproject.toml`.
//!
//! Files are read only inside the workspace. Lines that are no requirement of PEP 508 (paths, editable
//! checkouts, index options, unset variables) say nothing about installed versions and are passed over.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::need::Need;
use super::poetry;
use crate::manifest::Manifest;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files that include each other.
const FILES_MAX: usize = 64;
/// Requirements of a workspace.
const DECLARED_MAX: usize = 10_000;

/// One declared requirement and its place.
#[derive(Debug, Clone)]
pub(in crate::checks) struct Declared {
    pub need: Need,
    /// Relative to the workspace.
    pub file: String,
    pub line: u32,
    /// It only says which version, if something else wants the package (`-c`).
    pub constraint: bool,
}

/// Everything that the workspace declares.
pub(super) fn read(base: &Path, manifest: &Manifest) -> Vec<Declared> {
    let Ok(root) = base.canonicalize() else {
        return Vec::new();
    };
    let mut reader = RequirementsReader {
        root,
        seen: BTreeSet::new(),
        found: Vec::new(),
    };
    let named = manifest.python.requirements.as_deref();
    reader.requirements(&base.join(named.unwrap_or("requirements.txt")), false);
    reader.project(&base.join("pyproject.toml"));
    reader.found.truncate(DECLARED_MAX);
    reader.found
}

struct RequirementsReader {
    root: PathBuf,
    seen: BTreeSet<(PathBuf, bool)>,
    found: Vec<Declared>,
}

impl RequirementsReader {
    /// The text of a regular file of the workspace, and its name there.
    fn text(&self, path: &Path) -> Option<(PathBuf, String, String)> {
        let path = path.canonicalize().ok()?;
        let inside = path.strip_prefix(&self.root).ok()?.display().to_string();
        let about = fs::metadata(&path).ok()?;
        if !about.is_file() || about.len() > FILE_BYTES_MAX {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some((path, inside, text.trim_start_matches('\u{feff}').to_owned()))
    }

    fn requirements(&mut self, path: &Path, constraint: bool) {
        let Some((path, file, text)) = self.text(path) else {
            return;
        };
        if self.seen.len() >= FILES_MAX || !self.seen.insert((path.clone(), constraint)) {
            return;
        }
        for (line, text) in logical_lines(&text) {
            if let Some((other, constraint)) = included(&text, constraint) {
                let other = path.parent().unwrap_or(&path).join(other);
                self.requirements(&other, constraint);
                continue;
            }
            // Options of one requirement: hashes, build settings.
            let text = text.split(" --").next().unwrap_or_default().trim();
            if let Ok(need) = Need::from_str(text) {
                self.found.push(Declared {
                    need,
                    file: file.clone(),
                    line,
                    constraint,
                });
            }
        }
    }

    fn project(&mut self, path: &Path) {
        let Some((_, file, text)) = self.text(path) else {
            return;
        };
        let Ok(document) = toml_edit::Document::parse(text.as_str()) else {
            return;
        };
        let dependencies = document
            .get("project")
            .and_then(|project| project.get("dependencies"))
            .and_then(toml_edit::Item::as_array);
        let of_project = dependencies.into_iter().flatten().filter_map(|value| {
            let need = Need::from_str(value.as_str()?).ok()?;
            Some((need, value.span().map_or(0, |span| span.start)))
        });
        for (need, start) in of_project.chain(poetry::requirements(&document)) {
            let before = text.get(..start).unwrap_or_default();
            self.found.push(Declared {
                need,
                file: file.clone(),
                line: u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX),
                constraint: false,
            });
        }
    }
}

/// Lines without comments, continued ones as one, each with the number of its first.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let is_comment = line.trim_start().starts_with('#');
        let (kept, goes_on) = match line.strip_suffix('\\') {
            Some(kept) if !is_comment => (kept, true),
            _ => (line, false),
        };
        match found.last_mut() {
            // A comment within a continued line ends nothing, as for pip.
            Some(_) if open && is_comment => continue,
            Some((_, last)) if open => last.push_str(kept),
            _ => found.push((number, kept.to_owned())),
        }
        open = goes_on;
    }
    for (_, line) in &mut found {
        let end = line.match_indices('#').map(|(at, _)| at).find(|at| {
            line[..*at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace)
        });
        line.truncate(end.unwrap_or(line.len()));
        *line = line.trim().to_owned();
    }
    found.retain(|(_, line)| !line.is_empty());
    found
}

/// `-r other.txt`, `--requirement=other.txt`, `-c limits.txt`; and whether that gives constraints.
fn included(line: &str, constraint: bool) -> Option<(&str, bool)> {
    for (option, gives_constraints) in [
        ("--requirement", constraint),
        ("--constraint", true),
        ("-r", constraint),
        ("-c", true),
    ] {
        if let Some(rest) = line.strip_prefix(option) {
            let file = rest.trim_start_matches([' ', '\t', '=']).trim();
            return (!file.is_empty() && !file.contains("://"))
                .then_some((file, gives_constraints));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_pip_reads_them() {
        let text = "# top\nfoo==1 # why\nbar \\\n  --hash=sha256:aa \\\n # between\n  --hash=sha256:bb\n\
                    baz @ https://host/x#sub\n\n";
        assert_eq!(
            logical_lines(text),
            [
                (2, "foo==1".to_owned()),
                (3, "bar   --hash=sha256:aa   --hash=sha256:bb".to_owned()),
                (7, "baz @ https://host/x#sub".to_owned()),
            ]
        );
        assert_eq!(included("-r other.txt", false), Some(("other.txt", false)));
        assert_eq!(included("-rother.txt", true), Some(("other.txt", true)));
        assert_eq!(included("--constraint=c.txt", false), Some(("c.txt", true)));
        assert_eq!(included("-r https://host/r.txt", false), None);
        assert_eq!(included("redis", false), None);
    }
}
