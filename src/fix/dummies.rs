//! Dummies in the place of secrets, for a trial of code that nobody approved: it has no network, yet
//! what it prints comes back to whoever proposed it, and could be encoded so that no redactor knows it.
//!
//! A dummy has the length of the secret, and at each place a character of the same class, so that what
//! parses the one parses the other. What checks a signature, or decrypts, fails with it.

use std::collections::BTreeMap;
use std::path::Path;

use super::apply::ApplyError;
use crate::manifest::{EnvFile, Environment, Manifest, set_variable};

/// Shorter values are too common to be replaced wherever they stand.
const SECRET_BYTES_MIN: usize = 4;

/// Replaces every secret of `environment` in the environment files below `root`; gives the variables of
/// the process environment that have to be replaced too.
pub(super) fn replace_secrets(
    manifest: &Manifest,
    environment: &Environment,
    root: &Path,
) -> Result<BTreeMap<String, String>, ApplyError> {
    let mut secrets = environment.secret_values(manifest);
    secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut dummies = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let dummy = dummy_of(&secret)?;
        dummies.push((secret, dummy));
    }
    let replace = |text: &str| {
        dummies
            .iter()
            .fold(text.to_owned(), |text, (secret, dummy)| {
                text.replace(secret.as_str(), dummy)
            })
    };
    for name in &manifest.config.files {
        let path = root.join(name);
        // Only what lies in the copy: a file elsewhere is the live one, and so is what a link leads to.
        if !Path::new(name).is_relative() || !path.is_file() {
            continue;
        }
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        if !directory.is_some_and(|directory| directory.starts_with(root)) {
            return Err(ApplyError::Path {
                path: name.clone(),
                why: "it lies behind a symbolic link, so its secrets cannot be hidden from the trial",
            });
        }
        let io = |verb, source| ApplyError::Io {
            verb,
            path: name.clone(),
            source,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| io("read", error))?;
        let mut hidden = replace(&text);
        // A value may be written with escapes.
        let none = BTreeMap::new();
        for entry in EnvFile::parse(&hidden, &none, &none).entries {
            let dummy = replace(&entry.value);
            if dummy != entry.value {
                hidden = set_variable(&hidden, &entry.name, &dummy);
            }
        }
        if path.is_symlink() {
            std::fs::remove_file(&path).map_err(|error| io("replace", error))?;
        }
        std::fs::write(&path, hidden).map_err(|error| io("write", error))?;
    }
    Ok(environment
        .declared_env(manifest)
        .into_iter()
        .filter_map(|(name, value)| {
            let dummy = replace(&value);
            (dummy != value).then_some((name, dummy))
        })
        .collect())
}

fn dummy_of(secret: &str) -> Result<String, ApplyError> {
    let mut random = vec![0; secret.chars().count()];
    getrandom::fill(&mut random).map_err(|error| ApplyError::Random(error.to_string()))?;
    let of_class = |first: u8, count: u8, random: u8| char::from(first + random % count);
    let drawn = secret.chars().zip(random).map(|(c, random)| match c {
        '0'..='9' => of_class(b'0', 10, random),
        'a'..='f' => of_class(b'a', 6, random),
        'g'..='z' => of_class(b'g', 20, random),
        'A'..='F' => of_class(b'A', 6, random),
        'G'..='Z' => of_class(b'G', 20, random),
        c => c,
    });
    Ok(drawn.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dummy_has_the_shape_and_nothing_else_of_the_secret() {
        let secret = "sk-0123456789abcdefXYZ.PQ_é==";
        let dummy = dummy_of(secret).unwrap();
        assert_ne!(dummy, secret);
        assert_eq!(dummy.len(), secret.len());
        for (a, b) in dummy.chars().zip(secret.chars()) {
            assert_eq!(a.is_ascii_digit(), b.is_ascii_digit());
            assert_eq!(a.is_ascii_lowercase(), b.is_ascii_lowercase());
            assert_eq!(a.is_ascii_hexdigit(), b.is_ascii_hexdigit());
            assert_eq!(a.is_alphanumeric(), b.is_alphanumeric());
        }
    }
}
