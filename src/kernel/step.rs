//! The steps of a confined child, by which it reports what failed, and what each of them needs to do so.
//!
//! Runs between `fork` and `exec`: only async-signal-safe calls, and nothing is allocated.

use std::ffi::{CStr, c_int};

/// What can fail, by the number that the child reports; 0 is the program's end.
pub(super) const STEPS: [&str; 16] = [
    "end",
    "create the namespaces",
    "map user ids",
    "make the mounts private",
    "mount the writable directories",
    "hide private files",
    "build /dev",
    "make the file system read-only",
    "keep the writable directories writable",
    "start a process",
    "mount /proc",
    "enter the working directory",
    "execute the program",
    "filter the system calls",
    "lay something to write on over a directory",
    "listen on the program's own loopback device",
];

pub(super) const UNSHARE: i32 = 1;
pub(super) const MAP_IDS: i32 = 2;
pub(super) const PRIVATE: i32 = 3;
pub(super) const BIND: i32 = 4;
pub(super) const HIDE: i32 = 5;
pub(super) const DEV: i32 = 6;
pub(super) const READ_ONLY: i32 = 7;
pub(super) const WRITABLE: i32 = 8;
pub(super) const FORK: i32 = 9;
pub(super) const PROC: i32 = 10;
pub(super) const CHDIR: i32 = 11;
pub(super) const EXEC: i32 = 12;
pub(super) const FILTER: i32 = 13;
pub(super) const OVERLAY: i32 = 14;
pub(super) const LISTEN: i32 = 15;

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
