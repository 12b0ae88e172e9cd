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
    /// Restarts within `restart_window_ms` before it counts as failed.
    pub restarts_max: u32,
    /// Sliding window in which restarts are counted.
    pub restart_window_ms: u64,
    /// Wait before the first restart; doubles each time.
    pub restart_backoff_ms: u64,
    /// Longest wait.
    pub restart_backoff_ms_max: u64,
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
}
