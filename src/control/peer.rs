//! Who is at the other end of a connection.

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
    nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_user_and_root_may_ask() {
        let may = |uid: u32, own| Peer { uid }.may_ask(own);
        assert!(may(1000, 1000) && may(0, 1000) && may(0, 0));
        assert!(!may(1001, 1000) && !may(1000, 0));
    }
}
