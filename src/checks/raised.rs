//! An exception of the application, as a probe program describes it: its text for signatures, its place
//! for people, its traceback in full. All of it is hostile text until it is cleaned here.

use serde::Deserialize;

use crate::domain::finding::Location;
use crate::domain::redact::Redactor;

/// Longest `type: message` of an exception, in bytes.
const EXCEPTION_BYTES_MAX: usize = 4096;
/// Where the probe programs cut a text, in characters.
const TEXT_CHARS_MAX: usize = 65_536;
/// No secret that is looked for is longer, in bytes: a private key of 8192 bits has some 6400.
const SECRET_BYTES_MAX: usize = 8 << 10;
/// Longest detail of a finding, in bytes.
pub(super) const DETAIL_BYTES_MAX: usize = 16 << 10;

/// An exception, as the prelude describes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raised {
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
    pub traceback: String,
    /// The application's own frames, outermost first.
    pub frames: Vec<TracebackFrame>,
    pub syntax: Option<Syntax>,
    /// `ImportError.name`.
    pub name: Option<String>,
    /// Names in the module that `name` means.
    pub names: Vec<String>,
    /// It failed only because the dry run may write nothing in the workspace.
    pub read_only: bool,
    /// It failed because a dry run can make no local socket.
    pub refused: bool,
    /// It failed because nobody answered over the network, which a dry run does not have.
    pub network: bool,
    /// A database driver says that a table or a column is not there.
    pub undefined: bool,
    /// What the system denied: `file`, by its mode, or `capability`.
    pub denied: String,
    /// A directory of the workspace that is not there, and in which a file was to be opened or made.
    pub directory: String,
    /// A file outside of the workspace that was to be opened or made in a directory that a dry run does not see.
    pub beyond: String,
    /// `DJANGO_SETTINGS_MODULE` when it was raised.
    pub settings: String,
    /// What was to be written, outside of the workspace, and is not there.
    pub unwritten: Vec<String>,
    /// Files of its frames that were imported before, by another name.
    pub twice: Vec<String>,
    /// The application's own module that hides another one: its name, its file, `standard` or `installed`.
    pub hides: Vec<String>,
    /// What pydantic says of each value: name, kind, message.
    pub fields: Vec<(String, String, String)>,
    /// The pydantic model.
    pub title: String,
    /// The module whose code raised it: the application's, a package's, the library's.
    pub raised_in: String,
    pub raised_line: u32,
    /// Modules whose code ran below the application's innermost frame, the innermost first; of a syntax error, first
    /// the module that has it.
    pub below: Vec<String>,
    /// One of them was being imported.
    pub importing: bool,
    /// The application's own code called what raised it.
    pub direct: bool,
    /// What led to it: its cause, what was being handled, the members of a group; the nearest first.
    pub chain: Vec<Link>,
}

/// An exception that led to another one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    /// `cause`, `context`, `member`.
    pub how: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
    /// The application's innermost frame of it.
    pub frame: Option<TracebackFrame>,
}

/// One frame of a traceback, in a file of the workspace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TracebackFrame {
    pub file: String,
    pub line: u32,
    pub function: String,
    pub code: String,
}

/// The place of a syntax error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Syntax {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// What a text begins with after these words, up to the next quote.
fn quoted_after<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    Some(text.strip_prefix(words)?.split_once('\'')?.0)
}

impl Raised {
    /// `type: message`, the same whichever check saw it: what a failure is signed by.
    pub(super) fn text(&self, redactor: &Redactor) -> String {
        let text = if self.message.is_empty() {
            self.kind.clone()
        } else {
            format!("{}: {}", self.kind, self.message)
        };
        redactor.clean(text.trim(), EXCEPTION_BYTES_MAX)
    }

    /// What a module does not have: `cannot import name 'x' from 'm'`.
    pub(super) fn lacking_name(&self) -> Option<&str> {
        quoted_after(&self.message, "cannot import name '")
    }

    /// The module that does not have something: `module 'm' has no attribute 'x'`.
    pub(super) fn lacking_module(&self) -> Option<&str> {
        quoted_after(&self.message, "module '")
    }

    /// The messages of the exception and of what led to it.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let chain = self.chain.iter().map(|link| link.message.as_str());
        std::iter::once(self.message.as_str()).chain(chain)
    }

    /// The first line of [`Self::text`], for a sentence.
    pub(super) fn line(&self, redactor: &Redactor) -> String {
        let text = self.text(redactor);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut line = lines.next().unwrap_or_default().to_owned();
        // A message that begins with an empty line.
        if line.ends_with(':')
            && let Some(next) = lines.next()
        {
            line = format!("{line} {next}");
        }
        crate::domain::redact::truncate(&line, 400)
    }

    /// Where it happened: the place of a syntax error, else the application's innermost frame.
    pub(super) fn location(&self, redactor: &Redactor) -> Option<Location> {
        if let Some(syntax) = self.syntax.as_ref().filter(|s| !s.file.is_empty()) {
            return Some(Location {
                file: redactor.clean(&syntax.file, 512),
                line: syntax.line,
                column: syntax.column,
            });
        }
        self.own_frame().map(|frame| Location {
            file: redactor.clean(&frame.file, 512),
            line: frame.line,
            column: 0,
        })
    }

    /// The application's innermost frame: of the exception, else of the nearest one that led to it.
    fn own_frame(&self) -> Option<&TracebackFrame> {
        self.frames
            .last()
            .or_else(|| self.chain.iter().find_map(|link| link.frame.as_ref()))
    }

    /// What it all began with, in a few words: `caused by KeyError: 'X' (settings.py:3)`.
    pub(super) fn root(&self, redactor: &Redactor) -> Option<String> {
        // What merely was being handled often says nothing: `KeyError` before `raise ValueError`.
        let members = self
            .chain
            .iter()
            .filter(|link| link.how == "member")
            .count();
        let root = if members > 0 {
            self.chain.iter().find(|link| link.how == "member")
        } else {
            self.chain.iter().rev().find(|link| link.how == "cause")
        }?;
        let place = root.frame.as_ref().map_or_else(String::new, |frame| {
            format!(" ({}:{})", frame.file, frame.line)
        });
        let line = root.message.lines().next().unwrap_or_default().trim();
        let (first, more) = match members {
            0 => ("caused by", String::new()),
            1 => ("which is", String::new()),
            _ => ("the first of them", format!("; {} more", members - 1)),
        };
        let text = format!("{first} {}: {line}{place}{more}", root.kind);
        Some(crate::domain::redact::truncate(
            &redactor.clean(&text, 4096),
            300,
        ))
    }

    /// The application's own frame, then the traceback; its end is kept, which says most.
    pub(super) fn detail(&self, redactor: &Redactor) -> String {
        let own = self.own_frame().map_or_else(String::new, |frame| {
            format!(
                "{}:{} in {}\n    {}\n\n",
                frame.file, frame.line, frame.function, frame.code
            )
        });
        let is_cut = self.traceback.chars().count() >= TEXT_CHARS_MAX;
        let text = format!("{own}{}", self.traceback);
        clip_middle(&clean_whole(redactor, &text, is_cut), DETAIL_BYTES_MAX)
    }
}

/// Clean text whose end is shown. If it was cut before it came here, its last secret may be half there
/// and not be recognised: the end goes.
pub(super) fn clean_whole(redactor: &Redactor, text: &str, is_cut: bool) -> String {
    let mut clean = redactor.clean(text, usize::MAX);
    if is_cut {
        let end = clean.floor_char_boundary(clean.len().saturating_sub(SECRET_BYTES_MAX));
        clean.truncate(end);
    }
    clean
}

/// At most `bytes_max` bytes: the beginning and, mostly, the end.
pub(super) fn clip_middle(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "\n[...]\n";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(bytes_max / 4);
    let tail = text.ceil_char_boundary(text.len() - (bytes_max - head - MARK.len()));
    format!("{}{MARK}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_secret_at_a_cut_is_not_shown() {
        let redactor = Redactor::new(vec!["s3cr3t-of-the-house".into()]);
        let raised = Raised {
            traceback: format!("{}s3cr3t-of-the", "x".repeat(TEXT_CHARS_MAX - 13)),
            ..Raised::default()
        };
        assert!(!raised.detail(&redactor).contains("s3cr3t"));
    }

    #[test]
    fn a_clipped_text_keeps_its_ends() {
        let text = format!("begin{}end", "é".repeat(100));
        let clipped = clip_middle(&text, 60);
        assert!(clipped.len() <= 60, "{}", clipped.len());
        assert!(clipped.starts_with("begin") && clipped.ends_with("end"));
        assert_eq!(clip_middle("short", 60), "short");
    }
}
