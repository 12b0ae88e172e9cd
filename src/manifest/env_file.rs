//! Reads environment files (`.env`) as python-dotenv reads them, with the two differences that most
//! other readers share: single quotes keep `${...}` as it is, and `\$` in double quotes is a dollar
//! sign.
//!
//! Pure: text in, assignments out. A line that is no assignment is reported by number and reason; no
//! message repeats any of its text, which may be a secret. The work is linear in the text, and what
//! variables put into each other is bounded.

use std::collections::BTreeMap;
use std::ops::Range;

use super::env::{EnvEntry, EnvFile};

/// Longest value after interpolation.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// All values of a file together, after interpolation.
const VALUES_BYTES_MAX: usize = 8 << 20;

/// One assignment, before interpolation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub name: String,
    pub value: RawEnvValue,
    /// 1-based line where it begins.
    pub line: u32,
    /// Bytes of the value with its quotes; where a value would stand, if there is none.
    pub span: Range<usize>,
}

/// A value without quotes and escapes, before interpolation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RawEnvValue {
    pub text: String,
    /// Whether `${...}` means something in it.
    pub interpolates: bool,
    /// Bytes where a dollar sign stands for itself.
    literal_dollars: Vec<usize>,
}

/// A line that is no assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MalformedLine {
    pub line: u32,
    pub why: &'static str,
    /// Byte where the line begins.
    pub start: usize,
}

/// Everything in a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ParsedEnvFile {
    pub assignments: Vec<Assignment>,
    pub malformed: Vec<MalformedLine>,
}

impl EnvFile {
    /// Reads the text of an environment file. `${NAME}` in it is looked up in `process`, then in what
    /// stands above it, then in `earlier`; without a value it is its default, or nothing.
    #[must_use]
    pub(crate) fn parse(
        text: &str,
        process: &BTreeMap<String, String>,
        earlier: &BTreeMap<String, String>,
    ) -> Self {
        let scan = scan(text);
        let mut file = Self {
            entries: Vec::with_capacity(scan.assignments.len()),
            malformed: scan
                .malformed
                .into_iter()
                .map(|bad| (bad.line, bad.why.to_owned()))
                .collect(),
            not_utf8: Vec::new(),
            has_mark: text.starts_with('\u{feff}'),
            docker_differs: Vec::new(),
        };
        // Index of the latest entry of each name.
        let mut above: BTreeMap<String, usize> = BTreeMap::new();
        let mut bytes_left = VALUES_BYTES_MAX;
        for assignment in scan.assignments {
            let value = assignment
                .value
                .resolve(bytes_left.min(VALUE_BYTES_MAX), |name| {
                    let in_file = || above.get(name).map(|index| &file.entries[*index].value);
                    let value = process.get(name).or_else(in_file);
                    value.or_else(|| earlier.get(name)).map(String::as_str)
                });
            let Some(value) = value else {
                let why = "the value grows too long as variables are put in";
                file.malformed.push((assignment.line, why.to_owned()));
                continue;
            };
            if let Some(why) = docker_difference(text, &assignment, &value) {
                file.docker_differs.push((assignment.line, why));
            }
            bytes_left -= value.len().min(bytes_left);
            above.insert(assignment.name.clone(), file.entries.len());
            file.entries.push(EnvEntry {
                name: assignment.name,
                value,
                line: assignment.line,
            });
        }
        file.malformed.sort_by_key(|(line, _)| *line);
        file
    }
}

impl RawEnvValue {
    /// Whether the value is its text, whatever the variables are.
    pub(super) fn is_literal(&self) -> bool {
        let mut changed = false;
        let resolved = self.resolve(usize::MAX, |_| {
            changed = true;
            None
        });
        !changed && resolved.as_deref() == Some(&self.text)
    }

    /// The value with variables put in, as python-dotenv does: `${NAME}` and `${NAME:-default}`,
    /// anything else stays. `None` if it grows past `bytes_max`.
    fn resolve<'v>(
        &self,
        bytes_max: usize,
        mut lookup: impl FnMut(&str) -> Option<&'v str>,
    ) -> Option<String> {
        let text = self.text.as_str();
        let mut value = String::with_capacity(text.len());
        let mut kept = 0;
        let mut at = 0;
        // The next `}` or `:`; remembered, so that many unclosed references cost no more than one.
        let mut stop = 0;
        while let Some(dollar) = text[at..].find("${").map(|found| at + found) {
            at = dollar + 2;
            if !self.interpolates || self.literal_dollars.binary_search(&dollar).is_ok() {
                continue;
            }
            if stop < at {
                let Some(next) = text[at..].find(['}', ':']) else {
                    break;
                };
                stop = at + next;
            }
            let name = &text[at..stop];
            let (default, end) = if text[stop..].starts_with('}') {
                (None, stop + 1)
            } else if text[stop..].starts_with(":-") {
                let Some(length) = text[stop..].find('}') else {
                    break;
                };
                (Some(&text[stop + 2..stop + length]), stop + length + 1)
            } else {
                continue;
            };
            value.push_str(&text[kept..dollar]);
            value.push_str(lookup(name).or(default).unwrap_or_default());
            if value.len() > bytes_max {
                return None;
            }
            kept = end;
            at = end;
        }
        value.push_str(&text[kept..]);
        (value.len() <= bytes_max).then_some(value)
    }
}

/// Finds every assignment and every malformed line.
pub(super) fn scan(text: &str) -> ParsedEnvFile {
    let mut scan = ParsedEnvFile::default();
    let mut cursor = Cursor {
        text,
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        line: 1,
    };
    loop {
        cursor.skip_while(char::is_whitespace);
        let (start, line) = (cursor.at, cursor.line);
        match cursor.peek() {
            None => return scan,
            Some('#') => cursor.skip_line(),
            Some(_) => match cursor.binding() {
                Ok((name, value, span)) => scan.assignments.push(Assignment {
                    name,
                    value,
                    line,
                    span,
                }),
                Err(why) => {
                    cursor.skip_line();
                    scan.malformed.push(MalformedLine { line, why, start });
                }
            },
        }
    }
}

/// What `docker run --env-file` reads differently in an assignment, if anything. It takes a line to the
/// letter: the name up to the first `=`, the value from there to the line's end, with all blanks, quotes and
/// dollar signs; a name with a blank in it is an error, and it knows no continued line
/// (docker/cli, pkg/kvfile/kvfile.go).
fn docker_difference(text: &str, assignment: &Assignment, value: &str) -> Option<&'static str> {
    let begin = assignment.span.start.min(text.len());
    let line_start = text[..begin].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let line = line.trim_start_matches('\u{feff}').trim_start();
    let (name, raw) = line.split_once('=').unwrap_or((line, ""));
    if name == assignment.name && raw == value {
        return None;
    }
    let quoted = text[assignment.span.clone()].starts_with(['\'', '"']);
    Some(if name != assignment.name && name.starts_with("export") {
        "`export`, which docker refuses; python-dotenv and ubs do not"
    } else if name != assignment.name {
        "blanks before the `=`, which docker refuses; python-dotenv and ubs do not"
    } else if quoted && text[assignment.span.clone()].contains(['\n', '\r']) {
        "a value over several lines, of which docker reads only the first; python-dotenv and ubs do not"
    } else if quoted {
        "quotes, which docker keeps as a part of the value; python-dotenv and ubs do not"
    } else if assignment.value.text != value {
        "a variable in the value, which docker does not put in; python-dotenv and ubs do"
    } else if value.is_empty() && raw.trim_start().starts_with('#') {
        "a comment in the place of a value, which docker and python-dotenv take for the value; ubs does not"
    } else {
        "a comment or blanks around the value, which docker keeps as a part of it; python-dotenv and ubs do not"
    })
}

struct Cursor<'t> {
    text: &'t str,
    at: usize,
    line: u32,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The next character, with each kind of line end as `\n`.
    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        match c {
            '\r' => {
                if self.peek() == Some('\n') {
                    self.at += 1;
                }
                self.line += 1;
                Some('\n')
            }
            '\n' => {
                self.line += 1;
                Some('\n')
            }
            _ => Some(c),
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|c| !is_line_end(c));
    }

    fn skip_blanks(&mut self) {
        self.skip_while(is_blank);
    }

    /// Name, value, and where the value stands.
    fn binding(&mut self) -> Result<(String, RawEnvValue, Range<usize>), &'static str> {
        if let Some(rest) = self.rest().strip_prefix("export")
            && rest.starts_with(is_blank)
        {
            self.at += "export".len();
            self.skip_blanks();
        }
        let begin = self.at;
        self.skip_while(|c| c != '=' && c != '#' && !c.is_whitespace());
        let name = &self.text[begin..self.at];
        self.skip_blanks();
        if self.peek() != Some('=') {
            return Err("there is no `=` behind the name");
        }
        if name.is_empty() {
            return Err("there is no name before the `=`");
        }
        if !is_name(name) {
            return Err(
                "the name has other characters than letters, digits, `_`, `.` and `-`, or begins with a digit",
            );
        }
        self.bump();
        let after_sign = self.at;
        self.skip_blanks();
        let begin = self.at;
        let value = match self.peek() {
            Some(quote @ ('\'' | '"')) => {
                let value = self.quoted(quote)?;
                let span = begin..self.at;
                self.skip_blanks();
                return match self.peek() {
                    None | Some('#' | '\r' | '\n') => {
                        self.skip_line();
                        Ok((name.to_owned(), value, span))
                    }
                    Some(_) => Err("there is text behind the closing quote"),
                };
            }
            // Behind a blank, `#` begins a comment.
            Some('#') if begin > after_sign => None,
            None | Some('\r' | '\n') => None,
            Some(_) => Some(self.unquoted()),
        };
        let span = match &value {
            Some(text) => begin..begin + text.len(),
            None => after_sign..after_sign,
        };
        self.skip_line();
        let value = RawEnvValue {
            text: value.unwrap_or_default().to_owned(),
            interpolates: true,
            literal_dollars: vec![],
        };
        Ok((name.to_owned(), value, span))
    }

    /// The rest of the line without its comment and the blanks around it.
    fn unquoted(&mut self) -> &'t str {
        let begin = self.at;
        self.skip_line();
        let line = &self.text[begin..self.at];
        let comment = line
            .match_indices('#')
            .map(|(at, _)| at)
            .find(|at| line[..*at].ends_with(is_blank));
        line[..comment.unwrap_or(line.len())].trim_end()
    }

    /// A quoted value, over several lines if need be. If it is not closed, the cursor stays.
    fn quoted(&mut self, quote: char) -> Result<RawEnvValue, &'static str> {
        let (at, line) = (self.at, self.line);
        let mut value = RawEnvValue {
            interpolates: quote == '"',
            ..RawEnvValue::default()
        };
        self.bump();
        loop {
            match self.bump() {
                None => {
                    (self.at, self.line) = (at, line);
                    return Err("the quote is never closed");
                }
                Some('\\') => match self.peek().and_then(|c| escape(c, quote)) {
                    Some(meant) => {
                        self.bump();
                        if meant == '$' {
                            value.literal_dollars.push(value.text.len());
                        }
                        value.text.push(meant);
                    }
                    None => value.text.push('\\'),
                },
                Some(c) if c == quote => return Ok(value),
                Some(c) => value.text.push(c),
            }
        }
    }
}

/// What a character behind a backslash means between these quotes; `None`: the backslash is one.
fn escape(c: char, quote: char) -> Option<char> {
    match (quote, c) {
        (_, '\\' | '\'') => Some(c),
        ('"', '"' | '$') => Some(c),
        ('"', 'a') => Some('\x07'),
        ('"', 'b') => Some('\x08'),
        ('"', 'f') => Some('\x0c'),
        ('"', 'n') => Some('\n'),
        ('"', 'r') => Some('\r'),
        ('"', 't') => Some('\t'),
        ('"', 'v') => Some('\x0b'),
        _ => None,
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && !is_line_end(c)
}

/// A name that an assignment may have: wider than what a shell takes, as other readers allow it.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests;
