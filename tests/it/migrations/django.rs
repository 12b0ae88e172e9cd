//! A Django project.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::schema_findings;
use crate::support::{Workspace, venv};

const SETTINGS: &str = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\nSECRET_KEY = 'x'\n\
    INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth', 'shop']\n\
    DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n\
    DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\nUSE_TZ = True\n";
const MODELS: &str = "from django.db import models\n\n\nclass Item(models.Model):\n    name = models.CharField(max_length=80)\n";

/// Runs Django's own commands in the workspace.
fn manage(workspace: &Workspace, python: &Path, arguments: &[&str]) {
    let done = Command::new(python)
        .args(["-B", "-m", "django"])
        .args(arguments)
        .args(["--settings", "project.settings", "--pythonpath", "."])
        .current_dir(workspace.root())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {told}");
}

/// A project whose database has its first migration and two rows.
fn project() -> Option<(Workspace, PathBuf)> {
    let python = venv::python_with(&venv::WIDE_PACKAGES)?;
    let workspace = Workspace::with_manifest(&format!(
        "[app]\nname = \"m\"\n[python]\ninterpreter = {:?}\n[[schema]]\nname = \"main\"\n\
         database = \"sqlite:///db.sqlite3\"\nexpect = \"django:project.settings\"\n[heal]\nbackoff = \"1ms\"\n\
         [[layer]]\nname = \"work\"\nrehearse = {{ command = [\"true\"] }}\n",
        python.display()
    ));
    workspace.write("project/__init__.py", "");
    workspace.write("project/settings.py", SETTINGS);
    workspace.write("shop/__init__.py", "");
    workspace.write("shop/models.py", MODELS);
    workspace.write("shop/migrations/__init__.py", "");
    manage(
        &workspace,
        &python,
        &["makemigrations", "shop", "-n", "first"],
    );
    manage(&workspace, &python, &["migrate"]);
    database(&workspace)
        .execute_batch("INSERT INTO shop_item (name) VALUES ('ann'), ('bob')")
        .unwrap();
    Some((workspace, python))
}

fn database(workspace: &Workspace) -> rusqlite::Connection {
    rusqlite::Connection::open(workspace.path("db.sqlite3")).unwrap()
}

fn ask(workspace: &Workspace, sql: &str) -> i64 {
    database(workspace)
        .query_row(sql, [], |row| row.get(0))
        .unwrap()
}

const APPLIED: &str = "SELECT count(*) FROM django_migrations WHERE app = 'shop'";

#[test]
fn an_unapplied_migration_is_applied() {
    let Some((workspace, python)) = project() else {
        return;
    };
    // Django makes the table anew for a column that may not be empty, and a new model gets its permissions.
    let models = format!(
        "{MODELS}    price = models.IntegerField(default=7)\n\n\nclass Tag(models.Model):\n    \
         item = models.ForeignKey(Item, on_delete=models.CASCADE)\n"
    );
    workspace.write("shop/models.py", &models);
    manage(
        &workspace,
        &python,
        &["makemigrations", "shop", "-n", "price"],
    );
    let findings = schema_findings(&workspace, 1);
    assert_eq!(
        findings[0]["code"], "schema.pending_migration",
        "{findings:#}"
    );
    assert_eq!(findings.as_array().unwrap().len(), 1, "{findings:#}");
    workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0);
    assert_eq!(ask(&workspace, APPLIED), 2);
    assert_eq!(ask(&workspace, "SELECT sum(price) FROM shop_item"), 14);
    assert_eq!(ask(&workspace, "SELECT count(*) FROM shop_tag"), 0);
    let permissions = "SELECT count(*) FROM auth_permission WHERE codename = 'add_tag'";
    assert_eq!(ask(&workspace, permissions), 1);
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(preflight["checks"][1]["status"], "healthy", "{preflight:#}");
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_empty_database_gets_all_of_them() {
    let Some((workspace, _)) = project() else {
        return;
    };
    std::fs::remove_file(workspace.path("db.sqlite3")).unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(ask(&workspace, APPLIED), 1);
    assert_eq!(ask(&workspace, "SELECT count(*) FROM shop_item"), 0);
}

#[test]
fn models_that_changed_without_a_migration_are_told_and_boot() {
    let Some((workspace, _)) = project() else {
        return;
    };
    workspace.write(
        "shop/models.py",
        &format!("{MODELS}    price = models.IntegerField(null=True)\n"),
    );
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    let finding = &preflight["checks"][1]["findings"][0];
    assert_eq!(finding["code"], "schema.missing_migration", "{finding:#}");
    assert_eq!(finding["severity"], "warning", "{finding:#}");
    let message = finding["message"].as_str().unwrap();
    assert!(message.contains("Add field price to item"), "{message}");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(ask(&workspace, APPLIED), 1);
}

#[test]
fn a_data_migration_that_loses_rows_is_refused() {
    let Some((workspace, _)) = project() else {
        return;
    };
    workspace.write(
        "shop/migrations/0002_lose.py",
        "from django.db import migrations\n\n\ndef lose(apps, schema_editor):\n    \
         apps.get_model('shop', 'Item').objects.filter(name='ann').delete()\n\n\n\
         class Migration(migrations.Migration):\n    dependencies = [('shop', '0001_first')]\n    \
         operations = [migrations.RunPython(lose, migrations.RunPython.noop)]\n",
    );
    let before = std::fs::read(workspace.path("db.sqlite3")).unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    assert_eq!(std::fs::read(workspace.path("db.sqlite3")).unwrap(), before);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let mission: &Value = &missions[0];
    assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
    let slug = mission["slug"].as_str().unwrap();
    let shown = workspace.ubs(&["missions", "show", slug]).expect(0).stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains("the number of rows of table shop_item goes from 2 to 1"),
        "{shown}"
    );
}

#[test]
fn a_migration_that_raises_changes_nothing_and_says_why() {
    let Some((workspace, _)) = project() else {
        return;
    };
    workspace.write(
        "shop/migrations/0002_raise.py",
        "from django.db import migrations, models\n\n\ndef fail(apps, schema_editor):\n    raise RuntimeError('no luck')\n\n\n\
         class Migration(migrations.Migration):\n    dependencies = [('shop', '0001_first')]\n    \
         operations = [migrations.RunPython(fail)]\n",
    );
    let before = std::fs::read(workspace.path("db.sqlite3")).unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    assert_eq!(std::fs::read(workspace.path("db.sqlite3")).unwrap(), before);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).stdout;
    assert!(missions.contains("no luck"), "{missions}");
}

#[test]
fn a_second_database_is_migrated_by_its_alias() {
    let Some((workspace, python)) = project() else {
        return;
    };
    let second = "DATABASES['logs'] = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'logs.sqlite3'}\n";
    workspace.write("project/settings.py", &format!("{SETTINGS}{second}"));
    manage(&workspace, &python, &["migrate", "--database", "logs"]);
    let manifest = workspace.read("ubs.toml");
    workspace.write(
        "ubs.toml",
        &format!("{manifest}[[schema]]\nname = \"logs\"\ndatabase = \"sqlite:///logs.sqlite3\"\nexpect = \"django:project.settings\"\n"),
    );
    workspace.write(
        "shop/models.py",
        &format!("{MODELS}    price = models.IntegerField(null=True)\n"),
    );
    manage(
        &workspace,
        &python,
        &["makemigrations", "shop", "-n", "price"],
    );
    let findings = schema_findings(&workspace, 1);
    assert_eq!(
        findings[1]["remedy"], "run `python manage.py migrate --database logs`",
        "{findings:#}"
    );
    workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0);
    for file in ["db.sqlite3", "logs.sqlite3"] {
        let applied: i64 = rusqlite::Connection::open(workspace.path(file))
            .unwrap()
            .query_row(APPLIED, [], |row| row.get(0))
            .unwrap();
        assert_eq!(applied, 2, "{file}");
    }
}
