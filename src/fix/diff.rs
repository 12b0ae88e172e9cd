//! Everything that a proposal changes, as one unified diff: what a person approves.
//!
//! Complete, and without secrets: values of an environment file are shown only where the proposal itself gives them.

use std::collections::BTreeMap;
use std::path::Path;

use super::apply::plan_files;
use super::guarded::is_environment_file;
use super::journal::Journal;
use super::patch::unified;
use super::run::command_text;
use crate::domain::ids::MissionId;
use crate::domain::mission::{Change, Proposal};
use crate::domain::redact::{Redactor, sanitise};
use crate::domain::remedy::MigrationTool;
use crate::manifest::Manifest;

/// In the place of a value that is not the proposal's.
const NOT_SHOWN: &str = "<not shown>";

/// Where the files of a proposal are, before and after it.
pub(crate) struct DiffPlace<'a> {
    pub workspace: &'a Path,
    pub state_dir: &'a Path,
    /// If it can be read: it names environment files.
    pub manifest: Option<&'a Manifest>,
    pub redactor: &'a Redactor,
}

/// A file before and after the proposal; `None` if it did not exist.
type Sides = (Option<Vec<u8>>, Vec<u8>);

/// The diff of the whole proposal: files, variables, statements, migrations.
pub(crate) fn proposal_diff(
    place: &DiffPlace<'_>,
    mission: Option<MissionId>,
    proposal: &Proposal,
) -> String {
    let files = files_of(place, mission, proposal);
    let mut text = String::new();
    let mut done: Vec<&str> = Vec::new();
    for change in &proposal.changes {
        match change {
            Change::Insert { path, .. } | Change::Edit { path, .. } | Change::Write { path, .. } => {
                if !done.contains(&path.as_str()) {
                    done.push(path);
                    text.push_str(&file_diff(place, path, files.get(path), proposal));
                }
            }
            Change::SetVariable { path, name, value } => {
                text.push_str(&format!(
                    "--- a/{path}\n+++ b/{path}\n@@ variable {name} @@\n+{name}={value}\n"
                ));
            }
            Change::GenerateSecret { path, name, bytes } => text.push_str(&format!(
                "--- a/{path}\n+++ b/{path}\n@@ variable {name} @@\n+{name}=<{bytes} random bytes that nobody sees>\n"
            )),
            Change::Sql { schema, statements } => {
                text.push_str(&format!(
                    "--- database {schema}\n+++ database {schema}\n@@ {} in one transaction @@\n",
                    match statements.len() {
                        1 => "1 statement".to_owned(),
                        n => format!("{n} statements"),
                    }
                ));
                for statement in statements {
                    for line in statement.trim_end_matches(';').lines() {
                        text.push_str(&format!("+{line}\n"));
                    }
                    text.insert(text.len() - 1, ';');
                }
            }
            Change::Delete { path, .. } => text.push_str(&format!(
                "--- a/{path}\n+++ /dev/null\n@@ the file is deleted @@\n"
            )),
            Change::MakeDirectory { path } => {
                text.push_str(&format!("--- /dev/null\n+++ b/{path}/\n@@ a directory @@\n"));
            }
            Change::AddMode { path, bits } => text.push_str(&format!(
                "--- a/{path}\n+++ b/{path}\n@@ permissions @@\n+{bits:03o}\n"
            )),
            Change::MoveAside { path } => text.push_str(&format!(
                "--- a/{path}\n+++ aside, in the state directory\n@@ moved @@\n"
            )),
            Change::Run { command } => text.push_str(&format!(
                "--- commands\n+++ commands\n@@ run in the workspace @@\n+{}\n",
                command_text(command)
            )),
            Change::Wait { ms } => {
                text.push_str(&format!("--- commands\n+++ commands\n@@ wait @@\n+{ms} ms\n"));
            }
            Change::Restart { services } => {
                text.push_str("--- services\n+++ services\n@@ started again by the running boot @@\n");
                text.extend(services.iter().map(|service| format!("+{service}\n")));
            }
            Change::Migrate {
                schema,
                tool,
                target,
            } => text.push_str(&format!(
                "--- database {schema}\n+++ database {schema}\n@@ the application's own migrations @@\n+{} {target}\n",
                program_of(*tool)
            )),
            Change::Packages {
                environment,
                install,
            } => {
                text.push_str(&format!(
                    "--- environment {environment}\n+++ environment {environment}\n@@ installed packages @@\n"
                ));
                text.extend(install.iter().map(|package| format!("+{package}\n")));
            }
        }
    }
    place.redactor.redact(&text)
}

/// As a person starts the tool.
pub(crate) fn program_of(tool: MigrationTool) -> &'static str {
    match tool {
        MigrationTool::Alembic => "alembic upgrade",
        MigrationTool::Flask => "flask db upgrade",
        MigrationTool::Django => "django migrate",
    }
}

/// Control characters and those that reorder a line, as a person can see them.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_plain =
                c == '\n' || c == '\t' || sanitise(c.encode_utf8(&mut [0; 4])).contains(c);
            let (plain, escaped) = if is_plain {
                (Some(c), None)
            } else {
                (None, Some(c.escape_default()))
            };
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// As the promotion left them, or as they would be now.
fn files_of(
    place: &DiffPlace<'_>,
    mission: Option<MissionId>,
    proposal: &Proposal,
) -> BTreeMap<String, Sides> {
    if let Some(journal) = mission.and_then(|mission| Journal::newest(place.state_dir, mission))
        && let Ok(Some(plan)) = journal.read()
    {
        let sides = plan.files.iter().enumerate().filter_map(|(index, file)| {
            let before = match file.change.before {
                Some(_) => Some(journal.before(index).ok()?),
                None => None,
            };
            Some((
                file.change.path.clone(),
                (before, journal.after(index).ok()?),
            ))
        });
        return sides.collect();
    }
    // Each file by itself: one that was changed meanwhile leaves the others as they are.
    let mut files = BTreeMap::new();
    for change in &proposal.changes {
        let (Change::Insert { path, .. } | Change::Edit { path, .. } | Change::Write { path, .. }) =
            change
        else {
            continue;
        };
        let is_same = |other: &&Change| match other {
            Change::Insert { path: p, .. }
            | Change::Edit { path: p, .. }
            | Change::Write { path: p, .. } => p == path,
            _ => false,
        };
        let alone = Proposal {
            changes: proposal.changes.iter().filter(is_same).cloned().collect(),
            ..proposal.clone()
        };
        if let Ok(planned) = plan_files(place.workspace, &alone) {
            for file in planned {
                files.insert(file.path, (file.before, file.after));
            }
        }
    }
    files
}

fn file_diff(
    place: &DiffPlace<'_>,
    path: &str,
    sides: Option<&Sides>,
    proposal: &Proposal,
) -> String {
    let new_name = format!("b/{path}");
    let Some((before, after)) = sides else {
        return as_proposed(path, proposal);
    };
    let sets_variable = proposal.changes.iter().any(|change| {
        matches!(change, Change::SetVariable { path: p, .. } | Change::GenerateSecret { path: p, .. } if p == path)
    });
    let is_secret = sets_variable || is_environment_file(path, place.manifest);
    let after = String::from_utf8_lossy(after).into_owned();
    let (old, old_name) = match before {
        Some(bytes) => (
            String::from_utf8_lossy(bytes).into_owned(),
            format!("a/{path}"),
        ),
        None => (String::new(), "/dev/null".to_owned()),
    };
    if !is_secret {
        return unified(&old, &after, &old_name, &new_name, None);
    }
    // What the proposal does not say itself may be a secret that nobody declared.
    let given: String = proposal
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Insert { text, .. } | Change::Write { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .chain(proposal.changes.iter().flat_map(|change| match change {
            Change::Edit { edits, .. } => edits.iter().map(|edit| edit.text.as_str()).collect(),
            _ => Vec::new(),
        }))
        .collect();
    let mask = |text: &str| -> String {
        text.split_inclusive('\n')
            .map(|line| match line.split_once('=') {
                Some((name, _)) if !given.lines().any(|known| known == line.trim_end()) => {
                    format!("{name}={NOT_SHOWN}\n")
                }
                _ => line.to_owned(),
            })
            .collect()
    };
    unified(&mask(&old), &mask(&after), &old_name, &new_name, None)
}

/// The file is no longer what the proposal was made for: what it says, whole.
fn as_proposed(path: &str, proposal: &Proposal) -> String {
    let mut text =
        format!("--- a/{path}, which is not what it was when the fix was proposed\n+++ b/{path}\n");
    for change in &proposal.changes {
        let (head, body) = match change {
            Change::Write { path: p, text, .. } if p == path => ("the whole file".to_owned(), text),
            Change::Insert {
                path: p,
                offset,
                text,
                ..
            } if p == path => (format!("inserted at byte {offset}"), text),
            Change::Edit { path: p, edits, .. } if p == path => {
                for edit in edits {
                    let head = format!("at byte {}, instead of {} bytes", edit.offset, edit.length);
                    text.push_str(&format!("@@ {head} @@\n"));
                    text.extend(edit.text.lines().map(|line| format!("+{line}\n")));
                }
                continue;
            }
            _ => continue,
        };
        text.push_str(&format!("@@ {head} @@\n"));
        text.extend(body.lines().map(|line| format!("+{line}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Digest;
    use crate::domain::mission::Risk;

    #[test]
    fn everything_is_shown_as_a_diff_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (python, env) = (
            "a\nb\nc\nd\ne\nf\ng\nh\ni\n",
            "TOKEN=undeclared-secret\nLEVEL=info\n",
        );
        std::fs::write(dir.path().join("a.py"), python).unwrap();
        std::fs::write(dir.path().join(".env"), env).unwrap();
        let path = |path: &str| path.to_owned();
        let proposal = Proposal {
            fixer: "ann".into(),
            summary: "x".into(),
            risk: Risk::Open,
            changes: vec![
                Change::Write {
                    path: path("a.py"),
                    before: Some(Digest::of(python.as_bytes())),
                    text: python.replace("e\n", "E\u{202e}\r\n"),
                },
                Change::Write {
                    path: path(".env"),
                    before: Some(Digest::of(env.as_bytes())),
                    text: "LEVEL=debug\n".into(),
                },
                Change::Write {
                    path: path("gone.py"),
                    before: Some(Digest::of(b"other")),
                    text: "x\n".into(),
                },
                Change::GenerateSecret {
                    path: path(".env"),
                    name: "KEY".into(),
                    bytes: 32,
                },
                Change::Sql {
                    schema: "main".into(),
                    statements: vec![
                        "CREATE TABLE t (\n  x)".into(),
                        "CREATE TABLE u (x);".into(),
                    ],
                },
            ],
        };
        let place = DiffPlace {
            workspace: dir.path(),
            state_dir: dir.path(),
            manifest: None,
            redactor: &Redactor::new(Vec::new()),
        };
        let diff = visible(&proposal_diff(&place, None, &proposal));
        assert_eq!(
            diff,
            "--- a/a.py\n+++ b/a.py\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\\u{202e}\\r\n f\n g\n h\n\
             --- a/.env\n+++ b/.env\n@@ -1,2 +1 @@\n-TOKEN=<not shown>\n-LEVEL=<not shown>\n+LEVEL=debug\n\
             --- a/gone.py, which is not what it was when the fix was proposed\n+++ b/gone.py\n@@ the whole file @@\n+x\n\
             --- a/.env\n+++ b/.env\n@@ variable KEY @@\n+KEY=<32 random bytes that nobody sees>\n\
             --- database main\n+++ database main\n@@ 2 statements in one transaction @@\n+CREATE TABLE t (\n+  x);\n\
             +CREATE TABLE u (x);\n"
        );
    }
}
