//! What an application's Python sources say, read without running them: one parallel pass with ruff's
//! parser.
//!
//! Plain facts with places; what they mean is for the checks and for `init` to judge. May rely on
//! nothing but the standard library, the parser and the words of `manifest` for names of secrets: no
//! manifest is read, no interpreter runs, no database is opened.

mod bases;
mod columns;
mod created;
mod decode;
mod edit;
mod effective;
mod environment;
mod facts;
mod file;
mod given;
mod import_order;
mod imports;
mod lines;
mod listing;
mod literals;
mod merge;
mod metadata;
mod mount;
mod nesting;
mod program;
mod scope;
mod settings;
mod tables;
#[cfg(test)]
mod tests;
mod undefined;
mod walker;
mod web;

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(crate) use edit::{
    Edit, correct_attribute, correct_module, import_in_function, is_another_word,
    is_one_letter_off, near_names, rename_imported,
};
pub(crate) use effective::effective;
pub(crate) use facts::{
    ApplicationObject, Base, CreateAll, DatabaseUri, EnvRead, Framework, GivenValue, Guard,
    IgnoredHandler, Import, Include, ModuleScope, Place, RouterDefinition, ServerCall, SourceFacts,
    TableDefinition, UndefinedName, Unjudged, ValueKind,
};
use file::{FileFacts, read_file};
pub(crate) use import_order::ImportOrder;
use listing::{SourceFile, list_files};
pub(crate) use mount::{Sibling, differing_part, mount_like};
pub(crate) use nesting::STACK_BYTES;
pub(crate) use program::{Program, is_launcher, option, program};
use scope::FileName;

/// Bounds of a pass, and what it knows beforehand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanOptions {
    /// Version of the application's Python: what it has not is a syntax error, and tests of
    /// `sys.version_info` are decided.
    pub target: Option<(u8, u8)>,
    /// More files are not read, and that is said.
    pub files_max: usize,
    /// Bytes of one file; larger ones are data, and said to be unjudged.
    pub file_bytes_max: u64,
    /// Bytes of all files.
    pub total_bytes_max: u64,
    /// Threads; 0 for as many as there are processors, up to four.
    pub threads: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            target: None,
            files_max: 20_000,
            file_bytes_max: 4 << 20,
            total_bytes_max: 512 << 20,
            threads: 0,
        }
    }
}

const THREADS_MAX: usize = 4;

/// Reads every Python source below `roots`, directories relative to `workspace` (none: the workspace).
///
/// What is hidden, ignored by a `.gitignore`, a virtual environment's, or outside of the workspace is not
/// read; a root that is named is read even if it is ignored. Never fails: what cannot be read is unjudged.
#[must_use]
pub(crate) fn read_sources(
    workspace: &Path,
    roots: &[String],
    options: &ScanOptions,
) -> SourceFacts {
    let (files, truncated) = list_files(workspace, roots, options.files_max);
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        given => given,
    }
    .clamp(1, THREADS_MAX);
    let next = AtomicUsize::new(0);
    let bytes_left = AtomicU64::new(options.total_bytes_max);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else {
                return done;
            };
            done.push((index, read_one(file, options, &bytes_left)));
        }
    };
    let mut read: Vec<(usize, FileFacts)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .filter_map(|_| {
                std::thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, work)
                    .ok()
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    read.sort_by_key(|(index, _)| *index);
    let unread = files.len() - read.len();
    let mut facts = merge::merge(read.into_iter().map(|(_, facts)| facts).collect());
    facts.truncated = truncated || unread > 0;
    facts.modules = files
        .iter()
        .flat_map(|file| file.modules.iter().map(|m| (m.clone(), file.shown.clone())))
        .collect();
    facts.modules.sort();
    facts
}

/// One file's facts from its bytes; for fuzzing.
#[doc(hidden)]
pub(crate) fn read_text_of_one_file(bytes: &[u8]) -> usize {
    let name = FileName {
        shown: "file.py",
        module: "file",
        is_package: false,
        target: None,
    };
    let facts = merge::merge(vec![read_file(name, bytes)]);
    facts.imports.len() + facts.env_reads.len() + facts.syntax_errors.len()
}

fn read_one(file: &SourceFile, options: &ScanOptions, bytes_left: &AtomicU64) -> FileFacts {
    let name = FileName {
        shown: &file.shown,
        module: file.modules.first().map_or("", String::as_str),
        is_package: file.is_package,
        target: options.target,
    };
    match read_bytes(&file.path, options.file_bytes_max, bytes_left) {
        Ok(bytes) => read_file(name, &bytes),
        Err(why) => FileFacts {
            unjudged: vec![Unjudged {
                place: Place {
                    file: file.shown.clone(),
                    line: 0,
                    column: 0,
                },
                why,
            }],
            scope: ModuleScope {
                module: name.module.to_owned(),
                file: file.shown.clone(),
                is_package: file.is_package,
                is_dynamic: true,
                ..ModuleScope::default()
            },
            ..FileFacts::default()
        },
    }
}

fn read_bytes(path: &Path, bytes_max: u64, bytes_left: &AtomicU64) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| format!("cannot be read: {error}");
    // Not through a link that took the file's place, and not waiting for a pipe.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(said)?;
    let about = file.metadata().map_err(said)?;
    if !about.is_file() {
        return Err("is no regular file".to_owned());
    }
    if about.len() > bytes_max {
        return Err(format!("is larger than {} MiB", bytes_max >> 20));
    }
    let size = about.len();
    let took = bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(size)
    });
    if took.is_err() {
        return Err("the sources together are larger than what is read".to_owned());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(bytes_max).read_to_end(&mut bytes).map_err(said)?;
    Ok(bytes)
}
