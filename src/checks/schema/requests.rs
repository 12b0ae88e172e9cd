//! What only a request would meet, and a look can see: a database that cannot be written, a damaged file.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::database::handle::Live;
use crate::database::unreachable::UnreachableKind;
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::WHY;

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
