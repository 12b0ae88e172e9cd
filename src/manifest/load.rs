//! stub
use super::{Environment, Manifest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
/// The manifest is missing or bad.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{0}")]
pub struct ManifestError(String);
/// The environment cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EnvironmentError(String);
/// `ubs.toml` in `start` or above it.
#[must_use]
pub fn find_manifest(_start: &Path) -> Option<PathBuf> {
    todo!()
}
impl Manifest {
    /// Reads and validates it.
    ///
    /// # Errors
    /// It is missing or bad.
    pub fn load(_path: &Path) -> Result<Self, ManifestError> {
        todo!()
    }
}
impl Environment {
    /// Reads the environment files below `root` and merges them under the process environment.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn load(
        _manifest: &Manifest,
        _root: &Path,
        _process: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, EnvironmentError> {
        todo!()
    }
    /// `text` with each `${NAME}` and `${NAME:-default}` replaced; `$$` is a dollar sign.
    ///
    /// # Errors
    /// A variable has no value.
    pub fn expand(&self, _text: &str) -> Result<String, EnvironmentError> {
        todo!()
    }
    /// The environment of a service.
    #[must_use]
    pub fn child_env(&self) -> BTreeMap<String, String> {
        todo!()
    }
    /// The values of variables marked secret.
    #[must_use]
    pub fn secret_values(&self, _manifest: &Manifest) -> Vec<String> {
        todo!()
    }
}
/// The text of an environment file with this variable set.
#[must_use]
pub fn set_variable(_text: &str, _name: &str, _value: &str) -> String {
    todo!()
}
