//! What a secret must not look like: a placeholder, a pattern. Pure; what else a value must be is
//! `Var::check` of the manifest's room.

use std::collections::BTreeMap;

/// Secrets of at least that many characters are measured; shorter ones are a matter of `min_length`.
const ENTROPY_LENGTH_MIN: usize = 8;
/// Shannon entropy of a character below which a secret is a pattern, not a secret: `aaaaaaaa` has 0,
/// `abababab` 1, `hunter2hunter2` more than 2.
const ENTROPY_BITS_MIN: f64 = 1.5;

/// A secret that is worth fewer bits is weak, if the manifest does not say. A judgement, not a standard: low,
/// because the estimate of a short random secret is low (twelve random letters are worth more than this), and
/// a false alarm is worse here than a miss.
pub(super) const BITS_MIN_DEFAULT: f64 = 40.0;
/// Characters that are looked at; far more than any secret needs.
const ESTIMATE_CHARS_MAX: usize = 4096;

/// Values that stand where a secret should be, compared in lower case.
const PLACEHOLDERS: &[&str] = &[
    "change-me",
    "changeme",
    "change_me",
    "change me",
    "changethis",
    "change-this",
    "change_this",
    "replace-me",
    "replaceme",
    "replace_me",
    "placeholder",
    "todo",
    "tbd",
    "fixme",
    "secret",
    "mysecret",
    "my-secret",
    "supersecret",
    "super-secret",
    "secretkey",
    "secret-key",
    "password",
    "passwd",
    "example",
    "default",
    "dummy",
    "none",
    "null",
    "n/a",
    "na",
    "empty",
    "unset",
    "not-set",
    "sample",
    "token",
    "key",
    "api-key",
    "api_key",
    "apikey",
    "insecure",
    "s3cr3t",
    "s3cret",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "password1",
    "password123",
    "foo",
    "bar",
    "foobar",
    "foobarbaz",
    "fix-me",
    "to-do",
    "notasecret",
    "not-a-secret",
];
/// Beginnings of such values.
const PLACEHOLDER_STARTS: &[&str] = &[
    "your-",
    "your.",
    "<your",
    "[your",
    "my-secret",
    "my_secret",
    "put-your",
    "put_your",
    "enter-your",
    "enter_your",
    "add-your",
    "add_your",
    "change this",
    "change-this",
    "changethis",
    "change_this",
    "replace me",
    "replace this",
    "todo",
    "fixme",
    "placeholder",
    "example_",
    "insecure-",
    "insecure_",
    // What Django writes into a new project: for development only.
    "django-insecure-",
    "dummy-",
    "dummy_",
    "123456",
    "012345",
    "xxxx",
    "your_",
    "your ",
    "changeme",
    "change-me",
    "change_me",
    "replace-me",
    "replace_me",
    "replace-with",
    "insert-",
    "insert_",
    "example-",
];

/// The value stands where a secret should be.
pub(super) fn is_placeholder(value: &str) -> bool {
    let value = value.trim().to_lowercase();
    let repeats_x = value.len() >= 3 && value.chars().all(|c| c == 'x' || c == '*' || c == '.');
    let in_brackets = (value.starts_with('<') && value.ends_with('>'))
        || (value.starts_with("{{") && value.ends_with("}}"))
        || (value.starts_with("${") && value.ends_with('}'));
    repeats_x
        || in_brackets
        || PLACEHOLDERS.contains(&value.as_str())
        || PLACEHOLDER_STARTS
            .iter()
            .any(|start| value.starts_with(start))
        || value.ends_with("-here")
        || value.ends_with("_here")
}

/// The variable leads to another system: a database, a broker, a server.
pub(super) fn is_connection(name: &str, value: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        "_URL",
        "_URI",
        "_DSN",
        "_HOST",
        "_HOSTNAME",
        "_SERVER",
        "_ENDPOINT",
        "_CONNECTION",
        "_ADDR",
    ];
    const NAMES: [&str; 6] = ["URL", "URI", "DSN", "HOST", "DATABASE", "BROKER"];
    let name = name.to_uppercase();
    value.contains("://")
        || NAMES.contains(&name.as_str())
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The value repeats a few characters: it is a pattern, not a secret.
pub(super) fn is_pattern(value: &str) -> bool {
    value.chars().count() >= ENTROPY_LENGTH_MIN && entropy_bits(value) < ENTROPY_BITS_MIN
}

/// Shannon entropy of a character, in bits, estimated from how often each one occurs.
fn entropy_bits(text: &str) -> f64 {
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    for c in text.chars() {
        *counts.entry(c).or_default() += 1.0;
    }
    let total: f64 = counts.values().sum();
    counts
        .values()
        .map(|n| {
            let share = n / total;
            -share * share.log2()
        })
        .sum()
}

/// How many bits of chance the value is worth, at most: the smaller one of two estimates, both of them from
/// above.
///
/// 1. Shannon entropy of a character times their number (C. E. Shannon, "A Mathematical Theory of
///    Communication", 1948): what occurs often says little.
/// 2. Each character is worth the logarithm of its alphabet, as if drawn at random (NIST SP 800-63-1,
///    appendix A.1), but one that continues a run (`abcd`, `1111`, `4321`) is worth one bit (after the
///    sequences of D. L. Wheeler, "zxcvbn", USENIX Security 2016).
///
/// A text that is repeated is worth what one piece of it is, and how often.
pub(super) fn estimated_bits(value: &str) -> f64 {
    let chars: Vec<char> = value.chars().take(ESTIMATE_CHARS_MAX).collect();
    if chars.is_empty() {
        return 0.0;
    }
    let period = period(&chars);
    let piece = &chars[..period];
    let text: String = piece.iter().collect();
    #[allow(clippy::cast_precision_loss)] // Small numbers.
    let (repeats, length) = ((chars.len() / period) as f64, piece.len() as f64);
    let alphabet = alphabet(piece).log2();
    let step = |pair: &[char]| i64::from(u32::from(pair[1])) - i64::from(u32::from(pair[0]));
    let drawn: f64 = alphabet
        + piece
            .windows(2)
            .map(|pair| if step(pair).abs() <= 1 { 1.0 } else { alphabet })
            .sum::<f64>();
    drawn.min(entropy_bits(&text) * length) + repeats.log2()
}

/// Length of the shortest piece that the text is a repetition of (the failure function of Knuth, Morris
/// and Pratt, 1977).
fn period(chars: &[char]) -> usize {
    let mut border = vec![0; chars.len()];
    let mut length = 0;
    for at in 1..chars.len() {
        while length > 0 && chars[at] != chars[length] {
            length = border[length - 1];
        }
        if chars[at] == chars[length] {
            length += 1;
        }
        border[at] = length;
    }
    let period = chars.len() - border.last().copied().unwrap_or_default();
    if chars.len().is_multiple_of(period) {
        period
    } else {
        chars.len()
    }
}

/// Whether a character belongs to a class.
type CharClass = fn(&char) -> bool;

/// Size of the smallest usual alphabet that has all these characters.
fn alphabet(chars: &[char]) -> f64 {
    let has = |class: fn(&char) -> bool| chars.iter().any(class);
    let is_hexadecimal = |c: &char| c.is_ascii_digit() || ('a'..='f').contains(c);
    if chars.iter().all(is_hexadecimal)
        && has(char::is_ascii_digit)
        && has(char::is_ascii_alphabetic)
    {
        return 16.0;
    }
    let classes: [(CharClass, f64); 5] = [
        (char::is_ascii_digit, 10.0),
        (char::is_ascii_lowercase, 26.0),
        (char::is_ascii_uppercase, 26.0),
        (|c| c.is_ascii() && !c.is_ascii_alphanumeric(), 33.0),
        (|c| !c.is_ascii(), 100.0),
    ];
    let sizes = classes.iter().filter(|(class, _)| has(*class));
    sizes.map(|(_, size)| size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_tells_patterns_from_secrets() {
        for weak in ["aaaaaaaaaaaa", "abababab", "11111112"] {
            assert!(is_pattern(weak), "{weak}");
        }
        for strong in [
            "hunter2hunter2",
            "f3a9c1d07be24856",
            "correct horse",
            "12345678",
        ] {
            assert!(!is_pattern(strong), "{strong}");
        }
    }

    #[test]
    fn the_bits_of_a_secret_are_estimated_from_above() {
        for weak in [
            "",
            "a",
            "hunter2",
            "hunter2hunter2hunter2",
            "abcdefghijklmnopqrstuvwxyz",
            "00000000000000000000000000000001",
            "9876543210987654321098765432",
            "postgres",
            "83625194",
        ] {
            assert!(
                estimated_bits(weak) < BITS_MIN_DEFAULT,
                "{weak}: {}",
                estimated_bits(weak)
            );
        }
        for strong in [
            "f3a9c1d07be24856",
            "mZq8Rk2vLx7T",
            "correct horse battery staple",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert!(
                estimated_bits(strong) >= BITS_MIN_DEFAULT,
                "{strong}: {}",
                estimated_bits(strong)
            );
        }
        // Never more than drawing from the alphabet gives.
        assert!(estimated_bits("9f86d081884c7d65") <= 64.0);
        assert!((estimated_bits("abab") - 3.0).abs() < 1e-9);
    }

    #[test]
    fn placeholders_of_the_field_are_known_and_real_secrets_are_not() {
        for placeholder in [
            "change-me",
            "CHANGEME",
            "xxx",
            "XXXXXXXX",
            "your-secret-here",
            "<secret>",
            "{{ secret }}",
            "TODO",
            "example",
            "secret",
            "password",
            "django-insecure-abc$%1",
            "12345678",
            "1234567890",
            "${SECRET}",
        ] {
            assert!(is_placeholder(placeholder), "{placeholder}");
        }
        for real in [
            "f3a9c1d07be24856",
            "mZq8Rk2vLx7T",
            "tokenized-9f2a",
            "secretary-bird-71-Kx",
        ] {
            assert!(!is_placeholder(real), "{real}");
        }
    }
}
