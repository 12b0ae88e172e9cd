//! What services use: processor time and memory of their processes, from one look at `/proc`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

use super::process::{Stat, pids, read_stat};

/// What the processes of one service use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Usage {
    /// Processor time, with that of their children that have ended, milliseconds.
    pub cpu_ms: u64,
    /// Memory in use (resident; what they share counts for each), bytes.
    pub memory_bytes: u64,
    pub processes: u32,
}

/// One process with its pid.
type Used = (u32, Stat);

/// What is used by the processes of each leader: its group, and what descends from that. Costs one read of a file for
/// each process of the host.
#[must_use]
pub(crate) fn usage_of(leaders: &[u32]) -> BTreeMap<u32, Usage> {
    let used = |pid| Some((pid, read_stat(pid)?));
    sum(leaders, &pids().filter_map(used).collect::<Vec<_>>())
}

fn sum(leaders: &[u32], all: &[Used]) -> BTreeMap<u32, Usage> {
    let parents: BTreeMap<u32, &Used> = all.iter().map(|used| (used.0, used)).collect();
    let owner = |used: &Used| {
        let mut at = Some(used);
        // Bounded: a look that is not of one moment may hold a circle.
        for _ in 0..64 {
            let (pid, here) = at?;
            if let Some(leader) = leaders
                .iter()
                .find(|leader| **leader == here.group || *leader == pid)
            {
                return Some(*leader);
            }
            at = parents.get(&here.parent).copied();
        }
        None
    };
    let mut found: BTreeMap<u32, Usage> = BTreeMap::new();
    for used in all {
        let Some(leader) = owner(used) else { continue };
        let (_, used) = used;
        let usage = found.entry(leader).or_default();
        usage.cpu_ms += used.cpu_ticks.saturating_mul(1000) / per_second();
        usage.memory_bytes += used.pages.saturating_mul(page_bytes());
        usage.processes += 1;
    }
    found
}

fn per_second() -> u64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    *TICKS.get_or_init(|| of_system(SysconfVar::CLK_TCK, 100))
}

fn page_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| of_system(SysconfVar::PAGE_SIZE, 4096))
}

fn of_system(what: SysconfVar, default: u64) -> u64 {
    let found = sysconf(what).ok().flatten();
    found
        .and_then(|value| u64::try_from(value).ok())
        .filter(|value| *value > 0)
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_its_group_and_what_descends_from_it() {
        let used = |pid, parent, group| {
            let stat = Stat {
                state: b'S',
                parent,
                group,
                cpu_ticks: 0,
                start_ticks: 0,
                pages: 1,
            };
            (pid, stat)
        };
        let all = [
            used(10, 1, 10),
            used(11, 10, 10),
            used(12, 11, 12),
            used(20, 1, 20),
            used(30, 1, 30),
        ];
        let found = sum(&[10, 20], &all);
        assert_eq!(found[&10].processes, 3);
        assert_eq!(found[&10].memory_bytes, 3 * page_bytes());
        assert_eq!(found[&20].processes, 1);
        assert_eq!(found.len(), 2);
        let own = usage_of(&[std::process::id()]);
        assert!(own[&std::process::id()].memory_bytes > 0);
    }
}
