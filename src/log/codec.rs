//! Frames: how an event's payload lies in the log. The only module that knows the codec.
//!
//! ```text
//! byte 0      codec tag: 0xb2 is bincode 2.0.1, `config::standard()`
//! bytes 1, 2  version of the event's payload, little-endian
//! bytes 3..   the event in the layout of that version (`frame`), with its variant's index
//! ```
//!
//! bincode does not describe itself, so everything that can change is named outside of it: the codec
//! by the tag, the layout by the version. Golden frames in `schema/frames/` pin the bytes. Another
//! codec gets another tag, another layout another version and a line in [`LAYOUTS`]. What cannot be
//! read is [`Body::Opaque`], never an error and never a panic.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::DecodeError;
use serde::de::DeserializeOwned;

use super::error::LogError;
use super::frame::{Mirror, v1, v2};
use super::record::Body;
use crate::domain::event::Event;

/// bincode 2.0.1, standard configuration: little-endian, variable-length integers.
const CODEC_BINCODE_2: u8 = 0xb2;
/// Tag and version.
const HEADER_BYTES: usize = 3;
/// Largest frame that is written. What an event quotes is bounded to kilobytes where it is made;
/// only a proposal that carries whole files comes near.
pub(crate) const FRAME_BYTES_MAX: usize = 8 << 20;
/// Most that decoding may claim. bincode counts eight bytes for an integer that takes one, so this
/// is eight times the largest frame; a hostile length beyond it is refused before it is allocated.
const DECODE_BYTES_MAX: usize = 8 * FRAME_BYTES_MAX;

type Config = Configuration<LittleEndian, Varint, Limit<DECODE_BYTES_MAX>>;

const CONFIG: Config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();

/// One layout: its version, and how its bytes become an event as it is today.
struct Layout {
    version: u16,
    read: fn(&[u8]) -> Result<Event, DecodeError>,
}

/// Every layout that was ever released, oldest first; the last one is written.
const LAYOUTS: [Layout; 2] = [
    Layout {
        version: 1,
        read: |bytes| {
            decode_exact::<v1::Event>(bytes).map(|old| v2::Event::from(old).into_domain())
        },
    },
    Layout {
        version: FRAME_VERSION,
        read: |bytes| decode_exact::<v2::Event>(bytes).map(Mirror::into_domain),
    },
];

/// Version of the layout that is written.
pub(crate) const FRAME_VERSION: u16 = 2;

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnreadFrame {
    /// A codec, kind or version that this program does not know: a newer one's, and no defect.
    Unknown(String),
    /// Known in name, and not what it should be.
    Broken(String),
}

impl UnreadFrame {
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
/// The frame would be larger than `FRAME_BYTES_MAX`.
pub fn encode_frame(event: &Event) -> Result<Vec<u8>, LogError> {
    let mut frame = Vec::with_capacity(512);
    frame.push(CODEC_BINCODE_2);
    frame.extend_from_slice(&FRAME_VERSION.to_le_bytes());
    let layout = v2::Event::of(event);
    bincode::serde::encode_into_std_write(layout, &mut frame, bincode::config::standard())
        .map_err(|error| LogError::Encode {
            what: event.kind(),
            why: error.to_string(),
        })?;
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
    match decode_with(&LAYOUTS, kind, version, frame) {
        Ok(event) => Body::Known(Box::new(event)),
        Err(unread) => Body::Opaque {
            why: unread.into_text(),
            payload: frame.to_vec(),
        },
    }
}

/// [`decode_frame`] that does not copy the frame of an event it cannot read.
pub(super) fn decode(kind: &str, version: u16, frame: &[u8]) -> Result<Event, UnreadFrame> {
    decode_with(&LAYOUTS, kind, version, frame)
}

fn decode_with(
    layouts: &[Layout],
    kind: &str,
    version: u16,
    frame: &[u8],
) -> Result<Event, UnreadFrame> {
    let unknown = |what: String| UnreadFrame::Unknown(format!("{what} is not known to this ubs"));
    let [tag, low, high, bytes @ ..] = frame else {
        return Err(UnreadFrame::Broken(format!(
            "a frame has at least {HEADER_BYTES} bytes, this one {}",
            frame.len()
        )));
    };
    if *tag != CODEC_BINCODE_2 {
        return Err(unknown(format!("codec {tag:#04x}")));
    }
    let named = u16::from_le_bytes([*low, *high]);
    if named != version {
        return Err(UnreadFrame::Broken(format!(
            "the row says version {version}, its frame version {named}"
        )));
    }
    if !Event::KINDS.contains(&kind) {
        return Err(unknown(format!("kind {kind}")));
    }
    let Some(layout) = layouts.iter().find(|layout| layout.version == version) else {
        return Err(unknown(format!("version {version} of {kind}")));
    };
    match (layout.read)(bytes) {
        Ok(event) if event.kind() == kind => Ok(event),
        Ok(event) => Err(UnreadFrame::Broken(format!(
            "the row says {kind}, its frame {}",
            event.kind()
        ))),
        Err(error) => Err(UnreadFrame::Broken(format!(
            "the frame cannot be decoded: {error}"
        ))),
    }
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
        assert_eq!(frame[..3], [0xb2, 2, 0]);
        assert_eq!(decode("note", 2, &frame), Ok(note("hi")));
    }

    #[test]
    fn what_is_not_known_is_opaque_and_says_why() {
        let frame = encode_frame(&note("hi")).unwrap();
        assert!(why("note", 2, &[]).contains("at least 3 bytes"));
        assert!(why("boot_up", 2, &frame).contains("the row says boot_up, its frame note"));
        assert!(why("note", 3, &frame).contains("its frame version 2"));
        let mut newer = frame.clone();
        newer[1] = 3;
        assert!(why("note", 3, &newer).contains("version 3 of note is not known"));
        newer[1] = 0;
        assert!(why("note", 0, &newer).contains("version 0 of note is not known"));
        let mut other = frame.clone();
        other[0] = 0xb3;
        assert!(why("note", 2, &other).contains("codec 0xb3"));
        let mut longer = frame.clone();
        longer.push(0);
        assert!(why("note", 2, &longer).contains("1 bytes follow"));
        assert!(why("moon_landed", 2, &[0xb2, 2, 0, 250]).contains("kind moon_landed"));
        assert!(why("note", 2, &frame[..frame.len() - 1]).contains("cannot be decoded"));
        assert!(
            matches!(decode_frame("note", 9, &frame), Body::Opaque { payload, .. } if payload == frame)
        );
    }

    #[test]
    fn a_hostile_length_is_refused_before_it_is_allocated() {
        // Variant of `note`, then a string of u64::MAX bytes.
        let index = u8::try_from(Event::KINDS.len() - 1).unwrap();
        for version in [1, 2] {
            let mut frame = vec![0xb2, version, 0, index, 253];
            frame.extend_from_slice(&u64::MAX.to_le_bytes());
            assert!(why("note", version.into(), &frame).contains("cannot be decoded"));
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused() {
        let error = encode_frame(&note(&"x".repeat(FRAME_BYTES_MAX))).unwrap_err();
        assert!(
            matches!(error, LogError::TooLarge { kind: "note", .. }),
            "{error}"
        );
        let fits = note(&"x".repeat(FRAME_BYTES_MAX - 16));
        assert_eq!(decode("note", 2, &encode_frame(&fits).unwrap()), Ok(fits));
    }

    /// A note as it might have been: lines instead of one text.
    #[test]
    fn an_old_layout_is_upcast_on_read() {
        fn read_lines(bytes: &[u8]) -> Result<Event, DecodeError> {
            let lines: Vec<String> = decode_exact(bytes)?;
            Ok(note(&lines.join("\n")))
        }
        let table = [
            Layout {
                version: 0,
                read: read_lines,
            },
            Layout { ..LAYOUTS[1] },
        ];
        let mut frame = vec![CODEC_BINCODE_2, 0, 0];
        let lines = bincode::serde::encode_to_vec(["a", "b"].as_slice(), CONFIG).unwrap();
        frame.extend(lines);
        assert_eq!(decode_with(&table, "note", 0, &frame), Ok(note("a\nb")));
        assert!(decode_with(&table, "boot_up", 0, &frame).is_err());
        assert!(why("note", 0, &frame).starts_with("version 0"));
        let today = encode_frame(&note("c")).unwrap();
        assert_eq!(decode_with(&table, "note", 2, &today), Ok(note("c")));
    }
}
