//! A change of a PostgreSQL database: tried on a clone of the live one, promoted in one transaction on it. Here,
//! by statements of a proposal; by migrations, see [`super::server_migration`].
//!
//! Only statements that do nothing but add are run ([`postgres_addition`]). The clone shows what they add, line
//! by line of the catalog, and that nothing else changes; the live database must be what the trial began
//! with, and must get those lines and no others, or nothing is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::replay::{self, Proved};
use super::transaction::{
    ASK_MAX, Look, ON_CLONE, ON_LIVE, Observed, STATEMENT_MAX, in_transaction, is_small, observe,
    read_in_transaction,
};
use crate::checks::MigrationBooks;
use crate::database::postgres::dump::dump_schema;
use crate::database::postgres::own_database::{OwnDatabase, Purpose, Template};
use crate::database::postgres::session::{ServerError, Session};
use crate::database::postgres::user_rights::UserRights;
use crate::database::sql::addition::{created_type, postgres_addition};
use crate::database::sql::quote::literal;
use crate::domain::ids::Digest;

/// Statements of one proposal.
const STATEMENTS_MAX: usize = 256;

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

pub(super) fn because(what: impl Into<String>) -> impl FnOnce(ServerError) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Server { what, source }
}

/// A trial on a clone, which is dropped with this.
pub(super) struct ServerTrial {
    database: OwnDatabase,
    /// For people: on what it was tried.
    pub tried_on: &'static str,
    pub outcome: ServerOutcome,
    /// What migrations lost or changed besides what they gained; statements only add.
    pub beyond: Vec<String>,
}

/// What a trial says about the live database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ServerOutcome {
    /// Statements that add.
    Added(Added),
    /// Migrations, and the tables in which they keep what they did.
    Migrated(Box<Proved>, MigrationBooks),
}

/// Catalog of the live database before, and as the trial says that it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Added {
    pub before: Digest,
    pub after: Digest,
}

impl ServerTrial {
    pub(super) fn of_migrations(
        database: OwnDatabase,
        tried_on: &'static str,
        outcome: ServerOutcome,
        beyond: Vec<String>,
    ) -> Self {
        Self {
            database,
            tried_on,
            outcome,
            beyond,
        }
    }

    /// The clone's URL in the form of one that leads to the live database; it holds the password.
    pub(super) fn url_like(&self, url: &str) -> String {
        self.database.url_like(url)
    }
}

/// Clones the database of `url` and runs the statements there.
pub(super) fn try_on_clone(url: &str, statements: &[String]) -> Result<ServerTrial, PostgresError> {
    let statements = accepted(statements)?;
    let live = Session::connect(url).map_err(because("cannot connect"))?;
    let live_before = read_in_transaction(&live, None)?;
    let (database, tried_on) = clone_of(live, url)?;
    let session = database
        .connect()
        .map_err(because("cannot connect to the clone"))?;
    let changed = carry_out(&session, &statements, ON_CLONE, |_| Ok(()), |_| Ok(()))?;
    let added = changed.after.lines.difference(&changed.before.lines);
    let expected: BTreeSet<String> = live_before.lines.iter().chain(added).cloned().collect();
    let after = Catalog {
        lines: expected,
        ..Catalog::default()
    };
    Ok(ServerTrial {
        database,
        tried_on,
        outcome: ServerOutcome::Added(Added {
            before: live_before.digest(),
            after: after.digest(),
        }),
        beyond: Vec::new(),
    })
}

/// A clone with rows where that is possible, or one of the definitions.
fn clone_of(live: Session, url: &str) -> Result<(OwnDatabase, &'static str), PostgresError> {
    let shown = live.shown().to_owned();
    let no_clone = |why: String| PostgresError::NoClone {
        shown: shown.clone(),
        why,
    };
    let rights = UserRights::read(&live).map_err(because("cannot ask for the user's rights"))?;
    if let Some(why) = rights.why_no_clone() {
        return Err(no_clone(why));
    }
    let is_small = is_small(&live)?;
    let why_without_rows = if is_small {
        match OwnDatabase::create(&Arc::new(live), Purpose::Trial, Template::Live) {
            Ok(database) => return Ok((database, "a clone with all rows")),
            Err(error) if error.is_in_use() => "somebody is connected to it",
            Err(error) if error.is_denied() => "it belongs to another user",
            Err(error) => return Err(because("cannot clone the database")(error)),
        }
    } else {
        drop(live);
        "it is large"
    };
    let dump = dump_schema(url).map_err(|why| {
        no_clone(format!(
            "{why_without_rows}, so it cannot be a template, and its definitions cannot be copied: {why}"
        ))
    })?;
    let live = Session::connect(url).map_err(because("cannot connect"))?;
    let database = OwnDatabase::create(&Arc::new(live), Purpose::Trial, Template::Empty)
        .map_err(because("cannot create a database"))?;
    let session = database
        .connect()
        .map_err(because("cannot connect to the clone"))?;
    session
        .limit(STATEMENT_MAX)
        .and_then(|()| session.run(&dump, STATEMENT_MAX))
        .map_err(|error| {
            no_clone(format!(
                "{why_without_rows}, and the copy of its definitions cannot be restored: {error}"
            ))
        })?;
    Ok((database, "a copy of its definitions, without rows"))
}

/// Makes of the live database what the trial made of the clone, in one transaction. Idempotent: a database
/// that is already as it will be is left alone.
pub(super) fn promote(
    url: &str,
    statements: &[String],
    outcome: &ServerOutcome,
) -> Result<(), PostgresError> {
    match outcome {
        ServerOutcome::Added(added) => add(url, statements, *added),
        ServerOutcome::Migrated(proved, books) => replay::promote(url, proved, books),
    }
}

fn add(url: &str, statements: &[String], outcome: Added) -> Result<(), PostgresError> {
    let statements = accepted(statements)?;
    let session = Session::connect(url).map_err(because("cannot connect"))?;
    let now = read_in_transaction(&session, None)?.digest();
    if now == outcome.after && now != outcome.before {
        return Ok(());
    }
    let shown = session.shown().to_owned();
    let is_before = |catalog: &Catalog| match catalog.digest() == outcome.before {
        true => Ok(()),
        false => Err(PostgresError::Changed(shown.clone())),
    };
    let is_after = |changed: &Observed| {
        if changed.after.digest() == outcome.after {
            crate::kernel::crash_point("promote.uncommitted");
            return Ok(());
        }
        let added = changed.after.lines.difference(&changed.before.lines);
        let added: Vec<&str> = added.take(3).map(String::as_str).collect();
        Err(PostgresError::Differs {
            shown: shown.clone(),
            what: added.join("; "),
        })
    };
    let done = carry_out(&session, &statements, ON_LIVE, is_before, is_after);
    drop(session);
    match done {
        Ok(_) => Ok(()),
        // A transaction of a killed process may have been committed meanwhile; or only its answer was lost.
        Err(error) => match Session::connect(url)
            .ok()
            .map(|s| read_in_transaction(&s, None))
        {
            Some(Ok(now)) if now.digest() == outcome.after && outcome.after != outcome.before => {
                Ok(())
            }
            _ => Err(error),
        },
    }
}

fn accepted(statements: &[String]) -> Result<Vec<String>, PostgresError> {
    if statements.len() > STATEMENTS_MAX {
        return Err(PostgresError::TooMany(statements.len()));
    }
    let accept = |statement: &String| {
        postgres_addition(statement).map_err(|why| PostgresError::BeyondRisk {
            statement: first_line(statement).to_owned(),
            why,
        })
    };
    statements.iter().map(accept).collect()
}

pub(super) fn first_line(statement: &str) -> &str {
    statement.trim().lines().next().unwrap_or("")
}

/// Runs the statements in one transaction, which is committed if they only add, no row comes or goes, no
/// table is written anew, and both questions are answered well.
fn carry_out(
    session: &Session,
    statements: &[String],
    look: Look<'_>,
    is_before: impl FnOnce(&Catalog) -> Result<(), PostgresError>,
    is_after: impl FnOnce(&Observed) -> Result<(), PostgresError>,
) -> Result<Observed, PostgresError> {
    in_transaction(session, &[], || {
        let changed = observe(session, look, is_before, || run_all(session, statements))?;
        only_adds(&changed)?;
        is_after(&changed)?;
        Ok(changed)
    })
}

fn run_all(session: &Session, statements: &[String]) -> Result<(), PostgresError> {
    for statement in statements {
        if let Some(name) = created_type(statement) {
            // There is no `CREATE TYPE IF NOT EXISTS`.
            let known = session
                .value(&format!("SELECT to_regtype({})", literal(name)), ASK_MAX)
                .map_err(because("cannot look for a type"))?;
            if known.is_some() {
                continue;
            }
        }
        session
            .run_one(statement, STATEMENT_MAX)
            .map_err(because(format!(
                "the statement `{}` failed",
                first_line(statement)
            )))?;
    }
    Ok(())
}

fn only_adds(changed: &Observed) -> Result<(), PostgresError> {
    if let Some(lost) = changed.before.lines.difference(&changed.after.lines).next() {
        return Err(PostgresError::Changes(lost.clone()));
    }
    if let Some(table) = changed.rewritten.first() {
        return Err(PostgresError::Changes(format!(
            "table {table} is written anew"
        )));
    }
    for (table, before) in &changed.rows_before {
        let after = changed.rows_after.get(table).cloned().unwrap_or_default();
        if after != *before {
            return Err(PostgresError::RowsChanged {
                table: table.clone(),
                before: before.clone(),
                after,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
