//! What is wrong with a manifest, and how it is shown: every problem of a file at once, in the order
//! of the file, each with its place and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// Problems of one file that are shown; the rest is counted.
pub(super) const PROBLEMS_SHOWN_MAX: usize = 20;
/// Characters of the manifest's own text that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// One mistake, not yet bound to its place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// A few words below the marked text.
    pub label: String,
    /// The whole sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    pub(super) fn new(
        label: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            label: label.into(),
            message: message.into(),
            help: help.into(),
        }
    }
}

/// One problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Line, 1-based.
    pub line: u32,
    /// Column in characters, 1-based.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    #[serde(skip)]
    label: String,
    #[serde(skip)]
    span: Range<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.help.as_ref()?))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.label.clone()), self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Stands behind the problems that are shown.
#[derive(Debug, thiserror::Error)]
#[error("and {0} more")]
struct More(usize);

impl Diagnostic for More {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("mend the ones above and try again"))
    }
}

/// The manifest is missing or bad.
///
/// `Display` is one line; as a [`Diagnostic`] it shows each problem with the line where it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// There is nothing that could be read.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
        /// What to do.
        help: String,
    },
    /// It was read, and it is not right.
    #[error(transparent)]
    Invalid(Box<InvalidManifest>),
}

impl ManifestError {
    /// The problems found in the file, in its order, at most 20. Empty if it could not be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid(invalid) => &invalid.problems,
        }
    }

    /// How many problems there are beyond [`ManifestError::problems`].
    #[must_use]
    pub fn problems_omitted(&self) -> usize {
        match self {
            Self::Unreadable { .. } => 0,
            Self::Invalid(invalid) => invalid.more.as_ref().map_or(0, |more| more.0),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } => path,
            Self::Invalid(invalid) => &invalid.path,
        }
    }
}

impl Diagnostic for ManifestError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            Self::Unreadable { help, .. } => Some(Box::new(help)),
            Self::Invalid(invalid) => invalid.problems.first()?.help(),
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Invalid(invalid) => Some(&invalid.source_text),
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.problems().first()?.labels()
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let Self::Invalid(invalid) = self else {
            return None;
        };
        let rest = invalid.problems.iter().skip(1);
        let rest = rest.map(|problem| problem as &dyn Diagnostic);
        let more = invalid.more.iter().map(|more| more as &dyn Diagnostic);
        (invalid.problems.len() > 1).then(|| Box::new(rest.chain(more)) as _)
    }
}

/// A manifest with problems.
#[derive(Debug)]
pub struct InvalidManifest {
    path: PathBuf,
    source_text: NamedSource<String>,
    /// At least one.
    problems: Vec<Problem>,
    more: Option<More>,
}

impl fmt::Display for InvalidManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(first) = self.problems.first() {
            write!(f, ":{}:{}: {}", first.line, first.column, first.message)?;
        }
        match self.problems.len() + self.more.as_ref().map_or(0, |more| more.0) {
            0 | 1 => Ok(()),
            2 => f.write_str(" (and 1 more problem)"),
            all => write!(f, " (and {} more problems)", all - 1),
        }
    }
}

impl std::error::Error for InvalidManifest {}

/// The error for these faults of `text`.
pub(super) fn invalid(
    path: &Path,
    text: &str,
    mut faults: Vec<(Range<usize>, Fault)>,
) -> ManifestError {
    faults.sort_by_key(|(span, _)| span.start);
    let omitted = faults.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    faults.truncate(PROBLEMS_SHOWN_MAX);
    let problems = faults
        .into_iter()
        .map(|(span, fault)| {
            let span = tidy_span(text, span);
            let (line, column) = position(text, span.start);
            Problem {
                line,
                column,
                message: fault.message,
                help: Some(fault.help).filter(|help| !help.is_empty()),
                label: fault.label,
                span,
            }
        })
        .collect();
    ManifestError::Invalid(Box::new(InvalidManifest {
        path: path.to_owned(),
        source_text: NamedSource::new(path.display().to_string(), displayable(text)),
        problems,
        more: (omitted > 0).then_some(More(omitted)),
    }))
}

/// 1-based line and column (in characters) of a byte.
pub(super) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
    (narrow(line), narrow(column))
}

/// Within the text, on character boundaries, and on one line: a mark over a whole block says nothing.
fn tidy_span(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
    let end = text[start..end]
        .find(['\r', '\n'])
        .map_or(end, |newline| start + newline);
    start..end
}

/// The text with control characters replaced byte for byte, so that it may be shown on a terminal and
/// spans still fit.
fn displayable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers_terminal(c) && !matches!(c, '\n' | '\r' | '\t') {
            shown.extend(std::iter::repeat_n('?', c.len_utf8()));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A control character, or one that turns the direction of the text around it.
pub(super) fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of the manifest as a message repeats it: short, on one line, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            if steers_terminal(c) {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            }
        })
        .collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
pub(super) mod tests;
