//! `ubs init`: looks at a workspace and writes the manifest that an engineer would begin with.
//!
//! Reads files of the workspace (bounded, never through a link that leads out of it), takes the facts of
//! the static scan, and infers: pure functions from both to a draft, and from the draft to a text that the
//! manifest's own parser takes. What it does not know for sure is marked `# unsure:`. Runs nothing of the
//! application and copies no value of an environment file.

mod applications;
mod carry;
mod code;
mod compose;
mod container;
mod databases;
mod default_units;
mod draft;
mod files;
mod flask;
mod installed;
mod layers;
mod listens;
mod literal_object;

mod pm2;
mod probes;
mod process_compose;
mod procfile;
mod routes;
mod save;
mod setting;
mod shell;
mod supervisord;
mod systemd;
mod text;
mod unit_order;
mod variables;
mod write;
mod yaml;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::manifest::{Manifest, ManifestError};
use crate::source::{Framework, ScanOptions, SourceFacts, read_sources};
use code::ApplicationCode;
pub(crate) use draft::Unsure;
use draft::{Draft, Note, Units};
use files::Files;

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// A file of that name is there.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was written is no manifest: a bug.
    #[error("what ubs wrote is no manifest; this is a bug in ubs: {0}")]
    Bug(Box<ManifestError>),
}

/// What was seen of a workspace, and the manifest for it.
#[derive(Debug, Serialize)]
pub(crate) struct Survey {
    /// The manifest.
    #[serde(skip)]
    pub text: String,
    /// What was found.
    pub found: Found,
    /// What a person should look at.
    pub unsure: Vec<Unsure>,
    /// Keys of the files of other process managers that a manifest does not have.
    pub not_carried: Vec<NotCarried>,
    /// Files that are there and could not be used, with the reason.
    pub messages: Vec<String>,
}

/// What of a file was not carried over. A comment of the manifest says the same where it was.
#[derive(Debug, Serialize)]
pub(crate) struct NotCarried {
    /// File, or file and line of the service.
    pub place: String,
    /// The service; none for what stands beside the services.
    pub service: Option<String>,
    /// Dotted keys.
    pub keys: Vec<String>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// Name of the application.
    pub app: String,
    /// The interpreter that the manifest names.
    pub interpreter: Option<String>,
    /// Python files that were read, and their lines.
    pub python_files: usize,
    /// Their lines.
    pub python_lines: usize,
    /// Application objects, the registered one first.
    pub applications: Vec<String>,
    /// Declared variables.
    pub variables: usize,
    /// Those of them without which the application does not start.
    pub required: usize,
    /// Declared schemas.
    pub schemas: usize,
    /// Expected services.
    pub services: usize,
    /// Declared layers, in the order of the file.
    pub layers: Vec<String>,
    /// Files that the layers come from.
    pub from: Vec<String>,
}

impl Survey {
    /// Nothing was found that could be checked or started.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let found = &self.found;
        found.layers.is_empty()
            && found.variables == 0
            && found.schemas == 0
            && found.applications.is_empty()
    }

    /// Writes the manifest to `path`, in one step. Replaces a file only if told so.
    ///
    /// # Errors
    /// There is a file already, or it cannot be written.
    pub(crate) fn save(&self, path: &Path, replace: bool) -> Result<(), InitError> {
        save::save(path, &self.text, replace).map_err(|unsaved| match unsaved {
            save::Unsaved::Exists => InitError::Exists(path.to_owned()),
            save::Unsaved::Io(source) => InitError::Unwritable {
                path: path.to_owned(),
                source,
            },
        })
    }
}

/// Reads the sources of a workspace and gives the manifest for it.
///
/// # Errors
/// Only by a bug: what was written is no manifest.
pub(crate) fn look(workspace: &Path) -> Result<Survey, InitError> {
    let options = ScanOptions::default();
    let facts = read_sources(workspace, &[], &options);
    let files = Files::of(workspace);
    let (units, _) = read_units(&files);
    let mut roots = code::find_roots(&facts, &directories(&files, &units));
    if roots.is_empty() {
        return survey(workspace, &facts);
    }
    // Names are followed through imports, so the pass has to know where imports begin.
    roots.push(".".to_owned());
    survey(workspace, &read_sources(workspace, &roots, &options))
}

/// Where services run, other than in the workspace itself, and where the packaging says that sources lie.
fn directories(files: &Files, units: &Units) -> Vec<String> {
    let mut directories = setting::source_directories(files);
    for directory in units.units.iter().filter_map(|unit| unit.cwd.clone()) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// The manifest for a workspace whose sources say this.
///
/// # Errors
/// Only by a bug: what was written is no manifest.
pub(crate) fn survey(workspace: &Path, facts: &SourceFacts) -> Result<Survey, InitError> {
    let files = Files::of(workspace);
    let (mut draft, found, not_carried) = infer(&files, facts);
    installed::rehearse_installed(workspace, &mut draft.layers);
    let written = write::write(&mut draft);
    Manifest::parse(
        &written.text,
        &workspace.join(crate::manifest::MANIFEST_NAME),
    )
    .map_err(|error| InitError::Bug(Box::new(error)))?;
    let active_vars = || draft.config.vars.iter().filter(|var| var.active);
    Ok(Survey {
        found: Found {
            app: draft.name.clone(),
            interpreter: draft.python.interpreter.clone(),
            variables: active_vars().count(),
            required: active_vars().filter(|var| var.required).count(),
            schemas: draft.schemas.iter().filter(|schema| schema.active).count(),
            services: draft
                .registration
                .as_ref()
                .filter(|registration| registration.active)
                .map_or(0, |registration| registration.services.len()),
            layers: draft
                .layers
                .iter()
                .filter(|layer| layer.active)
                .map(|layer| layer.name.clone())
                .collect(),
            ..found
        },
        text: written.text,
        unsure: written.unsure,
        not_carried,
        messages: files.into_messages(),
    })
}

fn infer(files: &Files, facts: &SourceFacts) -> (Draft, Found, Vec<NotCarried>) {
    let (mut units, from) = read_units(files);
    let not_carried = not_carried(&units);
    let code = ApplicationCode::of(facts, files, &directories(files, &units));
    let mut draft = Draft {
        python: setting::python(files, &code),
        ..Draft::default()
    };
    setting::name(&mut draft, files, &units);
    let packages = setting::packages(files, &draft.python);
    let started: Vec<(String, String)> = units
        .units
        .iter()
        .filter_map(|unit| {
            let (_, attribute) = default_units::program_of(&code, unit).object?;
            let module = default_units::entries_of(&code, unit).into_iter().next()?;
            Some((module, attribute))
        })
        .collect();
    let apps = routes::applications(&code, &started);
    let mut entries: Vec<String> = units
        .units
        .iter()
        .flat_map(|unit| default_units::entries_of(&code, unit))
        .collect();
    let by_file = units.units.iter().any(|unit| !unit.run.is_empty());
    // Without a file that says so, each application is one that is started.
    let started_apps = if by_file {
        &apps[..apps.len().min(1)]
    } else {
        &apps[..]
    };
    entries.extend(started_apps.iter().map(|app| code.name(&app.module)));
    let (config, env) = setting::config(files, &code, &units);
    draft.config = config;
    draft.config.vars = variables::variables(&code, &entries, &env, &units.references);
    draft.schemas =
        databases::schemas(&code, &env, &mut draft.config.vars, &mut draft.schema_notes);
    let django = apps.iter().find(|app| app.framework == Framework::Django);
    if let Some(app) = django.filter(|_| draft.schemas.is_empty()) {
        let module = code.name(&app.module);
        let vars = &draft.config.vars;
        let schema = databases::django_schema(&code, &app.place.file, &module, &env, vars);
        draft.schemas.push(schema);
    }
    if !by_file {
        let defaults = default_units::default_units(&code, &apps, &draft.config.vars, &packages);
        units.units.extend(defaults);
        if apps.is_empty() {
            units.units.extend(applications::unit_of(files, &packages));
        }
    }
    draft.registration = routes::registration(&code, &apps);
    draft.layer_notes.append(&mut units.notes);
    draft.layers = layers::layers(&code, units.units, &apps, &mut draft.layer_notes);
    if !by_file {
        let programs = default_units::programs(&code, &draft.layers);
        draft.layers.extend(programs);
    }
    if facts.truncated {
        draft.config.notes.push(Note::unsure(format!(
            "there are more than {} Python files; the rest was not read",
            facts.files
        )));
    }
    if !facts.syntax_errors.is_empty() {
        for error in facts.syntax_errors.iter().take(10) {
            files.message(format!(
                "{}:{} is no Python: {}",
                error.place.file, error.place.line, error.message
            ));
        }
    }
    let found = Found {
        python_files: facts.files,
        python_lines: facts.lines,
        applications: apps.iter().map(|app| routes::app_of(&code, app)).collect(),
        from,
        ..Found::default()
    };
    (draft, found, not_carried)
}

fn not_carried(units: &Units) -> Vec<NotCarried> {
    let beside = NotCarried {
        place: units.file.clone(),
        service: None,
        keys: units.left.clone(),
    };
    let own = units.units.iter().map(|unit| NotCarried {
        place: unit.origin.clone(),
        service: Some(text::plain(&unit.name)),
        keys: unit.left.clone(),
    });
    let all = std::iter::once(beside).chain(own);
    all.filter(|left| !left.keys.is_empty()).collect()
}

/// The services that files of other process managers describe, and which files these are.
fn read_units(files: &Files) -> (Units, Vec<String>) {
    let mut from: Vec<String> = Vec::new();
    let mut units: Option<Units> = None;
    let mut add = |name: String, read: Units| {
        units = Some(join(units.take(), read, &name));
        from.push(name);
    };
    if let Some(name) = files.first(&process_compose::NAMES) {
        add(name.to_owned(), process_compose::read(files, name));
    }
    if files.exists("Procfile") {
        let read = match files.text("Procfile") {
            Some(text) => procfile::read("Procfile", &text),
            None => Units::default(),
        };
        add("Procfile".to_owned(), read);
    }
    if let Some(name) = files.first(&pm2::NAMES) {
        add(name.to_owned(), pm2::read(files, name));
    }
    if let Some(name) = files.first(&supervisord::NAMES) {
        add(name.to_owned(), supervisord::read(files, name));
    }
    let found = systemd::units_of(files);
    if !found.is_empty() {
        let read = systemd::read(files, &found);
        add(found.join(", "), read);
    }
    if let Some(name) = files.first(&compose::NAMES) {
        add(name.to_owned(), compose::read(files, name));
    }
    let units = units.unwrap_or_default();
    if units.units.iter().all(|unit| unit.run.is_empty())
        && let Some(text) = files.text("Dockerfile")
        && let Some(built) = built_unit(files, &text)
    {
        from.push("Dockerfile".to_owned());
        return (join(Some(built), units, "the compose file"), from);
    }
    (units, from)
}

/// The service that a Dockerfile in the workspace itself is made for.
fn built_unit(files: &Files, text: &str) -> Option<Units> {
    let mut built = container::dockerfile(text, None);
    let run = [
        std::mem::take(&mut built.entrypoint),
        std::mem::take(&mut built.command),
    ]
    .concat();
    let program = crate::source::program(&run);
    // A base image's command, or a script inside the container, would not run here.
    let ours = program.object.is_some() || program.run_module.is_some() || program.script.is_some();
    let work = built.directories.work.as_deref();
    let cwd = work.and_then(|path| built.directories.origin_of(path));
    let cwd = cwd.filter(|path| path != "." && files.is_dir(path));
    let env = built.env_in(cwd.as_deref(), None);
    let left: Vec<String> = built.left.iter().map(|text| text::plain(text)).collect();
    let left = (!left.is_empty())
        .then(|| Note::not_carried(&format!(" from Dockerfile: {}", left.join(", "))));
    let unit = draft::Unit {
        name: "web".to_owned(),
        origin: "Dockerfile".to_owned(),
        run,
        cwd,
        env,
        port: built.port,
        notes: left.into_iter().collect(),
        ..draft::Unit::default()
    };
    let references = built
        .references
        .into_iter()
        .map(|reference| draft::Reference {
            origin: "Dockerfile".to_owned(),
            ..reference
        });
    ours.then(|| Units {
        references: references.collect(),
        units: vec![unit],
        ..Units::default()
    })
}

/// The first file that has services counts; of a second one, what the first does not say.
fn join(first: Option<Units>, second: Units, name: &str) -> Units {
    let Some(mut first) = first.filter(|units| units.units.iter().any(|u| !u.run.is_empty()))
    else {
        return second;
    };
    first.name = first.name.or(second.name);
    first.notes.extend(second.notes);
    first.left.extend(second.left);
    let mut left = Vec::new();
    for unit in second.units {
        match first.units.iter_mut().find(|own| own.name == unit.name) {
            Some(own) => add_to(own, unit),
            None if unit.image.is_some() => first.units.push(unit),
            None => left.push(text::plain(&unit.name)),
        }
    }
    if !left.is_empty() {
        first.notes.push(Note::unsure(format!(
            "{name} declares more services, which were left out: {}",
            left.join(", ")
        )));
    }
    first
}

/// What a second file says of a service, as far as the first one says nothing.
fn add_to(own: &mut draft::Unit, unit: draft::Unit) {
    if own.ready.is_none() && !own.oneshot {
        own.ready = unit.ready;
        own.live = unit.live;
    }
    for needed in unit.after {
        if !own.after.contains(&needed) {
            own.after.push(needed);
        }
    }
    for need in unit.needs {
        if own.needs.iter().all(|(name, _)| *name != need.0) {
            own.needs.push(need);
        }
    }
    if own.restart.is_none() && !own.oneshot {
        own.restart = unit.restart;
        own.restart_max = own.restart_max.or(unit.restart_max);
        own.restart_backoff_ms = own.restart_backoff_ms.or(unit.restart_backoff_ms);
        own.restart_max_backoff_ms = own.restart_max_backoff_ms.or(unit.restart_max_backoff_ms);
        own.restart_reset_ms = own.restart_reset_ms.or(unit.restart_reset_ms);
    }
    own.stop_signal = own.stop_signal.take().or(unit.stop_signal);
    own.user = own.user.take().or(unit.user);
    own.umask = own.umask.take().or(unit.umask);
    own.min_uptime_ms = own.min_uptime_ms.or(unit.min_uptime_ms);
    if own.success.is_empty() {
        own.success = unit.success;
    }
    if own.stop_command.is_empty() {
        own.stop_command = unit.stop_command;
    }
    own.stop_timeout_ms = own.stop_timeout_ms.or(unit.stop_timeout_ms);
    if own.limits.is_empty() {
        own.limits = unit.limits;
    }
    for file in unit.env_file {
        if !own.env_file.contains(&file) {
            own.env_file.push(file);
        }
    }
    let mut apart = Vec::new();
    for (name, value) in unit.env {
        match own.env.iter().find(|(known, _)| *known == name) {
            Some((_, known)) if *known == value => {}
            _ => apart.push(text::plain(&name)),
        }
    }
    if !unit.run.is_empty() && unit.run != own.run {
        apart.insert(0, "its command".to_owned());
    }
    if unit.cwd.is_some() && unit.cwd != own.cwd {
        apart.insert(0, "its directory".to_owned());
    }
    if !apart.is_empty() {
        own.notes.push(Note::unsure(format!(
            "{} describes it too; not taken from there: {}",
            unit.origin,
            apart.join(", ")
        )));
    }
    own.notes
        .extend(unit.notes.into_iter().filter(|note| note.unsure));
    own.left.extend(unit.left);
}

#[cfg(test)]
mod tests;

/// Reads any text as YAML and as a compose file.
pub(crate) fn read_any_compose(text: &str) {
    let _ = yaml::parse(text);
    let _ = compose::read(&files::Files::of_text("compose.yaml", text), "compose.yaml");
}
