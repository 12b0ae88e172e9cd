//! Statements of a proposal on a SQLite database: refused beyond their risk class, in one
//! transaction, with every row still there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::database::sql::quote::identifier;
use crate::database::sqlite::rebuild::{is_rebuild, outdated};
use crate::domain::ids::Digest;
use crate::domain::mission::Risk;

/// Statements of one proposal.
const STATEMENTS_MAX: usize = 256;
/// How long the statements of one proposal may run.
const STATEMENTS_TIME_MAX: Duration = Duration::from_secs(120);
/// Steps of SQLite's machine between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// How long a locked database is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A database could not be changed; it is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite says no.
    #[error("{context}: {source}")]
    Sqlite {
        /// What was being done.
        context: String,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// More than its risk class allows.
    #[error(
        "a statement does more than the risk class {0} allows (only additions: CREATE TABLE, CREATE INDEX, ALTER TABLE ... ADD COLUMN)"
    )]
    BeyondRisk(&'static str),
    /// Too many.
    #[error("{0} statements are too many (at most {STATEMENTS_MAX})")]
    TooMany(usize),
    /// A table that is made anew lacks something.
    #[error(
        "the statements lose {0}, which came there since they were written; look again and propose anew"
    )]
    Gone(String),
    /// A table that is made anew is another one than was looked at.
    #[error(
        "the statements make table {0} anew from a definition that it no longer has, and would undo what changed since; \
         look again and propose anew"
    )]
    Redefined(String),
    /// A foreign key is broken.
    #[error("after the statements, {0} rows lead to rows that are not there")]
    Dangling(usize),
    /// A row is gone or new.
    #[error("the statements change the number of rows of table {table} from {before} to {after}")]
    RowsChanged {
        /// Which table.
        table: String,
        /// Before.
        before: i64,
        /// After.
        after: i64,
    },
}

pub(super) fn because(context: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> DatabaseError {
    let context = context.into();
    move |source| DatabaseError::Sqlite { context, source }
}

fn open(path: &Path, create: bool) -> Result<Connection, DatabaseError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)
        .map_err(because(format!("cannot open {}", path.display())))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(because("cannot set the busy timeout"))?;
    Ok(connection)
}

/// What an additive statement may do. `ALTER TABLE ... ADD COLUMN` and `CREATE` themselves write to
/// the schema table, which SQLite reports as inserts and updates of it.
fn is_additive(action: &AuthAction<'_>, creates: bool) -> bool {
    use AuthAction as A;
    let schema_table = |name: &str| matches!(name, "sqlite_master" | "sqlite_schema");
    match action {
        A::CreateTable { .. } | A::CreateIndex { .. } | A::AlterTable { .. } => true,
        A::Insert { table_name } | A::Update { table_name, .. } => schema_table(table_name),
        // CREATE TABLE ... AS SELECT: it may read for ever, and fill the disk.
        A::Select if creates => false,
        // ADD COLUMN checks the new column with a SELECT; REINDEX runs at the end of CREATE INDEX.
        A::Read { .. } | A::Select | A::Reindex { .. } | A::Transaction { .. } => true,
        A::Function { .. } => true,
        _ => false,
    }
}

/// Only additions may pass: a rename is an `ALTER TABLE` too, so the text is looked at as well.
fn require_additive_text(statement: &str) -> Result<(), DatabaseError> {
    let words: Vec<String> = statement
        .split_whitespace()
        .take(64)
        .map(str::to_ascii_uppercase)
        .collect();
    let first = words.first().map_or("", String::as_str);
    let adds = match first {
        "CREATE" => true,
        // Quoted names may hold spaces: RENAME and DROP are looked for as words anywhere before ADD.
        "ALTER" => {
            let add = words.iter().position(|w| w == "ADD");
            let other = words.iter().position(|w| w == "RENAME" || w == "DROP");
            match (add, other) {
                (Some(add), Some(other)) => add < other,
                (Some(_), None) => true,
                _ => false,
            }
        }
        _ => false,
    };
    if adds {
        Ok(())
    } else {
        Err(DatabaseError::BeyondRisk(Risk::Additive.as_str()))
    }
}

fn row_counts(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let names: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    names
        .into_iter()
        .map(|name| {
            let sql = format!("SELECT count(*) FROM {}", identifier(&name));
            let count = connection.query_row(&sql, [], |row| row.get(0))?;
            Ok((name, count))
        })
        .collect()
}

/// What the guards of a connection look at. They cannot be exchanged while a transaction borrows it.
#[derive(Default)]
struct Guards {
    /// When the statements began; before that, time is not bounded.
    begun: OnceLock<Instant>,
    /// One of the values below.
    permitted: AtomicU8,
}

/// The statement that runs may do anything.
const ANYTHING: u8 = 0;
/// It does not begin with CREATE, and may add.
const ADDITION: u8 = 1;
/// It begins with CREATE, and may add.
const CREATION: u8 = 2;

/// Lets the connection stop statements that run too long, and refuse what they may not do.
fn install_guards(connection: &mut Connection) -> rusqlite::Result<Arc<Guards>> {
    let guards = Arc::<Guards>::default();
    let clock = Arc::clone(&guards);
    let is_late = move || {
        let begun = clock.begun.get();
        begun.is_some_and(|begun| begun.elapsed() >= STATEMENTS_TIME_MAX)
    };
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_late))?;
    let permitted = Arc::clone(&guards);
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        let permitted = permitted.permitted.load(Ordering::Relaxed);
        if permitted == ANYTHING || is_additive(&context.action, permitted == CREATION) {
            Authorization::Allow
        } else {
            Authorization::Deny
        }
    }))?;
    Ok(guards)
}

/// Runs the statements in one transaction. Nothing changes unless all succeed, stay within the
/// risk class, and leave the number of rows of every table as it was.
///
/// # Errors
/// The database is as it was before.
pub(super) fn apply_statements(
    path: &Path,
    statements: &[String],
    risk: Risk,
) -> Result<(), DatabaseError> {
    if statements.len() > STATEMENTS_MAX {
        return Err(DatabaseError::TooMany(statements.len()));
    }
    let mut connection = open(path, true)?;
    // A table that is made anew is dropped on the way: nothing that refers to it may go with it.
    let rebuilds = risk >= Risk::Destructive && is_rebuild(statements);
    if rebuilds {
        connection
            .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")
            .map_err(because("cannot switch foreign keys off"))?;
    }
    let guards = install_guards(&mut connection).map_err(because("cannot guard the connection"))?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(because(format!(
            "cannot begin a transaction on {}",
            path.display()
        )))?;
    let before = row_counts(&transaction).map_err(because("cannot count rows"))?;
    // Definitions that do not fit each other cannot be asked; then they could not before either.
    let led_nowhere = match rebuilds {
        true => dangling(&transaction).ok(),
        false => None,
    };
    let known = match rebuilds {
        true => things(&transaction).map_err(because("cannot read the definitions"))?,
        false => BTreeSet::new(),
    };
    if rebuilds {
        require_as_measured(&transaction, statements)?;
    }
    let guarded = risk < Risk::Destructive;
    guards.begun.get_or_init(Instant::now);
    for statement in statements {
        let first = statement.trim_start().get(..6).unwrap_or("");
        let creates = first.eq_ignore_ascii_case("CREATE");
        if guarded {
            require_additive_text(statement)?;
            let additions = if creates { CREATION } else { ADDITION };
            guards.permitted.store(additions, Ordering::Relaxed);
        }
        let outcome = transaction.execute(statement, []);
        guards.permitted.store(ANYTHING, Ordering::Relaxed);
        outcome.map_err(|source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => {
                DatabaseError::BeyondRisk(risk.as_str())
            }
            _ => because(format!("the statement `{}` failed", first_line(statement)))(source),
        })?;
    }
    if guarded || rebuilds {
        let after = row_counts(&transaction).map_err(because("cannot count rows"))?;
        for (table, before) in before {
            let after = after.get(&table).copied().unwrap_or(0);
            if after != before {
                return Err(DatabaseError::RowsChanged {
                    table,
                    before,
                    after,
                });
            }
        }
    }
    if rebuilds {
        let after = things(&transaction).map_err(because("cannot read the definitions"))?;
        if let Some(gone) = known.difference(&after).next() {
            return Err(DatabaseError::Gone(gone.clone()));
        }
    }
    if let Some(before) = led_nowhere {
        let after = dangling(&transaction).map_err(because("cannot look at foreign keys"))?;
        if after > before {
            return Err(DatabaseError::Dangling(after - before));
        }
    }
    transaction.commit().map_err(because("cannot commit"))
}

/// Tables, columns, indexes, triggers and views by name. A table that is made anew has all that it had: what came
/// between the look and the approval is not lost.
fn things(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = connection.prepare(
        "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         UNION ALL SELECT 'column ' || t.name || '.' || c.name FROM sqlite_schema AS t, pragma_table_xinfo(t.name) AS c \
         WHERE t.type = 'table'",
    )?;
    statement
        .query_map([], |row| row.get::<_, String>(0))?
        .map(|name| name.map(|name| name.to_lowercase()))
        .collect()
}

/// Each table that is made anew has the definition that its new one was written from.
fn require_as_measured(
    connection: &Connection,
    statements: &[String],
) -> Result<(), DatabaseError> {
    let ddl_of = |table: &str| {
        let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
        connection
            .query_row(sql, [table], |row| row.get(0))
            .optional()
            .map(Option::flatten)
    };
    for statement in statements {
        let found = outdated(statement, ddl_of).map_err(because("cannot read the definitions"))?;
        if let Some(table) = found {
            return Err(DatabaseError::Redefined(table));
        }
    }
    Ok(())
}

/// Rows that lead to one that is not there.
fn dangling(connection: &Connection) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    let mut found = 0;
    while rows.next()?.is_some() {
        found += 1;
    }
    Ok(found)
}

fn first_line(statement: &str) -> &str {
    statement.trim().lines().next().unwrap_or("")
}

/// Digest of the definitions in a database: equal before and after a crash tells whether a
/// transaction of DDL was committed. A missing file has the digest of an empty database.
///
/// # Errors
/// The database cannot be read.
pub(super) fn definitions_digest(path: &Path) -> Result<Digest, DatabaseError> {
    let mut hasher = blake3::Hasher::new();
    if path.exists() {
        let connection = open(path, false)?;
        let context = || because(format!("cannot read {}", path.display()));
        let mut statement = connection
            .prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY 1, 2, 3")
            .map_err(context())?;
        let mut rows = statement.query([]).map_err(context())?;
        while let Some(row) = rows.next().map_err(context())? {
            for column in 0..4 {
                let text: String = row.get(column).map_err(context())?;
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t (x) VALUES ('a'), ('b');")
            .unwrap();
        path
    }

    fn run(path: &Path, statements: &[&str]) -> Result<(), DatabaseError> {
        let statements: Vec<String> = statements.iter().map(|s| (*s).to_owned()).collect();
        apply_statements(path, &statements, Risk::Additive)
    }

    #[test]
    fn additions_pass_and_keep_every_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        run(
            &path,
            &[
                "CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t (id), UNIQUE (t))",
                "CREATE INDEX u_t ON u (t)",
                "ALTER TABLE t ADD COLUMN \"dropped renames\" INTEGER DEFAULT 0 NOT NULL",
            ],
        )
        .unwrap();
        let connection = Connection::open(&path).unwrap();
        let sum: i64 = connection
            .query_row(
                "SELECT count(*) + sum(\"dropped renames\") FROM t",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(sum, 2);
    }

    #[test]
    fn anything_else_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        let before = definitions_digest(&path).unwrap();
        for hostile in [
            "DROP TABLE t",
            "DELETE FROM t",
            "UPDATE t SET x = 'z'",
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE t RENAME COLUMN x TO \"ADD\"",
            "ALTER TABLE t DROP COLUMN x",
            "CREATE TRIGGER boom AFTER INSERT ON t BEGIN DELETE FROM t; END",
            "CREATE TABLE u AS SELECT load_extension('x')",
            "CREATE TABLE u AS SELECT count(*) FROM t a, t b, t c",
            "CREATE TABLE u AS/**/WITH x AS (SELECT 1) SELECT * FROM x",
            "CREATE VIEW v AS SELECT 1",
            "ATTACH 'other.db' AS other",
            "PRAGMA writable_schema = 1",
            "CREATE TABLE ok (x); DROP TABLE t",
            "",
        ] {
            let outcome = run(&path, &["CREATE TABLE first (x)", hostile]);
            assert!(outcome.is_err(), "{hostile} passed");
            assert_eq!(
                definitions_digest(&path).unwrap(),
                before,
                "{hostile} changed something"
            );
        }
    }

    #[test]
    fn a_table_that_is_made_anew_takes_nothing_along_and_leaves_nobody_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        Connection::open(&path)
            .unwrap()
            .execute_batch(
                "CREATE TABLE child (t INTEGER REFERENCES t (id) ON DELETE CASCADE); INSERT INTO child VALUES (1); \
                 CREATE VIEW v AS SELECT x FROM t;",
            )
            .unwrap();
        let anew = |copy: &str| {
            let all = [
                "CREATE TABLE \"ubs_new_t\" (id INTEGER PRIMARY KEY, x TEXT NOT NULL)",
                copy,
                "DROP TABLE \"t\"",
                "ALTER TABLE \"ubs_new_t\" RENAME TO \"t\"",
            ];
            let all: Vec<String> = all.iter().map(|s| (*s).to_owned()).collect();
            apply_statements(&path, &all, Risk::Destructive)
        };
        let before = definitions_digest(&path).unwrap();
        let lost = anew("INSERT INTO \"ubs_new_t\" SELECT * FROM t WHERE id = 1");
        assert!(
            matches!(lost, Err(DatabaseError::RowsChanged { .. })),
            "{lost:?}"
        );
        let moved = anew("INSERT INTO \"ubs_new_t\" SELECT id + 9, x FROM t");
        assert!(
            matches!(moved, Err(DatabaseError::Dangling(1))),
            "{moved:?}"
        );
        assert_eq!(definitions_digest(&path).unwrap(), before);
        let since = Connection::open(&path).unwrap();
        since.execute_batch("CREATE INDEX since ON t (x)").unwrap();
        let gone = anew("INSERT INTO \"ubs_new_t\" SELECT * FROM t").unwrap_err();
        assert!(gone.to_string().contains("index since"), "{gone}");
        since
            .execute_batch("DROP INDEX since; ALTER TABLE t ADD COLUMN y")
            .unwrap();
        let gone = anew("INSERT INTO \"ubs_new_t\" SELECT id, x FROM t").unwrap_err();
        assert!(gone.to_string().contains("column t.y"), "{gone}");
        since.execute_batch("ALTER TABLE t DROP COLUMN y").unwrap();
        anew("INSERT INTO \"ubs_new_t\" SELECT * FROM t").unwrap();
        let connection = Connection::open(&path).unwrap();
        let kept: i64 = connection
            .query_row(
                "SELECT (SELECT count(*) FROM child) + count(*) FROM v",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(kept, 3);
    }

    #[test]
    fn of_two_rebuilds_of_one_definition_the_second_does_not_undo_the_first() {
        use crate::database::sqlite::live::read_schema;
        use crate::database::sqlite::rebuild::{rebuild, with_type};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE t (a TEXT, b TEXT); INSERT INTO t VALUES ('1', '2')")
            .unwrap();
        let typed = |column: &str| {
            let schema = read_schema(&connection).unwrap();
            let live = schema.table(None, "t").unwrap();
            let ddl = with_type(live.ddl.as_deref().unwrap(), column, "INTEGER").unwrap();
            rebuild(live, &ddl, &[]).unwrap()
        };
        let (a, b) = (typed("a"), typed("b"));
        apply_statements(&path, &a, Risk::Destructive).unwrap();
        let before = definitions_digest(&path).unwrap();
        let refused = apply_statements(&path, &b, Risk::Destructive).unwrap_err();
        assert!(
            matches!(&refused, DatabaseError::Redefined(table) if table == "t"),
            "{refused}"
        );
        assert_eq!(definitions_digest(&path).unwrap(), before);
        apply_statements(&path, &typed("b"), Risk::Destructive).unwrap();
        let kinds: String = connection
            .query_row("SELECT typeof(a) || typeof(b) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kinds, "integerinteger");
    }
}
