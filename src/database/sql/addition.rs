//! The statements that may be run on a PostgreSQL database without a person: those that create a table, add
//! a column, create an index or an enumeration type, and do nothing else. Pure.
//!
//! PostgreSQL has no authorizer that a statement could be held to, so the text is taken apart: what is
//! not understood to the end is refused. `IF NOT EXISTS` is put in, so that one that was already carried
//! out does nothing.

use crate::database::sql::text::{PlacedToken, Token, statements};

/// What may stand in the default of a new column besides literals: evaluated once for all rows that exist,
/// without touching one (postgresql.org/docs/current/sql-altertable.html, notes).
const MOMENTS: [&str; 5] = [
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
];
/// So with these functions.
const FUNCTIONS: [&str; 3] = ["now", "transaction_timestamp", "statement_timestamp"];
/// Words that no type begins with.
const ENDS: [&str; 9] = [
    "DEFAULT",
    "NOT",
    "NULL",
    "UNIQUE",
    "REFERENCES",
    "CONSTRAINT",
    "COLLATE",
    "GENERATED",
    "CHECK",
];

/// The statement as it is run, if it only adds.
///
/// # Errors
/// Why it is left to a person, as the end of a sentence.
pub(crate) fn postgres_addition(sql: &str) -> Result<String, String> {
    let all = statements(sql).map_err(|(_, why)| why.to_owned())?;
    let [statement] = all.as_slice() else {
        return Err("it is not one statement".to_owned());
    };
    let mut reader = AdditionReader {
        tokens: statement,
        at: 0,
    };
    let at = reader.addition()?;
    let end = statement.last().map_or(0, |placed| placed.end);
    let begin = statement.first().map_or(0, |placed| placed.begin);
    Ok(match at {
        Some(at) => format!(
            "{} IF NOT EXISTS {}",
            sql[begin..at].trim_end(),
            &sql[at..end]
        ),
        None => sql[begin..end].to_owned(),
    })
}

/// The statement as it is run once a person has approved it: one that adds, or one that changes a column, gives an
/// enumeration a value or moves a sequence up to its table.
///
/// # Errors
/// Why it is left to a person, as the end of a sentence.
pub(crate) fn postgres_change(sql: &str) -> Result<String, String> {
    postgres_addition(sql).or_else(|why| {
        let all = statements(sql).map_err(|(_, why)| why.to_owned())?;
        let [statement] = all.as_slice() else {
            return Err(why);
        };
        let mut reader = AdditionReader {
            tokens: statement,
            at: 0,
        };
        reader.change()?;
        let end = statement.last().map_or(0, |placed| placed.end);
        let begin = statement.first().map_or(0, |placed| placed.begin);
        Ok(sql[begin..end].to_owned())
    })
}

/// The type that a `CREATE TYPE` which [`postgres_addition`] took would create, as it is written.
#[must_use]
pub(crate) fn created_type(sql: &str) -> Option<&str> {
    let all = statements(sql).ok()?;
    let tokens = all.first()?;
    let mut reader = AdditionReader { tokens, at: 0 };
    if !reader.takes(&["CREATE", "TYPE"]) {
        return None;
    }
    let begin = tokens.get(reader.at)?.begin;
    reader.name().ok()?;
    let end = tokens.get(reader.at.checked_sub(1)?)?.end;
    sql.get(begin..end)
}

/// A constant, or what PostgreSQL evaluates once; casts may follow.
pub(crate) fn is_constant(text: &str) -> bool {
    let Ok(all) = statements(text) else {
        return false;
    };
    let [tokens] = all.as_slice() else {
        return false;
    };
    let mut reader = AdditionReader { tokens, at: 0 };
    reader.constant().is_ok() && reader.peek().is_none()
}

struct AdditionReader<'a> {
    tokens: &'a [PlacedToken<'a>],
    at: usize,
}

impl<'a> AdditionReader<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|placed| placed.token)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Takes these words, if they come next.
    fn takes(&mut self, words: &[&str]) -> bool {
        let come = words.iter().enumerate().all(|(i, word)| {
            self.tokens
                .get(self.at + i)
                .is_some_and(|placed| placed.token.is_word(word))
        });
        if come {
            self.at += words.len();
        }
        come
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |placed| placed.begin)
    }

    /// Where `IF NOT EXISTS` belongs; `None` if it is there, or there is no such thing.
    fn addition(&mut self) -> Result<Option<usize>, String> {
        if self.takes(&["CREATE", "TABLE"]) {
            return self.create_table();
        }
        if self.takes(&["CREATE", "UNIQUE", "INDEX"]) || self.takes(&["CREATE", "INDEX"]) {
            return self.create_index();
        }
        if self.takes(&["ALTER", "TABLE"]) {
            return self.add_column();
        }
        if self.takes(&["CREATE", "TYPE"]) {
            return self.create_enum().map(|()| None);
        }
        Err(
            "it does more than create a table, an index or an enumeration type, or add a column"
                .to_owned(),
        )
    }

    /// `ALTER TABLE t ALTER COLUMN c ...`, `ALTER TYPE e ADD VALUE ...`, `SELECT setval(s, (SELECT max(c) FROM t))`.
    fn change(&mut self) -> Result<(), String> {
        let refuse = || {
            "it is none of the changes of a column, an enumeration or a sequence that are known"
                .to_owned()
        };
        if self.takes(&["ALTER", "TABLE"]) {
            self.name()?;
            if !self.takes(&["ALTER", "COLUMN"]) {
                return Err(refuse());
            }
            self.identifier()?;
            if self.takes(&["DROP", "NOT", "NULL"])
                || self.takes(&["SET", "NOT", "NULL"])
                || self.takes(&["DROP", "DEFAULT"])
            {
                return self.end();
            }
            if self.takes(&["SET", "DEFAULT"]) {
                self.constant()?;
                return self.end();
            }
            if !self.takes(&["TYPE"]) {
                return Err(refuse());
            }
            self.kind()?;
            if self.takes(&["USING"]) {
                self.identifier()?;
                self.casts()?;
            }
            return self.end();
        }
        if self.takes(&["ALTER", "TYPE"]) {
            self.name()?;
            if !self.takes(&["ADD", "VALUE"]) {
                return Err(refuse());
            }
            self.if_not_exists();
            self.quoted()?;
            if self.takes(&["BEFORE"]) || self.takes(&["AFTER"]) {
                self.quoted()?;
            }
            return self.end();
        }
        if self.takes(&["SELECT", "setval"]) {
            self.signs(&['('])?;
            self.quoted()?;
            self.signs(&[',', '('])?;
            if !self.takes(&["SELECT", "max"]) {
                return Err(refuse());
            }
            self.signs(&['('])?;
            self.identifier()?;
            self.signs(&[')'])?;
            if !self.takes(&["FROM"]) {
                return Err(refuse());
            }
            self.name()?;
            self.signs(&[')', ')'])?;
            return self.end();
        }
        Err(refuse())
    }

    fn quoted(&mut self) -> Result<(), String> {
        match self.next() {
            Some(Token::Text(_)) => Ok(()),
            _ => Err("it is not understood".to_owned()),
        }
    }

    fn signs(&mut self, signs: &[char]) -> Result<(), String> {
        let are_there = signs
            .iter()
            .all(|sign| self.next().is_some_and(|token| token.is_symbol(*sign)));
        are_there
            .then_some(())
            .ok_or_else(|| "it is not understood".to_owned())
    }

    fn if_not_exists(&mut self) -> Option<usize> {
        let at = self.place();
        (!self.takes(&["IF", "NOT", "EXISTS"])).then_some(at)
    }

    fn create_table(&mut self) -> Result<Option<usize>, String> {
        let at = self.if_not_exists();
        self.name()?;
        self.brackets()?;
        if self.takes(&["PARTITION", "BY"]) {
            self.word()?;
            self.brackets()?;
        }
        if self.takes(&["WITH"]) {
            self.brackets()?;
        }
        self.end().map(|()| at)
    }

    fn create_index(&mut self) -> Result<Option<usize>, String> {
        if self.takes(&["CONCURRENTLY"]) {
            return Err("it is to be built concurrently, which no transaction can".to_owned());
        }
        let at = self.if_not_exists();
        self.name()?;
        if !self.takes(&["ON"]) {
            return Err("the index has no name".to_owned());
        }
        self.takes(&["ONLY"]);
        self.name()?;
        if self.takes(&["USING"]) {
            self.word()?;
        }
        self.brackets()?;
        if self.takes(&["INCLUDE"]) {
            self.brackets()?;
        }
        if !self.takes(&["NULLS", "NOT", "DISTINCT"]) {
            self.takes(&["NULLS", "DISTINCT"]);
        }
        if self.takes(&["WITH"]) {
            self.brackets()?;
        }
        if self.takes(&["WHERE"]) {
            // An expression, to the end: the server takes only what is immutable.
            self.at = self.tokens.len();
        }
        self.end().map(|()| at)
    }

    fn add_column(&mut self) -> Result<Option<usize>, String> {
        self.name()?;
        if !self.takes(&["ADD", "COLUMN"]) {
            return Err("it does more than add a column".to_owned());
        }
        let at = self.if_not_exists();
        self.identifier()?;
        self.kind()?;
        loop {
            if self.takes(&["DEFAULT"]) {
                self.constant()?;
            } else if self.takes(&["NOT", "NULL"])
                || self.takes(&["NULL"])
                || self.takes(&["UNIQUE"])
            {
            } else if self.takes(&["CONSTRAINT"]) {
                self.identifier()?;
            } else if self.takes(&["COLLATE"]) {
                self.name()?;
            } else if self.takes(&["REFERENCES"]) {
                self.references()?;
            } else {
                return self.end().map(|()| at);
            }
        }
    }

    fn references(&mut self) -> Result<(), String> {
        self.name()?;
        if self.peek().is_some_and(|token| token.is_symbol('(')) {
            self.brackets()?;
        }
        loop {
            let acts = self.takes(&["ON", "DELETE"]) || self.takes(&["ON", "UPDATE"]);
            let is_known = if acts {
                self.takes(&["CASCADE"])
                    || self.takes(&["RESTRICT"])
                    || self.takes(&["NO", "ACTION"])
                    || self.takes(&["SET", "NULL"])
                    || self.takes(&["SET", "DEFAULT"])
            } else {
                let more = self.takes(&["DEFERRABLE"])
                    || self.takes(&["NOT", "DEFERRABLE"])
                    || self.takes(&["INITIALLY", "DEFERRED"])
                    || self.takes(&["INITIALLY", "IMMEDIATE"])
                    || self.takes(&["MATCH", "FULL"])
                    || self.takes(&["MATCH", "SIMPLE"]);
                if !more {
                    return Ok(());
                }
                more
            };
            if !is_known {
                return Err("its reference is not understood".to_owned());
            }
        }
    }

    fn create_enum(&mut self) -> Result<(), String> {
        self.name()?;
        if !self.takes(&["AS", "ENUM"]) {
            return Err("it creates a type other than an enumeration".to_owned());
        }
        self.brackets()?;
        self.end()
    }

    /// A type: `character varying(20)`, `timestamp (3) with time zone`, `shop.mood[]`, `numeric(10, 2)`.
    fn kind(&mut self) -> Result<(), String> {
        let refuse = || "its type is not understood".to_owned();
        if self.peek().is_some_and(|token| token.is_any(&ENDS)) {
            return Err("it has no type".to_owned());
        }
        self.takes(&["NATIONAL"]);
        self.name().map_err(|_| "it has no type".to_owned())?;
        if !self.takes(&["VARYING"]) {
            self.takes(&["PRECISION"]);
        }
        let begin = self.at;
        if self.peek().is_some_and(|token| token.is_symbol('(')) {
            // Lengths and precisions; words for the types of extensions (`geometry(POINT, 4326)`).
            self.brackets()?;
            let inside = &self.tokens[begin + 1..self.at - 1];
            let is_plain = |placed: &PlacedToken<'_>| {
                matches!(
                    placed.token,
                    Token::Number(_) | Token::Word(_) | Token::Symbol(',' | '-')
                )
            };
            if !inside.iter().all(is_plain) {
                return Err(refuse());
            }
        }
        if !self.takes(&["WITH", "TIME", "ZONE"]) {
            self.takes(&["WITHOUT", "TIME", "ZONE"]);
        }
        while self.peek().is_some_and(|token| token.is_symbol('[')) {
            self.at += 1;
            if matches!(self.peek(), Some(Token::Number(_))) {
                self.at += 1;
            }
            if !self.next().is_some_and(|token| token.is_symbol(']')) {
                return Err(refuse());
            }
        }
        Ok(())
    }

    /// A literal, NULL, TRUE, FALSE, an empty array, or a moment; with casts.
    fn constant(&mut self) -> Result<(), String> {
        let refuse = || "its default is no constant".to_owned();
        let bracketed = self.peek().is_some_and(|token| token.is_symbol('('));
        if bracketed {
            self.at += 1;
        }
        match self.next() {
            Some(Token::Number(_) | Token::Text(_)) => {}
            Some(Token::Symbol('-' | '+')) => {
                let Some(Token::Number(_)) = self.next() else {
                    return Err(refuse());
                };
            }
            Some(token) if token.is_any(&["NULL", "TRUE", "FALSE"]) => {}
            Some(token) if token.is_word("ARRAY") => {
                for bracket in ['[', ']'] {
                    if !self.next().is_some_and(|token| token.is_symbol(bracket)) {
                        return Err(refuse());
                    }
                }
            }
            Some(token) if token.is_any(&MOMENTS) => {
                if self.peek().is_some_and(|token| token.is_symbol('(')) {
                    let open = self.at;
                    self.brackets()?;
                    let inside = &self.tokens[open + 1..self.at - 1];
                    let [
                        PlacedToken {
                            token: Token::Number(_),
                            ..
                        },
                    ] = inside
                    else {
                        return Err(refuse());
                    };
                }
            }
            Some(token) if token.is_any(&FUNCTIONS) => {
                for bracket in ['(', ')'] {
                    if !self.next().is_some_and(|token| token.is_symbol(bracket)) {
                        return Err(refuse());
                    }
                }
            }
            _ => return Err(refuse()),
        }
        self.casts()?;
        if bracketed {
            if !self.next().is_some_and(|token| token.is_symbol(')')) {
                return Err(refuse());
            }
            self.casts()?;
        }
        Ok(())
    }

    fn casts(&mut self) -> Result<(), String> {
        while self.peek().is_some_and(|token| token.is_symbol(':')) {
            self.at += 1;
            if !self.next().is_some_and(|token| token.is_symbol(':')) {
                return Err("its default is no constant".to_owned());
            }
            self.kind()?;
        }
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), String> {
        match self.next() {
            Some(Token::Word(_) | Token::Name(_)) => Ok(()),
            _ => Err("it is not understood".to_owned()),
        }
    }

    fn word(&mut self) -> Result<(), String> {
        match self.next() {
            Some(Token::Word(_)) => Ok(()),
            _ => Err("it is not understood".to_owned()),
        }
    }

    /// `name`, `schema.name`.
    fn name(&mut self) -> Result<(), String> {
        self.identifier()?;
        if self.peek().is_some_and(|token| token.is_symbol('.')) {
            self.at += 1;
            self.identifier()?;
        }
        Ok(())
    }

    /// From a bracket to the one that closes it.
    fn brackets(&mut self) -> Result<(), String> {
        if !self.next().is_some_and(|token| token.is_symbol('(')) {
            return Err("it is not understood".to_owned());
        }
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some(Token::Symbol('(')) => depth += 1,
                Some(Token::Symbol(')')) => depth -= 1,
                Some(_) => {}
                None => return Err("a bracket is not closed".to_owned()),
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err("what stands at its end is not understood".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
