//! What this host can isolate, found out by doing it once.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use super::confine::{Confinement, Report, spawn_confined};
use super::filter::Sockets;
use super::new_root::{NewRoot, RootEntry};
use super::plan::Namespaces;
use crate::manifest::SandboxLimits;

/// What this host can isolate.
#[derive(Debug, Clone, Default)]
pub(crate) struct IsolationSupport {
    /// The namespaces that can be entered together.
    pub namespaces: Namespaces,
    /// Why not, for `network`, `filesystem` and `processes`, as far as they cannot.
    pub refused: BTreeMap<&'static str, String>,
}

/// What this host can isolate; tried once in the life of this process, with real children.
pub(crate) fn isolation_support() -> &'static IsolationSupport {
    static SUPPORT: OnceLock<IsolationSupport> = OnceLock::new();
    SUPPORT.get_or_init(|| probe(&try_namespaces))
}

/// We run with capabilities that a confined program loses. The kernel then keeps it from tracing us and
/// from reading our environment, namespaces or not (ptrace(2), "Ptrace access mode checking").
pub(crate) fn outranks_the_confined() -> bool {
    /// `CAP_SETPCAP`: needed to take capabilities away, and itself among those taken.
    const CAP_SETPCAP: u32 = 8;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAP_SETPCAP) != 0)
}

/// Asks `attempt` about everything at once, then about each feature; with user namespaces, then without.
fn probe(attempt: &dyn Fn(Namespaces) -> Result<(), String>) -> IsolationSupport {
    let mut best = IsolationSupport::default();
    for user in [true, false] {
        let full = Namespaces {
            user,
            root: true,
            net: true,
        };
        let mut found = IsolationSupport {
            namespaces: full,
            ..Default::default()
        };
        if attempt(full).is_ok() {
            return found;
        }
        let mut note = |names: &[&'static str], wanted| match attempt(wanted) {
            Ok(()) => true,
            Err(why) => {
                found
                    .refused
                    .extend(names.iter().map(|name| (*name, why.clone())));
                false
            }
        };
        let net = note(
            &["network"],
            Namespaces {
                root: false,
                ..full
            },
        );
        let root = note(
            &["filesystem", "processes"],
            Namespaces { net: false, ..full },
        );
        // Each alone works and both together do not: hardly, but then what can be read matters most.
        found.namespaces = Namespaces {
            user: user && (root || net),
            root,
            net: net && !root,
        };
        let count =
            |s: &IsolationSupport| u8::from(s.namespaces.root) * 2 + u8::from(s.namespaces.net);
        // The refusal of the unprivileged way is the one that tells an administrator what to change.
        if user || count(&found) > count(&best) {
            best = found;
        }
    }
    best
}

/// Enters the namespaces with a child that does nothing else.
fn try_namespaces(namespaces: Namespaces) -> Result<(), String> {
    let root = NewRoot {
        entries: vec![RootEntry::Scratch {
            at: "/tmp".into(),
            is_for_all: true,
        }],
        scratch_bytes: 1 << 20,
        scratch_files: 64,
    };
    let started = spawn_confined(&Confinement {
        namespaces,
        program: Path::new("/"),
        argv: &[],
        env: &BTreeMap::new(),
        cwd: Path::new("/"),
        root: namespaces.root.then_some(&root),
        wall: None,
        owner: None,
        sockets: Sockets::OwnNetwork,
        control_group: None,
        loopback: None,
        limits: SandboxLimits::default(),
        rehearse: true,
    });
    let mut confined = started.map_err(|e| format!("no process could be started: {e}"))?;
    let ended = confined.child.wait().map_err(|e| e.to_string())?;
    let mut message = Vec::new();
    let _ = std::fs::File::from(confined.status)
        .take(64)
        .read_to_end(&mut message);
    match Report::parse(&message) {
        Some(Report::Failed { step, errno }) => {
            let hint = match errno {
                libc::ENOSPC => " (a limit in /proc/sys/user/max_*_namespaces)",
                libc::EPERM => {
                    " (forbidden by the kernel's settings, or by the container we run in)"
                }
                _ => "",
            };
            let cause = io::Error::from_raw_os_error(errno);
            Err(format!("this host does not let us {step}: {cause}{hint}"))
        }
        Some(Report::Ended(0)) => Ok(()),
        Some(Report::Ended(status)) => Err(format!("a trial ended with wait status {status}")),
        None if ended.success() => Ok(()),
        None => Err(format!("a trial ended with {ended}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_refuses_everything_gives_nothing_and_says_why() {
        let found = probe(&|_| Err("forbidden".into()));
        assert_eq!(found.namespaces, Namespaces::default());
        assert_eq!(found.refused.len(), 3);
        assert_eq!(found.refused["network"], "forbidden");
    }

    #[test]
    fn what_works_is_used_and_what_does_not_is_named() {
        let found = probe(&|n| {
            if n.root || !n.user {
                Err("no".into())
            } else {
                Ok(())
            }
        });
        assert_eq!(
            found.namespaces,
            Namespaces {
                user: true,
                root: false,
                net: true
            }
        );
        assert_eq!(
            found.refused.keys().copied().collect::<Vec<_>>(),
            ["filesystem", "processes"]
        );
    }

    #[test]
    fn this_host_is_probed_without_failing() {
        let found = isolation_support();
        eprintln!("{found:?}");
        assert_eq!(found.refused.contains_key("network"), !found.namespaces.net);
    }
}
