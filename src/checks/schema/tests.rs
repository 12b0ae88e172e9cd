//! The whole check on small applications with real SQLAlchemy and real databases.

mod approval;
mod caution;
mod created;
mod details;
mod postgres_shapes;
mod sqlite_details;

use crate::checks::testing::{App, only, problems, some_of, venv};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding, Measured, Severity};
use crate::domain::ids::Digest;
use crate::domain::remedy::Remedy;
use crate::domain::signature::sign_finding;

const MODELS: &str = r#"
from datetime import datetime
from sqlalchemy import (JSON, Boolean, CheckConstraint, Column, DateTime, Enum, ForeignKey, Index, Integer,
    LargeBinary, Numeric, Float, String, Table, Text, func, text)
from sqlalchemy.orm import declarative_base

Base = declarative_base()

class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    email = Column(String(120), unique=True, nullable=False, index=True)
    is_active = Column(Boolean, default=True, nullable=False)
    kind = Column(Enum("a", "b"), nullable=False, server_default="a")
    created = Column(DateTime, server_default=func.now(), nullable=False)
    extra = Column(JSON)
    score = Column(Numeric(10, 2))
    ratio = Column(Float)
    blob = Column(LargeBinary)

class Order(Base):
    __tablename__ = "Orders"
    id = Column(Integer, primary_key=True, autoincrement=True)
    user_id = Column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    note = Column(Text)
    __table_args__ = (Index("ix_note", "note", sqlite_where=text("note IS NOT NULL")),)

links = Table("links", Base.metadata, Column("a", ForeignKey("users.id"), primary_key=True),
              Column("b", ForeignKey("users.id"), primary_key=True))
"#;

fn create_all(app: &App, python: &str, target: &str) {
    let (module, attribute) = target.split_once(':').unwrap();
    let code = format!(
        "import sqlalchemy, {module} as m; e = sqlalchemy.create_engine('sqlite:///app.db'); \
         m.{attribute}.metadata.create_all(e)"
    );
    let done = std::process::Command::new(python)
        .args(["-B", "-c", &code])
        .current_dir(app.root())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn ddl(finding: &Finding) -> Vec<String> {
    match &finding.fix {
        Some(Remedy::RunStatements { statements, .. }) => statements.clone(),
        _ => Vec::new(),
    }
}

/// Runs the statements of all findings, as the fixers would.
fn mend(app: &App, report: &CheckReport) {
    let connection = rusqlite::Connection::open(app.root().join("app.db")).unwrap();
    for statement in report.findings.iter().flat_map(ddl) {
        assert!(statement.starts_with("CREATE") || statement.starts_with("ALTER"));
        connection
            .execute(&statement, [])
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn check(app: &App) -> CheckReport {
    app.check(CheckName::Schema)
}

#[test]
fn a_healthy_application_of_either_sqlalchemy_has_no_findings_and_its_database_is_not_touched() {
    for packages in [&venv::PACKAGES[..], &venv::OLD_PACKAGES[..]] {
        let Some(python) = venv::python_with(packages) else {
            return;
        };
        let shown = python.display().to_string();
        let app = App::with_interpreter(Some(python))
            .file("app/__init__.py", "")
            .file("app/models.py", MODELS)
            .schema("sqlite:///app.db", "app.models:Base");
        create_all(&app, &shown, "app.models:Base");
        let before = std::fs::read(app.root().join("app.db")).unwrap();
        let report = check(&app);
        assert_eq!(report.findings, vec![], "{packages:?}");
        assert_eq!(report.status, CheckStatus::Healthy);
        assert_eq!(report.summary, "3 tables expected, 3 live");
        assert_eq!(
            report.measured,
            Measured::Schema {
                tables_expected: 3,
                tables_live: 3
            }
        );
        assert_eq!(std::fs::read(app.root().join("app.db")).unwrap(), before);
        let mut names: Vec<_> = std::fs::read_dir(app.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["app", "app.db"]);
        assert!(!app.root().join("app/__pycache__").exists());
    }
}

#[test]
fn a_database_that_does_not_exist_yet_lacks_every_table_and_their_statements_create_them() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file("models.py", MODELS)
        .schema("sqlite:///app.db", "models:Base");
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "schema.missing_table users",
            "schema.missing_table Orders",
            "schema.missing_table links"
        ]
    );
    let users = &report.findings[0];
    assert!(
        users.message.contains("app.db does not exist yet"),
        "{}",
        users.message
    );
    assert_eq!(users.location.as_ref().unwrap().to_string(), "models.py:9");
    assert_eq!(users.facts["schema"], "db0");
    assert!(!app.root().join("app.db").exists());
    mend(&app, &report);
    assert_eq!(check(&app).findings, vec![]);
}

#[test]
fn missing_columns_are_added_where_sqlite_can_and_explained_where_it_cannot() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file("models.py", MODELS)
        .schema("sqlite:///app.db", "models:Base")
        .sqlite(
            "app.db",
            "CREATE TABLE users (id INTEGER PRIMARY KEY, EMAIL VARCHAR NOT NULL UNIQUE);
             INSERT INTO users (email) VALUES ('a'), ('b');
             CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, old TEXT);
             INSERT INTO orders (old) VALUES ('x');
             CREATE TABLE links (a INTEGER, b INTEGER, PRIMARY KEY (a, b));
             CREATE TABLE alembic_version (version_num TEXT);
             CREATE TABLE strangers (id INTEGER); CREATE VIEW seen AS SELECT id FROM strangers;",
        );
    let report = check(&app);
    let of = |subject: &str| {
        let found = report.findings.iter().find(|f| f.subject == subject);
        found.unwrap_or_else(|| panic!("{subject} in {report:#?}"))
    };
    assert_eq!(of("users.is_active").severity, Severity::Critical);
    assert_eq!(
        ddl(of("users.is_active")),
        ["ALTER TABLE \"users\" ADD COLUMN is_active BOOLEAN DEFAULT 1 NOT NULL"]
    );
    assert_eq!(
        ddl(of("users.kind")),
        ["ALTER TABLE \"users\" ADD COLUMN kind VARCHAR(1) DEFAULT 'a' NOT NULL"]
    );
    assert_eq!(ddl(of("users.created")), Vec::<String>::new());
    let remedy = of("users.created").remedy.as_deref().unwrap();
    assert!(remedy.contains("its default is no constant"), "{remedy}");
    assert_eq!(
        ddl(of("Orders.user_id")),
        [
            "ALTER TABLE \"orders\" ADD COLUMN user_id INTEGER REFERENCES users (id) ON DELETE CASCADE",
            "CREATE INDEX \"ix_Orders_user_id\" ON \"Orders\" (user_id)"
        ]
    );
    assert_eq!(of("Orders.old").code, "schema.extra_column");
    assert_eq!(of("Orders.old").severity, Severity::Info);
    let extra = report
        .findings
        .iter()
        .filter(|f| f.code == "schema.extra_table");
    let extra: Vec<_> = extra.map(|f| (f.severity, f.subject.as_str())).collect();
    assert_eq!(extra, [(Severity::Info, "strangers")]);
    assert_eq!(ddl(of("Orders.note")).len(), 2, "{:?}", of("Orders.note"));
    assert!(
        report
            .findings
            .iter()
            .all(|f| f.subject != "users.ix_users_email")
    );
    mend(&app, &report);
    // The column stays for a person, and a foreign key cannot be added to a table that exists.
    assert_eq!(
        problems(&check(&app)),
        [
            "schema.missing_column users.created",
            "schema.missing_constraint links.a",
            "schema.missing_constraint links.b"
        ]
    );
}

#[test]
fn types_nullability_and_indexes_are_compared_in_sqlites_terms() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file(
            "models.py",
            "from sqlalchemy import *\nmetadata = MetaData()\n\
             t = Table('t', metadata, Column('id', Integer, primary_key=True), Column('n', Integer),\n\
             Column('s', String(20), nullable=False), Column('d', DateTime, nullable=False),\n\
             Column('w', Text), Index('ix_s', 's'), Index('ix_dn', 'd', 'n', unique=True))\n\
             other = Table('ignored_one', metadata, Column('id', Integer, primary_key=True))\n",
        )
        .schema("sqlite:///app.db", "models:metadata")
        .sqlite(
            "app.db",
            "CREATE TABLE t (id INT, n TEXT, s TEXT, d TEXT NOT NULL, w TEXT NOT NULL);
             CREATE INDEX other_name ON t (s);",
        );
    let mut app = app;
    app.manifest.schemas[0].ignore = vec!["IGNORED_*".into()];
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "schema.type_mismatch t.n",
            "schema.nullable_mismatch t.w",
            "schema.missing_index t.ix_dn",
            "schema.missing_constraint t.primary_key"
        ]
    );
    assert_eq!(
        ddl(only(&report, "schema.missing_index")),
        ["CREATE UNIQUE INDEX ix_dn ON t (d, n)"]
    );
    let info: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Info)
        .map(|f| f.subject.as_str())
        .collect();
    assert_eq!(info, ["t.s"]);
}

#[test]
fn sql_files_are_an_expectation_and_hostile_ones_are_refused() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("schema/001.sql", "PRAGMA foreign_keys = ON;\nCREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT DEFAULT 'x');")
        .file("schema/002.sql", "BEGIN; CREATE TABLE b (id INTEGER PRIMARY KEY); CREATE INDEX ix ON a (x);\nALTER TABLE a ADD COLUMN n INT; INSERT INTO a (x) VALUES ('q'); COMMIT;")
        .schema("sqlite:///app.db", "sql:schema/*.sql")
        .sqlite("app.db", "CREATE TABLE a (id INTEGER PRIMARY KEY)");
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "schema.missing_column a.x",
            "schema.missing_column a.n",
            "schema.missing_table b",
        ]
    );
    assert_eq!(
        ddl(&report.findings[0]),
        [
            "ALTER TABLE \"a\" ADD COLUMN \"x\" TEXT DEFAULT 'x'",
            "CREATE INDEX ix ON a (x)"
        ]
    );
    mend(&app, &report);
    assert_eq!(problems(&check(&app)), Vec::<String>::new());
    for (hostile, said) in [
        (
            "CREATE TABLE z (x);\nATTACH 'pwned.db' AS p;",
            "schema/003.sql",
        ),
        ("SELECT load_extension('x')", "schema/003.sql"),
        (
            "CREATE TABLE z AS SELECT zeroblob(1000000000) AS b",
            "schema/003.sql",
        ),
        ("\n\nCREATE TABEL y (x);", "schema/003.sql:3"),
    ] {
        let app = App::plain().unwrap();
        let app = app
            .file("schema/003.sql", hostile)
            .schema("sqlite:///app.db", "sql:schema/*.sql");
        let report = check(&app);
        let finding = only(&report, "schema.models_unloadable");
        let location = finding.location.as_ref().unwrap().to_string();
        assert!(
            location.starts_with(said),
            "{location}: {}",
            finding.message
        );
        assert!(!app.root().join("pwned.db").exists());
    }
    for pattern in ["sql:../*.sql", "sql:/etc/*.sql", "sql:none/*.sql"] {
        let app = App::plain().unwrap().schema("sqlite:///app.db", pattern);
        assert_eq!(problems(&check(&app)).len(), 1);
    }
}

#[test]
fn one_table_missing_in_two_databases_is_two_failures() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("s.sql", "CREATE TABLE a (id INTEGER PRIMARY KEY);")
        .schema("sqlite:///one.db", "sql:s.sql")
        .schema("sqlite:///two.db", "sql:s.sql");
    assert_eq!(
        problems(&check(&app)),
        ["schema.missing_table a", "schema.missing_table db1:a"]
    );
}

#[test]
fn what_is_no_reachable_sqlite_database_says_so() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("s.sql", "CREATE TABLE a (id INTEGER PRIMARY KEY);")
        .file("text.db", "no database at all, but some text".repeat(30))
        .schema("${DATABASE_URL}", "sql:s.sql")
        .schema("mysql+pymysql://ann:pa55w0rd@db/app", "sql:s.sql")
        .schema("sqlite:///text.db", "sql:s.sql")
        .schema("sqlite:///none/app.db", "sql:s.sql")
        .schema("sqlite://", "sql:s.sql");
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "schema.unreachable db0",
            "schema.unsupported_database db1",
            "schema.unreachable db2",
            "schema.unreachable db3"
        ]
    );
    assert!(report.findings[0].message.contains("DATABASE_URL"));
    assert!(
        report.findings[3]
            .message
            .contains("neither does its directory")
    );
    assert!(!format!("{report:?}").contains("pa55w0rd"));
    assert_eq!(report.findings[4].code, "schema.not_compared");
    assert_eq!(check(&App::plain().unwrap()).status, CheckStatus::Skipped);
}

#[test]
fn models_that_do_not_load_say_where_and_hide_secrets() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file(
            "models.py",
            "import os\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\n\
             raise RuntimeError('\\x1b[31mno\\x1b[0m ' + os.environ['KEY'] + 'x' * 100000)\n",
        )
        .file(".env", "KEY=s3cr3t-of-the-house\n")
        .var(
            "KEY",
            crate::manifest::Var {
                secret: true,
                ..Default::default()
            },
        )
        .schema("sqlite:///app.db", "models:Base")
        .schema("sqlite:///app.db", "models:Nothing");
    let mut app = app;
    app.manifest.config.files = vec![".env".into()];
    let report = check(&app);
    let finding = &report.findings[0];
    assert_eq!(finding.code, "schema.models_unloadable");
    assert_eq!(
        finding.location.as_ref().unwrap().to_string(),
        "models.py:4"
    );
    let cause = finding.cause.as_ref().unwrap();
    assert!(cause.text().starts_with("RuntimeError: no [redacted]xxx"));
    assert!(finding.message.len() <= 1024 && finding.detail.len() <= 16 << 10);
    assert!(!format!("{report:?}").contains("s3cr3t-of-the-house"));
    assert!(!format!("{report:?}").contains('\u{1b}'));
}

#[test]
fn a_duplicate_is_one_signature_over_all_checks_and_its_edit_mends_it() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file("app/__init__.py", "")
        .file("app/base.py", "from sqlalchemy.orm import DeclarativeBase\n\nclass Base(DeclarativeBase):\n    def __init_subclass__(cls, **kw):\n        super().__init_subclass__(**kw)\n")
        .file("app/one.py", "from sqlalchemy import Column, Integer\nfrom .base import Base\n\nclass Metric(Base):\n    __tablename__ = \"metrics\"\n    id = Column(Integer, primary_key=True)\n\nclass Event(Base):\n    __tablename__ = \"events\"\n    id = Column(Integer, primary_key=True)\n")
        .file("app/two.py", "from sqlalchemy import Column, Integer\nfrom app.base import Base\n\nclass MetricAgain(Base):\n    __tablename__ = \"metrics\"\n    id = Column(Integer, primary_key=True)\n\nclass EventAgain(Base):\n    __tablename__ = \"events\"\n    id = Column(Integer, primary_key=True)\n")
        .file("app/models.py", "from .base import Base\nfrom . import one, two\n")
        .file("app/main.py", "from fastapi import FastAPI\nfrom app import models\napp = FastAPI()\n")
        .imports("app.models")
        .registration("app.main:app", &[])
        .schema("sqlite:///app.db", "app.models:Base");
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "schema.duplicate_table metrics",
            "schema.duplicate_table events"
        ]
    );
    let raised = &report.findings[0];
    assert_eq!(
        raised.location.as_ref().unwrap().to_string(),
        "app/two.py:4"
    );
    assert_eq!(
        raised.message,
        "table metrics is defined twice: class Metric, app/one.py:4, and again class MetricAgain, app/two.py:4"
    );
    let rehearsal = app.check(CheckName::Rehearsal);
    let registration = app.check(CheckName::Registration);
    assert_eq!(sign_finding(raised), sign_finding(&rehearsal.findings[0]));
    assert_eq!(
        sign_finding(raised),
        sign_finding(&registration.findings[0])
    );
    // The one that the source foretells has the text that it will have when it is raised.
    let reported = report.findings[1].clone();
    assert_eq!(reported.severity, Severity::Critical);
    apply(&app, raised);
    let report = check(&app);
    assert_eq!(problems(&report), ["schema.duplicate_table events"]);
    let now = &report.findings[0];
    assert_eq!(now.fix, fix_now(&app, &reported));
    assert_eq!(now.cause, reported.cause);
    let mut facts = reported.facts.clone();
    facts.insert("second".into(), now.facts["second"].clone());
    assert_eq!(now.facts, facts);
    apply(&app, &report.findings[0]);
    assert_eq!(
        problems(&check(&app)),
        [
            "schema.missing_table metrics",
            "schema.missing_table events"
        ]
    );
}

/// The fix of a finding, with digest and offset as they are after another edit.
fn fix_now(app: &App, finding: &Finding) -> Option<Remedy> {
    let Some(Remedy::InsertText { before, offset, .. }) = check(app).findings[0].fix else {
        panic!("there is no edit");
    };
    let (file, _, _, text) = insertion(finding);
    Some(Remedy::InsertText {
        file,
        before,
        offset,
        text,
    })
}

/// The insertion that a finding proposes.
fn insertion(finding: &Finding) -> (String, Digest, usize, String) {
    let Some(Remedy::InsertText {
        file,
        before,
        offset,
        text,
    }) = finding.fix.clone()
    else {
        panic!("there is no edit: {finding:#?}");
    };
    (file, before, usize::try_from(offset).unwrap(), text)
}

/// Makes the insertion that a finding proposes.
fn apply(app: &App, finding: &Finding) {
    let (file, before, at, text) = insertion(finding);
    let path = app.root().join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(Digest::of(&bytes), before);
    bytes.splice(at..at, text.bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_only_looks_like_a_duplicate_is_none() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let class = |base: &str, extra: &str| {
        format!(
            "class T{extra}({base}):\n    __tablename__ = 'same'\n    id = Column(Integer, primary_key=True)\n"
        )
    };
    let head = "from sqlalchemy import *\nfrom sqlalchemy.orm import declarative_base\n";
    let app = app
        .file("a.py", format!("{head}Base = declarative_base()\n{}", class("Base", "")))
        .file("b.py", format!("{head}Base = declarative_base()\n{}", class("Base", "")))
        .file(
            "c.py",
            format!(
                "{head}from typing import TYPE_CHECKING\nfrom a import Base\nif TYPE_CHECKING:\n    class X(Base):\n        __tablename__ = 'same'\n\
                 class Abstract(Base):\n    __abstract__ = True\n    __tablename__ = 'same'\n\
                 class Later(Base):\n    __tablename__ = 'same'\n    __table_args__ = {{'extend_existing': True}}\n    more = Column(Integer)\n\
                 T = Table('same', Base.metadata)\n"
            ),
        )
        .file("all.py", "import a, b, c\nfrom a import Base\n")
        .schema("sqlite:///app.db", "all:Base")
        .sqlite("app.db", "CREATE TABLE same (id INTEGER PRIMARY KEY, more INTEGER)");
    let report = check(&app);
    assert_eq!(report.findings, vec![]);
    // On the same base, but never imported together: a warning, and nothing to fix automatically.
    let app = app.file(
        "d.py",
        format!("{head}from a import Base\n{}", class("Base", "Two")),
    );
    let report = check(&app);
    let finding = only(&report, "schema.duplicate_table");
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.cause.is_none() && finding.fix.is_none());
}

#[test]
fn a_module_imported_by_two_names_is_no_second_definition() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file("pkg/__init__.py", "")
        .file("base.py", "from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n")
        .file("pkg/models.py", "from sqlalchemy import *\nfrom base import Base\nclass T(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n")
        .file("all.py", "import pkg.models\nimport models\nfrom base import Base\n")
        .schema("sqlite:///app.db", "all:Base");
    let mut app = app;
    app.manifest.python.path = vec![".".into(), "pkg".into()];
    let report = check(&app);
    let finding = only(&report, "schema.duplicate_table");
    assert!(
        finding.message.contains("by two names"),
        "{}",
        finding.message
    );
    assert!(finding.fix.is_none());
}

/// Every feature that the comparison knows, in the words of PostgreSQL.
const WIDE: &str = r#"
from sqlalchemy import *
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import declarative_base
import enum

class Mood(enum.Enum):
    sad = 1
    glad = 2

class Upper(TypeDecorator):
    impl = String(40)
    cache_ok = True

Base = declarative_base(metadata=MetaData(naming_convention={
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s"}))

class Team(Base):
    __tablename__ = "teams"
    id = Column(Integer, primary_key=True)
    name = Column(String(80), nullable=False, unique=True)
    code = Column(Upper, nullable=False, server_default="x y")
    __table_args__ = (CheckConstraint("length(name) > 2", name="long"),)

class Person(Base):
    __tablename__ = "People"
    Id = Column("Id", BigInteger, Identity(), primary_key=True)
    team_id = Column(ForeignKey("teams.id", ondelete="CASCADE"), index=True)
    mood = Column(Enum(Mood), nullable=False, server_default="sad")
    moods = Column(pg.ARRAY(Enum(Mood)))
    word = Column(Enum("a", "b", native_enum=False, length=9))
    born = Column(Date, server_default=text("CURRENT_DATE"))
    seen = Column(DateTime(timezone=True), server_default=func.now(), nullable=False)
    active = Column(Boolean, server_default=true(), nullable=False)
    price = Column(Numeric(10, 2), server_default="0")
    ratio = Column(Float)
    tags = Column(pg.ARRAY(String(20)), server_default="{}")
    extra = Column(pg.JSONB, server_default=text("'{}'::jsonb"))
    raw = Column(JSON)
    key = Column(pg.UUID(as_uuid=True), server_default=text("gen_random_uuid()"))
    blob = Column(LargeBinary)
    first = Column(String(30))
    last = Column(String(30))
    full = Column(Text, Computed("first || last", persisted=True))
    __table_args__ = (UniqueConstraint("first", "last"), Index("ix_lower", func.lower(first)),
        Index("ix_live", "seen", postgresql_where=text("active")))

class Sale(Base):
    __tablename__ = "sales"
    __table_args__ = {"schema": "shop"}
    id = Column(Integer, primary_key=True)
    person = Column(ForeignKey("People.Id"))

many = [Base, MetaData()]
"#;

#[test]
fn a_real_postgresql_server_is_compared_in_its_own_terms() {
    use crate::checks::testing::postgres::{PASSWORD, Server};
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("postgres", "CREATE DATABASE new");
    server.sql("postgres", "CREATE DATABASE old");
    for (database, packages) in [
        ("new", &venv::PACKAGES[..]),
        ("old", &venv::OLD_PACKAGES[..]),
    ] {
        let Some(python) = venv::python_with(packages) else {
            return;
        };
        // The statements come from the models, by a client that needs no driver.
        let app = App::with_interpreter(Some(python.clone())).file("models.py", WIDE);
        let code = "import sqlalchemy as sa, models, sys\n\
             e = sa.create_mock_engine('postgresql://', lambda s, *a, **k: print(str(s.compile(dialect=d)).strip() + ';'))\n\
             d = e.dialect\nprint('create schema shop;')\nmodels.Base.metadata.create_all(e, checkfirst=False)\n";
        let code = code.replace("sa.create_mock_engine('postgresql://',", "mock(");
        let code = format!(
            "from sqlalchemy.dialects import postgresql\nfrom sqlalchemy.engine.mock import MockConnection\n\
             mock = lambda executor: MockConnection(postgresql.dialect(paramstyle='named'), executor)\n{code}"
        );
        let done = std::process::Command::new(&python)
            .args(["-B", "-c", &code])
            .current_dir(app.root())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        server.sql(database, &String::from_utf8_lossy(&done.stdout));
        let app = app.schema(&server.url("postgresql+asyncpg", database), "models:many");
        let report = check(&app);
        assert_eq!(report.findings, vec![], "{packages:?}");
        assert_eq!(report.summary, "3 tables expected, 3 live");
    }
    let python = venv::python_with(&venv::PACKAGES).unwrap();
    let app = App::with_interpreter(Some(python))
        .file("models.py", WIDE)
        .schema(&server.url("postgresql", "new"), "models:Base");
    // One change after the other; each is reported, and nothing else.
    let changes = [
        (
            "ALTER TABLE teams DROP COLUMN name",
            &["schema.missing_column teams.name"][..],
        ),
        (
            "ALTER TABLE teams RENAME code TO code_old",
            &["schema.likely_rename teams.code"],
        ),
        (
            "ALTER TABLE \"People\" RENAME TO \"Peoples\"",
            &["schema.likely_rename People"],
        ),
        ("DROP TABLE shop.sales", &["schema.missing_table sales"]),
        (
            "ALTER TABLE \"People\" ALTER price TYPE numeric(12, 2)",
            &["schema.type_mismatch People.price"],
        ),
        (
            "ALTER TABLE \"People\" ALTER seen TYPE timestamp",
            &["schema.type_mismatch People.seen"],
        ),
        (
            "ALTER TABLE \"People\" ALTER raw TYPE jsonb",
            &["schema.type_mismatch People.raw"],
        ),
        (
            "ALTER TABLE \"People\" ALTER mood DROP DEFAULT",
            &["schema.default_mismatch People.mood"],
        ),
        (
            "ALTER TABLE \"People\" ALTER price SET DEFAULT 1",
            &["schema.default_mismatch People.price"],
        ),
        (
            "ALTER TABLE \"People\" ALTER last SET NOT NULL",
            &["schema.nullable_mismatch People.last"],
        ),
        (
            "DROP INDEX ix_lower",
            &["schema.missing_index People.ix_lower"],
        ),
        (
            "DROP INDEX \"ix_People_team_id\"",
            &["schema.missing_index People.ix_People_team_id"],
        ),
        (
            "ALTER TABLE \"People\" DROP CONSTRAINT \"uq_People_first\"",
            &["schema.missing_constraint People.first,last"],
        ),
        (
            "ALTER TABLE \"People\" DROP CONSTRAINT \"fk_People_team_id_teams\"",
            &["schema.missing_constraint People.team_id"],
        ),
        (
            "ALTER TABLE \"People\" DROP CONSTRAINT \"fk_People_team_id_teams\", ADD FOREIGN KEY (team_id) \
             REFERENCES teams (id) ON DELETE SET DEFAULT",
            &["schema.constraint_mismatch People.team_id"],
        ),
        (
            "ALTER TABLE teams DROP CONSTRAINT ck_teams_long",
            &["schema.missing_constraint teams.ck_teams_long"],
        ),
        (
            "CREATE INDEX more ON teams (code); CREATE TABLE other (id int)",
            &[],
        ),
    ];
    for (n, (change, reported)) in some_of(&changes, 6).into_iter().enumerate() {
        let database = format!("m{n}");
        server.sql(
            "postgres",
            &format!("CREATE DATABASE {database} TEMPLATE new"),
        );
        server.sql(&database, change);
        let mut app_url = app.manifest.schemas[0].clone();
        app_url.database = server.url("postgresql", &database);
        let report = App {
            manifest: crate::manifest::Manifest {
                schemas: vec![app_url],
                ..app.manifest.clone()
            },
            dir: tempfile::tempdir().unwrap(),
            process: app.process.clone(),
            overrides: app.overrides.clone(),
            earlier: crate::checks::Earlier::default(),
            state: None,
        }
        .file("models.py", WIDE);
        let report = check(&report);
        assert_eq!(problems(&report), *reported, "{change}");
        assert!(!format!("{report:?}").contains(PASSWORD));
    }
}
