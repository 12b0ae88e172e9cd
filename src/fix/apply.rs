//! From a proposal to the exact bytes of each file: computed first, written later.
//!
//! Every path is hostile: it stays inside the workspace, follows no symbolic link, and never
//! reaches `ubs`' own state or the version control's.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::guarded::not_carried;
use crate::domain::ids::Digest;
use crate::domain::mission::{Change, Proposal};
use crate::domain::redact::{Redactor, sanitise};
use crate::domain::remedy::TextEdit;
use crate::kernel::read_unless_database;
use crate::manifest::{self, Existing, set_variable};

/// Changes in one proposal.
const CHANGES_MAX: usize = 256;
/// A file that a proposal may touch, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Words and bytes of one command.
const COMMAND_WORDS_MAX: usize = 64;
const COMMAND_BYTES_MAX: usize = 16 << 10;
/// Longest wait of a proposal.
const WAIT_MS_MAX: u64 = 60_000;
/// Directories that no proposal may touch.
const FORBIDDEN: [&str; 3] = [".ubs", ".git", ".hg"];
/// Mode of a file that holds a generated secret.
const MODE_SECRET: u32 = 0o600;
/// Mode of any other new file.
const MODE_NEW: u32 = 0o644;

/// A proposal cannot be carried out; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The path is not one that a proposal may touch.
    #[error("the proposal may not touch {path}: {why}")]
    Path {
        /// As proposed.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// The workspace changed meanwhile.
    #[error("{path} is not what it was when the fix was proposed; look again and propose anew")]
    Changed {
        /// Which file.
        path: String,
    },
    /// Somebody edited the file between the look at it and the proposal.
    #[error(
        "{path} is not what the proposal was made for, and nothing was changed: look at it again (`files` of \
         `ubs missions show --json` has its digest) and propose anew\n{difference}"
    )]
    Meanwhile {
        /// Which file.
        path: String,
        /// A unified diff, bounded.
        difference: String,
    },
    /// The file cannot be read or written.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// `read`, `write`.
        verb: &'static str,
        /// Which file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Not text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// Too much.
    #[error("{what}: {actual} (at most {max})")]
    TooMuch {
        /// What.
        what: &'static str,
        /// How much.
        actual: u64,
        /// How much is allowed.
        max: u64,
    },
    /// It would write a secret into the log.
    #[error(
        "the proposal contains what looks like a secret; let it use generate_secret, or set the variable by hand"
    )]
    Secret,
    /// The value does not fit into an environment file.
    #[error("the value of {0} cannot be written to an environment file")]
    Value(String),
    /// No randomness to be had.
    #[error("cannot get random bytes: {0}")]
    Random(String),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] super::database::DatabaseError),
    /// The proposal names a schema that the manifest does not declare.
    #[error("the manifest declares no [[schema]] named {0} with a SQLite or PostgreSQL database")]
    UnknownSchema(String),
    /// A PostgreSQL database could not be cloned or changed.
    #[error(transparent)]
    Postgres(#[from] crate::fix::postgres::error::PostgresError),
    /// The migrations could not be run.
    #[error("the migrations of database {schema} failed: {why}")]
    Migration {
        /// Name of the `[[schema]]`.
        schema: String,
        /// Why, in words.
        why: String,
    },
    /// One proposal changes a database in two ways.
    #[error("database {0} is changed twice: by migrations, and by statements or other migrations")]
    ChangedTwice(String),
    /// Packages cannot be installed.
    #[error("packages cannot be installed into {environment}: {why}")]
    Packages {
        /// Relative to the workspace.
        environment: String,
        /// Why, in words.
        why: String,
    },
    /// Not a command.
    #[error(
        "a command is a program and its arguments, at most {COMMAND_WORDS_MAX} words of {COMMAND_BYTES_MAX} bytes \
         together, without control characters"
    )]
    Command,
    /// What is left behind may still be somebody's.
    #[error("{path} is not moved aside: {why}")]
    NotLeftBehind {
        /// Which file.
        path: String,
        /// Why not.
        why: String,
    },
    /// A command failed.
    #[error("`{command}` {why}")]
    Run {
        /// The command, as a shell would take it.
        command: String,
        /// How it ended.
        why: String,
    },
    /// The proposal names a service that the manifest does not have.
    #[error("the manifest has no service called {0} that could be started again")]
    UnknownService(String),
    /// Not how far migrations can go.
    #[error("{0} is no target of migrations")]
    Target(String),
}

impl ApplyError {
    /// Somebody edited what the proposal was made for.
    pub(crate) fn is_changed_meanwhile(&self) -> bool {
        matches!(self, Self::Meanwhile { .. } | Self::Changed { .. })
    }
}

/// One file as it is and as it will be.
#[derive(Debug, Clone)]
pub(super) struct PlannedFile {
    /// Relative to the root.
    pub path: String,
    /// What it holds now; `None` if it does not exist.
    pub before: Option<Vec<u8>>,
    /// What it will hold.
    pub after: Vec<u8>,
    /// It will be gone.
    pub is_deleted: bool,
    /// Permission bits of the file that will be.
    pub mode: u32,
}

impl PlannedFile {
    /// Digest of what it holds now.
    pub(super) fn digest_before(&self) -> Option<Digest> {
        self.before.as_deref().map(Digest::of)
    }

    /// Digest of what it will hold; [`GONE`] if it will not exist.
    pub(super) fn digest_after(&self) -> Digest {
        if self.is_deleted {
            GONE
        } else {
            Digest::of(&self.after)
        }
    }
}

/// Stands for the digest of a file that does not exist.
pub(super) const GONE: Digest = Digest([0; 32]);

/// The path inside `root`, if a proposal may touch it.
pub(super) fn resolve(root: &Path, path: &str) -> Result<PathBuf, ApplyError> {
    let refuse = |why| ApplyError::Path {
        path: path.escape_debug().to_string(),
        why,
    };
    if path.is_empty() || path.len() > 1024 || sanitise(path) != path || path.contains('\n') {
        return Err(refuse("it is empty, too long, or has control characters"));
    }
    let mut resolved = root.to_path_buf();
    let mut depth = 0;
    for component in Path::new(path).components() {
        let Component::Normal(name) = component else {
            return Err(refuse("it leaves the workspace"));
        };
        if is_forbidden(&name.to_string_lossy()) {
            return Err(refuse("it belongs to ubs or to the version control"));
        }
        depth += 1;
        resolved.push(name);
        if fs::symlink_metadata(&resolved).is_ok_and(|m| m.file_type().is_symlink()) {
            return Err(refuse("it goes through a symbolic link"));
        }
    }
    if depth == 0 {
        return Err(refuse("it names no file"));
    }
    Ok(resolved)
}

/// Is this one of [`FORBIDDEN`], or another name of it on some file system? Names are folded as by file systems that
/// ignore case (`.GIT`, `.g\u{131}t`), invisible characters (HFS+), or dots and blanks at the end (NTFS, which also
/// gives short names: `git~1`); a workspace may lie on any of them, or be checked out there.
fn is_forbidden(name: &str) -> bool {
    let is_ignored = |c: &char| {
        let is_mark = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{ad}');
        is_mark || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let visible = name.chars().filter(|c| !is_ignored(c));
    let folded: String = visible
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    let folded = folded.trim_end_matches(['.', ' ']);
    let is_short = |forbidden: &str| {
        let number = folded
            .strip_prefix(&forbidden[1..])
            .and_then(|rest| rest.strip_prefix('~'));
        number
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    FORBIDDEN
        .iter()
        .any(|forbidden| *forbidden == folded || is_short(forbidden))
}

/// The bytes of a file, `None` if it does not exist.
pub(super) fn read_file(root: &Path, path: &str) -> Result<Option<Vec<u8>>, ApplyError> {
    let full = resolve(root, path)?;
    let fail = |source| ApplyError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    match fs::metadata(&full) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if !metadata.is_file() => {
            return Err(ApplyError::Path {
                path: path.to_owned(),
                why: "it is not a file",
            });
        }
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(ApplyError::TooMuch {
                what: "bytes of a file to change",
                actual: metadata.len(),
                max: FILE_BYTES_MAX,
            });
        }
        Ok(_) => {}
    }
    match read_unless_database(&full, FILE_BYTES_MAX).map_err(fail)? {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(ApplyError::Path {
            path: path.to_owned(),
            why: "it is a database; propose SQL statements for its schema instead",
        }),
    }
}

/// Refuses a file that the copy of a trial does not have: what becomes of a change to it cannot be tried.
pub(super) fn require_carried(path: &str) -> Result<(), ApplyError> {
    match not_carried(path) {
        None => Ok(()),
        Some(_) => Err(ApplyError::Path {
            path: path.escape_debug().to_string(),
            why: "no trial has it, because installed packages and caches are not copied; change what is \
                  installed there with the tool that installs it",
        }),
    }
}

/// Refuses what no proposal may be, before anything of it is written to the log: too many changes,
/// bad paths, secrets in the text.
pub(super) fn require_sound(
    root: &Path,
    proposal: &Proposal,
    redactor: &Redactor,
) -> Result<(), ApplyError> {
    if proposal.changes.len() > CHANGES_MAX {
        return Err(ApplyError::TooMuch {
            what: "changes in one proposal",
            actual: proposal.changes.len() as u64,
            max: CHANGES_MAX as u64,
        });
    }
    let require_clean = |text: &str| {
        if redactor.redact(text) == text {
            Ok(())
        } else {
            Err(ApplyError::Secret)
        }
    };
    require_clean(&proposal.summary)?;
    let mut installs = proposal.changes.iter().filter_map(|change| match change {
        Change::Packages { environment, .. } => Some(environment),
        _ => None,
    });
    // They would share the wheels of the trial, and the journal of the promotion.
    if let (Some(_), Some(environment)) = (installs.next(), installs.next()) {
        return Err(ApplyError::Packages {
            environment: environment.escape_debug().to_string(),
            why: "the proposal installs packages twice; name them all in one change, or propose one environment \
                  after the other"
                .to_owned(),
        });
    }
    for change in &proposal.changes {
        match change {
            Change::Insert { path, text, .. } | Change::Write { path, text, .. } => {
                resolve(root, path)?;
                require_carried(path)?;
                require_clean(text)?;
            }
            Change::Edit { path, edits, .. } => {
                resolve(root, path)?;
                require_carried(path)?;
                edits
                    .iter()
                    .try_for_each(|edit| require_clean(&edit.text))?;
            }
            Change::Packages {
                environment,
                install,
            } => {
                resolve(root, environment)?;
                let is_exact = |one: &String| {
                    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
                    one.split_once("==").is_some_and(|(name, version)| {
                        [name, version].iter().all(|part| {
                            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                                && part.chars().all(plain)
                        })
                    })
                };
                if install.is_empty() || !install.iter().all(is_exact) {
                    return Err(ApplyError::Packages {
                        environment: environment.escape_debug().to_string(),
                        why: "each has to be given as name==version".to_owned(),
                    });
                }
                let place = root.join(environment);
                let is_one = place.join("pyvenv.cfg").is_file()
                    || place.symlink_metadata().is_err()
                    || place.join("bin/python").is_symlink();
                if environment.is_empty() || place.is_symlink() || !is_one {
                    return Err(ApplyError::Packages {
                        environment: environment.escape_debug().to_string(),
                        why: "it is no virtual environment of the workspace".to_owned(),
                    });
                }
            }
            Change::SetVariable { path, value, .. } => {
                resolve(root, path)?;
                require_carried(path)?;
                require_clean(value)?;
            }
            Change::Delete { path, .. }
            | Change::MakeDirectory { path }
            | Change::AddMode { path, .. }
            | Change::MoveAside { path } => {
                resolve(root, path)?;
                require_carried(path)?;
                require_clean(path)?;
            }
            Change::Run { command } => {
                require_command(command)?;
                command.iter().try_for_each(|word| require_clean(word))?;
            }
            Change::Wait { ms } if *ms > WAIT_MS_MAX => {
                return Err(ApplyError::TooMuch {
                    what: "milliseconds to wait",
                    actual: *ms,
                    max: WAIT_MS_MAX,
                });
            }
            Change::Wait { .. } => {}
            Change::Restart { services } => {
                services.iter().try_for_each(|name| require_clean(name))?;
            }
            Change::GenerateSecret { path, bytes, .. } => {
                resolve(root, path)?;
                require_carried(path)?;
                if !(16..=1024).contains(bytes) {
                    return Err(ApplyError::TooMuch {
                        what: "random bytes of a secret (at least 16)",
                        actual: u64::from(*bytes),
                        max: 1024,
                    });
                }
            }
            Change::Sql { statements, .. } => {
                statements
                    .iter()
                    .try_for_each(|statement| require_clean(statement))?;
            }
            Change::Migrate { schema, target, .. } => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || "_@+".contains(c);
                if target.is_empty() || target.len() > 64 || !target.chars().all(is_word) {
                    return Err(ApplyError::Target(target.escape_debug().to_string()));
                }
                let touches = |change: &&Change| match change {
                    Change::Sql { schema: name, .. } | Change::Migrate { schema: name, .. } => {
                        name == schema
                    }
                    _ => false,
                };
                if proposal.changes.iter().filter(touches).count() > 1 {
                    return Err(ApplyError::ChangedTwice(schema.escape_debug().to_string()));
                }
            }
        }
    }
    Ok(())
}

/// The files that the proposal changes, as they are and as they will be. Reads, never writes.
pub(super) fn plan_files(root: &Path, proposal: &Proposal) -> Result<Vec<PlannedFile>, ApplyError> {
    let mut files: Vec<PlannedFile> = Vec::new();
    for change in &proposal.changes {
        match change {
            Change::Sql { .. }
            | Change::Migrate { .. }
            | Change::Packages { .. }
            | Change::MakeDirectory { .. }
            | Change::AddMode { .. }
            | Change::MoveAside { .. }
            | Change::Run { .. }
            | Change::Wait { .. }
            | Change::Restart { .. } => {}
            Change::Delete { path, before } => {
                let file = planned(&mut files, root, path)?;
                require_digest(file, Some(*before))?;
                file.after.clear();
                file.is_deleted = true;
            }
            Change::Insert {
                path,
                before,
                offset,
                text,
            } => {
                let file = planned(&mut files, root, path)?;
                require_digest(file, Some(*before))?;
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                if offset > file.after.len() {
                    return Err(ApplyError::Changed { path: path.clone() });
                }
                file.after.splice(offset..offset, text.bytes());
            }
            Change::Edit {
                path,
                before,
                edits,
            } => {
                let file = planned(&mut files, root, path)?;
                require_digest(file, Some(*before))?;
                let read = file.before.clone().unwrap_or_default();
                if file.after != read {
                    // Its places are those of the file as it was read.
                    return Err(ApplyError::Changed { path: path.clone() });
                }
                file.after = edited(&read, edits)
                    .ok_or_else(|| ApplyError::Changed { path: path.clone() })?;
            }
            Change::Write { path, before, text } => {
                let file = planned(&mut files, root, path)?;
                require_digest(file, *before)?;
                file.after = text.clone().into_bytes();
            }
            Change::SetVariable { path, name, value } => {
                let file = planned(&mut files, root, path)?;
                assign(file, name, value)?;
            }
            Change::GenerateSecret { path, name, bytes } => {
                let file = planned(&mut files, root, path)?;
                assign(file, name, &random_text(*bytes)?)?;
                file.mode = MODE_SECRET;
            }
        }
    }
    if let Some(file) = files.iter().find(|f| f.after.len() as u64 > FILE_BYTES_MAX) {
        return Err(ApplyError::TooMuch {
            what: "bytes of a changed file",
            actual: file.after.len() as u64,
            max: FILE_BYTES_MAX,
        });
    }
    Ok(files)
}

/// The bytes with these parts replaced; `None` if they are not in order, or not in the file.
pub(super) fn edited(read: &[u8], edits: &[TextEdit]) -> Option<Vec<u8>> {
    let mut result = Vec::with_capacity(read.len());
    let mut done = 0;
    for edit in edits {
        let from = usize::try_from(edit.offset).ok()?;
        let to = from.checked_add(usize::try_from(edit.length).ok()?)?;
        result.extend_from_slice(read.get(done..from)?);
        result.extend_from_slice(edit.text.as_bytes());
        read.get(from..to)?;
        done = to;
    }
    result.extend_from_slice(read.get(done..)?);
    Some(result)
}

fn planned<'a>(
    files: &'a mut Vec<PlannedFile>,
    root: &Path,
    path: &str,
) -> Result<&'a mut PlannedFile, ApplyError> {
    let index = match files.iter().position(|f| f.path == path) {
        // The same proposal deletes it.
        Some(index) if files[index].is_deleted => {
            return Err(ApplyError::Changed {
                path: path.to_owned(),
            });
        }
        Some(index) => index,
        None => {
            let before = read_file(root, path)?;
            let mode = match (&before, fs::metadata(resolve(root, path)?)) {
                (Some(_), Ok(metadata)) => metadata.permissions().mode() & 0o777,
                _ => MODE_NEW,
            };
            files.push(PlannedFile {
                path: path.to_owned(),
                after: before.clone().unwrap_or_default(),
                is_deleted: false,
                before,
                mode,
            });
            files.len() - 1
        }
    };
    Ok(&mut files[index])
}

fn require_digest(file: &PlannedFile, expected: Option<Digest>) -> Result<(), ApplyError> {
    if file.digest_before() == expected {
        Ok(())
    } else {
        Err(ApplyError::Changed {
            path: file.path.clone(),
        })
    }
}

fn assign(file: &mut PlannedFile, name: &str, value: &str) -> Result<(), ApplyError> {
    let valid_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid_name || value.contains('\0') {
        return Err(ApplyError::Value(name.escape_debug().to_string()));
    }
    let text =
        std::str::from_utf8(&file.after).map_err(|_| ApplyError::NotText(file.path.clone()))?;
    file.after = set_variable(text, name, value).into_bytes();
    Ok(())
}

fn random_text(bytes: u32) -> Result<String, ApplyError> {
    use std::fmt::Write as _;
    let mut buffer = vec![0; bytes as usize];
    getrandom::fill(&mut buffer).map_err(|error| ApplyError::Random(error.to_string()))?;
    let mut text = String::with_capacity(buffer.len() * 2);
    for byte in buffer {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Writes a file in one step, with the directories above it.
pub(super) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    manifest::write_atomically(path, bytes, mode, Existing::Replaced)
}

/// Removes a file, durably; one that is gone is as good.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), manifest::sync_directory)
}

/// Refuses a command that is none, or that cannot be given to a program.
fn require_command(command: &[String]) -> Result<(), ApplyError> {
    let bytes: usize = command.iter().map(String::len).sum();
    let is_sound = command.first().is_some_and(|program| !program.is_empty())
        && command.len() <= COMMAND_WORDS_MAX
        && bytes <= COMMAND_BYTES_MAX
        && command
            .iter()
            .all(|word| sanitise(word) == *word && !word.contains('\n'));
    if is_sound {
        Ok(())
    } else {
        Err(ApplyError::Command)
    }
}

/// Writes the planned files below `root`, one after the other.
pub(super) fn write_files(root: &Path, files: &[PlannedFile]) -> Result<(), ApplyError> {
    for file in files {
        let full = resolve(root, &file.path)?;
        let done = if file.is_deleted {
            remove_file(&full)
        } else {
            write_atomically(&full, &file.after, file.mode)
        };
        done.map_err(|source| ApplyError::Io {
            verb: if file.is_deleted { "delete" } else { "write" },
            path: file.path.clone(),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mission::Risk;

    fn proposal(changes: Vec<Change>) -> Proposal {
        Proposal {
            fixer: "test".into(),
            summary: "test".into(),
            risk: Risk::Edit,
            changes,
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        for path in [
            "../x",
            "/etc/passwd",
            "a/../../x",
            ".ubs/log.db",
            ".git/config",
            "",
            ".",
            "link/passwd",
            "link",
            "sub/.git/hooks/x",
            "vendor/.ubs/log.db",
            "a\u{202e}b",
            ".UBS/x",
            "a\0b",
        ] {
            assert!(resolve(dir.path(), path).is_err(), "{path:?} passed");
        }
        assert!(resolve(dir.path(), "backend/models/a.py").is_ok());
    }

    #[test]
    fn a_database_is_no_file_to_edit_and_keeps_its_locks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database
            .execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE")
            .unwrap();
        for _ in 0..3 {
            let error = read_file(dir.path(), "app.db").unwrap_err();
            assert!(error.to_string().contains("propose SQL"), "{error}");
        }
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let held = locks.lines().any(|line| {
            line.split_whitespace()
                .any(|word| word.ends_with(&format!(":{inode}")))
        });
        assert!(held, "no lock on {inode} in:\n{locks}");
        drop(database);
    }

    #[test]
    fn an_insertion_keeps_every_other_byte() {
        let dir = tempfile::tempdir().unwrap();
        let before = b"\xef\xbb\xbfclass A:\r\n    x = 'caf\xc3\xa9'\r\n".to_vec();
        fs::write(dir.path().join("a.py"), &before).unwrap();
        let change = Change::Insert {
            path: "a.py".into(),
            before: Digest::of(&before),
            offset: 13,
            text: "    y = 1\r\n".into(),
        };
        let files = plan_files(dir.path(), &proposal(vec![change])).unwrap();
        write_files(dir.path(), &files).unwrap();
        let after = fs::read(dir.path().join("a.py")).unwrap();
        assert_eq!(
            after,
            b"\xef\xbb\xbfclass A:\r\n    y = 1\r\n    x = 'caf\xc3\xa9'\r\n"
        );
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.py"), "new").unwrap();
        let change = Change::Insert {
            path: "a.py".into(),
            before: Digest::of(b"old"),
            offset: 0,
            text: "x".into(),
        };
        let error = plan_files(dir.path(), &proposal(vec![change])).unwrap_err();
        assert!(matches!(error, ApplyError::Changed { .. }));
    }

    #[test]
    fn a_file_that_the_same_proposal_deletes_is_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".env"), "A=1\n").unwrap();
        let path = ".env".to_owned();
        let delete = Change::Delete {
            path: path.clone(),
            before: Digest::of(b"A=1\n"),
        };
        let set = Change::SetVariable {
            path: path.clone(),
            name: "A".into(),
            value: "2".into(),
        };
        let generate = Change::GenerateSecret {
            path,
            name: "A".into(),
            bytes: 32,
        };
        for change in [set, generate] {
            let changes = vec![delete.clone(), change];
            let error = plan_files(dir.path(), &proposal(changes)).unwrap_err();
            assert!(matches!(error, ApplyError::Changed { .. }), "{error}");
        }
    }

    #[test]
    fn packages_are_installed_once_in_a_proposal() {
        let dir = tempfile::tempdir().unwrap();
        let install = |environment: &str| Change::Packages {
            environment: environment.into(),
            install: vec!["a==1".into()],
        };
        let require = |changes| require_sound(dir.path(), &proposal(changes), &Redactor::default());
        require(vec![install("venv")]).unwrap();
        let error = require(vec![install("venv"), install("other")]).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }

    #[test]
    fn a_generated_secret_is_private_random_and_long() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".env"), "A=1\nSECRET_KEY=change-me\nB=2\n").unwrap();
        let change = Change::GenerateSecret {
            path: ".env".into(),
            name: "SECRET_KEY".into(),
            bytes: 32,
        };
        let plan = || plan_files(dir.path(), &proposal(vec![change.clone()])).unwrap();
        assert_ne!(plan()[0].after, plan()[0].after);
        write_files(dir.path(), &plan()).unwrap();
        let text = fs::read_to_string(dir.path().join(".env")).unwrap();
        let mode = fs::metadata(dir.path().join(".env"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(text.starts_with("A=1\nSECRET_KEY=") && text.ends_with("\nB=2\n"));
        assert!(!text.contains("change-me"));
    }

    #[test]
    fn a_proposal_with_a_secret_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let redactor = Redactor::new(vec!["hunter2hunter2".into()]);
        let change = Change::Write {
            path: "a.py".into(),
            before: None,
            text: "KEY = 'hunter2hunter2'".into(),
        };
        let error = require_sound(dir.path(), &proposal(vec![change]), &redactor).unwrap_err();
        assert!(matches!(error, ApplyError::Secret));
    }
}
