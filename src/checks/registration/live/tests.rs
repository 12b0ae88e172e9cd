//! Documents and services of running systems, as data.

use super::*;
use crate::domain::finding::CheckStatus;

fn registration(services: &[&str]) -> Registration {
    Registration {
        app: None,
        openapi: Some("http://127.0.0.1:1/openapi.json".into()),
        services: services
            .iter()
            .map(|name| ExpectedService {
                name: (*name).into(),
                prefix: format!("/api/{name}"),
            })
            .collect(),
        min_coverage: 1.0,
        line: 1,
    }
}

fn run(services: &[&str], document: &str, before: Option<CheckReport>) -> CheckReport {
    let system = LiveSystem {
        before,
        document: Some(Ok(document.to_owned())),
        services: vec![LiveService {
            name: "api".into(),
            ..LiveService::default()
        }],
    };
    check_running(&registration(services), system, &Redactor::default(), 1)
}

fn codes(report: &CheckReport) -> Vec<String> {
    let findings = report.findings.iter();
    findings
        .map(|f| format!("{} {} {:?}", f.code, f.subject, f.severity))
        .collect()
}

#[test]
fn services_are_looked_for_below_servers_and_base_paths_too() {
    for (document, found) in [
        (r#"{"paths": {"/api/users/{id}": {"get": {}}}}"#, true),
        (
            r#"{"servers": [{"url": "https://host:1/api/"}], "paths": {"/users": {"get": {}}}}"#,
            true,
        ),
        (
            r#"{"servers": [{"url": "https://host"}], "paths": {"/users": {"get": {}}}}"#,
            false,
        ),
        (
            r#"{"swagger": "2.0", "basePath": "/api", "paths": {"/users": {"get": {}}}}"#,
            true,
        ),
        (
            r#"{"paths": {"/api/users2": {"get": {}}, "x-api": 3}}"#,
            false,
        ),
    ] {
        let report = run(&["users"], document, None);
        if found {
            assert_eq!(codes(&report), Vec::<String>::new(), "{document}");
            assert_eq!(
                report.summary,
                "1 of 1 service mounted (100.0 %), 1 of 1 alive"
            );
        } else {
            assert_eq!(
                codes(&report),
                ["registration.missing_service users Critical"],
                "{document}"
            );
        }
    }
}

#[test]
fn what_is_no_document_is_said_and_operations_are_unique() {
    for (document, said) in [
        ("<html>", "not JSON"),
        ("[]", "no `paths` object"),
        (r#"{"paths": []}"#, "no `paths` object"),
        ("", "not JSON"),
    ] {
        let report = run(&["users"], document, None);
        assert_eq!(report.status, CheckStatus::Critical);
        assert_eq!(report.findings[0].code, "registration.openapi_unreadable");
        assert!(report.findings[0].message.contains(said), "{report:?}");
    }
    let document = r#"{"paths": {
        "/api/users": {"get": {"operationId": "a"}, "post": {"operationId": "a"}},
        "/api/other": {"get": {"operationId": "b"}},
        "/api/third": {"get": {"operationId": "b\u001b[2J"}, "put": {"operationId": "b"}}}}"#;
    let report = run(&["users"], document, None);
    assert_eq!(
        codes(&report),
        [
            "registration.duplicate_operation b Warning",
            "registration.duplicate_operation a Info",
        ]
    );
    assert_eq!(
        report.findings[0].message,
        "the operation id b stands for GET /api/other and for PUT /api/third"
    );
}

fn before(missing: &[&str]) -> CheckReport {
    CheckReport {
        name: CheckName::Registration,
        status: CheckStatus::Healthy,
        duration_ms: 1,
        summary: "from the object".into(),
        findings: missing
            .iter()
            .map(|name| {
                Finding::new(
                    "registration.missing_service",
                    Severity::Critical,
                    *name,
                    "none",
                )
                .fact("prefix", "/x")
            })
            .collect(),
        measured: Measured::Registration {
            expected: 2,
            mounted: 2,
            routes: 3,
            coverage_per_mille: 1000,
        },
    }
}

#[test]
fn the_object_knows_hidden_routes_and_the_document_those_of_the_start() {
    let document = r#"{"paths": {"/api/users": {"get": {}}}}"#;
    let both = ["users", "hidden"];
    assert_eq!(
        codes(&run(&both, document, Some(before(&[])))),
        Vec::<String>::new()
    );
    assert_eq!(
        codes(&run(&both, document, Some(before(&["users", "hidden"])))),
        ["registration.missing_service hidden Critical"]
    );
    let report = run(&both, "garbage", Some(before(&[])));
    assert_eq!(report.status, CheckStatus::Warning);
    assert_eq!(report.summary, "from the object, 1 of 1 alive");
}

#[test]
fn services_that_are_not_alive_are_named() {
    let system = LiveSystem {
        before: Some(before(&[])),
        document: None,
        services: vec![
            LiveService {
                name: "api".into(),
                ..LiveService::default()
            },
            LiveService {
                name: "worker".into(),
                failure: Some("connection refused".into()),
                is_filed: false,
            },
            LiveService {
                name: "mail".into(),
                failure: Some("it failed".into()),
                is_filed: true,
            },
        ],
    };
    let report = check_running(&registration(&[]), system, &Redactor::default(), 1);
    assert_eq!(
        report.summary,
        "from the object, 1 of 3 alive (not worker, mail)"
    );
    assert_eq!(
        codes(&report),
        [
            "registration.service_not_alive worker Warning",
            "registration.service_not_alive mail Info",
        ]
    );
}
