//! What migrations did on one clone, done again statement by statement in one transaction: on a second clone as the
//! proof, then on the live database.
//!
//! Every statement has to do there what it did in the proof: the same number of rows, the same keys. So the
//! live database gets what was proved, and the code of the migrations never sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::database::migration_tables::MigrationTables;
use crate::database::postgres::session::{Done, RawParameter, ServerError, Session};
use crate::database::sql::quote::literal;
use crate::database::sql::text::sql_statements;
use crate::domain::ids::Digest;
use crate::fix::postgres::catalog::{Catalog, OURS, read_sequences, read_shared, tables_named};
use crate::fix::postgres::error::{PostgresError, because, first_line};
use crate::fix::postgres::relay::{Parameter, RecordedValue, Recording};
use crate::fix::postgres::side_effects::{
    by_statement, describe_set_back, first_of, revoked, sequences_back, shorten, shortened,
    side_effects,
};
use crate::fix::postgres::transaction::{
    ASK_MAX, ON_CLONE, ON_LIVE, Observed, Rows, STATEMENT_MAX, contents_of, counts_of,
    in_transaction, limits, observe, plainly, read_in_transaction, tables_among,
};

/// How long all of it may take on the live database.
const LIVE_MAX: Duration = Duration::from_secs(600);
/// Settings of the connection that mean the same elsewhere.
const SETTINGS: [&str; 4] = ["search_path", "datestyle", "intervalstyle", "timezone"];

/// What a statement did that has to do the same elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Effect {
    /// So many rows were changed, and these given.
    Changed(u64, Digest),
    /// So many rows were found, which may stand in what the program did then.
    Found(u64, u128),
}

/// Migrations that held on a clone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proved {
    recording: Recording,
    /// What each statement did that changes rows of tables or reads them.
    done: Vec<Option<Effect>>,
    /// Definitions and migration tables of the live database before.
    pub before: Digest,
    /// What they will be.
    pub after: Digest,
    /// Tables whose rows change, with their contents before.
    changed: Rows,
    /// Tables whose number of rows does not.
    kept: BTreeSet<String>,
    /// Those of them to whose rows something was done that left what was there as it was.
    touched: BTreeSet<String>,
    /// Tables that nobody else may write to meanwhile.
    locked: Vec<String>,
    /// Tables that are written anew.
    rewritten: BTreeSet<String>,
    /// How many rows were inserted, updated and deleted, by whatever means.
    activity: Rows,
    /// What others may no longer do.
    revoked: BTreeSet<String>,
    /// Sequences that go back.
    back: BTreeSet<String>,
}

/// What migrations made of the clone on which they ran themselves.
pub(crate) struct MigratedClone {
    catalog: Catalog,
    rows: Rows,
}

impl MigratedClone {
    /// Looks.
    pub(crate) fn read(
        clone: &Session,
        migration_tables: &MigrationTables,
    ) -> Result<Self, PostgresError> {
        Ok(Self {
            catalog: read_in_transaction(clone, Some(migration_tables))?,
            rows: in_transaction(clone, &[], || counts_of(clone))?,
        })
    }
}

/// Does it on the clone. Gives what was proved, and what the migrations do besides adding; `live`: what the
/// live database has; `time_max`: for all statements together.
pub(crate) fn prove(
    clone: &Session,
    live: &Catalog,
    migrated: &MigratedClone,
    recording: Recording,
    migration_tables: &MigrationTables,
    time_max: Duration,
) -> Result<(Proved, Vec<String>), PostgresError> {
    if let Some(why) = &recording.obstacle {
        return Err(PostgresError::NoReplay(why.clone()));
    }
    if names_the_trial(&recording) {
        let why = "the name of the trial's own role or database stands in what they wrote";
        return Err(PostgresError::NoReplay(why.to_owned()));
    }
    let mut done = Vec::new();
    let look = ON_CLONE
        .at_contents()
        .with_migration_tables(migration_tables);
    let (observed, existing_migration_tables, rows) = in_transaction(clone, &[], || {
        let observed = observe(
            clone,
            look,
            |_| Ok(()),
            || {
                done = run(clone, &recording, None, time_max)?;
                Ok(())
            },
        )?;
        let tables = plainly(clone, || {
            tables_named(clone, &migration_tables.names(), ASK_MAX)
                .map_err(because("cannot look for tables"))
        })?;
        Ok((observed, tables, counts_of(clone)?))
    })?;
    if let Some((table, now)) = rows
        .iter()
        .find(|(table, now)| migrated.rows.get(*table) != Some(now))
    {
        let was = migrated.rows.get(table).map_or("no", String::as_str);
        return Err(PostgresError::NoReplay(format!(
            "table {table} has {now} rows when their statements are run again in one transaction, and had {was}"
        )));
    }
    let migrated = &migrated.catalog.lines;
    if observed.after.lines != *migrated {
        let differs = observed.after.lines.symmetric_difference(migrated);
        return Err(PostgresError::NoReplay(format!(
            "their statements make something else when they are run again in one transaction: {}",
            first_of(differs)
        )));
    }
    let mut side_effects = side_effects(&observed, migration_tables, &existing_migration_tables);
    side_effects.extend(by_statement(&recording));
    let counts = clone.value("SELECT pg_catalog.current_setting('track_counts')", ASK_MAX);
    if counts
        .map_err(because("cannot ask for a setting"))?
        .as_deref()
        != Some("on")
    {
        side_effects
            .push("the server does not count which rows change (track_counts is off)".to_owned());
    }
    shorten(&mut side_effects);
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
    let is_touched = |table: &&&String| {
        observed.activity.contains_key(**table) && !existing_migration_tables.contains(**table)
    };
    let touched = kept
        .iter()
        .filter(is_touched)
        .map(|t| (*t).clone())
        .collect();
    let is_table = |table: &&String| {
        let begin = format!("relation {table} r ");
        let mut from = observed.before.lines.range(begin.clone()..);
        from.next().is_some_and(|line| line.starts_with(&begin))
    };
    // The migration tables too: somebody else may do the same at the same time.
    let locked: BTreeSet<&String> = changed
        .iter()
        .copied()
        .chain(&observed.rewritten)
        .chain(&observed.gone)
        .chain(&existing_migration_tables)
        .filter(is_table)
        .collect();
    let proved = Proved {
        recording,
        touched,
        locked: locked.into_iter().cloned().collect(),
        rewritten: observed.rewritten.iter().cloned().collect(),
        activity: observed.activity.clone(),
        revoked: revoked(&observed).cloned().collect(),
        back: sequences_back(&observed.sequences)
            .map(|(name, ..)| name.clone())
            .collect(),
        done,
        before: live.digest(),
        after: Catalog {
            lines,
            ..Catalog::default()
        }
        .digest(),
        changed: changed
            .into_iter()
            // The catalog already has these.
            .filter(|table| !existing_migration_tables.contains(table))
            .map(|table| (table.clone(), observed.rows_before[table].clone()))
            .collect(),
        kept: kept.into_iter().cloned().collect(),
    };
    Ok((proved, side_effects))
}

/// Does it on the live database, if that is what the trial began with. Idempotent: a database that is already
/// as it will be is left alone.
pub(crate) fn promote(
    url: &str,
    proved: &Proved,
    migration_tables: &MigrationTables,
) -> Result<(), PostgresError> {
    let session = Session::connect(url).map_err(because("cannot connect"))?;
    let is_there = |now: Digest| now == proved.after && proved.after != proved.before;
    if is_there(read_in_transaction(&session, Some(migration_tables))?.digest()) {
        return Ok(());
    }
    let shown = session.shown().to_owned();
    let changed = || PostgresError::Changed(shown.clone());
    let mut sequences = BTreeMap::new();
    let mut locked = lock_of_migration_tables(&session, migration_tables)?;
    locked.extend(proved.locked.iter().cloned());
    let done = in_transaction(&session, &locked, || {
        let observed = observe(
            &session,
            ON_LIVE.with_migration_tables(migration_tables),
            |catalog| match catalog.digest() == proved.before {
                true => Ok(()),
                false => Err(changed()),
            },
            || {
                let about = tables_among(&session, &proved.changed.keys().collect())?;
                if contents_of(&session, &about)? != proved.changed {
                    return Err(changed());
                }
                let touched = tables_among(&session, &proved.touched.iter().collect())?;
                let before = contents_of(&session, &touched)?;
                sequences = plainly(&session, || sequences_of(&session))?;
                run(&session, &proved.recording, Some(proved), LIVE_MAX)?;
                if contents_of(&session, &touched)? != before {
                    return Err(differs(
                        &shown,
                        "rows change that did not change there".to_owned(),
                    ));
                }
                Ok(())
            },
        )?;
        expect_proved(&observed, proved, &shown)?;
        crate::kernel::crash_point("promote.uncommitted");
        Ok(())
    });
    if done.is_err() {
        put_back(&session, &sequences);
    }
    drop(session);
    match done {
        Ok(()) => Ok(()),
        // A transaction of a killed process may have been committed meanwhile; or only its answer was lost.
        Err(error) => {
            let again = Session::connect(url).map_err(because("cannot connect"));
            match again.and_then(|s| read_in_transaction(&s, Some(migration_tables))) {
                Ok(now) if is_there(now.digest()) => Ok(()),
                _ => Err(error),
            }
        }
    }
}

/// Locks the migration tables: other migrations wait, and this waits for those that run. It comes before the
/// transaction's snapshot, so that their changes are seen; some migration tables take the same row twice.
fn lock_of_migration_tables(
    session: &Session,
    migration_tables: &MigrationTables,
) -> Result<Vec<String>, PostgresError> {
    tables_named(session, &migration_tables.names(), ASK_MAX)
        .and_then(|tables| writable(session, tables))
        .map_err(because("cannot look for tables"))
}

/// Those of these tables, by their names in quotes, that the user may lock.
fn writable(session: &Session, tables: Vec<String>) -> Result<Vec<String>, ServerError> {
    let mut all = Vec::new();
    for table in tables {
        let name = literal(&table);
        let asked =
            format!("SELECT pg_catalog.has_table_privilege({name}, 'UPDATE, DELETE, TRUNCATE')");
        if session.value(&asked, ASK_MAX)?.as_deref() == Some("t") {
            all.push(table);
        }
    }
    Ok(all)
}

fn differs(shown: &str, what: String) -> PostgresError {
    let shown = shown.to_owned();
    PostgresError::Differs { shown, what }
}

fn sequences_of(session: &Session) -> Result<BTreeMap<String, i64>, PostgresError> {
    read_sequences(session, ASK_MAX).map_err(because("cannot read the sequences"))
}

/// What `setval` does to a sequence is not taken back with the transaction.
fn put_back(session: &Session, sequences: &BTreeMap<String, i64>) {
    // Without one, nothing was run.
    let Ok(now) = sequences_of(session) else {
        return;
    };
    let sequences = [sequences.clone(), now];
    for (name, before, _) in sequences_back(&sequences) {
        let name = literal(name);
        let sql = format!(
            "SELECT pg_catalog.setval(seqrelid, {before} * sign(seqincrement)::int) FROM pg_catalog.pg_sequence \
             WHERE seqrelid = {name}::regclass"
        );
        if let Err(error) = session.run(&sql, ASK_MAX) {
            tracing::warn!(sequence = name, %error, "cannot put a sequence back to where it was");
        }
    }
}

fn expect_proved(observed: &Observed, proved: &Proved, shown: &str) -> Result<(), PostgresError> {
    if observed.after.digest() != proved.after {
        let new = observed.after.lines.difference(&observed.before.lines);
        return Err(differs(shown, first_of(new)));
    }
    let tables: BTreeSet<&String> = observed
        .activity
        .keys()
        .chain(proved.activity.keys())
        .collect();
    for table in tables {
        let (here, there) = (observed.activity.get(table), proved.activity.get(table));
        if here != there {
            let shown_rows = |rows: Option<&String>| rows.map_or("none", String::as_str).to_owned();
            let what = format!(
                "rows of {table}: {} and not {}",
                shown_rows(here),
                shown_rows(there)
            );
            return Err(differs(shown, what));
        }
    }
    let rewritten = observed
        .rewritten
        .iter()
        .find(|table| !proved.rewritten.contains(*table));
    if let Some(table) = rewritten {
        return Err(differs(shown, format!("table {table} is written anew")));
    }
    if let Some(line) = revoked(observed).find(|line| !proved.revoked.contains(*line)) {
        return Err(differs(shown, format!("{} is gone", shortened(line))));
    }
    let mut back = sequences_back(&observed.sequences);
    if let Some(unproved) = back.find(|(name, ..)| !proved.back.contains(*name)) {
        return Err(differs(shown, describe_set_back(unproved)));
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
) -> Result<Vec<Option<Effect>>, PostgresError> {
    let started = Instant::now();
    let transaction = || {
        session
            .value("SELECT pg_catalog.txid_current()", ASK_MAX)
            .map_err(because("cannot ask for the transaction"))
    };
    let shared = || {
        plainly(session, || {
            read_shared(session, ASK_MAX).map_err(because("cannot ask for what databases share"))
        })
    };
    let tables = names_of_tables(session)?;
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
        let effect = effect_of(&recorded.sql, done, &tables);
        let was = proof.and_then(|proved| proved.done.get(at).copied().flatten());
        if let (Some(now), Some(was)) = (effect, was)
            && now != was
        {
            let what = match (now, was) {
                (Effect::Changed(now, _), Effect::Changed(was, _)) if now != was => {
                    format!("is about {now} rows and not {was}")
                }
                _ => "gives other values".to_owned(),
            };
            let what = format!("`{}` {what}", first_line(&recorded.sql));
            return Err(differs(session.shown(), what));
        }
        all.push(effect);
        if recorded.is_last && at + 1 < recording.statements.len() {
            end_deferral(session)?;
        }
    }
    // A statement that ended the transaction has left what it did.
    if transaction()? != begun {
        return Err(PostgresError::NoReplay(
            "one of their statements ends the transaction".to_owned(),
        ));
    }
    // On a clone it was the trial's own role and database. Statements of this kind are refused by the relay; one that
    // another one builds is seen here.
    if !shared()?.is_as(&shared_before) {
        return Err(PostgresError::NoReplay(
            "one of their statements changes a role, or rights, settings or options of a database, which is not a part \
             of the database itself"
                .to_owned(),
        ));
    }
    Ok(all)
}

/// Where one of their transactions ended, what is deferred was checked; without that, its tables cannot be
/// altered any more. Then it is deferred again. (That holds for what is deferrable and not deferred by itself too:
/// the worst of it is a refusal.)
fn end_deferral(session: &Session) -> Result<(), PostgresError> {
    let cannot = || because("what was deferred to the end of a transaction does not hold");
    let sql = "SELECT 1 FROM pg_catalog.pg_constraint WHERE condeferred LIMIT 1";
    if session.value(sql, ASK_MAX).map_err(cannot())?.is_none() {
        return Ok(());
    }
    let sql = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED";
    session.run(sql, STATEMENT_MAX).map_err(cannot())
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
        RecordedValue::Null => (false, None),
        RecordedValue::Text(text) => (false, Some(text.as_bytes())),
        RecordedValue::Binary(bytes) => (true, Some(bytes.as_slice())),
    };
    RawParameter {
        oid: parameter.oid,
        is_binary,
        value,
    }
}

/// Its role and databases are gone when the live database gets the same.
fn names_the_trial(recording: &Recording) -> bool {
    let is_in = |bytes: &[u8]| {
        let has = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
        has(b"ubs_role_") || has(b"ubs_trial_")
    };
    recording.statements.iter().any(|one| {
        let values = one.parameters.iter().map(|parameter| raw(parameter).value);
        is_in(one.sql.as_bytes()) || values.flatten().any(is_in)
    })
}

/// The names alone, in small letters, without schema and quotes.
fn names_of_tables(session: &Session) -> Result<BTreeSet<String>, PostgresError> {
    let sql = format!(
        "SELECT DISTINCT pg_catalog.lower(c.relname) FROM pg_catalog.pg_class AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {OURS}"
    );
    let rows = session
        .rows(&sql, ASK_MAX)
        .map_err(because("cannot read the catalog"))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// `None`: it may well be another one each time: a moment, an object's number, nothing of interest.
fn effect_of(sql: &str, done: Done, tables: &BTreeSet<String>) -> Option<Effect> {
    /// In what gives something else each time.
    const VARYING: [&str; 12] = [
        "pg_",
        "information_schema",
        "now(",
        "current_",
        "localtime",
        "timestamp()",
        "timeofday",
        "random",
        "uuid_generate",
        "nextval",
        "txid",
        "::reg",
    ];
    let Some(Ok(statement)) = sql_statements(sql).next() else {
        return None;
    };
    let begins = |words: &[&str]| {
        statement
            .outline
            .first()
            .is_some_and(|first| first.is_any(words))
    };
    if begins(&["INSERT", "UPDATE", "DELETE", "MERGE"]) || (begins(&["WITH"]) && statement.writes) {
        return Some(Effect::Changed(done.rows, done.returned));
    }
    let text = sql.to_lowercase();
    let words = || text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
    let is_of_rows = begins(&["FETCH"])
        || (begins(&["SELECT", "WITH", "TABLE", "VALUES"]) || text.starts_with('('))
            && words().any(|word| tables.contains(word))
            && !VARYING.iter().any(|varying| text.contains(varying))
            && !words().any(|word| ["oid", "ctid", "xmin", "tableoid"].contains(&word));
    is_of_rows.then_some(Effect::Found(done.rows, done.found))
}

#[cfg(test)]
mod tests;
