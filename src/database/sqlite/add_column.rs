//! The statements that add a column to a table with rows, or the reason why SQLite cannot.

use crate::database::model::{Column, Dialect, Table};
use crate::database::sql::quote::identifier;

/// The statements that add a column to a table with rows, without touching one
/// (sqlite.org/lang_altertable.html, 4).
pub(crate) fn add_column(
    table: &Table,
    column: &Column,
    live: &Table,
) -> Result<Vec<String>, String> {
    let refuse = |why: &str| Err(why.to_owned());
    let Some(kind) = &column.kind else {
        return refuse("SQLite has no type for it");
    };
    if live.is_view {
        return refuse("it is a view there");
    }
    if column.primary_key {
        return refuse("a primary key cannot be added to a table that exists");
    }
    if column.generated {
        return refuse("its value is generated");
    }
    if column.checked {
        return refuse("a constraint of the table belongs to it, which ADD COLUMN cannot bring");
    }
    let default = match column.server_default.as_deref() {
        Some(text) if is_constant(text) => Some(text),
        Some(_) => return refuse("its default is no constant"),
        None if !column.nullable => column.default.as_deref().filter(|text| is_constant(text)),
        None => None,
    };
    let is_null = default.is_none_or(|text| text.trim().eq_ignore_ascii_case("NULL"));
    if !column.nullable && is_null {
        return refuse("it must not be NULL and has no constant default for the rows that exist");
    }
    if column.unique && !is_null {
        return refuse("it is unique, and all rows that exist would get the same value");
    }
    if column.references.is_some() && !is_null {
        return refuse(
            "it references another table, and its default might reference nothing there",
        );
    }
    let mut alter = format!(
        "ALTER TABLE {} ADD COLUMN {} {kind}",
        identifier(&live.name),
        column.quoted
    );
    if let Some(default) = default {
        alter.push_str(&format!(" DEFAULT {default}"));
    }
    if !column.nullable {
        alter.push_str(" NOT NULL");
    }
    if let Some(references) = &column.references {
        alter.push_str(&format!(" {references}"));
    }
    if !column.own_checks.is_empty() {
        alter.push_str(&format!(" {}", column.own_checks));
    }
    let mut statements = vec![alter];
    let mut is_indexed = false;
    for index in &table.indexes {
        let names: Option<Vec<&str>> = index.columns.iter().map(Option::as_deref).collect();
        let Some(names) = names else { continue };
        let has_it = names.iter().any(|n| n.eq_ignore_ascii_case(&column.name));
        let others_are_there = names.iter().all(|n| {
            n.eq_ignore_ascii_case(&column.name) || live.column(Dialect::Sqlite, n).is_some()
        });
        if has_it && others_are_there {
            let ddl = index.ddl.clone();
            statements.push(ddl.ok_or("one of its indexes cannot be written for SQLite")?);
            is_indexed |= index.unique && names.len() == 1;
        }
    }
    if column.unique && !is_indexed {
        statements.push(format!(
            "CREATE UNIQUE INDEX {} ON {} ({})",
            identifier(&format!("uq_{}_{}", live.name, column.name)),
            identifier(&live.name),
            column.quoted
        ));
    }
    Ok(statements)
}

/// A literal: a number, a string, a blob, NULL, TRUE or FALSE. SQLite adds no column with another
/// default (no CURRENT_TIMESTAMP, no expression in brackets).
fn is_constant(text: &str) -> bool {
    let text = text.trim();
    if let Some(inner) = text
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        return !inner.replace("''", "").contains('\'') && !inner.contains('\0');
    }
    let bytes = text
        .strip_prefix(['x', 'X'])
        .and_then(|rest| rest.strip_prefix('\'')?.strip_suffix('\''));
    if let Some(bytes) = bytes {
        return bytes.len().is_multiple_of(2) && bytes.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let words = ["NULL", "TRUE", "FALSE"];
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
        || (digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_literals_only() {
        for text in [
            "0",
            "-1.5",
            "'a''b'",
            "''",
            "NULL",
            "true",
            "1e3",
            "x''",
            "X'0a'",
            "'CURRENT_TIMESTAMP'",
        ] {
            assert!(is_constant(text), "{text}");
        }
        for text in [
            "CURRENT_TIMESTAMP",
            "(1)",
            "'a' || 'b'",
            "now()",
            "",
            "''a'",
            "1; DROP",
            "0x",
            "x'0'",
        ] {
            assert!(!is_constant(text), "{text}");
        }
    }
}
