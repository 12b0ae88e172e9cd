//! Routers of the source against the application: which of them no route comes from.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{AppObject, ExpectedService, Registration};
use crate::source::{RouterDefinition, SourceFacts};

/// What `routes.py` says of one router that it was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouterState {
    imported: bool,
    mounted: bool,
    routes: u32,
    prefix: Option<String>,
    /// Index of the router that includes it.
    inside: Option<usize>,
    /// Name of its class.
    kind: Option<String>,
}

/// A router of the source that no route of the application comes from.
pub(super) struct Unmounted {
    definition: RouterDefinition,
    prefix: String,
    imported: bool,
    is_blueprint: bool,
}

impl Unmounted {
    pub(super) fn definition(&self) -> &RouterDefinition {
        &self.definition
    }
}

/// `module:attribute`, as messages name it.
pub(super) fn target(app: &AppObject) -> String {
    match (app.attribute.as_str(), app.factory) {
        ("", _) => app.module.clone(),
        (attribute, false) => format!("{}:{attribute}", app.module),
        (attribute, true) => format!("{}:{attribute}()", app.module),
    }
}

/// Routers that nothing includes: neither the application as it was loaded, nor any line of the source. One
/// that a line includes and the application lacks is included under a condition, which is no defect.
pub(super) fn unmounted_routers(
    facts: &SourceFacts,
    routers: &[&RouterDefinition],
    states: &[RouterState],
) -> Vec<Unmounted> {
    let key = |router: &RouterDefinition| (router.module.clone(), router.name.clone());
    // By anything but itself.
    let included: BTreeSet<&(String, String)> = facts
        .includes
        .iter()
        .filter(|include| include.includer != include.included)
        .filter_map(|include| include.included.as_ref())
        .collect();
    routers
        .iter()
        .copied()
        .zip(states)
        .filter(|(router, state)| {
            let name = key(router);
            let includes = facts
                .includes
                .iter()
                .any(|include| include.includer.as_ref() == Some(&name));
            let has_routes =
                state.routes > 0 || (!state.imported && (router.endpoints > 0 || includes));
            // One that is part of another one stands or falls with it.
            has_routes && !state.mounted && state.inside.is_none() && !included.contains(&name)
        })
        .map(|(router, state)| Unmounted {
            prefix: state
                .prefix
                .clone()
                .unwrap_or_else(|| router.prefix.clone()),
            definition: router.clone(),
            imported: state.imported,
            is_blueprint: state.kind.as_deref() == Some("Blueprint"),
        })
        .collect()
}

/// The router looks like the one that was meant to serve the service: its prefix, its file, its
/// directory or its name says so.
pub(super) fn serves(router: &Unmounted, service: &ExpectedService) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(&service.name);
    let prefix = router.prefix.trim_end_matches('/');
    let same_prefix = !prefix.is_empty() && service.prefix.trim_end_matches('/').ends_with(prefix);
    let file = plain(router.definition.place.file.trim_end_matches(".py"));
    let mut parts = file.rsplit('/');
    let (stem, directory) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let generic = matches!(
        stem,
        "router" | "routers" | "routes" | "api" | "views" | "__init__"
    );
    let variable = plain(&router.definition.name);
    same_prefix
        || [
            name.clone(),
            format!("{name}_router"),
            format!("{name}_routes"),
            format!("{name}_api"),
        ]
        .iter()
        .any(|named| named == stem || *named == variable)
        || (generic && directory == name)
}

/// The finding for a router that is mounted nowhere.
pub(super) fn unmounted_router(
    app: &AppObject,
    router: &Unmounted,
    subject: Option<&str>,
    severity: Severity,
) -> Finding {
    let definition = &router.definition;
    let (module, place) = (&definition.module, &definition.place);
    let import = if router.imported {
        String::new()
    } else {
        format!("import {module} and ")
    };
    let (kind, how) = match (router.is_blueprint, app.framework.as_str()) {
        (true, _) | (_, "flask") => ("Blueprint", "register_blueprint"),
        _ => ("APIRouter", "include_router"),
    };
    let object = if app.factory || app.attribute.is_empty() {
        "app"
    } else {
        app.attribute.as_str()
    };
    Finding::new(
        Code::RegistrationUnmountedRouter,
        severity,
        subject.unwrap_or(&definition.name),
        format!(
            "the {kind} {} ({}:{}) is mounted nowhere in {}",
            definition.name,
            place.file,
            place.line,
            target(app)
        ),
    )
    .at(place.file.as_str(), place.line, 0)
    .remedy(format!(
        "{import}add {object}.{how}({module}.{}) in {}, or remove the router",
        definition.name, app.module
    ))
    .fact("router", definition.name.as_str())
    .fact("module", module.as_str())
}

/// The finding for a service without a route, and why if a router tells that.
pub(super) fn missing_service(
    app: &AppObject,
    service: &ExpectedService,
    router: Option<&Unmounted>,
    severity: Severity,
) -> Finding {
    let (name, prefix) = (&service.name, &service.prefix);
    if let Some(router) = router {
        let mut finding = unmounted_router(app, router, Some(name), severity);
        finding.message = format!(
            "service {name}: no route below {prefix}, because {}",
            finding.message
        );
        return finding.fact("prefix", prefix.as_str());
    }
    Finding::new(
        Code::RegistrationMissingService,
        severity,
        name.as_str(),
        format!(
            "service {name}: {} has no route below {prefix}",
            target(app)
        ),
    )
    .remedy(format!(
        "mount a router below {prefix}, or correct the service's prefix in the manifest"
    ))
    .fact("prefix", prefix.as_str())
}

/// Severity of what is missing: critical if too much is.
pub(super) fn severity_of(registration: &Registration, coverage: f64) -> Severity {
    if coverage < registration.min_coverage {
        Severity::Critical
    } else {
        Severity::Warning
    }
}
