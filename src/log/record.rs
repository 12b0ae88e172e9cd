//! Events on their way into the log and out of it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Digest, EventId, MissionId, Seq};

/// Now, by the system's clock.
#[must_use]
pub fn now() -> At {
    At(chrono::Utc::now().timestamp_micros())
}

/// An event to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// When it happened.
    pub at: At,
    /// The boot it belongs to.
    pub boot: Option<BootId>,
    /// The mission it belongs to; a `mission_filed` always belongs to the mission that it names.
    pub mission: Option<MissionId>,
    /// What happened.
    pub event: Event,
}

/// An event's mission: the one that it files, else the one that its row names.
pub(super) fn mission_of(mission: Option<MissionId>, event: &Event) -> Option<MissionId> {
    match event {
        Event::MissionFiled { mission, .. } => Some(*mission),
        _ => mission,
    }
}

/// What an event says, as far as this version understands it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Body {
    /// Understood.
    Known(Box<Event>),
    /// A kind or version that this program does not know, or a damaged frame: kept and shown as it is.
    Opaque {
        /// Why it could not be read.
        why: String,
        /// The frame.
        payload: Vec<u8>,
    },
}

/// One event of the log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recorded {
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// The boot it belongs to.
    pub boot: Option<BootId>,
    /// The mission it belongs to.
    pub mission: Option<MissionId>,
    /// Its kind, `boot_started`.
    pub kind: String,
    /// Version of the payload.
    pub version: u16,
    /// When it happened.
    pub at: At,
    /// What it says.
    pub body: Body,
    /// The chain value.
    pub chain: Digest,
}

impl Recorded {
    /// The event, if this version understands it.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        match &self.body {
            Body::Known(event) => Some(event),
            Body::Opaque { .. } => None,
        }
    }

    /// As programs read it.
    pub(crate) fn to_json(&self) -> Value {
        let payload = match &self.body {
            Body::Known(event) => match serde_json::to_value(event) {
                // `{"layer_up": {...}}`: the kind stands beside it already.
                Ok(Value::Object(map)) => {
                    map.into_iter().next().map_or(json!({}), |(_, value)| value)
                }
                Ok(_) => json!({}),
                Err(error) => json!({ "error": error.to_string() }),
            },
            Body::Opaque { why, payload } => json!({
                "opaque": why,
                "frame": payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            }),
        };
        json!({
            "seq": self.seq,
            "event_id": self.id,
            "boot_id": self.boot,
            "mission_id": self.mission,
            "kind": self.kind,
            "version": self.version,
            "at": self.at,
            "chain": self.chain,
            "payload": payload,
        })
    }
}
