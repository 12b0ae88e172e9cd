//! A boot, as its caller describes it, and how it ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::boot_log::Observer;
use crate::domain::boot::{self, BootState, Outcome, Step};
use crate::domain::event::Mode;
use crate::domain::ids::BootId;
use crate::log::{Log, Reader, Recorded};
use crate::manifest::Manifest;
use crate::supervise::Onlooker;

/// When a boot ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Not before somebody stops it.
    Stopped,
    /// As soon as the system is up and nothing is left to heal.
    Settled,
    /// As soon as besides every service that runs is stable.
    Stable,
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BootEnd {
    /// Which boot.
    pub boot: BootId,
    /// Its last state.
    pub state: BootState,
}

/// Called once, with the state at that moment.
pub(super) type Hook<'a> = Box<dyn FnOnce(&BootState) + 'a>;

/// A boot to be carried out.
pub(crate) struct Boot<'a> {
    pub(super) manifest: Manifest,
    pub(super) log: Log,
    pub(super) reader: Reader,
    pub(super) state_dir: PathBuf,
    pub(super) process_env: BTreeMap<String, String>,
    pub(super) mode: Mode,
    pub(super) preflight: bool,
    pub(super) until: Until,
    pub(super) observer: Observer<'a>,
    pub(super) on_settled: Option<Hook<'a>>,
    pub(super) onlooker: Option<Onlooker>,
}

impl<'a> Boot<'a> {
    /// A boot of `manifest` whose log is `log`, read through `reader`, with its state in `state_dir`.
    ///
    /// `process_env` is the environment that the application inherits where the manifest allows.
    #[must_use]
    pub(crate) fn new(
        manifest: Manifest,
        log: Log,
        reader: Reader,
        state_dir: &Path,
        process_env: BTreeMap<String, String>,
    ) -> Self {
        Self {
            manifest,
            log,
            reader,
            state_dir: state_dir.to_owned(),
            process_env,
            mode: Mode::default(),
            preflight: false,
            until: Until::Stopped,
            observer: Box::new(|_, _| {}),
            on_settled: None,
            onlooker: None,
        }
    }

    /// In this mode.
    #[must_use]
    pub(crate) fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Checked first, in a mode that asks for no pre-flight too.
    #[must_use]
    pub(crate) fn preflight(mut self, preflight: bool) -> Self {
        self.preflight = preflight;
        self
    }

    /// Until this happens.
    #[must_use]
    pub(crate) fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// With somebody who looks on.
    #[must_use]
    pub(crate) fn observe(mut self, observer: impl FnMut(&Recorded, &BootState) + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// With somebody who sees each line that a service prints, as it is kept. It must return at once.
    #[must_use]
    pub(crate) fn show_output(
        mut self,
        onlooker: Option<impl Fn(&str, &str) + Send + Sync + 'static>,
    ) -> Self {
        self.onlooker = onlooker.map(|see| Onlooker(Arc::new(see)));
        self
    }

    /// With something to do once, when the system is up and nothing is left to heal.
    #[must_use]
    pub(crate) fn on_settled(mut self, hook: impl FnOnce(&BootState) + 'a) -> Self {
        self.on_settled = Some(Box::new(hook));
        self
    }
}

/// The system is up, and nothing is left to do but to supervise and to validate.
#[must_use]
pub(crate) fn is_settled(state: &BootState) -> bool {
    state.is_up()
        && !state.unsettled
        && boot::next(state)
            .iter()
            .all(|step| matches!(step, Step::Validate { .. } | Step::WaitForServices { .. }))
}

impl BootEnd {
    /// The system was up, and was stopped as asked.
    #[must_use]
    pub(crate) fn is_good(&self) -> bool {
        self.state.outcome == Some(Outcome::Stopped)
    }
}
