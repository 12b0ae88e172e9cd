//! When not to heal, on databases with a past.

use crate::checks::Earlier;
use crate::checks::testing::{App, only, problems};
use crate::database::summary::identity;
use crate::domain::event::DatabasePrint;
use crate::domain::finding::{CheckName, Severity};
use crate::domain::ids::At;
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};

const KEY: [u8; 32] = [3; 32];
const SQL: &str =
    "CREATE TABLE users (id INTEGER PRIMARY KEY);\nCREATE TABLE orders (id INTEGER PRIMARY KEY);\n";

/// An application whose database was like this in the last boot that was up.
fn app(was_at: &str, print: DatabasePrint) -> App {
    let mut app = App::with_interpreter(None)
        .file("schema.sql", SQL)
        .schema("sqlite:///app.db", "sql:schema.sql");
    app.earlier = Earlier {
        key: Some(KEY),
        up_at: Some(At(1_700_000_000_000_000)),
        ..Earlier::default()
    };
    let url = Some(Earlier::digest(&KEY, &identity(was_at)));
    let print = DatabasePrint { url, ..print };
    app.earlier.databases.insert("db0".into(), print);
    app
}

fn used() -> DatabasePrint {
    DatabasePrint {
        tables: Some(2),
        has_rows: Some(true),
        ..DatabasePrint::default()
    }
}

#[test]
fn an_empty_database_has_one_finding_with_all_statements() {
    let app = app("sqlite:///old.db", used());
    let report = app.check(CheckName::Schema);
    assert_eq!(problems(&report), ["schema.database_changed db0"]);
    let finding = only(&report, "schema.database_changed");
    let Some(Remedy::ByHand {
        statements: Some(script),
        ..
    }) = &finding.fix
    else {
        panic!("{finding:#?}");
    };
    assert!(
        script.contains("users") && script.contains("orders"),
        "{script}"
    );
}

#[test]
fn another_database_without_a_row_is_a_warning_and_is_not_completed() {
    let one = "CREATE TABLE users (id INTEGER PRIMARY KEY);";
    let elsewhere = app("sqlite:///old.db", used()).sqlite("app.db", one);
    let report = elsewhere.check(CheckName::Schema);
    let changed = only(&report, "schema.database_changed");
    assert_eq!(changed.severity, Severity::Warning);
    let missing = only(&report, "schema.missing_table");
    assert!(
        matches!(missing.fix, Some(Remedy::ByHand { .. })),
        "{missing:#?}"
    );
    // The same one is completed, with rows or without.
    let same = app("sqlite:///app.db", used()).sqlite("app.db", one);
    let report = same.check(CheckName::Schema);
    let missing = only(&report, "schema.missing_table");
    assert!(
        matches!(missing.fix, Some(Remedy::RunStatements { .. })),
        "{missing:#?}"
    );
}

#[test]
fn a_database_that_nobody_can_look_into_is_not_called_empty() {
    let mut app = app("sqlite:///old.db", used());
    for url in ["mysql://db/shop", "sqlite://"] {
        app.manifest.schemas[0].database = url.into();
        let report = app.check(CheckName::Schema);
        let changed = report
            .findings
            .iter()
            .filter(|f| f.code == "schema.database_changed");
        assert_eq!(changed.count(), 0, "{url}: {report:#?}");
    }
}

#[test]
fn a_migration_that_was_applied_before_and_waits_now_needs_a_person() {
    let revision = |id: &str, down: &str| {
        format!("revision = '{id}'\ndown_revision = {down}\ndef upgrade():\n    pass\n")
    };
    let check = |was: &str| {
        let print = DatabasePrint {
            revision: Some(was.into()),
            ..used()
        };
        let mut app = app("sqlite:///app.db", print)
            .file("alembic.ini", "[alembic]\nscript_location = migrations\n")
            .file("migrations/env.py", "")
            .file("migrations/versions/a1.py", revision("a1", "None"))
            .file("migrations/versions/b2.py", revision("b2", "'a1'"))
            .sqlite(
                "app.db",
                "CREATE TABLE users (id INTEGER PRIMARY KEY); \
                 CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('a1')",
            );
        app.manifest.schemas.clear();
        let app = app.schema("sqlite:///app.db", "alembic:alembic.ini");
        let report = app.check(CheckName::Schema);
        only(&report, "schema.pending_migration").fix.clone()
    };
    assert!(matches!(check("a1"), Some(Remedy::Migrate { .. })));
    let Some(Remedy::ByHand { reason, .. }) = check("b2") else {
        panic!("it is migrated");
    };
    assert!(reason.contains("at b2, which waits now"), "{reason}");
}

#[test]
fn a_file_that_was_moved_or_misspelt_is_not_made_anew() {
    let one = "CREATE TABLE users (id INTEGER PRIMARY KEY);";
    let new = |database: &str| {
        App::with_interpreter(None)
            .file("schema.sql", SQL)
            .file(".env", format!("DATABASE_URL={database}\n"))
            .schema(database, "sql:schema.sql")
    };
    for (database, near) in [
        ("sqlite:///data/stor.db", "data/store.db"),
        ("sqlite:///dta/store.db", "data/store.db"),
    ] {
        let app = new(database)
            .file("data/x", "")
            .sqlite("data/store.db", one);
        let report = app.check(CheckName::Schema);
        assert_eq!(problems(&report), ["schema.database_changed db0"]);
        let finding = only(&report, "schema.database_changed");
        assert!(finding.message.contains(near), "{finding:#?}");
        assert!(!matches!(
            finding.fix,
            Some(Remedy::RunStatements { .. } | Remedy::MakeDirectory { .. })
        ));
    }
    let app = new("sqlite:///app.db").file("app.db-wal", "x");
    let report = app.check(CheckName::Schema);
    let finding = only(&report, "schema.database_changed");
    assert!(finding.message.contains("app.db-wal"), "{finding:#?}");
    // No database is near, and no log is left.
    let app = new("sqlite:///app.db")
        .file("apq.db", "x")
        .file("app.db-wal", "");
    assert!(
        problems(&app.check(CheckName::Schema))
            .iter()
            .all(|one| one.starts_with("schema.missing_table"))
    );
}

#[test]
fn what_may_be_there_under_another_name_is_made_after_a_look_only() {
    let tables = "CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT, nick TEXT);";
    for (live, asks) in [
        (
            "CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT);",
            false,
        ),
        (
            "CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT, zz INTEGER);",
            false,
        ),
        (
            "CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT, handle TEXT);",
            true,
        ),
        (
            "CREATE TABLE people (id INTEGER PRIMARY KEY, mail TEXT, nick TEXT);",
            true,
        ),
        ("CREATE TABLE people (id INTEGER PRIMARY KEY);", false),
    ] {
        let app = App::with_interpreter(None)
            .file("schema.sql", tables)
            .schema("sqlite:///app.db", "sql:schema.sql")
            .sqlite("app.db", live);
        let report = app.check(CheckName::Schema);
        let fills = |finding: &&crate::domain::finding::Finding| {
            matches!(finding.fix, Some(Remedy::RunStatements { .. }))
        };
        let finding = report.findings.iter().find(fills).expect(live);
        assert_eq!(
            finding.facts.contains_key(NEEDS_APPROVAL),
            asks,
            "{live}: {finding:#?}"
        );
    }
}
