//! Exact edits of environment files, each for a person to approve: what a file says may be meant, and a value may lead
//! to another system. No edit carries a value that may be a secret.

use std::ops::Range;
use std::path::Path;

use super::value::{is_connection, is_placeholder};
use crate::checks::context::CheckContext;
use crate::checks::edits::read_source;
use crate::domain::finding::Finding;
use crate::domain::ids::Digest;
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy, TextEdit};
use crate::manifest::{
    EnvEntry, EnvFile, ForeignByte, Origin, Var, VarKind, assignment_spans, set_variable,
    sounds_secret,
};

/// Shorter names have neighbours by chance.
const LETTERS_MIN: usize = 5;
/// Longer values have no near one.
const NEAR_BYTES_MAX: usize = 32;
/// Where an application shows which variables it reads.
pub(super) const EXAMPLE_FILES: [&str; 5] = [
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.dist",
    "env.example",
];

/// The finding with the edit, if there is one, for a person to approve.
pub(super) fn with_edit(finding: Finding, fix: Option<Remedy>, why: &str) -> Finding {
    match fix {
        Some(fix) => finding.fix(fix).fact(NEEDS_APPROVAL, why),
        None => finding,
    }
}

fn edit(file: &Path, text: &str, at: usize, length: usize, new: &str, what: String) -> Remedy {
    let file = file.display().to_string();
    Remedy::edit_text(&file, text, [(at..at + length, new.to_owned())], what)
}

/// The environment file that sets the variable once, its text, and where the value stands in it.
fn assigned<'o>(
    context: &CheckContext<'_>,
    name: &str,
    origin: &'o Origin,
) -> Option<(&'o Path, String, Range<usize>)> {
    let Origin::File(file, _) = origin else {
        return None;
    };
    let text = read_source(context.root, file.to_str()?)?;
    let (_, value) = assignment_spans(&text, name)?;
    Some((file, text, value))
}

/// In the value of `name`, which an environment file sets once, `from` at its beginning becomes `to`.
pub(super) fn replace_beginning(
    context: &CheckContext<'_>,
    name: &str,
    origin: &Origin,
    from: &str,
    to: &str,
) -> Option<Remedy> {
    let (file, text, value) = assigned(context, name, origin)?;
    let raw = &text[value.clone()];
    let inner = raw.trim_start_matches(['"', '\'']);
    let quotes = raw.len() - inner.len();
    (quotes <= 1 && inner.starts_with(from)).then(|| {
        let what = format!("write {to} instead of {from} in {name}");
        edit(file, &text, value.start + quotes, from.len(), to, what)
    })
}

/// In the value of `name`, which an environment file sets once, `from`, which it has once, becomes `to`.
pub(in crate::checks) fn replace_part(
    context: &CheckContext<'_>,
    name: &str,
    origin: &Origin,
    from: &str,
    to: &str,
) -> Option<Remedy> {
    let (file, text, value) = assigned(context, name, origin)?;
    let raw = &text[value.clone()];
    (raw.matches(from).count() == 1).then(|| {
        let what = format!("write {to} instead of {from} in {name}");
        let at = value.start + raw.find(from).unwrap_or_default();
        edit(file, &text, at, from.len(), to, what)
    })
}

/// The one allowed value that is one letter off: another case, a letter more, less or other, two that changed places.
pub(super) fn near_choice<'a>(var: &'a Var, value: &str) -> Option<&'a str> {
    if var.secret {
        return None;
    }
    let same_case: Vec<&String> = var
        .one_of
        .iter()
        .filter(|allowed| allowed.eq_ignore_ascii_case(value))
        .collect();
    if let [only] = same_case.as_slice() {
        return Some(only);
    }
    let near = var
        .one_of
        .iter()
        .filter(|allowed| allowed.len() >= 3 && strsim::osa_distance(allowed, value) == 1);
    let near: Vec<&String> = near.collect();
    match near.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

/// The one value of the variable's kind and range that is near: a letter that looks like a digit, one sign too many, a
/// word for true or false that is one letter off. Of two, neither is meant more than the other.
pub(super) fn near_of_kind(var: &Var, value: &str) -> Option<String> {
    if var.secret || value.len() > NEAR_BYTES_MAX {
        return None;
    }
    let holds = |text: &String| !text.is_empty() && var.check(text).is_ok();
    let is_one = |mut found: Vec<String>| {
        found.sort();
        found.dedup();
        match found.as_slice() {
            [_] => found.pop(),
            _ => None,
        }
    };
    match var.kind {
        VarKind::Bool => {
            const WORDS: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];
            let value = value.trim().to_lowercase();
            let near = |word: &&&str| strsim::osa_distance(word, &value) == 1;
            let near = WORDS.iter().filter(near).map(|word| (*word).to_owned());
            is_one(near.collect()).filter(|word| word.len() > 2 && holds(word))
        }
        VarKind::Int | VarKind::Float if var.kind.check(value).is_err() => {
            let like = |c: char| match c {
                'O' | 'o' => '0',
                'l' | 'I' => '1',
                c => c,
            };
            let has_digit = value.contains(|c: char| c.is_ascii_digit());
            let read: String = value.trim().chars().map(like).collect();
            let with_point = read.replacen(',', ".", 1);
            let is_comma = var.kind == VarKind::Float && value.matches(',').count() == 1;
            [read.clone()]
                .into_iter()
                .chain(is_comma.then_some(with_point))
                .find(|text| has_digit && holds(text))
                .or_else(|| {
                    let begin = read.strip_suffix(|c: char| !c.is_ascii_digit());
                    let end = read.strip_prefix(|c: char| !c.is_ascii_digit());
                    let found = [begin, end].into_iter().flatten().map(str::to_owned);
                    is_one(found.filter(holds).collect())
                })
        }
        VarKind::Int => {
            let value = value.trim();
            let shorter = value
                .char_indices()
                .map(|(at, c)| format!("{}{}", &value[..at], &value[at + c.len_utf8()..]));
            let is_plain = |text: &String| !text.starts_with('0') || text == "0";
            is_one(
                shorter
                    .filter(|text| is_plain(text) && holds(text))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// The edit that writes a file in UTF-8 whose letters are those of Latin-1 and Windows-1252, if nothing else can be
/// meant: each stands alone among signs of ASCII.
pub(super) fn write_utf8(
    context: &CheckContext<'_>,
    file: &str,
    parsed: &EnvFile,
) -> Option<Remedy> {
    let bytes = std::fs::read(context.root.join(file)).ok()?;
    let is_there = |one: &ForeignByte| bytes.get(one.at).is_some_and(|byte| !byte.is_ascii());
    if !parsed
        .not_utf8
        .iter()
        .all(|one| one.is_in_a_word && is_there(one))
    {
        return None;
    }
    let edits = parsed.not_utf8.iter().map(|one| TextEdit {
        offset: one.at as u64,
        length: 1,
        text: one.letter.to_string(),
    });
    Some(Remedy::EditText {
        file: file.to_owned(),
        before: Some(Digest::of(&bytes)),
        edits: edits.collect(),
        what: "write in UTF-8 the letters that are in Latin-1 (Windows-1252)".to_owned(),
    })
}

/// The edit that closes the open quote of the line which was to set this variable.
pub(super) fn close_quote_of(context: &CheckContext<'_>, name: &str) -> Option<Remedy> {
    let files = context.environment.files.iter();
    let files = files.filter_map(|(file, parsed)| Some((file, parsed.as_ref()?)));
    let mut lines =
        files.flat_map(|(file, parsed)| parsed.malformed.iter().map(move |m| (file, m.0)));
    lines.find_map(|(file, line)| {
        let text = read_source(context.root, file)?;
        let found = text
            .lines()
            .nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
        let (before, _) = found.split_once('=')?;
        let before = before.trim();
        let set = before.strip_prefix("export ").unwrap_or(before).trim();
        (set == name).then(|| close_quote(context, file, line))?
    })
}

/// The name that an environment file sets in the place of `name`: one letter off, declared nowhere and read by nobody.
pub(super) fn misspelt<'c>(
    context: &'c CheckContext<'_>,
    name: &str,
) -> Option<(&'c str, &'c EnvEntry)> {
    let config = &context.manifest.config;
    if config.files.is_empty() || name.len() < LETTERS_MIN {
        return None;
    }
    let is_near = |other: &str| {
        let number = |text: &str| text.ends_with(|c: char| c.is_ascii_digit());
        !number(name) && !number(other) && strsim::osa_distance(name, other) == 1
    };
    let is_read = |other: &str| {
        let mut reads = context.facts().env_reads.iter();
        reads.any(|read| read.name == other || read.aliases.iter().any(|alias| alias == other))
    };
    let of_files = context
        .environment
        .files
        .iter()
        .filter_map(|(file, parsed)| Some((file.as_str(), parsed.as_ref()?)));
    let entries = of_files.flat_map(|(file, parsed)| parsed.entries.iter().map(move |e| (file, e)));
    let mut near = entries.filter(|(_, entry)| {
        is_near(&entry.name) && !config.vars.contains_key(&entry.name) && !is_read(&entry.name)
    });
    match (near.next(), near.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// The edit that gives a misspelt variable its name.
pub(super) fn rename(
    context: &CheckContext<'_>,
    file: &str,
    from: &str,
    to: &str,
) -> Option<Remedy> {
    let text = read_source(context.root, file)?;
    let (name, _) = assignment_spans(&text, from)?;
    let what = format!("rename {from} to {to}");
    Some(edit(
        Path::new(file),
        &text,
        name.start,
        name.len(),
        to,
        what,
    ))
}

/// The edit that closes the quote of a value which ends with its line.
pub(super) fn close_quote(context: &CheckContext<'_>, file: &str, line: u32) -> Option<Remedy> {
    let text = read_source(context.root, file)?;
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let found = text.split_inclusive('\n').nth(index)?;
    let begin: usize = text.split_inclusive('\n').take(index).map(str::len).sum();
    let (name, value) = found.split_once('=')?;
    let value = value.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if value.matches(quote).count() != 1 || value.contains(['#', '\\']) {
        return None;
    }
    let what = format!("close the quote of {}", name.trim());
    let at = begin + found.trim_end().len();
    let quote = quote.to_string();
    Some(edit(Path::new(file), &text, at, 0, &quote, what))
}

/// An environment file has a line that is no assignment: it may be the one that was to set a variable.
pub(super) fn has_unread_line(context: &CheckContext<'_>) -> bool {
    let mut files = context.environment.files.iter();
    files.any(|(_, parsed)| {
        parsed
            .as_ref()
            .is_some_and(|file| !file.malformed.is_empty())
    })
}

/// The environment file that is missing beside its example, with what of the example cannot lead to another system and
/// cannot be a secret.
pub(super) fn from_example(
    context: &CheckContext<'_>,
    read: &dyn Fn(&str) -> Option<EnvFile>,
) -> Option<Remedy> {
    let config = &context.manifest.config;
    let files = &context.environment.files;
    let (file, _) = files.first()?;
    if files.iter().any(|(_, parsed)| parsed.is_some()) {
        return None;
    }
    let named = config.example.as_deref();
    let mut names = named.into_iter().chain(EXAMPLE_FILES);
    let (example_name, example) = names.find_map(|name| {
        let path = Path::new(name).file_name()?.to_str()?;
        // `.env.example` belongs to `.env`.
        let is_beside = Some(name) == named || path.trim_start_matches('.').starts_with("env");
        Some((name, read(name).filter(|_| is_beside)?))
    })?;
    let is_harmless = |entry: &&EnvEntry| {
        let declared = config.vars.get(&entry.name);
        !entry.value.is_empty()
            && declared.is_none_or(|var| !var.secret && var.check(&entry.value).is_ok())
            && !sounds_secret(&entry.name)
            && !is_connection(&entry.name, &entry.value)
            && !is_placeholder(&entry.value)
    };
    let harmless: Vec<&EnvEntry> = example.entries.iter().filter(is_harmless).collect();
    let text = harmless.iter().fold(String::new(), |text, entry| {
        set_variable(&text, &entry.name, &entry.value)
    });
    (!text.is_empty()).then(|| {
        let what = format!(
            "write the values of {example_name} that are no secret and lead to no other system"
        );
        Remedy::new_file(file, text, what)
    })
}
