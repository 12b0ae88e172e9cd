//! The signals that end a boot, and those that are taken so that they do not.

use std::fs::File;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::EngineError;

/// Listens for them.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// The terminal is gone: nobody would stop the services any more. Without a terminal it means nothing.
    stops_at_hangup: bool,
    /// Taken, because they would kill the supervisor by default.
    _harmless: [Signal; 2],
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, EngineError> {
        let io = |what| move |source| EngineError::Io { what, source };
        let listen = |kind, what| signal(kind).map_err(io(what));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt(), "listen for SIGINT")?,
            terminate: listen(SignalKind::terminate(), "listen for SIGTERM")?,
            hangup: listen(SignalKind::hangup(), "listen for SIGHUP")?,
            // Opens only for a process that has a controlling terminal (tty(4)).
            stops_at_hangup: File::open("/dev/tty").is_ok(),
            _harmless: [
                listen(SignalKind::user_defined1(), "listen for SIGUSR1")?,
                listen(SignalKind::user_defined2(), "listen for SIGUSR2")?,
            ],
        })
    }

    /// Waits for the next one. May be dropped and called again.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => if self.stops_at_hangup { return "SIGHUP" },
            }
        }
    }
}
