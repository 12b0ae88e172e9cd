//! Folders of SQL migrations in the layouts of sqlx, refinery, golang-migrate and Flyway.
//!
//! Names alone do not tell the tools apart; the table that the tool keeps in the database does. Without
//! one, the files are what a plain list of SQL files is: the expected schema.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::super::expected::sql_files;
use super::ledger::Ledger;
use super::{Migrated, Step, pending};
use crate::checks::CheckContext;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::Schema;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Up,
    /// Takes one back: never applied here.
    Down,
    /// Flyway's `R__`: applied again whenever it changes.
    Repeatable,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Script {
    /// Parts of the version without zeros at the end: 1.0 is 1.
    version: Vec<u64>,
    kind: Kind,
    /// `V1__name.sql` and not `1_name.sql`.
    prefixed: bool,
    /// What stands after the version, without the ending.
    name: String,
    path: PathBuf,
}

fn version_of(text: &str) -> Option<Vec<u64>> {
    let mut parts = text
        .split(['.', '_'])
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    while parts.len() > 1 && parts.last() == Some(&0) {
        parts.pop();
    }
    Some(parts)
}

fn shown(version: &[u64]) -> String {
    let parts: Vec<String> = version.iter().map(u64::to_string).collect();
    parts.join(".")
}

fn read_name(path: &Path) -> Option<Script> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".sql")?;
    let script = |version, kind, prefixed, name: &str| {
        Some(Script {
            version,
            kind,
            prefixed,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    };
    if let Some(name) = stem.strip_prefix("R__") {
        return script(Vec::new(), Kind::Repeatable, true, name);
    }
    for (prefix, kind) in [("V", Kind::Up), ("U", Kind::Down)] {
        if let Some((version, name)) = stem.strip_prefix(prefix).and_then(|s| s.split_once("__"))
            && let Some(version) = version_of(version)
        {
            return script(version, kind, true, name);
        }
    }
    let (stem, kind) = match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (stem, Kind::Up),
        (_, Some(stem)) => (stem, Kind::Down),
        _ => (stem, Kind::Up),
    };
    let (version, name) = stem.split_once('_')?;
    script(vec![version.parse().ok()?], kind, false, name)
}

/// All files as migrations of one folder, in the order in which they are applied; `None` if they are
/// something else.
fn read_folder(files: &[PathBuf]) -> Option<Vec<Script>> {
    let mut scripts = files
        .iter()
        .map(|file| read_name(file))
        .collect::<Option<Vec<_>>>()?;
    let first = scripts.first()?;
    let (prefixed, folder) = (first.prefixed, first.path.parent());
    if scripts
        .iter()
        .any(|s| s.prefixed != prefixed || s.path.parent() != folder)
    {
        return None;
    }
    scripts.sort_by(|a, b| {
        let key = |s: &Script| {
            (
                s.kind == Kind::Repeatable,
                s.version.clone(),
                s.name.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    scripts.retain(|script| script.kind != Kind::Down);
    Some(scripts)
}

/// The files that make the schema, in the order of the tool: a folder of migrations by version and
/// without those that take one back; any others as they are.
pub(in super::super) fn in_order(files: Vec<PathBuf>) -> Vec<PathBuf> {
    match read_folder(&files) {
        Some(scripts) => scripts.into_iter().map(|script| script.path).collect(),
        None => files,
    }
}

/// One row of a tool's table.
#[derive(Debug, Default)]
struct Applied {
    /// It failed half-way.
    failed: bool,
    checksum: Option<String>,
}

/// A tool, as the database shows it.
struct Tool {
    name: &'static str,
    command: &'static str,
    applied: BTreeMap<Vec<u64>, Applied>,
    /// Everything up to here counts as applied.
    floor: Option<Vec<u64>>,
    /// Repeatable ones by their name, with checksum.
    repeatable: BTreeMap<String, String>,
    checksum: Option<fn(&[u8]) -> String>,
}

impl Tool {
    fn recognise(ledger: &Ledger, prefixed: bool) -> Option<Self> {
        let is_true = |text: &str| !matches!(text, "" | "0" | "f" | "false");
        let mut tool = Self {
            name: "",
            command: "",
            applied: BTreeMap::new(),
            floor: None,
            repeatable: BTreeMap::new(),
            checksum: None,
        };
        if prefixed {
            let columns = ["version", "script", "checksum", "success", "type"];
            if let Some(rows) = ledger.rows("flyway_schema_history", &columns) {
                (tool.name, tool.command) = ("Flyway", "flyway migrate");
                tool.checksum = Some(flyway_checksum);
                for row in rows {
                    let Some(version) = version_of(&row[0]) else {
                        tool.repeatable.insert(row[1].clone(), row[2].clone());
                        continue;
                    };
                    if row[4].contains("BASELINE") {
                        tool.floor = Some(version.clone());
                    }
                    let has_checksum = row[4] == "SQL" && !row[2].is_empty();
                    let applied = Applied {
                        failed: !is_true(&row[3]),
                        checksum: has_checksum.then(|| row[2].clone()),
                    };
                    tool.applied.insert(version, applied);
                }
                return Some(tool);
            }
            let rows = ledger.rows("refinery_schema_history", &["version"])?;
            (tool.name, tool.command) = ("refinery", "refinery migrate");
            for row in rows {
                tool.applied
                    .insert(version_of(&row[0])?, Applied::default());
            }
            return Some(tool);
        }
        if let Some(rows) = ledger.rows("_sqlx_migrations", &["version", "checksum", "success"]) {
            (tool.name, tool.command) = ("sqlx", "sqlx migrate run");
            tool.checksum = Some(sqlx_checksum);
            for row in rows {
                let applied = Applied {
                    failed: !is_true(&row[2]),
                    checksum: Some(row[1].clone()),
                };
                tool.applied.insert(version_of(&row[0])?, applied);
            }
            return Some(tool);
        }
        let rows = ledger.rows("schema_migrations", &["version", "dirty"])?;
        (tool.name, tool.command) = ("golang-migrate", "migrate up");
        // One row: the last version, and whether it failed.
        if let Some(row) = rows.first() {
            let version = version_of(&row[0])?;
            tool.floor = Some(version.clone());
            let applied = Applied {
                failed: is_true(&row[1]),
                checksum: None,
            };
            tool.applied.insert(version, applied);
        }
        Some(tool)
    }

    fn has(&self, version: &Vec<u64>) -> bool {
        self.applied.contains_key(version) || self.floor.as_ref().is_some_and(|f| version <= f)
    }
}

/// SHA-384 of the file, in hexadecimal digits.
fn sqlx_checksum(bytes: &[u8]) -> String {
    let digest = sha2::Sha384::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// CRC-32 (IEEE 802.3) of the lines without their ends, as a signed number; a mark of byte order at the
/// beginning does not count.
fn flyway_checksum(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(&text)
        .replace("\r\n", "\n");
    let mut crc = u32::MAX;
    for byte in text.split(['\n', '\r']).flat_map(str::bytes) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).cast_signed().to_string()
}

/// Everything about one folder and one database. `None` if no tool keeps its books in the database.
pub(super) fn examine(
    context: &CheckContext<'_>,
    schema: &Schema,
    pattern: &str,
) -> Option<Migrated> {
    // That no file matches, or too many do, is told where they are applied.
    let files = sql_files(context.root, pattern).ok()?;
    let scripts = read_folder(&files)?;
    let ledger = Ledger::open(context, schema)?;
    let tool = Tool::recognise(&ledger, scripts.first()?.prefixed)?;
    let root = context.root.canonicalize().ok()?;
    let file = |script: &Script| {
        let inside = script.path.strip_prefix(&root).unwrap_or(&script.path);
        inside.display().to_string()
    };
    let finding = |code: &str, severity, message: String| {
        Finding::new(code, severity, schema.name.as_str(), message)
            .fact("schema", schema.name.as_str())
    };
    let mut migrated = Migrated::default();
    for (version, applied) in &tool.applied {
        let script = scripts
            .iter()
            .find(|s| s.kind == Kind::Up && s.version == *version);
        let version = shown(version);
        if applied.failed {
            let message = format!(
                "{}: migration {version} failed half-way, so {} refuses to go on",
                ledger.shown, tool.name
            );
            migrated.findings.push(
                finding("schema.broken_history", Severity::Critical, message).remedy(format!(
                    "undo by hand what it has done, then tell {} that it is undone",
                    tool.name
                )),
            );
        }
        let Some(script) = script else {
            // A baseline stands for files that need not be there.
            if tool.floor.is_none() || tool.name == "golang-migrate" {
                let message = format!(
                    "{} is at migration {version}, which no file defines: newer code ran here, or a file is missing",
                    ledger.shown
                );
                migrated.findings.push(
                    finding("schema.unknown_revision", Severity::Critical, message)
                        .remedy("deploy the code that has this migration, or bring its file back"),
                );
            }
            continue;
        };
        if let (Some(known), Some(checksum)) = (&applied.checksum, tool.checksum)
            && let Ok(bytes) = std::fs::read(&script.path)
            && checksum(&bytes) != *known
        {
            let file = file(script);
            let message = format!(
                "{file} changed after {} applied it to {}",
                tool.name, ledger.shown
            );
            let mut changed = finding("schema.changed_migration", Severity::Warning, message)
                .remedy("take the change back, and write it as a new migration")
                .at(file.clone(), 1, 0);
            changed.subject = file;
            migrated.findings.push(changed);
        }
    }
    let waits = |script: &&Script| match script.kind {
        Kind::Down => false,
        Kind::Up => !tool.has(&script.version),
        Kind::Repeatable => {
            let name = script
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let now = std::fs::read(&script.path).map(|bytes| flyway_checksum(&bytes));
            tool.repeatable.get(name.as_ref()) != now.ok().as_ref()
        }
    };
    let steps: Vec<Step> = scripts
        .iter()
        .filter(waits)
        .map(|script| Step {
            name: match script.kind {
                Kind::Repeatable => script.name.clone(),
                _ => shown(&script.version),
            },
            file: file(script),
            line: 1,
        })
        .collect();
    let is_broken = migrated
        .findings
        .iter()
        .any(|found| found.severity == Severity::Critical);
    if steps.is_empty() {
        migrated.is_current = true;
        migrated.at_head = !is_broken;
    } else {
        let found = pending(schema, &ledger.shown, &steps, tool.command, None);
        migrated.findings.push(found);
    }
    Some(migrated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{App, only, problems};
    use crate::domain::finding::CheckName;

    fn ordered(names: &[&str]) -> Vec<String> {
        let files = names.iter().map(|name| Path::new("m").join(name)).collect();
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        in_order(files).into_iter().map(name).collect()
    }

    #[test]
    fn files_come_in_the_order_of_the_tool() {
        assert_eq!(
            ordered(&["10_c.up.sql", "1_a.down.sql", "1_a.up.sql", "2_b.up.sql"]),
            ["1_a.up.sql", "2_b.up.sql", "10_c.up.sql"]
        );
        assert_eq!(
            ordered(&[
                "R__views.sql",
                "U1__a.sql",
                "V1.10__c.sql",
                "V1.9__b.sql",
                "V1__a.sql"
            ]),
            ["V1__a.sql", "V1.9__b.sql", "V1.10__c.sql", "R__views.sql"]
        );
        // Plain files stay as they are.
        assert_eq!(
            ordered(&["b.sql", "10_a.sql", "2_c.sql"]),
            ["b.sql", "10_a.sql", "2_c.sql"]
        );
    }

    #[test]
    fn checksums_are_those_of_the_tools() {
        // The check value of CRC-32 is cbf43926.
        assert_eq!(
            flyway_checksum(b"123\r\n456\n789"),
            (0xcbf4_3926_u32.cast_signed()).to_string()
        );
        assert_eq!(
            flyway_checksum("\u{feff}123456789\n".as_bytes()),
            flyway_checksum(b"123456789")
        );
        assert!(sqlx_checksum(b"abc").starts_with("cb00753f45a35e8bb5a03d699ac65007"));
    }

    const A: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY);";
    const B: &str = "ALTER TABLE a ADD COLUMN b TEXT;";

    fn check(files: [&str; 2], table: &str) -> crate::domain::finding::CheckReport {
        App::with_interpreter(None)
            .file(&format!("m/{}", files[0]), A)
            .file(&format!("m/{}", files[1]), B)
            .file("m/.keep", "")
            .sqlite("app.db", &format!("{A}{table}"))
            .schema("sqlite:///app.db", "sql:m/*.sql")
            .check(CheckName::Schema)
    }

    #[test]
    fn what_each_tool_has_not_applied_is_pending() {
        let sum = sqlx_checksum(A.as_bytes());
        let sqlx = |sum: &str, success: u8| {
            format!(
                "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT, installed_on TIMESTAMP, \
                 success BOOLEAN, checksum BLOB, execution_time BIGINT); INSERT INTO _sqlx_migrations VALUES \
                 (20230101120000, 'a', 0, {success}, x'{sum}', 1)"
            )
        };
        let flyway = |checksum: &str| {
            format!(
                "CREATE TABLE flyway_schema_history (installed_rank INT, version TEXT, description TEXT, type TEXT, script TEXT, \
                 checksum INT, success BOOLEAN); INSERT INTO flyway_schema_history VALUES (1, '1', 'a', 'SQL', 'V1__a.sql', {checksum}, 1)"
            )
        };
        let stamps = ["20230101120000_a.sql", "20230102120000_b.sql"];
        let pairs = ["000001_a.up.sql", "000002_b.up.sql"];
        let prefixed = ["V1__a.sql", "V2__b.sql"];
        let migrate = |version: u8, dirty: u8| {
            format!(
                "CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES ({version}, {dirty})"
            )
        };
        let pending = "schema.pending_migration db0";
        for (files, table, expected) in [
            (stamps, sqlx(&sum, 1), vec![pending]),
            (stamps, sqlx("00", 1), vec![pending, "schema.changed_migration m/20230101120000_a.sql"]),
            (stamps, sqlx(&sum, 0), vec!["schema.broken_history db0", pending]),
            (pairs, migrate(1, 0), vec![pending]),
            (pairs, migrate(2, 1), vec!["schema.broken_history db0"]),
            (pairs, migrate(7, 0), vec!["schema.unknown_revision db0"]),
            (prefixed, flyway(&flyway_checksum(A.as_bytes())), vec![pending]),
            (prefixed, flyway("5"), vec![pending, "schema.changed_migration m/V1__a.sql"]),
            (
                prefixed,
                "CREATE TABLE refinery_schema_history (version INT4 PRIMARY KEY, name TEXT, applied_on TEXT, checksum TEXT); \
                 INSERT INTO refinery_schema_history VALUES (1, 'a', '', '1')"
                    .to_owned(),
                vec![pending],
            ),
            // No tool keeps books here: the files are the schema, as ever.
            (prefixed, String::new(), vec!["schema.missing_column a.b"]),
        ] {
            let report = check(files, &format!(";{table}"));
            assert_eq!(problems(&report), expected, "{files:?} {table}");
        }
        let report = check(pairs, &migrate(1, 0));
        assert_eq!(
            only(&report, "schema.pending_migration").message,
            "database db0 (app.db) is 1 migration behind: 2 (m/000002_b.up.sql)"
        );
        // All applied, yet a column is missing: somebody changed the database by hand.
        let report = check(pairs, &migrate(2, 0));
        assert_eq!(problems(&report), ["schema.missing_column a.b"]);
    }
}
