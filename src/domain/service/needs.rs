//! What a service is to another one that needs it.

use super::state::{ServiceState, ServiceStatus};
use crate::domain::event::NeedCondition;

/// Where a need stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is met.
    Met,
    /// It is not met yet, and may be.
    Open,
    /// It cannot be met as things are: why.
    Lost(String),
}

/// Where a need of `condition` on `needed` stands.
#[must_use]
pub(crate) fn judge(condition: NeedCondition, needed: &ServiceState) -> Standing {
    use NeedCondition as C;
    use ServiceStatus as S;
    let met = |met: bool| if met { Standing::Met } else { Standing::Open };
    let lost = || Standing::Lost(why_lost(needed));
    let has_ended = !needed.is_alive() && needed.exit.is_some();
    match (needed.status, condition) {
        (S::Done, _) => Standing::Met,
        // A person starts it again.
        (S::Stopped, _) if needed.again => Standing::Open,
        (S::Failed | S::Stopped, C::Completed) if has_ended => Standing::Met,
        // It is being stopped, and will have ended.
        (S::Failed, C::Completed) if needed.is_alive() => Standing::Open,
        (S::Failed | S::Stopped | S::Skipped | S::Disabled, _) => lost(),
        (S::Pending | S::Restarting, _) => Standing::Open,
        (S::Starting, _) => met(condition == C::Started),
        (S::Unready, _) => met(condition == C::Started),
        (S::Ready, C::Ready | C::Started | C::Logged) => Standing::Met,
        (S::Ready, C::Succeeded | C::Completed) => Standing::Open,
    }
}

fn why_lost(needed: &ServiceState) -> String {
    let ended = || {
        needed.exit.map_or_else(
            || "is stopped".to_owned(),
            |exit| format!("ended with {exit}"),
        )
    };
    match needed.status {
        ServiceStatus::Stopped if needed.is_held() => "was stopped by a person".to_owned(),
        ServiceStatus::Skipped => "was skipped".to_owned(),
        ServiceStatus::Disabled => "is disabled".to_owned(),
        ServiceStatus::Failed if !needed.error.is_empty() => needed.error.clone(),
        _ => ended(),
    }
}
