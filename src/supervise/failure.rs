//! Why a probe, or another command beside a service, failed.

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ProbeFailure {
    /// One sentence.
    pub message: String,
    /// The last output of a command; not redacted.
    pub output: String,
}

impl ProbeFailure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            output: String::new(),
        }
    }
}
