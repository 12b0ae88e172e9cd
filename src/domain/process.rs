//! Processes, as events name them and as they end.

use serde::{Deserialize, Serialize};

/// The variable that marks every process of a boot; its value is the boot's id.
pub(crate) const BOOT_MARK: &str = "UBS_BOOT_ID";

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

/// The names of the signals that end processes, signal(7).
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

impl std::fmt::Display for ExitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {signal}"),
            },
            Self::Unknown => f.write_str("an unknown end"),
        }
    }
}
