//! Who may upgrade a database that is behind.

use crate::domain::finding::Finding;
use crate::domain::remedy::{MigrationTool, Remedy};
use crate::manifest::Schema;

/// Who upgrades a database that is behind.
pub(super) enum Upgrader {
    /// This tool, when the fixer asks for it, up to this target.
    Tool(MigrationTool, String),
    /// Needs a person, and why, if that is not clear.
    Person(Option<String>),
}

impl Upgrader {
    pub(super) fn attach(&self, schema: &Schema, mut finding: Finding) -> Finding {
        match self {
            Self::Tool(tool, target) => finding.fix(Remedy::Migrate {
                schema: schema.name.clone(),
                tool: *tool,
                target: target.clone(),
            }),
            Self::Person(None) => finding,
            Self::Person(Some(why)) => {
                finding.remedy = finding
                    .remedy
                    .map(|remedy| format!("{remedy}; not automatically, because {why}"));
                finding.fix(Remedy::ByHand {
                    reason: why.clone(),
                    statements: None,
                })
            }
        }
    }
}
