//! Reads the text of a manifest: the file as a whole, and its smaller tables.

use std::path::{Component, Path, PathBuf};

use toml_edit::Document;

use super::api::read_api;
use super::check::{read_acknowledged, read_checks};
use super::config::read_config;
use super::interpolate::require_sound;
use super::keys::{
    APP, EXPECTED_SERVICE, HEAL, LIMITS, POLICY, PYTHON, REGISTRATION, ROOT, SANDBOX, SANDBOX_VIEW,
    SCHEMA, VALIDATE,
};
use super::layer::{Elsewhere, read_backoff, read_layers, read_name};
use super::logs::read_logs;
use super::measure::{show_size, size_bytes};
use super::notify::read_notify;
use super::order::{order_layers, require_unique};
use super::playbook_read::read_playbooks;
use super::probe::http_url;
use super::problem::{Fault, ManifestError, invalid, shown};
use super::scalar::plain_string;
use super::section::{Faults, LIST_ENTRIES_MAX, Section, Spanned, values};
use super::types::{
    AppObject, Choice, Expect, ExpectedService, Heal, Layer, Manifest, Policies, Policy, Python,
    Registration, RestartAfterFix, SandboxLimits, SandboxView, Schema, Service, WebFramework,
};
use super::vault::read_vault;
use super::words::{
    did_you_mean, glob_pattern, inside_path, module, module_attribute, name, nearest, one_of,
};

/// Largest manifest.
pub(super) const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Most databases.
const SCHEMAS_MAX: usize = 100;
/// Most attempts within one boot, and most failures of one signature in it.
const ATTEMPTS_MAX: u32 = 100;
/// An interpreter does not start in less address space.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// An interpreter with a few threads needs that many.
const PROCESSES_MIN: u32 = 16;
/// An interpreter wants to write a little.
const DISK_BYTES_MIN: u64 = 1 << 20;
/// A validation that is shorter than this would never end before the next.
const VALIDATE_EVERY_MS_MIN: u64 = 1000;
/// Time between two validations.
const VALIDATE_EVERY_MS_DEFAULT: u64 = 60 * 60 * 1000;
/// Where an expected service is mounted, if the manifest does not say.
const PREFIX_DEFAULT: &str = "/api/";

const POLICIES: [(&str, Policy); 3] = [
    ("auto", Policy::Auto),
    ("approve", Policy::Approve),
    ("report", Policy::Report),
];

const RESTARTS_AFTER_FIX: [(&str, RestartAfterFix); 2] = [
    ("affected", RestartAfterFix::Affected),
    ("never", RestartAfterFix::Never),
];

/// What `heal.sandbox.require` may ask for: what the sandbox knows how to isolate.
const ISOLATION: [(&str, &str); 5] = [
    ("network", "network"),
    ("filesystem", "filesystem"),
    ("home", "home"),
    ("processes", "processes"),
    ("environment", "environment"),
];

/// Reads and validates the text of the manifest at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Manifest, ManifestError> {
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(too_large(path, text.len() as u64));
    }
    let document = Document::parse(text)
        .map_err(|error| invalid(path, text, vec![syntax_fault(text, &error)]))?;
    let faults = Faults::new(text);
    let root = Section::open(&faults, document.as_table(), 0..0, &ROOT);
    let (name, stable_after_ms) = read_app(&root);
    let schemas = read_schemas(&root);
    let logs = read_logs(&root);
    let elsewhere = Elsewhere {
        logs: logs.rules,
        stable_after_ms,
        schemas: schemas.iter().map(|schema| schema.name.as_str()).collect(),
    };
    let layers = order_layers(&faults, read_layers(&root, &elsewhere));
    let checks = read_checks(&root, &layers);
    let acknowledged = read_acknowledged(&root, &layers);
    let heal = read_heal(&root, &elsewhere.schemas, &layers);
    let manifest = Manifest {
        path: path.to_owned(),
        workspace: workspace(path),
        digest: *blake3::hash(text.as_bytes()).as_bytes(),
        name,
        python: read_python(&root),
        config: read_config(&root),
        vault: read_vault(&root),
        schemas,
        registration: read_registration(&root),
        checks,
        acknowledged,
        choice: Choice::default(),
        layers,
        heal,
        sandbox: read_sandbox_view(&root),
        validate_every_ms: read_validate(&root),
        api: read_api(&root),
        logs,
        notify: read_notify(&root),
    };
    let found = faults.into_found();
    if found.is_empty() {
        Ok(manifest)
    } else {
        Err(invalid(path, text, found))
    }
}

pub(super) fn too_large(path: &Path, bytes: u64) -> ManifestError {
    ManifestError::Unreadable {
        path: path.to_owned(),
        why: format!(
            "has {bytes} bytes, and a manifest may have {}",
            show_size(MANIFEST_BYTES_MAX)
        ),
        help: "is this the manifest? A real one has a few kilobytes".to_owned(),
    }
}

/// Where the manifest lies.
fn workspace(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => Path::new(".").to_owned(),
    }
}

fn syntax_fault(text: &str, error: &toml_edit::TomlError) -> (super::section::Span, Fault) {
    let span = error.span().unwrap_or(text.len()..text.len());
    let message = error.message();
    let help = if message.contains("duplicate key") {
        "each key and each [table] stands once; a table that repeats has two brackets, as in [[layer]]"
    } else {
        "see https://toml.io for the syntax"
    };
    let message = format!("not valid TOML: {}", shown(message));
    (span, Fault::new("here", message, help))
}

/// Its name, and the `stable_after` of services that do not say.
fn read_app(root: &Section<'_>) -> (String, u64) {
    if !root.has("app") {
        root.faults().report(
            0..0,
            Fault::new(
                "`[app]` is missing",
                "the manifest does not name its application",
                "add `[app]` with `name = \"myapp\"`",
            ),
        );
    }
    let Some(app) = root.section("app", &APP) else {
        return (String::new(), Service::STABLE_AFTER_MS_DEFAULT);
    };
    let stable_after_ms = app
        .duration("stable_after", 0)
        .unwrap_or(Service::STABLE_AFTER_MS_DEFAULT);
    (read_name(&app, "myapp").value, stable_after_ms)
}

fn read_python(root: &Section<'_>) -> Python {
    let defaults = Python {
        path: vec![".".to_owned()],
        ..Python::default()
    };
    let Some(section) = root.section("python", &PYTHON) else {
        return defaults;
    };
    let path = section.list("path", inside_path);
    Python {
        interpreter: section.parse("interpreter", |text| {
            if text.trim().is_empty() {
                let help = "write a path or the name of a program, or take the key out";
                return Err(Fault::new("empty", "`interpreter` is empty", help));
            }
            Ok(text.to_owned())
        }),
        path: path.map_or(defaults.path, values),
        requirements: section.parse("requirements", inside_path),
    }
}

fn read_schemas(root: &Section<'_>) -> Vec<Schema> {
    let mut names = Vec::new();
    let mut schemas = Vec::new();
    for section in root.sections("schema", &SCHEMA, SCHEMAS_MAX) {
        let name = read_name(&section, "main");
        for (key, example) in [
            ("database", "\"${DATABASE_URL}\""),
            ("expect", "\"sqlalchemy:backend.models:Base\""),
        ] {
            if !section.has(key) {
                section.missing(key, example);
            }
        }
        let database = section.parse("database", database_url);
        let expect = section.parse("expect", expect);
        let models = section.parse("models", |text| models(text, expect.as_ref()));
        schemas.push(Schema {
            name: name.value.clone(),
            database: database.unwrap_or_default(),
            expect: expect.unwrap_or(Expect::Sql {
                pattern: String::new(),
            }),
            models,
            ignore: section.list("ignore", table_pattern).map_or(vec![], values),
            line: section.line(),
        });
        names.push(name);
    }
    require_unique(root.faults(), "schema", names.iter());
    schemas
}

fn database_url(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    if text.contains("://") || text.contains("${") {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "not a URL",
        "`database` is not a URL",
        "write a URL such as \"sqlite:///app.db\", or a variable that holds one: \"${DATABASE_URL}\"",
    ))
}

fn table_pattern(text: &str) -> Result<String, Fault> {
    glob_pattern(text, "write a table's name, with `*` for any characters")
}

/// The models beside a migration environment.
fn models(text: &str, expect: Option<&Expect>) -> Result<(String, String), Fault> {
    const HELP: &str = "write for example \"sqlalchemy:backend.models:Base\"";
    if expect.is_some_and(|expect| !matches!(expect, Expect::Alembic { .. })) {
        return Err(Fault::new(
            "only beside Alembic",
            "`models` stands beside `expect = \"alembic:...\"` only",
            "take the key out; models alone are named by `expect = \"sqlalchemy:module:attribute\"`",
        ));
    }
    let Some(rest) = text.strip_prefix("sqlalchemy:") else {
        return Err(Fault::new(
            "not models",
            format!("`{}` does not name models", shown(text)),
            HELP,
        ));
    };
    module_attribute(rest).map_err(|fault| Fault {
        help: HELP.to_owned(),
        ..fault
    })
}

/// `FILE[#SECTION]` of Alembic.
fn alembic(text: &str) -> Result<Expect, Fault> {
    let (config, section) = text.split_once('#').unwrap_or((text, "alembic"));
    let config = inside_path(config)?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if section.is_empty() || section.starts_with('-') || !section.chars().all(is_name) {
        return Err(Fault::new(
            "not a section",
            format!("`{}` is not the name of a section", shown(section)),
            "write for example \"alembic:alembic.ini#accounts\"",
        ));
    }
    Ok(Expect::Alembic {
        config,
        section: section.to_owned(),
    })
}

/// The settings module of Django.
fn django(text: &str) -> Result<Expect, Fault> {
    let is_name = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || c == '_')
    };
    if text.split('.').all(is_name) {
        return Ok(Expect::Django {
            settings: text.to_owned(),
        });
    }
    Err(Fault::new(
        "not a module",
        format!("`{}` is not the name of a module", shown(text)),
        "write for example \"django:project.settings\"",
    ))
}

fn expect(text: &str) -> Result<Expect, Fault> {
    const HELP: &str = "write \"sqlalchemy:module:attribute\", \"alembic:alembic.ini\", \
                        \"django:project.settings\" or \"sql:schema/*.sql\"";
    let (source, rest) = text.split_once(':').unwrap_or((text, ""));
    match source {
        "sqlalchemy" => {
            let (module, attribute) = module_attribute(rest).map_err(|fault| Fault {
                help: "write for example \"sqlalchemy:backend.models:Base\"".to_owned(),
                ..fault
            })?;
            Ok(Expect::SqlAlchemy { module, attribute })
        }
        "sql" => {
            let help = "write for example \"sql:schema/*.sql\"";
            let pattern = glob_pattern(rest, help)?;
            inside_path(&pattern)?;
            Ok(Expect::Sql { pattern })
        }
        "alembic" => alembic(rest),
        "django" => django(rest),
        _ => {
            let near = did_you_mean(nearest(source, ["sqlalchemy", "alembic", "django", "sql"]));
            Err(Fault::new(
                "not a source of a schema",
                format!(
                    "`{}` is not where a schema can come from{near}",
                    shown(source)
                ),
                HELP,
            ))
        }
    }
}

fn read_registration(root: &Section<'_>) -> Option<Registration> {
    let section = root.section("registration", &REGISTRATION)?;
    if !section.has("app") && !section.has("openapi") {
        section.missing("app", "\"fastapi:backend.main:app\"");
    }
    let app = section.parse("app", app_object);
    let openapi = section.parse("openapi", |url| {
        http_url(url).map_err(|fault| Fault {
            help: "write for example \"http://127.0.0.1:8000/openapi.json\"".to_owned(),
            ..fault
        })
    });
    let services = read_expected_services(&section);
    let names: Vec<Spanned<String>> = services
        .iter()
        .map(|service| Spanned {
            value: service.value.name.clone(),
            span: service.span.clone(),
        })
        .collect();
    require_unique(root.faults(), "expected service", names.iter());
    Some(Registration {
        app,
        openapi,
        services: values(services),
        min_coverage: read_coverage(&section).unwrap_or(1.0),
        line: section.line(),
    })
}

/// `framework:module:attribute`, `framework:module:factory()` or `django:settings.module`.
fn app_object(text: &str) -> Result<AppObject, Fault> {
    const FRAMEWORKS: [WebFramework; 4] = [
        WebFramework::FastApi,
        WebFramework::Starlette,
        WebFramework::Flask,
        WebFramework::Django,
    ];
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let Some(framework) = FRAMEWORKS.into_iter().find(|f| f.as_str() == kind) else {
        let help = if module_attribute(text).is_ok() {
            format!("write \"fastapi:{text}\"")
        } else {
            "write for example \"fastapi:backend.main:app\"".to_owned()
        };
        let near = did_you_mean(nearest(kind, FRAMEWORKS.map(WebFramework::as_str)));
        return Err(Fault::new(
            "no kind of application",
            format!(
                "`{}` does not say which kind of application it is{near}",
                shown(text)
            ),
            help,
        ));
    };
    if framework == WebFramework::Django {
        return Ok(AppObject {
            framework,
            module: module(rest).map_err(|fault| Fault {
                help: "write the settings module, for example \"django:site.settings\"".to_owned(),
                ..fault
            })?,
            attribute: String::new(),
            factory: false,
        });
    }
    let (target, factory) = match rest.strip_suffix("()") {
        Some(target) => (target, true),
        None => (rest, false),
    };
    let (module, attribute) = module_attribute(target).map_err(|fault| Fault {
        help: format!("write for example \"{kind}:backend.main:app\""),
        ..fault
    })?;
    Ok(AppObject {
        framework,
        module,
        attribute,
        factory,
    })
}

fn read_coverage(section: &Section<'_>) -> Option<f64> {
    let share = section.number("min_coverage")?;
    if (0.0..=1.0).contains(&share) {
        return Some(share);
    }
    let help = if (1.0..=100.0).contains(&share) {
        format!("write {} for {share} percent", share / 100.0)
    } else {
        "write a number from 0 to 1, for example 0.9".to_owned()
    };
    let fault = Fault::new(
        "out of range",
        format!("`min_coverage` cannot be {share}"),
        help,
    );
    section.fault("min_coverage", fault);
    None
}

fn read_expected_services(section: &Section<'_>) -> Vec<Spanned<ExpectedService>> {
    let by_default = |name: String| ExpectedService {
        prefix: format!("{PREFIX_DEFAULT}{name}"),
        name,
    };
    // [[registration.services]] is another way to write a list of inline tables.
    let is_tables = section
        .item("services")
        .is_some_and(toml_edit::Item::is_array_of_tables);
    if is_tables {
        let tables = section.sections("services", &EXPECTED_SERVICE, LIST_ENTRIES_MAX);
        return tables.iter().map(|table| read_expected(table)).collect();
    }
    let entries = section.entries("services", "names or tables", |value| {
        match value.as_inline_table() {
            Some(table) => {
                let span = value.span().unwrap_or_default();
                Ok(read_expected(&section.entry(table, span, &EXPECTED_SERVICE)).value)
            }
            None => name(plain_string(value, "services")?).map(by_default),
        }
    });
    entries.unwrap_or_default()
}

fn read_expected(section: &Section<'_>) -> Spanned<ExpectedService> {
    let name = read_name(section, "users");
    let prefix = section.parse("prefix", |text| {
        if text.starts_with('/') && !text.contains(char::is_whitespace) {
            return Ok(text.to_owned());
        }
        Err(Fault::new(
            "not a path",
            format!("`{}` is not the path of a URL", shown(text)),
            "write it from the root, for example \"/api/users\"",
        ))
    });
    Spanned {
        value: ExpectedService {
            prefix: prefix.unwrap_or_else(|| format!("{PREFIX_DEFAULT}{}", name.value)),
            name: name.value,
        },
        span: name.span,
    }
}

fn read_heal(root: &Section<'_>, schemas: &[&str], layers: &[Layer]) -> Heal {
    let defaults = Heal::default();
    let Some(section) = root.section("heal", &HEAL) else {
        return defaults;
    };
    let (backoff_ms, backoff_ms_max) =
        read_backoff(&section, defaults.backoff_ms, defaults.backoff_ms_max);
    let (sandbox_require, sandbox_limits) = read_sandbox(&section);
    Heal {
        attempts: section
            .integer("attempts", 1..=ATTEMPTS_MAX)
            .unwrap_or(defaults.attempts),
        backoff_ms,
        backoff_ms_max,
        breaker: section
            .integer("breaker", 1..=ATTEMPTS_MAX)
            .unwrap_or(defaults.breaker),
        probation_ms: section
            .duration("probation", 0)
            .unwrap_or(defaults.probation_ms),
        restart: section
            .parse("restart", |text| one_of(text, &RESTARTS_AFTER_FIX))
            .unwrap_or(defaults.restart),
        offer_ms: section.duration("offer", 0).unwrap_or(defaults.offer_ms),
        policy: read_policies(&section),
        playbooks: read_playbooks(&section, schemas, layers),
        sandbox_require,
        sandbox_limits,
    }
}

fn read_policies(heal: &Section<'_>) -> Policies {
    let defaults = Policies::default();
    let Some(section) = heal.section("policy", &POLICY) else {
        return defaults;
    };
    let read = |key, default| {
        let policy = section.parse(key, |text| one_of(text, &POLICIES));
        policy.unwrap_or(default)
    };
    let policies = Policies {
        additive: read("additive", defaults.additive),
        edit: read("edit", defaults.edit),
        destructive: read("destructive", defaults.destructive),
        open: read("open", defaults.open),
        guarded: read("guarded", defaults.guarded),
    };
    if policies.guarded == Policy::Auto {
        section.fault(
            "guarded",
            Fault::new(
                "needs a person",
                "`guarded` cannot be `auto`: a free change of the manifest, of environment files, tests, CI files or \
                 applied migrations is never made without a person's approval",
                "write \"approve\" or \"report\"",
            ),
        );
    }
    if policies.destructive == Policy::Auto {
        section.fault(
            "destructive",
            Fault::new(
                "needs a person",
                "`destructive` cannot be `auto`: what drops or deletes data is never done without a person's approval",
                "write \"approve\" or \"report\"",
            ),
        );
    }
    policies
}

fn read_sandbox(heal: &Section<'_>) -> (Vec<String>, SandboxLimits) {
    let defaults = SandboxLimits::default();
    let Some(section) = heal.section("sandbox", &SANDBOX) else {
        return (vec![], defaults);
    };
    let mut require: Vec<String> = Vec::new();
    for word in section
        .list("require", |text| one_of(text, &ISOLATION))
        .unwrap_or_default()
    {
        if !require.iter().any(|known| known == word.value) {
            require.push(word.value.to_owned());
        }
    }
    let Some(limits) = section.section("limits", &LIMITS) else {
        return (require, defaults);
    };
    let limits = SandboxLimits {
        memory_bytes: limits
            .size("memory", |text| {
                at_least("memory", size_bytes(text)?, MEMORY_BYTES_MIN)
            })
            .unwrap_or(defaults.memory_bytes),
        cpu_s: limits
            .duration("cpu", 1000)
            .map_or(defaults.cpu_s, |ms| ms.div_ceil(1000)),
        file_bytes: limits
            .size("file_size", |text| {
                at_least("file_size", size_bytes(text)?, 1)
            })
            .unwrap_or(defaults.file_bytes),
        time_ms: limits.duration("time", 100).unwrap_or(defaults.time_ms),
        processes: limits
            .integer("processes", PROCESSES_MIN..=u32::MAX)
            .map_or(defaults.processes, u64::from),
        total_memory_bytes: limits
            .size("total_memory", |text| {
                at_least("total_memory", size_bytes(text)?, MEMORY_BYTES_MIN)
            })
            .unwrap_or(defaults.total_memory_bytes),
        disk_bytes: limits
            .size("disk", |text| {
                at_least("disk", size_bytes(text)?, DISK_BYTES_MIN)
            })
            .unwrap_or(defaults.disk_bytes),
    };
    (require, limits)
}

/// `[sandbox] read`: absolute paths, or below the home directory.
fn read_sandbox_view(root: &Section<'_>) -> SandboxView {
    let read = root
        .section("sandbox", &SANDBOX_VIEW)
        .and_then(|section| section.list("read", shown_path))
        .unwrap_or_default();
    SandboxView {
        read: read.into_iter().map(|path| path.value).collect(),
    }
}

fn shown_path(text: &str) -> Result<PathBuf, Fault> {
    let path = match text.strip_prefix("~/") {
        Some(below) => std::env::var_os("HOME")
            .map(|home| Path::new(&home).join(below))
            .ok_or_else(|| {
                let why = format!("`{text}` lies below the home directory, and HOME is not set");
                Fault::new("no home", why, "write the path from `/` on")
            })?,
        None => PathBuf::from(text),
    };
    let is_plain = path
        .components()
        .skip(1)
        .all(|part| matches!(part, Component::Normal(_)));
    if !path.is_absolute() || !is_plain || path.parent().is_none() {
        let why = format!("`{text}` is not an absolute path to a file or directory");
        let help =
            "write \"/srv/models\", or \"~/models\"; what lies in the workspace is there already";
        return Err(Fault::new("not a path that can be shown", why, help));
    }
    for secret in ["/proc", "/sys", "/dev", "/run/docker.sock"] {
        if path.starts_with(secret) {
            let why = format!("`{text}` leads out of the sandbox");
            return Err(Fault::new(
                "never shown",
                why,
                "name what the application reads",
            ));
        }
    }
    Ok(path)
}

fn at_least(key: &str, bytes: u64, bytes_min: u64) -> Result<u64, Fault> {
    if bytes >= bytes_min {
        return Ok(bytes);
    }
    let least = show_size(bytes_min);
    Err(Fault::new(
        "too small",
        format!("`{key}` cannot be smaller than {least}"),
        format!("write at least \"{least}\""),
    ))
}

fn read_validate(root: &Section<'_>) -> Option<u64> {
    let every = root
        .section("validate", &VALIDATE)
        .and_then(|section| {
            let every = section.duration("every", 0)?;
            if every > 0 && every < VALIDATE_EVERY_MS_MIN {
                let help = "write at least \"1s\", or \"0\" to switch validation off";
                let fault = Fault::new("too short", "`every` cannot be shorter than 1s", help);
                section.fault("every", fault);
            }
            Some(every)
        })
        .unwrap_or(VALIDATE_EVERY_MS_DEFAULT);
    (every > 0).then_some(every)
}

#[cfg(test)]
mod tests;
