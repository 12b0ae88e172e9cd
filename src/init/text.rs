//! Words of the written file: strings and comments of TOML, names that the manifest allows.
//!
//! What comes from an application is hostile: a comment stays a comment, and nothing in the shape of a
//! credential is repeated.

use std::collections::BTreeSet;

use crate::domain::redact::Redactor;

/// Longest name that a manifest allows.
const NAME_CHARS_MAX: usize = 64;
/// Longest comment.
const COMMENT_BYTES_MAX: usize = 500;

/// A basic string of TOML.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of strings.
pub(super) fn quote_all<T: AsRef<str>>(texts: &[T]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quote(text.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

/// Text that may stand in a comment or a message: one line, bounded, without credentials and control
/// characters.
pub(super) fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Redactor::new(Vec::new()).clean(&line, COMMENT_BYTES_MAX)
}

/// Text in the shape of a credential, or a URL with a password.
pub(super) fn holds_credential(text: &str) -> bool {
    Redactor::new(Vec::new()).redact(text) != text
}

/// The name of a variable whose value is nobody's business.
pub(super) fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let parts: Vec<&str> = upper.split('_').collect();
    let ends = |word: &str| parts.last() == Some(&word);
    parts.iter().any(|part| {
        matches!(
            *part,
            "SECRET"
                | "SECRETS"
                | "PASSWORD"
                | "PASSWD"
                | "PASSPHRASE"
                | "PWD"
                | "CREDENTIAL"
                | "CREDENTIALS"
                | "APIKEY"
        )
    }) || ends("TOKEN")
        || (ends("KEY")
            && parts.iter().any(|part| {
                matches!(
                    *part,
                    "API"
                        | "PRIVATE"
                        | "ACCESS"
                        | "SIGNING"
                        | "ENCRYPTION"
                        | "FERNET"
                        | "AUTH"
                        | "JWT"
                )
            }))
        || ends("PASS")
        || upper == "PGPASSWORD"
}

/// A name that a manifest allows, as near to the text as can be.
pub(super) fn name_of(text: &str, otherwise: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .take(NAME_CHARS_MAX - 4)
        .collect();
    name = name
        .trim_start_matches(['.', '-'])
        .trim_end_matches('-')
        .to_owned();
    if name.is_empty() {
        otherwise.to_owned()
    } else {
        name
    }
}

/// The name, with a number behind it if it is taken; it is taken from now on.
pub(super) fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}-{number}");
        number += 1;
    }
    candidate
}

/// Whether the text can be the name of a variable in a manifest.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 4 * NAME_CHARS_MAX
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A duration as a manifest writes it.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0 => "0".to_owned(),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_manifest_allows() {
        assert_eq!(name_of("My App!", "x"), "My-App");
        assert_eq!(name_of("..", "x"), "x");
        assert_eq!(name_of("--a b", "x"), "a-b");
        assert_eq!(name_of("é", "x"), "x");
        assert_eq!(name_of(&"a".repeat(200), "x").len(), 60);
        let mut taken = BTreeSet::new();
        assert_eq!(unique("web".into(), &mut taken), "web");
        assert_eq!(unique("web".into(), &mut taken), "web-2");
        assert_eq!(unique("web".into(), &mut taken), "web-3");
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "SECRET_KEY",
            "DB_PASSWORD",
            "API_KEY",
            "GITHUB_TOKEN",
            "AWS_ACCESS_KEY",
            "jwt_secret",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "KEYBOARD",
            "TOKENIZER",
            "TOKEN_URL",
            "CACHE_KEY",
            "PORT",
            "PASSAGE",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_comment_cannot_be_left() {
        for text in ["a\nb = 1\r\n\u{1b}[31mred", "a\u{7}b", "\u{85}x\u{2028}y"] {
            let shown = plain(text);
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
        assert!(!plain("postgres://u:hunter22@h/d").contains("hunter22"));
        assert_eq!(quote("a\"\\\n\u{1}"), "\"a\\\"\\\\\\n\\u0001\"");
    }
}
