//! The history of a migration environment as a graph: what follows what, which revisions nothing
//! follows, what a database lacks. Pure.
//!
//! The rules are those of Alembic's own map of revisions: `down_revision` makes heads and bases,
//! `depends_on` orders too, but a revision that is only depended on stays a head.

use std::collections::{BTreeMap, BTreeSet};

/// One migration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Revision {
    pub id: String,
    /// What it follows; several for a merge, none for a base.
    pub down: Vec<String>,
    /// What must be applied before it besides: revisions or labels of branches.
    pub depends: Vec<String>,
    pub labels: Vec<String>,
    /// Relative to the workspace.
    pub file: String,
    pub line: u32,
}

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Defect {
    /// Two files have the same revision; positions of both.
    Duplicate { first: usize, second: usize },
    /// A file follows a revision that no file has.
    Missing { revision: usize, wanted: String },
    /// Revisions that follow each other in a circle, or follow such a circle.
    Cycle { revisions: Vec<usize> },
}

/// The graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub revisions: Vec<Revision>,
    index: BTreeMap<String, usize>,
    down: Vec<Vec<usize>>,
    /// `down` and `depends` together.
    before: Vec<Vec<usize>>,
    /// Every revision after all that must be applied before it; those of a cycle are not in it.
    order: Vec<usize>,
    pub defects: Vec<Defect>,
}

impl Graph {
    pub(super) fn new(revisions: Vec<Revision>) -> Self {
        let mut graph = Self::default();
        let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, revision) in revisions.iter().enumerate() {
            match graph.index.get(&revision.id) {
                Some(&first) => graph.defects.push(Defect::Duplicate { first, second: at }),
                None => {
                    graph.index.insert(revision.id.clone(), at);
                }
            }
            for label in &revision.labels {
                labels.entry(label).or_insert(at);
            }
        }
        for (at, revision) in revisions.iter().enumerate() {
            let mut find = |wanted: &str| {
                let found = graph.index.get(wanted).or_else(|| labels.get(wanted));
                if found.is_none() {
                    let wanted = wanted.to_owned();
                    graph.defects.push(Defect::Missing {
                        revision: at,
                        wanted,
                    });
                }
                found.copied()
            };
            let down: Vec<usize> = revision.down.iter().filter_map(|id| find(id)).collect();
            let mut before = down.clone();
            before.extend(revision.depends.iter().filter_map(|id| find(id)));
            graph.down.push(down);
            graph.before.push(before);
        }
        graph.revisions = revisions;
        graph.order = graph.sorted();
        if graph.order.len() < graph.revisions.len() {
            let placed: BTreeSet<usize> = graph.order.iter().copied().collect();
            let revisions = (0..graph.revisions.len())
                .filter(|at| !placed.contains(at))
                .collect();
            graph.defects.push(Defect::Cycle { revisions });
        }
        graph
    }

    fn sorted(&self) -> Vec<usize> {
        let mut waits: Vec<usize> = self.before.iter().map(Vec::len).collect();
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.before.len()];
        for (at, before) in self.before.iter().enumerate() {
            before.iter().for_each(|&b| after[b].push(at));
        }
        // A branch is walked to its end before the next one is begun: easier to read.
        let mut ready: Vec<usize> = (0..waits.len())
            .rev()
            .filter(|&at| waits[at] == 0)
            .collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some(at) = ready.pop() {
            order.push(at);
            for &next in after[at].iter().rev() {
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.push(next);
                }
            }
        }
        order
    }

    pub(super) fn position(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Revisions that nothing follows.
    pub(super) fn heads(&self) -> Vec<usize> {
        let followed: BTreeSet<usize> = self.down.iter().flatten().copied().collect();
        (0..self.revisions.len())
            .filter(|at| !followed.contains(at))
            .collect()
    }

    /// Revisions that follow nothing.
    #[cfg(test)]
    pub(super) fn bases(&self) -> Vec<usize> {
        (0..self.revisions.len())
            .filter(|&at| self.revisions[at].down.is_empty())
            .collect()
    }

    fn reached(&self, from: &[usize], edges: &[Vec<usize>]) -> BTreeSet<usize> {
        let mut reached: BTreeSet<usize> = BTreeSet::new();
        let mut open = from.to_vec();
        while let Some(at) = open.pop() {
            if reached.insert(at) {
                open.extend(&edges[at]);
            }
        }
        reached
    }

    /// What a database at `current` lacks to be at every head, in an order in which it can be applied.
    pub(super) fn pending(&self, current: &[usize]) -> Vec<usize> {
        let applied = self.reached(current, &self.before);
        let wanted = self.reached(&self.heads(), &self.before);
        let lacks = |at: &&usize| wanted.contains(at) && !applied.contains(at);
        self.order.iter().filter(lacks).copied().collect()
    }

    /// Several heads are meant to be: each has a labelled branch of its own.
    pub(super) fn has_labelled_branches(&self) -> bool {
        let heads = self.heads();
        let reached: Vec<BTreeSet<usize>> = heads
            .iter()
            .map(|&head| self.reached(&[head], &self.down))
            .collect();
        (0..heads.len()).all(|own| {
            reached[own].iter().any(|at| {
                !self.revisions[*at].labels.is_empty()
                    && reached
                        .iter()
                        .enumerate()
                        .all(|(other, reached)| other == own || !reached.contains(at))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn revision(id: &str, down: &[&str]) -> Revision {
        Revision {
            id: id.into(),
            down: down.iter().map(|d| (*d).into()).collect(),
            ..Revision::default()
        }
    }

    fn ids(graph: &Graph, positions: &[usize]) -> Vec<String> {
        positions
            .iter()
            .map(|&at| graph.revisions[at].id.clone())
            .collect()
    }

    #[test]
    fn a_line_a_fork_and_a_merge() {
        let mut revisions = vec![
            revision("c", &["b"]),
            revision("a", &[]),
            revision("b", &["a"]),
            revision("d", &["b"]),
        ];
        let fork = Graph::new(revisions.clone());
        assert!(fork.defects.is_empty());
        assert_eq!(ids(&fork, &fork.heads()), ["c", "d"]);
        assert_eq!(ids(&fork, &fork.bases()), ["a"]);
        assert!(!fork.has_labelled_branches());
        let at = |id| fork.position(id).unwrap();
        assert_eq!(ids(&fork, &fork.pending(&[at("b")])), ["c", "d"]);
        assert_eq!(ids(&fork, &fork.pending(&[at("c")])), ["d"]);
        revisions.push(revision("m", &["c", "d"]));
        let merged = Graph::new(revisions);
        assert_eq!(ids(&merged, &merged.heads()), ["m"]);
        assert_eq!(ids(&merged, &merged.pending(&[]))[4], "m");
    }

    #[test]
    fn labelled_branches_are_meant() {
        let mut left = revision("l", &["a"]);
        let mut right = revision("r", &["a"]);
        left.labels = vec!["left".into()];
        let one = Graph::new(vec![revision("a", &[]), left.clone(), right.clone()]);
        assert!(!one.has_labelled_branches());
        right.labels = vec!["right".into()];
        right.depends = vec!["left".into()];
        let both = Graph::new(vec![revision("a", &[]), right, left]);
        assert!(both.has_labelled_branches());
        assert_eq!(ids(&both, &both.pending(&[])), ["a", "l", "r"]);
    }

    #[test]
    fn what_is_broken_is_named() {
        let graph = Graph::new(vec![
            revision("a", &["b"]),
            revision("b", &["a"]),
            revision("c", &["gone"]),
            revision("c", &[]),
        ]);
        assert_eq!(
            graph.defects,
            [
                Defect::Duplicate {
                    first: 2,
                    second: 3
                },
                Defect::Missing {
                    revision: 2,
                    wanted: "gone".into()
                },
                Defect::Cycle {
                    revisions: vec![0, 1]
                },
            ]
        );
    }

    /// Each revision may follow and depend on those before it; then all are shuffled.
    fn dags() -> impl Strategy<Value = Vec<Revision>> {
        let edges = prop::collection::vec((any::<u64>(), any::<u64>()), 1..24);
        edges
            .prop_map(|edges| {
                edges
                    .into_iter()
                    .enumerate()
                    .map(|(at, (down, depends))| {
                        let pick = |bits: u64| {
                            (0..at)
                                .filter(move |b| bits >> (2 * b) & 3 == 3)
                                .map(|b| format!("r{b}"))
                                .collect()
                        };
                        Revision {
                            id: format!("r{at}"),
                            down: pick(down),
                            depends: pick(depends),
                            ..Revision::default()
                        }
                    })
                    .collect::<Vec<_>>()
            })
            .prop_shuffle()
    }

    proptest! {
        #[test]
        fn heads_and_order_are_those_of_the_naive_reading(revisions in dags(), applied in any::<u32>()) {
            let naive: Vec<String> = revisions
                .iter()
                .filter(|r| !revisions.iter().any(|other| other.down.contains(&r.id)))
                .map(|r| r.id.clone())
                .collect();
            let graph = Graph::new(revisions.clone());
            prop_assert!(graph.defects.is_empty());
            prop_assert_eq!(ids(&graph, &graph.heads()), naive);
            let current: Vec<usize> = (0..revisions.len()).filter(|at| applied >> at & 1 == 1).collect();
            let pending = ids(&graph, &graph.pending(&current));
            // Applied one after the other, each finds what it needs, and in the end all is there.
            let mut there: BTreeSet<String> = BTreeSet::new();
            let mut open = ids(&graph, &current);
            while let Some(id) = open.pop() {
                let of = revisions.iter().find(|r| r.id == id).unwrap();
                open.extend(of.down.iter().chain(&of.depends).cloned());
                there.insert(id);
            }
            for id in pending {
                let of = revisions.iter().find(|r| r.id == id).unwrap();
                prop_assert!(of.down.iter().chain(&of.depends).all(|needed| there.contains(needed)));
                prop_assert!(there.insert(id));
            }
            prop_assert_eq!(there.len(), revisions.len());
        }
    }
}
