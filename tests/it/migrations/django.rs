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
#[ignore = "long: `.ci/run --all`"]
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

/// The remedies of the migrations check for these models, and the proposed file.
fn proposed(workspace: &Workspace, code: &str) -> Value {
    let preflight = workspace.ubs(&["preflight", "--json"]).json();
    let findings = preflight["checks"][1]["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("{preflight:#}")).clone()
}

/// Boots, and approves the one mission that waits.
fn approve(workspace: &Workspace) -> String {
    workspace.ubs(&["boot", "--until-ready"]);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let mut all = missions.as_array().unwrap().iter();
    let waits = all.find(|mission| mission["status"] == "awaiting_approval");
    let slug = waits.unwrap_or_else(|| panic!("{missions:#}"))["slug"].as_str();
    let slug = slug.unwrap().to_owned();
    workspace
        .ubs(&["missions", "approve", &slug])
        .expect(0)
        .stdout
}

#[test]
fn models_that_changed_get_the_migration_that_makemigrations_would_write_once_a_person_approves() {
    let Some((workspace, _)) = project() else {
        return;
    };
    // A field that must not be NULL, one whose type changed, one that is gone: in one migration.
    workspace.write(
        "shop/models.py",
        "from django.db import models\n\n\nclass Item(models.Model):\n    name = models.TextField()\n    \
         price = models.IntegerField()\n",
    );
    let finding = proposed(&workspace, "schema.missing_migration");
    let remedy = finding["remedy"].as_str().unwrap();
    for word in [
        "run `python manage.py makemigrations shop`; or approve: in shop/migrations/0002_",
        "add column shop_item.price and give its 2 rows 0, a value that is made up",
        "change column shop_item.name from varchar(80) to text; all 2 rows with a value have one that fits",
    ] {
        assert!(remedy.contains(word), "{remedy}");
    }
    let said = approve(&workspace);
    let files = std::fs::read_dir(workspace.path("shop/migrations")).unwrap();
    let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let written = names.find(|name| name.starts_with("0002_")).expect(&said);
    let text = workspace.read(&format!("shop/migrations/{written}"));
    assert!(text.contains("('shop', '0001_first')"), "{text}");
    assert!(text.contains("preserve_default=False"), "{text}");
    assert_eq!(ask(&workspace, APPLIED), 2);
    assert_eq!(ask(&workspace, "SELECT sum(price) FROM shop_item"), 0);
    assert_eq!(ask(&workspace, "SELECT count(*) FROM shop_item"), 2);
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(preflight["checks"][1]["status"], "healthy", "{preflight:#}");
}

#[test]
fn a_django_migration_that_needs_what_only_a_person_knows_is_not_written() {
    let Some((workspace, _)) = project() else {
        return;
    };
    for (models, why) in [
        (
            format!("{MODELS}    code = models.CharField(max_length=9, unique=True)\n"),
            "its 2 rows need a value: each of them needs a value of its own",
        ),
        (
            MODELS.replace("name =", "title ="),
            "something may have been renamed, and `makemigrations` asks whether it was",
        ),
    ] {
        workspace.write("shop/models.py", &models);
        let finding = proposed(&workspace, "schema.missing_migration");
        let remedy = finding["remedy"].as_str().unwrap();
        assert!(
            remedy.contains(why) && !remedy.contains("or approve"),
            "{remedy}"
        );
    }
    // What is lost is said.
    workspace.write(
        "shop/models.py",
        "from django.db import models\n\n\nclass Item(models.Model):\n    pass\n",
    );
    let finding = proposed(&workspace, "schema.missing_migration");
    let lost = "drop column shop_item.name: of 2 rows, 2 have a value in it, which is lost";
    assert!(
        finding["remedy"].as_str().unwrap().contains(lost),
        "{finding:#}"
    );
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn two_leaves_are_merged_as_makemigrations_does_once_a_person_approves() {
    let Some((workspace, _)) = project() else {
        return;
    };
    for (name, field) in [("price", "price"), ("weight", "weight")] {
        workspace.write(
            &format!("shop/migrations/0002_{name}.py"),
            &format!(
                "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n    \
                 dependencies = [('shop', '0001_first')]\n    operations = [migrations.AddField('item', '{field}', \
                 models.IntegerField(null=True))]\n"
            ),
        );
    }
    workspace.write(
        "shop/models.py",
        &format!(
            "{MODELS}    price = models.IntegerField(null=True)\n    weight = models.IntegerField(null=True)\n"
        ),
    );
    let finding = proposed(&workspace, "schema.multiple_heads");
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("2 migrations that wait are run with it"),
        "{remedy}"
    );
    approve(&workspace);
    let merge = workspace.read("shop/migrations/0003_merge_0002_price_0002_weight.py");
    assert!(merge.contains("('shop', '0002_price')"), "{merge}");
    assert!(merge.contains("('shop', '0002_weight')"), "{merge}");
    assert_eq!(ask(&workspace, APPLIED), 4);
    assert_eq!(
        ask(
            &workspace,
            "SELECT count(*) FROM shop_item WHERE weight IS NULL"
        ),
        2
    );
}
