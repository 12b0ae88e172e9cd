//! Messages of the protocol: those of the client taken apart, those that the relay says itself put together
//! (postgresql.org/docs/current/protocol-message-formats.html). Pure.

use super::recording::RecordedValue;

/// Type and length.
pub(super) const HEAD_BYTES: usize = 5;
/// The length counts itself.
const LENGTH_BYTES: usize = 4;
/// No message of a client is longer: a longer one could not be recorded.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// The type of a message and the bytes of its body, if so much of it is there; `Err` if the length is none.
pub(super) fn read_head(bytes: &[u8]) -> Result<Option<(u8, usize)>, Violation> {
    let Some((&[kind, ref length @ ..], _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    match length.checked_sub(LENGTH_BYTES) {
        Some(body) => Ok(Some((kind, body))),
        None => Err(Violation("a message has an impossible length")),
    }
}

/// Reads any bytes as the messages of a client, to their end or to the first that is none; how many there were.
pub(crate) fn read_any(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some((kind, length))) = read_head(bytes) {
        let rest = &bytes[HEAD_BYTES..];
        let Some(body) = rest.get(..length) else {
            break;
        };
        if read_request(kind, body).is_err() {
            break;
        }
        count += 1;
        bytes = &rest[length..];
    }
    count
}

/// A message that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation(pub &'static str);

/// What a client asks for, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Query(&'a [u8]),
    Parse {
        name: &'a [u8],
        sql: &'a [u8],
        oids: Vec<u32>,
    },
    Bind {
        portal: &'a [u8],
        statement: &'a [u8],
        values: Vec<(Format, Option<&'a [u8]>)>,
    },
    Describe,
    Execute {
        portal: &'a [u8],
    },
    Close {
        is_statement: bool,
        name: &'a [u8],
    },
    Sync,
    Call,
    /// `CopyDone`, `CopyFail`.
    CopyEnd,
    /// What has no answer of its own.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

/// Takes the body of a client's message apart.
///
/// # Errors
/// It is none that a client may send now.
pub(super) fn read_request(kind: u8, body: &[u8]) -> Result<Request<'_>, Violation> {
    let mut body = MessageBody(body);
    let request = match kind {
        b'Q' => Request::Query(body.text()?),
        b'P' => {
            let (name, sql) = (body.text()?, body.text()?);
            let count = body.number()?;
            let oids = (0..count).map(|_| body.long());
            Request::Parse {
                name,
                sql,
                oids: oids.collect::<Result<_, _>>()?,
            }
        }
        b'B' => {
            let (portal, statement) = (body.text()?, body.text()?);
            let formats = body.formats()?;
            let count = body.number()?;
            if formats.len() > 1 && formats.len() != usize::from(count) {
                return Err(Violation(
                    "a Bind message has not as many formats as values",
                ));
            }
            let format = |at: usize| match formats.as_slice() {
                [] => Format::Text,
                [one] => *one,
                each => each.get(at).copied().unwrap_or(Format::Text),
            };
            let values = (0..usize::from(count))
                .map(|at| Ok((format(at), body.value()?)))
                .collect::<Result<_, _>>()?;
            body.formats()?;
            Request::Bind {
                portal,
                statement,
                values,
            }
        }
        b'D' => {
            body.kind()?;
            body.text()?;
            Request::Describe
        }
        b'E' => {
            let portal = body.text()?;
            body.long()?;
            Request::Execute { portal }
        }
        b'C' => Request::Close {
            is_statement: body.kind()?,
            name: body.text()?,
        },
        b'S' => Request::Sync,
        b'F' => {
            body.0 = &[];
            Request::Call
        }
        b'c' => Request::CopyEnd,
        b'f' => {
            body.text()?;
            Request::CopyEnd
        }
        b'H' | b'X' => Request::Silent,
        b'd' => {
            body.0 = &[];
            Request::Silent
        }
        _ => return Err(Violation("a message is of no known type")),
    };
    if body.0.is_empty() {
        Ok(request)
    } else {
        Err(Violation("a message is longer than what it holds"))
    }
}

/// What is left of a message.
struct MessageBody<'a>(&'a [u8]);

const SHORT: Violation = Violation("a message is shorter than what it holds");

impl<'a> MessageBody<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u16, Violation> {
        self.chunk().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Result<u32, Violation> {
        self.chunk().map(u32::from_be_bytes)
    }

    /// Up to a null character.
    fn text(&mut self) -> Result<&'a [u8], Violation> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(SHORT)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// Whether it is about a statement, and not about a portal.
    fn kind(&mut self) -> Result<bool, Violation> {
        match self.chunk()? {
            [b'S'] => Ok(true),
            [b'P'] => Ok(false),
            _ => Err(Violation("a message is about neither statement nor portal")),
        }
    }

    fn formats(&mut self) -> Result<Vec<Format>, Violation> {
        let count = self.number()?;
        (0..count)
            .map(|_| match self.number()? {
                0 => Ok(Format::Text),
                1 => Ok(Format::Binary),
                _ => Err(Violation("a Bind message has an unknown format")),
            })
            .collect()
    }

    fn value(&mut self) -> Result<Option<&'a [u8]>, Violation> {
        match self.long()? {
            u32::MAX => Ok(None),
            length => self.take(length as usize).map(Some),
        }
    }
}

/// A text of the protocol that a server gives back: what is behind its first null character, or all of it.
pub(super) fn until_null(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// Appends a message, whose body is written by `write`.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let begin = out.len();
    out.extend([0; LENGTH_BYTES]);
    write(out);
    // The relay's own messages are short.
    let length = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    out[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

/// How bad an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorSeverity {
    Error,
    /// The connection ends.
    Fatal,
}

/// An `ErrorResponse`.
pub(super) fn put_error(out: &mut Vec<u8>, severity: ErrorSeverity, code: &str, message: &str) {
    let severity = match severity {
        ErrorSeverity::Error => "ERROR",
        ErrorSeverity::Fatal => "FATAL",
    };
    put(out, b'E', |out| {
        for (field, text) in [
            (b'S', severity),
            (b'V', severity),
            (b'C', code),
            (b'M', message),
        ] {
            out.push(field);
            put_text(out, text);
        }
        out.push(0);
    });
}

/// A value as it is recorded; `None` if it is a text that is none.
pub(super) fn recorded_value(format: Format, value: Option<&[u8]>) -> Option<RecordedValue> {
    Some(match (format, value) {
        (_, None) => RecordedValue::Null,
        (Format::Binary, Some(bytes)) => RecordedValue::Binary(bytes.to_vec()),
        (Format::Text, Some(bytes)) => {
            RecordedValue::Text(std::str::from_utf8(bytes).ok()?.to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_has_formats_for_none_all_or_each() {
        let bind = |formats: &[u16]| {
            let mut body = b"p\0s\0".to_vec();
            body.extend((formats.len() as u16).to_be_bytes());
            formats.iter().for_each(|f| body.extend(f.to_be_bytes()));
            body.extend([0, 2, 0, 0, 0, 1, b'x', 255, 255, 255, 255, 0, 0]);
            body
        };
        let x: Option<&[u8]> = Some(b"x");
        let (text, binary) = (Format::Text, Format::Binary);
        for (formats, expected) in [
            (&[][..], Some([(text, x), (text, None)])),
            (&[1], Some([(binary, x), (binary, None)])),
            (&[1, 0], Some([(binary, x), (text, None)])),
            (&[0, 0, 0], None),
            (&[2], None),
        ] {
            let body = bind(formats);
            let found = match read_request(b'B', &body) {
                Ok(Request::Bind { values, .. }) => Some(values),
                _ => None,
            };
            assert_eq!(found, expected.map(Vec::from), "{formats:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_none() {
        for (kind, body) in [
            (b'Q', &b"a"[..]),
            (b'Q', b"a\0b\0"),
            (b'S', b"x"),
            (b'E', b"\0\0"),
            (b'C', b"Xa\0"),
            (b'P', b"\0\0\0\x02\0\0\0\0"),
            (b'p', b"secret\0"),
        ] {
            assert!(read_request(kind, body).is_err(), "{kind} {body:?}");
        }
        assert_eq!(read_request(b'Q', b"a\0"), Ok(Request::Query(b"a")));
        assert_eq!(read_head(&[b'Q', 0, 0, 0]), Ok(None));
        assert!(read_head(&[b'Q', 0, 0, 0, 3]).is_err());
    }
}
