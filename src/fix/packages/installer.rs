//! What pip or uv is asked to do for an environment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::environment::{base_python, installed};
use crate::domain::redact::Redactor;
use crate::fix::run::{Unfinished, finish};
use crate::kernel::remove_tree;

/// How long pip may take for one step.
const STEP_WITHIN: Duration = Duration::from_secs(90);
/// Of what pip says.
const SAID_BYTES_MAX: u64 = 1 << 20;

/// An environment of the workspace, and what pip inherits.
#[derive(Debug, Clone)]
pub(in crate::fix) struct Installer<'a> {
    pub workspace: &'a Path,
    /// Relative to the workspace.
    pub environment: &'a str,
    pub process_env: &'a BTreeMap<String, String>,
    /// Another place that stands for it; `None` for the live one.
    pub at: Option<&'a Path>,
    /// The environment of before, which is made anew; `None` if it is still in its place.
    pub base: Option<&'a Path>,
}

#[derive(Deserialize)]
struct Report {
    install: Vec<ReportEntry>,
}

#[derive(Deserialize)]
struct ReportEntry {
    metadata: ReportMetadata,
}

#[derive(Deserialize)]
struct ReportMetadata {
    name: String,
    version: String,
}

/// What pip says when a distribution has no wheel: its own code would have to run.
const NO_WHEEL: &str = "no version of it comes as a wheel, and a source distribution runs its own code: \
                        install it by hand";

impl Installer<'_> {
    fn live(&self) -> PathBuf {
        self.workspace.join(self.environment)
    }

    fn place(&self) -> PathBuf {
        self.at.map_or_else(|| self.live(), Path::to_owned)
    }

    /// Makes an environment without packages, of the Python that the live one is of, or else of `python3`.
    pub(in crate::fix) fn make(&self) -> Result<(), String> {
        let place = self.place();
        let before = self.base.map_or_else(|| self.live(), Path::to_owned);
        let base = base_python(&before).unwrap_or_else(|| "python3".into());
        let make = |more: &[&str]| {
            let mut command = Command::new(&base);
            command.args(["-I", "-m", "venv"]).args(more).arg(&place);
            command
                .env_clear()
                .envs(self.process_env)
                .current_dir(self.workspace);
            run(command)
        };
        let pip = || {
            // What only stands for it does not need a pip of its own, where there is another one.
            if self.at.is_some() && make(&["--without-pip"]).is_ok() {
                let asked = self.pip(&["--version"]).and_then(run);
                if asked.is_ok() {
                    return Ok(());
                }
            }
            // Some systems have no `ensurepip`.
            make(&["--clear"]).or_else(|_| make(&["--clear", "--without-pip"]))
        };
        pip()?;
        // Its settings name the index.
        let settings = before.join("pip.conf");
        if settings.is_file() {
            fs::copy(&settings, place.join("pip.conf")).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The exact distributions, as `name==version`, that pip would install for the requirements within the constraints.
    pub(in crate::fix) fn resolve(
        &self,
        requirements: &[String],
        constraints: &[String],
        scratch: &Path,
    ) -> Result<Vec<String>, String> {
        let said = |error: io::Error| format!("{} cannot be used: {error}", scratch.display());
        fs::create_dir_all(scratch).map_err(said)?;
        // A trial removes it with everything else of the mission.
        if self.at.is_some_and(|at| !at.exists()) {
            self.make()?;
        }
        let limits = scratch.join("constraints.txt");
        let report = scratch.join("report.json");
        fs::write(&limits, constraints.join("\n") + "\n").map_err(said)?;
        if let Some(mut uv) = self.uv() {
            uv.args(["--dry-run", "--only-binary", ":all:", "--constraint"]);
            uv.arg(&limits).arg("--").args(requirements);
            return match self::said(uv)? {
                Ok(plan) => Ok(planned_by_uv(&plan)),
                Err(said) => Err(why("uv", &said)),
            };
        }
        let mut pip = self.pip(&["install", "--dry-run", "--quiet", "--only-binary", ":all:"])?;
        pip.arg("--constraint").arg(&limits);
        pip.arg("--report").arg(&report);
        pip.arg("--").args(requirements);
        run(pip).map_err(|why| {
            if why.contains("No matching distribution") {
                format!("{why}; or {NO_WHEEL}")
            } else {
                why
            }
        })?;
        let text = fs::read(&report).map_err(said)?;
        let report: Report = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let entry =
            |entry: ReportEntry| format!("{}=={}", entry.metadata.name, entry.metadata.version);
        Ok(report.install.into_iter().map(entry).collect())
    }

    /// The wheels of exact distributions.
    pub(in crate::fix) fn download(&self, exact: &[String], wheels: &Path) -> Result<(), String> {
        if let Some(mut uv) = self.uv() {
            // Into its cache, from which it installs later without a network; what it unpacks here is not used.
            let unpacked = wheels.join("unpacked");
            fs::create_dir_all(wheels).map_err(|error| error.to_string())?;
            uv.args(["--no-deps", "--only-binary", ":all:", "--target"]);
            uv.arg(&unpacked).arg("--").args(exact);
            run(uv)?;
            return remove_tree(&unpacked).map_err(|error| error.to_string());
        }
        let mut pip = self.pip(&["download", "--quiet", "--no-deps", "--only-binary", ":all:"])?;
        pip.arg("--dest").arg(wheels).arg("--").args(exact);
        run(pip)
    }

    /// Unpacks the wheels into a directory that stands before the environment on the import path.
    pub(in crate::fix) fn overlay(
        &self,
        exact: &[String],
        wheels: &Path,
        to: &Path,
    ) -> Result<(), String> {
        if let Some(mut uv) = self.uv() {
            uv.args(FROM_CACHE)
                .arg("--target")
                .arg(to)
                .arg("--")
                .args(exact);
            return run(uv);
        }
        let mut pip = self.pip(&INSTALL)?;
        pip.arg("--target").arg(to);
        pip.arg("--find-links").arg(wheels).arg("--").args(exact);
        run(pip)
    }

    /// Installs the wheels into the live environment.
    pub(in crate::fix) fn install(&self, exact: &[String], wheels: &Path) -> Result<(), String> {
        if let Some(mut uv) = self.uv() {
            uv.args(FROM_CACHE).arg("--reinstall").arg("--").args(exact);
            return run(uv);
        }
        let mut pip = self.pip(&INSTALL)?;
        // Also a version that seems to be there, and is damaged.
        pip.arg("--force-reinstall");
        pip.arg("--find-links").arg(wheels).arg("--").args(exact);
        run(pip)
    }

    /// The versions of a distribution that the index has as wheels for this environment.
    pub(in crate::fix) fn versions(
        &self,
        name: &str,
        scratch: &Path,
    ) -> Result<Vec<String>, String> {
        if self.uv().is_some() {
            return Err("uv does not list versions".to_owned());
        }
        // Pip has no stable way to list them, but names them all if none of them does.
        let mut pip = self.pip(&["download", "--quiet", "--no-deps", "--only-binary", ":all:"])?;
        pip.arg("--dest").arg(scratch).arg("--");
        pip.arg(format!("{name}==99999999.0"));
        match said(pip)? {
            Ok(_) => Err(format!("pip has {name} 99999999.0")),
            Err(lines) => listed(&lines).ok_or_else(|| format!("pip names no version of {name}")),
        }
    }

    /// `uv pip install` for the environment, where the project is one of uv's and it is there. It reads no settings of
    /// pip, so that it is not taken merely because it is installed.
    fn uv(&self) -> Option<Command> {
        let made = fs::read_to_string(self.live().join("pyvenv.cfg")).unwrap_or_default();
        let is_made = made
            .lines()
            .any(|line| line.split('=').next().is_some_and(|key| key.trim() == "uv"));
        if !is_made && !self.workspace.join("uv.lock").is_file() {
            return None;
        }
        let mut command = Command::new(self.program("uv")?);
        command.args([
            "pip",
            "install",
            "--no-progress",
            "--color",
            "never",
            "--python",
        ]);
        command
            .arg(self.place().join("bin/python"))
            .env_clear()
            .envs(self.process_env)
            .env_remove("VIRTUAL_ENV")
            .current_dir(self.workspace);
        Some(command)
    }

    /// A tool of the environment, or on the path; what else lies in the workspace is the application's code.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.process_env.get("PATH").map_or("", String::as_str);
        let own = self.live().join("bin");
        let others = std::env::split_paths(path).filter(|path| !path.starts_with(self.workspace));
        let mut directories = std::iter::once(own).chain(others);
        directories.find_map(|directory| {
            let program = directory.join(name);
            (directory.is_absolute() && program.is_file()).then_some(program)
        })
    }

    /// The interpreter that the environment was made from: nothing that is installed in the environment runs with it.
    pub(super) fn base_python(&self) -> Option<PathBuf> {
        base_python(&self.live())
    }

    /// Pip of the environment, else another one that is told which environment. Isolated: a `pip.py` of the workspace
    /// would run otherwise, outside of the sandbox.
    fn pip(&self, arguments: &[&str]) -> Result<Command, String> {
        let python = self.place().join("bin/python");
        let has_pip = self.lists("pip-");
        let mut command = if has_pip {
            let mut command = Command::new(&python);
            command.args(["-I", "-m", "pip"]);
            command
        } else {
            let mut command = Command::new("python3");
            command.args(["-I", "-m", "pip", "--python"]).arg(&python);
            command
        };
        command
            .args(arguments)
            .env_clear()
            .envs(self.process_env)
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env("PIP_NO_INPUT", "1")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .current_dir(self.workspace);
        Ok(command)
    }

    fn lists(&self, start: &str) -> bool {
        installed(&self.place()).is_ok_and(|all| all.iter().any(|name| name.starts_with(start)))
    }
}

/// What uv has in its cache, and nothing else.
const FROM_CACHE: [&str; 4] = ["--offline", "--no-deps", "--only-binary", ":all:"];

/// The distributions that uv would install: lines ` + name==version` of what it says.
fn planned_by_uv(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("+ ").or_else(|| line.strip_prefix("~ "))
    });
    lines
        .filter(|line| line.contains("=="))
        .map(|line| line.trim().to_owned())
        .collect()
}

const INSTALL: [&str; 6] = [
    "install",
    "--quiet",
    "--no-deps",
    "--no-index",
    "--only-binary",
    ":all:",
];

/// The versions in what pip says when none does: `(from versions: 1.0, 1.1)`.
fn listed(said: &str) -> Option<Vec<String>> {
    let (_, rest) = said.split_once("(from versions: ")?;
    let (all, _) = rest.split_once(')')?;
    let names = all.split(',').map(str::trim);
    let versions: Vec<String> = names
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    (!versions.is_empty()).then_some(versions)
}

/// Runs a tool to its end, within a bound; if it fails, the last line that says why.
fn run(command: Command) -> Result<(), String> {
    let tool = tool_name(&command);
    said(command)?.map(drop).map_err(|said| why(&tool, &said))
}

/// The line of what a tool said that says why it failed.
pub(super) fn why(tool: &str, said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut errors = lines
        .clone()
        .filter(|line| line.starts_with("ERROR") || line.starts_with("error"));
    let last = errors
        .next()
        .or(lines.next_back())
        .unwrap_or("it says nothing");
    // An index URL may have a password.
    format!(
        "{tool}: {}",
        without_passwords(&Redactor::default().clean(last, 600))
    )
}

/// Pip is started by the interpreter.
fn tool_name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let name = program.unwrap_or_default().to_string_lossy().into_owned();
    match name.starts_with("python") {
        true => "pip".to_owned(),
        false => name,
    }
}

/// What a tool said, and whether it came to a good end; an error if it did not run, or not to its end.
pub(super) fn said(mut command: Command) -> Result<Result<String, String>, String> {
    let tool = tool_name(&command);
    let late = || format!("{tool} took longer than {} s", STEP_WITHIN.as_secs());
    let ended =
        finish(&mut command, STEP_WITHIN, SAID_BYTES_MAX).map_err(
            |unfinished| match unfinished {
                Unfinished::NotStarted(error) => format!("{tool} cannot be started: {error}"),
                Unfinished::Late => late(),
                Unfinished::Io(error) => error.to_string(),
            },
        )?;
    let is_good = ended.status.success();
    // All of it, since a plan may be read from it.
    let said = ended.said_within(STEP_WITHIN).ok_or_else(late)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(if is_good { Ok(said) } else { Err(said) })
}

fn without_passwords(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => {
            let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
            format!("{scheme}://{host}")
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_the_workspace_does_not_run_as_pip() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("pip.py"), "open('ran', 'w')\n").unwrap();
        let process_env = BTreeMap::from(["PATH", "HOME"].map(|name| {
            let value = std::env::var(name).unwrap_or_default();
            (name.to_owned(), value)
        }));
        let installer = Installer {
            workspace: root,
            environment: "venv",
            process_env: &process_env,
            at: None,
            base: None,
        };
        let ask = || installer.pip(&["--version"]).and_then(run);
        let _ = ask();
        assert!(!root.join("ran").exists());
        // An environment that seems to have a pip of its own.
        fs::create_dir_all(root.join("venv/bin")).unwrap();
        fs::create_dir_all(root.join("venv/lib/python3/site-packages/pip-1.dist-info")).unwrap();
        let python = crate::kernel::find_program("python3", &process_env, root);
        std::os::unix::fs::symlink(python.unwrap(), root.join("venv/bin/python")).unwrap();
        assert!(installer.lists("pip-"));
        let _ = ask();
        assert!(!root.join("ran").exists());
    }

    #[test]
    fn what_uv_would_install_is_read() {
        let said = "Resolved 2 packages in 3ms\nWould install 2 packages\n - dep==2.0\n + dep==1.1\n + x==1\n";
        assert_eq!(planned_by_uv(said), ["dep==1.1", "x==1"]);
    }

    #[test]
    fn versions_are_read_from_what_pip_says() {
        let said = "ERROR: Could not find a version that satisfies the requirement dep==99999999.0 \
                    (from versions: 1.0, 1.1rc1, 2.0)\nERROR: No matching distribution found for dep";
        assert_eq!(listed(said).unwrap(), ["1.0", "1.1rc1", "2.0"]);
        assert_eq!(listed("(from versions: none)"), None);
    }

    #[test]
    fn what_an_index_says_shows_no_password() {
        assert_eq!(
            without_passwords("at https://me:pw@host/simple/ x"),
            "at https://host/simple/ x"
        );
    }
}
