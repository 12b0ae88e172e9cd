//! Frames: how an event's payload lies in the log. The only module that knows the codec.
//!
//! ```text
//! byte 0      codec tag: 0xb2 is bincode 2.0.1, `config::standard()`
//! bytes 1, 2  version of the event's payload, little-endian
//! bytes 3..   the event, `domain::event::Event`, with its variant's index
//! ```
//!
//! bincode does not describe itself, so everything that can change is named outside of it: the codec
//! by the tag, the layout by the version. Golden frames in `schema/frames/` pin the bytes. Another
//! codec gets another tag; a changed event gets another version and a line in [`UPCASTS`]. What
//! cannot be read is [`Body::Opaque`], never an error and never a panic.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LogError;
use super::record::Body;
use crate::domain::event::Event;

/// bincode 2.0.1, standard configuration: little-endian, variable-length integers.
const CODEC_BINCODE_2: u8 = 0xb2;
/// Tag and version.
const HEADER_BYTES: usize = 3;
/// Largest frame that is written. What an event quotes is bounded to kilobytes where it is made;
/// only a proposal that carries whole files comes near.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// Most that decoding may claim. bincode counts eight bytes for an integer that takes one, so this
/// is eight times the largest frame; a hostile length beyond it is refused before it is allocated.
const DECODE_BYTES_MAX: usize = 8 * FRAME_BYTES_MAX;

type Config = Configuration<LittleEndian, Varint, Limit<DECODE_BYTES_MAX>>;

const CONFIG: Config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();

/// Reads one old layout of one kind and gives the event as it is today.
struct Upcast {
    kind: &'static str,
    version: u16,
    read: fn(&[u8]) -> Result<Event, DecodeError>,
}

/// Every layout that was released and is no longer written. Version 1 is the first, so there is none.
const UPCASTS: &[Upcast] = &[];

/// Newest version of any kind's payload; what is beyond it comes from a newer program.
const VERSION_NEWEST: u16 = 1;

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// A codec, kind or version that this program does not know: a newer one's, and no defect.
    Unknown(String),
    /// Known in name, and not what it should be.
    Broken(String),
}

impl Unread {
    pub(super) fn into_text(self) -> String {
        let (Self::Unknown(text) | Self::Broken(text)) = self;
        text
    }
}

/// Decodes all of `bytes`; what is left over is an error.
fn decode_exact<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, CONFIG)?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(DecodeError::OtherString(format!(
            "{} bytes follow the event",
            bytes.len() - read
        )))
    }
}

/// The frame of an event.
///
/// # Errors
/// The frame would be larger than [`FRAME_BYTES_MAX`].
pub fn encode_frame(event: &Event) -> Result<Vec<u8>, LogError> {
    let mut frame = Vec::with_capacity(512);
    frame.push(CODEC_BINCODE_2);
    frame.extend_from_slice(&event.version().to_le_bytes());
    bincode::serde::encode_into_std_write(event, &mut frame, bincode::config::standard()).map_err(
        |error| LogError::Encode {
            what: event.kind(),
            why: error.to_string(),
        },
    )?;
    if frame.len() > FRAME_BYTES_MAX {
        return Err(LogError::TooLarge {
            kind: event.kind(),
            bytes: frame.len(),
            max: FRAME_BYTES_MAX,
        });
    }
    Ok(frame)
}

/// The event of a frame whose row says `kind` and `version`; opaque if they do not fit together or
/// this program does not know them. Total: any bytes will do.
#[must_use]
pub fn decode_frame(kind: &str, version: u16, frame: &[u8]) -> Body {
    match decode_with(UPCASTS, kind, version, frame) {
        Ok(event) => Body::Known(Box::new(event)),
        Err(unread) => Body::Opaque {
            why: unread.into_text(),
            payload: frame.to_vec(),
        },
    }
}

/// [`decode_frame`] that does not copy the frame of an event it cannot read.
pub(super) fn decode(kind: &str, version: u16, frame: &[u8]) -> Result<Event, Unread> {
    decode_with(UPCASTS, kind, version, frame)
}

fn decode_with(
    upcasts: &[Upcast],
    kind: &str,
    version: u16,
    frame: &[u8],
) -> Result<Event, Unread> {
    let unknown = |what: String| Unread::Unknown(format!("{what} is not known to this ubs"));
    let [tag, low, high, bytes @ ..] = frame else {
        return Err(Unread::Broken(format!(
            "a frame has at least {HEADER_BYTES} bytes, this one {}",
            frame.len()
        )));
    };
    if *tag != CODEC_BINCODE_2 {
        return Err(unknown(format!("codec {tag:#04x}")));
    }
    let named = u16::from_le_bytes([*low, *high]);
    if named != version {
        return Err(Unread::Broken(format!(
            "the row says version {version}, its frame version {named}"
        )));
    }
    let upcast = upcasts
        .iter()
        .find(|old| old.version == version && old.kind == kind);
    let read = match upcast {
        Some(old) => (old.read)(bytes),
        None => decode_exact::<Event>(bytes),
    };
    match read {
        Ok(event) if event.kind() == kind && (upcast.is_some() || event.version() == version) => {
            Ok(event)
        }
        _ if !Event::KINDS.contains(&kind) => Err(unknown(format!("kind {kind}"))),
        _ if version > VERSION_NEWEST => Err(unknown(format!("version {version} of {kind}"))),
        Ok(event) if event.kind() != kind => Err(Unread::Broken(format!(
            "the row says {kind}, its frame {}",
            event.kind()
        ))),
        Ok(_) => Err(unknown(format!("version {version} of {kind}"))),
        Err(error) => Err(Unread::Broken(format!(
            "the frame cannot be decoded: {error}"
        ))),
    }
}

/// The bytes of a projected state. No header: a projection is rebuilt when its format changes.
pub(super) fn encode_state<T: Serialize>(
    what: &'static str,
    state: &T,
) -> Result<Vec<u8>, LogError> {
    bincode::serde::encode_to_vec(state, bincode::config::standard()).map_err(|error| {
        LogError::Encode {
            what,
            why: error.to_string(),
        }
    })
}

/// The state of those bytes.
pub(super) fn decode_state<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    decode_exact(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { text: text.into() }
    }

    fn why(kind: &str, version: u16, frame: &[u8]) -> String {
        decode(kind, version, frame)
            .expect_err("opaque")
            .into_text()
    }

    #[test]
    fn a_frame_names_its_codec_and_version() {
        let frame = encode_frame(&note("hi")).unwrap();
        assert_eq!(frame[..3], [0xb2, 1, 0]);
        assert_eq!(decode("note", 1, &frame), Ok(note("hi")));
    }

    #[test]
    fn what_is_not_known_is_opaque_and_says_why() {
        let frame = encode_frame(&note("hi")).unwrap();
        assert!(why("note", 1, &[]).contains("at least 3 bytes"));
        assert!(why("boot_up", 1, &frame).contains("the row says boot_up, its frame note"));
        assert!(why("note", 2, &frame).contains("its frame version 1"));
        let mut newer = frame.clone();
        newer[1] = 2;
        assert!(why("note", 2, &newer).contains("version 2 of note is not known"));
        let mut other = frame.clone();
        other[0] = 0xb3;
        assert!(why("note", 1, &other).contains("codec 0xb3"));
        let mut longer = frame.clone();
        longer.push(0);
        assert!(why("note", 1, &longer).contains("1 bytes follow"));
        assert!(why("moon_landed", 1, &[0xb2, 1, 0, 250]).contains("kind moon_landed"));
        assert!(why("note", 1, &frame[..frame.len() - 1]).contains("cannot be decoded"));
        assert!(
            matches!(decode_frame("note", 9, &frame), Body::Opaque { payload, .. } if payload == frame)
        );
    }

    #[test]
    fn a_hostile_length_is_refused_before_it_is_allocated() {
        // Variant of `note`, then a string of u64::MAX bytes.
        let index = u8::try_from(Event::KINDS.len() - 1).unwrap();
        let mut frame = vec![0xb2, 1, 0, index, 253];
        frame.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(why("note", 1, &frame).contains("cannot be decoded"));
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused() {
        let error = encode_frame(&note(&"x".repeat(FRAME_BYTES_MAX))).unwrap_err();
        assert!(
            matches!(error, LogError::TooLarge { kind: "note", .. }),
            "{error}"
        );
        let fits = note(&"x".repeat(FRAME_BYTES_MAX - 16));
        assert_eq!(decode("note", 1, &encode_frame(&fits).unwrap()), Ok(fits));
    }

    /// A note as it might have been: lines instead of one text.
    #[test]
    fn an_old_layout_is_upcast_on_read() {
        fn read_lines(bytes: &[u8]) -> Result<Event, DecodeError> {
            let lines: Vec<String> = decode_exact(bytes)?;
            Ok(note(&lines.join("\n")))
        }
        let table = [Upcast {
            kind: "note",
            version: 0,
            read: read_lines,
        }];
        let mut frame = vec![CODEC_BINCODE_2, 0, 0];
        frame.extend(encode_state("lines", &["a", "b"]).unwrap());
        assert_eq!(decode_with(&table, "note", 0, &frame), Ok(note("a\nb")));
        assert!(decode_with(&table, "boot_up", 0, &frame).is_err());
        assert!(
            why("note", 0, &frame).starts_with("version 0")
                || why("note", 0, &frame).contains("decoded")
        );
        let today = encode_frame(&note("c")).unwrap();
        assert_eq!(decode_with(&table, "note", 1, &today), Ok(note("c")));
    }
}
