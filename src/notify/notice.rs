//! What somebody hears of: which events, in which words. Pure.

use serde_json::{Value, json};

use crate::domain::event::Event;
use crate::domain::mission::MissionState;
use crate::domain::redact::Redactor;
use crate::log::Recorded;
use crate::manifest::NotifyOn;

/// Longest text that is sent.
const TEXT_BYTES_MAX: usize = 2_000;
/// Longest part of a cause that tells it from others.
const CAUSE_CHARS_MAX: usize = 200;

/// Something that happened and that somebody may want to hear of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    pub on: NotifyOn,
    /// The same for the same cause.
    pub signature: String,
    /// One sentence.
    pub text: String,
    layer: Option<String>,
    service: Option<String>,
}

/// What somebody has to want to hear of to hear of this event; `None` if nobody does.
pub(super) fn kind_of(event: &Event) -> Option<NotifyOn> {
    Some(match event {
        Event::BootFailed { .. } => NotifyOn::NoGo,
        Event::BootInterrupted { .. } | Event::LayerFailed { critical: true, .. } => {
            NotifyOn::Unhealthy
        }
        Event::ServiceFailed { .. } | Event::MissionQuarantined { .. } => NotifyOn::GaveUp,
        Event::ApprovalRequested => NotifyOn::Approval,
        Event::FixRolledBack { .. } => NotifyOn::RolledBack,
        Event::MissionClosed { .. } => NotifyOn::Healed,
        _ => return None,
    })
}

/// The notice of an event, if it is one. `mission` is that of the event.
pub(super) fn notice_of(recorded: &Recorded, mission: Option<&MissionState>) -> Option<Notice> {
    let event = recorded.event()?;
    let on = kind_of(event)?;
    let slug = mission.map_or("a mission", |mission| mission.slug.as_str());
    let of_mission = |text: String| {
        let signature = mission.and_then(|mission| mission.signature.clone());
        Notice {
            on,
            signature: signature.map_or_else(|| slug.to_owned(), |signature| signature.0),
            text,
            layer: None,
            service: None,
        }
    };
    let of_boot = |subject: &str, text: String| Notice {
        on,
        signature: format!("{subject}: {}", cause(&text)),
        text,
        layer: None,
        service: None,
    };
    Some(match event {
        Event::BootFailed { reason } => of_boot("boot", format!("NO-GO: {reason}")),
        Event::BootInterrupted { reason, .. } => {
            of_boot("boot", format!("the supervisor died: {reason}"))
        }
        Event::LayerFailed {
            layer,
            service,
            critical: true,
            error,
            ..
        } => Notice {
            layer: Some(layer.clone()),
            service: (!service.is_empty()).then(|| service.clone()),
            ..of_boot(layer, format!("layer {layer} failed: {error}"))
        },
        Event::ServiceFailed { service, error } => Notice {
            service: Some(service.clone()),
            ..of_boot(service, format!("service {service} is given up: {error}"))
        },
        Event::ApprovalRequested => {
            let proposal = mission.and_then(|mission| mission.proposal.as_ref());
            let summary = proposal.map_or_else(String::new, |fix| format!(" ({})", fix.summary));
            of_mission(format!(
                "a fix waits for approval{summary}: `ubs missions approve {slug}`"
            ))
        }
        Event::FixRolledBack { reason } => {
            of_mission(format!("the fix of {slug} was taken back: {reason}"))
        }
        Event::MissionQuarantined { reason } => {
            of_mission(format!("mission {slug} needs a person: {reason}"))
        }
        Event::MissionClosed { slug, resolution } => {
            of_mission(format!("mission {slug} is closed: {resolution}"))
        }
        _ => return None,
    })
}

/// The text without what differs from time to time.
fn cause(text: &str) -> String {
    let known = text.chars().filter(|c| !c.is_ascii_digit());
    known.take(CAUSE_CHARS_MAX).collect()
}

/// The notice as a program gets it. Fields are added, never renamed.
pub(super) fn document(
    notice: &Notice,
    recorded: &Recorded,
    mission: Option<&MissionState>,
    app: &str,
    suppressed: u64,
    redactor: &Redactor,
) -> Value {
    let clean = |text: &str| redactor.clean(text, TEXT_BYTES_MAX);
    json!({
        "on": notice.on.as_str(),
        "app": app,
        "text": clean(&notice.text),
        "kind": recorded.kind,
        "seq": recorded.seq,
        "at": recorded.at,
        "boot_id": recorded.boot,
        "mission_id": recorded.mission,
        "slug": mission.map(|mission| clean(&mission.slug)),
        "layer": notice.layer.as_deref().map(clean),
        "service": notice.service.as_deref().map(clean),
        "suppressed": suppressed,
    })
}

/// As Slack and its like take it.
pub(super) fn slack(document: &Value) -> Value {
    let text = |key: &str| {
        let text = document[key].as_str().unwrap_or("");
        // What has a meaning there (mentions and links are in angle brackets).
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let more = match document["suppressed"].as_u64() {
        Some(n) if n > 0 => format!(" ({n} more of it in the last hour were not sent)"),
        _ => String::new(),
    };
    json!({ "text": format!("*{}*: {}{more}", text("app"), text("text")) })
}
