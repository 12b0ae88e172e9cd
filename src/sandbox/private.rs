//! What is never shown to a sandboxed program because an environment, a path file or a link says so: home
//! directories, the system's settings and data, directories in which programs keep keys. Only the manifest may name
//! such a path, in `[sandbox] read`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Nothing in them is shown.
const CLOSED: [&str; 14] = [
    "/boot",
    "/dev",
    "/etc",
    "/lost+found",
    "/proc",
    "/run",
    "/sys",
    "/var/backups",
    "/var/cache",
    "/var/log",
    "/var/mail",
    "/var/run",
    "/var/spool",
    "/var/lib/docker",
];

/// They hold what belongs to many: one directory in them may be shown, they themselves not.
const SHARED: [&str; 12] = [
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
];

/// Directories of keys and histories, wherever they lie.
const KEYS: [&str; 10] = [
    ".aws",
    ".azure",
    ".config",
    ".docker",
    ".git",
    ".gnupg",
    ".kube",
    ".password-store",
    ".ssh",
    ".ubs",
];

/// What only a home directory has.
const SIGNS_OF_HOME: [&str; 6] = [".aws", ".bashrc", ".gnupg", ".netrc", ".profile", ".ssh"];

/// That path, or where it leads, is not shown unless the manifest names it.
pub(super) fn is_private(path: &Path) -> bool {
    is_private_name(path) || path.canonicalize().is_ok_and(|real| is_private_name(&real))
}

fn is_private_name(path: &Path) -> bool {
    let in_home = path
        .strip_prefix("/home")
        .is_ok_and(|below| below.components().count() < 2);
    in_home
        || SHARED.iter().any(|shared| path == Path::new(shared))
        || ["/usr", "/var/lib"]
            .iter()
            .any(|own| Path::new(own).starts_with(path))
        || CLOSED.iter().any(|closed| path.starts_with(closed))
        || path
            .components()
            .any(|part| KEYS.iter().any(|name| part.as_os_str() == OsStr::new(name)))
        || homes().iter().any(|home| home.starts_with(path))
        || SIGNS_OF_HOME
            .iter()
            .any(|name| path.join(name).symlink_metadata().is_ok())
}

/// Everybody's home directory (passwd(5)), and our own.
fn homes() -> &'static [PathBuf] {
    static HOMES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    HOMES.get_or_init(|| {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of_users = users.lines().filter_map(|line| line.split(':').nth(5));
        let own = std::env::var_os("HOME").map(PathBuf::from);
        of_users
            .map(PathBuf::from)
            .chain(own)
            .filter(|home| home.is_absolute())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_settings_and_keys_are_private_and_what_is_installed_in_them_is_not() {
        for private in [
            "/",
            "/root",
            "/home",
            "/home/ann",
            "/etc",
            "/etc/ssl/private",
            "/var",
            "/var/lib",
            "/var/log/x",
            "/usr",
            "/run/secrets",
            "/home/ann/.ssh",
            "/root/.aws/x",
            "/srv",
            "/w/.ubs",
            "/proc/1/root",
        ] {
            assert!(is_private(Path::new(private)), "{private}");
        }
        for shown in [
            "/opt/venv",
            "/home/ann/app/.venv",
            "/home/ann/.local/lib",
            "/root/.pyenv/versions/3.11.9",
            "/app",
            "/var/www/app/venv",
            "/srv/app/lib",
        ] {
            assert!(!is_private(Path::new(shown)), "{shown}");
        }
    }

    #[test]
    fn a_link_is_what_it_leads_to_and_a_home_is_known_by_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join(".venv");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(is_private(&link));
        let home = dir.path().join("ann");
        fs::create_dir_all(home.join("lib")).unwrap();
        assert!(!is_private(&home));
        fs::create_dir(home.join(".ssh")).unwrap();
        assert!(is_private(&home) && !is_private(&home.join("lib")));
    }
}
