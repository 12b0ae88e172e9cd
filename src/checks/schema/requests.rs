//! What only a request would meet, and a look can see: a database that cannot be written, a damaged file.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::database::handle::Live;
use crate::database::unreachable::UnreachableKind;
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::{NEEDS_APPROVAL, PROPOSED, REWRITES, Remedy, WHY};

/// A larger file is not read through, in bytes.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// Findings about the file of a SQLite database.
pub(super) fn file_findings(name: &str, path: &Path, shown: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let directory = path.parent().unwrap_or(path);
    let read_only = [
        (path, shown.to_owned()),
        (directory, format!("the directory of {shown}")),
    ]
    .into_iter()
    .find(|(place, _)| access(*place, AccessFlags::W_OK).is_err());
    if let Some((_, what)) = read_only {
        let message = format!(
            "database {name} can be read only: {what} may not be written, so each request that writes fails"
        );
        findings.push(
            Finding::of(Code::SchemaReadOnly, name, message)
                .at(shown, 0, 0)
                .remedy(format!(
                    "let the user of the services write {shown} and its directory (`chmod u+w`, `chown`)"
                )),
        );
    }
    let is_small = path
        .metadata()
        .is_ok_and(|found| found.len() <= CHECKED_BYTES_MAX);
    let checked = is_small
        .then(|| Live::sqlite(path).and_then(|live| live.column("PRAGMA main.quick_check(1)")));
    if let Some(Ok(rows)) = checked
        && let Some(said) = rows.first().filter(|row| *row != "ok")
    {
        let kind = UnreachableKind::NotADatabase;
        let message = format!("database {name} ({shown}) is damaged: {said}");
        findings.push(
            Finding::of(Code::SchemaUnreachable, name, message)
                .at(shown, 0, 0)
                .remedy("restore the file from a backup, or save what can be read (`sqlite3 FILE .recover`)")
                .fact("schema", name)
                .fact(WHY, kind.as_str()),
        );
    }
    findings
}

/// The user's session cannot write: a setting of the database or of the user, or the server is a standby.
const IS_READ_ONLY: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'the server is a standby' ELSE \
    'default_transaction_read_only is on' END WHERE pg_is_in_recovery() OR EXISTS (SELECT 1 FROM pg_db_role_setting AS s \
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
    AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user)) \
    AND s.setconfig && ARRAY['default_transaction_read_only=on', 'default_transaction_read_only=true'])";
/// Statements, one for each sequence that feeds a column which an index begins with, so that its maximum is found at
/// once. Each gives the sequence, its table and its column if the next value is taken already.
const SEQUENCES: &str = "SELECT format('SELECT %L::text FROM (SELECT max(%I) AS top FROM %s) AS t, %s AS s \
    WHERE t.top > s.last_value OR t.top = s.last_value AND NOT s.is_called', \
    q.seqrelid::regclass || chr(31) || t.oid::regclass || chr(31) || a.attname, a.attname, t.oid::regclass, \
    q.seqrelid::regclass) \
    FROM pg_sequence AS q JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = q.seqrelid \
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') JOIN pg_class AS t ON t.oid = d.refobjid \
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
    WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r' AND q.seqincrement > 0 \
    AND EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = t.oid AND i.indkey[0] = a.attnum) \
    AND has_sequence_privilege(q.seqrelid, 'SELECT') AND has_table_privilege(t.oid, 'SELECT') LIMIT 200";
/// The tables that the user may not read.
const UNREADABLE: &str = "SELECT c.relname::text FROM pg_class AS c WHERE c.relkind IN ('r', 'p') \
    AND c.relnamespace = current_schema()::regnamespace AND NOT has_table_privilege(c.oid, 'SELECT') \
    AND NOT has_any_column_privilege(c.oid, 'SELECT') ORDER BY c.relname LIMIT 1000";
/// The tables that the user may read; `+` before those that it may write too.
const WRITABLE: &str = "SELECT CASE WHEN has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE') \
    OR has_any_column_privilege(c.oid, 'INSERT, UPDATE') THEN '+' ELSE '-' END || c.relname::text FROM pg_class AS c \
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace \
    AND has_any_column_privilege(c.oid, 'SELECT') ORDER BY c.relname LIMIT 1000";

/// Findings about a database on a PostgreSQL server. What cannot be asked is not reported: nothing depends on it.
pub(super) fn server_findings(
    name: &str,
    live: &Live,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let ask = |sql: &str| live.try_column(sql).unwrap_or_default();
    let mut findings = Vec::new();
    if let Some(why) = ask(IS_READ_ONLY).first() {
        let message =
            format!("database {name} can be read only: {why}, so each request that writes fails");
        findings.push(Finding::of(Code::SchemaReadOnly, name, message).remedy(
            "connect to the primary server, or take the setting back (ALTER DATABASE ... RESET \
             default_transaction_read_only)",
        ));
    }
    for table in ask(UNREADABLE).iter().filter(|table| is_wanted(table)) {
        let message = format!("the user of database {name} may not read table {table}");
        let finding = Finding::of(Code::SchemaNoRight, table.as_str(), message);
        findings.push(finding.fact("table", table.as_str()).remedy(format!(
            "as its owner: GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO the user of the application",
            crate::database::sql::quote::identifier(table)
        )));
    }
    // Whoever may write none of them is meant to read only.
    let readable = ask(WRITABLE);
    let (written, read): (Vec<&str>, Vec<&str>) = readable
        .iter()
        .filter(|found| found.get(1..).is_some_and(&is_wanted))
        .map(String::as_str)
        .partition(|found| found.starts_with('+'));
    let read_only = read.iter().filter(|_| !written.is_empty());
    for table in read_only.filter_map(|found| found.get(1..)) {
        let message =
            format!("the user of database {name} may read table {table}, and write no row of it");
        let finding = Finding::of(Code::SchemaNoRight, table, message);
        findings.push(finding.fact("table", table).remedy(format!(
            "as its owner: GRANT INSERT, UPDATE, DELETE ON {} TO the user of the application, if that is not meant",
            crate::database::sql::quote::identifier(table)
        )));
    }
    let each = ask(SEQUENCES);
    let behind = match each.is_empty() {
        true => Vec::new(),
        false => ask(&each.join(" UNION ALL ")),
    };
    for found in &behind {
        let mut parts = found.split('\u{1f}');
        let (Some(sequence), Some(table), Some(column)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let message = format!(
            "sequence {sequence} is behind column {column} of table {table} in database {name}: the next value that it \
             gives is taken already, so that inserts fail"
        );
        let statement = format!(
            "SELECT setval({}, (SELECT max({}) FROM {table}))",
            crate::database::sql::quote::literal(sequence),
            crate::database::sql::quote::identifier(column)
        );
        let finding = Finding::of(Code::SchemaSequenceBehind, sequence, message);
        let mut finding = finding
            .fact("table", table)
            .remedy(format!("run {statement}"));
        let what = format!(
            "move sequence {sequence} up to the greatest {column} of {table}; no row changes, and nothing is lost"
        );
        finding = finding
            .fact(PROPOSED, what)
            .fact(
                NEEDS_APPROVAL,
                "rows may be on their way into the table by another program",
            )
            .fact(REWRITES, "true");
        finding.fix = Some(Remedy::RunStatements {
            schema: name.to_owned(),
            statements: vec![statement],
        });
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{App, only};
    use crate::domain::finding::{CheckName, Severity};

    fn app() -> App {
        let app = App::with_interpreter(None)
            .file("s.sql", "CREATE TABLE a (x integer);")
            .schema("sqlite:///app.db", "sql:s.sql");
        let live = rusqlite::Connection::open(app.root().join("app.db")).unwrap();
        live.execute_batch("CREATE TABLE a (x integer, y text NOT NULL); CREATE INDEX i ON a (x);")
            .unwrap();
        for x in 0..2_000 {
            live.execute("INSERT INTO a VALUES (?1, 'some text of a row')", [x])
                .unwrap();
        }
        app
    }

    #[test]
    fn a_column_that_each_insert_lacks_is_a_warning() {
        let report = app().check(CheckName::Schema);
        let finding = only(&report, "schema.extra_column");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(
            finding.message.contains("each INSERT of the code fails"),
            "{finding:#?}"
        );
    }

    #[test]
    fn a_damaged_file_is_told_before_a_request_meets_it() {
        let app = app();
        let path = app.root().join("app.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 3 * 4096..end - 4096].fill(0xAA);
        std::fs::write(&path, bytes).unwrap();
        let report = app.check(CheckName::Schema);
        let finding = only(&report, "schema.unreachable");
        assert!(finding.message.contains("is damaged"), "{finding:#?}");
    }
}
