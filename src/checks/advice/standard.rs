//! Modules that were in Python's standard library, or in a package, and are there no longer: they are never installed
//! by their own name.

/// A module that left the standard library.
struct Gone {
    module: &'static str,
    /// The first version without it, of Python 3.
    since: u8,
    /// What to do instead; completes "use ...".
    instead: &'static str,
}

macro_rules! gone {
    ($($module:literal $since:literal $instead:literal;)*) => {
        &[$(Gone { module: $module, since: $since, instead: $instead }),*]
    };
}

/// From PEP 594, PEP 632 and "What's New in Python" of 3.10, 3.11, 3.12 and 3.13, section "Removed".
const GONE: &[Gone] = gone! {
    "aifc" 13 "the package standard-aifc, which is the same module";
    "asynchat" 12 "asyncio, or the package pyasynchat, which is the same module";
    "asyncore" 12 "asyncio, or the package pyasyncore, which is the same module";
    "audioop" 13 "the package audioop-lts, which is the same module";
    "binhex" 11 "base64 or binascii";
    "cgi" 13 "the package legacy-cgi, which is the same module, or email.message and urllib.parse";
    "cgitb" 13 "the package legacy-cgi, which has the same module";
    "chunk" 13 "the package standard-chunk, which is the same module";
    "crypt" 13 "a package for password hashes (argon2-cffi, bcrypt), or legacycrypt for old ones";
    "distutils" 12 "setuptools, which brings a distutils of its own";
    "formatter" 10 "nothing: it has no successor";
    "imghdr" 13 "a package that tells images (filetype, puremagic), or standard-imghdr, which is the same module";
    "imp" 12 "importlib";
    "lib2to3" 13 "a parser that is maintained (LibCST, parso)";
    "mailcap" 13 "mimetypes";
    "msilib" 13 "another tool: it has no successor";
    "nis" 13 "another way to look names up: it has no successor";
    "nntplib" 13 "the package standard-nntplib, which is the same module";
    "ossaudiodev" 13 "a package for sound (sounddevice)";
    "parser" 10 "ast";
    "pipes" 13 "subprocess and shlex";
    "smtpd" 12 "the package aiosmtpd";
    "sndhdr" 13 "a package that tells sounds (filetype, puremagic), or standard-sndhdr, which is the same module";
    "spwd" 13 "python-pam";
    "sunau" 13 "the package standard-sunau, which is the same module";
    "symbol" 10 "ast";
    "telnetlib" 13 "the package standard-telnetlib, which is the same module, or telnetlib3";
    "uu" 13 "base64 or binascii";
    "xdrlib" 13 "the package standard-xdrlib, which is the same module";
};

/// Modules that a Python has only if it was built with what they need; no package brings them.
const BUILT_IN: [&str; 16] = [
    "_bz2", "_ctypes", "_curses", "_dbm", "_gdbm", "_hashlib", "_lzma", "_sqlite3", "_ssl",
    "_tkinter", "_uuid", "_zstd", "curses", "readline", "sqlite3", "tkinter",
];

/// Modules that a version of their package no longer has: the module, the package, what it still had it.
/// `pkg_resources`: setuptools, history of v82.0.0.
const TAKEN_AWAY: [(&str, &str, &str); 1] = [("pkg_resources", "setuptools", "<82")];

/// What to do about a missing module that is, or was, in the standard library.
pub(in crate::checks) fn standard_remedy(module: &str) -> Option<String> {
    let top = module.split('.').next().unwrap_or(module);
    if let Some(Gone { since, instead, .. }) = GONE.iter().find(|gone| gone.module == top) {
        return Some(format!(
            "{top} is not in the standard library since Python 3.{since}: use {instead}; or run the application with \
             Python 3.{} or older",
            since - 1
        ));
    }
    BUILT_IN.contains(&top).then(|| {
        format!(
            "{top} belongs to Python itself, and this one was built without it: install the system's package for it \
             (python3-tk, libsqlite3-dev, ...) and build Python anew if it was built by hand"
        )
    })
}

/// The package and the versions that still have a module which later ones do not have.
pub(in crate::checks) fn taken_away(module: &str) -> Option<(&'static str, &'static str)> {
    let top = module.split('.').next().unwrap_or(module);
    let found = TAKEN_AWAY.iter().find(|(name, ..)| *name == top);
    found.map(|(_, package, versions)| (*package, *versions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_standard_library_is_never_installed_by_its_name() {
        let remedy = standard_remedy("cgi").unwrap();
        assert!(remedy.contains("since Python 3.13"), "{remedy}");
        assert!(
            remedy.contains("legacy-cgi") && remedy.contains("Python 3.12"),
            "{remedy}"
        );
        for gone in GONE {
            let remedy = standard_remedy(gone.module).unwrap();
            assert!(
                !remedy.contains(&format!("install {}", gone.module)),
                "{remedy}"
            );
        }
        assert!(
            standard_remedy("_ctypes")
                .unwrap()
                .contains("built without")
        );
        assert_eq!(standard_remedy("yaml"), None);
        assert_eq!(
            taken_away("pkg_resources.extern"),
            Some(("setuptools", "<82"))
        );
    }
}
