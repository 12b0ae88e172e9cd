//! The application of one boot: its manifest, where its state lies, and its environment as it is now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::EngineError;
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest};

/// What a boot runs.
pub(super) struct Application {
    pub manifest: Arc<Manifest>,
    pub state_dir: PathBuf,
    /// What the application inherits where the manifest allows.
    pub process_env: BTreeMap<String, String>,
    pub environment: Environment,
    /// Takes the environment's secrets out of what is shown and kept.
    pub redactor: Arc<Redactor>,
}

impl Application {
    /// Takes an environment that was read again.
    pub(super) fn use_environment(&mut self, environment: Environment) {
        self.redactor = Arc::new(Redactor::new(environment.secret_values(&self.manifest)));
        self.environment = environment;
    }

    /// Where checks put what they need for a while.
    pub(super) fn scratch(&self) -> PathBuf {
        self.state_dir.join("scratch")
    }
}

/// Reads the environment files.
pub(super) fn load_environment(
    manifest: &Manifest,
    process_env: &BTreeMap<String, String>,
) -> Result<Environment, EngineError> {
    Environment::load(
        manifest,
        &manifest.workspace,
        process_env.clone().into_iter(),
    )
    .map_err(|error| EngineError::Environment(error.to_string()))
}
