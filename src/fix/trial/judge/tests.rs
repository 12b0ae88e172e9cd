//! What holds, and what only looks so.

use super::*;
use crate::domain::finding::{CheckName, Finding, Measured};
use crate::domain::remedy::Cause;
use crate::domain::signature::sign_finding;

fn report(name: CheckName, findings: Vec<Finding>) -> CheckReport {
    CheckReport {
        name,
        status: CheckStatus::of(&findings),
        duration_ms: 0,
        summary: String::new(),
        findings,
        measured: Measured::Nothing,
    }
}

fn verdict_of(before: Vec<CheckReport>, after: Vec<CheckReport>) -> (bool, String) {
    let finding = before[0].findings[0].clone();
    let failure = Failure::of_finding(before[0].name, &finding);
    let Judgement { holds, reason, .. } = judge(&sign_finding(&finding), &failure, &before, &after);
    (holds, reason)
}

fn broken(code: &str, subject: &str) -> Finding {
    Finding::new(code, Severity::Critical, subject, "broken")
}

#[test]
fn a_fix_holds_when_its_failure_is_gone_even_if_its_check_now_sees_more() {
    let before = vec![report(
        CheckName::Schema,
        vec![broken("schema.duplicate_table", "m")],
    )];
    let after = vec![report(
        CheckName::Schema,
        vec![broken("schema.missing_table", "s")],
    )];
    assert!(verdict_of(before, after).0);
}

#[test]
fn a_fix_that_breaks_another_check_does_not_hold() {
    let before = vec![
        report(CheckName::Schema, vec![broken("schema.missing_table", "s")]),
        report(CheckName::Rehearsal, vec![]),
    ];
    let after = vec![
        report(CheckName::Schema, vec![]),
        report(
            CheckName::Rehearsal,
            vec![broken("rehearsal.failed", "apis")],
        ),
    ];
    let (holds, reason) = verdict_of(before, after);
    assert!(!holds);
    assert!(reason.contains("rehearsal check got worse"), "{reason}");
}

#[test]
fn a_program_is_mended_where_no_variable_is_declared_either() {
    let broken = vec![broken("config.program_missing", "web")];
    let before = vec![report(CheckName::Config, broken)];
    for (status, holds) in [(CheckStatus::Skipped, true), (CheckStatus::Error, false)] {
        let mut after = report(CheckName::Config, vec![]);
        after.status = status;
        let finding = &before[0].findings[0];
        let failure = Failure::of_finding(CheckName::Config, finding);
        let judged = judge(&sign_finding(finding), &failure, &before, &[after]);
        assert_eq!(judged.holds, holds, "{}", judged.reason);
        assert!(!holds || judged.doubts.is_empty(), "{:?}", judged.doubts);
    }
}

#[test]
fn a_failure_that_only_changes_its_words_is_still_there() {
    let mut first = broken("rehearsal.failed", "apis");
    first.cause = Some(Cause::Exception("ValueError: a".into()));
    let mut second = first.clone();
    second.cause = Some(Cause::Exception("TypeError: b".into()));
    let before = vec![report(CheckName::Rehearsal, vec![first])];
    let after = vec![report(CheckName::Rehearsal, vec![second])];
    assert!(!verdict_of(before, after).0);
}

fn layer(name: &str, outcome: RehearsalOutcome, files: &[&str]) -> LayerRehearsal {
    LayerRehearsal {
        layer: name.to_owned(),
        outcome,
        duration_ms: 0,
        seen: Some(DryRun {
            files: files.iter().map(|f| (*f).to_owned()).collect(),
            ..DryRun::default()
        }),
    }
}

fn rehearsed(findings: Vec<Finding>, layers: Vec<LayerRehearsal>) -> CheckReport {
    let passed = layers
        .iter()
        .filter(|l| l.outcome == RehearsalOutcome::Pass)
        .count();
    let mut report = report(CheckName::Rehearsal, findings);
    report.measured = Measured::Rehearsal {
        layers_tested: u32::try_from(layers.len()).unwrap(),
        layers_passed: u32::try_from(passed).unwrap(),
        issues: vec![],
        layers,
        isolation: vec![],
    };
    report
}

fn of_layer(code: &str, layer: &str, exception: &str) -> Finding {
    let mut finding = broken(code, layer)
        .cause(Cause::Exception(exception.to_owned()))
        .at("apis/chat.py", 3, 0);
    finding.layer = Some(layer.to_owned());
    finding
}

/// The layer `apis` fails with an import; what does the trial's report make of it?
fn after_import_error(after: CheckReport) -> Judgement {
    let finding = of_layer(
        "rehearsal.import_error",
        "apis",
        "ImportError: cannot import name 'x' from 'y'",
    );
    let failure = Failure::of_finding(CheckName::Rehearsal, &finding);
    let signature = sign_finding(&finding);
    let run = layer("apis", RehearsalOutcome::Failed, &["apis/__init__.py"]);
    let before = vec![rehearsed(vec![finding], vec![run])];
    judge(&signature, &failure, &before, &[after])
}

#[test]
fn an_import_is_mended_only_if_the_layer_passes_and_imports_the_file() {
    use RehearsalOutcome::{Failed, Pass};
    let all = ["apis/__init__.py", "apis/chat.py"];
    let good = after_import_error(rehearsed(vec![], vec![layer("apis", Pass, &all)]));
    assert!(good.holds && good.doubts.is_empty(), "{good:?}");
    // A side effect that is seen only now was always there.
    let aside = Finding::new(
        "rehearsal.side_effect",
        Severity::Warning,
        "apis",
        "starts a thread",
    );
    let run = layer("apis", Pass, &all);
    let mut aside = aside;
    aside.layer = Some("apis".into());
    let good = after_import_error(rehearsed(vec![aside], vec![run]));
    assert!(good.holds, "{good:?}");

    for (what, after) in [
        (
            "raise SystemExit(1)",
            rehearsed(
                vec![of_layer("rehearsal.failed", "apis", "SystemExit: 1")],
                vec![layer("apis", Failed, &["apis/__init__.py"])],
            ),
        ),
        (
            "failed without a finding",
            rehearsed(vec![], vec![layer("apis", Failed, &all)]),
        ),
        (
            "except Exception: pass around the import",
            rehearsed(vec![], vec![layer("apis", Pass, &["apis/__init__.py"])]),
        ),
    ] {
        let judged = after_import_error(after);
        assert!(!judged.holds, "{what}: {judged:?}");
    }
}

#[test]
fn an_optional_layer_that_fails_in_another_way_is_not_mended() {
    let mut finding = of_layer("rehearsal.import_error", "apis", "ImportError: a");
    finding.severity = Severity::Warning;
    let mut other = of_layer("rehearsal.failed", "apis", "SystemExit: 1");
    other.severity = Severity::Warning;
    let failed = || layer("apis", RehearsalOutcome::Failed, &[]);
    let before = vec![rehearsed(vec![finding], vec![failed()])];
    let after = vec![rehearsed(vec![other], vec![failed()])];
    assert!(!verdict_of(before, after).0);
}

#[test]
fn models_that_no_longer_load_mend_no_duplicate() {
    let before = vec![report(
        CheckName::Schema,
        vec![broken("schema.duplicate_table", "m")],
    )];
    let after = vec![report(
        CheckName::Schema,
        vec![broken("schema.models_unloadable", "main")],
    )];
    assert!(!verdict_of(before, after).0);
}

#[test]
fn a_new_finding_beside_the_mended_one_does_not_hold() {
    let old = broken("schema.missing_table", "s");
    let beside = broken("schema.missing_index", "t.i");
    let before = vec![report(CheckName::Schema, vec![old.clone(), beside.clone()])];
    // What was there before is nobody's fault.
    let same = vec![report(CheckName::Schema, vec![beside])];
    assert!(verdict_of(before.clone(), same).0);
    let mut new = broken("schema.missing_column", "t.c");
    new.severity = Severity::Warning;
    let (holds, reason) = verdict_of(before, vec![report(CheckName::Schema, vec![new])]);
    assert!(
        !holds && reason.contains("did not report before"),
        "{reason}"
    );
}

#[test]
fn less_coverage_is_a_doubt_that_says_what_is_missing() {
    let schema = |tables_expected| CheckReport {
        measured: Measured::Schema {
            tables_expected,
            tables_live: 4,
        },
        ..report(CheckName::Schema, vec![])
    };
    let routes = |routes| CheckReport {
        measured: Measured::Registration {
            expected: 2,
            mounted: 2,
            routes,
            coverage_per_mille: 1000,
        },
        ..report(CheckName::Registration, vec![])
    };
    let run = |files: &[&str]| rehearsed(vec![], vec![layer("a", RehearsalOutcome::Pass, files)]);
    let finding = broken("config.missing", "TOKEN");
    let failure = Failure::of_finding(CheckName::Config, &finding);
    let judged = judge(
        &sign_finding(&finding),
        &failure,
        &vec![
            report(CheckName::Config, vec![finding.clone()]),
            schema(4),
            routes(9),
            run(&["a.py", "b.py"]),
        ],
        &[
            report(CheckName::Config, vec![]),
            schema(3),
            routes(7),
            run(&["a.py", "c.py"]),
        ],
    );
    assert!(judged.holds);
    assert_eq!(
        judged.doubts,
        [
            "the schema check looks at 3 expected tables instead of 4",
            "the registration check looks at 7 routes instead of 9",
            "the dry run of layer a no longer imports b.py",
        ]
    );
}

#[test]
fn a_declared_check_that_no_longer_runs_is_a_doubt() {
    let declared = |status| {
        let run = crate::domain::finding::DeclaredRun {
            name: "prisma".into(),
            status,
            duration_ms: 1,
            results: 1,
            summary: String::new(),
        };
        CheckReport {
            measured: Measured::Declared { checks: vec![run] },
            ..report(CheckName::Declared, vec![])
        }
    };
    let finding = broken("check.prisma.drift", "users");
    let failure = Failure::of_finding(CheckName::Declared, &finding);
    let mut before = declared(CheckStatus::Critical);
    before.findings.push(finding.clone());
    let judged = |after| {
        let (before, after) = (vec![before.clone()], [declared(after)]);
        let judged = judge(&sign_finding(&finding), &failure, &before, &after);
        [judged.unseen, judged.doubts].concat()
    };
    assert_eq!(judged(CheckStatus::Healthy), [""; 0]);
    assert_eq!(
        judged(CheckStatus::Skipped),
        [
            "the check that reported check.prisma.drift does not run in a trial",
            "the declared check looks at 0 declared checks called prisma instead of 1",
        ]
    );
}

#[test]
fn a_declared_check_that_only_a_new_start_can_mend_is_unseen_and_nothing_else_may_be_worse() {
    let finding = broken("check.cache.exit", "cache");
    let failure = Failure::of_finding(CheckName::Declared, &finding);
    let before = vec![
        report(CheckName::Declared, vec![finding]),
        report(CheckName::Schema, vec![]),
    ];
    let judged = judge_before_start(&failure, &before, &before, "it is still there");
    assert!(judged.holds && judged.doubts.is_empty(), "{judged:?}");
    assert!(judged.unseen[0].contains("it is still there"), "{judged:?}");
    let mut after = before.clone();
    after[1] = report(CheckName::Schema, vec![broken("schema.missing_table", "s")]);
    assert!(!judge_before_start(&failure, &before, &after, "").holds);
}

#[test]
fn a_foreign_key_may_appear_once_the_table_that_it_leads_to_is_there() {
    let table = || broken("schema.missing_table", "owners").fact("table", "owners");
    let key = |to: &str| {
        let severity = Severity::Warning;
        let code = "schema.missing_constraint";
        Finding::new(code, severity, "orders(owner_id)", "missing").fact(LEADS_TO, to)
    };
    let verdict = |to: &str| {
        let before = vec![report(CheckName::Schema, vec![table()])];
        let after = vec![report(CheckName::Schema, vec![key(to)])];
        verdict_of(before, after).0
    };
    assert!(verdict("owners"));
    assert!(!verdict("shops"));
}

#[test]
fn once_a_database_can_be_opened_its_migrations_are_the_next_step() {
    let unreachable = broken("schema.unreachable", "main");
    let waits = broken("schema.not_migrated", "main");
    let by_us = waits.clone().fix(Remedy::Migrate {
        schema: "main".into(),
        tool: crate::domain::remedy::MigrationTool::Alembic,
        target: "heads".into(),
    });
    let verdict = |next: Finding| {
        let before = vec![report(CheckName::Schema, vec![unreachable.clone()])];
        verdict_of(before, vec![report(CheckName::Schema, vec![next])])
    };
    assert!(verdict(by_us).0);
    let (holds, reason) = verdict(waits);
    assert!(!holds, "{reason}");
}
