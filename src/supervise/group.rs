//! One child process that leads its own process group, and the end of both.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use crate::domain::event::ExitKind;
use crate::kernel::{self, Signal};

/// Time between two looks at the child where the kernel has no pidfd.
const POLL_WITHOUT_PIDFD: Duration = Duration::from_millis(100);

/// A child and its group. Dropped before its end, it is killed with its group.
#[derive(Debug)]
pub(super) struct GroupChild {
    child: Child,
    pidfd: Option<AsyncFd<OwnedFd>>,
    exit: Option<ExitKind>,
}

impl GroupChild {
    /// Starts the command in its own group, without input, with both outputs in the pipe that is returned.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        command
            .stdin(Stdio::null())
            .stderr(writer.try_clone()?)
            .stdout(writer)
            .process_group(0);
        let child = command.spawn()?;
        let pidfd = kernel::watch_pidfd(child.id()).ok();
        Ok((
            Self {
                child,
                pidfd,
                exit: None,
            },
            reader,
        ))
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    #[cfg(test)]
    pub(super) fn exit(&self) -> Option<ExitKind> {
        self.exit
    }

    /// Waits for the child's end, and kills what is left of its group. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> ExitKind {
        if let Some(exit) = self.exit {
            return exit;
        }
        loop {
            if let Some(pidfd) = &self.pidfd {
                // Readable once the process is a zombie, and for ever after.
                let _ = pidfd.readable().await;
                // While the leader is not waited for, the group's number cannot mean anybody else.
                let _ = kernel::kill_group(self.id(), Signal::SIGKILL);
            }
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    if self.pidfd.take().is_none() {
                        let _ = kernel::kill_group(self.id(), Signal::SIGKILL);
                    }
                    return *self.exit.insert(kernel::exit_kind(status));
                }
                Ok(None) => tokio::time::sleep(POLL_WITHOUT_PIDFD).await,
                // Somebody else waited for it.
                Err(_) => return *self.exit.insert(ExitKind::Unknown),
            }
        }
    }

    /// Signals the group, unless the child has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.exit.is_some() {
            return Ok(());
        }
        kernel::kill_group(self.id(), signal)
    }

    /// Signals the group, waits, and kills it when the time is up.
    pub(super) async fn stop(&mut self, signal: Signal, timeout: Duration) -> ExitKind {
        let _ = self.signal(signal);
        if let Ok(exit) = tokio::time::timeout(timeout, self.wait()).await {
            return exit;
        }
        let _ = self.signal(Signal::SIGKILL);
        self.wait().await
    }
}

impl Drop for GroupChild {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _ = kernel::kill_group(self.id(), Signal::SIGKILL);
            // Not waited for: that could block. A zombie is left at worst, until this process ends.
            let _ = self.child.try_wait();
        }
    }
}
