//! One transaction on a PostgreSQL database, and what is to be seen of it: definitions, rows, and the files of
//! tables, before and after what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::database::migration_tables::MigrationTables;
use crate::database::postgres::session::Session;
use crate::database::sql::quote::literal;
use crate::fix::postgres::catalog::{
    Catalog, OURS, read_activity, read_catalog, read_identities, read_migration_tables,
    read_sequences,
};
use crate::fix::postgres::error::{PostgresError, because};

/// How long one statement may take.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_secs(60);
pub(crate) const ASK_MAX: Duration = Duration::from_secs(30);
/// How long a statement waits for a lock on the live database: whoever waits behind it waits as long.
const LOCK_MAX: Duration = Duration::from_secs(5);
/// A larger database is not cloned with its rows.
const CLONE_BYTES_MAX: u64 = 256 << 20;
/// Tables whose rows are looked at, the smallest first.
const TABLES_MAX: usize = 2_000;

/// Whether a clone of the database is to have its rows.
pub(crate) fn is_small(live: &Session) -> Result<bool, PostgresError> {
    let size = live
        .value("SELECT pg_database_size(current_database())", ASK_MAX)
        .map_err(because("cannot ask for the database's size"))?;
    let bytes = size.and_then(|text| text.parse::<u64>().ok());
    Ok(bytes.is_some_and(|bytes| bytes <= CLONE_BYTES_MAX))
}

/// How far rows are looked at. That no table was written anew is seen for all, which costs nothing.
#[derive(Clone, Copy)]
pub(crate) struct RowLook<'a> {
    time_max: Duration,
    /// Of one table.
    bytes_max: u64,
    /// Not only how many there are.
    contents: bool,
    /// Tables that are a part of the catalog.
    pub migration_tables: Option<&'a MigrationTables>,
}

pub(crate) const ON_CLONE: RowLook<'static> = RowLook {
    time_max: Duration::from_secs(20),
    bytes_max: CLONE_BYTES_MAX,
    contents: false,
    migration_tables: None,
};
/// The second look happens while the application waits for the tables that were changed.
pub(crate) const ON_LIVE: RowLook<'static> = RowLook {
    time_max: Duration::from_secs(2),
    bytes_max: 32 << 20,
    contents: false,
    migration_tables: None,
};

impl<'a> RowLook<'a> {
    /// Sees whether rows change, too.
    pub(crate) fn at_contents(self) -> Self {
        Self {
            contents: true,
            ..self
        }
    }

    pub(crate) fn with_migration_tables(
        self,
        migration_tables: &'a MigrationTables,
    ) -> RowLook<'a> {
        RowLook {
            migration_tables: Some(migration_tables),
            ..self
        }
    }
}

/// The rows of each table by its name in quotes: how many, and a hash where contents are looked at.
pub(crate) type Rows = BTreeMap<String, String>;

/// What a transaction did.
pub(crate) struct Observed {
    pub before: Catalog,
    pub after: Catalog,
    /// Tables that are there before and after, in another file.
    pub rewritten: Vec<String>,
    /// Columns of other tables that are there before and after, and are not the same.
    pub remade: Vec<String>,
    /// Tables that are there before and not after.
    pub gone: Vec<String>,
    /// How far the sequences have come.
    pub sequences: [BTreeMap<String, i64>; 2],
    /// Rows that were inserted, updated and deleted.
    pub activity: Rows,
    /// In the columns that were there before.
    pub rows_before: Rows,
    /// Without tables that are gone, or have lost a column.
    pub rows_after: Rows,
    /// Tables of `before` whose rows were not looked at: too many, or it would have taken too long.
    pub unseen: Vec<String>,
}

/// Definitions and migration tables, in a transaction that reads.
pub(crate) fn read_in_transaction(
    session: &Session,
    migration_tables: Option<&MigrationTables>,
) -> Result<Catalog, PostgresError> {
    session
        .run(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            ASK_MAX,
        )
        .map_err(because("cannot read the catalog"))?;
    let catalog = plainly(session, || catalog_of(session, migration_tables))?;
    session
        .run("COMMIT", ASK_MAX)
        .map_err(because("cannot read the catalog"))?;
    Ok(catalog)
}

/// Looks with settings that do not depend on user, database or what was run: names are written in full, and values
/// the same way everywhere. In a transaction of the caller, whose settings are put back.
pub(crate) fn plainly<T>(
    session: &Session,
    look: impl FnOnce() -> Result<T, PostgresError>,
) -> Result<T, PostgresError> {
    const SETTINGS: [(&str, &str); 7] = [
        ("search_path", super::catalog::PATH),
        ("timezone", "UTC"),
        ("datestyle", "ISO, MDY"),
        ("intervalstyle", "postgres"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        ("quote_all_identifiers", "off"),
    ];
    let ask = |expressions: Vec<String>| {
        session
            .rows(&format!("SELECT {}", expressions.join(", ")), ASK_MAX)
            .map_err(because("cannot set how values are written"))
    };
    let set = |name: &str, value: &str| {
        let value = literal(value);
        format!("pg_catalog.set_config('{name}', {value}, true)")
    };
    let current = |(name, _): &(&str, &str)| format!("pg_catalog.current_setting('{name}')");
    let before = ask(SETTINGS.iter().map(current).collect())?;
    ask(SETTINGS
        .iter()
        .map(|(name, value)| set(name, value))
        .collect())?;
    let found = look()?;
    let values = before.into_iter().flatten().map(Option::unwrap_or_default);
    let put_back = SETTINGS.iter().zip(values);
    ask(put_back
        .map(|((name, _), value)| set(name, &value))
        .collect())?;
    Ok(found)
}

fn catalog_of(
    session: &Session,
    migration_tables: Option<&MigrationTables>,
) -> Result<Catalog, PostgresError> {
    let mut catalog = read_catalog(session, ASK_MAX).map_err(because("cannot read the catalog"))?;
    if let Some(migration_tables) = migration_tables {
        let lines = read_migration_tables(session, migration_tables, ASK_MAX)
            .map_err(because("cannot read what the migrations wrote down"))?;
        catalog.lines.extend(lines);
    }
    Ok(catalog)
}

/// How long a statement of a transaction may take.
pub(crate) fn limits() -> String {
    format!(
        "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
        LOCK_MAX.as_millis(),
        STATEMENT_MAX.as_millis()
    )
}

/// Runs `work` in one transaction, which is committed if it gives no error. Nobody else writes to the tables in
/// `locked` from before the first look on: what is seen of them is all there is until the end.
pub(crate) fn in_transaction<T>(
    session: &Session,
    locked: &[String],
    work: impl FnOnce() -> Result<T, PostgresError>,
) -> Result<T, PostgresError> {
    // One snapshot: what is seen before and after differs by what the work does, and by nothing else.
    let begin = format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ; {}; \
         SET LOCAL standard_conforming_strings = on; SET LOCAL client_min_messages = warning",
        limits()
    );
    session
        .run(&begin, ASK_MAX)
        .map_err(because("cannot begin a transaction"))?;
    let lock = || match locked {
        [] => Ok(()),
        // Before the snapshot, which the first statement that reads takes.
        tables => session
            .run(
                &format!(
                    "LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE",
                    tables.join(", ONLY ")
                ),
                LOCK_MAX * 2,
            )
            .map_err(because(
                "cannot lock tables that change; somebody else may be migrating the database",
            )),
    };
    let done = lock().and_then(|()| work());
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session
        .run(end, STATEMENT_MAX)
        .map_err(because("cannot end the transaction"));
    let done = done?;
    ended?;
    Ok(done)
}

/// Looks, does the work if `is_before` likes what it sees, and looks again. In a transaction of the caller.
pub(crate) fn observe(
    session: &Session,
    look: RowLook<'_>,
    is_before: impl FnOnce(&Catalog) -> Result<(), PostgresError>,
    work: impl FnOnce() -> Result<(), PostgresError>,
) -> Result<Observed, PostgresError> {
    let cannot = || because("cannot read the catalog");
    let parts = || {
        let identities = read_identities(session, ASK_MAX).map_err(cannot())?;
        let sequences = read_sequences(session, ASK_MAX).map_err(cannot())?;
        Ok((identities, sequences))
    };
    let (before, tables, (rows_before, unseen), (was, sequences_before)) =
        plainly(session, || {
            let before = catalog_of(session, look.migration_tables)?;
            is_before(&before)?;
            let tables = tables_of(session)?;
            let rows = first_look(session, look, &tables)?;
            Ok((before, tables, rows, parts()?))
        })?;
    work()?;
    plainly(session, || {
        let after = catalog_of(session, look.migration_tables)?;
        let (now, sequences_after) = parts()?;
        let activity = read_activity(session, ASK_MAX).map_err(cannot())?;
        let rows_after = second_look(session, look, &tables, &rows_before)?;
        let is_another = |name: &String| now.get(name).is_some_and(|now| now != &was[name]);
        let of_kind = |kind: &'static str| {
            was.keys()
                .filter_map(move |name| Some((name, name.strip_prefix(kind)?)))
        };
        let rewritten: Vec<String> = of_kind("table ")
            .filter(|(name, _)| is_another(name))
            .map(|(_, table)| table.to_owned())
            .collect();
        let is_of_rewritten = |column: &str| {
            rewritten.iter().any(|table| {
                column
                    .strip_prefix(table.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let remade = of_kind("column ")
            .filter(|(name, column)| is_another(name) && !is_of_rewritten(column))
            .map(|(_, column)| column.to_owned())
            .collect();
        let gone = of_kind("table ")
            .filter(|(name, _)| !now.contains_key(*name))
            .map(|(_, table)| table.to_owned())
            .collect();
        Ok(Observed {
            before,
            after,
            rewritten,
            remade,
            gone,
            sequences: [sequences_before, sequences_after],
            activity,
            rows_before,
            rows_after,
            unseen,
        })
    })
}

pub(crate) struct TableOf {
    pub name: String,
    /// In quotes.
    columns: Vec<String>,
    bytes: u64,
    /// Not every row is shown to this user.
    hides_rows: bool,
}

/// Tables that may be read, the smallest first.
pub(crate) fn tables_of(session: &Session) -> Result<Vec<TableOf>, PostgresError> {
    let rows = session
        .rows(
            &format!(
                "SELECT format('%I.%I', n.nspname, c.relname), (SELECT string_agg(quote_ident(a.attname), chr(31) ORDER BY a.attnum) \
                 FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
                 pg_relation_size(c.oid), row_security_active(c.oid) FROM pg_catalog.pg_class AS c \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE c.relkind = 'r' AND {OURS} \
                 AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') \
                 ORDER BY pg_relation_size(c.oid), 1"
            ),
            ASK_MAX,
        )
        .map_err(because("cannot read the catalog"))?;
    let table = |row: Vec<Option<String>>| {
        let mut values = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || values.next().unwrap_or_default();
        TableOf {
            name: next(),
            columns: next()
                .split('\u{1f}')
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect(),
            bytes: next().parse().unwrap_or(u64::MAX),
            hides_rows: next() == "t",
        }
    };
    Ok(rows.into_iter().map(table).collect())
}

fn first_look(
    session: &Session,
    look: RowLook<'_>,
    tables: &[TableOf],
) -> Result<(Rows, Vec<String>), PostgresError> {
    let begun = Instant::now();
    let (mut rows, mut unseen) = (Rows::new(), Vec::new());
    for table in tables.iter().filter(|table| !table.hides_rows) {
        let is_too_much = rows.len() >= TABLES_MAX
            || table.bytes > look.bytes_max
            || begun.elapsed() > look.time_max;
        if is_too_much {
            unseen.push(table.name.clone());
            continue;
        }
        rows.insert(table.name.clone(), rows_of(session, look, table)?);
    }
    Ok((rows, unseen))
}

/// What was looked at before is looked at again, however long that takes.
fn second_look(
    session: &Session,
    look: RowLook<'_>,
    tables: &[TableOf],
    rows_before: &Rows,
) -> Result<Rows, PostgresError> {
    let now: BTreeMap<String, Vec<String>> = tables_of(session)?
        .into_iter()
        .map(|table| (table.name, table.columns))
        .collect();
    let mut rows = Rows::new();
    for table in tables.iter().filter(|t| rows_before.contains_key(&t.name)) {
        let Some(columns) = now.get(&table.name) else {
            continue;
        };
        if look.contents && !table.columns.iter().all(|c| columns.contains(c)) {
            continue;
        }
        rows.insert(table.name.clone(), rows_of(session, look, table)?);
    }
    Ok(rows)
}

/// How many rows are in each table, the smallest first, in a transaction of the caller.
pub(crate) fn counts_of(session: &Session) -> Result<Rows, PostgresError> {
    plainly(session, || {
        let tables = tables_of(session)?;
        Ok(first_look(session, ON_CLONE, &tables)?.0)
    })
}

fn rows_of(session: &Session, look: RowLook<'_>, table: &TableOf) -> Result<String, PostgresError> {
    let name = &table.name;
    let sql = if look.contents && !table.columns.is_empty() {
        format!(
            "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(ROW({})::text COLLATE \"C\", 0)::numeric), 0) \
             FROM ONLY {name}",
            table.columns.join(", ")
        )
    } else {
        format!("SELECT count(*) FROM ONLY {name}")
    };
    let rows = session
        .value(&sql, STATEMENT_MAX)
        .map_err(because("cannot look at rows"))?;
    Ok(rows.unwrap_or_default())
}

/// These tables, for [`contents_of`]; without those that are not there.
pub(crate) fn tables_among(
    session: &Session,
    wanted: &BTreeSet<&String>,
) -> Result<Vec<TableOf>, PostgresError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut tables = plainly(session, || tables_of(session))?;
    tables.retain(|table| wanted.contains(&table.name) && !table.hides_rows);
    Ok(tables)
}

/// Their rows with their contents, in the columns that they had when they were asked for.
pub(crate) fn contents_of(session: &Session, tables: &[TableOf]) -> Result<Rows, PostgresError> {
    if tables.is_empty() {
        return Ok(Rows::new());
    }
    plainly(session, || {
        let found = |table: &TableOf| {
            let rows = rows_of(session, ON_LIVE.at_contents(), table)?;
            Ok((table.name.clone(), rows))
        };
        tables.iter().map(found).collect()
    })
}
