use super::*;
use crate::checks::testing::postgres::{PASSWORD, Server};

const LEFT: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%'";

/// A server with a database `app` of which `bob`, no superuser, is the owner, and its URL.
fn application() -> Option<(Server, String)> {
    let server = Server::start()?;
    let url = server.database_of_bob(
        "CREATE TABLE users (id serial PRIMARY KEY, name varchar(20) CHECK (name IN ('ann', 'bob', 'eve'))); \
         INSERT INTO users (name) VALUES ('ann'), ('bob'), ('bob')",
    );
    Some((server, url))
}

fn statements(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn adds() -> Vec<String> {
    statements(&[
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE TABLE orders (id SERIAL PRIMARY KEY, user_id INTEGER REFERENCES users (id), mood mood)",
        "CREATE INDEX ix_orders_user_id ON orders (user_id)",
        "ALTER TABLE public.users ADD COLUMN age INTEGER DEFAULT 7 NOT NULL",
        "CREATE INDEX ix_users_name ON users (name)",
    ])
}

fn added(outcome: &ServerOutcome) -> Added {
    match outcome {
        ServerOutcome::Added(added) | ServerOutcome::Changed(added) => *added,
        ServerOutcome::Migrated(..) => panic!("nothing was migrated"),
    }
}

#[track_caller]
fn expect_added(server: &Server) {
    let asked = "SELECT sum(age), (SELECT count(*) FROM orders), (SELECT count(*) FROM pg_indexes WHERE indexname \
                 IN ('ix_users_name', 'ix_orders_user_id')) FROM users";
    assert_eq!(server.sql("app", asked).trim(), "21|0|2");
}

#[test]
fn what_held_on_the_clone_is_promoted_once() {
    let Some((server, url)) = application() else {
        return;
    };
    let trial = try_on_clone(&url, &adds(), Extent::Adds).unwrap();
    assert_eq!(trial.tried_on, "a clone with all rows");
    assert!(PASSWORD.len() > 3 && trial.url_like(&url).contains("/ubs_trial_"));
    let outcome = trial.outcome.clone();
    assert_ne!(added(&outcome).before, added(&outcome).after);
    let rows = server.sql("app", "SELECT to_regclass('orders') IS NULL");
    assert_eq!(rows.trim(), "t", "the live database was touched");
    drop(trial);
    assert_eq!(server.sql("postgres", LEFT).trim(), "0");
    promote(&url, &adds(), &outcome).unwrap();
    expect_added(&server);
    // Once more after a crash: nothing happens.
    promote(&url, &adds(), &outcome).unwrap();
    // A fix that is there already holds and changes nothing.
    let again = try_on_clone(&url, &adds(), Extent::Adds).unwrap();
    assert_eq!(added(&again.outcome).before, added(&again.outcome).after);
    assert_eq!(added(&again.outcome).before, added(&outcome).after);
}

#[test]
fn a_database_in_use_is_tried_without_its_rows() {
    let Some((server, url)) = application() else {
        return;
    };
    let in_use = Session::connect(&url).unwrap();
    let trial = match try_on_clone(&url, &adds(), Extent::Adds) {
        Ok(trial) => trial,
        // A machine with a server and without its programs for clients.
        Err(PostgresError::NoClone { why, .. }) if why.contains("not installed") => {
            eprintln!("SKIPPED: {why}");
            assert!(std::env::var_os("CI").is_none(), "CI must have pg_dump");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(trial.tried_on, "a copy of its definitions, without rows");
    let outcome = trial.outcome.clone();
    drop(trial);
    in_use.run("SELECT 1", ASK_MAX).unwrap();
    promote(&url, &adds(), &outcome).unwrap();
    expect_added(&server);
    assert_eq!(server.sql("postgres", LEFT).trim(), "0");
}

#[test]
fn nothing_is_committed_where_something_is_not_as_it_was_proved() {
    let Some((server, url)) = application() else {
        return;
    };
    let digest = || {
        read_in_transaction(&Session::connect(&url).unwrap(), None)
            .unwrap()
            .digest()
    };
    let before = digest();
    // Two rows with one name: the clone shows it.
    let unique = statements(&["CREATE UNIQUE INDEX u ON users (name)"]);
    let Err(error) = try_on_clone(&url, &unique, Extent::Adds) else {
        panic!("two rows with one name became unique");
    };
    assert!(error.to_string().contains("23505"), "{error}");
    for hostile in [
        "DROP TABLE users",
        "ALTER TABLE users ADD COLUMN x int; DELETE FROM users",
        "CREATE TABLE a AS SELECT 1",
    ] {
        let Err(error) = try_on_clone(
            &url,
            &statements(&["CREATE TABLE x (a int)", hostile]),
            Extent::Adds,
        ) else {
            panic!("{hostile} passed");
        };
        assert!(matches!(error, PostgresError::BeyondRisk { .. }), "{error}");
    }
    assert_eq!(digest(), before);
    let outcome = try_on_clone(&url, &adds(), Extent::Adds).unwrap().outcome;
    // Other statements than those that were tried.
    let error = promote(&url, &statements(&["CREATE TABLE other (x int)"]), &outcome).unwrap_err();
    assert!(matches!(error, PostgresError::Differs { .. }), "{error}");
    assert_eq!(digest(), before);
    server.sql("app", "CREATE TABLE meanwhile (x int)");
    let error = promote(&url, &adds(), &outcome).unwrap_err();
    assert!(matches!(error, PostgresError::Changed(_)), "{error}");
    assert!(!error.to_string().contains("p%40ss"), "{error}");
    let orders = server.sql("app", "SELECT to_regclass('orders') IS NULL");
    assert_eq!(orders.trim(), "t");
    assert_eq!(server.sql("postgres", LEFT).trim(), "0");
}

#[test]
fn a_lock_that_somebody_holds_is_not_waited_for_long() {
    let Some((server, url)) = application() else {
        return;
    };
    let outcome = try_on_clone(&url, &adds(), Extent::Adds).unwrap().outcome;
    let other = Session::connect(&url).unwrap();
    other
        .run("BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE", ASK_MAX)
        .unwrap();
    let error = promote(&url, &adds(), &outcome).unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    other.run("COMMIT", ASK_MAX).unwrap();
    promote(&url, &adds(), &outcome).unwrap();
    expect_added(&server);
}

#[test]
fn a_user_without_the_right_gets_no_clone() {
    let Some((server, url)) = application() else {
        return;
    };
    server.sql("postgres", "ALTER ROLE bob NOCREATEDB");
    let Err(error) = try_on_clone(&url, &adds(), Extent::Adds) else {
        panic!("a database was made");
    };
    assert!(
        error.to_string().contains("bob may not create databases"),
        "{error}"
    );
}

#[test]
fn a_change_that_was_approved_is_made_as_on_the_clone_and_no_addition_goes_that_far() {
    let Some(server) = Server::start() else {
        return;
    };
    let url = server.database_of_bob(
        "CREATE TYPE mood AS ENUM ('low', 'high'); CREATE TABLE t (id serial PRIMARY KEY, a text, b int NOT NULL, m mood); \
         INSERT INTO t VALUES (7, '5', 1, 'low')",
    );
    let changes = statements(&[
        "ALTER TABLE t ALTER COLUMN b DROP NOT NULL",
        "ALTER TABLE t ALTER COLUMN a TYPE integer USING a::integer",
        "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'middle' AFTER 'low'",
        "SELECT setval('t_id_seq', (SELECT max(id) FROM t))",
    ]);
    assert!(try_on_clone(&url, &changes, Extent::Adds).is_err());
    let trial = try_on_clone(&url, &changes, Extent::Changes).unwrap();
    let outcome = trial.outcome.clone();
    assert!(matches!(outcome, ServerOutcome::Changed(_)));
    drop(trial);
    promote(&url, &changes, &outcome).unwrap();
    // Again: a crash may have come between the commit and its record.
    promote(&url, &changes, &outcome).unwrap();
    let session = Session::connect(&url).unwrap();
    let value = |sql: &str| session.value(sql, ASK_MAX).unwrap().unwrap_or_default();
    assert_eq!(value("SELECT pg_typeof(a) || ' ' || a FROM t"), "integer 5");
    assert_eq!(value("SELECT enum_range(NULL::mood)"), "{low,middle,high}");
    assert_eq!(value("INSERT INTO t (a) VALUES (1) RETURNING id"), "8");
}
