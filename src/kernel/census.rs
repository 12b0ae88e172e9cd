//! Every live process at one moment: its parent, its group and the marks in its environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::process::{pids, process_ref, read_stat};
use crate::domain::event::ProcessRef;

/// Longest name of a program that is shown; the kernel keeps 15 bytes.
const PROGRAM_CHARS_MAX: usize = 15;

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    /// Which.
    pub process: ProcessRef,
    /// Its parent's pid.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// The entries of its first environment whose names were asked for.
    marks: BTreeSet<String>,
}

/// The live processes; zombies are none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Census {
    processes: Vec<Counted>,
}

impl Census {
    /// Looks at `/proc`. `names` are variables; their values are kept. An environment that may not be read
    /// has no marks.
    #[must_use]
    pub(crate) fn take(names: &[&str]) -> Self {
        let own = std::process::id();
        let count = |pid: u32| {
            // Named before the rest is read: a pid that changes hands in between does not match when it is signalled.
            let process = process_ref(pid)?;
            let stat = read_stat(pid).filter(|stat| !stat.is_dead())?;
            let environ = if names.is_empty() {
                Vec::new()
            } else {
                fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
            };
            let marks = environ
                .split(|&byte| byte == 0)
                .filter_map(|entry| std::str::from_utf8(entry).ok())
                .filter(|entry| {
                    entry
                        .split_once('=')
                        .is_some_and(|(name, _)| names.contains(&name))
                })
                .map(str::to_owned)
                .collect();
            Some(Counted {
                process,
                parent: stat.parent,
                group: stat.group,
                marks,
            })
        };
        Self {
            processes: pids().filter(|&pid| pid != own).filter_map(count).collect(),
        }
    }

    /// The processes of one service: those in `group`, those that carry all `marks` (if any are given), and
    /// their descendants.
    #[must_use]
    pub(crate) fn members(&self, group: u32, marks: &[String]) -> Vec<&Counted> {
        let mut found: BTreeSet<u32> = BTreeSet::new();
        let is_marked = |process: &Counted| {
            !marks.is_empty() && marks.iter().all(|mark| process.marks.contains(mark))
        };
        for process in &self.processes {
            if process.group == group || is_marked(process) {
                found.insert(process.process.pid);
            }
        }
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for process in &self.processes {
            let siblings = children.entry(process.parent).or_default();
            siblings.push(process.process.pid);
        }
        let mut unvisited: Vec<u32> = found.iter().copied().collect();
        while let Some(pid) = unvisited.pop() {
            for &child in children.get(&pid).into_iter().flatten() {
                if found.insert(child) {
                    unvisited.push(child);
                }
            }
        }
        let all = self.processes.iter();
        all.filter(|process| found.contains(&process.process.pid))
            .collect()
    }

    /// The process has this entry in its environment.
    #[must_use]
    pub(crate) fn carries(&self, pid: u32, mark: &str) -> bool {
        let mut all = self.processes.iter();
        all.any(|process| process.process.pid == pid && process.marks.contains(mark))
    }

    /// One of its ancestors is `ancestor`.
    #[must_use]
    pub(crate) fn descends_from(&self, pid: u32, ancestor: u32) -> bool {
        let parents: BTreeMap<u32, u32> = self
            .processes
            .iter()
            .map(|process| (process.process.pid, process.parent))
            .collect();
        let mut at = pid;
        // Bounded: a look that is not of one moment may hold a circle.
        for _ in 0..=parents.len() {
            match parents.get(&at) {
                Some(&parent) if parent == ancestor => return true,
                Some(&parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}

/// The program's name as the kernel has it, without what a terminal would obey.
#[must_use]
pub(crate) fn program_name(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    let shown: String = name
        .trim_end()
        .chars()
        .filter(|c| !c.is_control())
        .take(PROGRAM_CHARS_MAX)
        .collect();
    if shown.is_empty() {
        "unknown program".to_owned()
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pid: u32, parent: u32, group: u32, marks: &[&str]) -> Counted {
        Counted {
            process: ProcessRef {
                pid,
                ..ProcessRef::default()
            },
            parent,
            group,
            marks: marks.iter().map(|&mark| mark.to_owned()).collect(),
        }
    }

    #[test]
    fn members_are_the_group_the_marked_and_what_descends_from_them() {
        let census = Census {
            processes: vec![
                counted(10, 1, 10, &["B=1", "S=web"]),
                counted(11, 10, 10, &[]),
                counted(12, 11, 12, &[]),
                counted(13, 1, 13, &["B=1", "S=web"]),
                counted(14, 1, 14, &["B=1", "S=db"]),
                counted(15, 1, 15, &["S=web"]),
            ],
        };
        let pids = |marks: &[&str]| -> Vec<u32> {
            let marks: Vec<String> = marks.iter().map(|&mark| mark.to_owned()).collect();
            let members = census.members(10, &marks);
            members.iter().map(|m| m.process.pid).collect()
        };
        assert_eq!(pids(&["B=1", "S=web"]), [10, 11, 12, 13]);
        assert_eq!(pids(&[]), [10, 11, 12], "no mark is not every mark");
    }
}
