//! Every key that a manifest may have: the one list behind the refusal of unknown keys, the JSON
//! Schema and the documentation (tests hold all three together).

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Keys {
    /// Dotted path of the table, empty for the file itself.
    pub path: &'static str,
    /// How the table is called in a message.
    pub title: &'static str,
    /// Keys that are understood.
    pub known: &'static [&'static str],
    /// Keys that the design names and this version does not support: refused by name, never
    /// passed over.
    pub later: &'static [&'static str],
    /// Keys of earlier versions: the reader of the table refuses them and says what to write instead.
    pub dropped: &'static [&'static str],
}

macro_rules! tables {
    ($($name:ident = $path:literal, $title:literal, [$($known:literal),* $(,)?] $(, later [$($later:literal),*])?
     $(, dropped [$($dropped:literal),*])?;)*) => {
        $(pub(super) static $name: Keys = Keys {
            path: $path,
            title: $title,
            known: &[$($known),*],
            later: &[$($($later),*)?],
            dropped: &[$($($dropped),*)?],
        };)*

        /// Every table.
        pub(super) static TABLES: &[&Keys] = &[$(&$name),*];
    };
}

tables! {
    ROOT = "", "the manifest",
        ["app", "python", "config", "schema", "registration", "layer", "check", "coverage", "heal", "sandbox", "validate", "vault", "api", "logs",
         "notify"];
    APP = "app", "[app]", ["name", "stable_after"];
    PYTHON = "python", "[python]", ["interpreter", "path", "requirements"];
    CONFIG = "config", "[config]", ["files", "example", "vars", "scan"];
    VAR = "config.vars.NAME", "a variable",
        ["required", "secret", "kind", "min", "max", "min_length", "pattern", "one_of", "reject", "default", "generate", "min_entropy"];
    VAULT = "vault", "[vault]",
        ["kind", "keys", "timeout", "address", "token", "token_file", "namespace", "mount", "kv", "ca_file",
         "path", "format", "key", "key_file", "command"], dropped ["identity_file"];
    SCHEMA = "schema", "[[schema]]", ["name", "database", "expect", "models", "ignore"];
    REGISTRATION = "registration", "[registration]", ["app", "openapi", "services", "min_coverage"];
    EXPECTED_SERVICE = "registration.services", "an expected service", ["name", "prefix"];
    CHECK = "check", "[[check]]",
        ["name", "run", "format", "tcp", "http", "dns", "disk", "file", "clock", "limits", "certificate", "when",
         "severity", "inputs", "timeout", "network", "needs", "remedy", "layer"];
    COVERAGE = "coverage", "[coverage]", ["acknowledge"];
    CHECK_DISK = "check.disk", "`disk`", ["path", "free"];
    CHECK_FILE = "check.file", "`file`", ["path", "mode", "owner", "max_age"];
    CHECK_CLOCK = "check.clock", "`clock`", ["server", "skew"];
    CHECK_LIMITS = "check.limits", "`limits`", ["open_files", "processes"];
    CHECK_CERTIFICATE = "check.certificate", "`certificate`", ["file", "server", "days", "ca_file"];
    LAYER = "layer", "[[layer]]", ["name", "critical", "after", "rehearse", "service"];
    REHEARSE = "layer.rehearse", "`rehearse`", ["imports", "call", "command", "startup", "timeout", "network"];
    SERVICE = "layer.service", "[[layer.service]]",
        ["name", "run", "cwd", "env", "env_file", "clean_env", "user", "umask", "limits", "ready", "live", "restart",
         "stop", "oneshot", "min_uptime", "stable_after", "timeout", "success", "on_failure", "on_end", "needs",
         "disabled", "profiles", "logs"];
    READY = "layer.service.ready", "`ready`",
        ["http", "tcp", "exec", "file", "log", "notify", "sql", "delay", "interval", "timeout", "try_timeout",
         "successes", "failures", "external", "ports", "status", "body", "headers", "socket", "ca_file"];
    LIVE = "layer.service.live", "`live`",
        ["http", "tcp", "exec", "file", "sql", "delay", "interval", "timeout", "failures", "external",
         "ports", "status", "body", "headers", "socket", "ca_file"];
    RESTART = "layer.service.restart", "`restart`", ["policy", "max", "reset_after", "window", "backoff", "max_backoff", "jitter"];
    STOP = "layer.service.stop", "`stop`", ["signal", "command", "timeout"];
    ENV_FILE = "layer.service.env_file", "`env_file`", ["path", "optional"];
    SERVICE_LIMITS = "layer.service.limits", "`limits`",
        ["open_files", "processes", "memory", "cpu_time", "core", "file_size"];
    HEAL = "heal", "[heal]",
        ["attempts", "backoff", "max_backoff", "breaker", "probation", "offer", "restart", "policy", "sandbox",
         "playbook"], later ["playbooks", "agents"];
    POLICY = "heal.policy", "`heal.policy`", ["additive", "edit", "open", "guarded", "destructive"];
    PLAYBOOK = "heal.playbook", "[[heal.playbook]]",
        ["name", "match", "run", "edits", "sql", "wait", "restart", "verify", "risk", "attempts"];
    PLAYBOOK_MATCH = "heal.playbook.match", "`match`", ["code", "layer", "service", "error", "output"];
    PLAYBOOK_EDIT = "heal.playbook.edits", "an edit of a playbook", ["path", "find", "replace"];
    PLAYBOOK_SQL = "heal.playbook.sql", "`sql`", ["schema", "statements"];
    PLAYBOOK_VERIFY = "heal.playbook.verify", "`verify`",
        ["http", "tcp", "exec", "file", "interval", "timeout", "external", "status", "body"];
    SANDBOX = "heal.sandbox", "`heal.sandbox`", ["require", "limits"];
    LIMITS = "heal.sandbox.limits", "`heal.sandbox.limits`", ["memory", "cpu", "file_size", "time", "processes", "total_memory", "disk"];
    SANDBOX_VIEW = "sandbox", "[sandbox]", ["read"];
    VALIDATE = "validate", "[validate]", ["every"];
    API = "api", "[api]", ["listen", "token_file", "token_env", "hosts"];
    LOGS = "logs", "[logs]", ["max_size", "keep", "max_age", "format", "directory"];
    SERVICE_LOGS = "layer.service.logs", "`logs`", ["max_size", "keep", "max_age", "format"];
    NOTIFY = "notify", "[[notify]]", ["on", "exec", "webhook", "shape"];
}

#[cfg(test)]
mod tests;
