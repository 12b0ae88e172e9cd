//! The stage of a trial: a copy of the workspace with clones of its databases, on which nothing can be broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{TrialError, make_directory};
use crate::checks::migration_tables;
use crate::database::migration_tables::MigrationTables;
use crate::database::postgres::url::is_same_database;
use crate::database::url::{is_postgres, sqlite_path};
use crate::domain::mission::{Change, Proposal, Risk};
use crate::fix::apply::{ApplyError, plan_files, write_files};
use crate::fix::database::apply_statements;
use crate::fix::migrate::{MigratedImage, migrate};
use crate::fix::migration_run::{MigrationRun, Upgrade};
use crate::fix::packages::{Installer, is_usable, refusal};
use crate::fix::places::try_places;
use crate::fix::postgres::migrations::migrate_server;
use crate::fix::postgres::server_trial::ServerTrial;
use crate::fix::postgres::statements::{Extent, try_on_clone};
use crate::manifest::{Environment, Manifest};
use crate::sandbox::{WorkspaceCopy, clone_database, prepare_copy};

/// Where the wheels of a trial lie, below its directory.
pub(super) const WHEELS: &str = "wheels";
/// Where they are unpacked, in the copy.
const OVERLAY: &str = ".ubs-packages/site-packages";
/// An environment that is made anew, in the copy.
const ANEW: &str = ".ubs-packages/environment";

/// The database of each `[[schema]]` of the manifest.
#[derive(Default)]
pub(crate) struct Databases {
    /// SQLite files.
    pub files: BTreeMap<String, PathBuf>,
    /// URLs of PostgreSQL databases; they may hold a password.
    pub servers: BTreeMap<String, String>,
}

/// The databases of the manifest, as the application in `root` would open them.
pub(crate) fn databases(manifest: &Manifest, environment: &Environment, root: &Path) -> Databases {
    let mut databases = Databases::default();
    for schema in &manifest.schemas {
        let Ok(url) = environment.expand_url(&schema.database) else {
            continue;
        };
        if let Some(path) = sqlite_path(&url, root) {
            databases.files.insert(schema.name.clone(), path);
        } else if is_postgres(&url) {
            databases.servers.insert(schema.name.clone(), url);
        }
    }
    databases
}

/// The URL of each `[[schema]]` of the manifest that is a PostgreSQL database. They may hold a password: for
/// connecting only.
pub(crate) fn server_urls(
    manifest: &Manifest,
    environment: &Environment,
) -> BTreeMap<String, String> {
    databases(manifest, environment, &manifest.workspace).servers
}

/// The SQLite URL with the clone as its file: the driver and the options stay.
fn at_clone(url: &str, clone: &Path) -> String {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("sqlite", ""));
    let query = rest
        .split_once('?')
        .map_or(String::new(), |(_, q)| format!("?{q}"));
    let uri = if rest.trim_start_matches('/').starts_with("file:") {
        "file:"
    } else {
        ""
    };
    format!("{scheme}:///{uri}{}{query}", clone.display())
}

/// See the module.
pub(crate) struct Stage {
    pub copy: WorkspaceCopy,
    pub scratch: PathBuf,
    /// The state directory, which nothing in the trial sees.
    pub state: PathBuf,
    /// As the trial sees it: databases that cannot be told by their variables are those of the trial.
    pub manifest: Manifest,
    /// Variables of the application that lead to clones.
    pub overrides: BTreeMap<String, String>,
    /// Clone of each schema's database.
    pub databases: BTreeMap<String, PathBuf>,
    /// URL of each schema's live PostgreSQL database.
    servers: BTreeMap<String, String>,
    /// Clones of those that the proposal changes.
    pub clones: BTreeMap<String, ServerTrial>,
}

impl Stage {
    pub(crate) fn set_up(
        manifest: &Manifest,
        process_env: &BTreeMap<String, String>,
        directory: &Path,
        state: &Path,
    ) -> Result<Self, TrialError> {
        let workspace = &manifest.workspace;
        let environment = Environment::load(manifest, workspace, process_env.clone().into_iter())
            .map_err(|error| TrialError::Environment(error.to_string()))?;
        let Databases {
            files: live,
            servers,
        } = databases(manifest, &environment, workspace);
        let files: Vec<PathBuf> = live.values().cloned().collect();
        make_directory(directory)?;
        let copy = WorkspaceCopy::create(workspace, directory, &files)?;
        let scratch = directory.join("scratch");
        make_directory(&scratch)?;
        let mut stage = Self {
            copy,
            scratch,
            state: state.to_owned(),
            manifest: manifest.clone(),
            overrides: BTreeMap::new(),
            databases: BTreeMap::new(),
            servers,
            clones: BTreeMap::new(),
        };
        for (index, schema) in manifest.schemas.iter().enumerate() {
            let (Some(path), Ok(url)) = (
                live.get(&schema.name),
                environment.expand_url(&schema.database),
            ) else {
                continue;
            };
            // A relative URL means the clone inside the copy; an absolute one has to be replaced
            // everywhere, or the trial would reach the live database.
            let inside = sqlite_path(&url, stage.copy.root()).filter(|clone| clone != path);
            let clone = match inside {
                Some(clone) => clone,
                None => {
                    let clone = directory.join(format!("database-{index}.sqlite"));
                    if path.exists() {
                        clone_database(path, &clone)?;
                    }
                    stage.manifest.schemas[index].database = at_clone(&url, &clone);
                    clone
                }
            };
            for (name, (value, _)) in &environment.values {
                if *value == path.display().to_string() {
                    let clone = clone.display().to_string();
                    stage.overrides.insert(name.clone(), clone);
                } else if sqlite_path(value, stage.copy.root()).as_ref() == Some(path) {
                    stage
                        .overrides
                        .insert(name.clone(), at_clone(value, &clone));
                }
            }
            stage.databases.insert(schema.name.clone(), clone);
        }
        Ok(stage)
    }

    /// Files and statements; migrations run later, when secrets are hidden from code that nobody approved.
    pub(crate) fn carry_out(&mut self, proposal: &Proposal) -> Result<(), ApplyError> {
        let files = plan_files(self.copy.root(), proposal)?;
        try_places(self.copy.root(), proposal)?;
        write_files(self.copy.root(), &files)?;
        let mut on_servers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for change in &proposal.changes {
            if let Change::Sql { schema, statements } = change {
                if self.servers.contains_key(schema) {
                    let all = on_servers.entry(schema).or_default();
                    all.extend(statements.iter().cloned());
                    continue;
                }
                let path = self
                    .databases
                    .get(schema)
                    .ok_or_else(|| ApplyError::UnknownSchema(schema.clone()))?;
                apply_statements(path, statements, proposal.risk)?;
            }
        }
        for (schema, statements) in on_servers {
            let live = &self.servers[schema];
            let extent = match proposal.risk >= Risk::Destructive {
                true => Extent::Changes,
                false => Extent::Adds,
            };
            let clone = try_on_clone(live, &statements, extent)?;
            crate::kernel::crash_point("trial.cloned");
            self.clones.insert(schema.to_owned(), clone);
        }
        Ok(())
    }

    /// Lets everything in the trial see the clones, and the schema check, which asks by itself, the live
    /// servers that nothing changes. `environment`: that of the application, with its secrets; `is_approved`:
    /// the application gets the clones' URLs, with the password; other code has no network to use them.
    pub(crate) fn reach_servers(&mut self, environment: &Environment, is_approved: bool) {
        for schema in &mut self.manifest.schemas {
            let Ok(url) = environment.expand_url(&schema.database) else {
                continue;
            };
            if !is_postgres(&url) {
                continue;
            }
            // Two sections may look at one database, by other drivers.
            let clone = self
                .clones
                .iter()
                .find(|(name, _)| {
                    let live = self.servers.get(*name);
                    live.is_some_and(|live| is_same_database(live, &url))
                })
                .map(|(_, clone)| clone);
            if let Some(clone) = clone.filter(|_| is_approved) {
                for (name, (value, _)) in &environment.values {
                    if is_same_database(value, &url) {
                        self.overrides.insert(name.clone(), clone.url_like(value));
                    }
                }
            }
            let reached = clone.map_or_else(|| url.clone(), |clone| clone.url_like(&url));
            // It is expanded again.
            if !reached.contains("${") {
                schema.database = reached;
            }
        }
    }

    /// Unpacks the packages of the proposal beside the copy: the variable that puts them on the import path, before
    /// what is installed. The wheels stay in `wheels`.
    pub(crate) fn install(
        &mut self,
        proposal: &Proposal,
        process_env: &BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Option<String>, ApplyError> {
        let mut path = None;
        for change in &proposal.changes {
            let Change::Packages {
                environment,
                install,
            } = change
            else {
                continue;
            };
            let live = self.manifest.workspace.join(environment);
            let anew = self.copy.root().join(ANEW);
            let is_anew = !is_usable(&live);
            let workspace = self.manifest.workspace.clone();
            let installer = Installer {
                workspace: &workspace,
                environment,
                process_env,
                at: is_anew.then_some(anew.as_path()),
                base: None,
            };
            if is_anew {
                let wheels = directory.join(WHEELS);
                installer
                    .make()
                    .and_then(|()| installer.download(install, &wheels))
                    .and_then(|()| installer.install(install, &wheels))
                    .map_err(|why| refusal(environment, why))?;
                let python = anew.join("bin/python");
                // The trial sees the installation that it is made from.
                let base = python.canonicalize().ok();
                let base = base.as_deref().and_then(|python| python.parent()?.parent());
                let is_python =
                    |base: &&Path| base.join("bin").is_dir() && !base.starts_with("/usr");
                let base = base.filter(is_python).and_then(Path::to_str);
                self.manifest.sandbox.read.extend(base.map(Into::into));
                self.manifest.python.interpreter = Some(python.display().to_string());
                // What services call by its path is found there too.
                let bin = self.copy.root().join(environment).join("bin");
                link_programs(&anew.join("bin"), &bin)
                    .map_err(|error| refusal(environment, error.to_string()))?;
                continue;
            }
            // Seen by the trial, and not taken for the application's own.
            let (wheels, overlay) = (directory.join(WHEELS), self.copy.root().join(OVERLAY));
            installer
                .download(install, &wheels)
                .and_then(|()| installer.overlay(install, &wheels, &overlay))
                .map_err(|why| refusal(environment, why))?;
            // Where the trial sees its copy: at the workspace's own path, or, without a root of its own, where it is.
            let seen = self.manifest.workspace.join(OVERLAY);
            path = Some(format!("{}:{}", seen.display(), overlay.display()));
        }
        Ok(path)
    }

    /// The copy is complete: application code may run in it.
    pub(crate) fn prepare(&self) -> Result<(), TrialError> {
        prepare_copy(self.copy.root(), &self.manifest.workspace).map_err(|source| TrialError::Io {
            path: self.copy.root().to_owned(),
            source,
        })
    }

    /// Runs the migrations of the proposal on clones. Images of SQLite's results lie beside `images`, and begin with
    /// its name. `environment`: that of the application, with its secrets, which `process_env` may hide.
    pub(crate) fn migrate(
        &mut self,
        proposal: &Proposal,
        environment: &Environment,
        process_env: &BTreeMap<String, String>,
        images: &Path,
    ) -> Result<BTreeMap<String, MigratedImage>, TrialError> {
        let mut migrated = BTreeMap::new();
        for change in &proposal.changes {
            let Change::Migrate {
                schema,
                tool,
                target,
            } = change
            else {
                continue;
            };
            let root = self.copy.root();
            self.prepare()?;
            let hidden = Environment::load(&self.manifest, root, process_env.clone().into_iter())
                .map_err(|error| TrialError::Environment(error.to_string()))?;
            let run = MigrationRun {
                manifest: &self.manifest,
                root,
                scratch: &self.scratch,
                state: &self.state,
                environment: &hidden,
                overrides: &self.overrides,
            };
            let declared = self.manifest.schemas.iter().find(|s| s.name == *schema);
            let tables = declared.map_or_else(MigrationTables::default, |schema| {
                migration_tables(&schema.expect, root)
            });
            let upgrade = Upgrade {
                schema,
                tool: *tool,
                target,
                tables: &tables,
            };
            if let Some(url) = self.servers.get(schema) {
                let clone = migrate_server(&run, upgrade, url, environment)?;
                self.clones.insert(schema.clone(), clone);
                continue;
            }
            let database = self
                .databases
                .get(schema)
                .ok_or_else(|| ApplyError::UnknownSchema(schema.clone()))?;
            migrated.insert(schema.clone(), migrate(&run, upgrade, database, images)?);
        }
        Ok(migrated)
    }
}

/// Each program of the environment `from`, in `to` by its name.
fn link_programs(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for program in std::fs::read_dir(from)? {
        let program = program?;
        let link = to.join(program.file_name());
        crate::kernel::remove_tree(&link)?;
        std::os::unix::fs::symlink(program.path(), &link)?;
    }
    Ok(())
}
