//! Alembic as projects lay it out: an asynchronous `env.py`, `pyproject.toml`, a version table of its own,
//! several directories of versions with branches, several databases.

use rusqlite::Connection;
use serde_json::Value;

use super::schema_findings;
use crate::support::alembic::{SYNC, revision};
use crate::support::{Workspace, venv};

const USERS: &str = "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))";
const EMAIL: &str = "op.add_column('users', sa.Column('email', sa.String(80)))";

/// A workspace with these schemas and this `.env`.
fn workspace(schemas: &str, url: &str) -> Option<Workspace> {
    let python = venv::python_with(&venv::WIDE_PACKAGES)?;
    let workspace = Workspace::with_manifest(&format!(
        "[app]\nname = \"m\"\n[python]\ninterpreter = {:?}\n[config]\nfiles = [\".env\"]\n[config.vars.DATABASE_URL]\n\
         required = true\n{schemas}[heal]\nbackoff = \"1ms\"\n[[layer]]\nname = \"work\"\n\
         rehearse = {{ command = [\"true\"] }}\n",
        python.display()
    ));
    let url = url.replace("ROOT", &workspace.root().display().to_string());
    workspace.write(".env", &format!("DATABASE_URL={url}\n"));
    Some(workspace)
}

fn schema(name: &str, database: &str, expect: &str) -> String {
    format!("[[schema]]\nname = {name:?}\ndatabase = {database:?}\nexpect = {expect:?}\n")
}

/// The table of users with two rows, and this version.
fn at(workspace: &Workspace, file: &str, table: &str, version: &str) {
    Connection::open(workspace.path(file))
        .unwrap()
        .execute_batch(&format!(
            "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name TEXT); INSERT INTO users (name) VALUES ('ann'), ('bob');
             CREATE TABLE {table} (version_num VARCHAR(32) NOT NULL PRIMARY KEY); INSERT INTO {table} VALUES ('{version}')"
        ))
        .unwrap();
}

/// The versions that a database has, sorted.
fn versions(workspace: &Workspace, file: &str, table: &str) -> Vec<String> {
    let connection = Connection::open(workspace.path(file)).unwrap();
    let mut statement = connection
        .prepare(&format!("SELECT version_num FROM {table} ORDER BY 1"))
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[track_caller]
fn boots(workspace: &Workspace) {
    let boot = workspace.ubs(&["boot", "--until-ready", "--json"]);
    let missions = || workspace.ubs(&["missions", "--json"]).stdout;
    assert_eq!(boot.code, 0, "{}{}{}", boot.stdout, boot.stderr, missions());
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(preflight["checks"][1]["status"], "healthy", "{preflight:#}");
}

#[test]
fn an_asynchronous_environment_keeps_its_driver_in_the_trial() {
    let env = "import asyncio, os\nfrom alembic import context\nfrom sqlalchemy.ext.asyncio import create_async_engine\n\n\
        def run(connection):\n    context.configure(connection=connection, target_metadata=None)\n    \
        with context.begin_transaction():\n        context.run_migrations()\n\n\
        async def main():\n    engine = create_async_engine(os.environ['DATABASE_URL'])\n    \
        async with engine.connect() as connection:\n        await connection.run_sync(run)\n    await engine.dispose()\n\n\
        asyncio.run(main())\n";
    for url in [
        "sqlite+aiosqlite:///ROOT/app.db?timeout=9",
        "sqlite+aiosqlite:///app.db",
    ] {
        let schemas = schema("main", "${DATABASE_URL}", "alembic:alembic.ini");
        let Some(workspace) = workspace(&schemas, url) else {
            return;
        };
        workspace.write(
            "alembic.ini",
            "[alembic]\nscript_location = %(here)s/migrations\n",
        );
        workspace.write("migrations/env.py", env);
        workspace.write("migrations/versions/a1.py", &revision("a1", "None", USERS));
        workspace.write("migrations/versions/b2.py", &revision("b2", "'a1'", EMAIL));
        at(&workspace, "app.db", "alembic_version", "a1");
        boots(&workspace);
        assert_eq!(
            versions(&workspace, "app.db", "alembic_version"),
            ["b2"],
            "{url}"
        );
    }
}

#[test]
fn pyproject_a_version_table_and_several_directories() {
    let schemas = schema("main", "${DATABASE_URL}", "alembic:pyproject.toml");
    let Some(workspace) = workspace(&schemas, "sqlite:///app.db") else {
        return;
    };
    workspace.write(
        "pyproject.toml",
        "[project]\nname = \"m\"\nversion = \"1\"\n[tool.alembic]\nscript_location = \"%(here)s/migrations\"\n\
         version_locations = [\"%(here)s/migrations/versions\", \"%(here)s/plugins\"]\n",
    );
    let env = SYNC.replace(
        "target_metadata=None",
        "target_metadata=None, version_table=TABLE",
    );
    workspace.write(
        "migrations/env.py",
        &format!("TABLE = 'shop_versions'\n{env}"),
    );
    // Two branches with labels, both of which are meant to stay.
    let users = revision("a1", "None", USERS);
    workspace.write(
        "migrations/versions/a1.py",
        &format!("{users}branch_labels = ('core',)\n"),
    );
    workspace.write("migrations/versions/b2.py", &revision("b2", "'a1'", EMAIL));
    let plugin = revision(
        "p1",
        "None",
        "op.create_table('plugins', sa.Column('id', sa.Integer, primary_key=True))",
    );
    workspace.write(
        "plugins/p1.py",
        &format!("{plugin}branch_labels = ('plugin',)\ndepends_on = ('b2',)\n"),
    );
    at(&workspace, "app.db", "shop_versions", "a1");
    boots(&workspace);
    // `p1` tells of what it depends on, so Alembic keeps no row of that.
    assert_eq!(versions(&workspace, "app.db", "shop_versions"), ["p1"]);
}

#[test]
fn a_merge_leaves_one_row_of_two_and_is_no_loss() {
    let schemas = schema("main", "${DATABASE_URL}", "alembic:alembic.ini");
    let Some(workspace) = workspace(&schemas, "sqlite:///app.db") else {
        return;
    };
    workspace.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
    workspace.write("migrations/env.py", SYNC);
    workspace.write("migrations/versions/a1.py", &revision("a1", "None", USERS));
    workspace.write("migrations/versions/b2.py", &revision("b2", "'a1'", EMAIL));
    workspace.write("migrations/versions/c3.py", &revision("c3", "'a1'", "pass"));
    workspace.write(
        "migrations/versions/d4.py",
        &revision("d4", "('b2', 'c3')", "pass"),
    );
    at(&workspace, "app.db", "alembic_version", "b2");
    Connection::open(workspace.path("app.db"))
        .unwrap()
        .execute_batch("INSERT INTO alembic_version VALUES ('c3'); ALTER TABLE users ADD COLUMN email VARCHAR(80)")
        .unwrap();
    boots(&workspace);
    assert_eq!(versions(&workspace, "app.db", "alembic_version"), ["d4"]);
}

#[test]
fn two_databases_have_histories_of_their_own() {
    let schemas = schema("shop", "sqlite:///shop.db", "alembic:db/alembic.ini#shop")
        + &schema("logs", "sqlite:///logs.db", "alembic:db/alembic.ini#logs");
    let Some(workspace) = workspace(&schemas, "sqlite:///shop.db") else {
        return;
    };
    workspace.write(
        "db/alembic.ini",
        "[DEFAULT]\npath_separator = os\n[shop]\nscript_location = %(here)s/shop\nsqlalchemy.url = sqlite:///shop.db\n\
         [logs]\nscript_location = %(here)s/logs\nsqlalchemy.url = sqlite:///%(here)s/../logs.db\n",
    );
    let env = "from alembic import context\nfrom sqlalchemy import engine_from_config\n\
        section = context.config.get_section(context.config.config_ini_section)\n\
        with engine_from_config(section, prefix='sqlalchemy.').connect() as connection:\n    \
        context.configure(connection=connection, target_metadata=None)\n    \
        with context.begin_transaction():\n        context.run_migrations()\n";
    for name in ["shop", "logs"] {
        workspace.write(&format!("db/{name}/env.py"), env);
        workspace.write(
            &format!("db/{name}/versions/a1.py"),
            &revision("a1", "None", USERS),
        );
        workspace.write(
            &format!("db/{name}/versions/b2.py"),
            &revision("b2", "'a1'", EMAIL),
        );
        at(&workspace, &format!("{name}.db"), "alembic_version", "a1");
    }
    let findings = schema_findings(&workspace, 1);
    let remedies: Vec<&Value> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["remedy"])
        .collect();
    assert_eq!(
        remedies,
        [
            "run `alembic -c db/alembic.ini -n shop upgrade head`",
            "run `alembic -c db/alembic.ini -n logs upgrade head`"
        ]
    );
    boots(&workspace);
    for file in ["shop.db", "logs.db"] {
        assert_eq!(
            versions(&workspace, file, "alembic_version"),
            ["b2"],
            "{file}"
        );
    }
}

#[test]
fn a_package_of_the_application_may_have_the_name_of_the_tool() {
    let schemas = schema("main", "${DATABASE_URL}", "alembic:alembic.ini");
    let Some(workspace) = workspace(&schemas, "sqlite:///app.db") else {
        return;
    };
    workspace.write("alembic.ini", "[alembic]\nscript_location = alembic\n");
    workspace.write("alembic/__init__.py", "");
    workspace.write("alembic/env.py", SYNC);
    workspace.write("alembic/versions/a1.py", &revision("a1", "None", USERS));
    workspace.write("alembic/versions/b2.py", &revision("b2", "'a1'", EMAIL));
    at(&workspace, "app.db", "alembic_version", "a1");
    boots(&workspace);
    assert_eq!(versions(&workspace, "app.db", "alembic_version"), ["b2"]);
}

#[test]
fn a_version_table_that_is_computed_is_not_guessed() {
    let schemas = schema("main", "${DATABASE_URL}", "alembic:alembic.ini");
    let Some(workspace) = workspace(&schemas, "sqlite:///app.db") else {
        return;
    };
    workspace.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
    let env = SYNC.replace(
        "target_metadata=None",
        "target_metadata=None, version_table='v' + os.environ['X']",
    );
    workspace.write("migrations/env.py", &env);
    workspace.write("migrations/versions/a1.py", &revision("a1", "None", USERS));
    at(&workspace, "app.db", "vx", "a1");
    let findings = schema_findings(&workspace, 0);
    assert_eq!(findings[0]["code"], "schema.not_compared", "{findings:#}");
    assert_eq!(
        findings[0]["location"]["file"], "migrations/env.py",
        "{findings:#}"
    );
}

#[test]
fn a_locked_and_a_damaged_database_are_told_as_that() {
    let schemas = schema("main", "${DATABASE_URL}", "alembic:alembic.ini");
    let Some(workspace) = workspace(&schemas, "sqlite:///app.db") else {
        return;
    };
    workspace.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
    workspace.write("migrations/env.py", SYNC);
    workspace.write("migrations/versions/a1.py", &revision("a1", "None", USERS));
    at(&workspace, "app.db", "alembic_version", "a1");
    let codes = || {
        let findings = schema_findings(&workspace, 1).as_array().unwrap().clone();
        let told = |f: &Value| {
            (
                f["code"].as_str().unwrap().to_owned(),
                f["message"].to_string(),
            )
        };
        findings.iter().map(told).collect::<Vec<_>>()
    };
    let holder = Connection::open(workspace.path("app.db")).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let found = codes();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "schema.unreachable", "{found:?}");
    assert!(found[0].1.contains("locked"), "{found:?}");
    holder.execute_batch("ROLLBACK").unwrap();
    drop(holder);
    // The page of the version table, behind the header and its own definition.
    let page: u32 = Connection::open(workspace.path("app.db"))
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'alembic_version'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let whole = std::fs::read(workspace.path("app.db")).unwrap();
    let mut broken = whole.clone();
    let start = usize::try_from(page - 1).unwrap() * 4096;
    broken[start..start + 4096].fill(0xff);
    std::fs::write(workspace.path("app.db"), &broken).unwrap();
    let found = codes();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "schema.unreachable", "{found:?}");
    assert!(found[0].1.contains("malformed"), "{found:?}");
    std::fs::write(
        workspace.path("app.db"),
        b"no database, but longer than a header of one would be. ".repeat(40),
    )
    .unwrap();
    let found = codes();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "schema.unreachable", "{found:?}");
}
