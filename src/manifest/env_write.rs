//! Sets one variable in the text of an environment file and keeps everything else byte for byte.
//!
//! What was written is read again before it is given back: the value has to be exactly the one that
//! was asked for, and every other line has to mean what it meant.

use std::ops::Range;

use super::env_file::{Assignment, ParsedEnvFile, is_name, scan};

/// The text of an environment file with this variable set.
///
/// The value of the last assignment of `name`, which is the one that counts, is replaced; without one,
/// a line is added at the end. Comments, order, line ends, `export` and everything else stay. The value
/// is quoted where it has to be, so that reading the file gives exactly `value`.
///
/// The text comes back unchanged if it cannot be done: `name` is no name, `value` contains NUL, or a
/// quote that is never closed makes every way to write the value mean something else.
#[must_use]
pub(crate) fn set_variable(text: &str, name: &str, value: &str) -> String {
    let before = scan(text);
    let last = before.assignments.iter().rposition(|a| a.name == name);
    let is_set = |index: usize| means(&before.assignments[index], name, value);
    if !is_name(name) || value.contains('\0') || last.is_some_and(is_set) {
        return text.to_owned();
    }
    let alone = last.is_none_or(|index| {
        let behind = &text[before.assignments[index].span.end..];
        let line_end = behind.find(['\r', '\n']).unwrap_or(behind.len());
        behind[..line_end].trim().is_empty()
    });
    let ways = ways_to_write(value, alone);
    let written = ways.iter().find_map(|way| {
        let (after, index) = match last {
            Some(index) => {
                let span = &before.assignments[index].span;
                let after = format!("{}{way}{}", &text[..span.start], &text[span.end..]);
                (after, index)
            }
            None => (append(text, name, way), before.assignments.len()),
        };
        holds(&before, &after, index, last, name, value).then_some(after)
    });
    let written = written.or_else(|| {
        // Behind a quote that is never closed, any quote closes it: write before it.
        let start = before.malformed.first()?.start;
        let line_start = text[..start].rfind(['\r', '\n']).map_or(0, |end| end + 1);
        let line_start = line_start.max(if text.starts_with('\u{feff}') { 3 } else { 0 });
        let index = before
            .assignments
            .partition_point(|assignment| assignment.span.end <= line_start);
        ways.iter().filter(|_| last.is_none()).find_map(|way| {
            let (head, tail) = text.split_at(line_start);
            let after = format!("{head}{name}={way}{}{tail}", line_end(text));
            holds(&before, &after, index, last, name, value).then_some(after)
        })
    });
    written.unwrap_or_else(|| text.to_owned())
}

/// Bytes of the name and of the value, with its quotes, of the only assignment of `name`.
#[must_use]
pub(crate) fn assignment_spans(text: &str, name: &str) -> Option<(Range<usize>, Range<usize>)> {
    let parsed = scan(text);
    let mut named = parsed.assignments.iter().filter(|a| a.name == name);
    let (Some(only), None) = (named.next(), named.next()) else {
        return None;
    };
    let line_start = text[..only.span.start].rfind('\n').map_or(0, |end| end + 1);
    let start = line_start + text[line_start..only.span.start].rfind(name)?;
    Some((start..start + name.len(), only.span.clone()))
}

/// The ways to write a value, best first.
fn ways_to_write(value: &str, alone: bool) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=\\-".contains(c);
    let mut ways = Vec::new();
    // An empty value before a comment would be the comment for some readers.
    if value.chars().all(plain) && (alone || !value.is_empty()) {
        ways.push(value.to_owned());
    }
    // Several lines in one, unless a reader could see a variable in it.
    if value.contains(['\n', '\r']) && !value.contains('$') {
        ways.push(double_quoted(value));
    }
    if !value.contains('\r') {
        let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
        ways.push(format!("'{escaped}'"));
    }
    ways.push(double_quoted(value));
    ways
}

fn double_quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn append(text: &str, name: &str, way: &str) -> String {
    let end = line_end(text);
    let unfinished = !text.is_empty() && text != "\u{feff}" && !text.ends_with(['\r', '\n']);
    let gap = if unfinished { end } else { "" };
    format!("{text}{gap}{name}={way}{end}")
}

/// How lines end in this text.
fn line_end(text: &str) -> &'static str {
    match text.find(['\r', '\n']) {
        Some(at) if text[at..].starts_with("\r\n") => "\r\n",
        Some(at) if text[at..].starts_with('\r') => "\r",
        _ => "\n",
    }
}

fn means(assignment: &Assignment, name: &str, value: &str) -> bool {
    assignment.name == name && assignment.value.text == value && assignment.value.is_literal()
}

/// Whether `after` has the variable at `index`, and apart from it what `before` has.
fn holds(
    before: &ParsedEnvFile,
    after: &str,
    index: usize,
    replaced: Option<usize>,
    name: &str,
    value: &str,
) -> bool {
    let after = scan(after);
    let is_set = after
        .assignments
        .get(index)
        .is_some_and(|assignment| means(assignment, name, value));
    let without = |scan: &ParsedEnvFile, index: Option<usize>| -> Vec<Assignment> {
        let others = scan.assignments.iter().enumerate();
        let others = others.filter(|(at, _)| Some(*at) != index);
        // Lines and bytes move; what counts is what is said.
        let said = |(_, assignment): (usize, &Assignment)| Assignment {
            line: 0,
            span: 0..0,
            ..assignment.clone()
        };
        others.map(said).collect()
    };
    let faults = |scan: &ParsedEnvFile| -> Vec<&'static str> {
        scan.malformed
            .iter()
            .map(|malformed| malformed.why)
            .collect()
    };
    is_set
        && without(before, replaced) == without(&after, Some(index))
        && faults(before) == faults(&after)
}
