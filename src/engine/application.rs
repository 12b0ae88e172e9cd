//! The application of one boot: its manifest, where its state lies, and its environment as it is now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::EngineError;
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest};

/// Longest text about environment files that cannot be used.
const TROUBLE_BYTES_MAX: usize = 4096;

/// What a boot runs.
pub(super) struct Application {
    pub manifest: Arc<Manifest>,
    pub state_dir: PathBuf,
    /// What the application inherits where the manifest allows.
    pub process_env: BTreeMap<String, String>,
    pub environment: Environment,
    /// Takes the environment's secrets out of what is shown and kept.
    pub redactor: Arc<Redactor>,
    /// Why the environment is older than its files, if it is; for people, without secrets.
    pub environment_trouble: Option<String>,
}

impl Application {
    /// Takes an environment that was read again, and says whether it is another one. Files that cannot be read, and
    /// lines that are no assignments and were not there before, leave the environment as it was: a service that is
    /// started again must not lose a variable because somebody is just writing the file.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub(super) fn renew_environment(
        &mut self,
        read: Result<Environment, EngineError>,
    ) -> Result<bool, String> {
        let read = read.map_err(|error| error.to_string());
        let read = read.and_then(|environment| {
            self.require_usable(&environment)?;
            Ok(environment)
        });
        match read {
            Ok(environment) => {
                self.environment_trouble = None;
                let is_new = environment != self.environment;
                if is_new {
                    let secrets = environment.secret_values(&self.manifest);
                    self.redactor = Arc::new(Redactor::new(secrets));
                    self.environment = environment;
                }
                Ok(is_new)
            }
            Err(why) => {
                let why = self.redactor.clean(&why, TROUBLE_BYTES_MAX);
                self.environment_trouble = Some(format!(
                    "the environment files cannot be used, so what starts again gets them as they were: {why}"
                ));
                Err(why)
            }
        }
    }

    /// # Errors
    /// Why an environment that was read again would not be taken; its files may hold secrets.
    pub(super) fn require_usable(&self, read: &Environment) -> Result<(), String> {
        newly_malformed(&self.environment, read).map_or(Ok(()), Err)
    }

    /// Takes a manifest that was read again. What is secret is the manifest's to say.
    pub(super) fn take_manifest(&mut self, manifest: Manifest) {
        self.manifest = Arc::new(manifest);
        let secrets = self.environment.secret_values(&self.manifest);
        self.redactor = Arc::new(Redactor::new(secrets));
    }

    /// Where checks put what they need for a while.
    pub(super) fn scratch(&self) -> PathBuf {
        self.state_dir.join("scratch")
    }
}

/// The first line that is no assignment, of a file that has more of them than before.
fn newly_malformed(before: &Environment, now: &Environment) -> Option<String> {
    let before = |name: &str| {
        let file = before.files.iter().find(|(known, _)| known == name);
        file.and_then(|(_, file)| file.as_ref())
    };
    let foreign = now.files.iter().find_map(|(name, file)| {
        let foreign = &file.as_ref()?.not_utf8;
        let line = foreign.first()?.line;
        (foreign.len() > before(name).map_or(0, |file| file.not_utf8.len()))
            .then(|| format!("{name}:{line}: is not UTF-8 text"))
    });
    foreign.or_else(|| {
        now.files.iter().find_map(|(name, file)| {
            let malformed = &file.as_ref()?.malformed;
            let (line, why) = malformed.first()?;
            (malformed.len() > before(name).map_or(0, |file| file.malformed.len()))
                .then(|| format!("{name}:{line}: {why}"))
        })
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_leave_the_environment_as_it_was_and_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let env_file = dir.path().join(".env");
        let manifest = "[app]\nname = \"x\"\n[config]\nfiles = [\".env\"]\n";
        std::fs::write(dir.path().join("ubs.toml"), manifest).unwrap();
        std::fs::write(&env_file, "A=1\n").unwrap();
        let manifest = Manifest::load(&dir.path().join("ubs.toml")).unwrap();
        let read = || load_environment(&manifest, &BTreeMap::new());
        let mut app = Application {
            environment: read().unwrap(),
            manifest: Arc::new(manifest.clone()),
            state_dir: dir.path().join(".ubs"),
            process_env: BTreeMap::new(),
            redactor: Arc::default(),
            environment_trouble: None,
        };
        let value = |app: &Application| app.environment.expand("${A}").unwrap();

        std::fs::write(&env_file, "A=\"2\n").unwrap();
        let why = app.renew_environment(read()).unwrap_err();
        assert!(why.starts_with(".env:1: "), "{why}");
        assert_eq!(value(&app), "1");
        assert!(app.environment_trouble.as_ref().unwrap().contains(&why));

        std::fs::remove_file(&env_file).unwrap();
        std::fs::create_dir(&env_file).unwrap();
        assert!(app.renew_environment(read()).is_err());
        assert_eq!(value(&app), "1");

        std::fs::remove_dir(&env_file).unwrap();
        std::fs::write(&env_file, "A=3\n").unwrap();
        assert_eq!(app.renew_environment(read()), Ok(true));
        assert_eq!(value(&app), "3");
        assert_eq!(app.environment_trouble, None);
        assert_eq!(app.renew_environment(read()), Ok(false));
    }
}
