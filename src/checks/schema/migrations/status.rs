//! What looking at the migrations of one database comes to.

use std::path::Path;

use super::draft::{Draft, Written, write};
use super::graph::Graph;
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
    /// The history could not be read.
    pub(super) is_unknown: bool,
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
