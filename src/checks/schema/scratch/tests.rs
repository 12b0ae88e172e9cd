use crate::checks::testing::postgres::Server;
use crate::checks::testing::{App, only, problems};
use crate::domain::finding::{CheckName, CheckReport, Severity};
use crate::domain::remedy::Remedy;

const LEFT: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%'";

const SCHEMA: &str = "
CREATE EXTENSION IF NOT EXISTS citext;
DO $$ BEGIN CREATE TYPE mood AS ENUM ('good', 'bad'); EXCEPTION WHEN duplicate_object THEN null; END $$;
CREATE TABLE IF NOT EXISTS users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name citext NOT NULL UNIQUE, -- not; the end
    mood mood DEFAULT 'good',
    age int NOT NULL DEFAULT 7
);
INSERT INTO users (name) VALUES ('ann; bob');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NEW; END; $f$;
CREATE TRIGGER touched BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE orders (id serial PRIMARY KEY, user_id bigint REFERENCES users (id));
CREATE INDEX CONCURRENTLY orders_user ON orders (user_id);
CREATE SCHEMA shop;
SET search_path = shop;
CREATE TABLE items (id int PRIMARY KEY, note text);
ALTER TABLE items ADD COLUMN price numeric(10, 2);
";

fn check(server: &Server, database: &str, files: &[(&str, &str)], pattern: &str) -> CheckReport {
    let mut app = App::with_interpreter(None);
    for (name, text) in files {
        app = app.file(name, text);
    }
    let url = server.url("postgresql+asyncpg", database);
    let report = app
        .schema(&url, &format!("sql:{pattern}"))
        .check(CheckName::Schema);
    assert_eq!(
        server.sql("postgres", LEFT).trim(),
        "0",
        "a database was left behind"
    );
    let reported = format!("{report:?}");
    assert!(
        !reported.contains("p%40ss") && !reported.contains("p@ss"),
        "{reported}"
    );
    report
}

#[test]
fn sql_files_are_compared_with_a_real_server() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("postgres", "CREATE DATABASE same");
    server.sql("postgres", "CREATE DATABASE other");
    let made = SCHEMA.replace("CONCURRENTLY ", "");
    server.sql("same", &made);
    let files = [("schema.sql", SCHEMA)];
    let report = check(&server, "same", &files, "schema.sql");
    assert_eq!(problems(&report), Vec::<String>::new(), "{report:#?}");
    // The database itself is only read: the row that it has is the one of the script above.
    assert_eq!(server.sql("same", "SELECT count(*) FROM users").trim(), "1");
    server.sql(
        "other",
        "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE users \
         (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name citext NOT NULL UNIQUE, mood text DEFAULT 'good')",
    );
    let report = check(&server, "other", &files, "schema.sql");
    let mut found = problems(&report);
    found.sort();
    assert_eq!(
        found,
        [
            "schema.missing_column users.age",
            "schema.missing_table items",
            "schema.missing_table orders",
            "schema.type_mismatch users.mood",
        ],
        "{report:#?}"
    );
    let fix = |subject: &str| {
        let found = report.findings.iter().find(|f| f.subject == subject);
        found.and_then(|finding| finding.fix.clone())
    };
    let ddl = |subject: &str| match fix(subject) {
        Some(Remedy::RunStatements { statements, .. }) => Some(statements.join(";")),
        _ => None,
    };
    let orders = ddl("orders").unwrap();
    assert!(
        orders.contains("CREATE TABLE IF NOT EXISTS orders")
            && orders.contains("CREATE INDEX IF NOT EXISTS orders_user"),
        "{orders}"
    );
    let age = ddl("users.age").unwrap();
    assert!(age.contains("DEFAULT 7 NOT NULL"), "{age}");
    // Made by two statements, in a schema of its own: for a person.
    assert_eq!(ddl("items"), None);
    let Some(Remedy::ByHand { statements, .. }) = fix("items") else {
        panic!("{report:#?}")
    };
    let script = statements.unwrap();
    assert!(script.contains("price numeric(10, 2)"), "{script}");
}

#[test]
fn what_is_not_carried_out_is_said_with_its_place() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("postgres", "CREATE DATABASE app");
    let mark = std::env::temp_dir().join(format!("ubs-hostile-{}", std::process::id()));
    let mark = mark.display().to_string();
    let program = format!(
        "CREATE TABLE a (x int);\nDO $$ BEGIN EXECUTE $x$COPY (SELECT 1) TO PROGRAM 'touch {mark}'$x$; END $$;"
    );
    let export = format!("\n\nCREATE TABLE a AS SELECT lo_export(1, '{mark}')");
    for (sql, line) in [
        (program.as_str(), 2),
        (export.as_str(), 3),
        ("\\connect app\nDROP TABLE x;", 1),
        (
            "CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN 1; END $$;\n\
             CREATE TABLE a (x int);\nCREATE INDEX i ON a (f(1), x)",
            3,
        ),
        ("SELECT 'open", 1),
    ] {
        let report = check(&server, "app", &[("s.sql", sql)], "*.sql");
        let finding = only(&report, "schema.not_compared");
        assert_eq!(finding.severity, Severity::Warning, "{sql}");
        let place = finding.location.as_ref().unwrap();
        assert_eq!(place.line, line, "{sql}: {finding:?}");
        assert!(finding.remedy.is_some());
    }
    assert!(!std::path::Path::new(&mark).exists());
    // What is skipped has no effect, on this or any database.
    let skipped = "DROP DATABASE app; ALTER ROLE ann NOSUPERUSER; CREATE ROLE x; INSERT INTO none VALUES (1); \
                   COPY none TO PROGRAM 'id';";
    let report = check(&server, "app", &[("s.sql", skipped)], "*.sql");
    assert_eq!(problems(&report), Vec::<String>::new(), "{report:#?}");
    let state =
        "SELECT count(*) FROM pg_roles WHERE rolname = 'x' OR (rolname = 'ann' AND NOT rolsuper)";
    assert_eq!(server.sql("app", state).trim(), "0");
    // A mistake of the files is theirs.
    let wrong = "CREATE TABLE a (x int);\n\nCREATE TABLE b (y nosuchtype);";
    let report = check(&server, "app", &[("s.sql", wrong)], "*.sql");
    let finding = only(&report, "schema.models_unloadable");
    let place = finding.location.as_ref().unwrap();
    assert_eq!(place.line, 3, "{finding:?}");
    assert!(finding.message.contains("nosuchtype"), "{finding:?}");
}

#[test]
fn a_user_without_the_right_is_reported_so() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("postgres", "CREATE DATABASE app");
    server.sql("postgres", "ALTER ROLE ann NOSUPERUSER NOCREATEDB");
    let files = [("s.sql", "CREATE TABLE a (x int);")];
    let report = check(&server, "app", &files, "*.sql");
    let finding = only(&report, "schema.not_compared");
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding.message.contains("ann may not create databases"),
        "{finding:?}"
    );
    let lets = "`ALTER ROLE \"ann\" CREATEDB` lets it";
    assert!(finding.message.contains(lets), "{finding:?}");
    assert_eq!(report.findings.len(), 1, "{report:#?}");
}

#[test]
fn a_server_that_is_not_there_is_reported_once() {
    let app = App::with_interpreter(None).file("s.sql", "CREATE TABLE a (x int);");
    let report = app
        .schema("postgresql://ann:s3cr3t@127.0.0.1:1/x", "sql:*.sql")
        .check(CheckName::Schema);
    assert_eq!(problems(&report), ["schema.unreachable db0"], "{report:#?}");
}
