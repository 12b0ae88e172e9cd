//! What a person approves: the statements of a finding heal the database, keep its rows, and say what they do.

use std::process::Command;

use crate::checks::testing::postgres::Server;
use crate::checks::testing::{App, only, venv};
use crate::domain::finding::{CheckName, CheckReport, Finding, Severity};
use crate::domain::remedy::{NEEDS_APPROVAL, PROPOSED, REWRITES, Remedy};

const MODELS: &str = r#"
import enum
from sqlalchemy import *
from sqlalchemy.orm import declarative_base

Base = declarative_base()

class Mood(enum.Enum):
    LOW = "low"
    HIGH = "high"

class Owner(Base):
    __tablename__ = "owners"
    id = Column(Integer, primary_key=True)

class Item(Base):
    __tablename__ = "items"
    id = Column(Integer, primary_key=True)
    title = Column(String(40), nullable=False)
    done = Column(Boolean, nullable=False)
    made = Column(DateTime, nullable=False)
    day = Column(Date, nullable=False)
    kind = Column(Enum("a", "b", name="kind"), nullable=False)
    mood = Column(Enum(Mood, name="mood"), nullable=False, default=Mood.HIGH)
    data = Column(JSON, nullable=False, default=dict)
    names = Column(JSON, nullable=False, default=list)
    price = Column(Numeric(10, 2), nullable=False)
    ratio = Column(Float, nullable=False)
    blob = Column(LargeBinary, nullable=False)
    count = Column(Integer, nullable=False)
    code = Column(String(9), nullable=False, unique=True)
    owner_id = Column(ForeignKey("owners.id"), nullable=False, index=True)
"#;
const COLUMNS: usize = 14;

/// Reads all rows as the application does.
const READ: &str = "import sys, sqlalchemy, m; from sqlalchemy.orm import Session; \
    s = Session(sqlalchemy.create_engine(sys.argv[1])); rows = s.query(m.Item).order_by(m.Item.id).all(); \
    print(*[(r.title, r.done, str(r.made), str(r.day), r.kind, r.mood.name, r.data, r.names, int(r.price), r.ratio, r.blob, \
    r.count, r.code, r.owner_id) for r in rows])";
const ROW: &str = "('', False, '1970-01-01 00:00:00', '1970-01-01', 'a', 'HIGH', {}, [], 0, 0.0, b'', 0, None, None)";

fn read(python: &std::path::Path, app: &App, url: &str) -> String {
    let done = Command::new(python)
        .args(["-B", "-c", READ, url])
        .current_dir(app.root())
        .output()
        .unwrap();
    String::from_utf8_lossy(&done.stdout).trim().to_owned() + &String::from_utf8_lossy(&done.stderr)
}

fn statements(finding: &Finding) -> &[String] {
    match &finding.fix {
        Some(Remedy::RunStatements { statements, .. }) => statements,
        _ => panic!("{finding:#?}"),
    }
}

fn asked(report: &CheckReport) -> Vec<&Finding> {
    let asked = |finding: &&Finding| finding.facts.contains_key(NEEDS_APPROVAL);
    report.findings.iter().filter(asked).collect()
}

#[test]
fn columns_that_must_not_be_null_get_a_value_that_the_code_can_read_or_stay_empty() {
    let Some(python) = venv::application_python() else {
        return;
    };
    let app = App::with_interpreter(Some(python.clone()))
        .file("m.py", MODELS)
        .schema("sqlite:///app.db", "m:Base");
    let live = rusqlite::Connection::open(app.root().join("app.db")).unwrap();
    live.execute_batch(
        "CREATE TABLE owners (id INTEGER PRIMARY KEY); CREATE TABLE items (id INTEGER PRIMARY KEY); \
         INSERT INTO items VALUES (1), (2);",
    )
    .unwrap();
    let report = app.check(CheckName::Schema);
    let found = asked(&report);
    assert_eq!(found.len(), COLUMNS, "{:#?}", report.findings);
    for finding in found {
        assert!(finding.facts[PROPOSED].contains("2 rows"), "{finding:#?}");
        assert!(!finding.facts.contains_key(REWRITES));
        assert!(
            finding
                .location
                .as_ref()
                .is_some_and(|at| at.file == "m.py")
        );
        for statement in statements(finding) {
            live.execute(statement, []).unwrap();
        }
    }
    let open = app.check(CheckName::Schema);
    let warns = |f: &&Finding| f.severity >= Severity::Warning;
    assert_eq!(open.findings.iter().find(warns), None);
    assert_eq!(
        read(&python, &app, "sqlite:///app.db"),
        format!("{ROW} {ROW}")
    );
}

#[test]
fn a_column_of_a_table_without_rows_needs_no_value() {
    let Some(python) = venv::application_python() else {
        return;
    };
    let app = App::with_interpreter(Some(python))
        .file("m.py", MODELS)
        .schema("sqlite:///app.db", "m:Base");
    let live = rusqlite::Connection::open(app.root().join("app.db")).unwrap();
    live.execute_batch(
        "CREATE TABLE owners (id INTEGER PRIMARY KEY); CREATE TABLE items (id INTEGER PRIMARY KEY);",
    )
    .unwrap();
    let report = app.check(CheckName::Schema);
    for finding in asked(&report) {
        assert!(
            finding.facts[PROPOSED].contains("has no row"),
            "{finding:#?}"
        );
        for statement in statements(finding) {
            live.execute(statement, []).unwrap();
        }
    }
    assert!(
        live.execute("INSERT INTO items (id) VALUES (1)", [])
            .is_err()
    );
    assert_eq!(app.check(CheckName::Schema).findings, []);
}

#[test]
fn an_unknown_column_and_a_type_are_changed_on_sqlite_by_a_table_that_is_made_anew() {
    let app = App::with_interpreter(None)
        .file(
            "s.sql",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);",
        )
        .schema("sqlite:///app.db", "sql:s.sql");
    let path = app.root().join("app.db");
    let live = rusqlite::Connection::open(&path).unwrap();
    live.execute_batch(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, batch INTEGER NOT NULL, lot TEXT NOT NULL); CREATE INDEX i ON t (a); \
         INSERT INTO t VALUES (1, '7', 1, ''), (2, 'x', 1, ''), (3, '0012', 1, '');",
    )
    .unwrap();
    let report = app.check(CheckName::Schema);
    let of = |subject: &str| report.findings.iter().find(|f| f.subject == subject);
    // One statement makes the table anew for both.
    let lot = of("t.lot").unwrap();
    assert!(matches!(lot.fix, Some(Remedy::ByHand { .. })), "{lot:#?}");
    let extra = of("t.batch").unwrap();
    assert_eq!(extra.severity, Severity::Warning);
    assert!(extra.facts.contains_key(REWRITES), "{extra:#?}");
    assert!(extra.facts[PROPOSED].contains("nothing in its 3 rows changes"));
    let typed = only(&report, "schema.type_mismatch");
    assert!(
        typed.facts[PROPOSED].contains("of 3 rows with a value, 1 have one that is no INTEGER"),
        "{typed:#?}"
    );
    let respelt = "1 are numbers that lose how they are written (leading zeros, 1.50)";
    assert!(typed.facts[PROPOSED].contains(respelt), "{typed:#?}");
    for statement in statements(extra) {
        live.execute(statement, []).unwrap();
    }
    let report = app.check(CheckName::Schema);
    for statement in statements(only(&report, "schema.type_mismatch")) {
        live.execute(statement, []).unwrap();
    }
    let kinds: String = live
        .query_row(
            "SELECT group_concat(typeof(a) || batch) FROM t",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kinds, "integer1,text1,integer1");
    let open = app.check(CheckName::Schema);
    assert!(
        open.findings.iter().all(|f| f.severity == Severity::Info),
        "{open:#?}"
    );
}

#[test]
fn a_server_says_how_many_values_do_not_fit_and_what_it_takes_is_exact() {
    let Some(server) = Server::start() else {
        return;
    };
    let Some(python) = venv::application_python() else {
        return;
    };
    let url = server.database_of_bob(
        "CREATE TYPE kind AS ENUM ('b'); CREATE TYPE mood AS ENUM ('LOW', 'HIGH'); \
         CREATE TABLE owners (id SERIAL PRIMARY KEY, batch int NOT NULL); INSERT INTO owners VALUES (3, 1); \
         CREATE TABLE items (id SERIAL PRIMARY KEY, kind kind NOT NULL, count text NOT NULL, price text NOT NULL); \
         INSERT INTO items (kind, count, price) VALUES ('b', '5', '1.5'), ('b', 'many', '2')",
    );
    let app = App::with_interpreter(Some(python))
        .file("m.py", MODELS)
        .schema(&url, "m:Base");
    let report = app.check(CheckName::Schema);
    let of = |subject: &str| {
        let found = report.findings.iter().find(|f| f.subject == subject);
        found.unwrap_or_else(|| panic!("{subject}: {report:#?}"))
    };
    assert_eq!(
        statements(of("items.kind")),
        ["ALTER TYPE kind ADD VALUE IF NOT EXISTS 'a' BEFORE 'b'"]
    );
    assert_eq!(
        statements(of("owners.batch")),
        ["ALTER TABLE \"public\".\"owners\" ALTER COLUMN \"batch\" DROP NOT NULL"]
    );
    assert_eq!(
        statements(of("items.price")),
        [
            "ALTER TABLE \"public\".\"items\" ALTER COLUMN \"price\" TYPE NUMERIC(10, 2) USING \"price\"::NUMERIC(10, 2)"
        ]
    );
    assert_eq!(
        statements(of("owners_id_seq")),
        ["SELECT setval('owners_id_seq', (SELECT max(\"id\") FROM owners))"]
    );
    assert!(statements(of("items.made"))[0].contains("DEFAULT '1970-01-01"));
    // A server before version 16 cannot say it.
    if let Some(Remedy::ByHand { reason, .. }) = &of("items.count").fix {
        assert!(
            reason.contains("of 2 rows with a value in items.count, 1 have"),
            "{reason}"
        );
    }
}
