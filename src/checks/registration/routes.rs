//! Routes as data: which of them lies below a prefix, and which can never be reached.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::manifest::ExpectedService;

/// Method of a route that takes every request to its path.
const ANY_METHOD: &str = "ANY";

/// One route of the application.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Route {
    /// `/users/{id:int}`; of one host: `//host/path`.
    pub path: String,
    pub methods: Vec<String>,
    pub endpoint: String,
    /// Tells views apart whose names are the same.
    pub view: u64,
    /// Relative to the workspace; empty where it is not the application's own.
    pub file: String,
    pub line: u32,
    /// The framework's own: documentation pages, static files of Flask.
    pub builtin: bool,
}

/// A route lies below the service's prefix; parameters may be named otherwise.
pub(super) fn is_mounted(service: &ExpectedService, routes: &[Route]) -> bool {
    let prefix: Vec<&str> = segments(&service.prefix).collect();
    routes.iter().filter(|route| !route.builtin).any(|route| {
        // `//host/path`: a route of one host.
        let path = route
            .path
            .strip_prefix("//")
            .map_or(route.path.as_str(), |rest| {
                rest.find('/').map_or("/", |slash| &rest[slash..])
            });
        let mut parts = segments(path);
        prefix
            .iter()
            .all(|wanted| parts.next().is_some_and(|part| is_same(wanted, part)))
    })
}

/// A path below the service's prefix, if the prefix comes twice in each of them: a router has it, and so has its
/// mounting.
pub(super) fn doubled<'r>(service: &ExpectedService, routes: &'r [Route]) -> Option<&'r str> {
    let mut prefix = segments(&service.prefix);
    let last = prefix.next_back().filter(|part| !part.contains('{'))?;
    let twice = ExpectedService {
        prefix: format!("{}/{last}", service.prefix.trim_end_matches('/')),
        ..service.clone()
    };
    let is_below =
        |service: &ExpectedService, route: &Route| is_mounted(service, std::slice::from_ref(route));
    let mut below = routes.iter().filter(|route| is_below(service, route));
    let first = below.next()?;
    let all = is_below(&twice, first) && below.all(|route| is_below(&twice, route));
    all.then_some(first.path.as_str())
}

/// Parts of a path; an end without a name, as that of `/api/`, is none.
fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    (!path.is_empty())
        .then(|| path.split('/'))
        .into_iter()
        .flatten()
}

fn is_same(wanted: &str, part: &str) -> bool {
    wanted == part
        || (wanted.contains('{') && without_names(wanted) == without_convertors(part))
        || (wanted.contains('{') && without_names(wanted) == without_names(part))
}

/// With `{}` for each parameter.
fn without_convertors(path: &str) -> String {
    replace_parameters(path, false)
}

/// Two routes for one method and path: only the first is ever reached.
pub(super) fn duplicate_routes(routes: &[Route]) -> Vec<Finding> {
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
            // Django's own ways lead to one view twice; nothing is hidden by that.
            if method == ANY_METHOD && first.view == route.view {
                continue;
            }
            let shown = if method == ANY_METHOD {
                route.path.clone()
            } else {
                format!("{method} {}", route.path)
            };
            let mut finding = Finding::of(
                Code::RegistrationDuplicateRoute,
                shown.as_str(),
                format!(
                    "{shown} is routed twice: {} is reached, {} never is",
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
pub(super) fn without_names(path: &str) -> String {
    replace_parameters(path, true)
}

fn replace_parameters(path: &str, with_convertors: bool) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (parameter, after) = after.split_once('}').unwrap_or((after, ""));
        plain.push_str(before);
        plain.push('{');
        if let Some((_, convertor)) = parameter.split_once(':').filter(|_| with_convertors) {
            plain.push_str(convertor);
        }
        plain.push('}');
        rest = after;
    }
    plain.push_str(rest);
    plain
}
