//! What comes before a boot: the lock, what an earlier boot left, the environment, the fingerprint.
//!
//! Runs in a thread of its own, since it waits for processes, locks and databases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::application::{Application, load_environment};
use super::boot_log::context;
use super::error::EngineError;
use super::fingerprint::fingerprint;
use super::lock::{Supervisor, SupervisorLock};
use super::recover::recover;
use super::signals::Signals;
use crate::domain::event::{Fingerprint, ProcessRef};
use crate::domain::ids::{BootId, Seq};
use crate::domain::redact::Redactor;
use crate::fix::server_urls;
use crate::kernel;
use crate::log::{Log, Reader};
use crate::manifest::Manifest;

/// After a signal the recovery may finish its step for so long.
const STOPS_WITHIN: Duration = Duration::from_millis(500);

/// What is needed.
pub(super) struct Preparation {
    pub manifest: Manifest,
    pub log: Log,
    pub reader: Reader,
    pub state_dir: PathBuf,
    pub process_env: BTreeMap<String, String>,
}

/// What a boot begins with.
pub(super) struct PreparedBoot {
    pub app: Application,
    pub log: Log,
    pub reader: Reader,
    /// The log's end before the boot.
    pub head: Seq,
    pub boot: BootId,
    pub supervisor: ProcessRef,
    pub fingerprint: Fingerprint,
    pub lock: SupervisorLock,
}

/// Prepares, unless a signal comes first. A step that does not end soon after it is left to its thread,
/// which holds the supervisor's lock until then; the next boot finishes what that leaves.
pub(super) async fn prepare(
    preparation: Preparation,
    signals: &mut Signals,
) -> Result<PreparedBoot, EngineError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut prepared) = oneshot::channel();
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("start".to_owned())
        .spawn(move || drop(sender.send(preparation.run(&stopped))))
        .map_err(|source| EngineError::Io {
            what: "start a thread",
            source,
        })?;
    let by = tokio::select! {
        biased;
        by = signals.next_stop() => by,
        outcome = &mut prepared => {
            return outcome.unwrap_or_else(|_| Err(EngineError::Bug("the start panicked".to_owned())));
        }
    };
    stop.store(true, Ordering::SeqCst);
    tokio::select! {
        _ = prepared => {}
        _ = signals.next_stop() => {}
        () = tokio::time::sleep(STOPS_WITHIN) => {}
    }
    Err(EngineError::Interrupted { by })
}

impl Preparation {
    fn run(self, stop: &AtomicBool) -> Result<PreparedBoot, EngineError> {
        let mut lock = SupervisorLock::take(&self.state_dir)?;
        let workspace = &self.manifest.workspace;
        // An environment that cannot be read must not keep what was left running alive.
        let environment = load_environment(&self.manifest, &self.process_env);
        let servers = environment.as_ref().ok();
        let servers = servers.map(|environment| server_urls(&self.manifest, environment));
        recover(
            &self.log,
            &self.reader,
            workspace,
            &self.state_dir,
            servers.as_ref(),
            context(),
            stop,
        )?;
        let environment = environment?;
        let boot = BootId(uuid::Uuid::now_v7());
        let supervisor = kernel::process_ref(std::process::id()).unwrap_or_default();
        let head = self.reader.head()?;
        lock.announce(&Supervisor {
            app: self.manifest.name.clone(),
            process: supervisor.clone(),
            boot,
            log_head: head.0,
        })
        .map_err(|source| EngineError::Io {
            what: "write the supervisor's lock file",
            source,
        })?;
        let fingerprint = fingerprint(&self.manifest, &environment, &self.state_dir);
        Ok(PreparedBoot {
            app: Application {
                environment_trouble: None,
                redactor: Arc::new(Redactor::new(environment.secret_values(&self.manifest))),
                manifest: Arc::new(self.manifest),
                state_dir: self.state_dir,
                process_env: self.process_env,
                environment,
            },
            log: self.log,
            reader: self.reader,
            head,
            boot,
            supervisor,
            fingerprint,
            lock,
        })
    }
}
