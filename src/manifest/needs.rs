//! What holds between services: `needs` names others that can be as they are needed, without a circle.

use std::collections::HashMap;

use super::layer::{ReadLayer, ReadNeed};
use super::probe_spec::ProbeKind;
use super::problem::{Fault, shown};
use super::section::Faults;
use super::types::{NeedCondition, RestartCondition, Service};
use super::words::did_you_mean;

/// Parts of a circle that a message names.
const CIRCLE_SHOWN_MAX: usize = 12;

/// Reports needs that cannot be met: of no service, of itself, of one that is disabled or never ends, and
/// circles. `after`: the layers that each layer comes after.
pub(super) fn require_meetable(faults: &Faults, read: &[ReadLayer], after: &[Vec<usize>]) {
    let services: Vec<(usize, &Service, &[ReadNeed])> = read
        .iter()
        .enumerate()
        .flat_map(|(layer, read)| {
            let services = read.layer.services.iter().zip(&read.needs);
            services.map(move |(service, needs)| (layer, service, needs.as_slice()))
        })
        .collect();
    if services.iter().all(|(_, _, needs)| needs.is_empty()) {
        return;
    }
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (index, (_, service, _)) in services.iter().enumerate() {
        by_name.entry(&service.name).or_insert(index);
    }
    let mut is_sound = true;
    for (index, (_, _, needs)) in services.iter().enumerate() {
        for need in *needs {
            let found = by_name.get(need.name.value.as_str()).copied();
            let fault = match found {
                None => Some(unknown(faults, need, by_name.keys().copied())),
                Some(found) if found == index => Some(Fault::new(
                    "itself",
                    format!("service `{}` cannot need itself", need.name.value),
                    "name another service",
                )),
                Some(found) => unmeetable(need, services[found].1),
            };
            if let Some(fault) = fault {
                is_sound = false;
                faults.report(need.name.span.clone(), fault);
            }
        }
    }
    if is_sound {
        let graph = Graph {
            read,
            services: &services,
            waits_for: edges(read, after, &services, &by_name),
        };
        graph.require_no_circle(faults);
    }
}

fn unknown<'n>(faults: &Faults, need: &ReadNeed, known: impl Iterator<Item = &'n str>) -> Fault {
    let near = did_you_mean(faults.suggest(&need.name.value, known));
    Fault::new(
        "no such service",
        format!("there is no service `{}`{near}", shown(&need.name.value)),
        "name services of this manifest",
    )
}

fn unmeetable(need: &ReadNeed, needed: &Service) -> Option<Fault> {
    if needed.disabled {
        return Some(Fault::new(
            "a disabled service",
            format!("`{}` is disabled, so it can never be needed", needed.name),
            "take `disabled` out there, or the need out here",
        ));
    }
    let has_line = needed
        .ready
        .as_ref()
        .is_some_and(|ready| matches!(ready.kind, ProbeKind::Log(_)));
    if need.condition == NeedCondition::Logged && !has_line {
        return Some(Fault::new(
            "waits for no line",
            format!("`{}` has no readiness by a line of its output", needed.name),
            "give that service `ready = { log = \"a pattern\" }`, or write \"ready\" here",
        ));
    }
    let waits_for_end = matches!(
        need.condition,
        NeedCondition::Succeeded | NeedCondition::Completed
    );
    let ends = needed.oneshot
        || !needed.success.is_empty()
        || needed.restart.policy == RestartCondition::Never;
    if waits_for_end && !ends {
        return Some(Fault::new(
            "never ends by itself",
            format!(
                "`{}` is started again whenever it ends, so nothing can wait for its end",
                needed.name
            ),
            "write \"ready\", or give that service `oneshot = true`, `success` or `restart = \"never\"`",
        ));
    }
    None
}

/// What each service (first) and each layer (after them) waits for.
fn edges(
    read: &[ReadLayer],
    after: &[Vec<usize>],
    services: &[(usize, &Service, &[ReadNeed])],
    by_name: &HashMap<&str, usize>,
) -> Vec<Vec<usize>> {
    let count = services.len();
    let mut waits_for: Vec<Vec<usize>> = vec![vec![]; count + read.len()];
    for (index, (layer, _, needs)) in services.iter().enumerate() {
        let needed = needs.iter();
        let needed = needed.filter_map(|need| by_name.get(need.name.value.as_str()).copied());
        waits_for[index].extend(needed);
        waits_for[index].extend(after[*layer].iter().map(|before| count + before));
        waits_for[count + layer].push(index);
    }
    for (layer, before) in after.iter().enumerate() {
        waits_for[count + layer].extend(before.iter().map(|before| count + before));
    }
    waits_for
}

struct Graph<'r> {
    read: &'r [ReadLayer],
    services: &'r [(usize, &'r Service, &'r [ReadNeed])],
    waits_for: Vec<Vec<usize>>,
}

impl Graph<'_> {
    fn name(&self, node: usize) -> String {
        match self.services.get(node) {
            Some((_, service, _)) => service.name.clone(),
            None => format!("layer {}", self.read[node - self.services.len()].layer.name),
        }
    }

    /// Reports the first circle.
    fn require_no_circle(&self, faults: &Faults) {
        let Some(circle) = self.circle() else {
            return;
        };
        let pairs = (0..circle.len()).map(|at| (circle[at], circle[(at + 1) % circle.len()]));
        let need = pairs.into_iter().find_map(|(from, to)| {
            let (_, _, needs) = self.services.get(from)?;
            let (_, to, _) = self.services.get(to)?;
            needs.iter().find(|need| need.name.value == to.name)
        });
        // Layers alone are in no circle when this is asked.
        let Some(need) = need else { return };
        let mut shown: Vec<String> = circle
            .iter()
            .take(CIRCLE_SHOWN_MAX)
            .map(|node| self.name(*node))
            .collect();
        if circle.len() > CIRCLE_SHOWN_MAX {
            shown.push("…".to_owned());
        }
        shown.extend(circle.first().map(|node| self.name(*node)));
        faults.report(
            need.name.span.clone(),
            Fault::new(
                "closes a circle",
                format!(
                    "services wait for each other: {} (each needs the next to start first)",
                    shown.join(" -> ")
                ),
                "take one of these out of `needs`; a layer that comes after another one waits for its services",
            ),
        );
    }

    /// Nodes that wait for each other, each for the next; found by walking in depth without recursion.
    fn circle(&self) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            OnPath,
            Done,
        }
        let mut seen = vec![Seen::No; self.waits_for.len()];
        for begin in 0..self.waits_for.len() {
            if seen[begin] != Seen::No {
                continue;
            }
            seen[begin] = Seen::OnPath;
            let mut path = vec![(begin, 0)];
            while let Some((node, next)) = path.last_mut() {
                let Some(to) = self.waits_for[*node].get(*next).copied() else {
                    seen[*node] = Seen::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                match seen[to] {
                    Seen::No => {
                        seen[to] = Seen::OnPath;
                        path.push((to, 0));
                    }
                    Seen::OnPath => {
                        let entry = path.iter().position(|(node, _)| *node == to)?;
                        return Some(path[entry..].iter().map(|(node, _)| *node).collect());
                    }
                    Seen::Done => {}
                }
            }
        }
        None
    }
}
