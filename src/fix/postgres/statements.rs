//! A change of a PostgreSQL database: tried on a clone of the live one, promoted in one transaction on it. Here,
//! by statements of a proposal; by migrations, see [`super::migrations`].
//!
//! Only statements that do nothing but add are run ([`postgres_addition`]), and few that change something, if a person
//! approves them ([`postgres_change`]). The clone shows what they add, line by line of the catalog, and that nothing
//! else changes; the live database must be what the trial began with, and must get and lose those lines and no
//! others, or nothing is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{PostgresError, STATEMENTS_MAX, because, first_line};
use super::server_trial::{Added, ServerOutcome, ServerTrial};
use crate::database::postgres::dump::dump_schema;
use crate::database::postgres::own_database::{OwnDatabase, Purpose, Template};
use crate::database::postgres::session::Session;
use crate::database::postgres::user_rights::UserRights;
use crate::database::sql::addition::{created_type, postgres_addition, postgres_change};
use crate::database::sql::quote::literal;
use crate::fix::postgres::catalog::Catalog;
use crate::fix::postgres::replay;
use crate::fix::postgres::transaction::{
    ASK_MAX, ON_CLONE, ON_LIVE, Observed, RowLook, STATEMENT_MAX, in_transaction, is_small,
    observe, read_in_transaction,
};

/// How far statements may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// They only add.
    Adds,
    /// They may change what is there; a person approves them.
    Changes,
}

/// Clones the database of `url` and runs the statements there.
pub(crate) fn try_on_clone(
    url: &str,
    statements: &[String],
    extent: Extent,
) -> Result<ServerTrial, PostgresError> {
    let statements = accepted(statements, extent)?;
    let live = Session::connect(url).map_err(because("cannot connect"))?;
    let live_before = read_in_transaction(&live, None)?;
    let (database, tried_on) = clone_of(live, url)?;
    let session = database
        .connect()
        .map_err(because("cannot connect to the clone"))?;
    let changed = carry_out(
        &session,
        &statements,
        extent,
        ON_CLONE,
        |_| Ok(()),
        |_| Ok(()),
    )?;
    let added = changed.after.lines.difference(&changed.before.lines);
    let is_kept = |line: &&String| {
        changed.after.lines.contains(*line) || !changed.before.lines.contains(*line)
    };
    let kept = live_before.lines.iter().filter(is_kept);
    let expected: BTreeSet<String> = kept.chain(added).cloned().collect();
    let after = Catalog {
        lines: expected,
        ..Catalog::default()
    };
    Ok(ServerTrial::new(
        database,
        tried_on,
        {
            let seen = Added {
                before: live_before.digest(),
                after: after.digest(),
            };
            match extent {
                Extent::Adds => ServerOutcome::Added(seen),
                Extent::Changes => ServerOutcome::Changed(seen),
            }
        },
        Vec::new(),
    ))
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
pub(crate) fn promote(
    url: &str,
    statements: &[String],
    outcome: &ServerOutcome,
) -> Result<(), PostgresError> {
    match outcome {
        ServerOutcome::Added(added) => add(url, statements, Extent::Adds, *added),
        ServerOutcome::Changed(changed) => add(url, statements, Extent::Changes, *changed),
        ServerOutcome::Migrated(proved, migration_tables) => {
            replay::promote(url, proved, migration_tables)
        }
    }
}

fn add(
    url: &str,
    statements: &[String],
    extent: Extent,
    outcome: Added,
) -> Result<(), PostgresError> {
    let statements = accepted(statements, extent)?;
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
    let done = carry_out(&session, &statements, extent, ON_LIVE, is_before, is_after);
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

fn accepted(statements: &[String], extent: Extent) -> Result<Vec<String>, PostgresError> {
    if statements.len() > STATEMENTS_MAX {
        return Err(PostgresError::TooMany(statements.len()));
    }
    let accept = |statement: &String| {
        let taken = match extent {
            Extent::Adds => postgres_addition(statement),
            Extent::Changes => postgres_change(statement),
        };
        taken.map_err(|why| PostgresError::BeyondRisk {
            statement: first_line(statement).to_owned(),
            why,
        })
    };
    statements.iter().map(accept).collect()
}

/// Runs the statements in one transaction, which is committed if they only add (no row comes or goes, no
/// table is written anew), or may change something and no row comes or goes, and both questions are answered well.
fn carry_out(
    session: &Session,
    statements: &[String],
    extent: Extent,
    look: RowLook<'_>,
    is_before: impl FnOnce(&Catalog) -> Result<(), PostgresError>,
    is_after: impl FnOnce(&Observed) -> Result<(), PostgresError>,
) -> Result<Observed, PostgresError> {
    in_transaction(session, &[], || {
        let changed = observe(session, look, is_before, || run_all(session, statements))?;
        if extent == Extent::Adds {
            only_adds(&changed)?;
        }
        keeps_rows(&changed)?;
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
    Ok(())
}

fn keeps_rows(changed: &Observed) -> Result<(), PostgresError> {
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
mod tests;
