//! A fixer for a service that failed while it ran and said why: a directory that is missing, a permission, or what a
//! dead process left behind.
//!
//! What a service prints is hostile. It only names candidates: a path is used if it lies in the workspace, goes
//! through no link, is not the version control's, and is what the message takes it for. Of several nothing is done.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::Fixer;
use crate::domain::code::Code;
use crate::domain::mission::{Change, Failure, Proposal, Risk};
use crate::fix::apply::resolve;
use crate::fix::places::require_left_behind;
use crate::fix::tracked::is_tracked;
use crate::kernel::near_path;

/// Lines of the output that are looked at, from its end.
const LINES_MAX: usize = 200;
/// Paths that are looked at.
const CANDIDATES_MAX: usize = 64;
/// Such a file is written by a person: that its directory is missing is not mended by an empty one.
const GIVEN: [&str; 17] = [
    "yml", "yaml", "toml", "json", "ini", "cfg", "conf", "pem", "crt", "key", "py", "js", "html",
    "j2", "env", "so", "csv",
];

static HINT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)already|exists?\b|in use|(^|\s)(lock|locked|pid|pidfile)\b|stale|another (process|instance)").ok()
});
/// Python, Node and Starlette.
static NO_FILE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i:no such file or directory)(?::|, \w+) '([^'\n]{1,512})'").ok()
});
static NO_DIRECTORY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[Dd]irectory '([^'\n]{1,512})' does not exist").ok());
static DENIED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i:permission denied)(?::|, \w+) '([^'\n]{1,512})'").ok());

/// See the module.
pub(super) struct AsItSaid;

impl Fixer for AsItSaid {
    fn name(&self) -> &'static str {
        "as_it_said"
    }

    fn propose(&self, failure: &Failure, root: &Path) -> Option<Proposal> {
        if failure.code != Code::LayerFailed || failure.check.is_some() {
            return None;
        }
        let said = format!("{}\n{}", failure.traceback, failure.error);
        let lines: Vec<&str> = said.lines().rev().take(LINES_MAX).collect();
        let found = left_behind(&lines, root)
            .or_else(|| missing_directory(&lines, root))
            .or_else(|| denied(&lines, root));
        let (summary, risk, change) = found?;
        Some(Proposal {
            fixer: self.name().to_owned(),
            summary,
            risk,
            changes: vec![change],
        })
    }
}

type Found = (String, Risk, Change);

/// The path relative to the workspace, if it lies there.
fn inside(root: &Path, path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let relative = match Path::new(path).is_absolute() {
        true => Path::new(path).strip_prefix(root).ok()?,
        false => Path::new(path),
    };
    let relative = relative.to_str()?.trim_end_matches('/');
    resolve(root, relative).ok()?;
    Some(relative.to_owned())
}

fn only(found: BTreeSet<String>) -> Option<String> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

fn left_behind(lines: &[&str], root: &Path) -> Option<Found> {
    let hint = HINT.as_ref()?;
    let hinted = lines.iter().filter(|line| hint.is_match(line));
    let words = hinted
        .flat_map(|line| line.split(|c: char| c.is_whitespace() || "'\"`()[]<>,;=".contains(c)));
    let words = words.map(|word| word.trim_end_matches([':', '.', '!']));
    let words: BTreeSet<&str> = words
        .filter(|word| (3..=512).contains(&word.len()))
        .collect();
    let candidates = words.into_iter().filter_map(|word| inside(root, word));
    let found = candidates
        .filter(|path| looks_left_behind(root, path))
        .take(CANDIDATES_MAX)
        .filter(|path| require_left_behind(root, path).is_ok());
    let path = only(found.collect())?;
    let summary = format!("move {path} aside: the process that it belonged to is gone");
    Some((summary, Risk::Edit, Change::MoveAside { path }))
}

/// By its name, or because it is a socket.
fn looks_left_behind(root: &Path, path: &str) -> bool {
    let Ok(about) = fs::symlink_metadata(root.join(path)) else {
        return false;
    };
    let name = Path::new(path).file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    let is_named = name.ends_with(".pid")
        || name.ends_with(".lock")
        || name.ends_with(".lck")
        || matches!(name.as_str(), "pid" | "lock" | "pidfile" | "lockfile");
    about.file_type().is_socket() || is_named
}

fn missing_directory(lines: &[&str], root: &Path) -> Option<Found> {
    let mut wanted = BTreeSet::new();
    for line in lines {
        for named in captured(&NO_DIRECTORY, line) {
            wanted.extend(inside(root, &named));
        }
        for named in captured(&NO_FILE, line) {
            let extension = Path::new(&named).extension().unwrap_or_default();
            let extension = extension.to_string_lossy().to_lowercase();
            if GIVEN.contains(&extension.as_str()) {
                continue;
            }
            let above = inside(root, &named);
            let above = above.as_deref().and_then(|path| path.rsplit_once('/'));
            wanted.extend(above.map(|(above, _)| above.to_owned()));
        }
    }
    // One beside a near one that has something may be misspelt.
    wanted.retain(|path| {
        let full = root.join(path);
        fs::symlink_metadata(&full).is_err()
            && !is_tracked(root, path)
            && near_path(&full).is_none()
    });
    let path = only(wanted)?;
    Some((
        format!("create the directory {path}"),
        Risk::Additive,
        Change::MakeDirectory { path },
    ))
}

/// What its owner may not write: the file itself, or else its directory.
fn denied(lines: &[&str], root: &Path) -> Option<Found> {
    let named = lines.iter().flat_map(|line| captured(&DENIED, line));
    let path = only(named.filter_map(|named| inside(root, &named)).collect())?;
    let lacks = |path: &str| -> Option<u32> {
        let about = fs::symlink_metadata(root.join(path)).ok()?;
        let wanted = match about.is_dir() {
            true => 0o300,
            false if about.is_file() => 0o200,
            false => return None,
        };
        let bits = wanted & !about.mode();
        let is_ours = about.uid() == nix::unistd::geteuid().as_raw();
        (bits != 0 && is_ours).then_some(bits)
    };
    // Sources are not written by what runs them.
    let of_file = lacks(&path).filter(|_| root.join(&path).is_dir() || !is_tracked(root, &path));
    let above = path.rsplit_once('/').map(|(above, _)| above.to_owned());
    let (path, bits) = match (of_file, above) {
        (Some(bits), _) => (path, bits),
        (None, Some(above)) => {
            let bits = lacks(&above)?;
            (above, bits)
        }
        (None, None) => return None,
    };
    Some((
        format!("let its owner write {path}"),
        Risk::Edit,
        Change::AddMode { path, bits },
    ))
}

fn captured(pattern: &LazyLock<Option<Regex>>, line: &str) -> Vec<String> {
    let Some(pattern) = pattern.as_ref() else {
        return Vec::new();
    };
    let found = pattern.captures_iter(line).take(CANDIDATES_MAX);
    found.map(|found| found[1].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::kernel::dead_pid;

    fn propose(root: &Path, said: &str) -> Option<Change> {
        let failure = Failure {
            code: Code::LayerFailed,
            check: None,
            ..crate::testing::reported_failure("web")
        };
        let failure = Failure {
            traceback: said.to_owned(),
            ..failure
        };
        AsItSaid.propose(&failure, root)?.changes.pop()
    }

    #[test]
    fn what_a_service_says_leads_to_what_a_dead_process_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("run")).unwrap();
        fs::write(root.join("run/app.pid"), dead_pid().to_string()).unwrap();
        let expected = Some(Change::MoveAside {
            path: "run/app.pid".into(),
        });
        assert_eq!(
            propose(root, "SystemExit: already running (run/app.pid)"),
            expected
        );
        let absolute = format!(
            "Error: pid file {} exists.",
            root.join("run/app.pid").display()
        );
        assert_eq!(propose(root, &absolute), expected);
        // Nothing says that it is in the way.
        assert_eq!(propose(root, "reading run/app.pid"), None);
        fs::write(root.join("run/app.pid"), std::process::id().to_string()).unwrap();
        assert_eq!(propose(root, "already running (run/app.pid)"), None);
    }

    #[test]
    fn hostile_output_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("app"), dir.path().join("other.pid"));
        fs::create_dir(&root).unwrap();
        let root = root.canonicalize().unwrap();
        fs::write(&outside, dead_pid().to_string()).unwrap();
        fs::write(root.join("notes.txt"), dead_pid().to_string()).unwrap();
        fs::create_dir(root.join("docs")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link.pid")).unwrap();
        for said in [
            "already running ../other.pid",
            "already running link.pid",
            "lock notes.txt exists",
            "lock docs exists",
            &format!("already running {}", outside.display()),
            "No such file or directory: '../x/y'",
            "No such file or directory: '/etc/x/y'",
            "No such file or directory: '.git/x/y'",
            "No such file or directory: 'config/app.yml'",
            "No such file or directory: 'a/x' No such file or directory: 'b/x'",
            "Permission denied: '/etc/passwd'",
        ] {
            assert_eq!(propose(&root, said), None, "{said}");
        }
    }

    #[test]
    fn a_missing_directory_and_a_missing_permission_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let said = "FileNotFoundError: [Errno 2] No such file or directory: 'var/data/out.bin'";
        let path = "var/data".to_owned();
        assert_eq!(propose(root, said), Some(Change::MakeDirectory { path }));
        let path = "static".to_owned();
        let said = "RuntimeError: Directory 'static' does not exist";
        assert_eq!(propose(root, said), Some(Change::MakeDirectory { path }));
        fs::create_dir(root.join("data")).unwrap();
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o500)).unwrap();
        let said = "PermissionError: [Errno 13] Permission denied: 'data/x.bin'";
        let (path, bits) = ("data".to_owned(), 0o200);
        assert_eq!(propose(root, said), Some(Change::AddMode { path, bits }));
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(propose(root, said), None);
    }
}
