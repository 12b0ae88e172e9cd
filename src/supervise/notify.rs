//! Hears what a service says of itself (sd_notify(3)): `READY=1` and `STATUS=...`, from its own processes only.
//!
//! Messages are taken for as long as the service lives, since a sender waits while the socket is full.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::domain::redact::truncate;
use crate::kernel::{self, Census, Notice, NotifySocket, receive_notice};

/// Longest status that is kept.
const STATUS_BYTES_MAX: usize = 300;
/// Most senders that are remembered.
const KNOWN_MAX: usize = 1000;

/// What the service has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// It is ready.
    pub ready: bool,
    /// Its last status.
    pub status: String,
    /// The last sender that is none of its processes.
    pub stranger: Option<String>,
}

/// Hears one service, until it is dropped.
#[derive(Debug)]
pub(super) struct Hearing {
    task: JoinHandle<()>,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whose a message is.
struct Senders {
    leader: u32,
    marks: Vec<String>,
    known: BTreeSet<u32>,
}

/// Begins to hear. `leader` is the service's main process, `marks` are in the environment of all its processes.
pub(super) fn hear(
    socket: NotifySocket,
    leader: u32,
    marks: &[String],
) -> std::io::Result<(Hearing, watch::Receiver<Said>)> {
    let (sender, said) = watch::channel(Said::default());
    let NotifySocket {
        socket, directory, ..
    } = socket;
    let socket = UnixDatagram::from_std(socket)?;
    let mut senders = Senders {
        leader,
        marks: marks.to_vec(),
        known: BTreeSet::new(),
    };
    let task = tokio::spawn(async move {
        let _directory = directory;
        while socket.readable().await.is_ok() {
            let next = socket.try_io(Interest::READABLE, || receive_notice(socket.as_fd()));
            match next {
                Ok(notice) => {
                    sender.send_if_modified(|said| take(said, &notice, &mut senders));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "what a service says of itself cannot be heard");
                    return;
                }
            }
        }
    });
    Ok((Hearing { task }, said))
}

impl Senders {
    /// The stranger that sent it, in words. A sender that is gone already cannot be asked, and is believed: nobody but
    /// the service's user can reach the socket.
    fn stranger(&mut self, pid: u32) -> Option<String> {
        if pid == self.leader || self.known.contains(&pid) {
            return None;
        }
        let names: Vec<&str> = self
            .marks
            .iter()
            .filter_map(|mark| mark.split_once('='))
            .map(|(name, _)| name)
            .collect();
        let census = Census::take(&names);
        let members = census.members(self.leader, &self.marks);
        if members.iter().any(|member| member.process.pid == pid) {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(pid);
            return None;
        }
        let lives = kernel::process_ref(pid).is_some_and(|process| kernel::is_alive(&process));
        lives.then(|| format!("process {pid}, {}", kernel::program_name(pid)))
    }
}

/// Whether it changed what is known.
fn take(said: &mut Said, notice: &Notice, senders: &mut Senders) -> bool {
    if let Some(stranger) = senders.stranger(notice.pid) {
        said.stranger = Some(stranger);
        return true;
    }
    let before = said.clone();
    for line in notice.text.lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => said.ready = true,
            Some(("STATUS", status)) => {
                let shown: String = status.chars().filter(|c| !c.is_control()).collect();
                said.status = truncate(&shown, STATUS_BYTES_MAX);
            }
            // The rest of the protocol (watchdogs, descriptors, reloads) is for later.
            _ => {}
        }
    }
    *said != before
}

/// What a service that has not said that it is ready has said instead.
pub(super) fn why_not(said: &Said) -> String {
    let mut why = "it has not said READY=1".to_owned();
    if !said.status.is_empty() {
        why.push_str(&format!("; its status is: {}", said.status));
    }
    if let Some(stranger) = &said.stranger {
        why.push_str(&format!(
            "; {stranger} sent to its socket, and is none of its processes"
        ));
    }
    why
}
