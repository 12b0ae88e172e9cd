//! The declared checks: `[[check]]` of the manifest. A program in the sandbox that says what it found in one of the
//! usual formats, or one of the kinds that are built in.
//!
//! `answer` is what a check gives and `formats`, `junit` and `lines` how it is read, all pure; `program` runs one,
//! `builtin` and `certificate` are the kinds that need none, `check` puts them together.

mod answer;
mod builtin;
mod certificate;
mod check;
mod formats;
mod junit;
mod lines;
mod passed;
mod program;
#[cfg(test)]
mod tests;

pub(super) use certificate::ends_at;
pub(super) use check::check;
