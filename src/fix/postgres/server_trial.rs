//! A trial on a clone of a PostgreSQL database, and what it says about the live one.

use serde::{Deserialize, Serialize};

use super::replay::Proved;
use crate::database::migration_tables::MigrationTables;
use crate::database::postgres::own_database::OwnDatabase;
use crate::domain::ids::Digest;

/// A trial on a clone, which is dropped with this.
pub(crate) struct ServerTrial {
    database: OwnDatabase,
    /// For people: on what it was tried.
    pub tried_on: &'static str,
    pub outcome: ServerOutcome,
    /// What migrations lost or changed besides what they gained; what statements change, their proposal says.
    pub side_effects: Vec<String>,
}

/// What a trial says about the live database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ServerOutcome {
    /// Statements that add.
    Added(Added),
    /// Migrations, and the tables in which they keep what they did.
    Migrated(Box<Proved>, MigrationTables),
    /// Statements that change what is there, as a person approved them.
    Changed(Added),
}

/// Catalog of the live database before, and as the trial says that it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Added {
    pub before: Digest,
    pub after: Digest,
}

impl ServerTrial {
    pub(crate) fn new(
        database: OwnDatabase,
        tried_on: &'static str,
        outcome: ServerOutcome,
        side_effects: Vec<String>,
    ) -> Self {
        Self {
            database,
            tried_on,
            outcome,
            side_effects,
        }
    }

    /// The clone's URL in the form of one that leads to the live database; it holds the password.
    pub(crate) fn url_like(&self, url: &str) -> String {
        self.database.url_like(url)
    }
}
