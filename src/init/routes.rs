//! The application object, and the services that it must serve: the prefixes of the routers that it
//! includes.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{ApplicationCode, is_side};
use super::draft::{Note, RegistrationDraft};
use super::text::{name_of, plain, unique};
use crate::source::{ApplicationObject, Framework, Include};

/// Services that a manifest gets.
const SERVICES_MAX: usize = 300;
/// Routers within routers.
const DEPTH_MAX: usize = 8;
/// Where a service is expected if the manifest does not say.
const PREFIX_DEFAULT: &str = "/api/";

/// A router's name: its module and the name that it is bound to.
type Key = (String, String);

/// What something else includes or mounts.
fn included<'a>(code: &ApplicationCode<'a>) -> BTreeSet<&'a Key> {
    let includes = code.facts.includes.iter();
    includes.filter_map(|i| i.included.as_ref()).collect()
}

/// Applications that may be booted, the likeliest first. `started`: what commands name.
pub(super) fn applications<'a>(
    code: &ApplicationCode<'a>,
    started: &[(String, String)],
) -> Vec<&'a ApplicationObject> {
    let included = included(code);
    let mut found: Vec<&ApplicationObject> = code
        .facts
        .applications
        .iter()
        .filter(|app| !is_side(&app.place.file))
        .filter(|app| !included.contains(&(app.module.clone(), app.attribute.clone())))
        .collect();
    found.sort_by_key(|app| {
        let module = code.name(&app.module);
        let named = started.iter().any(|(m, attribute)| {
            let attribute = attribute.split('(').next().unwrap_or(attribute);
            *m == module && (attribute.is_empty() || attribute == app.attribute)
        });
        let last = module.rsplit('.').next().unwrap_or("");
        let usual = [
            "main",
            "app",
            "asgi",
            "wsgi",
            "application",
            "api",
            "server",
            "factory",
        ];
        let rank = usual.iter().position(|name| *name == last);
        (
            !named,
            needs_arguments(code, app),
            // A little server that a command starts for a moment.
            is_of_commands(&module),
            // A factory's own object is often made by a module beside it.
            app.is_factory,
            rank.unwrap_or(usual.len()),
            module.matches('.').count(),
            app.place.clone(),
        )
    });
    found.dedup_by_key(|app| (app.module.clone(), app.attribute.clone()));
    found
}

/// The module is a part of a command line.
fn is_of_commands(module: &str) -> bool {
    let parts = ["cli", "commands", "cmd", "scripts", "tools", "testing"];
    module.split('.').any(|part| parts.contains(&part))
}

/// What `registration.app` says.
pub(super) fn app_of(code: &ApplicationCode<'_>, app: &ApplicationObject) -> String {
    let module = code.name(&app.module);
    let call = if app.is_factory { "()" } else { "" };
    match app.framework {
        Framework::FastApi => format!("fastapi:{module}:{}{call}", app.attribute),
        Framework::Starlette => format!("starlette:{module}:{}{call}", app.attribute),
        Framework::Flask => format!("flask:{module}:{}{call}", app.attribute),
        Framework::Django => format!("django:{module}"),
    }
}

/// `[registration]` for the first of the applications.
pub(super) fn registration(
    code: &ApplicationCode<'_>,
    apps: &[&ApplicationObject],
) -> Option<RegistrationDraft> {
    let (app, others) = apps.split_first()?;
    let mut draft = RegistrationDraft {
        app: app_of(code, app),
        active: true,
        ..RegistrationDraft::default()
    };
    draft.notes.push(Note::sure(format!(
        "{}:{}",
        plain(&app.place.file),
        app.place.line
    )));
    if needs_arguments(code, app) {
        draft.active = false;
        draft.notes.push(Note::unsure(format!(
            "{} needs arguments, so the application cannot be made without knowing them",
            plain(&app.attribute)
        )));
    }
    if app.framework == Framework::Django && others.iter().any(|o| o.framework == Framework::Django)
    {
        draft.notes.push(Note::unsure(
            "there are several settings modules; which one is meant?",
        ));
    }
    for other in others.iter().take(10) {
        draft.notes.push(Note::unsure(format!(
            "there is another application: {} ({}:{})",
            plain(&app_of(code, other)),
            plain(&other.place.file),
            other.place.line
        )));
    }
    let mounted = mounted(code, app, &mut draft.notes);
    let mut taken = BTreeSet::new();
    let mut prefixes: BTreeMap<String, String> = BTreeMap::new();
    for (prefix, key) in mounted {
        let Some(segment) = last_segment(&prefix) else {
            continue;
        };
        if prefixes.len() == SERVICES_MAX || prefixes.contains_key(&prefix) {
            continue;
        }
        let otherwise = name_of(&key.1, "service");
        let name = unique(name_of(segment, &otherwise), &mut taken);
        prefixes.insert(prefix, name);
    }
    draft.services = prefixes
        .into_iter()
        .map(|(prefix, name)| (name, prefix))
        .collect();
    Some(draft)
}

/// A factory that cannot be called without arguments.
pub(super) fn needs_arguments(code: &ApplicationCode<'_>, app: &ApplicationObject) -> bool {
    if !app.is_factory {
        return false;
    }
    let Some(text) = code.files.text(&app.place.file) else {
        return false;
    };
    let Some((_, after)) = text.split_once(&format!("def {}(", app.attribute)) else {
        return false;
    };
    let mut depth = 0_usize;
    let mut parameters = vec![String::new()];
    for c in after.chars() {
        match c {
            ')' if depth == 0 => break,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parameters.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parameters.last_mut() {
            last.push(c);
        }
    }
    parameters.iter().any(|parameter| {
        let parameter = parameter.trim();
        !parameter.is_empty() && !parameter.starts_with(['*', '/', '#']) && !parameter.contains('=')
    })
}

/// Whether a manifest takes this prefix for a service of this name anyway.
pub(super) fn is_default_prefix(name: &str, prefix: &str) -> bool {
    prefix.strip_prefix(PREFIX_DEFAULT) == Some(name)
}

/// The last part of a path that says something: no parameter, no version, not `api`.
fn last_segment(prefix: &str) -> Option<&str> {
    let says = |part: &&str| {
        let version = part
            .strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        !part.is_empty() && !part.contains(['{', '<']) && !version && *part != "api"
    };
    prefix.split('/').rev().find(says)
}

/// Prefix and router of each router that the application includes and that has endpoints.
fn mounted(
    code: &ApplicationCode<'_>,
    app: &ApplicationObject,
    notes: &mut Vec<Note>,
) -> Vec<(String, Key)> {
    let routers: BTreeMap<Key, (&str, u32)> = code
        .facts
        .routers
        .iter()
        .map(|router| {
            let key = (router.module.clone(), router.name.clone());
            (key, (router.prefix.as_str(), router.endpoints))
        })
        .collect();
    // By who includes; what a file includes into something unknown, it includes into its application.
    let mut by_includer: BTreeMap<Key, Vec<&Include>> = BTreeMap::new();
    let own: Key = (app.module.clone(), app.attribute.clone());
    // An application that is mounted in another one serves what it includes as a router does.
    let included = included(code);
    let applications = code.facts.applications.iter();
    let sub: BTreeSet<Key> = applications
        .map(|app| (app.module.clone(), app.attribute.clone()))
        .filter(|key| *key != own && included.contains(key))
        .collect();
    let is_known = |key: &Key| routers.contains_key(key) || sub.contains(key);
    for include in &code.facts.includes {
        if is_side(&include.place.file) {
            continue;
        }
        let includer = include.includer.clone().filter(is_known);
        let in_file = include.place.file == app.place.file;
        let key = match (includer, &include.includer) {
            (Some(router), _) => router,
            (None, Some(key)) if *key == own || in_file => own.clone(),
            (None, None) if in_file => own.clone(),
            _ => continue,
        };
        by_includer.entry(key).or_default().push(include);
    }
    // A prefix that is no literal is empty in the facts.
    let computed: BTreeSet<Key> = code
        .facts
        .routers
        .iter()
        .filter(|router| router.prefix.is_empty())
        .filter(|router| {
            code.statement(&router.place)
                .is_some_and(|text| text.contains("prefix="))
        })
        .map(|router| (router.module.clone(), router.name.clone()))
        .collect();
    let mut found = Vec::new();
    let mut walk = vec![(own, String::new(), 0_usize)];
    while let Some((includer, base, depth)) = walk.pop() {
        for include in by_includer.get(&includer).into_iter().flatten() {
            let place = format!("{}:{}", plain(&include.place.file), include.place.line);
            let Some(key) = include.included.clone() else {
                notes.push(Note::unsure(format!("what {place} includes is not known")));
                continue;
            };
            if include.prefix.is_empty() && says_prefix(code, include) {
                notes.push(Note::unsure(format!(
                    "the prefix in {place} is computed; add the services below it yourself"
                )));
                continue;
            }
            let (router_prefix, endpoints) = routers.get(&key).copied().unwrap_or(("", 0));
            if computed.contains(&key) {
                notes.push(Note::unsure(format!(
                    "the prefix of {}.{} is computed; add its service yourself",
                    plain(&code.name(&key.0)),
                    plain(&key.1)
                )));
                continue;
            }
            let prefix = match app.framework {
                // What a Flask application registers with takes the place of the blueprint's own.
                Framework::Flask if !include.prefix.is_empty() => {
                    format!("{base}{}", include.prefix)
                }
                _ => format!("{base}{}{router_prefix}", include.prefix),
            };
            let right = prefix.starts_with('/') && !prefix.contains(char::is_whitespace);
            if endpoints > 0 && right {
                found.push((prefix.trim_end_matches('/').to_owned(), key.clone()));
            }
            if depth < DEPTH_MAX && is_known(&key) && found.len() < 4 * SERVICES_MAX {
                walk.push((key, prefix, depth + 1));
            }
        }
    }
    found.retain(|(prefix, _)| !prefix.is_empty());
    notes.dedup();
    found
}

/// The statement has a prefix, which the scan could not tell.
fn says_prefix(code: &ApplicationCode<'_>, include: &Include) -> bool {
    code.statement(&include.place)
        .is_some_and(|text| text.contains("prefix"))
}
