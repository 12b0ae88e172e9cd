//! The steps of a confined child, by which it reports what failed, and what each of them needs to do so.
//!
//! Runs between `fork` and `exec`: only async-signal-safe calls, and nothing is allocated.

use std::ffi::{CStr, c_int};

/// What can fail, by the number that the child reports; 0 is the program's end.
pub(super) const STEPS: [&str; 20] = [
    "end",
    "create the namespaces",
    "map user ids",
    "make the mounts private",
    "mount a new root",
    "mount the bounded directories in memory",
    "make a directory of the new root",
    "show a file or directory in the new root",
    "lay something to write on over a directory",
    "mount /proc",
    "make the new root read-only",
    "enter the new root",
    "start a process",
    "give up its rights",
    "enter the working directory",
    "execute the program",
    "filter the system calls",
    "restrict access to files",
    "listen on the program's own loopback device",
    "enter its control group",
];

pub(super) const UNSHARE: i32 = 1;
pub(super) const MAP_IDS: i32 = 2;
pub(super) const PRIVATE: i32 = 3;
pub(super) const BASE: i32 = 4;
pub(super) const SCRATCH: i32 = 5;
pub(super) const MAKE: i32 = 6;
pub(super) const SHOW: i32 = 7;
pub(super) const OVERLAY: i32 = 8;
pub(super) const PROC: i32 = 9;
pub(super) const SEAL: i32 = 10;
pub(super) const PIVOT: i32 = 11;
pub(super) const FORK: i32 = 12;
pub(super) const IDENTITY: i32 = 13;
pub(super) const CHDIR: i32 = 14;
pub(super) const EXEC: i32 = 15;
pub(super) const FILTER: i32 = 16;
pub(super) const WALL: i32 = 17;
pub(super) const LISTEN: i32 = 18;
pub(super) const CGROUP: i32 = 19;

/// A failed step and its errno.
pub(super) type Failure = (i32, i32);

pub(super) fn errno() -> i32 {
    // SAFETY: errno of this thread always exists.
    unsafe { *libc::__errno_location() }
}

pub(super) fn check(step: i32, returned: c_int) -> Result<c_int, Failure> {
    if returned < 0 {
        Err((step, errno()))
    } else {
        Ok(returned)
    }
}

/// `prefix` + decimal `number` + `suffix` + NUL, without allocating. Too long is cut, and then not found.
pub(super) fn path_with_number(prefix: &[u8], number: u32, suffix: &[u8]) -> [u8; 64] {
    let mut digits = [0u8; 10];
    let (mut n, mut first) = (number, digits.len());
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    let mut path = [0u8; 64];
    let text = prefix.iter().chain(&digits[first..]).chain(suffix);
    for (to, from) in path.iter_mut().take(63).zip(text) {
        *to = *from;
    }
    path
}

pub(super) fn as_c_str(path: &[u8; 64]) -> &CStr {
    CStr::from_bytes_until_nul(path).unwrap_or(c"")
}
