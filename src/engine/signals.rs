//! The signals that end a boot, and those that ask something of it (`docs/manifest.md`, "stop").

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
    user1: Signal,
    user2: Signal,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Stop everything; the signal's name.
    Stop(&'static str),
    /// Read the environment files again.
    ReadEnvironment,
    /// Say how things stand.
    SayState,
    /// Put the log files of the services aside.
    RotateLogs,
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
            user1: listen(SignalKind::user_defined1(), "listen for SIGUSR1")?,
            user2: listen(SignalKind::user_defined2(), "listen for SIGUSR2")?,
        })
    }

    /// Waits for the next one. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.recv() => Heard::Stop("SIGINT"),
            _ = self.terminate.recv() => Heard::Stop("SIGTERM"),
            _ = self.hangup.recv() => match self.stops_at_hangup {
                true => Heard::Stop("SIGHUP"),
                false => Heard::ReadEnvironment,
            },
            _ = self.user1.recv() => Heard::SayState,
            _ = self.user2.recv() => Heard::RotateLogs,
        }
    }

    /// Waits for the next one that stops; passes over the others. May be dropped and called again.
    pub(super) async fn next_stop(&mut self) -> &'static str {
        loop {
            if let Heard::Stop(by) = self.next().await {
                return by;
            }
        }
    }
}
