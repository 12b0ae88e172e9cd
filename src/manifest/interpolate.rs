//! `${NAME}`, `${NAME:-default}` and `$$` in values of the manifest.
//!
//! A value that is put in is not looked at again, so there is no recursion. A lone `$` and `$NAME`
//! stay as they are.

use super::problem::{Fault, shown};
use super::words::is_variable_name;

/// Longest text after variables were put in: far more than an argument or a variable may have.
pub(super) const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    Variable {
        name: &'t str,
        default: Option<&'t str>,
    },
}

/// Something after `${` that is no reference to a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadReference {
    /// `${` without `}`, at this byte.
    Unterminated(usize),
    /// Something else than a name between the braces.
    NoName(String),
}

impl BadReference {
    /// What is wrong, and what to do.
    pub(super) fn explain(&self) -> (String, &'static str) {
        const HELP: &str =
            "write ${NAME} or ${NAME:-default}; for a dollar sign before a brace, write $${";
        match self {
            Self::Unterminated(_) => ("`${` is never closed by `}`".to_owned(), HELP),
            Self::NoName(inside) => (format!("`${{{inside}}}` names no variable"), HELP),
        }
    }
}

/// The parts of a text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BadReference> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    while let Some(dollar) = text[at..].find('$').map(|found| at + found) {
        let after = &text[dollar + 1..];
        if after.starts_with('$') {
            // The text up to and with the first of the two.
            pieces.push(Piece::Text(&text[begin..=dollar]));
            at = dollar + 2;
            begin = at;
        } else if let Some(inside) = after.strip_prefix('{') {
            pieces.push(Piece::Text(&text[begin..dollar]));
            let end = inside.find('}').ok_or(BadReference::Unterminated(dollar))?;
            let inside = &inside[..end];
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            if !is_variable_name(name) {
                return Err(BadReference::NoName(shown(inside)));
            }
            pieces.push(Piece::Variable { name, default });
            at = dollar + 2 + end + 1;
            begin = at;
        } else {
            at = dollar + 1;
        }
    }
    pieces.push(Piece::Text(&text[begin..]));
    Ok(pieces)
}

/// Refuses a text with a broken reference.
pub(super) fn require_sound(text: &str) -> Result<(), Fault> {
    pieces(text).map(drop).map_err(|bad| {
        let (message, help) = bad.explain();
        Fault::new("not a reference to a variable", message, help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_text() {
        let variable = |name, default| Piece::Variable { name, default };
        let of = |text| {
            let mut found = pieces(text).unwrap();
            found.retain(|piece| *piece != Piece::Text(""));
            found
        };
        assert_eq!(of("a$b $ $"), [Piece::Text("a$b $ $")]);
        assert_eq!(of("$$"), [Piece::Text("$")]);
        assert_eq!(of("$${A}"), [Piece::Text("$"), Piece::Text("{A}")]);
        assert_eq!(
            of("x${A}${B:-c:-d}y"),
            [
                Piece::Text("x"),
                variable("A", None),
                variable("B", Some("c:-d")),
                Piece::Text("y")
            ]
        );
        assert_eq!(of("${A:-}"), [variable("A", Some(""))]);
        assert_eq!(pieces("ü${A"), Err(BadReference::Unterminated(2)));
        for text in ["${}", "${1A}", "${A-b}", "${A:?b}", "${ A }", "${A${B}}"] {
            assert!(
                matches!(pieces(text), Err(BadReference::NoName(_))),
                "{text}"
            );
        }
    }
}
