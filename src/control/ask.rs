//! What a request asks of the engine's loop, and what that answers.

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::domain::boot::BootState;
use crate::domain::event::ServiceOrder;
use crate::domain::ids::{At, BootId};

/// One question to the loop. There are at most as many at once as connections.
pub(crate) enum Ask {
    /// How do things stand?
    Look(oneshot::Sender<Box<Snapshot>>),
    /// Start, stop or restart a service.
    Steer(Steer),
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
}

/// A person wants something of a service.
pub(crate) struct Steer {
    pub service: String,
    pub order: ServiceOrder,
    /// Who.
    pub by: String,
    pub answer: oneshot::Sender<Result<Steered, Refused>>,
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
