//! What to do about an exception: what its kind is known for. A remedy is right, or is not given here.

mod messages;
mod pairs;
mod standard;

use std::path::Path;

use super::as_run::AsRun;
use super::config::{mend_postgres, replace_part};
use super::context::CheckContext;
use super::packages::{ADD_TO_REQUIREMENTS, Packages, package_of};
use super::raised::Raised;
use crate::domain::code::Code;
use crate::domain::finding::Location;
use crate::domain::redact::Redactor;
use crate::domain::remedy::Remedy;
use crate::kernel::near_path;
use crate::manifest::Service;
use crate::source::near_names;

pub(super) use standard::{standard_remedy, taken_away};

/// What to do about a message that is known by itself.
pub(super) fn message_remedy(text: &str) -> Option<&'static str> {
    messages::remedy(std::iter::once(text))
}

/// The installed package whose version is known to be to blame for an exception, and those that do, as a requirement.
pub(super) fn settling(raised: &Raised) -> Option<(&'static str, String)> {
    if raised.kind == "ModuleNotFoundError" {
        let (package, versions) = taken_away(raised.name.as_deref()?)?;
        return Some((package, format!("{package}{versions}")));
    }
    let (package, pin) = pairs::settling(raised.texts())?;
    Some((package, pin.to_owned()))
}

/// Fields of a model that a message names.
const FIELDS_MAX: usize = 4;

/// What is known about an exception.
#[derive(Debug, Default)]
pub(super) struct Advice {
    pub remedy: String,
    /// What the message leaves out; empty if nothing.
    pub more: String,
    /// The code, if the kind of the exception would mean another one.
    pub code: Option<Code>,
    /// The place where the remedy is carried out, if it is not where it was raised.
    pub place: Option<Location>,
    /// What a fixer can do, if that is beyond doubt.
    pub fix: Option<Remedy>,
    /// Why a person has to look at that first, if one has to.
    pub asks: Option<&'static str>,
}

impl Advice {
    fn of(remedy: String) -> Self {
        Self {
            remedy,
            ..Self::default()
        }
    }

    fn import(remedy: String) -> Self {
        Self {
            remedy,
            code: Some(Code::RehearsalImportError),
            ..Self::default()
        }
    }
}

/// What to do about an exception of a kind that is known.
pub(super) fn advise(
    context: &CheckContext<'_>,
    as_run: &AsRun,
    packages: Option<&Packages>,
    raised: &Raised,
) -> Option<Advice> {
    hidden(context, raised)
        .or_else(|| settings_module(context, raised))
        .or_else(|| lacking_object(context, raised))
        .or_else(|| missing_module(context, packages, raised))
        .or_else(|| without_package(as_run, raised))
        .or_else(|| {
            let version = |name: &str| packages?.version_of(name);
            pairs::quarrel(raised.texts(), version).map(Advice::of)
        })
        .or_else(|| messages::remedy(raised.texts()).map(|remedy| Advice::of(remedy.to_owned())))
        .or_else(|| fields(context, raised))
        .or_else(|| variable(context, raised))
        .or_else(|| twice(context, raised))
        .or_else(|| dialect(context, raised))
        .or_else(|| directory(context, raised))
        .or_else(|| directory_beyond(context, raised))
        .or_else(|| asked_for(packages, raised))
        .or_else(|| misconfigured(raised))
}

/// A file of the application has the name of what it means to import.
fn hidden(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let is_import = matches!(raised.kind.as_str(), "ImportError" | "ModuleNotFoundError");
    let is_half = raised.message.contains("partially initialized module")
        || (raised.kind == "AttributeError" && raised.message.starts_with("module '"));
    let [name, file, what] = raised.hides.as_slice() else {
        return None;
    };
    // `import celery` of one's own celery.py is no mistake where nothing else is wanted of it.
    let of_it = raised.name.as_deref().unwrap_or_default();
    let is_meant = is_half || (is_import && of_it.split('.').next() == Some(name));
    if !is_meant {
        return None;
    }
    let clean = |text: &str| context.redactor.clean(text, 256);
    let what = match what.as_str() {
        "standard" => "the module of the standard library",
        _ => "the installed package",
    };
    let (name, file) = (clean(name), clean(file));
    let other = if file.ends_with("__init__.py") {
        format!("the directory of {file}")
    } else {
        file.clone()
    };
    Some(Advice::import(format!(
        "rename {other} (and what imports it): it hides {what} {name}, which is imported by the same name"
    )))
}

/// What never comes by installing a package of the module's own name.
fn missing_module(
    context: &CheckContext<'_>,
    packages: Option<&Packages>,
    raised: &Raised,
) -> Option<Advice> {
    if raised.kind != "ModuleNotFoundError" {
        return None;
    }
    let module = context.redactor.clean(raised.name.as_deref()?, 256);
    if let Some(remedy) = standard_remedy(&module) {
        return Some(Advice::import(remedy));
    }
    if let Some((package, versions)) = taken_away(&module) {
        let found = packages.and_then(|packages| packages.version_of(package));
        let has = found.map_or_else(String::new, |version| {
            format!(" ({version} is installed, which has it no longer)")
        });
        return Some(Advice::of(format!(
            "pin {package}{versions} in the requirements{has}, or take a version of what imports {module} that does \
             without it"
        )));
    }
    let top = module.split('.').next().unwrap_or(&module);
    let base = in_workspace(context, top)?;
    Some(Advice::import(format!(
        "{top} lies in {base}, which is not on the import path: add PYTHONPATH = \"{base}\" to `env` of the service \
         (and \"{base}\" to python.path), or import it by its full name"
    )))
}

/// The directory of the workspace in which a top-level module lies that no import finds.
pub(super) fn in_workspace(context: &CheckContext<'_>, top: &str) -> Option<String> {
    let files = context
        .facts()
        .modules
        .iter()
        .map(|(_, file)| file.as_str());
    let mut bases: Vec<&str> = files
        .filter_map(|file| {
            let inside = format!("/{file}");
            let at = inside
                .find(&format!("/{top}/"))
                .or_else(|| inside.strip_suffix(&format!("/{top}.py")).map(str::len))?;
            file.get(..at.saturating_sub(1))
                .filter(|base| !base.is_empty())
        })
        .collect();
    bases.sort_by_key(|base| (base.matches('/').count(), base.len()));
    bases.first().map(|base| (*base).to_owned())
}

/// A module of a package that is run as a script.
fn without_package(as_run: &AsRun, raised: &Raised) -> Option<Advice> {
    let script = as_run.program.script.as_deref()?;
    if !raised
        .message
        .contains("attempted relative import with no known parent package")
    {
        return None;
    }
    let module = script.trim_end_matches(".py").replace('/', ".");
    Some(Advice::import(format!(
        "run it as a module of its package: `python -m {module}` in `run` of the service (and in the Procfile or \
         compose file that it comes from), since a script has no package for relative imports"
    )))
}

/// What pydantic says of each field.
fn fields(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    if raised.fields.is_empty() {
        return None;
    }
    let clean = |text: &str| context.redactor.clean(text, 200);
    let model = clean(&raised.title);
    let mut told = Vec::new();
    let (mut extra, mut missing, mut place) = (Vec::new(), Vec::new(), None);
    for (field, kind, message) in raised.fields.iter().take(FIELDS_MAX) {
        let (field, message) = (clean(field), clean(message));
        let set = assigned(context, &field);
        let at = set.as_ref().map_or_else(String::new, |(name, file, line)| {
            format!(" ({name}, {file}:{line})")
        });
        told.push(format!("{field}{at}: {message}"));
        match (kind.as_str(), &set) {
            ("extra_forbidden", Some((name, file, line))) => {
                extra.push(format!("{name} out of {file}:{line}"));
            }
            ("extra_forbidden", None) => extra.push(field.clone()),
            ("missing", _) => missing.push(field.to_ascii_uppercase()),
            _ => {}
        }
        if let (None, Some((_, file, line))) = (&place, set) {
            place = Some(Location {
                file,
                line,
                column: 0,
            });
        }
    }
    let rest = raised.fields.len().saturating_sub(FIELDS_MAX);
    let more = match rest {
        0 => told.join("; "),
        _ => format!("{}; {rest} more", told.join("; ")),
    };
    let remedy = if !extra.is_empty() {
        format!(
            "write extra=\"ignore\" in the SettingsConfigDict of {model}, or take {}",
            extra.join(" and ")
        )
    } else if !missing.is_empty() {
        format!("set {}, or give {model} a default", missing.join(" and "))
    } else {
        format!("correct the value, or what {model} asks of it")
    };
    Some(Advice {
        remedy,
        more,
        code: None,
        place,
        fix: None,
        asks: None,
    })
}

/// `os.environ["NAME"]` of a variable that is not set.
fn variable(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let name = (raised.kind == "KeyError").then_some(raised.message.trim_matches('\''))?;
    let reads = &context.facts().env_reads;
    let is_read = reads.iter().any(|read| read.name == name);
    if !is_read || context.environment.values.contains_key(name) {
        return None;
    }
    let file = context.manifest.config.files.last();
    let place = file.map_or_else(
        || "in the environment of ubs".to_owned(),
        |file| format!("in {file}"),
    );
    Some(Advice::of(format!(
        "set {name} {place}, or in `env` of the service that reads it"
    )))
}

/// Where an environment file sets the variable of a field.
fn assigned(context: &CheckContext<'_>, field: &str) -> Option<(String, String, u32)> {
    let files = context.environment.files.iter();
    let entries = files.filter_map(|(file, parsed)| Some((file, &parsed.as_ref()?.entries)));
    let mut found =
        entries.flat_map(|(file, entries)| entries.iter().map(move |entry| (file, entry)));
    found.find_map(|(file, entry)| {
        entry
            .name
            .eq_ignore_ascii_case(field)
            .then(|| (entry.name.clone(), file.clone(), entry.line))
    })
}

/// A module that was imported by two names runs twice.
fn twice(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let file = raised.twice.first()?;
    let is_again =
        raised.message.contains("already") || raised.message.contains("Multiple classes");
    let at = raised.frames.iter().position(|frame| frame.file == *file)?;
    if !is_again {
        return None;
    }
    let file = context.redactor.clean(file, 256);
    let module = file
        .trim_end_matches(".py")
        .trim_end_matches("/__init__")
        .replace('/', ".");
    let place = at
        .checked_sub(1)
        .and_then(|before| raised.frames.get(before));
    let importer = place.map_or_else(String::new, |frame| {
        let frame_file = context.redactor.clean(&frame.file, 256);
        format!(" in {frame_file}:{}", frame.line)
    });
    Some(Advice {
        remedy: format!(
            "import {file} by one name everywhere, {module}: by another one{importer} it runs a second time"
        ),
        more: format!("{file} is imported by two names"),
        code: None,
        place: place.map(|frame| Location {
            file: context.redactor.clean(&frame.file, 512),
            line: frame.line,
            column: 0,
        }),
        fix: None,
        asks: None,
    })
}

/// SQLAlchemy has no dialect of that name since 1.4.
fn dialect(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let is_old = raised.kind == "NoSuchModuleError"
        && raised.message.contains("sqlalchemy.dialects:postgres")
        && !raised.message.contains("sqlalchemy.dialects:postgresql");
    if !is_old {
        return None;
    }
    let (name, origin) =
        context
            .environment
            .values
            .iter()
            .find_map(|(name, (value, origin))| {
                value.starts_with("postgres:").then_some((name, origin))
            })?;
    let place = match origin {
        crate::manifest::Origin::File(file, line) => Some(Location {
            file: file.display().to_string(),
            line: *line,
            column: 0,
        }),
        _ => None,
    };
    let at = place
        .as_ref()
        .map_or_else(String::new, |l| format!(" ({}:{})", l.file, l.line));
    Some(Advice {
        remedy: format!(
            "write postgresql:// instead of postgres:// in {name}{at}: SQLAlchemy does not know the short form since 1.4"
        ),
        place,
        fix: mend_postgres(context, name, origin),
        asks: Some("it leads to a database"),
        ..Advice::default()
    })
}

/// A directory that has to be there.
fn directory(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let directory = context.redactor.clean(&raised.directory, 256);
    // An environment is no part of a repository.
    let is_kept = !directory.starts_with('.') && !directory.contains("site-packages");
    let keep = if is_kept {
        format!("; an empty {directory}/.gitkeep keeps it in the repository")
    } else {
        String::new()
    };
    let near = near_path(&context.root.join(&directory));
    let near =
        near.and_then(|path| Some(path.strip_prefix(context.root).ok()?.display().to_string()));
    let beside = near.as_ref().map_or_else(String::new, |near| {
        let near = context.redactor.clean(near, 256);
        format!(", and {near} beside it, one letter off, does")
    });
    // An empty one would hide what was misspelt.
    let fix = match &near {
        Some(near) => misspelt_in(context, &directory, near),
        None => (directory == raised.directory).then(|| Remedy::MakeDirectory {
            path: directory.clone(),
        }),
    };
    (!directory.is_empty()).then(|| Advice {
        remedy: format!(
            "make the directory {directory} (`mkdir -p {directory}`{keep}), or correct the setting that names it"
        ),
        more: format!("the directory {directory} does not exist{beside}"),
        asks: near.map(|_| "another directory may be meant"),
        fix,
        ..Advice::default()
    })
}

/// The edit of the one variable that names a directory which is not there, beside one that is.
fn misspelt_in(context: &CheckContext<'_>, directory: &str, near: &str) -> Option<Remedy> {
    let plain = |value: &str| value.trim_start_matches("./").trim_end_matches('/') == directory;
    let values = context.environment.values.iter();
    let mut found = values.filter(|(_, (value, _))| plain(value));
    match (found.next(), found.next()) {
        (Some((name, (_, origin))), None) => replace_part(context, name, origin, directory, near),
        _ => None,
    }
}

/// A directory of the host, outside of the workspace.
fn directory_beyond(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let directory = Path::new(&raised.beyond).parent()?;
    // What is there was told before: it is not shown to a dry run, or may not be written.
    if raised.beyond.is_empty() || directory.symlink_metadata().is_ok() {
        return None;
    }
    let directory = context
        .redactor
        .clean(&directory.display().to_string(), 256);
    Some(Advice {
        remedy: format!(
            "make the directory {directory}, which the user of the service may write (`mkdir -p {directory}`), or \
             correct the setting that names it"
        ),
        more: format!("the directory {directory} does not exist"),
        ..Advice::default()
    })
}

/// The command of a service names an object that its module does not have.
fn lacking_object(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let module = raised.lacking_module()?;
    if raised.kind != "AttributeError" || !raised.frames.is_empty() {
        return None;
    }
    let facts = context.facts();
    let is_own = |(name, _): &&(String, String)| is_module(name, module);
    let (_, file) = facts.modules.iter().find(is_own)?;
    let services = context
        .manifest
        .layers
        .iter()
        .flat_map(|layer| &layer.services);
    let named = |service: &Service| {
        let program = AsRun::of_service(context, service).program;
        let (of, attribute) = program.object?;
        // As the program writes it.
        let mark = match program.tool.as_str() {
            "arq" | "huey_consumer" | "huey_consumer.py" => '.',
            _ => ':',
        };
        (of == module).then_some((attribute, mark))
    };
    let (service, (wanted, mark)) = services
        .clone()
        .find_map(|service| Some((service, named(service)?)))?;
    let clean = |text: &str| context.redactor.clean(text, 256);
    let mut there: Vec<String> = facts
        .applications
        .iter()
        .filter(|app| is_module(&app.module, module) && !app.attribute.is_empty())
        .map(|app| {
            let call = if app.is_factory { " (a factory)" } else { "" };
            format!("{module}:{}{call}", app.attribute)
        })
        .collect();
    if there.is_empty() {
        let scopes = facts.scopes.iter();
        let names = scopes
            .filter(|scope| is_module(&scope.module, module))
            .flat_map(|scope| scope.names.iter().map(String::as_str));
        let near = near_names(&wanted, names);
        there.extend(near.iter().map(|name| format!("{module}{mark}{name}")));
    }
    let service_name = &service.name;
    let remedy = match there.as_slice() {
        [] => format!(
            "define it in {}, or correct `run` of service {service_name}",
            clean(file)
        ),
        some => format!(
            "name one that is there in `run` of service {service_name} (and where that comes from): {}",
            clean(&some.join(" or "))
        ),
    };
    Some(Advice {
        remedy,
        place: Some(Location {
            file: context.manifest_name(),
            line: service.line,
            column: 0,
        }),
        ..Advice::default()
    })
}

/// Below the import roots, or by its path from the workspace.
fn is_module(known: &str, module: &str) -> bool {
    known == module
        || known
            .strip_suffix(module)
            .is_some_and(|before| before.ends_with('.'))
}

/// Settings modules that a remedy names.
const SETTINGS_MAX: usize = 3;

/// Django's settings module is named and not there: no package brings it.
fn settings_module(context: &CheckContext<'_>, raised: &Raised) -> Option<Advice> {
    let name = (raised.kind == "ModuleNotFoundError").then_some(raised.name.as_deref())??;
    let settings = raised.settings.as_str();
    let is_it = settings == name
        || settings
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'));
    let facts = context.facts();
    // An `import` of the application's own that fails is something else.
    let is_imported = facts.imports.iter().any(|import| import.module == name);
    if name.is_empty() || !is_it || is_imported {
        return None;
    }
    let is_settings = |module: &str| {
        let mut parts = module.split('.');
        parts.any(|part| part.starts_with("settings")) && module != name
    };
    let mut there: Vec<&str> = facts
        .modules
        .iter()
        .map(|(module, _)| module.as_str())
        .filter(|module| is_settings(module))
        .collect();
    there.sort_by_key(|module| (module.matches('.').count(), module.len()));
    there.truncate(SETTINGS_MAX);
    let clean = |text: &str| context.redactor.clean(text, 256);
    let settings = clean(settings);
    let one = match there.as_slice() {
        [] => "a module that is there".to_owned(),
        some => format!("one that is there ({})", clean(&some.join(", "))),
    };
    Some(Advice::import(format!(
        "set DJANGO_SETTINGS_MODULE, which is {settings}, to {one}, or write {}",
        format_args!("{}.py", settings.replace('.', "/"))
    )))
}

/// Django and what belongs to it name the setting that they do not take.
fn misconfigured(raised: &Raised) -> Option<Advice> {
    let is_it = raised.kind == "ImproperlyConfigured" && !raised.message.contains("environment");
    is_it.then(|| Advice::of("correct the setting that the message names".to_owned()))
}

/// Options of `pip install` that stand before what is to be installed.
const PIP_OPTIONS: [&str; 4] = ["-U", "--upgrade", "--user", "--quiet"];

/// A message that itself says what to install: `Run "pip install redis"`.
fn asked_for(packages: Option<&Packages>, raised: &Raised) -> Option<Advice> {
    let quotes = |c: char| "\"'`“”".contains(c);
    let wanted = raised.texts().find_map(|text| {
        let (_, rest) = text.split_once("pip install ")?;
        let mut words = rest.split_whitespace();
        let word = words.find(|word| !PIP_OPTIONS.contains(word))?;
        let word = word.trim_matches(quotes);
        let word = word
            .split(quotes)
            .next()?
            .trim_end_matches(['.', ',', ';', ')', ':']);
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.[],".contains(c);
        let begins = word.starts_with(|c: char| c.is_ascii_alphanumeric());
        (begins && word.len() <= 100 && word.chars().all(is_part)).then(|| word.to_owned())
    })?;
    let name = wanted.split('[').next().unwrap_or(&wanted);
    let is_there = packages.is_some_and(|packages| packages.version_of(name).is_some());
    // With an extra, the package is there and what the extra brings is not.
    (!is_there || wanted.contains('[')).then(|| {
        Advice::of(format!(
            "install {wanted} with the application's interpreter, as the message says, {ADD_TO_REQUIREMENTS}"
        ))
    })
}

/// What was being done when an exception was raised.
pub(super) struct Step<'a> {
    /// The module or object that was asked for.
    pub name: &'a str,
    /// Where the manifest names it.
    pub named_in: &'a str,
}

impl Step<'_> {
    /// The manifest names a module that is not there: no code was run.
    pub(super) fn is_missing(&self, context: &CheckContext<'_>, raised: &Raised) -> bool {
        let first = self.name.split(['.', ':']).next();
        raised.frames.is_empty() && missing(context, raised).is_some_and(|name| first == Some(name))
    }
}

/// The module that no import finds, and that is not the workspace's own.
pub(super) fn missing<'r>(context: &CheckContext<'_>, raised: &'r Raised) -> Option<&'r str> {
    let is_it = |name: &&str| !name.is_empty() && !is_in_workspace(context, name);
    let name = (raised.kind == "ModuleNotFoundError").then_some(raised.name.as_deref())?;
    name.filter(is_it)
}

/// What to do about an exception, and the code that it has in a dry run, beginning with what is most certain. `advice`:
/// what is known about its kind.
pub(super) fn remedy_of(
    context: &CheckContext<'_>,
    packages: Option<&Packages>,
    raised: &Raised,
    step: &Step<'_>,
    advice: Option<&Advice>,
) -> (Code, String) {
    let Step { name, named_in } = step;
    let missing = missing(context, raised);
    let is_import = matches!(raised.kind.as_str(), "ImportError" | "ModuleNotFoundError");
    if let Some(syntax) = &raised.syntax {
        let damaged = packages
            .filter(|_| syntax.file.is_empty())
            .and_then(|packages| damaged(context, packages, raised));
        let remedy = damaged.map_or_else(
            || "correct the syntax there".to_owned(),
            |(_, package, version)| reinstall(&format!("{package} {version}")),
        );
        return (Code::RehearsalSyntaxError, remedy);
    }
    let is_named = step.is_missing(context, raised);
    if let Some(advice) = advice {
        let code = match (&advice.code, missing) {
            (Some(code), _) => code.clone(),
            (None, _) if is_named || raised.kind.ends_with("ImportError") => {
                Code::RehearsalImportError
            }
            (None, Some(_)) => Code::RehearsalMissingPackage,
            (None, None) => Code::RehearsalFailed,
        };
        return (code, advice.remedy.clone());
    }
    if is_named {
        let remedy = format!("correct {name} in {named_in}, or add its directory to python.path");
        return (Code::RehearsalImportError, remedy);
    }
    if let Some(module) = missing {
        let install = install(packages, module, &raised.raised_in);
        return (Code::RehearsalMissingPackage, install);
    }
    let remedy = between(context, packages, raised, name)
        .or_else(|| other_version(context, packages, raised));
    match is_import {
        true => {
            let remedy = remedy.unwrap_or_else(|| import_remedy(raised));
            (Code::RehearsalImportError, remedy)
        }
        false => {
            let remedy = remedy.unwrap_or_else(|| look_there(raised, name, context.redactor));
            (Code::RehearsalFailed, remedy)
        }
    }
}

/// What to do about an exception where no layer is at hand: `step` is what was done, and `known` what is known about the
/// exception's kind.
pub(super) fn general_remedy(
    context: &CheckContext<'_>,
    packages: Option<&Packages>,
    raised: &Raised,
    step: &str,
    known: Option<&Advice>,
) -> String {
    let step = Step {
        name: step,
        named_in: "the manifest",
    };
    remedy_of(context, packages, raised, &step, known).1
}

/// What to do about an installed package whose files were changed.
pub(super) fn reinstall(damaged: &str) -> String {
    format!(
        "install {damaged} anew with the application's interpreter: its files are not those that were installed"
    )
}

/// The package of a module that had a part in it, whose files are not those that were installed: the module, and the
/// package's name and version.
pub(super) fn damaged<'r>(
    context: &CheckContext<'_>,
    packages: &'r Packages,
    raised: &'r Raised,
) -> Option<(&'r str, &'r str, &'r str)> {
    let named = raised.name.as_deref().into_iter();
    let below = raised.below.iter().map(String::as_str);
    let mut modules = named
        .chain(below)
        .filter(|module| !is_in_workspace(context, module));
    modules.find_map(|module| {
        let (name, version) = packages.damaged(module)?;
        Some((module, name, version))
    })
}

/// What to install for a module that is missing.
fn install(packages: Option<&Packages>, module: &str, importer: &str) -> String {
    if let Some((name, version)) = packages.and_then(|p| p.owner_of(module)) {
        return format!(
            "install {name} anew with the application's interpreter: its metadata says that version \
             {version} is installed and brings {module}, but the module is not there"
        );
    }
    let package = match packages {
        Some(packages) => packages.providing(module),
        None => package_of(module),
    };
    if let Some(extra) = packages.and_then(|packages| packages.extra_with(importer, &package)) {
        return format!(
            "install {package} (which {extra} brings) with the application's interpreter, {ADD_TO_REQUIREMENTS}"
        );
    }
    format!("install {package} with the application's interpreter, {ADD_TO_REQUIREMENTS}")
}

/// The module's first part lies on the application's import path.
pub(super) fn is_in_workspace(context: &CheckContext<'_>, module: &str) -> bool {
    let top = module.split('.').next().unwrap_or(module);
    let bases = &context.manifest.python.path;
    let here = [".".to_owned()];
    let bases = if bases.is_empty() { &here[..] } else { bases };
    !top.contains('/')
        && bases.iter().any(|base| {
            let base: &Path = &context.root.join(base);
            base.join(format!("{top}.py")).is_file() || base.join(top).is_dir()
        })
}

/// What to do if an installed package has not got the name that is imported from it, or asked of its module.
fn other_version(
    context: &CheckContext<'_>,
    packages: Option<&Packages>,
    raised: &Raised,
) -> Option<String> {
    let packages = packages?;
    let is_import = raised.message.starts_with("cannot import name");
    let from = match raised.kind.as_str() {
        "AttributeError" => raised.lacking_module(),
        _ => raised.name.as_deref().filter(|_| is_import),
    };
    let from = from.filter(|name| !name.is_empty() && !is_in_workspace(context, name))?;
    let (provider, version) = packages.owner_of(from)?;
    let by = raised.raised_in.as_str();
    let importer = packages
        .owner_of(by)
        .filter(|(name, _)| !is_in_workspace(context, by) && *name != provider);
    match importer {
        Some((name, of)) => Some(format!(
            "{name} {of} does not go with {provider} {version}: install another version of \
             {provider}, most often an older one, and pin it in the requirements"
        )),
        None if is_import => Some(format!(
            "{provider} {version} does not have it: install the version that the code was written \
             for and pin it in the requirements, or import what that one has"
        )),
        None => None,
    }
}

/// Packages that a remedy names.
const PACKAGES_MAX: usize = 3;

/// What to do if no line of the application had a part in it.
fn between(
    context: &CheckContext<'_>,
    packages: Option<&Packages>,
    raised: &Raised,
    step: &str,
) -> Option<String> {
    if raised.location(context.redactor).is_some() {
        return None;
    }
    let packages = packages?;
    packages.owner_of(&raised.raised_in)?;
    let mut owners: Vec<String> = Vec::new();
    for (name, version) in raised
        .below
        .iter()
        .filter_map(|module| packages.owner_of(module))
    {
        let shown = format!("{name} {version}");
        if !owners.contains(&shown) {
            owners.push(shown);
        }
    }
    owners.truncate(PACKAGES_MAX);
    let who = match owners.len() {
        0 | 1 => "see the traceback for which two meet there".to_owned(),
        _ => format!("the ones that meet there are {}", owners.join(" and ")),
    };
    Some(format!(
        "no line of the application had a part in it: {step} needs other versions of its packages than those that \
         are installed; {who}"
    ))
}

/// Where to look, if nothing else is known.
fn look_there(raised: &Raised, step: &str, redactor: &Redactor) -> String {
    const CODE_BYTES_MAX: usize = 120;
    let rest = "the whole traceback is in `detail` of `ubs preflight --json`";
    match raised.frames.last() {
        Some(frame) => {
            let code = redactor.clean(frame.code.trim(), CODE_BYTES_MAX);
            let file = redactor.clean(&frame.file, 256);
            let function = redactor.clean(&frame.function, 128);
            format!(
                "look at {file}:{}, in {function}: `{code}`; {rest}",
                frame.line
            )
        }
        None => format!("{step} fails in code that is not the application's own; {rest}"),
    }
}

/// A name counts as meant if it is that similar (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;

/// What to do about a name that a module does not have.
fn import_remedy(raised: &Raised) -> String {
    let module = raised.name.as_deref().unwrap_or_default();
    let Some(wanted) = raised.lacking_name() else {
        return "correct the name of the module, or add the module".to_owned();
    };
    if raised.message.contains("circular import") {
        return format!(
            "{module} is still being imported when {wanted} is taken from it: break the circle, for \
             example by importing inside of the function that needs it"
        );
    }
    let near = near_names(wanted, raised.names.iter().map(String::as_str));
    if near.len() > 1 {
        return format!(
            "{module} has no {wanted}, but {}: import the one that is meant",
            near.join(" and ")
        );
    }
    let nearest = raised
        .names
        .iter()
        .map(|name| (strsim::jaro_winkler(name, wanted), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("{module} has no {wanted}, but {name}: correct one of the two"),
        None => format!("define {wanted} in {module}, or import it from where it is"),
    }
}
