//! What looks like a loss and a gain, and is more likely a new name. Pure.

use std::collections::{BTreeMap, HashSet};

use crate::database::model::{Column, DatabaseSchema, Dialect, Table};
use crate::database::types::same_type;

/// Names that are that similar may be one thing (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;
/// A table with that share of the columns may be the same table.
const SHARED_MIN: f64 = 0.8;

/// The columns that are missing, each with the one that the code does not know and that it was likely
/// called before.
pub(super) fn columns<'t>(
    dialect: Dialect,
    expected: &'t Table,
    live: &'t Table,
) -> BTreeMap<&'t str, &'t str> {
    let missing = |column: &&Column| live.column(dialect, &column.name).is_none();
    let extra = |column: &&Column| expected.column(dialect, &column.name).is_none();
    let mut pairs = Vec::new();
    for (at, new) in expected.columns.iter().enumerate() {
        if live.is_view || !missing(&new) {
            continue;
        }
        for (before, old) in live.columns.iter().enumerate().filter(|(_, c)| extra(c)) {
            let score = similarity(&new.name, &old.name);
            if score >= SIMILARITY_MIN
                && new.primary_key == old.primary_key
                && same_type(dialect, new, old)
            {
                pairs.push((
                    score + if at == before { 0.1 } else { 0.0 },
                    &*new.name,
                    &*old.name,
                ));
            }
        }
    }
    best(pairs)
}

/// The tables that are missing, each with the one that it was likely called before.
pub(super) fn tables<'t>(
    live: &'t DatabaseSchema,
    compared: impl Iterator<Item = &'t Table>,
    expected: &'t [Table],
    others: &'t [Table],
) -> BTreeMap<&'t str, &'t str> {
    let missing: Vec<&Table> = compared
        .filter(|table| live.table(table.schema.as_deref(), &table.name).is_none())
        .collect();
    if missing.is_empty() {
        return BTreeMap::new();
    }
    let extra = unknown(live, expected, others);
    let mut pairs = Vec::new();
    for new in missing {
        for old in &extra {
            let score = similarity(&new.name, &old.name);
            if score >= SIMILARITY_MIN && shared(live.dialect, new, old) >= SHARED_MIN {
                pairs.push((score, &*new.name, &*old.name));
            }
        }
    }
    best(pairs)
}

/// A column that the code does not know and that may be the missing one under another name: of its type, and no
/// likelier name for anything.
pub(super) fn of_its_type<'t>(
    dialect: Dialect,
    new: &Column,
    expected: &Table,
    live: &'t Table,
    renamed: &BTreeMap<&str, &str>,
) -> Option<&'t str> {
    let is_free = |old: &&Column| {
        expected.column(dialect, &old.name).is_none()
            && !renamed.values().any(|name| *name == old.name)
    };
    let mut extra = live.columns.iter().filter(is_free);
    let found = extra.find(|old| !old.primary_key && same_type(dialect, new, old))?;
    Some(&found.name)
}

/// An unknown table that has all columns of one that is missing.
pub(super) fn with_its_columns<'t>(
    live: &'t DatabaseSchema,
    new: &Table,
    expected: &[Table],
    others: &[Table],
) -> Option<&'t str> {
    let extra = unknown(live, expected, others);
    let found = extra
        .into_iter()
        .find(|old| new.columns.len() > 1 && shared(live.dialect, new, old) >= SHARED_MIN)?;
    Some(&found.name)
}

/// The tables that nobody expects.
pub(super) fn unknown<'t>(
    live: &'t DatabaseSchema,
    expected: &[Table],
    others: &[Table],
) -> Vec<&'t Table> {
    let known = |table: &Table| {
        let mut all = expected.iter().chain(others);
        all.any(|one| live.dialect.same_name(&one.name, &table.name))
    };
    live.tables
        .iter()
        .filter(|table| !table.is_view && !table.is_partition && !known(table))
        .collect()
}

/// The share of columns that both have, of one type.
fn shared(dialect: Dialect, new: &Table, old: &Table) -> f64 {
    let both = new.columns.iter().filter(|column| {
        let other = old.column(dialect, &column.name);
        other.is_some_and(|other| same_type(dialect, column, other))
    });
    let all = new.columns.len().max(old.columns.len()).max(1);
    #[allow(clippy::cast_precision_loss)] // Some hundreds.
    let share = both.count() as f64 / all as f64;
    share
}

/// How alike two names are; one that is the other with something before or behind it is much alike.
fn similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let is_part = a.len().min(b.len()) >= 3 && (a.contains(&b) || b.contains(&a));
    let score = strsim::jaro_winkler(&a, &b);
    if is_part { score.max(0.9) } else { score }
}

/// Each name once, the most alike first.
fn best<'t>(mut pairs: Vec<(f64, &'t str, &'t str)>) -> BTreeMap<&'t str, &'t str> {
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)).then(a.2.cmp(b.2)));
    let (mut found, mut taken) = (BTreeMap::new(), HashSet::new());
    for (_, new, old) in pairs {
        if !found.contains_key(new) && taken.insert(old) {
            found.insert(new, old);
        }
    }
    found
}
