//! What Python's drivers make of the relay, and what is recorded of them.

use std::path::Path;
use std::process::Command;

use super::testing::*;
use crate::checks::testing::venv;

/// Runs a program with the relay's port as its argument.
#[track_caller]
fn run(python: &Path, program: &str, port: u16) -> String {
    let output = Command::new(python)
        .args(["-c", program, &port.to_string()])
        .env_remove("PGHOST")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a program does is recorded as this, and the replay gives the same catalog and the same rows.
#[track_caller]
fn expect_recorded(program: &str, expected: &[&str]) {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    run(&python, program, trial.port);
    let recording = trial.relay.finish();
    assert_eq!(listed(&recording), expected);
    let ended = TrialEnded(trial.server);
    ended.expect_same_catalog(&recording);
    let rows =
        "SELECT string_agg(name || ':' || coalesce(n::text, '-'), ' ' ORDER BY name) FROM users";
    assert_eq!(ended.0.sql("app", rows).trim(), "Ann's:1 Bob:- Eve:3");
    assert_eq!(ended.0.sql("again", rows), ended.0.sql("app", rows));
}

#[test]
fn psycopg2() {
    expect_recorded(
        r#"
import sys, psycopg2
c = psycopg2.connect(host="127.0.0.1", port=sys.argv[1], user="me", dbname="live", options="-c search_path=public")
k = c.cursor()
k.execute("CREATE TABLE users (id serial PRIMARY KEY, name text, n int)")
k.execute("SAVEPOINT s")
k.execute("DROP TABLE users")
k.execute("ROLLBACK TO SAVEPOINT s")
k.execute("INSERT INTO users (name, n) VALUES (%s, %s)", ("Ann's", 1))
k.execute("SAVEPOINT s")
try:
    k.execute("INSERT INTO nowhere VALUES (1)")
except psycopg2.Error:
    k.execute("ROLLBACK TO SAVEPOINT s")
k.executemany("INSERT INTO users (name, n) VALUES (%s, %s)", [("Bob", None), ("Eve", 3)])
c.commit()
k.execute("DELETE FROM users")
c.rollback()
k.execute("DELETE FROM users")
try:
    k.execute("SELECT 1/0")
except psycopg2.Error:
    c.commit()
n = c.cursor("named")
n.itersize = 2
n.execute("SELECT name FROM users")
assert len(list(n)) == 3
n.close()
c.commit()
c.autocommit = True
k.execute("CREATE INDEX ix_users_name ON users (name)")
c.close()
"#,
        &[
            "CREATE TABLE users (id serial PRIMARY KEY, name text, n int)",
            "SAVEPOINT s",
            "DROP TABLE users",
            "ROLLBACK TO SAVEPOINT s",
            "INSERT INTO users (name, n) VALUES ('Ann''s', 1)",
            "SAVEPOINT s",
            "ROLLBACK TO SAVEPOINT s",
            "INSERT INTO users (name, n) VALUES ('Bob', NULL)",
            "INSERT INTO users (name, n) VALUES ('Eve', 3)",
            "DECLARE \"named\" CURSOR WITHOUT HOLD FOR SELECT name FROM users",
            "FETCH FORWARD 2 FROM \"named\"",
            "FETCH FORWARD 2 FROM \"named\"",
            "FETCH FORWARD 2 FROM \"named\"",
            "CLOSE \"named\"",
            "CREATE INDEX ix_users_name ON users (name)",
        ],
    );
}

#[test]
fn psycopg() {
    expect_recorded(
        r#"
import sys, psycopg
c = psycopg.connect(host="127.0.0.1", port=sys.argv[1], user="me", dbname="live", prepare_threshold=0)
c.execute("CREATE TABLE users (id serial PRIMARY KEY, name text, n int)")
try:
    with c.transaction():
        c.execute("DROP TABLE users")
        c.execute("INSERT INTO nowhere VALUES (1)")
except psycopg.Error:
    pass
c.execute("INSERT INTO users (name, n) VALUES (%s, %s)", ("Ann's", 1))
with c.pipeline():
    c.cursor().executemany("INSERT INTO users (name, n) VALUES (%s, %b)", [("Bob", None), ("Eve", 3)])
c.commit()
with c.cursor("named") as n:
    n.itersize = 2
    n.execute("SELECT name FROM users WHERE n > %s OR true", (0,))
    assert len(list(n)) == 3
c.rollback()
try:
    with c.pipeline():
        c.execute("CREATE TABLE never (x int)")
        c.execute("INSERT INTO nowhere VALUES (1)")
        c.execute("CREATE TABLE neither (x int)")
except psycopg.Error:
    c.rollback()
c.autocommit = True
c.prepared_max = 1
c.execute("CREATE INDEX ix_users_name ON users (name)")
c.close()
"#,
        &[
            "CREATE TABLE users (id serial PRIMARY KEY, name text, n int)",
            "SAVEPOINT \"_pg3_1\"",
            "DROP TABLE users",
            "ROLLBACK TO \"_pg3_1\"",
            "RELEASE \"_pg3_1\"",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- Ann's, [0, 1]",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- Bob, NULL",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- Eve, [0, 3]",
            "CREATE INDEX ix_users_name ON users (name)",
        ],
    );
}

#[test]
fn asyncpg() {
    expect_recorded(
        r#"
import sys, asyncio, asyncpg
async def main():
    c = await asyncpg.connect(host="127.0.0.1", port=int(sys.argv[1]), user="me", database="live",
                              server_settings={"search_path": "public"})
    async with c.transaction():
        await c.execute("CREATE TABLE users (id serial PRIMARY KEY, name text, n int)")
        try:
            async with c.transaction():
                await c.execute("DROP TABLE users; INSERT INTO nowhere VALUES (1)")
        except asyncpg.PostgresError:
            pass
        await c.execute("INSERT INTO users (name, n) VALUES ($1, $2)", "Ann's", 1)
        await c.executemany("INSERT INTO users (name, n) VALUES ($1, $2)", [("Bob", None), ("Eve", 3)])
    try:
        async with c.transaction():
            await c.execute("DELETE FROM users")
            await c.fetch("SELECT 1/0")
    except asyncpg.PostgresError:
        pass
    try:
        await c.execute("CREATE DATABASE x")
        raise SystemExit("not refused")
    except asyncpg.InsufficientPrivilegeError as e:
        assert "ubs" in str(e)
    async with c.transaction():
        rows = [r async for r in c.cursor("SELECT name FROM users", prefetch=2)]
        assert len(rows) == 3
    await c.execute("CREATE INDEX ix_users_name ON users (name)")
    await c.close()
asyncio.run(main())
"#,
        &[
            "CREATE TABLE users (id serial PRIMARY KEY, name text, n int)",
            "SAVEPOINT __asyncpg_savepoint_1__",
            "DROP TABLE users",
            "ROLLBACK TO __asyncpg_savepoint_1__",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- [65, 110, 110, 39, 115], [0, 0, 0, 1]",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- [66, 111, 98], NULL",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- [69, 118, 101], [0, 0, 0, 3]",
            "SELECT name FROM users",
            "CREATE INDEX ix_users_name ON users (name)",
        ],
    );
}

#[test]
fn pg8000() {
    expect_recorded(
        r#"
import sys, pg8000.dbapi
c = pg8000.dbapi.connect(host="127.0.0.1", port=int(sys.argv[1]), user="me", database="live")
k = c.cursor()
k.execute("CREATE TABLE users (id serial PRIMARY KEY, name text, n int)")
k.execute("SAVEPOINT s")
try:
    k.execute("INSERT INTO nowhere VALUES (1)")
except pg8000.dbapi.Error:
    k.execute("ROLLBACK TO SAVEPOINT s")
for row in [("Ann's", 1), ("Bob", None), ("Eve", 3)]:
    k.execute("INSERT INTO users (name, n) VALUES (%s, %s)", row)
c.commit()
k.execute("DELETE FROM users")
c.rollback()
c.close()
"#,
        &[
            "CREATE TABLE users (id serial PRIMARY KEY, name text, n int)",
            "SAVEPOINT s",
            "ROLLBACK TO SAVEPOINT s",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- Ann's, 1",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- Bob, NULL",
            "INSERT INTO users (name, n) VALUES ($1, $2) <- Eve, 3",
        ],
    );
}

/// Migrations as Alembic runs them, with each driver: the same tables, and a replay gives them.
#[test]
#[ignore = "long: `.ci/run --all`"]
fn alembic_over_each_driver() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    for driver in ["psycopg2", "psycopg", "asyncpg", "pg8000"] {
        let Some(trial) = RelayTrial::start("") else {
            return;
        };
        let program = ALEMBIC.replace("DRIVER", driver);
        run(&python, &program, trial.port);
        let recording = trial.relay.finish();
        let ended = TrialEnded(trial.server);
        let changes: Vec<String> = listed(&recording)
            .into_iter()
            .filter(|line| line.contains("alembic_version") && line.starts_with("UPDATE"))
            .collect();
        assert_eq!(changes.len(), 1, "{driver}: {:?}", listed(&recording));
        ended.expect_same_catalog(&recording);
        for database in ["app", "again"] {
            let sql = "SELECT version_num, (SELECT string_agg(name || mood, ' ' ORDER BY id) FROM users) FROM \
                       alembic_version";
            let found = ended.0.sql(database, sql);
            assert_eq!(found.trim(), "b2|annbad bobgood", "{driver} {database}");
        }
    }
}

const ALEMBIC: &str = r#"
import sys, asyncio, tempfile, pathlib
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
home = pathlib.Path(tempfile.mkdtemp())
(home / "versions").mkdir()
(home / "env.py").write_text('''
from alembic import context
def do(connection):
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
do(context.config.attributes["connection"])
''')
(home / "versions" / "a1.py").write_text('''
revision, down_revision = "a1", None
from alembic import op
import sqlalchemy as sa
def upgrade():
    t = op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(20)),
                        sa.Column("mood", sa.Enum("good", "bad", name="mood"), server_default="good"))
    op.bulk_insert(t, [{"name": "ann", "mood": "bad"}, {"name": "bob", "mood": "good"}])
    op.create_index("ix_users_name", "users", ["name"])
''')
(home / "versions" / "b2.py").write_text('''
revision, down_revision = "b2", "a1"
from alembic import op
import sqlalchemy as sa
def upgrade():
    op.add_column("users", sa.Column("age", sa.Integer))
    op.execute(sa.text("UPDATE users SET age = :age WHERE name = 'ann'").bindparams(age=7))
    op.create_check_constraint("ck_age", "users", "age > 0")
''')
url = f"postgresql+DRIVER://me:any@127.0.0.1:{sys.argv[1]}/live"
def upgrade(connection):
    config = Config()
    config.set_main_option("script_location", str(home))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
if "DRIVER" == "asyncpg":
    from sqlalchemy.ext.asyncio import create_async_engine
    async def main():
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)
            await connection.commit()
        await engine.dispose()
    asyncio.run(main())
else:
    with sa.create_engine(url).connect() as connection:
        upgrade(connection)
        connection.commit()
"#;

/// The migrations that Django brings, and one with its own transactions and its own code.
#[test]
fn django() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let Some(trial) = RelayTrial::start("") else {
        return;
    };
    run(&python, DJANGO, trial.port);
    let recording = trial.relay.finish();
    let ended = TrialEnded(trial.server);
    ended.expect_same_catalog(&recording);
    for database in ["app", "again"] {
        let sql = "SELECT (SELECT count(*) FROM django_migrations) > 15, (SELECT count(*) FROM auth_permission), \
                   (SELECT string_agg(name || n, ' ' ORDER BY id) FROM shop_item)";
        assert_eq!(
            ended.0.sql(database, sql).trim(),
            "t|28|a0 b1 c2",
            "{database}"
        );
    }
}

const DJANGO: &str = r#"
import sys, pathlib, tempfile
home = pathlib.Path(tempfile.mkdtemp())
(home / "shop" / "migrations").mkdir(parents=True)
(home / "shop" / "__init__.py").touch()
(home / "shop" / "migrations" / "__init__.py").touch()
(home / "shop" / "models.py").write_text("""
from django.db import models
class Item(models.Model):
    name = models.CharField(max_length=20, unique=True)
    n = models.IntegerField(default=5, db_index=True)
""")
(home / "shop" / "migrations" / "0001_initial.py").write_text("""
from django.db import migrations, models
def fill(apps, schema_editor):
    Item = apps.get_model("shop", "Item")
    Item.objects.bulk_create([Item(name=name) for name in "abc"])
    for at, item in enumerate(Item.objects.order_by("name").iterator(chunk_size=2)):
        Item.objects.update_or_create(name=item.name, defaults={"n": at})
class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("Item", [("id", models.BigAutoField(primary_key=True)),
                                        ("name", models.CharField(max_length=20, unique=True))]),
        migrations.AddField("item", "n", models.IntegerField(default=5)),
        migrations.RunPython(fill),
    ]
""")
(home / "shop" / "migrations" / "0002_index.py").write_text("""
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.AlterField("item", "n", models.IntegerField(default=5, db_index=True)),
                  migrations.RunSQL("UPDATE shop_item SET n = n")]
    atomic = False
""")
sys.path.insert(0, str(home))
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                    "django.contrib.admin", "django.contrib.messages", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": sys.argv[1],
                           "NAME": "live", "USER": "me", "PASSWORD": "any"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, TIME_ZONE="Europe/Berlin")
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"#;
