//! What looking at the migrations of one database comes to.

use crate::domain::finding::Finding;

/// What the migrations say about one database.
#[derive(Debug, Default)]
pub(in crate::checks::schema) struct Migrated {
    pub findings: Vec<Finding>,
    /// All migrations are applied and nothing is wrong with them: tables may be compared.
    pub at_head: bool,
    /// Nothing is pending, whatever else is wrong.
    pub(super) is_current: bool,
    /// The history could not be read.
    pub(super) is_unknown: bool,
}
