//! The histories of applications that nobody here wrote: `ubs boot` brings an empty PostgreSQL database to their head,
//! and leaves what the applications' own commands leave, line by line of a dump.

use std::path::PathBuf;
use std::process::Command;

use super::{expect_nothing_left, mission};
use crate::support::Workspace;
use crate::support::postgres::Server;
use crate::support::real::{check_out_in, copy};

/// An application of `tests/schema`, whose migrations lie in its package.
struct History {
    name: &'static str,
    /// Of the package.
    migrations: &'static str,
    /// Where they are put.
    directory: &'static str,
    /// Of `alembic.ini`; `URL` is the database's.
    options: &'static str,
    /// What is replaced in `env.py`.
    edit: [&'static str; 2],
    /// They change what is there, so a person has to approve.
    changes: bool,
    /// What the application's own command does before its migrations, and the revision that is its beginning.
    begin: Option<(&'static str, &'static str)>,
}

const LOGGERS: &str = "[loggers]\nkeys = root\n[handlers]\nkeys = console\n[formatters]\nkeys = generic\n[logger_root]\nlevel = WARN\n\
    handlers = console\n[handler_console]\nclass = StreamHandler\nargs = (sys.stderr,)\nformatter = generic\n\
    [formatter_generic]\nformat = %(message)s\n";

fn boot(history: &History) {
    let Some((workspace, _, python)) = check_out_in("schema", history.name) else {
        return;
    };
    let Some(server) = Server::start() else {
        return;
    };
    let ours = server.database_of_bob("");
    server.sql("postgres", "ALTER ROLE bob CREATEROLE");
    server.sql("postgres", "CREATE DATABASE theirs OWNER bob");
    let theirs = ours
        .replace("/app", "/theirs")
        .replace("+asyncpg", "+psycopg2");
    let migrated = Command::new(&python)
        .args(["migrate.py", &theirs])
        .current_dir(workspace.root())
        .env("HOME", workspace.root())
        .output()
        .unwrap();
    assert!(
        migrated.status.success(),
        "{}",
        String::from_utf8_lossy(&migrated.stderr)
    );
    copy(
        &site_packages(&workspace).join(history.migrations),
        &workspace.path(history.directory),
    );
    workspace.write(
        "alembic.ini",
        &format!(
            "[alembic]\nscript_location = {}\n{}\n{LOGGERS}",
            history.directory, history.options
        )
        .replace(
            "URL",
            &ours.replace("+asyncpg", "+psycopg2").replace('%', "%%"),
        ),
    );
    let has_asyncpg = site_packages(&workspace).join("asyncpg").exists();
    let ours = if has_asyncpg {
        ours
    } else {
        ours.replace("+asyncpg", "+psycopg2")
    };
    workspace.write(
        ".env",
        &format!("DATABASE_URL={ours}\nPREFECT_API_DATABASE_CONNECTION_URL={ours}\n"),
    );
    workspace.write(
        "ubs.toml",
        &format!(
            "[app]\nname = {:?}\n[config]\nfiles = [\".env\"]\n[python]\ninterpreter = \".venv/bin/python\"\n[[schema]]\nname = \"main\"\n\
             database = \"${{DATABASE_URL}}\"\nexpect = \"alembic:alembic.ini\"\n[heal]\nbackoff = \"1ms\"\n[[layer]]\nname = \"app\"\n\
             rehearse = {{ command = [\"true\"] }}\n",
            history.name
        ),
    );
    let env_py = format!("{}/env.py", history.directory);
    let [old, new] = history.edit;
    let text = workspace.read(&env_py);
    assert!(text.contains(old), "{env_py}");
    workspace.write(&env_py, &text.replacen(old, new, 1));
    if let Some((code, revision)) = history.begin {
        let code = format!(
            "{code}\nimport alembic.config\nalembic.config.main(['upgrade', '{revision}'])"
        );
        let begun = Command::new(&python)
            .args(["-c", &code, &ours.replace("+asyncpg", "+psycopg2")])
            .current_dir(workspace.root())
            .output()
            .unwrap();
        assert!(
            begun.status.success(),
            "{}",
            String::from_utf8_lossy(&begun.stderr)
        );
    }
    if history.changes {
        workspace.ubs(&["boot", "--until-ready"]).expect(1);
        let waiting = mission(&workspace);
        assert_eq!(waiting["status"], "awaiting_approval", "{waiting:#}");
        let slug = waiting["slug"].as_str().unwrap();
        workspace
            .ubs(&["missions", "approve", slug, "--by", "ann"])
            .expect(0);
    }
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    expect_nothing_left(&server);
    assert_eq!(server.dump("app"), server.dump("theirs"));
    let rows = "SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version";
    assert_eq!(server.sql("app", rows), server.sql("theirs", rows));
}

fn site_packages(workspace: &Workspace) -> PathBuf {
    let pattern = workspace.path(".venv/lib/python3*/site-packages");
    let mut found = glob::glob(pattern.to_str().unwrap()).unwrap();
    found.next().unwrap().unwrap()
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn optuna() {
    boot(&History {
        name: "optuna",
        migrations: "optuna/storages/_rdb/alembic",
        directory: "history",
        options: "sqlalchemy.url = URL",
        edit: ["", ""],
        changes: false,
        begin: None,
    });
}

/// Its first tables are made by code; migrations change those.
#[test]
#[ignore = "long: `.ci/run --all`"]
fn mlflow() {
    boot(&History {
        name: "mlflow",
        migrations: "mlflow/store/db_migrations",
        directory: "history",
        options: "sqlalchemy.url = URL",
        edit: ["", ""],
        changes: true,
        begin: Some((
            "import sys, sqlalchemy\nfrom mlflow.store.tracking.dbmodels.initial_models import Base\n\
             Base.metadata.create_all(sqlalchemy.create_engine(sys.argv[1]))",
            "451aebb31d03",
        )),
    });
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn keystone() {
    boot(&History {
        name: "keystone",
        migrations: "keystone/common/sql/migrations",
        directory: "history",
        options: "recursive_version_locations = true\nsqlalchemy.url = URL",
        // Its program reads the configuration before.
        edit: [
            "from alembic import context",
            "import models\nfrom alembic import context",
        ],
        changes: false,
        begin: None,
    });
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn prefect() {
    boot(&History {
        name: "prefect",
        migrations: "prefect/server/database/_migrations",
        directory: "history",
        options: "revision_environment = true\nversion_locations = history/versions/postgresql",
        // Its program runs them in a thread beside its event loop.
        edit: [
            "run_async_from_worker_thread(apply_migrations)",
            "import asyncio; asyncio.run(apply_migrations())",
        ],
        changes: false,
        begin: None,
    });
}
