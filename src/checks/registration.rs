//! The registration check: the routes that the application object really has against the services that
//! the manifest expects, and routers of the source that no route leads to.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::python::{Answer, NoAnswer, PROBE_TIMEOUT_MS, ProbeError, Program, run_probe};
use super::raised::Raised;
use super::scan::{RouterDefinition, scan};
use super::{CheckContext, Outcome, count};
use crate::domain::finding::{Finding, Measured, Severity};
use crate::domain::signature::FACT_EXCEPTION;
use crate::manifest::{ExpectedService, Registration};

/// What `routes.py` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Routes {
    routes: Vec<Route>,
    /// In the order of the routers that were asked for.
    routers: Vec<RouterState>,
    raised: Option<Raised>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Route {
    path: String,
    methods: Vec<String>,
    endpoint: String,
    file: String,
    line: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RouterState {
    imported: bool,
    mounted: bool,
    routes: u32,
    prefix: Option<String>,
    /// Index of the router that includes it.
    inside: Option<usize>,
}

/// Runs the check.
pub(super) fn check(context: &CheckContext<'_>) -> Result<Outcome, ProbeError> {
    let Some(registration) = &context.manifest.registration else {
        return Ok(Outcome::skipped(
            "the manifest has no [registration] section",
        ));
    };
    let routers = scan(context, false, true, &[])?.routers;
    let input = serde_json::json!({
        "module": registration.module,
        "attribute": registration.attribute,
        "routers": routers
            .iter()
            .map(|router| {
                serde_json::json!({
                    "file": router.file,
                    "name": router.name,
                    "endpoints": router.endpoints,
                })
            })
            .collect::<Vec<_>>(),
    });
    let ran = run_probe::<Routes>(context, Program::Routes, input, PROBE_TIMEOUT_MS, false)?;
    let loader = Loader {
        context,
        registration,
    };
    let routes = match ran.answer {
        Answer::Given(Routes {
            raised: Some(raised),
            ..
        }) => return Ok(loader.unloadable(loader.raised(&raised))),
        Answer::Given(routes) => routes,
        Answer::None(why) => return Ok(loader.unloadable(loader.no_answer(&why))),
    };
    let mut unmounted = unmounted_routers(&routers, &routes.routers);
    let services = &registration.services;
    let missing: Vec<&ExpectedService> = services
        .iter()
        .filter(|service| !is_mounted(service, &routes.routes))
        .collect();
    let coverage = Coverage {
        expected: services.len(),
        mounted: services.len() - missing.len(),
    };
    let severity = if coverage.share() < registration.min_coverage {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut findings = Vec::new();
    for service in missing {
        let router = unmounted
            .iter()
            .position(|router| serves(router, service))
            .map(|index| unmounted.remove(index));
        findings.push(missing_service(
            registration,
            service,
            router.as_ref(),
            severity,
        ));
    }
    findings.extend(unmounted.iter().map(|router| {
        unmounted_router(
            registration,
            router,
            &router.definition.name,
            Severity::Warning,
        )
    }));
    findings.extend(duplicate_routes(&routes.routes));
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Outcome {
        summary: format!(
            "{} of {} mounted ({:.1} %)",
            coverage.mounted,
            count(coverage.expected, "service"),
            coverage.share() * 100.0
        ),
        findings,
        measured: Measured::Registration {
            expected: narrow(coverage.expected),
            mounted: narrow(coverage.mounted),
            routes: narrow(routes.routes.len()),
            coverage_per_mille: coverage.per_mille(),
        },
        skipped: false,
    })
}

struct Coverage {
    expected: usize,
    mounted: usize,
}

impl Coverage {
    /// 0 to 1; nothing expected is all there.
    fn share(&self) -> f64 {
        if self.expected == 0 {
            return 1.0;
        }
        // Numbers of services, far from where floating point loses whole numbers.
        #[allow(clippy::cast_precision_loss)]
        {
            self.mounted as f64 / self.expected as f64
        }
    }

    fn per_mille(&self) -> u32 {
        if self.expected == 0 {
            return 1000;
        }
        u32::try_from(self.mounted * 1000 / self.expected).unwrap_or(1000)
    }
}

/// What to say if the application object cannot be had.
struct Loader<'a> {
    context: &'a CheckContext<'a>,
    registration: &'a Registration,
}

impl Loader<'_> {
    fn target(&self) -> String {
        format!(
            "{}:{}",
            self.registration.module, self.registration.attribute
        )
    }

    fn raised(&self, raised: &Raised) -> Finding {
        let redactor = self.context.redactor;
        let location = raised.location(redactor);
        let place = location
            .as_ref()
            .map_or_else(String::new, |l| format!(" ({}:{})", l.file, l.line));
        let (severity, why, remedy) = if raised.read_only {
            (
                Severity::Warning,
                "; the check is read-only, so this may be its fault",
                "let the application write when it runs and not while it is imported".to_owned(),
            )
        } else {
            (
                Severity::Critical,
                "",
                format!(
                    "make `import {}` work: read the traceback",
                    self.registration.module
                ),
            )
        };
        let message = format!(
            "the application {} cannot be loaded: {}{place}{why}",
            self.target(),
            raised.line(redactor)
        );
        let mut finding = Finding::new(
            "registration.app_unloadable",
            severity,
            self.target(),
            message,
        )
        .remedy(remedy)
        .fact(FACT_EXCEPTION, raised.text(redactor))
        .fact("module", self.registration.module.as_str());
        finding.location = location;
        finding.detail = raised.detail(redactor);
        finding
    }

    fn no_answer(&self, why: &NoAnswer) -> Finding {
        let mut finding = Finding::new(
            "registration.app_unloadable",
            Severity::Critical,
            self.target(),
            format!("loading the application {} {}", self.target(), why.why),
        )
        .remedy("an application object must come from its import alone, without running anything");
        finding.location = why.location.clone();
        finding.detail = why.output.clone();
        finding
    }

    fn unloadable(&self, finding: Finding) -> Outcome {
        let expected = self.registration.services.len();
        Outcome {
            summary: format!(
                "none of {} can be looked at: the application cannot be loaded",
                count(expected, "service")
            ),
            findings: vec![finding],
            measured: Measured::Registration {
                expected: u32::try_from(expected).unwrap_or(u32::MAX),
                mounted: 0,
                routes: 0,
                coverage_per_mille: 0,
            },
            skipped: false,
        }
    }
}

fn is_mounted(service: &ExpectedService, routes: &[Route]) -> bool {
    let prefix = service.prefix.trim_end_matches('/');
    routes.iter().any(|route| {
        // `//host/path`: a route of one host.
        let path = route
            .path
            .strip_prefix("//")
            .map_or(route.path.as_str(), |rest| {
                rest.find('/').map_or("/", |slash| &rest[slash..])
            });
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A router of the source that no route of the application comes from.
struct Unmounted {
    definition: RouterDefinition,
    prefix: String,
    imported: bool,
}

fn unmounted_routers(routers: &[RouterDefinition], states: &[RouterState]) -> Vec<Unmounted> {
    routers
        .iter()
        .zip(states)
        .filter(|(router, state)| {
            let has_routes = state.routes > 0 || (!state.imported && router.endpoints > 0);
            // One that is part of another one stands or falls with it.
            has_routes && !state.mounted && state.inside.is_none()
        })
        .map(|(router, state)| Unmounted {
            prefix: state
                .prefix
                .clone()
                .unwrap_or_else(|| router.prefix.clone()),
            definition: router.clone(),
            imported: state.imported,
        })
        .collect()
}

/// The router looks like the one that was meant to serve the service: its prefix, its file, its
/// directory or its name says so.
fn serves(router: &Unmounted, service: &ExpectedService) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(&service.name);
    let prefix = router.prefix.trim_end_matches('/');
    let same_prefix = !prefix.is_empty() && service.prefix.trim_end_matches('/').ends_with(prefix);
    let file = plain(router.definition.file.trim_end_matches(".py"));
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

fn unmounted_router(
    registration: &Registration,
    router: &Unmounted,
    subject: &str,
    severity: Severity,
) -> Finding {
    let definition = &router.definition;
    let module = &definition.module;
    let import = if router.imported {
        String::new()
    } else {
        format!("import {module} and ")
    };
    Finding::new(
        "registration.unmounted_router",
        severity,
        subject,
        format!(
            "the APIRouter {} ({}:{}) is mounted nowhere in {}:{}",
            definition.name,
            definition.file,
            definition.line,
            registration.module,
            registration.attribute
        ),
    )
    .at(definition.file.as_str(), definition.line, 0)
    .remedy(format!(
        "{import}add {}.include_router({module}.{}) in {}, or remove the router",
        registration.attribute, definition.name, registration.module
    ))
    .fact("router", definition.name.as_str())
    .fact("module", module.as_str())
}

fn missing_service(
    registration: &Registration,
    service: &ExpectedService,
    router: Option<&Unmounted>,
    severity: Severity,
) -> Finding {
    let (name, prefix) = (&service.name, &service.prefix);
    if let Some(router) = router {
        let mut finding = unmounted_router(registration, router, name, severity);
        finding.message = format!(
            "service {name}: no route below {prefix}, because {}",
            finding.message
        );
        return finding.fact("prefix", prefix.as_str());
    }
    Finding::new(
        "registration.missing_service",
        severity,
        name.as_str(),
        format!(
            "service {name}: {}:{} has no route below {prefix}",
            registration.module, registration.attribute
        ),
    )
    .remedy(format!(
        "mount a router below {prefix}, or correct the service's prefix in the manifest"
    ))
    .fact("prefix", prefix.as_str())
}

/// Two routes for one method and path: only the first is ever reached.
fn duplicate_routes(routes: &[Route]) -> Vec<Finding> {
    let mut seen: BTreeMap<(String, &str), &Route> = BTreeMap::new();
    let mut findings: Vec<Finding> = Vec::new();
    for route in routes {
        let path = without_names(&route.path);
        for method in &route.methods {
            if matches!(method.as_str(), "HEAD" | "OPTIONS") {
                continue;
            }
            let Some(first) = seen.get(&(path.clone(), method.as_str())) else {
                seen.insert((path.clone(), method), route);
                continue;
            };
            let place = |route: &Route| {
                if route.file.is_empty() {
                    route.endpoint.clone()
                } else {
                    format!("{} ({}:{})", route.endpoint, route.file, route.line)
                }
            };
            let mut finding = Finding::new(
                "registration.duplicate_route",
                Severity::Warning,
                format!("{method} {}", route.path),
                format!(
                    "{method} {} is routed twice: {} is reached, {} never is",
                    route.path,
                    place(first),
                    place(route)
                ),
            )
            .remedy("remove one of the two routes, or change its path or method");
            if !route.file.is_empty() {
                finding = finding.at(route.file.as_str(), route.line, 0);
            }
            findings.push(finding);
        }
    }
    findings
}

/// The path with `{}` for each parameter: their names do not tell routes apart, their convertors do.
fn without_names(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (parameter, after) = after.split_once('}').unwrap_or((after, ""));
        plain.push_str(before);
        plain.push('{');
        if let Some((_, convertor)) = parameter.split_once(':') {
            plain.push_str(convertor);
        }
        plain.push('}');
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
