//! What to do about an exception: what its kind is known for. A remedy is right, or is not given here.

mod pairs;
mod standard;

use super::as_run::AsRun;
use super::config::mend_postgres;
use super::context::CheckContext;
use super::packages::Packages;
use super::raised::Raised;
use crate::domain::code::Code;
use crate::domain::finding::Location;
use crate::domain::remedy::Remedy;
use crate::source::near_names;

pub(super) use standard::{standard_remedy, taken_away};

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
        .or_else(|| missing_module(context, packages, raised))
        .or_else(|| without_package(as_run, raised))
        .or_else(|| {
            let version = |name: &str| packages?.version_of(name);
            pairs::quarrel(raised.texts(), version).map(Advice::of)
        })
        .or_else(|| fields(context, raised))
        .or_else(|| variable(context, raised))
        .or_else(|| twice(context, raised))
        .or_else(|| dialect(context, raised))
        .or_else(|| directory(context, raised))
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
    (!directory.is_empty()).then(|| Advice {
        remedy: format!(
            "make the directory {directory} (`mkdir -p {directory}`; an empty {directory}/.gitkeep keeps it in the \
             repository), or correct the setting that names it"
        ),
        more: format!("the directory {directory} does not exist"),
        fix: (directory == raised.directory).then(|| Remedy::MakeDirectory {
            path: directory.clone(),
        }),
        ..Advice::default()
    })
}

/// A name counts as meant if it is that similar (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;

/// What to do about a name that a module does not have.
pub(super) fn import_remedy(raised: &Raised) -> String {
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
