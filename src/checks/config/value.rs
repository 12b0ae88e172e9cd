//! What a secret must not look like: a placeholder, a pattern. Pure; what else a value must be is
//! `Var::check` of the manifest's room.

use std::collections::BTreeMap;

/// Secrets of at least that many characters are measured; shorter ones are a matter of `min_length`.
const ENTROPY_LENGTH_MIN: usize = 8;
/// Shannon entropy of a character below which a secret is a pattern, not a secret: `aaaaaaaa` has 0,
/// `abababab` 1, `hunter2hunter2` more than 2.
const ENTROPY_BITS_MIN: f64 = 1.5;

/// Values that stand where a secret should be, compared in lower case.
const PLACEHOLDERS: [&str; 28] = [
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
];
/// Beginnings of such values.
const PLACEHOLDER_STARTS: [&str; 12] = [
    "your-",
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
        || (value.starts_with("{{") && value.ends_with("}}"));
    repeats_x
        || in_brackets
        || PLACEHOLDERS.contains(&value.as_str())
        || PLACEHOLDER_STARTS
            .iter()
            .any(|start| value.starts_with(start))
        || value.ends_with("-here")
        || value.ends_with("_here")
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
}
