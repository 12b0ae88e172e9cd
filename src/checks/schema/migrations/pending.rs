//! The finding for migrations that wait.

use std::path::Path;

use super::upgrader::Upgrader;
use crate::domain::code::Code;
use crate::domain::finding::Finding;
use crate::domain::remedy::Cause;
use crate::domain::words::count;
use crate::manifest::Schema;

/// Migrations that a message names.
const LISTED_MAX: usize = 10;

/// One migration that is not applied.
#[derive(Debug, Clone)]
pub(super) struct PendingMigration {
    pub name: String,
    pub file: String,
    pub line: u32,
}

/// `a, b, and 3 more`.
pub(super) fn listed(all: &[String]) -> String {
    let more = all.len().saturating_sub(LISTED_MAX);
    let mut text = all[..all.len() - more].join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    text
}

/// The finding with what waits: with other contents of these files, it is another failure.
pub(super) fn with_pending(finding: Finding, root: &Path, steps: &[PendingMigration]) -> Finding {
    let mut hasher = blake3::Hasher::new();
    for step in steps {
        let contents = std::fs::read(root.join(&step.file)).unwrap_or_default();
        hasher.update(blake3::hash(step.name.as_bytes()).as_bytes());
        hasher.update(blake3::hash(&contents).as_bytes());
    }
    let digest = hasher.finalize().to_hex();
    finding.cause(Cause::Pending(digest[..16].to_owned()))
}

/// The database is behind.
pub(super) fn pending(
    root: &Path,
    schema: &Schema,
    place: &str,
    steps: &[PendingMigration],
    command: &str,
    upgrader: &Upgrader,
) -> Finding {
    let names: Vec<String> = steps
        .iter()
        .map(|step| format!("{} ({})", step.name, step.file))
        .collect();
    let mut finding = Finding::of(
        Code::SchemaPendingMigration,
        schema.name.as_str(),
        format!(
            "{place} is {} behind: {}",
            count(steps.len(), "migration"),
            listed(&names)
        ),
    )
    .remedy(format!("run `{command}`"))
    .fact("schema", schema.name.as_str());
    if let Some(first) = steps.first() {
        finding = finding.at(first.file.clone(), first.line, 0);
    }
    with_pending(upgrader.attach(schema, finding), root, steps)
}
