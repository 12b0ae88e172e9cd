//! With a real server: the proof on a clone and the promotion.

mod meanwhile;

use super::*;
use crate::checks::testing::postgres::Server;
use crate::database::postgres::dump::copy_into;
use crate::database::postgres::own_database::{OwnDatabase, Template};
use crate::database::postgres::own_role::OwnRole;
use crate::fix::postgres::relay::RecordedStatement;
use crate::fix::postgres::transaction::read_in_transaction;
use std::sync::Arc;

fn migration_tables() -> MigrationTables {
    MigrationTables {
        versions: vec!["alembic_version".to_owned()],
        growing: vec!["done".to_owned()],
    }
}

/// The database of `bob`, who may make roles, after a script of his; its URL.
fn database(script: &str) -> Option<(Server, String)> {
    let server = Server::start()?;
    let url = server.database_of_bob(script).replace("+asyncpg", "");
    server.sql("postgres", "ALTER ROLE bob CREATEROLE");
    Some((server, url))
}

/// Migrations that are these statements.
fn tried(url: &str, statements: &[&str]) -> Result<(Proved, Vec<String>), PostgresError> {
    tried_on(url, statements, false)
}

/// `copied`: as where somebody is connected to the database.
fn tried_on(
    url: &str,
    statements: &[&str],
    copied: bool,
) -> Result<(Proved, Vec<String>), PostgresError> {
    let live = Arc::new(Session::connect(url).unwrap());
    let before = read_in_transaction(&live, Some(&migration_tables())).unwrap();
    let role = Arc::new(OwnRole::create(&live).unwrap());
    let template = if copied {
        Template::Empty
    } else {
        Template::Live
    };
    let first = OwnDatabase::create_owned(&live, template, &role).unwrap();
    if copied {
        copy_into(url, &first, &[]).unwrap();
    }
    let second = first.duplicate().unwrap();
    let session = first.connect().unwrap();
    for statement in statements {
        session.run(statement, ASK_MAX).unwrap();
    }
    let migrated = MigratedClone::read(&session, &migration_tables()).unwrap();
    let recorded = |sql: &&str| RecordedStatement {
        sql: (*sql).to_owned(),
        parameters: Vec::new(),
        is_last: true,
    };
    let recording = Recording {
        statements: statements.iter().map(recorded).collect(),
        ..Recording::default()
    };
    let clone = second.connect().unwrap();
    prove(
        &clone,
        &before,
        &migrated,
        recording,
        &migration_tables(),
        LIVE_MAX,
    )
}

const SHOP: &str = "CREATE SCHEMA shop; CREATE TABLE users (id serial PRIMARY KEY, name text, seen timestamptz DEFAULT '2024-01-01 00:00+00', spare text); \
    INSERT INTO users (name) VALUES ('ann'), ('bob'); \
    CREATE TABLE items (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE SET NULL); INSERT INTO items VALUES (1, 1), (2, NULL); \
    CREATE TABLE orders (user_id int REFERENCES users DEFERRABLE INITIALLY DEFERRED); \
    CREATE TABLE \"Größe x\" (\"a b\" int); INSERT INTO \"Größe x\" VALUES (1); \
    CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'; \
    CREATE FUNCTION g() RETURNS int RETURN 1; \
    CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int); \
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
    CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note(); \
    CREATE RULE r AS ON INSERT TO items WHERE new.id < 0 DO INSTEAD NOTHING; \
    CREATE DOMAIN age AS int DEFAULT 7 CHECK (VALUE > 0); \
    CREATE VIEW v WITH (security_barrier) AS SELECT name FROM users; GRANT SELECT ON v TO PUBLIC; \
    CREATE TABLE parent (x int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1); \
    CREATE TABLE parts (x int) PARTITION BY LIST (x); CREATE TABLE p1 PARTITION OF parts FOR VALUES IN (1); \
    CREATE TABLE p2 PARTITION OF parts FOR VALUES IN (2); INSERT INTO parts VALUES (1); \
    CREATE COLLATION c FROM \"C\"; CREATE STATISTICS st ON id, name FROM users; CREATE CAST (text AS age) WITH INOUT; \
    CREATE TEXT SEARCH CONFIGURATION ts (COPY = simple); CREATE SEQUENCE numbers; SELECT setval('numbers', 50); \
    CREATE TABLE hidden (x int); INSERT INTO hidden VALUES (1), (2); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; \
    ALTER TABLE hidden FORCE ROW LEVEL SECURITY; \
    CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('a1'); \
    CREATE TABLE done (id int); INSERT INTO done VALUES (1), (2)";

#[test]
fn a_loss_does_not_hide() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    // What the role may change and not read.
    server.sql(
        "app",
        "CREATE TABLE secret (x int); INSERT INTO secret VALUES (1); GRANT DELETE ON secret TO PUBLIC",
    );
    // Each of these, with others that are independent of it: a trial takes some time.
    let cases: [&[(&[&str], &str)]; 6] = [
        &[
            (
                &["CREATE OR REPLACE FUNCTION g() RETURNS int RETURN 2"],
                "function public.g() changes",
            ),
            (
                &["ALTER FUNCTION f(int) SECURITY DEFINER"],
                "function public.f(x integer) changes",
            ),
            (
                &[
                    "DROP AGGREGATE total(int)",
                    "CREATE AGGREGATE total(int) (sfunc = int4mi, stype = int)",
                ],
                "function public.total(integer) changes",
            ),
            (
                &["ALTER TABLE users DISABLE TRIGGER t"],
                "trigger public.users.t changes",
            ),
            (
                &["ALTER TABLE items DISABLE RULE r"],
                "rule public.items.r changes",
            ),
            (
                &["ALTER DOMAIN age DROP CONSTRAINT age_check"],
                "constraint public.age.age_check is gone",
            ),
            (
                &["ALTER DOMAIN age DROP DEFAULT"],
                "type public.age changes",
            ),
            (
                &["ALTER VIEW v RESET (security_barrier)"],
                "relation public.v changes",
            ),
        ],
        &[
            (
                &["ALTER TABLE child NO INHERIT parent"],
                "inheritance public.child is gone",
            ),
            (&["DROP COLLATION c"], "collation public.c is gone"),
            (
                &["DROP STATISTICS st"],
                "statistics_object public.st is gone",
            ),
            (
                &["DROP CAST (text AS age)"],
                "cast (pg_catalog.text AS public.age) is gone",
            ),
            (
                &["DROP TEXT SEARCH CONFIGURATION ts"],
                "text_search_configuration public.ts is gone",
            ),
            (
                &["SELECT setval('numbers', 7)"],
                "sequence public.numbers goes back from 50 to 7",
            ),
            (
                &["ALTER SEQUENCE users_id_seq RESTART"],
                "sequence public.users_id_seq goes back from 2 to its beginning",
            ),
        ],
        &[
            (
                &["DROP SEQUENCE numbers", "CREATE SEQUENCE numbers"],
                "sequence public.numbers goes back from 50 to its beginning",
            ),
            (
                &[
                    "ALTER TABLE users DROP COLUMN spare",
                    "ALTER TABLE users ADD COLUMN spare text",
                ],
                "column public.users.spare is dropped and made anew",
            ),
            (
                &["DELETE FROM secret"],
                "rows of table public.secret: 0 inserted, 0 updated, 1 deleted",
            ),
            (
                &[
                    "ALTER TABLE hidden NO FORCE ROW LEVEL SECURITY",
                    "DELETE FROM hidden WHERE x = 1",
                    "ALTER TABLE hidden FORCE ROW LEVEL SECURITY",
                ],
                "rows of table public.hidden: 0 inserted, 0 updated, 1 deleted",
            ),
            (
                &[
                    "DELETE FROM done WHERE id = 1",
                    "INSERT INTO done VALUES (3), (4)",
                ],
                "rows of table public.done: 2 inserted, 0 updated, 1 deleted",
            ),
            (
                &["UPDATE \"Größe x\" SET \"a b\" = 2"],
                "rows of table public.\"Größe x\" change",
            ),
            (
                &["ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"],
                "`ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC` takes rights away",
            ),
        ],
        &[
            (
                &["UPDATE parts SET x = 2"],
                "the number of rows of table public.p1 goes from 1 to 0",
            ),
            (
                &[
                    "TRUNCATE items",
                    "INSERT INTO items VALUES (1, 1), (2, NULL)",
                ],
                "table public.items is written anew",
            ),
            (
                &[
                    "DROP VIEW v",
                    "CREATE VIEW v WITH (security_barrier) AS SELECT name FROM users",
                ],
                "privilege public.v PUBLIC SELECT f is gone",
            ),
            (
                &["DO $$ BEGIN DELETE FROM child; END $$"],
                "the number of rows of table public.child goes from 1 to 0",
            ),
            (
                &[
                    "WITH gone AS (DELETE FROM alembic_version RETURNING 1) SELECT count(*) FROM gone",
                ],
                "the number of rows of table public.alembic_version goes from 1 to 0",
            ),
        ],
        &[
            (
                &[
                    "ALTER TABLE users RENAME name TO x",
                    "ALTER TABLE users RENAME spare TO name",
                    "ALTER TABLE users RENAME x TO spare",
                ],
                "column public.users.name is dropped and made anew",
            ),
            (&[], "rows of table public.users change"),
            (
                &[
                    "ALTER TABLE items DROP CONSTRAINT items_user_id_fkey",
                    "ALTER TABLE items ADD CONSTRAINT items_user_id_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE SET NULL NOT VALID",
                ],
                "constraint public.items.items_user_id_fkey changes",
            ),
        ],
        &[
            (
                &[
                    "CREATE TABLE users2 (LIKE users INCLUDING ALL)",
                    "INSERT INTO users2 SELECT * FROM users",
                    "ALTER TABLE users RENAME TO old",
                    "ALTER TABLE users2 RENAME TO users",
                ],
                "table public.users is written anew",
            ),
            (&[], "trigger public.users.t is gone"),
        ],
    ];
    for case in cases {
        let statements: Vec<&str> = case
            .iter()
            .flat_map(|(statements, _)| *statements)
            .copied()
            .collect();
        let (_, side_effects) = tried(&url, &statements).unwrap();
        for (statements, reason) in case {
            assert!(
                side_effects.iter().any(|told| told == reason),
                "{statements:?}: {side_effects:#?}"
            );
        }
    }
}

/// What is tried, what happens then, why it is not promoted.
const CHANGED_BETWEEN: [(&[&str], &str, &str); 8] = [
    (
        &["DO $$ BEGIN UPDATE users SET name = 'x' WHERE name = 'eve'; END $$"],
        "UPDATE users SET name = 'eve' WHERE id = 1",
        "rows of public.users: 0 inserted, 1 updated, 0 deleted and not none",
    ),
    (
        &["UPDATE users SET name = 'ann' WHERE id = 1"],
        "UPDATE users SET name = 'zoe' WHERE id = 1",
        "rows change that did not change there",
    ),
    (
        &["DELETE FROM users WHERE id = 2"],
        "UPDATE items SET user_id = 2 WHERE id = 2",
        "rows of public.items: 0 inserted, 1 updated, 0 deleted and not none",
    ),
    (
        &["SELECT setval('numbers', 60)"],
        "SELECT setval('numbers', 99)",
        "sequence public.numbers goes back from 99 to 60",
    ),
    (
        &[
            "SELECT name FROM users",
            "CREATE TABLE profiles (name text)",
            "INSERT INTO profiles VALUES ('ann'), ('bob')",
        ],
        "INSERT INTO users (name) VALUES ('eve')",
        "`SELECT name FROM users` gives other values",
    ),
    (
        &["WITH gone AS (DELETE FROM users WHERE id = 4 RETURNING 1) SELECT count(*) FROM gone"],
        "INSERT INTO users VALUES (4, 'eve')",
        "gives other values",
    ),
    (
        &["INSERT INTO users (name) VALUES ('eve') RETURNING id"],
        "SELECT nextval('users_id_seq')",
        "gives other values",
    ),
    (
        &["UPDATE users SET name = 'x'"],
        "UPDATE users SET name = 'zoe' WHERE id = 1",
        "is not what it was when the fix was tried",
    ),
];

#[test]
fn what_was_not_seen_in_the_trial_is_not_promoted() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    let all = "SELECT (SELECT string_agg(u::text, ' ' ORDER BY id) FROM users AS u), (SELECT string_agg(i::text, ' ' ORDER BY id) FROM items AS i), \
               (SELECT last_value FROM numbers), to_regclass('profiles')";
    for (statements, between, reason) in CHANGED_BETWEEN {
        let (proved, _) = tried(&url, statements).unwrap();
        server.sql("app", between);
        let before = server.sql("app", all);
        let error = promote(&url, &proved, &migration_tables())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{statements:?}: {error}");
        assert_eq!(server.sql("app", all), before, "{statements:?}");
        server.sql("app", "DELETE FROM users WHERE id > 2; UPDATE items SET user_id = NULL WHERE id = 2; UPDATE users SET name = 'ann' WHERE id = 1; \
            SELECT setval('numbers', 50); SELECT setval('users_id_seq', 2)");
    }
}

#[test]
fn what_somebody_writes_at_the_last_moment_is_not_lost() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    let (proved, side_effects) = tried(
        &url,
        &[
            "CREATE TABLE copy AS SELECT * FROM child",
            "DROP TABLE child",
            "ALTER TABLE copy RENAME TO child",
        ],
    )
    .unwrap();
    assert!(!side_effects.is_empty());
    std::thread::scope(|scope| {
        let writes = "BEGIN; INSERT INTO child VALUES (7); SELECT pg_sleep(1.5); COMMIT";
        let writer = scope.spawn(|| server.sql("app", writes));
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(1.5)%' AND wait_event = 'PgSleep'";
        while server.sql("postgres", asked).trim() != "1" {
            assert!(!writer.is_finished());
        }
        let promoted = promote(&url, &proved, &migration_tables());
        assert!(promoted.is_err(), "{promoted:?}");
    });
    assert_eq!(server.sql("app", "SELECT count(*) FROM child").trim(), "2");
}

#[test]
fn two_promotions_at_once_do_it_once() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    // Nothing but the migration tables would be in the way of doing it twice.
    let statements = [
        "INSERT INTO items SELECT 3, NULL WHERE random() > 2",
        "INSERT INTO done VALUES (3)",
        "INSERT INTO parent VALUES (7)",
        "SELECT pg_sleep(0.5)",
    ];
    let (proved, _) = tried(&url, &statements).unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| promote(&url, &proved, &migration_tables())))
            .collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    let rows = "SELECT (SELECT count(*) FROM ONLY parent), (SELECT count(*) FROM done)";
    assert_eq!(server.sql("app", rows).trim(), "1|3");
}

#[test]
fn what_happened_on_the_clone_alone_is_not_promoted() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    for (statements, reason) in [
        // As if it was not recorded in full.
        (
            &["INSERT INTO child SELECT 1 FROM generate_series(1, 1 + (random() * 1e6)::int)"][..],
            "public.child has",
        ),
        (
            &["INSERT INTO \"Größe x\" SELECT 1 WHERE current_user <> 'ubs_role_1'"],
            "the name of the trial's own role",
        ),
    ] {
        let error = tried(&url, statements).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    server.sql("app", "CREATE SEQUENCE down INCREMENT -1 START -5; SELECT nextval('down'), nextval('down'); ALTER SEQUENCE down OWNER TO bob");
    let (proved, side_effects) = tried(&url, &["SELECT setval('down', -7)"]).unwrap();
    assert_eq!(side_effects, Vec::<String>::new());
    server.sql("app", "SELECT setval('down', -9)");
    let error = promote(&url, &proved, &migration_tables())
        .unwrap_err()
        .to_string();
    assert!(error.contains("goes back from 9 to 7"), "{error}");
    assert_eq!(
        server.sql("app", "SELECT last_value FROM down").trim(),
        "-9"
    );
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_copy_shows_what_a_template_shows() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    server.sql(
        "app",
        "DROP TABLE hidden; SET ROLE bob; SELECT lo_from_bytea(7, 'x')",
    );
    let (_, side_effects) = tried_on(
        &url,
        &[
            "SELECT lo_unlink(7)",
            "SELECT setval('numbers', 7)",
            "UPDATE users SET name = 'x'",
        ],
        true,
    )
    .unwrap();
    for reason in [
        "rows of table pg_catalog.pg_largeobject_metadata: 0 inserted, 0 updated, 1 deleted",
        "sequence public.numbers goes back from 50 to 7",
        "rows of table public.users change",
    ] {
        assert!(
            side_effects.iter().any(|told| told == reason),
            "{side_effects:#?}"
        );
    }
    // Rights are not copied.
    for statements in [
        &["REVOKE SELECT ON v FROM PUBLIC"][..],
        &[
            "DROP VIEW v",
            "CREATE VIEW v WITH (security_barrier) AS SELECT name FROM users",
        ],
    ] {
        let (proved, side_effects) = tried_on(&url, statements, true).unwrap();
        assert_eq!(side_effects, Vec::<String>::new());
        let error = promote(&url, &proved, &migration_tables())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("privilege public.v PUBLIC SELECT f is gone"),
            "{error}"
        );
    }
    let (proved, side_effects) = tried_on(
        &url,
        &[
            "SELECT name FROM users",
            "ALTER TABLE parts ADD COLUMN y int",
            "INSERT INTO done VALUES (3)",
        ],
        true,
    )
    .unwrap();
    assert_eq!(side_effects, Vec::<String>::new());
    promote(&url, &proved, &migration_tables()).unwrap();
}

#[test]
fn what_is_deferred_is_checked_where_the_transactions_ended() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    // As Django's migrations do it. Without the end in between, the table has pending trigger events.
    let statements = [
        "INSERT INTO orders VALUES (1)",
        "ALTER TABLE orders ADD COLUMN x int",
        "UPDATE orders SET user_id = 2",
        "ALTER TABLE orders ADD COLUMN y int",
    ];
    let (proved, _) = tried(&url, &statements).unwrap();
    promote(&url, &proved, &migration_tables()).unwrap();
    assert_eq!(server.sql("app", "SELECT * FROM orders").trim(), "2||");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn settings_of_the_user_and_the_database_are_in_nobodys_way() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    server.sql(
        "postgres",
        "ALTER DATABASE app SET timezone = 'Asia/Tokyo'; ALTER ROLE bob SET datestyle = 'German'",
    );
    let (proved, _) = tried(
        &url,
        &[
            "UPDATE users SET name = upper(name)",
            "CREATE TABLE x (y timestamptz DEFAULT '2024-01-01 00:00+00')",
        ],
    )
    .unwrap();
    promote(&url, &proved, &migration_tables()).unwrap();
    // Once more after a crash: nothing happens.
    promote(&url, &proved, &migration_tables()).unwrap();
    // Rows that came meanwhile are written anew with the rest.
    let (proved, side_effects) =
        tried(&url, &["ALTER TABLE users ALTER spare TYPE varchar(9)"]).unwrap();
    assert!(
        side_effects.contains(&"table public.users is written anew".to_owned()),
        "{side_effects:?}"
    );
    server.sql("app", "INSERT INTO users (name) VALUES ('EVE')");
    promote(&url, &proved, &migration_tables()).unwrap();
    assert_eq!(
        server
            .sql("app", "SELECT string_agg(name, ' ' ORDER BY id) FROM users")
            .trim(),
        "ANN BOB EVE"
    );
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_addition_has_no_reasons_whatever_the_settings_of_the_connection() {
    let Some((_server, url)) = database(SHOP) else {
        return;
    };
    for statements in [
        &[
            "SET timezone TO 'Asia/Tokyo'",
            "ALTER TABLE users ADD COLUMN x int",
        ][..],
        &[
            "SET datestyle TO 'German'",
            "SET search_path TO shop",
            "SET bytea_output TO escape",
            "CREATE TABLE x (y int)",
        ],
        &[
            "ALTER TABLE users ADD COLUMN email text",
            "UPDATE users SET email = name",
        ],
        &[
            "SELECT setval('numbers', (SELECT max(id) + 100 FROM users))",
            "SELECT nextval('numbers')",
        ],
        &[
            "INSERT INTO done VALUES (3)",
            "UPDATE alembic_version SET version_num = 'b2'",
        ],
        &[
            "CREATE TABLE n (id int)",
            "INSERT INTO n SELECT id FROM users",
            "DELETE FROM n WHERE id = 1",
        ],
        &[
            "GRANT SELECT ON users TO PUBLIC",
            "CREATE FUNCTION h() RETURNS int RETURN 1",
        ],
    ] {
        let (_, side_effects) = tried(&url, statements).unwrap();
        assert_eq!(side_effects, Vec::<String>::new(), "{statements:?}");
    }
}

/// Everything that a migration may add, by somebody who has given others rights.
const ADDITIONS: &[&str] = &[
    "ALTER TABLE parts ADD COLUMN y int DEFAULT 5",
    "CREATE TABLE p3 PARTITION OF parts FOR VALUES IN (3)",
    "CREATE INDEX ON parts (x)",
    "ALTER TABLE parent ADD COLUMN z int",
    "CREATE EXTENSION citext",
    "CREATE EXTENSION \"uuid-ossp\" SCHEMA shop",
    "CREATE TABLE \"Ware \"\"ß\"\" 1\" (\"Nr.\" int GENERATED BY DEFAULT AS IDENTITY, name citext, id uuid DEFAULT shop.uuid_generate_v4(), at timestamptz DEFAULT now())",
    "INSERT INTO \"Ware \"\"ß\"\" 1\" (name) SELECT name FROM users",
    "COMMENT ON COLUMN \"Ware \"\"ß\"\" 1\".\"Nr.\" IS 'it''s'",
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "ALTER TABLE users ADD COLUMN mood mood DEFAULT 'good' NOT NULL",
    "ALTER TYPE mood ADD VALUE 'so-so' BEFORE 'bad'",
    "CREATE UNLOGGED TABLE fast (x int, y int GENERATED ALWAYS AS (x * 2) STORED)",
    "ALTER TABLE users ADD CONSTRAINT named CHECK (name <> '') NOT VALID",
    "ALTER TABLE users VALIDATE CONSTRAINT named",
    "CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM users",
    "CREATE VIEW vv AS SELECT * FROM v",
    "GRANT SELECT, INSERT ON fast TO reader WITH GRANT OPTION",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO reader",
    "CREATE TABLE shop.later (x int)",
    "SET search_path = shop, public",
    "CREATE TABLE there (x int REFERENCES public.users, y public.mood)",
];

#[test]
fn what_is_promoted_is_what_the_statements_would_have_made() {
    let Some((server, url)) = database(SHOP) else {
        return;
    };
    server.sql(
        "app",
        "CREATE ROLE reader; CREATE ROLE carol; CREATE TABLE audit (x int); ALTER TABLE audit OWNER TO carol; GRANT ALL ON audit TO PUBLIC; \
         CREATE EXTENSION pg_trgm; CREATE EXTENSION pageinspect; ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT SELECT ON TABLES TO carol; \
         ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT USAGE ON SEQUENCES TO carol; GRANT SELECT (name) ON users TO reader; SELECT lo_create(7)",
    );
    server.sql("postgres", "CREATE DATABASE truth TEMPLATE app OWNER bob");
    let statements = ADDITIONS;
    let (proved, side_effects) = tried(&url, statements).unwrap();
    assert_eq!(side_effects, Vec::<String>::new());
    promote(&url, &proved, &migration_tables()).unwrap();
    let truth = Session::connect(&url.replace("/app", "/truth")).unwrap();
    for statement in statements {
        truth.run(statement, ASK_MAX).unwrap();
    }
    let (is, should_be) = (server.dump("app"), server.dump("truth"));
    for (is, should_be) in is.lines().zip(should_be.lines()) {
        assert_eq!(is, should_be);
    }
    assert_eq!(is.len(), should_be.len());
}
