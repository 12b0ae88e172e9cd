//! What a probe tests, and how often: of a service, and of a playbook.

use std::collections::BTreeMap;

/// `ready` and `live`: a test of a running service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Probe {
    /// What is tested.
    pub kind: ProbeKind,
    /// More about `http`.
    pub http: HttpRequest,
    /// Ports of this host that a command asks, if they are not in it; for telling whose the answer is.
    pub ports: Vec<u16>,
    /// Time before the first try. Default 0.
    pub delay_ms: u64,
    /// Time between two tries. Default of `ready` 100 ms, of `live` 10 s.
    pub interval_ms: u64,
    /// `ready`: time until it counts as failed, default 30 s. `live`: time allowed for one try,
    /// default 5 s.
    pub timeout_ms: u64,
    /// `ready`: time allowed for one try. Default: what is left, over the network at most 10 s.
    pub try_ms: Option<u64>,
    /// `ready`: successes in a row before it is ready. Default 1.
    pub successes_min: u32,
    /// Failures in a row before a ready service is not ready any more (`ready`, default 2) or is restarted (`live`,
    /// default 3).
    pub failures_max: u32,
    /// An answer of a process that is none of ours counts too. Default false.
    pub external: bool,
}

/// What a probe tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    /// GET answers with a right status and body ([`HttpRequest`]).
    Http(String),
    /// A connection to `host:port` is accepted.
    Tcp(String),
    /// A command exits with 0.
    Exec(Vec<String>),
    /// Something stands at this path.
    File(String),
    /// The service has printed a line that matches this regular expression since it was started.
    Log(String),
    /// The service has said `READY=1` (sd_notify(3)).
    Notify,
    /// The database of the schema of this name answers.
    Sql(String),
}

/// What `http` asks for, and which answer is right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HttpRequest {
    /// The right statuses; empty: 200 to 399.
    pub statuses: Vec<u16>,
    /// A regular expression that must match somewhere in the first 64 KiB of the body.
    pub body: Option<String>,
    /// Sent besides ours, with `${VARIABLE}` in the values.
    pub headers: BTreeMap<String, String>,
    /// A socket in the file system that is asked in place of the URL's host.
    pub socket: Option<String>,
    /// Certificates of the authorities that are trusted, in PEM form; without it those of the system.
    pub ca_file: Option<String>,
}

impl HttpRequest {
    const DEFAULT: Self = Self {
        statuses: Vec::new(),
        body: None,
        headers: BTreeMap::new(),
        socket: None,
        ca_file: None,
    };
}

impl Probe {
    /// What `ready` is, but for the test itself, if the manifest does not say.
    pub(crate) const READY_DEFAULT: Self = Self {
        kind: ProbeKind::Exec(Vec::new()),
        http: HttpRequest::DEFAULT,
        ports: Vec::new(),
        delay_ms: 0,
        interval_ms: 100,
        timeout_ms: 30_000,
        try_ms: None,
        successes_min: 1,
        failures_max: 2,
        external: false,
    };
    /// What `live` is, but for the test itself, if the manifest does not say.
    pub(crate) const LIVE_DEFAULT: Self = Self {
        kind: ProbeKind::Exec(Vec::new()),
        http: HttpRequest::DEFAULT,
        ports: Vec::new(),
        delay_ms: 0,
        interval_ms: 10_000,
        timeout_ms: 5_000,
        try_ms: None,
        successes_min: 1,
        failures_max: 3,
        external: false,
    };
}
