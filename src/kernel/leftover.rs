//! Whether a pid file, a lock or a Unix socket was left behind by a process that is gone.
//!
//! Reads only. In doubt it is somebody's: what says nothing about its owner, what is locked, and what belongs to
//! another user is never called left behind.

use std::fs;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::process::read_stat;

/// A file that holds more than the number of a process is something else.
const PID_BYTES_MAX: u64 = 64;
/// A process that starts writes its file at once; clocks and ticks round.
const SLACK: Duration = Duration::from_secs(2);
/// `USER_HZ`, in which the kernel counts for programs (time(7)).
const TICKS_PER_SECOND: u64 = 100;

/// What was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// A file with the number of this process.
    PidFile(u32),
    /// A directory that is a lock, with the number of this process in a file.
    LockDirectory(u32),
    /// A Unix socket on which nobody listens.
    Socket,
}

/// What lies at `path`, if the process that it belonged to is gone; otherwise why it must stay.
///
/// # Errors
/// Its owner lives, or cannot be known.
pub(crate) fn leftover(path: &Path) -> Result<Leftover, String> {
    let about = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if about.uid() != nix::unistd::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    let kind = about.file_type();
    if kind.is_socket() {
        return socket(path, &about);
    }
    if kind.is_file() {
        return pid_file(path, &about).map(Leftover::PidFile);
    }
    if kind.is_dir() {
        return lock_directory(path).map(Leftover::LockDirectory);
    }
    Err("it is no pid file, lock directory or socket".to_owned())
}

/// connect(2) without waiting: `ECONNREFUSED` from a socket's file if no socket that listens is bound to it, `EAGAIN` if
/// one does and nobody has accepted for a while.
///
/// # Errors
/// Whether somebody listens is not known.
pub(crate) fn is_listened_on(path: &Path) -> io::Result<bool> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a plain system call, and a descriptor that nobody else has.
    let socket = unsafe {
        let socket = libc::socket(libc::AF_UNIX, kind, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(socket)
    };
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let name = path.as_os_str().as_bytes();
    if name.len() >= address.sun_path.len() || name.contains(&0) {
        let why = "its path is too long for the address of a socket";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is a live structure of the length given.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Ok(false),
        io::ErrorKind::WouldBlock => Ok(true),
        _ => Err(error),
    }
}

/// Nobody listens on it, nor is about to.
fn socket(path: &Path, about: &fs::Metadata) -> Result<Leftover, String> {
    match is_listened_on(path) {
        Ok(true) => return Err("a process listens on it".to_owned()),
        Ok(false) => {}
        Err(error) => {
            return Err(format!(
                "whether a process listens on it is not known: {error}"
            ));
        }
    }
    // Bound, and not listening yet. The name is as it was given to bind(2), maybe relative.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bound = fs::read_to_string("/proc/net/unix").map_err(|error| error.to_string())?;
    let is_held = bound.lines().skip(1).any(|line| {
        let named = line.split_ascii_whitespace().nth(7).unwrap_or_default();
        let last = named.rsplit('/').next().unwrap_or_default();
        last == name && (!named.starts_with('/') || Path::new(named) == path)
    });
    let made = UNIX_EPOCH + Duration::from_secs(u64::try_from(about.mtime()).unwrap_or(0));
    if is_held || made.elapsed().is_ok_and(|age| age < SLACK) {
        return Err("a process may be about to listen on it".to_owned());
    }
    Ok(Leftover::Socket)
}

/// The process that the file names is gone: no process has its number, or one has it that began after the file was
/// written.
fn pid_file(path: &Path, about: &fs::Metadata) -> Result<u32, String> {
    if about.len() > PID_BYTES_MAX {
        return Err("it holds more than the number of a process".to_owned());
    }
    if about.nlink() != 1 {
        return Err("it has another name too".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let pid = text.trim().parse::<u32>().ok().filter(|pid| *pid > 0);
    let Some(pid) = pid else {
        return Err("it does not name a process".to_owned());
    };
    if is_locked(about)? {
        return Err("a process holds a lock on it".to_owned());
    }
    let Some(stat) = read_stat(pid).filter(|stat| !stat.is_dead()) else {
        return Ok(pid);
    };
    let written = Duration::from_secs(u64::try_from(about.mtime()).unwrap_or(0));
    let began = begin_of(stat.start_ticks);
    match began {
        Some(began) if began > written + SLACK => Ok(pid),
        _ => Err(format!("process {pid}, which it names, lives")),
    }
}

/// Exactly one file lies in it, and that is the pid file of a process that is gone.
fn lock_directory(path: &Path) -> Result<u32, String> {
    let mut entries = fs::read_dir(path).map_err(|error| error.to_string())?;
    let (Some(Ok(only)), None) = (entries.next(), entries.next()) else {
        return Err("it does not hold one file that names a process".to_owned());
    };
    let about = fs::symlink_metadata(only.path()).map_err(|error| error.to_string())?;
    if !about.is_file() || about.uid() != nix::unistd::geteuid().as_raw() {
        return Err("it does not hold one file that names a process".to_owned());
    }
    pid_file(&only.path(), &about)
}

/// Any lock of flock(2) or fcntl(2) on the file, whoever holds it (`/proc/locks`, proc(5)).
fn is_locked(about: &fs::Metadata) -> Result<bool, String> {
    let locks = fs::read_to_string("/proc/locks").map_err(|error| error.to_string())?;
    let inode = format!(":{}", about.ino());
    let mut words = locks.split_ascii_whitespace();
    Ok(words.any(|word| word.ends_with(&inode) && word.matches(':').count() == 2))
}

/// When a process began, since the epoch: the boot of the host (`btime` of `/proc/stat`) and its ticks.
fn begin_of(start_ticks: u64) -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: u64 = line.trim().parse().ok()?;
    let running = Duration::from_millis(start_ticks.saturating_mul(1_000) / TICKS_PER_SECOND);
    Some(Duration::from_secs(boot) + running)
}

/// A number that no process has any more.
#[cfg(test)]
pub(crate) fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) {
        let at = std::time::SystemTime::now() - Duration::from_secs(seconds);
        fs::File::open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn the_pid_file_of_a_process_that_is_gone_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.pid");
        let dead = dead_pid();
        fs::write(&path, format!("{dead}\n")).unwrap();
        assert_eq!(leftover(&path), Ok(Leftover::PidFile(dead)));
        // The number has gone to a process that began after the file was written.
        fs::write(&path, std::process::id().to_string()).unwrap();
        age(&path, 3_600 * 24 * 365);
        assert_eq!(leftover(&path), Ok(Leftover::PidFile(std::process::id())));
        let lock = dir.path().join("app.lock");
        fs::create_dir(&lock).unwrap();
        fs::write(lock.join("pid"), dead.to_string()).unwrap();
        assert_eq!(leftover(&lock), Ok(Leftover::LockDirectory(dead)));
    }

    #[test]
    fn whose_owner_lives_or_is_not_known_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.pid");
        fs::write(&path, std::process::id().to_string()).unwrap();
        assert!(leftover(&path).unwrap_err().contains("lives"));
        for text in ["", "-1", "0", "12 34", "worker", &"1".repeat(65)] {
            fs::write(&path, text).unwrap();
            assert!(leftover(&path).is_err(), "{text}");
        }
        fs::write(&path, dead_pid().to_string()).unwrap();
        let held = fs::File::open(&path).unwrap();
        let lock = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive).unwrap();
        assert!(leftover(&path).unwrap_err().contains("lock"));
        drop(lock);
        let link = dir.path().join("link.pid");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(leftover(&link).is_err());
        let empty = dir.path().join("app.lock");
        fs::create_dir(&empty).unwrap();
        assert!(leftover(&empty).is_err());
    }

    #[test]
    fn a_socket_whose_owner_accepts_nobody_is_listened_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leftover-full.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        // SAFETY: a plain system call on a live descriptor.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let (say, said) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || say.send([(); 4].map(|()| leftover(&path))));
        let said = said.recv_timeout(Duration::from_secs(10)).unwrap();
        for one in said {
            assert!(one.unwrap_err().contains("listens"));
        }
        drop(listener);
    }

    #[test]
    fn a_socket_is_left_behind_once_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leftover-test.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(leftover(&path).unwrap_err().contains("listens"));
        drop(listener);
        // It was made just now: its owner may be about to listen.
        assert!(leftover(&path).is_err());
        let old = nix::sys::time::TimeVal::new(1_000_000_000, 0);
        nix::sys::stat::utimes(&path, &old, &old).unwrap();
        // A process that another test has just made holds it until it becomes its program.
        let is_left = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            leftover(&path) == Ok(Leftover::Socket)
        });
        assert!(is_left, "{:?}", leftover(&path));
    }
}
