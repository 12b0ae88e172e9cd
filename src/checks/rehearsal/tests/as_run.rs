//! A layer is rehearsed as its service will run, and its start-up too where asked.

use super::check;
use crate::checks::testing::{App, only};
use crate::domain::finding::{CheckStatus, Severity};
use crate::kernel::isolation_support;
use crate::manifest::Manifest;

/// An application of files without packages, with this manifest behind its first lines.
fn app(manifest: &str, files: &[(&str, &str)]) -> Option<App> {
    let mut app = App::plain()?;
    let text = format!("[app]\nname = 'a'\n{manifest}");
    app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
    for (path, text) in files {
        app = app.file(path, text);
    }
    Some(app)
}

/// An ASGI application without a framework, whose start-up does this.
fn asgi(start: &str) -> String {
    format!(
        "class Missing(Exception): pass\n\
         async def app(scope, receive, send):\n    assert scope['type'] == 'lifespan'\n    await receive()\n    {start}\n    \
         await send({{'type': 'lifespan.startup.complete'}})\n    await receive()\n    \
         await send({{'type': 'lifespan.shutdown.complete'}})\n"
    )
}

const STARTED: &str = "[[layer]]\nname = 'web'\nrehearse = { imports = ['web'], startup = true }\n\
                       [[layer.service]]\nname = 'web'\nrun = 'uvicorn web:app --port 1'\n";

#[test]
fn a_layer_has_the_variables_the_directory_and_the_path_of_its_service() {
    let manifest = "[[layer]]\nname = 'web'\nrehearse = { imports = ['web'] }\n[[layer.service]]\nname = 'web'\n\
                    run = 'env MORE=2 python -m web'\ncwd = 'site'\nenv = { REGION = 'north', PYTHONPATH = '../extras' }\n\
                    [[layer]]\nname = 'other'\nrehearse = { imports = ['other'] }\n[[layer.service]]\nname = 'other'\n\
                    run = 'python -m other'\nenv = { REGION = 'south' }\n";
    let web = "import os, pricing\nassert os.environ['REGION'] == 'north' and os.environ['MORE'] == '2'\n\
               open('here.txt').close()\n";
    let files = [
        ("site/web.py", web),
        ("site/here.txt", ""),
        ("extras/pricing.py", ""),
        (
            "other.py",
            "import os\nassert os.environ['REGION'] == 'south' and 'MORE' not in os.environ\n",
        ),
    ];
    let Some(app) = app(manifest, &files) else {
        return;
    };
    let report = check(&app);
    assert_eq!(report.status, CheckStatus::Healthy, "{report:#?}");
}

#[test]
fn a_module_of_the_workspace_is_never_installed() {
    let manifest = "[[layer]]\nname = 'web'\nrehearse = { imports = ['web'] }\n";
    let files = [
        ("web.py", "import pricing\n"),
        ("extras/pricing/__init__.py", ""),
    ];
    let Some(app) = app(manifest, &files) else {
        return;
    };
    let report = check(&app);
    let finding = only(&report, "rehearsal.import_error");
    let remedy = finding.remedy.as_deref().unwrap();
    assert!(remedy.contains("PYTHONPATH = \"extras\""), "{remedy}");
    assert!(!finding.facts.contains_key("package"));
}

#[test]
fn a_script_is_rehearsed_as_a_script_up_to_its_guard() {
    let manifest = "[[layer]]\nname = 'web'\nrehearse = { imports = ['app.main'] }\n\
                    [[layer.service]]\nname = 'web'\nrun = 'python app/main.py'\n";
    let guarded = "import beside\nimport sys\nassert '__main__' in sys.modules\nif __name__ == '__main__':\n    1 / 0\n";
    let files = [
        ("app/__init__.py", ""),
        ("app/main.py", guarded),
        ("app/beside.py", ""),
    ];
    let Some(good) = app(manifest, &files) else {
        return;
    };
    let report = check(&good);
    assert_eq!(report.status, CheckStatus::Healthy, "{report:#?}");

    let relative = "from .beside import x\nif __name__ == '__main__':\n    pass\n";
    let bad = app(manifest, &files).unwrap().file("app/main.py", relative);
    let report = check(&bad);
    let finding = only(&report, "rehearsal.import_error");
    let remedy = finding.remedy.as_deref().unwrap();
    assert!(remedy.contains("`python -m app.main`"), "{remedy}");
    assert_eq!(finding.severity, Severity::Critical);
}

#[test]
fn a_file_that_hides_a_module_is_named() {
    let manifest = "[[layer]]\nname = 'web'\nrehearse = { imports = ['web'] }\n";
    let files = [
        ("web.py", "import colorsys\n"),
        ("colorsys.py", "from colorsys import rgb_to_hsv\n"),
    ];
    let Some(app) = app(manifest, &files) else {
        return;
    };
    let report = check(&app);
    let remedy = report
        .findings
        .iter()
        .find_map(|f| f.remedy.as_deref())
        .unwrap();
    assert!(
        remedy.starts_with(
            "rename colorsys.py (and what imports it): it hides the module of the standard library"
        ),
        "{report:#?}"
    );
}

#[test]
fn a_start_up_that_fails_is_critical_and_one_that_needs_the_network_is_not_decided() {
    let failing = asgi("raise Missing('no price list')");
    let Some(bad) = app(STARTED, &[("web.py", &failing)]) else {
        return;
    };
    let report = check(&bad);
    // It says nothing before it raises: a server takes it for one without a lifespan.
    assert_eq!(report.status, CheckStatus::Healthy, "{report:#?}");
    let failing = asgi(
        "await send({'type': 'lifespan.startup.failed', 'message': 'x'}); raise Missing('no price list')",
    );
    let report = check(&app(STARTED, &[("web.py", &failing)]).unwrap());
    let finding = only(&report, "rehearsal.failed");
    assert!(
        finding
            .message
            .contains("Missing: no price list (web.py:5)"),
        "{finding:#?}"
    );
    assert_eq!(finding.severity, Severity::Critical);
    // Not asked for, nothing is started.
    let quiet = STARTED.replace(", startup = true", "");
    let report = check(&app(&quiet, &[("web.py", &failing)]).unwrap());
    assert_eq!(report.status, CheckStatus::Healthy);
    if !isolation_support().namespaces.root {
        return;
    }
    let text = "await send({'type': 'lifespan.startup.failed', 'message': 'x'}); import socket; \
                socket.create_connection(('127.0.0.1', 9))";
    let report = check(&app(STARTED, &[("web.py", &asgi(text))]).unwrap());
    let finding = only(&report, "rehearsal.failed");
    assert_eq!(finding.severity, Severity::Warning, "{finding:#?}");
    assert!(
        finding
            .message
            .contains("has no network, so this is not decided")
    );
}

#[test]
fn a_start_up_writes_into_a_copy_and_misses_what_is_missing() {
    if !isolation_support().namespaces.root {
        return;
    }
    let makes = asgi("import sqlite3; sqlite3.connect('app.db').execute('CREATE TABLE t (x)')");
    let Some(good) = app(STARTED, &[("web.py", &makes)]) else {
        return;
    };
    let report = check(&good);
    assert_eq!(report.status, CheckStatus::Healthy, "{report:#?}");
    assert!(!good.root().join("app.db").exists());
    let text = "await send({'type': 'lifespan.startup.failed', 'message': 'x'}); import sqlite3; \
                sqlite3.connect('var/data/app.db')";
    let report = check(&app(STARTED, &[("web.py", &asgi(text))]).unwrap());
    let finding = only(&report, "rehearsal.failed");
    assert_eq!(finding.severity, Severity::Critical);
    let remedy = finding.remedy.as_deref().unwrap();
    assert!(
        remedy.starts_with("make the directory var/data"),
        "{remedy}"
    );
}

#[test]
fn a_start_up_that_misses_its_tables_waits_for_the_migrations_that_run_before_it() {
    let misses = "await send({'type': 'lifespan.startup.failed', 'message': 'x'}); import sqlite3; \
                  sqlite3.connect('app.db').execute('SELECT x FROM t')";
    let files = [("web.py", asgi(misses))];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let Some(alone) = app(STARTED, &files) else {
        return;
    };
    let report = check(&alone);
    assert_eq!(
        only(&report, "rehearsal.failed").severity,
        Severity::Critical
    );
    let migrated = format!(
        "[[layer]]\nname = 'tables'\n[[layer.service]]\nname = 'tables'\nrun = 'make-tables'\noneshot = true\n{STARTED}"
    );
    let report = check(&app(&migrated, &files).unwrap());
    let finding = only(&report, "rehearsal.failed");
    assert_eq!(finding.severity, Severity::Warning, "{finding:#?}");
}

/// The severity of what a start-up of these statements comes to, behind a one-shot task that may make tables.
fn severity_of_start(statements: &str) -> Option<Severity> {
    let manifest = format!(
        "[[layer]]\nname = 'tables'\n[[layer.service]]\nname = 'tables'\nrun = 'make-tables'\noneshot = true\n{STARTED}"
    );
    let text = asgi(&format!(
        "await send({{'type': 'lifespan.startup.failed', 'message': 'x'}}); {statements}"
    ));
    let app = app(&manifest, &[("web.py", text.as_str())])?;
    let report = check(&app);
    Some(only(&report, "rehearsal.failed").severity)
}

#[test]
fn what_a_start_up_lacks_is_told_by_types_and_not_by_texts() {
    if !isolation_support().namespaces.root {
        return;
    }
    for (statements, expected) in [
        // What an application says is its own.
        (
            "raise RuntimeError('relation \"prices\" is wrong')",
            Severity::Critical,
        ),
        (
            "raise RuntimeError(\"the price of tea doesn't exist\")",
            Severity::Critical,
        ),
        (
            "raise RuntimeError('cannot connect to the dots')",
            Severity::Critical,
        ),
        ("raise PermissionError('no licence')", Severity::Critical),
        // What the system and the drivers say.
        ("raise TimeoutError('no answer')", Severity::Warning),
        (
            "import sqlite3; sqlite3.connect(':memory:').execute('SELECT x FROM t')",
            Severity::Warning,
        ),
        ("import os; os.setuid(12345)", Severity::Warning),
        (
            "raise Missing('x') from ConnectionRefusedError(111, 'refused')",
            Severity::Warning,
        ),
    ] {
        let Some(severity) = severity_of_start(statements) else {
            return;
        };
        assert_eq!(severity, expected, "{statements}");
    }
}

#[test]
fn a_dry_run_has_the_environment_files_of_its_service_and_a_clean_environment_where_asked() {
    let manifest = "[config]\nfiles = []\n[config.vars.HOST_ONLY]\n[[layer]]\nname = 'web'\n\
                    rehearse = { imports = ['web'] }\n[[layer.service]]\nname = 'web'\nrun = 'python -m web'\n\
                    env_file = 'web.env'\nclean_env = true\nenv = { B = '2' }\n";
    let web = "import os\nassert os.environ['A'] == '1' and os.environ['B'] == '2'\n\
               assert 'HOST_ONLY' not in os.environ\n";
    let Some(mut app) = app(manifest, &[("web.py", web), ("web.env", "A=1\nB=1\n")]) else {
        return;
    };
    app.process.insert("HOST_ONLY".into(), "1".into());
    let report = check(&app);
    assert_eq!(report.status, CheckStatus::Healthy, "{report:#?}");
}

#[test]
fn a_directory_of_the_host_decides_and_is_named() {
    let host = tempfile::tempdir().unwrap();
    let shown = host.path().display().to_string();
    let manifest = "[[layer]]\nname = 'web'\nrehearse = { imports = ['web'] }\n[[layer.service]]\nname = 'web'\n\
                    run = 'python -m web'\n";
    for (directory, is_there) in [("there", true), ("absent", false)] {
        let directory = host.path().join(directory);
        if is_there {
            std::fs::create_dir(&directory).unwrap();
        }
        let directory = directory.display();
        let text =
            format!("import sqlite3\nsqlite3.connect('{directory}/x.db').execute('select 1')\n");
        let Some(app) = app(manifest, &[("web.py", &text)]) else {
            return;
        };
        // A dry run that sees all of the host opens it.
        if !crate::sandbox::has_own_root() {
            return;
        }
        let report = check(&app);
        let [finding] = report.findings.as_slice() else {
            panic!("{report:#?}");
        };
        let remedy = finding.remedy.as_deref().unwrap();
        if is_there {
            assert_eq!(finding.severity, Severity::Warning, "{finding:#?}");
            assert!(finding.message.contains(&shown), "{}", finding.message);
        } else {
            assert_eq!(finding.severity, Severity::Critical, "{finding:#?}");
            assert!(
                remedy.contains(&format!("mkdir -p {directory}")),
                "{remedy}"
            );
        }
    }
}

#[test]
fn what_a_command_of_the_boot_makes_is_not_missing() {
    let text = "open('var/log/app.log', 'a')\n";
    let with = |run: &str| {
        let manifest = format!(
            "[[layer]]\nname = 'web'\nrehearse = {{ imports = ['web'] }}\n[[layer.service]]\nname = 'web'\nrun = {run}\n"
        );
        app(
            &manifest,
            &[
                ("web.py", text),
                ("start.sh", "mkdir -p var/log\npython -m web\n"),
            ],
        )
    };
    for run in [
        "['sh', '-c', 'mkdir -p var/log && python -m web']",
        "'sh start.sh'",
    ] {
        let Some(app) = with(run) else { return };
        let report = check(&app);
        assert_eq!(
            only(&report, "rehearsal.failed").severity,
            Severity::Warning,
            "{run}"
        );
    }
    let report = check(&with("'python -m web'").unwrap());
    assert_eq!(
        only(&report, "rehearsal.failed").severity,
        Severity::Critical
    );
}

#[test]
fn remedies_name_what_is_there() {
    let service = "[[layer.service]]\nname = 'web'\nrun = 'uvicorn --factory shop.main:make_app'\n";
    let object = format!(
        "[[layer]]\nname = 'web'\nrehearse = {{ imports = ['shop.main'], startup = true }}\n{service}"
    );
    let settings = "[[layer]]\nname = 'web'\nrehearse = { imports = ['wsgi'] }\n[[layer.service]]\nname = 'web'\n\
                    run = 'gunicorn wsgi:application'\n";
    let wsgi = "import os, importlib\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.setings')\n\
                importlib.import_module(os.environ['DJANGO_SETTINGS_MODULE'])\n";
    let asks = "import sys\nsys.tracebacklimit = 0\ndef f():\n    raise ImportError('Run \"pip install -U redis\" first.')\nf()\n";
    let factory = "from fastapi import FastAPI\ndef create_app():\n    return FastAPI()\n";
    let fake = ("fastapi.py", "class FastAPI: pass\n");
    for (manifest, file, text, place, remedy) in [
        (
            object.as_str(),
            "shop/main.py",
            factory,
            "ubs.toml",
            "shop.main:create_app (a factory)",
        ),
        (
            settings,
            "wsgi.py",
            wsgi,
            "wsgi.py",
            "one that is there (site1.settings)",
        ),
        // Frames that the application itself hides.
        (settings, "wsgi.py", asks, "wsgi.py:4", "install redis with"),
    ] {
        let files = [
            (file, text),
            fake,
            ("site1/__init__.py", ""),
            ("site1/settings.py", ""),
        ];
        let Some(app) = app(manifest, &files) else {
            return;
        };
        let report = check(&app);
        let finding = report
            .findings
            .iter()
            .find(|f| f.severity == Severity::Critical);
        let finding = finding.unwrap_or_else(|| panic!("{report:#?}"));
        let told = finding.remedy.as_deref().unwrap();
        assert!(told.contains(remedy), "{finding:#?}");
        let at = finding.location.as_ref().unwrap().to_string();
        assert!(at.starts_with(place), "{at}");
    }
}

#[test]
fn the_object_that_a_worker_loads_is_looked_for() {
    for (run, remedy) in [
        ("arq jobs.WorkerSetting", Some("jobs.WorkerSettings")),
        ("dramatiq jobs:brokr -p 1", Some("jobs:broker")),
        ("huey_consumer jobs.huey", Some("define it in jobs.py")),
        ("arq jobs.WorkerSettings", None),
        ("dramatiq jobs", None),
    ] {
        let manifest = format!(
            "[[layer]]\nname = 'work'\nrehearse = {{ imports = ['jobs'] }}\n\
             [[layer.service]]\nname = 'work'\nrun = '{run}'\n"
        );
        let files = [("jobs.py", "broker = 1\nclass WorkerSettings: pass\n")];
        let Some(app) = app(&manifest, &files) else {
            return;
        };
        let report = check(&app);
        let Some(remedy) = remedy else {
            assert_eq!(report.status, CheckStatus::Healthy, "{report:#?}");
            continue;
        };
        let finding = only(&report, "rehearsal.failed");
        let told = finding.remedy.as_deref().unwrap();
        assert!(told.contains(remedy), "{told}");
        assert_eq!(finding.location.as_ref().unwrap().file, "ubs.toml");
    }
}

#[test]
fn a_worker_of_celery_reads_its_settings_and_imports_its_tasks() {
    // Enough of Celery to be asked as a worker asks it.
    let celery = "from importlib import import_module\nclass Conf:\n    def get(self, name):\n        import_module('settings')\n\
                  class Loader:\n    def import_default_modules(self):\n        import_module('tasks')\n\
                  class Celery:\n    conf, loader = Conf(), Loader()\n";
    let jobs = ("jobs.py", "from celery import Celery\napp = Celery()\n");
    for (run, tasks, missing) in [
        ("celery -A jobs worker", false, Some("'tasks'")),
        ("celery -A jobs:app beat", false, Some("'tasks'")),
        ("celery -A jobs worker", true, None),
        ("celery -A jobs flower", false, None),
    ] {
        let manifest = format!(
            "[[layer]]\nname = 'work'\nrehearse = {{ imports = ['jobs'] }}\n\
             [[layer.service]]\nname = 'work'\nrun = '{run}'\n"
        );
        let mut files = vec![jobs, ("celery.py", celery), ("settings.py", "")];
        files.extend(tasks.then_some(("tasks.py", "")));
        let Some(app) = app(&manifest, &files) else {
            return;
        };
        let report = check(&app);
        let said = report.findings.first().map_or("", |f| f.message.as_str());
        assert_eq!(
            report.findings.is_empty(),
            missing.is_none(),
            "{run}: {said}"
        );
        assert!(said.contains(missing.unwrap_or_default()), "{run}: {said}");
    }
}

#[test]
fn what_a_first_request_would_find_is_told_with_its_class() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let head = "from sqlalchemy import ForeignKey\nfrom sqlalchemy.orm import DeclarativeBase, mapped_column, relationship\n";
    let base = |name: &str| format!("class {name}(DeclarativeBase): pass\n");
    let parent = |base: &str, name: &str, more: &str| {
        format!(
            "class {name}({base}):\n    __tablename__ = '{name}s'\n    id = mapped_column('id', __import__('sqlalchemy').Integer, primary_key=True)\n    {more}\n"
        )
    };
    let models = [
        head.to_owned(),
        base("A"),
        parent("A", "Cart", "lines = relationship('Lin')"),
        base("B"),
        parent(
            "B",
            "User",
            "posts = relationship('Post', back_populates='writer')",
        ),
        parent(
            "B",
            "Post",
            "user_id = mapped_column(ForeignKey('Users.id')); user = relationship('User')",
        ),
        base("C"),
        parent("C", "Shelf", "books = relationship('Book')"),
        base("D"),
        parent(
            "D",
            "Bill",
            "payer = mapped_column(ForeignKey('payers.id'))",
        ),
        base("E"),
        parent("E", "Good", "other = mapped_column(ForeignKey('Goods.id'))"),
    ]
    .concat();
    let late = format!(
        "from models import C\n{head}{}",
        parent("C", "Book", "x = 1")
    );
    let web = "from __future__ import annotations\nimport models\nfrom fastapi import FastAPI, WebSocket\n\
               from pydantic import BaseModel\nclass Idle(BaseModel):\n    x: Nowhere\napp = FastAPI()\n\
               @app.websocket('/w')\nasync def talk(socket: WebSocket): pass\n";
    let mut app = app
        .file("models.py", models)
        .file("late.py", late)
        .file("web.py", web);
    let interpreter = app.manifest.python.interpreter.clone();
    let text = format!("[app]\nname = 'a'\n{STARTED}");
    app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
    app.manifest.python.interpreter = interpreter;
    let report = check(&app);
    let told = |message: &str| {
        let mut found = report
            .findings
            .iter()
            .filter(|f| f.message.contains(message));
        let finding = found
            .next()
            .unwrap_or_else(|| panic!("{message}: {report:#?}"));
        let at = finding.location.as_ref().unwrap();
        (
            finding.severity,
            at.file.clone(),
            finding.remedy.clone().unwrap_or_default(),
        )
    };
    for (message, severity, file, remedy) in [
        (
            "'Lin'",
            Severity::Critical,
            "models.py",
            "correct the name Lin",
        ),
        (
            "'writer'",
            Severity::Critical,
            "models.py",
            "back_populates",
        ),
        (
            "'Book'",
            Severity::Warning,
            "models.py",
            "import late where",
        ),
        (
            "'payers'",
            Severity::Warning,
            "models.py",
            "correct the name payers",
        ),
        (
            "type Nowhere",
            Severity::Warning,
            "web.py",
            "define or import Nowhere",
        ),
        (
            "no WebSocket",
            Severity::Warning,
            "web.py",
            "uvicorn[standard]",
        ),
    ] {
        let found = told(message);
        assert_eq!((found.0, found.1.as_str()), (severity, file), "{message}");
        assert!(found.2.contains(remedy), "{message}: {}", found.2);
    }
    assert!(!report.findings.iter().any(|f| f.message.contains("Good")));
}
