//! What a request asks of the engine's loop, and what that answers.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::domain::boot::BootState;
use crate::domain::event::ServiceOrder;
use crate::domain::ids::{At, BootId};
use crate::domain::probes::ProbeTimes;

/// One question to the loop. There are at most as many at once as connections.
pub(crate) enum Ask {
    /// How do things stand?
    Look(oneshot::Sender<Box<Snapshot>>),
    /// Start, stop or restart a service.
    Steer(Steer),
    /// Send a signal to a service's main process.
    Signal(SignalWanted),
    /// Read the manifest again.
    Reload(ReloadWanted),
    /// Validate the running system now; how many validations there are with this one.
    Validate(oneshot::Sender<Result<u32, Refused>>),
    /// Another process wrote to the log.
    Wake(oneshot::Sender<()>),
}

/// Where questions go.
pub(crate) type Asks = UnboundedSender<Ask>;

/// How things stand, as the supervisor itself knows it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub boot: BootId,
    pub state: BootState,
    pub missions_open: u64,
    pub missions_need_person: u64,
    /// Since when the log cannot be written.
    pub log_not_written_since: Option<At>,
    /// What the log does not know: the environment is older than its files.
    pub trouble: Option<String>,
    /// What the probes of each service took.
    pub probes: BTreeMap<String, ProbeTimes>,
}

/// A person wants something of a service.
pub(crate) struct Steer {
    pub service: String,
    pub order: ServiceOrder,
    /// Who.
    pub by: String,
    pub answer: oneshot::Sender<Result<Steered, Refused>>,
}

/// A person wants a service to get a signal.
pub(crate) struct SignalWanted {
    pub service: String,
    /// Its name, with or without `SIG`.
    pub signal: String,
    /// Who.
    pub by: String,
    /// The signal's full name.
    pub answer: oneshot::Sender<Result<&'static str, Refused>>,
}

/// A person wants the manifest read again.
pub(crate) struct ReloadWanted {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Who.
    pub by: String,
    pub answer: oneshot::Sender<Result<Reloaded, Refused>>,
}

/// What a changed manifest means for the running boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Reloaded {
    /// Nothing was done: it was asked what would be.
    pub dry_run: bool,
    /// Services that are restarted, since what they are started with has changed.
    pub restart: Vec<String>,
    /// Services that get what has changed at their next start: they do not run.
    pub at_next_start: Vec<String>,
    /// Services that are new, or enabled: they start with their layer.
    pub start: Vec<String>,
    /// Services that are gone, or disabled: they are stopped.
    pub stop: Vec<String>,
    /// What else holds from now on, and starts nothing anew.
    pub applied: Vec<String>,
    /// What takes a new boot, each with why.
    pub left: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Steered {
    /// It was not so already.
    pub changed: bool,
    /// After it.
    pub snapshot: Box<Snapshot>,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The boot has no such service; the name of one that is near.
    Unknown { near: Option<String> },
    /// It makes no sense, and why.
    Senseless(String),
    /// Not now, and why.
    Conflict(String),
    /// It could not be done.
    Failed(String),
}

impl Snapshot {
    /// Names of all services, in the order of the manifest.
    pub(crate) fn service_names(&self) -> impl Iterator<Item = &str> {
        let services = self.state.layers.iter().flat_map(|layer| &layer.services);
        services.map(|service| service.plan.name.as_str())
    }

    /// The service whose name is nearest to `wanted`, if one is near.
    pub(crate) fn nearest(&self, wanted: &str) -> Option<String> {
        self.service_names()
            .map(|name| (strsim::jaro_winkler(wanted, name), name))
            .filter(|(score, _)| *score > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name.to_owned())
    }
}
