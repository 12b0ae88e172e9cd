//! A boot that heals a database by the application's own migrations: real Alembic, real SQLite; Django,
//! Flask-Migrate and other layouts of Alembic in files of their own.

mod alembic_layouts;
mod django;
mod flask;
use crate::support::alembic::{SYNC, revision};
use crate::support::{Workspace, venv};
use rusqlite::Connection;
use serde_json::Value;

/// An application whose database is at `a1`, with two rows, and a migration `b2` that does this.
fn application(body: &str, url: impl Fn(&Workspace) -> String) -> Option<Workspace> {
    let python = venv::application_python()?;
    let workspace = Workspace::with_manifest(&format!(
        "[app]\nname = \"m\"\n[python]\ninterpreter = {:?}\n[config]\nfiles = [\".env\"]\n[config.vars.DATABASE_URL]\n\
         required = true\n[[schema]]\nname = \"main\"\ndatabase = \"${{DATABASE_URL}}\"\nexpect = \"alembic:db/alembic.ini\"\n\
         [heal]\nbackoff = \"1ms\"\n[[layer]]\nname = \"work\"\nrehearse = {{ command = [\"true\"] }}\n",
        python.display()
    ));
    workspace.write(".env", &format!("DATABASE_URL={}\n", url(&workspace)));
    workspace.write(
        "db/alembic.ini",
        "[alembic]\nscript_location = migrations\n",
    );
    workspace.write("db/migrations/env.py", SYNC);
    let users = "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))";
    workspace.write(
        "db/migrations/versions/a1.py",
        &revision("a1", "None", users),
    );
    workspace.write(
        "db/migrations/versions/b2.py",
        &revision("b2", "'a1'", body),
    );
    Connection::open(workspace.path("app.db"))
        .unwrap()
        .execute_batch(
            "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name TEXT);
             INSERT INTO users (name) VALUES ('ann'), ('bob');
             CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
             INSERT INTO alembic_version VALUES ('a1')",
        )
        .unwrap();
    Some(workspace)
}

const ADDS: &str = "op.add_column('users', sa.Column('email', sa.String(80)))";

fn absolute(workspace: &Workspace) -> String {
    format!("sqlite:///{}", workspace.path("app.db").display())
}

fn ask(workspace: &Workspace, sql: &str) -> String {
    Connection::open(workspace.path("app.db"))
        .unwrap()
        .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
        .map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
}

#[track_caller]
fn expect_migrated(workspace: &Workspace) {
    assert_eq!(
        ask(workspace, "SELECT version_num FROM alembic_version"),
        "Text(\"b2\")"
    );
    assert_eq!(
        ask(workspace, "SELECT count(*) FROM users WHERE email IS NULL"),
        "Integer(2)"
    );
    assert_eq!(ask(workspace, "PRAGMA integrity_check"), "Text(\"ok\")");
}

/// Copies of the workspace, images of databases, locks.
fn left_in_sandboxes(workspace: &Workspace) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let found = std::fs::read_dir(workspace.path(".ubs/sandboxes"));
    found
        .map(|all| {
            all.map(|entry| name(entry).into_string().unwrap())
                .collect()
        })
        .unwrap_or_default()
}

/// What the schema check of a pre-flight with that exit code found.
#[track_caller]
fn schema_findings(workspace: &Workspace, exit: i32) -> Value {
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(exit).json();
    preflight["checks"][1]["findings"].clone()
}

#[test]
fn a_boot_upgrades_the_database_and_keeps_a_backup() {
    let Some(workspace) = application(ADDS, absolute) else {
        return;
    };
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(1).json();
    let schema = &preflight["checks"][1];
    assert_eq!(
        schema["findings"][0]["code"], "schema.pending_migration",
        "{schema:#}"
    );
    let boot = workspace.ubs(&["boot", "--until-ready", "--json"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    expect_migrated(&workspace);
    let backups: Vec<_> = std::fs::read_dir(workspace.path(".ubs/backups"))
        .unwrap()
        .collect();
    assert_eq!(backups.len(), 1);
    let backup = Connection::open(backups[0].as_ref().unwrap().path()).unwrap();
    let version: String = backup
        .query_row("SELECT version_num FROM alembic_version", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(version, "a1");
    assert_eq!(left_in_sandboxes(&workspace), Vec::<String>::new());
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn a_migration_that_changes_rows_waits_for_a_person() {
    let body = "op.execute(\"UPDATE users SET name = upper(name)\"); op.add_column('users', sa.Column('email', sa.Text))";
    let Some(workspace) = application(body, absolute) else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    assert_eq!(
        ask(&workspace, "SELECT version_num FROM alembic_version"),
        "Text(\"a1\")"
    );
    assert_eq!(
        ask(&workspace, "SELECT min(name) FROM users"),
        "Text(\"ann\")"
    );
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let mission: &Value = &missions[0];
    assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
    let slug = mission["slug"].as_str().unwrap().to_owned();
    let shown = workspace.ubs(&["missions", "show", &slug]).expect(0).stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("rows of table users change"), "{shown}");
    assert!(
        shown.contains("run the application's migrations on database main"),
        "{shown}"
    );
    workspace
        .ubs(&["missions", "approve", &slug, "--by", "ann"])
        .expect(0);
    expect_migrated(&workspace);
    assert_eq!(
        ask(&workspace, "SELECT min(name) FROM users"),
        "Text(\"ANN\")"
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let body = "op.add_column('users', sa.Column('email', sa.Text)); raise RuntimeError('no luck')";
    let Some(workspace) = application(body, absolute) else {
        return;
    };
    let before = std::fs::read(workspace.path("app.db")).unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    assert_eq!(std::fs::read(workspace.path("app.db")).unwrap(), before);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let reason = missions.to_string();
    assert!(reason.contains("no luck"), "{missions:#}");
}

#[test]
fn killed_in_the_middle_of_an_upgrade() {
    for point in [
        "trial.migrated",
        "promote.journaled",
        "promote.database_changed",
        "promote.carried_out",
    ] {
        let Some(mut workspace) = application(ADDS, absolute) else {
            return;
        };
        workspace.boot_killed_at(point).expect(-1);
        if point == "trial.migrated" {
            let images = left_in_sandboxes(&workspace);
            assert!(
                images.iter().any(|name| name.contains(".migrated-")),
                "{images:?}"
            );
        }
        workspace.ubs(&["boot", "--until-ready"]).expect(0);
        assert_eq!(
            left_in_sandboxes(&workspace),
            Vec::<String>::new(),
            "{point}"
        );
        expect_migrated(&workspace);
        let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
        assert_eq!(open, Value::Array(vec![]), "{point}");
        workspace.ubs(&["log", "verify"]).expect(0);
    }
}
