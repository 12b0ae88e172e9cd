//! Secrets in other clothes: the encodings that programs write by themselves, and those that undo simply.
//!
//! Encodings that depend on the value alone (base64, base32, hexadecimal, reversed) become patterns to look for.
//! Escapes may be mixed at will (`\u0070assw%6Frd`), so text is looked at again with its escapes undone, and what is
//! found there is taken out where it came from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A longer value (a whole key file) is looked for line by line; its encodings would be patterns of megabytes.
const ENCODED_BYTES_MAX: usize = 4 << 10;

/// Text is unescaped so often: JSON in JSON, a URL in JSON.
pub(super) const LEVELS_MAX: usize = 3;

/// Base64, base32, hexadecimal and reversed forms of the value, wherever in a longer text it was encoded.
pub(super) fn encoded_forms(value: &str) -> Vec<String> {
    if value.len() > ENCODED_BYTES_MAX {
        return Vec::new();
    }
    let mut forms = Vec::new();
    for before in 0..3 {
        let form = aligned(value, before, 6, |bytes| STANDARD_NO_PAD.encode(bytes));
        forms.push(form.replace('+', "-").replace('/', "_"));
        forms.push(form);
    }
    for before in 0..5 {
        let form = aligned(value, before, 5, base32);
        forms.push(form.to_ascii_lowercase());
        forms.push(form);
    }
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.to_uppercase());
    forms.push(hex);
    forms.push(value.chars().rev().collect());
    // The last character holds bits of the value too where nothing follows it.
    forms.push(STANDARD_NO_PAD.encode(value));
    forms.push(base32(value.as_bytes()));
    forms
}

/// The characters of an encoding of `bits` a character that the value alone decides, with `before` bytes before it.
fn aligned(value: &str, before: usize, bits: usize, encode: impl Fn(&[u8]) -> String) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value.as_bytes());
    let encoded = encode(&bytes);
    let from = (before * 8).div_ceil(bits);
    let to = bytes.len() * 8 / bits;
    encoded.get(from..to).unwrap_or_default().to_owned()
}

/// RFC 4648, section 6, without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let mut padded = [0u8; 8];
        padded[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(padded);
        for at in 0..(group.len() * 8).div_ceil(5) {
            let index = (bits >> (35 - 5 * at)) & 31;
            text.push(char::from(ALPHABET[usize::try_from(index).unwrap_or(0)]));
        }
    }
    text
}

/// Which escapes are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Escapes {
    backslash: bool,
    percent: bool,
    html: bool,
    /// `+` is a space, as in forms (`quote_plus`).
    plus: bool,
    /// `\xe9` is a byte (of bytes), not a character (of text).
    bytes: bool,
}

impl Escapes {
    /// The ways to read the escapes that the text may hold; none for most texts.
    pub(super) fn of(text: &[u8], spaces: bool) -> Vec<Self> {
        let (mut backslash, mut percent, mut html, mut plus) = (false, false, false, false);
        for byte in text {
            match byte {
                b'\\' => backslash = true,
                b'%' => percent = true,
                b'&' => html = true,
                b'+' => plus = spaces,
                _ => {}
            }
        }
        let none = Self {
            backslash: false,
            percent: false,
            html: false,
            plus: false,
            bytes: false,
        };
        let mut ways = vec![
            Self {
                backslash,
                percent,
                html,
                ..none
            },
            Self { backslash, ..none },
            Self { percent, ..none },
            Self { html, ..none },
            Self {
                percent,
                plus,
                ..none
            },
            Self {
                backslash,
                percent,
                html,
                plus,
                bytes: false,
            },
            Self {
                backslash,
                percent,
                html,
                plus: false,
                bytes: backslash,
            },
        ];
        ways.retain(|way| *way != none);
        let mut different: Vec<Self> = Vec::new();
        for way in ways {
            if !different.contains(&way) {
                different.push(way);
            }
        }
        different
    }
}

/// Text with its escapes undone, and where each byte came from.
pub(super) struct Unescaped {
    pub(super) bytes: Vec<u8>,
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Unescaped {
    /// The text itself.
    pub(super) fn plain(text: &[u8]) -> Self {
        Self {
            bytes: text.to_owned(),
            starts: (0..text.len()).collect(),
            ends: (1..=text.len()).collect(),
        }
    }

    /// Where in the first text this piece came from.
    pub(super) fn origin(&self, from: usize, to: usize) -> (usize, usize) {
        let start = self.starts.get(from).copied().unwrap_or(0);
        let end = to
            .checked_sub(1)
            .and_then(|last| self.ends.get(last))
            .copied();
        (start, end.unwrap_or(start))
    }

    /// Undoes one level of escapes; `None`: there were none.
    pub(super) fn again(&self, escapes: Escapes) -> Option<Self> {
        let mut next = Self {
            bytes: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
        };
        let (mut at, mut is_changed) = (0, false);
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let (length, bytes) = match unescape(rest, escapes) {
                Some((length, bytes)) => {
                    is_changed = true;
                    (length, bytes)
                }
                None => (1, vec![rest[0]]),
            };
            let (start, end) = self.origin(at, at + length);
            for byte in bytes {
                next.bytes.push(byte);
                next.starts.push(start);
                next.ends.push(end);
            }
            at += length;
        }
        is_changed.then_some(next)
    }
}

/// The escape that the text begins with: its length, and what it stands for.
fn unescape(text: &[u8], escapes: Escapes) -> Option<(usize, Vec<u8>)> {
    match text[0] {
        b'\\' if escapes.backslash => backslash(text, escapes.bytes),
        b'%' if escapes.percent => {
            let byte = u8::try_from(number(text.get(1..3)?, 16)?).ok()?;
            Some((3, vec![byte]))
        }
        b'+' if escapes.plus => Some((1, vec![b' '])),
        b'&' if escapes.html => entity(text),
        _ => None,
    }
}

/// As JSON, JavaScript, Python and shells write it.
fn backslash(text: &[u8], is_bytes: bool) -> Option<(usize, Vec<u8>)> {
    let plain = |byte: u8| Some((2, vec![byte]));
    match text.get(1)? {
        b'n' => plain(b'\n'),
        b't' => plain(b'\t'),
        b'r' => plain(b'\r'),
        b'b' => plain(8),
        b'f' => plain(12),
        byte @ (b'\\' | b'"' | b'\'' | b'/' | b'`' | b'$' | b' ') => plain(*byte),
        b'x' => {
            let code = number(text.get(2..4)?, 16)?;
            if is_bytes {
                Some((4, vec![u8::try_from(code).ok()?]))
            } else {
                character(4, code)
            }
        }
        b'u' if text.get(2) == Some(&b'{') => {
            let end = text.iter().take(12).position(|byte| *byte == b'}')?;
            character(end + 1, number(&text[3..end], 16)?)
        }
        b'u' => {
            let code = number(text.get(2..6)?, 16)?;
            let low = || {
                let more = text.get(6..12).filter(|more| more.starts_with(b"\\u"))?;
                let low = number(&more[2..], 16)?;
                (0xdc00..0xe000).contains(&low).then(|| low - 0xdc00)
            };
            match (code, low()) {
                (0xd800..0xdc00, Some(low)) => {
                    character(12, 0x1_0000 + ((code - 0xd800) << 10) + low)
                }
                _ => character(6, code),
            }
        }
        b'U' => character(10, number(text.get(2..10)?, 16)?),
        b'0'..=b'3' => {
            let code = number(text.get(1..4)?, 8)?;
            character(4, code)
        }
        _ => None,
    }
}

/// `&#97;`, `&#x61;` and the five names that every writer uses.
fn entity(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    const NAMES: [(&[u8], u8); 5] = [
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
    ];
    if let Some((name, byte)) = NAMES.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((name.len(), vec![*byte]));
    }
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let code = match text.get(..3)? {
        [b'&', b'#', b'x' | b'X'] => number(text.get(3..end)?, 16)?,
        [b'&', b'#', _] => number(text.get(2..end)?, 10)?,
        _ => return None,
    };
    character(end + 1, code)
}

fn character(length: usize, code: u32) -> Option<(usize, Vec<u8>)> {
    let character = char::from_u32(code)?;
    Some((length, character.to_string().into_bytes()))
}

/// Digits only: no sign, no blank.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.iter().all(|d| char::from(*d).is_digit(radix));
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    u32::from_str_radix(text, radix).ok()
}
