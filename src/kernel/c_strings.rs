//! Text as system calls want it, made before a `fork`: nothing may be allocated after it.

use std::ffi::{CString, OsStr, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// An array of C strings, ended by a null pointer, as execve(2) wants it.
pub(super) struct CStrings {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers lead into `_owned`, which never changes, and whose heap blocks move with it.
unsafe impl Send for CStrings {}
// SAFETY: as above: read-only after construction.
unsafe impl Sync for CStrings {}

impl CStrings {
    pub(super) fn new(owned: Vec<CString>) -> Self {
        let pointers = owned
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Self {
            _owned: owned,
            pointers,
        }
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// # Errors
/// It holds a NUL byte.
pub(super) fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} holds a NUL byte", text.to_string_lossy()),
        )
    })
}
