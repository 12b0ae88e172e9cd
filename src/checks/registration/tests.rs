//! Real FastAPI applications, of the pinned version and of one that copies routes when it includes them.

mod frameworks;

use super::routes::without_names;
use crate::checks::testing::{App, only, problems, venv};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Measured, Severity};
use crate::domain::remedy::NEEDS_APPROVAL;

const USERS: &str = "from fastapi import APIRouter\nrouter = APIRouter(prefix='/users')\n\n\
    @router.get('/{id}')\ndef get(id: int): ...\n\n@router.post('')\ndef add(): ...\n";
const MAIN: &str = "from fastapi import FastAPI, WebSocket\nfrom fastapi.responses import JSONResponse\n\
    from starlette.routing import Mount\nfrom api import users, nested\n\n\
    app = FastAPI()\napp.include_router(users.router, prefix='/api')\napp.include_router(nested.outer)\n\
    sub = FastAPI()\n\n@sub.get('/x')\ndef x(): ...\n\napp.mount('/api/files', sub)\n\n\
    @app.websocket('/api/live')\nasync def live(socket: WebSocket): ...\n";
const NESTED: &str = "from fastapi import APIRouter\ninner = APIRouter(prefix='/deep')\n\n\
    @inner.get('/a')\ndef a(): ...\n\nouter = APIRouter(prefix='/api')\n\
    outer.include_router(inner)\n";

fn app_with(packages: &[&str]) -> Option<App> {
    let python = venv::python_with(packages)?;
    Some(
        App::with_interpreter(Some(python))
            .file("api/__init__.py", "")
            .file("api/users.py", USERS)
            .file("api/nested.py", NESTED)
            .file("main.py", MAIN),
    )
}

fn check(app: &App) -> CheckReport {
    app.check(CheckName::Registration)
}

#[test]
fn everything_mounted_is_full_coverage() {
    for packages in [&venv::PACKAGES[..], &venv::OLD_PACKAGES[..]] {
        let Some(app) = app_with(packages) else {
            return;
        };
        let app = app.registration("main:app", &["users", "deep", "files", "live"]);
        let report = check(&app);
        assert_eq!(report.findings, vec![], "{packages:?}");
        assert_eq!(report.status, CheckStatus::Healthy);
        assert_eq!(report.summary, "4 of 4 services mounted (100.0 %)");
        assert!(
            matches!(
                report.measured,
                Measured::Registration { expected: 4, mounted: 4, coverage_per_mille: 1000, routes } if routes >= 9
            ),
            "{report:#?}"
        );
    }
}

#[test]
fn a_service_is_looked_for_below_its_prefix() {
    let Some(app) = app_with(&venv::PACKAGES) else {
        return;
    };
    let mut app = app.registration("main:app", &["users"]);
    let before = problems(&check(&app));
    let registration = app.manifest.registration.as_mut().unwrap();
    registration.services[0].prefix = "/elsewhere/users".into();
    let after = problems(&check(&app));
    let lacking = |found: &[String]| found.iter().any(|one| one.ends_with(" users"));
    assert!(!lacking(&before) && lacking(&after), "{before:?} {after:?}");
}

#[test]
fn a_router_that_nobody_mounted_is_named_once() {
    for packages in [&venv::PACKAGES[..], &venv::OLD_PACKAGES[..]] {
        let Some(app) = app_with(packages) else {
            return;
        };
        let app = app
            .file("api/reports.py", USERS.replace("/users", "/reports"))
            .file("api/billing/router.py", USERS.replace("/users", "/x"))
            .file("api/billing/__init__.py", "")
            .file("api/lost.py", format!("{USERS}\nempty = APIRouter()\nwrap = APIRouter()\nwrap.include_router(router)\n").replace("/users", "/lost"))
            .file("api/users.py", format!("{USERS}\nimport api.lost\n"))
            .registration("main:app", &["users", "reports", "billing", "ghosts"]);
        let report = check(&app);
        assert_eq!(
            problems(&report),
            [
                "registration.unmounted_router reports",
                "registration.unmounted_router billing",
                "registration.missing_service ghosts",
                "registration.unmounted_router wrap",
                "registration.unlisted_service api.nested",
            ]
        );
        assert_eq!(report.summary, "1 of 4 services mounted (25.0 %)");
        let reports = &report.findings[0];
        assert_eq!(reports.severity, Severity::Critical);
        assert_eq!(
            reports.location.as_ref().unwrap().to_string(),
            "api/reports.py:2"
        );
        let remedy = reports.remedy.as_deref().unwrap();
        assert!(
            remedy.starts_with(
                "import api.reports and add app.include_router(api.reports.router) in main"
            ),
            "{remedy}"
        );
        assert_eq!(report.findings[3].severity, Severity::Warning);
        let mut app = app;
        app.manifest.registration.as_mut().unwrap().min_coverage = 0.2;
        assert_eq!(check(&app).status, CheckStatus::Warning);
    }
}

#[test]
fn a_router_is_mounted_like_its_siblings_and_with_approval_where_that_is_open() {
    let Some(python) = venv::python_with(&venv::PACKAGES) else {
        return;
    };
    let module = |name: &str| USERS.replace("/users", &format!("/{name}"));
    // Mounted ones, the one that is not, the services that are wanted, and whether a person has to look.
    for (mounted, lost, wanted, asks) in [
        (
            &["alpha", "beta"][..],
            "gamma",
            &["alpha", "beta", "gamma"][..],
            false,
        ),
        (&["alpha", "beta"], "gamma", &["alpha", "beta"], true),
        (&["alpha"], "gamma", &["alpha", "gamma"], true),
        (&["alpha", "beta"], "admin", &[], true),
        (&["alpha", "beta"], "gamma", &[], false),
    ] {
        let includes: String = mounted
            .iter()
            .map(|name| format!("app.include_router({name}.router)\n"))
            .collect();
        let main = format!(
            "from fastapi import FastAPI\nfrom api import {}\napp = FastAPI()\n{includes}",
            mounted.join(", ")
        );
        let mut app = App::with_interpreter(Some(python.clone()))
            .file("api/__init__.py", "")
            .file("main.py", main)
            .file(&format!("api/{lost}.py"), module(lost));
        for name in mounted {
            app = app.file(&format!("api/{name}.py"), module(name));
        }
        let report = check(&app.registration("main:app", wanted));
        let finding = only(&report, "registration.unmounted_router");
        assert!(finding.fix.is_some(), "{finding:#?}");
        let found = finding.facts.contains_key(NEEDS_APPROVAL);
        assert_eq!(found, asks, "{mounted:?} {lost} {wanted:?}: {finding:#?}");
    }
}

#[test]
fn two_routes_for_one_path_are_reported_with_both_places() {
    let Some(app) = app_with(&venv::PACKAGES) else {
        return;
    };
    let app = app
        .file(
            "main.py",
            format!("{MAIN}\n@app.get('/api/users/{{name}}')\ndef other(name: str): ...\n\n@app.get('/items/{{a:path}}')\ndef p(a): ...\n\n@app.get('/items/{{a}}')\ndef q(a): ...\n"),
        )
        .registration("main:app", &["users"]);
    let report = check(&app);
    let finding = only(&report, "registration.duplicate_route");
    assert_eq!(finding.subject, "GET /api/users/{name}");
    assert!(
        finding.message.contains("get (api/users.py:4)"),
        "{}",
        finding.message
    );
    assert!(
        finding.message.contains("other (main.py:"),
        "{}",
        finding.message
    );
}

#[test]
fn factories_are_called_and_what_is_no_application_is_said() {
    let Some(app) = app_with(&venv::PACKAGES) else {
        return;
    };
    let app = app
        .file(
            "factory.py",
            "def create():\n    import main\n    return main.app\nnothing = 3\n",
        )
        .file("broken.py", "import not_installed\n")
        .file("exits.py", "import os\nos._exit(1)\n");
    let app = app.registration("factory:create", &["users", "deep"]);
    assert_eq!(check(&app).findings, vec![]);
    for (target, said) in [
        (
            "factory:nothing",
            "is no FastAPI, Starlette or Flask application, but int",
        ),
        ("factory:missing", "AttributeError"),
        (
            "broken:app",
            "ModuleNotFoundError: No module named 'not_installed' (broken.py:1)",
        ),
        ("exits:app", "exited with status 1"),
        ("gone:app", "No module named 'gone'"),
    ] {
        let mut app = app_with(&venv::PACKAGES).unwrap();
        app = app
            .file("factory.py", "nothing = 3\n")
            .file("broken.py", "import not_installed\n")
            .file("exits.py", "import os\nos._exit(1)\n")
            .registration(target, &["users"]);
        let report = check(&app);
        let finding = only(&report, "registration.app_unloadable");
        assert!(finding.message.contains(said), "{}", finding.message);
        assert_eq!(report.findings.len(), 1);
    }
    let bare = app_with(&venv::PACKAGES).unwrap();
    assert_eq!(check(&bare).status, CheckStatus::Skipped);
}

#[test]
fn parameters_do_not_tell_paths_apart_but_convertors_do() {
    assert_eq!(without_names("/a/{id}/b/{n:int}/"), "/a/{}/b/{int}/");
    assert_eq!(without_names("/a/{open"), "/a/{}");
    assert_eq!(without_names(""), "");
}
