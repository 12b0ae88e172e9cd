//! Who listens on a port of this host, by `/proc/net/tcp` and the descriptors of processes (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use super::census::{Census, program_name};
use super::process::pids;

/// State of a listening socket.
const LISTEN: &str = "0A";

/// Most sockets that are remembered.
const KNOWN_MAX: usize = 10_000;

/// Sockets that were found to be ours, by mark and inode: a probe asks the same one again and again.
static KNOWN: Mutex<BTreeSet<(String, u64)>> = Mutex::new(BTreeSet::new());

/// A process that listens and is none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// Its pid.
    pub pid: u32,
    /// Its program.
    pub program: String,
    /// Its user's name, or number.
    pub user: String,
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, program, user } = self;
        write!(f, "process {pid}, {program}, of user {user}")
    }
}

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listener {
    /// A process that carries the mark, or descends from us.
    Ours,
    /// Somebody else only.
    Stranger(Stranger),
    /// Nobody in this network namespace, or whose descriptors may not be read.
    Unknown,
}

/// Who listens on the port at one of the addresses, or at all addresses. `likely` is looked at first; all processes
/// only if it is not it. `mark` is an entry of the environment: `NAME=value`.
#[must_use]
pub(crate) fn listener(
    addresses: &[IpAddr],
    port: u16,
    likely: Option<u32>,
    mark: &str,
) -> Listener {
    let sockets: BTreeSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, addresses, port))
        .collect();
    if sockets.is_empty() {
        return Listener::Unknown;
    }
    let is_known = {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        sockets
            .iter()
            .any(|inode| known.contains(&(mark.to_owned(), *inode)))
    };
    if is_known {
        return Listener::Ours;
    }
    let found = find_owner(&sockets, likely, mark);
    if found == Listener::Ours {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.extend(sockets.into_iter().map(|inode| (mark.to_owned(), inode)));
    }
    found
}

fn find_owner(sockets: &BTreeSet<u64>, likely: Option<u32>, mark: &str) -> Listener {
    if likely.is_some_and(|pid| holds(pid, sockets)) {
        return Listener::Ours;
    }
    let owners: Vec<u32> = pids().filter(|&pid| holds(pid, sockets)).collect();
    let Some(&first) = owners.first() else {
        return Listener::Unknown;
    };
    let own = std::process::id();
    let name = mark.split_once('=').map_or("", |(name, _)| name);
    let census = Census::take(&[name]);
    // A program that writes its title over its environment (PostgreSQL, nginx) is known by its parents.
    let is_ours = |pid: &u32| census.carries(*pid, mark) || census.descends_from(*pid, own);
    if owners.iter().any(is_ours) {
        return Listener::Ours;
    }
    Listener::Stranger(Stranger {
        pid: first,
        program: program_name(first),
        user: user_of(first),
    })
}

/// Whose a process is that answered over a local socket (`SO_PEERCRED`, unix(7)). `mark` as for [`listener`].
#[must_use]
pub(crate) fn owner_of(pid: u32, mark: &str) -> Listener {
    let name = mark.split_once('=').map_or("", |(name, _)| name);
    let census = Census::take(&[name]);
    let is_ours = census.carries(pid, mark) || census.descends_from(pid, std::process::id());
    if is_ours {
        return Listener::Ours;
    }
    if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
        return Listener::Unknown;
    }
    Listener::Stranger(Stranger {
        pid,
        program: program_name(pid),
        user: user_of(pid),
    })
}

/// The inodes of the sockets that listen there, from a table as in `/proc/net/tcp`.
fn listening(table: &str, addresses: &[IpAddr], port: u16) -> Vec<u64> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (address, local_port) = local.split_once(':')?;
        let is_there = u16::from_str_radix(local_port, 16).ok()? == port && *state == LISTEN;
        let address = parse_address(address)?;
        let address = address.to_canonical();
        (is_there && (address.is_unspecified() || addresses.contains(&address)))
            .then(|| inode.parse().ok())
            .flatten()
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Words of 32 bits, each in the byte order of the host.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..hex.len() / 8)
        .map(|at| {
            let word = hex.get(at * 8..at * 8 + 8)?;
            Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
        })
        .collect();
    match words?.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        [a, b, c, d] => {
            let bytes = [*a, *b, *c, *d].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

fn holds(pid: u32, sockets: &BTreeSet<u64>) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    entries.flatten().any(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_str().unwrap_or_default();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| sockets.contains(&inode))
    })
}

fn user_of(pid: u32) -> String {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::metadata(format!("/proc/{pid}")) else {
        return "unknown".to_owned();
    };
    let uid = nix::unistd::Uid::from_raw(metadata.uid());
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_with_its_owner() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let here = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let own = std::process::id();
        let Listener::Stranger(found) = listener(&here, port, None, "UBS_TEST=x") else {
            panic!("this test process carries no mark");
        };
        assert_eq!(found.pid, own);
        assert_eq!(
            listener(&[IpAddr::from([127, 0, 0, 2])], port, None, "UBS_TEST=x"),
            Listener::Unknown
        );
        assert_eq!(
            listener(&here, port, Some(own), "UBS_TEST=x"),
            Listener::Ours
        );
        drop(socket);
        assert_eq!(
            listener(&here, port, Some(own), "UBS_TEST=x"),
            Listener::Unknown
        );
    }
}
