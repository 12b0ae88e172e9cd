//! SQL text taken apart into tokens and statements, as PostgreSQL does it
//! (postgresql.org/docs/current/sql-syntax-lexical.html) or SQLite (sqlite.org/lang_keywords.html). Pure.
//!
//! It decides which statements are carried out at all; that each is one statement, the server itself sees to.

use super::model::Dialect;

/// Depth of comments in comments.
const COMMENTS_MAX: usize = 100;

/// One token; comments and white space are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A key word or a name without quotes.
    Word(&'a str),
    /// A name in quotes, quotes included.
    Name(&'a str),
    /// A string of any kind, quotes included.
    Text(&'a str),
    Number(&'a str),
    Symbol(char),
}

impl Token<'_> {
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    pub(super) fn is_symbol(&self, symbol: char) -> bool {
        *self == Token::Symbol(symbol)
    }
}

/// A token and where it stands, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    pub token: Token<'a>,
    pub begin: usize,
    pub end: usize,
}

/// What a text is made of.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    /// What is not closed goes to the end of the text.
    pub tokens: Vec<Placed<'a>>,
    /// What is not closed, or does not belong into SQL, and the byte where it stands.
    pub fault: Option<(usize, &'static str)>,
}

/// The name that is meant by one in closed quotes of any kind.
pub(super) fn unquoted(name: &str) -> Option<String> {
    let inside = |open, close| name.strip_prefix(open)?.strip_suffix(close);
    inside('"', '"')
        .map(|name| name.replace("\"\"", "\""))
        .or_else(|| inside('`', '`').map(|name| name.replace("``", "`")))
        .or_else(|| inside('[', ']').map(str::to_owned))
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name_part(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// The tokens of a text for PostgreSQL.
///
/// # Errors
/// What is not closed, or does not belong into SQL, and the byte where it stands.
pub(super) fn tokens(sql: &str) -> Result<Vec<Placed<'_>>, (usize, &'static str)> {
    let found = scan(Dialect::Postgres, sql);
    found.fault.map_or(Ok(found.tokens), Err)
}

/// The tokens of any text.
///
/// SQLite has names in backticks and brackets too; it knows no letter before a string but that of a blob, which is
/// a word of its own here, no `$tag$`, and no comment in a comment.
pub(super) fn scan(dialect: Dialect, sql: &str) -> Scan<'_> {
    const STRING: &str = "a string is not closed";
    const NAME: &str = "a name in quotes is not closed";
    let is_sqlite = dialect == Dialect::Sqlite;
    let bytes = sql.as_bytes();
    let mut found = Scan::default();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        let rest = &bytes[at..];
        let mut closed = |end: Option<usize>, why| {
            end.unwrap_or_else(|| {
                found.fault.get_or_insert((begin, why));
                bytes.len()
            })
        };
        let token = match rest {
            [b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b, ..] => {
                at += 1;
                continue;
            }
            [b'-', b'-', ..] => {
                at += rest
                    .iter()
                    .position(|b| *b == b'\n' || *b == b'\r' && !is_sqlite)
                    .unwrap_or(rest.len());
                continue;
            }
            [b'/', b'*', ..] => {
                let depth = if is_sqlite { 1 } else { COMMENTS_MAX };
                at = closed(comment_end(bytes, at, depth), "a comment is not closed");
                continue;
            }
            [0, ..] => {
                closed(None, "it has a null character");
                at += 1;
                Token::Symbol('\0')
            }
            [b'\'', ..] => {
                at = closed(quoted_end(bytes, at, b'\'', false), STRING);
                Token::Text(&sql[begin..at])
            }
            [b'e' | b'E', b'\'', ..] if !is_sqlite => {
                at = closed(quoted_end(bytes, at + 1, b'\'', true), STRING);
                Token::Text(&sql[begin..at])
            }
            [b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', ..] if !is_sqlite => {
                at = closed(quoted_end(bytes, at + 1, b'\'', false), STRING);
                Token::Text(&sql[begin..at])
            }
            [b'u' | b'U', b'&', quote @ (b'\'' | b'"'), ..] if !is_sqlite => {
                at = closed(quoted_end(bytes, at + 2, *quote, false), STRING);
                match quote {
                    b'"' => Token::Name(&sql[begin..at]),
                    _ => Token::Text(&sql[begin..at]),
                }
            }
            [b'"', ..] => {
                at = closed(quoted_end(bytes, at, b'"', false), NAME);
                Token::Name(&sql[begin..at])
            }
            [b'`', ..] if is_sqlite => {
                at = closed(quoted_end(bytes, at, b'`', false), NAME);
                Token::Name(&sql[begin..at])
            }
            // In PostgreSQL it is an index into an array.
            [b'[', ..] if is_sqlite => {
                at = closed(find(rest, b"]").map(|end| begin + end + 1), NAME);
                Token::Name(&sql[begin..at])
            }
            [b'$', ..] if !is_sqlite && dollar_tag(rest).is_some() => {
                let tag = dollar_tag(rest).unwrap_or_default();
                let body = at + tag.len();
                let end = find(&bytes[body..], tag).map(|end| body + end + tag.len());
                at = closed(end, STRING);
                Token::Text(&sql[begin..at])
            }
            [byte, ..] if is_name_start(*byte) => {
                at += rest
                    .iter()
                    .position(|b| !is_name_part(*b))
                    .unwrap_or(rest.len());
                Token::Word(&sql[begin..at])
            }
            [byte, ..]
                if byte.is_ascii_digit()
                    || (*byte == b'.' && rest.get(1).is_some_and(u8::is_ascii_digit)) =>
            {
                at += number_length(rest);
                Token::Number(&sql[begin..at])
            }
            [byte, ..] => {
                at += 1;
                Token::Symbol(char::from(*byte))
            }
            [] => break,
        };
        found.tokens.push(Placed {
            token,
            begin,
            end: at,
        });
    }
    found
}

fn number_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        // A sign without a digit behind it belongs to what follows: `1e--` has a comment.
        let exponent = match (byte, rest.get(at + 1), rest.get(at + 2)) {
            (b'e' | b'E', Some(b'0'..=b'9'), _) => 2,
            (b'e' | b'E', Some(b'+' | b'-'), Some(b'0'..=b'9')) => 3,
            _ => 0,
        };
        match byte {
            b'0'..=b'9' | b'.' => at += 1,
            _ if exponent > 0 => at += exponent,
            _ => break,
        }
    }
    at
}

/// `$tag$` at the beginning.
fn dollar_tag(rest: &[u8]) -> Option<&[u8]> {
    let end = rest.iter().skip(1).position(|b| *b == b'$')? + 2;
    let name = &rest[1..end - 1];
    let is_name =
        name.iter().all(|b| is_name_part(*b)) && name.first().is_none_or(|b| is_name_start(*b));
    is_name.then(|| &rest[..end])
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Behind the quote that closes the one at `begin`.
fn quoted_end(bytes: &[u8], begin: usize, quote: u8, escapes: bool) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        match bytes.get(at)? {
            b'\\' if escapes => at += 2,
            byte if *byte == quote => {
                if bytes.get(at + 1) != Some(&quote) {
                    return Some(at + 1);
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// Behind the comment at `begin`. Comments lie in comments, this deep; with 1, they do not.
fn comment_end(bytes: &[u8], begin: usize, depth_max: usize) -> Option<usize> {
    let (mut at, mut depth) = (begin, 0);
    loop {
        match bytes.get(at..at + 2)? {
            b"/*" if depth_max > 1 || depth == 0 => {
                depth += 1;
                at += 2;
                if depth > depth_max {
                    return None;
                }
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// The statements of a text, each with its tokens: parted by semicolons outside of brackets.
///
/// # Errors
/// As [`tokens`].
pub(super) fn statements(sql: &str) -> Result<Vec<Vec<Placed<'_>>>, (usize, &'static str)> {
    let mut all = Vec::new();
    let mut current = Vec::new();
    let mut depth = 0_usize;
    for placed in tokens(sql)? {
        match placed.token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            Token::Symbol(';') if depth == 0 => {
                all.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(placed);
    }
    all.push(current);
    all.retain(|statement| !statement.is_empty());
    Ok(all)
}

/// The line of a byte, from 1.
pub(super) fn line_of(sql: &str, at: usize) -> u32 {
    let before = sql.as_bytes().iter().take(at).filter(|b| **b == b'\n');
    u32::try_from(before.count() + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sql: &str) -> Vec<String> {
        let all = statements(sql).unwrap_or_else(|(at, why)| panic!("{sql}: {why} at {at}"));
        all.iter()
            .map(|one| sql[one[0].begin..one[one.len() - 1].end].to_owned())
            .collect()
    }

    #[test]
    fn statements_end_where_postgresql_ends_them() {
        for (sql, expected) in [
            ("a; b;; c", vec!["a", "b", "c"]),
            (
                "-- x;\na /* ; /* ; */ ; */ b;",
                vec!["a /* ; /* ; */ ; */ b"],
            ),
            ("a 'x;''y' b; c", vec!["a 'x;''y' b", "c"]),
            // A backslash means something in E'' only.
            (r"a 'x\'; b", vec![r"a 'x\'", "b"]),
            (r"a E'x\'; b'; c", vec![r"a E'x\'; b'", "c"]),
            (r"a U&'x\'; b", vec![r"a U&'x\'", "b"]),
            ("a \"x;\"\"y\"; b", vec!["a \"x;\"\"y\"", "b"]),
            (
                "do $$ x; $a$ $$; b $t$ ; $$ $t$",
                vec!["do $$ x; $a$ $$", "b $t$ ; $$ $t$"],
            ),
            // `$1` is no quote, and a `$` in a name begins none.
            ("a $1; b$x$; c", vec!["a $1", "b$x$", "c"]),
            ("a (b; c); d", vec!["a (b; c)", "d"]),
            ("", vec![]),
            (" ; -- only this", vec![]),
        ] {
            assert_eq!(parts(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_is_not_closed_is_said_with_its_place() {
        for (sql, at) in [
            ("a 'b", 2),
            ("a /* /* */", 2),
            ("a \"b", 2),
            ("a $x$ $$", 2),
            ("a \0", 2),
        ] {
            assert_eq!(tokens(sql).unwrap_err().0, at, "{sql}");
        }
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }

    #[test]
    fn tokens_are_told_apart() {
        let kinds: Vec<Token<'_>> = tokens("ALTER x1 \"y\" 1.5e-3 .5 'z'::tExt,-1")
            .unwrap()
            .iter()
            .map(|p| p.token)
            .collect();
        assert_eq!(
            kinds,
            [
                Token::Word("ALTER"),
                Token::Word("x1"),
                Token::Name("\"y\""),
                Token::Number("1.5e-3"),
                Token::Number(".5"),
                Token::Text("'z'"),
                Token::Symbol(':'),
                Token::Symbol(':'),
                Token::Word("tExt"),
                Token::Symbol(','),
                Token::Symbol('-'),
                Token::Number("1"),
            ]
        );
        let found: Vec<Token<'_>> = tokens("1e--x\n2")
            .unwrap()
            .iter()
            .map(|p| p.token)
            .collect();
        assert_eq!(
            found,
            [Token::Number("1"), Token::Word("e"), Token::Number("2")]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(sql in "[a-zé$'\"`\\[\\]/*();\\\\ E\0\r\n&u-]{0,60}") {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                let found = scan(dialect, &sql).tokens;
                for pair in found.windows(2) {
                    proptest::prop_assert!(pair[0].end <= pair[1].begin);
                }
                proptest::prop_assert!(found.iter().all(|p| p.begin < p.end));
                proptest::prop_assert!(found.last().is_none_or(|p| p.end <= sql.len()));
            }
        }
    }
}
