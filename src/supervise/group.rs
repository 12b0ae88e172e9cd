//! One child process that leads its own process group, and the end of both.
//!
//! What left the group on purpose (setsid(2)) is found by its marks in the environment and by its parents.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::domain::event::{ExitKind, ProcessRef};
use crate::kernel::{self, Census, Signal};

/// Time between two looks at the child where the kernel has no pidfd.
const POLL_WITHOUT_PIDFD: Duration = Duration::from_millis(100);

/// Shortest time between two looks at every process of the host: services that end at once share one.
const CENSUS_EVERY_MIN: Duration = Duration::from_millis(10);

/// So many times the cost of the last look passes before the next one.
const CENSUS_COST_FACTOR: u32 = 4;

/// Time between two looks at members of a group whose leader has ended.
const MEMBERS_POLL: Duration = Duration::from_millis(20);

/// What was killed is waited for so long: a process in an uninterruptible wait may never end.
const KILLED_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Most processes named in one message.
const KILLED_NAMED_MAX: usize = 8;

/// A child and its group. Dropped before its end, it is killed with its group.
#[derive(Debug)]
pub(super) struct GroupChild {
    child: Child,
    pidfd: Option<AsyncFd<OwnedFd>>,
    exit: Option<ExitKind>,
    /// Entries of the environment that all processes of the child carry, and no others. May be empty.
    marks: Vec<String>,
}

/// How a stop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stopped {
    /// How the child itself ended.
    pub exit: ExitKind,
    /// The processes that had to be killed: `python3 (process 12)`.
    pub killed: Vec<String>,
}

/// The last look at every process, shared by all groups of a thread.
struct SharedCensus {
    names: Vec<String>,
    begun: Instant,
    next: Instant,
    census: Rc<Census>,
}

thread_local! {
    static CENSUS: RefCell<Option<SharedCensus>> = const { RefCell::new(None) };
}

/// A look at every process that began after this call.
async fn fresh_census(marks: &[String]) -> Rc<Census> {
    let asked = Instant::now();
    let names: Vec<String> = marks
        .iter()
        .filter_map(|mark| mark.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect();
    loop {
        let wait_until = CENSUS.with_borrow(|shared| match shared {
            Some(shared) if shared.names == names && shared.begun >= asked => {
                Err(Rc::clone(&shared.census))
            }
            Some(shared) if shared.names == names => Ok(Some(shared.next)),
            _ => Ok(None),
        });
        match wait_until {
            Err(census) => return census,
            Ok(Some(next)) if next > Instant::now() => tokio::time::sleep_until(next).await,
            Ok(_) => {
                let begun = Instant::now();
                let names_given: Vec<&str> = names.iter().map(String::as_str).collect();
                let census = Rc::new(Census::take(&names_given));
                let pause = CENSUS_EVERY_MIN.max(begun.elapsed() * CENSUS_COST_FACTOR);
                let shared = SharedCensus {
                    names,
                    begun,
                    next: Instant::now() + pause,
                    census: Rc::clone(&census),
                };
                CENSUS.with_borrow_mut(|kept| *kept = Some(shared));
                return census;
            }
        }
    }
}

impl GroupChild {
    /// Starts the command in its own group, without input, with both outputs in the pipe that is returned.
    pub(super) fn start(
        mut command: Command,
        marks: &[String],
    ) -> io::Result<(Self, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        command
            .stdin(Stdio::null())
            .stderr(writer.try_clone()?)
            .stdout(writer)
            .process_group(0);
        let child = kernel::spawn_as_before(&mut command, reader.as_raw_fd())?;
        kernel::expect_child(child.id());
        let pidfd = kernel::watch_pidfd(child.id()).ok();
        Ok((
            Self {
                child,
                pidfd,
                exit: None,
                marks: marks.to_vec(),
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
                    kernel::forget_child(self.id());
                    return *self.exit.insert(kernel::exit_kind(status));
                }
                Ok(None) => tokio::time::sleep(POLL_WITHOUT_PIDFD).await,
                // Somebody else waited for it.
                Err(_) => {
                    kernel::forget_child(self.id());
                    return *self.exit.insert(ExitKind::Unknown);
                }
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

    /// Waits until the leader has ended, without collecting it. Never returns where the kernel has no pidfd.
    pub(super) async fn leader_ended(&self) {
        match &self.pidfd {
            Some(pidfd) => drop(pidfd.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Signals the group and gives all of it the time to end, whoever of it ends first; then kills what is
    /// left. A member that left the group is signalled once nobody of the service is its parent any more, and
    /// has the same time from then on; all together takes twice the time at most.
    pub(super) async fn stop(&mut self, signal: Signal, timeout: Duration) -> Stopped {
        let mut killed = BTreeMap::new();
        if self.exit.is_none() {
            let _ = self.signal(signal);
            // What is halted (SIGSTOP) would wait out its time, and be killed without having heard the signal.
            let _ = self.signal(Signal::SIGCONT);
            self.end_members(signal, timeout, &mut killed).await;
        }
        Stopped {
            exit: self.wait().await,
            killed: killed.into_values().take(KILLED_NAMED_MAX).collect(),
        }
    }

    /// Kills the group and every other process of the child at once.
    pub(super) async fn kill(&mut self) -> ExitKind {
        self.stop(Signal::SIGKILL, Duration::ZERO).await.exit
    }

    /// The leader is not collected meanwhile, so the group's number cannot mean anybody else.
    async fn end_members(
        &self,
        signal: Signal,
        timeout: Duration,
        killed: &mut BTreeMap<(u32, u64), String>,
    ) {
        let key = |process: &ProcessRef| (process.pid, process.start_ticks);
        let begun = Instant::now();
        let mut signalled: BTreeMap<(u32, u64), Instant> = BTreeMap::new();
        loop {
            let census = fresh_census(&self.marks).await;
            let members = census.members(self.id(), &self.marks);
            if members.is_empty() {
                return;
            }
            let now = Instant::now();
            let mut next = begun + timeout * 2 + KILLED_ENDS_WITHIN;
            if now >= next {
                return;
            }
            for member in &members {
                let key = key(&member.process);
                let is_inside = member.group == self.id();
                let has_parent = members.iter().any(|m| m.process.pid == member.parent);
                let since = if is_inside {
                    begun
                } else if let Some(since) = signalled.get(&key) {
                    *since
                } else if has_parent {
                    // Its parent may end it in order; as an orphan it is signalled.
                    continue;
                } else {
                    let _ = kernel::signal_process(&member.process, signal);
                    let _ = kernel::signal_process(&member.process, Signal::SIGCONT);
                    signalled.insert(key, now);
                    now
                };
                let deadline = (since + timeout).min(begun + timeout * 2);
                if now < deadline {
                    next = next.min(deadline);
                    continue;
                }
                let name = kernel::program_name(member.process.pid);
                if kernel::signal_process(&member.process, Signal::SIGKILL)
                    && signal != Signal::SIGKILL
                {
                    let name = format!("{name} (process {})", member.process.pid);
                    killed.insert(key, name);
                }
            }
            let leader_lives = members.iter().any(|m| m.process.pid == self.id());
            let poll = if leader_lives && self.pidfd.is_some() && next > now {
                next
            } else {
                next.min(now + MEMBERS_POLL)
            };
            tokio::select! {
                () = self.leader_ended(), if leader_lives => {}
                () = tokio::time::sleep_until(poll) => {}
            }
        }
    }
}

impl Drop for GroupChild {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _ = kernel::kill_group(self.id(), Signal::SIGKILL);
            // Not waited for: that could block. From here on it is collected as an orphan is.
            let _ = self.child.try_wait();
            kernel::forget_child(self.id());
        }
    }
}
