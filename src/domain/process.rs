//! Processes, as events name them and as they end.

use serde::{Deserialize, Serialize};

/// The supervisor process, so that a later one can tell whether it still runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since the host booted (`/proc/PID/stat`, field 22): with the pid
    /// and the host's boot id it names one process for ever.
    pub start_ticks: u64,
    /// The host's boot id (`/proc/sys/kernel/random/boot_id`).
    pub host_boot: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitKind {
    /// Exit status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Gone, and nobody knows how.
    Unknown,
}

impl ExitKind {
    /// Exit status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for ExitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an unknown end"),
        }
    }
}
