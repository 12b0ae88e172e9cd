//! Applications that nobody here wrote, as an index of packages has them: `ubs init` and `ubs
//! preflight` in each, against the truth that was written down for it.
//!
//! `tests/real/NAME/truth.toml` says what is wrong with it, argued; see `support/real.rs`.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::Workspace;
use crate::support::real::{check_out_in, strings};
use serde_json::Value;
use toml_edit::Table;

/// An application answers after that long, on a busy machine.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// One defect that is truly there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Defect {
    severity: String,
    code: String,
    /// Empty where it has no place.
    file: String,
    line: u64,
}

impl Defect {
    fn of_truth(table: &Table) -> Self {
        let text = |key: &str| {
            let value = table.get(key).and_then(|value| value.as_str());
            value.unwrap_or_default().to_owned()
        };
        assert!(!text("why").is_empty(), "a defect is not argued: {table:?}");
        let line = table.get("line").and_then(|line| line.as_integer());
        Self {
            severity: text("severity"),
            code: text("code"),
            file: text("file"),
            line: u64::try_from(line.unwrap_or(0)).unwrap(),
        }
    }

    fn of_finding(finding: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            severity: text(&finding["severity"]),
            code: text(&finding["code"]),
            file: text(&finding["location"]["file"]),
            line: finding["location"]["line"].as_u64().unwrap_or(0),
        }
    }
}

/// `ubs init`, then `ubs preflight`, then everything is as the truth says.
#[track_caller]
fn check(name: &str) {
    let Some((workspace, truth, _)) = check_out_in("real", name) else {
        return;
    };
    workspace.ubs(&["init"]).expect(0);
    let manifest = workspace.read("ubs.toml");
    for wanted in strings(&truth, "manifest_has") {
        assert!(manifest.contains(wanted), "no `{wanted}` in:\n{manifest}");
    }
    let run = workspace.ubs(&["preflight", "--json"]);
    let report = run.json();
    let findings: Vec<&Value> = report["checks"]
        .as_array()
        .expect("the checks")
        .iter()
        .flat_map(|check| check["findings"].as_array().expect("its findings"))
        .collect();
    let seen: BTreeSet<Defect> = findings
        .iter()
        .filter(|finding| finding["severity"] != "info")
        // Optional variables that `ubs init` found, and that nobody has set here: no defect of the application.
        .filter(|finding| finding["code"] != "config.missing" || finding["severity"] != "warning")
        .map(|finding| Defect::of_finding(finding))
        .collect();
    let defects = truth
        .get("defect")
        .and_then(|list| list.as_array_of_tables());
    let wanted: BTreeSet<Defect> = defects
        .into_iter()
        .flatten()
        .map(Defect::of_truth)
        .collect();
    let told = || format!("{manifest}\n{findings:#?}");
    let false_alarms: Vec<_> = seen.difference(&wanted).collect();
    assert!(
        false_alarms.is_empty(),
        "not in the truth: {false_alarms:#?}\n{}",
        told()
    );
    let missed: Vec<_> = wanted.difference(&seen).collect();
    assert!(missed.is_empty(), "not found: {missed:#?}\n{}", told());
    assert_eq!(
        report["decision"].as_str(),
        truth["decision"].as_str(),
        "{}",
        told()
    );
    for finding in findings {
        assert_ne!(finding["message"], "");
        let says_what_to_do = finding["remedy"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        assert!(
            says_what_to_do || finding["severity"] == "info",
            "{finding:#}"
        );
    }
    if let Some(asked) = truth.get("boot").and_then(|boot| boot.as_table()) {
        boots(&workspace, asked);
    }
}

/// The manifest that `ubs init` wrote brings it up untouched, and it answers what `[boot]` says. Without a probe that
/// asks a page it may take a while.
#[track_caller]
fn boots(workspace: &Workspace, asked: &Table) {
    let text = |key: &str| asked[key].as_str().expect("a text");
    workspace
        .ubs(&["boot", "--detach", "--until-ready"])
        .expect(0);
    let begun = Instant::now();
    let answer = loop {
        let out = Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "10",
                "-w",
                "\n%{http_code}",
                text("url"),
            ])
            .output();
        let out = out.expect("curl runs");
        if out.status.success() || begun.elapsed() > ANSWER_WAIT {
            break String::from_utf8_lossy(&out.stdout).into_owned();
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    workspace.ubs(&["stop"]);
    let status = asked["status"].as_integer().expect("a status").to_string();
    assert!(
        answer.ends_with(&status) && answer.contains(text("contains")),
        "{answer}"
    );
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn prefect_does_not_boot_and_the_place_is_named() {
    check("prefect");
}

#[test]
fn ihatemoney_a_flask_application_is_go() {
    check("ihatemoney");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn gns3_a_fastapi_application_is_go() {
    check("gns3");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn pretalx_a_django_application_is_go() {
    check("pretalx");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn lnbits_imports_a_name_that_a_library_dropped() {
    check("lnbits");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn optimade_an_installed_fastapi_application_answers_with_data() {
    check("optimade");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn glances_a_fastapi_application_behind_a_script_answers() {
    check("glances");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn fava_an_installed_flask_application_answers_with_data() {
    check("fava");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn sqlite_web_a_flask_application_behind_a_script_answers_with_data() {
    check("sqlite_web");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn pypiserver_an_installed_bottle_application_answers_with_data() {
    check("pypiserver");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn radicale_the_port_of_an_unusual_option_is_probed() {
    check("radicale");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn kinto_an_installed_pyramid_application_answers() {
    check("kinto");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn bepasty_a_flask_application_answers() {
    check("bepasty");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn isso_a_wsgi_application_with_a_database_answers() {
    check("isso");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn supysonic_a_flask_factory_with_a_database_answers() {
    check("supysonic");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn supysonic_defaults_the_directory_that_nothing_makes_is_named() {
    check("supysonic_defaults");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn timetagger_an_asgi_application_answers() {
    check("timetagger");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn celery_django_a_django_application_with_a_celery_worker_answers() {
    check("celery_django");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn huey_django_a_django_application_with_a_huey_consumer_answers() {
    check("huey_django");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn bugsink_a_django_application_with_two_databases_answers() {
    check("bugsink");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn bugsink_unset_settings_that_nobody_wrote_are_told_and_never_installed() {
    check("bugsink_unset");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn cashu_a_fastapi_application_with_a_database_answers_with_data() {
    check("cashu");
}
