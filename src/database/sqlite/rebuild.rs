//! A table made anew with another definition: what SQLite has no `ALTER TABLE` for
//! (sqlite.org/lang_altertable.html, 7). Pure.
//!
//! Rows, indexes and triggers stay. Whoever runs the statements has foreign keys switched off meanwhile, and looks at
//! them afterwards.

use crate::database::model::{Dialect, Table};
use crate::database::sql::quote::{identifier, literal};
use crate::database::sql::words::{Word, split, words};
use crate::database::sqlite::text::group;
use crate::domain::ids::Digest;

/// What ends the type of a column.
const CONSTRAINTS: [&str; 11] = [
    "CONSTRAINT",
    "PRIMARY",
    "NOT",
    "NULL",
    "UNIQUE",
    "CHECK",
    "DEFAULT",
    "COLLATE",
    "REFERENCES",
    "GENERATED",
    "AS",
];

/// The words of the definition of a column.
fn definition<'w, 't>(all: &'w [Word<'t>], column: &str) -> Option<&'w [Word<'t>]> {
    let open = all.iter().position(|word| word.is_sign("("))?;
    let definitions = split(group(&all[open..]), |word| word.is_sign(","));
    definitions.into_iter().find(|definition| {
        let first = definition.first();
        first.is_some_and(|first| first.is_name() && first.name().eq_ignore_ascii_case(column))
    })
}

fn without(ddl: &str, from: usize, to: usize, instead: &str) -> String {
    format!("{}{instead}{}", &ddl[..from], &ddl[to..])
}

/// The definition of a table in which this column may be NULL.
pub(crate) fn without_not_null(ddl: &str, column: &str) -> Option<String> {
    let all = words(Dialect::Sqlite, ddl);
    let definition = definition(&all, column)?;
    let mut depth = 0;
    let at = definition.iter().position(|word| {
        depth += crate::database::sql::words::change(word);
        depth == 0 && word.is("NOT")
    })?;
    if !definition.get(at + 1).is_some_and(|word| word.is("NULL")) {
        return None;
    }
    let is_named = at >= 3 && definition[at - 2].is("CONSTRAINT");
    let first = if is_named { at - 2 } else { at };
    let has_conflict = definition.get(at + 2).is_some_and(|word| word.is("ON"))
        && definition
            .get(at + 3)
            .is_some_and(|word| word.is("CONFLICT"));
    let last = if has_conflict { at + 4 } else { at + 1 };
    let (from, to) = (definition[first - 1].end(), definition.get(last)?.end());
    Some(without(ddl, from, to, ""))
}

/// The definition of a table in which this column has another type.
pub(crate) fn with_type(ddl: &str, column: &str, kind: &str) -> Option<String> {
    let all = words(Dialect::Sqlite, ddl);
    let definition = definition(&all, column)?;
    let ends = definition[1..]
        .iter()
        .position(|word| word.token.is_any(&CONSTRAINTS));
    let last = ends.unwrap_or(definition.len() - 1);
    let (from, to) = (definition[0].end(), definition[last].end());
    Some(without(ddl, from, to, &format!(" {kind}")))
}

/// The statements that give the table the definition `ddl`, in which its columns are the same. `beside`: what creates
/// its indexes and triggers.
pub(crate) fn rebuild(live: &Table, ddl: &str, beside: &[String]) -> Result<Vec<String>, String> {
    let all = words(Dialect::Sqlite, ddl);
    let is_table = all.first().is_some_and(|word| word.is("CREATE"))
        && all.get(1).is_some_and(|word| word.is("TABLE"));
    let open = all.iter().position(|word| word.is_sign("("));
    let name = open
        .and_then(|open| all.get(open.checked_sub(1)?))
        .filter(|_| is_table)
        .ok_or("its definition is not understood")?;
    let name_meanwhile = meanwhile(live);
    let made = identifier(&name_meanwhile);
    let table = identifier(&live.name);
    let columns = live.columns.iter().filter(|column| !column.generated);
    let columns: Vec<String> = columns.map(|column| identifier(&column.name)).collect();
    let columns = columns.join(", ");
    let mut statements = vec![
        without(ddl, name.begin, name.end(), &made),
        format!("INSERT INTO {made} ({columns}) SELECT {columns} FROM {table}"),
    ];
    if all.iter().any(|word| word.is("AUTOINCREMENT")) {
        // A number that was given once is not given again.
        statements.push(format!(
            "UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT seq FROM sqlite_sequence WHERE name = {}), 0)) \
             WHERE name = {}",
            literal(&live.name),
            literal(&name_meanwhile)
        ));
    }
    statements.push(format!("DROP TABLE {table}"));
    statements.push(format!("ALTER TABLE {made} RENAME TO {table}"));
    statements.extend(beside.iter().cloned());
    Ok(statements)
}

/// What begins the name of a table that is made anew, until it takes the place of the old one.
const MEANWHILE: &str = "ubs_new_";

/// The name of the new table until it takes the place of the old one. It says from which definition it was written.
fn meanwhile(live: &Table) -> String {
    let measured = live.ddl.as_deref().map(|ddl| measured(ddl) + "_");
    format!("{MEANWHILE}{}{}", measured.unwrap_or_default(), live.name)
}

fn measured(ddl: &str) -> String {
    Digest::of(ddl.as_bytes()).short()
}

/// The table that this statement of a rebuild replaces, if it was written from another definition than `ddl_of` gives
/// for it: what changed there since would be undone.
pub(crate) fn outdated<E>(
    statement: &str,
    ddl_of: impl FnOnce(&str) -> Result<Option<String>, E>,
) -> Result<Option<String>, E> {
    let all = words(Dialect::Sqlite, statement);
    let [alter, table, made, rename, to, name] = all.as_slice() else {
        return Ok(None);
    };
    let is_rename = alter.is("ALTER") && table.is("TABLE") && rename.is("RENAME") && to.is("TO");
    let (made, name) = (made.name(), name.name());
    let from = made
        .strip_prefix(MEANWHILE)
        .and_then(|rest| rest.strip_suffix(name.as_str())?.strip_suffix('_'));
    let Some(from) = from.filter(|_| is_rename) else {
        return Ok(None);
    };
    let now = ddl_of(&name)?;
    let is_outdated = now.map(|ddl| measured(&ddl)).as_deref() != Some(from);
    Ok(is_outdated.then_some(name))
}

/// The statements make a table anew.
pub(crate) fn is_rebuild(statements: &[String]) -> bool {
    statements.iter().any(|one| one.starts_with("DROP TABLE "))
        && statements
            .iter()
            .any(|one| one.starts_with("ALTER TABLE \"ubs_new_") && one.contains(" RENAME TO "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::sqlite::live::read_schema;

    #[test]
    fn a_definition_loses_its_not_null_and_keeps_all_else() {
        let ddl = "CREATE TABLE t (id INTEGER PRIMARY KEY, a NUMERIC(10, 2) CHECK (a IS NOT NULL) CONSTRAINT nn NOT NULL \
                   ON CONFLICT FAIL DEFAULT 1, \"b c\" TEXT NOT NULL, CHECK (id > 0)) STRICT";
        let a = without_not_null(ddl, "A").unwrap();
        assert_eq!(
            a,
            ddl.replace(" CONSTRAINT nn NOT NULL ON CONFLICT FAIL", "")
        );
        let b = without_not_null(ddl, "b c").unwrap();
        assert_eq!(b, ddl.replace("TEXT NOT NULL", "TEXT"));
        assert_eq!(without_not_null(ddl, "id"), None);
        let typed = with_type(ddl, "a", "TEXT").unwrap();
        assert_eq!(typed, ddl.replace("NUMERIC(10, 2)", "TEXT"));
        let untyped = with_type("CREATE TABLE t (a, b)", "a", "INTEGER").unwrap();
        assert_eq!(untyped, "CREATE TABLE t (a INTEGER, b)");
    }

    #[test]
    fn a_table_that_is_made_anew_keeps_rows_indexes_triggers_and_who_refers_to_it() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL, b TEXT AS (a || '!')); \
                 CREATE TABLE child (t INTEGER REFERENCES t (id) ON DELETE CASCADE); CREATE VIEW v AS SELECT a FROM t; \
                 CREATE INDEX i ON t (a); CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = a; END; \
                 INSERT INTO t (a) VALUES ('x'), ('y'); INSERT INTO child VALUES (1); DELETE FROM t WHERE id = 2;",
            )
            .unwrap();
        let schema = read_schema(&connection).unwrap();
        let live = schema.table(None, "t").unwrap();
        let ddl = without_not_null(live.ddl.as_deref().unwrap(), "a").unwrap();
        let beside = [
            "CREATE INDEX i ON t (a)".to_owned(),
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = a; END".to_owned(),
        ];
        let statements = rebuild(live, &ddl, &beside).unwrap();
        assert!(is_rebuild(&statements));
        connection
            .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")
            .unwrap();
        for statement in &statements {
            connection.execute(statement, []).unwrap();
        }
        let one =
            |sql: &str| -> String { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(one("SELECT group_concat(a || b) FROM t"), "xx!");
        assert_eq!(one("SELECT count(*) || '' FROM child"), "1");
        assert_eq!(one("SELECT seq || '' FROM sqlite_sequence"), "2");
        assert_eq!(one("SELECT a FROM v"), "x");
        assert_eq!(
            one(
                "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE tbl_name = 't' ORDER BY 1)"
            ),
            "g,i,t"
        );
        connection
            .execute("INSERT INTO t (a) VALUES (NULL)", [])
            .unwrap();
    }
}
