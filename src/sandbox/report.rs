//! What a sandbox isolates on this host, and what not, in words.

use crate::kernel::{
    ControlGroup, IsolationSupport, Namespaces, has_filter, has_landlock, isolation_support,
    landlock_version, outranks_the_confined,
};
use crate::manifest::SandboxLimits;

/// What the host isolates, and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Isolation {
    /// One line each: `network: isolated (own namespace)`, `processes: not isolated (...)`.
    pub lines: Vec<String>,
    /// Names of what is isolated: `network`, `filesystem`, `environment`, `memory`, `time`.
    pub isolated: Vec<String>,
    /// The program has a root of its own, in which nothing else of the host exists.
    pub has_own_root: bool,
}

/// What is known about one run.
pub(super) struct Facts {
    pub network: bool,
    pub loopback: Option<u16>,
    pub limits: SandboxLimits,
    pub timeout_ms: u64,
    /// The kernel counts processes and memory together.
    pub is_grouped: bool,
    /// It runs as user id 0.
    pub keeps_root: bool,
    pub looks_writable: bool,
}

/// What a command with these limits, without network, would be isolated from on this host.
#[must_use]
pub(crate) fn host_isolation(limits: SandboxLimits) -> Isolation {
    let support = isolation_support();
    let facts = Facts {
        network: false,
        loopback: None,
        limits,
        timeout_ms: limits.time_ms,
        is_grouped: ControlGroup::can_be_made(),
        keeps_root: false,
        looks_writable: true,
    };
    describe(&facts, support.namespaces, support)
}

type Fact = Result<String, String>;

/// What is isolated, in the words of the report.
pub(super) fn describe(
    facts: &Facts,
    namespaces: Namespaces,
    support: &IsolationSupport,
) -> Isolation {
    let refused = |name: &str| {
        support
            .refused
            .get(name)
            .cloned()
            .unwrap_or_else(|| "not together with the other namespaces here".into())
    };
    let mib = |bytes: u64| bytes >> 20;
    let limits = facts.limits;
    let counted = if facts.is_grouped {
        "by a control group"
    } else {
        "watched"
    };
    let filesystem: Fact = match (namespaces.root, has_landlock()) {
        (true, true) => Ok("own root: what is named, and nothing else; Landlock within".into()),
        (true, false) => Ok("own root: what is named, and nothing else".into()),
        (false, true) => Ok(format!(
            "Landlock version {} only: other paths are refused, the workspace keeps its own; {}",
            landlock_version(),
            refused("filesystem")
        )),
        (false, false) => Err(format!("{}; no Landlock", refused("filesystem"))),
    };
    let home: Fact = match &filesystem {
        Ok(_) if namespaces.root => Ok("empty, in memory".into()),
        Ok(_) => Ok("a private directory".into()),
        Err(why) => Err(why.clone()),
    };
    let list: [(&str, Fact); 14] = [
        ("network", network(facts, namespaces, &refused)),
        ("filesystem", filesystem),
        (
            "environment",
            // Without processes of its own, another process of the same user may be asked for its environment.
            if namespaces.root || has_landlock() || outranks_the_confined() {
                Ok("only the given variables".into())
            } else {
                Err("only the given variables, but /proc shows those of other processes of this user".into())
            },
        ),
        ("home", home),
        (
            "processes",
            if namespaces.root {
                Ok("own namespace".into())
            } else {
                Err(format!(
                    "{}; strays are ended by their marker",
                    refused("processes")
                ))
            },
        ),
        (
            "rights",
            if facts.keeps_root {
                Ok("user id 0, which owns the workspace, without any capability".into())
            } else {
                Ok("no capability".into())
            },
        ),
        (
            "system calls",
            if has_filter() {
                Ok("those that lead out or to other processes are refused".into())
            } else {
                Err("this kernel has no filter".into())
            },
        ),
        (
            "process count",
            Ok(format!("{} in total, {counted}", limits.processes)),
        ),
        (
            "memory",
            Ok(format!(
                "{} MiB of address space a process; {} MiB in total, {counted}",
                mib(limits.memory_bytes),
                mib(limits.total_memory_bytes)
            )),
        ),
        (
            "disk",
            Ok(format!(
                "{} MiB in total{}",
                mib(limits.disk_bytes),
                match (namespaces.root, facts.looks_writable) {
                    (true, true) => ", in memory",
                    (true, false) => ", in memory; the workspace is read-only",
                    (false, _) => ", watched",
                }
            )),
        ),
        ("cpu time", Ok(format!("{} s a process", limits.cpu_s))),
        (
            "file size",
            Ok(format!("{} MiB a file", mib(limits.file_bytes))),
        ),
        ("time", Ok(format!("{} ms of wall time", facts.timeout_ms))),
        ("terminal", Ok("a session of its own, without one".into())),
    ];
    let mut isolation = Isolation {
        lines: Vec::new(),
        isolated: Vec::new(),
        has_own_root: namespaces.root,
    };
    for (name, fact) in list {
        match fact {
            Ok(how) => {
                isolation.lines.push(format!("{name}: isolated ({how})"));
                isolation.isolated.push(name.to_owned());
            }
            Err(why) => isolation
                .lines
                .push(format!("{name}: not isolated ({why})")),
        }
    }
    isolation
}

fn network(facts: &Facts, namespaces: Namespaces, refused: &dyn Fn(&str) -> String) -> Fact {
    let local_sockets = if has_filter() {
        "no local sockets"
    } else {
        "local sockets of the host do not exist in its root"
    };
    match (namespaces.net, facts.network) {
        (true, _) => Ok(match facts.loopback {
            None => format!("own namespace with a loopback device only; {local_sockets}"),
            Some(port) => format!(
                "own namespace with a loopback device only, port {port} of which leads to us; {local_sockets}"
            ),
        }),
        (false, true) => Err("allowed for this command".into()),
        (false, false) if has_filter() => Ok(format!("no sockets at all; {}", refused("network"))),
        (false, false) => Err(refused("network")),
    }
}
