//! One connection, both directions: bytes go in as they arrive, and come out as they are passed on, with what
//! they mean reported to the [`ConnectionLedger`]. No sockets here, and no clock.
//!
//! A request that is refused goes on as one that must fail, and the server's error is replaced by the relay's: so
//! the server's transaction fails with it, and a pipeline is skipped up to its `Sync`, by the server's own rules.

use super::expected::expected;
use super::ledger::ConnectionLedger;
use super::message::{
    ErrorSeverity, HEAD_BYTES, MESSAGE_BYTES_MAX, Request, Violation, put, put_error, put_text,
    read_head, read_request,
};

/// A message of the server that is looked at is shorter.
const LOOKED_AT_MAX: usize = 1 << 20;
/// What goes to the server instead of what is refused; no statement begins so.
const FAILING: &str = "refused_by_ubs";

/// A connection as the relay sees it.
pub(super) struct Tracker {
    pub ledger: ConnectionLedger,
    /// What goes on of a message without being looked at, and whether it goes on at all.
    client_skip: usize,
    server_skip: usize,
    server_drops: bool,
}

impl Tracker {
    pub(super) fn new(ledger: ConnectionLedger) -> Self {
        Self {
            ledger,
            client_skip: 0,
            server_skip: 0,
            server_drops: false,
        }
    }

    /// Whether the client has got whole messages only.
    pub(super) fn is_between_answers(&self) -> bool {
        self.server_skip == 0
    }

    /// Bytes of the client; gives how many were taken, and appends to `out` what goes to the server. While
    /// too much waits for answers, nothing more is taken.
    ///
    /// # Errors
    /// They are no messages, or too many.
    pub(super) fn client_sent(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        loop {
            let passed = self.client_skip.min(bytes.len() - at);
            out.extend(&bytes[at..at + passed]);
            at += passed;
            self.client_skip -= passed;
            if self.ledger.is_full() {
                return Ok(at);
            }
            let Some((kind, length)) = read_head(&bytes[at..])? else {
                return Ok(at);
            };
            if length > MESSAGE_BYTES_MAX {
                return Err(Violation("a message is longer than 32 MiB"));
            }
            if matches!(kind, b'd' | b'F') {
                self.ask(kind, &[])?;
                self.client_skip = HEAD_BYTES + length;
                continue;
            }
            let Some(message) = bytes.get(at..at + HEAD_BYTES + length) else {
                return Ok(at);
            };
            match self.ask(kind, &message[HEAD_BYTES..])? {
                None => out.extend(message),
                Some(instead) => out.extend(instead),
            }
            at += message.len();
        }
    }

    /// One message of the client; gives what goes on instead.
    fn ask(&mut self, kind: u8, body: &[u8]) -> Result<Option<Vec<u8>>, Violation> {
        let request = read_request(kind, body)?;
        let name = match &request {
            Request::Parse { name, .. } => name.to_vec(),
            _ => Vec::new(),
        };
        let Some(expected) = expected(request) else {
            return Ok(None);
        };
        let instead = expected.refused().map(|_| {
            let mut instead = Vec::new();
            put(&mut instead, kind, |out| {
                if kind == b'P' {
                    out.extend(&name);
                    out.push(0);
                    put_text(out, FAILING);
                    out.extend([0, 0]);
                } else {
                    put_text(out, FAILING);
                }
            });
            instead
        });
        self.ledger.expect(expected)?;
        Ok(instead)
    }

    /// Bytes of the server; gives how many were taken, and appends to `out` what goes to the client.
    pub(super) fn server_sent(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        loop {
            let passed = self.server_skip.min(bytes.len() - at);
            if !self.server_drops {
                out.extend(&bytes[at..at + passed]);
            }
            at += passed;
            self.server_skip -= passed;
            if self.server_skip == 0 {
                self.server_drops = false;
            }
            let (kind, length) = match read_head(&bytes[at..]) {
                Ok(Some(head)) => head,
                Ok(None) => return at,
                Err(_) => {
                    // No server says so; whoever it is, the client is to see it as it is.
                    self.ledger.lose();
                    out.extend(&bytes[at..]);
                    return bytes.len();
                }
            };
            let is_looked_at = matches!(kind, b'C' | b'Z' | b'S') && length <= LOOKED_AT_MAX;
            let message = bytes.get(at + HEAD_BYTES..at + HEAD_BYTES + length);
            let body = match (is_looked_at, message) {
                (true, None) => return at,
                (true, Some(body)) => body,
                (false, _) => &[],
            };
            self.server_skip = HEAD_BYTES + length;
            if kind == b'E'
                && let Some(why) = self.ledger.refused()
            {
                let message = format!("ubs does not let this statement through, because {why}");
                put_error(out, ErrorSeverity::Error, "42501", &message);
                self.server_drops = true;
            }
            self.ledger.answer(kind, body);
        }
    }
}

#[cfg(test)]
mod tests;
