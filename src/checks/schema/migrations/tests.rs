//! Histories of real tools against real databases.

use std::path::PathBuf;
use std::process::Command;

use rusqlite::Connection;

use super::environment::find_environment;
use super::graph::Graph;
use super::revision::read_revision;
use crate::checks::testing::{App, only, problems, venv};
use crate::domain::finding::{CheckName, CheckReport, Finding, Severity};
use crate::domain::remedy::{MigrationTool, NEEDS_APPROVAL, PROPOSED, Remedy};

const INI: &str = "[alembic]\nscript_location = %(here)s/migrations\n";
const ENV: &str = r#"
from alembic import context
from sqlalchemy import create_engine
engine = create_engine("sqlite:///app.db")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"#;

/// The tool that a fixer would run.
fn tool_of(finding: &Finding) -> Option<MigrationTool> {
    match finding.fix {
        Some(Remedy::Migrate { tool, .. }) => Some(tool),
        _ => None,
    }
}

fn revision(id: &str, down: &str, body: &str) -> String {
    format!(
        "from alembic import op\nimport sqlalchemy as sa\nrevision: str = {id:?}\ndown_revision = {down}\n\
         branch_labels = None\ndepends_on = None\n\ndef upgrade():\n    {body}\n"
    )
}

/// An application with two migrations, without a database.
fn application() -> Option<(App, PathBuf)> {
    let python = venv::application_python()?;
    let users = "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))";
    let email = "op.add_column('users', sa.Column('email', sa.String(80)))";
    let app = App::with_interpreter(Some(python.clone()))
        .file("alembic.ini", INI)
        .file("migrations/env.py", ENV)
        .file(
            "migrations/versions/a1_users.py",
            revision("a1", "None", users),
        )
        .file(
            "migrations/versions/b2_email.py",
            revision("b2", "'a1'", email),
        )
        .schema("sqlite:///app.db", "alembic:alembic.ini");
    Some((app, python))
}

fn run(app: &App, python: &PathBuf, args: &[&str]) {
    let done = Command::new(python)
        .args(args)
        .current_dir(app.root())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let reported = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{args:?}: {reported}");
}

fn upgrade(app: &App, python: &PathBuf, target: &str) {
    run(app, python, &["-m", "alembic", "upgrade", target]);
}

fn check(app: &App) -> CheckReport {
    app.check(CheckName::Schema)
}

#[test]
fn a_database_behind_its_migrations_is_reported_once_and_in_order() {
    let Some((mut app, python)) = application() else {
        return;
    };
    let report = check(&app);
    assert_eq!(problems(&report), ["schema.not_migrated db0"]);
    let empty = only(&report, "schema.not_migrated");
    assert!(
        empty.message.contains("is empty, and 2 migrations wait"),
        "{}",
        empty.message
    );
    assert_eq!(tool_of(empty), Some(MigrationTool::Alembic));

    upgrade(&app, &python, "a1");
    app = app.file(
        "models.py",
        "from sqlalchemy import *\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\n\
         class User(Base):\n    __tablename__ = 'users'\n    id = Column(Integer, primary_key=True)\n    \
         email = Column(String(80))\n",
    );
    app.manifest.schemas[0].models = Some(("models".into(), "Base".into()));
    let report = check(&app);
    // Not also as a missing column.
    assert_eq!(problems(&report), ["schema.pending_migration db0"]);
    let behind = only(&report, "schema.pending_migration");
    assert_eq!(
        behind.message,
        "database db0 (app.db), at a1, is 1 migration behind: b2 (migrations/versions/b2_email.py)"
    );
    assert_eq!(behind.remedy.as_deref(), Some("run `alembic upgrade head`"));
    assert_eq!(behind.location.as_ref().unwrap().line, 3);

    upgrade(&app, &python, "head");
    let report = check(&app);
    assert!(report.findings.is_empty(), "{report:#?}");

    // At head, a model without its migration is drift, which is mended by a migration and not behind them.
    let app = app.file(
        "models.py",
        "from sqlalchemy import *\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\n\
         class User(Base):\n    __tablename__ = 'users'\n    id = Column(Integer, primary_key=True)\n    \
         email = Column(String(80))\n    age = Column(Integer)\n",
    );
    let report = check(&app);
    let missing = only(&report, "schema.missing_column");
    let Some(Remedy::EditText {
        file,
        before: None,
        edits,
        ..
    }) = &missing.fix
    else {
        panic!("{missing:#?}");
    };
    assert!(missing.facts.contains_key(NEEDS_APPROVAL));
    std::fs::write(app.root().join(file), &edits[0].text).unwrap();
    assert_eq!(problems(&check(&app)), ["schema.pending_migration db0"]);
    upgrade(&app, &python, "head");
    assert!(check(&app).findings.is_empty());

    // All that a revision can bring is in one: another table with its index, a reference, what must not be NULL.
    let app = app.file(
        "models.py",
        "from sqlalchemy import *\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\n\
         class Team(Base):\n    __tablename__ = 'teams'\n    id = Column(Integer, primary_key=True)\n    \
         name = Column(String(9), nullable=False, unique=True)\n    mood = Column(Enum('a', 'b', name='mood'), index=True)\n\
         class User(Base):\n    __tablename__ = 'users'\n    id = Column(Integer, primary_key=True)\n    \
         email = Column(String(80))\n    age = Column(Integer)\n    rank = Column(Numeric(4, 1), nullable=False)\n    \
         team_id = Column(ForeignKey('teams.id', ondelete='CASCADE'), index=True)\n",
    );
    let live = Connection::open(app.root().join("app.db")).unwrap();
    live.execute("INSERT INTO users (id) VALUES (7)", [])
        .unwrap();
    let report = check(&app);
    let written: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|f| matches!(f.fix, Some(Remedy::EditText { .. })))
        .collect();
    let [one] = written.as_slice() else {
        panic!("{report:#?}");
    };
    assert!(one.facts[PROPOSED].contains("give its 1 row 0"), "{one:#?}");
    let Some(Remedy::EditText { file, edits, .. }) = &one.fix else {
        return;
    };
    std::fs::write(app.root().join(file), &edits[0].text).unwrap();
    upgrade(&app, &python, "head");
    let report = check(&app);
    let is_told = |f: &Finding| f.severity == Severity::Info;
    assert!(
        report.findings.iter().all(is_told),
        "{report:#?}\n{}",
        edits[0].text
    );
    let kept: i64 = live
        .query_row("SELECT id + rank FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 7);
}

#[test]
fn several_heads_unknown_revisions_and_lost_versions_are_told_apart() {
    let Some((app, python)) = application() else {
        return;
    };
    upgrade(&app, &python, "head");
    let app = app.file("migrations/versions/c3.py", revision("c3", "'a1'", "pass"));
    let report = check(&app);
    assert_eq!(
        problems(&report),
        ["schema.pending_migration db0", "schema.multiple_heads db0"]
    );
    let heads = only(&report, "schema.multiple_heads");
    assert_eq!(heads.severity, Severity::Critical);
    assert!(
        heads
            .message
            .ends_with("b2 (migrations/versions/b2_email.py), c3 (migrations/versions/c3.py)"),
        "{}",
        heads.message
    );
    assert!(
        heads
            .remedy
            .as_ref()
            .unwrap()
            .contains("alembic merge -m \"merge heads\" b2 c3")
    );
    assert_eq!(tool_of(only(&report, "schema.pending_migration")), None);
    std::fs::remove_file(app.root().join("migrations/versions/c3.py")).unwrap();

    let connection = Connection::open(app.root().join("app.db")).unwrap();
    connection
        .execute("UPDATE alembic_version SET version_num = 'zz'", [])
        .unwrap();
    let report = check(&app);
    assert_eq!(problems(&report), ["schema.unknown_revision db0"]);
    connection
        .execute("DELETE FROM alembic_version", [])
        .unwrap();
    let report = check(&app);
    let lost = only(&report, "schema.not_migrated");
    assert!(
        lost.remedy
            .as_ref()
            .unwrap()
            .contains("alembic stamp REVISION"),
        "{lost:#?}"
    );
    assert_eq!(tool_of(lost), None);
}

#[test]
fn a_broken_history_is_named_with_its_files() {
    let Some((app, _)) = application() else {
        return;
    };
    let app = app
        .file(
            "migrations/versions/d4.py",
            revision("d4", "'gone'", "pass"),
        )
        .file(
            "migrations/versions/b2_again.py",
            revision("b2", "'a1'", "pass"),
        );
    let report = check(&app);
    let reported: Vec<&str> = report.findings.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(
        reported,
        [
            "revision b2 is defined twice: in migrations/versions/b2_again.py and in \
             migrations/versions/b2_email.py",
            "d4 (migrations/versions/d4.py) follows gone, which no file defines",
        ]
    );
    let app = app.file("alembic.ini", "[alembic]\nscript_location = ../elsewhere\n");
    assert_eq!(
        problems(&check(&app)),
        ["schema.broken_history alembic.ini"]
    );
}

/// What Alembic says: heads, bases, and every revision from the bases on.
const ASK: &str = r#"
import json, sys
from alembic.config import Config
from alembic.script import ScriptDirectory
out = []
for ini in sys.argv[1:]:
    script = ScriptDirectory.from_config(Config(ini))
    out.append([sorted(script.get_heads()), sorted(script.get_bases()),
                [r.revision for r in script.walk_revisions()][::-1]])
print(json.dumps(out))
"#;

#[test]
fn heads_bases_and_revisions_are_those_of_alembic() {
    let Some(python) = venv::application_python() else {
        return;
    };
    let mut app = App::with_interpreter(Some(python.clone()));
    let mut configs = Vec::new();
    let mut seed = 12345_u32;
    let mut next = |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    for environment in 0..12_u32 {
        let ini = format!("e{environment}.ini");
        app = app.file(
            &ini,
            format!(
                "[alembic]\nscript_location = %(here)s/e{environment}\npath_separator = space\n\
                 version_locations = %(here)s/e{environment}/one %(here)s/e{environment}/two\n"
            ),
        );
        for at in 0..3 + environment {
            // Merges of two that already follow each other are refused by Alembic.
            let down = match (at, next(4)) {
                (0, _) | (_, 0) => "None".to_owned(),
                (at, _) => format!("'r{}'", next(at)),
            };
            let depends = match (at, next(3)) {
                (1.., 0) => format!("['r{}']", next(at)),
                _ => "None".to_owned(),
            };
            let folder = if next(2) == 0 { "one" } else { "two" };
            app = app.file(
                &format!("e{environment}/{folder}/r{at}.py"),
                format!("revision = 'r{at}'\ndown_revision = {down}\ndepends_on = {depends}\nbranch_labels = None\n"),
            );
        }
        app = app.file(&format!("e{environment}/env.py"), "");
        app = app.file(&format!("e{environment}/one/.keep"), "");
        app = app.file(&format!("e{environment}/two/.keep"), "");
        configs.push(ini);
    }
    let asked = Command::new(&python)
        .arg("-c")
        .arg(ASK)
        .args(&configs)
        .current_dir(app.root())
        .output()
        .unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    let reported: Vec<[Vec<String>; 3]> = serde_json::from_slice(&asked.stdout).unwrap();
    for (config, [heads, bases, walked]) in configs.iter().zip(reported) {
        let found = find_environment(app.root(), &[], config, "alembic").unwrap();
        let revisions = found
            .files
            .iter()
            .map(|file| read_revision(&std::fs::read_to_string(file).unwrap(), "x").unwrap())
            .collect();
        let graph = Graph::new(revisions);
        assert!(graph.defects.is_empty(), "{:?}", graph.defects);
        let ids = |positions: Vec<usize>| {
            let mut ids: Vec<String> = positions
                .iter()
                .map(|&at| graph.revisions[at].id.clone())
                .collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(graph.heads()), heads, "{config}");
        assert_eq!(ids(graph.bases()), bases, "{config}");
        let mut walked = walked;
        walked.sort();
        assert_eq!(ids(graph.pending(&[])), walked, "{config}");
    }
}

const SETTINGS: &str = "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth', 'shop']\n\
    DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'app.db'}}\n\
    DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\nUSE_TZ = True\n";
const SHOP: &str = "from django.db import models\nclass Item(models.Model):\n    name = models.CharField(max_length=80)\n";

#[test]
fn a_django_project_is_held_to_its_migrations() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let app = App::with_interpreter(Some(python.clone()))
        .file("settings.py", SETTINGS)
        .file("shop/__init__.py", "")
        .file("shop/models.py", SHOP)
        .file("shop/migrations/__init__.py", "")
        .schema("sqlite:///app.db", "django:settings");
    let manage = |app: &App, args: &[&str]| {
        let all: Vec<&str> = ["-m", "django"].iter().chain(args).copied().collect();
        run(
            app,
            &python,
            &[&all[..], &["--settings", "settings", "--pythonpath", "."]].concat(),
        );
    };
    let report = check(&app);
    assert_eq!(
        problems(&report),
        ["schema.not_migrated db0", "schema.missing_migration shop"]
    );
    let missing = only(&report, "schema.missing_migration");
    assert!(
        missing.message.ends_with("Create model Item"),
        "{}",
        missing.message
    );
    manage(&app, &["makemigrations", "shop"]);
    let report = check(&app);
    assert_eq!(problems(&report), ["schema.not_migrated db0"]);
    assert_eq!(
        tool_of(only(&report, "schema.not_migrated")),
        Some(MigrationTool::Django)
    );
    manage(&app, &["migrate"]);
    let report = check(&app);
    assert!(report.findings.is_empty(), "{report:#?}");

    let app = app.file(
        "shop/models.py",
        format!("{SHOP}    price = models.IntegerField(null=True)\n"),
    );
    manage(&app, &["makemigrations", "shop", "-n", "price"]);
    let report = check(&app);
    assert_eq!(problems(&report), ["schema.pending_migration db0"]);
    let behind = only(&report, "schema.pending_migration");
    assert_eq!(
        behind.message,
        "database db0 (app.db) is 1 migration behind: shop.0002_price (shop/migrations/0002_price.py)"
    );
    assert_eq!(tool_of(behind), Some(MigrationTool::Django));
    manage(&app, &["migrate"]);
    let newer = std::fs::read(app.root().join("shop/migrations/0002_price.py")).unwrap();
    std::fs::remove_file(app.root().join("shop/migrations/0002_price.py")).unwrap();
    let app = app.file("shop/models.py", SHOP);
    assert_eq!(problems(&check(&app)), ["schema.unknown_revision shop"]);
    // Two migrations follow the same one.
    let app = app
        .file("shop/migrations/0002_price.py", &newer)
        .file("shop/migrations/0002_other.py", &newer);
    let report = check(&app);
    assert_eq!(
        problems(&report),
        ["schema.multiple_heads shop", "schema.pending_migration db0"]
    );
    assert_eq!(tool_of(only(&report, "schema.pending_migration")), None);
}
