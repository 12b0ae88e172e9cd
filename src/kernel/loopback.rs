//! The loopback device of a confined program's own network, and a server of ours that listens there.
//!
//! A socket stays in the network namespace that it was made in (network_namespaces(7)), whoever holds it: the
//! child listens before it becomes the program and hands the socket out (unix(7), `SCM_RIGHTS`), so we
//! accept what the program connects, and the program has no way to anything else.
//!
//! The first half runs between `fork` and `exec` and keeps to async-signal-safe calls without allocating.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::step::{Failure, LISTEN, check};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Room for one descriptor in a control message (cmsg(3)).
// SAFETY: computes a number from a number.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;

/// A control message, aligned as its header wants it.
#[repr(C)]
union Control {
    _header: libc::cmsghdr,
    bytes: [u8; CONTROL_BYTES],
}

/// What the child needs to listen for us.
pub(super) struct LoopbackPlan {
    /// Of 127.0.0.1.
    pub port: u16,
    /// Where the listening socket goes. Closed on exec, as the socket itself is.
    pub out: OwnedFd,
}

/// Both ends over which a listening socket comes: ours, and the child's.
pub(super) fn hand_over_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, childs) = UnixStream::pair()?;
    Ok((ours.into(), childs.into()))
}

/// Some programs talk to themselves over 127.0.0.1. If it cannot be had, they will say so.
pub(super) fn bring_loopback_up() {
    // SAFETY: `request` is a zeroed plain structure of the type that both requests take (netdevice(7)).
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return;
        }
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        if libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut request) == 0 {
            request.ifr_ifru.ifru_flags |= 1; // IFF_UP, a c_short here
            libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        }
        libc::close(socket);
    }
}

impl LoopbackPlan {
    /// Listens in the network that this process is in, and hands the socket out.
    pub(super) fn listen(&self) -> Result<(), Failure> {
        // SAFETY: plain system calls; the address is a live structure of the length given.
        unsafe {
            let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
            let socket = check(LISTEN, libc::socket(libc::AF_INET, kind, 0))?;
            let mut address: libc::sockaddr_in = zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_port = self.port.to_be();
            address.sin_addr.s_addr = libc::INADDR_LOOPBACK.to_be();
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            let done = check(
                LISTEN,
                libc::bind(socket, (&raw const address).cast(), length),
            )
            .and_then(|_| check(LISTEN, libc::listen(socket, BACKLOG)))
            .and_then(|_| self.hand_out(socket));
            libc::close(socket);
            done
        }
    }

    fn hand_out(&self, socket: RawFd) -> Result<(), Failure> {
        // At least one byte has to go with it.
        let mut byte = 0_u8;
        // SAFETY: the message leads to buffers on the stack that live through the call; its first control
        // header has room for one descriptor, by the size of the buffer.
        let sent = unsafe {
            let mut part = libc::iovec {
                iov_base: (&raw mut byte).cast(),
                iov_len: 1,
            };
            let mut control: Control = zeroed();
            let message = message(&mut part, &mut control);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header)
                .cast::<RawFd>()
                .write_unaligned(socket);
            libc::sendmsg(self.out.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
        };
        check(LISTEN, if sent == 1 { 0 } else { -1 }).map(|_| ())
    }
}

/// A message of these buffers, which it leads to without holding them.
fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a plain structure of numbers and pointers.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut *control).cast();
    message.msg_controllen = CONTROL_BYTES as _;
    message
}

/// What the child handed out, once it is the program; never waits. Nothing, if it failed before.
///
/// # Errors
/// This process has no descriptor left for it.
pub(crate) fn receive_listener(from: &OwnedFd) -> io::Result<Option<TcpListener>> {
    let mut byte = 0_u8;
    // SAFETY: the message leads to buffers on the stack that live through the calls; a header of this kind
    // from a child of ours holds one descriptor, which the kernel made for us just now.
    unsafe {
        let mut part = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let mut control: Control = zeroed();
        let mut message = message(&mut part, &mut control);
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        let received = libc::recvmsg(from.as_raw_fd(), &raw mut message, flags);
        if received < 0 {
            let error = io::Error::last_os_error();
            // Another child that has not executed its program yet may hold a copy of the failed one's end.
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            };
        }
        if received == 0 {
            return Ok(None);
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null()
            || (*header).cmsg_level != libc::SOL_SOCKET
            || (*header).cmsg_type != libc::SCM_RIGHTS
            || message.msg_flags & libc::MSG_CTRUNC != 0
        {
            return Err(io::Error::other(
                "no descriptor is left for the program's server: too many files are open",
            ));
        }
        let socket = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
        Ok(Some(TcpListener::from(OwnedFd::from_raw_fd(socket))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// On this host's own device, since this process is in no other network; 0 is any port that is free.
    fn plan(port: u16) -> (OwnedFd, LoopbackPlan) {
        let (ours, out) = hand_over_pair().unwrap();
        (ours, LoopbackPlan { port, out })
    }

    #[test]
    fn a_listening_socket_is_handed_over_and_closed_on_exec() {
        let (ours, plan) = plan(0);
        plan.listen().unwrap();
        drop(plan);
        let listener = receive_listener(&ours).unwrap().unwrap();
        let flags = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
        let address = listener.local_addr().unwrap();
        assert!(address.ip().is_loopback());
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut said = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(said, "hello");
        // Given once.
        assert!(receive_listener(&ours).unwrap().is_none());
    }

    #[test]
    fn a_child_that_handed_nothing_out_is_not_waited_for() {
        let (ours, plan) = plan(0);
        assert!(receive_listener(&ours).unwrap().is_none());
        drop(plan);
        assert!(receive_listener(&ours).unwrap().is_none());
    }

    #[test]
    fn a_port_that_is_taken_is_a_failed_step() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ours, plan) = plan(taken.local_addr().unwrap().port());
        assert_eq!(plan.listen().unwrap_err(), (LISTEN, libc::EADDRINUSE));
        assert!(receive_listener(&ours).unwrap().is_none());
    }
}
