use super::*;

fn judged(sql: &str) -> Judged {
    let all = statements(sql).unwrap();
    assert_eq!(all.len(), 1, "{sql}");
    judge(sql, &all[0])
}

#[test]
fn declarations_run_as_they_are() {
    for sql in [
        "CREATE TABLE a (x int DEFAULT 1)",
        "create unlogged table if not exists s.a (x int)",
        "CREATE TABLE a PARTITION OF b FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)",
        "CREATE UNIQUE INDEX ix ON a (lower(x)) WHERE x > 0",
        "CREATE TYPE mood AS ENUM ('a')",
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE OR REPLACE VIEW v AS SELECT f(1)",
        "CREATE EXTENSION IF NOT EXISTS citext",
        "ALTER TABLE ONLY a ADD CONSTRAINT p PRIMARY KEY (x)",
        "ALTER TYPE mood ADD VALUE 'b'",
        "ALTER TABLE a ADD COLUMN owner text, ADD COLUMN trigger text",
        "DROP TABLE IF EXISTS a",
    ] {
        assert_eq!(judged(sql), Judged::Run(vec![sql.to_owned()]), "{sql}");
    }
    for (sql, runs) in [
        (
            "CREATE INDEX CONCURRENTLY ix ON a (x)",
            "CREATE INDEX              ix ON a (x)",
        ),
        (
            "CREATE MATERIALIZED VIEW m AS SELECT pg_sleep(9) WITH DATA",
            "CREATE MATERIALIZED VIEW m AS SELECT pg_sleep(9) WITH NO DATA",
        ),
        (
            "CREATE MATERIALIZED VIEW m AS SELECT pg_sleep(9)",
            "CREATE MATERIALIZED VIEW m AS SELECT pg_sleep(9) WITH NO DATA",
        ),
        (
            "SET LOCAL search_path TO app, \"B\"",
            "SET search_path = app, \"B\"",
        ),
        (
            "DO $$ BEGIN CREATE TYPE mood AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN null; END $$",
            "CREATE TYPE mood AS ENUM ('a')",
        ),
    ] {
        assert_eq!(judged(sql), Judged::Run(vec![runs.to_owned()]), "{sql}");
    }
}

#[test]
fn rows_rights_and_code_are_left_out() {
    for sql in [
        "INSERT INTO a SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "COPY a FROM PROGRAM 'id'",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SET statement_timeout = 0",
        "SET ROLE postgres",
        "ALTER ROLE postgres PASSWORD 'x'",
        "ALTER SYSTEM SET archive_command = 'id'",
        "ALTER DATABASE app RENAME TO b",
        "ALTER TABLE a OWNER TO bob",
        "ALTER TABLE a DISABLE TRIGGER ALL",
        "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
        "DROP DATABASE app",
        "DROP OWNED BY bob",
        "CREATE DATABASE x",
        "CREATE ROLE x SUPERUSER",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
        "CREATE USER MAPPING FOR bob SERVER s",
        "CREATE TEMP TABLE x AS SELECT pg_sleep(9)",
        "COMMIT",
        "GRANT ALL ON a TO PUBLIC",
        "WITH x AS (DELETE FROM a RETURNING 1) SELECT * FROM x",
    ] {
        assert_eq!(judged(sql), Judged::Skip, "{sql}");
    }
    for sql in [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$",
        "CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS ''",
        "CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f()",
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f()",
        "CREATE RULE r AS ON INSERT TO a DO INSTEAD (DELETE FROM b; DELETE FROM c)",
        "DROP FUNCTION f()",
    ] {
        assert_eq!(judged(sql), Judged::SkipCode, "{sql}");
    }
}

#[test]
fn what_runs_code_to_make_a_schema_is_refused() {
    for sql in [
        "CREATE TABLE a AS SELECT pg_read_file('x') AS x",
        "CREATE TABLE a (x) AS SELECT 1",
        "SELECT 1 AS x INTO a",
        "CREATE TABLE a PARTITION OF b FOR VALUES FROM (pg_sleep(9)) TO (2)",
        "ALTER TABLE b ATTACH PARTITION a FOR VALUES IN (f('x'))",
        "CREATE TYPE t (INPUT = f, OUTPUT = g)",
        "DO $$ BEGIN EXECUTE 'DROP DATABASE app'; END $$",
        "DO $$ BEGIN IF true THEN CREATE TABLE a (x int); END IF; END $$",
        "DO LANGUAGE plpgsql 'BEGIN PERFORM 1; END'",
        "DO $$ DECLARE x int; BEGIN CREATE TABLE a (x int); END $$",
        "CALL p()",
        "ALTER TABLE a OWNER TO bob, ADD COLUMN x int",
        "\\connect app",
        "COPY a FROM stdin",
        "FROBNICATE a",
    ] {
        assert!(
            matches!(judged(sql), Judged::Refuse(_)),
            "{sql}: {:?}",
            judged(sql)
        );
    }
}

#[test]
fn the_table_of_a_statement() {
    let place =
        |sql| place_of(sql).map(|(schema, name)| format!("{}.{name}", schema.unwrap_or_default()));
    assert_eq!(
        place("CREATE TABLE IF NOT EXISTS A (x int)").as_deref(),
        Some(".a")
    );
    assert_eq!(
        place("ALTER TABLE ONLY \"S\".\"T\"\"\" ADD x int").as_deref(),
        Some("S.T\"")
    );
    assert_eq!(place("CREATE INDEX i ON a (x)"), None);
}
