//! What migrations did on one clone, done again statement by statement in one transaction: on a second clone as the
//! proof, then on the live database.
//!
//! Every statement has to do there what it did in the proof: the same number of rows, the same keys. So the
//! live database gets what was proved, and the code of the migrations never sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, read_shared, tables_named};
use super::postgres::{PostgresError, because, first_line};
use super::relay::{Parameter, Recording, Value};
use super::transaction::{
    ASK_MAX, ON_CLONE, ON_LIVE, Observed, Rows, STATEMENT_MAX, contents_of, in_transaction, limits,
    observe, read_in_transaction,
};
use crate::checks::{Done, MigrationBooks, RawParameter, ServerError, Session, sql_statements};
use crate::domain::ids::Digest;

/// How long all of it may take on the live database.
const LIVE_MAX: Duration = Duration::from_secs(600);
/// Reasons in one list.
const REASONS_MAX: usize = 8;
/// Settings of the connection that mean the same elsewhere.
const SETTINGS: [&str; 4] = ["search_path", "datestyle", "intervalstyle", "timezone"];

/// Migrations that held on a clone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Proved {
    recording: Recording,
    /// What each statement did that may change rows.
    done: Vec<Option<(u64, Digest)>>,
    /// Definitions and books of the live database before.
    pub before: Digest,
    /// What they will be.
    pub after: Digest,
    /// Tables whose rows change, with their contents before.
    changed: Rows,
    /// Tables whose number of rows does not.
    kept: BTreeSet<String>,
}

/// Does it on the clone. Gives what was proved, and what the migrations do besides adding; `live`: what the
/// live database has; `time_max`: for all statements together.
pub(super) fn prove(
    clone: &Session,
    live: &Catalog,
    migrated: &Catalog,
    recording: Recording,
    books: &MigrationBooks,
    time_max: Duration,
) -> Result<(Proved, Vec<String>), PostgresError> {
    if let Some(why) = &recording.obstacle {
        return Err(PostgresError::NoReplay(why.clone()));
    }
    let mut done = Vec::new();
    let look = ON_CLONE.at_contents().with_books(books);
    let (observed, books_tables) = in_transaction(clone, || {
        let observed = observe(
            clone,
            look,
            |_| Ok(()),
            || {
                done = run(clone, &recording, None, time_max)?;
                Ok(())
            },
        )?;
        let all: Vec<String> = books
            .versions
            .iter()
            .chain(&books.growing)
            .cloned()
            .collect();
        let tables =
            tables_named(clone, &all, ASK_MAX).map_err(because("cannot look for tables"))?;
        Ok((observed, tables))
    })?;
    if observed.after.lines != migrated.lines {
        let differs = observed.after.lines.symmetric_difference(&migrated.lines);
        return Err(PostgresError::NoReplay(format!(
            "their statements make something else when they are run again in one transaction: {}",
            first_of(differs)
        )));
    }
    let beyond = beyond(&observed, books, &books_tables);
    let (before, after) = (&observed.before.lines, &observed.after.lines);
    let lines: BTreeSet<String> = live
        .lines
        .iter()
        .filter(|line| !before.contains(*line) || after.contains(*line))
        .chain(after.difference(before))
        .cloned()
        .collect();
    let is_changed =
        |table: &String| observed.rows_before.get(table) != observed.rows_after.get(table);
    let (changed, kept): (BTreeSet<&String>, BTreeSet<&String>) = observed
        .rows_before
        .keys()
        .partition(|table| is_changed(table));
    let proved = Proved {
        recording,
        done: done
            .into_iter()
            .map(|d| d.map(|d| (d.rows, d.returned)))
            .collect(),
        before: live.digest(),
        after: Catalog {
            lines,
            ..Catalog::default()
        }
        .digest(),
        changed: changed
            .into_iter()
            // What is told in the catalog already.
            .filter(|table| !books_tables.contains(table))
            .map(|table| (table.clone(), observed.rows_before[table].clone()))
            .collect(),
        kept: kept.into_iter().cloned().collect(),
    };
    Ok((proved, beyond))
}

/// Does it on the live database, if that is what the trial began with. Idempotent: a database that is already
/// as it will be is left alone.
pub(super) fn promote(
    url: &str,
    proved: &Proved,
    books: &MigrationBooks,
) -> Result<(), PostgresError> {
    let session = Session::connect(url).map_err(because("cannot connect"))?;
    let is_there = |now: Digest| now == proved.after && proved.after != proved.before;
    if is_there(read_in_transaction(&session, Some(books))?.digest()) {
        return Ok(());
    }
    let shown = session.shown().to_owned();
    let changed = || PostgresError::Changed(shown.clone());
    let keep_books = lock_of_books(&session, books)?;
    let done = in_transaction(&session, || {
        session
            .run(&keep_books, ASK_MAX)
            .map_err(because("somebody else may be migrating the database"))?;
        let observed = observe(
            &session,
            ON_LIVE.with_books(books),
            |catalog| match catalog.digest() == proved.before {
                true => Ok(()),
                false => Err(changed()),
            },
            || {
                if contents_of(&session, proved.changed.keys())? != proved.changed {
                    return Err(changed());
                }
                run(&session, &proved.recording, Some(proved), LIVE_MAX).map(drop)
            },
        )?;
        expect_proved(&observed, proved, &shown)?;
        crate::kernel::crash_point("promote.uncommitted");
        Ok(())
    });
    drop(session);
    match done {
        Ok(()) => Ok(()),
        // A transaction of a killed process may have been committed meanwhile; or only its answer was lost.
        Err(error) => {
            let again = Session::connect(url).map_err(because("cannot connect"));
            match again.and_then(|s| read_in_transaction(&s, Some(books))) {
                Ok(now) if is_there(now.digest()) => Ok(()),
                _ => Err(error),
            }
        }
    }
}

/// Keeps everybody else who migrates from writing down what he did, and waits for who is about to. It comes before
/// the transaction's snapshot, in which his changes are then seen; some books take the same line twice.
fn lock_of_books(session: &Session, books: &MigrationBooks) -> Result<String, PostgresError> {
    let names: Vec<String> = books
        .versions
        .iter()
        .chain(&books.growing)
        .cloned()
        .collect();
    let tables = tables_named(session, &names, ASK_MAX)
        .and_then(|tables| writable(session, tables))
        .map_err(because("cannot look for tables"))?;
    Ok(match tables.is_empty() {
        true => String::new(),
        false => format!(
            "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
            tables.join(", ")
        ),
    })
}

/// Those of these tables, by their names in quotes, that the user may lock.
fn writable(session: &Session, tables: Vec<String>) -> Result<Vec<String>, ServerError> {
    let mut all = Vec::new();
    for table in tables {
        let name = table.replace('\'', "''");
        let asked =
            format!("SELECT pg_catalog.has_table_privilege('{name}', 'UPDATE, DELETE, TRUNCATE')");
        if session.value(&asked, ASK_MAX)?.as_deref() == Some("t") {
            all.push(table);
        }
    }
    Ok(all)
}

fn expect_proved(observed: &Observed, proved: &Proved, shown: &str) -> Result<(), PostgresError> {
    if observed.after.digest() != proved.after {
        let new = observed.after.lines.difference(&observed.before.lines);
        return Err(PostgresError::Differs {
            shown: shown.to_owned(),
            what: first_of(new),
        });
    }
    for (table, before) in &observed.rows_before {
        let after = observed.rows_after.get(table);
        if proved.kept.contains(table) && after.is_some_and(|after| after != before) {
            return Err(PostgresError::RowsChanged {
                table: table.clone(),
                before: before.clone(),
                after: after.cloned().unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// Runs every statement of the recording; each has to do what it did in the proof.
fn run(
    session: &Session,
    recording: &Recording,
    proof: Option<&Proved>,
    time_max: Duration,
) -> Result<Vec<Option<Done>>, PostgresError> {
    let started = Instant::now();
    let transaction = || {
        session
            .value("SELECT txid_current()", ASK_MAX)
            .map_err(because("cannot ask for the transaction"))
    };
    let shared =
        || read_shared(session, ASK_MAX).map_err(because("cannot ask for what databases share"));
    set_up(session, recording)?;
    let (begun, shared_before) = (transaction()?, shared()?);
    let mut all = Vec::with_capacity(recording.statements.len());
    for (at, recorded) in recording.statements.iter().enumerate() {
        let failed = || format!("the statement `{}` failed", first_line(&recorded.sql));
        let parameters: Vec<RawParameter<'_>> = recorded.parameters.iter().map(raw).collect();
        let done = session
            .run_again(&recorded.sql, &parameters, STATEMENT_MAX)
            .map_err(because(failed()))?;
        if started.elapsed() > time_max {
            return Err(PostgresError::NoReplay(format!(
                "all of it takes longer than {} s, while others wait",
                time_max.as_secs()
            )));
        }
        if recorded.sql.to_ascii_lowercase().contains("timeout") {
            session
                .run(&limits(), ASK_MAX)
                .map_err(because("cannot limit statements"))?;
        }
        let done = may_change_rows(&recorded.sql).then_some(done);
        let was = proof.and_then(|proved| proved.done.get(at).copied().flatten());
        if let (Some(done), Some((rows, returned))) = (done, was)
            && (done.rows, done.returned) != (rows, returned)
        {
            let what = if done.rows == rows {
                "gives other values".to_owned()
            } else {
                format!("is about {} rows and not {rows}", done.rows)
            };
            return Err(PostgresError::Differs {
                shown: session.shown().to_owned(),
                what: format!("`{}` {what}", first_line(&recorded.sql)),
            });
        }
        all.push(done);
    }
    // A statement that ended the transaction has left what it did.
    if transaction()? != begun {
        return Err(PostgresError::NoReplay(
            "one of their statements ends the transaction".to_owned(),
        ));
    }
    // On a clone it was the trial's own role and database. Statements of this kind are refused by the relay; one that
    // another one builds is seen here.
    if shared()? != shared_before {
        return Err(PostgresError::NoReplay(
            "one of their statements changes a role, or rights, settings or options of a database, which is not a part \
             of the database itself"
                .to_owned(),
        ));
    }
    Ok(all)
}

fn set_up(session: &Session, recording: &Recording) -> Result<(), PostgresError> {
    for (name, value) in &recording.settings {
        let name = name.to_lowercase();
        if name == "client_encoding" {
            let is_utf8 = value.to_lowercase().replace(['-', '\'', '"'], "") == "utf8"
                || value.eq_ignore_ascii_case("unicode");
            if !is_utf8 {
                return Err(PostgresError::NoReplay(format!(
                    "their connection has the encoding {value}"
                )));
            }
        }
        if SETTINGS.contains(&name.as_str()) || name.contains('.') {
            let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
            let sql = format!(
                "SELECT pg_catalog.set_config({}, {}, true)",
                literal(&name),
                literal(value)
            );
            session
                .run(&sql, ASK_MAX)
                .map_err(because(format!("cannot set {name}")))?;
        }
    }
    Ok(())
}

fn raw(parameter: &Parameter) -> RawParameter<'_> {
    let (is_binary, value) = match &parameter.value {
        Value::Null => (false, None),
        Value::Text(text) => (false, Some(text.as_bytes())),
        Value::Binary(bytes) => (true, Some(bytes.as_slice())),
    };
    RawParameter {
        oid: parameter.oid,
        is_binary,
        value,
    }
}

/// What only reads may give something else each time: a moment, an object's number.
fn may_change_rows(sql: &str) -> bool {
    let Some(Ok(statement)) = sql_statements(sql).next() else {
        return false;
    };
    let first = statement.outline.first();
    first.is_some_and(|token| token.is_any(&["INSERT", "UPDATE", "DELETE", "MERGE"]))
}

fn first_of<'l>(lines: impl Iterator<Item = &'l String>) -> String {
    let lines: Vec<&str> = lines.take(3).map(|line| shortened(line)).collect();
    lines.join("; ")
}

fn shortened(line: &str) -> &str {
    let end = line
        .char_indices()
        .nth(160)
        .map_or(line.len(), |(at, _)| at);
    &line[..end]
}

/// `column public.users.name varchar` → `column public.users.name`.
fn name_of(line: &str) -> &str {
    let end = line
        .match_indices(' ')
        .nth(1)
        .map_or(line.len(), |(at, _)| at);
    shortened(&line[..end])
}

/// What was lost or changed besides what was gained.
fn beyond(observed: &Observed, books: &MigrationBooks, books_tables: &[String]) -> Vec<String> {
    let mut reasons = Vec::new();
    let (before, after) = (&observed.before.lines, &observed.after.lines);
    let names_after: BTreeSet<&str> = after.iter().map(|line| name_of(line)).collect();
    let is_book = |line: &str| line.starts_with("version ") || line.starts_with("book ");
    for line in before.difference(after).filter(|line| !is_book(line)) {
        let name = name_of(line);
        let what = match line.split(' ').next() {
            // They have their name at another place.
            Some("index" | "function") => format!("{} is gone or changes", shortened(line)),
            _ if names_after.contains(name) => format!("{name} changes"),
            _ => format!("{name} is gone"),
        };
        reasons.push(what);
    }
    let acting = ["trigger ", "event_trigger ", "rule ", "policy "];
    for line in after.difference(before) {
        if acting.iter().any(|kind| line.starts_with(kind)) {
            reasons.push(format!("{} is new", name_of(line)));
        }
    }
    let lost = observed
        .before
        .privileges
        .difference(&observed.after.privileges);
    let still_there = |line: &&String| {
        let name = line.split(' ').nth(1).unwrap_or_default();
        after.iter().any(|l| l.split(' ').nth(1) == Some(name))
    };
    reasons.extend(
        lost.filter(still_there)
            .map(|line| format!("{} is gone", shortened(line))),
    );
    reasons.extend(of_books(observed, books));
    let is_own = |table: &&String| !books_tables.contains(table);
    for table in observed.rewritten.iter().filter(is_own) {
        reasons.push(format!("table {table} is written anew"));
    }
    for (table, was) in observed
        .rows_before
        .iter()
        .filter(|(table, _)| is_own(table))
    {
        let Some(now) = observed.rows_after.get(table).filter(|now| *now != was) else {
            continue;
        };
        let count = |rows: &str| rows.split(' ').next().unwrap_or_default().to_owned();
        let (was, now) = (count(was), count(now));
        reasons.push(if was == now {
            format!("rows of table {table} change")
        } else {
            format!("the number of rows of table {table} goes from {was} to {now}")
        });
    }
    if let Some(first) = observed.unseen.first() {
        let more = match observed.unseen.len() {
            1 => String::new(),
            n => format!(" and {} more tables", n - 1),
        };
        reasons.push(format!(
            "what becomes of the rows of {first}{more} was not seen"
        ));
    }
    let more = reasons.len().saturating_sub(REASONS_MAX);
    if more > 0 {
        reasons.truncate(REASONS_MAX);
        reasons.push(format!("{more} more"));
    }
    reasons
}

/// A merge of two heads leaves one version of two; none at all is a downgrade to nothing. What only grows, grows.
fn of_books(observed: &Observed, books: &MigrationBooks) -> Vec<String> {
    let rows_of = |lines: &BTreeSet<String>| {
        let mut rows: BTreeMap<String, u64> = BTreeMap::new();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("version"), Some(table), _) => {
                    *rows.entry(table.to_owned()).or_default() += 1
                }
                (Some("book"), Some(table), Some(count)) => {
                    rows.insert(table.to_owned(), count.parse().unwrap_or_default());
                }
                _ => {}
            }
        }
        rows
    };
    let (was, now) = (
        rows_of(&observed.before.lines),
        rows_of(&observed.after.lines),
    );
    let grows = |table: &str| {
        books
            .growing
            .iter()
            .any(|name| table.ends_with(name.as_str()))
    };
    was.into_iter()
        .filter_map(|(table, was)| {
            let now = now.get(&table).copied().unwrap_or_default();
            let is_lost = if grows(&table) { now < was } else { now == 0 };
            (is_lost && was > 0)
                .then(|| format!("the number of rows of table {table} goes from {was} to {now}"))
        })
        .collect()
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
