//! When not to heal: each of these was once healed wrongly by itself, or was GO. A false GO or a wrong heal is a failed
//! test; and what a fixer is for is still healed.

use std::os::unix::fs::PermissionsExt;

use crate::support::postgres::Server;
use crate::support::{Workspace, venv};
use rusqlite::Connection;
use serde_json::Value;

const MODELS: &str = "from sqlalchemy import Column, ForeignKey, Integer, String
from sqlalchemy.orm import declarative_base
Base = declarative_base()

class User(Base):
    __tablename__ = 'users'
    id = Column(Integer, primary_key=True)
    name = Column(String(80))

class Invoice(Base):
    __tablename__ = 'invoices'
    id = Column(Integer, primary_key=True)
    user_id = Column(ForeignKey('users.id'))
";
const TABLES: &str = "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(80));
    CREATE TABLE invoices (id INTEGER NOT NULL PRIMARY KEY, user_id INTEGER REFERENCES users (id));
    INSERT INTO users (name) VALUES ('ann'); INSERT INTO invoices (user_id) VALUES (1);";

/// A manifest with the models of `models`, and this besides.
fn manifest(more: &str) -> Option<String> {
    let python = venv::application_python()?;
    Some(format!(
        "[app]\nname = \"w\"\n[python]\ninterpreter = {:?}\n[heal]\nattempts = 3\nbackoff = \"1ms\"\n\
         [[schema]]\nname = \"main\"\ndatabase = \"${{DATABASE_URL}}\"\nexpect = \"sqlalchemy:models:Base\"\n{more}",
        python.display()
    ))
}

const PLAIN_CONFIG: &str =
    "[config]\nfiles = [\".env\"]\n[config.vars.DATABASE_URL]\nrequired = true\n";
const PLAIN_LAYER: &str = "[[layer]]\nname = \"work\"\n[[layer.service]]\nname = \"work\"\nrun = \"true\"\noneshot = true\n";

/// An application whose database is `app.db`.
fn application(more: &str) -> Option<Workspace> {
    let text = manifest(&format!("{PLAIN_CONFIG}{more}"))?;
    let workspace = Workspace::with_manifest(&text);
    workspace.write(".env", "DATABASE_URL=sqlite:///app.db\n");
    workspace.write("models.py", MODELS);
    Some(workspace)
}

fn fill(workspace: &Workspace, file: &str, sql: &str) {
    let connection = Connection::open(workspace.path(file)).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn tables(workspace: &Workspace, file: &str) -> Vec<String> {
    if !workspace.path(file).exists() {
        return Vec::new();
    }
    let connection = Connection::open(workspace.path(file)).unwrap();
    let mut all = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let rows = all.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A boot that ends by itself; what it says.
#[track_caller]
fn boot(workspace: &Workspace, exit: i32, more: &[&str]) -> Value {
    let mut arguments = vec!["boot", "--until-ready", "--json"];
    arguments.extend(more);
    workspace.ubs(&arguments).expect(exit).json()
}

fn findings<'a>(report: &'a Value, code: &str) -> Vec<&'a Value> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .flat_map(|check| check["findings"].as_array().unwrap())
        .filter(|finding| finding["code"] == code)
        .collect()
}

#[track_caller]
fn expect_nothing_applied(workspace: &Workspace) {
    let kinds = workspace.kinds();
    for kind in ["promotion_started", "fix_applied", "promotion_finished"] {
        assert!(!kinds.contains(&kind.to_owned()), "{kinds:?}");
    }
}

#[test]
fn a_url_with_a_typing_error_leads_to_no_new_database() {
    let Some(workspace) = application(PLAIN_LAYER) else {
        return;
    };
    fill(&workspace, "app.db", TABLES);
    boot(&workspace, 0, &[]);
    workspace.write(".env", "DATABASE_URL=sqlite:///ap.db\n");
    let said = boot(&workspace, 1, &[]);
    assert_eq!(said["decision"], "no_go", "{said:#}");
    assert_eq!(tables(&workspace, "ap.db"), [""; 0]);
    expect_nothing_applied(&workspace);
    let changed = findings(&said, "schema.database_changed");
    let message = changed[0]["message"].as_str().unwrap();
    for told in ["2 tables with rows", "its URL was another one", "20"] {
        assert!(message.contains(told), "{message}");
    }
    assert!(
        findings(&said, "schema.missing_table").is_empty(),
        "{said:#}"
    );
    let missions = said["missions"].as_array().unwrap();
    assert_eq!(missions.len(), 1, "{missions:#?}");
    // The database of before lies beside it: that it was meant, a person says.
    assert_eq!(missions[0]["outcome"], "awaiting_approval", "{missions:#?}");
    let slug = missions[0]["slug"].as_str().unwrap();
    let shown = workspace
        .ubs(&["missions", "show", slug, "--json"])
        .expect(0);
    assert!(
        shown
            .stdout
            .contains("write app.db instead of ap.db in DATABASE_URL"),
        "{}",
        shown.stdout
    );
    // A pre-flight says so too, and so does a second boot.
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(1).json();
    assert_eq!(preflight["decision"], "no_go");
    boot(&workspace, 1, &[]);
    assert_eq!(tables(&workspace, "ap.db"), [""; 0]);
    // Corrected, it boots; nothing is left open.
    workspace.write(".env", "DATABASE_URL=sqlite:///app.db\n");
    let said = boot(&workspace, 0, &[]);
    assert_eq!(said["decision"], "go", "{said:#}");
    let open = workspace
        .ubs(&["missions", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(open.as_array().map(Vec::len), Some(0), "{open:#}");
}

#[test]
fn an_empty_database_that_is_meant_is_accepted_by_name_and_once() {
    let Some(workspace) = application(PLAIN_LAYER) else {
        return;
    };
    // The first boot makes the tables, and they are the past of the second.
    boot(&workspace, 0, &[]);
    assert_eq!(tables(&workspace, "app.db"), ["invoices", "users"]);
    std::fs::remove_file(workspace.path("app.db")).unwrap();
    let said = boot(&workspace, 1, &[]);
    let changed = findings(&said, "schema.database_changed");
    let message = changed[0]["message"].as_str().unwrap();
    assert!(message.contains("its content is gone"), "{message}");
    assert_eq!(tables(&workspace, "app.db"), [""; 0]);
    let refused = workspace
        .ubs(&["boot", "--until-ready", "--accept-new-database", "other"])
        .expect(2);
    assert!(refused.stderr.contains("it has main"), "{}", refused.stderr);
    boot(&workspace, 0, &["--accept-new-database", "main"]);
    assert_eq!(tables(&workspace, "app.db"), ["invoices", "users"]);
    // It was for that time only.
    std::fs::remove_file(workspace.path("app.db")).unwrap();
    boot(&workspace, 1, &[]);
    assert_eq!(tables(&workspace, "app.db"), [""; 0]);
}

#[test]
fn a_database_of_another_application_gets_no_tables() {
    let Some(workspace) = application(PLAIN_LAYER) else {
        return;
    };
    let others = ["posts", "comments", "tags", "media"];
    let sql: String = others
        .iter()
        .map(|name| format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY, text TEXT);"))
        .collect();
    fill(&workspace, "app.db", &sql);
    let said = boot(&workspace, 1, &[]);
    assert_eq!(
        findings(&said, "schema.foreign_database").len(),
        1,
        "{said:#}"
    );
    assert_eq!(tables(&workspace, "app.db").len(), others.len());
    expect_nothing_applied(&workspace);
}

/// A migrator of the application's own, as SQLite's shell would be one: it fails on what is there.
const MIGRATOR: &str = "import sqlite3
connection = sqlite3.connect('app.db')
connection.execute('CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY)')
connection.execute('ALTER TABLE users ADD COLUMN name VARCHAR(80)')
connection.execute('CREATE TABLE invoices (id INTEGER NOT NULL PRIMARY KEY, user_id INTEGER REFERENCES users (id))')
connection.commit()
";

/// An application with a service that migrates, and what it runs for that.
fn with_migrator(script: &str) -> Option<Workspace> {
    let python = venv::application_python()?.display().to_string();
    let service = "[[layer]]\nname = \"migrate\"\n[[layer.service]]\nname = \"migrate\"\nrun = [\"sh\", \"start.sh\"]\n\
         oneshot = true\n";
    let workspace = application(service)?;
    workspace.write("start.sh", "set -e\nsh bin/alembic upgrade head\n");
    workspace.write("bin/alembic", &format!("exec {python} bin/migrate.py\n"));
    workspace.write("bin/migrate.py", script);
    Some(workspace)
}

#[test]
fn a_first_boot_leaves_its_tables_to_the_migrator_among_its_services() {
    let Some(workspace) = with_migrator(MIGRATOR) else {
        return;
    };
    let said = boot(&workspace, 0, &[]);
    assert_eq!(said["decision"], "go", "{said:#}");
    assert_eq!(tables(&workspace, "app.db"), ["invoices", "users"]);
    expect_nothing_applied(&workspace);
    let made = findings(&said, "schema.made_by_application");
    assert_eq!(made.len(), 1, "{said:#}");
    let message = made[0]["message"].as_str().unwrap();
    assert!(
        message.contains("service migrate: alembic upgrade"),
        "{message}"
    );
}

#[test]
fn what_a_migrating_service_will_bring_to_a_database_in_use_is_left_to_it() {
    let (users, rest) = TABLES
        .split_once("CREATE TABLE invoices")
        .expect("a second table");
    let (invoices, _) = rest.split_once(';').expect("its end");
    let Some(workspace) = with_migrator(&format!(
        "import sqlite3\nsqlite3.connect('app.db').execute('CREATE TABLE invoices{invoices}')\n"
    )) else {
        return;
    };
    fill(
        &workspace,
        "app.db",
        &format!("{users} INSERT INTO users (name) VALUES ('ann');"),
    );
    let said = boot(&workspace, 0, &[]);
    assert_eq!(said["decision"], "go", "{said:#}");
    assert_eq!(tables(&workspace, "app.db"), ["invoices", "users"]);
    expect_nothing_applied(&workspace);
    let missing = findings(&said, "schema.missing_table");
    assert_eq!(missing[0]["severity"], "warning", "{missing:#?}");
    // A command that is commented out migrates nothing: there, the fixer helps.
    fill(&workspace, "app.db", "DROP TABLE invoices");
    workspace.write("start.sh", "# sh bin/alembic upgrade head\ntrue\n");
    let said = boot(&workspace, 0, &[]);
    assert_eq!(said["decision"], "go", "{said:#}");
    assert_eq!(tables(&workspace, "app.db"), ["invoices", "users"]);
}

#[test]
fn create_all_at_the_start_makes_the_tables_and_one_that_nobody_calls_does_not() {
    let create = |call: &str| {
        let app = format!(
            "import sqlalchemy\nfrom models import Base\n\ndef make_tables():\n    \
             Base.metadata.create_all(sqlalchemy.create_engine('sqlite:///app.db'))\n{call}"
        );
        let layer = "[[layer]]\nname = \"work\"\n[[layer.service]]\nname = \"work\"\nrun = \"python app.py\"\n\
                     oneshot = true\n";
        let workspace = application(layer)?;
        workspace.write("app.py", &app);
        Some(workspace)
    };
    let Some(workspace) = create("\nmake_tables()\n") else {
        return;
    };
    let said = boot(&workspace, 0, &[]);
    assert_eq!(
        findings(&said, "schema.made_by_application").len(),
        1,
        "{said:#}"
    );
    assert_eq!(tables(&workspace, "app.db"), ["invoices", "users"]);
    expect_nothing_applied(&workspace);
    let workspace = create("").unwrap();
    workspace.write(
        "scripts/init.py",
        "from maker import make_tables\nmake_tables()\n",
    );
    std::fs::rename(workspace.path("app.py"), workspace.path("maker.py")).unwrap();
    workspace.write("app.py", "import models\n");
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(1).json();
    assert_eq!(
        findings(&preflight, "schema.missing_table").len(),
        2,
        "{preflight:#}"
    );
}

#[test]
fn migrations_beside_the_models_are_not_forestalled() {
    let Some(workspace) = application(PLAIN_LAYER) else {
        return;
    };
    workspace.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
    workspace.write("migrations/env.py", "");
    let said = boot(&workspace, 1, &[]);
    assert_eq!(said["decision"], "no_go");
    assert_eq!(tables(&workspace, "app.db"), [""; 0]);
    let missions = said["missions"].as_array().unwrap();
    assert_eq!(missions.len(), 1, "{missions:#?}");
    assert_eq!(missions[0]["outcome"], "needs_person", "{missions:#?}");
}

const KEY: &str =
    "[config.vars.KEY]\nrequired = true\nsecret = true\nmin_length = 32\ngenerate = true\n";

#[test]
fn a_key_that_works_is_replaced_only_if_somebody_says_so_and_is_kept() {
    let Some(workspace) = application(&format!("{KEY}{PLAIN_LAYER}")) else {
        return;
    };
    fill(&workspace, "app.db", TABLES);
    let old = "q7Vx2LmT9cRb4ZsK1nWd8HfJ3gYp6Ua";
    let env = format!("DATABASE_URL=sqlite:///app.db\nKEY={old}\n");
    workspace.write(".env", &env);
    let said = boot(&workspace, 1, &[]);
    assert_eq!(workspace.read(".env"), env);
    let mission = &said["missions"][0];
    assert_eq!(mission["outcome"], "awaiting_approval", "{said:#}");
    let slug = mission["slug"].as_str().unwrap();
    workspace.ubs(&["missions", "approve", slug]).expect(0);
    let now = workspace.read(".env");
    assert!(!now.contains(old), "{now}");
    let replaced = workspace.path(".ubs/replaced");
    let kept: Vec<_> = std::fs::read_dir(&replaced)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].file_name().to_string_lossy().starts_with("KEY-"));
    assert_eq!(std::fs::read_to_string(kept[0].path()).unwrap(), env);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&kept[0].path()), mode(&replaced)), (0o600, 0o700));
    boot(&workspace, 0, &[]);
    workspace.expect_not_logged(&[old]);
}

#[test]
fn a_placeholder_that_was_never_up_is_replaced_and_one_in_use_is_not() {
    let config = format!(
        "{PLAIN_LAYER}[config.vars.KEY]\nrequired = true\nsecret = true\ngenerate = true\n"
    );
    let Some(workspace) = application(&config) else {
        return;
    };
    fill(&workspace, "app.db", TABLES);
    let env = |key: &str| format!("DATABASE_URL=sqlite:///app.db\nKEY={key}\n");
    workspace.write(".env", &env("changeme"));
    boot(&workspace, 0, &[]);
    assert!(!workspace.read(".env").contains("changeme"));
    // Without a look at it, it was up with one.
    workspace.write(".env", &env("changeme"));
    workspace
        .ubs(&["boot", "--mode", "fast", "--until-ready"])
        .expect(0);
    let said = boot(&workspace, 1, &[]);
    assert_eq!(workspace.read(".env"), env("changeme"));
    assert_eq!(
        said["missions"][0]["outcome"], "awaiting_approval",
        "{said:#}"
    );
}

#[test]
fn the_database_of_an_example_is_not_taken_for_the_real_one() {
    let config = "[config]\nfiles = [\".env\"]\nexample = \".env.example\"\n[config.vars.DATABASE_URL]\nrequired = true\n\
                  default = \"sqlite:///dev.db\"\n[config.vars.LEVEL]\nrequired = true\ndefault = \"INFO\"\n\
                  [config.vars.REDIS_URL]\nrequired = true\ndefault = \"redis://localhost:6379/0\"\n";
    let Some(text) = manifest(&format!("{config}{PLAIN_LAYER}")) else {
        return;
    };
    let workspace = Workspace::with_manifest(&text);
    workspace.write("models.py", MODELS);
    workspace.write(
        ".env.example",
        "DATABASE_URL=sqlite:///dev.db\nLEVEL=INFO\nREDIS_URL=redis://localhost:6379/0\n",
    );
    let said = boot(&workspace, 1, &[]);
    assert_eq!(said["decision"], "no_go");
    // The plain setting is written, the two connections are not.
    assert_eq!(workspace.read(".env"), "LEVEL=INFO\n");
    assert!(!workspace.path("dev.db").exists());
    let waiting = said["missions"].as_array().unwrap().iter();
    let waiting = waiting.filter(|mission| mission["outcome"] == "awaiting_approval");
    assert_eq!(waiting.count(), 2, "{said:#}");
}

#[test]
fn two_unrelated_classes_on_one_table_are_not_merged() {
    let Some(workspace) = application(PLAIN_LAYER) else {
        return;
    };
    let twice = "\n\nclass Document(Base):\n    __tablename__ = 'invoices'\n    id = Column(Integer, primary_key=True)\n    \
                 title = Column(String(80))\n";
    let models = format!("{MODELS}{twice}");
    workspace.write("models.py", &models);
    fill(&workspace, "app.db", TABLES);
    let said = boot(&workspace, 1, &[]);
    assert_eq!(workspace.read("models.py"), models);
    expect_nothing_applied(&workspace);
    let twice = findings(&said, "schema.duplicate_table");
    let text = format!("{twice:?}");
    assert_eq!(twice[0]["severity"], "critical");
    for told in ["class Invoice", "class Document", "rename one of them"] {
        assert!(text.contains(told), "{text}");
    }
    assert_eq!(said["missions"][0]["outcome"], "needs_person", "{said:#}");
    // The same columns are the same table.
    let again = "\n\nclass Bill(Base):\n    __tablename__ = 'invoices'\n    id = Column(Integer, primary_key=True)\n    \
                 user_id = Column(ForeignKey('users.id'))\n";
    workspace.write("models.py", &format!("{MODELS}{again}"));
    boot(&workspace, 0, &[]);
    assert!(workspace.read("models.py").contains("extend_existing"));
}

#[test]
fn fifty_missing_tables_are_one_mission_with_one_proposal() {
    let Some(workspace) = application(PLAIN_LAYER) else {
        return;
    };
    let mut models = MODELS.to_owned();
    for n in 0..48 {
        let parent = if n == 0 {
            "users".to_owned()
        } else {
            format!("t{}", n - 1)
        };
        models.push_str(&format!(
            "\nclass T{n}(Base):\n    __tablename__ = 't{n}'\n    id = Column(Integer, primary_key=True)\n    \
             parent = Column(ForeignKey('{parent}.id'), index=True)\n"
        ));
    }
    workspace.write("models.py", &models);
    let begun = std::time::Instant::now();
    let said = boot(&workspace, 0, &[]);
    println!("50 tables: up after {:?}", begun.elapsed());
    assert_eq!(tables(&workspace, "app.db").len(), 50);
    let missions = said["missions"].as_array().unwrap();
    assert_eq!(missions.len(), 1, "{missions:#?}");
    let kinds = workspace.kinds();
    let proposed = kinds.iter().filter(|kind| *kind == "fix_proposed");
    assert_eq!(proposed.count(), 1, "{kinds:?}");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_proposal_of_another_worker_does_not_fill_it_by_itself_either() {
    let (tables_only, _) = TABLES.split_once("INSERT").expect("rows behind the tables");
    // With rows before, the tables alone are no fix; without, a person decides.
    for (before, told) in [(TABLES, "still there"), (tables_only, "missions approve")] {
        let Some(workspace) = application(PLAIN_LAYER) else {
            return;
        };
        fill(&workspace, "app.db", before);
        boot(&workspace, 0, &[]);
        // No edit leads back to it.
        std::fs::rename(workspace.path("app.db"), workspace.path("kept")).unwrap();
        workspace.write(".env", "DATABASE_URL=sqlite:///ap.db\n");
        let said = boot(&workspace, 1, &[]);
        assert_eq!(said["missions"][0]["outcome"], "needs_person", "{said:#}");
        let slug = said["missions"][0]["slug"].as_str().unwrap();
        workspace.ubs(&["missions", "requeue", slug]).expect(0);
        let agent = ["--worker", "agent"];
        workspace
            .ubs(&[&["missions", "claim", slug][..], &agent].concat())
            .expect(0);
        let proposal = serde_json::json!({
            "summary": "create the tables", "risk": "additive",
            "changes": [{"sql": {"schema": "main", "statements": [
                "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(80))",
                "CREATE TABLE invoices (id INTEGER NOT NULL PRIMARY KEY, user_id INTEGER REFERENCES users (id))",
            ]}}]
        });
        workspace.write("proposal.json", &proposal.to_string());
        let propose = [
            "missions",
            "propose",
            slug,
            "--file",
            "proposal.json",
            "--json",
        ];
        let run = workspace.ubs(&[&propose[..], &agent].concat());
        assert!(run.stdout.contains(told), "{}{}", run.stdout, run.stderr);
        assert_eq!(tables(&workspace, "ap.db"), [""; 0]);
        expect_nothing_applied(&workspace);
    }
}

/// A real server: an empty database of another name, and tables that share a type and refer to each other.
#[test]
#[ignore = "long: `.ci/run --all`"]
fn on_a_server_too_an_empty_database_of_another_name_stays_empty() {
    let (Some(workspace), Some(server)) = (application(PLAIN_LAYER), Server::start()) else {
        return;
    };
    let models = "from sqlalchemy import Column, Enum, ForeignKey, Integer
from sqlalchemy.orm import declarative_base
Base = declarative_base()

class Order(Base):
    __tablename__ = 'a_orders'
    id = Column(Integer, primary_key=True)
    state = Column(Enum('open', 'paid', name='state'))
    shop_id = Column(ForeignKey('shops.id'))

class Shop(Base):
    __tablename__ = 'shops'
    id = Column(Integer, primary_key=True)
    state = Column(Enum('open', 'paid', name='state'))
";
    workspace.write("models.py", models);
    let env = |database: &str| {
        format!(
            "DATABASE_URL={}\n",
            server.url("postgresql+asyncpg", database)
        )
    };
    for database in ["shop", "shp"] {
        server.sql("postgres", &format!("CREATE DATABASE {database}"));
    }
    let count = |database: &str| {
        let asked = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        server.sql(database, asked).trim().to_owned()
    };
    workspace.write(".env", &env("shop"));
    let said = boot(&workspace, 0, &[]);
    // The other one is about the driver, which is not installed here.
    let missions = said["missions"].as_array().into_iter().flatten();
    let of_tables = missions.filter(|mission| mission["slug"] == "schema_fix_main");
    assert_eq!(of_tables.count(), 1, "{said:#}");
    assert_eq!(count("shop"), "2");
    workspace.write(".env", &env("shp"));
    let said = boot(&workspace, 1, &[]);
    assert_eq!(
        findings(&said, "schema.database_changed").len(),
        1,
        "{said:#}"
    );
    assert_eq!(count("shp"), "0");
    boot(&workspace, 0, &["--accept-new-database", "main"]);
    assert_eq!(count("shp"), "2");
}
