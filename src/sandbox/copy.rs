//! A private copy of the workspace, in which a proposal is tried.
//!
//! Files share their bytes with the originals where the file system can clone (`FICLONE`). Databases are
//! copied by SQLite itself, so that a database in use is copied as of one moment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::lexical::normalise;
use crate::kernel::{remove_tree, try_reflink};

/// Most bytes of one copy.
const BYTES_MAX: u64 = 2 << 30;

/// Most files, links and directories of one copy.
const FILES_MAX: u64 = 200_000;

/// Most levels of directories of one copy: paths of more are too long for most programs, and a loop made them.
const DEPTH_MAX: usize = 256;

/// Directories that a trial does not need, wherever they lie: history, our own state, installed
/// packages (used in place, through the interpreter's own path), caches.
pub(crate) const SKIPPED: &[&str] = &[
    ".git",
    ".ubs",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
];

/// What SQLite keeps beside a database.
const SQLITE_SIBLINGS: &[&str] = &["-wal", "-shm", "-journal"];

/// Longest wait for a database that somebody holds locked.
const LOCKED_MAX: Duration = Duration::from_secs(15);

/// Time between two tries at a locked database.
const LOCKED_POLL: Duration = Duration::from_millis(10);

/// Why the workspace could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It is larger than a copy may be.
    #[error(
        "the workspace is too large to copy: more than {limit}; most of it ({biggest_bytes} bytes in {biggest_files} \
         files) lies in {}", biggest.display()
    )]
    TooLarge {
        /// The limit, in words.
        limit: String,
        /// The directory directly below the workspace with the most bytes (or files, if they are too many).
        biggest: PathBuf,
        /// Its bytes.
        biggest_bytes: u64,
        /// Its files.
        biggest_files: u64,
    },
    /// Directories lie too deep within each other.
    #[error(
        "the workspace has directories more than {limit} levels deep and cannot be copied; they begin at {}: remove \
         them, or move them out of the workspace", top.display()
    )]
    TooDeep {
        /// Levels that a copy may have.
        limit: usize,
        /// The directory directly below the workspace that holds them.
        top: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot copy {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A database could not be cloned.
    #[error("cannot clone the database {}: {source}", path.display())]
    Database {
        /// Which database.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    move |source| CopyError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// A copy of the workspace; removed when dropped.
#[derive(Debug)]
pub(crate) struct WorkspaceCopy {
    root: PathBuf,
    skipped_links: Vec<PathBuf>,
    kept: bool,
}

impl WorkspaceCopy {
    /// Copies the tree into a new directory (mode 0700) below `into`.
    ///
    /// `databases` are SQLite files, absolute or relative to the workspace; those inside it are cloned
    /// consistently, whatever their applications do meanwhile. Modes are kept. Links that stay inside the
    /// workspace stay links (absolute ones become relative); others are left out, since writing through
    /// them would leave the copy: see [`WorkspaceCopy::skipped_links`]. Sockets, pipes, devices and
    /// `.git`, `.ubs`, `.venv`, `venv`, `node_modules`, `__pycache__` are left out.
    ///
    /// # Errors
    /// The workspace is too large, or a file or database cannot be read or written; nothing is left behind.
    pub(crate) fn create(
        workspace: &Path,
        into: &Path,
        databases: &[PathBuf],
    ) -> Result<Self, CopyError> {
        let workspace = workspace.canonicalize().map_err(io_error(workspace))?;
        let root = tempfile::Builder::new()
            .prefix("workspace-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(into)
            .and_then(|dir| dir.path().canonicalize().inspect(|_| drop(dir.keep())))
            .map_err(io_error(into))?;
        let mut copy = Self {
            root,
            skipped_links: Vec::new(),
            kept: false,
        };
        let databases: Vec<PathBuf> = databases
            .iter()
            .filter_map(|d| workspace.join(d).canonicalize().ok())
            .collect();
        let into = into.canonicalize().map_err(io_error(into))?;
        let entries = scan(&workspace, &into, &copy.root)?;
        copy.fill(&workspace, &entries, &databases)?;
        Ok(copy)
    }

    /// The copy's directory.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Links that lead out of the workspace and are therefore missing; relative to the workspace.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn skipped_links(&self) -> &[PathBuf] {
        &self.skipped_links
    }

    /// The copy stays; returns its directory.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn keep(mut self) -> PathBuf {
        self.kept = true;
        std::mem::take(&mut self.root)
    }

    fn fill(
        &mut self,
        workspace: &Path,
        entries: &[Entry],
        databases: &[PathBuf],
    ) -> Result<(), CopyError> {
        // Modes of directories come last: one may forbid us to write into it.
        let mut modes = Vec::new();
        for entry in entries {
            let (source, target) = (workspace.join(&entry.path), self.root.join(&entry.path));
            match &entry.kind {
                Kind::Directory(mode) => {
                    fs::create_dir(&target).map_err(io_error(&target))?;
                    modes.push((target, *mode));
                }
                Kind::Link => match link_target(workspace, &source) {
                    Ok(Some(to)) => symlink(to, &target).map_err(io_error(&target))?,
                    Ok(None) => self.skipped_links.push(entry.path.clone()),
                    Err(error) => return Err(io_error(&source)(error)),
                },
                Kind::File(_) if databases.contains(&source) => clone_database(&source, &target)?,
                Kind::File(_) if belongs_to_database(&source, databases) => {}
                Kind::File(mode) => match copy_file(&source, &target, *mode) {
                    // It was there a moment ago: a temporary file of the living application.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    copied => copied.map_err(io_error(&source))?,
                },
            }
        }
        for (target, mode) in modes.into_iter().rev() {
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))
                .map_err(io_error(&target))?;
        }
        Ok(())
    }
}

impl Drop for WorkspaceCopy {
    fn drop(&mut self) {
        if self.kept || self.root.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = remove_tree(&self.root) {
            tracing::warn!(path = %self.root.display(), %error, "a workspace copy could not be removed");
        }
    }
}

enum Kind {
    Directory(u32),
    File(u32),
    Link,
}

/// Something to copy; the path is relative to the workspace, directories come before what they hold.
struct Entry {
    path: PathBuf,
    kind: Kind,
}

fn scan(workspace: &Path, into: &Path, root: &Path) -> Result<Vec<Entry>, CopyError> {
    scan_limited(workspace, into, root, BYTES_MAX, FILES_MAX)
}

fn scan_limited(
    workspace: &Path,
    into: &Path,
    root: &Path,
    bytes_max: u64,
    files_max: u64,
) -> Result<Vec<Entry>, CopyError> {
    let mut entries = Vec::new();
    let (mut bytes, mut files) = (0u64, 0u64);
    let mut by_top: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
    let mut dirs = vec![PathBuf::new()];
    // Trials lie in `sandboxes/MISSION` of the state directory. Its log is not copied, and not even
    // opened: that would drop the locks that this process has on it.
    let state_dir = into.ancestors().nth(2);
    while let Some(dir) = dirs.pop() {
        if dir.components().count() > DEPTH_MAX {
            let top = dir.components().next().map(|first| workspace.join(first));
            return Err(CopyError::TooDeep {
                limit: DEPTH_MAX,
                top: top.unwrap_or_default(),
            });
        }
        let full = workspace.join(&dir);
        for entry in fs::read_dir(&full).map_err(io_error(&full))? {
            let entry = entry.map_err(io_error(&full))?;
            let path = dir.join(entry.file_name());
            let full = entry.path();
            let Ok(found) = entry.metadata() else {
                continue;
            };
            let mode = found.permissions().mode() & 0o7777;
            let kind = if found.is_dir() {
                let named = entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| SKIPPED.contains(&name));
                let ours = full == root || Some(full.as_path()) == state_dir;
                if named || ours || (full == into && into != workspace) {
                    continue;
                }
                dirs.push(path.clone());
                Kind::Directory(mode)
            } else if found.is_symlink() {
                Kind::Link
            } else if found.is_file() {
                Kind::File(mode)
            } else {
                continue;
            };
            let size = if found.is_file() { found.len() } else { 0 };
            bytes = bytes.saturating_add(size);
            files += 1;
            let top = dir
                .components()
                .next()
                .map_or_else(|| PathBuf::from("."), |c| PathBuf::from(c.as_os_str()));
            let tally = by_top.entry(top).or_default();
            *tally = (tally.0.saturating_add(size), tally.1 + 1);
            // Past the limit, only the sums are still needed.
            if bytes <= bytes_max && files <= files_max {
                entries.push(Entry { path, kind });
            }
        }
    }
    if bytes <= bytes_max && files <= files_max {
        return Ok(entries);
    }
    let many = bytes <= bytes_max;
    let (biggest, (biggest_bytes, biggest_files)) = by_top
        .into_iter()
        .max_by_key(|(_, (bytes, files))| if many { *files } else { *bytes })
        .unwrap_or_default();
    let limit = if many {
        format!("{files_max} files")
    } else {
        format!("{bytes_max} bytes")
    };
    Err(CopyError::TooLarge {
        limit,
        biggest: workspace.join(biggest),
        biggest_bytes,
        biggest_files,
    })
}

/// Where the link has to lead in the copy; `None`: it leaves the workspace.
fn link_target(workspace: &Path, link: &Path) -> io::Result<Option<PathBuf>> {
    let written = fs::read_link(link)?;
    let parent = link.parent().unwrap_or(workspace);
    let lexical = normalise(&parent.join(&written));
    // Links on the way may lead elsewhere than the letters say.
    let real = fs::canonicalize(link).unwrap_or_else(|_| lexical.clone());
    if !real.starts_with(workspace) || !lexical.starts_with(workspace) {
        return Ok(None);
    }
    Ok(
        match (written.is_absolute(), lexical.strip_prefix(workspace)) {
            // A sandbox sees the copy at another path than we do.
            (true, Ok(inside)) => Some(upwards(workspace, parent).join(inside)),
            _ => Some(written),
        },
    )
}

/// From a directory of the workspace to the workspace: `../..`.
fn upwards(workspace: &Path, directory: &Path) -> PathBuf {
    let below = directory.strip_prefix(workspace).unwrap_or(Path::new(""));
    below.components().map(|_| Component::ParentDir).collect()
}

fn belongs_to_database(file: &Path, databases: &[PathBuf]) -> bool {
    let Some(file) = file.to_str() else {
        return false;
    };
    databases.iter().filter_map(|d| d.to_str()).any(|database| {
        file.strip_prefix(database)
            .is_some_and(|suffix| SQLITE_SIBLINGS.contains(&suffix))
    })
}

fn copy_file(source: &Path, target: &Path, mode: u32) -> io::Result<()> {
    // Not through a link, and not waiting, should the file have been replaced by one or by a pipe meanwhile.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut from = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(source)?;
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)?;
    if !try_reflink(&from, &to) {
        io::copy(&mut from, &mut to)?;
    }
    to.set_permissions(fs::Permissions::from_mode(mode))
}

/// Copies an SQLite database as of one moment, whoever writes to it meanwhile; the source is only read.
/// A target that exists is replaced by the source's content.
///
/// # Errors
/// No SQLite database, not readable, or locked for longer than 15 s.
pub(crate) fn clone_database(source: &Path, target: &Path) -> Result<(), CopyError> {
    let database_error = |e| CopyError::Database {
        path: source.to_path_buf(),
        source: e,
    };
    let mode = fs::metadata(source)
        .map_err(io_error(source))?
        .permissions()
        .mode()
        & 0o777;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(source, flags).map_err(database_error)?;
    let mut to = Connection::open(target).map_err(database_error)?;
    let deadline = Instant::now() + LOCKED_MAX;
    {
        let backup = Backup::new(&from, &mut to).map_err(database_error)?;
        // All pages in one step: one read transaction, so a busy writer cannot make it start again for ever.
        loop {
            match backup.step(-1).map_err(database_error)? {
                StepResult::Done => break,
                StepResult::Busy | StepResult::Locked if Instant::now() >= deadline => {
                    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                    return Err(database_error(rusqlite::Error::SqliteFailure(code, None)));
                }
                _ => std::thread::sleep(LOCKED_POLL),
            }
        }
    }
    to.close().map_err(|(_, e)| database_error(e))?;
    fs::set_permissions(target, fs::Permissions::from_mode(mode)).map_err(io_error(target))
}

#[cfg(test)]
mod tests;
