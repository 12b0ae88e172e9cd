//! Keeps secrets out of the log and control characters off the terminal.
//!
//! Pure. What is taken out: the values of variables marked secret, wherever they appear, and text in
//! the shape of a known credential (keys of well-known services, tokens, passwords in URLs, private
//! keys). A shape can be missed; a value that is declared secret cannot, as it is or in the encodings of
//! `encoded`. Somebody who wants to hide a value from us finds another one: that is what the sandbox is for.

mod encoded;

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::{Captures, Regex};

use encoded::{Escapes, LEVELS_MAX, Unescaped, encoded_forms};

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Shorter secret values are only taken out where they stand as a word of their own: `1` or `dev`
/// inside other words says nothing, and taking it out would make the text unreadable.
const VALUE_LENGTH_MIN: usize = 6;

/// Everything but the unreserved characters (RFC 3986, section 2.3), as URLs of a manifest have it.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

struct Shape {
    pattern: Regex,
    /// Groups 1 and 2, if there, are what stands around the secret and is kept.
    keeps_around: bool,
    /// `name = value`, which may be code that fetches a secret instead of holding one.
    assigns: bool,
}

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    [
        // A private key in PEM form; one that is cut off too.
        (
            r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
            false,
        ),
        // `scheme://user:password@host`: the password.
        (
            r"([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@'\x22]*:)[^\s/@'\x22]+(@)",
            true,
        ),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", false),
        (r"\bgh[pousr]_[A-Za-z0-9]{20,}\b", false),
        (r"\bgithub_pat_[A-Za-z0-9_]{20,}\b", false),
        (r"\bglpat-[A-Za-z0-9_-]{20,}", false),
        (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", false),
        (r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}\b", false),
        (r"\bsk-[A-Za-z0-9_-]{20,}", false),
        (r"\bAIza[0-9A-Za-z_-]{35}\b", false),
        (r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}", false),
        (r"\bpypi-[A-Za-z0-9_-]{30,}", false),
        (r"\bnpm_[A-Za-z0-9]{36}\b", false),
        // A JSON web token.
        (
            r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
            false,
        ),
        (
            r"((?i:\b(?:bearer|basic)\s+))[A-Za-z0-9+/._~-]{12,}=*()",
            true,
        ),
        // `password=...`, `api_key: "..."`: a name that says what its value is.
        (
            r#"((?i:\b[\w-]*(?:password|passwd|passphrase|secret|secret_key|api_?key|access_?key|auth_?token|access_?token|private_?key)['"]?\s*[=:]\s*['"]?))[^\s'",;&)\]}]{4,}()"#,
            true,
        ),
    ]
    .into_iter()
    .map(|(pattern, keeps_around)| Shape {
        pattern: Regex::new(pattern).expect("a constant pattern, compiled in a test"),
        keeps_around,
        assigns: pattern.contains("passphrase"),
    })
    .collect()
});

/// Takes secrets out of text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor {
    /// Values and their encodings, all at once; `None`: there are none.
    values: Option<AhoCorasick>,
    /// Values that go only where they stand as a word.
    words: Vec<String>,
    /// A value has a space, which `+` may stand for.
    spaces: bool,
}

impl Redactor {
    /// One that takes out these values, and what has the shape of a credential.
    #[must_use]
    pub(crate) fn new(values: Vec<String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for value in values {
            // A value over several lines is printed line by line.
            all.extend(
                value
                    .lines()
                    .map(str::trim)
                    .filter(|line| line.len() >= VALUE_LENGTH_MIN)
                    .map(str::to_owned),
            );
            all.extend(escaped_forms(&value));
            if value.len() >= VALUE_LENGTH_MIN && !value.trim().is_empty() {
                all.extend(encoded_forms(&value));
            }
            all.push(value);
        }
        all.retain(|value| !value.trim().is_empty());
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        let (values, words): (Vec<String>, Vec<String>) = all
            .into_iter()
            .partition(|value| value.len() >= VALUE_LENGTH_MIN);
        Self {
            spaces: values.iter().any(|value| value.contains(' ')),
            values: (!values.is_empty()).then(|| automaton(&values)),
            words,
        }
    }

    /// Where values stand in the text, in order and apart.
    fn found(&self, text: &str) -> Vec<(usize, usize)> {
        let Some(values) = &self.values else {
            return Vec::new();
        };
        let find = |in_text: &[u8]| {
            let found = values.find_overlapping_iter(in_text);
            found
                .map(|found| (found.start(), found.end()))
                .collect::<Vec<_>>()
        };
        let mut ranges = find(text.as_bytes());
        for escapes in Escapes::of(text.as_bytes(), self.spaces) {
            let mut unescaped = Unescaped::plain(text.as_bytes());
            for _ in 0..LEVELS_MAX {
                let Some(next) = unescaped.again(escapes) else {
                    break;
                };
                unescaped = next;
                let found = find(&unescaped.bytes).into_iter();
                ranges.extend(found.map(|(from, to)| unescaped.origin(from, to)));
            }
        }
        ranges.sort_unstable();
        let mut apart: Vec<(usize, usize)> = Vec::new();
        for (start, end) in ranges {
            match apart.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => apart.push((start, end)),
            }
        }
        apart
    }

    /// The text without secrets.
    #[must_use]
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut left = String::with_capacity(text.len());
        let mut at = 0;
        for (start, end) in self.found(text) {
            // A decoded piece may begin within a character's bytes.
            left.push_str(&text[at..text.floor_char_boundary(start).max(at)]);
            left.push_str(REDACTED);
            at = text.ceil_char_boundary(end);
        }
        left.push_str(&text[at..]);
        let mut text = left;
        for word in &self.words {
            text = replace_word(&text, word);
        }
        for shape in SHAPES.iter() {
            if !shape.pattern.is_match(&text) {
                continue;
            }
            text = shape
                .pattern
                .replace_all(&text, |found: &Captures<'_>| {
                    if let Some(whole) = found.get(0).filter(|_| shape.assigns) {
                        let value = &whole.as_str()[found.get(1).map_or(0, |name| name.len())..];
                        if is_code(value) {
                            return whole.as_str().to_owned();
                        }
                    }
                    let around = |group| match found.get(group) {
                        Some(kept) if shape.keeps_around => kept.as_str(),
                        _ => "",
                    };
                    format!("{}{REDACTED}{}", around(1), around(2))
                })
                .into_owned();
        }
        text
    }

    /// The text without secrets and without control characters, at most `bytes_max` bytes of it:
    /// what may go into the log.
    #[must_use]
    pub(crate) fn clean(&self, text: &str, bytes_max: usize) -> String {
        // Twice: escape sequences may stand in the middle of a secret, and a secret may hold what
        // is taken out as a control character. Cut last: half a secret would not be recognised.
        truncate(&self.redact(&sanitise(&self.redact(text))), bytes_max)
    }
}

/// Finds any of the values, also where one begins within another.
fn automaton(values: &[String]) -> AhoCorasick {
    AhoCorasick::new(values)
        .expect("fails beyond 2^31 bytes of patterns, which no environment holds")
}

/// The value as JSON, `repr` and a URL write it, as far as they write it otherwise.
fn escaped_forms(value: &str) -> Vec<String> {
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut forms = vec![
        json.trim_matches('"').to_owned(),
        value.replace('\\', "\\\\"),
        utf8_percent_encode(value, RESERVED).to_string(),
    ];
    forms.retain(|form| form != value && form.len() >= VALUE_LENGTH_MIN);
    forms
}

/// An expression (`os.environ["X"]`, `load()`) or a constant, not a value.
fn is_code(value: &str) -> bool {
    let constant = ["true", "false", "none", "null"];
    let name_end = value
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .unwrap_or(value.len());
    constant.contains(&value.to_ascii_lowercase().as_str())
        || name_end > 0 && value[name_end..].starts_with(['(', '[', '{'])
}

/// Cleans the lines of one stream: a private key over many lines goes as a whole.
#[derive(Debug, Default)]
pub(crate) struct LineRedactor {
    /// Lines of a key that were taken out so far.
    in_key: Option<u16>,
}

/// A private key has no more lines than this; without an end, what follows is shown again.
const KEY_LINES_MAX: u16 = 200;

impl LineRedactor {
    /// The line without secrets and control characters, at most `bytes_max` bytes of it.
    #[must_use]
    pub(crate) fn clean(&mut self, redactor: &Redactor, line: &str, bytes_max: usize) -> String {
        let is_edge = |edge: &str| line.contains(edge) && line.contains("PRIVATE KEY-----");
        match self.in_key {
            Some(_) if is_edge("-----END ") => self.in_key = None,
            Some(lines) if lines < KEY_LINES_MAX => self.in_key = Some(lines + 1),
            Some(_) => {
                self.in_key = None;
                return redactor.clean(line, bytes_max);
            }
            None if is_edge("-----BEGIN ") && !line.contains("-----END ") => {
                self.in_key = Some(0);
                return redactor.clean(line, bytes_max);
            }
            None => return redactor.clean(line, bytes_max),
        }
        REDACTED.to_owned()
    }
}

/// Replaces `word` where no letter, digit or `_` touches it.
fn replace_word(text: &str, word: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let touches = before
            .chars()
            .next_back()
            .or_else(|| replaced.chars().next_back())
            .is_some_and(is_word)
            || after.chars().next().is_some_and(is_word);
        replaced.push_str(before);
        replaced.push_str(if touches { word } else { REDACTED });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

/// At most `bytes_max` bytes of the text, with a mark where it was cut.
#[must_use]
pub(crate) fn truncate(text: &str, bytes_max: usize) -> String {
    const MARK: &str = " [...]";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

/// The text without what could steer a terminal: control characters but line feed and tab, escape
/// sequences, and characters that reverse or hide text (Unicode bidirectional controls).
#[must_use]
pub(crate) fn sanitise(text: &str) -> String {
    let hostile = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
    };
    if !text.contains(hostile) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            // CSI sequences go whole, so that `[31m` is not left behind (ECMA-48, 5.4).
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while let Some(&next) = chars.peek() {
                    if !('\u{20}'..='\u{7e}').contains(&next) {
                        break;
                    }
                    chars.next();
                    if ('\u{40}'..='\u{7e}').contains(&next) {
                        break;
                    }
                }
            }
            c if hostile(c) => clean.push('\u{fffd}'),
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn declared_values_go_wherever_they_are() {
        let redactor = Redactor::new(vec!["hunter2hunter2".into(), "abc".into()]);
        let text = redactor.redact("login hunter2hunter2 failed for xhunter2hunter2y; abc abcd");
        assert_eq!(
            text,
            "login [redacted] failed for x[redacted]y; [redacted] abcd"
        );
    }

    #[test]
    fn known_shapes_go_and_what_is_around_them_stays() {
        let redactor = Redactor::default();
        for (text, expected) in [
            (
                "postgresql://ann:s3cr3t@db/app",
                "postgresql://ann:[redacted]@db/app",
            ),
            ("key AKIAABCDEFGHIJKLMNOP used", "key [redacted] used"),
            (
                "Authorization: Bearer abcdefghijklmnop",
                "Authorization: Bearer [redacted]",
            ),
            (
                "connect(password='pa55word', user='ann')",
                "connect(password='[redacted]', user='ann')",
            ),
            (
                "sqlite:////srv/app.db is fine",
                "sqlite:////srv/app.db is fine",
            ),
        ] {
            assert_eq!(redactor.redact(text), expected);
        }
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
        assert_eq!(redactor.redact(pem), REDACTED);
    }

    #[test]
    fn a_secret_over_several_lines_goes_line_by_line() {
        let redactor = Redactor::new(vec!["first-line\nsecond-line".into()]);
        assert_eq!(
            redactor.redact("a first-line b\nc second-line"),
            "a [redacted] b\nc [redacted]"
        );
    }

    #[test]
    fn escapes_neither_hide_a_secret_nor_put_it_together_again() {
        let redactor = Redactor::new(vec!["supersecretvalue".into(), "p\"q\\te/long".into()]);
        assert_eq!(
            redactor.clean("a supersec\u{1b}[0mretvalue b", 100),
            "a [redacted] b"
        );
        for form in [r#"p\"q\\te/long"#, r#"p"q\\te/long"#, "p%22q%5Cte%2Flong"] {
            assert_eq!(
                redactor.redact(&format!("<{form}>")),
                "<[redacted]>",
                "{form}"
            );
        }
    }

    #[test]
    fn encodings_of_a_secret_go() {
        const SECRET: &str = "s3cr3t of/the+house&\u{e9}\"\u{1f511}";
        let redactor = Redactor::new(vec![SECRET.into()]);
        for (name, form) in [
            ("json.dumps", r#"s3cr3t of/the+house&\u00e9\"\ud83d\udd11"#),
            (
                "upper-case hex",
                r#"s3cr3t of/the+house&\u00E9\"\uD83D\uDD11"#,
            ),
            (
                "HTML-safe JSON",
                r#"s3cr3t of\/the\u002Bhouse\u0026\u00e9\u0022\ud83d\udd11"#,
            ),
            (
                "JSON in JSON",
                r#"s3cr3t of/the+house&\\u00e9\\\"\\ud83d\\udd11"#,
            ),
            ("ascii", r#"s3cr3t of/the+house&\xe9"\U0001f511"#),
            (
                "repr of bytes",
                r#"s3cr3t of/the+house&\xc3\xa9"\xf0\x9f\x94\x91"#,
            ),
            ("JavaScript", r#"\u{73}3cr3t of/the+house&\u{e9}"\u{1F511}"#),
            ("quote", "s3cr3t%20of/the%2Bhouse%26%C3%A9%22%F0%9F%94%91"),
            (
                "lower-case quote",
                "s3cr3t%20of%2fthe%2bhouse%26%c3%a9%22%f0%9f%94%91",
            ),
            (
                "quote_plus",
                "s3cr3t+of%2Fthe%2Bhouse%26%C3%A9%22%F0%9F%94%91",
            ),
            (
                "html.escape",
                "s3cr3t of/the+house&amp;\u{e9}&quot;\u{1f511}",
            ),
            (
                "numbers",
                "&#115;3cr3t of/the&#x2B;house&#38;&#xE9;&#34;&#128273;",
            ),
            (
                "mixed",
                r#"\u0073%33cr3t%20of/the+house&amp;%C3%A9\"\ud83d\udd11"#,
            ),
            ("reversed", "\u{1f511}\"\u{e9}&esuoh+eht/fo t3rc3s"),
        ] {
            assert_eq!(
                redactor.redact(&format!("<{form}>")),
                "<[redacted]>",
                "{name}"
            );
        }
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [hex.to_uppercase(), hex] {
            assert_eq!(redactor.redact(&format!("<{form}>")), "<[redacted]>");
        }
    }

    #[test]
    fn base64_and_base32_of_a_secret_go_at_every_alignment() {
        use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
        const SECRET: &str = "hunter2?hunter2>hunter2";
        let redactor = Redactor::new(vec![SECRET.into()]);
        for before in ["", "a", "ab", "abc", "user:"] {
            let text = format!("{before}{SECRET} and what follows");
            for form in [
                BASE64_STANDARD.encode(&text),
                BASE64_URL_SAFE_NO_PAD.encode(&text),
            ] {
                let left = redactor.redact(&form);
                // Of the characters at the edges, each holds bits of what is around the secret too.
                assert!(
                    left.contains(REDACTED) && left.len() < form.len() - 18,
                    "{before}: {left}"
                );
            }
        }
        // `base64.b32encode(b"--" + secret + b"!")`
        let form = "FUWWQ5LOORSXEMR7NB2W45DFOIZD42DVNZ2GK4RSEE======";
        assert!(
            redactor.redact(form).contains(REDACTED),
            "{}",
            redactor.redact(form)
        );
        assert!(redactor.redact(&form.to_lowercase()).contains(REDACTED));
        assert_eq!(
            redactor.redact("aHVudGVyMj9odW50ZXIyPmh1bnRlcjI="),
            "[redacted]="
        );
    }

    #[test]
    fn secrets_that_overlap_go_both_and_escapes_without_one_stay() {
        let redactor = Redactor::new(vec!["abcdefgh".into(), "efghijkl".into()]);
        assert_eq!(redactor.redact("<abcdefghijkl>"), "<[redacted]>");
        for text in [
            r"C:\users\new",
            "100%",
            "a&b &amp; c",
            r"\u12 %zz &#x; \",
            "é\\",
        ] {
            assert_eq!(redactor.redact(text), text);
        }
    }

    #[test]
    fn code_that_fetches_a_secret_is_no_secret() {
        let redactor = Redactor::default();
        for code in [
            "password = os.environ[\"DB_PASSWORD\"]",
            "api_key = load_key()",
            "secret = true",
        ] {
            assert_eq!(redactor.redact(code), code);
        }
        assert_eq!(
            redactor.redact("password = hunter2"),
            "password = [redacted]"
        );
    }

    #[test]
    fn a_private_key_goes_line_by_line() {
        let mut lines = LineRedactor::default();
        let redactor = Redactor::default();
        let said: Vec<String> = [
            "before",
            "-----BEGIN RSA PRIVATE KEY-----",
            "MIIEowIBAAKCAQEA",
            "-----END RSA PRIVATE KEY-----",
            "after",
        ]
        .iter()
        .map(|line| lines.clean(&redactor, line, 100))
        .collect();
        assert_eq!(said, ["before", REDACTED, REDACTED, REDACTED, "after"]);
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(
            sanitise("a\u{1b}[31mred\u{1b}[0m\r\nb\u{7}"),
            "ared\nb\u{fffd}"
        );
        assert_eq!(sanitise("x\u{202e}gpj.exe"), "x\u{fffd}gpj.exe");
    }

    #[test]
    fn cut_text_is_marked_and_whole() {
        assert_eq!(truncate("short", 10), "short");
        let cut = truncate(&"é".repeat(20), 11);
        assert!(cut.len() <= 11 && cut.ends_with("[...]"), "{cut}");
    }

    proptest! {
        #[test]
        fn no_declared_value_survives(
            secret in "[A-Za-z0-9!@#%^&*]{6,40}", before in ".{0,40}", after in ".{0,40}",
        ) {
            let redactor = Redactor::new(vec![secret.clone()]);
            let text = format!("{before}{secret}{after}");
            prop_assert!(!redactor.clean(&text, 4096).contains(&secret));
        }

        #[test]
        fn clean_text_has_no_controls_and_keeps_its_bound(text in "(?s).{0,200}", max in 8usize..64) {
            let clean = Redactor::default().clean(&text, max);
            prop_assert!(clean.len() <= max);
            prop_assert!(clean.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }
    }
}
