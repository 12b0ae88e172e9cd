//! What a boot ran on: enough to say later what was different, never a secret. The whole takes less
//! than 100 ms: what it reads is bounded.

mod changed_files;
mod packages;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::checks::Earlier;
use crate::database::summary::{PendingSummary, identity};
use crate::domain::event::{DatabasePrint, Fingerprint};
use crate::domain::ids::Digest;
use crate::fix::value_key;
use crate::manifest::{Environment, Manifest, Origin};

/// Files that pin packages, where they exist.
const LOCK_FILES: [&str; 8] = [
    "requirements.txt",
    "poetry.lock",
    "uv.lock",
    "Pipfile.lock",
    "pdm.lock",
    "package-lock.json",
    "yarn.lock",
    "Cargo.lock",
];
/// Larger lock files are not digested.
const LOCK_FILE_BYTES_MAX: u64 = 32 << 20;
/// How long all databases together are waited for.
const DATABASES_TIME_MAX: Duration = Duration::from_millis(60);

/// The fingerprint of an application as it is now. What cannot be found out is left out.
pub(super) fn fingerprint(
    manifest: &Manifest,
    environment: &Environment,
    state_dir: &Path,
) -> Fingerprint {
    let key = value_key(state_dir);
    let variables = environment
        .values
        .iter()
        // What the application is declared to read, not all that this shell happens to have.
        .filter(|(name, (_, origin))| {
            manifest.config.vars.contains_key(*name) || matches!(origin, Origin::File(..))
        })
        .filter_map(|(name, (value, _))| {
            Some((name.clone(), Earlier::digest(key.as_ref()?, value)))
        })
        .collect();
    let lock_files = manifest
        .python
        .requirements
        .iter()
        .map(String::as_str)
        .chain(LOCK_FILES)
        .filter_map(|name| {
            let path = manifest.workspace.join(name);
            let small = fs::metadata(&path).ok()?.len() <= LOCK_FILE_BYTES_MAX;
            let bytes = small.then(|| fs::read(&path).ok())??;
            Some((name.to_owned(), Digest::of(&bytes)))
        })
        .collect();
    let interpreter = crate::checks::interpreter(manifest, &manifest.workspace, environment).ok();
    Fingerprint {
        ubs_version: env!("CARGO_PKG_VERSION").to_owned(),
        manifest: Digest(manifest.digest),
        revision: revision(&manifest.workspace),
        changed_files: key
            .map(|key| changed_files::changed_files(&manifest.workspace, &key))
            .unwrap_or_default(),
        lock_files,
        packages: interpreter
            .as_deref()
            .map(packages::packages)
            .unwrap_or_default(),
        interpreter: interpreter.map(|path| path.display().to_string()),
        variables,
        databases: databases(manifest, environment, key.as_ref()),
        host: host(),
    }
}

/// What the database of each `[[schema]]` is like; what does not answer in time is left out, but for its URL.
fn databases(
    manifest: &Manifest,
    environment: &Environment,
    key: Option<&[u8; 32]>,
) -> BTreeMap<String, DatabasePrint> {
    let deadline = Instant::now() + DATABASES_TIME_MAX;
    let asked: Vec<_> = manifest
        .schemas
        .iter()
        .filter_map(|schema| {
            let url = environment.expand_url(&schema.database).ok()?;
            let pending = PendingSummary::ask(&url, &manifest.workspace);
            Some((schema.name.to_string(), url, pending))
        })
        .collect();
    asked
        .into_iter()
        .map(|(name, url, pending)| {
            let summary = pending.by(deadline);
            let print = DatabasePrint {
                url: key.map(|key| Earlier::digest(key, &identity(&url))),
                tables: summary.as_ref().map(|summary| summary.tables),
                has_rows: summary.as_ref().map(|summary| summary.has_rows),
                revision: summary.and_then(|summary| summary.revision),
            };
            (name, print)
        })
        .collect()
}

/// The commit that is checked out, read from the files of the version control.
fn revision(workspace: &Path) -> Option<String> {
    let git = workspace
        .ancestors()
        .map(|dir| dir.join(".git"))
        .find(|git| git.is_dir())?;
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let revision = match head.trim().strip_prefix("ref: ") {
        None => head.trim().to_owned(),
        Some(reference) => match fs::read_to_string(git.join(reference)) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => fs::read_to_string(git.join("packed-refs"))
                .ok()?
                .lines()
                .find_map(|line| line.strip_suffix(reference)?.split_whitespace().next())
                .map(str::to_owned)?,
        },
    };
    let valid =
        (40..=64).contains(&revision.len()) && revision.chars().all(|c| c.is_ascii_hexdigit());
    valid.then_some(revision)
}

fn host() -> BTreeMap<String, String> {
    let mut host = BTreeMap::new();
    if let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        host.insert("kernel".to_owned(), release.trim().to_owned());
    }
    if let Ok(cores) = std::thread::available_parallelism() {
        host.insert("cores".to_owned(), cores.to_string());
    }
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().to_owned())
    });
    if let Some(memory) = memory {
        host.insert("memory".to_owned(), memory);
    }
    host
}
