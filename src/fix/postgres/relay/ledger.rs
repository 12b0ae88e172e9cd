//! What waits for its answer, what names stand for, and what took effect in the transaction that is open: one
//! connection as its messages tell it. Pure.
//!
//! The server answers in order, so each request waits in a queue for its answer, and what a name stands for is
//! changed when the server says that it did it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::expected::Expected;
use super::message::{Violation, until_null};
use super::names::{Portal, PreparedNames};
use super::recording::{
    Committer, Pending, RecordedStatement, RecordedValue, Recorder, SessionDigest,
};
use super::statement::StatementKind;
use super::waiting::AwaitedAnswers;
use crate::database::sql::statement::sql_without_word;
use crate::database::sql::text::{Token, sql_statements};

/// Requests that wait for their answers. What the server holds back of its answers until it is asked (some
/// kilobytes) are fewer by far.
const WAITING_MAX: usize = 1 << 16;
/// A connection by its messages.
pub(super) struct ConnectionLedger {
    recorder: Arc<Mutex<Recorder>>,
    connection: u64,
    settings: BTreeMap<String, String>,
    waiting: AwaitedAnswers,
    /// After an error the server passes over everything up to `Sync`.
    is_skipping: bool,
    /// The server reads rows of a COPY and passes over `Sync`.
    is_copying: bool,
    names: PreparedNames,
    pending: Vec<Pending>,
    began: Option<u64>,
    has_failed: bool,
    /// A statement was prepared by SQL's own means.
    has_prepared: bool,
    session: SessionDigest,
    pending_session: SessionDigest,
    /// `standard_conforming_strings` is off.
    has_own_strings: bool,
    /// The client's encoding, if it is not UTF-8.
    encoding: Option<String>,
    /// Answers and requests no longer fit; nothing is recorded from now on.
    is_lost: bool,
}

impl ConnectionLedger {
    pub(super) fn new(
        recorder: Arc<Mutex<Recorder>>,
        connection: u64,
        settings: BTreeMap<String, String>,
    ) -> Self {
        // What decides about text is no difference between connections that matters: texts are UTF-8 here.
        let no_setting = ["application_name", "client_encoding"];
        let settings = settings
            .into_iter()
            .filter(|(name, _)| !no_setting.contains(&name.as_str()))
            .collect();
        let of_all = recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .waiting_bytes();
        Self {
            recorder,
            connection,
            settings,
            waiting: AwaitedAnswers::new(of_all),
            is_skipping: false,
            is_copying: false,
            names: PreparedNames::default(),
            pending: Vec::new(),
            began: None,
            has_failed: false,
            has_prepared: false,
            session: SessionDigest::default(),
            pending_session: SessionDigest::default(),
            has_own_strings: false,
            encoding: None,
            is_lost: false,
        }
    }

    /// Whether the server has everything answered, so that ending the connection ends nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_lost
    }

    /// Whether the client has to wait until the server has answered more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Whether the answers are no longer understood.
    #[cfg(test)]
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Why the request that is answered now was not let through.
    pub(super) fn refused(&self) -> Option<&'static str> {
        self.waiting.front().and_then(Expected::refused)
    }

    /// A request goes to the server.
    ///
    /// # Errors
    /// Too much waits for its answer, here and on the other connections.
    pub(super) fn expect(&mut self, expected: Expected) -> Result<(), Violation> {
        if self.is_lost {
            return Ok(());
        }
        let is_sync = matches!(expected, Expected::Sync);
        if self.is_skipping {
            if !is_sync {
                return Ok(());
            }
            self.is_skipping = false;
        }
        if self.is_copying {
            if matches!(expected, Expected::CopyEnd) {
                self.is_copying = false;
            }
            // Everything else the server passes over, or ends the COPY with an error.
            return Ok(());
        }
        if self.began.is_none() {
            let now = self.recorder().changes();
            self.began = Some(now);
        }
        self.waiting.push_back(expected);
        if self.waiting.is_too_much() {
            const WHY: &str = "too much waits for the answers of the server";
            self.obstruct(WHY);
            self.lose();
            return Err(Violation(WHY));
        }
        Ok(())
    }

    /// One message of the server.
    pub(super) fn answer(&mut self, kind: u8, body: &[u8]) {
        if self.is_lost {
            return;
        }
        // What ends the rows of a COPY is answered by the end of its statement.
        while matches!(self.waiting.front(), Some(Expected::CopyEnd)) {
            self.waiting.pop_front();
        }
        let front = self.waiting.front();
        match (kind, front) {
            // Rows, notices, notifications, descriptions of rows: the answer goes on.
            (b'D' | b'd' | b'c' | b'N' | b'A' | b't' | b'K' | b'V', _) => {}
            (b'T' | b'n', Some(Expected::Describe)) | (b'I', Some(Expected::Execute { .. })) => {
                drop(self.waiting.pop_front())
            }
            (b'T', Some(Expected::Query(_) | Expected::Execute { .. }))
            | (b'I', Some(Expected::Query(_))) => {}
            (b'S', _) => self.note_setting(body),
            (b'1', Some(Expected::Parse { .. })) => self.parsed(),
            (b'2', Some(Expected::Bind { .. })) => self.bound(),
            (b'3', Some(Expected::Close { .. })) => self.closed(),
            (b'C', Some(Expected::Query(_))) => self.completed_part(body),
            (b'C', Some(Expected::Execute { .. })) => self.executed(Some(body)),
            (b's', Some(Expected::Execute { .. })) => self.executed(None),
            (b'Z', Some(Expected::Query(_) | Expected::Sync | Expected::Call)) => self.ready(body),
            (b'E', _) => self.failed(),
            (b'G', Some(Expected::Query(_) | Expected::Execute { .. })) => self.copy_in(),
            (b'H', Some(Expected::Query(_) | Expected::Execute { .. })) => {}
            _ => self.lose(),
        }
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obstruct(&self, why: impl Into<String>) {
        self.recorder().obstruct(why);
    }

    pub(super) fn lose(&mut self) {
        self.obstruct("the answers of the server do not fit what was asked for");
        self.discard();
        self.waiting.clear();
        self.names = PreparedNames::default();
        self.is_lost = true;
    }

    fn note_setting(&mut self, body: &[u8]) {
        let name = until_null(body);
        let value = until_null(body.get(name.len() + 1..).unwrap_or_default());
        self.reported(
            &String::from_utf8_lossy(name),
            &String::from_utf8_lossy(value),
        );
    }

    /// What the server reports about the session: how texts are read depends on some of it.
    pub(super) fn reported(&mut self, name: &str, value: &str) {
        match name {
            "standard_conforming_strings" => self.has_own_strings = value != "on",
            "client_encoding" => {
                self.encoding = (value != "UTF8").then(|| value.to_owned());
            }
            _ => {}
        }
    }

    /// Whether a statement is surely what the server reads in the client's bytes.
    fn is_surely_read(&self, recorded: &RecordedStatement) -> Result<(), String> {
        if self.has_own_strings {
            return Err("standard_conforming_strings is turned off, and statements cannot be told apart for sure".to_owned());
        }
        let is_ascii = recorded.sql.is_ascii()
            && recorded
                .parameters
                .iter()
                .all(|parameter| match &parameter.value {
                    RecordedValue::Text(text) => text.is_ascii(),
                    _ => true,
                });
        match &self.encoding {
            Some(encoding) if !is_ascii => Err(format!(
                "the client writes its texts in {encoding} instead of UTF8"
            )),
            _ => Ok(()),
        }
    }

    fn parsed(&mut self) {
        if let Some(Expected::Parse { name, prepared }) = self.waiting.pop_front() {
            self.names.put_statement(name, prepared);
            self.bound_names();
        }
    }

    fn bound(&mut self) {
        let Some(Expected::Bind {
            portal,
            statement,
            values,
        }) = self.waiting.pop_front()
        else {
            return;
        };
        let Some(prepared) = self.names.statement(&statement) else {
            self.obstruct(
                "a statement that was prepared with PREPARE is run by the protocol's own means",
            );
            return;
        };
        let Some(values) = values else {
            self.obstruct("a value is no UTF-8");
            return;
        };
        self.names.put_portal(portal, Portal::new(prepared, values));
        self.bound_names();
    }

    /// Names are the client's to choose, and as many as it likes.
    fn bound_names(&mut self) {
        if self.names.is_too_much() {
            self.obstruct("a connection has too many prepared statements");
            self.lose();
        }
    }

    fn closed(&mut self) {
        match self.waiting.pop_front() {
            Some(Expected::Close { is_statement, name }) if is_statement => {
                self.names.forget_statement(&name);
            }
            Some(Expected::Close { name, .. }) => self.names.forget_portal(&name),
            _ => {}
        }
    }

    /// One statement of a text took effect.
    fn completed_part(&mut self, tag: &[u8]) {
        let Some(Expected::Query(query)) = self.waiting.front_mut() else {
            return;
        };
        let problem = query.problem.take();
        let part = query.next().map(|(sql, kind)| {
            let recorded = RecordedStatement {
                sql: sql.to_owned(),
                parameters: Vec::new(),
                is_last: false,
            };
            (recorded, kind.clone())
        });
        query.done += 1;
        if let Some(why) = problem {
            self.obstruct(why);
        }
        match part {
            Some((recorded, kind)) => self.complete(recorded, kind, tag),
            None => self.obstruct("the server runs other statements than the relay sees in a text"),
        }
    }

    /// A portal was run to its end, or (without a tag) for some rows.
    fn executed(&mut self, tag: Option<&[u8]>) {
        let Some(Expected::Execute { portal }) = self.waiting.pop_front() else {
            return;
        };
        let Some(portal) = self.names.portal(&portal) else {
            self.obstruct("a cursor of SQL is run by the protocol's own means");
            return;
        };
        if std::mem::replace(&mut portal.is_recorded, true) {
            return;
        }
        let prepared = portal.prepared.clone();
        let recorded = portal.recorded();
        if let Some(why) = &prepared.problem {
            self.obstruct(why.as_str());
        }
        if let Some(kind) = prepared.kind.clone() {
            self.complete(recorded, kind, tag.unwrap_or_default());
        }
    }

    /// A statement took effect, for its connection.
    fn complete(&mut self, mut recorded: RecordedStatement, kind: StatementKind, tag: &[u8]) {
        let tag = String::from_utf8_lossy(until_null(tag));
        if !kind.fits(&tag) {
            self.lose();
            return;
        }
        match &kind {
            StatementKind::Commit { chain } if tag == "COMMIT" => {
                if *chain {
                    self.obstruct("a transaction ends with COMMIT AND CHAIN");
                }
                self.commit();
                return;
            }
            StatementKind::Commit { .. } | StatementKind::Rollback => {
                self.discard();
                return;
            }
            StatementKind::Begin | StatementKind::SetTransaction | StatementKind::Limit => return,
            // There is nothing to be reset but what the replay has set for itself.
            StatementKind::ResetAll if self.pending_session == SessionDigest::default() => return,
            StatementKind::TwoPhase => {
                self.obstruct(
                    "a transaction is prepared for being committed later (PREPARE TRANSACTION)",
                );
                self.discard();
                return;
            }
            // That rows came in was seen before. Those of a table that go out change nothing.
            StatementKind::Copy => {
                if gives_rows_of_statement(&recorded.sql) {
                    self.obstruct(
                        "it writes the rows of a statement to the client (COPY (...) TO STDOUT), and what that changes is not recorded",
                    );
                }
                return;
            }
            StatementKind::Deallocate(name) => {
                let is_of_protocol = match name {
                    Some(name) => self.names.forget_statement(name.as_bytes()),
                    None => {
                        self.names.forget_statements();
                        false
                    }
                };
                // In a replay, only what is prepared by a recorded statement is there.
                if is_of_protocol || !self.has_prepared {
                    return;
                }
            }
            StatementKind::Alone(what) => {
                self.obstruct(format!("{what} does not run inside of a transaction"));
            }
            StatementKind::Concurrent => {
                recorded.sql = sql_without_word(&recorded.sql, "CONCURRENTLY");
                self.recorder().note_concurrent();
            }
            StatementKind::Session
            | StatementKind::Local
            | StatementKind::Prepare
            | StatementKind::ResetAll => {
                self.has_prepared |= kind == StatementKind::Prepare;
                self.pending_session = self.pending_session.after(&recorded);
            }
            _ => {}
        }
        if let Err(why) = self.is_surely_read(&recorded) {
            self.obstruct(why);
        }
        if self.recorder().hold(&recorded) {
            self.pending.push(Pending { recorded, kind });
        }
    }

    fn copy_in(&mut self) {
        self.obstruct(
            "it reads rows from the client (COPY ... FROM STDIN), and those are not recorded",
        );
        // In front of the end of the rows, the server passes over everything.
        self.is_copying = !self.waiting.forget_to_copy_end();
    }

    fn failed(&mut self) {
        self.has_failed = true;
        self.is_copying = false;
        match self.waiting.front() {
            // Their end is said too.
            Some(Expected::Query(_) | Expected::Call | Expected::Sync) | None => {}
            Some(_) => {
                while !matches!(self.waiting.front(), Some(Expected::Sync) | None) {
                    self.waiting.pop_front();
                }
                self.is_skipping = self.waiting.is_empty();
            }
        }
    }

    /// The server waits for the next request and says how the transaction is.
    fn ready(&mut self, status: &[u8]) {
        match self.waiting.pop_front() {
            Some(Expected::Query(query)) if !self.has_failed && query.done != query.parts.len() => {
                self.obstruct("the server runs other statements than the relay sees in a text");
            }
            Some(Expected::Call) if !self.has_failed => {
                self.obstruct("a function is called by the protocol's own means");
            }
            _ => {}
        }
        let has_failed = std::mem::take(&mut self.has_failed);
        if status != b"I" {
            return;
        }
        if has_failed {
            self.discard();
        } else {
            self.commit();
        }
        // Portals end with their transaction.
        self.names.forget_portals();
    }

    fn commit(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.session = self.pending_session;
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let by = Committer {
            connection: self.connection,
            began: self.began.unwrap_or_else(|| recorder.changes()),
            settings: &self.settings,
            session: self.session,
        };
        recorder.commit(pending, &by);
        let now = recorder.changes();
        drop(recorder);
        self.begin_anew(now);
    }

    fn discard(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.pending_session = self.session;
        let mut recorder = self.recorder();
        recorder.discard(&pending);
        let now = recorder.changes();
        drop(recorder);
        self.begin_anew(now);
    }

    /// What waits already belongs to the next transaction.
    fn begin_anew(&mut self, now: u64) {
        self.began = (!self.waiting.is_empty()).then_some(now);
    }
}

/// `COPY (DELETE ... RETURNING ...) TO STDOUT`, or a query that calls a function.
fn gives_rows_of_statement(sql: &str) -> bool {
    // Of what is in brackets, the outline has the end.
    let statement = sql_statements(sql).next().and_then(Result::ok);
    statement.is_none_or(|one| one.outline.get(1) == Some(&Token::Symbol(')')))
}

impl Drop for ConnectionLedger {
    /// What is not committed when the connection ends is gone.
    fn drop(&mut self) {
        self.discard();
    }
}
