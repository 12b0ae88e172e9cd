//! A small application in a directory of its own, and the checks run on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{CheckContext, Earlier, SharedRuns, run_check};
use crate::domain::finding::{CheckName, CheckReport, Finding};
use crate::domain::redact::Redactor;
use crate::manifest::{
    AppObject, Config, Environment, Expect, ExpectedService, Heal, Layer, Manifest, Policies,
    Python, Registration, Rehearse, SandboxLimits, Schema, Var, WebFramework,
};

#[path = "../../tests/it/support/postgres.rs"]
pub(crate) mod postgres;
#[path = "../../tests/it/support/time.rs"]
pub(crate) mod time;
#[path = "../../tests/it/support/venv.rs"]
pub(crate) mod venv;

/// `few` entries of a table, evenly spread, so that each kind has one; with `UBS_TEST_ALL` set, as in `.ci/run --all`,
/// all of them.
pub(super) fn some_of<T>(table: &[T], few: usize) -> Vec<&T> {
    let step = match std::env::var_os("UBS_TEST_ALL") {
        Some(_) => 1,
        None => table.len().div_ceil(few).max(1),
    };
    table.iter().step_by(step).collect()
}

/// An application under test.
pub(super) struct App {
    pub dir: tempfile::TempDir,
    pub manifest: Manifest,
    /// The environment of `ubs`.
    pub process: BTreeMap<String, String>,
    pub overrides: BTreeMap<String, String>,
    pub earlier: Earlier,
    /// The state directory, if the checks have one.
    pub state: Option<PathBuf>,
}

impl App {
    /// An empty application that any Python can run.
    pub(super) fn plain() -> Option<Self> {
        let found = std::process::Command::new("python3").arg("-V").output();
        if found.is_err() {
            venv::skipped("python3", "the program is not found");
            return None;
        }
        Some(Self::with_interpreter(None))
    }

    /// An empty application with FastAPI and SQLAlchemy.
    pub(super) fn with_packages() -> Option<Self> {
        Some(Self::with_interpreter(Some(venv::application_python()?)))
    }

    pub(super) fn with_interpreter(interpreter: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Manifest {
            path: dir.path().join("ubs.toml"),
            workspace: dir.path().to_owned(),
            digest: [0; 32],
            name: "test".into(),
            python: Python {
                interpreter: interpreter.map(|path| path.display().to_string()),
                path: vec![".".into()],
                requirements: None,
            },
            config: Config::default(),
            vault: None,
            schemas: vec![],
            registration: None,
            checks: vec![],
            acknowledged: vec![],
            choice: crate::manifest::Choice::default(),
            layers: vec![],
            sandbox: crate::manifest::SandboxView::default(),
            heal: Heal {
                attempts: 5,
                backoff_ms: 200,
                backoff_ms_max: 30_000,
                breaker: 3,
                policy: Policies::default(),
                sandbox_require: vec![],
                sandbox_limits: SandboxLimits::default(),
                ..Heal::default()
            },
            validate_every_ms: None,
            logs: Default::default(),
            notify: Vec::new(),
            api: None,
        };
        let process = ["PATH", "HOME"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        Self {
            dir,
            manifest,
            process,
            overrides: BTreeMap::new(),
            earlier: Earlier::default(),
            state: None,
        }
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(super) fn var(mut self, name: &str, var: Var) -> Self {
        self.manifest.config.vars.insert(name.into(), var);
        self
    }

    pub(super) fn layer(mut self, name: &str, critical: bool, rehearse: Rehearse) -> Self {
        self.manifest.layers.push(Layer {
            name: name.into(),
            critical,
            after: vec![],
            needing: false,
            rehearse: Some(rehearse),
            services: vec![],
            line: 1,
        });
        self
    }

    /// A critical layer that imports one module.
    pub(super) fn imports(self, module: &str) -> Self {
        self.layer(module, true, rehearse(&[module]))
    }

    pub(super) fn schema(mut self, database: &str, expect: &str) -> Self {
        let migrations = expect
            .strip_prefix("alembic:")
            .map(|config| Expect::Alembic {
                config: config.into(),
                section: "alembic".into(),
            })
            .or_else(|| {
                expect
                    .strip_prefix("django:")
                    .map(|settings| Expect::Django {
                        settings: settings.into(),
                    })
            });
        let expect = match (expect.strip_prefix("sql:"), migrations) {
            (_, Some(migrations)) => migrations,
            (Some(pattern), _) => Expect::Sql {
                pattern: pattern.into(),
            },
            _ => {
                let (module, attribute) = expect.split_once(':').unwrap();
                Expect::SqlAlchemy {
                    module: module.into(),
                    attribute: attribute.into(),
                }
            }
        };
        self.manifest.schemas.push(Schema {
            name: format!("db{}", self.manifest.schemas.len()),
            database: database.into(),
            expect,
            models: None,
            ignore: vec![],
            line: 1,
        });
        self
    }

    pub(super) fn registration(mut self, target: &str, services: &[&str]) -> Self {
        // `module:attribute` is one of FastAPI's.
        let (word, rest) = target.split_once(':').unwrap();
        let (framework, rest) = match word {
            "flask" => (WebFramework::Flask, rest),
            "starlette" => (WebFramework::Starlette, rest),
            "django" => (WebFramework::Django, rest),
            _ => (WebFramework::FastApi, target),
        };
        let (module, attribute) = rest.split_once(':').unwrap_or((rest, ""));
        self.manifest.registration = Some(Registration {
            app: Some(AppObject {
                framework,
                module: module.into(),
                attribute: attribute.trim_end_matches("()").into(),
                factory: attribute.ends_with("()"),
            }),
            openapi: None,
            services: services
                .iter()
                .map(|name| ExpectedService {
                    name: (*name).into(),
                    prefix: format!("/api/{name}"),
                })
                .collect(),
            min_coverage: 1.0,
            line: 1,
        });
        self
    }

    pub(super) fn sqlite(self, file: &str, sql: &str) -> Self {
        let connection = rusqlite::Connection::open(self.root().join(file)).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        self
    }

    pub(super) fn check(&self, check: CheckName) -> CheckReport {
        // In the workspace's own state directory, as in a boot.
        let scratch = self.root().join(".ubs/scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let environment = Environment::load(
            &self.manifest,
            self.root(),
            self.process.clone().into_iter(),
        )
        .unwrap();
        let environment = environment.with_services(&self.manifest);
        let redactor = Redactor::new(environment.secret_values(&self.manifest));
        let report = run_check(
            check,
            &CheckContext {
                manifest: &self.manifest,
                root: self.root(),
                environment: &environment,
                redactor: &redactor,
                scratch: &scratch,
                state: self.state.as_deref(),
                overrides: self.overrides.clone(),
                shared: &SharedRuns::default(),
                sources: &super::Sources::default(),
                before_boot: false,
                is_live: false,
                earlier: &self.earlier,
            },
        );
        std::fs::remove_dir(&scratch).expect("no run leaves its directory behind");
        std::fs::remove_dir(self.root().join(".ubs")).unwrap();
        report
    }
}

/// A dry run that imports these modules.
pub(super) fn rehearse(imports: &[&str]) -> Rehearse {
    Rehearse {
        imports: imports.iter().map(|module| (*module).into()).collect(),
        call: None,
        startup: false,
        command: vec![],
        timeout_ms: 30_000,
        network: false,
    }
}

/// `code subject` of each finding from `warning` on.
pub(super) fn problems(report: &CheckReport) -> Vec<String> {
    report
        .findings
        .iter()
        .filter(|f| f.severity >= crate::domain::finding::Severity::Warning)
        .map(|f| format!("{} {}", f.code, f.subject))
        .collect()
}

/// The finding with that code; there must be exactly one.
pub(super) fn only<'a>(report: &'a CheckReport, code: &str) -> &'a Finding {
    let mut found = report.findings.iter().filter(|f| f.code == code);
    let Some(first) = found.next() else {
        panic!("no {code} in {report:#?}");
    };
    assert!(
        found.next().is_none(),
        "more than one {code} in {report:#?}"
    );
    first
}
