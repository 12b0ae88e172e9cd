//! What looking at the migrations of one database comes to.

use std::path::Path;

use super::draft::{Draft, Written, write};
use super::graph::Graph;
use super::text_file::read_text;
use crate::database::model::Table;
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::{MIGRATES_WITH, MigrationTool, NEEDS_APPROVAL, PROPOSED, Remedy};

/// What the migrations say about one database.
#[derive(Debug, Default)]
pub(in crate::checks::schema) struct Migrated {
    pub findings: Vec<Finding>,
    /// All migrations are applied and nothing is wrong with them: tables may be compared.
    pub at_head: bool,
    /// Nothing is pending, whatever else is wrong.
    pub(super) is_current: bool,
    /// What was applied is known, and how many migrations wait.
    pub(super) is_known: bool,
    pub(super) waiting: usize,
    /// Where a revision may be written that brings what the models have and the database has not.
    pub(in crate::checks::schema) revision: Option<RevisionPlace>,
    /// The history, where the database is at a revision that it does not have.
    pub(in crate::checks::schema) past: Option<RevisionPlace>,
    /// The history could not be read.
    pub(super) is_unknown: bool,
}

impl Migrated {
    /// The database is at a revision that the history does not have.
    pub(super) fn is_unknown(&self) -> bool {
        let mut all = self.findings.iter();
        all.any(|finding| finding.code == Code::SchemaUnknownRevision)
    }
}

/// The arguments of each call, up to its closing bracket.
fn calls<'t>(text: &'t str, call: &str) -> impl Iterator<Item = &'t str> {
    text.match_indices(call).map(move |(at, _)| {
        let rest = &text[at + call.len()..];
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        &rest[..end.unwrap_or(rest.len())]
    })
}

fn first_quoted(text: &str) -> Option<&str> {
    let at = text.find(['"', '\''])?;
    let quote = text[at..].chars().next()?;
    text[at + 1..].split(quote).next()
}

fn is_quoted(text: &str, name: &str) -> bool {
    text.contains(&format!("\"{name}\"")) || text.contains(&format!("'{name}'"))
}

/// The files of all revisions, each with the text of its upgrade.
pub(in crate::checks::schema) struct Upgrades<'p>(Vec<(&'p str, String)>);

impl Upgrades<'_> {
    /// Some revision makes each of these tables, with all of their columns.
    pub(in crate::checks::schema) fn bring(&self, tables: &[Table]) -> bool {
        let mut all = tables.iter().flat_map(|table| {
            let columns = table.columns.iter().map(move |column| (table, column));
            columns.map(|(table, column)| (table.name.as_str(), column.name.as_str()))
        });
        all.all(|(table, column)| self.brought_by(table, Some(column)).is_some())
    }

    /// The file of a revision that makes this table, or this column of it: the database should have it already.
    pub(in crate::checks::schema) fn brought_by(
        &self,
        table: &str,
        column: Option<&str>,
    ) -> Option<&str> {
        // What another one takes away again, or renames, is not said.
        let is_taken = |text: &str| {
            let dropped = [
                "drop_table(",
                "drop_column(",
                "rename_table(",
                "new_column_name",
            ];
            let mut calls = dropped.iter().flat_map(|call| calls(text, call));
            calls.any(|call| is_quoted(call, column.unwrap_or(table)))
        };
        if self.0.iter().any(|(_, text)| is_taken(text)) {
            return None;
        }
        let makes = |text: &str| {
            let of_table = |call: &str| first_quoted(call) == Some(table);
            let has = |call: &str| column.is_none_or(|column| is_quoted(call, column));
            calls(text, "create_table(").any(|call| of_table(call) && has(call))
                || column.is_some_and(|column| {
                    calls(text, "add_column(").any(|call| of_table(call) && is_quoted(call, column))
                        || text.split("batch_alter_table").skip(1).any(|batch| {
                            first_quoted(batch) == Some(table)
                                && calls(batch, "add_column(")
                                    .any(|call| first_quoted(call) == Some(column))
                        })
                })
        };
        let (file, _) = self.0.iter().find(|(_, text)| makes(text))?;
        Some(file)
    }
}

/// A history that a revision may be added to, whose database the application's own tool upgrades.
#[derive(Debug)]
pub(in crate::checks::schema) struct RevisionPlace {
    pub(super) graph: Graph,
    pub(super) tool: MigrationTool,
    /// Why the tool cannot be tried on a clone, if so.
    pub(super) why_not: Option<String>,
}

impl RevisionPlace {
    /// What the revisions do, read once for all questions.
    pub(in crate::checks::schema) fn upgrades(&self, root: &Path) -> Upgrades<'_> {
        let texts = self.graph.revisions.iter().filter_map(|revision| {
            let text = read_text(&root.join(&revision.file)).ok()?;
            let (_, rest) = text.split_once("def upgrade")?;
            let upgrade = rest.split("def downgrade").next().unwrap_or(rest);
            Some((revision.file.as_str(), upgrade.to_owned()))
        });
        Upgrades(texts.collect())
    }

    /// The finding with a revision after the present heads, which is run once it is written. `lost`: what it does and
    /// loses, in words and numbers.
    pub(in crate::checks::schema) fn attach(
        &self,
        root: &Path,
        finding: Finding,
        draft: &Draft,
        lost: &str,
        why: &str,
    ) -> Finding {
        let heads = self.graph.heads();
        let Some(Written { id, file, text }) = write(root, &self.graph, &heads, draft) else {
            return finding;
        };
        let what = format!("write revision {id} ({}) and run it: {lost}", draft.message);
        if let Some(why) = &self.why_not {
            let by_hand = match &finding.fix {
                // Statements would go behind the migrations.
                Some(_) => "write a migration that brings it",
                None => finding.remedy.as_deref().unwrap_or("write a migration"),
            };
            let remedy = format!("{by_hand}; not automatically, because {why}");
            let reason = why.clone();
            return finding.remedy(remedy).fix(Remedy::ByHand {
                reason,
                statements: None,
            });
        }
        let fix = Remedy::new_file(&file, text, what.clone());
        finding
            .remedy(format!("in {file}, {what}"))
            .fix(fix)
            .fact(MIGRATES_WITH, self.tool.as_str())
            .fact(PROPOSED, lost)
            .fact(NEEDS_APPROVAL, why)
    }
}
