//! What a statement is for the relay, known by its first words: whether it is let through, and how it is
//! recorded. Pure.
//!
//! The refusal is a second wall. The first one is the trial's role, which has no right to what is refused
//! here; code that builds its statements itself (`DO`, functions) meets that wall only.

use crate::database::sql::text::{SqlStatement, Token};

/// How a statement is recorded once it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StatementKind {
    /// Begins a transaction.
    Begin,
    /// Commits it, and begins another with `AND CHAIN`.
    Commit { chain: bool },
    /// Takes it back.
    Rollback,
    /// Takes a part of it back.
    RollbackTo,
    /// `PREPARE TRANSACTION` and what ends it.
    TwoPhase,
    /// Says how the transaction is: the replay has its own.
    SetTransaction,
    /// How long something may take, and what is told to whom: what comes out is the same, and the replay has its
    /// own limits.
    Limit,
    /// `RESET ALL`.
    ResetAll,
    /// Rows from or to the client.
    Copy,
    /// Forgets a prepared statement, if it names one.
    Deallocate(Option<String>),
    /// Runs in no transaction block; by what it is called.
    Alone(&'static str),
    /// Neither, but does the same without the word `CONCURRENTLY`, if others may wait for it.
    Concurrent,
    /// `SET LOCAL`: until the end of the transaction.
    Local,
    /// Prepares a statement by SQL's own means.
    Prepare,
    /// Something of the connection that later statements may see.
    Session,
    /// Changes nothing by itself.
    Reading,
    /// Everything else.
    Writing,
}

impl StatementKind {
    /// Whether the database may be another after it.
    pub(super) fn changes(&self) -> bool {
        matches!(
            self,
            Self::Writing | Self::Alone(_) | Self::Concurrent | Self::TwoPhase
        )
    }

    /// Whether the server ends such a statement with this tag.
    pub(super) fn fits(&self, tag: &str) -> bool {
        match self {
            Self::Begin => matches!(tag, "BEGIN" | "START TRANSACTION"),
            Self::Commit { .. } => matches!(tag, "COMMIT" | "ROLLBACK"),
            Self::Rollback | Self::RollbackTo => tag == "ROLLBACK",
            Self::TwoPhase => matches!(
                tag,
                "PREPARE TRANSACTION" | "COMMIT PREPARED" | "ROLLBACK PREPARED" | "ROLLBACK"
            ),
            _ => !matches!(
                tag,
                "BEGIN"
                    | "START TRANSACTION"
                    | "COMMIT"
                    | "ROLLBACK"
                    | "PREPARE TRANSACTION"
                    | "COMMIT PREPARED"
                    | "ROLLBACK PREPARED"
            ),
        }
    }
}

/// The first tokens of a statement.
struct Words<'s, 'a>(&'s [Token<'a>]);

impl Words<'_, '_> {
    fn is(&self, at: usize, word: &str) -> bool {
        self.0.get(at).is_some_and(|token| token.is_word(word))
    }

    fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    fn begins(&self, words: &[&str]) -> bool {
        let mut at = 0..;
        words
            .iter()
            .zip(&mut at)
            .all(|(word, at)| self.is(at, word))
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|token| token.is_word(word))
    }

    /// Whether it sets or resets a setting that decides about nothing but time and messages.
    fn names_limit(&self) -> bool {
        const LIMITS: [&str; 9] = [
            "application_name",
            "client_min_messages",
            "deadlock_timeout",
            "idle_in_transaction_session_timeout",
            "idle_session_timeout",
            "lock_timeout",
            "log_min_messages",
            "statement_timeout",
            "transaction_timeout",
        ];
        let at = 1 + usize::from(self.is_any(1, &["LOCAL", "SESSION"]));
        self.is_any(at, &LIMITS)
    }

    fn has_pair(&self, first: &str, second: &str) -> bool {
        self.0
            .windows(2)
            .any(|pair| pair[0].is_word(first) && pair[1].is_word(second))
    }
}

/// How a statement is recorded.
pub(super) fn kind_of(statement: &SqlStatement<'_>) -> StatementKind {
    let words = Words(&statement.outline);
    let Some(Token::Word(first)) = statement.outline.first() else {
        return reading_unless(statement.writes);
    };
    match first.to_ascii_uppercase().as_str() {
        "BEGIN" => StatementKind::Begin,
        "START" if words.is(1, "TRANSACTION") => StatementKind::Begin,
        "COMMIT" | "ROLLBACK" if words.is(1, "PREPARED") => StatementKind::TwoPhase,
        "PREPARE" if words.is(1, "TRANSACTION") => StatementKind::TwoPhase,
        "COMMIT" | "END" => StatementKind::Commit {
            chain: words.has("CHAIN") && !words.has("NO"),
        },
        "ROLLBACK" if words.has("TO") => StatementKind::RollbackTo,
        "ROLLBACK" | "ABORT" => StatementKind::Rollback,
        "SAVEPOINT" | "RELEASE" => StatementKind::Reading,
        "SET" if words.is(1, "TRANSACTION") || words.has_pair("SESSION", "CHARACTERISTICS") => {
            StatementKind::SetTransaction
        }
        "SET" if words.is(1, "LOCAL") && words.is(2, "TRANSACTION") => {
            StatementKind::SetTransaction
        }
        "SET" | "RESET" if words.names_limit() => StatementKind::Limit,
        "RESET" if words.is(1, "ALL") => StatementKind::ResetAll,
        "SET" if words.is(1, "LOCAL") => StatementKind::Local,
        "SET" if words.is(1, "CONSTRAINTS") => StatementKind::Reading,
        "DISCARD" if words.is(1, "ALL") => StatementKind::Alone("DISCARD ALL"),
        "PREPARE" => StatementKind::Prepare,
        "SET" | "RESET" | "DISCARD" | "LISTEN" | "UNLISTEN" => StatementKind::Session,
        "DEALLOCATE" => StatementKind::Deallocate(deallocated(&statement.outline)),
        "COPY" => StatementKind::Copy,
        "VACUUM" => StatementKind::Alone("VACUUM"),
        "CLUSTER" if statement.outline.len() < 2 || words.is(1, "VERBOSE") => {
            StatementKind::Alone("CLUSTER")
        }
        "REINDEX" if words.has("CONCURRENTLY") => StatementKind::Alone("REINDEX ... CONCURRENTLY"),
        "REINDEX"
            if ["DATABASE", "SYSTEM", "SCHEMA"]
                .iter()
                .any(|kind| words.has(kind)) =>
        {
            StatementKind::Alone("REINDEX of a database or schema")
        }
        "CREATE" | "DROP" if words.has_pair("INDEX", "CONCURRENTLY") => StatementKind::Concurrent,
        "ALTER" if words.is(1, "TABLE") && words.has("DETACH") && words.has("CONCURRENTLY") => {
            StatementKind::Alone("DETACH PARTITION ... CONCURRENTLY")
        }
        "CREATE" if is_temporary(&words) => StatementKind::Session,
        "SELECT" if statement.text.to_ascii_lowercase().contains("set_config") => {
            StatementKind::Session
        }
        "SELECT" | "WITH" | "VALUES" | "TABLE" => reading_unless(statement.writes),
        // What it explains is carried out with ANALYZE, which may stand in brackets.
        "EXPLAIN" => reading_unless(statement.writes),
        "SHOW" | "DECLARE" | "FETCH" | "MOVE" | "CLOSE" | "LOCK" => StatementKind::Reading,
        _ => StatementKind::Writing,
    }
}

fn reading_unless(writes: bool) -> StatementKind {
    if writes {
        StatementKind::Writing
    } else {
        StatementKind::Reading
    }
}

fn is_temporary(words: &Words<'_, '_>) -> bool {
    const OPTIONAL: [&str; 4] = ["OR", "REPLACE", "GLOBAL", "LOCAL"];
    let mut at = 1;
    while words.is_any(at, &OPTIONAL) {
        at += 1;
    }
    words.is_any(at, &["TEMP", "TEMPORARY"])
}

fn deallocated(outline: &[Token<'_>]) -> Option<String> {
    match outline {
        [_, .., Token::Word(name)] if !name.eq_ignore_ascii_case("ALL") => {
            Some(name.to_ascii_lowercase())
        }
        [_, .., Token::Name(name)] => {
            let inside = name.strip_prefix('"')?.strip_suffix('"')?;
            Some(inside.replace("\"\"", "\""))
        }
        _ => None,
    }
}

/// Why a statement is not let through: it reaches beyond the one database.
pub(super) fn refusal(statement: &SqlStatement<'_>) -> Option<&'static str> {
    const DATABASES: &str = "it makes, changes or drops a database";
    const ROLES: &str = "it is about roles, which all databases of the server share";
    const SPACES: &str = "it is about tablespaces, which all databases of the server share";
    const ELSEWHERE: &str = "it leads to another server";
    const FILES: &str = "it reads or writes files of the server, or runs a program there";
    let words = Words(&statement.outline);
    let declares = words.is_any(0, &["CREATE", "ALTER", "DROP"]);
    if declares {
        return match () {
            () if words.is(1, "DATABASE") => Some(DATABASES),
            () if words.is_any(1, &["ROLE", "GROUP"]) => Some(ROLES),
            () if words.is(1, "USER") && words.is(2, "MAPPING") => Some(ELSEWHERE),
            () if words.is(1, "USER") => Some(ROLES),
            () if words.is(1, "TABLESPACE") => Some(SPACES),
            () if words.is_any(1, &["SUBSCRIPTION", "SERVER"]) => Some(ELSEWHERE),
            () if words.is(1, "FOREIGN") && words.is(2, "DATA") => Some(ELSEWHERE),
            () if words.begins(&["ALTER", "SYSTEM"]) => Some("it changes settings of the server"),
            () if words.begins(&["DROP", "OWNED"]) => Some(ROLES),
            () => None,
        };
    }
    if words.begins(&["IMPORT", "FOREIGN"]) {
        return Some(ELSEWHERE);
    }
    if words.begins(&["REASSIGN", "OWNED"]) {
        return Some(ROLES);
    }
    if words.is(0, "LOAD") {
        return Some("it loads a library into the server");
    }
    if words.is(0, "COPY") {
        let aim = statement
            .outline
            .windows(2)
            .find(|pair| pair[0].is_word("FROM") || pair[0].is_word("TO"));
        let with_client =
            aim.is_none_or(|pair| pair[1].is_word("STDIN") || pair[1].is_word("STDOUT"));
        return (!with_client).then_some(FILES);
    }
    if words.is_any(0, &["COMMENT", "SECURITY"]) {
        return shared_thing(&words);
    }
    if words.is_any(0, &["GRANT", "REVOKE"]) {
        if let Some(why) = shared_thing(&words) {
            return Some(why);
        }
        // Without what it is on, it is about roles.
        return (!words.has("ON")).then_some(ROLES);
    }
    None
}

/// Behind `ON`: what all databases of the server share.
fn shared_thing(words: &Words<'_, '_>) -> Option<&'static str> {
    const SHARED: [&str; 6] = [
        "DATABASE",
        "TABLESPACE",
        "ROLE",
        "PARAMETER",
        "FOREIGN",
        "SUBSCRIPTION",
    ];
    let is_shared = SHARED.iter().any(|kind| {
        // A foreign table is one of this database.
        words.has_pair("ON", kind) && !(*kind == "FOREIGN" && words.has_pair("FOREIGN", "TABLE"))
    });
    is_shared.then_some("it is about something that is not of this database alone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::sql::text::sql_statements;

    fn one(sql: &str) -> SqlStatement<'_> {
        sql_statements(sql).next().unwrap().unwrap()
    }

    #[test]
    fn kinds_are_known_by_the_first_words() {
        for (sql, kind) in [
            ("begin", StatementKind::Begin),
            ("/* x */ START TRANSACTION READ ONLY", StatementKind::Begin),
            ("END", StatementKind::Commit { chain: false }),
            (
                "COMMIT AND NO CHAIN",
                StatementKind::Commit { chain: false },
            ),
            (
                "COMMIT WORK AND CHAIN",
                StatementKind::Commit { chain: true },
            ),
            ("ROLLBACK AND CHAIN", StatementKind::Rollback),
            ("ROLLBACK WORK TO SAVEPOINT a", StatementKind::RollbackTo),
            ("COMMIT PREPARED 'x'", StatementKind::TwoPhase),
            ("PREPARE TRANSACTION 'x'", StatementKind::TwoPhase),
            ("PREPARE x AS SELECT 1", StatementKind::Prepare),
            ("SET TRANSACTION READ ONLY", StatementKind::SetTransaction),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                StatementKind::SetTransaction,
            ),
            ("SET LOCAL search_path = a", StatementKind::Local),
            ("set search_path to a", StatementKind::Session),
            ("SET LOCAL lock_timeout = '5s'", StatementKind::Limit),
            ("set SESSION statement_timeout to 0", StatementKind::Limit),
            ("RESET lock_timeout", StatementKind::Limit),
            ("RESET ALL", StatementKind::ResetAll),
            ("RESET search_path", StatementKind::Session),
            ("SET CONSTRAINTS ALL IMMEDIATE", StatementKind::Reading),
            (
                "SELECT set_config('a.b', 'c', false)",
                StatementKind::Session,
            ),
            ("SELECT 1", StatementKind::Reading),
            ("(SELECT 1)", StatementKind::Reading),
            ("SELECT 1 INTO t", StatementKind::Writing),
            (
                "WITH x AS (DELETE FROM t RETURNING 1) SELECT 1",
                StatementKind::Writing,
            ),
            ("CREATE TEMP TABLE t (x int)", StatementKind::Session),
            (
                "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1",
                StatementKind::Session,
            ),
            ("CREATE TABLE temp (x int)", StatementKind::Writing),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
                StatementKind::Concurrent,
            ),
            (
                "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
                StatementKind::Writing,
            ),
            (
                "DEALLOCATE PREPARE \"a\"\"b\"",
                StatementKind::Deallocate(Some("a\"b".to_owned())),
            ),
            (
                "DEALLOCATE X",
                StatementKind::Deallocate(Some("x".to_owned())),
            ),
            ("DEALLOCATE ALL", StatementKind::Deallocate(None)),
            ("COPY t FROM STDIN", StatementKind::Copy),
            ("DO $$ BEGIN END $$", StatementKind::Writing),
        ] {
            assert_eq!(kind_of(&one(sql)), kind, "{sql}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_database_is_refused() {
        for sql in [
            "CREATE DATABASE x",
            "/* a */ create /* b */ role x",
            "CREATE USER x PASSWORD 'y'",
            "ALTER ROLE ALL SET a = 'b'",
            "DROP GROUP x",
            "ALTER SYSTEM SET a = 'b'",
            "CREATE TABLESPACE x LOCATION '/y'",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION y",
            "CREATE SERVER s FOREIGN DATA WRAPPER w",
            "ALTER FOREIGN DATA WRAPPER w OPTIONS (a 'b')",
            "DROP USER MAPPING FOR x SERVER y",
            "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
            "COPY t TO PROGRAM 'x'",
            "COPY t (a, b) FROM '/etc/passwd'",
            "COPY (SELECT 1) TO E'/tmp/x'",
            "COPY BINARY a.t FROM $$/x$$",
            "LOAD 'x'",
            "GRANT CONNECT ON DATABASE a TO b",
            "GRANT a TO b",
            "REVOKE ADMIN OPTION FOR a FROM b",
            "GRANT SET ON PARAMETER work_mem TO b",
            "GRANT USAGE ON FOREIGN SERVER a TO b",
            "COMMENT ON DATABASE a IS 'x'",
            "DROP OWNED BY a",
            "REASSIGN OWNED BY a TO b",
        ] {
            assert!(refusal(&one(sql)).is_some(), "{sql}");
        }
        for sql in [
            "CREATE TABLE database (role text)",
            "ALTER TABLE t OWNER TO x",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x",
            "GRANT SELECT (a, b), INSERT ON t TO x",
            "GRANT USAGE ON SCHEMA s TO x WITH GRANT OPTION",
            "COPY t FROM STDIN",
            "COPY \"from\" (a) TO STDOUT",
            "COMMENT ON TABLE t IS 'DATABASE'",
            "COMMENT ON FOREIGN TABLE t IS 'x'",
            "DROP TABLE role",
            "CREATE FOREIGN TABLE t (a int) SERVER s",
            "SELECT 'CREATE DATABASE x'",
        ] {
            assert_eq!(refusal(&one(sql)), None, "{sql}");
        }
    }

    #[test]
    fn tags_say_whether_it_was_understood() {
        assert!(StatementKind::Commit { chain: false }.fits("ROLLBACK"));
        assert!(!StatementKind::Writing.fits("COMMIT") && !StatementKind::Begin.fits("COMMIT"));
        assert!(
            StatementKind::Writing.fits("CREATE TABLE")
                && StatementKind::RollbackTo.fits("ROLLBACK")
        );
    }
}
