//! Layers: a layer for each service, in the order of what they need, with what a dry run imports and
//! when a service counts as ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::applications::health_of;
use super::carry::is_port;
use super::code::ApplicationCode;
use super::databases::alembic_file;
use super::default_units::{entries_of, missing_module, program_of, words, wsgi_of};
use super::draft::{LayerDraft, Note, ProbeDraft, Test, Unit};
use super::flask::migrate;
use super::listens::listening;
use super::text::{name_of, plain, unique};
use super::unit_order::{break_cycles, topological};
use crate::manifest::is_dotted;
use crate::source::{ApplicationObject, Framework};
use crate::source::{Program, program};

/// A path that says how the application is.
static HEALTH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:\.(?:get|route|api_route|add_api_route)|\bpath)\(\s*r?["'](/?(?:[A-Za-z0-9_./-]*/)?(?:health|healthz|healthcheck|health_check|livez|readyz|ready|ping|status|heartbeat)/?)["']"#).ok()
});

/// Programs that work and do not listen.
const QUIET: [&str; 8] = [
    "celery",
    "rq",
    "rqscheduler",
    "dramatiq",
    "arq",
    "huey_consumer",
    "taskiq",
    "faststream",
];

/// Layers for these services.
pub(super) fn layers(
    code: &ApplicationCode<'_>,
    mut units: Vec<Unit>,
    apps: &[&ApplicationObject],
    notes: &mut Vec<Note>,
) -> Vec<LayerDraft> {
    let mut taken = BTreeSet::new();
    let mut layers = Vec::new();
    if let Some(file) = alembic_file(code) {
        layers.push(migrations(code, file, &units, &mut taken));
    }
    break_cycles(&mut units);
    let order = topological(&units);
    // Layers of units that run here.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let images: BTreeMap<String, (String, Option<String>)> = units
        .iter()
        .filter_map(|unit| Some((unit.name.clone(), unit.image.clone()?)))
        .collect();
    for (name, (image, port)) in &images {
        let own = units.iter().find(|unit| unit.name == *name);
        let said = own.map(|unit| unit.notes.clone()).unwrap_or_default();
        match port {
            Some(port) => {
                let mut layer = waiting(name, image, port, &units, &mut taken);
                layer.notes.extend(said);
                layers.push(layer);
            }
            None => {
                notes.push(Note::unsure(format!(
                    "{} is the image {image}: it is not started from here, so it must run already",
                    plain(name)
                )));
                let own = said.into_iter().map(|note| Note {
                    text: format!("{}: {}", plain(name), note.text),
                    ..note
                });
                notes.extend(own);
            }
        }
    }
    require_ends(&mut units);
    for at in order {
        let unit = &units[at];
        if unit.image.is_some() {
            continue;
        }
        let name = unique(name_of(&unit.name, "service"), &mut taken);
        let known = Known {
            names: &names,
            images: &images,
            units: &units,
        };
        let layer = layer(code, unit.clone(), name.clone(), apps, &known);
        if layer.active && !unit.disabled {
            names.insert(unit.name.clone(), name);
        }
        layers.push(layer);
    }
    set_optional(&mut layers);
    layers
}

/// What is known of the other services.
struct Known<'a> {
    /// Layers of services that run here, by the service's own name.
    names: &'a BTreeMap<String, String>,
    images: &'a BTreeMap<String, (String, Option<String>)>,
    units: &'a [Unit],
}

/// What others wait for the end of is a task; its failure alone stops nothing.
fn require_ends(units: &mut [Unit]) {
    let awaited: BTreeSet<String> = units
        .iter()
        .flat_map(|unit| unit.needs.iter())
        .filter(|(_, condition)| *condition == "completed")
        .map(|(name, _)| name.clone())
        .collect();
    for unit in units.iter_mut().filter(|unit| awaited.contains(&unit.name)) {
        if !unit.oneshot {
            unit.optional = true;
            unit.run_once();
        }
    }
}

/// Only what others need, what answers, and tasks are critical; if nothing is, all is.
fn set_optional(layers: &mut [LayerDraft]) {
    let mut needed: BTreeSet<String> = BTreeSet::new();
    for layer in layers.iter().filter(|layer| layer.active) {
        needed.extend(layer.after.iter().cloned());
        let needs = layer.service.iter().flat_map(|unit| &unit.needs);
        needed.extend(needs.map(|(name, _)| name.clone()));
    }
    let is_beside = |layer: &LayerDraft| {
        let Some(unit) = layer.service.as_ref().filter(|_| layer.active) else {
            return false;
        };
        let is_tool = unit.run.iter().any(|word| word == "flower");
        unit.optional
            || (!needed.contains(&layer.name)
                && (is_tool || (unit.ready.is_none() && !unit.oneshot && !unit.is_held_back())))
    };
    let beside: Vec<bool> = layers.iter().map(is_beside).collect();
    let runs = |layer: &LayerDraft| {
        let unit = layer.service.as_ref();
        layer.active && unit.is_some_and(|unit| !unit.oneshot && !unit.is_held_back())
    };
    let is_any_critical = layers
        .iter()
        .zip(&beside)
        .any(|(layer, beside)| runs(layer) && !beside);
    for (layer, beside) in layers.iter_mut().zip(beside) {
        let says = layer.service.as_ref().is_some_and(|unit| unit.optional);
        layer.optional = beside && (is_any_critical || says);
    }
}

/// A layer that would wait for what runs elsewhere, written as a comment.
fn waiting(
    name: &str,
    image: &str,
    port: &str,
    units: &[Unit],
    taken: &mut BTreeSet<String>,
) -> LayerDraft {
    let needing: Vec<String> = units
        .iter()
        .filter(|unit| unit.image.is_none() && unit.after.iter().any(|needed| needed == name))
        .map(|unit| plain(&unit.name))
        .collect();
    let who = if needing.is_empty() {
        "what needs it".to_owned()
    } else {
        needing.join(" and ")
    };
    let own = unique(name_of(name, "service"), taken);
    let connect = format!("import socket; socket.create_connection((\"127.0.0.1\", {port}), 2)");
    let wait = format!("until python -c '{connect}' 2>/dev/null; do sleep 1; done");
    LayerDraft {
        name: own.clone(),
        notes: vec![Note::unsure(format!(
            "{} is the image {image}: it is not started from here, so it must run already. To wait for it at 127.0.0.1:{port}, take the # away and add \"{own}\" to the `after` of {who}",
            plain(name)
        ))],
        service: Some(Unit {
            name: own,
            run: ["timeout", "60", "sh", "-c", &wait]
                .map(str::to_owned)
                .to_vec(),
            oneshot: true,
            ..Unit::default()
        }),
        ..LayerDraft::default()
    }
}

fn migrations(
    code: &ApplicationCode<'_>,
    file: &str,
    units: &[Unit],
    taken: &mut BTreeSet<String>,
) -> LayerDraft {
    let name = unique("migrations".to_owned(), taken);
    let runs = units.iter().any(|unit| {
        let command = unit.run.join(" ");
        command.contains("alembic") || command.contains("db upgrade")
    });
    let why = if runs {
        "a service below runs the migrations already; otherwise this layer would"
    } else {
        "should the boot run the migrations? Then take the # away, and write after = [\"migrations\"] where tables are needed"
    };
    let unit = migrate(code, file).unwrap_or_else(|| Unit {
        run: words("python -m alembic upgrade head"),
        cwd: file
            .rsplit_once('/')
            .map(|(directory, _)| directory.to_owned()),
        ..Unit::default()
    });
    LayerDraft {
        name: name.clone(),
        notes: vec![Note::unsure(why)],
        service: Some(Unit {
            name,
            oneshot: true,
            ..unit
        }),
        ..LayerDraft::default()
    }
}

fn layer(
    code: &ApplicationCode<'_>,
    mut unit: Unit,
    name: String,
    apps: &[&ApplicationObject],
    known: &Known<'_>,
) -> LayerDraft {
    let mut layer = LayerDraft {
        name: name.clone(),
        active: !unit.run.is_empty(),
        ..LayerDraft::default()
    };
    if !unit.origin.is_empty() {
        layer.notes.push(Note::sure(unit.origin.clone()));
    }
    layer.notes.append(&mut unit.notes);
    let conditions = std::mem::take(&mut unit.needs);
    for needed in &unit.after {
        let target = known.units.iter().find(|other| other.name == *needed);
        if let Some(layer_name) = known.names.get(needed) {
            let condition = conditions.iter().find(|(name, _)| name == needed);
            let (condition, why) = match condition {
                Some((_, "logged")) if !target.is_some_and(waits_for_a_line) => {
                    (None, Some("it waits for a line of"))
                }
                Some((_, condition)) => (Some(*condition), None),
                None => (None, None),
            };
            if let Some(why) = why {
                layer.notes.push(Note::unsure(format!(
                    "{why} {} that is not declared; it waits until that is ready",
                    plain(needed)
                )));
            }
            match condition {
                Some(condition) => unit.needs.push((layer_name.clone(), condition)),
                None if !layer.after.contains(layer_name) => layer.after.push(layer_name.clone()),
                None => {}
            }
        } else if let Some((image, _)) = known.images.get(needed) {
            layer
                .notes
                .push(Note::sure(format!("needs {} ({image})", plain(needed))));
        } else if target.is_some_and(|other| other.disabled) {
            layer.notes.push(Note::unsure(format!(
                "it waits for {}, which is disabled; the need was left out",
                plain(needed)
            )));
        } else {
            layer.notes.push(Note::unsure(format!(
                "it waits for {}, which is not declared here",
                plain(needed)
            )));
        }
    }
    let own = program(&unit.run);
    let program = program_of(code, &unit);
    if !unit.disabled {
        layer.imports = imports(code, &unit, &program, apps, &mut layer.notes);
    }
    layer.startup = own.object.is_some() && program.serves && !layer.imports.is_empty();
    if unit.port.is_none() {
        unit.port = port_of(&unit);
    }
    let is_known = unit.port.is_some() || program.port.is_some();
    let listens = match listens(code, &unit, &program, apps).filter(|_| !is_known) {
        Some((port, place)) => {
            layer
                .notes
                .push(Note::sure(format!("listens at {port} ({place})")));
            unit.port = Some(port);
            true
        }
        None => false,
    };
    let is_probed = unit.ready.is_some() || unit.oneshot || unit.disabled;
    let port = program.port.clone().or_else(|| unit.port.clone());
    if !is_probed
        && let Some(port) = port
        && let Some(path) = health_of(&unit.run, &program.tool)
    {
        let url = format!("http://127.0.0.1:{port}{path}");
        unit.ready = Some(ProbeDraft::of(Test::Http(url)));
    } else if !is_probed && (program.serves || listens) {
        ready(
            code,
            &mut unit,
            &program,
            &layer.imports,
            apps,
            &mut layer.notes,
        );
    } else if !is_probed && let Some(port) = unit.port.clone() {
        unit.ready = Some(ProbeDraft::of(Test::Tcp(format!("127.0.0.1:{port}"))));
    }
    if program.tool == "manage.py"
        && !program.serves
        && unit.restart.is_none()
        && !unit.oneshot
        && unit
            .run
            .iter()
            .any(|word| matches!(word.as_str(), "migrate" | "collectstatic"))
    {
        unit.oneshot = true;
        (unit.ready, unit.live) = (None, None);
    }
    let is_probed = unit.ready.is_some() || unit.oneshot || unit.disabled;
    if !is_probed && layer.active {
        if unit.restart == Some("never") && unit.success.is_empty() && !program.serves {
            // Its end is no failure there.
            unit.success.push(0);
        }
        if !QUIET.contains(&program.tool.as_str()) {
            layer.notes.push(Note::unsure(
                "not probed: nothing says where it listens, if it does",
            ));
        }
    }
    unit.name = name;
    layer.service = Some(unit);
    layer
}

fn waits_for_a_line(unit: &Unit) -> bool {
    let ready = unit.ready.as_ref().filter(|_| !unit.oneshot);
    ready.is_some_and(|probe| matches!(probe.test, Test::Log(_)))
}

/// An option that takes an address to listen at, in any program: `--server-hosts`, `--api-bind`, `--listen-address`.
fn is_listening_option(option: &str) -> bool {
    let says = |word| matches!(word, "bind" | "listen" | "hosts");
    option.starts_with("--")
        && option
            .trim_start_matches('-')
            .split(['-', '.', '_'])
            .any(says)
}

/// The port that a command's options or its variables name, whichever program it is.
fn port_of(unit: &Unit) -> Option<String> {
    let mut words = unit.run.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word.as_str(), words.peek().map(|word| word.as_str())),
        };
        let value = value.unwrap_or("");
        let place = value.rsplit_once(':').map_or(value, |(_, port)| port);
        let found = match option {
            "--port" | "--http-port" | "--server-port" | "--server.port" | "--web-port" => value,
            "-p" if !QUIET.contains(&program(&unit.run).tool.as_str()) => value,
            "--bind" | "-b" | "--listen" | "--address" => place,
            _ if is_listening_option(option) => place,
            _ => continue,
        };
        if is_port(found) {
            return Some(found.to_owned());
        }
    }
    let named = unit.env.iter().find(|(name, _)| name == "PORT");
    named
        .map(|(_, value)| value.clone())
        .filter(|port| is_port(port))
}

/// The port that the source of a program names where it starts its server, and the place.
fn listens(
    code: &ApplicationCode<'_>,
    unit: &Unit,
    program: &Program,
    apps: &[&ApplicationObject],
) -> Option<(String, String)> {
    let is_program = program.run_module.is_some() || program.script.is_some();
    if !is_program || program.serves || program.tool == "manage.py" {
        return None;
    }
    let is_flask = |app: &&&ApplicationObject| app.framework == Framework::Flask && !app.is_factory;
    let flask: Vec<&str> = apps
        .iter()
        .filter(is_flask)
        .map(|app| app.attribute.as_str())
        .collect();
    entries_of(code, unit).iter().find_map(|module| {
        let main = format!("{module}.__main__");
        let file = code.file_of(&main).or_else(|| code.file_of(module))?;
        let found = listening(&code.facts.servers, file, &flask)?;
        Some((found.port, format!("{}:{}", plain(file), found.line)))
    })
}

/// Modules for the dry run: those that the service loads itself.
fn imports(
    code: &ApplicationCode<'_>,
    unit: &Unit,
    program: &Program,
    apps: &[&ApplicationObject],
    notes: &mut Vec<Note>,
) -> Vec<String> {
    let mut imports = Vec::new();
    if let Some(module) = missing_module(code, unit, program) {
        notes.push(Note::unsure(format!(
            "{} was not found in the sources",
            plain(&module)
        )));
    }
    for module in entries_of(code, unit) {
        let is_program = program.run_module.is_some() || program.script.is_some();
        let package_main = format!("{module}.__main__");
        if is_program && code.file_of(&package_main).is_some() {
            // `python -m package` runs its `__main__`; importing the package runs nothing.
        } else if is_program && !code.has_main_guard(&module) {
            notes.push(Note::unsure(format!(
                "{module} has no `if __name__ == \"__main__\"`, so a dry run that imports it would run it; it is left out"
            )));
            continue;
        }
        if is_dotted(&module) && !imports.contains(&module) {
            imports.push(module);
        }
    }
    if program.tool == "manage.py"
        || program
            .object
            .as_ref()
            .is_some_and(|(m, _)| m.ends_with("wsgi"))
    {
        let django = apps.iter().find(|app| app.framework == Framework::Django);
        if let Some(wsgi) = django.and_then(|app| wsgi_of(code, &code.name(&app.module)))
            && !imports.contains(&wsgi)
        {
            imports.retain(|module| module != "manage");
            imports.push(wsgi);
        }
    }
    imports
}

/// How to see that a server answers.
fn ready(
    code: &ApplicationCode<'_>,
    unit: &mut Unit,
    program: &Program,
    imports: &[String],
    apps: &[&ApplicationObject],
    notes: &mut Vec<Note>,
) {
    let Some(port) = program.port.clone().or_else(|| unit.port.clone()) else {
        return;
    };
    // What a shell would read from the environment is known here.
    let own = port
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let port = own
        .and_then(|name| unit.env.iter().find(|(own, _)| own == name))
        .map_or(port.clone(), |(_, value)| value.clone());
    let place = format!("127.0.0.1:{port}");
    let app = apps.iter().find(|app| {
        let module = code.name(&app.module);
        imports.contains(&module)
            || imports.iter().any(|import| {
                app.framework == Framework::Django
                    && wsgi_of(code, &module).as_ref() == Some(import)
            })
    });
    let found = app.and_then(|app| health_path(code, app, imports));
    match found {
        Some((path, at)) => {
            notes.push(Note::sure(format!("ready: {path} of {at}")));
            unit.ready = Some(ProbeDraft::of(Test::Http(format!("http://{place}{path}"))));
        }
        None => {
            let fast = app.filter(|app| app.framework == Framework::FastApi);
            let documented = fast.is_some_and(|app| {
                code.statement(&app.place).is_some_and(|text| {
                    !text.contains("openapi_url") && !text.contains("root_path")
                })
            });
            if documented {
                notes.push(Note::unsure(
                    "no route that says how the application is was seen; /openapi.json answers when it is up",
                ));
                unit.ready = Some(ProbeDraft::of(Test::Http(format!(
                    "http://{place}/openapi.json"
                ))));
            } else {
                notes.push(Note::unsure(format!(
                    "no route that says how the application is was seen; if there is one, write ready = {{ http = \"http://{place}/...\" }}"
                )));
                unit.ready = Some(ProbeDraft::of(Test::Tcp(place.clone())));
            }
        }
    }
    if unit.live.is_none() {
        unit.live = Some(ProbeDraft::of(Test::Tcp(place)));
    }
}

/// A route in the application's own file that says how it is, with its place: what other files define
/// stands behind a prefix that is not known here.
fn health_path(
    code: &ApplicationCode<'_>,
    app: &ApplicationObject,
    imports: &[String],
) -> Option<(String, String)> {
    let mut files: Vec<&str> = vec![&app.place.file];
    files.extend(imports.iter().filter_map(|module| code.file_of(module)));
    for file in files {
        let Some(text) = code.files.text(file) else {
            continue;
        };
        for found in HEALTH.as_ref()?.captures_iter(&text) {
            let (Some(path), Some(whole)) = (found.get(1), found.get(0)) else {
                continue;
            };
            // A router's own route has the router's prefix before it.
            let line_start = text[..whole.start()].rfind('\n').map_or(0, |at| at + 1);
            let before = &text[line_start..whole.start()];
            let owner = before.trim_start().trim_start_matches('@');
            let is_router = code
                .facts
                .routers
                .iter()
                .any(|router| router.place.file == *file && router.name == owner);
            if is_router || before.trim_start().starts_with('#') {
                continue;
            }
            let line = text[..path.start()].bytes().filter(|b| *b == b'\n').count() + 1;
            let slash = if path.as_str().starts_with('/') {
                ""
            } else {
                "/"
            };
            return Some((
                format!("{slash}{}", path.as_str()),
                format!("{}:{line}", plain(file)),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_from_options_of_any_program() {
        let port = |line: &str| {
            let run = shlex::split(line).unwrap();
            port_of(&Unit {
                run,
                ..Unit::default()
            })
        };
        for (line, expected) in [
            ("radicale --server-hosts 127.0.0.1:5232", Some("5232")),
            ("x --api.bind=:81", Some("81")),
            ("x --port 82", Some("82")),
            ("x --redis 127.0.0.1:6379", None),
            ("x --allowed-hosts a.example", None),
        ] {
            assert_eq!(port(line).as_deref(), expected, "{line}");
        }
    }
}
