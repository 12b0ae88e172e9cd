//! Flask-Migrate: its `alembic.ini` lies beside `env.py`, which needs the application.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use super::schema_findings;
use crate::support::{Workspace, venv};

const APP: &str = "from flask import Flask\nfrom flask_migrate import Migrate\nfrom flask_sqlalchemy import SQLAlchemy\n\n\
    db = SQLAlchemy()\n\n\nclass User(db.Model):\n    id = db.Column(db.Integer, primary_key=True)\n    name = db.Column(db.String(80))\n";
const FACTORY: &str = "\n\ndef create_app():\n    app = Flask(__name__)\n    \
    app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite:///shop.db'\n    db.init_app(app)\n    Migrate(app, db)\n    return app\n";

fn flask(workspace: &Workspace, python: &Path, arguments: &[&str]) {
    let done = Command::new(python)
        .args([
            "-B",
            "-m",
            "flask",
            "--app",
            "backend.web:create_app()",
            "db",
        ])
        .args(arguments)
        .current_dir(workspace.root())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {told}");
}

/// An application whose database is one migration behind; `registration`: of its manifest.
fn application(registration: &str) -> Option<Workspace> {
    let python = venv::python_with(&venv::WIDE_PACKAGES)?;
    let workspace = Workspace::with_manifest(&format!(
        "[app]\nname = \"m\"\n[python]\ninterpreter = {:?}\n{registration}[[schema]]\nname = \"main\"\n\
         database = \"sqlite:///instance/shop.db\"\nexpect = \"alembic:migrations/alembic.ini\"\n\
         models = \"sqlalchemy:backend.web:db.metadata\"\n[heal]\nbackoff = \"1ms\"\n\
         [[layer]]\nname = \"work\"\nrehearse = {{ command = [\"true\"] }}\n",
        python.display()
    ));
    workspace.write("backend/__init__.py", "");
    workspace.write("backend/web.py", &format!("{APP}{FACTORY}"));
    flask(&workspace, &python, &["init"]);
    flask(&workspace, &python, &["migrate", "-m", "users"]);
    flask(&workspace, &python, &["upgrade"]);
    Connection::open(workspace.path("instance/shop.db"))
        .unwrap()
        .execute_batch("INSERT INTO user (name) VALUES ('ann'), ('bob')")
        .unwrap();
    let email = "    email = db.Column(db.String(80))\n";
    workspace.write("backend/web.py", &format!("{APP}{email}{FACTORY}"));
    flask(&workspace, &python, &["migrate", "-m", "email"]);
    Some(workspace)
}

#[track_caller]
fn expect_upgraded(workspace: &Workspace) {
    let rows: i64 = Connection::open(workspace.path("instance/shop.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM user WHERE email IS NULL", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn the_registered_application_is_upgraded_within() {
    let Some(workspace) = application("[registration]\napp = \"flask:backend.web:create_app()\"\n")
    else {
        return;
    };
    let findings = schema_findings(&workspace, 1);
    assert_eq!(
        findings[0]["code"], "schema.pending_migration",
        "{findings:#}"
    );
    assert_eq!(
        findings[0]["remedy"], "run `flask db upgrade`",
        "{findings:#}"
    );
    workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0);
    expect_upgraded(&workspace);
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(preflight["checks"][1]["status"], "healthy", "{preflight:#}");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn the_application_that_the_environment_names_is_upgraded_within() {
    let Some(mut workspace) = application("") else {
        return;
    };
    workspace.set_env("FLASK_APP", "backend.web:create_app()");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    expect_upgraded(&workspace);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn without_an_application_the_mission_says_what_flask_says() {
    let Some(workspace) = application("") else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).stdout;
    assert!(
        missions.contains("Could not locate a Flask application"),
        "{missions}"
    );
}
