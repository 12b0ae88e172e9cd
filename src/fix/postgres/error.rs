//! Why a PostgreSQL database could not be cloned or changed.

use crate::database::postgres::session::ServerError;

/// Statements of one proposal.
pub(crate) const STATEMENTS_MAX: usize = 256;

/// A PostgreSQL database could not be cloned or changed; the live one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server says no.
    #[error("{what}: {source}")]
    Server {
        /// What was being done.
        what: String,
        /// What it says.
        source: ServerError,
    },
    /// There is nothing to try the change on.
    #[error("no clone of {shown} can be made: {why}")]
    NoClone {
        /// Database and server.
        shown: String,
        /// Why, and what to do.
        why: String,
    },
    /// The trial's role is refused.
    #[error(
        "the role that was made for the trial cannot log in at the server, which decides by pg_hba.conf who may from \
         where; allow roles of any name that have a password there, or run the migrations yourself ({shown}: {why})"
    )]
    NoLogin {
        /// The clone.
        shown: String,
        /// What the server says.
        why: String,
    },
    /// Not an addition.
    #[error("the statement `{statement}` is not run automatically, because {why}")]
    BeyondRisk {
        /// Its first line.
        statement: String,
        /// Why.
        why: String,
    },
    /// Too many.
    #[error("{0} statements are too many (at most {STATEMENTS_MAX})")]
    TooMany(usize),
    /// A row is gone or new.
    #[error("the statements change the number of rows of table {table} from {before} to {after}")]
    RowsChanged {
        /// Which table.
        table: String,
        /// Before.
        before: String,
        /// After.
        after: String,
    },
    /// They do more than add.
    #[error("the statements change what is there: {0}")]
    Changes(String),
    /// The trial was ended.
    #[error(
        "the clone grew by more than {0} MiB, and it lies on the disk of the live server, so the trial was ended; \
         run these migrations yourself"
    )]
    TooLarge(u64),
    /// What migrations did cannot be done again.
    #[error("what the migrations did cannot be promoted in one transaction, because {0}")]
    NoReplay(String),
    /// The live database is not what the trial began with.
    #[error("{0} is not what it was when the fix was tried; look again and propose anew")]
    Changed(String),
    /// The statements made something else of the live database than of the clone.
    #[error("on {shown} the statements make something else than on the clone: {what}")]
    Differs {
        /// Database and server.
        shown: String,
        /// What.
        what: String,
    },
}

pub(crate) fn because(what: impl Into<String>) -> impl FnOnce(ServerError) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Server { what, source }
}

pub(crate) fn first_line(statement: &str) -> &str {
    statement.trim().lines().next().unwrap_or("")
}
