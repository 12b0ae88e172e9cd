//! The environment that the application gets: process environment over environment files, with
//! the place where each value came from.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The environment of `ubs` itself.
    Process,
    /// An environment file, with the 1-based line.
    File(PathBuf, u32),
    /// `env` of this service in the manifest: only that service gets it.
    Service(String),
}

/// The variables of one application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Effective values with their origin.
    pub values: BTreeMap<String, (String, Origin)>,
    /// Environment files as they were read, in the order of the manifest: path relative to the
    /// workspace, and the parsed file (`None` if it does not exist).
    pub files: Vec<(String, Option<EnvFile>)>,
}

/// One environment file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EnvFile {
    /// Assignments in the order of the file.
    pub entries: Vec<EnvEntry>,
    /// Lines that are no assignment: 1-based line and what is wrong (never the value).
    pub malformed: Vec<(u32, String)>,
    /// Bytes that are no UTF-8, and the text for which they stand in Windows-1252: first the line.
    pub not_utf8: Vec<ForeignByte>,
    /// It begins with a byte-order mark.
    pub has_mark: bool,
    /// Lines that `docker run --env-file` would read differently: 1-based line and what is in it (never the
    /// value).
    pub docker_differs: Vec<(u32, &'static str)>,
}

/// A byte of a file that is no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignByte {
    /// 1-based.
    pub line: u32,
    /// Where it stands in the file.
    pub at: usize,
    /// As Windows-1252 has it, which is Latin-1 for letters.
    pub letter: char,
    /// A letter among letters of ASCII, as that is written in those encodings.
    pub is_in_a_word: bool,
}

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvEntry {
    /// Name.
    pub name: String,
    /// Value, unquoted and unescaped.
    pub value: String,
    /// 1-based line where the assignment begins.
    pub line: u32,
}
