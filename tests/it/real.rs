//! Applications that nobody here wrote, as an index of packages has them: `ubs init` and `ubs
//! preflight` in each, against the truth that was written down for it.
//!
//! `tests/real/NAME/truth.toml` says what is wrong with it, argued; see `support/real.rs`.

use std::collections::BTreeSet;

use crate::support::real::{check_out_in, strings};
use serde_json::Value;
use toml_edit::Table;

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
