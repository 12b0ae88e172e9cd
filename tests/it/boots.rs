//! Boots that failed somewhere in public: each directory of `tests/boots` has a `broken` application and its `fixed`
//! control. `ubs init` writes the manifest, `ubs preflight` looks; the decision, the code, the place and the remedy are
//! compared with the table below. `case.json` names the reports that each one is made after.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::postgres::Server;
use crate::support::venv::{self, skipped};
use crate::support::{Run, Workspace};

/// One environment serves every case that needs nothing else.
const MAIN: [&str; 8] = [
    "fastapi==0.115.6",
    "uvicorn==0.34.0",
    "pydantic-settings==2.7.0",
    "alembic==1.14.0",
    "sqlalchemy==2.0.36",
    "psycopg2-binary==2.9.10",
    "celery==5.4.0",
    "python-dotenv==1.0.1",
];

/// The environment of what was made by hand.
const HAND: [&str; 12] = [
    "fastapi==0.115.6",
    "uvicorn==0.34.0",
    "uvicorn-worker==0.3.0",
    "gunicorn==23.0.0",
    "pydantic==2.10.6",
    "sqlalchemy==2.0.36",
    "aiosqlite==0.20.0",
    "greenlet==3.1.1",
    "psycopg2-binary==2.9.10",
    "celery==5.4.0",
    "flask==3.1.0",
    "django==5.1.4",
];

/// The environment of workers without a broker of their own.
const WORKERS: [&str; 4] = [
    "rq==2.0.0",
    "dramatiq==1.17.1",
    "arq==0.26.1",
    "redis==5.2.1",
];

/// What is expected of the broken version.
struct Case {
    name: &'static str,
    /// `go` or `no_go`.
    decision: &'static str,
    /// Code, place and a part of the remedy of one finding; none: nothing is expected to be said.
    says: Option<(&'static str, &'static str, &'static str)>,
    /// What nothing may say.
    never: &'static str,
}

const fn case(
    name: &'static str,
    decision: &'static str,
    code: &'static str,
    place: &'static str,
    remedy: &'static str,
) -> Case {
    Case {
        name,
        decision,
        says: Some((code, place, remedy)),
        never: "read the traceback",
    }
}

const CASES: [Case; 72] = [
    case(
        "c01_settings_extra_forbidden",
        "no_go",
        "rehearsal.failed",
        ".env:3",
        "extra=\"ignore\" in the SettingsConfigDict of Settings, or take TRACKING_TOKEN out of .env:3",
    ),
    case(
        "c02_passlib_bcrypt5",
        "no_go",
        "rehearsal.failed",
        "app/main.py:12",
        "pin bcrypt<4.1",
    ),
    case(
        "c03_flask22_werkzeug3",
        "no_go",
        "rehearsal.import_error",
        "shop.py:1",
        "pin werkzeug<3",
    ),
    Case {
        never: "install pkg_resources",
        ..case(
            "c05_pkg_resources_gone",
            "no_go",
            "rehearsal.missing_package",
            "clock.py:3",
            "pin setuptools<82",
        )
    },
    Case {
        never: "install cgi",
        ..case(
            "c06_cgi_python313",
            "no_go",
            "rehearsal.import_error",
            "server.py:1",
            "legacy-cgi",
        )
    },
    case(
        "c07_alembic_two_heads",
        "no_go",
        "schema.multiple_heads",
        "migrations/versions/b001_length.py:4",
        "alembic merge",
    ),
    case(
        "c11_postgres_scheme",
        "no_go",
        "rehearsal.failed",
        ".env:1",
        "write postgresql:// instead of postgres:// in DATABASE_URL (.env:1)",
    ),
    case(
        "c12_static_dir_missing",
        "no_go",
        "rehearsal.failed",
        "app/main.py:5",
        "make the directory tasks",
    ),
    case(
        "c14_sqlite_dir_missing",
        "no_go",
        "rehearsal.failed",
        "app/main.py:10",
        "make the directory var/data",
    ),
    case(
        "c15_models_imported_under_two_names",
        "no_go",
        "rehearsal.failed",
        "cms/routes.py:3",
        "by one name everywhere, cms.models",
    ),
    case(
        "c16_celery_py_shadows",
        "no_go",
        "rehearsal.import_error",
        "celery.py:3",
        "rename celery.py",
    ),
    case(
        "c18_celerybeat_stale_pid",
        "go",
        "config.stale_file",
        "celerybeat.pid:1",
        "remove celerybeat.pid",
    ),
    Case {
        says: None,
        ..case("c19_shell_wrapper_swallows_sigterm", "go", "", "", "")
    },
    case(
        "c20_crlf_start_script",
        "no_go",
        "config.program_missing",
        "start.sh:1",
        "line ends of Unix",
    ),
    case(
        "c21_on_event_beside_lifespan",
        "go",
        "rehearsal.ignored_handler",
        "app/main.py:17",
        "into the lifespan of app",
    ),
    case(
        "c22_env_file_bom",
        "go",
        "config.env_file_syntax",
        ".env:1",
        "without the mark",
    ),
    case(
        "c24_env_inline_comment_empty",
        "go",
        "config.env_file_syntax",
        ".env:1",
        "write it without",
    ),
    case(
        "c25_relative_import_run_as_script",
        "no_go",
        "rehearsal.import_error",
        "app/main.py:4",
        "python -m app.main",
    ),
    case(
        "c26_port_taken_by_a_stranger",
        "go",
        "config.port_taken",
        "ubs.toml",
        "another port",
    ),
    // `case.json` is from before start-ups were rehearsed: that the workers die is told before the boot now. That the
    // boot alone does not call it up has a test of its own below.
    case(
        "c29_workers_die_master_listens",
        "no_go",
        "rehearsal.failed",
        "app/main.py:13",
        "",
    ),
    case(
        "c31_compose_environment",
        "no_go",
        "config.missing",
        "ubs.toml",
        "`env` of the service",
    ),
    Case {
        never: "install pricing",
        ..case(
            "c32_pythonpath_of_service",
            "no_go",
            "rehearsal.import_error",
            "app/main.py:3",
            "PYTHONPATH = \"extras\"",
        )
    },
    // Made by hand, after what is often reported.
    case(
        "h01_wrong_attribute",
        "no_go",
        "rehearsal.failed",
        "ubs.toml",
        "shop.main:application",
    ),
    case(
        "h02_factory_wrong_name",
        "no_go",
        "rehearsal.failed",
        "ubs.toml",
        "shop.main:create_app (a factory)",
    ),
    case(
        "h03_asyncpg_missing",
        "no_go",
        "rehearsal.missing_package",
        "shop/db.py:3",
        "install asyncpg",
    ),
    case(
        "h04_gunicorn_worker_class",
        "no_go",
        "config.program_missing",
        "ubs.toml",
        "install gevent",
    ),
    case(
        "h05_django_settings_name",
        "no_go",
        "rehearsal.import_error",
        "site1/wsgi.py:4",
        "one that is there (site1.settings)",
    ),
    case(
        "h06_django_app_missing",
        "no_go",
        "rehearsal.missing_package",
        "site1/wsgi.py:4",
        "install django-cors-headers",
    ),
    case(
        "h08_celery_attribute",
        "no_go",
        "config.program_missing",
        "ubs.toml",
        "correct `run` of service worker",
    ),
    case(
        "h09_imp_gone",
        "no_go",
        "rehearsal.import_error",
        "shop/main.py:1",
        "importlib",
    ),
    case(
        "h10_distutils_gone",
        "no_go",
        "rehearsal.import_error",
        "shop/main.py:1",
        "setuptools",
    ),
    case(
        "h11_log_directory",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:2",
        "make the directory logs",
    ),
    case(
        "h12_log_directory_outside",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:2",
        "mkdir -p /var/log/shop-h12",
    ),
    case(
        "h13_sqlalchemy2_execute",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:3",
        "sqlalchemy<2",
    ),
    case(
        "h14_pydantic_v1_regex",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:3",
        "write `pattern`",
    ),
    case(
        "h16_flask_before_first_request",
        "no_go",
        "rehearsal.failed",
        "app.py:3",
        "flask<2.3",
    ),
    case(
        "h17_circular_import",
        "no_go",
        "rehearsal.import_error",
        "shop/routes.py:2",
        "break the circle",
    ),
    case(
        "h18_python_multipart",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:7",
        "install python-multipart",
    ),
    case(
        "h21_uvicorn_run_module",
        "no_go",
        "rehearsal.import_error",
        "shop/main.py:1",
        "correct the name",
    ),
    case(
        "h22_postgres_down",
        "go",
        "rehearsal.failed",
        "shop/main.py:8",
        "see that what it needs is up",
    ),
    case(
        "h23_mkdir_before",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:2",
        "make the directory var/log",
    ),
    case(
        "h24_rq_connection_gone",
        "no_go",
        "rehearsal.import_error",
        "worker.py:2",
        "pin rq<2",
    ),
    case(
        "h25_dramatiq_broker_name",
        "no_go",
        "rehearsal.failed",
        "ubs.toml",
        "shop.tasks:broker",
    ),
    case(
        "h26_arq_settings_name",
        "no_go",
        "rehearsal.failed",
        "ubs.toml",
        "shop.jobs.WorkerSettings",
    ),
    case(
        "h27_gunicorn_config_missing",
        "no_go",
        "config.file_missing",
        "ubs.toml",
        "put gunicorn.conf.py there",
    ),
    case(
        "h28_fastapi_response_type",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:7",
        "response_model=None",
    ),
    case(
        "h29_sqlalchemy_metadata_reserved",
        "no_go",
        "rehearsal.failed",
        "shop/models.py:9",
        "name the attribute otherwise",
    ),
    case(
        "h30_flask_endpoint_twice",
        "no_go",
        "rehearsal.failed",
        "shop.py:24",
        "functools.wraps",
    ),
    case(
        "h31_django_apps_not_loaded",
        "no_go",
        "rehearsal.failed",
        "shop/models.py:4",
        "import models where they are used",
    ),
    case(
        "h32_django_app_not_listed",
        "no_go",
        "registration.app_unloadable",
        "shop/models.py:4",
        "INSTALLED_APPS",
    ),
    case(
        "h33_pydantic_root_validator",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:10",
        "@model_validator",
    ),
    case(
        "h34_flask_no_context",
        "no_go",
        "rehearsal.failed",
        "shop.py:4",
        "app.app_context()",
    ),
    case(
        "h35_sqlalchemy_mapped",
        "no_go",
        "rehearsal.failed",
        "shop/models.py:7",
        "Mapped[...]",
    ),
    case(
        "h36_templates_missing",
        "go",
        "config.file_missing",
        "shop/main.py:5",
        "bring templates",
    ),
    case(
        "h37_celery_include",
        "no_go",
        "rehearsal.import_error",
        "",
        "correct the name of the module",
    ),
    case(
        "h38_celery_mixed_keys",
        "no_go",
        "rehearsal.failed",
        "",
        "in one form",
    ),
    case(
        "h39_flask_app_unset",
        "no_go",
        "config.missing",
        "ubs.toml",
        "flask --app server:app run",
    ),
    case(
        "h41_pydantic_forward_reference",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:5",
        "define or import Persn",
    ),
    case(
        "h42_relationship_missing",
        "no_go",
        "rehearsal.failed",
        "shop/models.py:9",
        "write Child instead of Childs",
    ),
    case(
        "h43_back_populates",
        "no_go",
        "rehearsal.failed",
        "shop/models.py:9",
        "back_populates",
    ),
    case(
        "h44_flask_factory_argument",
        "no_go",
        "rehearsal.failed",
        "shop/__init__.py:8",
        "in create_app",
    ),
    case(
        "h45_gunicorn_chdir",
        "no_go",
        "rehearsal.failed",
        "service/main.py:3",
        "",
    ),
    case(
        "h46_middleware_late",
        "no_go",
        "rehearsal.failed",
        "shop/main.py:9",
        "where the application is made",
    ),
    case(
        "h48_django_allowed_hosts",
        "no_go",
        "rehearsal.failed",
        "site1/settings.py:3",
        "ALLOWED_HOSTS",
    ),
    case(
        "h49_django_middleware",
        "no_go",
        "rehearsal.import_error",
        "site1/wsgi.py:6",
        "dotted path in the settings",
    ),
    case(
        "h50_url_special_characters",
        "go",
        "config.invalid",
        ".env:1",
        "%40",
    ),
    case(
        "h51_websocket_library",
        "go",
        "rehearsal.missing_package",
        "shop/main.py:10",
        "uvicorn[standard]",
    ),
    case(
        "h52_uvicorn_loop",
        "no_go",
        "config.program_missing",
        "ubs.toml",
        "uvicorn[standard]",
    ),
    case(
        "h55_flask_app_path",
        "no_go",
        "rehearsal.missing_package",
        "web/app.py:2",
        "",
    ),
    case(
        "h56_gunicorn_conf",
        "no_go",
        "config.program_missing",
        "ubs.toml",
        "install gevent",
    ),
    case(
        "h57_gunicorn_conf_directory",
        "no_go",
        "config.file_missing",
        "ubs.toml",
        "service",
    ),
    case(
        "h58_flask_template",
        "go",
        "rehearsal.undefined_name",
        "shop.py:8",
        "bring home.html",
    ),
];

/// One of each kind, for the normal run; those without an environment of their own first.
const REPRESENTATIVES: [&str; 6] = [
    "c12_static_dir_missing",
    "c16_celery_py_shadows",
    "c20_crlf_start_script",
    "c25_relative_import_run_as_script",
    "c26_port_taken_by_a_stranger",
    "c31_compose_environment",
];

#[test]
fn a_broken_boot_of_each_kind_is_told_and_its_control_is_go() {
    compare(|case| REPRESENTATIVES.contains(&case.name));
}

#[test]
#[ignore = "long: every case, with eight environments"]
fn every_broken_boot_is_told_and_its_control_is_go() {
    compare(|_| true);
}

/// Controls that need nothing but the system or a small environment: they are booted in the normal run too.
const BOOTED: [&str; 2] = ["c20_crlf_start_script", "c31_compose_environment"];

#[test]
fn a_control_boots_and_answers() {
    boot_controls(|case| BOOTED.contains(&case.name));
}

#[test]
#[ignore = "long: every control is booted"]
fn every_control_boots_and_answers() {
    boot_controls(|_| true);
}

/// Boots the repaired versions and asks what `case.json` asks; what is not as it says is listed.
fn boot_controls(wanted: impl Fn(&Case) -> bool) {
    let mut table = String::new();
    for case in CASES.iter().filter(|case| wanted(case)) {
        let Some(prepared) = prepare(case, "fixed") else {
            continue;
        };
        if let Some(why) = boots(&prepared) {
            let _ = writeln!(table, "{:38} {why}", case.name);
        }
    }
    assert!(table.is_empty(), "\n{table}");
}

/// Why a control does not boot, or does not answer.
fn boots(prepared: &Prepared) -> Option<String> {
    let Prepared {
        workspace, told, ..
    } = prepared;
    workspace.ubs(&["init"]).expect(0);
    if told["control"]["boots"] != true {
        return None;
    }
    let run = workspace.ubs(&["boot", "--detach", "--until-ready"]);
    let mut why =
        (run.code != 0).then(|| format!("exit {}: {}{}", run.code, run.stdout, run.stderr));
    if let (None, Some(url)) = (&why, told["control"]["probe"].as_str()) {
        let out = Command::new("curl")
            .args(["-sf", "--max-time", "5", url])
            .output();
        let answers = out.is_ok_and(|out| out.status.success());
        why = (!answers).then(|| format!("{url} does not answer"));
    }
    workspace.ubs(&["stop"]);
    let in_order = || workspace.read("state.txt").contains("closed in order");
    if why.is_none() && told["control"]["after_stop"].is_string() && !in_order() {
        why = Some("it did not close in order".to_owned());
    }
    why
}

#[test]
#[ignore = "long: an environment of its own"]
fn a_master_whose_workers_die_is_not_told_up() {
    // The pre-flight finds it already; without one, the boot has to.
    let case = CASES.iter().find(|case| case.name.starts_with("c29_"));
    let Some(prepared) = prepare(case.expect("a case"), "broken") else {
        return;
    };
    prepared.workspace.ubs(&["init"]).expect(0);
    let arguments = ["boot", "--mode", "layered", "--until-ready", "--json"];
    let run = prepared.workspace.ubs(&arguments).expect(1);
    assert!(
        run.stdout.contains("invalid literal for int()"),
        "{}",
        run.stdout
    );
}

/// Runs the cases, prints the table, and fails if any line of it is not as expected.
fn compare(wanted: impl Fn(&Case) -> bool) {
    let mut table = String::new();
    let mut failed = 0;
    for case in CASES.iter().filter(|case| wanted(case)) {
        let (broken, fixed) = (look(case, "broken"), look(case, "fixed"));
        let (Some(broken), Some(fixed)) = (broken, fixed) else {
            continue;
        };
        for (side, problem) in [("broken", case.differs(&broken)), ("fixed", not_go(&fixed))] {
            failed += usize::from(problem.is_some());
            let problem = problem.unwrap_or_else(|| "as expected".to_owned());
            let _ = writeln!(table, "{:38} {side:6} {problem}", case.name);
        }
    }
    println!("{table}");
    assert_eq!(failed, 0, "\n{table}");
}

impl Case {
    /// What is not as expected of the broken version.
    fn differs(&self, report: &Value) -> Option<String> {
        if report["decision"] != self.decision {
            return Some(format!(
                "{} instead of {}: {report:#}",
                report["decision"], self.decision
            ));
        }
        let findings = findings(report);
        let told = |finding: &&Value| {
            finding["remedy"]
                .as_str()
                .is_some_and(|r| r.contains(self.never))
        };
        if let Some(finding) = findings.iter().copied().find(|finding| told(finding)) {
            return Some(format!("says {:?}: {finding:#}", self.never));
        }
        let (code, place, remedy) = self.says?;
        let is_it = |finding: &Value| {
            finding["code"] == code
                && place_of(finding).starts_with(place)
                && finding["remedy"]
                    .as_str()
                    .is_some_and(|r| r.contains(remedy))
        };
        if findings.iter().any(|finding| is_it(finding)) {
            return None;
        }
        Some(format!("no {code} at {place} with {remedy:?}: {report:#}"))
    }
}

fn findings(report: &Value) -> Vec<&Value> {
    let checks = report["checks"].as_array().into_iter().flatten();
    checks
        .flat_map(|check| check["findings"].as_array().into_iter().flatten())
        .collect()
}

fn place_of(finding: &Value) -> String {
    let location = &finding["location"];
    format!(
        "{}:{}",
        location["file"].as_str().unwrap_or(""),
        location["line"]
    )
}

/// What keeps the control from being GO.
fn not_go(report: &Value) -> Option<String> {
    let is_good = ["go", "go_unproven"]
        .iter()
        .any(|good| report["decision"] == *good);
    let bad = |finding: &&Value| finding["severity"] == "critical";
    (!is_good || findings(report).iter().any(bad)).then(|| format!("{report:#}"))
}

/// The report of a pre-flight of one side of a case; `None` after saying why it is skipped.
fn look(case: &Case, side: &str) -> Option<Value> {
    let prepared = prepare(case, side)?;
    Some(report_of(&prepared.workspace))
}

/// One side of a case in a workspace, with what it needs around it.
struct Prepared {
    workspace: Workspace,
    told: Value,
    _server: Option<Server>,
    _stranger: Option<Ended>,
}

/// Prepares one side of a case; `None` after saying why it is skipped.
fn prepare(case: &Case, side: &str) -> Option<Prepared> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/boots")
        .join(case.name);
    let text = fs::read_to_string(from.join("case.json")).expect("a case");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let python = environment(&told, side)?;
    let mut workspace = Workspace::new();
    copy(&from.join(side), workspace.root());
    let bin = python
        .parent()
        .expect("its directory")
        .display()
        .to_string();
    let home = python
        .ancestors()
        .nth(2)
        .expect("its environment")
        .display()
        .to_string();
    workspace.set_env("PATH", &format!("{bin}:/usr/bin:/bin"));
    workspace.set_env("VIRTUAL_ENV", &home);
    let server = if told["postgres"] == true {
        Some(Server::start()?)
    } else {
        None
    };
    if let Some(server) = &server {
        let moved = format!("127.0.0.1:{}", server.port);
        for file in [".env", "setup.sh"] {
            let text = workspace.read(file).replace("127.0.0.1:55433", &moved);
            workspace.write(file, &text);
        }
    }
    if workspace.path("setup.sh").exists() {
        let url = server
            .as_ref()
            .map(|server| server.url("postgresql", "postgres"));
        let mut setup = Command::new("sh");
        setup
            .arg("setup.sh")
            .current_dir(workspace.root())
            .env("PATH", format!("{bin}:/usr/bin:/bin"));
        if let Some(url) = &url {
            setup.env("PGURL", url);
        }
        let out = setup.output().expect("sh runs");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let stranger = stranger(&told, side, &workspace, &python);
    Some(Prepared {
        workspace,
        told,
        _server: server,
        _stranger: stranger,
    })
}

fn report_of(workspace: &Workspace) -> Value {
    workspace.ubs(&["init"]).expect(0);
    let run: Run = workspace.ubs(&["preflight", "--json"]);
    run.json()
}

/// A process of the test; ended with it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who holds the port of the broken version.
fn stranger(told: &Value, side: &str, workspace: &Workspace, python: &Path) -> Option<Ended> {
    let script = told["stranger"].as_str().filter(|_| side == "broken")?;
    let child = Command::new(python)
        .arg(workspace.path(script))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let child = Ended(child);
    let begun = Instant::now();
    while TcpStream::connect("127.0.0.1:18126").is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(child)
}

/// The interpreter of the environment of one side.
fn environment(told: &Value, side: &str) -> Option<PathBuf> {
    let name = told["venv_fixed"].as_str().filter(|_| side == "fixed");
    let name = name
        .or_else(|| told["venv"].as_str())
        .expect("an environment");
    let web = &MAIN[..2];
    let with = |more: &[&'static str]| [web, more].concat();
    let packages: Vec<&str> = match name {
        "main" => MAIN.to_vec(),
        "bcrypt5" => with(&["passlib==1.7.4", "bcrypt==5.0.0"]),
        "bcrypt4" => with(&["passlib==1.7.4", "bcrypt==4.0.1"]),
        // What an install that pins Flask alone brought when the report was written.
        "flask22w3" => vec!["flask==2.2.2", "werkzeug==3.0.1"],
        "flask22w2" => vec!["flask==2.2.2", "werkzeug==2.3.8"],
        "setuptools82" => vec!["apscheduler==3.9.1", "setuptools==82.0.0"],
        "setuptools81" => vec!["apscheduler==3.9.1", "setuptools==81.0.0"],
        "py313" => vec![],
        "hand" => HAND.to_vec(),
        "workers" => WORKERS.to_vec(),
        other => panic!("no environment {other}"),
    };
    let version = told["python"].as_str().expect("a version");
    let Some(program) = venv::python_of_version(version) else {
        skipped(&format!("Python {version}"), "no such program");
        return None;
    };
    venv::python_of(&program, &packages)
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(status.expect("cp runs").success());
}
