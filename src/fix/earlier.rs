//! Reads from the log what the last boot that was up ran on, and keeps which new databases a person accepted.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checks::Earlier;
use crate::database::summary::identity;
use crate::domain::boot::BootState;
use crate::domain::event::Event;
use crate::domain::finding::{CheckName, CheckReport, Measured};
use crate::domain::ids::At;
use crate::log::{BootSummary, EventFilter, LogError, Reader, now};

/// Key of the digests in fingerprints.
const KEY: &str = "fingerprint.key";
/// What was accepted.
const ACCEPTED: &str = "accepted-databases.json";
/// Boots that are looked at: more that never came up in a row say nothing of the application as it is.
const BOOTS_MAX: u32 = 200;
/// The file of accepted databases is ours and small.
const ACCEPTED_BYTES_MAX: u64 = 1 << 20;

/// A database that a person said to begin anew with.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Accepted {
    /// Keyed digest of its URL without the password.
    url: String,
    at: At,
}

/// What the last boot that was up ran on.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn read_earlier(reader: &Reader, state_dir: &Path) -> Result<Earlier, LogError> {
    let mut boots = reader.boots(BOOTS_MAX)?.into_iter();
    let Some(last) = boots.find(|boot| boot.up_at.is_some()) else {
        return Ok(Earlier::default());
    };
    let Some(state) = reader.boot(last.boot_id)? else {
        return Ok(Earlier::default());
    };
    let tables_seen = match state.reports.get(&CheckName::Schema).map(|r| &r.measured) {
        Some(Measured::Schema { tables_live, .. }) => *tables_live,
        _ => 0,
    };
    let declared_results = declared_results(reader, &last, &state)?;
    let accepted = read_accepted(state_dir)
        .into_iter()
        .filter(|(_, accepted)| last.up_at.is_none_or(|up_at| accepted.at > up_at))
        .map(|(name, accepted)| (name, accepted.url))
        .collect();
    Ok(Earlier {
        key: read_key(state_dir),
        up_at: state.up_at,
        databases: state.fingerprint.databases,
        tables_seen,
        declared_results,
        variables: state.fingerprint.variables,
        accepted,
    })
}

/// Results of each declared check: before that boot, or in its last look at the running system.
fn declared_results(
    reader: &Reader,
    last: &BootSummary,
    state: &BootState,
) -> Result<BTreeMap<String, u32>, LogError> {
    let mut results = BTreeMap::new();
    if !state.plan.checks.contains(&CheckName::Declared) {
        return Ok(results);
    }
    let mut add = |report: &CheckReport| {
        if let Measured::Declared { checks } = &report.measured {
            let named = checks.iter().filter(|run| run.results > 0);
            results.extend(named.map(|run| (run.name.clone(), run.results)));
        }
    };
    let before = EventFilter {
        boot: Some(last.boot_id),
        until_at: last.up_at,
        ..EventFilter::default()
    };
    for recorded in reader.events(before)? {
        if let Some(Event::CheckFinished { report, .. }) = recorded?.event() {
            add(report);
        }
    }
    state.reports.values().for_each(add);
    Ok(results)
}

/// Notes that the database of this `[[schema]]` may be empty or new from now on. It holds for this URL, until a boot
/// was up with it.
///
/// # Errors
/// The state directory cannot be written.
pub(crate) fn accept_new_database(state_dir: &Path, schema: &str, url: &str) -> io::Result<()> {
    let key = value_key(state_dir).ok_or_else(|| io::Error::other("the key cannot be made"))?;
    let mut all = read_accepted(state_dir);
    let accepted = Accepted {
        url: Earlier::digest(&key, &identity(url)),
        at: now(),
    };
    all.insert(schema.to_owned(), accepted);
    let text = serde_json::to_vec_pretty(&all)?;
    super::apply::write_atomically(&state_dir.join(ACCEPTED), &text, 0o600)
}

fn read_accepted(state_dir: &Path) -> BTreeMap<String, Accepted> {
    let path = state_dir.join(ACCEPTED);
    let is_small = fs::metadata(&path).is_ok_and(|found| found.len() <= ACCEPTED_BYTES_MAX);
    let bytes = is_small.then(|| fs::read(&path).ok()).flatten();
    // Without a file that can be read, nothing was accepted.
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn read_key(state_dir: &Path) -> Option<[u8; 32]> {
    fs::read(state_dir.join(KEY)).ok()?.try_into().ok()
}

/// A key of this state directory, so that the digest of a short value says nothing elsewhere.
pub(crate) fn value_key(state_dir: &Path) -> Option<[u8; 32]> {
    let path = state_dir.join(KEY);
    if path.exists() {
        return read_key(state_dir);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).ok()?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&key))
        .ok()?;
    Some(key)
}
