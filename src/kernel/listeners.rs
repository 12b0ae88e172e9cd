//! Who listens on a port of this host, by what the kernel says of its sockets and the descriptors of processes (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::census::{Census, program_name};
use super::process::pids;
use super::sock_diag::{Listening, listening_on};

/// State of a listening socket.
const LISTEN: &str = "0A";

/// Most sockets that are remembered.
const KNOWN_MAX: usize = 10_000;

/// What is asked for: a mark, addresses and a port.
type Question = (String, Vec<IpAddr>, u16);

/// Sockets that were found to be ours: a probe asks the same question again and again, and the table is long.
static KNOWN: Mutex<BTreeMap<Question, Held>> = Mutex::new(BTreeMap::new());

/// A descriptor by which a process holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// `/proc/PID/fd/N`.
    descriptor: PathBuf,
    inode: u64,
}

impl Held {
    /// It still is the same socket: the number of another one differs, whoever has the pid now.
    fn is_held(&self) -> bool {
        fs::read_link(&self.descriptor).is_ok_and(|target| inode_of(&target) == Some(self.inode))
    }
}

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
    let question = (mark.to_owned(), addresses.to_vec(), port);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = known().get(&question).cloned();
    if before.is_some_and(|held| held.is_held()) {
        return Listener::Ours;
    }
    let sockets: BTreeSet<u64> = listening_on(port)
        .unwrap_or_else(|_| listed(port))
        .into_iter()
        .filter(|(address, _)| {
            let address = address.to_canonical();
            address.is_unspecified() || addresses.contains(&address)
        })
        .map(|(_, inode)| inode)
        .collect();
    if sockets.is_empty() {
        return Listener::Unknown;
    }
    match find_owner(&sockets, likely, mark) {
        Ok(held) => {
            let mut known = known();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(question, held);
            Listener::Ours
        }
        Err(listener) => listener,
    }
}

/// By what one of ours holds one of the sockets, or else who does.
fn find_owner(sockets: &BTreeSet<u64>, likely: Option<u32>, mark: &str) -> Result<Held, Listener> {
    if let Some(held) = likely.and_then(|pid| held_by(pid, sockets)) {
        return Ok(held);
    }
    let owners: Vec<(u32, Held)> = pids()
        .filter_map(|pid| Some((pid, held_by(pid, sockets)?)))
        .collect();
    let Some(&(first, _)) = owners.first() else {
        return Err(Listener::Unknown);
    };
    let own = std::process::id();
    let name = mark.split_once('=').map_or("", |(name, _)| name);
    let census = Census::take(&[name]);
    // A program that writes its title over its environment (PostgreSQL, nginx) is known by its parents.
    let is_ours = |pid: u32| census.carries(pid, mark) || census.descends_from(pid, own);
    if let Some((_, held)) = owners.into_iter().find(|(pid, _)| is_ours(*pid)) {
        return Ok(held);
    }
    Err(Listener::Stranger(Stranger {
        pid: first,
        program: program_name(first),
        user: user_of(first),
    }))
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

/// What the tables of the kernel list, where it cannot be asked otherwise.
fn listed(port: u16) -> Vec<Listening> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| File::open(path).ok())
        .flat_map(|table| listening(BufReader::new(table), port))
        .collect()
}

/// The sockets that listen on the port, from a table as in `/proc/net/tcp`. The kernel lists those that listen
/// first; behind them may come thousands of connections that have ended (TIME_WAIT).
fn listening(table: impl BufRead, port: u16) -> Vec<Listening> {
    let socket = |line: &String| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, inode) = (fields.get(1)?, fields.get(9)?);
        let (address, local_port) = local.split_once(':')?;
        let is_there = u16::from_str_radix(local_port, 16).ok()? == port;
        let address = parse_address(address)?;
        is_there.then_some((address, inode.parse().ok()?))
    };
    let listens = |line: &String| line.split_ascii_whitespace().nth(3) == Some(LISTEN);
    let lines = table.lines().map_while(Result::ok).skip(1);
    let lines: Vec<String> = lines.take_while(listens).collect();
    lines.iter().filter_map(socket).collect()
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

fn held_by(pid: u32, sockets: &BTreeSet<u64>) -> Option<Held> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    entries.flatten().find_map(|entry| {
        let descriptor = entry.path();
        let inode = inode_of(&fs::read_link(&descriptor).ok()?)?;
        sockets
            .contains(&inode)
            .then_some(Held { descriptor, inode })
    })
}

/// Of a descriptor that is a socket: `socket:[1234]`.
fn inode_of(target: &Path) -> Option<u64> {
    let target = target.to_str()?.strip_prefix("socket:[")?;
    target.strip_suffix(']')?.parse().ok()
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
        assert_eq!(
            listener(&here, port, None, "UBS_TEST=x"),
            Listener::Ours,
            "it was found before"
        );
        drop(socket);
        // A process that another test has just made holds it until it becomes its program.
        let closed = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            listener(&here, port, Some(own), "UBS_TEST=x") == Listener::Unknown
        });
        assert!(closed, "a socket that is closed is not remembered");
    }

    #[test]
    fn the_table_is_read_as_far_as_sockets_listen() {
        let line = |port: &str, state: &str, inode: u32| {
            format!(
                "0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0 0 {inode} 1\n"
            )
        };
        let table = format!(
            "head\n{}{}{}{}",
            line("1F90", LISTEN, 1),
            line("1F91", LISTEN, 2),
            line("1F90", "06", 3),
            line("1F90", LISTEN, 4)
        );
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(listening(table.as_bytes(), 8080), [(here, 1)]);
    }

    #[test]
    fn both_ways_of_asking_agree() {
        let sockets: Vec<_> = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"]
            .map(|address| std::net::TcpListener::bind(address).unwrap())
            .into();
        for socket in sockets {
            let port = socket.local_addr().unwrap().port();
            assert_eq!(listening_on(port).unwrap(), listed(port));
        }
    }
}
