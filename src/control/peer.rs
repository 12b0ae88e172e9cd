//! Who is at the other end of a connection.

use std::net::SocketAddr;

use tokio::net::UnixStream;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process of this host, as the kernel knows it.
    User {
        /// As whom it runs.
        uid: u32,
    },
    /// Somebody over TCP.
    Remote {
        /// From where.
        from: SocketAddr,
    },
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let uid = stream.peer_cred()?.uid();
        Ok(Self::User { uid })
    }

    /// On the socket: it is the user whose supervisor this is, or root. Over TCP the token decides.
    pub(super) fn may_ask(self, own: u32) -> bool {
        match self {
            Self::User { uid } => uid == own || uid == 0,
            Self::Remote { .. } => true,
        }
    }

    /// As the log names it.
    pub(super) fn name(self) -> String {
        match self {
            Self::User { uid } => format!("a person (uid {uid})"),
            Self::Remote { from } => format!("a person (from {})", from.ip()),
        }
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
        let may = |uid: u32, own| Peer::User { uid }.may_ask(own);
        assert!(may(1000, 1000) && may(0, 1000) && may(0, 0));
        assert!(!may(1001, 1000) && !may(1000, 0));
    }
}
