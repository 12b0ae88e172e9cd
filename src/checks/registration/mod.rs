//! The registration check: the routes that the application object really has against the services that
//! the manifest expects, and routers of the source that no route leads to.

#[cfg(test)]
mod framework_tests;
mod live;
mod loader;
mod routers;
mod routes;
#[cfg(test)]
mod tests;

use serde::Deserialize;

pub(crate) use self::live::{LiveService, LiveSystem, check_running};
use self::loader::Loader;
use self::routers::{
    RouterState, missing_service, serves, severity_of, unmounted_router, unmounted_routers,
};
use self::routes::{Route, duplicate_routes, is_mounted};
use super::python::{Answer, PROBE_TIMEOUT_MS, ProbeError, Program, run_probe};
use super::raised::Raised;
use super::sources::reaches;
use super::{CheckContext, Outcome, count};
use crate::domain::finding::{Finding, Measured, Severity};
use crate::manifest::{AppObject, ExpectedService, Registration};
use crate::source::RouterDefinition;

/// What `routes.py` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Routes {
    routes: Vec<Route>,
    /// In the order of the routers that were asked for.
    routers: Vec<RouterState>,
    raised: Option<Raised>,
    /// There are more routes than were read.
    full: bool,
}

/// Runs the check.
pub(super) fn check(context: &CheckContext<'_>) -> Result<Outcome, ProbeError> {
    let Some(registration) = &context.manifest.registration else {
        return Ok(Outcome::skipped(
            "the manifest has no [registration] section",
        ));
    };
    match &registration.app {
        Some(app) => check_app(context, registration, app),
        // What is measured says that there is something to look at after the boot.
        None => Ok(Outcome {
            measured: Coverage {
                expected: registration.services.len(),
                mounted: 0,
            }
            .measured(0),
            ..Outcome::skipped(
                "skipped before the boot: the running application's document is looked at after it",
            )
        }),
    }
}

fn check_app(
    context: &CheckContext<'_>,
    registration: &Registration,
    app: &AppObject,
) -> Result<Outcome, ProbeError> {
    let facts = context.sources.facts(context);
    // What only `config.scan` names is not on the import path, so no application could include it.
    let roots = &context.manifest.python.path;
    let routers: Vec<&RouterDefinition> = facts
        .routers
        .iter()
        .filter(|router| {
            roots.is_empty() || roots.iter().any(|root| reaches(root, &router.place.file))
        })
        .collect();
    let ran = run_probe::<Routes>(
        context,
        Program::Routes,
        probe_input(app, &routers),
        PROBE_TIMEOUT_MS,
        false,
    )?;
    let loader = Loader {
        context,
        registration,
        app,
    };
    let routes = match ran.answer {
        Answer::Given(Routes {
            raised: Some(raised),
            ..
        }) => return Ok(loader.unloadable(loader.raised(&raised))),
        Answer::Given(routes) => routes,
        Answer::None(why) => return Ok(loader.unloadable(loader.no_answer(&why))),
    };
    let mut unmounted = unmounted_routers(facts, &routers, &routes.routers);
    let services = &registration.services;
    let missing: Vec<&ExpectedService> = services
        .iter()
        .filter(|service| !is_mounted(service, &routes.routes))
        .collect();
    let coverage = Coverage {
        expected: services.len(),
        mounted: services.len() - missing.len(),
    };
    let severity = severity_of(registration, coverage.share());
    let mut findings = Vec::new();
    for service in missing {
        let router = unmounted
            .iter()
            .position(|router| serves(router, service))
            .map(|index| unmounted.remove(index));
        findings.push(missing_service(app, service, router.as_ref(), severity));
    }
    findings.extend(
        unmounted
            .iter()
            .map(|router| unmounted_router(app, router, None, Severity::Warning)),
    );
    findings.extend(duplicate_routes(&routes.routes));
    if routes.full {
        findings.push(Finding::new(
            "registration.too_many_routes",
            Severity::Info,
            "routes",
            format!(
                "only the first {} routes were looked at",
                routes.routes.len()
            ),
        ));
    }
    Ok(Outcome {
        summary: coverage.summary(),
        findings,
        measured: coverage.measured(routes.routes.len()),
        skipped: false,
    })
}

fn probe_input(app: &AppObject, routers: &[&RouterDefinition]) -> serde_json::Value {
    let routers: Vec<serde_json::Value> = routers
        .iter()
        .map(|router| {
            serde_json::json!({
                "file": router.place.file,
                "name": router.name,
                "endpoints": router.endpoints,
            })
        })
        .collect();
    serde_json::json!({
        "framework": app.framework.as_str(),
        "module": app.module,
        "attribute": app.attribute,
        "factory": app.factory,
        "routers": routers,
    })
}

/// How many of the expected services are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coverage {
    pub expected: usize,
    pub mounted: usize,
}

impl Coverage {
    /// 0 to 1; nothing expected is all there.
    pub(super) fn share(self) -> f64 {
        if self.expected == 0 {
            return 1.0;
        }
        // Numbers of services, far from where floating point loses whole numbers.
        #[allow(clippy::cast_precision_loss)]
        {
            self.mounted as f64 / self.expected as f64
        }
    }

    fn per_mille(self) -> u32 {
        if self.expected == 0 {
            return 1000;
        }
        u32::try_from(self.mounted * 1000 / self.expected).unwrap_or(1000)
    }

    /// `9 of 9 services mounted (100.0 %)`.
    pub(super) fn summary(self) -> String {
        if self.expected == 0 {
            return "no services are expected".to_owned();
        }
        format!(
            "{} of {} mounted ({:.1} %)",
            self.mounted,
            count(self.expected, "service"),
            self.share() * 100.0
        )
    }

    pub(super) fn measured(self, routes: usize) -> Measured {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Measured::Registration {
            expected: narrow(self.expected),
            mounted: narrow(self.mounted),
            routes: narrow(routes),
            coverage_per_mille: self.per_mille(),
        }
    }
}
