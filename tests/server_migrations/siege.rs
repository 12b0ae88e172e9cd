//! Migrations that reach for more than their clone, and what happens around a trial while it runs: one server, many
//! cases.

use crate::postgres::Server;
use crate::support::Workspace;
use crate::{ADDS, LEFT, SYNC, application, expect_nothing_left, mission, revision, version};

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
    let boot = workspace.ubs(&["boot", "--until-up"]);
    assert_eq!(boot.code, 1, "{body}: {}{}", boot.stdout, boot.stderr);
    assert_eq!(version(server), "a1", "{body}");
    expect_nothing_left(server);
    mission(workspace)["reason"].as_str().unwrap().to_owned()
}

/// A block of PL/pgSQL, which the relay does not look into, and an addition.
fn block(code: &str) -> String {
    format!("op.execute(\"\"\"DO $x$ DECLARE d text; BEGIN {code} END $x$\"\"\")\n    {ADDS}")
}

#[test]
fn what_all_databases_share_stays_as_it_is() {
    const SHARED: &str = "SELECT (SELECT string_agg(d::text, ' ' ORDER BY datname) FROM (SELECT datname, datdba, datistemplate, datallowconn, \
        datconnlimit, datacl FROM pg_database) AS d), (SELECT string_agg(rolname || rolpassword, ' ' ORDER BY rolname) FROM pg_authid), \
        (SELECT string_agg(s::text, ' ') FROM pg_db_role_setting AS s), (SELECT string_agg(description, ' ') FROM pg_shdescription)";
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    server.sql("postgres", "CREATE ROLE eve");
    let before = server.sql("postgres", SHARED);
    for code in [
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
    ] {
        let why = refused(&server, &workspace, &block(code));
        assert!(why.contains("changes a role, or rights"), "{code}: {why}");
        assert_eq!(server.sql("postgres", SHARED), before, "{code}");
    }
    let left = server.sql("postgres", LEFT);
    assert_eq!(left.trim(), "0");
}

#[test]
fn a_server_that_lets_no_new_role_in_is_said() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    server.let_in("local all all trust\nhost all bob 127.0.0.1/32 scram-sha-256\n");
    let why = refused(&server, &workspace, ADDS);
    assert!(why.contains("cannot log in at the server"), "{why}");
    assert!(why.contains("pg_hba.conf"), "{why}");
}
