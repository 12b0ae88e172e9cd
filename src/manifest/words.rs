//! Words of a manifest: names, identifiers, paths, and the right word nearest to a wrong one.

use std::path::{Component, Path};

use super::problem::{Fault, shown};

/// Longest name of an application, layer, service or schema: they become file names.
const NAME_CHARS_MAX: usize = 64;
/// Longer words are not compared with others: a mistyped name is short.
const COMPARED_CHARS_MAX: usize = 64;

/// The candidate that was probably meant, if one is near.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let length = word.chars().count();
    if length > COMPARED_CHARS_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    // One slip in three characters is a slip; more is another word.
    let distance_max = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARED_CHARS_MAX && *candidate != word)
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            *distance <= distance_max && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing.
pub(super) fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// `a`, `b` or `c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let near = did_you_mean(nearest(text, words.iter().copied()));
    Err(Fault::new(
        "not one of the words allowed here",
        format!("`{}` is not allowed here{near}", shown(text)),
        format!("write {}", alternatives(&words)),
    ))
}

/// A name that is safe as a file name and in a terminal.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let valid = !text.is_empty()
        && text.len() <= NAME_CHARS_MAX
        && !text.starts_with(['.', '-'])
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if valid {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(
            "not a name",
            format!("`{}` cannot be a name", shown(text)),
            format!(
                "use 1 to {NAME_CHARS_MAX} letters (A-Z, a-z), digits, `_`, `-` or `.`, beginning with none of `-` and `.`"
            ),
        ))
    }
}

/// Whether the text can be the name of a variable.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The name of an environment variable.
pub(super) fn variable_name(text: &str) -> Result<String, Fault> {
    if is_variable_name(text) && text.len() <= 4 * NAME_CHARS_MAX {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(
            "not a variable name",
            format!("`{}` cannot be the name of a variable", shown(text)),
            "use letters (A-Z, a-z), digits and `_`, not beginning with a digit",
        ))
    }
}

/// A dotted path of Python identifiers.
pub(crate) fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// A module to import.
pub(super) fn module(text: &str) -> Result<String, Fault> {
    if is_dotted(text) {
        return Ok(text.to_owned());
    }
    let dotted = text.trim_end_matches(".py").replace('/', ".");
    let help = if text.contains('/') && is_dotted(&dotted) {
        format!("write the module, not its file: `{}`", shown(&dotted))
    } else {
        "write it as in an import statement, for example `backend.models`".to_owned()
    };
    Err(Fault::new(
        "not a module",
        format!("`{}` cannot be the name of a module", shown(text)),
        help,
    ))
}

/// `module:attribute`.
pub(super) fn module_attribute(text: &str) -> Result<(String, String), Fault> {
    let wrong = |label: &str| {
        Fault::new(
            label,
            format!("`{}` is not of the form `module:attribute`", shown(text)),
            "write the module, a colon, and a name in it, for example `backend.main:app`",
        )
    };
    let (module, attribute) = text.split_once(':').ok_or_else(|| wrong("no colon"))?;
    if !is_dotted(module) {
        return Err(wrong("not a module before the colon"));
    }
    if !is_dotted(attribute) {
        return Err(wrong("not a name after the colon"));
    }
    Ok((module.to_owned(), attribute.to_owned()))
}

/// Whether a relative path, as written, never climbs out of where it begins.
fn stays_inside(path: &Path) -> bool {
    let mut depth = 0_usize;
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// A path inside the workspace.
pub(super) fn inside_path(text: &str) -> Result<String, Fault> {
    let text = plain_path(text)?;
    if Path::new(&text).is_absolute() {
        return Err(Fault::new(
            "absolute",
            format!("`{}` is an absolute path", shown(&text)),
            "write it relative to the directory of ubs.toml: only what lies in the workspace can be tried in a copy of it",
        ));
    }
    if !stays_inside(Path::new(&text)) {
        return Err(Fault::new(
            "leaves the workspace",
            format!("`{}` leaves the workspace", shown(&text)),
            "name a path below the directory of ubs.toml",
        ));
    }
    Ok(text)
}

/// A path inside the workspace, or an absolute one.
pub(super) fn inside_or_absolute_path(text: &str) -> Result<String, Fault> {
    let text = plain_path(text)?;
    if !Path::new(&text).is_absolute() && !stays_inside(Path::new(&text)) {
        return Err(Fault::new(
            "leaves the workspace",
            format!("`{}` leaves the workspace", shown(&text)),
            "name a path below the directory of ubs.toml, or write the absolute path if another place is meant",
        ));
    }
    Ok(text)
}

fn plain_path(text: &str) -> Result<String, Fault> {
    let why = if text.trim().is_empty() {
        "an empty path names no file"
    } else if text == "~" || text.starts_with("~/") {
        "`~` is not replaced by the home directory"
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new("not a path", why, "write the path itself"))
}

/// A pattern of names of files or of tables.
pub(super) fn glob_pattern(text: &str, help: &str) -> Result<String, Fault> {
    match glob::Pattern::new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        Ok(_) => Err(Fault::new("empty", "the pattern is empty", help)),
        Err(error) => Err(Fault::new(
            "not a pattern",
            format!("`{}` is not a pattern: {}", shown(text), error.msg),
            help,
        )),
    }
}
