//! What a name does not tell, on SQLite: the same in other words is no finding, a true difference is one.

use std::process::Command;

use super::details::{about, check};
use crate::checks::testing::{App, venv};
use crate::domain::finding::Finding;
use crate::domain::remedy::Remedy;

const ON_SQLITE: &str = r#"
from sqlalchemy import *
from sqlalchemy.orm import declarative_base

Base = declarative_base()

class Team(Base):
    __tablename__ = "teams"
    id = Column(Integer, primary_key=True)
    boss = Column(ForeignKey("teams.id", deferrable=True, initially="DEFERRED"))

class Item(Base):
    __tablename__ = "items"
    id = Column(Integer, primary_key=True)
    name = Column(String(30, collation="NOCASE"))
    kind = Column(String(9))
    qty = Column(Integer)
    full = Column(Text, Computed("name || ' ' || kind", persisted=True))
    __table_args__ = (
        CheckConstraint(kind.in_(["a", "b"]), name="ck_kind"),
        CheckConstraint("qty >= 0 AND qty < 100", name="ck_qty"),
        CheckConstraint("kind IS NULL OR length(kind) > 2"),
        Index("ix_lower", func.lower(name), unique=True),
        Index("ix_live", qty, sqlite_where=and_(kind != "x", qty > 5)),
        Index("ix_fold", collate(kind, "NOCASE")),
        Index("ix_desc", qty.desc(), text("kind DESC")),
    )
"#;

const ON_SQLITE_BY_HAND: &str = r#"
CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, boss INT REFERENCES teams (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE Items (
    [id] integer primary key not null, "Name" text collate nocase, `kind` TEXT constraint CK_KIND check (`kind` in ('a','b')), -- CHECK (qty < 0)
    QTY INT CONSTRAINT ck_qty CHECK (qty < 100 and ((QTY) >= 0)),
    full TEXT AS (((name || ' ') || "kind")) STORED,
    CHECK ((kind isnull) or length ( kind ) > (2)));
CREATE UNIQUE INDEX other_name ON items (LOWER("name"));
CREATE INDEX ix_live ON items (qty ASC) WHERE (items.qty > 5) AND "kind" <> 'x';
CREATE INDEX ix_fold ON items (kind COLLATE "nocase");
CREATE INDEX ix_desc ON items (qty, kind);
"#;

#[test]
fn sqlite_tells_what_is_the_same_and_what_is_not() {
    let change = |from: &'static str, to: &'static str, reported: &'static [&'static str]| {
        (from, to, reported)
    };
    let changes = [
        change(
            "(2)",
            "(3)",
            &["Warning schema.missing_constraint items.kind"],
        ),
        change(
            "< 100",
            "<= 100",
            &["Warning schema.constraint_mismatch items.ck_qty"],
        ),
        change(
            "('a','b')",
            "('a','c')",
            &["Warning schema.constraint_mismatch items.ck_kind"],
        ),
        change("constraint CK_KIND", "constraint other", &[]),
        change("constraint CK_KIND", "", &[]),
        change(
            "check (`kind` in ('a','b'))",
            "UNIQUE",
            &[
                "Warning schema.missing_constraint items.ck_kind",
                "Info schema.extra_constraint items.kind",
            ],
        ),
        change(
            "full TEXT AS (((name || ' ') || \"kind\")) STORED",
            "full TEXT",
            &["Warning schema.generated_mismatch items.full"],
        ),
        change(
            "(name || ' ')",
            "(kind || ' ')",
            &["Warning schema.generated_mismatch items.full"],
        ),
        change(
            "QTY INT",
            "QTY INT AS (1)",
            &["Warning schema.generated_mismatch items.qty"],
        ),
        change(
            "collate nocase",
            "",
            &["Warning schema.collation_mismatch items.name"],
        ),
        change(
            "collate nocase",
            "collate rtrim",
            &["Warning schema.collation_mismatch items.name"],
        ),
        change(
            "QTY INT",
            "QTY INT COLLATE nocase",
            &["Info schema.collation_mismatch items.qty"],
        ),
        change(
            "DEFERRABLE INITIALLY DEFERRED",
            "DEFERRABLE",
            &["Warning schema.constraint_mismatch teams.boss"],
        ),
        change(
            "teams (id) DEFERRABLE",
            "teams (id) ON DELETE CASCADE DEFERRABLE",
            &["Warning schema.constraint_mismatch teams.boss"],
        ),
        change(
            "teams (id) DEFERRABLE",
            "teams (id) ON UPDATE NO ACTION DEFERRABLE",
            &[],
        ),
        change(
            "[id] integer",
            "[id] bigint",
            &["Warning schema.generated_mismatch items.id"],
        ),
        change(
            "other_name ON items (LOWER",
            "ix_lower ON items (upper",
            &["Warning schema.index_mismatch items.ix_lower"],
        ),
        change(
            "UNIQUE INDEX other_name",
            "INDEX ix_lower",
            &["Warning schema.index_mismatch items.ix_lower"],
        ),
        change(
            "items.qty > 5",
            "items.qty > 6",
            &["Warning schema.index_mismatch items.ix_live"],
        ),
        change(
            "WHERE (items.qty > 5) AND \"kind\" <> 'x'",
            "",
            &["Warning schema.index_mismatch items.ix_live"],
        ),
        change(
            "kind COLLATE \"nocase\"",
            "kind",
            &["Warning schema.index_mismatch items.ix_fold"],
        ),
        change(
            "ix_fold ON items (kind COLLATE",
            "other ON items (kind COLLATE",
            &[],
        ),
    ];
    for packages in [&venv::PACKAGES[..], &venv::OLD_PACKAGES[..]] {
        let Some(python) = venv::python_with(packages) else {
            return;
        };
        let mut app = App::with_interpreter(Some(python.clone())).file("models.py", ON_SQLITE);
        let code = "import sqlalchemy, models; models.Base.metadata.create_all(sqlalchemy.create_engine('sqlite:///own.db'))";
        let mut command = Command::new(&python);
        let done = command
            .args(["-B", "-c", code])
            .current_dir(app.root())
            .status();
        assert!(done.unwrap().success());
        app = app
            .schema("sqlite:///own.db", "models:Base")
            .sqlite("hand.db", ON_SQLITE_BY_HAND)
            .schema("sqlite:///hand.db", "models:Base");
        for (at, (from, to, _)) in changes.iter().enumerate() {
            assert_eq!(ON_SQLITE_BY_HAND.matches(from).count(), 1, "{from}");
            let file = format!("{at}.db");
            app = app
                .sqlite(&file, &ON_SQLITE_BY_HAND.replace(from, to))
                .schema(&format!("sqlite:///{file}"), "models:Base");
        }
        let report = check(&app);
        let unprefixed = report
            .findings
            .iter()
            .filter(|f| !f.subject.starts_with("db"));
        assert_eq!(unprefixed.collect::<Vec<_>>(), Vec::<&Finding>::new());
        let none: &[&str] = &[];
        let mut wrong = vec![("the same in other words", about(&report, 1), none)];
        for (at, (_, to, reported)) in changes.iter().enumerate() {
            wrong.push((to, about(&report, at + 2), reported));
        }
        wrong.retain(|(_, found, reported)| found != reported);
        assert_eq!(wrong, vec![], "{packages:?}");
        let reported = "foreign key (boss) of table teams differs (it is there with ON DELETE CASCADE ON UPDATE NO ACTION, \
                    and the code expects ON DELETE NO ACTION ON UPDATE NO ACTION) in ";
        let is_reported = |finding: &Finding| finding.message.starts_with(reported);
        assert_eq!(report.findings.iter().filter(|f| is_reported(f)).count(), 1);
    }
}

#[test]
fn what_the_database_does_not_understand_is_an_information() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let report = check(&app.file(
        "models.py",
        "from sqlalchemy import *\nmetadata = MetaData()\n\
         Table('t', metadata, Column('id', Integer, primary_key=True), Column('a', Text),\n\
         CheckConstraint('own_function(a)', name='named'), CheckConstraint('own_function(id)'),\n\
         Index('ix', text('own_function(a)')))\n",
    )
    .schema("sqlite:///app.db", "models:metadata")
    .sqlite(
        "app.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT CONSTRAINT named CHECK (a > 'b')); CREATE INDEX ix ON t (lower(a))",
    ));
    let reported: Vec<_> = report
        .findings
        .iter()
        .map(|f| format!("{:?} {} {}", f.severity, f.code, f.subject))
        .collect();
    assert_eq!(reported, ["Info schema.constraint_mismatch t.named"]);
}

#[test]
fn a_check_of_a_column_is_added_with_it() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file(
            "models.py",
            "from sqlalchemy import *\nmetadata = MetaData()\n\
             Table('t', metadata, Column('id', Integer, primary_key=True),\n\
             Column('n', Integer, CheckConstraint('n > 5', name='ck_n')))\n",
        )
        .schema("sqlite:///app.db", "models:metadata")
        .sqlite("app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let report = check(&app);
    let Some(Remedy::RunStatements { statements, .. }) = &report.findings[0].fix else {
        panic!("{report:#?}")
    };
    assert_eq!(
        *statements,
        ["ALTER TABLE \"t\" ADD COLUMN n INTEGER CONSTRAINT ck_n CHECK (n > 5)"]
    );
    let app = app.sqlite("app.db", &statements.join(";"));
    assert_eq!(check(&app).findings, vec![]);
}

#[test]
fn sql_files_are_compared_in_the_same_way() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("schema.sql", ON_SQLITE_BY_HAND)
        .schema("sqlite:///same.db", "sql:schema.sql")
        .schema("sqlite:///same.db", "sql:schema.sql")
        .schema("sqlite:///other.db", "sql:schema.sql");
    let same = ON_SQLITE_BY_HAND
        .replace("QTY INT", "\"qty\" INTEGER")
        .replace("collate nocase", "COLLATE 'NOCASE'")
        .replace(
            "full TEXT AS (((name",
            "full TEXT GENERATED ALWAYS AS (((NAME",
        );
    let app = app.sqlite("same.db", &same).sqlite(
        "other.db",
        &same
            .replace("< 100", "< 1000")
            .replace("|| \"kind\"", "|| qty")
            .replace("(2)", "(4)")
            .replace("items.qty > 5", "items.qty > 50"),
    );
    let report = check(&app);
    assert_eq!(about(&report, 1), Vec::<String>::new());
    assert_eq!(
        about(&report, 2),
        [
            "Warning schema.generated_mismatch Items.full",
            "Warning schema.index_mismatch Items.ix_live",
            "Warning schema.constraint_mismatch Items.ck_qty",
            "Warning schema.missing_constraint Items.check",
        ]
    );
}
