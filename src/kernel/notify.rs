//! The receiving end of sd_notify(3): a datagram socket in a directory of our own, and who sent what.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::remove::{ScratchDirectory, sweep_scratch};

/// Begins the names of the directories.
const PREFIX: &str = "ubs-notify-";

/// Longest message; systemd allows a page.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Room for the sender's credentials and a few descriptors, in words that are aligned for a header.
const CONTROL_WORDS: usize = 64;

/// A socket that hears what a service says of itself. Its directory goes with it.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    /// Where it stands; the directory has mode 0700.
    pub path: PathBuf,
    /// Not blocking; each message comes with its sender.
    pub socket: UnixDatagram,
    /// Holds the directory.
    pub directory: ScratchDirectory,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The process that sent it, by the kernel's word; 0 if it is in no namespace of ours.
    pub pid: u32,
    /// What it says.
    pub text: String,
}

impl NotifySocket {
    /// Makes one in the first of `parents` where that is possible. `user` may send to it, or else ours.
    ///
    /// # Errors
    /// Why it cannot be made in the last of them.
    pub(crate) fn new(parents: &[PathBuf], user: Option<&str>) -> io::Result<Self> {
        let mut last = io::Error::other("no directory to make it in");
        for parent in parents {
            match Self::new_in(parent, user) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn new_in(parent: &Path, user: Option<&str>) -> io::Result<Self> {
        sweep_scratch(parent, PREFIX);
        let directory = ScratchDirectory::new_in(parent, PREFIX)?;
        let path = directory.path().join("socket");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        // SAFETY: a plain system call on a descriptor that we own, with a number that lives through it.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PASSCRED,
                (&raw const on).cast(),
                libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4),
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        let user = user
            .map(nix::unistd::User::from_name)
            .transpose()?
            .flatten();
        if let Some(user) = user.filter(|user| user.uid != nix::unistd::geteuid()) {
            // The directory last: until then nobody else can put something in the socket's place.
            hand_to(&path, user.uid, user.gid)?;
            hand_to(directory.path(), user.uid, user.gid)?;
        }
        Ok(Self {
            path,
            socket,
            directory,
        })
    }
}

fn hand_to(path: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))
}

/// The next message; never waits. Descriptors that came with it are closed, which is what a sender with `BARRIER=1`
/// waits for.
///
/// # Errors
/// `WouldBlock` if there is none.
pub(crate) fn receive_notice(from: BorrowedFd<'_>) -> io::Result<Notice> {
    let mut bytes = [0_u8; MESSAGE_BYTES_MAX];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut pid = 0;
    // SAFETY: the message leads to buffers on the stack that live through the calls. The kernel fills the control
    // buffer with whole headers, which the macros of cmsg(3) walk; each descriptor in it was made for us just now.
    let length = unsafe {
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; CONTROL_WORDS]>() as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        let received = libc::recvmsg(from.as_raw_fd(), &raw mut message, flags);
        let Ok(length) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let room =
                ((*header).cmsg_len as usize).saturating_sub(data as usize - header as usize);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if room >= size_of::<libc::ucred>() => {
                    let sender = data.cast::<libc::ucred>().read_unaligned();
                    pid = u32::try_from(sender.pid).unwrap_or(0);
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for at in 0..room / size_of::<RawFd>() {
                        let descriptor = data.cast::<RawFd>().add(at).read_unaligned();
                        drop(OwnedFd::from_raw_fd(descriptor));
                    }
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        length
    };
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
    Ok(Notice { pid, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_message_comes_with_its_sender_and_the_directory_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let hears = NotifySocket::new(&[missing, dir.path().to_owned()], None).unwrap();
        let mode = std::fs::metadata(hears.directory.path())
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        let next = || receive_notice(hears.socket.as_fd());
        assert_eq!(next().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"READY=1\nSTATUS=up", &hears.path).unwrap();
        let notice = next().unwrap();
        assert_eq!(notice.pid, std::process::id());
        assert_eq!(notice.text, "READY=1\nSTATUS=up");
        let path = hears.path.clone();
        drop(hears);
        assert!(!path.parent().unwrap().exists());
    }
}
