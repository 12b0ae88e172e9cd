//! Who is at the other end of a connection.

use std::os::unix::fs::MetadataExt;

use tokio::net::UnixStream;

/// The process that asks, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub uid: u32,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let uid = stream.peer_cred()?.uid();
        Ok(Self { uid })
    }

    /// It is the user whose supervisor this is, or root.
    pub(super) fn may_ask(self, own: u32) -> bool {
        self.uid == own || self.uid == 0
    }

    /// As the log names it.
    pub(super) fn name(self) -> String {
        format!("a person (uid {})", self.uid)
    }
}

/// The user as whom this process acts.
pub(super) fn own_uid() -> u32 {
    // The owner of a process's directory is its effective user (proc(5)); no safe call of the standard library says it.
    std::fs::metadata("/proc/self").map_or(u32::MAX, |found| found.uid())
}
