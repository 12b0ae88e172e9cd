//! What holds between layers and services: names are unique, `after` and `needs` name others without a cycle.

use std::collections::{BTreeMap, btree_map::Entry};

use super::layer::{LAYERS_MAX, ReadLayer, SERVICES_MAX};
use super::needs::require_meetable;
use super::problem::{Fault, shown};
use super::section::{Faults, Spanned};
use super::types::Layer;
use super::words::did_you_mean;

/// Layers of a cycle that a message names.
const CYCLE_SHOWN_MAX: usize = 12;

/// Reports every name that was used before.
pub(super) fn require_unique<'n>(
    faults: &Faults,
    what: &str,
    names: impl Iterator<Item = &'n Spanned<String>>,
) {
    let mut seen: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
    for name in names.filter(|name| !name.value.is_empty()) {
        match seen.entry(&name.value) {
            Entry::Vacant(free) => {
                free.insert(name);
            }
            Entry::Occupied(taken) => {
                let line = faults.line(taken.get().span.start);
                faults.report(
                    name.span.clone(),
                    Fault::new(
                        format!("also the name of the {what} in line {line}"),
                        format!("two {what}s are called `{}`", name.value),
                        format!("give each {what} a name of its own"),
                    ),
                );
            }
        }
    }
}

/// Resolves `after` and gives the layers.
pub(super) fn order_layers(faults: &Faults, read: Vec<ReadLayer>) -> Vec<Layer> {
    require_unique(faults, "layer", read.iter().map(|layer| &layer.name));
    let services = || read.iter().flat_map(|layer| &layer.service_names);
    require_unique(faults, "service", services());
    if let Some(beyond) = services().nth(SERVICES_MAX) {
        let message = format!("there are more than {SERVICES_MAX} services");
        let fault = Fault::new(
            "too many",
            message,
            "split the application into several manifests",
        );
        faults.report(beyond.span.clone(), fault);
    }
    let after = resolve(faults, &read);
    if require_no_cycle(faults, &read, &after) {
        require_meetable(faults, &read, &after);
    }
    let names: Vec<String> = read.iter().map(|layer| layer.name.value.clone()).collect();
    read.into_iter()
        .zip(after)
        .map(|(read, after)| Layer {
            after: after
                .into_iter()
                .map(|index| names[index].clone())
                .collect(),
            ..read.layer
        })
        .collect()
}

/// Index of each layer that a layer comes after.
fn resolve(faults: &Faults, read: &[ReadLayer]) -> Vec<Vec<usize>> {
    debug_assert!(read.len() <= LAYERS_MAX);
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, layer) in read.iter().enumerate() {
        by_name.entry(&layer.name.value).or_insert(index);
    }
    let resolve_one = |(index, layer): (usize, &ReadLayer)| {
        let Some(after) = &layer.after else {
            return index.checked_sub(1).into_iter().collect();
        };
        let mut found: Vec<usize> = Vec::new();
        for name in after {
            let fault = match by_name.get(name.value.as_str()) {
                Some(other) if *other == index => Fault::new(
                    "itself",
                    format!("layer `{}` cannot come after itself", name.value),
                    "name another layer, or write `after = []` for none",
                ),
                Some(other) if found.contains(other) => Fault::new(
                    "again",
                    format!("`{}` is named twice", name.value),
                    "name each layer once",
                ),
                Some(other) => {
                    found.push(*other);
                    continue;
                }
                None => {
                    let near = faults.suggest(&name.value, by_name.keys().copied());
                    Fault::new(
                        "no such layer",
                        format!(
                            "there is no layer `{}`{}",
                            shown(&name.value),
                            did_you_mean(near)
                        ),
                        "name layers of this manifest, or write `after = []` for none",
                    )
                }
            };
            faults.report(name.span.clone(), fault);
        }
        found
    };
    read.iter().enumerate().map(resolve_one).collect()
}

/// Reports each cycle once, at the first layer of the file that is in it and says so itself; true without any.
fn require_no_cycle(faults: &Faults, read: &[ReadLayer], after: &[Vec<usize>]) -> bool {
    let stuck = layers_in_knots(after);
    let mut walked = vec![false; after.len()];
    for begin in (0..after.len()).filter(|index| stuck[*index]) {
        let mut path: Vec<usize> = Vec::new();
        let mut at = begin;
        while !walked[at] {
            walked[at] = true;
            path.push(at);
            // Every layer that is stuck waits for one that is stuck.
            let Some(next) = after[at].iter().copied().find(|next| stuck[*next]) else {
                break;
            };
            at = next;
        }
        if let Some(entry) = path.iter().position(|index| *index == at)
            && after[*path.last().unwrap_or(&at)].contains(&at)
        {
            report_cycle(faults, read, &path[entry..]);
        }
    }
    !stuck.contains(&true)
}

/// Which layers can never start: what is left after every layer without open predecessors was taken
/// away, again and again (Kahn, 1962).
fn layers_in_knots(after: &[Vec<usize>]) -> Vec<bool> {
    let mut followers: Vec<Vec<usize>> = vec![vec![]; after.len()];
    let mut open: Vec<usize> = after.iter().map(Vec::len).collect();
    for (index, predecessors) in after.iter().enumerate() {
        for predecessor in predecessors {
            followers[*predecessor].push(index);
        }
    }
    let mut free: Vec<usize> = (0..after.len()).filter(|index| open[*index] == 0).collect();
    let mut stuck = vec![true; after.len()];
    while let Some(index) = free.pop() {
        stuck[index] = false;
        for follower in &followers[index] {
            open[*follower] -= 1;
            if open[*follower] == 0 {
                free.push(*follower);
            }
        }
    }
    stuck
}

fn report_cycle(faults: &Faults, read: &[ReadLayer], cycle: &[usize]) {
    // Where the cycle was written by hand: a layer without `after` only follows the file.
    let begin = (0..cycle.len())
        .filter(|position| read[cycle[*position]].after.is_some())
        .min_by_key(|position| cycle[*position])
        .unwrap_or(0);
    let around: Vec<usize> = cycle[begin..]
        .iter()
        .chain(&cycle[..begin])
        .copied()
        .collect();
    let name = |index: &usize| read[*index].name.value.as_str();
    let mut shown: Vec<&str> = around.iter().take(CYCLE_SHOWN_MAX).map(name).collect();
    if around.len() > CYCLE_SHOWN_MAX {
        shown.push("…");
    }
    shown.extend(around.first().map(name));
    let implicit: Vec<&str> = around
        .iter()
        .filter(|index| read[**index].after.is_none())
        .map(name)
        .take(CYCLE_SHOWN_MAX)
        .collect();
    let help = if implicit.is_empty() {
        "take one of these out of the `after` of another".to_owned()
    } else {
        format!(
            "take one of these out of the `after` of another; without `after` ({}), a layer comes after the one before it in the file",
            implicit.join(", ")
        )
    };
    let Some(first) = around.first().map(|index| &read[*index]) else {
        return;
    };
    let next = around.get(1).unwrap_or(&around[0]);
    let span = first
        .after
        .iter()
        .flatten()
        .find(|after| after.value == read[*next].name.value)
        .map_or_else(|| first.name.span.clone(), |after| after.span.clone());
    faults.report(
        span,
        Fault::new(
            "closes a cycle",
            format!(
                "layers wait for each other: {} (each comes after the next)",
                shown.join(" -> ")
            ),
            help,
        ),
    );
}
