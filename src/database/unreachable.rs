//! Why nothing can be said of a database.

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Unreachable {
    /// In words.
    pub why: String,
    pub kind: UnreachableKind,
}

/// The kinds of it; each has a remedy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnreachableKind {
    /// The server refuses the user or the password.
    Password,
    /// The name of the server is not known.
    Host,
    /// Nobody answers there.
    Server,
    /// The server is about to start or to stop.
    Starting,
    /// The server has no such database.
    NoDatabase,
    /// The server takes no more connections.
    Connections,
    /// Another program holds it.
    Locked,
    /// The user may not.
    Right,
    /// The file is no database, or a damaged one.
    NotADatabase,
    Other,
}

impl UnreachableKind {
    /// A word for signatures and programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Host => "host",
            Self::Server => "server",
            Self::Starting => "starting",
            Self::NoDatabase => "no_database",
            Self::Connections => "connections",
            Self::Locked => "locked",
            Self::Right => "right",
            Self::NotADatabase => "not_a_database",
            Self::Other => "other",
        }
    }

    /// It may pass by itself, so a boot tries again.
    pub(crate) fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Host | Self::Server | Self::Starting | Self::Connections | Self::Locked
        )
    }

    /// What to do.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Password => "correct the user and the password in the database's URL",
            Self::Host => {
                "correct the host in the database's URL, or see that its name can be resolved here"
            }
            Self::Server => {
                "start the database server, or correct host and port in the database's URL"
            }
            Self::Starting => "wait until the database server has started",
            Self::NoDatabase => "create the database (`createdb`), or correct its name in the URL",
            Self::Connections => {
                "end connections that nobody needs, or raise max_connections of the server; the pools of all services \
                 must fit into it"
            }
            Self::Locked => "end the program or the transaction that locks it",
            Self::Right => "give the user of the database's URL the right, or use another user",
            Self::NotADatabase => {
                "correct the path in the database's URL, or restore the file from a backup"
            }
            Self::Other => {
                "start the server, or correct the database's URL or the server's access rules"
            }
        }
    }
}

impl Unreachable {
    pub(crate) fn new(why: impl Into<String>, kind: UnreachableKind) -> Self {
        Self {
            why: why.into(),
            kind,
        }
    }

    /// For a reason that has no remedy of its own.
    pub(crate) fn other(why: impl Into<String>) -> Self {
        Self::new(why, UnreachableKind::Other)
    }

    /// With what it is about in front of the words.
    pub(crate) fn of(self, what: &str) -> Self {
        Self::new(format!("{what}: {}", self.why), self.kind)
    }
}
