//! The sockets that listen on a port, asked of the kernel over netlink (sock_diag(7)).
//!
//! `/proc/net/tcp` says the same, but making it walks the table of all connections: milliseconds on a host with
//! much memory, whatever is connected. Here the kernel looks at listening sockets only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{FromRawFd, OwnedFd};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` as a bit, of linux/tcp_states.h.
const LISTEN: u32 = 1 << 10;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Bytes of `struct inet_diag_msg`.
const ANSWER: usize = 72;
/// The kernel sends at most this much at once (`NLMSG_GOODSIZE` and more).
const BUFFER: usize = 32 << 10;

/// One of several sockets: where it listens, and its inode.
pub(super) type Listening = (IpAddr, u64);

/// Every TCP socket of this network namespace that listens on the port.
///
/// # Errors
/// The kernel does not say it this way: it was built without, or a filter of system calls forbids it.
pub(super) fn listening_on(port: u16) -> io::Result<Vec<Listening>> {
    let mut found = Vec::new();
    let mut socket = open()?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        socket.write_all(&request(family, port))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = socket.read(&mut buffer)?;
            if read_answer(&buffer[..length], port, &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// Never waits: the kernel answers while it is asked.
fn open() -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a plain system call; the descriptor that it makes is nobody else's.
    let socket = unsafe {
        let made = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG);
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(made)
    };
    Ok(File::from(socket))
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`.
fn request(family: i32, port: u16) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    let length = (HEADER + REQUEST) as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[HEADER] = family as u8;
    bytes[HEADER + 1] = libc::IPPROTO_TCP as u8;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&LISTEN.to_ne_bytes());
    bytes[HEADER + 8..HEADER + 10].copy_from_slice(&port.to_be_bytes());
    bytes
}

/// Reads what came in one piece; true at the end of all.
fn read_answer(mut bytes: &[u8], port: u16, found: &mut Vec<Listening>) -> io::Result<bool> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    // An empty piece would be asked for again and again.
    if bytes.len() < HEADER {
        return Err(broken());
    }
    while bytes.len() >= HEADER {
        let number = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let length = number(0) as usize;
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        let body = bytes.get(HEADER..length).ok_or_else(broken)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
            _ if kind == BY_FAMILY && body.len() >= ANSWER => {
                if u16::from_be_bytes([body[4], body[5]]) == port {
                    found.extend(address(body).map(|address| (address, inode(body))));
                }
            }
            _ => return Err(broken()),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn address(body: &[u8]) -> Option<IpAddr> {
    match i32::from(body[0]) {
        libc::AF_INET => Some(Ipv4Addr::from([8, 9, 10, 11].map(|at| body[at])).into()),
        libc::AF_INET6 => {
            let bytes = <[u8; 16]>::try_from(&body[8..24]).ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn inode(body: &[u8]) -> u64 {
    u64::from(u32::from_ne_bytes([68, 69, 70, 71].map(|at| body[at])))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn it_says_what_listens_there_and_nothing_else() {
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = here.local_addr().unwrap().port();
        let other = TcpListener::bind("[::1]:0").unwrap();
        let _connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let found = listening_on(port).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, IpAddr::from([127, 0, 0, 1]));
        let port = other.local_addr().unwrap().port();
        let found = listening_on(port).unwrap();
        assert_eq!(found[0].0, IpAddr::from(Ipv6Addr::LOCALHOST));
        drop(other);
        assert_eq!(listening_on(port).unwrap(), []);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let mut found = Vec::new();
        for bytes in [vec![], vec![0; 15], vec![0; 16], vec![0xff; 64]] {
            assert!(read_answer(&bytes, 80, &mut found).is_err(), "{bytes:?}");
        }
        assert_eq!(found, []);
    }
}
