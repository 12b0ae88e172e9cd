//! The event loop of one boot: asks the machine what to do, does it, and feeds back what came of it.
//!
//! Nothing blocks its thread for longer than an append to the log or a start of a process takes: what may
//! take longer runs in threads and reports. So a signal is answered at once, whatever is going on.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::aftercare::Aftercare;
use super::application::{Application, load_environment};
use super::boot::{Boot, BootEnd, Hook, Until, is_settled};
use super::boot_log::{BootLog, context};
use super::clock::Clock;
use super::door::open_door;
use super::error::EngineError;
use super::lock::SupervisorLock;
use super::log_watch::LogWatch;
use super::orphans::collect_orphans;
use super::plan::{plan_boot, plan_rules, plan_terms, replan_validation};
use super::reload::{Change, compare};
use super::report::{EngineReport, Reports, Settling};
use super::services::Services;
use super::signals::{Heard, Signals};
use super::start::{Preparation, prepare};
use super::work::{ABANDONED_GRACE_MS, WORK_ENDS_WITHIN, Work};
use crate::control::{
    Ask, Door, Refused, ReloadWanted, Reloaded, SignalWanted, Snapshot, Steer, Steered,
};
use crate::domain::boot::{self, BootCommand, BootRefusal, BootState, Phase, ServiceStatus, Step};
use crate::domain::event::{CheckPhase, ServiceOrder};
use crate::domain::finding::CheckName;
use crate::domain::ids::{At, Seq};
use crate::kernel;
use crate::log::now;
use crate::manifest::{Environment, Manifest, Stop};
use crate::notify::{Notifier, NotifyPlace, require_addresses};
use crate::supervise::rotate_logs;

/// How often it is looked at whether a stop that somebody wants may begin.
const STOP_POLL: Duration = Duration::from_millis(100);

/// How long a boot that ends waits until somebody has heard of it.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Memory that is needed no more is given back at most this often.
const MEMORY_GIVEN_BACK_EVERY: Duration = Duration::from_secs(60);

/// Longest text about a manifest that cannot be used.
const RELOAD_BYTES_MAX: usize = 8192;

/// What was asked for by a signal is said without `-v`.
const SAID: &str = "ubs::said";

/// How things stand, in one line.
fn state_line(state: &BootState) -> String {
    let services = state.layers.iter().flat_map(|layer| &layer.services);
    let services: Vec<String> = services
        .map(|service| {
            let process = service.process.as_ref();
            let process =
                process.map_or_else(String::new, |process| format!(" (process {})", process.pid));
            format!("{} {}{process}", service.plan.name, service.status.as_str())
        })
        .collect();
    format!(
        "SIGUSR1: the boot is {}; {}",
        state.phase.as_str(),
        services.join(", ")
    )
}

impl Boot<'_> {
    /// Carries it out, to its end. `SIGINT` and `SIGTERM` stop it in order; a second one kills at once, a third
    /// changes nothing.
    ///
    /// # Errors
    /// The boot could not be carried out at all, or met a bug; then everything that was started is stopped.
    /// A log that cannot be written any more is no error: its events are kept in memory.
    pub(crate) fn run(self) -> Result<BootEnd, EngineError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| EngineError::Io {
                what: "start the event loop",
                source,
            })?;
        let local = tokio::task::LocalSet::new();
        let outcome = local.block_on(&runtime, carry_out(self));
        drop(local);
        // The name of a host that is still being looked up must not hold up the end.
        runtime.shutdown_background();
        outcome
    }
}

async fn carry_out(boot: Boot<'_>) -> Result<BootEnd, EngineError> {
    let mut signals = Signals::listen()?;
    kernel::close_inherited_on_exec();
    kernel::raise_open_files();
    collect_orphans();
    let preparation = Preparation {
        manifest: boot.manifest,
        log: boot.log,
        reader: boot.reader,
        state_dir: boot.state_dir,
        process_env: boot.process_env,
    };
    let prepared = prepare(preparation, &mut signals).await?;
    let (reports, inbox) = unbounded_channel();
    let (asks, questions) = unbounded_channel();
    let (door, door_trouble) = open_door(&prepared.app, prepared.log.path(), asks);
    let notifier = Notifier::start(
        &prepared.app.manifest.notify,
        &notify_place(&prepared.app, prepared.log.path(), prepared.head),
    );
    let mut engine = Engine {
        notifier,
        services: Services::new(
            Arc::clone(&prepared.app.manifest),
            &prepared.app.state_dir,
            prepared.boot.to_string(),
            reports.clone(),
        )
        .seen_by(boot.onlooker),
        work: Work::new(prepared.boot, reports.clone()),
        app: prepared.app,
        log: BootLog {
            log: prepared.log,
            reader: prepared.reader,
            boot: prepared.boot,
            state: BootState::default(),
            seen: prepared.head,
            observer: boot.observer,
            kept: None,
            own: None,
        },
        clock: Clock::new(now(), Instant::now()),
        in_flight: HashSet::new(),
        door: Some(door),
        door_trouble,
        steers: BTreeMap::new(),
        reloads: BTreeMap::new(),
        tickets: 0,
        reloaded_at: 0,
        read_since_settling: false,
        aftercare: Aftercare::default(),
        reports,
        until: boot.until,
        on_settled: boot.on_settled,
        memory_given_back: None,
        lock: prepared.lock,
    };
    let plan = plan_boot(&engine.app.manifest, boot.mode, boot.preflight);
    // Where a check looks first, it says so, and a fixer may know what was meant.
    let is_looked_at = plan.checks.contains(&CheckName::Config);
    let workspace = &engine.app.manifest.workspace;
    let environment = &engine.app.environment;
    if let Some(error) = environment
        .require_utf8(workspace)
        .err()
        .filter(|_| !is_looked_at)
    {
        engine.lock.retract();
        return Err(EngineError::Environment(error.to_string()));
    }
    let (terms, needing) = plan_terms(&engine.app.manifest);
    let started = engine.log.command(vec![BootCommand::Start {
        app: engine.app.manifest.name.clone(),
        plan,
        rules: plan_rules(&engine.app.manifest),
        terms,
        needing,
        supervisor: prepared.supervisor,
        fingerprint: Box::new(prepared.fingerprint),
    }]);
    if let Err(error) = started {
        engine.lock.retract();
        return Err(error);
    }
    let outcome = engine.run(inbox, questions, &mut signals).await;
    drop(engine.door.take());
    if outcome.is_err() {
        engine.abandon(&mut signals).await;
    }
    let notifier = std::mem::take(&mut engine.notifier);
    let told = tokio::task::spawn_blocking(move || notifier.finish(TOLD_WITHIN));
    // Whoever stops it once more does not want to wait.
    tokio::select! {
        _ = told => {}
        _ = signals.next_stop() => {}
    }
    outcome
}

/// What those who tell of the boot are told of it.
fn notify_place<'a>(app: &'a Application, log: &'a Path, head: Seq) -> NotifyPlace<'a> {
    NotifyPlace {
        app: &app.manifest.name,
        workspace: &app.manifest.workspace,
        state_dir: &app.state_dir,
        log,
        environment: &app.environment,
        redactor: &app.redactor,
        head,
    }
}

struct Engine<'a> {
    notifier: Notifier,
    app: Application,
    log: BootLog<'a>,
    services: Services,
    work: Work,
    clock: Clock,
    /// Steps that are being performed.
    in_flight: HashSet<Step>,
    /// Where others ask; `None` if the boot is over.
    door: Option<Door>,
    /// Why it is not where the manifest says.
    door_trouble: Option<String>,
    /// What people asked for that waits for the environment to be read, by its ticket.
    steers: BTreeMap<u64, Steer>,
    /// Those who wait for the manifest to be read, by their tickets.
    reloads: BTreeMap<u64, ReloadWanted>,
    tickets: u64,
    /// The last ticket before the manifest became another one.
    reloaded_at: u64,
    /// The environment was read for somebody since the last settling began: what that read is older.
    read_since_settling: bool,
    aftercare: Aftercare,
    reports: Reports,
    until: Until,
    on_settled: Option<Hook<'a>>,
    memory_given_back: Option<Instant>,
    lock: SupervisorLock,
}

/// A stop that a signal asked for, and that the machine was not asked for yet.
struct StopWanted {
    by: &'static str,
    since: Instant,
}

impl Engine<'_> {
    async fn run(
        &mut self,
        mut inbox: UnboundedReceiver<EngineReport>,
        mut questions: UnboundedReceiver<Ask>,
        signals: &mut Signals,
    ) -> Result<BootEnd, EngineError> {
        let mut stop_wanted: Option<StopWanted> = None;
        let mut hurried = false;
        let mut watch = LogWatch::on(self.log.log.path());
        loop {
            self.log.pump()?;
            self.watch_clock()?;
            // What belongs to no boot, or to another one, is not folded here, and followed all the same.
            let head = self.log.reader.head().unwrap_or(self.log.seen);
            self.notifier.tell(head);
            if let Some(door) = &self.door {
                door.tell(head);
            }
            if self.log.state.is_ended() {
                drop(self.door.take());
                // Who still waits is told that there will be no answer.
                questions.close();
                while questions.try_recv().is_ok() {}
                self.aftercare.stop();
                self.work.end(signals, hurried).await;
                // What a service left behind that ended by itself: a task that started a daemon.
                let grace_ms = if hurried {
                    0
                } else {
                    Stop::default().timeout_ms
                };
                self.work.end_marked(signals, grace_ms).await;
                self.log.pump()?;
                self.log.write_last().await?;
                return Ok(BootEnd {
                    boot: self.log.boot,
                    state: self.log.state.clone(),
                });
            }
            // A fix that is being tried or applied may come to its end, within a bound.
            if let Some(wanted) = stop_wanted.take_if(|w| {
                hurried || !self.is_changing() || w.since.elapsed() >= WORK_ENDS_WITHIN
            }) {
                let by = wanted.by.to_owned();
                self.log.command(vec![BootCommand::RequestStop { by }])?;
                continue;
            }
            if self.perform_steps()? {
                continue;
            }
            if self.may_tend() {
                let commands = self.aftercare.tend(&self.app, &self.log, &self.services);
                if !commands.is_empty() {
                    self.log.command(commands)?;
                    continue;
                }
            }
            // What a settling or a fix has just done, nobody has looked at.
            let is_looked_at = !self.is_changing() && !self.aftercare.is_restarting();
            if is_settled(&self.log.state) && is_looked_at {
                if let Some(hook) = self.on_settled.take() {
                    hook(&self.log.state);
                }
                self.give_back_memory();
                let enough = match self.until {
                    Until::Stopped => self.log.state.is_all_done(),
                    Until::Settled => true,
                    Until::Stable => self.log.state.is_stable(),
                };
                if enough {
                    let by = "ubs itself, because all is done".to_owned();
                    self.log.command(vec![BootCommand::RequestStop { by }])?;
                    continue;
                }
            }
            let may_tend = self.may_tend();
            let stopped_by = tokio::select! {
                report = inbox.recv() => {
                    let mut batch: Vec<EngineReport> = report.into_iter().collect();
                    while let Ok(more) = inbox.try_recv() {
                        batch.push(more);
                    }
                    self.receive(batch)?;
                    None
                }
                heard = signals.next() => match heard {
                    Heard::Stop(by) => Some(by),
                    asked => {
                        self.answer(asked);
                        None
                    }
                },
                Some(ask) = questions.recv() => {
                    self.hear(ask)?;
                    None
                }
                () = watch.next() => None,
                () = self.aftercare.wait(), if may_tend => None,
                () = self.log.kept_due() => None,
                () = tokio::time::sleep(STOP_POLL), if stop_wanted.is_some() => None,
            };
            if let Some(by) = stopped_by {
                if self.log.state.phase == Phase::Stopping || stop_wanted.is_some() {
                    self.services.kill_all();
                    hurried = true;
                }
                let since = Instant::now();
                stop_wanted = Some(StopWanted { by, since });
                self.work.cancel();
            }
        }
    }

    /// What the start or a validation needed and supervision does not; not again and again while services come and go.
    fn give_back_memory(&mut self) {
        let is_due = |at: Instant| at.elapsed() >= MEMORY_GIVEN_BACK_EVERY;
        if self.memory_given_back.is_none_or(is_due) {
            kernel::give_back_memory();
            self.memory_given_back = Some(Instant::now());
        }
    }

    /// Answers from what is known here, and waits for nothing.
    fn hear(&mut self, ask: Ask) -> Result<(), EngineError> {
        self.watch_clock()?;
        match ask {
            // The log is read in any case.
            Ask::Wake(answer) => {
                let _ = answer.send(());
            }
            Ask::Look(answer) => {
                // What cannot be read is no reason to be silent; the loop meets the same error.
                let _ = self.log.pump();
                // Who asked may be gone.
                let _ = answer.send(self.snapshot());
            }
            Ask::Signal(wanted) => self.signal(wanted),
            Ask::Reload(wanted) => {
                self.tickets += 1;
                self.reloads.insert(self.tickets, wanted);
                self.work.read_manifest(&self.app, self.tickets)?;
            }
            // Who asked may be gone.
            Ask::Validate(answer) => drop(answer.send(self.validate_now()?)),
            Ask::Steer(steer) if steer.order == ServiceOrder::Stop => self.steer(steer)?,
            // What starts reads the environment as it is now.
            Ask::Steer(steer) => {
                self.tickets += 1;
                self.steers.insert(self.tickets, steer);
                self.work.read_environment(&self.app, self.tickets)?;
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<Snapshot> {
        let open = || self.log.state.missions.iter().filter(|m| !m.closed).count() as u64;
        let counts = self.log.reader.mission_counts();
        let (missions_open, missions_need_person) = counts.unwrap_or_else(|_| (open(), 0));
        Box::new(Snapshot {
            boot: self.log.boot,
            state: self.log.state.clone(),
            missions_open,
            missions_need_person,
            log_not_written_since: self.log.not_written_since(),
            trouble: match (&self.app.environment_trouble, &self.door_trouble) {
                (Some(first), Some(second)) => Some(format!("{first}; {second}")),
                (one, other) => one.clone().or_else(|| other.clone()),
            },
            probes: self.services.probe_times(),
        })
    }

    fn steer(&mut self, steer: Steer) -> Result<(), EngineError> {
        let Steer {
            service,
            order,
            by,
            answer,
        } = steer;
        let command = BootCommand::Steer {
            service: service.clone(),
            order,
            by,
        };
        let decided = self.log.request(command)?;
        let snapshot = self.snapshot();
        let _ = answer.send(match decided {
            Ok(changed) => Ok(Steered { changed, snapshot }),
            Err(BootRefusal::Unknown { .. }) => Err(Refused::Unknown {
                near: snapshot.nearest(&service),
            }),
            Err(refusal) => Err(Refused::Conflict(refusal.to_string())),
        });
        Ok(())
    }

    /// The environment was read for somebody who wants a service started.
    fn steer_with(
        &mut self,
        ticket: u64,
        environment: Result<Box<Environment>, EngineError>,
    ) -> Result<(), EngineError> {
        let Some(steer) = self.steers.remove(&ticket) else {
            return Ok(());
        };
        // It was read as the manifest said before.
        if ticket <= self.reloaded_at {
            self.tickets += 1;
            self.steers.insert(self.tickets, steer);
            return self.work.read_environment(&self.app, self.tickets);
        }
        match self.renew_as_asked(environment.map(|read| *read)) {
            Ok(()) => self.steer(steer),
            Err(why) => {
                let why = format!("the environment cannot be read, so nothing was started: {why}");
                let _ = steer.answer.send(Err(Refused::Failed(why)));
                Ok(())
            }
        }
    }

    /// Begins a validation, and says which.
    fn validate_now(&mut self) -> Result<Result<u32, Refused>, EngineError> {
        let state = &self.log.state;
        let why = if state.phase != Phase::Running {
            Some(format!("the boot is {}", state.phase.as_str()))
        } else if state.validating || state.is_look_due() {
            Some("a validation runs already; ask again when it has finished".to_owned())
        } else if state.plan.checks.is_empty() {
            Some("this boot runs without checks: see `ubs preflight`".to_owned())
        } else {
            None
        };
        if let Some(why) = why {
            return Ok(Err(Refused::Conflict(why)));
        }
        let decided = self.log.request(BootCommand::BeginValidation)?;
        Ok(decided
            .map(|_| self.log.state.validations)
            .map_err(|refusal| Refused::Conflict(refusal.to_string())))
    }

    fn signal(&self, wanted: SignalWanted) {
        let SignalWanted {
            service,
            signal,
            by,
            answer,
        } = wanted;
        let sent = || {
            let Some((_, found)) = self.log.state.service(&service) else {
                let near = self.snapshot().nearest(&service);
                return Err(Refused::Unknown { near });
            };
            let signal = kernel::parse_signal(&signal).ok_or_else(|| {
                let example = "give one such as HUP, USR1 or TERM";
                Refused::Senseless(format!("{signal:?} is no signal; {example}"))
            })?;
            let none = || Refused::Conflict(format!("no process of service {service} runs"));
            let process = found.process.as_ref().filter(|_| found.is_alive());
            let process = process.ok_or_else(none)?;
            if !kernel::signal_process(process, signal) {
                return Err(none());
            }
            // Its end is seen by this thread, and so not before this is noted.
            self.services.note_signal(&service, signal, &by);
            tracing::info!(target: SAID, "{signal} was sent to service {service} by {by}");
            Ok(signal.as_str())
        };
        // Who asked may be gone.
        let _ = answer.send(sent());
    }

    /// The manifest was read for somebody who changed it.
    fn reload_with(
        &mut self,
        ticket: u64,
        read: Result<Box<(Manifest, Environment)>, String>,
    ) -> Result<(), EngineError> {
        let Some(wanted) = self.reloads.remove(&ticket) else {
            return Ok(());
        };
        let (manifest, environment) = match read {
            Ok(read) => *read,
            Err(why) => {
                let why = self.app.redactor.clean(&why, RELOAD_BYTES_MAX);
                let why = format!("the manifest cannot be used, so nothing was changed: {why}");
                let _ = wanted.answer.send(Err(Refused::Senseless(why)));
                return Ok(());
            }
        };
        let mut change = compare(&self.app.manifest, &manifest);
        change.plan.validation = replan_validation(&self.log.state.plan, &change.manifest);
        if let Err(why) = require_addresses(&change.manifest.notify, &environment) {
            change.keep_notify(&self.app.manifest, &why);
        }
        let by = format!("{}, by a reload", wanted.by);
        // Told before anything is done, also to who only asks.
        if let Some(refused) = self.refuse_reload(&change, &environment, &by) {
            let _ = wanted.answer.send(Err(refused));
            return Ok(());
        }
        let is_running = |name: &String| {
            let found = self.log.state.service(name);
            found.is_some_and(|(_, service)| {
                service.is_alive() || service.status == ServiceStatus::Failed
            })
        };
        let touches = !change.is_empty();
        let services = std::mem::take(&mut change.services);
        let (restart, mut at_next_start): (Vec<_>, Vec<_>) =
            services.into_iter().partition(is_running);
        at_next_start.append(&mut change.later);
        let mut reloaded = Reloaded {
            dry_run: wanted.dry_run,
            restart,
            at_next_start,
            start: std::mem::take(&mut change.added),
            stop: std::mem::take(&mut change.stopped),
            applied: std::mem::take(&mut change.applied),
            left: std::mem::take(&mut change.left),
        };
        if touches && !wanted.dry_run {
            if !change.plan.is_empty() {
                let command = BootCommand::ChangePlan {
                    change: change.plan,
                    by: by.clone(),
                };
                if let Err(refusal) = self.log.request(command)? {
                    let refused = Refused::Conflict(refusal.to_string());
                    let _ = wanted.answer.send(Err(refused));
                    return Ok(());
                }
            }
            self.take_over(change.manifest, environment);
            for service in std::mem::take(&mut reloaded.restart) {
                let command = BootCommand::Steer {
                    service: service.clone(),
                    order: ServiceOrder::Restart,
                    by: by.clone(),
                };
                // Not now: it gets what is new when it starts.
                match self.log.request(command)? {
                    Ok(true) => reloaded.restart.push(service),
                    Ok(false) | Err(_) => reloaded.at_next_start.push(service),
                }
            }
        }
        let _ = wanted.answer.send(Ok(reloaded));
        Ok(())
    }

    /// Why such a reload would be refused now.
    fn refuse_reload(
        &self,
        change: &Change,
        environment: &Environment,
        by: &str,
    ) -> Option<Refused> {
        let state = &self.log.state;
        if (change.checked || !change.plan.is_empty()) && state.phase != Phase::Running {
            return Some(Refused::Conflict(format!(
                "the boot is {}: what it is made of and how it is checked changes while the system runs; \
                 wait for it (`ubs wait`), or boot anew",
                state.phase.as_str()
            )));
        }
        if change.is_empty() {
            return None;
        }
        if let Err(why) = self.app.require_usable(environment) {
            let why = self.app.redactor.clean(&why, RELOAD_BYTES_MAX);
            return Some(Refused::Failed(format!(
                "the environment cannot be read, so nothing was changed: {why}"
            )));
        }
        if change.plan.is_empty() {
            return None;
        }
        let command = BootCommand::ChangePlan {
            change: change.plan.clone(),
            by: by.to_owned(),
        };
        let refusal = boot::decide(state, context(), command).err()?;
        Some(Refused::Conflict(refusal.to_string()))
    }

    /// From now on all is as this manifest says, with this environment, which can be used.
    fn take_over(&mut self, manifest: Manifest, environment: Environment) {
        if let Err(why) = self.renew_as_asked(Ok(environment)) {
            tracing::warn!(%why, "the environment files are used as they were");
        }
        self.app.take_manifest(manifest);
        self.reloaded_at = self.tickets;
        self.services.use_manifest(&self.app.manifest);
        self.services.forget_environment();
        let head = self.log.reader.head().unwrap_or(self.log.seen);
        let place = notify_place(&self.app, self.log.log.path(), head);
        self.notifier.change(&self.app.manifest.notify, &place);
    }

    /// Does what a signal asks that stops nothing, and says so.
    fn answer(&mut self, asked: Heard) {
        match asked {
            Heard::Stop(_) => {}
            Heard::ReadEnvironment => {
                let read = load_environment(&self.app.manifest, &self.app.process_env);
                match self.renew_environment(read) {
                    Ok(()) => tracing::info!(
                        target: SAID,
                        "SIGHUP: the environment files were read again; what is started from now on gets them"
                    ),
                    Err(why) => tracing::warn!(
                        "SIGHUP: the environment stays as it was: its files cannot be used: {why}"
                    ),
                }
            }
            Heard::SayState => tracing::info!(target: SAID, "{}", state_line(&self.log.state)),
            Heard::RotateLogs => {
                rotate_logs();
                tracing::info!(
                    target: SAID,
                    "SIGUSR2: the log file of each service is put aside before its next line"
                );
            }
        }
    }

    /// What becomes of fixes is looked at while none is being tried, and the log takes what is found.
    fn may_tend(&self) -> bool {
        !self.is_changing() && self.log.not_written_since().is_none()
    }

    /// Fixes are being tried, applied or taken back.
    fn is_changing(&self) -> bool {
        self.in_flight
            .iter()
            .any(|step| matches!(step, Step::Heal { .. } | Step::Settle))
    }

    /// Before any moment of the clock is written: what was written before moves with it if it was set.
    fn watch_clock(&mut self) -> Result<(), EngineError> {
        let to = now();
        let Some(from) = self.clock.expected(to, Instant::now()) else {
            return Ok(());
        };
        if matches!(self.log.state.phase, Phase::New | Phase::Ended) {
            return Ok(());
        }
        self.log.command(vec![BootCommand::SetClock { from, to }])
    }

    fn receive(&mut self, batch: Vec<EngineReport>) -> Result<(), EngineError> {
        self.watch_clock()?;
        let mut commands = Vec::new();
        for report in batch {
            match report {
                EngineReport::Command(command) => {
                    if let BootCommand::EndHeal { mission, .. } = &command {
                        let ended = *mission;
                        self.in_flight.retain(
                            |s| !matches!(s, Step::Heal { mission, .. } if *mission == ended),
                        );
                    }
                    commands.push(command);
                }
                EngineReport::Environment(ticket, environment) => {
                    self.steer_with(ticket, environment)?;
                }
                EngineReport::Manifest(ticket, read) => self.reload_with(ticket, read)?,
                EngineReport::Settled(settled) => {
                    self.in_flight.remove(&Step::Settle);
                    match settled {
                        Err(EngineError::Log(error)) if error.is_trouble() => {
                            self.log.trouble(&error);
                        }
                        Err(error) => return Err(error),
                        Ok(Settling::Filed { .. }) if self.read_since_settling => {}
                        Ok(Settling::Filed { environment }) => {
                            self.read_environment(environment.map(|read| *read));
                        }
                        Ok(Settling::RolledBack) => {
                            commands.push(BootCommand::Settled { open: 0, closed: 0 });
                        }
                    }
                }
                EngineReport::HealWaits { mission, error } => {
                    self.in_flight
                        .retain(|s| !matches!(s, Step::Heal { mission: m, .. } if *m == mission));
                    self.log.trouble(&error);
                }
                EngineReport::Due(step) => {
                    self.in_flight.remove(&step);
                    match step {
                        // The clock may have been set meanwhile, and a reload may want it later, or not at all.
                        Step::WaitForRetry { .. }
                            if boot::next(&self.log.state).contains(&step) =>
                        {
                            commands.push(BootCommand::BackoffElapsed);
                        }
                        Step::Validate { .. } if boot::next(&self.log.state).contains(&step) => {
                            commands.push(BootCommand::BeginValidation);
                        }
                        Step::WaitForServices { .. }
                            if boot::next(&self.log.state).contains(&step) =>
                        {
                            commands.push(BootCommand::TimePassed);
                        }
                        Step::StartService { service, at }
                            if boot::next(&self.log.state).contains(&Step::StartService {
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
            self.log.command(commands)
        }
    }

    /// Performs what is to be done and not yet being done. True if the state may have changed.
    fn perform_steps(&mut self) -> Result<bool, EngineError> {
        let is_settling = self.in_flight.contains(&Step::Settle);
        // What waits for the log must not hold up a service.
        let is_troubled = self.log.is_troubled();
        if is_settling && !is_troubled && self.log.state.phase != Phase::Stopping {
            return Ok(false);
        }
        let steps = boot::next(&self.log.state);
        // Both are waited for even if the boot no longer asks for them.
        self.in_flight
            .retain(|s| steps.contains(s) || matches!(s, Step::Heal { .. } | Step::Settle));
        let mut commands = Vec::new();
        let earlier = Arc::default();
        for step in steps {
            if self.in_flight.contains(&step) {
                continue;
            }
            match step.clone() {
                Step::Settle | Step::Heal { .. } if is_troubled => {}
                Step::RunCheck { check, phase } => {
                    self.in_flight.insert(step);
                    commands.push(BootCommand::BeginCheck { check, phase });
                    if check == CheckName::Registration
                        && phase == CheckPhase::Validation
                        && self.app.manifest.registration.is_some()
                    {
                        let probes = self.services.live_probes(&self.app.environment);
                        self.work.look(&self.app, &self.log.state, probes)?;
                    } else {
                        self.work
                            .run_check(&self.app, &self.log, check, phase, &earlier)?;
                    }
                }
                Step::Settle => {
                    self.in_flight.insert(step);
                    self.read_since_settling = false;
                    self.work.settle(&self.app, &self.log)?;
                    // The steps after it depend on what it finds.
                    break;
                }
                Step::Heal { mission, .. } => {
                    self.in_flight.insert(step);
                    self.work.heal(&self.app, &self.log, mission)?;
                }
                Step::StartLayer { layer } => commands.push(BootCommand::StartLayer { layer }),
                Step::StartService { service, at: None } => {
                    self.start_service(&service, &mut commands);
                }
                Step::Look => commands.push(BootCommand::BeginValidation),
                Step::WaitForRetry { until: at }
                | Step::Validate { at }
                | Step::WaitForServices { at }
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
        self.log.command(commands)?;
        Ok(true)
    }

    fn wait_until(&self, at: At, step: Step) {
        let reports = self.reports.clone();
        let wait = Duration::from_millis(at.ms_since(now()).saturating_add(1));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            let _ = reports.send(EngineReport::Due(step));
        });
    }

    fn start_service(&mut self, service: &str, commands: &mut Vec<BootCommand>) {
        let service = service.to_owned();
        if self.services.was_started(&service) {
            let read = load_environment(&self.app.manifest, &self.app.process_env);
            self.read_environment(read);
        }
        match self
            .services
            .start(&service, &self.app.environment, &self.app.redactor)
        {
            Ok(process) => commands.push(BootCommand::ServiceStarted { service, process }),
            Err(error) => commands.push(BootCommand::ServiceUnstartable {
                service,
                error: self.app.redactor.clean(&error, 4096),
                output: String::new(),
            }),
        }
    }

    /// What is started again gets the environment files as they are now; if they cannot be used, as they were, and
    /// the health says so.
    fn read_environment(&mut self, read: Result<Environment, EngineError>) {
        if let Err(why) = self.renew_environment(read) {
            tracing::warn!(%why, "the environment files are used as they were");
        }
    }

    /// It was read for somebody who asked. What a settling read that began before is older.
    fn renew_as_asked(&mut self, read: Result<Environment, EngineError>) -> Result<(), String> {
        self.renew_environment(read)?;
        self.read_since_settling = true;
        Ok(())
    }

    fn renew_environment(&mut self, read: Result<Environment, EngineError>) -> Result<(), String> {
        if self.app.renew_environment(read)? {
            self.services.forget_environment();
        }
        Ok(())
    }

    /// A bug: nothing may go on that nobody can record.
    async fn abandon(&mut self, signals: &mut Signals) {
        self.services.kill_all();
        self.work.end(signals, false).await;
        self.work.end_marked(signals, ABANDONED_GRACE_MS).await;
    }
}
