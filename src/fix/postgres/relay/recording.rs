//! What took effect, in the order of its taking effect, from all connections of a trial.
//!
//! It is bounded: what is kept of transactions that are still open counts too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde::{Deserialize, Serialize};

use super::statement::StatementKind;

/// Statements of one recording.
const STATEMENTS_MAX: usize = 100_000;
/// Bytes of statements and values of one recording.
const BYTES_MAX: usize = 32 << 20;

/// What was done, in the order of its taking effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recording {
    pub statements: Vec<RecordedStatement>,
    /// Settings that the connection was opened with, by name in small letters.
    pub settings: BTreeMap<String, String>,
    /// Indexes were made or dropped `CONCURRENTLY`; the statements are without that.
    pub concurrent: bool,
    /// Why it cannot be replayed as one transaction, in words that end a sentence.
    pub obstacle: Option<String>,
}

/// One statement that took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedStatement {
    /// Exactly one statement.
    pub sql: String,
    pub parameters: Vec<Parameter>,
    /// The last one of its transaction.
    pub is_last: bool,
}

/// What stands for `$1` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parameter {
    /// The type, as the client said it; 0: not said, or a type that each database numbers for itself.
    pub oid: u32,
    pub value: RecordedValue,
}

/// A value as it was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RecordedValue {
    Null,
    Text(String),
    Binary(Vec<u8>),
}

impl RecordedValue {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Values are the application's own data, and stay out of logs.
impl fmt::Debug for RecordedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

impl RecordedStatement {
    fn bytes(&self) -> usize {
        let of_values = self.parameters.iter().map(|one| one.value.bytes());
        let values: usize = of_values.sum();
        self.sql.len() + values + self.parameters.len() * size_of::<Parameter>()
    }
}

/// A statement that took effect for its connection, and for everybody once its transaction is committed.
pub(super) struct Pending {
    pub recorded: RecordedStatement,
    pub kind: StatementKind,
}

/// What a connection is known by when its transaction is committed.
pub(super) struct Committer<'c> {
    pub connection: u64,
    /// How many transactions had changed something when this one began.
    pub began: u64,
    /// What it was opened with.
    pub settings: &'c BTreeMap<String, String>,
    /// Settings, temporary tables and the like that it has made.
    pub session: SessionDigest,
}

/// Stands for the statements that made a connection what it is, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SessionDigest([u8; blake3::OUT_LEN]);

impl SessionDigest {
    /// After one statement more.
    pub(super) fn after(self, recorded: &RecordedStatement) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(recorded.sql.as_bytes());
        for parameter in &recorded.parameters {
            let (kind, bytes): (&[u8], &[u8]) = match &parameter.value {
                RecordedValue::Null => (b"\0n", &[]),
                RecordedValue::Text(text) => (b"\0t", text.as_bytes()),
                RecordedValue::Binary(bytes) => (b"\0b", bytes),
            };
            hasher.update(kind).update(bytes);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// The last transaction that changed something.
struct LastChange {
    number: u64,
    connection: u64,
    /// That of the last change by any other connection.
    number_of_others: u64,
}

/// What all connections of a trial have waiting, in bytes.
pub(super) type WaitingBytes = Arc<AtomicUsize>;

/// The recording while it is made.
#[derive(Default)]
pub(super) struct Recorder {
    recording: Recording,
    /// Transactions that changed something.
    changes: u64,
    last: Option<LastChange>,
    /// Whose transaction was recorded last, and what its connection was then.
    writer: Option<(u64, SessionDigest)>,
    /// A transaction that was committed says SET LOCAL.
    has_ended_local: bool,
    statements: usize,
    bytes: usize,
    waiting_bytes: WaitingBytes,
}

impl Recorder {
    /// The first reason stays.
    pub(super) fn obstruct(&mut self, why: impl Into<String>) {
        if self.recording.obstacle.is_none() {
            self.recording.obstacle = Some(why.into());
        }
    }

    /// What the connections have waiting.
    pub(super) fn waiting_bytes(&self) -> WaitingBytes {
        self.waiting_bytes.clone()
    }

    pub(super) fn note_concurrent(&mut self) {
        self.recording.concurrent = true;
    }

    /// How many transactions have changed something.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes room for a statement; `false` if there is none.
    pub(super) fn hold(&mut self, recorded: &RecordedStatement) -> bool {
        self.statements += 1;
        self.bytes += recorded.bytes();
        if self.statements <= STATEMENTS_MAX && self.bytes <= BYTES_MAX {
            return true;
        }
        self.release(std::slice::from_ref(recorded));
        self.obstruct(format!(
            "it takes more than {STATEMENTS_MAX} statements or {} MiB",
            BYTES_MAX >> 20
        ));
        false
    }

    fn release<'r>(&mut self, recorded: impl IntoIterator<Item = &'r RecordedStatement>) {
        for one in recorded {
            self.statements -= 1;
            self.bytes -= one.bytes();
        }
    }

    /// What was taken back needs no room.
    pub(super) fn discard(&mut self, pending: &[Pending]) {
        self.release(pending.iter().map(|one| &one.recorded));
    }

    /// A transaction took effect.
    pub(super) fn commit(&mut self, pending: Vec<Pending>, by: &Committer<'_>) {
        if pending.is_empty() {
            return;
        }
        if self.has_ended_local {
            self.obstruct(
                "a transaction that is not the last one says SET LOCAL, which would hold for all that follows",
            );
        }
        self.has_ended_local |= pending.iter().any(|one| one.kind == StatementKind::Local);
        let is_as_before = self.writer.is_none_or(|(connection, session)| {
            connection == by.connection || session == by.session
        });
        if !is_as_before {
            self.obstruct(
                "several connections were used, and one has settings or temporary tables that another has not",
            );
        }
        self.writer = Some((by.connection, by.session));
        if pending.iter().any(|one| one.kind.changes()) {
            self.note_change(by);
        }
        let recorded = pending.into_iter().map(|one| one.recorded);
        self.recording.statements.extend(recorded);
        if let Some(last) = self.recording.statements.last_mut() {
            last.is_last = true;
        }
    }

    fn note_change(&mut self, by: &Committer<'_>) {
        self.changes += 1;
        let number = self.changes;
        let Some(last) = self.last.take() else {
            self.recording.settings.clone_from(by.settings);
            self.last = Some(LastChange {
                number,
                connection: by.connection,
                number_of_others: 0,
            });
            return;
        };
        let is_other = last.connection != by.connection;
        let number_of_others = if is_other {
            last.number
        } else {
            last.number_of_others
        };
        if number_of_others > by.began {
            self.obstruct(
                "two connections had transactions open at the same time and both changed something",
            );
        }
        if *by.settings != self.recording.settings {
            self.obstruct(
                "two connections that changed something were opened with different settings",
            );
        }
        self.last = Some(LastChange {
            number,
            connection: by.connection,
            number_of_others,
        });
    }

    /// Statements and bytes that room is made for.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.statements, self.bytes)
    }

    /// The recording as it is now.
    pub(super) fn close(&mut self) -> Recording {
        std::mem::take(&mut self.recording)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(sql: &str, kind: StatementKind) -> Vec<Pending> {
        vec![Pending {
            recorded: RecordedStatement {
                sql: sql.to_owned(),
                parameters: Vec::new(),
                is_last: false,
            },
            kind,
        }]
    }

    fn by(connection: u64, began: u64, settings: &BTreeMap<String, String>) -> Committer<'_> {
        Committer {
            connection,
            began,
            settings,
            session: SessionDigest::default(),
        }
    }

    #[test]
    fn transactions_that_changed_something_side_by_side_are_an_obstacle() {
        let none = BTreeMap::new();
        for (second_began, kind, expected) in [
            (1, StatementKind::Writing, false),
            (0, StatementKind::Reading, false),
            (0, StatementKind::Writing, true),
        ] {
            let mut recorder = Recorder::default();
            recorder.commit(pending("a", StatementKind::Writing), &by(1, 0, &none));
            recorder.commit(pending("b", kind), &by(2, second_began, &none));
            // Its own changes are in nobody's way.
            let now = recorder.changes();
            recorder.commit(pending("c", StatementKind::Writing), &by(2, now, &none));
            let recording = recorder.close();
            assert_eq!(recording.statements.len(), 3);
            assert_eq!(recording.obstacle.is_some(), expected, "{recording:?}");
        }
    }

    #[test]
    fn other_settings_are_an_obstacle_where_something_is_changed() {
        let none = BTreeMap::new();
        let path = BTreeMap::from([("search_path".to_owned(), "a".to_owned())]);
        let mut recorder = Recorder::default();
        recorder.commit(pending("a", StatementKind::Reading), &by(1, 0, &none));
        recorder.commit(pending("b", StatementKind::Writing), &by(2, 0, &path));
        assert_eq!(recorder.recording.obstacle, None);
        assert_eq!(recorder.recording.settings, path);
        recorder.commit(pending("c", StatementKind::Writing), &by(1, 1, &none));
        assert!(
            recorder
                .close()
                .obstacle
                .unwrap()
                .contains("different settings")
        );
    }

    #[test]
    fn what_a_connection_was_made_must_be_what_the_next_one_is() {
        let none = BTreeMap::new();
        let set = pending("SET search_path = a", StatementKind::Session);
        let session = SessionDigest::default().after(&set[0].recorded);
        for (second, expected) in [(session, false), (SessionDigest::default(), true)] {
            let mut recorder = Recorder::default();
            let by = |connection, session| Committer {
                session,
                ..by(connection, 0, &none)
            };
            recorder.commit(
                pending("SET search_path = a", StatementKind::Session),
                &by(1, session),
            );
            recorder.commit(pending("b", StatementKind::Writing), &by(2, second));
            assert_eq!(recorder.close().obstacle.is_some(), expected);
        }
    }

    #[test]
    fn what_is_too_much_is_not_held_and_what_is_discarded_makes_room() {
        let mut recorder = Recorder::default();
        let large = || pending(&"x".repeat(BYTES_MAX - 1), StatementKind::Writing);
        for _ in 0..3 {
            assert!(recorder.hold(&large()[0].recorded));
            recorder.discard(&large());
        }
        assert_eq!((recorder.bytes, recorder.statements), (0, 0));
        assert!(recorder.hold(&large()[0].recorded));
        assert!(!recorder.hold(&pending("xx", StatementKind::Writing)[0].recorded));
        assert!(recorder.close().obstacle.unwrap().contains("32 MiB"));
    }

    #[test]
    fn values_do_not_show() {
        let text = format!("{:?}", RecordedValue::Text("secret".to_owned()));
        assert_eq!(text, "Text(6 bytes)");
    }
}
