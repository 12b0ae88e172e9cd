//! How the migrations of an application are run: by whom, where, and with which arguments.

use std::path::{Path, PathBuf};

use crate::domain::mission::MigrationTool;
use crate::manifest::Expect;

/// Arguments for the application's interpreter, and the directory in which it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationCommand {
    /// `-m alembic upgrade head` and the like.
    pub arguments: Vec<String>,
    /// Below the workspace or its copy.
    pub directory: PathBuf,
}

/// The upgrade of a database whose schema is expected like this, in the workspace or copy at `root`.
/// `None` if the tool does not fit.
#[must_use]
pub fn migration_command(
    expect: &Expect,
    tool: MigrationTool,
    target: &str,
    root: &Path,
) -> Option<MigrationCommand> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let beside = |config: &str| {
        let file = root.join(config);
        let name = file.file_name()?.to_str()?.to_owned();
        Some((file.parent()?.to_owned(), name))
    };
    Some(match (expect, tool) {
        (Expect::Alembic { config, section }, MigrationTool::Alembic) => {
            let (directory, name) = beside(config)?;
            MigrationCommand {
                arguments: words(&[
                    "-m", "alembic", "-c", &name, "-n", section, "upgrade", target,
                ]),
                directory,
            }
        }
        (Expect::Alembic { config, .. }, MigrationTool::Flask) => {
            let (directory, _) = beside(config)?;
            MigrationCommand {
                arguments: words(&[
                    "-m",
                    "flask",
                    "db",
                    "upgrade",
                    "-d",
                    directory.to_str()?,
                    target,
                ]),
                directory: root.to_owned(),
            }
        }
        (Expect::Django { settings }, MigrationTool::Django) => MigrationCommand {
            arguments: words(&[
                "-m",
                "django",
                "migrate",
                "--noinput",
                "--settings",
                settings,
            ]),
            directory: root.to_owned(),
        },
        _ => return None,
    })
}
