//! Fixers that edit source files: an exact insertion, every other byte stays.

use std::collections::BTreeMap;
use std::path::Path;

use super::Fixer;
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::domain::remedy::{MIGRATES_WITH, MigrationTool, NEEDS_APPROVAL, Remedy, TextEdit};
use crate::manifest::{EnvEntry, EnvFile};

/// Lets the second definition of a table extend the first (`extend_existing`), where the check
/// found the exact place.
pub(super) struct ExtendExisting;

/// Corrects a name, mounts a router, makes a package: the edit that the check found.
pub(super) struct EditText;

impl Fixer for EditText {
    fn name(&self) -> &'static str {
        "edit_text"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::EditText {
            file,
            before,
            edits,
            what,
        }) = failure.fix.clone()
        else {
            return None;
        };
        let approval = failure.facts.get(NEEDS_APPROVAL);
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: match approval {
                Some(why) => format!("in {file}, {what}; {why}: look at it first"),
                None => format!("in {file}, {what}"),
            },
            risk: if approval.is_some() {
                Risk::Guarded
            } else {
                Risk::Edit
            },
            changes: match before {
                Some(before) => vec![Change::Edit {
                    path: file,
                    before,
                    edits,
                }],
                None => {
                    let mut changes = made(&failure.code, file, edits);
                    changes.extend(run_after(failure));
                    changes
                }
            },
        })
    }
}

/// A revision that is written is run, too.
fn run_after(failure: &Failure) -> Option<Change> {
    let with = failure.facts.get(MIGRATES_WITH)?;
    // Of several databases, this one.
    let (tool, target) = with.split_once(' ').unwrap_or((with, "heads"));
    let tool = MigrationTool::named(tool)?;
    Some(Change::Migrate {
        schema: failure.facts.get("schema")?.clone(),
        tool,
        target: target.to_owned(),
    })
}

/// What makes a file. An environment file may be made by another fix meanwhile: each variable stands for itself.
fn made(code: &Code, path: String, edits: Vec<TextEdit>) -> Vec<Change> {
    let text: String = edits.into_iter().map(|edit| edit.text).collect();
    if *code != Code::ConfigMissing {
        let before = None;
        return vec![Change::Write { path, before, text }];
    }
    let none = BTreeMap::new();
    let entries = EnvFile::parse(&text, &none, &none).entries;
    let variable = |entry: EnvEntry| Change::SetVariable {
        path: path.clone(),
        name: entry.name,
        value: entry.value,
    };
    entries.into_iter().map(variable).collect()
}

impl Fixer for ExtendExisting {
    fn name(&self) -> &'static str {
        "extend_existing"
    }

    fn propose(&self, failure: &Failure, _root: &Path) -> Option<Proposal> {
        let Some(Remedy::InsertText {
            file,
            before,
            offset,
            text,
        }) = failure.fix.clone()
        else {
            return None;
        };
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary: format!(
                "let the second definition of table {} in {file} extend the first",
                failure.subject
            ),
            risk: Risk::Edit,
            changes: vec![Change::Insert {
                path: file,
                before,
                offset,
                text,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_file_that_another_fix_makes_meanwhile_gets_its_variables_all_the_same() {
        let edits = || {
            vec![TextEdit {
                offset: 0,
                length: 0,
                text: "REGION=south\nMOTTO=\"a b\"\n".to_owned(),
            }]
        };
        let variables = made(&Code::ConfigMissing, ".env".to_owned(), edits());
        let variable = |name: &str, value: &str| Change::SetVariable {
            path: ".env".to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(
            variables,
            [variable("REGION", "south"), variable("MOTTO", "a b")]
        );
        let file = made(
            &Code::RehearsalMissingPackage,
            "a/__init__.py".to_owned(),
            edits(),
        );
        assert!(matches!(&file[..], [Change::Write { before: None, .. }]));
    }

    #[test]
    fn a_revision_that_is_written_is_run_too() {
        use crate::domain::finding::{CheckName, Finding};
        let finding = Finding::of(Code::SchemaMultipleHeads, "main", "2 heads")
            .fix(Remedy::EditText {
                file: "v/3.py".into(),
                before: None,
                edits: vec![],
                what: "merge".into(),
            })
            .fact(MIGRATES_WITH, MigrationTool::Flask.as_str())
            .fact("schema", "main")
            .fact(NEEDS_APPROVAL, "why");
        let failure = Failure::of_finding(CheckName::Schema, &finding);
        let proposal = EditText.propose(&failure, Path::new(".")).unwrap();
        assert_eq!(proposal.risk, Risk::Guarded);
        let migrate = Change::Migrate {
            schema: "main".into(),
            tool: MigrationTool::Flask,
            target: "heads".into(),
        };
        assert_eq!(proposal.changes[1..], [migrate]);
        assert!(matches!(
            proposal.changes[0],
            Change::Write { before: None, .. }
        ));
        let other = finding.fact(MIGRATES_WITH, "django logs");
        let failure = Failure::of_finding(CheckName::Schema, &other);
        let proposal = EditText.propose(&failure, Path::new(".")).unwrap();
        let Change::Migrate { tool, target, .. } = &proposal.changes[1] else {
            panic!("{proposal:#?}");
        };
        assert_eq!((*tool, target.as_str()), (MigrationTool::Django, "logs"));
    }
}
