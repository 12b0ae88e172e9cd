//! How the migrations of an application are run: by whom, where, and with which arguments.

use std::path::{Path, PathBuf};

use super::environment::find_environment;
use crate::database::migration_tables::MigrationTables;
use crate::domain::remedy::MigrationTool;
use crate::manifest::Expect;

/// Runs Alembic itself.
const ALEMBIC: &str = include_str!("../../python/alembic.py");

/// Arguments for the application's interpreter, and the directory in which it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MigrationCommand {
    /// `-m flask db upgrade head` and the like.
    pub arguments: Vec<String>,
    /// What a person would write for it.
    pub shown: String,
    /// Below the workspace or its copy.
    pub directory: PathBuf,
}

/// The upgrade of a database whose schema is expected like this, in the workspace or copy at `root`.
/// `None` if the tool does not fit. `target`: `heads`, or the alias of a database that is not Django's default.
#[must_use]
pub(crate) fn migration_command(
    expect: &Expect,
    tool: MigrationTool,
    target: &str,
    root: &Path,
) -> Option<MigrationCommand> {
    let command = |runner: &[&str], words: &[&str], directory: PathBuf| MigrationCommand {
        arguments: runner
            .iter()
            .chain(words)
            .map(|w| (*w).to_owned())
            .collect(),
        shown: words.join(" "),
        directory,
    };
    let file = |config: &str| root.join(config);
    Some(match (expect, tool) {
        (Expect::Alembic { config, section }, MigrationTool::Alembic) => {
            let environment = find_environment(root, &[], config, section).ok();
            let directory = environment.map_or_else(|| root.to_owned(), |e| e.directory);
            let file = file(config);
            let name = file.strip_prefix(&directory).ok()?.to_str()?;
            let words = ["-c", name, "-n", section, "upgrade", target];
            let mut command = command(&["-c", ALEMBIC], &words, directory);
            command.shown = format!("alembic {}", command.shown);
            command
        }
        (Expect::Alembic { config, .. }, MigrationTool::Flask) => {
            let file = file(config);
            let directory = file.parent()?.to_str()?;
            let words = ["flask", "db", "upgrade", "-d", directory, target];
            command(&["-m"], &words, root.to_owned())
        }
        (Expect::Django { settings }, MigrationTool::Django) => {
            let mut words = vec!["django", "migrate", "--noinput", "--settings", settings];
            if target != "heads" {
                words.extend(["--database", target]);
            }
            command(&["-m"], &words, root.to_owned())
        }
        _ => return None,
    })
}

/// The tables that hold the state of the migrations which a schema of the workspace or copy at `root` expects.
#[must_use]
pub(crate) fn migration_tables(expect: &Expect, root: &Path) -> MigrationTables {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    match expect {
        Expect::Alembic { config, section } => MigrationTables {
            versions: find_environment(root, &[], config, section)
                .ok()
                .and_then(|environment| environment.version_table.ok())
                .map_or_else(|| names(&["alembic_version"]), |table| vec![table]),
            growing: Vec::new(),
        },
        Expect::Django { .. } => MigrationTables {
            versions: Vec::new(),
            growing: names(&[
                "django_migrations",
                "django_content_type",
                "auth_permission",
            ]),
        },
        Expect::SqlAlchemy { .. } | Expect::Sql { .. } => MigrationTables::default(),
    }
}
