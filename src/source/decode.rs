//! The text of a source file as Python reads it: byte order mark, PEP 263 cookie, UTF-8 otherwise.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// Why there is no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoText {
    /// Python refuses the file too: byte offset of the place, and what is wrong.
    Refused(usize, String),
    /// Python may know better.
    Unknown(String),
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The text, without byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, NoText> {
    let (has_bom, text) = match bytes.strip_prefix(BOM) {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    if let Some(at) = memchr(0, text) {
        return Err(NoText::Refused(
            at,
            "source code cannot contain null bytes".to_owned(),
        ));
    }
    let Some(cookie) = cookie(text) else {
        return utf8(text);
    };
    let name = cookie.to_ascii_lowercase().replace('_', "-");
    if name == "utf-8" || name == "utf8" || name.starts_with("utf-8-") {
        return utf8(text);
    }
    if has_bom {
        let why = format!("encoding problem: {cookie} with a byte order mark of UTF-8");
        return Err(NoText::Refused(0, why));
    }
    match name.as_str() {
        // Byte for byte the first 256 characters; the label means windows-1252 on the web.
        "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "iso-latin-1" | "l1" | "8859" => Ok(
            Cow::Owned(text.iter().map(|byte| char::from(*byte)).collect()),
        ),
        "ascii" | "us-ascii" | "646" => match text.iter().position(|byte| !byte.is_ascii()) {
            Some(at) => Err(NoText::Refused(
                at,
                "the file is declared ASCII and is not".to_owned(),
            )),
            None => utf8(text),
        },
        _ => other(text, cookie, &name),
    }
}

fn other<'a>(text: &'a [u8], cookie: &str, name: &str) -> Result<Cow<'a, str>, NoText> {
    let label = match name {
        // As Python calls them.
        "mac-roman" => "macintosh",
        "sjis" | "shift-jis" | "shiftjis" | "cp932" | "ms932" => "shift_jis",
        "cp949" | "uhc" => "euc-kr",
        "cp936" | "936" => "gbk",
        "cp950" => "big5",
        "cp65001" => "utf-8",
        name => name,
    };
    let codec = Encoding::for_label(label.as_bytes())
        .filter(|codec| codec.is_ascii_compatible())
        .ok_or_else(|| NoText::Unknown(format!("unknown encoding {cookie}")))?;
    codec
        .decode_without_bom_handling_and_without_replacement(text)
        .ok_or_else(|| NoText::Unknown(format!("the file is not what it says, {cookie}")))
}

fn utf8(text: &[u8]) -> Result<Cow<'_, str>, NoText> {
    std::str::from_utf8(text)
        .map(Cow::Borrowed)
        .map_err(|error| {
            let why = "the file is not UTF-8, and declares no other encoding".to_owned();
            NoText::Refused(error.valid_up_to(), why)
        })
}

fn memchr(byte: u8, text: &[u8]) -> Option<usize> {
    text.iter().position(|other| *other == byte)
}

/// `# -*- coding: NAME -*-` in the first line, or in the second after a comment (PEP 263).
fn cookie(text: &[u8]) -> Option<&str> {
    for line in text.split(|byte| *byte == b'\n').take(2) {
        let start = line
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\x0c' | b'\r'));
        match start.and_then(|at| line.get(at..)) {
            None => {}
            Some(comment) if comment.starts_with(b"#") => {
                if let Some(name) = named_in(comment) {
                    return Some(name);
                }
            }
            Some(_) => return None,
        }
    }
    None
}

fn named_in(comment: &[u8]) -> Option<&str> {
    let mut from = 0;
    while let Some(found) = comment
        .get(from..)?
        .windows(6)
        .position(|window| window == b"coding")
    {
        from += found + 6;
        let rest = comment.get(from..)?;
        let Some((b':' | b'=', rest)) = rest.split_first() else {
            continue;
        };
        let skipped = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t'))
            .unwrap_or(rest.len());
        let name = rest.get(skipped..)?;
        let end = name
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')))
            .unwrap_or(name.len());
        let name = name.get(..end)?;
        if !name.is_empty() {
            return std::str::from_utf8(name).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        decode(bytes).unwrap().into_owned()
    }

    #[test]
    fn the_encodings_that_python_reads() {
        assert_eq!(text(b"\xef\xbb\xbfx = 1"), "x = 1");
        assert_eq!(text("x = 'ä'".as_bytes()), "x = 'ä'");
        assert_eq!(
            text(b"# coding: latin-1\n'\xe4\x80'"),
            "# coding: latin-1\n'ä\u{80}'"
        );
        assert_eq!(
            text(b"#!x\n# vim: set fileencoding=cp1251 :\n'\xe4'")
                .chars()
                .last(),
            Some('\'')
        );
        assert!(text(b"#!x\n# vim: set fileencoding=cp1251 :\n'\xe4'").contains('д'));
        assert!(text(b"# coding: shift_jis\n'\x82\xa0'").contains('あ'));
        // The second line counts only after a comment, a third never.
        assert!(decode(b"x = 1\n# coding: latin-1\n'\xe4'").is_err());
        assert!(decode(b"\n\n# coding: latin-1\n'\xe4'").is_err());
        assert_eq!(
            text(b"\n# coding: latin-1\n'\xe4'"),
            "\n# coding: latin-1\n'ä'"
        );
    }

    #[test]
    fn what_python_refuses_is_refused_and_the_unknown_is_said() {
        assert!(matches!(decode(b"x\n'\xff'"), Err(NoText::Refused(3, _))));
        assert!(matches!(decode(b"x\0"), Err(NoText::Refused(1, _))));
        assert!(matches!(
            decode(b"# coding: ascii\n\xe4"),
            Err(NoText::Refused(16, _))
        ));
        assert!(matches!(
            decode(b"\xef\xbb\xbf# coding: latin-1"),
            Err(NoText::Refused(..))
        ));
        assert_eq!(
            decode(b"# coding: koi9\n"),
            Err(NoText::Unknown("unknown encoding koi9".into()))
        );
        assert!(matches!(
            decode(b"# coding: utf-16\n"),
            Err(NoText::Unknown(_))
        ));
    }
}
