//! Tables that the sources define, and in which order a boot comes to them.

use std::collections::BTreeSet;

use crate::checks::context::CheckContext;
use crate::source::{ImportOrder, TableDefinition};

/// What the static scan says of tables.
#[derive(Debug, Default)]
pub(super) struct TableScan {
    pub tables: Vec<TableDefinition>,
    /// For each entry module: positions of tables, in the order in which importing it defines them.
    pub reached: Vec<Vec<usize>>,
}

impl TableScan {
    /// Of the application's sources.
    pub(super) fn of(context: &CheckContext<'_>, entries: &[&str]) -> Self {
        let facts = context.facts();
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        let is_repeated = facts
            .tables
            .iter()
            .any(|table| !seen.insert((&table.table, &table.metadata)));
        let reached = if is_repeated {
            let order = ImportOrder::new(facts);
            entries.iter().map(|entry| order.tables_of(entry)).collect()
        } else {
            Vec::new()
        };
        Self {
            tables: facts.tables.clone(),
            reached,
        }
    }
}
