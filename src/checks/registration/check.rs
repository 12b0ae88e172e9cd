//! Asks the application object for its routes and compares.

use serde::Deserialize;

use super::coverage::Coverage;
use super::loader::Loader;
use super::routers::{
    RouterState, missing_service, serves, severity_of, unmounted_router, unmounted_routers,
};
use super::routes::{Route, doubled, duplicate_routes, is_mounted};
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::edits::mount_fix;
use crate::checks::outcome::CheckOutcome;
use crate::checks::python::{PROBE_TIMEOUT_MS, ProbeAnswer, ProbeError, ProbeProgram, run_probe};
use crate::checks::raised::Raised;
use crate::checks::sources::reaches;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{AppObject, ExpectedService, Registration};
use crate::source::{Include, RouterDefinition};

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
pub(in crate::checks) fn check(context: &CheckContext<'_>) -> Result<CheckOutcome, ProbeError> {
    let Some(registration) = &context.manifest.registration else {
        return Ok(CheckOutcome::skipped(
            "the manifest has no [registration] section",
        ));
    };
    match &registration.app {
        Some(app) => check_app(context, registration, app),
        // What is measured says that there is something to look at after the boot.
        None => Ok(CheckOutcome {
            measured: Coverage {
                expected: registration.services.len(),
                mounted: 0,
            }
            .measured(0),
            ..CheckOutcome::skipped(
                "skipped before the boot: the running application's document is looked at after it",
            )
        }),
    }
}

fn check_app(
    context: &CheckContext<'_>,
    registration: &Registration,
    app: &AppObject,
) -> Result<CheckOutcome, ProbeError> {
    let facts = context.facts();
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
        &AsRun::of_module(context, &app.module),
        ProbeProgram::Routes,
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
        ProbeAnswer::Given(Routes {
            raised: Some(raised),
            ..
        }) => return Ok(loader.unloadable(loader.raised(&raised, ran.host.as_ref()))),
        ProbeAnswer::Given(routes) => routes,
        ProbeAnswer::None(why) => return Ok(loader.unloadable(loader.no_answer(&why))),
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
    let is_listed = !services.is_empty();
    let mounted = |finding: Finding, router: &RouterDefinition, is_expected: bool| match mount_fix(
        context,
        router,
        is_expected,
        is_listed,
    ) {
        Some(fix) => fix.add_to(finding),
        None => finding,
    };
    let mut findings = Vec::new();
    for service in missing {
        let router = unmounted
            .iter()
            .position(|router| serves(router, service))
            .map(|index| unmounted.remove(index));
        let finding = missing_service(app, service, router.as_ref(), severity);
        findings.push(match &router {
            Some(router) => mounted(finding, router.definition(), true),
            None => finding,
        });
    }
    findings.extend(unmounted.iter().map(|router| {
        let finding = unmounted_router(app, router, None, Severity::Warning);
        mounted(finding, router.definition(), false)
    }));
    let twice = services
        .iter()
        .filter_map(|service| Some((service, doubled(service, &routes.routes)?)));
    findings.extend(twice.map(|(service, path)| {
        let (name, prefix) = (&service.name, &service.prefix);
        let message = format!(
            "service {name}: each of its routes has the prefix twice, as {path}, so that requests to {prefix} find nothing"
        );
        Finding::new(
            Code::RegistrationMissingService,
            Severity::Warning,
            name.as_str(),
            message,
        )
        .remedy("give the prefix to the router or to its mounting, not to both")
        .fact("prefix", prefix.as_str())
    }));
    let includes = &context.facts().includes;
    findings.extend(unlisted(
        registration,
        app,
        &routers,
        &routes.routes,
        includes,
    ));
    findings.extend(duplicate_routes(&routes.routes));
    if routes.full {
        findings.push(Finding::new(
            Code::RegistrationTooManyRoutes,
            Severity::Info,
            "routes",
            format!(
                "only the first {} routes were looked at",
                routes.routes.len()
            ),
        ));
    }
    Ok(CheckOutcome {
        summary: coverage.summary(),
        findings,
        measured: coverage.measured(routes.routes.len()),
        skipped: false,
    })
}

/// Routers of the source whose routes are served and of which no listed service speaks: a new one that hooked in, and
/// that nobody would miss.
fn unlisted(
    registration: &Registration,
    app: &AppObject,
    routers: &[&RouterDefinition],
    routes: &[Route],
    includes: &[Include],
) -> Vec<Finding> {
    let services = &registration.services;
    if services.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    // One without a prefix, as a page at the root has none, has nothing by which a list could name it.
    let has_prefix = |router: &RouterDefinition| {
        let is_its = |include: &Include| {
            let included = include.included.as_ref();
            included.is_some_and(|(module, name)| *module == router.module && *name == router.name)
        };
        let is_root = |prefix: &str| prefix.trim_matches('/').is_empty();
        !is_root(&router.prefix) || includes.iter().any(|i| is_its(i) && !is_root(&i.prefix))
    };
    // What lies beside the application itself did not hook in.
    let beside = routers.iter().filter(|r| r.module != app.module);
    for router in beside.filter(|router| has_prefix(router)) {
        let is_its = |route: &&Route| !route.builtin && route.file == router.place.file;
        let mut its = routes.iter().filter(is_its).peekable();
        let Some(first) = its.peek().map(|route| route.path.clone()) else {
            continue;
        };
        let is_listed = its.any(|route| {
            let one = std::slice::from_ref(route);
            services.iter().any(|service| is_mounted(service, one))
        });
        let is_told = findings.iter().any(|finding: &Finding| {
            let location = finding.location.as_ref();
            location.is_some_and(|location| location.file == router.place.file)
        });
        if is_listed || is_told {
            continue;
        }
        let message = format!(
            "the router {} of {} serves {first}, and no service in the list of [registration] has that prefix",
            router.name, router.module
        );
        let code = Code::RegistrationUnlistedService;
        let finding = Finding::of(code, router.module.as_str(), message);
        findings.push(
            finding
                .at(router.place.file.as_str(), router.place.line, 0)
                .remedy(
                    "add it to `services` of [registration], so that it is missed when it is gone",
                ),
        );
    }
    findings
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
