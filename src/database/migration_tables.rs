//! The tables in which a migration tool keeps what it did.

use serde::{Deserialize, Serialize};

/// Names of the tables in which a migration tool keeps what it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MigrationTables {
    /// Each step may change their rows, and a merge may leave fewer.
    pub versions: Vec<String>,
    /// Each step may only add rows.
    pub growing: Vec<String>,
}

impl MigrationTables {
    /// Names of all of them.
    #[must_use]
    pub(crate) fn names(&self) -> Vec<String> {
        self.versions.iter().chain(&self.growing).cloned().collect()
    }
}
