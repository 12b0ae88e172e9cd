//! Flask-Migrate: its `env.py` takes the database from the application.

use std::path::Path;
use std::process::Command;

use super::{expect_nothing_left, manifest};
use crate::support::postgres::Server;
use crate::support::{Workspace, venv};

const APP: &str = "import os\nfrom flask import Flask\nfrom flask_migrate import Migrate\nfrom flask_sqlalchemy import SQLAlchemy\n\n\
    db = SQLAlchemy()\n\n\nclass User(db.Model):\n    __tablename__ = 'members'\n    id = db.Column(db.Integer, primary_key=True)\n    name = db.Column(db.String(80))\n";
const FACTORY: &str = "\n\ndef create_app():\n    app = Flask(__name__)\n    \
    app.config['SQLALCHEMY_DATABASE_URI'] = os.environ['DATABASE_URL']\n    db.init_app(app)\n    Migrate(app, db)\n    return app\n";

fn flask(workspace: &Workspace, python: &Path, url: &str, arguments: &[&str]) {
    let done = Command::new(python)
        .args(["-B", "-m", "flask", "--app", "web:create_app()", "db"])
        .args(arguments)
        .current_dir(workspace.root())
        .env("DATABASE_URL", url)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {told}");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn the_registered_application_is_upgraded_within() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let registration = "[registration]\napp = \"flask:web:create_app()\"\n";
    let Some(manifest) = manifest(
        "${DATABASE_URL}",
        "alembic:migrations/alembic.ini",
        registration,
    ) else {
        return;
    };
    let Some(server) = Server::start() else {
        return;
    };
    let url = server
        .database_of_bob("")
        .replace("postgresql+asyncpg", "postgresql+psycopg2");
    server.sql("postgres", "ALTER ROLE bob CREATEROLE");
    let workspace = Workspace::with_manifest(&manifest);
    workspace.write(".env", &format!("DATABASE_URL={url}\n"));
    workspace.write("web.py", &format!("{APP}{FACTORY}"));
    for arguments in [&["init"][..], &["migrate", "-m", "users"], &["upgrade"]] {
        flask(&workspace, &python, &url, arguments);
    }
    server.sql("app", "INSERT INTO members (name) VALUES ('ann'), ('bob')");
    let email = "    email = db.Column(db.String(80), index=True)\n";
    workspace.write("web.py", &format!("{APP}{email}{FACTORY}"));
    flask(&workspace, &python, &url, &["migrate", "-m", "email"]);
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    let rows = server.sql("app", "SELECT count(*), count(email) FROM members");
    assert_eq!(rows.trim(), "2|0");
    expect_nothing_left(&server);
    workspace.ubs(&["preflight"]).expect(0);
}
