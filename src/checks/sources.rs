//! The static scan of one pre-flight: made by the first check that asks, shared by all.

use std::path::Path;
use std::sync::OnceLock;

use super::interpreter::interpreter;
use crate::manifest::{Environment, Manifest};
use crate::source::{ScanOptions, SourceFacts, read_sources};

/// What the sources say, once somebody asked.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    facts: OnceLock<SourceFacts>,
}

impl Sources {
    /// The facts below `config.scan`, or below the import path.
    pub(super) fn facts(
        &self,
        manifest: &Manifest,
        root: &Path,
        environment: &Environment,
    ) -> &SourceFacts {
        self.facts.get_or_init(|| {
            let mut roots = manifest.python.path.clone();
            // A directory of the import path gives modules the names by which they are imported; others
            // are read only where those do not reach.
            for directory in &manifest.config.scan {
                if !roots.is_empty() && !roots.iter().any(|root| reaches(root, directory)) {
                    roots.push(directory.clone());
                }
            }
            let target = interpreter(manifest, root, environment)
                .ok()
                .and_then(|file| version_of(&file));
            let options = ScanOptions {
                target,
                ..ScanOptions::default()
            };
            let facts = read_sources(root, &roots, &options);
            tracing::debug!(files = facts.files, lines = facts.lines, "sources scanned");
            facts
        })
    }
}

/// The file or directory lies below that root; both are relative to the workspace.
pub(super) fn reaches(root: &str, path: &str) -> bool {
    let root = root.trim_start_matches("./").trim_end_matches('/');
    matches!(root, "" | ".") || Path::new(path).starts_with(root)
}

/// The version that a virtual environment says it was made for; asking the interpreter takes longer.
fn version_of(interpreter: &Path) -> Option<(u8, u8)> {
    let home = interpreter.parent()?.parent()?;
    let text = std::fs::read_to_string(home.join("pyvenv.cfg")).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        if !matches!(key.trim(), "version" | "version_info") {
            return None;
        }
        let mut parts = value.trim().split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}
