//! Flask-SQLAlchemy and Flask-Migrate: the database that `SQLALCHEMY_DATABASE_URI` names, and the command that migrates.

use std::collections::BTreeSet;

use super::code::{ApplicationCode, is_side};
use super::draft::Unit;
use crate::source::{ApplicationObject, Base, DatabaseUri, Framework, GivenValue};

/// The database of a Flask application.
pub(super) enum FlaskDatabase<'a> {
    /// The one value of `SQLALCHEMY_DATABASE_URI`, and where it is set.
    Given(&'a DatabaseUri, &'a GivenValue),
    /// It is set to several values, or computed.
    Unknown(&'a DatabaseUri),
}

/// Whether this base is the `db` of `db = SQLAlchemy()`.
pub(super) fn is_flask(code: &ApplicationCode<'_>, base: &Base) -> bool {
    code.facts.imports.iter().any(|import| {
        import.from == base.module
            && import.module.split('.').next() == Some("flask_sqlalchemy")
            && import.name.as_deref() == Some("SQLAlchemy")
    })
}

/// What the configuration says; `None` if it says nothing. Databases in memory are those of tests.
pub(super) fn flask_database<'a>(code: &ApplicationCode<'a>) -> Option<FlaskDatabase<'a>> {
    let uris: Vec<&DatabaseUri> = code
        .facts
        .database_uris
        .iter()
        .filter(|uri| !is_side(&uri.place.file))
        .filter(|uri| {
            let text = uri.value.as_ref().and_then(|value| value.text.as_deref());
            text.is_none_or(|text| file_of(text) != Some(""))
        })
        .collect();
    let first = *uris.first()?;
    let values: BTreeSet<_> = uris
        .iter()
        .map(|uri| uri.value.as_ref().map(|v| (&v.variable, &v.text)))
        .collect();
    match &first.value {
        Some(value) if values.len() == 1 => Some(FlaskDatabase::Given(first, value)),
        _ => Some(FlaskDatabase::Unknown(first)),
    }
}

/// The file of a SQLite URL; empty for one in memory.
fn file_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    if !scheme.starts_with("sqlite") {
        return None;
    }
    let path = rest.strip_prefix("///").unwrap_or("");
    let path = path.split('?').next().unwrap_or(path);
    Some(if path == ":memory:" { "" } else { path })
}

/// Whether the URL is of a file by a relative path.
pub(super) fn is_relative(url: &str) -> bool {
    file_of(url).is_some_and(|path| !path.is_empty() && !path.starts_with('/'))
}

/// The URL as it is meant from the workspace: Flask-SQLAlchemy 3 takes a relative file from `instance` beside the
/// package of the application, earlier ones from that package.
pub(super) fn from_workspace(
    code: &ApplicationCode<'_>,
    uri: &DatabaseUri,
    value: &GivenValue,
    url: &str,
) -> String {
    let Some(path) = file_of(url).filter(|_| is_relative(url)) else {
        return url.to_owned();
    };
    let Some((scheme, _)) = url.split_once(":///") else {
        return url.to_owned();
    };
    let below = |directory: &str| match directory {
        "" | "." => path.to_owned(),
        directory => format!("{directory}/{path}"),
    };
    if value.is_beside {
        let directory = uri.place.file.rsplit_once('/').map_or("", |(to, _)| to);
        return format!("{scheme}:///{}", below(directory));
    }
    let app = application(code);
    let root = app.and_then(|app| code.root_of(&code.name(&app.module)));
    let instance = match root {
        None | Some(".") => below("instance"),
        Some(root) => below(&format!("{root}/instance")),
    };
    let package = app.and_then(|app| app.place.file.rsplit_once('/'));
    let package = below(package.map_or("", |(to, _)| to));
    let exists = |path: &str| code.files.root().join(path).is_file();
    let file = match !exists(&instance) && exists(&package) {
        true => package,
        false => instance,
    };
    format!("{scheme}:///{file}")
}

fn application<'a>(code: &ApplicationCode<'a>) -> Option<&'a ApplicationObject> {
    code.facts
        .applications
        .iter()
        .find(|app| app.framework == Framework::Flask && !is_side(&app.place.file))
}

/// The command that runs the migrations of Flask-Migrate, if `file` is its configuration.
pub(super) fn migrate(code: &ApplicationCode<'_>, file: &str) -> Option<Unit> {
    let directory = file.strip_suffix("/alembic.ini")?;
    let env = code.files.text(&format!("{directory}/env.py"))?;
    if !env.contains("current_app") {
        return None;
    }
    let app = application(code)?;
    let module = code.name(&app.module);
    let mut run = ["python", "-m", "flask", "--app"]
        .map(str::to_owned)
        .to_vec();
    run.push(format!("{module}:{}", app.attribute));
    run.extend(["db", "upgrade", "-d", directory].map(str::to_owned));
    Some(Unit {
        run,
        ..Unit::default()
    })
}
