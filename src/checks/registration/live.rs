//! The registration check of the running system: what its OpenAPI document says, and which of the declared
//! services are alive.
//!
//! Pure: the engine, which knows the running system, brings the document and the states of the services.

use std::collections::BTreeMap;

use serde_json::Value;

use super::coverage::Coverage;
use super::routers::severity_of;
use super::routes::{Route, is_mounted};
use crate::checks::outcome::{CheckOutcome, finish_report};
use crate::domain::code::Code;
use crate::domain::finding::{CheckName, CheckReport, Finding, Measured, Severity};
use crate::domain::redact::Redactor;
use crate::manifest::{ExpectedService, Registration};

const VERBS: [&str; 9] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace", "query",
];
/// Names of services that a summary lists.
const NAMES_SHOWN_MAX: usize = 8;

/// A declared service of the running system.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveService {
    /// Its name.
    pub name: String,
    /// Why it is not alive; `None` if it is up, was ready, and its probe passed.
    pub failure: Option<String>,
    /// What failed is filed already, as the failure of its layer.
    pub is_filed: bool,
}

/// What the engine saw of the running system.
#[derive(Debug, Default)]
pub(crate) struct LiveSystem {
    /// What the check of the application object said, if there is one.
    pub before: Option<CheckReport>,
    /// The OpenAPI document, if the manifest names one, or why it cannot be had.
    pub document: Option<Result<String, String>>,
    /// Every declared service.
    pub services: Vec<LiveService>,
}

/// The paths of a document.
struct Document {
    routes: Vec<Route>,
    findings: Vec<Finding>,
}

/// Judges the running system.
#[must_use]
pub(crate) fn check_running(
    registration: &Registration,
    system: LiveSystem,
    redactor: &Redactor,
    duration_ms: u64,
) -> CheckReport {
    let mut outcome = match (&system.before, &system.document) {
        (Some(before), None) => from_object(before),
        (before, Some(document)) => from_document(registration, before.as_ref(), document),
        (None, None) => CheckOutcome::default(),
    };
    let dead: Vec<&LiveService> = system
        .services
        .iter()
        .filter(|service| service.failure.is_some())
        .collect();
    outcome.summary = format!(
        "{}{}{} of {} alive",
        outcome.summary,
        if outcome.summary.is_empty() { "" } else { ", " },
        system.services.len() - dead.len(),
        system.services.len()
    );
    if !dead.is_empty() {
        let names: Vec<&str> = dead
            .iter()
            .take(NAMES_SHOWN_MAX)
            .map(|service| service.name.as_str())
            .collect();
        let more = if dead.len() > names.len() {
            ", ..."
        } else {
            ""
        };
        outcome.summary = format!("{} (not {}{more})", outcome.summary, names.join(", "));
    }
    outcome
        .findings
        .extend(dead.into_iter().map(service_not_alive));
    finish_report(CheckName::Registration, outcome, redactor, duration_ms)
}

fn service_not_alive(service: &LiveService) -> Finding {
    let severity = if service.is_filed {
        Severity::Info
    } else {
        Severity::Warning
    };
    Finding::new(
        Code::RegistrationServiceNotAlive,
        severity,
        service.name.as_str(),
        format!(
            "service {} is not alive: {}",
            service.name,
            service.failure.as_deref().unwrap_or_default()
        ),
    )
    .remedy(format!("read `ubs logs {}`", service.name))
}

/// Without a document the application object is all that is known of the routes.
fn from_object(before: &CheckReport) -> CheckOutcome {
    CheckOutcome {
        summary: before.summary.clone(),
        findings: before.findings.clone(),
        measured: before.measured.clone(),
        skipped: false,
    }
}

fn from_document(
    registration: &Registration,
    before: Option<&CheckReport>,
    document: &Result<String, String>,
) -> CheckOutcome {
    let url = registration.openapi.as_deref().unwrap_or_default();
    let read = document
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|text| read_document(text));
    let document = match (read, before) {
        (Ok(document), _) => document,
        (Err(why), Some(before)) => {
            let mut outcome = from_object(before);
            let finding = unreadable(url, &why, Severity::Warning);
            outcome.findings.push(finding);
            return outcome;
        }
        (Err(why), None) => {
            let coverage = Coverage {
                expected: registration.services.len(),
                mounted: 0,
            };
            return CheckOutcome {
                summary: "the running application's document cannot be read".to_owned(),
                findings: vec![unreadable(url, &why, Severity::Critical)],
                measured: coverage.measured(0),
                skipped: false,
            };
        }
    };
    let missing: Vec<&ExpectedService> = registration
        .services
        .iter()
        .filter(|service| !is_mounted(service, &document.routes))
        // What is kept out of the document is no less there.
        .filter(|service| !before.is_some_and(|report| object_has(report, service)))
        .collect();
    let coverage = Coverage {
        expected: registration.services.len(),
        mounted: registration.services.len() - missing.len(),
    };
    let is_missing = |name: &str| missing.iter().any(|service| service.name == name);
    // What the object lacked and the running application serves was mounted when it started.
    let mut findings: Vec<Finding> = before
        .map(|report| report.findings.clone())
        .unwrap_or_default()
        .into_iter()
        .filter(|finding| !is_of_service(finding) || is_missing(&finding.subject))
        .collect();
    let severity = severity_of(registration, coverage.share());
    for service in &missing {
        let known = findings
            .iter()
            .any(|finding| is_of_service(finding) && finding.subject == service.name);
        if !known {
            findings.push(
                Finding::new(
                    Code::RegistrationMissingService,
                    severity,
                    service.name.as_str(),
                    format!(
                        "service {}: the running application's document has no path below {}",
                        service.name, service.prefix
                    ),
                )
                .remedy(format!(
                    "mount a router below {}, or correct the service's prefix in the manifest",
                    service.prefix
                ))
                .fact("prefix", service.prefix.as_str()),
            );
        }
    }
    findings.extend(document.findings);
    let routes = match before.map(|report| &report.measured) {
        Some(Measured::Registration { routes, .. }) => usize::try_from(*routes).unwrap_or(0),
        _ => 0,
    };
    CheckOutcome {
        summary: coverage.summary(),
        findings,
        measured: coverage.measured(routes.max(document.routes.len())),
        skipped: false,
    }
}

/// It says that an expected service has no route.
fn is_of_service(finding: &Finding) -> bool {
    finding.facts.contains_key("prefix")
}

/// The application object was looked at and had a route of the service.
fn object_has(before: &CheckReport, service: &ExpectedService) -> bool {
    let looked = matches!(before.measured, Measured::Registration { routes, .. } if routes > 0);
    looked
        && !before
            .findings
            .iter()
            .any(|finding| is_of_service(finding) && finding.subject == service.name)
}

fn unreadable(url: &str, why: &str, severity: Severity) -> Finding {
    Finding::new(
        Code::RegistrationOpenapiUnreadable,
        severity,
        url,
        format!("the OpenAPI document of the running application cannot be read: {why}"),
    )
    .remedy("correct `registration.openapi`, or let the application serve its document there")
}

/// Paths and operations of an OpenAPI 3 or Swagger 2 document.
fn read_document(text: &str) -> Result<Document, String> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let paths = document
        .get("paths")
        .and_then(Value::as_object)
        .ok_or("it has no `paths` object, so it is not an OpenAPI document")?;
    let bases = base_paths(&document);
    let mut routes = Vec::new();
    let mut findings = Vec::new();
    let mut operations: BTreeMap<&str, (String, &str)> = BTreeMap::new();
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with('/')) {
        let methods: Vec<&str> = VERBS
            .into_iter()
            .filter(|verb| item.get(verb).is_some())
            .collect();
        for base in &bases {
            routes.push(Route {
                path: format!("{base}{path}"),
                methods: methods.iter().map(|verb| verb.to_uppercase()).collect(),
                ..Route::default()
            });
        }
        for verb in methods {
            let id = item[verb].get("operationId").and_then(Value::as_str);
            let Some(id) = id else { continue };
            let place = format!("{} {path}", verb.to_uppercase());
            let Some((first, first_path)) = operations.get(id) else {
                operations.insert(id, (place, path));
                continue;
            };
            // One function for several methods of one path is usual, and harms only who generates clients.
            let severity = if *first_path == path {
                Severity::Info
            } else {
                Severity::Warning
            };
            findings.push(
                Finding::new(
                    Code::RegistrationDuplicateOperation,
                    severity,
                    id,
                    format!("the operation id {id} stands for {first} and for {place}"),
                )
                .remedy("give each operation an id of its own"),
            );
        }
    }
    Ok(Document { routes, findings })
}

/// What paths of the document are relative to: nothing, and the paths of its servers.
fn base_paths(document: &Value) -> Vec<String> {
    const BASES_MAX: usize = 8;
    let servers = document.get("servers").and_then(Value::as_array);
    let urls = servers
        .into_iter()
        .flatten()
        .filter_map(|server| server.get("url"))
        .chain(document.get("basePath"))
        .filter_map(Value::as_str);
    let mut bases = vec![String::new()];
    for url in urls.take(BASES_MAX) {
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
            None => url,
        };
        let path = path.trim_end_matches('/');
        if path.starts_with('/') && !bases.iter().any(|base| base == path) {
            bases.push(path.to_owned());
        }
    }
    bases
}

#[cfg(test)]
mod tests;
