//! What the services of the manifest ask of the environment: variables without a default, and programs.

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::context::CheckContext;
use crate::checks::interpreter::service_environment;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{EnvironmentError, Layer, ProbeKind, Service};
use crate::sandbox::find_program_in_copy;

/// Variables that the manifest asks for and nobody sets, and programs that are nowhere.
///
/// `reported`: variables that have a critical finding of their own already.
pub(super) fn service_findings(
    context: &CheckContext<'_>,
    reported: &BTreeSet<String>,
) -> Vec<Finding> {
    let mut missing: BTreeMap<String, Finding> = BTreeMap::new();
    let mut ask = |text: &str, place: String, severity: Severity, line: u32| {
        let Some(name) = unset(context, text) else {
            return;
        };
        if reported.contains(&name) {
            return;
        }
        let message = format!("{name} is not set, and {place} needs it");
        let finding = Finding::new(Code::ConfigMissing, severity, name.as_str(), message)
            .at(context.manifest_name(), line, 0)
            .remedy(format!(
                "set {name} in an environment file or in the environment, or write ${{{name}:-default}}"
            ));
        let graver = missing
            .get(&name)
            .is_none_or(|known| known.severity < severity);
        if graver {
            missing.insert(name, finding);
        }
    };
    for schema in &context.manifest.schemas {
        let place = format!("the database of schema {}", schema.name);
        ask(&schema.database, place, Severity::Critical, schema.line);
    }
    let mut programs = Vec::new();
    let shared = service_environment(context.manifest, context.root, context.environment);
    for (layer, service) in services(context) {
        let severity = severity_of(layer);
        for (key, text) in texts(service) {
            let place = format!("`{key}` of service {}", service.name);
            ask(text, place, severity, service.line);
        }
        programs.extend(program_missing(context, layer, service, &shared));
    }
    missing.into_values().chain(programs).collect()
}

/// A layer that is not critical can fail, and the boot goes on.
fn severity_of(layer: &Layer) -> Severity {
    if layer.critical {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

fn services<'a>(context: &CheckContext<'a>) -> impl Iterator<Item = (&'a Layer, &'a Service)> {
    let layers = context.manifest.layers.iter();
    let services =
        layers.flat_map(|layer| layer.services.iter().map(move |service| (layer, service)));
    services.filter(|(_, service)| !service.disabled)
}

/// Every text of a service in which variables are put, with the name of its key.
fn texts(service: &Service) -> Vec<(&'static str, &str)> {
    let mut texts: Vec<(&'static str, &str)> = Vec::new();
    texts.extend(service.run.iter().map(|word| ("run", word.as_str())));
    texts.extend(service.cwd.iter().map(|cwd| ("cwd", cwd.as_str())));
    texts.extend(service.env.values().map(|value| ("env", value.as_str())));
    for (key, probe) in [("ready", &service.ready), ("live", &service.live)] {
        match probe.as_ref().map(|probe| &probe.kind) {
            Some(ProbeKind::Http(text) | ProbeKind::Tcp(text)) => texts.push((key, text)),
            Some(ProbeKind::Exec(argv)) => {
                texts.extend(argv.iter().map(|word| (key, word.as_str())))
            }
            None => {}
        }
    }
    texts
}

/// The first variable in the text that has no value and no default.
fn unset(context: &CheckContext<'_>, text: &str) -> Option<String> {
    match context.environment.expand(text) {
        Err(EnvironmentError::Unset { name }) if !context.overrides.contains_key(&name) => {
            Some(name)
        }
        _ => None,
    }
}

/// A warning if the program of a service is nowhere; a one-shot task before it may still make it.
fn program_missing(
    context: &CheckContext<'_>,
    layer: &Layer,
    service: &Service,
    shared: &BTreeMap<String, String>,
) -> Option<Finding> {
    let expand = |text: &str| context.environment.expand(text).ok();
    let name = expand(service.run.first()?)?;
    let mut env = shared.clone();
    for (name, value) in &service.env {
        env.insert(name.clone(), expand(value)?);
    }
    let cwd = match &service.cwd {
        Some(cwd) => context.root.join(expand(cwd)?),
        None => context.root.to_owned(),
    };
    let live = &context.manifest.workspace;
    if find_program_in_copy(&name, &env, &cwd, context.root, live).is_ok() {
        return None;
    }
    let why = if !cwd.is_dir() {
        "its working directory does not exist"
    } else if name.contains('/') {
        "there is no such executable file"
    } else {
        "it is not in PATH"
    };
    let message = format!(
        "the program {name} of service {} is missing: {why}",
        service.name
    );
    let finding = Finding::of(Code::ConfigProgramMissing, service.name.as_str(), message);
    Some(
        finding
            .at(context.manifest_name(), service.line, 0)
            .remedy(format!(
                "install {name}, or correct `run` of the service in layer {}",
                layer.name
            )),
    )
}
