//! What a real PostgreSQL database has beside plain tables in one schema, and ways to get to it.

use crate::checks::testing::postgres::{PASSWORD, Server};
use crate::checks::testing::{App, problems, venv};
use crate::database::handle::Live;
use crate::domain::finding::CheckName;

const MODELS: &str = r#"
from sqlalchemy import *
from sqlalchemy.orm import declarative_base

Base = declarative_base()
Audit = declarative_base(metadata=MetaData(schema="Audit"))
Sales = declarative_base()
every = [Base, Audit]

class Account(Base):
    __tablename__ = "Accounts"
    Id = Column("Id", Integer, primary_key=True)
    Mail = Column("e Mail", String(60), nullable=False, server_default="none")
    level = Column(Integer)
    Kind = Column("Kind", Enum("On", "off", name="Kind Of"))
    __table_args__ = (CheckConstraint('"e Mail" <> \'\'', name="Has Mail"), Index("Ix Mail", func.lower(Mail)))

class Event(Base):
    __tablename__ = "events"
    id = Column(Integer, primary_key=True, autoincrement=False)
    at = Column(DateTime, primary_key=True)
    note = Column(Text, index=True)
    __table_args__ = (CheckConstraint("note <> 'x'", name="ck_note"), {"postgresql_partition_by": "RANGE (at)"})

class Part(Base):
    __tablename__ = "events_2025"
    id = Column(Integer, primary_key=True, autoincrement=False)
    at = Column(DateTime, primary_key=True)
    note = Column(Text)

class Seen(Base):
    __tablename__ = "seen"
    id = Column(Integer, primary_key=True)
    event = Column(Integer)
    at = Column(DateTime)
    __table_args__ = (ForeignKeyConstraint(["event", "at"], ["events.id", "events.at"]),)

totals = Table("totals", Base.metadata, Column("day", Date, primary_key=True), Column("n", Integer, nullable=False))
recent = Table("recent", Base.metadata, Column("id", Integer, primary_key=True), Column("note", String(5)))

class Entry(Audit):
    __tablename__ = "Accounts"
    id = Column(BigInteger, Identity(), primary_key=True)
    what = Column(Text, nullable=False)
    by = Column(ForeignKey(Account.Id))

class Order(Sales):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)
    price = Column(Numeric(10, 2), CheckConstraint("price > 0", name="ck_price"))
"#;

const DATABASE: &str = r#"
CREATE DOMAIN mail AS varchar(60) NOT NULL DEFAULT 'none' CHECK (VALUE <> 'a');
CREATE DOMAIN level AS int;
CREATE TYPE "Kind Of" AS ENUM ('On', 'off');
CREATE TABLE "Accounts" ("Id" serial PRIMARY KEY, "e Mail" mail, level level, "Kind" "Kind Of",
    CONSTRAINT "Has Mail" CHECK ("e Mail"::text <> ''));
CREATE INDEX "Ix Mail" ON "Accounts" (lower("e Mail"));
CREATE TABLE events (id int, at timestamp, note text CONSTRAINT ck_note CHECK (note::text != 'x'), PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE event_rest PARTITION OF events DEFAULT;
CREATE INDEX ix_events_note ON events (note);
CREATE TABLE seen (id serial PRIMARY KEY, event int, at timestamp, FOREIGN KEY (event, at) REFERENCES events);
CREATE MATERIALIZED VIEW totals AS SELECT at::date AS day, count(*) AS n FROM events GROUP BY 1;
CREATE UNIQUE INDEX ON totals (day);
CREATE VIEW recent AS SELECT id, note FROM events;
CREATE SCHEMA "Audit";
CREATE TABLE "Audit"."Accounts" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text NOT NULL,
    by int REFERENCES "Accounts");
CREATE SCHEMA "Sales Of";
CREATE TABLE "Sales Of".orders (id serial PRIMARY KEY, price numeric(10, 2) CONSTRAINT ck_price CHECK (price > 0.0));
CREATE TABLE public.orders (id text, other int);
CREATE ROLE bob LOGIN PASSWORD 'b:o/b?@ %41';
GRANT USAGE ON SCHEMA "Sales Of", "Audit" TO bob;
"#;

#[test]
fn domains_partitions_views_cases_and_schemas_are_no_drift() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("postgres", "CREATE DATABASE \"my app\"");
    server.sql("my app", DATABASE);
    let url = server.url("postgresql+psycopg2", "my%20app");
    let in_sales = format!("{url}?options=-c%20search_path%3D%22Sales%5C%20Of%22,public");
    // May connect and look at the catalog, and read no row.
    let bob = format!(
        "postgresql+asyncpg://bob:b%3Ao%2Fb%3F%40%20%2541@127.0.0.1:{}/my%20app",
        server.port
    );
    let socket = format!(
        "postgresql://ann@/my%20app?host={}&port={}",
        server.socket().display(),
        server.port
    );
    for packages in [&venv::PACKAGES[..], &venv::OLD_PACKAGES[..]] {
        let Some(python) = venv::python_with(packages) else {
            return;
        };
        let app = App::with_interpreter(Some(python))
            .file("models.py", MODELS)
            .schema(&url, "models:every")
            .schema(&in_sales, "models:Sales")
            .schema(&bob, "models:every")
            .schema(&socket, "models:Base")
            .schema(&url, "models:Audit");
        let report = app.check(CheckName::Schema);
        let reported: Vec<_> = report
            .findings
            .iter()
            .map(|f| (f.code.as_str(), f.subject.as_str()))
            .collect();
        // That the socket leads to the database of the others, nobody knows.
        assert_eq!(
            reported,
            [
                ("schema.no_right", "db2:Accounts"),
                ("schema.no_right", "db2:events"),
                ("schema.no_right", "db2:events_2025"),
                ("schema.no_right", "db2:seen"),
                ("schema.extra_table", "db3:orders")
            ],
            "{packages:?}"
        );
        assert!(
            report.summary.starts_with("22 tables expected, 23 live"),
            "{}",
            report.summary
        );
    }
    // A real difference in each of those places.
    server.sql(
        "my app",
        "ALTER TABLE \"Accounts\" DROP CONSTRAINT \"Has Mail\", ADD CONSTRAINT \"Has Mail\" CHECK (\"e Mail\" <> 'b');
         ALTER DOMAIN mail DROP NOT NULL;
         DROP INDEX ix_events_note;
         ALTER TABLE \"Audit\".\"Accounts\" ALTER what TYPE varchar(9);
         ALTER TABLE \"Sales Of\".orders DROP CONSTRAINT ck_price, ADD CONSTRAINT ck_price CHECK (price > 1)",
    );
    let Some(app) = App::with_packages() else {
        return;
    };
    let report = app
        .file("models.py", MODELS)
        .schema(&bob, "models:every")
        .schema(&in_sales, "models:Sales")
        .check(CheckName::Schema);
    assert_eq!(
        problems(&report),
        [
            "schema.constraint_mismatch Accounts.Has Mail",
            "schema.missing_index events.ix_events_note",
            "schema.type_mismatch Accounts.what",
            "schema.no_right Accounts",
            "schema.no_right events",
            "schema.no_right events_2025",
            "schema.no_right seen",
            "schema.constraint_mismatch db1:orders.ck_price",
        ]
    );
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.code == "schema.nullable_mismatch"),
        "{report:?}"
    );
    assert!(!format!("{report:?}").contains("b:o/b"));
    // Some tables may be written, one may be read only.
    server.sql(
        "my app",
        "GRANT SELECT, INSERT ON \"Accounts\" TO bob; GRANT SELECT ON seen TO bob",
    );
    let Some(app) = App::with_packages() else {
        return;
    };
    let report = app
        .file("models.py", MODELS)
        .schema(&bob, "models:every")
        .check(CheckName::Schema);
    let no_right: Vec<(&str, bool)> = report
        .findings
        .iter()
        .filter(|f| f.code == "schema.no_right")
        .map(|f| (f.subject.as_str(), f.message.contains("write no row")))
        .collect();
    assert_eq!(
        no_right,
        [("events", false), ("events_2025", false), ("seen", true)]
    );
}

#[test]
fn what_another_section_expects_in_the_same_database_is_not_renamed_to() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file(
            "models.py",
            "from sqlalchemy import *\none, two = MetaData(), MetaData()\n\
             Table('orders', one, Column('id', Integer, primary_key=True), Column('n', Integer))\n\
             Table('orders_old', two, Column('id', Integer, primary_key=True), Column('n', Integer))\n",
        )
        .sqlite(
            "app.db",
            "CREATE TABLE orders_old (id INTEGER PRIMARY KEY, n INTEGER)",
        );
    let alone = app.schema("sqlite:///app.db", "models:one");
    let reported = problems(&alone.check(CheckName::Schema));
    assert_eq!(reported, ["schema.likely_rename orders"]);
    let both = alone.schema("sqlite:///./app.db", "models:two");
    let reported = problems(&both.check(CheckName::Schema));
    assert_eq!(reported, ["schema.missing_table orders"]);
}

#[test]
fn passwords_reach_the_server_in_every_form_that_sqlalchemy_takes() {
    let Some(server) = Server::start() else {
        return;
    };
    let at = format!("127.0.0.1:{}", server.port);
    let socket = server.socket().display().to_string().replace('/', "%2F");
    let port = server.port;
    for url in [
        server.url("postgresql+psycopg", "postgres"),
        format!("postgresql://ann:p@ss%2Fw%25rd@{at}/postgres"),
        format!("postgresql://ann:p%40ss/w%25rd@{at}/postgres"),
        format!("postgres://{at}/postgres?user=ann&password=p%40ss%2Fw%25rd"),
        format!("postgresql://ann:p%40ss%2Fw%25rd@/postgres?host={at}"),
        format!("postgresql://ann:p%40ss%2Fw%25rd@{socket}:{port}/postgres"),
        format!("postgresql://ann@/postgres?host={socket}&port={port}"),
        format!("postgresql+pg8000://ann@/postgres?unix_sock={socket}%2F.s.PGSQL.{port}"),
        format!("postgresql://ann:p%40ss%2Fw%25rd@[::ffff:127.0.0.1]:{port}/postgres"),
    ] {
        match Live::postgres(&url) {
            Ok(live) => assert_eq!(live.read_table("none", &["n"], 1).unwrap(), None, "{url}"),
            Err(why) => panic!("{url}: {why}"),
        }
    }
    let wrong = format!("postgresql://ann:p+ss@{at}/postgres");
    let Err(why) = Live::postgres(&wrong) else {
        panic!("connected");
    };
    assert!(why.to_string().contains("refuses the user"), "{why}");
    assert!(!why.to_string().contains(PASSWORD));
}

#[test]
fn what_is_asked_of_the_server_is_not_run() {
    let Some(server) = Server::start() else {
        return;
    };
    let Some(app) = App::with_packages() else {
        return;
    };
    server.sql(
        "postgres",
        "CREATE TABLE victim (id int); CREATE SEQUENCE counter;
         CREATE FUNCTION leave_a_trace() RETURNS bool LANGUAGE sql AS 'SELECT nextval(''counter'') > 0';
         CREATE TABLE t (id serial PRIMARY KEY, n int CONSTRAINT one CHECK (n > 1) CONSTRAINT two CHECK (n > 2)
             CONSTRAINT three CHECK (n > 3) CONSTRAINT four CHECK (n > 4) CONSTRAINT five CHECK (n > 5)
             CONSTRAINT six CHECK (n > 6));
         CREATE INDEX more ON t (abs(n))",
    );
    let app = app
        .file(
            "models.py",
            "from sqlalchemy import *\nmetadata = MetaData()\n\
             Table('t', metadata, Column('id', Integer, primary_key=True), Column('n', Integer),\n\
             CheckConstraint('1 = 1); COMMIT; DROP TABLE victim; SELECT (1', name='one'),\n\
             CheckConstraint('nextval(\\'counter\\') > 0', name='two'),\n\
             CheckConstraint('leave_a_trace()', name='three'),\n\
             CheckConstraint('(SELECT pg_sleep(30)) IS NULL', name='four'),\n\
             CheckConstraint('n > /* 5', name='five'), CheckConstraint('n > 7', name='six'), Index('more', text('(n + 1)')))\n",
        )
        .schema(&server.url("postgresql", "postgres"), "models:metadata");
    let begin = std::time::Instant::now();
    let report = app.check(CheckName::Schema);
    assert!(begin.elapsed() < std::time::Duration::from_secs(30));
    let reported: Vec<_> = report
        .findings
        .iter()
        .map(|f| format!("{:?} {}", f.severity, f.subject))
        .collect();
    // A text that cannot be parsed does not end the questions.
    assert_eq!(
        reported,
        [
            "Warning t.more",
            "Warning t.four",
            "Warning t.three",
            "Warning t.two",
            "Warning t.six",
            "Info t.five",
            "Info victim"
        ]
    );
    let left = "SELECT count(*), (SELECT is_called FROM counter) FROM victim";
    assert_eq!(server.sql("postgres", left).trim(), "0|f");
}
