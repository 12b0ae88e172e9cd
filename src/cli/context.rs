//! What every command needs: where things are, how to speak, how to fail.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit;
use super::options::{Color, Global};
use super::render::Paint;
use crate::domain::boot::BootState;
use crate::domain::ids::{At, BootId};
use crate::domain::mission::MissionRefusal;
use crate::domain::redact::sanitise;
use crate::engine::{Boot, EngineError};
use crate::fix::{PromoteError, TrialError, WorkError};
use crate::init::InitError;
use crate::log::{Log, LogError, MissionsError, Reader, now};
use crate::manifest::{
    ChoiceError, Existing, Manifest, ManifestError, find_manifest, write_atomically,
};

/// A command that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The manifest is missing or bad.
    #[error("{}", .0)]
    Manifest(Box<ManifestError>),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A mission does not allow it.
    #[error(transparent)]
    Missions(#[from] MissionsError),
    /// Work on a mission.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The boot.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The checks.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// Writing a first manifest.
    #[error(transparent)]
    Init(#[from] InitError),
    /// Wrong use, with what to do.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// What was named is not there.
    #[error("{message}")]
    Absent {
        /// What is not there.
        message: String,
        /// What to do.
        help: String,
    },
    /// It could not be done, with what to do.
    #[error("{message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The text is no proposal that can be tried.
    #[error("{message}")]
    Proposal {
        /// What is wrong.
        message: String,
    },
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

/// Said beside a proposal that cannot be read.
const PROPOSAL_HELP: &str = "docs/missions.md has an example";

impl From<ManifestError> for CliError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl From<ChoiceError> for CliError {
    fn from(error: ChoiceError) -> Self {
        Self::usage(error.message, error.help)
    }
}

impl From<PromoteError> for CliError {
    fn from(error: PromoteError) -> Self {
        Self::Work(error.into())
    }
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            help: help.into(),
        }
    }

    pub(crate) fn failed(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            help: help.into(),
        }
    }

    /// As programs read it: `{"error": {code, message, help, problems}}`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let (help, problems) = match self {
            Self::Usage { help, .. } | Self::Absent { help, .. } | Self::Failed { help, .. } => {
                (Some(help.clone()), None)
            }
            Self::Manifest(error) => (None, Some(error.problems())),
            Self::Proposal { .. } => (Some(PROPOSAL_HELP.to_owned()), None),
            _ => (None, None),
        };
        serde_json::json!({
            "error": { "code": self.code(), "message": chain_of(self), "help": help, "problems": problems },
        })
    }

    /// The stable name of what went wrong; docs/missions.md lists them.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::Log(_) => "log",
            Self::Missions(error) => code_of_missions(error),
            Self::Work(error) => code_of_work(error),
            Self::Engine(_) => "boot",
            Self::Trial(_) => "no_trial",
            Self::Init(_) => "init",
            Self::Usage { .. } => "usage",
            Self::Absent { .. } => "not_found",
            Self::Failed { .. } => "failed",
            Self::Proposal { .. } => "bad_proposal",
            Self::Output(_) => "output",
        }
    }

    /// 2 for what the user can mend by calling differently, 1 for what failed.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::GOOD,
            Self::Engine(EngineError::Bug(_)) | Self::Init(InitError::Bug(_)) => exit::BAD,
            Self::Failed { .. } | Self::Output(_) => exit::BAD,
            Self::Missions(_) | Self::Work(_) | Self::Proposal { .. } => {
                exit::of_mission_error(self.code())
            }
            _ => exit::USAGE,
        }
    }
}

fn code_of_missions(error: &MissionsError) -> &'static str {
    use MissionRefusal as R;
    match error {
        MissionsError::Log(_) => "log",
        MissionsError::NotFound(_) => "not_found",
        MissionsError::Ambiguous { .. } => "ambiguous",
        MissionsError::Refused(refusal) => match refusal {
            R::WrongStatus { .. } => "wrong_status",
            R::Held { .. } => "held",
            R::NotHolder { .. } => "not_holder",
            R::TooEarly { .. } => "too_early",
            R::BadLease { .. } => "bad_lease",
            R::EmptyProposal => "bad_proposal",
        },
    }
}

fn code_of_work(error: &WorkError) -> &'static str {
    match error {
        WorkError::Missions(error) | WorkError::Promote(PromoteError::Missions(error)) => {
            code_of_missions(error)
        }
        WorkError::Apply(error) if error.is_changed_meanwhile() => "changed_meanwhile",
        WorkError::Apply(_) => "bad_proposal",
        WorkError::Trial(_) => "no_trial",
        WorkError::NotNow { .. } => "wrong_status",
        WorkError::Promote(PromoteError::NotUndone(_)) => "not_undone",
        WorkError::Promote(_) => "not_applied",
        WorkError::Environment(_) => "environment",
    }
}

/// How a command speaks: what goes to standard output, what to standard error.
pub(crate) struct Ui {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) paint: Paint,
    /// Columns of standard output.
    pub(crate) width: usize,
    /// Standard error is a terminal: progress may be shown there.
    pub(crate) progress: bool,
}

/// Columns when standard output is no terminal.
const WIDTH_DEFAULT: usize = 80;
/// Lines longer than this are hard to read.
const WIDTH_MAX: usize = 100;
/// Narrower terminals get lines that wrap.
const WIDTH_MIN: usize = 40;

impl Ui {
    pub(super) fn new(global: &Global) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color && !dumb,
        };
        let width = if terminal {
            terminal_size::terminal_size().map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0))
        } else {
            WIDTH_DEFAULT
        };
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            paint: Paint::new(color && !global.json),
            width: width.clamp(WIDTH_MIN, WIDTH_MAX),
            progress: std::io::stderr().is_terminal() && !global.json && !global.quiet && !dumb,
        }
    }

    /// Writes text to standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(CliError::Output)
    }

    /// Writes long text: on a terminal through a pager, if there is one.
    pub(crate) fn print_long(&self, text: &str) -> Result<(), CliError> {
        if std::io::stdout().is_terminal() && super::pager::page(text) {
            return Ok(());
        }
        self.print(text)
    }

    /// Writes text to standard output, unless only the outcome or one JSON document is wanted there.
    pub(crate) fn print_unless_silent(&self, text: &str) -> Result<(), CliError> {
        if self.json || self.quiet {
            return Ok(());
        }
        self.print(text)
    }

    /// Writes one JSON document to standard output, pretty on a terminal.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = if std::io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(|error| CliError::Output(error.into()))?;
        self.print(&format!("{text}\n"))
    }

    /// Writes one JSON document on one line of standard output.
    pub(crate) fn print_json_line(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
        self.print(&format!("{text}\n"))
    }

    /// Says something to the person on standard error, unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Says on standard error why the command failed.
    pub(crate) fn error(&self, error: &CliError) {
        let mut err = std::io::stderr().lock();
        let _ = match error {
            CliError::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            CliError::Manifest(problem) => {
                let handler =
                    miette::GraphicalReportHandler::new_themed(self.theme()).with_width(self.width);
                let mut text = String::new();
                match handler.render_report(&mut text, problem.as_ref()) {
                    Ok(()) => write!(err, "{text}"),
                    Err(_) => writeln!(err, "error: {problem}"),
                }
            }
            CliError::Usage { message, help }
            | CliError::Absent { message, help }
            | CliError::Failed { message, help } => {
                writeln!(
                    err,
                    "error: {}\n  help: {}",
                    sanitise(message),
                    sanitise(help)
                )
            }
            CliError::Proposal { message } => {
                writeln!(err, "error: {}\n  help: {PROPOSAL_HELP}", sanitise(message))
            }
            other => writeln!(err, "error: {}", sanitise(&chain_of(other))),
        };
    }

    fn theme(&self) -> miette::GraphicalTheme {
        let terminal = std::io::stderr().is_terminal();
        if terminal && self.paint.is_on() {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        }
    }
}

/// The error with its causes, unless they repeat what is already said.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Where an application, its manifest and its state are.
pub(crate) struct AppPaths {
    pub(crate) workspace: PathBuf,
    pub(crate) manifest: Option<PathBuf>,
    pub(crate) state_dir: PathBuf,
}

impl AppPaths {
    /// That of an application whose manifest lies in its workspace.
    pub(crate) fn of_workspace(workspace: &Path) -> Result<Self, CliError> {
        let workspace = workspace.canonicalize().map_err(|error| {
            CliError::usage(
                format!("cannot enter {}: {error}", workspace.display()),
                "give another directory",
            )
        })?;
        Ok(Self {
            manifest: Some(workspace.join("ubs.toml")),
            state_dir: workspace.join(".ubs"),
            workspace,
        })
    }

    /// Finds it as the global options say. The manifest need not exist: looking back works without it.
    pub(crate) fn find(global: &Global) -> Result<Self, CliError> {
        let start = match &global.workspace {
            Some(dir) => dir.clone(),
            None => PathBuf::from("."),
        };
        let start = start.canonicalize().map_err(|error| {
            CliError::usage(
                format!("cannot enter {}: {error}", start.display()),
                "give the application's directory with -C DIR",
            )
        })?;
        if !start.is_dir() {
            return Err(CliError::usage(
                format!("{} is not a directory", start.display()),
                "give the application's directory with -C DIR",
            ));
        }
        let manifest = match &global.manifest {
            Some(file) if file.is_absolute() => Some(file.clone()),
            Some(file) => Some(std::env::current_dir().map_or(file.clone(), |dir| dir.join(file))),
            None => find_manifest(&start),
        };
        let workspace = match (&global.workspace, &manifest) {
            // An explicit manifest elsewhere does not move the workspace.
            (Some(_), Some(file)) if global.manifest.is_none() => parent_of(file, &start),
            (Some(_), _) => start,
            (None, Some(file)) => parent_of(file, &start),
            (None, None) => start,
        };
        let workspace = workspace.canonicalize().unwrap_or(workspace);
        let state_dir = match &global.state {
            Some(dir) => dir.clone(),
            None => workspace.join(".ubs"),
        };
        Ok(Self {
            workspace,
            manifest,
            state_dir,
        })
    }

    /// Reads the manifest.
    pub(crate) fn manifest(&self) -> Result<Manifest, CliError> {
        let path = self.manifest.clone().ok_or_else(|| {
            CliError::usage(
                format!(
                    "there is no ubs.toml in {} or above it",
                    self.workspace.display()
                ),
                "write one with `ubs init` (docs/manifest.md has every key), name it with --manifest FILE, or see a complete one with `ubs demo`",
            )
        })?;
        // Paths go into documents, into the log and to probes, and all of those are text.
        if self.workspace.to_str().is_none() {
            return Err(CliError::usage(
                format!("the path {} is not UTF-8 text", self.workspace.display()),
                "rename the directory, or move the application to another one",
            ));
        }
        let mut manifest = Manifest::load(&path)?;
        manifest.workspace.clone_from(&self.workspace);
        Ok(manifest)
    }

    /// The global options that lead another `ubs` to the same place.
    pub(crate) fn as_arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["-C".into(), self.workspace.clone().into_os_string()];
        let options = [
            ("--manifest", self.manifest.as_ref()),
            ("--state", Some(&self.state_dir)),
        ];
        for (name, path) in options {
            if let Some(path) = path.and_then(|path| std::path::absolute(path).ok()) {
                arguments.extend([name.into(), path.into_os_string()]);
            }
        }
        arguments
    }

    fn log_path(&self) -> PathBuf {
        self.state_dir.join("log.db")
    }

    /// Opens the log for writing, making it and its directory if need be.
    pub(crate) fn open_log(&self) -> Result<Log, CliError> {
        let is_ours = self.state_dir.ends_with(".ubs") || !self.state_dir.exists();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state_dir)
            .map_err(|error| {
                CliError::usage(
                    format!("cannot make {}: {error}", self.state_dir.display()),
                    "name a writable directory with --state DIR",
                )
            })?;
        // One that was there before may be open to others; what lies in it is not for them.
        if let Ok(found) = std::fs::metadata(&self.state_dir)
            && found.permissions().mode() & 0o077 != 0
        {
            let _ = std::fs::set_permissions(&self.state_dir, Permissions::from_mode(0o700));
        }
        if is_ours {
            ignore_itself(&self.state_dir);
        }
        Ok(Log::open(&self.log_path())?)
    }

    /// A boot of the application, in the environment of this process.
    pub(crate) fn boot<'a>(&self, manifest: Manifest) -> Result<Boot<'a>, CliError> {
        let log = self.open_log()?;
        let reader = log.reader()?;
        let environment = Self::process_env();
        Ok(Boot::new(
            manifest,
            log,
            reader,
            &self.state_dir,
            environment,
        ))
    }

    /// Opens the log for reading; `None` if there never was a boot here.
    pub(crate) fn reader(&self) -> Result<Option<Reader>, CliError> {
        let path = self.log_path();
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Reader::open(&path)?))
    }

    /// Opens the log for reading, or says that there is none.
    pub(crate) fn existing_reader(&self) -> Result<Reader, CliError> {
        self.reader()?.ok_or_else(|| {
            CliError::usage(
                format!("there is no log at {}", self.log_path().display()),
                "boot first (`ubs boot`), or say where the application is with -C DIR",
            )
        })
    }

    /// The environment of this process, as far as it is text.
    pub(crate) fn process_env() -> BTreeMap<String, String> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }
}

fn parent_of(file: &Path, otherwise: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => otherwise.to_owned(),
    }
}

/// The supervisor that the state names still runs.
pub(crate) fn supervisor_lives(state: &BootState) -> bool {
    state
        .supervisor
        .as_ref()
        .is_some_and(crate::kernel::is_alive)
}

/// A moment as a person gives it: RFC 3339, a date and time in UTC, or so long ago (`90s`, `10m`,
/// `2h`, `3d`).
pub(crate) fn moment_of(text: &str) -> Result<At, CliError> {
    let text = text.trim();
    if let Ok(at) = text.parse::<At>() {
        return Ok(at);
    }
    for format in ["%Y-%m-%d %H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(moment) = chrono::NaiveDateTime::parse_from_str(text, format) {
            return Ok(At(moment.and_utc().timestamp_micros()));
        }
    }
    let ago = text.strip_suffix(" ago").unwrap_or(text);
    let (digits, unit) = ago.split_at(ago.find(|c: char| !c.is_ascii_digit()).unwrap_or(ago.len()));
    let unit_us: Option<i64> = match unit.trim() {
        "s" => Some(1_000_000),
        "m" | "min" => Some(60_000_000),
        "h" => Some(3_600_000_000),
        "d" => Some(86_400_000_000),
        _ => None,
    };
    match (digits.parse::<i64>(), unit_us) {
        (Ok(number), Some(unit_us)) => {
            Ok(At(now().0.saturating_sub(number.saturating_mul(unit_us))))
        }
        _ => Err(CliError::usage(
            format!("`{text}` is not a point in time"),
            "give a time in RFC 3339 (2026-11-24T10:00:00Z), or how long ago: 90s, 10m, 2h, 3d",
        )),
    }
}

/// The boot that a person names: `last`, `last~1` (the one before it), `last-good`, an id, or the
/// beginning of one.
pub(crate) fn find_boot(reader: &Reader, name: &str) -> Result<BootId, CliError> {
    let help =
        "`ubs boots` lists the boots; give an id, its beginning, `last`, `last~1` or `last-good`";
    if name == "last-good" {
        return reader.last_good_boot()?.ok_or_else(|| {
            CliError::usage(
                "no boot here came up with everything and ended as asked",
                help,
            )
        });
    }
    if let Some(back) = name.strip_prefix("last~") {
        let back: u32 = back
            .parse()
            .ok()
            .filter(|back| *back < u32::MAX)
            .ok_or_else(|| {
                CliError::usage(
                    format!("`{name}` names no boot: a number follows `~`"),
                    help,
                )
            })?;
        let boots = reader.boots(back + 1)?;
        return boots
            .get(back as usize)
            .map(|boot| boot.boot_id)
            .ok_or_else(|| {
                CliError::usage(
                    format!("there is no boot `{name}`: the log has {}", boots.len()),
                    help,
                )
            });
    }
    if name == "last" {
        return reader
            .last_boot()?
            .ok_or_else(|| CliError::usage("no boot has run here yet", "`ubs boot` makes one"));
    }
    if let Ok(id) = name.parse::<BootId>()
        && reader.boot(id)?.is_some()
    {
        return Ok(id);
    }
    let wanted = name.to_ascii_lowercase();
    let mut found = reader
        .boots(u32::MAX)?
        .into_iter()
        .map(|boot| boot.boot_id)
        .filter(|id| !wanted.is_empty() && id.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(CliError::usage(format!("there is no boot `{name}`"), help)),
        (Some(_), Some(_)) => Err(CliError::usage(
            format!("`{name}` is the beginning of more than one boot's id"),
            help,
        )),
    }
}

/// `; did you mean ...?`, if one of the names is near.
pub(crate) fn nearest(wanted: &str, names: &[String]) -> String {
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// Nobody commits what lies there by mistake. What a person wrote there stays; without it, all else works.
fn ignore_itself(directory: &Path) {
    let path = directory.join(".gitignore");
    if path.symlink_metadata().is_err() {
        // What lies directly in it: `*` would hide the sources in a copy of the workspace too.
        let _ = write_atomically(&path, b"/*\n", 0o600, Existing::Kept);
    }
}
