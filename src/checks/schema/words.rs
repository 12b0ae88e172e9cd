//! SQL taken apart into words, and two texts compared by them: case, blanks, brackets around all of it
//! and quotes that change nothing are no difference. Pure.

use super::model::Dialect;

/// One word of SQL and where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'t> {
    pub text: &'t str,
    pub begin: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name without quotes.
    Bare,
    /// A name in quotes of any kind.
    Quoted,
    Literal,
    Number,
    Sign,
}

impl<'t> Word<'t> {
    /// Whether it is this keyword, given in capitals.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Bare && self.text.eq_ignore_ascii_case(keyword)
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    pub(super) fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Bare | Kind::Quoted)
    }

    /// The name that it means.
    pub(super) fn name(&self) -> String {
        if self.kind != Kind::Quoted || self.text.len() < 2 {
            return self.text.to_owned();
        }
        let inner = &self.text[1..self.text.len() - 1];
        match self.text.as_bytes()[0] {
            b'"' => inner.replace("\"\"", "\""),
            b'`' => inner.replace("``", "`"),
            _ => inner.to_owned(),
        }
    }

    pub(super) fn end(&self) -> usize {
        self.begin + self.text.len()
    }
}

/// Signs of more than one character, the longest first.
const SIGNS: [&str; 24] = [
    "!~~*", "->>", "#>>", "!~~", "!~*", "~~*", "||", "::", "<>", "!=", "<=", ">=", "==", "->",
    "#>", "!~", "~~", "~*", "@>", "<@", "&&", "@@", "<<", ">>",
];

/// All words of a text; comments are none. What does not end (a string, a comment) goes to the end.
pub(super) fn words(dialect: Dialect, text: &str) -> Vec<Word<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&first) = bytes.get(at) {
        let rest = &text[at..];
        let (length, kind) = match first {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if rest.starts_with("--") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with("/*") => {
                at += rest[2..].find("*/").map_or(rest.len(), |end| end + 4);
                continue;
            }
            b'\'' => (quoted(rest, '\''), Kind::Literal),
            b'"' => (quoted(rest, '"'), Kind::Quoted),
            b'`' => (quoted(rest, '`'), Kind::Quoted),
            // In PostgreSQL it is an index into an array.
            b'[' if dialect == Dialect::Sqlite => (
                rest.find(']').map_or(rest.len(), |end| end + 1),
                Kind::Quoted,
            ),
            b'0'..=b'9' => (
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
                    .unwrap_or(rest.len()),
                Kind::Number,
            ),
            b if b.is_ascii_alphabetic() || b == b'_' || b >= 0x80 => (
                rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$'))
                    .unwrap_or(rest.len())
                    .max(rest.chars().next().map_or(1, char::len_utf8)),
                Kind::Bare,
            ),
            _ => (
                SIGNS
                    .iter()
                    .find(|sign| rest.starts_with(**sign))
                    .map_or(1, |sign| sign.len()),
                Kind::Sign,
            ),
        };
        found.push(Word {
            text: &rest[..length],
            begin: at,
            kind,
        });
        at += length;
    }
    found
}

/// How long a text in quotes is; a doubled quote does not end it.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(next) = text[at..].find(quote) {
        at += next + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// Whether two expressions are the same but for their spelling.
pub(super) fn same_words(dialect: Dialect, a: &str, b: &str) -> bool {
    spelled(dialect, a) == spelled(dialect, b)
}

/// The words in one spelling.
fn spelled(dialect: Dialect, text: &str) -> Vec<String> {
    let all = words(dialect, text);
    let inner = unwrapped(&all);
    inner
        .iter()
        .map(|word| match word.kind {
            Kind::Bare => word.text.to_lowercase(),
            Kind::Quoted if dialect == Dialect::Sqlite => word.name().to_lowercase(),
            Kind::Quoted if is_folded(&word.name()) => word.name(),
            Kind::Sign => match word.text {
                "!=" => "<>".to_owned(),
                "==" if dialect == Dialect::Sqlite => "=".to_owned(),
                sign => sign.to_owned(),
            },
            _ => word.text.to_owned(),
        })
        .collect()
}

/// A name that means the same without quotes, unless it is a keyword.
fn is_folded(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Without the brackets around all of it.
pub(super) fn unwrapped<'w, 't>(mut words: &'w [Word<'t>]) -> &'w [Word<'t>] {
    while let [first, inner @ .., last] = words {
        let mut depth = 0_i32;
        let holds = inner.iter().all(|word| {
            depth += change(word);
            depth >= 0
        });
        if !(first.is_sign("(") && last.is_sign(")") && holds && depth == 0) {
            break;
        }
        words = inner;
    }
    words
}

/// How a word changes the depth of brackets.
pub(super) fn change(word: &Word<'_>) -> i32 {
    if word.is_sign("(") {
        1
    } else if word.is_sign(")") {
        -1
    } else {
        0
    }
}

/// The parts of a text between the words for which `is_end` holds, outside of brackets.
pub(super) fn split<'w, 't>(
    words: &'w [Word<'t>],
    is_end: impl Fn(&Word<'t>) -> bool,
) -> Vec<&'w [Word<'t>]> {
    let mut depth = 0;
    words
        .split(|word| {
            depth += change(word);
            depth == 0 && is_end(word)
        })
        .collect()
}

/// The text that some words stand for, as it was written.
pub(super) fn written<'t>(text: &'t str, words: &[Word<'t>]) -> &'t str {
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => &text[first.begin..last.end()],
        _ => "",
    }
}

/// What is demanded together (or, with `OR`, one of which is): the order does not matter. One part if it
/// cannot be told for sure.
pub(super) fn demands<'t>(dialect: Dialect, text: &'t str, keyword: &str) -> Vec<&'t str> {
    let all = words(dialect, text);
    let inner = unwrapped(&all);
    let others = [
        "BETWEEN",
        "CASE",
        if keyword == "AND" { "OR" } else { "AND" },
    ];
    let mut depth = 0;
    let is_mixed = inner.iter().any(|word| {
        depth += change(word);
        depth == 0 && others.iter().any(|other| word.is(other))
    });
    if is_mixed {
        return vec![text];
    }
    split(inner, |word| word.is(keyword))
        .into_iter()
        .map(|part| written(text, part))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_no_difference_and_everything_else_is() {
        use Dialect::{Postgres, Sqlite};
        for (dialect, a, b, same) in [
            (Sqlite, "a > 1", "( \"A\">1 )", true),
            (Sqlite, "[a] != `b`", "a <> b", true),
            (Sqlite, "a == 1 -- so", "/* hm */ a = 1", true),
            (Sqlite, "a = 'X'", "a = 'x'", false),
            (Sqlite, "a = 'it''s'", "a = 'it''s' ", true),
            (Sqlite, "(a) > (b)", "a > b", false),
            (Sqlite, "a > 1", "a > 2", false),
            (Sqlite, "a = 'é'", "a='é'", true),
            (Sqlite, "é = 1", "É = 1", true),
            (Postgres, "\"a\" > 1", "A > 1", true),
            (Postgres, "\"A\" > 1", "a > 1", false),
            (Postgres, "a != 'b'", "((a <> 'b'))", true),
            (Postgres, "a[1] = 2", "a [ 1 ] = 2", true),
            (Postgres, "a == 1", "a = 1", false),
        ] {
            assert_eq!(same_words(dialect, a, b), same, "{a} and {b}");
        }
        assert!(words(Sqlite, "'open").len() == 1 && words(Sqlite, "/* open").is_empty());
    }

    #[test]
    fn demands_are_told_apart_where_no_other_word_binds_them() {
        let of = |text, word| demands(Dialect::Sqlite, text, word);
        assert_eq!(
            of("((a > 1) AND (b = 'x and y'))", "AND"),
            ["(a > 1)", "(b = 'x and y')"]
        );
        assert_eq!(of("a = 1 and (b = 2 or c = 3)", "AND").len(), 2);
        assert_eq!(of("a = 1 or b = 2", "OR").len(), 2);
        for whole in ["a BETWEEN 1 AND 2", "a = 1 AND b = 2 OR c = 3", "a = 1"] {
            assert_eq!(of(whole, "AND"), [whole]);
        }
    }
}
