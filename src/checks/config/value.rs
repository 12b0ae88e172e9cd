//! One value against its declaration. Pure; what it says never contains the value.

use std::collections::BTreeMap;

use crate::checks::count;
use crate::manifest::{Var, VarKind};

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

/// Why the value is not what the declaration says; never says the value.
pub(super) fn invalid(var: &Var, value: &str) -> Option<String> {
    let measured = match var.kind {
        VarKind::Int => match value.trim().parse::<i128>() {
            // Numbers as large as that are compared well enough as floating point.
            #[allow(clippy::cast_precision_loss)]
            Ok(number) => Some((number as f64, "")),
            Err(_) => return Some("is no whole number".to_owned()),
        },
        VarKind::Float => match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Some((number, "")),
            _ => return Some("is no number".to_owned()),
        },
        VarKind::Duration => match parse_duration_s(value) {
            Some(seconds) => Some((seconds, " s")),
            None => return Some("is no duration such as 90, 30s or 5m".to_owned()),
        },
        VarKind::Bool => {
            let known = [
                "true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n",
            ];
            if !known.contains(&value.trim().to_lowercase().as_str()) {
                return Some("is neither true nor false".to_owned());
            }
            None
        }
        VarKind::Url => {
            if !is_url(value) {
                return Some("is no URL such as scheme://host/path".to_owned());
            }
            None
        }
        VarKind::Path => {
            if value.contains('\0') {
                return Some("is no path".to_owned());
            }
            None
        }
        VarKind::String | VarKind::Enum => None,
    };
    if let Some((number, unit)) = measured {
        if let Some(min) = var.min.filter(|min| number < *min) {
            return Some(format!("is less than {min}{unit}"));
        }
        if let Some(max) = var.max.filter(|max| number > *max) {
            return Some(format!("is more than {max}{unit}"));
        }
    }
    if !var.one_of.is_empty() && !var.one_of.iter().any(|allowed| allowed == value) {
        return Some(format!("is none of {}", var.one_of.join(", ")));
    }
    let length = value.chars().count();
    if let Some(min) = var.min_length.filter(|min| length < *min) {
        return Some(format!(
            "has {}, and must have at least {min}",
            count(length, "character")
        ));
    }
    let pattern = var.pattern.as_deref()?;
    match regex::Regex::new(pattern) {
        Ok(regex) if regex.is_match(value) => None,
        Ok(_) => Some(format!("does not match the pattern {pattern}")),
        Err(_) => Some(format!("cannot be compared: {pattern} is no pattern")),
    }
}

/// `scheme:` and something behind it, RFC 3986, section 3.
fn is_url(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && rest.starts_with("//")
        && !value.contains(char::is_whitespace)
}

/// Seconds: a bare number, or a number with `ms`, `s`, `m`, `h` or `d`.
fn parse_duration_s(value: &str) -> Option<f64> {
    let value = value.trim();
    let split = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(number * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_their_kind_says() {
        let kind = |kind| Var {
            kind,
            ..Var::default()
        };
        let range = |kind, min: f64, max: f64| Var {
            kind,
            min: Some(min),
            max: Some(max),
            ..Var::default()
        };
        let one_of = Var {
            kind: VarKind::Enum,
            one_of: vec!["dev".into(), "prod".into()],
            ..Var::default()
        };
        let shaped = Var {
            pattern: Some("^[a-z]+$".into()),
            min_length: Some(3),
            ..Var::default()
        };
        for (var, value, fails) in [
            (kind(VarKind::Int), "42", ""),
            (kind(VarKind::Int), " -1 ", ""),
            (kind(VarKind::Int), "4.2", "no whole number"),
            (range(VarKind::Int, 1.0, 65_535.0), "0", "less than 1"),
            (
                range(VarKind::Int, 1.0, 65_535.0),
                "65536",
                "more than 65535",
            ),
            (kind(VarKind::Float), "1e3", ""),
            (kind(VarKind::Float), "NaN", "no number"),
            (kind(VarKind::Bool), "Yes", ""),
            (kind(VarKind::Bool), "maybe", "neither true nor false"),
            (kind(VarKind::Url), "sqlite:///app.db", ""),
            (kind(VarKind::Url), "postgresql+psycopg://a@b/c?d=e", ""),
            (kind(VarKind::Url), "app.db", "no URL"),
            (kind(VarKind::Url), "http://a b", "no URL"),
            (kind(VarKind::Path), "/srv/x y", ""),
            (kind(VarKind::Duration), "1.5h", ""),
            (
                range(VarKind::Duration, 1.0, 60.0),
                "500ms",
                "less than 1 s",
            ),
            (range(VarKind::Duration, 1.0, 60.0), "2m", "more than 60 s"),
            (kind(VarKind::Duration), "soon", "no duration"),
            (one_of.clone(), "prod", ""),
            (one_of, "Prod", "none of dev, prod"),
            (shaped.clone(), "abc", ""),
            (
                shaped.clone(),
                "ab",
                "2 characters, and must have at least 3",
            ),
            (shaped, "ABC", "does not match the pattern"),
        ] {
            let why = invalid(&var, value);
            if fails.is_empty() {
                assert_eq!(why, None, "{value} as {:?}", var.kind);
            } else {
                let why = why.unwrap_or_else(|| panic!("{value} passed as {:?}", var.kind));
                assert!(why.contains(fails), "{why}");
            }
        }
    }

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
