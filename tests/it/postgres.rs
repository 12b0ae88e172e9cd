//! Boots that heal a PostgreSQL database: a real server, real SQLAlchemy models.

use crate::support::postgres::{PASSWORD, Server};
use crate::support::{Workspace, venv};
use serde_json::Value;

const MODELS: &str = r#"
import enum
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Order(Base):
    __tablename__ = "a_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    shop_id: Mapped[int] = mapped_column(sa.ForeignKey("shops.id"))
    state: Mapped[str] = mapped_column(sa.Enum("open", "paid", name="order_state"), server_default="open")

class Shop(Base):
    __tablename__ = "shops"
    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(sa.Enum("open", "paid", name="order_state"))

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(20), index=True)
    age: Mapped[int] = mapped_column(server_default="7")
    email: Mapped[str | None] = mapped_column(sa.String(80))
EXTRA
"#;

const LEFT: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%'";

/// An application of `bob`, who owns the database `app` with three users in it.
fn application(extra: &str) -> Option<(Server, Workspace)> {
    let python = venv::application_python()?;
    let server = Server::start()?;
    let url = server.database_of_bob(
        "CREATE TABLE users (id serial PRIMARY KEY, name varchar(20) NOT NULL); \
         INSERT INTO users (name) VALUES ('ann'), ('bob'), ('eve')",
    );
    let workspace = Workspace::with_manifest(&format!(
        "[app]\nname = \"m\"\n[python]\ninterpreter = {:?}\n[config]\nfiles = [\".env\"]\n[config.vars.DATABASE_URL]\n\
         required = true\nsecret = true\n[[schema]]\nname = \"main\"\ndatabase = \"${{DATABASE_URL}}\"\n\
         expect = \"sqlalchemy:models:Base\"\n[heal]\nbackoff = \"1ms\"\n[[layer]]\nname = \"work\"\n\
         rehearse = {{ command = [\"true\"] }}\n",
        python.display()
    ));
    workspace.write(".env", &format!("DATABASE_URL={url}\n"));
    workspace.write("models.py", &MODELS.replace("EXTRA", extra));
    Some((server, workspace))
}

#[track_caller]
fn expect_healed(server: &Server) {
    let asked = "SELECT count(*), sum(age), count(email), (SELECT count(*) FROM a_orders), \
                 (SELECT count(*) FROM shops), \
                 (SELECT count(*) FROM pg_indexes WHERE indexname = 'ix_a_orders_user_id') FROM users";
    assert_eq!(server.sql("app", asked).trim(), "3|21|0|0|0|1");
    assert_eq!(
        server.sql("postgres", LEFT).trim(),
        "0",
        "a database was left behind"
    );
}

#[test]
fn a_boot_adds_what_is_missing_and_no_row_changes() {
    let Some((server, workspace)) = application("") else {
        return;
    };
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(1).json();
    let codes: Vec<&str> = preflight["checks"][1]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "schema.missing_table",
            "schema.missing_table",
            "schema.missing_column",
            "schema.missing_column",
            "schema.missing_index"
        ]
    );
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    expect_healed(&server);
    workspace.expect_not_logged(&["p%40ss", PASSWORD]);
    // A missing index stops no boot; the worker mends it.
    workspace.ubs(&["worker", "--once"]);
    let index = "SELECT count(*) FROM pg_indexes WHERE indexname = 'ix_users_name'";
    assert_eq!(server.sql("app", index).trim(), "1");
    let clean = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(
        clean["checks"][1]["findings"],
        Value::Array(vec![]),
        "{clean:#}"
    );
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn what_cannot_be_added_safely_is_a_mission_with_statements_and_reason() {
    let Some((server, workspace)) = application(
        "    phone: Mapped[str] = mapped_column(sa.String(9))\n    token: Mapped[str | None] = mapped_column(sa.Uuid, server_default=sa.text('gen_random_uuid()'))",
    ) else {
        return;
    };
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let phone = missions.as_array().unwrap().iter();
    let mut phone = phone.filter(|mission| mission["failure"]["subject"] == "users.phone");
    let phone = phone.next().unwrap_or_else(|| panic!("{missions:#}"));
    assert_eq!(phone["status"], "awaiting_approval", "{phone:#}");
    let summary = phone["proposal"]["summary"].as_str().unwrap();
    assert!(
        summary.contains("NOT NULL, and give its") && summary.contains("made up"),
        "{summary}"
    );
    let (subject, reason) = ("users.token", "its default is no constant");
    let statement =
        "ALTER TABLE \"public\".\"users\" ADD COLUMN token UUID DEFAULT gen_random_uuid()";
    let mission = missions
        .as_array()
        .unwrap()
        .iter()
        .find(|mission| mission["failure"]["subject"] == subject)
        .unwrap_or_else(|| panic!("{subject} in {missions:#}"));
    assert_eq!(mission["status"], "quarantined", "{mission:#}");
    assert!(
        mission["reason"].as_str().unwrap().contains(reason),
        "{mission:#}"
    );
    let fix = &mission["failure"]["fix"];
    assert!(
        fix["statements"].as_str().unwrap().contains(statement),
        "{mission:#}"
    );
    let remedy = mission["failure"]["remedy"].as_str().unwrap();
    assert!(
        remedy.contains(reason) && remedy.contains("ALTER TABLE"),
        "{remedy}"
    );
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users' AND column_name IN ('phone', 'token')";
    assert_eq!(server.sql("app", columns).trim(), "0");
    assert_eq!(server.sql("postgres", LEFT).trim(), "0");
}

#[test]
fn a_user_who_may_not_create_databases_gets_the_statements() {
    let Some((server, workspace)) = application("") else {
        return;
    };
    server.sql("postgres", "ALTER ROLE bob NOCREATEDB");
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let orders = missions
        .as_array()
        .unwrap()
        .iter()
        // Two tables that are missing are one failure.
        .find(|mission| mission["failure"]["facts"]["tables"] == "a_orders, shops")
        .unwrap_or_else(|| panic!("{missions:#}"));
    let reason = orders["reason"].as_str().unwrap();
    assert!(
        reason.contains("the user bob may not create databases"),
        "{orders:#}"
    );
    let script = orders["failure"]["fix"]["statements"].as_str().unwrap();
    assert!(
        script.contains("CREATE TYPE order_state AS ENUM ('open', 'paid')")
            && script.contains("CREATE TABLE a_orders (")
            && script.contains("CREATE INDEX ix_a_orders_user_id"),
        "{script}"
    );
    assert!(script.find("CREATE TABLE shops") < script.find("CREATE TABLE a_orders"));
    // What the mission says is what mends it.
    server.sql("app", &format!("SET ROLE bob; {script}"));
    assert_eq!(
        server.sql("app", "SELECT count(*) FROM a_orders").trim(),
        "0"
    );
}

#[test]
fn killed_in_the_middle_of_a_promotion() {
    expect_healed_after_a_kill_at(&["promote.database_changed"]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn killed_at_every_point_of_a_promotion() {
    expect_healed_after_a_kill_at(&[
        "trial.cloned",
        "promote.journaled",
        "promote.uncommitted",
        "promote.carried_out",
    ]);
}

fn expect_healed_after_a_kill_at(points: &[&str]) {
    for point in points {
        let Some((server, mut workspace)) = application("") else {
            return;
        };
        workspace.boot_killed_at(point).expect(-1);
        workspace.ubs(&["boot", "--until-ready"]).expect(0);
        expect_healed(&server);
        workspace.ubs(&["log", "verify"]).expect(0);
    }
}

#[test]
fn statements_of_somebody_else_wait_for_approval_and_can_only_add() {
    let Some((server, workspace)) = application("") else {
        return;
    };
    server.sql("postgres", "ALTER ROLE bob NOCREATEDB");
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    server.sql("postgres", "ALTER ROLE bob CREATEDB");
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = missions
        .as_array()
        .unwrap()
        .iter()
        .find(|mission| mission["failure"]["subject"] == "users.email")
        .and_then(|mission| mission["slug"].as_str())
        .unwrap_or_else(|| panic!("{missions:#}"))
        .to_owned();
    let propose = |statement: &str| {
        workspace.ubs(&["missions", "requeue", &slug]);
        workspace.ubs(&[
            "missions",
            "claim",
            &slug,
            "--worker",
            "create_table",
            "--json",
        ]);
        let fix = serde_json::json!({"summary": "s", "risk": "additive",
            "changes": [{"sql": {"schema": "main", "statements": [statement]}}]});
        workspace.write("fix.json", &fix.to_string());
        workspace.ubs(&[
            "missions",
            "propose",
            &slug,
            "--worker",
            "create_table",
            "--file",
            "fix.json",
            "--json",
        ])
    };
    let hostile = propose(
        "ALTER TABLE users ADD COLUMN email varchar(80) DEFAULT pg_read_file('/etc/passwd')",
    );
    assert!(
        hostile.stdout.contains("is not run automatically")
            && hostile.stdout.contains("\"rejected\""),
        "{}{}",
        hostile.stdout,
        hostile.stderr
    );
    let good = propose("ALTER TABLE users ADD COLUMN email varchar(80)");
    assert!(
        good.stdout.contains("awaiting_approval"),
        "{}{}",
        good.stdout,
        good.stderr
    );
    let there = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'email'";
    assert_eq!(server.sql("app", there).trim(), "0");
    workspace
        .ubs(&["missions", "approve", &slug, "--by", "ann"])
        .expect(0);
    assert_eq!(server.sql("app", there).trim(), "1");
    assert_eq!(server.sql("postgres", LEFT).trim(), "0");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_boot_heals_from_sql_files() {
    let Some((server, workspace)) = application("") else {
        return;
    };
    let manifest = workspace
        .read("ubs.toml")
        .replace("sqlalchemy:models:Base", "sql:schema/*.sql");
    workspace.write("ubs.toml", &manifest);
    workspace.write(
        "schema/1_users.sql",
        "CREATE TABLE users (id serial PRIMARY KEY, name varchar(20) NOT NULL, age int NOT NULL DEFAULT 7, email varchar(80));",
    );
    workspace.write(
        "schema/2_orders.sql",
        "CREATE TYPE order_state AS ENUM ('open', 'paid');\n\
         CREATE TABLE a_orders (id serial PRIMARY KEY, user_id int NOT NULL REFERENCES users, state order_state);\n\
         CREATE INDEX ix_a_orders_user_id ON a_orders (user_id);\nCREATE TABLE shops (id serial PRIMARY KEY);",
    );
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    expect_healed(&server);
    workspace.expect_not_logged(&["p%40ss", PASSWORD]);
    workspace.ubs(&["preflight"]).expect(0);
}
