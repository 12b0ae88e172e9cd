//! Which live index stands for which expected one: each for one at most, by its name first. Two indexes over
//! the same columns are two, as far as a report goes; as far as a query goes, one does the work of both.

use super::comparison::Comparison;
use super::index_details::{same_parts, serves};
use crate::database::judge::Equivalence;
use crate::database::model::{Index, Table};

/// The indexes of one table, both sides.
pub(super) struct Pairs<'t> {
    /// For each expected index in its order, what serves it.
    served: Vec<IndexMatch<'t>>,
    /// For each live index in its order, whether an expected one has it for its own.
    is_taken: Vec<bool>,
}

/// What does the work of an expected index.
#[derive(Debug, Clone, Copy)]
pub(super) enum IndexMatch<'t> {
    Nobody,
    /// An index of its own, of whatever name.
    Own,
    /// One that another index or a constraint has for its own.
    Shared(&'t Index),
}

impl<'t> Pairs<'t> {
    pub(super) fn of(comparison: &Comparison<'_>, table: &Table, live: &'t Table) -> Self {
        let dialect = comparison.live.dialect;
        let is_named = |wanted: &Index, found: &Index| match (&wanted.name, &found.name) {
            (Some(wanted), Some(found)) => dialect.same_name(wanted, found),
            _ => false,
        };
        let mut served = vec![IndexMatch::Nobody; table.indexes.len()];
        let mut is_taken = vec![false; live.indexes.len()];
        // A question of the database costs time, so the name goes first: most pairs are found by it.
        for (at, wanted) in table.indexes.iter().enumerate() {
            let mut all = live.indexes.iter();
            let named = all.position(|found| !found.is_implied && is_named(wanted, found));
            if let Some(place) = named
                && serves(comparison, live, wanted, &live.indexes[place], true)
            {
                served[at] = IndexMatch::Own;
                is_taken[place] = true;
            }
        }
        for own in [true, false] {
            for (at, wanted) in table.indexes.iter().enumerate() {
                if !matches!(served[at], IndexMatch::Nobody) {
                    continue;
                }
                let found = (0..live.indexes.len()).find(|place| {
                    let found = &live.indexes[*place];
                    // The index of a constraint belongs to that; a unique one asks for no more.
                    let is_free = !is_taken[*place] && (!found.is_implied || wanted.unique);
                    is_free == own
                        && !is_named(wanted, found)
                        && serves(comparison, live, wanted, found, false)
                });
                if let Some(place) = found {
                    served[at] = if own {
                        is_taken[place] = true;
                        IndexMatch::Own
                    } else {
                        IndexMatch::Shared(&live.indexes[place])
                    };
                }
            }
        }
        Self { served, is_taken }
    }

    /// What serves the expected index at that place.
    pub(super) fn served(&self, at: usize) -> IndexMatch<'t> {
        self.served.get(at).copied().unwrap_or(IndexMatch::Nobody)
    }

    /// Whether the code knows the live index at that place: it stands for an expected one, has its name, or
    /// is what there is instead of one.
    pub(super) fn is_known(
        &self,
        comparison: &Comparison<'_>,
        table: &Table,
        live: &Table,
        place: usize,
    ) -> bool {
        let found = &live.indexes[place];
        let name = found.name.as_deref().unwrap_or_default();
        self.is_taken[place]
            || table.indexes.iter().enumerate().any(|(at, wanted)| {
                let wanted_name = wanted.name.as_deref().unwrap_or_default();
                comparison.live.dialect.same_name(wanted_name, name)
                    || matches!(self.served(at), IndexMatch::Nobody)
                        && same_parts(comparison, live, wanted, found) == Equivalence::Same
            })
    }
}
