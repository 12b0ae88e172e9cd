//! Migrations that reach for more than their clone, and what happens around a trial while it runs: one server, many
//! cases.

use super::{
    ADDS, LEFT, SYNC, application, expect_migrated, expect_nothing_left, mission, revision, version,
};
use crate::support::postgres::Server;
use crate::support::{Workspace, await_that};
use nix::sys::signal::Signal;

/// Migration `b2` does this; nothing is known of an earlier one.
fn write_migration(workspace: &Workspace, body: &str) {
    let _ = std::fs::remove_dir_all(workspace.path(".ubs"));
    workspace.write(
        "db/migrations/versions/b2.py",
        &revision("b2", "'a1'", body),
    );
}

/// Boots with this migration, which is not promoted; why not.
#[track_caller]
fn refused(server: &Server, workspace: &Workspace, body: &str) -> String {
    write_migration(workspace, body);
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 1, "{body}: {}{}", boot.stdout, boot.stderr);
    assert_eq!(version(server), "a1", "{body}");
    expect_nothing_left(server);
    mission(workspace)["reason"].as_str().unwrap().to_owned()
}

/// A block of PL/pgSQL, which the relay does not look into, and an addition.
fn block(code: &str) -> String {
    format!("op.execute(\"\"\"DO $x$ DECLARE d text; BEGIN {code} END $x$\"\"\")\n    {ADDS}")
}

/// What code of a migration does to the whole server.
const TO_THE_SERVER: [&str; 9] = [
    "EXECUTE format('ALTER ROLE %I SET work_mem = ''1MB''', current_user);",
    "EXECUTE format('ALTER ROLE %I PASSWORD ''x''', current_user);",
    "EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database());",
    "EXECUTE format('ALTER DATABASE %I IS_TEMPLATE true', current_database());",
    "EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 0', current_database());",
    "EXECUTE format('GRANT CREATE ON DATABASE %I TO eve', current_database());",
    "EXECUTE format('COMMENT ON DATABASE %I IS ''x''', current_database());",
    // Only where it counts.
    "IF current_database() = 'app' THEN ALTER ROLE bob SET work_mem = '1MB'; END IF;",
    // The clone on which it will be proved.
    "FOR d IN SELECT datname FROM pg_database WHERE datname LIKE 'ubs%' AND datname <> current_database() LOOP \
         EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS false IS_TEMPLATE true', d); END LOOP; \
         EXECUTE format('ALTER DATABASE %I IS_TEMPLATE true', current_database());",
];

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_all_databases_share_stays_as_it_is() {
    shared_stays(&TO_THE_SERVER[..1]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_all_databases_share_stays_as_it_is_whatever_is_done() {
    shared_stays(&TO_THE_SERVER[1..]);
}

#[track_caller]
fn shared_stays(codes: &[&str]) {
    const SHARED: &str = "SELECT (SELECT string_agg(d::text, ' ' ORDER BY datname) FROM (SELECT datname, datdba, datistemplate, datallowconn, \
        datconnlimit, datacl FROM pg_database) AS d), (SELECT string_agg(rolname || rolpassword, ' ' ORDER BY rolname) FROM pg_authid), \
        (SELECT string_agg(s::text, ' ') FROM pg_db_role_setting AS s), (SELECT string_agg(description, ' ') FROM pg_shdescription)";
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    server.sql("postgres", "CREATE ROLE eve");
    let before = server.sql("postgres", SHARED);
    for code in codes {
        let why = refused(&server, &workspace, &block(code));
        assert!(why.contains("changes a role, or rights"), "{code}: {why}");
        assert_eq!(server.sql("postgres", SHARED), before, "{code}");
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn temporary_tables_hide_nothing_from_who_looks() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    server.sql("postgres", "CREATE ROLE eve");
    server.sql("app", "GRANT SELECT ON users TO eve");
    let copy = |table: &str, rows: &str| {
        format!(
            "op.execute('CREATE TEMP TABLE {table} AS SELECT * FROM pg_catalog.{table} WHERE {rows}')\n    "
        )
    };
    let set = block("EXECUTE format('ALTER ROLE %I SET work_mem = ''1MB''', current_user);");
    let hidden = format!("{}{set}", copy("pg_locks", "false"));
    let why = refused(&server, &workspace, &hidden);
    assert!(why.contains("changes a role, or rights"), "{why}");
    let revoke = format!(
        "{ADDS}\n    {}op.execute('REVOKE SELECT ON users FROM eve')",
        copy("pg_class", "true")
    );
    let why = refused(&server, &workspace, &revoke);
    assert!(why.contains("eve SELECT"), "{why}");
    let may = "SELECT has_table_privilege('eve', 'users', 'SELECT')";
    assert_eq!(server.sql("app", may).trim(), "t");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_server_that_lets_no_new_role_in_is_said() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    server.let_in("local all all trust\nhost all bob 127.0.0.1/32 scram-sha-256\n");
    let why = refused(&server, &workspace, ADDS);
    assert!(why.contains("cannot log in at the server"), "{why}");
    assert!(why.contains("pg_hba.conf"), "{why}");
}

/// In a migration: it is known to be on the way, and takes longer than anybody waits.
const SLOW: &str = "op.execute('SELECT pg_sleep(500)')";

/// Waits until a migration is at [`SLOW`].
#[track_caller]
fn await_slow(server: &Server) {
    const BUSY: &str = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(500)' AND state = 'active'";
    await_that("a migration in its trial", || {
        server.sql("postgres", BUSY).trim() == "1"
    });
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_ends_a_trial_in_the_middle_leaves_nothing() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, SLOW) else {
        return;
    };
    let at_slow = || {
        write_migration(&workspace, SLOW);
        let boot = workspace.start(&["boot", "--until-ready"]);
        await_slow(&server);
        boot
    };
    let boot = at_slow();
    boot.signal(Signal::SIGINT);
    let told = boot.wait().stdout;
    assert!(told.contains("the trial was cut short"), "{told}");
    expect_nothing_left(&server);
    let boot = at_slow();
    server.crash();
    let ended = boot.wait();
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    expect_nothing_left(&server);
    // Killed: the next boot drops what is there, whoever is connected.
    let boot = at_slow();
    boot.signal(Signal::SIGKILL);
    boot.wait();
    write_migration(&workspace, ADDS);
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    expect_migrated(&server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_kill_between_two_steps_of_a_trial_leaves_what_the_next_boot_drops() {
    let Some((server, mut workspace)) = application("postgresql+psycopg2", SYNC, "pass") else {
        return;
    };
    for point in ["trial.role_made", "trial.first_clone_made"] {
        write_migration(&workspace, ADDS);
        workspace.boot_killed_at(point);
        let left = server.sql("postgres", LEFT);
        assert_ne!(left.trim(), "0", "{point}: it was not there");
        // That a check drops it needs no promotion.
        refused(&server, &workspace, "raise ValueError('not today')");
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn two_boots_at_once_migrate_once() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    let other = Workspace::with_manifest(&workspace.read("ubs.toml"));
    for file in [
        ".env",
        "db/alembic.ini",
        "db/migrations/env.py",
        "db/migrations/versions/a1.py",
        "db/migrations/versions/b2.py",
    ] {
        other.write(file, &workspace.read(file));
    }
    let boots = [&workspace, &other].map(|w| w.start(&["boot", "--until-ready"]));
    for boot in boots {
        let ended = boot.wait();
        assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    }
    expect_migrated(&server);
}

#[test]
fn nobody_gets_a_superusers_rights_in_a_trial() {
    let body = format!("op.execute(\"SELECT change('eve')\")\n    {ADDS}");
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, &body) else {
        return;
    };
    server.sql("postgres", "CREATE ROLE eve");
    server.sql(
        "app",
        "CREATE FUNCTION change(who text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS \
         $$ BEGIN EXECUTE format('ALTER ROLE %I LOGIN', who); END $$",
    );
    let why = refused(&server, &workspace, &body);
    assert!(why.contains("out of it leads the function"), "{why}");
    let eve = server.sql(
        "postgres",
        "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'eve'",
    );
    assert_eq!(eve.trim(), "f");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_migration_that_demands_tls_is_told_what_to_do() {
    let env_py = SYNC.replace(
        "os.environ[\"DATABASE_URL\"]",
        "os.environ[\"DATABASE_URL\"], connect_args={'sslmode': 'require'}",
    );
    let Some((server, workspace)) = application("postgresql+psycopg2", &env_py, ADDS) else {
        return;
    };
    let why = refused(&server, &workspace, ADDS);
    assert!(why.contains("let the URL decide about it"), "{why}");
}
