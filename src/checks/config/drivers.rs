//! The scheme of a database's URL against the drivers that are installed: what SQLAlchemy would fail for at its first
//! `create_engine`, told at the line that sets the URL.

use std::path::{Path, PathBuf};

use super::mend::{replace_beginning, with_edit};
use crate::checks::context::CheckContext;
use crate::checks::interpreter::interpreter;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::Remedy;
use crate::manifest::Origin;

/// The driver in a URL of SQLAlchemy (`postgresql+asyncpg`), its module, its package, and whether it is asynchronous.
const DRIVERS: [(&str, &str, &str, bool); 14] = [
    ("postgresql+psycopg2", "psycopg2", "psycopg2-binary", false),
    ("postgresql+psycopg", "psycopg", "psycopg[binary]", false),
    ("postgresql+asyncpg", "asyncpg", "asyncpg", true),
    ("postgresql+pg8000", "pg8000", "pg8000", false),
    ("mysql+pymysql", "pymysql", "PyMySQL", false),
    ("mysql+mysqldb", "MySQLdb", "mysqlclient", false),
    ("mysql+aiomysql", "aiomysql", "aiomysql", true),
    ("mysql+asyncmy", "asyncmy", "asyncmy", true),
    ("mariadb+pymysql", "pymysql", "PyMySQL", false),
    ("mariadb+mariadbconnector", "mariadb", "mariadb", false),
    ("sqlite+aiosqlite", "aiosqlite", "aiosqlite", true),
    ("mssql+pyodbc", "pyodbc", "pyodbc", false),
    ("oracle+oracledb", "oracledb", "oracledb", false),
    ("mssql+pymssql", "pymssql", "pymssql", false),
];
/// Files of sources in which a scheme that the application mends itself is looked for.
const SOURCES_MAX: usize = 2_000;
/// Larger ones are not looked at, in bytes.
const SOURCE_BYTES_MAX: u64 = 512 << 10;

/// What is wrong with the URLs of databases in the environment; nothing where SQLAlchemy is not installed, or where
/// nobody can say what is.
pub(super) fn driver_findings(context: &CheckContext<'_>) -> Vec<Finding> {
    let Some(packages) = packages(context) else {
        return Vec::new();
    };
    if !packages.has("sqlalchemy") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (name, (value, origin)) in &context.environment.values {
        // What the host's own environment has may be another program's.
        if *origin == Origin::Process && !context.manifest.config.vars.contains_key(name) {
            continue;
        }
        let Some((scheme, rest)) = value.split_once("://") else {
            continue;
        };
        let url = Url {
            name,
            origin,
            scheme,
            rest,
        };
        findings.extend(of_scheme(context, &packages, &url));
        findings.extend(of_slashes(context, &packages, &url));
        findings.extend(of_at(context, &url));
    }
    findings
}

/// The value of a variable that looks like a URL.
struct Url<'a> {
    name: &'a str,
    origin: &'a Origin,
    scheme: &'a str,
    rest: &'a str,
}

impl Url<'_> {
    /// What is wrong with it, at its line, with the edit for a person to approve.
    fn finding(
        &self,
        context: &CheckContext<'_>,
        opens_nothing: bool,
        message: String,
        remedy: String,
        fix: Option<Remedy>,
    ) -> Finding {
        let severity = match opens_nothing {
            true => Severity::Critical,
            false => Severity::Warning,
        };
        let finding = Finding::new(Code::ConfigInvalid, severity, self.name, message);
        let finding = context.at_variable(finding, self.name).remedy(remedy);
        with_edit(finding, fix, "it leads to a database")
    }
}

fn of_scheme(context: &CheckContext<'_>, packages: &Packages, url: &Url<'_>) -> Option<Finding> {
    let Url {
        name,
        origin,
        scheme,
        ..
    } = *url;
    let (why, remedy) = wrong(context, packages, scheme)?;
    let message = format!("{name} begins with {scheme}://, {why}");
    let (dialect, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    let near = near_dialect(dialect);
    // `postgres://` is mended by many an application itself.
    let opens_nothing = dialect != "postgres" && near.is_some() && is_of_a_schema(context, name);
    let fix = near.and_then(|near| match (scheme, driver) {
        ("postgres", _) => mend_postgres(context, name, origin),
        (_, "") => {
            let (from, to) = (format!("{dialect}://"), format!("{near}://"));
            replace_beginning(context, name, origin, &from, &to)
        }
        _ => {
            let (from, to) = (format!("{dialect}+"), format!("{near}+"));
            replace_beginning(context, name, origin, &from, &to)
        }
    });
    Some(url.finding(context, opens_nothing, message, remedy, fix))
}

/// Two slashes where SQLite has three.
fn of_slashes(context: &CheckContext<'_>, packages: &Packages, url: &Url<'_>) -> Option<Finding> {
    let Url {
        name,
        origin,
        scheme,
        rest,
    } = *url;
    // Others have a login or a host there: `sqlite+pysqlcipher://:passphrase@/file.db`.
    let is_file = matches!(scheme, "sqlite" | "sqlite+pysqlite" | "sqlite+aiosqlite");
    let lacks_slash = is_file && !rest.is_empty() && !rest.starts_with(['/', '?']);
    // Tortoise writes its paths after two.
    let is_meant = packages.has("tortoise") || rest.starts_with(":memory:");
    if !lacks_slash || is_meant {
        return None;
    }
    let message = format!(
        "{name} has two slashes after {scheme}:, so what follows is taken for a host, which SQLite does not have"
    );
    let (from, to) = (format!("{scheme}://"), format!("{scheme}:///"));
    let remedy = format!(
        "write three slashes: {to} begins a path relative to where the application runs, {to}/ an absolute one"
    );
    let fix = replace_beginning(context, name, origin, &from, &to);
    let opens_nothing = is_of_a_schema(context, name);
    Some(url.finding(context, opens_nothing, message, remedy, fix))
}

/// A second `@`: SQLAlchemy takes what follows the first one for the host.
fn of_at(context: &CheckContext<'_>, url: &Url<'_>) -> Option<Finding> {
    let dialect = url.scheme.split('+').next()?;
    let is_server = ["postgresql", "mysql", "mariadb", "oracle", "mssql"].contains(&dialect);
    let (login, place) = url.rest.split_once('@').filter(|_| is_server)?;
    let host = place.split(['/', ':', '?']).next()?;
    if !host.contains('@') || !login.contains(':') {
        return None;
    }
    let name = url.name;
    let message = format!(
        "the password in {name} has an @, and what follows it is taken for the host: nobody answers there"
    );
    let remedy = "write %40 for an @ in the password (urllib.parse.quote_plus does it)".to_owned();
    Some(url.finding(context, false, message, remedy, None))
}

/// The edit that lets a URL of `postgres://` begin with what SQLAlchemy knows, and with a driver that is installed.
pub(in crate::checks) fn mend_postgres(
    context: &CheckContext<'_>,
    name: &str,
    origin: &Origin,
) -> Option<Remedy> {
    const DRIVERS: [&str; 4] = ["psycopg2", "psycopg", "pg8000", "asyncpg"];
    let packages = packages(context);
    let has = |module: &str| packages.as_ref().is_some_and(|found| found.has(module));
    // The one that a URL without a driver means is another one since SQLAlchemy 2.1.
    let usual = match packages.as_ref().and_then(Packages::sqlalchemy) {
        Some(version) if version >= (2, 1) => "psycopg",
        _ => "psycopg2",
    };
    let driver = DRIVERS
        .into_iter()
        .find(|module| has(module) && !has(usual));
    let to = driver.map_or_else(
        || "postgresql://".to_owned(),
        |driver| format!("postgresql+{driver}://"),
    );
    replace_beginning(context, name, origin, "postgres://", &to)
}

/// A `[[schema]]` has its database from this variable.
fn is_of_a_schema(context: &CheckContext<'_>, name: &str) -> bool {
    let whole = format!("${{{name}}}");
    let mut schemas = context.manifest.schemas.iter();
    schemas.any(|schema| schema.database == whole)
}

/// The one dialect of SQLAlchemy that is meant by a scheme that is none.
fn near_dialect(dialect: &str) -> Option<&'static str> {
    const DIALECTS: [&str; 6] = [
        "sqlite",
        "postgresql",
        "mysql",
        "mariadb",
        "oracle",
        "mssql",
    ];
    if dialect == "postgres" {
        return Some("postgresql");
    }
    if DIALECTS.contains(&dialect) {
        return None;
    }
    let mut near = DIALECTS
        .into_iter()
        .filter(|known| strsim::osa_distance(known, dialect) == 1);
    match (near.next(), near.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// Why a scheme will not do, and what to do. A warning: whether the application connects with it shows its dry run.
fn wrong(
    context: &CheckContext<'_>,
    packages: &Packages,
    scheme: &str,
) -> Option<(String, String)> {
    if scheme == "postgres" {
        let is_mended = mentions(context, b"postgres://");
        let why = "which SQLAlchemy 1.4 and later do not know".to_owned();
        let remedy = "write postgresql:// instead of postgres://".to_owned();
        return (!is_mended).then_some((why, remedy));
    }
    let dialect = scheme.split('+').next().unwrap_or(scheme);
    if let Some(near) = near_dialect(dialect) {
        let why = format!("which is no database that SQLAlchemy knows; {near} is one letter off");
        return Some((why, format!("write {near} instead of {dialect}")));
    }
    let (_, module, package, is_async) = DRIVERS.iter().find(|row| row.0 == scheme)?;
    if !packages.has(module) {
        let why = format!("and its driver {module} is not installed");
        let remedy = format!(
            "install {package} and declare it, or name a driver that is installed in the URL"
        );
        return Some((why, remedy));
    }
    if *is_async && !packages.has("greenlet") {
        let why =
            "and SQLAlchemy needs greenlet for an asynchronous driver, which is not installed"
                .to_owned();
        let remedy = "install sqlalchemy[asyncio], which brings greenlet".to_owned();
        return Some((why, remedy));
    }
    None
}

/// The directories of packages of the application's virtual environment, and those of its own modules.
pub(super) struct Packages {
    directories: Vec<PathBuf>,
}

impl Packages {
    /// The version of SQLAlchemy, by its metadata.
    fn sqlalchemy(&self) -> Option<(u32, u32)> {
        let entries = self.directories.iter().map(std::fs::read_dir);
        let mut names = entries.flatten().flatten().flatten();
        names.find_map(|entry| {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let version = name.strip_prefix("sqlalchemy-")?;
            let version = version.strip_suffix(".dist-info")?;
            let mut parts = version.split('.');
            let mut next = || parts.next()?.parse().ok();
            Some((next()?, next()?))
        })
    }

    /// `module`: also a path, `uvicorn/workers`.
    pub(super) fn has(&self, module: &str) -> bool {
        self.directories.iter().any(|directory| {
            directory.join(module).is_dir()
                || directory.join(format!("{module}.py")).is_file()
                || has_extension(directory, module)
        })
    }
}

impl Packages {
    /// A file of paths leads to modules that lie elsewhere, as an editable install writes it.
    pub(super) fn leads_elsewhere(&self) -> bool {
        const HARMLESS: [&str; 2] = ["distutils-precedence.pth", "_virtualenv.pth"];
        let entries = self
            .directories
            .iter()
            .filter_map(|directory| std::fs::read_dir(directory).ok());
        entries.flatten().flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".pth") && !HARMLESS.contains(&name.as_ref())
        })
    }
}

/// A module in one file of machine code: `NAME.cpython-312-x86_64-linux-gnu.so`.
fn has_extension(directory: &Path, module: &str) -> bool {
    let begin = format!("{module}.");
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.starts_with(&begin) && name.ends_with(".so")
    })
}

/// `None` where packages lie outside of one virtual environment too.
pub(super) fn packages(context: &CheckContext<'_>) -> Option<Packages> {
    let program = interpreter(context.manifest, context.root, context.environment).ok()?;
    let home = program.parent()?.parent()?;
    let config = std::fs::read_to_string(home.join("pyvenv.cfg")).ok()?;
    let shares = config.lines().any(|line| {
        let (key, value) = line.split_once('=').unwrap_or_default();
        key.trim() == "include-system-site-packages" && value.trim() == "true"
    });
    let is_elsewhere = context.environment.values.contains_key("PYTHONPATH");
    if shares || is_elsewhere {
        return None;
    }
    let versions = std::fs::read_dir(home.join("lib")).ok()?.flatten();
    let mut directories: Vec<PathBuf> = versions
        .map(|version| version.path().join("site-packages"))
        .filter(|directory| directory.is_dir())
        .collect();
    if directories.is_empty() {
        return None;
    }
    directories.push(context.root.to_owned());
    let own = context.manifest.python.path.iter();
    directories.extend(own.map(|path| context.root.join(path)));
    Some(Packages { directories })
}

/// The application's own sources have these bytes: it mends the scheme itself.
fn mentions(context: &CheckContext<'_>, wanted: &[u8]) -> bool {
    let files = context.facts().modules.iter().map(|(_, file)| file);
    files.take(SOURCES_MAX).any(|file| {
        let path = context.root.join(file);
        let is_small = path.metadata().is_ok_and(|m| m.len() <= SOURCE_BYTES_MAX);
        let text = is_small.then(|| std::fs::read(&path).ok()).flatten();
        text.is_some_and(|text| text.windows(wanted.len()).any(|part| part == wanted))
    })
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{App, problems};
    use crate::domain::finding::{CheckName, Severity};
    use crate::manifest::Var;

    fn app(packages: &[&str], url: &str) -> App {
        let mut app = App::with_interpreter(None)
            .file(".env", format!("# where\nDATABASE_URL={url}\n"))
            .file(".venv/pyvenv.cfg", "include-system-site-packages = false\n")
            .file(".venv/bin/python", "");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(app.root().join(".venv/bin/python"), executable).unwrap();
        for package in packages {
            let path = format!(".venv/lib/python3.12/site-packages/{package}/__init__.py");
            app = app.file(&path, "");
        }
        app.manifest.config.files = vec![".env".into()];
        let var = Var {
            required: true,
            ..Var::default()
        };
        app.var("DATABASE_URL", var)
    }

    #[test]
    fn a_scheme_without_its_driver_is_told_at_its_line() {
        for (packages, url, severity, said) in [
            (
                &["sqlalchemy"][..],
                "postgresql+asyncpg://h/d",
                Severity::Warning,
                "driver asyncpg",
            ),
            (
                &["sqlalchemy", "asyncpg"],
                "postgresql+asyncpg://h/d",
                Severity::Warning,
                "greenlet",
            ),
            (
                &["sqlalchemy", "psycopg2"],
                "postgres://h/d",
                Severity::Warning,
                "do not know",
            ),
            (
                &["sqlalchemy", "psycopg2"],
                "postgresql://u:p@ss@h:5432/d",
                Severity::Warning,
                "has an @",
            ),
        ] {
            let report = app(packages, url).check(CheckName::Config);
            let finding = report.findings.iter().find(|f| f.code == "config.invalid");
            let finding = finding.unwrap_or_else(|| panic!("{url}: {report:#?}"));
            assert!(finding.message.contains(said), "{finding:#?}");
            assert_eq!(finding.location.as_ref().unwrap().to_string(), ".env:2");
            assert_eq!(finding.severity, severity);
        }
    }

    #[test]
    fn what_works_or_is_not_known_is_not_told() {
        let both = ["sqlalchemy", "asyncpg", "greenlet"];
        let good = app(&both, "postgresql+asyncpg://u:p%40s@h/d?x=a@b");
        let mended = app(&["sqlalchemy"], "postgres://h/d").file(
            "app.py",
            "url = url.replace('postgres://', 'postgresql://')\n",
        );
        let without = app(&["asyncpg"], "postgres://h/d");
        let shared = app(&["sqlalchemy"], "postgresql+asyncpg://h/d")
            .file(".venv/pyvenv.cfg", "include-system-site-packages = true\n");
        for app in [good, mended, without, shared] {
            let report = app.check(CheckName::Config);
            let problems = problems(&report);
            assert!(
                !problems.iter().any(|p| p.starts_with("config.invalid")),
                "{report:#?}"
            );
        }
    }
}
