//! What a variable's text must be: its kind, range, length, pattern and allowed values.
//!
//! Pure, and used twice: for defaults in the manifest, and by the config check for real values. No
//! message ever repeats the value, which may be a secret.

use super::measure::{DURATION_UNITS, duration_ms};
use super::types::{Var, VarKind};

/// Largest compiled pattern: a declared pattern is small.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Words for a boolean, as settings libraries of the Python world read them.
const TRUE_WORDS: [&str; 6] = ["true", "1", "yes", "on", "t", "y"];
const FALSE_WORDS: [&str; 6] = ["false", "0", "no", "off", "f", "n"];

impl Var {
    /// Whether `value` is what the declaration asks for.
    ///
    /// # Errors
    /// What is wrong, as it reads behind the variable's name (`is not a whole number`). It never
    /// repeats the value.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        if self.reject.iter().any(|rejected| rejected == value) {
            return Err("is a placeholder".to_owned());
        }
        self.kind.check(value)?;
        if let Some(number) = self.kind.number(value) {
            let unit = if self.kind == VarKind::Duration {
                " s"
            } else {
                ""
            };
            if let Some(min) = self.min.filter(|min| number < *min) {
                return Err(format!("is smaller than {min}{unit}"));
            }
            if let Some(max) = self.max.filter(|max| number > *max) {
                return Err(format!("is larger than {max}{unit}"));
            }
        }
        let length = value.chars().count();
        if let Some(min_length) = self.min_length.filter(|min| length < *min) {
            // How long a secret is helps who guesses it.
            return Err(if self.secret {
                format!("is too short: at least {min_length} characters are needed")
            } else {
                format!("has {length} characters, and at least {min_length} are needed")
            });
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|allowed| allowed == value) {
            return Err(format!("is not one of {}", self.one_of.join(", ")));
        }
        match &self.pattern {
            Some(pattern) => match compile(pattern) {
                Ok(regex) if regex.is_match(value) => Ok(()),
                Ok(_) => Err(format!("does not match the pattern {pattern}")),
                Err(why) => Err(format!("cannot be compared with its pattern: {why}")),
            },
            None => Ok(()),
        }
    }
}

/// A declared pattern.
pub(crate) fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
}

impl VarKind {
    /// Whether the text can be read as this kind.
    ///
    /// # Errors
    /// What is wrong, as it reads behind the variable's name.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        let (right, wrong) = match self {
            Self::String | Self::Enum => (true, ""),
            Self::Int => (text.trim().parse::<i128>().is_ok(), "is not a whole number"),
            Self::Float => (self.number(text).is_some(), "is not a number"),
            Self::Bool => (
                truth(text.trim()).is_some(),
                "is not a boolean (true, false, 1, 0, yes, no, on or off)",
            ),
            Self::Url => (is_url(text), "is not a URL (scheme://...)"),
            Self::Path => (
                !text.trim().is_empty() && !text.contains('\0'),
                "is not a path",
            ),
            Self::Duration => (
                self.number(text).is_some(),
                "is not a duration (for example 30s, 5m, or a number of seconds)",
            ),
        };
        if right { Ok(()) } else { Err(wrong.to_owned()) }
    }

    /// The number in the text; a duration in seconds. `None` for kinds that are no numbers.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // A bound is compared with it, nothing is computed.
    pub(crate) fn number(self, text: &str) -> Option<f64> {
        let text = text.trim();
        match self {
            Self::Int | Self::Float => finite(text),
            Self::Duration => duration_ms(text)
                .map(|ms| ms as f64 / 1000.0)
                .ok()
                .or_else(|| seconds(text)),
            _ => None,
        }
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A number of seconds, or a number with a fraction and a unit.
fn seconds(text: &str) -> Option<f64> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "" => 1000,
        _ => DURATION_UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    #[allow(clippy::cast_precision_loss)] // At most a day in milliseconds.
    finite(number).map(|number| number * unit_ms as f64 / 1000.0)
}

/// The boolean in the text.
fn truth(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&TRUE_WORDS) {
        Some(true)
    } else {
        is(&FALSE_WORDS).then_some(false)
    }
}

/// `scheme://` and something behind it (RFC 3986, section 3, as far as every application agrees).
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !rest.is_empty()
        && !rest.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let cases: [(VarKind, &[&str], &[&str]); 6] = [
            (VarKind::Int, &["1", "-5", "+7"], &["", "1.5", "x", "1_0"]),
            (
                VarKind::Float,
                &["1", "1.5", "-2e3"],
                &["", "nan", "inf", "x"],
            ),
            (
                VarKind::Bool,
                &["true", "FALSE", "1", "off"],
                &["", "maybe", "2"],
            ),
            (
                VarKind::Url,
                &[
                    "postgresql+psycopg://u:p@h/d",
                    "sqlite:///x.db",
                    "http://[::1]:80",
                ],
                &["", "x", "http://", "://x", "1a://x", "http://a b"],
            ),
            (VarKind::Path, &["/x", "a b"], &["", " ", "a\0"]),
            (
                VarKind::Duration,
                &["30s", "5", "0.5", "1h30m", "1.5s", " 2 "],
                &["", "x", "-1", "5 s"],
            ),
        ];
        for (kind, right, wrong) in cases {
            for text in right {
                assert_eq!(kind.check(text), Ok(()), "{kind:?} {text:?}");
            }
            for text in wrong {
                assert!(kind.check(text).is_err(), "{kind:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_declaration_is_held_and_never_repeats_the_value() {
        let var = Var {
            kind: VarKind::Int,
            min: Some(1024.0),
            max: Some(65535.0),
            reject: vec!["4242".into()],
            ..Var::default()
        };
        assert_eq!(var.check("8000"), Ok(()));
        for value in ["80", "70000", "4242", "s3cret"] {
            let why = var.check(value).unwrap_err();
            assert!(!why.contains(value), "{why}");
        }
        let var = Var {
            min_length: Some(4),
            pattern: Some("^[a-z]+$".into()),
            one_of: vec!["alpha".into(), "beta".into()],
            ..Var::default()
        };
        assert_eq!(var.check("alpha"), Ok(()));
        for value in ["abc", "ALPHA", "gamma"] {
            assert!(var.check(value).is_err());
        }
    }
}
