//! Databases: the declarative bases, where their URL comes from, and whether they can be compared now.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::code::{ApplicationCode, is_side};
use super::draft::{Note, SchemaDraft, VarDraft};
use super::flask::{FlaskDatabase, flask_database, from_workspace, is_flask, is_relative};
use super::text::{holds_credential, is_variable_name, name_of, plain, unique};
use super::variables::EnvFiles;
use crate::manifest::VarKind;
use crate::source::DatabaseUri;

/// Files that are looked into for the making of an engine or of the tables.
const FILES_READ_MAX: usize = 400;
/// Bases that a manifest gets.
const BASES_MAX: usize = 20;

/// Modules that use a base and that are looked at.
const USERS_MAX: usize = 200;

/// A URL that is written in the code, in the making of an engine or bound to a name.
static URL_IN_CODE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:create_(?:async_)?engine\(|(?i:\b[a-z_]*(?:database|db|sqlalchemy)[a-z_]*ur[il])["'\]]*\s*(?::\s*\w+\s*)?=)\s*f?["']([A-Za-z][A-Za-z0-9+]*:///?[^"']*)["']"#).ok()
});

/// The file of a SQLite database in Django's settings.
static DJANGO_FILE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"["']NAME["']\s*:\s*(?:str\()?(?:BASE_DIR\s*/\s*|os\.path\.join\(\s*BASE_DIR\s*,\s*)["']([A-Za-z0-9_./-]+)["']"#).ok()
});

/// What the code says about its databases.
#[derive(Debug, Default)]
struct DatabaseHints {
    /// A URL and its place.
    url: Option<(String, String)>,
    /// Where the application makes its tables itself.
    creates: Option<String>,
}

/// Every `[[schema]]`, and remarks on migrations.
pub(super) fn schemas(
    code: &ApplicationCode<'_>,
    env: &EnvFiles,
    vars: &mut [VarDraft],
    notes: &mut Vec<Note>,
) -> Vec<SchemaDraft> {
    let alembic = alembic_file(code);
    if let Some(file) = alembic {
        notes.push(Note::sure(format!(
            "{file}: migrations with Alembic; expect = \"alembic:{file}\" holds a database to them"
        )));
    }
    let mut bases: Vec<_> = code
        .facts
        .bases
        .iter()
        .filter(|base| !is_side(&base.place.file))
        .collect();
    if bases.iter().any(|base| base.tables > 0) {
        bases.retain(|base| base.tables > 0);
    } else {
        bases.truncate(1);
    }
    if bases.is_empty() {
        return Vec::new();
    }
    let seen = look(code);
    let variable = database_variable(vars);
    let mut taken = BTreeSet::new();
    let several = bases.len() > 1;
    let mut schemas = Vec::new();
    for base in bases.into_iter().take(BASES_MAX) {
        let module = code.name(&base.module);
        let name = if several {
            name_of(
                &module.rsplit('.').next().unwrap_or("main").to_lowercase(),
                "main",
            )
        } else {
            "main".to_owned()
        };
        let complete = complete_module(code, &module, &base.attribute);
        let mut schema = SchemaDraft {
            name: unique(name, &mut taken),
            expect: format!("sqlalchemy:{}:{}", complete.module, base.attribute),
            active: true,
            ..SchemaDraft::default()
        };
        schema.notes.push(Note::sure(format!(
            "{}:{}, with {} table{}",
            plain(&base.place.file),
            base.place.line,
            base.tables,
            if base.tables == 1 { "" } else { "s" }
        )));
        if let Some(missed) = &complete.missed {
            schema.notes.push(Note::unsure(format!(
                "importing {} does not import {}, which uses {} too; name a module that imports all models",
                complete.module,
                plain(missed),
                plain(&base.attribute)
            )));
        }
        if alembic.is_some() {
            schema.ignore.push("alembic_*".to_owned());
        }
        if several {
            schema.notes.push(Note::unsure(
                "there are several bases; do they live in this database?",
            ));
        }
        let flask = flask_database(code).filter(|_| is_flask(code, base));
        if let Some(found) = flask {
            set_flask_database(&mut schema, code, env, &found, &seen);
        } else {
            set_database(&mut schema, code, env, variable.map(|at| &vars[at]), &seen);
            judge(&mut schema, code, &seen);
        }
        if let Some(file) = alembic.filter(|_| schema.active && !several) {
            schema.models = Some(std::mem::replace(
                &mut schema.expect,
                format!("alembic:{file}"),
            ));
        }
        schemas.push(schema);
    }
    schemas
}

/// The `[[schema]]` of a Django project: its migrations, and the database that its settings name.
pub(super) fn django_schema(
    code: &ApplicationCode<'_>,
    file: &str,
    module: &str,
    env: &EnvFiles,
    vars: &[VarDraft],
) -> SchemaDraft {
    let mut schema = SchemaDraft {
        name: "main".to_owned(),
        expect: format!("django:{module}"),
        active: true,
        ..SchemaDraft::default()
    };
    let text = code.files.text(file);
    let text = text.as_deref().unwrap_or("");
    let literal = DJANGO_FILE
        .as_ref()
        .and_then(|regex| regex.captures(text))
        .and_then(|found| found.get(1));
    let variable = database_variable(vars).filter(|_| literal.is_none());
    let mut seen = DatabaseHints::default();
    if let Some(found) = literal {
        // BASE_DIR is the directory above that of the settings, as Django's own template has it.
        let mut parts: Vec<&str> = file.split('/').collect();
        parts.truncate(parts.len().saturating_sub(2));
        parts.push(found.as_str());
        let line = text[..found.start()].matches('\n').count() + 1;
        seen.url = Some((
            format!("sqlite:///{}", parts.join("/")),
            format!("{}:{line}", plain(file)),
        ));
        seen.creates = Some("by manage.py migrate".to_owned());
    }
    set_database(&mut schema, code, env, variable.map(|at| &vars[at]), &seen);
    judge(&mut schema, code, &seen);
    schema
}

/// A module that has a base, and whose import loads the models.
struct Complete {
    module: String,
    /// A module with models that it does not load.
    missed: Option<String>,
}

/// The module through which a base is best named: a base's own module knows its tables only if it, or
/// what it imports, defines them.
fn complete_module(code: &ApplicationCode<'_>, own: &str, attribute: &str) -> Complete {
    let mut users: Vec<&str> = code
        .importers_of(own, attribute)
        .into_iter()
        .filter(|(_, file)| !is_side(file) && !file.ends_with("/env.py"))
        .map(|(module, _)| module)
        .collect();
    users.truncate(USERS_MAX);
    let loaded = |module: &str| -> usize {
        let reached = code.reached(&[module.to_owned()], false);
        users.iter().filter(|user| reached.contains(**user)).count()
    };
    let mut best = (own, loaded(own));
    for user in &users {
        let count = loaded(user);
        let nearer = user.matches('.').count() < best.0.matches('.').count();
        if count > best.1 || (count == best.1 && best.0 != own && nearer) {
            best = (user, count);
        }
    }
    let reached = code.reached(&[best.0.to_owned()], false);
    Complete {
        module: best.0.to_owned(),
        missed: users
            .iter()
            .find(|user| !reached.contains(**user))
            .map(|user| (*user).to_owned()),
    }
}

/// The configuration of Alembic.
pub(super) fn alembic_file(code: &ApplicationCode<'_>) -> Option<&'static str> {
    code.files.first(&[
        "alembic.ini",
        "backend/alembic.ini",
        "app/alembic.ini",
        "migrations/alembic.ini",
    ])
}

/// The variable that most probably holds the URL.
fn database_variable(vars: &[VarDraft]) -> Option<usize> {
    let rank = |var: &VarDraft| match var.name.as_str() {
        "DATABASE_URL" => Some(0),
        "SQLALCHEMY_DATABASE_URI" | "SQLALCHEMY_DATABASE_URL" | "DB_URL" | "DATABASE_URI" => {
            Some(1)
        }
        name => {
            let about = ["DATABASE", "SQLALCHEMY", "DB_", "POSTGRES", "SQLITE"]
                .iter()
                .any(|word| name.contains(word));
            let url = ["_URL", "_URI", "_DSN"]
                .iter()
                .any(|end| name.ends_with(end))
                || var.kind == VarKind::Url;
            (about && url && !name.contains("TEST")).then_some(2)
        }
    };
    vars.iter()
        .enumerate()
        .filter(|(_, var)| var.active)
        .filter_map(|(at, var)| Some((rank(var)?, at)))
        .min()
        .map(|(_, at)| at)
}

/// Where the database is; sets `database`, and takes the schema out if that is not known.
fn set_database(
    schema: &mut SchemaDraft,
    code: &ApplicationCode<'_>,
    env: &EnvFiles,
    variable: Option<&VarDraft>,
    seen: &DatabaseHints,
) {
    let Some(var) = variable else {
        match &seen.url {
            Some((url, place)) if !holds_credential(url) && !url.contains(['{', '$']) => {
                schema.database.clone_from(url);
                schema.notes.push(Note::sure(format!("database: {place}")));
            }
            _ => {
                schema.active = false;
                schema.database = "${DATABASE_URL}".to_owned();
                schema.notes.push(Note::unsure(
                    "no variable and no literal was seen that holds the database's URL",
                ));
            }
        }
        return;
    };
    let current = env.current.get(&var.name).filter(|value| !value.is_empty());
    schema.database = match &var.default {
        Some(default) if !var.required && !default.contains(['}', '$']) => {
            format!("${{{}:-{default}}}", var.name)
        }
        _ => format!("${{{}}}", var.name),
    };
    // Looked at only: a value of .env is never written.
    let known = current.map(String::as_str).or(var.default.as_deref());
    let why = match known {
        None => Some(format!(
            "{} has no value yet, so the kind of database is not known",
            var.name
        )),
        Some(url) => kind_of(code, url, seen),
    };
    if let Some(why) = why {
        schema.active = false;
        schema.notes.push(Note::unsure(format!(
            "{why}; take the # away when that has changed"
        )));
    }
}

/// Where the database of Flask-SQLAlchemy is; takes the schema out if that is not certain.
fn set_flask_database(
    schema: &mut SchemaDraft,
    code: &ApplicationCode<'_>,
    env: &EnvFiles,
    found: &FlaskDatabase<'_>,
    seen: &DatabaseHints,
) {
    let place = |uri: &DatabaseUri| format!("{}:{}", plain(&uri.place.file), uri.place.line);
    let (uri, value) = match found {
        FlaskDatabase::Given(uri, value) => (uri, value),
        FlaskDatabase::Unknown(uri) => {
            schema.active = false;
            schema.database = "${DATABASE_URL}".to_owned();
            schema.notes.push(Note::unsure(format!(
                "SQLALCHEMY_DATABASE_URI has several values, or is computed ({}): write the one that holds here",
                place(uri)
            )));
            return;
        }
    };
    schema
        .notes
        .push(Note::sure(format!("database: {}", place(uri))));
    let variable = value.variable.as_deref().filter(|n| is_variable_name(n));
    let text = value
        .text
        .as_deref()
        .map(|url| from_workspace(code, uri, value, url))
        .filter(|url| !holds_credential(url) && !url.contains(['{', '}', '$']));
    schema.database = match (variable, &text) {
        (Some(name), Some(text)) => format!("${{{name}:-{text}}}"),
        (Some(name), None) => format!("${{{name}}}"),
        (None, Some(text)) => text.clone(),
        (None, None) => "${DATABASE_URL}".to_owned(),
    };
    // Looked at only: a value of .env is never written.
    let current = variable.and_then(|name| env.current.get(name));
    let current = current.filter(|value| !value.is_empty());
    let why = match (current, &text) {
        (Some(url), _) if is_relative(url) => Some(
            "Flask-SQLAlchemy takes the relative path in the environment from its directory `instance`; \
             ubs takes it from the workspace, so write that file's path here"
                .to_owned(),
        ),
        (None, None) => Some("the database's URL is not known".to_owned()),
        (Some(url), _) => kind_of(code, url, seen),
        (None, Some(url)) => kind_of(code, url, seen).or_else(|| {
            let path = url.split_once(":///").map_or("", |(_, path)| path);
            let is_there = !url.starts_with("sqlite") || code.files.root().join(path).exists();
            (!is_there).then(|| format!("{} does not exist yet", plain(path)))
        }),
    };
    if let Some(why) = why {
        schema.active = false;
        schema.notes.push(Note::unsure(format!(
            "{why}; take the # away when that has changed"
        )));
    }
}

/// Why a database cannot be compared now.
fn kind_of(code: &ApplicationCode<'_>, url: &str, seen: &DatabaseHints) -> Option<String> {
    match url {
        url if url.starts_with("sqlite") => missing_file(code, url, seen),
        url if url.starts_with("postgres") => None,
        _ => Some(OTHER_KIND.to_owned()),
    }
}

const OTHER_KIND: &str =
    "this version compares SQLite and PostgreSQL, and this database is of another kind";

/// Whether the tables will be made by somebody else.
fn judge(schema: &mut SchemaDraft, code: &ApplicationCode<'_>, seen: &DatabaseHints) {
    if !schema.active {
        return;
    }
    let literal = schema.database.starts_with("sqlite");
    if literal && let Some(why) = missing_file(code, &schema.database, seen) {
        schema.active = false;
        schema.notes.push(Note::unsure(format!(
            "{why}; take the # away when that has changed"
        )));
    } else if !literal
        && !schema.database.starts_with("${")
        && !schema.database.starts_with("postgres")
    {
        schema.active = false;
        schema.notes.push(Note::unsure(OTHER_KIND));
    }
}

/// A SQLite file that is not there yet, and that the application will make.
fn missing_file(code: &ApplicationCode<'_>, url: &str, seen: &DatabaseHints) -> Option<String> {
    let path = url
        .split_once(":///")
        .map_or("", |(_, path)| path.split('?').next().unwrap_or(path));
    if path.is_empty() || path == ":memory:" {
        return Some("the database is in memory".to_owned());
    }
    if code.files.root().join(path).exists() {
        return None;
    }
    if let Some(place) = &seen.creates {
        return Some(format!(
            "the database does not exist yet, and the application makes its tables itself ({place})"
        ));
    }
    alembic_file(code).map(|file| {
        format!("the database does not exist yet, and migrations make its tables ({file})")
    })
}

/// Looks into the files that have to do with SQLAlchemy.
fn look(code: &ApplicationCode<'_>) -> DatabaseHints {
    let mut seen = DatabaseHints::default();
    let files: BTreeSet<&str> = code
        .facts
        .imports
        .iter()
        .filter(|import| {
            let top = import.module.split('.').next().unwrap_or("");
            matches!(top, "sqlalchemy" | "sqlmodel" | "flask_sqlalchemy")
        })
        .map(|import| import.place.file.as_str())
        .chain(code.facts.bases.iter().map(|base| base.place.file.as_str()))
        .chain(
            code.facts
                .applications
                .iter()
                .map(|app| app.place.file.as_str()),
        )
        .filter(|file| !is_side(file))
        .take(FILES_READ_MAX)
        .collect();
    for file in files {
        let Some(text) = code.files.text(file) else {
            continue;
        };
        let place = |at: usize| {
            let line = text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
            format!("{}:{line}", plain(file))
        };
        if seen.creates.is_none()
            && let Some(at) = text.find(".create_all")
        {
            seen.creates = Some(place(at));
        }
        if seen.url.is_none()
            && let Some(found) = URL_IN_CODE.as_ref().and_then(|regex| regex.captures(&text))
            && let Some(url) = found.get(1)
        {
            seen.url = Some((url.as_str().to_owned(), place(url.start())));
        }
    }
    seen
}
