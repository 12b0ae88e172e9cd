//! Files of code that git says are changed or untracked, each with a digest.
//!
//! Bounded in time, in the number of files and in the bytes that are read: a workspace with a
//! forgotten environment in it must not keep a boot waiting. What is beyond a bound still counts, as
//! one digest of its names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::domain::ids::Digest;

/// Endings of files that are code or say how code runs.
const CODE: [&str; 30] = [
    "py", "pyi", "pyx", "sql", "toml", "cfg", "ini", "yaml", "yml", "json", "sh", "html", "jinja",
    "jinja2", "j2", "js", "mjs", "ts", "jsx", "tsx", "css", "c", "h", "cpp", "rs", "go", "rb",
    "java", "mako", "graphql",
];
/// Directories of what others wrote.
const FOREIGN: [&str; 3] = ["site-packages", "node_modules", "__pycache__"];
/// Files that get a digest of their own.
const FILES_MAX: usize = 500;
/// Bytes of one file that its digest covers; of a larger one its length counts too.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of all files that are read.
const ALL_BYTES_MAX: u64 = 16 << 20;
/// What git may say: some 100,000 names.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// How long git may take.
const GIT_MAX: Duration = Duration::from_millis(60);

/// Digests of the changed and untracked files, keyed with `key`, by their place in the workspace.
/// None if this is no work tree of git, git is not here, or it takes too long.
pub(super) fn changed_files(workspace: &Path, key: &[u8; 32]) -> BTreeMap<String, Digest> {
    changed_files_by(Path::new("git"), workspace, key)
}

fn changed_files_by(git: &Path, workspace: &Path, key: &[u8; 32]) -> BTreeMap<String, Digest> {
    let names = root_of(workspace)
        .and_then(|root| Some((ask(git, workspace)?, root)))
        .map(|(answer, root)| names_in(&answer, workspace, &root))
        .unwrap_or_default();
    digests(&names, workspace, key)
}

/// The work tree's top directory.
fn root_of(workspace: &Path) -> Option<PathBuf> {
    let root = workspace.ancestors().find(|dir| dir.join(".git").exists());
    root.map(Path::to_owned)
}

/// What `git status` says: entries of `XY path`, each ended by a zero byte.
fn ask(git: &Path, workspace: &Path) -> Option<Vec<u8>> {
    let mut child = Command::new(git)
        // A monitor is a program that the repository's own settings name.
        .args(["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"])
        .args(["status", "--porcelain=v1", "-z", "--no-renames"])
        .args([
            "--untracked-files=all",
            "--ignore-submodules=all",
            "--",
            ".",
        ])
        .current_dir(workspace)
        // Nothing is written: not even the index is refreshed.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let out = child.stdout.take()?;
    let (send, answer) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = out.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        // Nobody waits any more if it took too long.
        let _ = send.send(read.map(|_| bytes));
    });
    let answer = answer.recv_timeout(GIT_MAX).ok().and_then(Result::ok);
    if answer.is_none() {
        // It may have ended meanwhile.
        let _ = child.kill();
    } else if answer
        .as_ref()
        .is_some_and(|a| a.len() as u64 == ANSWER_BYTES_MAX)
    {
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    answer.filter(|answer| status.success() || answer.len() as u64 == ANSWER_BYTES_MAX)
}

/// The files of code in the answer, relative to the workspace, sorted.
fn names_in(answer: &[u8], workspace: &Path, root: &Path) -> Vec<String> {
    let inside = workspace.strip_prefix(root).unwrap_or(Path::new(""));
    let mut names: Vec<String> = answer
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry.get(3..)?).ok())
        .filter_map(|name| Path::new(name).strip_prefix(inside).ok()?.to_str())
        .filter(|name| is_code(name))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names
}

fn is_code(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| CODE.contains(&ending))
        && !name.split('/').any(|part| FOREIGN.contains(&part))
}

fn digests(names: &[String], workspace: &Path, key: &[u8; 32]) -> BTreeMap<String, Digest> {
    let mut found = BTreeMap::new();
    let mut left = ALL_BYTES_MAX;
    let mut own = 0;
    for name in names.iter().take(FILES_MAX) {
        if left == 0 {
            break;
        }
        own += 1;
        if let Some(digest) = digest(&workspace.join(name), key, &mut left) {
            found.insert(name.clone(), digest);
        }
    }
    let rest = &names[own..];
    if !rest.is_empty() {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for name in rest {
            hasher.update(name.as_bytes()).update(b"\0");
        }
        let digest = Digest(*hasher.finalize().as_bytes());
        found.insert(format!("({} more files)", rest.len()), digest);
    }
    found
}

/// The digest of what is there; all zeros if the file was removed, none for what is no file.
fn digest(path: &Path, key: &[u8; 32], left: &mut u64) -> Option<Digest> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Digest::default()),
        Err(_) => return None,
    };
    if !meta.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let take = FILE_BYTES_MAX.min(*left);
    File::open(path)
        .ok()?
        .take(take)
        .read_to_end(&mut bytes)
        .ok()?;
    *left -= (bytes.len() as u64).min(*left);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&bytes);
    if meta.len() > bytes.len() as u64 {
        hasher.update(&meta.len().to_le_bytes());
    }
    Some(Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn git(dir: &Path, arguments: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(dir)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success(), "{arguments:?}");
    }

    fn repository() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q"]);
        for (name, text) in [("app.py", "x = 1\n"), ("gone.py", ""), ("sub/same.py", "")] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-q", "-m", "first"]);
        dir
    }

    /// On a busy machine git may be over its time once.
    fn changed(workspace: &Path) -> BTreeMap<String, Digest> {
        let mut found = BTreeMap::new();
        for _ in 0..50 {
            found = changed_files(workspace, &KEY);
            if !found.is_empty() {
                break;
            }
        }
        found
    }

    fn names(found: &BTreeMap<String, Digest>) -> Vec<&str> {
        found.keys().map(String::as_str).collect()
    }

    #[test]
    fn changed_removed_and_untracked_files_of_code_are_named() {
        let dir = repository();
        let at = |name: &str| dir.path().join(name);
        assert!(changed_files(dir.path(), &KEY).is_empty());
        fs::write(at("app.py"), "x = 2\n").unwrap();
        fs::remove_file(at("gone.py")).unwrap();
        fs::write(at("sub/new ünï.py"), "").unwrap();
        fs::write(at(".env"), "SECRET=1").unwrap();
        fs::write(at("notes.txt"), "").unwrap();
        fs::create_dir_all(at("lib/site-packages")).unwrap();
        fs::write(at("lib/site-packages/other.py"), "").unwrap();
        let first = changed(dir.path());
        assert_eq!(names(&first), ["app.py", "gone.py", "sub/new ünï.py"]);
        assert_eq!(first["gone.py"], Digest::default());
        // Relative to a workspace that is not the top of the work tree.
        assert_eq!(names(&changed(&at("sub"))), ["new ünï.py"]);
        fs::write(at("app.py"), "x = 3\n").unwrap();
        let second = changed(dir.path());
        assert_ne!(first["app.py"], second["app.py"]);
        assert_ne!(
            first["app.py"],
            changed_files(dir.path(), &[8; 32])["app.py"]
        );
    }

    #[test]
    fn without_git_or_a_repository_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.py"), "").unwrap();
        assert!(changed_files(dir.path(), &KEY).is_empty());
        let repository = repository();
        fs::write(repository.path().join("a.py"), "").unwrap();
        let absent = Path::new("/no/such/git");
        assert!(changed_files_by(absent, repository.path(), &KEY).is_empty());
    }

    #[test]
    fn a_git_that_hangs_is_not_waited_for() {
        use std::os::unix::fs::PermissionsExt;
        let dir = repository();
        let slow = dir.path().join("slow-git");
        fs::write(&slow, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
        let started = Instant::now();
        assert!(changed_files_by(&slow, dir.path(), &KEY).is_empty());
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn of_ten_thousand_untracked_files_the_first_are_digested_and_the_rest_count() {
        let names: Vec<String> = (0..10_000).map(|n| format!("m{n:05}.py")).collect();
        let dir = tempfile::tempdir().unwrap();
        for name in &names {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let answer: Vec<u8> = names
            .iter()
            .flat_map(|n| format!("?? {n}\0").into_bytes())
            .collect();
        let found = names_in(&answer, dir.path(), dir.path());
        assert_eq!(found, names);
        let first = digests(&found, dir.path(), &KEY);
        assert_eq!(first.len(), FILES_MAX + 1);
        assert!(first.contains_key("(9500 more files)"));
        let fewer = digests(&found[..9_999], dir.path(), &KEY);
        assert!(fewer.contains_key("(9499 more files)"));
        // And as git really answers; too slow gives nothing, never half.
        git(dir.path(), &["init", "-q"]);
        let asked = changed(dir.path());
        assert!(asked.is_empty() || asked == first);
    }

    #[test]
    fn a_huge_file_is_digested_by_its_beginning_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.sql");
        let digest_of = |length: u64| {
            File::create(&path).unwrap().set_len(length).unwrap();
            let mut left = ALL_BYTES_MAX;
            let digest = digest(&path, &KEY, &mut left).unwrap();
            assert_eq!(left, ALL_BYTES_MAX - FILE_BYTES_MAX);
            digest
        };
        assert_ne!(digest_of(20 << 30), digest_of((20 << 30) + 1));
    }
}
