//! What the services of the manifest ask of the environment: variables without a default, and programs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::certificates::variable_certificates;
use super::named_files::{named_files, template_findings};
use super::obstacles::obstacles;
use super::parts::part_missing;
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::edits::read_source;
use crate::checks::interpreter::service_environment;
use crate::checks::packages::moved_fix;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::Remedy;
use crate::kernel;
use crate::manifest::{Environment, EnvironmentError, Layer, ProbeKind, Service};
use crate::sandbox::find_program_in_copy;

/// The kernel reads no more of a script's first line (Linux, BINPRM_BUF_SIZE).
const LINE_BYTES_MAX: u64 = 256;

/// Variables that the manifest asks for and nobody sets, and programs that are nowhere.
///
/// `reported`: variables that have a critical finding of their own already.
pub(super) fn service_findings(
    context: &CheckContext<'_>,
    reported: &BTreeSet<String>,
) -> Vec<Finding> {
    let mut missing: BTreeMap<String, Finding> = BTreeMap::new();
    // What one service sets for itself, `run` and probes of another do not get.
    let of_all = context.environment.of_all_services();
    let mut ask = |environment: &Environment,
                   text: &str,
                   place: String,
                   severity: Severity,
                   line: u32| {
        let Some(name) = unset(context, environment, text) else {
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
        ask(
            context.environment,
            &schema.database,
            place,
            Severity::Critical,
            schema.line,
        );
    }
    let mut programs = Vec::new();
    let shared = service_environment(context.manifest, context.root, context.environment);
    let mut usable = BTreeSet::new();
    for (layer, service) in services(context) {
        let severity = severity_of(layer);
        for (key, text) in texts(service) {
            let place = format!("`{key}` of service {}", service.name);
            ask(&of_all, text, place, severity, service.line);
        }
        programs.extend(
            program_missing(context, layer, service, &shared, &mut usable)
                .or_else(|| module_missing(context, layer, service))
                .or_else(|| part_missing(context, service, severity)),
        );
        programs.extend(named_files(context, service, severity));
    }
    let obstacles = obstacles(context, services(context).map(|(_, service)| service));
    missing
        .into_values()
        .chain(programs)
        .chain(template_findings(context))
        .chain(variable_certificates(context))
        .chain(obstacles)
        .collect()
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
        let Some(probe) = probe else { continue };
        match &probe.kind {
            ProbeKind::Http(text) | ProbeKind::Tcp(text) | ProbeKind::File(text) => {
                texts.push((key, text));
            }
            ProbeKind::Exec(argv) => texts.extend(argv.iter().map(|word| (key, word.as_str()))),
            ProbeKind::Log(_) | ProbeKind::Notify | ProbeKind::Sql(_) => {}
        }
        let http = &probe.http;
        let more = http
            .headers
            .values()
            .chain(&http.socket)
            .chain(&http.ca_file);
        texts.extend(more.map(|text| (key, text.as_str())));
    }
    let words = service.stop.command.iter();
    texts.extend(words.map(|word| ("stop", word.as_str())));
    let files = service.env_files.iter();
    texts.extend(files.map(|file| ("env_file", file.path.as_str())));
    texts
}

/// The first variable in the text that has no value and no default.
fn unset(context: &CheckContext<'_>, environment: &Environment, text: &str) -> Option<String> {
    match environment.expand(text) {
        Err(EnvironmentError::Unset { name }) if !context.overrides.contains_key(&name) => {
            Some(name)
        }
        _ => None,
    }
}

/// A script whose first line names an interpreter that is not there: most often one that ends in a carriage return.
fn interpreter_line(
    context: &CheckContext<'_>,
    layer: &Layer,
    service: &Service,
    program: &Path,
) -> Option<Finding> {
    let mut first = Vec::new();
    let file = std::fs::File::open(program).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LINE_BYTES_MAX), &mut first).ok()?;
    let line = first
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let interpreter = line.trim_start().split([' ', '\t']).next()?;
    let ends_in_return = line.ends_with('\r');
    // `env` looks its argument up itself, with the carriage return.
    let is_missing = interpreter.starts_with('/') && !Path::new(interpreter).exists();
    if !ends_in_return && !is_missing {
        return None;
    }
    let shown = program
        .strip_prefix(context.root)
        .or_else(|_| program.strip_prefix(&context.manifest.workspace))
        .unwrap_or(program)
        .display();
    let message = format!(
        "{shown}, the program of service {}, cannot be started: its first line names the interpreter {:?}, which does \
         not exist",
        service.name,
        line.trim_start()
    );
    let remedy = if ends_in_return {
        format!("write {shown} with the line ends of Unix: `sed -i 's/\\r$//' {shown}`")
    } else {
        format!("install {interpreter}, or correct the first line of {shown}")
    };
    let severity = severity_of(layer);
    let finding = Finding::new(
        Code::ConfigProgramMissing,
        severity,
        service.name.as_str(),
        message,
    );
    let mut finding = finding.at(shown.to_string(), 1, 0).remedy(remedy);
    if ends_in_return {
        finding.fix = unix_line_ends(context.root, &shown.to_string());
    } else {
        finding.fix = moved_fix(context, program);
    }
    Some(finding)
}

/// The edit that takes the carriage returns at the ends of lines out of a script of the workspace.
fn unix_line_ends(root: &Path, file: &str) -> Option<Remedy> {
    let text = read_source(root, file)?;
    let returns = text.match_indices("\r\n");
    let mut edits = returns
        .map(|(at, _)| (at..at + 1, String::new()))
        .peekable();
    edits.peek()?;
    let what = "end lines as Unix does, so that its interpreter is found".to_owned();
    Some(Remedy::edit_text(file, &text, edits, what))
}

/// What a program is looked up by: its name, `PATH` and the directory.
type Lookup = (String, Option<String>, PathBuf);

/// A user, a directory, an environment file or a program of a service that is nowhere: it will not start. `usable` are the
/// programs that were found for services before it. What a one-shot
/// task of an earlier layer may still make is a warning.
fn program_missing(
    context: &CheckContext<'_>,
    layer: &Layer,
    service: &Service,
    shared: &BTreeMap<String, String>,
    usable: &mut BTreeSet<Lookup>,
) -> Option<Finding> {
    let expand = |text: &str| context.environment.expand(text).ok();
    let finding = |what: String, may_be_made: bool, remedy: String| {
        let severity = if may_be_made && has_maker(context, layer, service) {
            Severity::Warning
        } else {
            severity_of(layer)
        };
        let message = format!("{what} of service {} is missing", service.name);
        let (code, name) = (Code::ConfigProgramMissing, service.name.as_str());
        let finding = Finding::new(code, severity, name, message);
        Some(context.at_service(finding, service).remedy(remedy))
    };
    if let Some(user) = service.user.as_deref()
        && kernel::account(user).is_none()
    {
        let remedy = format!(
            "make the user, or correct `user` of service {}",
            service.name
        );
        return finding(format!("the user {user}"), false, remedy);
    }
    let cwd = match &service.cwd {
        Some(cwd) => context.root.join(expand(cwd)?),
        None => context.root.to_owned(),
    };
    if !cwd.is_dir() {
        let shown = service.cwd.as_deref().unwrap_or(".");
        let remedy = format!(
            "make the directory, or correct `cwd` of service {}",
            service.name
        );
        return finding(format!("the directory {shown}"), true, remedy);
    }
    for file in service.env_files.iter().filter(|file| !file.optional) {
        if !context.root.join(expand(&file.path)?).is_file() {
            let remedy = format!(
                "make the file, or write `env_file = {{ path = \"{}\", optional = true }}`",
                file.path
            );
            return finding(format!("the environment file {}", file.path), true, remedy);
        }
    }
    let name = expand(service.run.first()?)?;
    let mut env = Cow::Borrowed(shared);
    for (name, value) in &service.env {
        env.to_mut().insert(name.clone(), expand(value)?);
    }
    let lookup = (name.clone(), env.get("PATH").cloned(), cwd.clone());
    if usable.contains(&lookup) {
        return None;
    }
    let live = &context.manifest.workspace;
    if let Ok(found) = find_program_in_copy(&name, &env, &cwd, context.root, live) {
        let finding = interpreter_line(context, layer, service, &found);
        if finding.is_none() {
            usable.insert(lookup);
        }
        return finding;
    }
    let why = if name.contains('/') && cwd.join(&name).is_file() {
        "the file is not executable (`chmod +x`)"
    } else if name.contains('/') {
        "there is no such executable file"
    } else {
        "it is not in PATH"
    };
    let remedy = format!(
        "install {name}, or correct `run` of the service in layer {}",
        layer.name
    );
    let mut found = finding(format!("the program {name}"), true, remedy)?;
    found.message = format!("{}: {why}", found.message);
    Some(found)
}

/// `python -m PACKAGE.MODULE`, where the package lies in the service's directory and has no such module.
fn module_missing(context: &CheckContext<'_>, layer: &Layer, service: &Service) -> Option<Finding> {
    let run = AsRun::of_service(context, service);
    // What a dry run imports is told by it; a worker's object may be a name in its package (`celery -A jobs.app`).
    let object = run
        .program
        .object
        .as_ref()
        .map(|(module, _)| module.as_str());
    let rehearse = layer.rehearse.as_ref();
    let is_rehearsed =
        |module: &str| rehearse.is_some_and(|r| r.imports.iter().any(|name| name == module));
    let object = object.filter(|module| run.program.directory.is_none() && !is_rehearsed(module));
    let is_object = object.is_some();
    let module = run.program.run_module.as_deref().or(object)?;
    let (package, last) = module.rsplit_once('.')?;
    let place = context.root.join(run.cwd.as_deref().unwrap_or_default());
    let directory = place.join(package.replace('.', "/"));
    // One that extends its own path may have modules elsewhere.
    let initial = std::fs::read_to_string(directory.join("__init__.py")).ok()?;
    if initial.contains("__path__")
        || (is_object && initial.contains(last))
        || has_maker(context, layer, service)
    {
        return None;
    }
    let entries = std::fs::read_dir(&directory).ok()?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    // A package, a source or a compiled module.
    let names: BTreeSet<String> = names
        .filter_map(|name| Some(name.split('.').next()?.to_owned()))
        .collect();
    if names.contains(last) {
        return None;
    }
    let near: Vec<&String> = names
        .iter()
        .filter(|name| strsim::osa_distance(name, last) == 1)
        .collect();
    let remedy = match near.as_slice() {
        [near] => format!(
            "correct `run` of service {}: {package}.{near} is there",
            service.name
        ),
        _ => format!(
            "write the module, or correct `run` of service {}",
            service.name
        ),
    };
    let message = format!("the module {module} of service {} is missing", service.name);
    let (code, name) = (Code::ConfigProgramMissing, service.name.as_str());
    let finding = Finding::new(code, severity_of(layer), name, message);
    Some(context.at_service(finding, service).remedy(remedy))
}

/// A one-shot task runs before it, and may make what it needs.
fn has_maker(context: &CheckContext<'_>, layer: &Layer, service: &Service) -> bool {
    let mut before = context
        .manifest
        .layers
        .iter()
        .take_while(|other| other.name != layer.name)
        .flat_map(|other| &other.services);
    let mut beside = layer
        .services
        .iter()
        .take_while(|other| other.name != service.name);
    before.any(|other| other.oneshot) || beside.any(|other| other.oneshot)
}
