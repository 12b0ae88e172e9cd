"""A sound application for the suite of injected faults: names and port drawn by a seed."""

import os
import pathlib
import random
import socket
import subprocess
import sys


def free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class App:
    """`style`: `alembic` (SQLite, migrations), `plain` (SQLite, models only), `postgres` (models only),
    `alembic_postgres`, or `packages` (a worker in an environment of its own, whose index is a directory)."""

    def __init__(self, root, seed, style, url=None):
        draw = random.Random(seed)
        self.root, self.style = pathlib.Path(root), style
        self.pkg = draw.choice(["kiosk", "depot", "larder", "atrium", "quarry"])
        self.thing = draw.choice(["parcel", "ticket", "crate", "permit"])
        self.file = draw.choice(["store", "ledger", "stock"]) + ".db"
        # One that is free now: the seed says where the search begins.
        port = draw.randrange(18000, 32000)
        while not free(port):
            port += 7
        self.port = port
        self.secret = "".join(draw.choice("abcdefghjkmnpqrstuvwxyzABCDEFGH23456789") for _ in range(44))
        self.url = url or f"sqlite:///data/{self.file}"
        self.top, self.low = draw.choice(["quill", "tally", "parley"]), draw.choice(["inkwell", "abacus", "lexis"])

    @classmethod
    def again(cls, root, seed, style, url=None):
        app = cls(root, seed, style, url)
        if style != "packages":
            app.port = int(app.read("port.txt"))
        return app

    def path(self, name):
        return self.root / self.fill(name)

    def read(self, name):
        return self.path(name).read_text()

    def write(self, name, text):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else self.fill(text).encode())

    def fill(self, text):
        values = {"PKG": self.pkg, "THING": self.thing, "Thing": self.thing.capitalize(), "PORT": str(self.port),
                  "URL": self.url, "SECRET": self.secret, "PYTHON": sys.executable, "TOP": self.top, "LOW": self.low}
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def edit(self, name, before, after):
        before, after = self.fill(before), self.fill(after)
        text = self.read(name)
        assert text.count(before) == 1, (name, before, text)
        self.path(name).write_text(text.replace(before, after))

    def env(self, name, value=None):
        """Sets a variable in `.env`, or takes it away."""
        lines = [line for line in self.read(".env").splitlines() if not line.startswith(name + "=")]
        if value is not None:
            lines.append(f"{name}={value}")
        self.path(".env").write_text("\n".join(lines) + "\n")

    def python(self, *arguments):
        done = subprocess.run([sys.executable, *arguments], cwd=self.root, capture_output=True, text=True,
                              env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, script):
        if self.style.endswith("postgres"):
            import psycopg2
            connection = psycopg2.connect(self.url.replace("postgresql+psycopg2", "postgresql"))
            connection.autocommit = True
            connection.cursor().execute(self.fill(script))
            connection.close()
            return
        import sqlite3
        connection = sqlite3.connect(self.path("data") / self.file)
        connection.executescript(self.fill(script))
        connection.close()

    def make(self):
        if self.style == "packages":
            make_with_packages(self)
            return
        for name, text in FILES.items():
            self.write(name, text)
        for name in ["data", "var/uploads", "run"]:
            self.path(name).mkdir(parents=True, exist_ok=True)
        self.write("port.txt", "@PORT@")
        expect = "sqlalchemy:@PKG@.models:Base"
        if self.style.startswith("alembic"):
            for name, text in MIGRATIONS.items():
                self.write(name, text)
            expect = 'alembic:alembic.ini"\nmodels = "' + expect
        self.write("ubs.toml", MANIFEST.replace("@EXPECT@", expect))
        if self.style.startswith("alembic"):
            self.python("-m", "alembic", "upgrade", "head")
        else:
            self.python("-c", f"from {self.pkg} import db, models; models.Base.metadata.create_all(db.engine)")
        self.sql("INSERT INTO owners (id, name) VALUES (1, 'ann'), (2, 'bob');"
                 "INSERT INTO @THING@s (id, title, owner_id) VALUES (11, 'one', 1), (12, 'two', 2);")
        if self.style.endswith("postgres"):
            self.sql("SELECT setval('@THING@s_id_seq', 100); SELECT setval('owners_id_seq', 100);")


MANIFEST = """[app]
name = "@PKG@"
stable_after = "1500ms"
[python]
interpreter = "@PYTHON@"
path = ["."]
[config]
files = [".env"]
example = ".env.example"
[config.vars.DATABASE_URL]
required = true
secret = true
kind = "url"
[config.vars.SECRET_KEY]
required = true
secret = true
min_length = 32
generate = true
[config.vars.POOL]
kind = "int"
min = 1
max = 50
required = true
[config.vars.LOG_LEVEL]
kind = "enum"
one_of = ["debug", "info", "warning", "error"]
required = true
[config.vars.REGION]
default = "north"
required = true
[config.vars.PORT]
kind = "int"
required = true
[config.vars.UPLOAD_DIR]
required = true
kind = "path"
[[schema]]
name = "main"
database = "${DATABASE_URL}"
expect = "@EXPECT@"
[registration]
app = "fastapi:@PKG@.main:app"
services = [
  { name = "@THING@s", prefix = "/@THING@s" },
  { name = "owners", prefix = "/owners" },
  { name = "health", prefix = "/health" },
]
[heal]
backoff = "100ms"
[[layer]]
name = "worker"
rehearse = { imports = ["@PKG@.worker"] }
[[layer.service]]
name = "worker"
run = "python -m @PKG@.worker"
ready = { log = "^working", timeout = "15s" }
restart = { policy = "always", max = 3, backoff = "100ms" }
[[layer]]
name = "api"
rehearse = { imports = ["@PKG@.main"], startup = true }
[[layer.service]]
name = "api"
run = "python -m uvicorn @PKG@.main:app --port ${PORT}"
ready = { http = "http://127.0.0.1:${PORT}/health", timeout = "15s" }
restart = { policy = "always", max = 3, backoff = "100ms" }
"""

ENV = """DATABASE_URL=@URL@
SECRET_KEY=@SECRET@
POOL=5
LOG_LEVEL=info
REGION=south
PORT=@PORT@
UPLOAD_DIR=var/uploads
"""

FILES = {
    ".env": ENV,
    ".env.example": ENV.replace("@SECRET@", "").replace("@URL@", "sqlite:///data/example.db"),
    "requirements.txt": "fastapi\nsqlalchemy\nuvicorn\nalembic\n",
    "templates/page.html": "<h1>@THING@s</h1>\n",
    "@PKG@/__init__.py": "",
    "@PKG@/settings.py": '''import logging
import os


def load(path=".env"):
    try:
        text = open(path, encoding="utf-8-sig").read()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            value = value.strip()
            if value[:1] in ("'", '"'):
                if value[-1] != value[0] or len(value) < 2:
                    raise ValueError(f"open quote: {name}")
                value = value[1:-1]
            os.environ.setdefault(name.strip(), value)


load()
DATABASE_URL = os.environ["DATABASE_URL"]
SECRET_KEY = os.environ["SECRET_KEY"]
if SECRET_KEY.startswith("change"):
    raise RuntimeError("SECRET_KEY is a placeholder")
POOL = int(os.environ["POOL"])
if not 1 <= POOL <= 50:
    raise RuntimeError("POOL is out of range")
LOG_LEVEL = os.environ["LOG_LEVEL"]
logging.getLogger().setLevel(LOG_LEVEL.upper())
REGION = os.environ["REGION"]
UPLOAD_DIR = os.environ["UPLOAD_DIR"]
''',
    "@PKG@/models.py": '''from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "owners"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))


class @Thing@(Base):
    __tablename__ = "@THING@s"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(40))
    owner_id: Mapped[int] = mapped_column(ForeignKey("owners.id"), index=True)
    note: Mapped[str | None] = mapped_column(String(80))
''',
    "@PKG@/db.py": '''from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
from @PKG@.settings import DATABASE_URL

engine = create_engine(DATABASE_URL, connect_args={"timeout": 1} if DATABASE_URL.startswith("sqlite") else {})
Session = sessionmaker(engine)
''',
    "@PKG@/labels.py": '''def make_label(text):
    return text.upper()


def parse_title(text):
    return text.strip()
''',
    "@PKG@/routers/__init__.py": "",
    "@PKG@/routers/health.py": '''from fastapi import APIRouter

router = APIRouter(prefix="/health", tags=["health"])


@router.get("")
def health():
    return {"ok": True}
''',
    "@PKG@/routers/owners.py": '''from fastapi import APIRouter
from sqlalchemy import select
from @PKG@.db import Session
from @PKG@.models import Owner

router = APIRouter(prefix="/owners", tags=["owners"])


@router.get("")
def all_of_them():
    with Session() as session:
        return [owner.name for owner in session.scalars(select(Owner))]
''',
    "@PKG@/routers/@THING@s.py": '''from fastapi import APIRouter
from sqlalchemy import select
from @PKG@.db import Session
from @PKG@.labels import make_label
from @PKG@.models import @Thing@

router = APIRouter(prefix="/@THING@s", tags=["@THING@s"])


@router.get("")
def all_of_them():
    with Session() as session:
        return [make_label(one.title) for one in session.scalars(select(@Thing@))]


@router.get("/new")
def can_be_made():
    with Session() as session:
        session.add(@Thing@(title="x", owner_id=1))
        session.flush()
        session.rollback()
    return {}
''',
    "@PKG@/main.py": '''import os
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import select
from @PKG@ import settings
from @PKG@.db import Session
from @PKG@.models import Owner, @Thing@
from @PKG@.routers import health, owners, @THING@s


@asynccontextmanager
async def lifespan(app):
    with Session() as session:
        session.scalars(select(Owner).limit(1)).all()
        session.scalars(select(@Thing@).limit(1)).all()
    probe = os.path.join(settings.UPLOAD_DIR, "probe")
    with open(probe, "w") as file:
        file.write("x")
    os.remove(probe)
    app.state.page = open("templates/page.html").read()
    yield


app = FastAPI(lifespan=lifespan)
app.include_router(health.router)
app.include_router(owners.router)
app.include_router(@THING@s.router)
''',
    "@PKG@/worker.py": '''import os
import signal
import socket
import sys
import time

from sqlalchemy import select
from @PKG@.db import Session
from @PKG@.labels import parse_title
from @PKG@.models import @Thing@

PID, LOCK, SOCKET = "run/worker.pid", "run/worker.lock", "run/@PKG@@PORT@.sock"


def release():
    os.remove(LOCK + "/pid")
    os.rmdir(LOCK)


def main():
    with Session() as session:
        for one in session.scalars(select(@Thing@)):
            parse_title(one.title)
    if os.path.exists(PID):
        raise SystemExit(f"already running ({PID})")
    os.mkdir(LOCK)
    with open(LOCK + "/pid", "w") as file:
        file.write(str(os.getpid()))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(SOCKET)
    except OSError as error:
        release()
        raise SystemExit(f"{error}: {SOCKET}")
    with open(PID, "w") as file:
        file.write(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print("working", flush=True)
        while True:
            time.sleep(0.5)
    finally:
        os.remove(PID)
        os.remove(SOCKET)
        release()


if __name__ == "__main__":
    main()
''',
}

MIGRATIONS = {
    "alembic.ini": "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n",
    "migrations/script.py.mako": "",
    "migrations/env.py": '''from alembic import context
from @PKG@.db import engine
from @PKG@.models import Base

with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
''',
    "migrations/versions/0001_first.py": '''import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table("owners", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(40), nullable=False))
    op.create_table("@THING@s", sa.Column("id", sa.Integer, primary_key=True), sa.Column("title", sa.String(40), nullable=False),
                    sa.Column("owner_id", sa.Integer, sa.ForeignKey("owners.id"), nullable=False))
    op.create_index("ix_@THING@s_owner_id", "@THING@s", ["owner_id"])


def downgrade():
    op.drop_table("@THING@s")
    op.drop_table("owners")
''',
    "migrations/versions/0002_note.py": '''import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("@THING@s", sa.Column("note", sa.String(80), nullable=True))


def downgrade():
    with op.batch_alter_table("@THING@s") as batch:
        batch.drop_column("note")
''',
}
FILES = dict(FILES)


# --- an application whose packages are its own

PACKAGES_MANIFEST = """[app]
name = "@PKG@"
stable_after = "300ms"
[python]
path = ["."]
[heal]
backoff = "100ms"
[[layer]]
name = "worker"
rehearse = { imports = ["@PKG@.worker"] }
[[layer.service]]
name = "worker"
run = "python -m @PKG@.worker"
ready = { log = "^working", timeout = "15s" }
restart = { policy = "always", max = 3, backoff = "100ms" }
"""

PACKAGES_FILES = {
    "ubs.toml": PACKAGES_MANIFEST,
    "requirements.txt": "@TOP@\n@LOW@<3\n",
    "@PKG@/__init__.py": "",
    "@PKG@/worker.py": "import @TOP@\n\nif __name__ == '__main__':\n    @TOP@.serve()\n",
}

SERVES = """import time
import @LOW@.words
from @LOW@.words import hello


def serve():
    hello()
    print("working", flush=True)
    while True:
        time.sleep(0.5)
"""


def make_with_packages(app):
    for name, text in PACKAGES_FILES.items():
        app.write(name, text)
    app.path("wheels").mkdir()
    script = f"[console_scripts]\n{app.top}-serve = {app.top}:serve\n"
    wheel(app, app.top, "1.0", {f"{app.top}.py": SERVES}, [f"{app.low}>=1"], script)
    for version, function in [("1.0", "hello"), ("1.1", "hello"), ("2.0", "other")]:
        files = {f"{app.low}/__init__.py": f"import sys\nif sys.version_info[:2] == {sys.version_info[:2]}:\n    import @LOW@._json\n",
                 f"{app.low}/words.py": f"def {function}(): ...\n",
                 f"{app.low}/{native().name}": native().read_bytes()}
        wheel(app, app.low, version, files)
    wheel(app, "extra" + app.low, "1.0", {f"extra{app.low}.py": ""})
    environment(app)
    install(app, app.top, f"{app.low}==1.1")


def native():
    """A module of the standard library in a file of its own, as a package brings one."""
    import importlib.util
    return pathlib.Path(importlib.util.find_spec("_json").origin)


def wheel(app, name, version, files, needs=(), entry_points=None):
    import base64
    import hashlib
    import zipfile
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = dict(files)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if entry_points:
        files[f"{info}/entry_points.txt"] = entry_points
    files = {path: text if isinstance(text, bytes) else app.fill(text).encode() for path, text in files.items()}
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        record += f"{path},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(app.path("wheels") / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


def environment(app, where=".venv"):
    app.python("-m", "venv", "--without-pip", where)


def install(app, *names):
    app.python("-m", "pip", "--python", ".venv/bin/python", "install", "-q", "--no-deps", "--no-index",
               "--find-links", "wheels", "--force-reinstall", *names)


def site(app):
    return next(app.path(".venv/lib").glob("python3*")) / "site-packages"
