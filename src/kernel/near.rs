//! What lies beside a path that is not there, one letter off: a path that was misspelt rather than never made.

use std::fs;
use std::path::{Path, PathBuf};

/// Shorter names have neighbours by chance.
const LETTERS_MIN: usize = 4;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 1_000;

/// The one path with content that `missing` may have meant: its first part that is not there is one letter off from a
/// neighbour, below which the rest is there.
#[must_use]
pub(crate) fn near_path(missing: &Path) -> Option<PathBuf> {
    let is_there = |path: &&Path| fs::symlink_metadata(path).is_ok();
    let parent = missing.ancestors().skip(1).find(is_there)?;
    let below = missing.strip_prefix(parent).ok()?;
    let mut parts = below.components();
    let wrong = parts.next()?.as_os_str().to_str()?;
    let rest = parts.as_path();
    if is_there(&missing) {
        return None;
    }
    let entries = fs::read_dir(parent).ok()?.flatten().take(ENTRIES_MAX);
    let mut found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let path = match rest.as_os_str().is_empty() {
            true => entry.path(),
            false => entry.path().join(rest),
        };
        (is_near(wrong, &name) && has_content(&path)).then_some(path)
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// Another digit, or being hidden, means something else.
fn is_near(wrong: &str, name: &str) -> bool {
    let digits = |name: &str| -> String { name.chars().filter(char::is_ascii_digit).collect() };
    wrong.chars().count().max(name.chars().count()) >= LETTERS_MIN
        && strsim::osa_distance(wrong, name) == 1
        && digits(wrong) == digits(name)
        && wrong.starts_with('.') == name.starts_with('.')
}

fn has_content(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        Ok(about) => about.is_file() && about.len() > 0,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_neighbour_with_content_is_near_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let near = |path: &str| near_path(&root.path().join(path));
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        make("data/store.db");
        make("var/uploads/one.txt");
        make("shard1/x");
        make("tm/x");
        fs::create_dir(root.path().join("cache")).unwrap();
        let at = |path: &str| Some(root.path().join(path));
        assert_eq!(near("dta/store.db"), at("data/store.db"));
        assert_eq!(near("data/stor.db"), at("data/store.db"));
        assert_eq!(near("var/upload"), at("var/uploads"));
        for none in [
            "dta/other.db",
            "data/store.db",
            "shard2",
            "cach",
            "tmp",
            ".data",
            "var/up",
        ] {
            assert_eq!(near(none), None, "{none}");
        }
        make("dtas/store.db");
        assert_eq!(near("dta/store.db"), None);
    }
}
