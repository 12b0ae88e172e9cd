//! A finding with the statements that mend it, after SQLite itself took them; or with the reason why a person has to.

use std::collections::HashSet;

use rusqlite::Connection;

use super::comparison::Comparison;
use super::proposed::propose;
use crate::database::model::Dialect;
use crate::database::postgres::ddl::Proposed;
use crate::database::sql::text::Token;
use crate::database::sql::words::words;
use crate::domain::finding::Finding;
use crate::domain::remedy::Remedy;

/// With the statements that mend it, or the reason why a person has to.
pub(super) fn with_statements(
    comparison: &Comparison<'_>,
    finding: Finding,
    statements: Result<Vec<String>, String>,
    by_hand: &str,
) -> Finding {
    if comparison.live.dialect == Dialect::Postgres {
        return propose(
            Proposed::from(statements),
            finding,
            comparison.rights,
            comparison.schema,
            by_hand,
        );
    }
    let tried = statements.and_then(|statements| {
        accepts(comparison, &statements)?;
        Ok(statements)
    });
    match tried {
        Ok(statements) => {
            let first = statements.first().map_or("", String::as_str);
            let first: Vec<&str> = first.split_whitespace().collect();
            let shown = crate::domain::redact::truncate(&first.join(" "), 200);
            let schema = comparison.schema.to_owned();
            finding
                .remedy(format!("run {shown}"))
                .fix(Remedy::RunStatements { schema, statements })
        }
        Err(why) => finding.remedy(format!("{by_hand}; not automatically, because {why}")),
    }
}

/// Tries statements in an empty database with the live definitions that they name: what it refuses, the live
/// one refuses too.
pub(super) fn accepts(comparison: &Comparison<'_>, statements: &[String]) -> Result<(), String> {
    let in_words = |error: rusqlite::Error| format!("SQLite refuses it: {error}");
    let connection = Connection::open_in_memory().map_err(in_words)?;
    // SQLite takes a string for a name where one belongs.
    let named: HashSet<String> = statements
        .iter()
        .flat_map(|statement| words(Dialect::Sqlite, statement))
        .filter(|word| word.is_name() || matches!(word.token, Token::Text(_)))
        .map(|word| word.name().trim_matches('\'').to_lowercase())
        .collect();
    let is_named = |name: &str| named.contains(&name.to_lowercase());
    for table in &comparison.live.tables {
        let mut indexes = table.indexes.iter();
        if !is_named(&table.name)
            && !indexes.any(|index| index.name.as_deref().is_some_and(is_named))
        {
            continue;
        }
        // What needs a module that is not here (a virtual table) is left out.
        let _ = connection.execute(table.ddl.as_deref().unwrap_or_default(), []);
        for sql in table.indexes.iter().filter_map(|index| index.ddl.as_ref()) {
            let _ = connection.execute(sql, []);
        }
    }
    for statement in statements {
        connection.execute(statement, []).map_err(in_words)?;
    }
    Ok(())
}
