//! The application's own migrations, run in the sandbox on a clone of its database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::apply::ApplyError;
use super::trial::error::make_directory;
use crate::checks::{application_view, interpreter, migration_command, seen_root};
use crate::database::migration_tables::MigrationTables;
use crate::domain::event::ExitKind;
use crate::domain::redact::Redactor;
use crate::domain::remedy::MigrationTool;
use crate::manifest::{Environment, Manifest, WebFramework};
use crate::sandbox::{Loopback, SandboxSpec, host_isolation, run_sandboxed};

/// End of what a failed migration said.
const OUTPUT_BYTES_MAX: usize = 2 << 10;
/// Lines of it.
const LINES_MAX: usize = 4;

/// Where and with what the migrations run.
pub(super) struct MigrationRun<'a> {
    pub manifest: &'a Manifest,
    /// The copy of the workspace.
    pub root: &'a Path,
    /// A private directory outside of the copy that is gone after the trial.
    pub scratch: &'a Path,
    /// The state directory, which migrations do not see.
    pub state: &'a Path,
    pub environment: &'a Environment,
    pub overrides: &'a BTreeMap<String, String>,
}

/// Whose migrations, and how far.
#[derive(Clone, Copy)]
pub(super) struct Upgrade<'a> {
    /// Name of the `[[schema]]`.
    pub schema: &'a str,
    pub tool: MigrationTool,
    pub target: &'a str,
    /// Where the tool keeps what it did.
    pub tables: &'a MigrationTables,
}

/// What the migrations reach besides the copy of the workspace, which they read.
#[derive(Default)]
pub(super) struct MigrationReach {
    pub writable: Vec<PathBuf>,
    /// Variables that lead to the clone.
    pub variables: BTreeMap<String, String>,
    /// The clone, if it is on a server.
    pub loopback: Option<Loopback>,
}

impl Upgrade<'_> {
    pub(super) fn failed(&self, why: impl std::fmt::Display) -> ApplyError {
        ApplyError::Migration {
            schema: self.schema.to_owned(),
            why: why.to_string(),
        }
    }

    /// Runs them.
    ///
    /// # Errors
    /// They failed, in their own last words; or this host cannot isolate them.
    pub(super) fn run(
        &self,
        run: &MigrationRun<'_>,
        reach: MigrationReach,
    ) -> Result<(), ApplyError> {
        let declared = run.manifest.schemas.iter().find(|s| s.name == self.schema);
        let command = declared
            .and_then(|schema| migration_command(&schema.expect, self.tool, self.target, run.root))
            .ok_or_else(|| self.failed("the manifest declares no migrations of this kind"))?;
        let limits = run.manifest.heal.sandbox_limits;
        // Otherwise, migrations that name their database outright would reach the live one.
        let isolation = host_isolation(limits);
        let wanted = ["filesystem", "network"];
        let needed = if reach.loopback.is_some() {
            &wanted[..]
        } else {
            &wanted[..1]
        };
        if let Some(missing) = needed
            .iter()
            .find(|name| !isolation.isolated.iter().any(|i| i == *name))
        {
            let what = if *missing == "network" {
                "network"
            } else {
                "file system"
            };
            return Err(self.failed(format!(
                "this host cannot isolate the {what}, so the live database would be in reach"
            )));
        }
        let home = run.scratch.join("migration-home");
        make_directory(&home).map_err(|error| self.failed(error))?;
        let python = interpreter(run.manifest, run.root, run.environment)
            .map_err(|error| self.failed(error))?;
        let mut argv = vec![python.display().to_string(), "-B".to_owned()];
        // It finds itself at the path of the live workspace.
        let seen = seen_root(run.manifest, run.root);
        let (copy, seen_text) = (run.root.display().to_string(), seen.display().to_string());
        let arguments = command.arguments.iter();
        argv.extend(arguments.map(|argument| argument.replace(&copy, &seen_text)));
        let outcome = run_sandboxed(&SandboxSpec {
            argv,
            cwd: command.directory,
            env: self.variables(run, &seen, reach.variables)?,
            view: Some(application_view(
                run.manifest,
                run.root,
                run.environment,
                Some(run.state),
            )),
            writable: reach.writable,
            home: Some(home),
            network: false,
            loopback: reach.loopback,
            limits,
            timeout_ms: limits.time_ms,
            stdin: Vec::new(),
            stdin_more: None,
        })
        .map_err(|error| self.failed(error))?;
        if !outcome.timed_out && outcome.exit == ExitKind::Code(0) {
            return Ok(());
        }
        let redactor = Redactor::new(run.environment.secret_values(run.manifest));
        let text = String::from_utf8_lossy(if outcome.stderr.is_empty() {
            &outcome.stdout
        } else {
            &outcome.stderr
        })
        .into_owned();
        let how = if outcome.timed_out {
            format!(
                "was not done in {} s (`time` of `heal.sandbox.limits` says how long it may take)",
                limits.time_ms / 1_000
            )
        } else if let Some(what) = &outcome.exceeded {
            format!("used {what}, the bound in `heal.sandbox.limits`, and was stopped")
        } else {
            format!("ended with {}", outcome.exit)
        };
        let output = redactor.clean(&last_words(&text).join(" | "), OUTPUT_BYTES_MAX);
        let output = if output.is_empty() {
            output
        } else {
            format!(": {output}")
        };
        let place = last_place(&text, &seen).map_or_else(String::new, |p| format!(" at {p}"));
        let shown = command
            .shown
            .replace(&format!("{}/", run.root.display()), "");
        Err(self.failed(format!("`{shown}` {how}{place}{output}")))
    }

    fn variables(
        &self,
        run: &MigrationRun<'_>,
        seen: &Path,
        reach: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ApplyError> {
        let mut env = run.environment.declared_env(run.manifest);
        env.extend(run.overrides.clone());
        env.extend(reach);
        // Packages that were installed for the user lie below the real home directory.
        if let Some((home, _)) = run.environment.values.get("HOME") {
            let base = Path::new(home).join(".local").display().to_string();
            env.entry("PYTHONUSERBASE".to_owned()).or_insert(base);
        }
        if self.tool == MigrationTool::Flask
            && let Some(app) = flask_application(run)
        {
            env.insert("FLASK_APP".to_owned(), app);
        }
        let mut paths: Vec<PathBuf> = run
            .manifest
            .python
            .path
            .iter()
            .map(|p| seen.join(p))
            .collect();
        paths.push(seen.to_owned());
        if let Some(path) = env.get("PYTHONPATH") {
            paths.extend(std::env::split_paths(path));
        }
        let joined = std::env::join_paths(paths).map_err(|error| self.failed(error))?;
        env.insert(
            "PYTHONPATH".to_owned(),
            joined.to_string_lossy().into_owned(),
        );
        Ok(env)
    }
}

/// What a program said at its end: from the exception on, if there is one, without marks below the code.
fn last_words(text: &str) -> Vec<&str> {
    let is_mark = |line: &str| line.chars().all(|c| "^~ \t".contains(c));
    // Lines with values of rows stay out of messages.
    let is_unwanted = |line: &str| {
        ["(Background on this error at", "DETAIL:", "[parameters:"]
            .iter()
            .any(|begin| line.starts_with(begin))
    };
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !is_mark(line) && !is_unwanted(line))
        .collect();
    // `sqlalchemy.exc.ProgrammingError: (psycopg2.errors.SyntaxError) ...`
    let is_exception = |line: &&str| {
        let name = line.split_once(": ").map_or(*line, |(name, _)| name);
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let of_one = name.rsplit('.').next().unwrap_or_default();
        let ends_like = ["Error", "Exception", "Exit", "Interrupt"];
        // `Error: ...` is what a command line says, perhaps on several lines.
        name.chars().all(is_name)
            && !ends_like.contains(&name)
            && (name.contains('.') || ends_like.iter().any(|end| of_one.ends_with(end)))
    };
    let from = lines
        .iter()
        .rposition(is_exception)
        .unwrap_or_else(|| lines.len().saturating_sub(LINES_MAX));
    lines[from..].iter().take(LINES_MAX).copied().collect()
}

/// The last place in the workspace's own code that a traceback names: `versions/b2.py:7`.
fn last_place(text: &str, root: &Path) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let (file, rest) = line
            .trim_start()
            .strip_prefix("File \"")?
            .split_once("\", line ")?;
        let inside = Path::new(file).strip_prefix(root).ok()?;
        if inside
            .components()
            .any(|part| part.as_os_str() == "site-packages")
        {
            return None;
        }
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        Some(format!("{}:{}", inside.display(), &rest[..digits]))
    })
}

/// The application that `flask` runs in: the one that is named, or the one that the manifest registers.
fn flask_application(run: &MigrationRun<'_>) -> Option<String> {
    if let Some((named, _)) = run.environment.values.get("FLASK_APP") {
        return Some(named.clone());
    }
    let app = run.manifest.registration.as_ref()?.app.as_ref()?;
    let call = if app.factory { "()" } else { "" };
    (app.framework == WebFramework::Flask)
        .then(|| format!("{}:{}{call}", app.module, app.attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exception_is_what_counts() {
        let of_sqlalchemy = "Traceback (most recent call last):\n  File \"env.py\", line 7, in <module>\n    go()\n    ^^^^\n\
            sqlalchemy.exc.ProgrammingError: (psycopg2.errors.SyntaxError) syntax error at or near \"no\"\nLINE 1: no sql\n        ^\nDETAIL:  Key (x)=(y)\n\n\
            [SQL: no sql]\n(Background on this error at: https://sqlalche.me/e/20/f405)\n";
        assert_eq!(
            last_words(of_sqlalchemy),
            [
                "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.SyntaxError) syntax error at or near \"no\"",
                "LINE 1: no sql",
                "[SQL: no sql]"
            ]
        );
        let place = last_place(
            "  File \"/w/db/b2.py\", line 7, in upgrade\n  File \"/w/.venv/lib/site-packages/x.py\", line 9, in y\n  File \"/usr/z.py\", line 1",
            Path::new("/w"),
        );
        assert_eq!(place.as_deref(), Some("db/b2.py:7"));
        let plain = "Traceback:\n  File \"a.py\"\nValueError: not today\n";
        assert_eq!(last_words(plain), ["ValueError: not today"]);
        let of_click =
            "Error: Could not locate it.\nUsage: flask [OPTIONS]\n\nError: No such command 'db'.\n";
        assert_eq!(last_words(of_click)[0], "Error: Could not locate it.");
        let bare = "  File \"a.py\"\nKeyboardInterrupt\n";
        assert_eq!(last_words(bare), ["KeyboardInterrupt"]);
        assert_eq!(last_words("a\nb\nc\nd\ne\n"), ["b", "c", "d", "e"]);
        assert_eq!(last_words(""), Vec::<&str>::new());
    }
}
