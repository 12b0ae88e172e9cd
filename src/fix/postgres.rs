//! Statements of a proposal on PostgreSQL: tried on a clone of the live database, promoted in one transaction
//! on the live one.
//!
//! Only statements that do nothing but add are run ([`postgres_addition`]). The clone shows what they add, line
//! by line of the catalog, and that nothing else changes; the live database must be what the trial began
//! with, and must get those lines and no others, or nothing is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, read_catalog, read_files};
use crate::checks::{
    OwnDatabase, Purpose, ServerError, Session, Template, created_type, dump_schema, may_create,
    postgres_addition,
};
use crate::domain::ids::Digest;

/// Statements of one proposal.
const STATEMENTS_MAX: usize = 256;
/// How long one statement may take.
const STATEMENT_MAX: Duration = Duration::from_secs(60);
/// How long a statement waits for a lock on the live database: whoever waits behind it waits as long.
const LOCK_MAX: Duration = Duration::from_secs(5);
const ASK_MAX: Duration = Duration::from_secs(30);
/// A larger database is not cloned with its rows.
const CLONE_BYTES_MAX: u64 = 256 << 20;
/// Tables whose rows are counted, the smallest first.
const COUNTED_MAX: usize = 2_000;

/// How far rows are counted. That no table was written anew is looked at for all, which costs nothing.
#[derive(Clone, Copy)]
struct Counting {
    time_max: Duration,
    /// Of one table.
    bytes_max: u64,
}

const ON_CLONE: Counting = Counting {
    time_max: Duration::from_secs(20),
    bytes_max: CLONE_BYTES_MAX,
};
/// The second count happens while the application waits for the tables that were changed.
const ON_LIVE: Counting = Counting {
    time_max: Duration::from_secs(2),
    bytes_max: 32 << 20,
};

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

fn because(what: impl Into<String>) -> impl FnOnce(ServerError) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Server { what, source }
}

/// A trial on a clone, which is dropped with this.
pub(super) struct ServerTrial {
    database: OwnDatabase,
    /// For people: on what it was tried.
    pub tried_on: &'static str,
    pub outcome: ServerOutcome,
}

/// Catalog of the live database before, and as the trial says that it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerOutcome {
    pub before: Digest,
    pub after: Digest,
}

impl ServerTrial {
    /// The clone's URL; it holds the password.
    pub(super) fn url(&self) -> String {
        self.database.url()
    }
}

/// Clones the database of `url` and runs the statements there.
pub(super) fn try_on_clone(url: &str, statements: &[String]) -> Result<ServerTrial, PostgresError> {
    let statements = accepted(statements)?;
    let live = Session::connect(url).map_err(because("cannot connect"))?;
    let live_before = read_in_transaction(&live)?;
    let (database, tried_on) = clone_of(live, url)?;
    let session = database
        .connect()
        .map_err(because("cannot connect to the clone"))?;
    let changed = carry_out(&session, &statements, ON_CLONE, |_| Ok(()), |_| Ok(()))?;
    let added = changed.after.lines.difference(&changed.before.lines);
    let expected: BTreeSet<String> = live_before.lines.iter().chain(added).cloned().collect();
    let after = Catalog { lines: expected };
    Ok(ServerTrial {
        database,
        tried_on,
        outcome: ServerOutcome {
            before: live_before.digest(),
            after: after.digest(),
        },
    })
}

/// A clone with rows where that is possible, or one of the definitions.
fn clone_of(live: Session, url: &str) -> Result<(OwnDatabase, &'static str), PostgresError> {
    let shown = live.shown().to_owned();
    let no_clone = |why: String| PostgresError::NoClone {
        shown: shown.clone(),
        why,
    };
    if let Err(user) = may_create(&live).map_err(because("cannot ask for the user's rights"))? {
        return Err(no_clone(format!(
            "the user {user} may not create databases; let it (ALTER ROLE ... CREATEDB), or run the statements by hand"
        )));
    }
    let size = live
        .value("SELECT pg_database_size(current_database())", ASK_MAX)
        .map_err(because("cannot ask for the database's size"))?;
    let is_small = size
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|bytes| bytes <= CLONE_BYTES_MAX);
    let why_without_rows = if is_small {
        match OwnDatabase::create(live, Purpose::Trial, Template::Live) {
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
    let database = OwnDatabase::create(live, Purpose::Trial, Template::Empty)
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

/// Runs the statements on the live database, in one transaction. Idempotent: a database that is already
/// as it will be is left alone.
pub(super) fn promote(
    url: &str,
    statements: &[String],
    outcome: ServerOutcome,
) -> Result<(), PostgresError> {
    let statements = accepted(statements)?;
    let session = Session::connect(url).map_err(because("cannot connect"))?;
    let now = read_in_transaction(&session)?.digest();
    if now == outcome.after && now != outcome.before {
        return Ok(());
    }
    let shown = session.shown().to_owned();
    let is_before = |catalog: &Catalog| match catalog.digest() == outcome.before {
        true => Ok(()),
        false => Err(PostgresError::Changed(shown.clone())),
    };
    let is_after = |changed: &Changed| {
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
        Err(error) => match Session::connect(url).ok().map(|s| read_in_transaction(&s)) {
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

fn first_line(statement: &str) -> &str {
    statement.trim().lines().next().unwrap_or("")
}

/// What a transaction did.
struct Changed {
    before: Catalog,
    after: Catalog,
}

fn read_in_transaction(session: &Session) -> Result<Catalog, PostgresError> {
    let read = || {
        session.run(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            ASK_MAX,
        )?;
        let catalog = read_catalog(session, ASK_MAX)?;
        session.run("COMMIT", ASK_MAX)?;
        Ok(catalog)
    };
    read().map_err(because("cannot read the catalog"))
}

/// Runs the statements in one transaction, which is committed if they only add, no row comes or goes, no
/// table is written anew, and both questions are answered well.
fn carry_out(
    session: &Session,
    statements: &[String],
    counting: Counting,
    is_before: impl FnOnce(&Catalog) -> Result<(), PostgresError>,
    is_after: impl FnOnce(&Changed) -> Result<(), PostgresError>,
) -> Result<Changed, PostgresError> {
    // One snapshot: the counts before and after differ by what the statements do, and by nothing else.
    let begin = format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
         SET LOCAL standard_conforming_strings = on; SET LOCAL client_min_messages = warning",
        LOCK_MAX.as_millis(),
        STATEMENT_MAX.as_millis()
    );
    session
        .run(&begin, ASK_MAX)
        .map_err(because("cannot begin a transaction"))?;
    let done = in_transaction(session, statements, counting, is_before, is_after);
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session
        .run(end, STATEMENT_MAX)
        .map_err(because("cannot end the transaction"));
    let done = done?;
    ended?;
    Ok(done)
}

fn in_transaction(
    session: &Session,
    statements: &[String],
    counting: Counting,
    is_before: impl FnOnce(&Catalog) -> Result<(), PostgresError>,
    is_after: impl FnOnce(&Changed) -> Result<(), PostgresError>,
) -> Result<Changed, PostgresError> {
    let catalog = || read_catalog(session, ASK_MAX).map_err(because("cannot read the catalog"));
    let files = || read_files(session, ASK_MAX).map_err(because("cannot read the catalog"));
    let before = catalog()?;
    is_before(&before)?;
    let files_before = files()?;
    let rows_before = count_rows(session, counting, None)?;
    for statement in statements {
        if let Some(name) = created_type(statement) {
            // There is no `CREATE TYPE IF NOT EXISTS`.
            let quoted = name.replace('\'', "''");
            let known = session
                .value(&format!("SELECT to_regtype('{quoted}')"), ASK_MAX)
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
    let changed = Changed {
        before,
        after: catalog()?,
    };
    if let Some(lost) = changed.before.lines.difference(&changed.after.lines).next() {
        return Err(PostgresError::Changes(lost.clone()));
    }
    let files_after = files()?;
    for (table, file) in &files_before {
        if files_after.get(table) != Some(file) {
            return Err(PostgresError::Changes(format!(
                "table {table} is written anew"
            )));
        }
    }
    let known: Vec<&String> = rows_before.keys().collect();
    let rows_after = count_rows(session, counting, Some(&known))?;
    for (table, before) in &rows_before {
        let after = rows_after.get(table).cloned().unwrap_or_default();
        if after != *before {
            return Err(PostgresError::RowsChanged {
                table: table.clone(),
                before: before.clone(),
                after,
            });
        }
    }
    is_after(&changed)?;
    Ok(changed)
}

/// Rows of each table, by its name in quotes: of those named, or of all that are small enough, for as long as
/// there is time.
fn count_rows(
    session: &Session,
    counting: Counting,
    named: Option<&[&String]>,
) -> Result<BTreeMap<String, String>, PostgresError> {
    let count = || {
        let begun = Instant::now();
        let bytes_max = counting.bytes_max;
        let tables: Vec<String> = match named {
            Some(named) => named.iter().map(|name| (*name).clone()).collect(),
            None => {
                let rows = session.rows(
                    &format!(
                        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c \
                         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                         WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
                         AND pg_relation_size(c.oid) <= {bytes_max} \
                         AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') \
                         ORDER BY pg_relation_size(c.oid), 1 LIMIT {COUNTED_MAX}"
                    ),
                    ASK_MAX,
                )?;
                rows.into_iter().flatten().flatten().collect()
            }
        };
        let mut counts = BTreeMap::new();
        for table in tables {
            // What was counted before is counted again, however long that takes.
            if named.is_none() && begun.elapsed() > counting.time_max {
                break;
            }
            let sql = format!("SELECT count(*) FROM ONLY {table}");
            let rows = session.value(&sql, STATEMENT_MAX)?;
            counts.insert(table, rows.unwrap_or_default());
        }
        Ok(counts)
    };
    count().map_err(because("cannot count rows"))
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
