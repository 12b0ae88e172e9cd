//! The signals that end a boot.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::EngineError;

/// Listens for them.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone: nobody would stop the services any more.
    hangup: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, EngineError> {
        let io = |what| move |source| EngineError::Io { what, source };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(io("listen for SIGINT"))?,
            terminate: signal(SignalKind::terminate()).map_err(io("listen for SIGTERM"))?,
            hangup: signal(SignalKind::hangup()).map_err(io("listen for SIGHUP"))?,
        })
    }

    /// Waits for the next one. May be dropped and called again.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
