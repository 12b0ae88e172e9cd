//! Boots that heal a PostgreSQL database by the application's own migrations: a real server, real Alembic with
//! several drivers; Django and Flask-Migrate in files of their own.

mod django;
mod fidelity;
mod flask;
mod histories;
mod siege;

use crate::support::alembic::{SYNC, revision};
use crate::support::postgres::{PASSWORD, Server};
use crate::support::{Workspace, venv};
use serde_json::Value;

/// It writes into the workspace, as many an application does while it is imported.
const ASYNC: &str = r#"
import asyncio
import pathlib
pathlib.Path(__file__).with_name("env.log").write_text("imported")
import os
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

def run(connection):
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = create_async_engine(os.environ["DATABASE_URL"])
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()

asyncio.run(main())
"#;

/// What a kill or a trial may leave on the server.
const LEFT: &str = "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%') + \
                    (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'ubs\\_%')";

const ADDS: &str = "op.add_column('users', sa.Column('email', sa.String(80)))\n    \
    op.create_table('orders', sa.Column('id', sa.Integer, primary_key=True), \
    sa.Column('user_id', sa.Integer, sa.ForeignKey('users.id'), index=True), \
    sa.Column('state', sa.Enum('open', 'paid', name='order_state'), server_default='open'))";

fn manifest(database: &str, expect: &str, registration: &str) -> Option<String> {
    let python = venv::python_with(&venv::WIDE_PACKAGES)?;
    Some(format!(
        "[app]\nname = \"m\"\n[python]\ninterpreter = {:?}\n{registration}[config]\nfiles = [\".env\"]\n[[schema]]\nname = \"main\"\n\
         database = {database:?}\nexpect = {expect:?}\n[heal]\nbackoff = \"1ms\"\n[[layer]]\nname = \"work\"\n\
         rehearse = {{ command = [\"true\"] }}\n",
        python.display()
    ))
}

/// Bob's application: his database is at `a1`, with two users, and a migration `b2` does this.
fn application(scheme: &str, env_py: &str, body: &str) -> Option<(Server, Workspace)> {
    let manifest = manifest("${DATABASE_URL}", "alembic:db/alembic.ini", "")?;
    let server = Server::start()?;
    let url = server.database_of_bob(
        "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) VALUES ('ann'), ('bob'); \
         CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY); INSERT INTO alembic_version VALUES ('a1')",
    );
    server.sql("postgres", "ALTER ROLE bob CREATEROLE");
    let url = url.replace("postgresql+asyncpg", scheme);
    let workspace = Workspace::with_manifest(&manifest);
    workspace.write(".env", &format!("DATABASE_URL={url}\n"));
    workspace.write(
        "db/alembic.ini",
        "[alembic]\nscript_location = migrations\n",
    );
    workspace.write("db/migrations/env.py", env_py);
    let first = "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))";
    workspace.write(
        "db/migrations/versions/a1.py",
        &revision("a1", "None", first),
    );
    workspace.write(
        "db/migrations/versions/b2.py",
        &revision("b2", "'a1'", body),
    );
    Some((server, workspace))
}

fn version(server: &Server) -> String {
    let version = server.sql("app", "SELECT version_num FROM alembic_version");
    version.trim().to_owned()
}

#[track_caller]
fn expect_nothing_left(server: &Server) {
    assert_eq!(server.sql("postgres", LEFT).trim(), "0", "left behind");
}

#[track_caller]
fn expect_migrated(server: &Server) {
    assert_eq!(version(server), "b2");
    let asked = "SELECT count(*), count(email), (SELECT count(*) FROM orders), \
                 (SELECT tableowner FROM pg_tables WHERE tablename = 'orders') FROM users";
    assert_eq!(server.sql("app", asked).trim(), "2|0|0|bob");
    expect_nothing_left(server);
}

/// The only mission.
#[track_caller]
fn mission(workspace: &Workspace) -> Value {
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    assert_eq!(missions.as_array().unwrap().len(), 1, "{missions:#}");
    missions[0].clone()
}

/// What a person is shown of a mission, on one line.
fn shown(workspace: &Workspace, slug: &str) -> String {
    let shown = workspace.ubs(&["missions", "show", slug]).expect(0).stdout;
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_boot_upgrades_the_database_with_every_driver() {
    for (scheme, env_py) in [
        ("postgresql+psycopg2", SYNC),
        ("postgresql+psycopg", SYNC),
        ("postgresql+asyncpg", ASYNC),
    ] {
        let Some((server, workspace)) = application(scheme, env_py, ADDS) else {
            return;
        };
        let preflight = workspace.ubs(&["preflight", "--json"]).expect(1).json();
        let findings = &preflight["checks"][1]["findings"];
        assert_eq!(
            findings[0]["code"], "schema.pending_migration",
            "{findings:#}"
        );
        let boot = workspace.ubs(&["boot", "--until-ready"]);
        assert_eq!(boot.code, 0, "{scheme}: {}{}", boot.stdout, boot.stderr);
        expect_migrated(&server);
        assert!(!workspace.path("db/migrations/env.log").exists());
        workspace.expect_not_logged(&["p%40ss", PASSWORD]);
        workspace.ubs(&["preflight"]).expect(0);
        workspace.ubs(&["log", "verify"]).expect(0);
    }
}

#[test]
fn a_migration_that_changes_rows_waits_for_a_person() {
    let body = "op.execute(sa.text('UPDATE users SET name = upper(name) WHERE name <> :x').bindparams(x='eve')); op.add_column('users', sa.Column('email', sa.Text))";
    let Some((server, workspace)) = application("postgresql+psycopg", SYNC, body) else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let names = "SELECT string_agg(name, ' ' ORDER BY id) FROM users";
    assert_eq!(server.sql("app", names).trim(), "ann bob");
    let mission = mission(&workspace);
    assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
    let slug = mission["slug"].as_str().unwrap();
    let verdict = shown(&workspace, slug);
    assert!(
        verdict.contains("rows of table public.users change"),
        "{verdict}"
    );
    assert!(verdict.contains("a clone with all rows"), "{verdict}");
    // A user comes in between, and what was proved then is proved anew.
    server.sql("app", "INSERT INTO users (name) VALUES ('eve')");
    workspace
        .ubs(&["missions", "approve", slug, "--by", "ann"])
        .expect(0);
    assert_eq!(server.sql("app", names).trim(), "ANN BOB eve");
    assert_eq!(version(&server), "b2");
    expect_nothing_left(&server);
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_approval_is_for_what_was_shown() {
    let upper = "op.execute(\"UPDATE users SET name = upper(name)\")";
    let Some((server, workspace)) = application("postgresql+psycopg", SYNC, upper) else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let slug = mission(&workspace)["slug"].as_str().unwrap().to_owned();
    let approve = || workspace.ubs(&["missions", "approve", &slug, "--by", "ann"]);
    // Somebody changes the migration; it looks the same.
    let lower = revision("b2", "'a1'", "op.execute(\"UPDATE users SET name = 'x'\")");
    workspace.write("db/migrations/versions/b2.py", &lower);
    let refused = approve().expect(1);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("other migrations wait now than were approved"),
        "{told}"
    );
    let names = "SELECT string_agg(name, ' ' ORDER BY id) FROM users";
    assert_eq!(server.sql("app", names).trim(), "ann bob");
    // It is tried anew, and asked for anew.
    workspace.write(
        "db/migrations/versions/b2.py",
        &revision("b2", "'a1'", upper),
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let waiting = workspace.ubs(&["missions", "--json"]).expect(0).json();
    assert_eq!(waiting[0]["status"], "awaiting_approval", "{waiting:#}");
    // The same code does something else to other rows.
    server.sql("app", "CREATE TABLE log (x text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN DELETE FROM users WHERE id = 99; INSERT INTO log VALUES (1); RETURN NEW; END'; ALTER FUNCTION note() OWNER TO bob; \
        ALTER TABLE log OWNER TO bob; CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note()");
    let refused = approve().expect(1);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("now also, which nobody approved"), "{told}");
    assert_eq!(server.sql("app", names).trim(), "ann bob");
    server.sql("app", "DROP TRIGGER t ON users");
    approve().expect(0);
    assert_eq!(server.sql("app", names).trim(), "ANN BOB");
    expect_nothing_left(&server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_a_migration_loses_is_named() {
    for (body, reason) in [
        (
            "op.drop_column('users', 'name')",
            "column public.users.name is gone",
        ),
        ("op.drop_table('users')", "relation public.users is gone"),
        (
            "op.execute('DELETE FROM users WHERE id = 1')",
            "the number of rows of table public.users goes from 2 to 1",
        ),
        (
            "op.alter_column('users', 'name', type_=sa.String(20))",
            "column public.users.name changes",
        ),
    ] {
        let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, body) else {
            return;
        };
        let told = workspace.ubs(&["boot", "--until-ready"]).expect(1).stdout;
        let mission = mission(&workspace);
        assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
        let verdict = shown(&workspace, mission["slug"].as_str().unwrap());
        assert!(verdict.contains(reason), "{body}: {verdict}");
        // Where it says what a person is to do, too.
        let (_, left) = told.split_once("Left for a person:").unwrap();
        let left = left.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(left.contains(reason), "{body}: {left}");
        assert_eq!(version(&server), "a1");
        expect_nothing_left(&server);
    }
}

const KILLED_AT: [&str; 6] = [
    "trial.cloned",
    "trial.migrated",
    "promote.journaled",
    "promote.uncommitted",
    "promote.database_changed",
    "promote.carried_out",
];

#[test]
fn a_killed_boot_leaves_a_database_that_the_next_one_brings_up() {
    killed_and_brought_up(&KILLED_AT[3..4]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_boot_killed_anywhere_leaves_a_database_that_the_next_one_brings_up() {
    killed_and_brought_up(&KILLED_AT);
}

#[track_caller]
fn killed_and_brought_up(points: &[&str]) {
    for point in points {
        let Some((server, mut workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
            return;
        };
        workspace.boot_killed_at(point);
        let journal = std::fs::read_dir(workspace.path(".ubs/journal"))
            .into_iter()
            .flatten()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path().join("plan.json")).unwrap());
        for plan in journal {
            assert!(
                !plan.contains("p%40ss") && !plan.contains(PASSWORD),
                "{plan}"
            );
        }
        let boot = workspace.ubs(&["boot", "--until-ready"]);
        assert_eq!(boot.code, 0, "{point}: {}{}", boot.stdout, boot.stderr);
        expect_migrated(&server);
        workspace.ubs(&["log", "verify"]).expect(0);
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_database_in_use_is_copied_with_its_rows() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    let busy = server.stay_connected("app");
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    drop(busy);
    expect_migrated(&server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_superuser_migrates_what_belongs_to_others() {
    let body =
        format!("{ADDS}\n    op.execute('CREATE OR REPLACE VIEW names AS SELECT name FROM users')");
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, &body) else {
        return;
    };
    server.sql(
        "app",
        "SET ROLE bob; CREATE VIEW names AS SELECT name FROM users",
    );
    let url = server.url("postgresql+psycopg2", "app");
    workspace.write(".env", &format!("DATABASE_URL={url}\n"));
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    assert_eq!(version(&server), "b2");
    let owners = "SELECT string_agg(tablename || ' ' || tableowner, ', ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(
        server.sql("app", owners).trim(),
        "alembic_version bob, orders ann, users bob"
    );
    expect_nothing_left(&server);
}

#[test]
fn whoever_may_not_make_roles_gets_the_command_and_the_reason() {
    let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, ADDS) else {
        return;
    };
    server.sql("postgres", "ALTER ROLE bob NOCREATEROLE");
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let mission = mission(&workspace);
    assert_eq!(
        mission["failure"]["code"], "schema.pending_migration",
        "{mission:#}"
    );
    assert_eq!(mission["status"], "quarantined", "{mission:#}");
    let reason = mission["reason"].as_str().unwrap();
    assert!(
        reason.contains(
            "the user bob may not create roles (`ALTER ROLE \"bob\" CREATEROLE` lets it)"
        ),
        "{reason}"
    );
    let remedy = mission["failure"]["remedy"].as_str().unwrap();
    assert!(
        remedy.starts_with("run `cd db && alembic upgrade head`; not automatically, because"),
        "{remedy}"
    );
    assert_eq!(version(&server), "a1");
    expect_nothing_left(&server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_cannot_be_promoted_in_one_transaction_is_said() {
    for (body, reason) in [
        (
            "with op.get_context().autocommit_block():\n        op.execute('VACUUM users')",
            "VACUUM does not run inside of a transaction",
        ),
        ("op.execute('no sql at all')", "syntax error at or near"),
        ("raise ValueError('not today')", "ValueError: not today"),
    ] {
        let env_py = SYNC.replace(
            "target_metadata=None",
            "target_metadata=None, transaction_per_migration=True",
        );
        let Some((server, workspace)) = application("postgresql+psycopg2", &env_py, body) else {
            return;
        };
        workspace.ubs(&["boot", "--until-ready"]).expect(1);
        let mission = mission(&workspace);
        let told = mission.to_string();
        assert!(told.contains(reason), "{body}: {}", mission["reason"]);
        assert_eq!(version(&server), "a1");
        expect_nothing_left(&server);
    }
}

#[test]
fn an_index_is_made_with_the_rest_where_its_table_may_wait() {
    let body = "with op.get_context().autocommit_block():\n        op.create_index('ix', 'users', ['name'], postgresql_concurrently=True)\n    \
        op.add_column('users', sa.Column('email', sa.Text))";
    let env_py = SYNC.replace(
        "target_metadata=None",
        "target_metadata=None, transaction_per_migration=True",
    );
    let Some((server, workspace)) = application("postgresql+psycopg2", &env_py, body) else {
        return;
    };
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    assert_eq!(version(&server), "b2");
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass";
    assert_eq!(server.sql("app", valid).trim(), "t");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn migrations_find_their_database_however_they_name_it() {
    // Parts of the URL in variables of their own, one of which is only here.
    let parts = r#"
import os
from alembic import context
from sqlalchemy import URL, create_engine
url = URL.create("postgresql+psycopg", "bob", os.environ["DB_PASSWORD"], os.environ["DB_HOST"], int(os.environ["DB_PORT"]), "app")
assert os.environ["DB_PASSWORD"] == "none", "the real password"
"#;
    let literal = "from alembic import context\nfrom sqlalchemy import create_engine\nurl = 'postgresql+psycopg2://bob:whatever@localhost:PORT/app'\n";
    let other = "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\nurl = os.environ['OTHER_URL']\nassert ':none@' in url\n";
    let rest = SYNC
        .split_once("engine = ")
        .unwrap()
        .1
        .replace("os.environ[\"DATABASE_URL\"]", "url");
    for head in [parts, literal, other] {
        let Some((server, workspace)) = application("postgresql", SYNC, ADDS) else {
            return;
        };
        let env_py =
            format!("{head}engine = {rest}").replace("PORT/app", &format!("{}/app", server.port));
        workspace.write("db/migrations/env.py", &env_py);
        workspace.write(
            ".env",
            &format!(
                "DB_HOST=127.0.0.1\nDB_PORT={0}\nDB_PASSWORD=p%40ss%2Fw%25rd\n\
                 OTHER_URL=postgresql+psycopg://bob:p%40ss%2Fw%25rd@localhost:{0}/app?connect_timeout=9\n",
                server.port
            ),
        );
        let manifest = workspace.read("ubs.toml").replace(
            "${DATABASE_URL}",
            "postgresql://bob:${DB_PASSWORD}@${DB_HOST}:${DB_PORT}/app",
        );
        workspace.write("ubs.toml", &manifest);
        let boot = workspace.ubs(&["boot", "--until-ready"]);
        assert_eq!(boot.code, 0, "{head}: {}{}", boot.stdout, boot.stderr);
        expect_migrated(&server);
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn migrations_of_another_database_are_not_run_on_this_one() {
    for (name, reason) in [
        ("postgres", "\\\"postgres\\\" is not part of this trial"),
        ("other", "\\\"other\\\" is not part of this trial"),
    ] {
        let env_py = SYNC.replace(
            "os.environ[\"DATABASE_URL\"]",
            &format!("os.environ[\"DATABASE_URL\"].replace('/app', '/{name}')"),
        );
        let Some((server, workspace)) = application("postgresql+psycopg2", &env_py, ADDS) else {
            return;
        };
        server.sql("postgres", "CREATE DATABASE other OWNER bob");
        workspace.ubs(&["boot", "--until-ready"]).expect(1);
        let mission = mission(&workspace);
        assert!(mission.to_string().contains(reason), "{mission:#}");
        assert_eq!(version(&server), "a1");
        expect_nothing_left(&server);
    }
}

/// What a migration may not reach. A superuser's application: what it may do, its migrations may not while nobody knows
/// what they do.
const HOSTILE: [&str; 9] = [
    "DROP DATABASE app",
    "ALTER ROLE ann PASSWORD 'x'",
    "DO $$ BEGIN EXECUTE 'ALTER ROLE ann PASSWORD ''x'''; END $$",
    "COPY users TO PROGRAM 'touch /tmp/ubs-was-here'",
    "DO $$ BEGIN EXECUTE 'COPY users TO PROGRAM ''touch /tmp/ubs-was-here'''; END $$",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    "SELECT pg_read_file('PG_VERSION')",
    "SET ROLE ann",
    "CREATE ROLE eve SUPERUSER",
];

#[test]
fn hostile_migrations_reach_nothing() {
    reaches_nothing(&HOSTILE[..2]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn hostile_migrations_reach_nothing_whatever_they_say() {
    reaches_nothing(&HOSTILE[2..]);
}

#[track_caller]
fn reaches_nothing(statements: &[&str]) {
    for statement in statements {
        let body = format!(
            "op.execute(\"COMMIT\")\n    try:\n        op.execute({statement:?})\n        op.execute(\"CREATE TABLE done ()\")\n    \
             finally:\n        op.execute(\"ROLLBACK\")"
        );
        let Some((server, workspace)) = application("postgresql+psycopg2", SYNC, &body) else {
            return;
        };
        let url = server.url("postgresql+psycopg2", "app");
        workspace.write(".env", &format!("DATABASE_URL={url}\n"));
        let boot = workspace.ubs(&["boot", "--until-ready"]);
        assert_ne!(boot.code, 0, "{statement}: {}", boot.stdout);
        let reason = mission(&workspace)["reason"].as_str().unwrap().to_owned();
        assert!(
            reason.contains("InsufficientPrivilege"),
            "{statement}: {reason}"
        );
        assert_eq!(version(&server), "a1", "{statement}");
        let eve = server.sql(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'eve'",
        );
        assert_eq!(eve.trim(), "0");
        // The password is what it was.
        workspace.ubs(&["preflight"]).expect(1);
        assert!(!std::path::Path::new("/tmp/ubs-was-here").exists());
        expect_nothing_left(&server);
    }
}

#[test]
fn a_migration_that_an_agent_writes_is_tried_and_waits() {
    let Some((server, workspace)) = application(
        "postgresql+psycopg2",
        SYNC,
        "raise ValueError('unfinished')",
    ) else {
        return;
    };
    let manifest = workspace.read("ubs.toml").replace(
        "[[schema]]",
        "[config.vars.DATABASE_URL]\nrequired = true\nsecret = true\n[[schema]]",
    );
    workspace.write("ubs.toml", &manifest);
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let slug = mission(&workspace)["slug"].as_str().unwrap().to_owned();
    let propose = |body: &str| {
        let text = revision("b2", "'a1'", body);
        let path = "db/migrations/versions/b2.py";
        let before = blake3::hash(workspace.read(path).as_bytes()).to_string();
        let fix = serde_json::json!({"summary": "finish the migration", "changes": [
            {"write": {"path": path, "before": before, "text": text}},
            {"migrate": {"schema": "main", "tool": "alembic", "target": "heads"}},
        ]});
        workspace.write("fix.json", &fix.to_string());
        workspace.ubs(&["missions", "requeue", &slug]);
        workspace
            .ubs(&["missions", "claim", &slug, "--worker", "bot"])
            .expect(0);
        let arguments = [
            "missions", "propose", &slug, "--worker", "bot", "--file", "fix.json", "--json",
        ];
        let run = workspace.ubs(&arguments);
        (run.code, run.json())
    };
    // Whatever it prints comes back to whoever wrote it.
    let curious = "import os, pathlib; raise ValueError(str([(v[:8], v[8:]) for v in os.environ.values()]) + pathlib.Path('../.env').read_text()[::-1])";
    let (code, answer) = propose(curious);
    let told = answer.to_string();
    assert_eq!(
        (code, &answer["outcome"]),
        (1, &Value::from("rejected")),
        "{answer:#}"
    );
    assert!(told.contains("LRU_ESABATAD"), "it ran: {answer:#}");
    let backwards: String = "p%40ss%2Fw%25rd".chars().rev().collect();
    assert!(
        !told.contains("%2Fw%25rd") && !told.contains(&backwards),
        "{answer:#}"
    );
    let (code, answer) = propose(ADDS);
    assert_eq!(
        (code, &answer["outcome"]),
        (0, &Value::from("awaiting_approval")),
        "{answer:#}"
    );
    assert_eq!(version(&server), "a1");
    workspace
        .ubs(&["missions", "approve", &slug, "--by", "ann"])
        .expect(0);
    expect_migrated(&server);
    assert!(
        workspace
            .read("db/migrations/versions/b2.py")
            .contains("order_state")
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
}
