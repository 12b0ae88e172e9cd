//! Databases and migrations out of the ordinary: what is promoted is what they would have done, or a person is
//! told the reason.

use super::{ADDS, SYNC, application, expect_nothing_left, mission, revision, shown, version};
use crate::support::Workspace;

const PSYCOPG: &str = "postgresql+psycopg2";

#[track_caller]
fn expect_boots(workspace: &Workspace, what: &str) {
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{what}: {}{}", boot.stdout, boot.stderr);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn books_in_another_schema_and_a_merge_and_the_users_own_search_path() {
    let env_py = SYNC.replace(
        "target_metadata=None",
        "target_metadata=None, version_table_schema='meta'",
    );
    let Some((server, workspace)) = application(PSYCOPG, &env_py, ADDS) else {
        return;
    };
    server.sql(
        "app",
        "SET ROLE bob; CREATE SCHEMA meta; ALTER TABLE alembic_version SET SCHEMA meta; CREATE SCHEMA bob; ALTER TABLE users SET SCHEMA bob",
    );
    server.sql(
        "app",
        "ALTER ROLE bob IN DATABASE app SET search_path = \"$user\", meta",
    );
    workspace.write(
        "db/migrations/versions/c3.py",
        &revision(
            "c3",
            "'a1'",
            "op.create_table('Möbel x', sa.Column('a \"b', sa.Integer))",
        ),
    );
    workspace.write(
        "db/migrations/versions/d4.py",
        &revision(
            "d4",
            "('b2', 'c3')",
            "op.execute('ALTER TABLE users ADD y int')",
        ),
    );
    expect_boots(&workspace, "a merge");
    let made = "SELECT string_agg(t.oid::regclass::text, ' ' ORDER BY relname), (SELECT string_agg(version_num, ' ') FROM meta.alembic_version) \
                FROM pg_class AS t WHERE relkind = 'r' AND relnamespace = 'bob'::regnamespace";
    assert_eq!(
        server.sql("app", made).trim(),
        "bob.\"Möbel x\" bob.orders bob.users|d4"
    );
    expect_nothing_left(&server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn rights_are_not_lost_where_the_clone_has_none() {
    let body = "op.execute('REVOKE SELECT ON users FROM PUBLIC')";
    let Some((server, workspace)) = application(PSYCOPG, SYNC, body) else {
        return;
    };
    server.sql("app", "GRANT SELECT ON users TO PUBLIC");
    let busy = server.stay_connected("app");
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let reason = mission(&workspace).to_string();
    assert!(
        reason.contains("privilege public.users PUBLIC SELECT f is gone"),
        "{reason}"
    );
    assert_eq!(version(&server), "a1");
    drop(busy);
    expect_nothing_left(&server);
}

#[test]
fn what_a_migration_read_is_what_it_was_when_it_is_promoted() {
    // It reads rows, and makes of them what it writes elsewhere.
    let body = "names = op.get_bind().execute(sa.text('SELECT name FROM users ORDER BY id')).scalars().all()\n    \
        table = op.create_table('profiles', sa.Column('name', sa.Text))\n    op.bulk_insert(table, [{'name': n} for n in names])";
    let Some((server, workspace)) = application(PSYCOPG, SYNC, body) else {
        return;
    };
    expect_boots(&workspace, "reads");
    let asked = "SELECT string_agg(name, ' ') FROM profiles";
    assert_eq!(server.sql("app", asked).trim(), "ann bob");
    assert_eq!(version(&server), "b2");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_backfill_of_a_new_column_is_promoted_whatever_the_servers_time_zone() {
    let body = "op.add_column('users', sa.Column('seen', sa.DateTime(timezone=True)))\n    \
        op.execute(\"SET TIME ZONE 'Asia/Tokyo'\")\n    op.execute(\"UPDATE users SET seen = '2024-01-01 09:00'\")";
    let Some((server, workspace)) = application(PSYCOPG, SYNC, body) else {
        return;
    };
    server.sql("app", "ALTER TABLE users ADD born timestamptz DEFAULT '2024-01-01 00:00+00'; ALTER DATABASE app SET timezone = 'America/Lima'");
    expect_boots(&workspace, "backfill");
    let asked = "SET timezone = 'UTC'; SELECT count(*) FROM users WHERE seen = born";
    assert_eq!(server.sql("app", asked).trim(), "2");
    assert_eq!(version(&server), "b2");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_sequence_that_goes_back_waits_for_a_person() {
    let body = "op.execute(\"SELECT setval('users_id_seq', 1)\")";
    let Some((server, workspace)) = application(PSYCOPG, SYNC, body) else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let mission = mission(&workspace);
    assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
    let slug = mission["slug"].as_str().unwrap();
    let verdict = shown(&workspace, slug);
    assert!(
        verdict.contains("sequence public.users_id_seq goes back from 2 to 1"),
        "{verdict}"
    );
    workspace
        .ubs(&["missions", "approve", slug, "--by", "ann"])
        .expect(0);
    let asked = "SELECT last_value FROM users_id_seq";
    assert_eq!(server.sql("app", asked).trim(), "1");
    assert_eq!(version(&server), "b2");
    expect_nothing_left(&server);
}

#[test]
fn an_approval_is_for_what_was_shown() {
    let body = "op.execute('UPDATE users SET name = upper(name)')";
    let Some((server, workspace)) = application(PSYCOPG, SYNC, body) else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let slug = mission(&workspace)["slug"].as_str().unwrap().to_owned();
    // Somebody adds a migration that loses more.
    workspace.write(
        "db/migrations/versions/c3.py",
        &revision("c3", "'b2'", "op.execute('DELETE FROM users WHERE id = 1')"),
    );
    let approve = ["missions", "approve", &slug, "--by", "ann"];
    let told = workspace.ubs(&approve).expect(1).stdout;
    assert!(told.contains("other migrations wait now"), "{told}");
    assert_eq!(version(&server), "a1");
    // They are another failure, and asked for with what they lose.
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let mission = mission(&workspace);
    assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
    let id = mission["id"].as_str().unwrap();
    let verdict = shown(&workspace, id);
    let loss = "the number of rows of table public.users goes from 2 to 1";
    assert!(verdict.contains(loss), "{verdict}");
    workspace
        .ubs(&["missions", "approve", id, "--by", "ann"])
        .expect(0);
    assert_eq!(version(&server), "c3");
    let names = "SELECT string_agg(name, ' ') FROM users";
    assert_eq!(server.sql("app", names).trim(), "BOB");
    expect_nothing_left(&server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn of_a_large_database_rows_are_not_seen_and_not_changed() {
    let deletes = format!("{ADDS}\n    op.execute('DELETE FROM users WHERE id = 1')");
    let Some((server, workspace)) = application(PSYCOPG, SYNC, &deletes) else {
        return;
    };
    // Somewhat more than is cloned with its rows.
    server.sql(
        "app",
        "ALTER TABLE users ADD pad text; ALTER TABLE users ALTER pad SET STORAGE EXTERNAL; \
         INSERT INTO users (pad) SELECT repeat('x', 2000000) FROM generate_series(1, 140)",
    );
    let approve = |why: &str| {
        workspace.ubs(&["boot", "--until-ready"]).expect(1);
        let mission = mission(&workspace);
        assert_eq!(mission["status"], "awaiting_approval", "{why}: {mission:#}");
        let slug = mission["slug"].as_str().unwrap().to_owned();
        let verdict = shown(&workspace, &slug);
        assert!(
            verdict.contains("too large for a clone with its rows"),
            "{verdict}"
        );
        workspace.ubs(&["missions", "approve", &slug, "--by", "ann"])
    };
    let approved = approve("deletes");
    assert_ne!(approved.code, 0, "{}", approved.stdout);
    let reason = mission(&workspace).to_string() + &approved.stderr + &approved.stdout;
    assert!(reason.contains("is about 1 rows and not 0"), "{reason}");
    assert_eq!(version(&server), "a1");
    let rows = "SELECT count(*) FROM users";
    assert_eq!(server.sql("app", rows).trim(), "142");
    let text = revision("b2", "'a1'", ADDS);
    workspace.write("db/migrations/versions/b2.py", &text);
    let slug = mission(&workspace)["slug"].as_str().unwrap().to_owned();
    workspace.ubs(&["missions", "requeue", &slug]);
    approve("adds").expect(0);
    assert_eq!(version(&server), "b2");
    assert_eq!(server.sql("app", rows).trim(), "142");
    expect_nothing_left(&server);
}
