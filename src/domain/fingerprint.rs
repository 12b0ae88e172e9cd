//! What a boot runs on. Never a secret: values are keyed digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::Digest;

/// What a boot ran on. Never a secret: values appear as keyed digests only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fingerprint {
    /// Version of `ubs`.
    pub ubs_version: String,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Revision of the workspace's version control, if it has one.
    pub revision: Option<String>,
    /// Files of code that the version control says are changed or untracked, relative to the
    /// workspace: keyed digest of each; of those beyond the bound one digest together.
    #[serde(default)]
    pub changed_files: BTreeMap<String, Digest>,
    /// Digest of each lock or requirements file found.
    pub lock_files: BTreeMap<String, Digest>,
    /// The interpreter's path and version.
    pub interpreter: Option<String>,
    /// Packages that are installed in the interpreter's environment: their versions.
    #[serde(default)]
    pub packages: BTreeMap<String, String>,
    /// Variables of the environment files and the manifest: keyed digest of each value.
    pub variables: BTreeMap<String, String>,
    /// Each `[[schema]]` of the manifest: what its database was like.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabasePrint>,
    /// Host facts: kernel, cores, memory.
    pub host: BTreeMap<String, String>,
}

/// What one database was like. What could not be found out is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DatabasePrint {
    /// Keyed digest of its URL without the password.
    pub url: Option<String>,
    /// Revision of its migrations.
    pub revision: Option<String>,
    /// Number of its tables.
    pub tables: Option<u32>,
    /// At least one of them has a row.
    pub has_rows: Option<bool>,
}
