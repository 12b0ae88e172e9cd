//! The tokens of SQL with signs put together ([`super::text`]), and two texts compared by them: case, blanks,
//! brackets around all of it and quotes that change nothing are no difference. Pure.

use crate::database::model::Dialect;
use crate::database::sql::text::{Token, scan, unquoted};

/// One word of SQL and where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'t> {
    /// Of a sign, the first symbol.
    pub token: Token<'t>,
    pub text: &'t str,
    pub begin: usize,
}

impl<'t> Word<'t> {
    /// Whether it is this keyword.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.token.is_word(keyword)
    }

    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token, Token::Symbol(_)) && self.text == sign
    }

    pub(crate) fn is_name(&self) -> bool {
        matches!(self.token, Token::Word(_) | Token::Name(_))
    }

    /// The name that it means.
    pub(crate) fn name(&self) -> String {
        let inside = match self.token {
            Token::Name(name) => unquoted(name),
            _ => None,
        };
        inside.unwrap_or_else(|| self.text.to_owned())
    }

    pub(crate) fn end(&self) -> usize {
        self.begin + self.text.len()
    }
}

/// Signs of more than one character, the longest first.
const SIGNS: [&str; 24] = [
    "!~~*", "->>", "#>>", "!~~", "!~*", "~~*", "||", "::", "<>", "!=", "<=", ">=", "==", "->",
    "#>", "!~", "~~", "~*", "@>", "<@", "&&", "@@", "<<", ">>",
];

/// All words of a text; comments are none. What does not end (a string, a comment) goes to the end.
pub(crate) fn words(dialect: Dialect, text: &str) -> Vec<Word<'_>> {
    let mut found: Vec<Word<'_>> = Vec::new();
    for placed in scan(dialect, text).tokens {
        if found.last().is_some_and(|sign| placed.begin < sign.end()) {
            continue;
        }
        let rest = &text[placed.begin..];
        let sign = match placed.token {
            Token::Symbol(_) => SIGNS.iter().find(|sign| rest.starts_with(**sign)),
            _ => None,
        };
        found.push(Word {
            token: placed.token,
            text: &rest[..sign.map_or(placed.end - placed.begin, |sign| sign.len())],
            begin: placed.begin,
        });
    }
    found
}

/// Whether two expressions are the same but for their spelling.
pub(crate) fn same_words(dialect: Dialect, a: &str, b: &str) -> bool {
    spelled(dialect, a) == spelled(dialect, b)
}

/// The words in one spelling.
fn spelled(dialect: Dialect, text: &str) -> Vec<String> {
    let all = words(dialect, text);
    let inner = unwrapped(&all);
    inner
        .iter()
        .map(|word| match word.token {
            Token::Word(text) => text.to_lowercase(),
            Token::Name(_) if dialect == Dialect::Sqlite => word.name().to_lowercase(),
            Token::Name(_) if is_folded(&word.name()) => word.name(),
            // The letter before it has no case.
            Token::Text(text) if !text.starts_with('$') => {
                let (kind, rest) = text.split_at(text.find('\'').unwrap_or(0));
                format!("{}{rest}", kind.to_lowercase())
            }
            Token::Symbol(_) => match word.text {
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
pub(crate) fn unwrapped<'w, 't>(mut words: &'w [Word<'t>]) -> &'w [Word<'t>] {
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
pub(crate) fn change(word: &Word<'_>) -> i32 {
    if word.is_sign("(") {
        1
    } else if word.is_sign(")") {
        -1
    } else {
        0
    }
}

/// The parts of a text between the words for which `is_end` holds, outside of brackets.
pub(crate) fn split<'w, 't>(
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
pub(crate) fn written<'t>(text: &'t str, words: &[Word<'t>]) -> &'t str {
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => &text[first.begin..last.end()],
        _ => "",
    }
}

/// What is demanded together (or, with `OR`, one of which is): the order does not matter. One part if it
/// cannot be known for sure.
pub(crate) fn demands<'t>(dialect: Dialect, text: &'t str, keyword: &str) -> Vec<&'t str> {
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
        depth == 0 && word.token.is_any(&others)
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
    fn each_dialect_has_its_own_quotes_strings_and_comments() {
        use Dialect::{Postgres, Sqlite};
        for (dialect, text, expected) in [
            (Sqlite, "`a``b`[c d]\"e\"\"f\"", vec!["a`b", "c d", "e\"f"]),
            (Postgres, "a[1]`", vec!["a", "[", "1", "]", "`"]),
            (Sqlite, "x'00'||e'\\'", vec!["x", "'00'", "||", "e", "'\\'"]),
            (Postgres, r"E'\'b'!~~*'c'", vec![r"E'\'b'", "!~~*", "'c'"]),
            (Postgres, "$a$ b'' $a$->>1", vec!["$a$ b'' $a$", "->>", "1"]),
            (Sqlite, "$a$", vec!["$", "a$"]),
            (Sqlite, "/* /* */ a */", vec!["a", "*", "/"]),
            (Postgres, "/* /* */ a */", vec![]),
            (Sqlite, "a--b\rc\nd", vec!["a", "d"]),
            (Postgres, "a--b\rc\nd", vec!["a", "c", "d"]),
            // What is not closed goes to the end, and is no name in quotes.
            (Sqlite, "a [é", vec!["a", "[é"]),
            (Sqlite, "\"é", vec!["\"é"]),
            (Postgres, "a\0b", vec!["a", "\0", "b"]),
        ] {
            let found: Vec<String> = words(dialect, text).iter().map(Word::name).collect();
            assert_eq!(found, expected, "{text}");
        }
        for (a, b, same) in [
            (r"a = E'X\n'", r"A = e'X\n'", true),
            (r"a = E'X\n'", r"a = E'x\n'", false),
            ("a = $$B'c$$", "a = $$b'c$$", false),
        ] {
            assert_eq!(same_words(Postgres, a, b), same, "{a} and {b}");
        }
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
