//! One import for several checks: a layer whose dry run imports exactly one module, and nothing after it,
//! also runs the programs of other checks that need this import and nothing else. Their answers are
//! what a run of their own would give, in the time of one import.
//!
//! It spares time and decides nothing: whoever asks too late, or gets no answer where the layer itself got
//! one, runs a probe of its own.

use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::question::{PROBE_TIMEOUT_MS, frame};
use crate::domain::finding::CheckName;
use crate::manifest::{Expect, Manifest};
use crate::sandbox::SandboxOutcome;
use crate::source::program;

/// The dry runs of one pre-flight that others may ask.
#[derive(Debug, Default)]
pub(crate) struct SharedRuns {
    hosts: Vec<Host>,
}

impl SharedRuns {
    /// What can be shared if these checks run side by side.
    #[must_use]
    pub(crate) fn plan(manifest: &Manifest, checks: &[CheckName]) -> Self {
        let mut shared = Self::default();
        if !checks.contains(&CheckName::Rehearsal) {
            return shared;
        }
        for layer in &manifest.layers {
            let Some(rehearse) = &layer.rehearse else {
                continue;
            };
            let [module] = rehearse.imports.as_slice() else {
                continue;
            };
            // The others have no network and that much time.
            let fits = rehearse.call.is_none()
                && !layer
                    .services
                    .iter()
                    .any(|service| program(&service.run).is_script(module))
                && !rehearse.network
                && rehearse.timeout_ms >= PROBE_TIMEOUT_MS;
            let wanted = askers(manifest, checks, module);
            if fits
                && wanted > 0
                && shared.host_for(module).is_none()
                && let Ok(host) = Host::new(&layer.name, module, wanted)
            {
                shared.hosts.push(host);
            }
        }
        shared
    }

    /// The dry run that imports just this module.
    pub(super) fn host_for(&self, module: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.module == module)
    }

    /// What this layer's dry run offers to others.
    pub(super) fn host_of(&self, layer: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.layer == layer)
    }

    /// Nobody waits any longer.
    pub(super) fn release(&self) {
        for host in &self.hosts {
            host.finish(None);
        }
    }
}

/// How many programs of other checks want this import.
fn askers(manifest: &Manifest, checks: &[CheckName], module: &str) -> usize {
    let models = manifest.schemas.iter().filter(
        |schema| matches!(&schema.expect, Expect::SqlAlchemy { module: m, .. } if m == module),
    );
    let application = manifest
        .registration
        .iter()
        .filter_map(|registration| registration.app.as_ref())
        .filter(|app| app.module == module);
    let mut count = 0;
    if checks.contains(&CheckName::Schema) {
        count += models.count();
    }
    if checks.contains(&CheckName::Registration) {
        count += application.count();
    }
    count
}

/// A dry run that came to its end.
#[derive(Debug)]
pub(super) struct Hosted {
    pub outcome: SandboxOutcome,
    pub nonce: String,
}

#[derive(Debug)]
enum State {
    Running,
    /// `None` if it could not be run.
    Done(Option<Arc<Hosted>>),
}

/// One dry run that others may ask.
#[derive(Debug)]
pub(super) struct Host {
    layer: String,
    module: String,
    /// Programs that want it.
    pub wanted: usize,
    asked: AtomicUsize,
    /// Where questions go in, and where the dry run takes them out.
    questions: Mutex<Option<PipeWriter>>,
    reader: Mutex<Option<Arc<OwnedFd>>>,
    state: Mutex<State>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn new(layer: &str, module: &str, wanted: usize) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        Ok(Self {
            layer: layer.to_owned(),
            module: module.to_owned(),
            wanted,
            asked: AtomicUsize::new(0),
            questions: Mutex::new(Some(writer)),
            reader: Mutex::new(Some(Arc::new(reader.into()))),
            state: Mutex::new(State::Running),
            changed: Condvar::new(),
        })
    }

    /// For the dry run, once.
    pub(super) fn take_reader(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.reader).take()
    }

    /// The dry run is over; the first call counts.
    pub(super) fn finish(&self, hosted: Option<Arc<Hosted>>) {
        // Without a reader, who is writing a question stops.
        drop(self.take_reader());
        drop(lock(&self.questions).take());
        let mut state = lock(&self.state);
        if matches!(*state, State::Running) {
            *state = State::Done(hosted);
            self.changed.notify_all();
        }
    }

    /// Has the dry run execute a program too, and waits for its end, which the layer's timeout bounds. Gives
    /// the mark of the answer. `None` if it cannot be had there.
    pub(super) fn ask(
        &self,
        program: &str,
        input: &serde_json::Value,
    ) -> Option<(String, Arc<Hosted>)> {
        let mark = format!("#{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let question = serde_json::json!({ "mark": mark, "program": program, "input": input });
        lock(&self.questions)
            .as_mut()?
            .write_all(&frame(&question))
            .ok()?;
        let mut state = lock(&self.state);
        loop {
            if let State::Done(hosted) = &*state {
                return Some((mark, hosted.clone()?));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Releases whoever waits, however the check ends.
pub(super) struct ReleaseOnDrop<'a>(pub &'a SharedRuns);

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests;
