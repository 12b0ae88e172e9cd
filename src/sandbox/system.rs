//! What every sandboxed program sees of the system: programs, libraries, settings without secrets, a few devices.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::kernel::RootEntry;

/// Directories of the system's programs and libraries, apart from those of `/usr`. On most systems links.
pub(super) const SYSTEM: [&str; 7] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
];

/// What is shown of `/usr` and `/usr/local`: not `src`, where images put applications.
pub(super) const OF_USR: [&str; 9] = [
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share", "include",
];

/// What is shown of `/etc`: how names are resolved, whom to trust, where libraries lie, time and users by name.
/// Nothing in it is a secret.
pub(super) const OF_ETC: [&str; 31] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "machine-info",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "odbcinst.ini",
    "os-release",
    "passwd",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Devices that every program may expect.
pub(super) const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Links that every program may expect.
pub(super) const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/run", "/var/run"),
];

/// Directories in the bounded memory that every program may expect, writable for all.
pub(super) const SCRATCH: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// Largest file of `ld.so.conf.d`.
const LOADER_BYTES_MAX: u64 = 64 << 10;

pub(super) fn show(path: PathBuf) -> RootEntry {
    RootEntry::Show {
        from: path.clone(),
        at: path,
    }
}

pub(super) fn system(entries: &mut Vec<RootEntry>, network: bool) {
    for base in ["/usr", "/usr/local"] {
        for name in OF_USR {
            show_or_link(entries, &Path::new(base).join(name));
        }
    }
    for path in SYSTEM {
        show_or_link(entries, Path::new(path));
    }
    for name in OF_ETC {
        let at = Path::new("/etc").join(name);
        // Its content, wherever the link leads: `/run` and the like are not there.
        if let Ok(from) = at.canonicalize() {
            entries.push(RootEntry::Show { from, at });
        }
    }
    let resolver = Path::new("/etc/resolv.conf");
    if let (true, Ok(from)) = (network, resolver.canonicalize()) {
        let at = resolver.to_owned();
        entries.push(RootEntry::Show { from, at });
    }
}

fn show_or_link(entries: &mut Vec<RootEntry>, path: &Path) {
    match fs::read_link(path) {
        Ok(to) => entries.push(RootEntry::Link {
            to,
            at: path.to_owned(),
        }),
        Err(_) if path.is_dir() => entries.push(show(path.to_owned())),
        Err(_) => {}
    }
}

/// The system's directories are shown anyway.
pub(super) fn is_shown_by_system(path: &Path) -> bool {
    let of_usr = ["/usr", "/usr/local"].into_iter().any(|base| {
        path.strip_prefix(base).is_ok_and(|below| {
            let first = below.components().next();
            first.is_some_and(|first| {
                OF_USR
                    .iter()
                    .any(|name| first.as_os_str() == OsStr::new(name))
            })
        })
    });
    of_usr || SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Directories outside of the system's own in which the loader looks for libraries (ld.so(8)).
pub(super) fn loader_directories() -> Vec<PathBuf> {
    let files = fs::read_dir("/etc/ld.so.conf.d")
        .into_iter()
        .flatten()
        .flatten();
    let texts = files.filter(|file| {
        file.metadata()
            .is_ok_and(|m| m.is_file() && m.len() < LOADER_BYTES_MAX)
    });
    texts
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .flat_map(|text| {
            let lines = text.lines().map(|line| PathBuf::from(line.trim()));
            lines
                .filter(|path| path.starts_with("/opt") && path.is_dir())
                .collect::<Vec<_>>()
        })
        .collect()
}
