//! Databases as each tool writes them, against its files.

use super::super::sql_tools::Name;
use crate::checks::testing::{App, only, problems};
use crate::domain::finding::{CheckName, CheckReport};

const A: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY);";
const B: &str = "ALTER TABLE a ADD COLUMN b TEXT;";
/// SHA-384 of `A`.
const A_SHA384: &str = "73fa8769f7ac9b40cdea3762f07e45dabdfc47026a834eafa8861b316c8d68a107bc11082e298bf40fd63cf204968f4d";
/// CRC-32 of `A` as Flyway takes it.
const A_CRC32: i32 = -787_013_892;
/// SipHash-1-3 of `a`, 1 and `A` as refinery takes it.
const A_SIPHASH: u64 = 1_672_802_098_579_969_974;

const SQLX: &str = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL);";
const REFINERY: &str = "CREATE TABLE refinery_schema_history (version INT4 PRIMARY KEY, name VARCHAR(255), \
    applied_on VARCHAR(255), checksum VARCHAR(255));";
const GOLANG: &str = "CREATE TABLE schema_migrations (version uint64,dirty bool); \
    CREATE UNIQUE INDEX version_unique ON schema_migrations (version);";
const FLYWAY: &str = "CREATE TABLE flyway_schema_history (\"installed_rank\" INT NOT NULL PRIMARY KEY, \"version\" VARCHAR(50), \
    \"description\" VARCHAR(200) NOT NULL, \"type\" VARCHAR(20) NOT NULL, \"script\" VARCHAR(1000) NOT NULL, \
    \"checksum\" INT, \"installed_by\" VARCHAR(100) NOT NULL, \
    \"installed_on\" TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now')), \"execution_time\" INT NOT NULL, \
    \"success\" BOOLEAN NOT NULL);";

fn check(files: &[(&str, &str)], database: &str) -> CheckReport {
    let mut app = App::with_interpreter(None)
        .sqlite("app.db", database)
        .schema("sqlite:///app.db", "sql:m/*.sql");
    for (name, text) in files {
        app = app.file(&format!("m/{name}"), *text);
    }
    app.check(CheckName::Schema)
}

/// Rows of Flyway: version, description, type, checksum, success.
fn flyway(rows: &[(&str, &str, &str, &str, u8)]) -> String {
    let mut sql = FLYWAY.to_owned();
    for (rank, (version, description, kind, checksum, success)) in rows.iter().enumerate() {
        let rank = rank + 1;
        sql.push_str(&format!(
            "INSERT INTO flyway_schema_history VALUES ({rank}, {version}, '{description}', '{kind}', '{description}.sql', \
             {checksum}, 'me', '2024-01-01', 5, {success});"
        ));
    }
    sql
}

const PENDING: &str = "schema.pending_migration db0";
const BROKEN: &str = "schema.broken_history db0";
const UNKNOWN: &str = "schema.unknown_revision db0";

#[test]
fn sqlx_is_read_as_it_writes() {
    let files = [("20230101120000_a.sql", A), ("20230102120000_b.sql", B)];
    let row = |sum: &str, success: u8| {
        format!(
            "{A}{SQLX}INSERT INTO _sqlx_migrations VALUES (20230101120000, 'a', '2024-01-01', {success}, x'{sum}', 1)"
        )
    };
    let changed = "schema.changed_migration m/20230101120000_a.sql";
    for (database, expected) in [
        (row(A_SHA384, 1), vec![PENDING]),
        (row("00", 1), vec![PENDING, changed]),
        (row(A_SHA384, 0), vec![BROKEN, PENDING]),
    ] {
        assert_eq!(problems(&check(&files, &database)), expected, "{database}");
    }
    let report = check(&files, &row(A_SHA384, 0));
    let remedy = only(&report, "schema.broken_history")
        .remedy
        .clone()
        .unwrap();
    assert!(
        remedy.contains("delete its row from _sqlx_migrations"),
        "{remedy}"
    );
    // Applied out of order, which sqlx does.
    let both = [("1_early.sql", "SELECT 1;"), ("20230101120000_a.sql", A)];
    assert_eq!(problems(&check(&both, &row(A_SHA384, 1))), [PENDING]);
}

#[test]
fn golang_migrate_is_read_as_it_writes() {
    let files = [
        ("000001_a.up.sql", A),
        ("000001_a.down.sql", "DROP TABLE a"),
        ("000002_b.up.sql", B),
    ];
    let row = |version: i64, dirty: &str| {
        format!("{A}{GOLANG}INSERT INTO schema_migrations VALUES ({version}, {dirty})")
    };
    for (database, expected) in [
        (row(1, "0"), vec![PENDING]),
        (row(1, "false"), vec![PENDING]),
        (row(2, "1"), vec![BROKEN]),
        (row(2, "true"), vec![BROKEN]),
        (row(7, "0"), vec![UNKNOWN]),
        // The first step back failed: the version before it is none.
        (row(-1, "1"), vec![BROKEN, PENDING]),
        (format!("{A}{GOLANG}"), vec![PENDING]),
    ] {
        assert_eq!(problems(&check(&files, &database)), expected, "{database}");
    }
    let report = check(&files, &row(1, "0"));
    assert_eq!(
        only(&report, "schema.pending_migration").message,
        "database db0 (app.db) is 1 migration behind: 2 (m/000002_b.up.sql)"
    );
    let report = check(&files, &row(2, "1"));
    let remedy = only(&report, "schema.broken_history")
        .remedy
        .clone()
        .unwrap();
    assert!(remedy.contains("`migrate force`"), "{remedy}");
    // All applied, yet a column is missing: somebody changed the database by hand.
    let report = check(&files, &row(2, "0"));
    assert_eq!(problems(&report), ["schema.missing_column a.b"]);
}

#[test]
fn refinery_is_read_as_it_writes() {
    let files = [("V1__a.sql", A), ("V3__b.sql", B)];
    let row = |version: u8, sum: &str| {
        format!(
            "{A}{REFINERY}INSERT INTO refinery_schema_history VALUES ({version}, 'a', '2024-01-01T00:00:00Z', '{sum}')"
        )
    };
    let sum = A_SIPHASH.to_string();
    for (database, expected) in [
        (row(1, &sum), vec![PENDING]),
        (
            row(1, "1"),
            vec![PENDING, "schema.changed_migration m/V1__a.sql"],
        ),
        (row(2, &sum), vec![BROKEN, UNKNOWN, PENDING]),
    ] {
        let mut found = problems(&check(&files, &database));
        found.sort();
        let mut expected = expected.clone();
        expected.sort_unstable();
        assert_eq!(found, expected, "{database}");
    }
    // Renamed is changed too.
    let renamed = [("V1__other.sql", A)];
    assert_eq!(
        problems(&check(&renamed, &row(1, &sum))),
        ["schema.changed_migration m/V1__other.sql"]
    );
    // A version below the last one: refused, but for those that are named for it.
    let database =
        format!("{A}{REFINERY}INSERT INTO refinery_schema_history VALUES (9, 'z', '', '0')");
    let late = |name| check(&[(name, B), ("V9__z.sql", A)], &database);
    assert!(problems(&late("V2__b.sql")).contains(&BROKEN.to_owned()));
    let unversioned = problems(&late("U2__b.sql"));
    assert!(
        unversioned.contains(&PENDING.to_owned()) && !unversioned.contains(&BROKEN.to_owned()),
        "{unversioned:?}"
    );
}

#[test]
fn flyway_is_read_as_it_writes() {
    let files = [("V1__a.sql", A), ("V2__b.sql", B)];
    let crc = A_CRC32.to_string();
    let changed = "schema.changed_migration m/V1__a.sql";
    for (rows, expected) in [
        (vec![("'1'", "a", "SQL", crc.as_str(), 1)], vec![PENDING]),
        (vec![("'1'", "a", "SQL", "5", 1)], vec![PENDING, changed]),
        (
            vec![("'1'", "a", "SQL", crc.as_str(), 0)],
            vec![BROKEN, PENDING],
        ),
        // Its own marks and programs have no file.
        (
            vec![
                ("NULL", "<< Flyway Schema Creation >>", "SCHEMA", "NULL", 1),
                ("'1'", "a", "SQL", crc.as_str(), 1),
                ("'1.5'", "j", "JDBC", "7", 1),
            ],
            vec![PENDING],
        ),
        (
            vec![("'1'", "<< Flyway Baseline >>", "BASELINE", "NULL", 1)],
            vec![PENDING],
        ),
        // Undone, so to be applied again; and deleted by `repair`.
        (
            vec![
                ("'1'", "a", "SQL", crc.as_str(), 1),
                ("'2'", "b", "SQL", "NULL", 1),
                ("'2'", "b", "UNDO_SQL", "NULL", 1),
            ],
            vec![PENDING],
        ),
        (
            vec![
                ("'1'", "a", "SQL", crc.as_str(), 1),
                ("'7'", "gone", "SQL", "1", 1),
                ("'7'", "gone", "DELETE", "1", 1),
            ],
            vec![PENDING],
        ),
        (
            vec![
                ("'1'", "a", "SQL", crc.as_str(), 1),
                ("'7'", "gone", "SQL", "1", 1),
            ],
            vec![BROKEN, UNKNOWN, PENDING],
        ),
    ] {
        let database = format!("{A}{}", flyway(&rows));
        let mut found = problems(&check(&files, &database));
        found.sort();
        let mut expected = expected.clone();
        expected.sort_unstable();
        assert_eq!(found, expected, "{rows:?}");
    }
}

#[test]
fn repeatable_files_of_flyway_wait_until_they_ran_as_they_are() {
    let crc = A_CRC32.to_string();
    let first = ("'1'", "a", "SQL", crc.as_str(), 1);
    let view = "CREATE VIEW v AS SELECT 1;";
    let files = |text| [("V1__a.sql", A), ("R__all_views.sql", text)];
    let ran = |sum, success| flyway(&[first, ("NULL", "all views", "SQL", sum, success)]);
    // As `python3 -c 'import zlib; ...'` gives it, signed.
    let sum = "895998086";
    for (database, waits) in [
        (flyway(&[first]), true),
        (ran("1", 1), true),
        (ran(sum, 0), true),
        (ran(sum, 1), false),
    ] {
        let report = check(&files(view), &format!("{A}{view}{database}"));
        assert_eq!(
            problems(&report).contains(&PENDING.to_owned()),
            waits,
            "{database}"
        );
    }
    // With placeholders, the sum is taken of what we cannot know.
    let report = check(
        &files("CREATE VIEW v AS SELECT '${x}';"),
        &format!("{A}{view}{}", ran("1", 1)),
    );
    assert!(!problems(&report).contains(&PENDING.to_owned()));
}

#[test]
fn a_baseline_of_flyway_stands_for_what_is_below() {
    let files = [
        ("B2__both.sql", A),
        ("V1__a.sql", A),
        ("V2__b.sql", B),
        ("V3__c.sql", B),
    ];
    let report = check(&files, FLYWAY);
    let message = &only(&report, "schema.pending_migration").message;
    assert!(
        message.ends_with("2 (m/B2__both.sql), 3 (m/V3__c.sql)"),
        "{message}"
    );
    let applied = flyway(&[("'2'", "both", "SQL_BASELINE", &A_CRC32.to_string(), 1)]);
    let report = check(&files, &format!("{A}{applied}"));
    let message = &only(&report, "schema.pending_migration").message;
    assert!(message.ends_with("behind: 3 (m/V3__c.sql)"), "{message}");
}

#[test]
fn without_a_tool_the_files_are_the_schema() {
    let files = [("V1__a.sql", A), ("V2__b.sql", B)];
    assert_eq!(problems(&check(&files, A)), ["schema.missing_column a.b"]);
}

#[test]
fn each_tool_is_reported_by_its_table() {
    let names = |table: &str| {
        let tool = match table {
            SQLX => Name::Sqlx,
            REFINERY => Name::Refinery,
            GOLANG => Name::GolangMigrate,
            _ => Name::Flyway,
        };
        let prefixed = matches!(tool, Name::Refinery | Name::Flyway);
        let file = if prefixed { "V1__a.sql" } else { "1_a.sql" };
        let report = check(&[(file, A)], table);
        only(&report, "schema.pending_migration")
            .remedy
            .clone()
            .unwrap()
    };
    assert_eq!(names(SQLX), "run `sqlx migrate run`");
    assert_eq!(names(REFINERY), "run `refinery migrate`");
    assert_eq!(names(GOLANG), "run `migrate up`");
    assert_eq!(names(FLYWAY), "run `flyway migrate`");
}
