//! Whole manifests, from hand-made facts and real files.

use std::path::PathBuf;

use super::*;
use crate::source::{
    ApplicationObject, Base, EnvRead, Guard, Import, Include, Place, RouterDefinition, ValueKind,
};

/// A workspace called `shop`.
struct Shop {
    _dir: tempfile::TempDir,
    root: PathBuf,
    facts: SourceFacts,
}

fn place(file: &str, line: u32) -> Place {
    Place {
        file: file.into(),
        line,
        column: 1,
    }
}

impl Shop {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("shop");
        std::fs::create_dir(&root).unwrap();
        let mut facts = SourceFacts::default();
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            if let Some(module) = name.strip_suffix(".py") {
                let module = module.trim_end_matches("/__init__").replace('/', ".");
                facts.modules.push((module, (*name).to_owned()));
                facts.files += 1;
                facts.lines += text.lines().count();
            }
        }
        facts.modules.sort();
        Self {
            _dir: dir,
            root,
            facts,
        }
    }

    fn imports(mut self, from: &str, module: &str, name: Option<&str>) -> Self {
        let file = self.facts.modules.iter().find(|(m, _)| m == from).unwrap();
        self.facts.imports.push(Import {
            place: place(&file.1.clone(), 1),
            from: from.into(),
            module: module.into(),
            name: name.map(str::to_owned),
            guard: Guard::Always,
            is_certain: true,
        });
        self
    }

    fn reads(mut self, file: &str, line: u32, name: &str, read: EnvRead) -> Self {
        self.facts.env_reads.push(EnvRead {
            place: place(file, line),
            name: name.into(),
            ..read
        });
        self
    }

    fn app(mut self, framework: Framework, file: &str, module: &str, attribute: &str) -> Self {
        self.facts.applications.push(ApplicationObject {
            place: place(file, 3),
            framework,
            module: module.into(),
            attribute: attribute.into(),
            is_factory: attribute.starts_with("create"),
        });
        self
    }

    fn base(mut self, module: &str, tables: u32) -> Self {
        self.facts.bases.push(Base {
            place: place(&format!("{}.py", module.replace('.', "/")), 5),
            module: module.into(),
            attribute: "Base".into(),
            tables,
        });
        self
    }

    fn router(mut self, module: &str, name: &str, prefix: &str, line: u32) -> Self {
        self.facts.routers.push(RouterDefinition {
            place: place(&format!("{}.py", module.replace('.', "/")), line),
            module: module.into(),
            name: name.into(),
            prefix: prefix.into(),
            endpoints: 2,
        });
        self
    }

    fn include(
        mut self,
        at: (&str, u32),
        by: (&str, &str),
        what: (&str, &str),
        prefix: &str,
    ) -> Self {
        let pair = |(a, b): (&str, &str)| Some((a.to_owned(), b.to_owned()));
        self.facts.includes.push(Include {
            place: place(at.0, at.1),
            includer: pair(by),
            included: pair(what),
            prefix: prefix.into(),
        });
        self
    }

    /// The manifest, which our own parser takes.
    #[track_caller]
    fn survey(&self) -> Survey {
        let survey = survey(&self.root, &self.facts).unwrap();
        Manifest::parse(&survey.text, &self.root.join("ubs.toml")).unwrap();
        survey
    }
}

fn read() -> EnvRead {
    EnvRead {
        place: Place::default(),
        name: String::new(),
        aliases: vec![],
        required: false,
        default: None,
        kind: ValueKind::String,
        one_of: vec![],
        secret: false,
        reader: "os.environ",
        guard: Guard::Always,
    }
}

fn with(default: &str) -> EnvRead {
    EnvRead {
        default: Some(default.into()),
        ..read()
    }
}

fn needed() -> EnvRead {
    EnvRead {
        required: true,
        ..read()
    }
}

#[test]
fn a_fastapi_application_with_compose() {
    let shop = Shop::new(&[
        ("app/__init__.py", ""),
        ("app/main.py", "from fastapi import FastAPI\n\napp = FastAPI(title='Shop')\n\n@app.get('/health')\ndef health(): ...\n"),
        ("app/models.py", "\n\n\n\nclass Base(DeclarativeBase): ...\n"),
        ("app/config.py", "import os\n"),
        ("app/users.py", "router = APIRouter()\n"),
        ("app/orders.py", "router = APIRouter(prefix='/orders')\n"),
        ("app/internal.py", "router = APIRouter(prefix=P)\n"),
        ("app/tasks.py", "celery = Celery()\n"),
        ("requirements.txt", "fastapi\n"),
        ("alembic.ini", "[alembic]\n"),
        (".env.example", "DATABASE_URL=postgresql://shop:example-pw@localhost/shop\nSECRET_KEY=change-me\nLOG_LEVEL=info\nFLOWER_PORT=5555\n"),
        (".env", "DATABASE_URL=postgresql://shop:hunter22@localhost/shop\nSECRET_KEY=really-secret-value\n"),
        ("compose.yaml", r#"
services:
  db:
    image: postgres:16
    environment: {POSTGRES_PASSWORD: hunter22}
    ports: ["5432:5432"]
    healthcheck: {test: ["CMD", "pg_isready"]}
  redis:
    image: redis:7
  web:
    build: .
    command: uvicorn app.main:app --host 0.0.0.0 --port ${PORT:-8000}
    env_file: .env
    environment:
      DATABASE_URL: postgresql://shop:hunter22@db/shop
      REDIS_URL: redis://redis:6379/0
      LOG_LEVEL: ${LOG_LEVEL:-info}
    depends_on:
      db: {condition: service_healthy}
      redis: {condition: service_started}
    healthcheck:
      test: curl -f http://localhost:8000/health || exit 1
      interval: 10s
      timeout: 3s
      retries: 3
    restart: unless-stopped
  worker:
    build: .
    command: celery -A app.tasks worker
    depends_on: [web, redis]
"#),
    ])
    .imports("app.main", "app.config", None)
    .imports("app.main", "app", Some("users"))
    .app(Framework::FastApi, "app/main.py", "app.main", "app")
    .base("app.models", 4)
    .reads("app/config.py", 3, "DATABASE_URL", needed())
    .reads("app/config.py", 4, "SECRET_KEY", EnvRead { secret: true, ..needed() })
    .reads("app/config.py", 5, "LOG_LEVEL", EnvRead { one_of: vec!["debug".into(), "info".into()], ..with("info") })
    .reads("app/config.py", 6, "REDIS_URL", with("redis://localhost:6379/0"))
    .reads("app/tasks.py", 7, "BATCH", EnvRead { kind: ValueKind::Int, ..with("50") })
    .router("app.users", "router", "", 1)
    .router("app.orders", "router", "/orders", 1)
    .router("app.internal", "router", "", 1)
    .include(("app/main.py", 9), ("app.main", "app"), ("app.users", "router"), "/api/users")
    .include(("app/main.py", 10), ("app.main", "app"), ("app.orders", "router"), "/api/v1")
    .include(("app/main.py", 11), ("app.main", "app"), ("app.internal", "router"), "");
    let survey = shop.survey();
    for secret in ["hunter22", "really-secret", "example-pw", "change-me"] {
        assert!(!survey.text.contains(secret), "{secret}");
    }
    insta::assert_snapshot!("fastapi_compose", survey.text);
}

#[test]
fn what_a_mounted_application_serves_is_listed_below_it() {
    let compute = "compute/__init__.py";
    let shop = Shop::new(&[
        ("server.py", "app = make()\n"),
        (compute, "compute = FastAPI()\n"),
        ("compute/nodes.py", "router = APIRouter(prefix='/nodes')\n"),
    ])
    .app(Framework::FastApi, "server.py", "server", "app")
    .app(Framework::FastApi, compute, "compute", "compute")
    .router("compute.nodes", "router", "/nodes", 1)
    .include(
        (compute, 2),
        ("compute", "compute"),
        ("compute.nodes", "router"),
        "",
    )
    .include(
        ("server.py", 2),
        ("server", "app"),
        ("compute", "compute"),
        "/v3/compute",
    );
    let text = shop.survey().text;
    assert!(text.contains("\"/v3/compute/nodes\""), "{text}");
}

#[test]
fn a_flask_application_with_a_procfile() {
    let shop = Shop::new(&[
        ("shop/__init__.py", "from flask import Flask\n\ndef create_app():\n    app = Flask(__name__)\n    app.register_blueprint(cart)\n"),
        ("shop/cart.py", "cart = Blueprint('cart', __name__, url_prefix='/cart')\n"),
        ("shop/db.py", "from sqlalchemy import create_engine\nengine = create_engine('sqlite:///shop.db')\nBase.metadata.create_all(engine)\n"),
        ("shop/jobs.py", "import time\nwhile True: time.sleep(1)\n"),
        ("Procfile", "release: flask --app shop db upgrade\nweb: gunicorn --bind 0.0.0.0:$PORT 'shop:create_app()'\nworker: python -m shop.jobs | tee jobs.log\nclock: python -m shop.jobs\n"),
        ("pyproject.toml", "[project]\nname = 'the-shop'\n"),
    ])
    .imports("shop.db", "sqlalchemy", Some("create_engine"))
    .app(Framework::Flask, "shop/__init__.py", "shop", "create_app")
    .base("shop.db", 1)
    .reads("shop/__init__.py", 2, "FLASK_DEBUG", with("false"))
    .router("shop.cart", "cart", "/cart", 1)
    .include(("shop/__init__.py", 5), ("shop", "app"), ("shop.cart", "cart"), "");
    insta::assert_snapshot!("flask_procfile", shop.survey().text);
}

/// A Flask application with Flask-SQLAlchemy, and how its configuration names the database.
fn flask_shop(config: &str, more: &[(&str, &str)]) -> String {
    let package = format!(
        "import os\nfrom flask import Flask\nfrom .models import db\nhere = os.path.abspath(os.path.dirname(__file__))\n\
         def create_app():\n    app = Flask(__name__)\n    {config}\n    db.init_app(app)\n    return app\n"
    );
    let mut files = vec![
        ("shop/__init__.py", package.as_str()),
        (
            "shop/models.py",
            "from flask_sqlalchemy import SQLAlchemy\ndb = SQLAlchemy()\nclass Item(db.Model):\n    id = db.Column(db.Integer, primary_key=True)\n",
        ),
    ];
    files.extend(more);
    let mut shop = Shop::new(&files);
    shop.facts = crate::source::read_sources(&shop.root, &[], &Default::default());
    shop.survey().text
}

#[test]
fn the_database_of_a_flask_application_is_compared_where_it_is_certain() {
    let set = "app.config['SQLALCHEMY_DATABASE_URI'] = ";
    let migrations = [
        ("instance/shop.db", ""),
        ("migrations/alembic.ini", "[alembic]\n"),
        ("migrations/env.py", "from flask import current_app\n"),
    ];
    let text = flask_shop(&format!("{set}'sqlite:///shop.db'"), &migrations);
    for wanted in [
        "\n[[schema]]\nname = \"main\"\ndatabase = \"sqlite:///instance/shop.db\"\nexpect = \"alembic:migrations/alembic.ini\"\n",
        "\nmodels = \"sqlalchemy:shop.models:db\"\n",
        "run = \"python -m flask --app shop:create_app db upgrade -d migrations\"",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    // Earlier versions keep the file in the package.
    let text = flask_shop(
        &format!("{set}'sqlite:///shop.db'"),
        &[("shop/shop.db", "")],
    );
    let wanted =
        "\ndatabase = \"sqlite:///shop/shop.db\"\nexpect = \"sqlalchemy:shop.models:db\"\n";
    assert!(text.contains(wanted), "{text}");
    let given = "os.environ.get('DATABASE_URL') or 'sqlite:///' + os.path.join(here, 'a.db')";
    let text = flask_shop(&format!("{set}{given}"), &[("shop/a.db", "")]);
    let wanted = "\ndatabase = \"${DATABASE_URL:-sqlite:///shop/a.db}\"\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn the_database_of_a_flask_application_is_a_comment_where_it_is_not_certain() {
    let set = "app.config['SQLALCHEMY_DATABASE_URI'] = ";
    for (config, more, why) in [
        (
            "'sqlite:///shop.db'",
            None,
            "instance/shop.db does not exist yet",
        ),
        ("f'sqlite:///{here}/shop.db'", None, "is computed"),
        (
            "os.environ['DATABASE_URL']",
            Some((".env", "DATABASE_URL=sqlite:///shop.db\n")),
            "from its directory `instance`",
        ),
        (
            "os.environ['DATABASE_URL']",
            None,
            "the database's URL is not known",
        ),
    ] {
        let text = flask_shop(&format!("{set}{config}"), more.as_slice());
        let unwrapped = text.replace("\n#   ", " ");
        assert!(text.contains("\n# [[schema]]\n"), "{text}");
        let unsure = unwrapped
            .lines()
            .any(|line| line.starts_with("# unsure: ") && line.contains(why));
        assert!(unsure, "{why}\n{text}");
    }
}

#[test]
fn a_django_project() {
    let shop = Shop::new(&[
        ("manage.py", "import os\nif __name__ == '__main__': ...\n"),
        ("shop/__init__.py", ""),
        (
            "shop/settings.py",
            "import os\n\nSECRET_KEY = os.environ['DJANGO_SECRET_KEY']\n",
        ),
        ("shop/wsgi.py", "application = get_wsgi_application()\n"),
        ("shop/urls.py", "urlpatterns = []\n"),
        ("tests/test_shop.py", "import os\n"),
        ("requirements.txt", "django==5\n"),
    ])
    .app(Framework::Django, "shop/settings.py", "shop.settings", "")
    .reads("shop/settings.py", 3, "DJANGO_SECRET_KEY", needed())
    .reads(
        "shop/settings.py",
        4,
        "DEBUG",
        EnvRead {
            kind: ValueKind::Bool,
            ..with("False")
        },
    )
    .reads("tests/test_shop.py", 4, "TEST_ONLY", needed());
    insta::assert_snapshot!("django", shop.survey().text);
}

#[test]
fn process_compose_with_a_source_directory() {
    let shop = Shop::new(&[
        ("src/shop/__init__.py", ""),
        (
            "src/shop/api.py",
            "from starlette.applications import Starlette\n\napp = Starlette()\n",
        ),
        ("src/shop/worker.py", "if __name__ == '__main__': run()\n"),
        (
            "process-compose.yaml",
            r#"
version: "0.5"
environment:
  - TOKEN=abcdef123
  - MODE=dev
processes:
  migrate:
    command: python -m shop.migrate
  api:
    command: "cd src && uvicorn shop.api:app --port ${API_PORT:-9000}"
    depends_on:
      migrate: {condition: process_completed_successfully}
      worker: {condition: process_started}
    readiness_probe:
      http_get: {host: 127.0.0.1, port: 9000, path: /ready}
      initial_delay_seconds: 2
      period_seconds: 3
      failure_threshold: 4
    availability: {restart: on_failure, max_restarts: 3}
    shutdown: {signal: 2, timeout_seconds: 7}
  worker:
    command: python -m shop.worker
    working_dir: src
    depends_on:
      api: {condition: process_healthy}
    liveness_probe:
      exec: {command: "test -f /tmp/alive && echo $HOME"}
  old:
    command: "true"
    disabled: true
"#,
        ),
    ])
    .imports("src.shop.api", "shop", Some("worker"))
    .app(
        Framework::Starlette,
        "src/shop/api.py",
        "src.shop.api",
        "app",
    );
    let survey = shop.survey();
    assert!(!survey.text.contains("abcdef123"));
    insta::assert_snapshot!("process_compose", survey.text);
}

#[test]
fn an_empty_directory() {
    let survey = Shop::new(&[]).survey();
    assert!(survey.is_empty());
    insta::assert_snapshot!("empty", survey.text);
}

#[test]
fn without_any_file_each_application_is_a_layer() {
    let shop = Shop::new(&[
        (
            "main.py",
            "from fastapi import FastAPI\n\napp = FastAPI()\n",
        ),
        (
            "admin.py",
            "from flask import Flask\n\napp = Flask(__name__)\n",
        ),
        ("examples/demo.py", "app = FastAPI()\n"),
        ("models.py", "engine = create_engine('sqlite:///shop.db')\n"),
        ("shop.db", ""),
        ("jobs/worker.py", "if __name__ == '__main__': ...\n"),
        ("jobs/scheduler.py", "nothing\n"),
    ])
    .imports("models", "sqlalchemy", None)
    .base("models", 1)
    .app(Framework::FastApi, "main.py", "main", "app")
    .app(Framework::Flask, "admin.py", "admin", "app")
    .app(
        Framework::FastApi,
        "examples/demo.py",
        "examples.demo",
        "app",
    )
    .reads(
        "main.py",
        2,
        "PORT",
        EnvRead {
            kind: ValueKind::Int,
            ..with("8080")
        },
    );
    let survey = shop.survey();
    assert_eq!(survey.found.layers, ["web", "admin"]);
    assert_eq!(survey.found.schemas, 1);
    assert!(survey.text.contains("database = \"sqlite:///shop.db\""));
    assert!(survey.text.contains("--port ${PORT:-8080}"));
    assert!(survey.text.contains("# run = \"python -m jobs.worker\""));
    assert!(!survey.text.contains("examples.demo"));
}

#[test]
fn hostile_names_and_texts_still_give_a_manifest() {
    let evil = "a\"\n[app]\nname = \"evil\"\u{1b}[31m";
    let shop = Shop::new(&[
        ("pyproject.toml", "[project]\nname = \"\\u001b[31m\\\"; rm\"\n"),
        (
            "compose.yaml",
            "services:\n  \"we b\\n\\\"\": {build: ., command: [\"a\\nb\", \"${\", \"${X:+y}\"], environment: {\"A B\": c, OK: \"x\\ny\"}, depends_on: [\"we b\\n\\\"\", \"${Z}\"], stop_signal: SIGNOPE}\n  \"we-b\": {build: .., command: \"\", healthcheck: {test: [CMD, \"\"]}}\n  x: {build: /etc, command: run ${A:-$B}, restart: \"on-failure:999999\"}\n",
        ),
        (".env.example", "A=1\nnot an assignment\nB=\"\n"),
    ])
    .app(Framework::FastApi, evil, evil, evil)
    .base(evil, 1)
    .router(evil, evil, "/x y", 1)
    .include((evil, 1), (evil, evil), (evil, evil), "/p\nq")
    .reads(evil, 1, "BAD NAME", needed())
    .reads(evil, 1, "GOOD", EnvRead { one_of: vec![evil.into(), String::new()], ..with(evil) });
    let survey = shop.survey();
    let manifest = Manifest::parse(&survey.text, &shop.root.join("ubs.toml")).unwrap();
    assert_ne!(manifest.name, "evil");
    assert!(!survey.text.contains('\u{1b}'), "{}", survey.text);
    assert!(manifest.config.vars.contains_key("GOOD"));
    assert!(
        survey
            .messages
            .iter()
            .any(|message| message.contains(".env.example"))
    );
}

#[test]
fn environment_files_that_the_code_names_are_read() {
    let shop = Shop::new(&[
        ("app.py", "model_config = SettingsConfigDict(env_file=\"local.env\")\nload_dotenv('../x')\nload_dotenv(\"gone.env\")\n"),
        ("local.env", "PORT=none\n"),
        (".flaskenv", "FLASK_APP=app\n"),
    ])
    .reads("app.py", 1, "PORT", with("80"));
    let survey = shop.survey();
    assert!(
        survey
            .text
            .contains("files = [\".env\", \".flaskenv\", \"local.env\"]"),
        "{}",
        survey.text
    );
    // Its present value was looked at.
    assert!(survey.text.contains("kind left open"));
}

#[test]
fn a_base_is_named_where_its_models_are_loaded() {
    let files = [
        ("app/db.py", ""),
        ("app/models/__init__.py", ""),
        ("app/models/user.py", ""),
        ("app/order.py", ""),
    ];
    let shop = Shop::new(&files)
        .base("app.db", 2)
        .imports("app.models.user", "app.db", Some("Base"))
        .imports("app.order", "app.db", Some("Base"))
        .imports("app.models", "app.db", Some("Base"))
        .imports("app.models", "app.models", Some("user"));
    let text = shop.survey().text;
    assert!(
        text.contains("expect = \"sqlalchemy:app.models:Base\""),
        "{text}"
    );
    // `order` is loaded by nothing.
    assert!(text.contains("does not import app.order"), "{text}");
    let shop = shop.imports("app.models", "app.order", Some("Order"));
    assert!(!shop.survey().text.contains("does not import"));
}

#[test]
fn a_dockerfile_alone_says_what_runs() {
    let shop = Shop::new(&[
        ("app.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
        (
            "Dockerfile",
            "FROM python:3\nCMD [\"uvicorn\", \"app:app\", \"--port\", \"80\"]\n",
        ),
    ])
    .app(Framework::FastApi, "app.py", "app", "app");
    let survey = shop.survey();
    assert_eq!(survey.found.from, ["Dockerfile"]);
    assert!(survey.text.contains("http://127.0.0.1:80/openapi.json"));
}

#[test]
fn what_is_written_as_a_comment_is_right_when_the_marks_are_taken_away() {
    for name in ["fastapi_compose", "flask_procfile"] {
        let file = format!(
            "{}/src/init/snapshots/ubs__init__tests__{name}.snap",
            env!("CARGO_MANIFEST_DIR")
        );
        let snapshot = std::fs::read_to_string(file).unwrap();
        let (_, text) = snapshot
            .split_once("---\n")
            .unwrap()
            .1
            .split_once("---\n")
            .unwrap();
        let mut taken = 0;
        let mut lines: Vec<&str> = Vec::new();
        for block in text.split("\n\n") {
            let mut open = false;
            for line in block.lines() {
                open |= line.starts_with("# [[") || line.starts_with("# [config.vars");
                taken += usize::from(open && line.starts_with("# [["));
                lines.push(match line.strip_prefix('#') {
                    Some(rest) if open => rest.trim_start(),
                    _ => line,
                });
            }
        }
        assert!(taken > 0);
        Manifest::parse(&lines.join("\n"), std::path::Path::new("ubs.toml")).unwrap();
    }
}

#[test]
fn a_factory_that_needs_arguments_is_not_called() {
    for (parameters, active) in [
        ("", true),
        ("config=None, *, debug: dict[str, int] = {}", true),
        ("config: Config", false),
        ("a=(1, 2), b: int", false),
    ] {
        let code = format!("def create_app({parameters}):\n    return FastAPI()\n");
        let shop =
            Shop::new(&[("app.py", &code)]).app(Framework::FastApi, "app.py", "app", "create_app");
        let survey = shop.survey();
        assert_eq!(
            survey.text.contains("needs arguments"),
            !active,
            "{parameters}"
        );
        assert_eq!(!survey.found.layers.is_empty(), active, "{parameters}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Whatever stands in these files, the manifest is one.
    #[test]
    fn any_text_gives_a_manifest(
        key in "[a-z:{}\\[\\]&*<>| \\-\"'\\\\$\u{1}é\n]{0,12}",
        value in "[a-zA-Z:{}\\[\\]&*!|> \\-\"'\\\\$=?%\u{7f}\u{2028}é\n/.0-9]{0,40}",
        whole in "(?s).{0,60}",
    ) {
        let quoted = serde_json::to_string(&value).unwrap();
        let name = serde_json::to_string(&key).unwrap();
        let compose = format!(
            "name: {quoted}\nservices:\n  {name}:\n    build: .\n    command: {quoted}\n    environment: {{A: {quoted}, B: x}}\n    ports: [{quoted}]\n    healthcheck: {{test: {quoted}}}\n    depends_on: [{quoted}, b]\n    stop_signal: {quoted}\n  b: {{image: {quoted}, depends_on: [{name}]}}\n  c: {{build: {quoted}, command: [{quoted}, {quoted}]}}\n"
        );
        let processes = format!(
            "processes:\n  {name}:\n    command: {quoted}\n    working_dir: {quoted}\n    environment: [{quoted}]\n    readiness_probe: {{http_get: {{path: {quoted}, port: {quoted}}}}}\n"
        );
        let procfile = format!("web: {value}\n{whole}");
        for (file, text) in [
            ("compose.yaml", compose.as_str()),
            ("compose.yaml", whole.as_str()),
            ("process-compose.yml", &processes),
            ("process-compose.yml", &whole),
            ("Procfile", &procfile),
            (
                "supervisord.conf",
                &format!("[program:{key}]\ncommand={value}\nenvironment={value}\nnumprocs=2\nprocess_name={key}\n{whole}"),
            ),
            (
                "ecosystem.config.js",
                &format!("module.exports = {{ apps: [{{ name: {name}, script: {quoted}, env: {{ A: {quoted} }} }}, {value} ] }}"),
            ),
            ("ecosystem.config.cjs", &whole),
            (
                "a.service",
                &format!("[Service]\nType=notify\nExecStartPre={value}\nExecStart={value}\nEnvironment={value}\nLimitCORE={value}\n{whole}"),
            ),
            ("Dockerfile", &format!("FROM x\nCMD {value}")),
            (".env.example", &whole),
            ("pyproject.toml", &format!("[project]\nname = {quoted}\n")),
        ] {
            Shop::new(&[(file, text)]).survey();
        }
    }
}

/// JSON (which is YAML too) of a tree, with one more key in each table, named by a number.
fn with_unknown_keys(node: &yaml::Node, names: &mut Vec<String>) -> String {
    match &node.value {
        yaml::Value::Null => "null".to_owned(),
        yaml::Value::Text(text) => serde_json::to_string(text).unwrap(),
        yaml::Value::List(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| with_unknown_keys(item, names))
                .collect();
            format!("[{}]", items.join(", "))
        }
        yaml::Value::Map(entries) => {
            let mut all: Vec<String> = entries
                .iter()
                .map(|(key, node)| {
                    let key = serde_json::to_string(key).unwrap();
                    format!("{key}: {}", with_unknown_keys(node, names))
                })
                .collect();
            let name = format!("zq{}q", names.len());
            all.push(format!("\"{name}\": \"v\""));
            names.push(name);
            format!("{{{}}}", all.join(", "))
        }
    }
}

const LARGE_COMPOSE: &str = r#"
name: shop
services:
  db:
    image: postgres:16
    environment: {POSTGRES_DB: shop}
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: [CMD, pg_isready], interval: 5s}
  base:
    build: {context: ., args: {A: b}}
    environment: {MODE: live}
    logging: {driver: json-file, options: {max-size: 10m}}
  migrate:
    extends: {service: base}
    command: python -m shop.migrate
  web:
    extends: base
    command: ["sh", "-c", "echo $$HOME && exec uvicorn shop:app --port 8000"]
    env_file: [{path: web.env, required: false}, other.env]
    depends_on:
      migrate: {condition: service_completed_successfully}
      cache: {condition: service_started, restart: true}
    healthcheck:
      test: ["CMD", "python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/up')"]
      interval: 10s
      start_interval: 1s
    ports: ["80:8000", "9000:9000"]
    restart: on-failure:7
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    ulimits: {nofile: {soft: 2048, hard: 4096}, memlock: -1, core: 0}
    networks: [front]
    cap_add: [NET_ADMIN]
    deploy: {replicas: 3, resources: {limits: {memory: 512M}}}
  cache:
    build: .
    command: ["valkey-server", "--port", "6399"]
    stop_grace_period: soon
    restart: sometimes
  worker:
    build: .
    command: celery -A shop worker
    depends_on: [web]
  debug:
    build: .
    profiles: [debug]
    command: python -m shop.debug
networks: {front: {}}
volumes: {data: {driver: local}}
"#;

const LARGE_PROCESS_COMPOSE: &str = r#"
version: "0.5"
log_level: debug
shell: {shell_command: bash, shell_argument: -c}
processes:
  migrate:
    command: "true"
    namespace: jobs
  api:
    command: "for i in 1 2; do echo $$i; done; python -m shop"
    log_location: ./api.log
    ready_log_line: "up (1)"
    env_file: [api.env]
    depends_on:
      migrate: {condition: process_completed}
      old: {condition: process_healthy}
    availability: {restart: always, backoff_seconds: 2, max_restarts: 5, exit_on_end: true}
    shutdown: {signal: 15, timeout_seconds: 7, command: "python stop.py", parent_only: "yes"}
    is_tty: true
  waiter:
    command: python -m wait
    depends_on: {api: {condition: process_log_ready}}
    readiness_probe:
      http_get: {port: 9000, path: /up, status_code: 204, headers: {Host: shop}}
      success_threshold: 2
      period_seconds: 3
  old: {command: "true", disabled: true}
"#;

/// What no reader takes is named in a comment and in the summary, wherever it stands.
#[test]
fn nothing_is_dropped_silently() {
    for (file, text) in [
        ("compose.yaml", LARGE_COMPOSE),
        ("process-compose.yaml", LARGE_PROCESS_COMPOSE),
        (
            "ecosystem.config.json",
            r#"{"apps": [{"name": "a", "script": "a.py", "env": {"A": 1}, "env_x": {"B": 2}}], "deploy": {"p": {"q": 1}}}"#,
        ),
    ] {
        let mut names = Vec::new();
        let more = with_unknown_keys(&yaml::parse(text).unwrap(), &mut names);
        let survey = Shop::new(&[(file, &more)]).survey();
        let said = serde_json::to_string(&survey.not_carried).unwrap();
        for name in &names {
            assert!(
                survey.text.contains(name),
                "{file} {name} of {more}\n{}",
                survey.text
            );
        }
        assert!(names.iter().filter(|name| said.contains(*name)).count() * 2 > names.len());
    }
    let unit = "[Unit]\nzq0q=1\n[Service]\nzq1q=1\nExecStart=run\n[Install]\nzq2q=1\n[X]\nzq3q=1\n";
    let program = "[supervisord]\nzq0q=1\n[program:a]\nzq1q=1\ncommand=run\n[group:b]\nzq2q=1\n[other]\nzq3q=1\n";
    for (file, text) in [("deploy/a.service", unit), ("supervisord.conf", program)] {
        let survey = Shop::new(&[(file, text)]).survey();
        let said = serde_json::to_string(&survey.not_carried).unwrap();
        // The summary on the terminal does not say these twice.
        let (listed, others): (Vec<_>, Vec<_>) =
            survey.unsure.iter().partition(|one| one.not_carried);
        let begins = |one: &&Unsure| one.message.starts_with("not carried over");
        assert!(!listed.is_empty() && listed.iter().all(begins));
        assert!(!others.iter().any(begins));
        for name in ["zq0q", "zq1q", "zq2q", "zq3q"] {
            assert!(
                survey.text.contains(name) && said.contains(name),
                "{file} {name} {said}"
            );
        }
    }
}

/// The value of each key of a large file stands in the manifest, or the key in a comment.
#[test]
fn each_key_of_a_large_file_is_carried_over_or_named() {
    let survey = Shop::new(&[("compose.yaml", LARGE_COMPOSE)]).survey();
    for part in [
        "run = [\"sh\", \"-c\", \"echo $$HOME && exec uvicorn shop:app --port 8000\"]",
        "env = { MODE = \"live\" }",
        "env_file = [{ path = \"web.env\", optional = true }, \"other.env\"]",
        "needs = { cache = \"started\" }",
        "after = [\"migrate\"]",
        "ready = { http = \"http://127.0.0.1:8000/up\"",
        "restart = { policy = \"on-failure\", max = 7 }",
        "stop = { signal = \"INT\", timeout = \"90s\" }",
        "limits = { open_files = 2048, core = \"0B\" }",
        "profiles = [\"debug\"]",
        "critical = false",
    ] {
        assert!(survey.text.contains(part), "{part}\n{}", survey.text);
    }
    let said: Vec<&str> = survey
        .not_carried
        .iter()
        .flat_map(|left| left.keys.iter().map(String::as_str))
        .collect();
    for key in [
        "environment.POSTGRES_DB",
        "volumes",
        "build.args.A",
        "logging.driver",
        "logging.options.max-size",
        "depends_on.cache.restart",
        "healthcheck.start_interval",
        "ports[1]",
        "ulimits.memlock",
        "networks",
        "cap_add",
        "deploy.resources.limits.memory",
        "stop_grace_period",
        "restart",
        "volumes.data.driver",
    ] {
        assert!(said.contains(&key), "{key} {said:?}");
        assert!(survey.text.replace("\n#   ", " ").contains(key), "{key}");
    }
    let survey = Shop::new(&[("process-compose.yaml", LARGE_PROCESS_COMPOSE)]).survey();
    for part in [
        "run = [\"bash\", \"-c\", \"for i in 1 2; do echo $i; done; python -m shop\"]",
        "ready = { log = \"up \\\\(1\\\\)\" }",
        "needs = { migrate = \"completed\" }",
        "needs = { api = \"logged\" }",
        "restart = { policy = \"always\", max = 5, backoff = \"2s\", max_backoff = \"2s\" }",
        "on_end = \"stop\"",
        "stop = { command = \"python stop.py\", signal = \"TERM\", timeout = \"7s\" }",
        "status = [204], headers = { Host = \"shop\" }",
        "successes = 2",
    ] {
        assert!(survey.text.contains(part), "{part}\n{}", survey.text);
    }
    for key in [
        "namespace",
        "log_location",
        "is_tty",
        "shutdown.parent_only",
        "log_level",
    ] {
        assert!(survey.text.contains(key), "{key}");
    }
}

/// A file of another manager, as public repositories have it, what of it the manifest says, and what is named.
struct Sample {
    files: &'static [(&'static str, &'static str)],
    says: &'static [&'static str],
    left: &'static [&'static str],
}

const SAMPLES: [Sample; 9] = [
    Sample {
        files: &[(
            "supervisord.conf",
            include_str!("samples/supervisord-web.conf"),
        )],
        says: &[
            "run = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]",
            "--workers ${WEB_WORKERS}",
            "ready = { tcp = \"127.0.0.1:8000\" }",
            "stop = { signal = \"TERM\", timeout = \"1m\" }",
            "stable_after = \"3s\"",
            "name = \"worker_01\"",
            "success = [0, 2]",
        ],
        left: &["[supervisord] pidfile", "stdout_logfile", "redirect_stderr"],
    },
    Sample {
        files: &[(
            "supervisord.conf",
            include_str!("samples/supervisord-cron.conf"),
        )],
        says: &[
            "while true; do python -m jobs.tick; sleep 60; done",
            "env = { PYTHONUNBUFFERED = \"1\", TZ = \"UTC\" }",
            "restart = { policy = \"on-failure\", max = 10 }",
            "the eventlistener fatal was left out",
        ],
        left: &[
            "stderr_logfile_backups",
            "[eventlistener:fatal] buffer_size",
            "[unix_http_server] chmod",
        ],
    },
    Sample {
        files: &[(
            "supervisord.conf",
            include_str!("samples/supervisord-node.conf"),
        )],
        says: &[
            "env = { NODE_ENV = \"production\" }",
            "umask = \"022\"",
            "ready = { tcp = \"127.0.0.1:4000\" }",
            "disabled = true",
            "# of the group node",
        ],
        left: &["serverurl", "[supervisord] minfds", "[group:node] priority"],
    },
    Sample {
        files: &[(
            "ecosystem.config.js",
            include_str!("samples/pm2-next.config.js"),
        )],
        says: &[
            "run = \"node node_modules/next/dist/bin/next start -p 3000\"",
            "ready = { tcp = \"127.0.0.1:3000\" }",
            "restart = { policy = \"always\", max = 10, backoff = \"4s\", max_backoff = \"4s\" }",
            "stop = { signal = \"INT\", timeout = \"5s\" }",
        ],
        left: &[
            "exec_mode",
            "instances",
            "env_staging.NODE_ENV",
            "error_file",
            "time",
            "watch",
        ],
    },
    Sample {
        files: &[
            (
                "ecosystem.config.json",
                include_str!("samples/pm2-bots.json"),
            ),
            ("bot/main.py", "import time\n"),
        ],
        says: &[
            "run = \"python3 -u main.py\"",
            "cwd = \"bot\"",
            "run = \"bash ./report.sh\"",
            "success = [0, 3]",
        ],
        left: &["cron_restart", "ignore_watch", "deploy.production.user"],
    },
    Sample {
        files: &[(
            "ecosystem.config.cjs",
            include_str!("samples/pm2-npm.config.cjs"),
        )],
        says: &["run = \"npm run start:prod\"", "restart = \"always\""],
        left: &["wait_ready", "listen_timeout", "merge_logs", "namespace"],
    },
    Sample {
        files: &[(
            "deploy/gunicorn.service",
            include_str!("samples/systemd-gunicorn.service"),
        )],
        says: &[
            "run = \"python manage.py migrate --noinput\"",
            "after = [\"gunicorn-pre\"]",
            "ready = { notify = true }",
            "env_file = [{ path = \"/etc/shop/shop.env\", optional = true }]",
            "restart = { policy = \"on-failure\", max = 5, backoff = \"2s\", max_backoff = \"2s\", reset_after = \"5m\" }",
            "limits = { open_files = 65535 }",
        ],
        left: &[
            "Requires=gunicorn.socket",
            "Service.ExecReload",
            "Service.PrivateTmp",
        ],
    },
    Sample {
        files: &[
            (
                "deploy/celery.service",
                include_str!("samples/systemd-celery.service"),
            ),
            (
                "deploy/gunicorn.service",
                "[Service]\nExecStart=gunicorn a:b -b 127.0.0.1:9000\n",
            ),
        ],
        says: &[
            "command = [\"/bin/sh\", \"-c\", \"celery multi stopwait worker\"]",
            "it has no command that can be read",
        ],
        left: &[
            "Service.ExecStart",
            "Service.Type",
            "Service.MemoryMax",
            "Service.Nice",
            "Install.Alias",
        ],
    },
    Sample {
        files: &[
            (
                "backup.service",
                include_str!("samples/systemd-backup.service"),
            ),
            (
                "gunicorn.service",
                "[Service]\nExecStart=gunicorn a:b -b 127.0.0.1:9000\n",
            ),
        ],
        says: &[
            "run = [\"/usr/bin/rsync\", \"-a\", \"data dir/\", \"backup/\"]",
            "timeout = \"60m\"",
            "success = [0, 24]",
            "after = [\"backup\"]",
        ],
        left: &[
            "Unit.ConditionPathExists",
            "Unit.OnFailure",
            "Service.CPUQuota",
        ],
    },
];

#[test]
fn files_as_public_repositories_have_them() {
    for sample in &SAMPLES {
        let file = sample.files[0].1;
        let survey = Shop::new(sample.files).survey();
        let text = survey.text.replace("\n#   ", " ");
        for part in sample.says {
            assert!(text.contains(part), "{part}\n{file}\n{text}");
        }
        let said: Vec<&str> = survey
            .not_carried
            .iter()
            .flat_map(|left| left.keys.iter().map(String::as_str))
            .collect();
        for key in sample.left {
            assert!(
                said.contains(key) && text.contains(key),
                "{key} {said:?}\n{text}"
            );
        }
    }
}

#[test]
fn a_manifest_from_each_other_manager() {
    for (name, at) in [("supervisord", 0), ("pm2", 3), ("systemd", 6)] {
        let survey = Shop::new(SAMPLES[at].files).survey();
        let layers = survey.text.split("# 3. Layers").nth(1).unwrap();
        let layers = layers.split("# 4. Registration").next().unwrap();
        insta::assert_snapshot!(name, layers);
    }
}

#[test]
fn the_packaging_says_where_sources_lie() {
    for (file, text) in [
        (
            "pyproject.toml",
            "[tool.setuptools.packages.find]\nwhere = [\"lib\"]\n",
        ),
        (
            "pyproject.toml",
            "[tool.setuptools]\npackage-dir = {\"\" = \"lib\"}\n",
        ),
        (
            "pyproject.toml",
            "[tool.poetry]\npackages = [{include = \"shop\", from = \"lib\"}]\n",
        ),
        (
            "pyproject.toml",
            "[tool.hatch.build.targets.wheel]\npackages = [\"lib/shop\"]\n",
        ),
        ("setup.cfg", "[options]\npackage_dir =\n    = lib\n"),
        ("setup.py", "setup(package_dir={'': 'lib'})\n"),
    ] {
        let shop = Shop::new(&[
            (file, text),
            ("lib/shop/__init__.py", ""),
            (
                "lib/shop/api.py",
                "from fastapi import FastAPI\napp = FastAPI()\n",
            ),
        ])
        .app(Framework::FastApi, "lib/shop/api.py", "lib.shop.api", "app");
        let survey = shop.survey();
        assert!(
            survey.text.contains("path = [\"lib\"]"),
            "{text}\n{}",
            survey.text
        );
        assert!(
            survey.text.contains("imports = [\"shop.api\"]"),
            "{text}\n{}",
            survey.text
        );
    }
}

#[test]
fn a_large_settings_tree_is_one_block_and_django_gets_a_schema() {
    let mut shop = Shop::new(&[("app/settings.py", "import os\n")]);
    for at in 0..60 {
        shop = shop.reads(
            "app/settings.py",
            at + 2,
            &format!("OPTION_{at}"),
            with("5"),
        );
    }
    let survey = shop
        .reads("app/settings.py", 99, "TOKEN_KEY", needed())
        .survey();
    let begin = "# 60 optional variables that app/settings.py alone reads";
    let block = survey.text.split(begin).nth(1);
    let block = block.unwrap_or_else(|| panic!("{}", survey.text));
    let block = block.split("\n\n").next().unwrap();
    assert_eq!(block.matches("# [config.vars.OPTION_").count(), 60);
    assert!(survey.text.contains("\n[config.vars.TOKEN_KEY]") && survey.found.variables == 1);
    let shop = Shop::new(&[
        ("site/manage.py", "if __name__ == '__main__': ...\n"),
        ("site/shop/__init__.py", ""),
        (
            "site/shop/settings.py",
            "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n",
        ),
        ("site/db.sqlite3", ""),
    ])
    .app(Framework::Django, "site/shop/settings.py", "site.shop.settings", "");
    let text = shop.survey().text;
    assert!(
        text.contains("\ndatabase = \"sqlite:///site/db.sqlite3\"\nexpect = \"django:"),
        "{text}"
    );
}
