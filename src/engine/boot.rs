//! One boot, performed: asks the machine what to do, does it, and feeds back what came of it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::fingerprint::fingerprint;
use super::lock::{LockError, Supervisor, SupervisorLock};
use super::look::{self, Look};
use super::plan::plan_boot;
use super::recover::{RecoverError, WORK_MARK, recover, worker_name};
use super::services::Services;
use super::settle::{append_boot, settle};
use crate::domain::boot::{
    self, BootCommand, BootRefusal, BootState, Context, Outcome, Phase, Step,
};
use crate::domain::code::Code;
use crate::domain::event::{CheckPhase, HealOutcome, Mode};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding, Measured};
use crate::domain::ids::{At, BootId, MissionId, Seq};
use crate::domain::redact::Redactor;
use crate::fix::{Worker, roll_back, run_checks, server_urls};
use crate::kernel;
use crate::log::{EventFilter, Log, LogError, Missions, Reader, Recorded, now};
use crate::manifest::{Environment, Manifest};

/// How often the log is looked at for what others add, while something is going on elsewhere.
const PUMP_INTERVAL: Duration = Duration::from_millis(100);
/// The same, while the system just runs.
const PUMP_INTERVAL_IDLE: Duration = Duration::from_secs(1);
/// How long a boot that ends waits for its checks and trials, after they were killed.
const WORK_ENDS_WITHIN: Duration = Duration::from_secs(30);

/// When a boot ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Not before somebody stops it.
    Stopped,
    /// As soon as the system is up and nothing is left to heal.
    Settled,
}

/// A boot could not be carried out, for a reason that is not the application's.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another supervisor runs here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An earlier boot that was interrupted could not be cleaned up.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The environment files cannot be read.
    #[error("{0}")]
    Environment(String),
    /// The system refuses something that every boot needs.
    #[error("cannot {what}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Our bug.
    #[error("internal error: {0}; please report it with `ubs replay last --events --json`")]
    Bug(String),
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq)]
pub struct BootEnd {
    /// Which boot.
    pub boot: BootId,
    /// Its last state.
    pub state: BootState,
}

/// What the tasks and threads of a boot report to its engine.
pub(super) enum Report {
    /// For the boot machine.
    Command(BootCommand),
    /// A wait is over: the step may be performed now.
    Due(Step),
}

/// Called for every event of the boot, with the state after it.
pub type Observer<'a> = Box<dyn FnMut(&Recorded, &BootState) + 'a>;

/// Called once, with the state at that moment.
type Hook<'a> = Box<dyn FnOnce(&BootState) + 'a>;

/// A boot to be carried out.
pub struct Boot<'a> {
    manifest: Manifest,
    log: Log,
    reader: Reader,
    state_dir: PathBuf,
    process_env: BTreeMap<String, String>,
    mode: Mode,
    until: Until,
    observer: Observer<'a>,
    on_settled: Option<Hook<'a>>,
}

impl<'a> Boot<'a> {
    /// A boot of `manifest` whose log is `log`, read through `reader`, with its state in `state_dir`.
    ///
    /// `process_env` is the environment that the application inherits where the manifest allows.
    #[must_use]
    pub fn new(
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
            until: Until::Stopped,
            observer: Box::new(|_, _| {}),
            on_settled: None,
        }
    }

    /// In this mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Until this happens.
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// With somebody who looks on.
    #[must_use]
    pub fn observe(mut self, observer: impl FnMut(&Recorded, &BootState) + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// With something to do once, when the system is up and nothing is left to heal.
    #[must_use]
    pub fn on_settled(mut self, hook: impl FnOnce(&BootState) + 'a) -> Self {
        self.on_settled = Some(Box::new(hook));
        self
    }

    /// Carries it out, to its end. `SIGINT` and `SIGTERM` stop it in order; a second one kills.
    ///
    /// # Errors
    /// The boot could not be carried out at all, or the log stopped taking events; then everything
    /// that was started is stopped.
    pub fn run(self) -> Result<BootEnd, EngineError> {
        let io = |what| move |source| EngineError::Io { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(io("start the event loop"))?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let (reports, inbox) = unbounded_channel();
            let mut engine = Engine::start(self, reports)?;
            let outcome = engine.run(inbox).await;
            if outcome.is_err() {
                engine.abandon().await;
            }
            outcome
        })
    }
}

struct Engine<'a> {
    manifest: Rc<Manifest>,
    log: Log,
    reader: Reader,
    state_dir: PathBuf,
    process_env: BTreeMap<String, String>,
    until: Until,
    observer: Observer<'a>,
    on_settled: Option<Hook<'a>>,
    boot: BootId,
    state: BootState,
    seen: Seq,
    in_flight: HashSet<Step>,
    threads: Vec<std::thread::JoinHandle<()>>,
    cancelled: Arc<AtomicBool>,
    reports: UnboundedSender<Report>,
    services: Services,
    environment: Environment,
    redactor: Arc<Redactor>,
    _lock: SupervisorLock,
}

fn context() -> Context {
    let mut random = [0; 2];
    // Without randomness there is no jitter; nothing else depends on it.
    let _ = getrandom::fill(&mut random);
    Context {
        at: now(),
        random_per_mille: u16::from_le_bytes(random) % 1001,
    }
}

impl<'a> Engine<'a> {
    fn start(boot: Boot<'a>, reports: UnboundedSender<Report>) -> Result<Self, EngineError> {
        let mut lock = SupervisorLock::take(&boot.state_dir)?;
        let workspace = &boot.manifest.workspace;
        // An environment that cannot be read must not keep what was left running alive.
        let environment = load_environment(&boot.manifest, &boot.process_env);
        let servers = environment.as_ref().ok();
        let servers = servers.map(|environment| server_urls(&boot.manifest, environment));
        recover(
            &boot.log,
            &boot.reader,
            workspace,
            &boot.state_dir,
            servers.as_ref(),
            context(),
        )?;
        let environment = environment?;
        let id = BootId(uuid::Uuid::now_v7());
        let process = kernel::process_ref(std::process::id()).unwrap_or_default();
        lock.announce(&Supervisor {
            app: boot.manifest.name.clone(),
            process: process.clone(),
            boot: id,
        })
        .map_err(|source| EngineError::Io {
            what: "write the supervisor's lock file",
            source,
        })?;
        let redactor = Arc::new(Redactor::new(environment.secret_values(&boot.manifest)));
        let manifest = Rc::new(boot.manifest);
        let mut engine = Self {
            services: Services::new(
                Rc::clone(&manifest),
                &boot.state_dir,
                id.to_string(),
                reports.clone(),
            ),
            seen: boot.reader.head()?,
            manifest,
            log: boot.log,
            reader: boot.reader,
            state_dir: boot.state_dir,
            process_env: boot.process_env,
            until: boot.until,
            observer: boot.observer,
            on_settled: boot.on_settled,
            boot: id,
            state: BootState::default(),
            in_flight: HashSet::new(),
            threads: Vec::new(),
            cancelled: Arc::default(),
            reports,
            environment,
            redactor,
            _lock: lock,
        };
        let fingerprint = fingerprint(&engine.manifest, &engine.environment, &engine.state_dir);
        let plan = plan_boot(&engine.manifest, boot.mode);
        engine.command(vec![BootCommand::Start {
            app: engine.manifest.name.clone(),
            plan,
            supervisor: process,
            fingerprint: Box::new(fingerprint),
        }])?;
        Ok(engine)
    }

    async fn run(&mut self, mut inbox: UnboundedReceiver<Report>) -> Result<BootEnd, EngineError> {
        let io = |what| move |source| EngineError::Io { what, source };
        let mut interrupts = signal(SignalKind::interrupt()).map_err(io("listen for SIGINT"))?;
        let mut terminations = signal(SignalKind::terminate()).map_err(io("listen for SIGTERM"))?;
        // The terminal is gone: nobody would stop the services any more.
        let mut hangups = signal(SignalKind::hangup()).map_err(io("listen for SIGHUP"))?;
        let mut stop_wanted: Option<&'static str> = None;
        loop {
            self.pump()?;
            if self.state.is_ended() {
                self.end_work().await;
                self.pump()?;
                return Ok(BootEnd {
                    boot: self.boot,
                    state: self.state.clone(),
                });
            }
            if let Some(by) = stop_wanted
                && !self.is_healing()
            {
                stop_wanted = None;
                self.command(vec![BootCommand::RequestStop { by: by.to_owned() }])?;
                continue;
            }
            if self.perform_steps()? {
                continue;
            }
            if is_settled(&self.state) {
                if let Some(hook) = self.on_settled.take() {
                    hook(&self.state);
                }
                if self.until == Until::Settled {
                    let by = "ubs itself, because all is done".to_owned();
                    self.command(vec![BootCommand::RequestStop { by }])?;
                    continue;
                }
            }
            let interval = if self.in_flight.is_empty() || self.is_quiet() {
                PUMP_INTERVAL_IDLE
            } else {
                PUMP_INTERVAL
            };
            let stopped_by = tokio::select! {
                report = inbox.recv() => {
                    let mut batch: Vec<Report> = report.into_iter().collect();
                    while let Ok(more) = inbox.try_recv() {
                        batch.push(more);
                    }
                    self.receive(batch)?;
                    None
                }
                _ = interrupts.recv() => Some("SIGINT"),
                _ = terminations.recv() => Some("SIGTERM"),
                _ = hangups.recv() => Some("SIGHUP"),
                () = tokio::time::sleep(interval) => None,
            };
            if let Some(by) = stopped_by {
                if self.state.phase == Phase::Stopping || stop_wanted.is_some() {
                    self.services.kill_all();
                }
                stop_wanted = Some(by);
                self.cancel_work();
            }
        }
    }

    /// Only waits for a validation to be due.
    fn is_quiet(&self) -> bool {
        self.in_flight
            .iter()
            .all(|step| matches!(step, Step::Validate { .. }))
    }

    fn is_healing(&self) -> bool {
        self.in_flight
            .iter()
            .any(|step| matches!(step, Step::Heal { .. }))
    }

    /// Folds what is new in the log, whoever wrote it.
    fn pump(&mut self) -> Result<(), EngineError> {
        let filter = EventFilter {
            boot: Some(self.boot),
            after: Some(self.seen),
            ..EventFilter::default()
        };
        for recorded in self.reader.events(filter)? {
            let recorded = recorded?;
            self.seen = recorded.seq;
            if let Some(event) = recorded.event() {
                let state = std::mem::take(&mut self.state);
                self.state = boot::evolve(state, recorded.at, recorded.mission, event);
                (self.observer)(&recorded, &self.state);
            }
        }
        Ok(())
    }

    /// Gives commands to the boot machine, in one transaction, and folds what came of them.
    fn command(&mut self, commands: Vec<BootCommand>) -> Result<(), EngineError> {
        let boot = self.boot;
        let context = context();
        let refused = self
            .log
            .transact(move |tx| -> Result<Option<BootRefusal>, LogError> {
                let mut state = tx.boot(boot)?.unwrap_or_default();
                for command in commands {
                    match boot::decide(&state, context, command) {
                        Ok(events) => {
                            for event in &events {
                                state = boot::evolve(state, context.at, None, event);
                            }
                            append_boot(tx, boot, context, events)?;
                        }
                        Err(BootRefusal::Late { .. } | BootRefusal::Ended) => {}
                        Err(refusal) => return Ok(Some(refusal)),
                    }
                }
                Ok(None)
            })??;
        self.pump()?;
        match refused {
            None => Ok(()),
            Some(refusal) => Err(EngineError::Bug(refusal.to_string())),
        }
    }

    fn receive(&mut self, batch: Vec<Report>) -> Result<(), EngineError> {
        let mut commands = Vec::new();
        for report in batch {
            match report {
                Report::Command(command) => {
                    if let BootCommand::EndHeal { mission, .. } = &command {
                        let ended = *mission;
                        self.in_flight.retain(
                            |s| !matches!(s, Step::Heal { mission, .. } if *mission == ended),
                        );
                    }
                    commands.push(command);
                }
                Report::Due(step) => {
                    self.in_flight.remove(&step);
                    match step {
                        Step::WaitForRetry { .. } => commands.push(BootCommand::BackoffElapsed),
                        Step::Validate { .. } => commands.push(BootCommand::BeginValidation),
                        Step::StartService { service, at }
                            if boot::next(&self.state).contains(&Step::StartService {
                                service: service.clone(),
                                at,
                            }) =>
                        {
                            self.start_service(&service, &mut commands);
                        }
                        _ => {}
                    }
                }
            }
        }
        if commands.is_empty() {
            Ok(())
        } else {
            self.command(commands)
        }
    }

    /// Performs what is to be done and not yet being done. True if the state may have changed.
    fn perform_steps(&mut self) -> Result<bool, EngineError> {
        let steps = boot::next(&self.state);
        // A heal is waited for even if the boot no longer asks for it.
        self.in_flight
            .retain(|s| steps.contains(s) || matches!(s, Step::Heal { .. }));
        let mut commands = Vec::new();
        for step in steps {
            if self.in_flight.contains(&step) {
                continue;
            }
            match step.clone() {
                Step::RunCheck { check, phase } => {
                    self.in_flight.insert(step);
                    commands.push(BootCommand::BeginCheck { check, phase });
                    if check == CheckName::Registration
                        && phase == CheckPhase::Validation
                        && self.manifest.registration.is_some()
                    {
                        self.look_at_registration()?;
                    } else {
                        self.run_check(check, phase)?;
                    }
                }
                Step::Settle => {
                    self.settle()?;
                    return Ok(true);
                }
                Step::Heal { mission, .. } => {
                    self.in_flight.insert(step);
                    self.heal(mission)?;
                }
                Step::StartLayer { layer } => commands.push(BootCommand::StartLayer { layer }),
                Step::StartService { service, at: None } => {
                    self.start_service(&service, &mut commands);
                }
                Step::Look => commands.push(BootCommand::BeginValidation),
                Step::WaitForRetry { until: at }
                | Step::Validate { at }
                | Step::StartService { at: Some(at), .. } => {
                    self.in_flight.insert(step.clone());
                    self.wait_until(at, step);
                }
                Step::StopService { service } => {
                    self.in_flight.insert(step);
                    self.services.stop(&service);
                }
            }
        }
        if commands.is_empty() {
            return Ok(false);
        }
        self.command(commands)?;
        Ok(true)
    }

    fn wait_until(&self, at: At, step: Step) {
        let reports = self.reports.clone();
        let wait = Duration::from_millis(at.ms_since(now()).saturating_add(1));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            let _ = reports.send(Report::Due(step));
        });
    }

    fn start_service(&mut self, service: &str, commands: &mut Vec<BootCommand>) {
        let probed = self
            .manifest
            .service(service)
            .is_some_and(|(_, s)| s.oneshot || s.ready.is_some());
        let service = service.to_owned();
        match self
            .services
            .start(&service, &self.environment, &self.redactor)
        {
            Ok(process) => {
                commands.push(BootCommand::ServiceStarted {
                    service: service.clone(),
                    process,
                });
                if !probed {
                    commands.push(BootCommand::ServiceReady { service });
                }
            }
            Err(error) => commands.push(BootCommand::ServiceUnstartable {
                service,
                error: self.redactor.clean(&error, 4096),
                output: String::new(),
            }),
        }
    }

    /// Runs a thread whose result is reported, whatever happens in it: a panic reports `if_it_panics`.
    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() -> BootCommand + Send + 'static,
        if_it_panics: BootCommand,
    ) -> Result<(), EngineError> {
        let reports = self.reports.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                // The engine is gone only when the boot is over.
                let _ = reports.send(Report::Command(outcome.unwrap_or(if_it_panics)));
            })
            .map_err(|source| EngineError::Io {
                what: "start a thread",
                source,
            })?;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        Ok(())
    }

    fn run_check(&mut self, check: CheckName, phase: CheckPhase) -> Result<(), EngineError> {
        let manifest = (*self.manifest).clone();
        let process_env = self.process_env.clone();
        let scratch = self.state_dir.join("scratch");
        let overrides = BTreeMap::from([(WORK_MARK.to_owned(), self.boot.to_string())]);
        let end = move |report: CheckReport| BootCommand::EndCheck {
            report: Box::new(report),
            phase,
        };
        let work = move || {
            let reports = run_checks(
                &manifest,
                &manifest.workspace,
                &scratch,
                &process_env,
                overrides,
                &[check],
            );
            let report = match reports {
                Ok(mut reports) => reports.pop().ok_or_else(|| "it gave no report".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            end(report.unwrap_or_else(|error| failed_report(check, &error)))
        };
        let panicked = failed_report(check, "it panicked, which is a bug of ours");
        self.spawn(check.as_str(), work, end(panicked))
    }

    /// The registration check of the running system: its routes, and whether its services are alive.
    fn look_at_registration(&mut self) -> Result<(), EngineError> {
        // Right after the boot the application object is the one that was looked at before it.
        let known = self
            .state
            .reports
            .get(&CheckName::Registration)
            .filter(|_| self.state.lacks_only_registration())
            .cloned();
        let look = Look {
            manifest: (*self.manifest).clone(),
            environment: self.environment.clone(),
            redactor: Arc::clone(&self.redactor),
            services: look::live_services(&self.state),
            probes: self.services.live_probes(&self.environment),
            known,
            scratch: self.state_dir.join("scratch"),
            process_env: self.process_env.clone(),
            overrides: BTreeMap::from([(WORK_MARK.to_owned(), self.boot.to_string())]),
        };
        let end = |report| BootCommand::EndCheck {
            report: Box::new(report),
            phase: CheckPhase::Validation,
        };
        let check = CheckName::Registration;
        let panicked = failed_report(check, "it panicked, which is a bug of ours");
        self.spawn(
            check.as_str(),
            move || {
                let report = look.run();
                end(report.unwrap_or_else(|error| failed_report(check, &error)))
            },
            end(panicked),
        )
    }

    fn heal(&mut self, mission: MissionId) -> Result<(), EngineError> {
        let baseline = self
            .state
            .reports
            .values()
            .map(|r| (r.name, r.status))
            .collect();
        let worker = Worker::new(
            worker_name(self.boot),
            (*self.manifest).clone(),
            &self.state_dir,
            Missions::new(self.log.clone()).in_boot(self.boot),
            self.process_env.clone(),
        )
        .with_baseline(baseline)
        .with_variable(WORK_MARK, &self.boot.to_string())
        .cancelled_by(Arc::clone(&self.cancelled));
        let redactor = Arc::clone(&self.redactor);
        let end = move |outcome, reason| BootCommand::EndHeal {
            mission,
            outcome,
            reason,
        };
        let work = move || {
            let (outcome, reason) = match worker.work(mission) {
                Ok(worked) => (worked.outcome, worked.reason),
                Err(error) => (HealOutcome::Rejected, error.to_string()),
            };
            end(outcome, redactor.clean(&reason, 4096))
        };
        let panicked = end(
            HealOutcome::Rejected,
            "the worker panicked, which is a bug of ours".to_owned(),
        );
        self.spawn("heal", work, panicked)
    }

    fn settle(&mut self) -> Result<(), EngineError> {
        let regressed = boot::regressed_checks(&self.state);
        if self.state.phase == Phase::Settling
            && !regressed.is_empty()
            && self.roll_back(&regressed)?
        {
            return self.command(vec![BootCommand::Settled { open: 0, closed: 0 }]);
        }
        let settled = settle(&self.log, self.boot, context())?;
        let worker = Worker::new(
            worker_name(self.boot),
            (*self.manifest).clone(),
            &self.state_dir,
            Missions::new(self.log.clone()),
            BTreeMap::new(),
        );
        settled
            .closed
            .into_iter()
            .for_each(|mission| worker.forget(mission));
        // A fix may have changed the environment file.
        self.environment = load_environment(&self.manifest, &self.process_env)?;
        self.services.forget_environment();
        self.redactor = Arc::new(Redactor::new(
            self.environment.secret_values(&self.manifest),
        ));
        self.pump()
    }

    /// Takes back the fixes of the attempt before, because a check got worse with them.
    fn roll_back(&mut self, regressed: &[CheckName]) -> Result<bool, EngineError> {
        let before = self.state.attempt.saturating_sub(1);
        let applied: Vec<MissionId> = self
            .state
            .missions
            .iter()
            .filter(|m| m.attempt == before && m.outcome == Some(HealOutcome::Applied) && !m.closed)
            .map(|m| m.id)
            .collect();
        let missions = Missions::new(self.log.clone()).in_boot(self.boot);
        let checks: Vec<&str> = regressed.iter().map(|check| check.as_str()).collect();
        let why = format!("with it the {} check got worse", checks.join(", "));
        let mut any = false;
        for mission in applied.into_iter().rev() {
            match roll_back(
                &self.manifest.workspace,
                &self.state_dir,
                &missions,
                mission,
                &why,
            ) {
                Ok(_) => any = true,
                Err(error) => tracing::warn!(%mission, %error, "cannot take a fix back"),
            }
        }
        self.pump()?;
        Ok(any)
    }

    /// Ends checks and trials that are going on.
    fn cancel_work(&mut self) {
        self.cancelled.store(true, Ordering::SeqCst);
        kernel::reap_marked(&format!("{WORK_MARK}={}", self.boot), 0);
    }

    async fn end_work(&mut self) {
        self.threads.retain(|thread| !thread.is_finished());
        if self.threads.is_empty() {
            return;
        }
        self.cancel_work();
        let begun = std::time::Instant::now();
        while self.threads.iter().any(|t| !t.is_finished()) && begun.elapsed() < WORK_ENDS_WITHIN {
            kernel::reap_marked(&format!("{WORK_MARK}={}", self.boot), 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The log takes no more events: nothing may go on that nobody can record.
    async fn abandon(&mut self) {
        self.services.kill_all();
        self.end_work().await;
        kernel::reap_marked(
            &format!("{}={}", super::services::BOOT_MARK, self.boot),
            3_000,
        );
    }
}

/// The system is up, and nothing is left to do but to supervise and to validate.
#[must_use]
pub fn is_settled(state: &BootState) -> bool {
    state.is_up()
        && !state.unsettled
        && boot::next(state)
            .iter()
            .all(|step| matches!(step, Step::Validate { .. }))
}

fn load_environment(
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

fn failed_report(check: CheckName, error: &str) -> CheckReport {
    CheckReport {
        name: check,
        status: CheckStatus::Error,
        duration_ms: 0,
        summary: format!("could not be carried out: {error}"),
        findings: vec![Finding::of(
            Code::CheckError,
            check.as_str(),
            format!("the {check} check could not be carried out: {error}"),
        )],
        measured: Measured::Nothing,
    }
}

impl BootEnd {
    /// The system was up, and was stopped as asked.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.state.outcome == Some(Outcome::Stopped)
    }
}
