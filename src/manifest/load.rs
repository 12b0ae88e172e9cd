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
        manifest: &Manifest,
        root: &Path,
        process: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, EnvironmentError> {
        // Stub: as much as the tests of the checks need.
        let mut environment = Self::default();
        for name in &manifest.config.files {
            let text = std::fs::read_to_string(root.join(name)).ok();
            let file = text.map(|text| {
                let mut file = super::EnvFile::default();
                for (line, row) in (1_u32..).zip(text.lines()) {
                    match row.split_once('=') {
                        _ if row.is_empty() || row.starts_with('#') => {}
                        Some((name, value)) => file.entries.push(super::EnvEntry {
                            name: name.to_owned(),
                            value: value.to_owned(),
                            line,
                        }),
                        None => file.malformed.push((line, "there is no `=`".to_owned())),
                    }
                }
                file
            });
            for entry in file.iter().flat_map(|file| &file.entries) {
                let origin = super::Origin::File(name.into(), entry.line);
                let value = (entry.value.clone(), origin);
                environment.values.insert(entry.name.clone(), value);
            }
            environment.files.push((name.clone(), file));
        }
        for (name, value) in process {
            environment
                .values
                .insert(name, (value, super::Origin::Process));
        }
        Ok(environment)
    }
    /// `text` with each `${NAME}` and `${NAME:-default}` replaced; `$$` is a dollar sign.
    ///
    /// # Errors
    /// A variable has no value.
    pub fn expand(&self, text: &str) -> Result<String, EnvironmentError> {
        // Stub: as much as the tests of the checks need.
        let mut text = text.to_owned();
        for (name, (value, _)) in &self.values {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        if text.contains("${") {
            return Err(EnvironmentError(format!("{text}: a variable has no value")));
        }
        Ok(text)
    }
    /// The environment of a service.
    #[must_use]
    pub fn child_env(&self) -> BTreeMap<String, String> {
        todo!()
    }
    /// The environment of a sandboxed check: variables of the environment files, declared
    /// variables, and `PATH`, `LANG`, `LC_ALL`, `TZ`.
    #[must_use]
    pub fn declared_env(&self, manifest: &Manifest) -> BTreeMap<String, String> {
        let plain = ["PATH", "LANG", "LC_ALL", "TZ"];
        self.values
            .iter()
            .filter(|(name, (_, origin))| {
                matches!(origin, super::Origin::File(..))
                    || manifest.config.vars.contains_key(*name)
                    || plain.contains(&name.as_str())
            })
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect()
    }
    /// The values of variables marked secret.
    #[must_use]
    pub fn secret_values(&self, manifest: &Manifest) -> Vec<String> {
        let secret = |name: &String| manifest.config.vars.get(name).is_some_and(|v| v.secret);
        self.values
            .iter()
            .filter(|(name, _)| secret(name))
            .map(|(_, (value, _))| value.clone())
            .collect()
    }
}
/// The text of an environment file with this variable set.
#[must_use]
pub fn set_variable(_text: &str, _name: &str, _value: &str) -> String {
    todo!()
}
