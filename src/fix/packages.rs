//! Packages: which exact distributions mend an environment, their wheels, and the change of the live environment.
//!
//! The resolver is pip, with the index that the environment is configured for (its `pip.conf`, `PIP_*`). Only wheels are
//! downloaded and unpacked, so nothing of them runs. The live environment is copied before it is changed, and that
//! copy takes its place again if the change is taken back or was interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::apply::{ApplyError, remove_file};
use super::run::{Unfinished, finish};
use crate::checks::normalise;
use crate::domain::redact::Redactor;
use crate::kernel::remove_tree;

/// How long pip may take for one step.
const STEP_WITHIN: Duration = Duration::from_secs(90);
/// A larger environment is not copied, so it is not changed either.
const ENVIRONMENT_BYTES_MAX: u64 = 4 << 30;
/// Where an environment that is made anew lies meanwhile, beside its place.
const ASIDE: &str = ".ubs-environment-aside";
/// Of what pip says.
const SAID_BYTES_MAX: u64 = 1 << 20;

/// An environment of the workspace, and what pip inherits.
#[derive(Debug, Clone)]
pub(super) struct Installer<'a> {
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
    pub(super) fn make(&self) -> Result<(), String> {
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
    pub(super) fn resolve(
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
    pub(super) fn download(&self, exact: &[String], wheels: &Path) -> Result<(), String> {
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
    pub(super) fn overlay(&self, exact: &[String], wheels: &Path, to: &Path) -> Result<(), String> {
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
    pub(super) fn install(&self, exact: &[String], wheels: &Path) -> Result<(), String> {
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
    pub(super) fn versions(&self, name: &str, scratch: &Path) -> Result<Vec<String>, String> {
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
        let path = self.process_env.get("PATH").map_or("", String::as_str);
        let own = self.live().join("bin");
        let mut directories = std::iter::once(own).chain(std::env::split_paths(path));
        let uv = directories.find_map(|directory| {
            let program = directory.join("uv");
            (directory.is_absolute() && program.is_file()).then_some(program)
        })?;
        let mut command = Command::new(uv);
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
    said(command)?.map(drop).map_err(|said| why(tool, &said))
}

/// The line of what a tool said that says why it failed.
fn why(tool: &str, said: &str) -> String {
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

fn tool_name(command: &Command) -> &'static str {
    let program = Path::new(command.get_program());
    if program.file_name().is_some_and(|name| name == "uv") {
        "uv"
    } else {
        "pip"
    }
}

/// What a tool said, and whether it came to a good end; an error if it did not run, or not to its end.
fn said(mut command: Command) -> Result<Result<String, String>, String> {
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

/// The interpreter that an environment was made from, if it is still there.
fn base_python(environment: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let home = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "home").then(|| PathBuf::from(value.trim()))
    })?;
    let program = home.join("python3");
    (home.is_absolute() && program.is_file()).then_some(program)
}

/// The environment of a workspace has an interpreter that could be started, and programs that can find it.
pub(super) fn is_usable(environment: &Path) -> bool {
    environment.join("pyvenv.cfg").is_file()
        && environment.join("bin/python").is_file()
        && !has_moved(environment)
}

/// Programs of the environment name an interpreter that is not there: it was copied or renamed.
fn has_moved(environment: &Path) -> bool {
    let Ok(entries) = fs::read_dir(environment.join("bin")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let mut first = Vec::new();
        let about = entry.metadata().is_ok_and(|about| about.is_file());
        let file = about.then(|| fs::File::open(entry.path()));
        let Some(Ok(file)) = file else { return false };
        if file.take(512).read_to_end(&mut first).is_err() {
            return false;
        }
        let line = first
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let Some(line) = line.strip_prefix(b"#!/") else {
            return false;
        };
        let line = String::from_utf8_lossy(line);
        let program = format!(
            "/{}",
            line.split([' ', '\t', '\r']).next().unwrap_or_default()
        );
        let program = Path::new(&program);
        let is_python = program
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("python"));
        is_python && !program.starts_with("/usr") && !program.exists()
    })
}

/// Names of the metadata directories of an environment, sorted: what is installed there.
pub(super) fn installed(environment: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for python in fs::read_dir(environment.join("lib"))? {
        let packages = python?.path().join("site-packages");
        let Ok(entries) = fs::read_dir(packages) else {
            continue;
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".dist-info") {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

/// What a promotion does to an environment; the wheels and the copy of before lie in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalPackages {
    /// Relative to the workspace.
    pub environment: String,
    /// As `name==version`.
    pub install: Vec<String>,
}

impl JournalPackages {
    fn live(&self, workspace: &Path) -> PathBuf {
        workspace.join(&self.environment)
    }

    /// Copies the environment and takes the wheels over; before anything is changed.
    pub(super) fn keep(
        &self,
        workspace: &Path,
        journal: &Path,
        wheels: &Path,
    ) -> Result<(), String> {
        let live = self.live(workspace);
        let said = |error: io::Error| error.to_string();
        let bytes = match bytes_of(&live, ENVIRONMENT_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            bytes => bytes.map_err(said)?,
        };
        if bytes > ENVIRONMENT_BYTES_MAX {
            return Err(format!(
                "{} has more than 4 GiB, so no copy of it is kept and it is not changed; install {} by hand",
                self.environment,
                self.install.join(" ")
            ));
        }
        copy(wheels, &journal.join("wheels"))?;
        if live.symlink_metadata().is_err() {
            return Ok(());
        }
        copy(&live, &journal.join("environment")).inspect_err(|_| {
            let _ = remove_tree(&journal.join("environment"));
        })
    }

    /// Installs what is to be installed; what an interrupted run left is put back first. Idempotent.
    pub(super) fn carry_out(
        &self,
        workspace: &Path,
        journal: &Path,
        process_env: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let (begun, done) = (journal.join("packages-begun"), Self::done(journal));
        if Self::is_done(journal) {
            return Ok(());
        }
        if begun.exists() {
            self.put_back(workspace, journal)?;
        }
        mark(&begun, "")?;
        crate::kernel::crash_point("promote.packages_begun");
        let installer = Installer {
            workspace,
            environment: &self.environment,
            process_env,
            at: None,
            base: None,
        };
        let live = self.live(workspace);
        if !is_usable(&live) {
            let aside = live.with_file_name(ASIDE);
            let said =
                |error: io::Error| format!("{} cannot be moved aside: {error}", self.environment);
            remove_tree(&aside).map_err(said)?;
            // A copy of it lies in the journal.
            if live.symlink_metadata().is_ok() {
                fs::rename(&live, &aside).map_err(said)?;
            }
            crate::kernel::crash_point("promote.environment_aside");
            let mut made = installer;
            made.base = Some(&aside);
            made.make()?;
            made.install(&self.install, &journal.join("wheels"))?;
            remove_tree(&aside).map_err(said)?;
        } else {
            installer.install(&self.install, &journal.join("wheels"))?;
        }
        crate::kernel::crash_point("promote.packages_installed");
        let all = installed(&self.live(workspace)).map_err(|error| error.to_string())?;
        mark(&done, &all.join("\n"))
    }

    /// The mark of an installation that came to its end, and what the environment had then.
    fn done(journal: &Path) -> PathBuf {
        journal.join("packages-done")
    }

    /// The installation came to its end.
    pub(super) fn is_done(journal: &Path) -> bool {
        Self::done(journal).exists()
    }

    /// The environment has what the promotion left there.
    pub(super) fn is_unchanged(&self, workspace: &Path, journal: &Path) -> bool {
        let left = fs::read_to_string(Self::done(journal));
        let now = installed(&self.live(workspace));
        matches!((left, now), (Ok(left), Ok(now)) if left == now.join("\n"))
    }

    /// The copy of before takes the environment's place again. Idempotent, and whole after any interruption.
    pub(super) fn put_back(&self, workspace: &Path, journal: &Path) -> Result<(), String> {
        let said = |error: io::Error| format!("{} cannot be put back: {error}", self.environment);
        let (begun, kept) = (journal.join("packages-begun"), journal.join("environment"));
        let live = self.live(workspace);
        let beside = |end: &str| live.with_file_name(format!(".ubs-environment-{end}"));
        let (fresh, old) = (beside("before"), beside("after"));
        if !begun.exists() {
            return Ok(());
        }
        // Moved aside, and interrupted before the copy took its place: it is complete then.
        if !live.exists() && fresh.exists() {
            fs::rename(&fresh, &live).map_err(said)?;
        } else {
            remove_tree(&fresh).map_err(said)?;
            remove_tree(&old).map_err(said)?;
            let was_there = kept.symlink_metadata().is_ok();
            if was_there {
                copy(&kept, &fresh)?;
            }
            if live.symlink_metadata().is_ok() {
                fs::rename(&live, &old).map_err(said)?;
            }
            crate::kernel::crash_point("take_back.environment_aside");
            if was_there {
                fs::rename(&fresh, &live).map_err(said)?;
            }
        }
        remove_tree(&old).map_err(said)?;
        remove_tree(&live.with_file_name(ASIDE)).map_err(said)?;
        for mark in [Self::done(journal), begun] {
            remove_file(&mark).map_err(said)?;
        }
        Ok(())
    }
}

fn mark(path: &Path, text: &str) -> Result<(), String> {
    super::apply::write_atomically(path, text.as_bytes(), 0o600).map_err(|error| error.to_string())
}

/// A copy with modes, times and links as they are; never a hard link.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let output = Command::new("cp")
        .arg("-a")
        .arg("--")
        .args([from, to])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cp cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{} cannot be copied: {}",
        from.display(),
        Redactor::default().clean(said.trim(), 400)
    ))
}

/// Bytes of the files below a directory, counted up to a bound.
fn bytes_of(directory: &Path, max: u64) -> io::Result<u64> {
    let mut bytes = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes += about.len();
            }
            if bytes > max {
                return Ok(bytes);
            }
        }
    }
    Ok(bytes)
}

/// A refusal, as a proposal that cannot be carried out says it.
pub(super) fn refusal(environment: &str, why: String) -> ApplyError {
    ApplyError::Packages {
        environment: environment.to_owned(),
        why,
    }
}

/// The requirement for `name` in a line of a requirements file or of `pyproject.toml` is exactly that version: the
/// bytes to replace, and by what.
pub(super) fn pin(
    line: &str,
    name: &str,
    version: &str,
) -> Option<(std::ops::Range<usize>, String)> {
    static REQUIREMENT: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
        regex::Regex::new(
            r#"^\s*["']?(?<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?(?<spec>\s*\(?(?:(?:[<>=!~]=?=?)\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)*\)?)"#,
        )
        .unwrap_or_else(|error| panic!("the pattern is sound: {error}"))
    });
    let found = REQUIREMENT.captures(line)?;
    if normalise(&found["name"]) != normalise(name) {
        return None;
    }
    let spec = found.name("spec")?;
    let end = spec.start() + spec.as_str().trim_end().len();
    let rest = line.get(end..)?.trim_start();
    let ends = rest.is_empty() || rest.starts_with([';', '#', '"', '\'']);
    ends.then(|| (spec.start()..end, format!("=={version}")))
}

/// Where `[project] dependencies` of `pyproject.toml` takes one more, exactly that version, and the text of it.
pub(super) fn pin_after(text: &str, name: &str, version: &str) -> Option<(usize, String)> {
    let document = toml_edit::Document::parse(text).ok()?;
    let dependencies = document.get("project")?.get("dependencies")?.as_array()?;
    let mut spans = dependencies.iter().map(toml_edit::Value::span);
    let first = spans.next()??;
    let last = spans.last().unwrap_or(Some(first.clone()))?;
    let line = text.get(..last.start)?.rsplit('\n').next()?;
    let before = if line.trim().is_empty() {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        format!(",{end}{line}")
    } else {
        ", ".to_owned()
    };
    Some((last.end, format!("{before}\"{name}=={version}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_dependency_is_pinned_in_a_project_file() {
        for (list, expected) in [
            ("[\"a\"]", "[\"a\", \"b==1.2\"]"),
            (
                "[\n  \"x\",\n  \"a>1\",  # why\n]",
                "[\n  \"x\",\n  \"a>1\",\n  \"b==1.2\",  # why\n]",
            ),
        ] {
            let mut text = format!("[project]\nname = \"p\"\ndependencies = {list}\n");
            let (at, more) = pin_after(&text, "b", "1.2").unwrap();
            text.insert_str(at, &more);
            assert!(
                text.ends_with(&format!("dependencies = {expected}\n")),
                "{text}"
            );
        }
        assert_eq!(pin_after("[project]\ndependencies = []\n", "b", "1"), None);
    }

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
    fn a_requirement_is_pinned_where_it_stands() {
        let pinned = |line: &str| {
            let (range, text) = pin(line, "Flask_X", "1.2")?;
            let mut line = line.to_owned();
            line.replace_range(range, &text);
            Some(line)
        };
        for (line, expected) in [
            ("flask-x", Some("flask-x==1.2")),
            (
                "flask.x[a,b] >=1,<3  # why",
                Some("flask.x[a,b]==1.2  # why"),
            ),
            ("    \"Flask-X~=2.0\",", Some("    \"Flask-X==1.2\",")),
            (
                "flask-x>2; python_version > '3'",
                Some("flask-x==1.2; python_version > '3'"),
            ),
            ("flask-x @ https://host/x.whl", None),
            ("flask-xy", None),
            ("-e ./flask-x", None),
        ] {
            assert_eq!(pinned(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn what_an_index_says_shows_no_password() {
        assert_eq!(
            without_passwords("at https://me:pw@host/simple/ x"),
            "at https://host/simple/ x"
        );
    }
}
