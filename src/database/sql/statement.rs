//! Which statements of SQL files are carried out on a PostgreSQL server, to see what schema they make. Pure.
//!
//! Carried out is what declares tables, types, views, indexes and sequences. Left out is what says nothing
//! about them: rows, rights, functions, triggers. Refused is what might change the schema by running code.

use crate::database::sql::text::{PlacedToken, Token, statements, tokens, unquoted};

/// What is done with one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    /// These, one after the other.
    Run(Vec<String>),
    /// It says nothing about tables.
    Skip,
    /// It makes a function, or something else that is run later.
    SkipCode,
    /// The schema cannot be known without it, and it is not carried out.
    Refuse(&'static str),
}

/// First words of statements about rows, transactions, rights and settings.
const NOT_ABOUT_TABLES: [&str; 36] = [
    "ABORT",
    "ANALYZE",
    "BEGIN",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DISCARD",
    "END",
    "EXPLAIN",
    "FETCH",
    "GRANT",
    "INSERT",
    "LISTEN",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RESET",
    "REVOKE",
    "SAVEPOINT",
    "SECURITY",
    "SHOW",
    "START",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "VACUUM",
];
/// Kinds of things that are created, changed or dropped.
const DECLARED: [&str; 10] = [
    "TABLE",
    "INDEX",
    "VIEW",
    "SEQUENCE",
    "TYPE",
    "DOMAIN",
    "SCHEMA",
    "EXTENSION",
    "COLLATION",
    "MATERIALIZED",
];
const CODE: [&str; 8] = [
    "FUNCTION",
    "PROCEDURE",
    "AGGREGATE",
    "OPERATOR",
    "CAST",
    "LANGUAGE",
    "ROUTINE",
    "TRIGGER",
];

/// Decides about one statement of `text`.
pub(crate) fn judge(text: &str, statement: &[PlacedToken<'_>]) -> Judged {
    let word = |at: usize| match statement.get(at).map(|placed| placed.token) {
        Some(Token::Word(word)) => word.to_ascii_uppercase(),
        _ => String::new(),
    };
    let has = |wanted: &str| statement.iter().any(|placed| placed.token.is_word(wanted));
    if statement.is_empty() {
        return Judged::Skip;
    }
    let first = word(0);
    match first.as_str() {
        "" if statement[0].token.is_symbol('\\') => {
            Judged::Refuse("a command of psql itself is not carried out")
        }
        "" if statement[0].token.is_symbol('(') => Judged::Skip,
        "COPY" if has("STDIN") => Judged::Refuse(
            "rows stand between the statements (COPY ... FROM stdin), which only psql reads",
        ),
        "COPY" | "VALUES" => Judged::Skip,
        "SELECT" | "WITH" | "TABLE" if has("INTO") && !has("INSERT") => {
            Judged::Refuse("SELECT ... INTO makes a table by running a query")
        }
        "SELECT" | "WITH" | "TABLE" | "ROLLBACK" => Judged::Skip,
        "SET" => set_path(statement).map_or(Judged::Skip, |sql| Judged::Run(vec![sql])),
        "DO" => judge_block(statement),
        "CALL" | "EXECUTE" | "PREPARE" | "LOAD" | "IMPORT" => {
            Judged::Refuse("it runs code, which is not carried out")
        }
        "CREATE" => judge_create(text, statement),
        "ALTER" | "DROP" => {
            let kind = word(1);
            if CODE.contains(&kind.as_str()) {
                return Judged::SkipCode;
            }
            if !DECLARED.contains(&kind.as_str()) {
                return Judged::Skip;
            }
            // Whose a table is, and what its triggers and policies do, changes no column.
            if first == "ALTER" && is_beside(statement) {
                return if outside_of_brackets(statement).any(|token| token.is_symbol(',')) {
                    Judged::Refuse("it changes an owner and more in one statement")
                } else {
                    Judged::Skip
                };
            }
            if calls_in_bounds(statement) {
                return Judged::Refuse("a function is called in the bounds of a partition");
            }
            Judged::Run(vec![without(text, statement, "CONCURRENTLY")])
        }
        known if NOT_ABOUT_TABLES.contains(&known) => Judged::Skip,
        _ => Judged::Refuse("it is not understood"),
    }
}

/// `OWNER TO`, `ENABLE TRIGGER`, `FORCE ROW LEVEL SECURITY` and the like.
fn is_beside(statement: &[PlacedToken<'_>]) -> bool {
    const SWITCHES: [&str; 5] = ["ENABLE", "DISABLE", "FORCE", "REPLICA", "ALWAYS"];
    statement.windows(2).any(|pair| {
        let (first, second) = (pair[0].token, pair[1].token);
        (first.is_word("OWNER") && second.is_word("TO"))
            || (first.is_any(&SWITCHES) && second.is_any(&["TRIGGER", "RULE", "ROW"]))
    })
}

fn judge_create(text: &str, statement: &[PlacedToken<'_>]) -> Judged {
    let mut at = 1;
    let is = |at: usize, words: &[&str]| {
        statement
            .get(at)
            .is_some_and(|placed| placed.token.is_any(words))
    };
    if is(at, &["OR"]) && is(at + 1, &["REPLACE"]) {
        at += 2;
    }
    if is(at, &["TEMP", "TEMPORARY", "GLOBAL", "LOCAL"]) {
        return Judged::Skip;
    }
    if is(at, &["UNLOGGED", "UNIQUE", "RECURSIVE"]) {
        at += 1;
    }
    let Some(Token::Word(kind)) = statement.get(at).map(|placed| placed.token) else {
        return Judged::Refuse("it is not understood");
    };
    let kind = kind.to_ascii_uppercase();
    if CODE.contains(&kind.as_str())
        || ["CONSTRAINT", "EVENT", "RULE", "TRUSTED", "PROCEDURAL"].contains(&kind.as_str())
    {
        return Judged::SkipCode;
    }
    if !DECLARED.contains(&kind.as_str()) {
        return Judged::Skip;
    }
    let outside: Vec<Token<'_>> = outside_of_brackets(statement).collect();
    let has_outside = |word: &str| outside.iter().any(|token| token.is_word(word));
    match kind.as_str() {
        "TABLE" if has_outside("AS") => {
            Judged::Refuse("CREATE TABLE ... AS makes a table by running a query")
        }
        "TABLE" if calls_in_bounds(statement) => {
            Judged::Refuse("a function is called in the bounds of a partition")
        }
        "TYPE" if !has_outside("AS") || has_outside("RANGE") => {
            Judged::Refuse("a type that is made of functions is not carried out")
        }
        "MATERIALIZED" => {
            // Declared, never filled: filling it runs its query.
            let mut kept = statement;
            for words in [&["WITH", "NO", "DATA"][..], &["WITH", "DATA"][..]] {
                if let Some(rest) = strip_end(kept, words) {
                    kept = rest;
                    break;
                }
            }
            let (Some(begin), Some(end)) = (kept.first(), kept.last()) else {
                return Judged::Skip;
            };
            Judged::Run(vec![format!(
                "{} WITH NO DATA",
                &text[begin.begin..end.end]
            )])
        }
        _ => Judged::Run(vec![without(text, statement, "CONCURRENTLY")]),
    }
}

fn strip_end<'s, 't>(
    statement: &'s [PlacedToken<'t>],
    words: &[&str],
) -> Option<&'s [PlacedToken<'t>]> {
    let at = statement.len().checked_sub(words.len())?;
    let ends = statement[at..]
        .iter()
        .zip(words)
        .all(|(placed, word)| placed.token.is_word(word));
    ends.then(|| &statement[..at])
}

fn outside_of_brackets<'a>(statement: &'a [PlacedToken<'a>]) -> impl Iterator<Item = Token<'a>> {
    let mut depth = 0_usize;
    statement.iter().filter_map(move |placed| {
        match placed.token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            token if depth == 0 => return Some(token),
            _ => {}
        }
        None
    })
}

/// The bounds of a partition are evaluated when it is made.
fn calls_in_bounds(statement: &[PlacedToken<'_>]) -> bool {
    const GRAMMAR: [&str; 6] = ["FROM", "TO", "IN", "WITH", "VALUES", "BY"];
    let bounds = statement
        .windows(2)
        .position(|pair| pair[0].token.is_word("FOR") && pair[1].token.is_word("VALUES"));
    let Some(begin) = bounds else {
        return false;
    };
    statement[begin..].windows(2).any(|pair| {
        let is_name = matches!(pair[0].token, Token::Word(_) | Token::Name(_));
        is_name && pair[1].token.is_symbol('(') && !pair[0].token.is_any(&GRAMMAR)
    })
}

/// The statement without this word, where it is one of the statement itself.
fn without(text: &str, statement: &[PlacedToken<'_>], word: &str) -> String {
    let begin = statement.first().map_or(0, |placed| placed.begin);
    let end = statement.last().map_or(0, |placed| placed.end);
    match statement
        .iter()
        .take(4)
        .find(|placed| placed.token.is_word(word))
    {
        // Blank for word, so that places stay.
        Some(found) => format!(
            "{}{}{}",
            &text[begin..found.begin],
            " ".repeat(found.end - found.begin),
            &text[found.end..end]
        ),
        None => text[begin..end].to_owned(),
    }
}

/// One statement without this word, if it is among the first four; the places of all others stay.
#[must_use]
pub(crate) fn sql_without_word(sql: &str, word: &str) -> String {
    tokens(sql).map_or_else(|_| sql.to_owned(), |found| without(sql, &found, word))
}

/// `SET search_path` decides where tables lie; it is rebuilt from its names.
fn set_path(statement: &[PlacedToken<'_>]) -> Option<String> {
    let mut rest = statement.get(1..)?;
    if let [first, after @ ..] = rest
        && first.token.is_any(&["SESSION", "LOCAL"])
    {
        rest = after;
    }
    let [name, is, values @ ..] = rest else {
        return None;
    };
    if !name.token.is_word("search_path") || !(is.token.is_symbol('=') || is.token.is_word("TO")) {
        return None;
    }
    let mut names = Vec::new();
    for (at, placed) in values.iter().enumerate() {
        match placed.token {
            Token::Word(word) if at % 2 == 0 => names.push(word),
            Token::Name(name) | Token::Text(name) if at % 2 == 0 => names.push(name),
            Token::Symbol(',') if at % 2 == 1 => {}
            _ => return None,
        }
    }
    (!names.is_empty()).then(|| format!("SET search_path = {}", names.join(", ")))
}

/// A block whose body is nothing but declarations, with what is there already passed over: the common way
/// to say CREATE TYPE IF NOT EXISTS.
fn judge_block(statement: &[PlacedToken<'_>]) -> Judged {
    const REFUSED: Judged = Judged::Refuse("a DO block runs code, which is not carried out");
    let body = statement.iter().find_map(|placed| match placed.token {
        Token::Text(text) if text.starts_with('$') => Some(text),
        _ => None,
    });
    let Some(body) = body else {
        return REFUSED;
    };
    let tag = body[1..].find('$').map_or(0, |at| at + 2);
    let Some(body) = body.get(tag..body.len().saturating_sub(tag)) else {
        return REFUSED;
    };
    let Ok(all) = statements(body) else {
        return REFUSED;
    };
    let mut runs = Vec::new();
    for (at, inner) in all.iter().enumerate() {
        let mut inner = inner.as_slice();
        if at == 0 {
            let [begin, rest @ ..] = inner else {
                return REFUSED;
            };
            if !begin.token.is_word("BEGIN") {
                return REFUSED;
            }
            inner = rest;
        }
        let begins = |words: &[&str]| {
            inner
                .first()
                .is_some_and(|placed| placed.token.is_any(words))
        };
        if begins(&["EXCEPTION", "END"]) {
            break;
        }
        match judge(body, inner) {
            Judged::Run(sql) => runs.extend(sql),
            _ => return REFUSED,
        }
    }
    Judged::Run(runs)
}

/// The schema, if named, and the name of the table that a statement creates or alters.
pub(crate) fn place_of(sql: &str) -> Option<(Option<String>, String)> {
    let all = statements(sql).ok()?;
    let statement = all.first()?;
    let mut rest = statement.iter().map(|placed| placed.token);
    let first = rest.next()?;
    if !first.is_word("CREATE") && !first.is_word("ALTER") {
        return None;
    }
    let mut token = rest.next()?;
    if token.is_word("UNLOGGED") {
        token = rest.next()?;
    }
    if !token.is_word("TABLE") {
        return None;
    }
    let first = rest.find(|token| !token.is_any(&["IF", "NOT", "EXISTS", "ONLY"]))?;
    let first = plain_name(first)?;
    match rest.next() {
        Some(Token::Symbol('.')) => Some((Some(first), plain_name(rest.next()?)?)),
        _ => Some((None, first)),
    }
}

fn plain_name(token: Token<'_>) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.to_lowercase()),
        Token::Name(name) => unquoted(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
