//! Indexes that the code expects and that are missing, or are there with other contents.

use super::comparison::Comparison;
use super::index_details::{Namesake, namesake};
use super::pairs::{IndexMatch, Pairs};
use super::statements::with_statements;
use crate::database::model::{Index, Table};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};

/// Expected indexes of a table that nothing serves, or whose namesake differs.
pub(super) fn compare_indexes(
    comparison: &Comparison<'_>,
    table: &Table,
    live: &Table,
    pairs: &Pairs<'_>,
) -> Vec<Finding> {
    let indexes = table.indexes.iter().enumerate();
    indexes
        .filter_map(|(at, index)| missing_index(comparison, table, index, live, pairs.served(at)))
        .collect()
}

fn missing_index(
    comparison: &Comparison<'_>,
    table: &Table,
    index: &Index,
    live: &Table,
    served: IndexMatch<'_>,
) -> Option<Finding> {
    let name = index.name.as_deref()?;
    let same_name = live.indexes.iter().find(|found| {
        let found = found.name.as_deref();
        found.is_some_and(|found| comparison.live.dialect.same_name(found, name))
    });
    let lacks_column = index
        .columns
        .iter()
        .flatten()
        .any(|column| live.column(comparison.live.dialect, column).is_none());
    match served {
        _ if lacks_column => return None,
        IndexMatch::Own => return None,
        IndexMatch::Shared(by) => return Some(index_shared(comparison, table, name, by)),
        IndexMatch::Nobody => {}
    }
    match same_name.map(|found| namesake(comparison, table, live, index, found)) {
        Some(Namesake::Differs(finding)) => return Some(*finding),
        Some(Namesake::Alike) => return None,
        Some(Namesake::OfOtherColumns) | None => {}
    }
    let subject = format!("{}.{name}", table.name);
    let mut finding = comparison
        .finding(
            Code::SchemaMissingIndex,
            Severity::Warning,
            subject,
            format!(
                "index {name} of table {} is missing in {}",
                table.name, comparison.database
            ),
        )
        .fact("table", table.name.as_str())
        .fact("index", name);
    finding.location = (comparison.locate)(&table.name);
    let statements = if same_name.is_some() {
        Err("an index of that name exists, over other columns".to_owned())
    } else {
        index
            .ddl
            .clone()
            .map(|ddl| vec![ddl])
            .ok_or_else(|| "the database's dialect cannot write its definition".to_owned())
    };
    Some(with_statements(
        comparison,
        finding,
        statements,
        "create the index",
    ))
}

/// Two indexes that the code expects are one in the database: a query has what it needs.
fn index_shared(comparison: &Comparison<'_>, table: &Table, name: &str, by: &Index) -> Finding {
    let by = match &by.name {
        Some(name) if !by.is_implied => format!("index {name}"),
        _ => "the index of a constraint".to_owned(),
    };
    comparison.finding(
        Code::SchemaMissingIndex,
        Severity::Info,
        format!("{}.{name}", table.name),
        format!(
            "index {name} of table {} is missing in {}, and {by} over the same columns does its work",
            table.name, comparison.database
        ),
    )
    .fact("table", table.name.as_str())
    .fact("index", name)
    .remedy("take the index out of the model, or write a migration that creates it")
}
