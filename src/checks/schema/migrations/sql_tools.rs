//! What sqlx, refinery, golang-migrate and Flyway keep in a database about the SQL migrations that they
//! applied, and how each of them computes its checksums.
//!
//! Read for it: sqlx-core `src/migrate/{migration,migrator}.rs` and sqlx-sqlite `src/migrate.rs`; refinery_core
//! `src/migration.rs` and `src/traits/mod.rs`; golang-migrate `database/sqlite3/sqlite3.go`; flyway-core
//! `internal/resolver/ChecksumCalculator.java`, `internal/schemahistory/JdbcTableSchemaHistory.java` and
//! `internal/info/MigrationInfoServiceImpl.java`.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use sha2::Digest as _;
use siphasher::sip::SipHasher13;

use super::applied_migrations::AppliedMigrations;
use crate::checks::schema::sql_names::{Script, ScriptKind, version_of};

/// One row of a tool's table.
#[derive(Debug, Default)]
pub(super) struct ToolRow {
    /// It failed half-way.
    pub failed: bool,
    pub checksum: Option<String>,
    /// A file has to be there: it was SQL, and none of Flyway's programs or marks.
    pub has_file: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Sqlx,
    Refinery,
    GolangMigrate,
    Flyway,
}

/// A tool, as the database shows it.
#[derive(Debug)]
pub(super) struct Tool {
    pub name: Name,
    pub applied: BTreeMap<Vec<u64>, ToolRow>,
    /// Everything up to here counts as applied.
    pub floor: Option<Vec<u64>>,
    /// Flyway's repeatable ones by their description: checksum of the last run, and whether it failed.
    repeatable: BTreeMap<String, (String, bool)>,
    /// A step back to before the first migration failed.
    pub failed_at_nothing: bool,
}

fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0" | "f" | "false")
}

impl Tool {
    fn new(name: Name) -> Self {
        Self {
            name,
            applied: BTreeMap::new(),
            floor: None,
            repeatable: BTreeMap::new(),
            failed_at_nothing: false,
        }
    }

    /// The tool whose table is there; `None` if there is none, or its table holds what no version of it writes.
    pub(super) fn recognise(applied: &AppliedMigrations, prefixed: bool) -> Option<Self> {
        if prefixed {
            Self::flyway(applied).or_else(|| Self::refinery(applied))
        } else {
            Self::sqlx(applied).or_else(|| Self::golang_migrate(applied))
        }
    }

    fn sqlx(applied: &AppliedMigrations) -> Option<Self> {
        let rows = applied.rows("_sqlx_migrations", &["version", "checksum", "success"])?;
        let mut tool = Self::new(Name::Sqlx);
        for row in rows {
            let applied = ToolRow {
                failed: !is_true(&row[2]),
                checksum: Some(row[1].clone()),
                has_file: true,
            };
            tool.applied.insert(version_of(&row[0])?, applied);
        }
        Some(tool)
    }

    fn refinery(applied: &AppliedMigrations) -> Option<Self> {
        let rows = applied.rows("refinery_schema_history", &["version", "checksum"])?;
        let mut tool = Self::new(Name::Refinery);
        for row in rows {
            let applied = ToolRow {
                failed: false,
                checksum: Some(row[1].clone()),
                has_file: true,
            };
            tool.applied.insert(version_of(&row[0])?, applied);
        }
        Some(tool)
    }

    /// One row: the version before which everything was applied, and whether a step to it failed.
    fn golang_migrate(applied: &AppliedMigrations) -> Option<Self> {
        let rows = applied.rows("schema_migrations", &["version", "dirty"])?;
        let mut tool = Self::new(Name::GolangMigrate);
        let Some(row) = rows.first() else {
            return Some(tool);
        };
        if row[0] == "-1" {
            tool.failed_at_nothing = is_true(&row[1]);
            return Some(tool);
        }
        let version = version_of(&row[0])?;
        tool.floor = Some(version.clone());
        let applied = ToolRow {
            failed: is_true(&row[1]),
            checksum: None,
            has_file: true,
        };
        tool.applied.insert(version, applied);
        Some(tool)
    }

    fn flyway(applied: &AppliedMigrations) -> Option<Self> {
        let columns = [
            "installed_rank",
            "version",
            "description",
            "checksum",
            "success",
            "type",
        ];
        let mut rows = applied.rows("flyway_schema_history", &columns)?;
        rows.sort_by_key(|row| row[0].parse::<i64>().unwrap_or(i64::MAX));
        let mut tool = Self::new(Name::Flyway);
        for row in rows {
            let (succeeded, kind) = (is_true(&row[4]), row[5].as_str());
            // `flyway repair` and `flyway undo` write a row that takes an earlier one back.
            let takes_back = kind == "DELETE" || kind.starts_with("UNDO");
            let Some(version) = version_of(&row[1]) else {
                if takes_back && succeeded {
                    tool.repeatable.remove(&row[2]);
                } else if kind != "SCHEMA" {
                    let run = (row[3].clone(), !succeeded);
                    tool.repeatable.insert(row[2].clone(), run);
                }
                continue;
            };
            match (takes_back, succeeded) {
                (true, true) => {
                    tool.applied.remove(&version);
                    continue;
                }
                (true, false) => {
                    tool.applied.entry(version).or_default().failed = true;
                    continue;
                }
                (false, _) => {}
            }
            if kind.ends_with("BASELINE") {
                tool.floor = tool.floor.max(Some(version.clone()));
            }
            let is_sql = matches!(kind, "SQL" | "SQL_BASELINE");
            let applied = ToolRow {
                failed: !succeeded,
                checksum: (is_sql && !row[3].is_empty()).then(|| row[3].clone()),
                has_file: is_sql,
            };
            tool.applied.insert(version, applied);
        }
        Some(tool)
    }

    pub(super) fn shown(&self) -> &'static str {
        match self.name {
            Name::Sqlx => "sqlx",
            Name::Refinery => "refinery",
            Name::GolangMigrate => "golang-migrate",
            Name::Flyway => "Flyway",
        }
    }

    /// What a person runs.
    pub(super) fn command(&self) -> &'static str {
        match self.name {
            Name::Sqlx => "sqlx migrate run",
            Name::Refinery => "refinery migrate",
            Name::GolangMigrate => "migrate up",
            Name::Flyway => "flyway migrate",
        }
    }

    /// How a person tells the tool that what failed is undone.
    pub(super) fn clearing(&self) -> &'static str {
        match self.name {
            Name::Sqlx => "delete its row from _sqlx_migrations",
            Name::Refinery => "delete its row from refinery_schema_history",
            Name::GolangMigrate => "run `migrate force` with the version that the database has",
            Name::Flyway => "run `flyway repair`",
        }
    }

    pub(super) fn has(&self, version: &Vec<u64>) -> bool {
        self.applied.contains_key(version) || self.floor.as_ref().is_some_and(|f| version <= f)
    }

    /// It has applied nothing yet.
    pub(super) fn is_new(&self) -> bool {
        self.applied.is_empty() && self.floor.is_none()
    }

    /// The highest version that it applied, if it then refuses those below that it did not.
    pub(super) fn refuses_below(&self) -> Option<&Vec<u64>> {
        match self.name {
            Name::Flyway | Name::Refinery => self.applied.keys().next_back(),
            Name::Sqlx | Name::GolangMigrate => None,
        }
    }

    /// The file is no longer what was applied.
    pub(super) fn differs(&self, script: &Script, applied: &ToolRow, bytes: &[u8]) -> bool {
        let Some(known) = applied.checksum.as_deref() else {
            return false;
        };
        match self.name {
            Name::Sqlx => sqlx_checksum(bytes) != known,
            Name::Flyway => flyway_checksum(bytes) != known,
            Name::Refinery => !refinery_checksums(script, bytes)
                .iter()
                .any(|sum| sum == known),
            Name::GolangMigrate => false,
        }
    }

    /// A repeatable file was never run, or changed since.
    pub(super) fn must_repeat(&self, script: &Script) -> bool {
        let Some((known, failed)) = self.repeatable.get(&script.name.replace('_', " ")) else {
            return true;
        };
        let Ok(bytes) = std::fs::read(&script.path) else {
            return false;
        };
        // Flyway takes the sum of these with its placeholders filled in, and we do not know them.
        let has_placeholders = bytes.windows(2).any(|pair| pair == b"${");
        *failed || (!has_placeholders && flyway_checksum(&bytes) != *known)
    }
}

/// SHA-384 of the file, in hexadecimal digits.
fn sqlx_checksum(bytes: &[u8]) -> String {
    let digest = sha2::Sha384::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SipHash-1-3 of name, version and text, in that order as Rust hashes them; the version has 32 bits, or 64
/// where refinery was built with `int8-versions`.
fn refinery_checksums(script: &Script, bytes: &[u8]) -> Vec<String> {
    let (Ok(text), [version]) = (std::str::from_utf8(bytes), &script.version[..]) else {
        return Vec::new();
    };
    let sum = |version: &dyn Fn(&mut SipHasher13)| {
        let mut hasher = SipHasher13::new();
        script.name.hash(&mut hasher);
        version(&mut hasher);
        text.hash(&mut hasher);
        hasher.finish().to_string()
    };
    let mut sums = Vec::new();
    if let Ok(version) = i32::try_from(*version) {
        sums.push(sum(&|hasher| version.hash(hasher)));
    }
    if let Ok(version) = i64::try_from(*version) {
        sums.push(sum(&|hasher| version.hash(hasher)));
    }
    sums
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

/// The script that a row is about.
pub(super) fn script_of<'a>(scripts: &'a [Script], version: &[u64]) -> Option<&'a Script> {
    let of = |wanted: fn(&Script) -> bool| {
        scripts
            .iter()
            .find(|script| wanted(script) && script.version == version)
    };
    of(Script::is_step).or_else(|| of(|script| script.kind == ScriptKind::Baseline))
}

#[cfg(test)]
mod tests;
