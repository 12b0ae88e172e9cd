//! The declaration of one application, as `ubs.toml` gives it after validation.
//!
//! Plain data: every duration is in milliseconds, every path is as written (relative to the
//! workspace), every `${VARIABLE}` is still unexpanded, because its value is known only at run time.

use super::logs::{LogRules, Logs};
use super::notify::Notify;
use super::playbook::Playbook;
use super::probe_spec::Probe;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One application, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file that was read.
    pub path: PathBuf,
    /// The directory of the application: where `ubs.toml` lies, unless told otherwise.
    pub workspace: PathBuf,
    /// BLAKE3 of the file's bytes.
    pub(crate) digest: [u8; 32],
    /// `app.name`.
    pub name: String,
    /// `[python]`.
    pub(crate) python: Python,
    /// `[config]`.
    pub(crate) config: Config,
    /// `[vault]`.
    pub(crate) vault: Option<Vault>,
    /// `[[schema]]`.
    pub(crate) schemas: Vec<Schema>,
    /// `[registration]`.
    pub(crate) registration: Option<Registration>,
    /// `[[check]]`, in the order of the file.
    pub(crate) checks: Vec<DeclaredCheck>,
    /// `coverage.acknowledge`: `layer NAME` and `service NAME` that nothing looks at, which is known.
    pub(crate) acknowledged: Vec<String>,
    /// What was chosen of the layers and checks; the manifest has no others then.
    pub(crate) choice: Choice,
    /// `[[layer]]`, in the order of the file.
    pub(crate) layers: Vec<Layer>,
    /// `[heal]`.
    pub(crate) heal: Heal,
    /// `[sandbox]`.
    pub(crate) sandbox: SandboxView,
    /// `[validate]`: time between two validations of the live system; `None` switches them off
    /// (`every = "0"`).
    pub(crate) validate_every_ms: Option<u64>,
    /// `[api]`: the control interface over TCP too.
    pub(crate) api: Option<Api>,
    /// `[logs]`: how the output of services is kept.
    pub(crate) logs: Logs,
    /// `[[notify]]`: who hears of what happens.
    pub(crate) notify: Vec<Notify>,
}

/// What was asked for where the boot was begun; the default is everything that no profile holds back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// Only these services, with what they need.
    pub services: Vec<String>,
    /// Services of these profiles, too.
    pub profiles: Vec<String>,
}

/// `[api]`: where the control interface listens beside its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Api {
    /// Address and port.
    pub listen: SocketAddr,
    /// Whoever has it may ask. Off loopback there is one.
    pub token: Option<ApiToken>,
    /// Further names under which it is reached.
    pub hosts: Vec<String>,
}

/// Where the token of `[api]` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiToken {
    /// In a file, relative to the workspace.
    File(String),
    /// In a variable.
    Variable(String),
}

/// `[python]`: how the application's own interpreter is found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Python {
    /// Path or program name; without it `.venv`, `venv`, `$VIRTUAL_ENV`, then `python3`.
    pub interpreter: Option<String>,
    /// Directories put in front of the import path, relative to the workspace. Default `["."]`.
    pub path: Vec<String>,
    /// The file that pins the packages.
    pub requirements: Option<String>,
}

/// `[config]`: the environment that the application expects.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Config {
    /// Environment files, later ones win over earlier ones; the process environment wins over all.
    /// Default `[".env"]`. The first one lies in the workspace: fixers write into it.
    pub files: Vec<String>,
    /// The example file that documents the variables.
    pub example: Option<String>,
    /// `[config.vars.NAME]`.
    pub vars: BTreeMap<String, Var>,
    /// Directories whose Python sources are read for variables; none: those of `python.path`.
    pub scan: Vec<String>,
}

/// `[config.vars.NAME]`: one declared variable.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Var {
    /// A missing value is critical.
    pub required: bool,
    /// The value never reaches the log, the terminal or a sandbox that does not need it.
    pub secret: bool,
    /// What the text must parse as.
    pub kind: VarKind,
    /// Smallest number (`int`, `float`), or shortest duration in seconds.
    pub min: Option<f64>,
    /// Largest number (`int`, `float`), or longest duration in seconds.
    pub max: Option<f64>,
    /// Fewest characters.
    pub min_length: Option<usize>,
    /// A regular expression that must match somewhere in the value.
    pub pattern: Option<String>,
    /// The only values allowed.
    pub one_of: Vec<String>,
    /// Values that are placeholders and never right.
    pub reject: Vec<String>,
    /// The value that a fixer may write to the environment file. Never for a secret.
    pub default: Option<String>,
    /// A fixer may write a random value to the environment file. Only for a secret.
    pub generate: bool,
    /// Bits that a secret must be worth (a number that is not negative); `None`: a warning below a
    /// sensible number, `0`: not judged. Only for a secret.
    pub min_entropy: Option<f64>,
    /// Line of the declaration in the manifest, 1-based.
    pub line: u32,
}

/// `[vault]`: where the application's secrets come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vault {
    /// What it is.
    pub kind: VaultKind,
    /// What must be in it.
    pub keys: Vec<VaultKey>,
    /// Time for all that it is asked, together. Default 5 s.
    pub timeout_ms: u64,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

/// The kinds of vaults. Texts may have `${VARIABLE}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VaultKind {
    /// HashiCorp Vault or OpenBao, over HTTP.
    Hashicorp {
        /// `https://host:port`. Default `${VAULT_ADDR}`.
        address: String,
        /// The variable that holds the token. Default `${VAULT_TOKEN}`.
        token: Option<String>,
        /// The file that holds the token.
        token_file: Option<String>,
        /// Namespace.
        namespace: Option<String>,
        /// Where the key-value engine is mounted. Default `secret`.
        mount: String,
        /// Version of the key-value engine; without it, the vault is asked.
        kv: Option<u32>,
        /// Certificates of the authorities that are trusted, in PEM form; without it those of the system.
        ca_file: Option<String>,
    },
    /// One file.
    File {
        /// The file.
        path: String,
        /// How it is written.
        format: VaultFormat,
        /// The variable that holds the key (`fernet`).
        key: Option<String>,
        /// The file that holds the key (`fernet`).
        key_file: Option<String>,
    },
    /// A program that prints names and values.
    Command(Vec<String>),
}

/// How a file vault is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VaultFormat {
    /// Encrypted, <https://github.com/fernet/spec>.
    Fernet,
    /// Not encrypted: only its owner may read it.
    Json,
}

/// One secret that must be in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VaultKey {
    /// Path of the secret, or its name where the vault has no paths.
    pub path: String,
    /// The field of it.
    pub field: Option<String>,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

/// What a variable's text must parse as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub(crate) enum VarKind {
    #[default]
    String,
    Int,
    Float,
    Bool,
    Url,
    Path,
    Enum,
    Duration,
}

/// `[[schema]]`: one database and what the code expects in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema {
    /// Unique among the schemas.
    pub name: String,
    /// Database URL, with `${VARIABLE}`.
    pub database: String,
    /// Where the expected schema comes from.
    pub expect: Expect,
    /// `models`: module and attribute of SQLAlchemy models that are compared when the migrations are
    /// all applied.
    pub models: Option<(String, String)>,
    /// Glob patterns of tables that are not compared.
    pub ignore: Vec<String>,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

/// Where the expected schema comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// `sqlalchemy:module:attribute`, a declarative base or a `MetaData`.
    SqlAlchemy {
        /// Module to import.
        module: String,
        /// Attribute, dots allowed.
        attribute: String,
    },
    /// `alembic:FILE[#SECTION]`, a migration environment of Alembic.
    Alembic {
        /// Its `ini` file, relative to the workspace.
        config: String,
        /// Section of the file, `alembic` by default.
        section: String,
    },
    /// `django:SETTINGS`, the migrations of a Django project.
    Django {
        /// Module of the settings.
        settings: String,
    },
    /// `sql:GLOB`, SQL files applied in the order of their names to an empty database.
    Sql {
        /// Pattern relative to the workspace.
        pattern: String,
    },
}

/// `[registration]`: the routes that the application has to serve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Registration {
    /// Where the application object is; looked at before the boot.
    pub app: Option<AppObject>,
    /// URL of the running application's OpenAPI document, not expanded; looked at after the boot.
    pub openapi: Option<String>,
    /// What must be reachable.
    pub services: Vec<ExpectedService>,
    /// Share of the services that must be mounted, 0 to 1; below it the check is critical. Default 1.
    pub min_coverage: f64,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

/// `framework:module:attribute`: an application object, before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppObject {
    /// What made it.
    pub framework: WebFramework,
    /// The module; for Django that of the settings.
    pub module: String,
    /// The attribute, dots allowed; empty for Django.
    pub attribute: String,
    /// Written with `()`: a function that makes the application, called without arguments.
    pub factory: bool,
}

/// Frameworks whose routes can be read from the application object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebFramework {
    /// `fastapi`.
    FastApi,
    /// `starlette`.
    Starlette,
    /// `flask`.
    Flask,
    /// `django`.
    Django,
}

impl WebFramework {
    /// The word of the manifest.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::FastApi => "fastapi",
            Self::Starlette => "starlette",
            Self::Flask => "flask",
            Self::Django => "django",
        }
    }
}

/// One service that the application must have mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedService {
    /// Name, as reported.
    pub name: String,
    /// Path prefix that at least one route must have; by default `/api/NAME`.
    pub prefix: String,
}

/// `[[check]]`: a check that the manifest declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredCheck {
    /// Unique among the checks; without a dot, because it is a part of codes.
    pub name: String,
    /// What is looked at.
    pub kind: CheckKind,
    /// When it runs. Default before the boot.
    pub when: CheckWhen,
    /// How bad a finding is that does not say, and the most that one can be. Default critical.
    pub severity: CheckSeverity,
    /// Patterns of files below the workspace: a program that passed does not run again while they are the same.
    pub inputs: Vec<String>,
    /// Wall time allowed. Default 30 s.
    pub timeout_ms: u64,
    /// The network is reachable for the program. Default false.
    pub network: bool,
    /// Checks above it that have to pass first.
    pub needs: Vec<String>,
    /// What to do about a finding that does not say.
    pub remedy: Option<String>,
    /// The layer that cannot do without it; of one that is not critical, findings are warnings.
    pub layer: Option<String>,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

/// What a declared check looks at. Texts may have `${VARIABLE}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckKind {
    /// `run`: a program that says what it found.
    Program {
        /// Program and arguments.
        run: Vec<String>,
        /// How its answer is read.
        format: CheckFormat,
    },
    /// `tcp`: a connection to host:port is accepted.
    Tcp(String),
    /// `http`: GET answers with a status from 200 to 399.
    Http(String),
    /// `dns`: the name has an address.
    Dns(String),
    /// `disk`: so much is free where the path lies.
    Disk {
        /// The path.
        path: String,
        /// Bytes.
        free_bytes: u64,
    },
    /// `file`: it is there, and is as it should be.
    File {
        /// The path.
        path: String,
        /// Permissions that it may have at most.
        mode: Option<u32>,
        /// Name of its owner.
        owner: Option<String>,
        /// Written within this time.
        max_age_ms: Option<u64>,
    },
    /// `clock`: the clock agrees with a time server (SNTP, RFC 4330).
    Clock {
        /// `host` or `host:port`.
        server: String,
        /// Most milliseconds apart.
        skew_ms: u64,
    },
    /// `limits`: what this process, and so a service, may use at least.
    Limits {
        /// Open files.
        open_files: Option<u32>,
        /// Processes of the user.
        processes: Option<u32>,
    },
    /// `certificate`: it is valid for so many days more.
    Certificate {
        /// Where it is.
        of: CertificateOf,
        /// Days. Default 14.
        days: u32,
    },
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertificateOf {
    /// A file in PEM form.
    File(String),
    /// A server, `host:port`, that is asked over TLS.
    Server {
        /// The address.
        address: String,
        /// Authorities that are trusted; without it those of the system.
        ca_file: Option<String>,
    },
}

/// How the answer of a program is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum CheckFormat {
    Exit,
    Json,
    Sarif,
    Junit,
    Tap,
    Nagios,
    Goss,
}

/// When a declared check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckWhen {
    /// Before a boot and in a trial.
    Preflight,
    /// While the system runs.
    Live,
    /// Both.
    Both,
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum CheckSeverity {
    Critical,
    Warning,
    Info,
}

/// `[[layer]]`: an ordered stage of the boot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// Unique among the layers.
    pub name: String,
    /// If it fails, the boot fails; otherwise the boot goes on degraded. Default true.
    pub critical: bool,
    /// Layers that must be settled (up, failed or skipped) before this one starts. Without the
    /// key: the layer before it. `[]`: none.
    pub after: Vec<String>,
    /// `after` was written and names layers: it needs them to be up. Without the key it only comes after.
    pub needing: bool,
    /// The dry run before the boot.
    pub rehearse: Option<Rehearse>,
    /// What runs.
    pub services: Vec<Service>,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

/// `rehearse`: the dry run of one layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rehearse {
    /// Modules imported in a fresh interpreter.
    pub imports: Vec<String>,
    /// `module:callable`, called without arguments after the imports.
    pub call: Option<String>,
    /// A command that must exit with 0.
    pub command: Vec<String>,
    /// The start-up of the application object is tried too. Default false.
    pub startup: bool,
    /// Wall time allowed. Default 30 s.
    pub timeout_ms: u64,
    /// The network is reachable. Default false.
    pub network: bool,
}

/// `[[layer.service]]`: a supervised process or a one-shot task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    /// Unique in the whole manifest.
    pub name: String,
    /// Program and arguments, with `${VARIABLE}`; never given to a shell.
    pub run: Vec<String>,
    /// Working directory relative to the workspace, with `${VARIABLE}`; an absolute one is as written.
    pub cwd: Option<String>,
    /// Variables added for this service, with `${VARIABLE}`.
    pub env: BTreeMap<String, String>,
    /// Environment files of this service, later ones win; read at each start.
    pub env_files: Vec<ServiceEnvFile>,
    /// Of the environment of `ubs` it gets `PATH`, `HOME`, `LANG` and `TZ` only.
    pub clean_env: bool,
    /// User to run as (name); needs privileges.
    pub user: Option<String>,
    /// Permissions that its new files do not get (umask(2)).
    pub umask: Option<u32>,
    /// What each of its processes may use.
    pub limits: ServiceLimits,
    /// When the service counts as ready; without it, after `min_uptime` (a one-shot: when it exits with 0).
    pub ready: Option<Probe>,
    /// Probed while it runs; failing often enough restarts the service.
    pub live: Option<Probe>,
    /// What happens when it exits by itself.
    pub restart: Restart,
    /// How it is stopped.
    pub stop: Stop,
    /// Runs to its end before the layer is up.
    pub oneshot: bool,
    /// So long it has to run to be ready, without a probe. Default 1 s.
    pub min_uptime_ms: u64,
    /// So long it has to be ready to be stable. Default 10 s.
    pub stable_after_ms: u64,
    /// A one-shot that has not ended after this is failed. Default 5 min.
    pub timeout_ms: u64,
    /// Exit statuses that mean that it is done. Default none; a one-shot is done with 0 too.
    pub success: Vec<i32>,
    /// What is stopped when it is given up, once the system was up.
    pub on_failure: OnFailure,
    /// What follows when it ended for good.
    pub on_end: OnEnd,
    /// What has to be true of other services before it starts, by their names.
    pub needs: BTreeMap<String, NeedCondition>,
    /// It is not started.
    pub disabled: bool,
    /// It is started only with one of these profiles, or if it is named or needed; none: always.
    pub profiles: Vec<String>,
    /// How its output is kept.
    pub logs: LogRules,
    /// Line in the manifest, 1-based.
    pub line: u32,
}

impl Service {
    /// Default of `min_uptime`.
    pub(crate) const MIN_UPTIME_MS_DEFAULT: u64 = 1_000;
    /// Default of `stable_after`.
    pub(crate) const STABLE_AFTER_MS_DEFAULT: u64 = 10_000;
    /// Default of `timeout`.
    pub(crate) const TIMEOUT_MS_DEFAULT: u64 = 300_000;
}

/// `on_failure`: what is stopped with a service that is given up, once the system was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnFailure {
    /// Nothing else.
    #[default]
    Nothing,
    /// The layers that come after its layer.
    Dependents,
    /// Everything.
    Boot,
}

/// `on_end`: what follows when a service ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnEnd {
    /// Nothing else.
    #[default]
    Nothing,
    /// The boot stops, with the service's exit status.
    Stop,
}

/// `needs`: what has to be true of a service that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeedCondition {
    /// It is ready; a one-shot has ended well.
    Ready,
    /// Its process was started.
    Started,
    /// It ended well.
    Succeeded,
    /// It ended, well or not.
    Completed,
    /// It wrote the line that its readiness waits for.
    Logged,
}

/// `env_file`: one environment file of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceEnvFile {
    /// Relative to the workspace or absolute, with `${VARIABLE}`.
    pub path: String,
    /// It may be missing.
    pub optional: bool,
}

/// `limits` of a service (setrlimit(2)); `None`: that of `ubs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ServiceLimits {
    /// Open files of one process.
    pub open_files: Option<u64>,
    /// Processes and threads of its user.
    pub processes: Option<u64>,
    /// Address space of one process, bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time of one process, seconds.
    pub cpu_s: Option<u64>,
    /// Largest core file, bytes.
    pub core_bytes: Option<u64>,
    /// Largest file that it may write, bytes.
    pub file_bytes: Option<u64>,
}

/// `restart`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restart {
    /// When to restart. Default on failure; a one-shot task never.
    pub policy: RestartCondition,
    /// Restarts, without having been ready for `reset_after_ms` in between, before the service counts as
    /// failed; `u32::MAX` is no limit. Default 5.
    pub max: u32,
    /// After so long of being ready, restarts are counted from zero again. Default 5 min.
    pub reset_after_ms: u64,
    /// Wait before the first restart; doubles each time. Default 200 ms.
    pub backoff_ms: u64,
    /// Longest wait. Default 10 s.
    pub backoff_ms_max: u64,
    /// So many percent of a wait chance may take away. Default 50.
    pub jitter_percent: u32,
}

/// When a service that exited is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RestartCondition {
    /// Not after exit status 0.
    #[default]
    OnFailure,
    /// After every exit.
    Always,
    /// After no exit: the first one is the service's failure (exit status 0 is its end).
    Never,
    /// After every exit, unless somebody stopped it.
    UnlessStopped,
}

/// `stop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Signal name without `SIG`. Default `TERM`.
    pub signal: String,
    /// Asks the service to end in place of the signal, which comes if that does not help; empty: none.
    pub command: Vec<String>,
    /// Time until `SIGKILL`. Default 10 s.
    pub timeout_ms: u64,
}

/// `[heal]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heal {
    /// Attempts within one boot. Default 5, at most 100.
    pub attempts: u32,
    /// Wait before the second attempt; doubles each time. Default 200 ms.
    pub backoff_ms: u64,
    /// Longest wait. Default 30 s.
    pub backoff_ms_max: u64,
    /// How often one signature may fail in a boot before it is quarantined. Default 3.
    pub breaker: u32,
    /// How long the system must be healthy with a fix before it stays for good. Default 5 min.
    pub probation_ms: u64,
    /// What becomes of the services that run without a fix that was applied under them. Default: they are started
    /// again.
    pub restart: RestartAfterFix,
    /// How long a failure that no built-in fixer knows is offered to other workers before it needs a person.
    /// Default 10 min.
    pub offer_ms: u64,
    /// Policy for each risk class.
    pub policy: Policies,
    /// What to do about failures that the manifest describes, in the order in which they are tried.
    pub playbooks: Vec<Playbook>,
    /// What the sandbox must be able to isolate (`network`, `filesystem`); otherwise no trial.
    pub sandbox_require: Vec<String>,
    /// Limits of one sandboxed command.
    pub sandbox_limits: SandboxLimits,
}

/// `[sandbox]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SandboxView {
    /// Files and directories outside of the workspace that are shown, read-only; absolute, `~` replaced.
    pub read: Vec<PathBuf>,
}

/// `heal.policy`: what may happen without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct Policies {
    pub additive: Policy,
    pub edit: Policy,
    pub destructive: Policy,
    pub open: Policy,
    pub guarded: Policy,
}

/// What becomes of running services after a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartAfterFix {
    /// Those that may use what it changed are started again.
    Affected,
    /// They go on as they are.
    Never,
}

/// What may happen with a verified proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It is applied.
    Auto,
    /// It waits for `ubs missions approve`.
    Approve,
    /// No proposal is made; the mission waits for a person.
    Report,
}

impl Policy {
    /// As the manifest and JSON say it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Approve => "approve",
            Self::Report => "report",
        }
    }
}

/// `heal.sandbox.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SandboxLimits {
    /// Address space of one process, bytes. Default 4 GiB.
    pub memory_bytes: u64,
    /// CPU time of one process, seconds. Default 120.
    pub cpu_s: u64,
    /// Largest file that may be written, bytes. Default 1 GiB.
    pub file_bytes: u64,
    /// Wall time of one command, milliseconds. Default 120,000.
    pub time_ms: u64,
    /// Processes and threads of one command, in total. Default 512.
    pub processes: u64,
    /// Memory in use by all of them, bytes. Default: what one process may address.
    pub total_memory_bytes: u64,
    /// What may be written by one command, in total, bytes. Default 512 MiB.
    pub disk_bytes: u64,
}

impl Rehearse {
    /// Wall time of a rehearsal, if the manifest does not say.
    pub(super) const TIMEOUT_MS_DEFAULT: u64 = 30_000;
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartCondition::OnFailure,
            max: 5,
            reset_after_ms: 300_000,
            backoff_ms: 200,
            backoff_ms_max: 10_000,
            jitter_percent: 50,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: "TERM".to_owned(),
            command: Vec::new(),
            timeout_ms: 10_000,
        }
    }
}

impl Default for Heal {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff_ms: 200,
            backoff_ms_max: 30_000,
            breaker: 3,
            probation_ms: 5 * 60 * 1_000,
            restart: RestartAfterFix::Affected,
            offer_ms: 10 * 60 * 1_000,
            policy: Policies::default(),
            playbooks: Vec::new(),
            sandbox_require: Vec::new(),
            sandbox_limits: SandboxLimits::default(),
        }
    }
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            cpu_s: 120,
            file_bytes: 1 << 30,
            time_ms: 120_000,
            processes: 512,
            total_memory_bytes: 4 << 30,
            disk_bytes: 512 << 20,
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            additive: Policy::Auto,
            edit: Policy::Auto,
            destructive: Policy::Approve,
            open: Policy::Approve,
            guarded: Policy::Approve,
        }
    }
}

impl Manifest {
    /// The playbook of that name.
    pub(crate) fn playbook(&self, name: &str) -> Option<&Playbook> {
        self.heal.playbooks.iter().find(|one| one.name == name)
    }

    /// The service of that name, with its layer.
    pub(crate) fn service(&self, name: &str) -> Option<(&Layer, &Service)> {
        self.layers
            .iter()
            .find_map(|l| l.services.iter().find(|s| s.name == name).map(|s| (l, s)))
    }
}
