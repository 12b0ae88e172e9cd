//! The whole report, beside the lines of the original's sample.

use super::*;
use crate::domain::finding::{Location, RehearsalOutcome, VAULT_STATE};
use crate::domain::remedy::Cause;

/// What the original prints for a system that is well, in its order.
const SAMPLE: [&str; 15] = [
    "====",
    "[CHECK 1/4] Configuration & Secrets...",
    "    [LINT] Secrets vault: Accessible",
    "    Config healthy",
    "[CHECK 2/4] Schema Integrity...",
    "    Schema healthy",
    "[CHECK 3/4] Dependency Health (Rehearsal)...",
    "    [REHEARSAL] database: PASS",
    "    [REHEARSAL] logging: PASS",
    "    [REHEARSAL] governance: PASS",
    "    [REHEARSAL] apis: PASS",
    "    All dependencies healthy",
    "[CHECK 4/4] Service Registration...",
    "    All services registered",
    "GO FOR BOOT: All critical checks passed",
];
const LAYERS: [&str; 4] = ["database", "logging", "governance", "apis"];

fn report(
    name: CheckName,
    summary: &str,
    measured: Measured,
    findings: Vec<Finding>,
) -> CheckReport {
    CheckReport {
        name,
        status: CheckStatus::of(&findings),
        duration_ms: 12,
        summary: summary.to_owned(),
        findings,
        measured,
    }
}

fn rehearsed(failed: Option<&str>) -> Measured {
    let layers = LAYERS.map(|layer| LayerRehearsal {
        layer: layer.to_owned(),
        outcome: match failed == Some(layer) {
            true => RehearsalOutcome::Failed,
            false => RehearsalOutcome::Pass,
        },
        duration_ms: 340,
        seen: None,
    });
    Measured::Rehearsal {
        layers_tested: 4,
        layers_passed: 4 - u32::from(failed.is_some()),
        issues: Vec::new(),
        layers: layers.into(),
        isolation: Vec::new(),
    }
}

fn registered(mounted: u32) -> Measured {
    Measured::Registration {
        expected: 9,
        mounted,
        routes: 31,
        coverage_per_mille: mounted * 1000 / 9,
    }
}

/// All four checks, each well.
fn healthy() -> Vec<CheckReport> {
    let config = Measured::Config {
        declared: 4,
        present: 4,
    };
    let schema = Measured::Schema {
        tables_expected: 12,
        tables_live: 12,
    };
    let vault = format!("4 of 4 variables are set{VAULT_STATE}Accessible (2 keys)");
    let routes = "31 routes, 9 of 9 services mounted (100.0 %)";
    vec![
        report(CheckName::Config, &vault, config, vec![]),
        report(
            CheckName::Schema,
            "12 tables expected, 12 live",
            schema,
            vec![],
        ),
        report(
            CheckName::Rehearsal,
            "4 of 4 layers passed",
            rehearsed(None),
            vec![],
        ),
        report(CheckName::Registration, routes, registered(9), vec![]),
    ]
}

fn found(
    code: &str,
    severity: Severity,
    subject: &str,
    message: &str,
    place: Option<(&str, u32)>,
) -> Finding {
    let mut found = Finding::new(code, severity, subject, message);
    found.location = place.map(|(file, line)| Location {
        file: file.to_owned(),
        line,
        column: 0,
    });
    found
}

fn shown(reports: &[CheckReport], gaps: &[NoLook]) -> String {
    let ui = Ui {
        json: false,
        quiet: false,
        verbose: false,
        paint: render::Paint::new(false),
        width: 80,
        progress: false,
    };
    let text = text(&ui, "shop", reports, gaps, decide_go(reports));
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    text
}

#[test]
fn a_go_reads_like_the_originals_sample() {
    let text = shown(&healthy(), &[]);
    let mut lines = text.lines();
    for wanted in SAMPLE {
        assert!(
            lines.any(|line| line.starts_with(wanted)),
            "no {wanted:?} in its place:\n{text}"
        );
    }
    assert_eq!(lines.next(), None, "the verdict is the last line");
    insta::assert_snapshot!("go", text);
}

#[test]
fn a_go_with_warnings_and_a_layer_that_fails_goes_on() {
    let mut reports = healthy();
    let mut broken = found(
        "rehearsal.import_error",
        Severity::Warning,
        "logging",
        "layer logging: ModuleNotFoundError: No module named 'structlog'",
        Some(("backend/logs.py", 3)),
    );
    broken.remedy = Some("run pip install structlog".into());
    reports[2] = report(
        CheckName::Rehearsal,
        "3 of 4 layers passed",
        rehearsed(Some("logging")),
        vec![broken],
    );
    reports[1] = CheckReport {
        status: CheckStatus::Skipped,
        summary: "the manifest has no [[schema]] section".into(),
        measured: Measured::Nothing,
        ..reports[1].clone()
    };
    let gap = NoLook {
        what: "service",
        name: "beat".into(),
        why: "not probed: no `ready`".into(),
        acknowledged: false,
    };
    insta::assert_snapshot!("go_degraded", shown(&reports, &[gap]));
}

#[test]
fn a_no_go_names_its_ground() {
    let mut reports = healthy();
    let mut placeholder = found(
        "config.placeholder",
        Severity::Critical,
        "SECRET_KEY",
        "SECRET_KEY is still a placeholder: its value is a well-known one",
        Some((".env", 2)),
    );
    placeholder.remedy = Some("set SECRET_KEY in .env to its real value".into());
    let note = found(
        "config.unused",
        Severity::Info,
        "OLD",
        "nothing reads OLD",
        None,
    );
    reports[0].findings = vec![placeholder, note];
    let mut table = found(
        "schema.missing_table",
        Severity::Critical,
        "security_events",
        "table security_events is missing in database main (data/app.db)",
        Some(("backend/models/security.py", 8)),
    );
    table.remedy = Some("run alembic upgrade head".into());
    reports[1].findings = vec![table];
    reports[1].summary = "12 tables expected, 11 live: 1 missing table".into();
    // One exception in two layers is one line.
    let exception = "ImportError: cannot import name 'Base' from 'backend.models'";
    let layers = ["governance", "apis"].map(|layer| {
        let mut found = found(
            "rehearsal.import_error",
            Severity::Critical,
            layer,
            &format!("layer {layer}: {exception}"),
            Some(("backend/governance.py", 4)),
        );
        found.cause = Some(Cause::Exception(exception.to_owned()));
        found
    });
    reports[2].findings = layers.into();
    reports[2].summary = "3 of 4 layers passed".into();
    reports[2].measured = rehearsed(Some("governance"));
    let chat = found(
        "registration.unmounted_router",
        Severity::Warning,
        "chat",
        "the router of chat is never mounted",
        Some(("backend/routers/chat.py", 5)),
    );
    reports[3].findings = vec![chat];
    reports[3].summary = "31 routes, 8 of 9 services mounted (88.8 %)".into();
    reports[3].measured = registered(8);
    for report in &mut reports {
        report.status = CheckStatus::of(&report.findings);
    }
    let text = shown(&reports, &[]);
    assert!(
        text.lines()
            .rev()
            .nth(1)
            .is_some_and(|line| line.starts_with("NO-GO: ")),
        "{text}"
    );
    insta::assert_snapshot!("no_go", text);
}
