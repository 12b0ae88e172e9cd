//! Whether the version control has a file: nothing that it has was left behind by a process.

use std::fs;
use std::path::{Path, PathBuf};

/// An index that is larger is not read.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// git has the file, or what lies in it if it is a directory; also if that cannot be known.
pub(super) fn is_tracked(root: &Path, path: &str) -> bool {
    let full = root
        .canonicalize()
        .unwrap_or_else(|_| root.to_owned())
        .join(path);
    let Some((top, git)) = repository(&full) else {
        return false;
    };
    let Some(name) = full.strip_prefix(&top).ok().and_then(Path::to_str) else {
        return true;
    };
    let Some(index) = index_of(&git) else {
        return true;
    };
    let Some(index) = index else {
        return false;
    };
    // Version 4 leaves out what a name has in common with the one before it.
    let is_plain = index.starts_with(b"DIRC\0\0\0\x02") || index.starts_with(b"DIRC\0\0\0\x03");
    if !is_plain {
        return true;
    }
    let ends: [&[u8]; 2] = [b"\0", b"/"];
    let wanted = ends.map(|end| [name.as_bytes(), end].concat());
    aho_corasick::AhoCorasick::new(wanted).map_or(true, |wanted| wanted.is_match(&index))
}

/// The directory of the repository that holds the file, and its `.git`.
fn repository(full: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut above = full.ancestors().skip(1);
    above.find_map(|top| {
        let git = top.join(".git");
        fs::symlink_metadata(&git)
            .is_ok()
            .then(|| (top.to_owned(), git))
    })
}

/// The index; inner `None` if there is none yet, outer if it cannot be read.
fn index_of(git: &Path) -> Option<Option<Vec<u8>>> {
    let directory = if git.is_dir() {
        git.to_owned()
    } else {
        // gitrepository-layout(5): a worktree has a file that names its directory.
        let text = fs::read_to_string(git).ok()?;
        let named = Path::new(text.strip_prefix("gitdir:")?.trim());
        git.parent()?.join(named)
    };
    let index = directory.join("index");
    match fs::metadata(&index) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(None),
        Ok(about) if about.len() <= INDEX_BYTES_MAX => fs::read(index).ok().map(Some),
        _ => None,
    }
}
