//! SQL text taken apart into tokens and statements, as PostgreSQL does it
//! (postgresql.org/docs/current/sql-syntax-lexical.html) or SQLite (sqlite.org/lang_keywords.html). Pure.
//!
//! It decides which statements are carried out at all; that each is one statement, the server itself sees to.

use crate::database::model::Dialect;

/// Depth of comments in comments.
const COMMENTS_MAX: usize = 100;

/// One token; comments and white space are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A key word or a name without quotes.
    Word(&'a str),
    /// A name in quotes, quotes included.
    Name(&'a str),
    /// A string of any kind, quotes included.
    Text(&'a str),
    /// A number.
    Number(&'a str),
    /// One character of anything else.
    Symbol(char),
}

impl Token<'_> {
    /// Whether it is this word, in any case.
    #[must_use]
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    /// Whether it is one of these words, in any case.
    #[must_use]
    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    /// Whether it is this symbol.
    #[must_use]
    pub(crate) fn is_symbol(&self, symbol: char) -> bool {
        *self == Token::Symbol(symbol)
    }
}

/// A token and where it stands, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlacedToken<'a> {
    pub token: Token<'a>,
    pub begin: usize,
    pub end: usize,
}

/// What a text is made of.
#[derive(Debug, Default)]
pub(crate) struct SqlScan<'a> {
    /// What is not closed goes to the end of the text.
    pub tokens: Vec<PlacedToken<'a>>,
    /// What is not closed, or does not belong into SQL, and the byte where it stands.
    pub fault: Option<(usize, &'static str)>,
}

/// The name that is meant by one in closed quotes of any kind.
pub(crate) fn unquoted(name: &str) -> Option<String> {
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
pub(crate) fn tokens(sql: &str) -> Result<Vec<PlacedToken<'_>>, (usize, &'static str)> {
    let found = scan(Dialect::Postgres, sql);
    found.fault.map_or(Ok(found.tokens), Err)
}

/// The tokens of any text.
pub(crate) fn scan(dialect: Dialect, sql: &str) -> SqlScan<'_> {
    let mut found = SqlScan::default();
    let mut at = 0;
    while let Some(placed) = token_from(dialect, sql, at, &mut found.fault) {
        at = placed.end;
        found.tokens.push(placed);
    }
    found
}

/// The first token at or behind a byte.
///
/// SQLite has names in backticks and brackets too; it knows no letter before a string but that of a blob, which is
/// a word of its own here, no `$tag$`, and no comment in a comment.
fn token_from<'a>(
    dialect: Dialect,
    sql: &'a str,
    mut at: usize,
    fault: &mut Option<(usize, &'static str)>,
) -> Option<PlacedToken<'a>> {
    const STRING: &str = "a string is not closed";
    const NAME: &str = "a name in quotes is not closed";
    let is_sqlite = dialect == Dialect::Sqlite;
    let bytes = sql.as_bytes();
    while at < bytes.len() {
        let begin = at;
        let rest = &bytes[at..];
        let mut closed = |end: Option<usize>, why| {
            end.unwrap_or_else(|| {
                fault.get_or_insert((begin, why));
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
                let end = match is_sqlite {
                    true => closing(bytes, at, b'\'', false),
                    false => quoted_end(bytes, at, b'\'', false),
                };
                at = closed(end, STRING);
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
        return Some(PlacedToken {
            token,
            begin,
            end: at,
        });
    }
    None
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

/// Behind the end of what begins with the quote at `begin`. In PostgreSQL a string goes on in the next one behind a
/// line's end, by the same rules.
fn quoted_end(bytes: &[u8], begin: usize, quote: u8, escapes: bool) -> Option<usize> {
    let mut end = closing(bytes, begin, quote, escapes)?;
    while quote == b'\''
        && let Some(next) = continuation(bytes, end)
    {
        end = closing(bytes, next, quote, escapes)?;
    }
    Some(end)
}

/// Behind the quote that closes the one at `begin`.
fn closing(bytes: &[u8], begin: usize, quote: u8, escapes: bool) -> Option<usize> {
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

/// The quote with which a string goes on: behind blanks and comments to the end of a line, with at least one
/// such end (src/backend/parser/scan.l, `quotecontinue`).
fn continuation(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut has_line_end = false;
    loop {
        match bytes.get(at..)? {
            [b'\'', ..] => return has_line_end.then_some(at),
            [b'\n' | b'\r', ..] => {
                has_line_end = true;
                at += 1;
            }
            [b' ' | b'\t' | 0x0c | 0x0b, ..] => at += 1,
            [b'-', b'-', rest @ ..] => {
                at += 2 + rest.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
            }
            _ => return None,
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

/// Where statements end: at semicolons outside of brackets and of a function's body in SQL
/// (`BEGIN ATOMIC ... END`), as psql sees it (src/fe_utils/psqlscan.l).
#[derive(Default)]
struct Borders {
    brackets: usize,
    /// `BEGIN ATOMIC`, and each `CASE` in it.
    blocks: usize,
    /// The token before.
    follows_begin: bool,
    /// Of this statement.
    count: usize,
    /// It begins with `CREATE`; nothing else has such a body.
    creates: bool,
}

impl Borders {
    /// Whether the statement ends with this token, which is no part of it.
    fn ends_with(&mut self, token: Token<'_>) -> bool {
        match token {
            Token::Symbol('(') => self.brackets += 1,
            Token::Symbol(')') => self.brackets = self.brackets.saturating_sub(1),
            Token::Symbol(';') if self.brackets == 0 && self.blocks == 0 => {
                *self = Self::default();
                return true;
            }
            _ => {}
        }
        if self.count == 0 {
            self.creates = token.is_word("CREATE");
        }
        self.count += 1;
        if self.creates && self.brackets == 0 {
            let opens = self.follows_begin && token.is_word("ATOMIC");
            if opens || (self.blocks > 0 && token.is_word("CASE")) {
                self.blocks += 1;
            } else if token.is_word("END") {
                self.blocks = self.blocks.saturating_sub(1);
            }
        }
        self.follows_begin = token.is_word("BEGIN");
        false
    }
}

/// The statements of a text, each with its tokens.
///
/// # Errors
/// As [`tokens`].
pub(crate) fn statements(sql: &str) -> Result<Vec<Vec<PlacedToken<'_>>>, (usize, &'static str)> {
    let mut all = Vec::new();
    let mut current = Vec::new();
    let mut borders = Borders::default();
    for placed in tokens(sql)? {
        if borders.ends_with(placed.token) {
            all.push(std::mem::take(&mut current));
        } else {
            current.push(placed);
        }
    }
    all.push(current);
    all.retain(|statement| !statement.is_empty());
    Ok(all)
}

/// How many tokens of a statement are kept for looking at.
const OUTLINE_MAX: usize = 64;
/// Words of a statement that writes rows or makes a table, wherever they stand.
const WRITING: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "MERGE", "INTO"];

/// One statement of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlStatement<'a> {
    /// As it was written, without comments around it and without the semicolon.
    pub text: &'a str,
    /// Its first tokens outside of brackets.
    pub outline: Vec<Token<'a>>,
    /// One of its words writes rows or makes a table, also in brackets.
    pub writes: bool,
}

/// The statements of a script, one by one: of a long one, never all at once.
///
/// An item is an error where something is not closed or does not belong into SQL; it is the last one.
pub(crate) fn sql_statements(sql: &str) -> impl Iterator<Item = Result<SqlStatement<'_>, String>> {
    let mut at = 0;
    let mut is_done = false;
    std::iter::from_fn(move || {
        let mut borders = Borders::default();
        let mut outline = Vec::new();
        let mut writes = false;
        let mut span: Option<(usize, usize)> = None;
        while !is_done {
            let mut fault = None;
            let placed = token_from(Dialect::Postgres, sql, at, &mut fault);
            if let Some((place, why)) = fault {
                is_done = true;
                return Some(Err(format!("{why} (line {})", line_of(sql, place))));
            }
            let Some(placed) = placed else {
                is_done = true;
                break;
            };
            at = placed.end;
            if borders.ends_with(placed.token) {
                if span.is_some() {
                    break;
                }
                continue;
            }
            span = Some((span.map_or(placed.begin, |(begin, _)| begin), placed.end));
            writes = writes || placed.token.is_any(&WRITING);
            if borders.brackets == 0 && outline.len() < OUTLINE_MAX {
                outline.push(placed.token);
            }
        }
        let (begin, end) = span?;
        Some(Ok(SqlStatement {
            text: &sql[begin..end],
            outline,
            writes,
        }))
    })
}

/// The line of a byte, from 1.
pub(crate) fn line_of(sql: &str, at: usize) -> u32 {
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
            // On the next line a string goes on as what it began.
            (
                "a E'x' -- so\n '\\'; b'; c",
                vec!["a E'x' -- so\n '\\'; b'", "c"],
            ),
            ("a 'x'\n'\\'; b", vec!["a 'x'\n'\\'", "b"]),
            ("a E'x' '\\'; b", vec!["a E'x' '\\'", "b"]),
            ("a \"x\"\n\"y\"; b", vec!["a \"x\"\n\"y\"", "b"]),
            ("a \"x;\"\"y\"; b", vec!["a \"x;\"\"y\"", "b"]),
            (
                "do $$ x; $a$ $$; b $t$ ; $$ $t$",
                vec!["do $$ x; $a$ $$", "b $t$ ; $$ $t$"],
            ),
            // `$1` is no quote, and a `$` in a name begins none.
            ("a $1; b$x$; c", vec!["a $1", "b$x$", "c"]),
            ("a (b; c); d", vec!["a (b; c)", "d"]),
            (
                "create function f() returns int begin atomic select case when a then b end; select 2; end; c",
                vec![
                    "create function f() returns int begin atomic select case when a then b end; select 2; end",
                    "c",
                ],
            ),
            // These begin and end something else.
            (
                "begin; end; begin atomic; c",
                vec!["begin", "end", "begin atomic", "c"],
            ),
            ("", vec![]),
            (" ; -- only this", vec![]),
        ] {
            assert_eq!(parts(sql), expected, "{sql}");
            let one_by_one: Vec<&str> = sql_statements(sql).map(|one| one.unwrap().text).collect();
            assert_eq!(one_by_one, expected, "{sql}");
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
    fn an_outline_leaves_out_what_stands_in_brackets() {
        let all: Vec<SqlStatement<'_>> =
            sql_statements("/* x */ copy (select 1) to 'a'; with x as (delete from t) select 1")
                .collect::<Result<_, _>>()
                .unwrap();
        let copy = [
            Token::Word("copy"),
            Token::Symbol(')'),
            Token::Word("to"),
            Token::Text("'a'"),
        ];
        assert_eq!(all[0].outline, copy);
        assert_eq!((all[0].writes, all[1].writes), (false, true));
        let mut broken = sql_statements("a;\nb 'c; d");
        assert_eq!(broken.next().unwrap().unwrap().text, "a");
        assert_eq!(
            broken.next(),
            Some(Err("a string is not closed (line 2)".to_owned()))
        );
        assert_eq!(broken.next(), None);
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
