//! What is known of one service: the state that its events fold into.

use serde::{Deserialize, Serialize};

use crate::domain::event::{ExitKind, ProcessRef, ServicePlan, ServiceRules, ServiceTerms};
use crate::domain::ids::At;

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceStatus {
    /// Not started yet.
    Pending,
    /// Its process runs and is not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// It was ready, and its probe fails now; its process runs.
    Unready,
    /// A one-shot that ended well.
    Done,
    /// It exited, or is stopped because a fix changed what it may use, and will be started again.
    Restarting,
    /// Given up.
    Failed,
    /// Stopped as asked, or ended well by its own policy.
    Stopped,
    /// Not started, because what it needs cannot be; it starts when that is there.
    Skipped,
    /// Not to be started.
    Disabled,
}

impl ServiceStatus {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Done => "done",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
            Self::Disabled => "disabled",
        }
    }
}

/// A service, as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceState {
    /// What was planned.
    pub plan: ServicePlan,
    /// Where it stands.
    pub status: ServiceStatus,
    /// Its process, while one runs.
    pub process: Option<ProcessRef>,
    /// When the process started.
    pub started_at: Option<At>,
    /// When it was last ready.
    pub ready_at: Option<At>,
    /// How it is judged.
    pub rules: ServiceRules,
    /// What it needs, and what follows its end.
    #[serde(default, skip_serializing_if = "ServiceTerms::is_default")]
    pub terms: ServiceTerms,
    /// It has been ready for long enough without an end.
    pub stable: bool,
    /// Ends that led to a restart, since it was last ready for `reset_after`.
    pub ends: u32,
    /// Why it was last started again; empty with `ends` zero.
    pub last_end: String,
    /// When it is started again, while it waits for that.
    pub restart_at: Option<At>,
    /// How its last process ended.
    pub exit: Option<ExitKind>,
    /// Why it was given up or skipped, or is not ready any more.
    pub error: String,
    /// The person who stopped it; it stays stopped until a person starts it.
    pub held_by: Option<String>,
    /// It is started again while it runs, by a person or because of a fix: it starts when its process has ended.
    pub again: bool,
    /// Why it is not known that the service itself answered its probe; empty: it is, or nobody asks.
    pub not_attributed: String,
}

impl ServiceState {
    /// A service that was not started yet.
    #[must_use]
    pub(crate) fn fresh(plan: &ServicePlan, rules: ServiceRules, terms: ServiceTerms) -> Self {
        Self {
            plan: plan.clone(),
            status: if terms.disabled {
                ServiceStatus::Disabled
            } else {
                ServiceStatus::Pending
            },
            process: None,
            started_at: None,
            ready_at: None,
            rules,
            terms,
            stable: false,
            ends: 0,
            last_end: String::new(),
            restart_at: None,
            exit: None,
            error: String::new(),
            held_by: None,
            again: false,
            not_attributed: String::new(),
        }
    }

    /// A person stops it: it stays so until it is wanted again.
    pub(crate) fn hold(&mut self, by: &str) {
        self.begin_anew();
        self.held_by = Some(by.to_owned());
        self.status = ServiceStatus::Stopped;
    }

    /// It is to start as if for the first time, once its process has ended.
    pub(crate) fn want_again(&mut self) {
        self.begin_anew();
        self.held_by = None;
        self.ends = 0;
        self.last_end.clear();
        self.again = self.is_alive();
        self.status = if self.again {
            ServiceStatus::Stopped
        } else {
            ServiceStatus::Pending
        };
    }

    fn begin_anew(&mut self) {
        self.restart_at = None;
        self.stable = false;
        self.error.clear();
        self.again = false;
    }

    /// A person stopped it.
    #[must_use]
    pub(crate) fn is_held(&self) -> bool {
        self.held_by.is_some()
    }

    /// Its end is what a person asked for, or what a fix takes.
    pub(crate) fn is_steered(&self) -> bool {
        self.is_held() || self.again || self.terms.disabled
    }

    /// Its process runs, is meant to, and may be stopped in order to start again.
    #[must_use]
    pub(crate) fn may_be_refreshed(&self) -> bool {
        let runs = matches!(
            self.status,
            ServiceStatus::Starting | ServiceStatus::Ready | ServiceStatus::Unready
        );
        runs && self.is_alive() && !self.plan.oneshot && !self.is_steered()
    }

    /// As a layer needs it to be up: ready, done, or not wanted.
    #[must_use]
    pub(crate) fn is_there(&self) -> bool {
        matches!(
            self.status,
            ServiceStatus::Ready | ServiceStatus::Done | ServiceStatus::Disabled
        )
    }

    /// It ended by its own policy, or was stopped with its layer, and nobody asked for it to run again.
    #[must_use]
    pub(crate) fn has_left(&self) -> bool {
        self.status == ServiceStatus::Stopped && !self.is_steered() && !self.is_alive()
    }

    /// The layer has to wait for it no longer: it is there, a person does not want it, or it has left.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        self.is_there() || self.is_held() || self.has_left() || self.terms.disabled
    }

    /// The next moment at which something is due by itself.
    #[must_use]
    pub(crate) fn next_moment(&self) -> Option<At> {
        [self.proved_at(), self.stable_at(), self.recovered_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When its uptime proves it, if it has no probe and is not ready yet.
    #[must_use]
    pub(crate) fn proved_at(&self) -> Option<At> {
        let waits = self.status == ServiceStatus::Starting
            && !self.plan.oneshot
            && !self.rules.probed
            && self.process.is_some();
        self.started_at
            .filter(|_| waits)
            .map(|at| at.plus_ms(self.rules.min_uptime_ms))
    }

    /// It is ready, and has been so for long enough without an end.
    #[must_use]
    pub(crate) fn is_stable(&self) -> bool {
        self.status == ServiceStatus::Ready && (self.stable || self.rules.stable_after_ms == 0)
    }

    /// When it is stable, if it stays ready until then.
    #[must_use]
    pub(crate) fn stable_at(&self) -> Option<At> {
        let waits = self.status == ServiceStatus::Ready && !self.is_stable();
        self.ready_at
            .filter(|_| waits)
            .map(|at| at.plus_ms(self.rules.stable_after_ms))
    }

    /// When its earlier ends are no longer counted, if it stays ready until then.
    #[must_use]
    pub(crate) fn recovered_at(&self) -> Option<At> {
        let waits = self.status == ServiceStatus::Ready && self.ends > 0;
        self.ready_at
            .filter(|_| waits)
            .map(|at| at.plus_ms(self.rules.reset_after_ms))
    }
}

impl ServiceState {
    /// A process of it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process.is_some()
    }
}
