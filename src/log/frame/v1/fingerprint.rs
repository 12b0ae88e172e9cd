//! What a boot ran on, without databases, changed files and packages.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::log::frame::v2;

#[derive(Debug, Deserialize)]
pub(crate) struct Fingerprint {
    ubs_version: String,
    manifest: [u8; 32],
    revision: Option<String>,
    lock_files: BTreeMap<String, [u8; 32]>,
    interpreter: Option<String>,
    variables: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
}

impl From<Fingerprint> for v2::Fingerprint {
    fn from(old: Fingerprint) -> Self {
        Self {
            ubs_version: old.ubs_version,
            manifest: old.manifest,
            revision: old.revision,
            changed_files: BTreeMap::new(),
            lock_files: old.lock_files,
            interpreter: old.interpreter,
            packages: BTreeMap::new(),
            variables: old.variables,
            databases: BTreeMap::new(),
            host: old.host,
        }
    }
}
