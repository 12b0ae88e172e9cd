//! Watches one confined program: feeds it, drains it, ends it when its time is up, and ends what it left.
//!
//! One thread and one poll(2), so there is no reader that could wait for ever on a pipe that a stray
//! process keeps open: after the end, what is in the pipes is taken, and they are closed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::bounds::{Bounds, LOOK_EVERY};
use crate::domain::event::ExitKind;
use crate::kernel::{self, Confined, PollEntry, Report, Signal};

/// Most bytes kept of standard output and of standard error.
pub(crate) const OUTPUT_KEPT_MAX: usize = 256 << 10;

/// Most bytes kept of the result.
const RESULT_KEPT_MAX: usize = 16 << 20;

/// Most bytes taken from a pipe after the end: what a pipe can hold, generously; a stray writer may not stop.
const AFTER_END_MAX: usize = 2 << 20;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Time between two looks at the child where the kernel has no pidfd.
const POLL_WITHOUT_PIDFD: Duration = Duration::from_millis(20);

/// Time for a process namespace to vanish after its init was killed.
const NAMESPACE_END: Duration = Duration::from_secs(5);

/// By what the processes of one run are found.
pub(super) struct Strays {
    /// Their group, unless they left it.
    pub group: u32,
    /// Their environment entry, unless they dropped it.
    pub marker: String,
}

impl Strays {
    fn end(&self) {
        kernel::reap_marked(&self.marker, 0);
    }
}

/// One stream out of the program.
pub(super) struct Stream {
    file: Option<File>,
    max: usize,
    /// The first bytes.
    pub kept: Vec<u8>,
    /// There were more.
    pub truncated: bool,
}

impl Stream {
    fn new(fd: impl Into<OwnedFd>, max: usize) -> io::Result<Self> {
        let fd = fd.into();
        kernel::set_nonblocking(fd.as_fd())?;
        Ok(Self {
            file: Some(File::from(fd)),
            max,
            kept: Vec::new(),
            truncated: false,
        })
    }

    fn entry(&self) -> PollEntry {
        self.file
            .as_ref()
            .map_or_else(PollEntry::none, |f| PollEntry::readable(f.as_raw_fd()))
    }

    /// Reads once; `false` if there is nothing to read now.
    fn read_some(&mut self, buffer: &mut [u8]) -> bool {
        let Some(file) = &mut self.file else {
            return false;
        };
        match file.read(buffer) {
            Ok(n) if n > 0 => {
                let room = self.max - self.kept.len();
                self.kept.extend_from_slice(&buffer[..n.min(room)]);
                self.truncated |= n > room;
                true
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) if e.kind() == ErrorKind::Interrupted => true,
            Ok(_) | Err(_) => {
                self.file = None;
                false
            }
        }
    }

    fn finish(&mut self, buffer: &mut [u8]) {
        let mut rounds = AFTER_END_MAX / CHUNK;
        while rounds > 0 && self.read_some(buffer) {
            rounds -= 1;
        }
        self.file = None;
    }
}

/// How a run ended.
pub(super) struct Ended {
    pub exit: ExitKind,
    pub timed_out: bool,
    /// It was ended because there was too much of something.
    pub exceeded: Option<String>,
    /// The program was never executed.
    pub not_started: Option<io::Error>,
    pub stdout: Stream,
    pub stderr: Stream,
    pub result: Stream,
}

/// One run.
pub(super) struct Watch {
    child: Child,
    pidfd: Option<OwnedFd>,
    strays: Strays,
    stdin: Option<File>,
    /// What is still to be written to it, from `fed` on.
    input: Vec<u8>,
    fed: usize,
    /// Where more of it comes from.
    more: Option<File>,
    stdout: Stream,
    stderr: Stream,
    result: Stream,
    status: Stream,
}

impl Watch {
    /// Takes over a started program. If that fails, the program is ended.
    ///
    /// It gets `input` on standard input, then what can be read from `more`, until that ends; `server` gets the
    /// socket that listens on its loopback device.
    pub(super) fn new(
        confined: Confined,
        input: &[u8],
        more: Option<OwnedFd>,
        strays: Strays,
        server: Option<&Sender<TcpListener>>,
    ) -> io::Result<Self> {
        let Confined {
            mut child,
            result,
            status,
            loopback,
        } = confined;
        let mut streams = || {
            let missing = || io::Error::other("a standard stream is not piped");
            let stdin: OwnedFd = child.stdin.take().ok_or_else(missing)?.into();
            kernel::set_nonblocking(stdin.as_fd())?;
            if let Some(more) = &more {
                kernel::set_nonblocking(more.as_fd())?;
            }
            let stdout = Stream::new(child.stdout.take().ok_or_else(missing)?, OUTPUT_KEPT_MAX)?;
            let stderr = Stream::new(child.stderr.take().ok_or_else(missing)?, OUTPUT_KEPT_MAX)?;
            if let (Some(from), Some(server)) = (&loopback, server)
                && let Some(listener) = kernel::receive_listener(from)?
            {
                // Whoever waits for it no more has nothing to serve: it is closed, and nobody found there.
                let _ = server.try_send(listener);
            }
            Ok::<_, io::Error>((File::from(stdin), stdout, stderr))
        };
        let streams = streams().and_then(|s| {
            Ok((
                s,
                Stream::new(result, RESULT_KEPT_MAX)?,
                Stream::new(status, CHUNK)?,
            ))
        });
        match streams {
            Ok(((stdin, stdout, stderr), result, status)) => {
                let pidfd = kernel::open_pidfd(child.id()).ok();
                let stdin = (!input.is_empty() || more.is_some()).then_some(stdin);
                Ok(Self {
                    child,
                    pidfd,
                    strays,
                    stdin,
                    input: input.to_vec(),
                    fed: 0,
                    more: more.map(File::from),
                    stdout,
                    stderr,
                    result,
                    status,
                })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                strays.end();
                Err(error)
            }
        }
    }

    /// Until the program ended or `deadline`; nothing of it runs afterwards.
    pub(super) fn run(mut self, deadline: Instant, mut bounds: Bounds) -> io::Result<Ended> {
        let mut buffer = vec![0; CHUNK];
        let mut timed_out = false;
        let mut exceeded = None;
        let outcome = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    if self.pidfd.is_none() {
                        let _ = kernel::kill_group(self.strays.group, Signal::SIGKILL);
                    }
                    break Ok(status);
                }
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            let now = Instant::now();
            if now >= deadline {
                timed_out = true;
                break self.kill();
            }
            let mut wait = deadline - now;
            if bounds.is_needed() {
                exceeded = bounds.exceeded();
                if exceeded.is_some() {
                    break self.kill();
                }
                wait = wait.min(LOOK_EVERY);
            }
            if let Err(error) = self.step(wait, &mut buffer) {
                let _ = self.kill();
                break Err(error);
            }
        };
        // Of a killed namespace the members go one by one: the init, which holds `status`, goes last.
        let vanished = Instant::now() + NAMESPACE_END;
        while self.status.file.is_some() && Instant::now() < vanished {
            if !self.status.read_some(&mut buffer) && self.status.file.is_some() {
                let mut entries = [self.status.entry()];
                kernel::poll(
                    &mut entries,
                    Some(vanished.saturating_duration_since(Instant::now())),
                )?;
            }
        }
        self.strays.end();
        for stream in [&mut self.stdout, &mut self.stderr, &mut self.result] {
            stream.finish(&mut buffer);
        }
        let status = outcome?;
        let mut not_started = None;
        let exit = match Report::parse(&self.status.kept) {
            Some(Report::Ended(raw)) => kernel::exit_kind(ExitStatus::from_raw(raw)),
            Some(Report::Failed { step, errno }) => {
                let cause = io::Error::from_raw_os_error(errno);
                not_started = Some(io::Error::new(
                    cause.kind(),
                    format!("could not {step}: {cause}"),
                ));
                ExitKind::Unknown
            }
            None => kernel::exit_kind(status),
        };
        let Self {
            stdout,
            stderr,
            result,
            ..
        } = self;
        Ok(Ended {
            exit,
            timed_out,
            exceeded,
            not_started,
            stdout,
            stderr,
            result,
        })
    }

    fn kill(&mut self) -> io::Result<ExitStatus> {
        let _ = kernel::kill_group(self.strays.group, Signal::SIGKILL);
        self.child.kill()?;
        self.child.wait()
    }

    /// Waits for the next thing that happens, and does it.
    fn step(&mut self, wait: Duration, buffer: &mut [u8]) -> io::Result<()> {
        let mut entries = [
            self.pidfd
                .as_ref()
                .map_or_else(PollEntry::none, |f| PollEntry::readable(f.as_raw_fd())),
            self.stdin
                .as_ref()
                .filter(|_| self.fed < self.input.len())
                .map_or_else(PollEntry::none, |f| PollEntry::writable(f.as_raw_fd())),
            // One after the other, so that whoever gives more waits until it is wanted.
            self.more
                .as_ref()
                .filter(|_| self.stdin.is_some() && self.fed == self.input.len())
                .map_or_else(PollEntry::none, |f| PollEntry::readable(f.as_raw_fd())),
            self.stdout.entry(),
            self.stderr.entry(),
            self.result.entry(),
        ];
        let wait = if self.pidfd.is_some() {
            wait
        } else {
            wait.min(POLL_WITHOUT_PIDFD)
        };
        kernel::poll(&mut entries, Some(wait))?;
        let [ended, stdin, more, stdout, stderr, result] = entries;
        if ended.ready {
            // The group before the leader is waited for: until then its number cannot mean anybody else.
            let _ = kernel::kill_group(self.strays.group, Signal::SIGKILL);
        }
        if stdin.ready {
            self.feed();
        }
        if more.ready {
            self.take_more(buffer);
        }
        for (entry, stream) in [
            (stdout, &mut self.stdout),
            (stderr, &mut self.stderr),
            (result, &mut self.result),
        ] {
            if entry.ready {
                stream.read_some(buffer);
            }
        }
        Ok(())
    }

    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(&self.input[self.fed..]) {
            Ok(n) => self.fed += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // It does not want to read more: its right.
            Err(_) => {
                self.fed = self.input.len();
                self.more = None;
            }
        }
        if self.fed == self.input.len() && self.more.is_none() {
            self.stdin = None;
        }
    }

    fn take_more(&mut self, buffer: &mut [u8]) {
        let Some(more) = &mut self.more else { return };
        match more.read(buffer) {
            Ok(n) if n > 0 => {
                self.input.clear();
                self.input.extend_from_slice(&buffer[..n]);
                self.fed = 0;
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => {
                self.more = None;
                self.stdin = None;
            }
        }
    }
}
