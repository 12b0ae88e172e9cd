//! What a boot is going to do, as its first event says.

use serde::{Deserialize, Serialize};

use super::finding::CheckName;

/// How much a boot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// No pre-flight; the first error ends the boot.
    Fast,
    /// Pre-flight, layers, graceful degradation; no healing.
    Layered,
    /// Pre-flight, healing, retries, continuous validation.
    #[default]
    Resilient,
}

impl Mode {
    /// The stable name, as in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Layered => "layered",
            Self::Resilient => "resilient",
        }
    }
}

/// What a boot will do, fixed when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BootPlan {
    /// How much the boot does.
    pub mode: Mode,
    /// Checks of the pre-flight; empty in mode fast.
    pub checks: Vec<CheckName>,
    /// Layers in the order of the manifest.
    pub layers: Vec<LayerPlan>,
    /// Attempts within the boot.
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles each time.
    pub backoff_ms: u64,
    /// Longest wait.
    pub backoff_ms_max: u64,
    /// How often one signature may fail in the boot.
    pub breaker_max: u32,
    /// Time between two validations of the live system.
    pub validate_every_ms: Option<u64>,
}

/// One layer of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPlan {
    /// Its name.
    pub name: String,
    /// If it fails, the boot fails.
    pub critical: bool,
    /// Layers that must be settled first.
    pub after: Vec<String>,
    /// Its services, in the order of the manifest.
    pub services: Vec<ServicePlan>,
}

/// One service of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// Runs to its end before the layer is up.
    pub oneshot: bool,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Restarts, without having been ready for `restart_window_ms` in between, before it counts as failed;
    /// `u32::MAX` is no limit.
    pub restarts_max: u32,
    /// After so long of being ready, restarts are counted from zero again.
    pub restart_window_ms: u64,
    /// Wait before the first restart; doubles each time.
    pub restart_backoff_ms: u64,
    /// Longest wait.
    pub restart_backoff_ms_max: u64,
}

/// How one service is judged while it runs, fixed with the plan.
///
/// The default is that of logs from before there were rules: a service is stable as soon as it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRules {
    /// Which service.
    pub service: String,
    /// It has a readiness probe; without one it is ready after `min_uptime_ms`.
    pub probed: bool,
    /// So long a service without a probe has to run before it is ready.
    pub min_uptime_ms: u64,
    /// So long it has to be ready, without an end, to be stable.
    pub stable_after_ms: u64,
    /// After so long of being ready, earlier ends are no longer counted.
    pub reset_after_ms: u64,
    /// Exit statuses that mean that it is done.
    pub success: Vec<i32>,
    /// What is stopped when it fails, once the system was up.
    pub on_failure: OnFailure,
}

impl Default for ServiceRules {
    fn default() -> Self {
        Self {
            service: String::new(),
            probed: true,
            min_uptime_ms: 0,
            stable_after_ms: 0,
            reset_after_ms: 0,
            success: vec![],
            on_failure: OnFailure::Boot,
        }
    }
}

/// What is stopped with a service that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnFailure {
    /// Nothing else.
    #[default]
    Nothing,
    /// The layers that come after its layer.
    Dependents,
    /// Everything: the boot heals and tries again, or fails.
    Boot,
}

/// When a service that exited is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RestartPolicy {
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

impl RestartPolicy {
    /// An end is followed by a start, whatever its exit status.
    #[must_use]
    pub(crate) fn is_always(self) -> bool {
        matches!(self, Self::Always | Self::UnlessStopped)
    }
}

/// What a service needs of others, and what follows its end; fixed with the plan.
///
/// The default is that of logs from before there were terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTerms {
    /// Which service.
    pub service: String,
    /// It is not started.
    pub disabled: bool,
    /// What has to be true of other services before it starts.
    pub needs: Vec<Need>,
    /// What follows when it ended for good.
    pub on_end: OnEnd,
    /// So many percent of a wait before a restart chance may take away.
    pub jitter_percent: u32,
}

impl Default for ServiceTerms {
    fn default() -> Self {
        Self {
            service: String::new(),
            disabled: false,
            needs: vec![],
            on_end: OnEnd::default(),
            jitter_percent: 50,
        }
    }
}

impl ServiceTerms {
    /// It says nothing that is not so without it.
    #[must_use]
    pub(crate) fn is_default(&self) -> bool {
        let service = self.service.clone();
        *self
            == Self {
                service,
                ..Self::default()
            }
    }
}

/// One need of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The service that is needed.
    pub service: String,
    /// What has to be true of it.
    pub condition: NeedCondition,
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.service, self.condition.as_str())
    }
}

/// What has to be true of a service that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NeedCondition {
    /// It is ready; a one-shot has ended well.
    #[default]
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

impl NeedCondition {
    /// The stable name, as in the manifest and in JSON.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Completed => "completed",
            Self::Logged => "logged",
        }
    }
}

/// What follows when a service ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnEnd {
    /// Nothing beyond its own state.
    #[default]
    Nothing,
    /// The boot stops, with the service's exit status as its own.
    Stop,
}

/// What a person asks of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceOrder {
    /// Run it, if it does not run.
    Start,
    /// Stop it, and leave it stopped.
    Stop,
    /// Stop it if it runs, then run it.
    Restart,
}

impl ServiceOrder {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}
