"""The faults. Run by the suite:

    faults.py list                         the kinds, as JSON
    faults.py make KIND SEED ROOT [URL]    writes a sound application
    faults.py inject KIND SEED ROOT [URL]  one fault; says `ready`, and holds it until its input ends
    faults.py by_hand KIND SEED ROOT [URL] starts a copy of it as a person would; says `works` or why not
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import app as applications
from app import App

KINDS = {}


def fault(right, tells="", style="alembic", **more):
    """`right`: auto, ask, wait, told or sound. `tells`: an expression that a finding before the boot has to match."""
    def add(function):
        KINDS[function.__name__] = {"kind": function.__name__, "right": right, "tells": tells, "style": style,
                                    "inject": function, **more}
        return function
    return add


# --- configuration

@fault("auto", "SECRET_KEY")
def secret_missing(a): a.env("SECRET_KEY")

@fault("auto", "SECRET_KEY")
def secret_placeholder(a): a.env("SECRET_KEY", "changeme")

@fault("auto", "REGION")
def default_missing(a): a.env("REGION")

# Ask: it works, so nothing is replaced by itself.
@fault("ask", "SECRET_KEY", keeps="SECRET_KEY=k9x2mq")
def secret_short_in_use(a): a.env("SECRET_KEY", "k9x2mq")

@fault("ask", "POOL")
def wrong_type(a): a.env("POOL", "5x")

@fault("ask", "POOL")
def out_of_range(a): a.env("POOL", "500")

@fault("ask", "LOG_LEVEL")
def near_value(a): a.env("LOG_LEVEL", "infoo")

@fault("ask", "LOG_LEVEL|LOG_LEVLE")
def variable_misspelt(a): a.edit(".env", "LOG_LEVEL=info", "LOG_LEVLE=info")

@fault("ask", "sqlitee|DATABASE_URL")
def url_scheme(a): a.edit(".env", "sqlite:", "sqlitee:")

@fault("ask", "DATABASE_URL|slash")
def url_slashes(a): a.edit(".env", "sqlite:///", "sqlite://")

@fault("ask", "DATABASE_URL|postgres", style="postgres")
def url_postgres(a): a.edit(".env", "postgresql+psycopg2://", "postgres://")

# The URL is a person's to give, whatever is approved.
@fault("ask", r"\.env|DATABASE_URL", declared={"DATABASE_URL": "@URL@"}, may_change=[".env"])
def env_file_missing(a): a.path(".env").unlink()

@fault("ask", r"\.env|UTF-8")
def env_not_utf8(a): a.path(".env").write_bytes(a.path(".env").read_bytes() + b"CITY=M\xfcnchen\n")

@fault("ask", "quote|REGION")
def env_open_quote(a): a.env("REGION", '"south')

# --- files

@fault("auto", "uploads|UPLOAD_DIR")
def upload_directory_missing(a): shutil.rmtree(a.path("var"))

@fault("auto", "data", make_only=True, fresh=True)
def data_directory_missing(a): shutil.rmtree(a.path("data"))

@fault("told", "page.html")
def template_missing(a): a.path("templates/page.html").unlink()

@fault("told", "uploads|UPLOAD_DIR")
def upload_directory_dangling(a):
    a.path("var/uploads").rmdir()
    a.path("var/uploads").symlink_to("/nowhere/at/all")

def dead():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid

@fault("auto", "")
def stale_pid(a): a.write("run/worker.pid", str(dead()))

@fault("auto", "")
def stale_socket(a):
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(a.root)
        one.bind(a.fill("run/@PKG@@PORT@.sock"))

@fault("auto", "")
def stale_lock(a): a.write("run/worker.lock/pid", str(dead()))

# Whose it was, nothing says.
@fault("told", "")
def stale_lock_of_nobody(a): a.path("run/worker.lock").mkdir()

# --- database

@fault("auto", "missing_table|owners", style="plain")
def table_missing(a): a.sql("PRAGMA foreign_keys=off; DROP TABLE owners;")

@fault("auto", "note", style="plain")
def column_missing(a): a.sql("ALTER TABLE @THING@s DROP COLUMN note;")

@fault("auto", "owner_id", style="plain", has="SELECT 1 FROM sqlite_schema WHERE name = 'ix_@THING@s_owner_id'")
def index_missing(a): a.sql("DROP INDEX ix_@THING@s_owner_id;")

@fault("auto", "note|owners", style="plain")
def table_column_and_index_missing(a):
    a.sql("PRAGMA foreign_keys=off; DROP TABLE owners; DROP INDEX ix_@THING@s_owner_id;"
          "ALTER TABLE @THING@s DROP COLUMN note;")

@fault("ask", "title", style="plain")
def not_null_column_missing(a): a.sql("ALTER TABLE @THING@s DROP COLUMN title;")

@fault("ask", "batch_no", style="plain")
def not_null_column_extra(a):
    a.sql("CREATE TABLE t2 (id INTEGER PRIMARY KEY, title VARCHAR(40) NOT NULL, owner_id INTEGER NOT NULL REFERENCES"
          " owners(id), note VARCHAR(80), batch_no INTEGER NOT NULL);"
          "INSERT INTO t2 SELECT id, title, owner_id, note, 1 FROM @THING@s; DROP TABLE @THING@s;"
          "ALTER TABLE t2 RENAME TO @THING@s; CREATE INDEX ix_@THING@s_owner_id ON @THING@s (owner_id);")

# Which owner each of them has, nothing says.
@fault("ask", "owner_id", style="plain")
def not_null_reference_missing(a):
    a.sql("CREATE TABLE t2 (id INTEGER PRIMARY KEY, title VARCHAR(40) NOT NULL, note VARCHAR(80));"
          "INSERT INTO t2 SELECT id, title, note FROM @THING@s; DROP TABLE @THING@s; ALTER TABLE t2 RENAME TO @THING@s;")

@fault("ask", "title", style="plain")
def type_changed(a):
    a.sql("CREATE TABLE t2 (id INTEGER PRIMARY KEY, title INTEGER NOT NULL, owner_id INTEGER NOT NULL REFERENCES"
          " owners(id), note VARCHAR(80)); INSERT INTO t2 SELECT id, id, owner_id, note FROM @THING@s; DROP TABLE @THING@s;"
          "ALTER TABLE t2 RENAME TO @THING@s; CREATE INDEX ix_@THING@s_owner_id ON @THING@s (owner_id);")

def column_of_model(a):
    a.edit("@PKG@/models.py", "    name: Mapped[str] = mapped_column(String(40))\n",
           "    name: Mapped[str] = mapped_column(String(40))\n    rank: Mapped[int] = mapped_column()\n")

@fault("ask", "rank")
def column_without_migration(a): column_of_model(a)

# Who may not make roles is told so: the migrations could not be tried.
@fault("ask", "rank", style="alembic_postgres", superuser="ALTER ROLE bob CREATEROLE")
def pg_column_without_migration(a): column_of_model(a)

@fault("auto", "0002|pending|note|behind")
def migration_pending(a): a.python("-m", "alembic", "downgrade", "0001")

@fault("ask", "0003|pending|behind")
def migration_destructive(a):
    a.write("migrations/versions/0003_drop.py", 'import sqlalchemy as sa\nfrom alembic import op\nrevision = "0003"\n'
            'down_revision = "0002"\n\n\ndef upgrade():\n    with op.batch_alter_table("@THING@s") as batch:\n'
            '        batch.drop_column("note")\n    op.add_column("owners", sa.Column("mail", sa.String(9)))\n')
    a.edit("@PKG@/models.py", "    note: Mapped[str | None] = mapped_column(String(80))\n", "")
    a.edit("@PKG@/models.py", "    name: Mapped[str] = mapped_column(String(40))\n",
           "    name: Mapped[str] = mapped_column(String(40))\n    mail: Mapped[str | None] = mapped_column(String(9))\n")
    a.sql("UPDATE @THING@s SET note = 'kept';")

@fault("ask", "head", works=True)
def two_heads(a):
    a.write("migrations/versions/0002_other.py", 'import sqlalchemy as sa\nfrom alembic import op\nrevision = "0002b"\n'
            'down_revision = "0001"\n\n\ndef upgrade():\n    op.create_table("extras", sa.Column("id", sa.Integer, primary_key=True))\n')

@fault("ask", "00ff", works=True)
def unknown_revision(a): a.sql("UPDATE alembic_version SET version_num = '00ff';")

@fault("told", "0003|mail|half|batch")
def migration_half_applied(a):
    a.write("migrations/versions/0003_two.py", 'import sqlalchemy as sa\nfrom alembic import op\nrevision = "0003"\n'
            'down_revision = "0002"\n\n\ndef upgrade():\n    op.add_column("owners", sa.Column("phone", sa.String(9)))\n'
            '    op.add_column("owners", sa.Column("mail", sa.String(9)))\n')
    a.edit("@PKG@/models.py", "    name: Mapped[str] = mapped_column(String(40))\n",
           "    name: Mapped[str] = mapped_column(String(40))\n    phone: Mapped[str | None] = mapped_column(String(9))\n"
           "    mail: Mapped[str | None] = mapped_column(String(9))\n")
    a.sql("ALTER TABLE owners ADD COLUMN phone VARCHAR(9);")

@fault("told", "database|corrupt|malformed|not a database")
def database_garbage(a): (a.path("data") / a.file).write_bytes(os.urandom(16384))

@fault("told", "corrupt|malformed")
def database_page_corrupt(a):
    a.sql("CREATE TABLE filler (x TEXT); INSERT INTO filler WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
          "FROM n WHERE i < 400) SELECT hex(randomblob(200)) FROM n; DROP TABLE filler; VACUUM;")
    import sqlite3
    with contextlib.closing(sqlite3.connect(a.path("data") / a.file)) as connection:
        [(page,)] = connection.execute(a.fill("SELECT rootpage FROM sqlite_schema WHERE name = '@THING@s'"))
        [(size,)] = connection.execute("PRAGMA page_size")
    with open(a.path("data") / a.file, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xee" * 512)

@fault("wait", "locked", in_place=True)
def database_locked(a):
    import sqlite3
    connection = sqlite3.connect(a.path("data") / a.file, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    threading.Timer(12, connection.close).start()

@fault("auto", "database|data|missing", fresh=True)
def database_file_missing(a): (a.path("data") / a.file).unlink()

@fault("ask", "empty|another|database|content", known=True)
def database_another_empty(a):
    import sqlite3
    sqlite3.connect(a.path("data/other.db")).close()
    a.env("DATABASE_URL", "sqlite:///data/other.db")

@fault("told", "@THING@s|duplicate|already defined")
def table_defined_twice(a):
    a.write("@PKG@/models.py", a.read(f"{a.pkg}/models.py") + '\n\nclass Visit(Base):\n    __tablename__ = "owners"\n'
            '    id: Mapped[int] = mapped_column(primary_key=True)\n    at: Mapped[str] = mapped_column(String(9))\n')

# --- code

@fault("told", "SyntaxError|syntax|labels")
def syntax_error(a): a.edit("@PKG@/labels.py", "def make_label(text):", "def make_label(text:")

@fault("told", "SyntaxError|syntax|merge|labels")
def merge_marks(a):
    a.edit("@PKG@/labels.py", "    return text.upper()",
           "<<<<<<< HEAD\n    return text.upper()\n=======\n    return text\n>>>>>>> other")

@fault("told", "labels|tab|indent")
def tabs(a): a.edit("@PKG@/labels.py", "    return text.upper()", "    text = text\n\treturn text.upper()")

@fault("auto", "make_lable|make_label")
def name_one_letter_off(a): a.edit("@PKG@/routers/@THING@s.py", "import make_label", "import make_labl as make_label")

@fault("auto", "labls|labels")
def module_one_letter_off(a): a.edit("@PKG@/worker.py", "@PKG@.labels", "@PKG@.labls")

@fault("told", "circular|partially")
def circular_import(a):
    a.write("@PKG@/labels.py", "from @PKG@.routers.@THING@s import router\n" + a.read(f"{a.pkg}/labels.py"))

@fault("told", "socket")
def standard_module_hidden(a): a.write("socket.py", "HOST = 'localhost'\n")

@fault("told", "application|attribute|app1")
def wrong_asgi_attribute(a): a.edit("ubs.toml", "-m uvicorn @PKG@.main:app", "-m uvicorn @PKG@.main:app1")

@fault("told", "widget|undefined")
def undefined_name_in_handler(a):
    a.edit("@PKG@/routers/owners.py", "return [owner.name for", "return [owner.name + widget() for")

@fault("auto", "owners")
def router_not_mounted(a): a.edit("@PKG@/main.py", "app.include_router(owners.router)\n", "")

@fault("told", "no rates today")
def exception_at_import(a): a.write("@PKG@/labels.py", a.read(f"{a.pkg}/labels.py") + 'raise RuntimeError("no rates today")\n')

@fault("told", "SystemExit|exit|ended")
def exit_at_import(a): a.write("@PKG@/labels.py", a.read(f"{a.pkg}/labels.py") + "import sys\nsys.exit(3)\n")

@fault("told", "no broker today")
def exception_in_lifespan(a):
    a.edit("@PKG@/main.py", "    probe = os", '    raise RuntimeError("no broker today")\n    probe = os')

@fault("told", "time|took|longer")
def import_for_ever(a):
    a.write("@PKG@/labels.py", "import time\nwhile True:\n    time.sleep(1)\n")
    a.edit("ubs.toml", 'rehearse = { imports = ["@PKG@.worker"] }', 'rehearse = { imports = ["@PKG@.worker"], timeout = "4s" }')
    a.edit("ubs.toml", "startup = true", 'startup = true, timeout = "4s"')

# --- run time

def listen(a, answers):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", a.port))
    listener.listen(64)
    def serve():
        kept = []
        while True:
            one, _ = listener.accept()
            if answers:
                with contextlib.suppress(OSError):
                    one.recv(999)
                    one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                one.close()
            else:
                kept.append(one)
    threading.Thread(target=serve, daemon=True).start()

@fault("told", "port|in use", names_pid=True)
def port_taken_by_one_that_answers(a): listen(a, True)

@fault("told", "port|in use", names_pid=True)
def port_taken_by_a_deaf_one(a): listen(a, False)

# The next boot ends it before it looks, so there is nothing to tell.
@fault("auto", "", orphan=True)
def port_taken_by_own_orphan(a): pass

@fault("told", "")
def crash_loop(a): a.edit("@PKG@/worker.py", '        print("working", flush=True)\n', "        raise ValueError('bad batch')\n")

@fault("told", "")
def crash_soon_after_ready(a):
    a.edit("@PKG@/worker.py", "            time.sleep(0.5)", "            time.sleep(0.2)\n            raise ValueError('bad batch')")

@fault("told", "")
def ends_with_0_at_once(a): a.edit("@PKG@/worker.py", "    main()\n", "    pass\n")

@fault("told", "")
def ready_404(a):
    a.path("ubs.toml").write_text(a.read("ubs.toml").replace("${PORT}/health", "${PORT}/healthz"))

@fault("sound", "")
def unready_503_then_200(a):
    a.edit("@PKG@/routers/health.py", "def health():\n", "def health():\n    if time.time() - BEGUN < 3:\n        raise HTTPException(503)\n")
    a.edit("@PKG@/routers/health.py", "import APIRouter", "import APIRouter, HTTPException\nimport time\nBEGUN = time.time()")

@fault("told", "uvicornn|program|found")
def program_misspelt(a): a.edit("ubs.toml", "python -m uvicorn", "uvicornn")

@fault("told", "workr|module")
def module_misspelt(a): a.edit("ubs.toml", "python -m @PKG@.worker", "python -m @PKG@.workr")

@fault("told", "nobody_here")
def user_unknown(a): a.edit("ubs.toml", 'run = "python -m @PKG@.worker"', 'run = "python -m @PKG@.worker"\nuser = "nobody_here"')

@fault("told", "nowhere")
def directory_of_service_missing(a): a.edit("ubs.toml", 'run = "python -m @PKG@.worker"', 'run = "python -m @PKG@.worker"\ncwd = "nowhere"')

# --- PostgreSQL

@fault("auto", "owners", style="postgres")
def pg_table_missing(a): a.sql("DROP TABLE owners CASCADE;")

@fault("auto", "note", style="postgres")
def pg_column_missing(a): a.sql("ALTER TABLE @THING@s DROP COLUMN note;")

@fault("ask", "title", style="postgres")
def pg_not_null_column_missing(a): a.sql("ALTER TABLE @THING@s DROP COLUMN title;")

@fault("told", "password", style="postgres")
def pg_wrong_password(a): a.edit(".env", ":p%40ss", ":p%40sss")

@fault("told", "127.0.0.1|refused|reach", style="postgres")
def pg_server_down(a): a.path(".env").write_text(a.read(".env").replace(a.url.split("/app")[0], a.url.rsplit(":", 1)[0] + ":1"))

@fault("told", "ap1|exist", style="postgres")
def pg_wrong_database(a): a.path(".env").write_text(a.read(".env").replace("/app\n", "/ap1\n"))

@fault("told", "permission|right|privilege", style="postgres", superuser="ALTER TABLE owners OWNER TO ann; REVOKE ALL ON owners FROM bob")
def pg_no_right_on_a_table(a): pass

@fault("told", "read-only|read only", style="postgres", superuser="ALTER DATABASE app SET default_transaction_read_only = on")
def pg_read_only(a): pass

@fault("ask", "sequence|behind", style="postgres")
def pg_sequence_behind(a): a.sql("SELECT setval('@THING@s_id_seq', 10);")

@fault("ask", "state|enum|label|value", style="postgres")
def pg_enumeration_value_missing(a):
    a.sql("CREATE TYPE grade AS ENUM ('low', 'high'); ALTER TABLE owners ADD COLUMN grade grade DEFAULT 'low';")
    a.edit("@PKG@/models.py", "    name: Mapped[str] = mapped_column(String(40))\n",
           "    name: Mapped[str] = mapped_column(String(40))\n    grade: Mapped[str | None] = mapped_column(Enum('low', 'middle', 'high', name='grade'))\n")
    a.edit("@PKG@/models.py", "import ForeignKey", "import Enum, ForeignKey")
    a.edit("@PKG@/main.py", "    probe = os", '    with Session() as session:\n        session.add(Owner(name="x", grade="middle"))\n        session.flush()\n        session.rollback()\n    probe = os')

@fault("ask", "grade|enum|value", style="alembic_postgres", superuser="ALTER ROLE bob CREATEROLE")
def pg_enumeration_value_without_migration(a): pg_enumeration_value_missing(a)

@fault("ask", "title", style="postgres")
def pg_type_changed(a): a.sql("ALTER TABLE @THING@s ALTER COLUMN title TYPE integer USING id;")

@fault("wait", "connection|too many", style="postgres", superuser="ALTER DATABASE app CONNECTION LIMIT 0", after_12s="ALTER DATABASE app CONNECTION LIMIT -1")
def pg_too_many_connections(a): pass

@fault("wait", "refused|reach", style="postgres")
def pg_up_after_10_s(a):
    where = re.search(r"127\.0\.0\.1:(\d+)", a.url)
    a.path(".env").write_text(a.read(".env").replace(where[0], f"127.0.0.1:{a.port + 1}"))

    def forward(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def begin():
        with socket.create_server(("127.0.0.1", a.port + 1)) as listener:
            while True:
                one, _ = listener.accept()
                other = socket.create_connection(("127.0.0.1", int(where[1])))
                for pair in [(one, other), (other, one)]:
                    threading.Thread(target=forward, args=pair, daemon=True).start()

    timer = threading.Timer(12, begin)
    timer.daemon = True
    timer.start()

# --- sound

@fault("sound")
def sound(a): pass

@fault("sound", style="plain")
def sound_plain(a): pass

@fault("sound", style="packages", in_place=True)
def sound_packages(a): pass

@fault("sound", style="postgres")
def sound_pg(a): pass

# --- packages

def package(right, tells="", **more):
    return fault(right, tells, style="packages", in_place=True, **more)

def site(a): return applications.site(a)

def uninstall(a, name):
    for path in site(a).glob(a.fill(f"{name}*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

@package("auto", "missing_package")
def package_missing(a): uninstall(a, "@TOP@")

# Nothing declares it but the package that needs it.
@package("auto", "missing_package")
def package_missing_below(a):
    a.write("limits.txt", "@LOW@<2\n")
    a.write("requirements.txt", "-c limits.txt\n@TOP@\n")
    uninstall(a, "@LOW@")

@package("ask", "missing_package")
def package_undeclared(a):
    a.edit("@PKG@/worker.py", "import @TOP@\n", "import @TOP@\nimport extra@LOW@\n")
    a.write("poetry.lock", '[[package]]\nname = "extra@LOW@"\nversion = "1.0"\n')

# A name that is in nothing that is trusted may be anybody's.
@package("told", "missing_package")
def package_undeclared_and_unknown(a): a.edit("@PKG@/worker.py", "import @TOP@\n", "import @TOP@\nimport extra@LOW@\n")

@package("auto", "import_error")
def package_version(a): applications.install(a, a.low)

def declared_in_project(a, text):
    a.path("requirements.txt").unlink()
    a.write("pyproject.toml", text)
    applications.install(a, a.low)

@package("auto", "import_error")
def package_version_of_project(a):
    declared_in_project(a, '[project]\nname = "p"\nversion = "1"\ndependencies = ["@TOP@", "@LOW@<3"]\n')

@package("auto", "import_error")
def package_version_of_poetry(a):
    declared_in_project(a, '[tool.poetry]\nname = "p"\nversion = "1"\n[tool.poetry.dependencies]\npython = "^3.9"\n'
                        '@TOP@ = "^1.0"\n@LOW@ = "<3"\n')

@package("ask", "import_error")
def package_version_with_lock(a):
    declared_in_project(a, '[project]\nname = "p"\nversion = "1"\ndependencies = ["@TOP@", "@LOW@<3"]\n')
    a.write("pdm.lock", '[[package]]\nname = "@LOW@"\nversion = "2.0"\n')

@package("auto", "rehearsal.failed|import_error")
def native_library_cut_off(a):
    path = site(a) / a.low / applications.native().name
    path.write_bytes(path.read_bytes()[:3000])

@package("auto", "import_error|missing_package")
def native_library_gone(a): (site(a) / a.low / applications.native().name).unlink()

@package("auto", "syntax")
def module_cut_off(a): (site(a) / a.low / "words.py").write_text("def hell")

@package("auto", "python")
def environment_missing(a):
    a.edit("ubs.toml", "[python]\n", '[python]\ninterpreter = ".venv/bin/python"\n')
    shutil.rmtree(a.path(".venv"))

@package("auto", "python")
def environment_dangling(a):
    for name in ["python", "python3"]:
        a.path(f".venv/bin/{name}").unlink()
    a.path(".venv/bin/python").symlink_to("/nowhere/at/all/python3")
    a.path(".venv/bin/python3").symlink_to("python")

def as_script(a): a.edit("ubs.toml", "python -m @PKG@.worker", ".venv/bin/@TOP@-serve")

@package("auto", "interpreter")
def shebang_dead(a):
    as_script(a)
    script = a.path(".venv/bin/@TOP@-serve")
    lines = script.read_text().splitlines(True)
    script.write_text("".join(["#!/an/old/place/.venv/bin/python\n", *lines[1:]]))

@package("auto", "interpreter")
def environment_moved(a):
    as_script(a)
    shutil.rmtree(a.path(".venv"))
    applications.environment(a, "old")
    a.path("old").rename(a.path(".venv"))
    applications.install(a, a.top, f"{a.low}==1.1")
    script = a.path(".venv/bin/@TOP@-serve")
    script.write_text(script.read_text().replace("/.venv/bin/", "/old/bin/"))

def other_python():
    found = sorted(pathlib.Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}."
    recent = [path for path in found if not path.parts[-3].startswith(ours) and int(path.parts[-3].split(".")[1]) > 9]
    return recent[-1] if recent else None

if other_python():
    @package("auto", "missing_package")
    def environment_of_another_python(a):
        for name in ["python", "python3"]:
            a.path(f".venv/bin/{name}").unlink()
        a.path(".venv/bin/python").symlink_to(other_python())
        a.path(".venv/bin/python3").symlink_to("python")


# --- what is near, or was there under another name: more than one thing may be meant

@fault("ask", "note|remark", style="plain")
def column_renamed(a): a.sql("UPDATE @THING@s SET note = 'kept'; ALTER TABLE @THING@s RENAME COLUMN note TO remark;")

@fault("ask", "owners|people", style="plain")
def table_renamed(a): a.sql("ALTER TABLE owners RENAME TO people;")

@fault("ask", "owners", style="postgres")
def pg_table_in_another_schema(a): a.sql("CREATE SCHEMA archive; ALTER TABLE owners SET SCHEMA archive;")

@fault("ask", "note|remark", style="postgres")
def pg_column_renamed(a): a.sql("UPDATE @THING@s SET note = 'kept'; ALTER TABLE @THING@s RENAME COLUMN note TO remark;")

@fault("ask", "get_label|set_label")
def name_of_another_meaning(a):
    a.edit("@PKG@/routers/@THING@s.py", "import make_label", "import get_label as make_label")
    a.edit("@PKG@/labels.py", "def make_label(text):", "def set_label(text):")

@fault("ask", "UPLOAD_DIR|upload")
def upload_directory_misspelt(a):
    a.env("UPLOAD_DIR", "var/upload")
    a.write("var/uploads/one.txt", "x")

@fault("ask", "dta")
def data_directory_misspelt(a): a.env("DATABASE_URL", f"sqlite:///dta/{a.file}")

@fault("ask", "one letter off")
def database_name_misspelt(a): a.env("DATABASE_URL", f"sqlite:///data/{a.file[1:]}")

# What was written last is in the log.
@fault("told", "-wal")
def database_moved_from_its_log(a):
    path = a.path("data") / a.file
    code = f"""import os, sqlite3
c = sqlite3.connect({str(path)!r}, isolation_level=None)
c.execute("PRAGMA journal_mode=wal"); c.execute("PRAGMA wal_autocheckpoint=0")
c.execute("CREATE TABLE junk (x)"); c.executemany("INSERT INTO junk VALUES (?)", [("y" * 900,)] * 20)
os._exit(0)"""
    subprocess.run([sys.executable, "-c", code], check=True)
    path.unlink()

@fault("told", "empty", known=True)
def data_directory_gone(a): shutil.rmtree(a.path("data"))

@fault("told", "empty|content", style="postgres", known=True, superuser="CREATE DATABASE ap2 OWNER bob")
def pg_database_another_empty(a): a.path(".env").write_text(a.read(".env").replace("/app\n", "/ap2\n"))

@fault("ask", "SECRET_KEY", known=True)
def secret_gone(a): a.env("SECRET_KEY")

@fault("ask", "REGION", known=True)
def value_gone_beside_another_default(a): a.env("REGION")

# Another revision would bring it twice elsewhere.
@fault("ask", "0002")
def stamped_without_being_run(a): a.sql("ALTER TABLE @THING@s DROP COLUMN note;")

def third(a, body):
    a.write("migrations/versions/0003_more.py", 'import sqlalchemy as sa\nfrom alembic import op\nrevision = "0003"\n'
            'down_revision = "0002"\n\n\ndef upgrade():\n' + body)

@fault("ask", "0003")
def migration_empties_values(a): third(a, '    op.execute("UPDATE owners SET name = \'\'")\n')

@fault("ask", "0003")
def migration_deletes_rows(a): third(a, '    op.execute("DELETE FROM owners WHERE id = 2")\n')

@fault("told", "version", works=True)
def version_gone(a): a.sql("DELETE FROM alembic_version;")

# Without it, the migrations do not bring what the models have.
@fault("told", "0002", works=True)
def revision_file_gone(a): a.path("migrations/versions/0002_note.py").unlink()

@fault("told", "0002", works=True)
def revision_twice(a): a.write("migrations/versions/0002_copy.py", a.read("migrations/versions/0002_note.py"))

@fault("told", "")
def pid_of_a_living_process(a): a.write("run/worker.pid", str(os.getpid()))

@fault("told", "")
def socket_of_a_living_process(a):
    os.chdir(a.root)
    a.listener = socket.socket(socket.AF_UNIX)
    a.listener.bind(a.fill("run/@PKG@@PORT@.sock"))
    a.listener.listen(4)

@fault("told", "twice")
def router_prefix_twice(a): a.edit("@PKG@/main.py", "app.include_router(owners.router)", 'app.include_router(owners.router, prefix="/owners")')

@fault("ask", "owners")
def router_commented_out(a): a.edit("@PKG@/main.py", "app.include_router(owners.router)", "# off, it leaks names: app.include_router(owners.router)")

@package("auto", "missing_package")
def package_of_another_name(a):
    applications.wheel(a, "py_extra" + a.low, "1.0", {f"extra{a.low}.py": ""})
    a.edit("@PKG@/worker.py", "import @TOP@\n", "import @TOP@\nimport extra@LOW@\n")
    a.write("requirements.txt", a.read("requirements.txt") + "py-extra@LOW@\n")

@package("told", "import_error")
def package_pinned_at_what_fails(a):
    a.write("requirements.txt", "@TOP@\n@LOW@==2.0\n")
    applications.install(a, a.low)


@fault("sound")
def env_crlf(a): a.path(".env").write_bytes(a.path(".env").read_bytes().replace(b"\n", b"\r\n"))

@fault("sound")
def env_bom(a): a.path(".env").write_bytes(b"\xef\xbb\xbf" + a.path(".env").read_bytes())

@fault("sound")
def env_quotes_and_blanks(a): a.edit(".env", "REGION=south", "REGION = 'south'")

@fault("sound")
def env_harmless_duplicate(a): a.path(".env").write_text(a.read(".env") + "REGION=south\n")

@fault("sound")
def unused_dangling_link(a): a.path("old").symlink_to("/nowhere/at/all")

@fault("sound")
def broken_test_file(a): a.write("tests/test_it.py", "def broken(:\n")

@fault("sound")
def import_of_8_s(a): a.write("@PKG@/labels.py", "import time\ntime.sleep(8)\n" + a.read(f"{a.pkg}/labels.py"))

@fault("sound", style="plain")
def nullable_column_extra(a): a.sql("ALTER TABLE owners ADD COLUMN nick VARCHAR(9);")

# SQLite itself undoes the transaction when the application opens it.
@fault("sound", may_change=[".db"])
def hot_journal(a):
    code = f"""import os, sqlite3
c = sqlite3.connect({str(a.path('data') / a.file)!r}, isolation_level=None)
c.execute("PRAGMA cache_size=1"); c.execute("BEGIN")
c.execute("CREATE TABLE junk (x)"); c.executemany("INSERT INTO junk VALUES (?)", [("y" * 900,)] * 200)
os._exit(0)"""
    subprocess.run([sys.executable, "-c", code], check=True)


def by_hand(app, kind, declared):
    """Starts a copy as a person would, with the commands of the manifest."""
    with tempfile.TemporaryDirectory() as place:
        copy = pathlib.Path(place) / "app"
        if kind.get("in_place"):
            copy = app.root
        else:
            shutil.copytree(app.root, copy, symlinks=True, ignore=lambda at, names: [n for n in names if n == ".ubs" or n.endswith(".sock")])
        for path in () if copy == app.root else app.root.glob("run/*.sock"):
            with socket.socket(socket.AF_UNIX) as one:
                os.chdir(copy)
                one.bind("run/" + path.name)
        import tomllib
        manifest = tomllib.loads((copy / "ubs.toml").read_text())
        programs = copy / ".venv/bin" if app.style == "packages" else os.path.dirname(sys.executable)
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "PORT": str(app.port), **declared}
        del env["PORT"]
        running = []
        try:
            env["PYTHONDONTWRITEBYTECODE"] = "1"
            for layer in manifest["layer"]:
                for service in layer["service"]:
                    command = service["run"].replace("${PORT}", str(app.port)).split()
                    if service.get("user"):
                        import pwd
                        pwd.getpwnam(service["user"])
                    out = open(pathlib.Path(place) / (service["name"] + ".out"), "wb")
                    if "/" not in command[0]:
                        command[0] = shutil.which(command[0], path=env["PATH"]) or command[0]
                    running.append((service, subprocess.Popen(command, cwd=copy / service.get("cwd", "."), env=env, stdout=out, stderr=out)))
                    why = await_it(app, pathlib.Path(place), service, running)
                    if why:
                        return why
            time.sleep(1)
            paths = [] if app.style == "packages" else ["/owners", f"/{app.thing}s", f"/{app.thing}s/new"]
            for path in paths:
                if (got := ask(app.port, path)) != 200:
                    return f"{path} answers {got}"
            for service, child in running:
                if child.poll() is not None:
                    return f"{service['name']} ended"
            if kind.get("has"):
                import sqlite3
                with contextlib.closing(sqlite3.connect(copy / "data" / app.file)) as connection:
                    if not connection.execute(app.fill(kind["has"])).fetchall():
                        return "the catalogue lacks it"
            return "works"
        except (OSError, KeyError) as error:
            return repr(error)
        finally:
            for _, child in running:
                child.send_signal(signal.SIGTERM)
            for _, child in running:
                try:
                    child.wait(3)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()


def ask(port, path):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return repr(error)


def await_it(app, place, service, running):
    child = running[-1][1]
    end = time.monotonic() + float(os.environ.get("HEALING_PATIENCE", "20"))
    while time.monotonic() < end:
        said = (place / (service["name"] + ".out")).read_text(errors="replace")
        if child.poll() is not None:
            return f"{service['name']} ended: " + (said.strip().splitlines() or ["nothing said"])[-1]
        ready = service["ready"]
        if "log" in ready and "working" in said:
            return None
        if "http" in ready:
            if "Uvicorn running on" in said and ask(app.port, ready["http"].split("${PORT}")[1]) == 200:
                return None
        time.sleep(0.05)
    return f"{service['name']} is not ready"


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "list":
        shown = [{k: v for k, v in kind.items() if k != "inject"} for kind in KINDS.values()]
        print(json.dumps(shown))
        return
    name, seed, root, *url = rest
    kind = KINDS[name]
    if what == "make":
        App(root, f"{seed} {name}", kind["style"], *url).make()
        return
    app = App.again(root, f"{seed} {name}", kind["style"], *url)
    if what == "inject":
        kind["inject"](app)
        print("ready", flush=True)
        sys.stdin.read()
        os._exit(0)
    if what == "by_hand":
        print(by_hand(app, kind, {name: app.fill(value) for name, value in kind.get("declared", {}).items()}))


main()
