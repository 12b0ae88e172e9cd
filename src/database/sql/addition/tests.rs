use super::*;

#[test]
fn additions_pass_and_do_nothing_twice() {
    for (sql, expected) in [
        (
            "\nCREATE TABLE users (\n\tid SERIAL NOT NULL, \n\tname VARCHAR(80) DEFAULT lower('X'), PRIMARY KEY (id)\n)\n\n",
            "CREATE TABLE IF NOT EXISTS users (\n\tid SERIAL NOT NULL, \n\tname VARCHAR(80) DEFAULT lower('X'), PRIMARY KEY (id)\n)",
        ),
        (
            "create table if not exists a.b (x int) PARTITION BY RANGE (x);",
            "create table if not exists a.b (x int) PARTITION BY RANGE (x)",
        ),
        (
            "CREATE INDEX ix ON t (a, lower(b)) WHERE c > 0",
            "CREATE INDEX IF NOT EXISTS ix ON t (a, lower(b)) WHERE c > 0",
        ),
        (
            "CREATE UNIQUE INDEX ix ON \"s\".\"t\" USING gin (a) INCLUDE (b) WITH (fillfactor = 50)",
            "CREATE UNIQUE INDEX IF NOT EXISTS ix ON \"s\".\"t\" USING gin (a) INCLUDE (b) WITH (fillfactor = 50)",
        ),
        (
            "ALTER TABLE \"t\" ADD COLUMN x character varying(20)",
            "ALTER TABLE \"t\" ADD COLUMN IF NOT EXISTS x character varying(20)",
        ),
        (
            "ALTER TABLE t ADD COLUMN x NUMERIC(10, 2) DEFAULT '0'::numeric NOT NULL",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS x NUMERIC(10, 2) DEFAULT '0'::numeric NOT NULL",
        ),
        (
            "ALTER TABLE t ADD COLUMN x INTEGER[] DEFAULT ARRAY[]::integer[] NOT NULL UNIQUE REFERENCES u (id) ON DELETE SET NULL",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS x INTEGER[] DEFAULT ARRAY[]::integer[] NOT NULL UNIQUE REFERENCES u (id) ON DELETE SET NULL",
        ),
        (
            "ALTER TABLE t ADD COLUMN x TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS x TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL",
        ),
        (
            "CREATE TYPE mood AS ENUM ('a', 'b;')",
            "CREATE TYPE mood AS ENUM ('a', 'b;')",
        ),
    ] {
        assert_eq!(postgres_addition(sql).as_deref(), Ok(expected), "{sql}");
    }
}

#[test]
fn the_type_that_is_created() {
    let name = |sql| created_type(sql);
    assert_eq!(
        name("CREATE TYPE a.\"B c\" AS ENUM ('x')"),
        Some("a.\"B c\"")
    );
    assert_eq!(name("CREATE TABLE a (x int)"), None);
}

#[test]
fn anything_else_is_left_to_a_person() {
    for sql in [
        "",
        "DROP TABLE t",
        "DELETE FROM t",
        "CREATE TABLE a (x int); DROP TABLE t",
        "CREATE TABLE a AS SELECT pg_read_file('/etc/passwd')",
        "CREATE TABLE a (x int) AS SELECT 1",
        "CREATE TABLE a (x int) TABLESPACE other",
        "CREATE TABLE a (x int) INHERITS (t)",
        "CREATE TABLE a PARTITION OF t FOR VALUES FROM (pg_sleep(1)) TO (2)",
        "CREATE TABLE a (x int",
        "CREATE TABLE a (x int))",
        "CREATE UNLOGGED TABLE a (x int)",
        "CREATE INDEX CONCURRENTLY ix ON t (a)",
        "CREATE INDEX ON t (a)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE t (INPUT = f, OUTPUT = g)",
        "CREATE EXTENSION dblink",
        "ALTER TABLE t ADD x int",
        "ALTER TABLE t ADD COLUMN x int, DROP COLUMN y",
        "ALTER TABLE t DROP COLUMN x",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t RENAME COLUMN x TO \"ADD\"",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (f(x))",
        "ALTER TABLE t ADD COLUMN x int DEFAULT random()",
        "ALTER TABLE t ADD COLUMN x int DEFAULT (SELECT 1)",
        "ALTER TABLE t ADD COLUMN x int DEFAULT 1 + f()",
        "ALTER TABLE t ADD COLUMN x int DEFAULT 'a' || 'b'",
        "ALTER TABLE t ADD COLUMN x timestamp DEFAULT now(f())",
        "ALTER TABLE t ADD COLUMN x varchar(f('a'))",
        "ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS (f(y)) STORED",
        "ALTER TABLE t ADD COLUMN x int CHECK (f(x))",
        "ALTER TABLE t ADD COLUMN x",
        "ALTER TABLE ONLY t ADD COLUMN x int",
        "ALTER TABLE t ADD COLUMN x text DEFAULT 'open",
    ] {
        assert!(postgres_addition(sql).is_err(), "{sql} passed");
    }
}

#[test]
fn constants_and_what_is_evaluated_once() {
    for text in [
        "0",
        "-1.5",
        "'a''b'",
        "NULL",
        "true",
        "'{}'::jsonb",
        "ARRAY[]::text[]",
        "CURRENT_TIMESTAMP",
        "now()",
        "('x'::character varying)::text",
        "CURRENT_TIMESTAMP(3)",
        "E'a\\n'",
        "'1'::timestamp(3) without time zone",
    ] {
        assert!(is_constant(text), "{text}");
    }
    for text in [
        "",
        "gen_random_uuid()",
        "nextval('s'::regclass)",
        "1; DROP TABLE t",
        "clock_timestamp()",
        "1 + 1",
        "'a",
        "(1",
        "user_now()",
        "now",
        "now(1)",
        "('true'::boolean AND f(1))",
        "'a'::f('x')",
        "('a')::x.y.z",
    ] {
        assert!(!is_constant(text), "{text}");
    }
}

#[test]
fn a_change_that_is_approved_is_one_of_few() {
    for known in [
        "ALTER TABLE \"public\".\"t\" ALTER COLUMN \"c\" DROP NOT NULL",
        "ALTER TABLE t ALTER COLUMN c TYPE numeric(10, 2) USING \"c\"::numeric(10, 2)",
        "ALTER TABLE t ALTER COLUMN c SET DEFAULT 'x'::text",
        "ALTER TYPE shop.mood ADD VALUE IF NOT EXISTS 'mid''dle' AFTER 'low'",
        "SELECT setval('shop.s', (SELECT max(\"id\") FROM shop.t))",
    ] {
        assert_eq!(postgres_change(known).as_deref(), Ok(known));
        assert!(postgres_addition(known).is_err(), "{known}");
    }
    let added = postgres_change("ALTER TABLE t ADD COLUMN c text DEFAULT '' NOT NULL");
    assert!(added.is_ok_and(|text| text.contains("IF NOT EXISTS")));
    for hostile in [
        "ALTER TABLE t DROP COLUMN c",
        "ALTER TABLE t ALTER COLUMN c DROP NOT NULL, DROP COLUMN d",
        "ALTER TABLE t ALTER COLUMN c TYPE int USING pg_sleep(1)",
        "ALTER TABLE t ALTER COLUMN c TYPE int USING c::int + 1",
        "ALTER TYPE mood RENAME VALUE 'a' TO 'b'",
        "SELECT setval('s', 1)",
        "SELECT setval('s', (SELECT max(id) FROM t)), pg_sleep(1)",
        "SELECT setval('s', (SELECT max(id) FROM t)); DROP TABLE t",
        "SELECT pg_sleep(1)",
    ] {
        assert!(postgres_change(hostile).is_err(), "{hostile}");
    }
}
