//! A Django project, whose settings have the parts of its database's URL in variables of their own.

use std::path::PathBuf;
use std::process::Command;

use super::{expect_nothing_left, manifest, mission, shown};
use crate::support::postgres::Server;
use crate::support::{Workspace, venv};

const SETTINGS: &str = "import os\nSECRET_KEY = 'x'\n\
    INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth', 'shop']\n\
    DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['DB_NAME'],\n\
    'USER': 'shop', 'PASSWORD': os.environ['DB_PASSWORD'], 'HOST': os.environ['DB_HOST'], 'PORT': os.environ['DB_PORT']}}\n\
    DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\nUSE_TZ = True\n";
const MODELS: &str = "from django.db import models\n\n\nclass Item(models.Model):\n    name = models.CharField(max_length=80)\n";
const PASSWORD: &str = "k7Qp2vX9sL4mZ8wT";

struct Project {
    server: Server,
    workspace: Workspace,
    python: PathBuf,
}

impl Project {
    /// Its database has its first migration and two rows.
    fn new() -> Option<Self> {
        let python = venv::python_with(&venv::WIDE_PACKAGES)?;
        let manifest = manifest(
            "postgresql://shop:${DB_PASSWORD}@${DB_HOST}:${DB_PORT}/${DB_NAME}",
            "django:project.settings",
            "",
        )?;
        let server = Server::start()?;
        let shop = format!("CREATE ROLE shop LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'");
        server.sql("postgres", &shop);
        server.sql("postgres", "CREATE DATABASE store OWNER shop");
        let secret = "[config.vars.DB_PASSWORD]\nrequired = true\nsecret = true\n[[schema]]";
        let manifest = manifest.replacen("[[schema]]", secret, 1);
        let workspace = Workspace::with_manifest(&manifest);
        workspace.write(
            ".env",
            &format!(
                "DB_HOST=localhost\nDB_PORT={}\nDB_NAME=store\nDB_PASSWORD={PASSWORD}\n",
                server.port
            ),
        );
        workspace.write("project/__init__.py", "");
        workspace.write("project/settings.py", SETTINGS);
        workspace.write("shop/__init__.py", "");
        workspace.write("shop/models.py", MODELS);
        workspace.write("shop/migrations/__init__.py", "");
        let project = Self {
            server,
            workspace,
            python,
        };
        project.manage(&["makemigrations", "shop", "-n", "first"]);
        project.manage(&["migrate"]);
        project.ask("INSERT INTO shop_item (name) VALUES ('ann'), ('bob') RETURNING 1");
        Some(project)
    }

    /// Runs Django's own commands in the workspace.
    fn manage(&self, arguments: &[&str]) {
        let done = Command::new(&self.python)
            .args(["-B", "-m", "django"])
            .args(arguments)
            .args(["--settings", "project.settings", "--pythonpath", "."])
            .current_dir(self.workspace.root())
            .env("DB_HOST", "127.0.0.1")
            .env("DB_PORT", self.server.port.to_string())
            .env("DB_NAME", "store")
            .env("DB_PASSWORD", PASSWORD)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {told}");
    }

    fn ask(&self, sql: &str) -> String {
        self.server.sql("store", sql).trim().to_owned()
    }
}

const APPLIED: &str = "SELECT count(*) FROM django_migrations WHERE app = 'shop'";

#[test]
#[ignore = "long: `.ci/run --all`"]
fn unapplied_migrations_are_applied() {
    let Some(project) = Project::new() else {
        return;
    };
    let workspace = &project.workspace;
    let models = format!(
        "{MODELS}    price = models.IntegerField(default=7)\n    note = models.TextField(null=True, db_index=True)\n\n\n\
         class Tag(models.Model):\n    item = models.ForeignKey(Item, on_delete=models.CASCADE)\n    \
         kind = models.CharField(max_length=9, unique=True)\n"
    );
    workspace.write("shop/models.py", &models);
    project.manage(&["makemigrations", "shop", "-n", "price"]);
    let boot = workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    assert_eq!(project.ask(APPLIED), "2");
    assert_eq!(project.ask("SELECT sum(price) FROM shop_item"), "14");
    assert_eq!(project.ask("SELECT count(*) FROM shop_tag"), "0");
    let permissions = "SELECT count(*) FROM auth_permission WHERE codename = 'add_tag'";
    assert_eq!(project.ask(permissions), "1");
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'shop_tag'";
    assert_eq!(project.ask(owner), "shop");
    expect_nothing_left(&project.server);
    let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(preflight["checks"][1]["status"], "healthy", "{preflight:#}");
    workspace.expect_not_logged(&[PASSWORD]);
    // Django itself sees nothing left to do, and new rows get numbers that follow.
    project.manage(&["migrate", "--check"]);
    project.manage(&["makemigrations", "--check", "--dry-run"]);
    let next = "INSERT INTO auth_permission (name, content_type_id, codename) SELECT 'x', min(id), 'x' FROM django_content_type RETURNING \
                id > (SELECT max(id) FROM auth_permission)";
    assert_eq!(project.ask(next), "t");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn models_that_changed_get_a_migration_once_a_person_approves_unless_a_value_does_not_fit() {
    let Some(project) = Project::new() else {
        return;
    };
    let workspace = &project.workspace;
    let models = |name: &str| {
        let fields = format!("    name = models.{name}\n    price = models.IntegerField()\n");
        let class = "from django.db import models\n\n\nclass Item(models.Model):\n";
        workspace.write("shop/models.py", &format!("{class}{fields}"));
        let preflight = workspace.ubs(&["preflight", "--json"]).expect(0).json();
        let finding = &preflight["checks"][1]["findings"][0];
        assert_eq!(finding["code"], "schema.missing_migration", "{preflight:#}");
        finding["remedy"].as_str().unwrap().to_owned()
    };
    let remedy = models("IntegerField()");
    // Before version 16 nobody can count them.
    let counted = "of 2 rows with a value in shop_item.name, 2 have one that is no integer";
    let not_counted = "one that does not fit lets it fail";
    assert!(
        remedy.contains(counted) || remedy.contains(not_counted),
        "{remedy}"
    );
    let remedy = models("TextField()");
    let what = "change column shop_item.name from varchar(80) to text; all 2 rows with a value have one that fits";
    assert!(remedy.contains(what), "{remedy}");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let waits = mission(workspace);
    assert_eq!(waits["status"], "awaiting_approval", "{waits:#}");
    let slug = waits["slug"].as_str().unwrap();
    workspace.ubs(&["missions", "approve", slug]).expect(0);
    assert_eq!(project.ask(APPLIED), "2");
    assert_eq!(
        project.ask("SELECT count(*) FROM shop_item WHERE price = 0"),
        "2"
    );
    project.manage(&["makemigrations", "--check", "--dry-run"]);
    expect_nothing_left(&project.server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_empty_database_gets_all_of_them() {
    let Some(project) = Project::new() else {
        return;
    };
    project.server.sql("postgres", "DROP DATABASE store");
    project
        .server
        .sql("postgres", "CREATE DATABASE store OWNER shop");
    let boot = project.workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(boot.code, 0, "{}{}", boot.stdout, boot.stderr);
    assert_eq!(project.ask(APPLIED), "1");
    assert_eq!(project.ask("SELECT count(*) FROM shop_item"), "0");
    expect_nothing_left(&project.server);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_migration_with_python_code_that_changes_rows_waits_for_a_person() {
    let Some(project) = Project::new() else {
        return;
    };
    let workspace = &project.workspace;
    workspace.write(
        "shop/migrations/0002_capitals.py",
        "from django.db import migrations\n\n\ndef capitals(apps, editor):\n    for item in apps.get_model('shop', 'Item').objects.all():\n        \
         item.name = item.name.upper()\n        item.save()\n\n\nclass Migration(migrations.Migration):\n    \
         dependencies = [('shop', '0001_first')]\n    operations = [migrations.RunPython(capitals)]\n",
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let names = "SELECT string_agg(name, ' ' ORDER BY id) FROM shop_item";
    assert_eq!(project.ask(names), "ann bob");
    let mission = mission(workspace);
    assert_eq!(mission["status"], "awaiting_approval", "{mission:#}");
    let slug = mission["slug"].as_str().unwrap();
    let verdict = shown(workspace, slug);
    assert!(
        verdict.contains("rows of table public.shop_item change"),
        "{verdict}"
    );
    workspace
        .ubs(&["missions", "approve", slug, "--by", "ann"])
        .expect(0);
    assert_eq!(project.ask(names), "ANN BOB");
    assert_eq!(project.ask(APPLIED), "2");
    expect_nothing_left(&project.server);
}

/// Whether Django's own commands and ours leave the same behind.
#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_is_promoted_is_what_django_would_have_done() {
    let [Some(by_us), Some(by_django)] = [Project::new(), Project::new()] else {
        return;
    };
    let models = format!(
        "{MODELS}    class Meta:\n        indexes = [models.Index(fields=['name'], name='by_name')]\n        \
         constraints = [models.CheckConstraint(condition=~models.Q(name=''), name='named')]\n"
    );
    for project in [&by_us, &by_django] {
        project.workspace.write("shop/models.py", &models);
        project.manage(&["makemigrations", "shop", "-n", "more"]);
    }
    by_us.workspace.ubs(&["boot", "--until-ready"]).expect(0);
    by_django.manage(&["migrate"]);
    assert_eq!(by_us.server.dump("store"), by_django.server.dump("store"));
}
