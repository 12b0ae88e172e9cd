//! The order in which services start: each after what it waits for, and circles broken.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Note, Unit};
use super::text::plain;

/// Takes out what closes a circle, and says so.
pub(super) fn break_cycles(units: &mut [Unit]) {
    let index: BTreeMap<String, usize> = units
        .iter()
        .enumerate()
        .rev()
        .map(|(at, unit)| (unit.name.clone(), at))
        .collect();
    // 0: not seen; 1: on the way; 2: done.
    let mut state = vec![0_u8; units.len()];
    for begin in 0..units.len() {
        if state[begin] != 0 {
            continue;
        }
        // Each entry: a unit, and which of its needs is next.
        let mut way = vec![(begin, 0_usize)];
        state[begin] = 1;
        while let Some((at, next)) = way.last().copied() {
            let Some(needed) = units[at].after.get(next).cloned() else {
                state[at] = 2;
                way.pop();
                continue;
            };
            let target = index.get(&needed).copied();
            match target {
                Some(target) if state[target] == 1 => {
                    units[at].after.remove(next);
                    units[at].needs.retain(|(name, _)| *name != needed);
                    units[at].notes.push(Note::unsure(format!(
                        "it was to wait for {}, which waits for it: a circle, broken here",
                        plain(&needed)
                    )));
                }
                _ => {
                    if let Some(last) = way.last_mut() {
                        last.1 += 1;
                    }
                    if let Some(target) = target.filter(|target| state[*target] == 0) {
                        state[target] = 1;
                        way.push((target, 0));
                    }
                }
            }
        }
    }
}

/// Indexes of units, each behind those that it needs, otherwise in the order of the file. There are no
/// circles any more.
pub(super) fn topological(units: &[Unit]) -> Vec<usize> {
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let known: BTreeSet<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    let mut order = Vec::with_capacity(units.len());
    let mut left: Vec<usize> = (0..units.len()).collect();
    while !left.is_empty() {
        let before = left.len();
        let mut rest = Vec::new();
        for at in left {
            let unit = &units[at];
            let free = unit
                .after
                .iter()
                .all(|name| placed.contains(name.as_str()) || !known.contains(name.as_str()));
            if free {
                placed.insert(&unit.name);
                order.push(at);
            } else {
                rest.push(at);
            }
        }
        if rest.len() == before {
            // Cannot be; nothing is lost if it is.
            order.extend(rest);
            break;
        }
        left = rest;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, after: &[&str]) -> Unit {
        Unit {
            name: name.into(),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
            ..Unit::default()
        }
    }

    #[test]
    fn circles_are_broken_and_said() {
        let mut units = vec![
            unit("a", &["b"]),
            unit("b", &["c", "d"]),
            unit("c", &["a"]),
            unit("d", &["d", "unknown"]),
        ];
        break_cycles(&mut units);
        let order = topological(&units);
        assert_eq!(order.len(), 4);
        let at = |index: usize| order.iter().position(|own| *own == index).unwrap();
        assert!(at(2) < at(1) && at(3) < at(1) && at(1) < at(0));
        assert!(units[2].after.is_empty() && units[2].notes[0].unsure);
        assert_eq!(units[3].after, ["unknown"]);
    }

    #[test]
    fn units_that_need_each_other_in_a_long_chain_are_ordered_in_bounded_time() {
        let count = 200;
        let mut units: Vec<Unit> = (0..count)
            .map(|n| unit(&n.to_string(), &[&((n + 1) % count).to_string()]))
            .collect();
        break_cycles(&mut units);
        let order = topological(&units);
        assert_eq!(order.first(), Some(&(count - 1)));
        assert_eq!(units.iter().filter(|unit| unit.after.is_empty()).count(), 1);
    }
}
