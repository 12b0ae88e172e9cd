//! `ubs init` as people and programs meet it: what it writes is taken by `ubs preflight` at once.

use std::os::unix::fs::PermissionsExt;

use crate::support::Workspace;
use crate::support::venv::application_python;

/// A FastAPI application with a database that is there.
fn shop() -> Workspace {
    let mut workspace = Workspace::new();
    for (name, text) in [
        ("pyproject.toml", "[project]\nname = \"shop\"\n"),
        ("requirements.txt", "fastapi\nsqlalchemy\nuvicorn\n"),
        ("shop/__init__.py", ""),
        (
            "shop/config.py",
            "import os\n\nDATABASE_URL = os.environ[\"DATABASE_URL\"]\nSECRET_KEY = os.environ[\"SECRET_KEY\"]\nPORT = int(os.getenv(\"PORT\", \"8000\"))\nLOG_LEVEL = os.environ.get(\"LOG_LEVEL\", \"info\")\n",
        ),
        (
            "shop/models.py",
            "from sqlalchemy import String\nfrom sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n\n\nclass Base(DeclarativeBase):\n    pass\n\n\nclass Order(Base):\n    __tablename__ = \"orders\"\n    id: Mapped[int] = mapped_column(primary_key=True)\n    what: Mapped[str] = mapped_column(String(50))\n",
        ),
        ("shop/routers/__init__.py", ""),
        (
            "shop/routers/orders.py",
            "from fastapi import APIRouter\n\nrouter = APIRouter(prefix=\"/orders\")\n\n\n@router.get(\"/\")\ndef orders():\n    return []\n",
        ),
        (
            "shop/main.py",
            "from fastapi import FastAPI\n\nfrom . import config, models\nfrom .routers import orders\n\napp = FastAPI()\napp.include_router(orders.router, prefix=\"/api\")\n\n\n@app.get(\"/health\")\ndef health():\n    return {\"ok\": True, \"level\": config.LOG_LEVEL, \"tables\": len(models.Base.metadata.tables)}\n",
        ),
        (
            "shop/worker.py",
            "import time\n\nfrom . import config\n\n\ndef main():\n    while config.PORT:\n        time.sleep(1)\n\n\nif __name__ == \"__main__\":\n    main()\n",
        ),
        (
            ".env.example",
            "DATABASE_URL=sqlite:///shop.db\nSECRET_KEY=change-me\nPORT=8000\nLOG_LEVEL=info\n",
        ),
        (
            ".env",
            "DATABASE_URL=sqlite:///shop.db\nSECRET_KEY=4f9a0c7be2d1834560fe9a7712\nPORT=8000\nLOG_LEVEL=debug\n",
        ),
        (
            "compose.yaml",
            "services:\n  cache:\n    image: redis:7\n  web:\n    build: .\n    command: uvicorn shop.main:app --port ${PORT:-8000}\n    depends_on: {cache: {condition: service_started}}\n    healthcheck:\n      test: curl -f http://localhost:8000/health || exit 1\n  worker:\n    build: .\n    command: python -m shop.worker\n    depends_on: [web]\n",
        ),
    ] {
        workspace.write(name, text);
    }
    let database = rusqlite::Connection::open(workspace.path("shop.db")).expect("a database");
    database
        .execute_batch(
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, what VARCHAR(50) NOT NULL)",
        )
        .expect("a table");
    if let Some(python) = application_python() {
        let home = python.parent().and_then(|bin| bin.parent());
        let home = home.expect("a virtual environment").display().to_string();
        workspace.set_env("VIRTUAL_ENV", &home);
    }
    workspace
}

#[test]
fn a_fastapi_application_is_go_at_once() {
    if application_python().is_none() {
        return;
    }
    let workspace = shop();
    let run = workspace.ubs(&["init"]).expect(0);
    insta::assert_snapshot!("init_fastapi_says", workspace.normalise(&run.stdout));
    let text = workspace.read("ubs.toml");
    insta::assert_snapshot!("init_fastapi_writes", text);
    for secret in ["4f9a0c7b", "change-me"] {
        assert!(!text.contains(secret) && !run.stdout.contains(secret));
    }
    let mode = workspace.path("ubs.toml").metadata().expect("a file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o644);
    let report = workspace.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(report["decision"], "go", "{report:#}");
    for check in report["checks"].as_array().expect("checks") {
        assert_ne!(check["status"], "skipped", "{check:#}");
        assert_ne!(check["status"], "critical", "{check:#}");
    }
}

#[test]
fn a_second_run_overwrites_nothing_unless_told() {
    let workspace = Workspace::new();
    let first = workspace.ubs(&["init"]).expect(0);
    assert!(
        first.stdout.contains("Nothing was found"),
        "{}",
        first.stdout
    );
    workspace.ubs(&["preflight"]).expect(0);
    workspace.write("ubs.toml", "mine");
    let second = workspace.ubs(&["init"]).expect(2);
    assert!(second.stderr.contains("--force"), "{}", second.stderr);
    assert_eq!(workspace.read("ubs.toml"), "mine");
    let error = workspace.ubs(&["init", "--json"]).expect(2).json();
    assert!(
        error["error"]["help"]
            .as_str()
            .expect("help")
            .contains("--force")
    );
    let printed = workspace.ubs(&["init", "--print"]).expect(0);
    assert!(printed.stdout.contains("[app]"));
    assert_eq!(workspace.read("ubs.toml"), "mine");
    workspace.ubs(&["init", "--force"]).expect(0);
    assert_eq!(workspace.read("ubs.toml"), printed.stdout);
}

#[test]
fn programs_get_one_document() {
    let workspace = Workspace::new();
    workspace.write("app/compose.yaml", "services: [\n");
    workspace.write("app/Procfile", "web: python -m http.server $PORT\n");
    workspace.write("app/bad.py", "x = (\n");
    let run = workspace.ubs(&["-C", "app", "init", "--json"]).expect(0);
    let document = run.json();
    assert_eq!(document["written"], true);
    assert!(
        document["path"]
            .as_str()
            .expect("a path")
            .ends_with("app/ubs.toml")
    );
    assert_eq!(document["found"]["layers"][0], "web");
    assert!(!document["unsure"].as_array().expect("a list").is_empty());
    let messages = document["messages"].to_string();
    assert!(
        messages.contains("compose.yaml:") && messages.contains("bad.py:"),
        "{messages}"
    );
    assert!(workspace.path("app/ubs.toml").exists());
    let run = workspace
        .ubs(&["-C", "app", "init", "--print", "--json"])
        .expect(0);
    assert!(
        run.json()["text"]
            .as_str()
            .expect("a text")
            .contains("[app]")
    );
    workspace.ubs(&["-C", "nowhere", "init"]).expect(2);
    workspace.ubs(&["-C", "app/bad.py", "init"]).expect(2);
}

#[test]
fn a_directory_that_cannot_be_written_is_a_clear_error() {
    let workspace = Workspace::new();
    let run = workspace
        .ubs(&["-C", ".", "--manifest", "/proc/ubs.toml", "init"])
        .expect(2);
    assert!(run.stderr.contains("cannot write"), "{}", run.stderr);
}

/// Each file's task writes what it got; a boot in which all is done ends by itself.
#[test]
fn files_of_other_managers_boot_as_they_are() {
    for (file, text) in [
        (
            "supervisord.conf",
            "[supervisord]\nnodaemon=true\n[program:job]\ncommand=sh -c 'echo \"$WHO %(process_num)d\" > out'\ndirectory=work\nstartsecs=0\nautorestart=false\nenvironment=WHO=\"a $5 b\"\n[program:off]\ncommand=sleep 60\nautostart=false\n",
        ),
        (
            "ecosystem.config.js",
            "// one\nmodule.exports = { apps: [{ name: 'job', script: 'job.sh', args: ['0'], cwd: './work', autorestart: false, env: { WHO: 'a $5 b' }, watch: true }] };\n",
        ),
        (
            "deploy/job.service",
            "[Unit]\nAfter=network.target\n[Service]\nType=oneshot\nWorkingDirectory=work\nEnvironment=\"WHO=a $5 b\"\nEnvironmentFile=-gone.env\nExecStartPre=-false\nExecStart=sh job.sh 0\n",
        ),
    ] {
        let workspace = Workspace::new();
        workspace.write(file, text);
        workspace.write("work/job.sh", "echo \"$WHO $1\" > out\n");
        let said = workspace.ubs(&["init"]).expect(0).stdout;
        assert!(said.contains("not carried over"), "{file}: {said}");
        let run = workspace.ubs(&["boot"]);
        assert_eq!(
            run.code,
            0,
            "{file}: {}\n{}{}",
            workspace.read("ubs.toml"),
            run.stdout,
            run.stderr
        );
        assert_eq!(workspace.read("work/out"), "a $5 b 0\n", "{file}");
        assert_eq!(workspace.read(".ubs/.gitignore"), "/*\n");
    }
}
