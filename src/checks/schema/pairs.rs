//! Which live index stands for which expected one: each for one at most, by its name first. Two indexes over
//! the same columns are two, as far as a report goes; as far as a query goes, one does the work of both.

use super::diff::Comparison;
use super::judge::Verdict;
use super::model::{Index, Table};

/// The indexes of one table, both sides.
pub(super) struct Pairs<'t> {
    /// For each expected index in its order, what serves it.
    served: Vec<Served<'t>>,
    /// For each live index in its order, whether an expected one has it for its own.
    is_taken: Vec<bool>,
}

/// What does the work of an expected index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Served<'t> {
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
        let candidates: Vec<Vec<usize>> = table
            .indexes
            .iter()
            .map(|wanted| {
                let all = live.indexes.iter().enumerate();
                let serving = all.filter(|(_, found)| {
                    comparison.serves(live, wanted, found, is_named(wanted, found))
                });
                serving.map(|(at, _)| at).collect()
            })
            .collect();
        let mut own: Vec<Option<usize>> = vec![None; table.indexes.len()];
        let mut is_taken = vec![false; live.indexes.len()];
        for by_name in [true, false] {
            for (at, wanted) in table.indexes.iter().enumerate() {
                let free = candidates[at].iter().copied().find(|place| {
                    let found = &live.indexes[*place];
                    // The index of a constraint belongs to that; a unique one asks for no more.
                    !is_taken[*place]
                        && (!found.is_implied || wanted.unique)
                        && (!by_name || is_named(wanted, found))
                });
                if own[at].is_none()
                    && let Some(place) = free
                {
                    own[at] = Some(place);
                    is_taken[place] = true;
                }
            }
        }
        let served = (0..table.indexes.len())
            .map(|at| match (own[at], candidates[at].first()) {
                (Some(_), _) => Served::Own,
                (None, Some(place)) => Served::Shared(&live.indexes[*place]),
                (None, None) => Served::Nobody,
            })
            .collect();
        Self { served, is_taken }
    }

    /// What serves the expected index at that place.
    pub(super) fn served(&self, at: usize) -> Served<'t> {
        self.served.get(at).copied().unwrap_or(Served::Nobody)
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
                    || matches!(self.served(at), Served::Nobody)
                        && comparison.same_parts(live, wanted, found) == Verdict::Same
            })
    }
}
