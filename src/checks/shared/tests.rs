//! One import, several checks: the answers are those of separate runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::checks::testing::{App, rehearse, some_of};
use crate::domain::finding::{CheckReport, Finding, Measured};

const CHECKS: [CheckName; 3] = [
    CheckName::Schema,
    CheckName::Rehearsal,
    CheckName::Registration,
];

fn run(app: &App, checks: &[CheckName]) -> Vec<CheckReport> {
    let scratch = tempfile::tempdir().unwrap();
    crate::fix::run_checks(
        &crate::fix::CheckPlace {
            manifest: &app.manifest,
            root: app.root(),
            scratch: scratch.path(),
            state: Some(&app.root().join(".ubs")),
            process_env: &app.process,
            overrides: BTreeMap::new(),
            before_boot: false,
            is_live: false,
            earlier: &crate::checks::Earlier::default(),
        },
        checks,
    )
    .unwrap()
}

/// All checks side by side, and each alone.
fn shared_and_alone(app: &App) -> (Vec<CheckReport>, Vec<CheckReport>) {
    let alone = CHECKS
        .iter()
        .flat_map(|check| run(app, &[*check]))
        .collect();
    (run(app, &CHECKS), alone)
}

fn findings(reports: &[CheckReport]) -> Vec<Finding> {
    reports.iter().flat_map(|r| r.findings.clone()).collect()
}

fn application(extra: &str) -> Option<App> {
    let text = format!(
        "import secrets\nfrom fastapi import FastAPI\nfrom sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n\
         {extra}\n\
         TOKEN = secrets.token_hex(8)\nprint(TOKEN)\napp = FastAPI()\n\
         class Base(DeclarativeBase): pass\n\
         class Item(Base):\n    __tablename__ = 'items'\n    id: Mapped[int] = mapped_column(primary_key=True)\n\
         class Gone(Base):\n    __tablename__ = 'gone'\n    id: Mapped[int] = mapped_column(primary_key=True)\n\
         @app.get('/api/items')\ndef items(): pass\n"
    );
    Some(
        App::with_packages()?
            .file("main.py", text)
            .sqlite(
                "app.db",
                "CREATE TABLE items (id INTEGER NOT NULL, PRIMARY KEY (id))",
            )
            .schema("sqlite:///app.db", "main:Base")
            .registration("main:app", &["items", "users"])
            .imports("main"),
    )
}

#[test]
fn a_shared_import_gives_what_separate_ones_give() {
    let Some(app) = application("") else { return };
    let (shared, alone) = shared_and_alone(&app);
    assert_eq!(findings(&shared), findings(&alone));
    let codes: Vec<String> = findings(&shared)
        .into_iter()
        .map(|f| f.code.to_string())
        .collect();
    assert_eq!(
        codes,
        ["schema.missing_table", "registration.missing_service"]
    );
    assert_eq!(shared[2].measured, alone[2].measured);
}

#[test]
fn it_is_one_import() {
    // Both checks speak of the token that the dry run printed: they saw the same interpreter.
    let Some(app) = application("") else { return };
    let main = std::fs::read_to_string(app.root().join("main.py")).unwrap();
    let app = app.file(
        "main.py",
        main.replace("'/api/items'", "f'/twice/{TOKEN}'")
            + "@app.get(f'/twice/{TOKEN}')\ndef again(): pass\n",
    );
    let reports = run(&app, &CHECKS);
    let Measured::Rehearsal { layers, .. } = &reports[1].measured else {
        panic!("{reports:#?}")
    };
    let token = &layers[0].seen.as_ref().unwrap().printed[0];
    assert_eq!(token.len(), 16);
    let duplicate = reports[2]
        .findings
        .iter()
        .find(|f| f.code == "registration.duplicate_route")
        .unwrap();
    assert!(
        duplicate.message.contains(token.as_str()),
        "{}",
        duplicate.message
    );
}

#[test]
fn what_fails_fails_the_same_way() {
    let extras = [
        "raise ValueError('broken')",
        "import no_such_package_at_all",
        "import os; os._exit(3)",
        "import ctypes; ctypes.string_at(0)",
        "import sys; sys.exit(4)",
    ];
    for extra in some_of(&extras, 3) {
        let Some(app) = application(extra) else {
            return;
        };
        let (shared, alone) = shared_and_alone(&app);
        let reported = |reports: &[CheckReport]| -> Vec<(String, String)> {
            findings(reports)
                .into_iter()
                .map(|f| (f.code.to_string(), f.message))
                .collect()
        };
        assert_eq!(reported(&shared), reported(&alone), "{extra}");
        assert!(
            shared.iter().all(|report| report.status.blocks()),
            "{extra}"
        );
    }
}

#[test]
fn a_dry_run_that_serves_is_left_in_peace_by_what_the_application_left() {
    // Threads, children that come back here, replaced functions: the answers are the same.
    let Some(app) = application(
        "import os, threading, time, builtins, select, json\n\
         threading.Thread(target=time.sleep, args=(300,)).start()\n\
         os.fork()\n\
         builtins.dict = builtins.compile = json.loads = select.select = None\n",
    ) else {
        return;
    };
    let (shared, alone) = shared_and_alone(&app);
    let of = |reports: &[CheckReport]| -> Vec<String> {
        findings(reports)
            .into_iter()
            .map(|f| f.code.to_string())
            .collect()
    };
    assert_eq!(of(&shared), of(&alone));
    assert_eq!(shared[2].measured, alone[2].measured);
}

#[test]
fn only_a_lone_import_without_a_call_is_shared() {
    let Some(app) = App::plain() else { return };
    let app = app.registration("main:app", &[]).imports("main");
    let hosts =
        |app: &App, checks: &[CheckName]| SharedRuns::plan(&app.manifest, checks).hosts.len();
    assert_eq!(hosts(&app, &CHECKS), 1);
    assert_eq!(hosts(&app, &[CheckName::Rehearsal]), 0);
    assert_eq!(hosts(&app, &[CheckName::Registration]), 0);
    for change in [
        |r: &mut crate::manifest::Rehearse| r.imports.push("more".into()),
        |r: &mut crate::manifest::Rehearse| r.call = Some("main:go".into()),
        |r: &mut crate::manifest::Rehearse| r.network = true,
        |r: &mut crate::manifest::Rehearse| r.timeout_ms = 10,
        |r: &mut crate::manifest::Rehearse| r.imports = vec!["other".into()],
    ] {
        let mut changed = rehearse(&["main"]);
        change(&mut changed);
        let mut app = App::plain().unwrap().registration("main:app", &[]);
        app = app.layer("api", true, changed);
        assert_eq!(hosts(&app, &CHECKS), 0);
    }
}

#[test]
fn who_asks_a_run_that_never_comes_is_released() {
    let Some(app) = App::plain() else { return };
    let app = app.registration("main:app", &[]).imports("main");
    let shared = SharedRuns::plan(&app.manifest, &CHECKS);
    let host = shared.host_for("main").unwrap();
    std::thread::scope(|scope| {
        // More than a pipe takes: it waits in the middle of its question.
        let large = serde_json::json!({ "module": "main", "x": "y".repeat(1 << 20) });
        let asking = scope.spawn(move || host.ask("", &large).is_none());
        let small = serde_json::json!({ "module": "main" });
        let other = scope.spawn(move || host.ask("", &small).is_none());
        std::thread::sleep(Duration::from_millis(50));
        shared.release();
        assert!(asking.join().unwrap());
        assert!(other.join().unwrap());
    });
    assert!(host.ask("", &serde_json::json!({})).is_none());
}
