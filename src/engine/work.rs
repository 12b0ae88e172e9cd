//! What a boot does in threads beside its services: checks, trials, settling; and how that is ended.
//!
//! Nothing here makes the engine's thread wait: threads report, and killing has a thread too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::aftercare::{find_failed, find_suspect};
use super::application::{Application, load_environment};
use super::boot_log::{BootLog, context};
use super::error::EngineError;
use super::look::{Look, live_services};
use super::mark::{WORK_MARK, service_mark, work_mark, worker_name};
use super::report::{EngineReport, Reports, Settling};
use super::services::LiveProbe;
use super::settle::settle;
use super::signals::Signals;
use crate::checks::Earlier;
use crate::domain::boot::{self, BootCommand, BootState, Phase};
use crate::domain::code::Code;
use crate::domain::event::{CheckPhase, HealOutcome};
use crate::domain::finding::{CheckName, CheckReport, CheckStatus, Finding, Measured};
use crate::domain::ids::{BootId, MissionId};
use crate::domain::mission::{MissionCommand, MissionState};
use crate::fix::{CheckPlace, Worker, read_earlier, roll_back, run_checks, unverified_missions};
use crate::kernel;
use crate::log::Missions;
use crate::manifest::Manifest;

/// How long a boot that ends waits for its checks and trials, after they were killed.
pub(super) const WORK_ENDS_WITHIN: Duration = Duration::from_secs(30);
/// The same, if somebody asked twice.
const WORK_ENDS_WITHIN_HURRIED: Duration = Duration::from_millis(500);
/// Time between two looks at threads that are to end.
const POLL: Duration = Duration::from_millis(20);
/// Time between `SIGTERM` and `SIGKILL` for what a boot leaves that cannot go on.
pub(super) const ABANDONED_GRACE_MS: u64 = 3_000;
/// Bytes of one error.
const ERROR_BYTES_MAX: usize = 4096;

/// The work of one boot.
pub(super) struct Work {
    boot: BootId,
    reports: Reports,
    threads: Vec<JoinHandle<()>>,
    cancelled: Arc<AtomicBool>,
    /// Kills checks and trials.
    reaper: Option<JoinHandle<()>>,
}

impl Work {
    pub(super) fn new(boot: BootId, reports: Reports) -> Self {
        Self {
            boot,
            reports,
            threads: Vec::new(),
            cancelled: Arc::default(),
            reaper: None,
        }
    }

    /// Runs a thread whose result is reported, whatever happens in it: a panic reports `if_it_panics`.
    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() -> EngineReport + Send + 'static,
        if_it_panics: EngineReport,
    ) -> Result<(), EngineError> {
        let reports = self.reports.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                // The engine is gone only when the boot is over.
                let _ = reports.send(outcome.unwrap_or(if_it_panics));
            })
            .map_err(|source| EngineError::Io {
                what: "start a thread",
                source,
            })?;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        Ok(())
    }

    /// Checks that begin together share `earlier`: the log is read once for them.
    pub(super) fn run_check(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
        check: CheckName,
        phase: CheckPhase,
        earlier: &Arc<OnceLock<Earlier>>,
    ) -> Result<(), EngineError> {
        let mut manifest = Arc::clone(&app.manifest);
        if phase == CheckPhase::Validation {
            // What runs was started; starting it once more beside itself would prove nothing.
            let rehearsed = Arc::make_mut(&mut manifest)
                .layers
                .iter_mut()
                .filter_map(|layer| layer.rehearse.as_mut());
            rehearsed.for_each(|rehearse| rehearse.startup = false);
        }
        let process_env = app.process_env.clone();
        let scratch = app.scratch();
        let overrides = BTreeMap::from([(WORK_MARK.to_owned(), self.boot.to_string())]);
        let (log, state_dir) = (log.log.clone(), app.state_dir.clone());
        let earlier = Arc::clone(earlier);
        let end = move |report: CheckReport| {
            EngineReport::Command(BootCommand::EndCheck {
                report: Box::new(report),
                phase,
            })
        };
        let redactor = Arc::clone(&app.redactor);
        let work = move || {
            let earlier = earlier.get_or_init(|| {
                let reader = log.reader();
                let earlier = reader.and_then(|reader| read_earlier(&reader, &state_dir));
                earlier.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the log cannot be read; nothing is compared with earlier boots");
                    Earlier::default()
                })
            });
            let reports = run_checks(
                &CheckPlace {
                    manifest: &manifest,
                    root: &manifest.workspace,
                    scratch: &scratch,
                    state: Some(&state_dir),
                    process_env: &process_env,
                    overrides,
                    before_boot: phase == CheckPhase::Preflight,
                    is_live: phase == CheckPhase::Validation,
                    earlier,
                },
                &[check],
            );
            let report = match reports {
                Ok(mut reports) => reports.pop().ok_or_else(|| "it gave no report".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            end(report.unwrap_or_else(|error| {
                failed_report(check, &redactor.clean(&error, ERROR_BYTES_MAX))
            }))
        };
        let panicked = failed_report(check, "it panicked, which is a bug in ubs");
        self.spawn(check.as_str(), work, end(panicked))
    }

    /// The registration check of the running system: its routes, and whether its services are alive.
    pub(super) fn look(
        &mut self,
        app: &Application,
        state: &BootState,
        probes: Vec<LiveProbe>,
    ) -> Result<(), EngineError> {
        // Right after the boot the application object is the one that was looked at before it.
        let known = state
            .reports
            .get(&CheckName::Registration)
            .filter(|_| state.lacks_only_registration())
            .cloned();
        let redactor = Arc::clone(&app.redactor);
        let look = Look {
            manifest: (*app.manifest).clone(),
            environment: app.environment.clone(),
            redactor: Arc::clone(&redactor),
            services: live_services(state),
            probes,
            known,
            state_dir: app.state_dir.clone(),
            scratch: app.scratch(),
            process_env: app.process_env.clone(),
            overrides: BTreeMap::from([(WORK_MARK.to_owned(), self.boot.to_string())]),
        };
        let end = |report| {
            EngineReport::Command(BootCommand::EndCheck {
                report: Box::new(report),
                phase: CheckPhase::Validation,
            })
        };
        let check = CheckName::Registration;
        let panicked = failed_report(check, "it panicked, which is a bug in ubs");
        self.spawn(
            check.as_str(),
            move || {
                let report = look.run();
                end(report.unwrap_or_else(|error| {
                    failed_report(check, &redactor.clean(&error, ERROR_BYTES_MAX))
                }))
            },
            end(panicked),
        )
    }

    pub(super) fn heal(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
        mission: MissionId,
    ) -> Result<(), EngineError> {
        let mut worker = Worker::new(
            worker_name(self.boot),
            (*app.manifest).clone(),
            &app.state_dir,
            Missions::new(log.log.clone()).in_boot(self.boot),
            app.process_env.clone(),
        )
        .with_variable(WORK_MARK, &self.boot.to_string())
        .cancelled_by(Arc::clone(&self.cancelled));
        // What the checks found with a fix that is gone says nothing of what is there now.
        let mut missions = log.state.missions.iter();
        if !missions.any(|met| met.rolled_back && met.attempt == log.state.attempt) {
            worker = worker.with_baseline(log.state.reports.values().cloned().collect());
        }
        let redactor = Arc::clone(&app.redactor);
        let state_dir = app.state_dir.clone();
        let end = move |outcome, reason| {
            EngineReport::Command(BootCommand::EndHeal {
                mission,
                outcome,
                reason,
            })
        };
        let held = (
            Missions::new(log.log.clone()).in_boot(self.boot),
            worker_name(self.boot),
        );
        let work = move || {
            let (missions, name) = held;
            give_back(&missions, mission, name);
            let (outcome, reason) = match worker.work(mission) {
                Ok(worked) => (worked.outcome, worked.reason),
                Err(error) => match error.trouble(&state_dir) {
                    Some(error) => return EngineReport::HealWaits { mission, error },
                    None => (HealOutcome::Rejected, error.to_string()),
                },
            };
            end(outcome, redactor.clean(&reason, ERROR_BYTES_MAX))
        };
        let panicked = end(
            HealOutcome::Rejected,
            "the worker panicked, which is a bug in ubs".to_owned(),
        );
        self.spawn("heal", work, panicked)
    }

    /// Files missions for what is broken and closes those whose failure is gone, or takes back the last
    /// attempt's fixes if a check got worse with them. May wait for the promotion lock.
    pub(super) fn settle(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
    ) -> Result<(), EngineError> {
        let fixes = worsening_fixes(&log.state);
        let phase = log.state.phase;
        let manifest = Arc::clone(&app.manifest);
        let state_dir = app.state_dir.clone();
        let process_env = app.process_env.clone();
        let boot = self.boot;
        let log = log.log.clone();
        let work = move || {
            let missions = Missions::new(log.clone());
            let in_boot = missions.clone().in_boot(boot);
            let mut any = false;
            let suspect = || -> Vec<(MissionId, String)> {
                let found = find_suspect(&log, boot, &state_dir);
                let found = found.unwrap_or_else(|error| {
                    tracing::warn!(%error, "fixes on probation cannot be looked at");
                    None
                });
                found.into_iter().collect()
            };
            // What a fix of this attempt made worse; else what one on probation did, across boots.
            let fixes = match fixes.is_empty() && phase == Phase::Settling {
                false => fixes,
                true => suspect(),
            };
            for (mission, why) in fixes {
                match roll_back(&manifest.workspace, &state_dir, &in_boot, mission, &why) {
                    Ok(_) => any = true,
                    Err(error) => tracing::warn!(%mission, %error, "cannot take a fix back"),
                }
            }
            if any {
                return Ok(Settling::RolledBack);
            }
            let unverified = unverified_missions(&state_dir);
            let settled = settle(&log, boot, context(), unverified)?;
            // After the filing: what fails from here on is settled anew. What did not hold goes before another
            // fix is made on top of it.
            let mut going = find_failed(&log, boot, &state_dir).unwrap_or_else(|error| {
                tracing::warn!(%error, "fixes on probation cannot be looked at");
                vec![]
            });
            if phase != Phase::Settling {
                let suspect = suspect().into_iter();
                let is_new = |one: &(MissionId, String)| going.iter().all(|(id, _)| *id != one.0);
                let suspect: Vec<_> = suspect.filter(is_new).collect();
                going.extend(suspect);
            }
            for (mission, why) in going {
                let done = roll_back(&manifest.workspace, &state_dir, &in_boot, mission, &why);
                if let Err(error) = done {
                    tracing::warn!(%mission, %error, "cannot take a fix back");
                }
            }
            let worker = Worker::new(
                worker_name(boot),
                (*manifest).clone(),
                &state_dir,
                missions,
                BTreeMap::new(),
            );
            for mission in settled.closed {
                worker.forget(mission);
            }
            // Files that cannot be read are no reason to end what runs.
            let environment = load_environment(&manifest, &process_env).map(Box::new);
            Ok(Settling::Filed { environment })
        };
        let panicked = EngineError::Bug("settling panicked".to_owned());
        self.spawn(
            "settle",
            move || EngineReport::Settled(work()),
            EngineReport::Settled(Err(panicked)),
        )
    }

    /// Reads the environment files again, for who asked with this ticket.
    pub(super) fn read_environment(
        &mut self,
        app: &Application,
        ticket: u64,
    ) -> Result<(), EngineError> {
        let manifest = Arc::clone(&app.manifest);
        let process_env = app.process_env.clone();
        let panicked = EngineError::Bug("reading the environment panicked".to_owned());
        self.spawn(
            "environment",
            move || {
                let environment = load_environment(&manifest, &process_env);
                EngineReport::Environment(ticket, environment.map(Box::new))
            },
            EngineReport::Environment(ticket, Err(panicked)),
        )
    }

    /// Reads the manifest and its environment again, for who asked with this ticket.
    pub(super) fn read_manifest(
        &mut self,
        app: &Application,
        ticket: u64,
    ) -> Result<(), EngineError> {
        let running = Arc::clone(&app.manifest);
        let process_env = app.process_env.clone();
        self.spawn(
            "manifest",
            move || {
                let read = || {
                    let mut manifest = Manifest::load(&running.path).map_err(|error| {
                        let problems = error.problems().iter();
                        let problems =
                            problems.map(|p| format!("; line {}: {}", p.line, p.message));
                        format!("{error}{}", problems.collect::<String>())
                    })?;
                    manifest.workspace.clone_from(&running.workspace);
                    manifest
                        .choose(&running.choice)
                        .map_err(|error| error.to_string())?;
                    let environment = load_environment(&manifest, &process_env);
                    let environment = environment.map_err(|error| error.to_string())?;
                    Ok(Box::new((manifest, environment)))
                };
                EngineReport::Manifest(ticket, read())
            },
            EngineReport::Manifest(ticket, Err("reading it panicked".to_owned())),
        )
    }

    /// Ends checks and trials that are going on, without waiting for it.
    pub(super) fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if self.reaper.as_ref().is_none_or(JoinHandle::is_finished) {
            self.reaper = reap(work_mark(self.boot), 0);
        }
    }

    /// Waits for the end of checks and trials, killing what they run: for a bounded time, and no longer if a
    /// signal comes. What a thread leaves half done then, the next boot finishes or undoes.
    pub(super) async fn end(&mut self, signals: &mut Signals, hurried: bool) {
        let limit = if hurried {
            WORK_ENDS_WITHIN_HURRIED
        } else {
            WORK_ENDS_WITHIN
        };
        let begun = Instant::now();
        loop {
            self.threads.retain(|thread| !thread.is_finished());
            self.reaper.take_if(|reaper| reaper.is_finished());
            if !self.threads.is_empty() {
                self.cancel();
            } else if self.reaper.is_none() {
                return;
            }
            if begun.elapsed() >= limit {
                return;
            }
            tokio::select! {
                _ = signals.next_stop() => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Ends every process that carries the boot's mark, its services too. Bounded; a signal hurries it.
    pub(super) async fn end_marked(&mut self, signals: &mut Signals, grace_ms: u64) {
        let mut reaper = reap(service_mark(self.boot), grace_ms);
        while reaper.as_ref().is_some_and(|reaper| !reaper.is_finished()) {
            tokio::select! {
                _ = signals.next_stop() => reaper = reap(service_mark(self.boot), 0),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// Gives back what an earlier try of this boot still holds: it could not, for the log could not be written.
fn give_back(missions: &Missions, mission: MissionId, worker: String) {
    let is_held = |state: MissionState| state.lease.is_some_and(|lease| lease.worker == worker);
    if missions.get(mission).is_ok_and(is_held) {
        let reason = "the log could not be written meanwhile".to_owned();
        let release = MissionCommand::Release { worker, reason };
        // Refused: it is past that. Anything else the work itself meets too.
        let _ = missions.command(mission, release);
    }
}

/// Kills what carries the mark, in a thread: processes may take seconds to disappear.
fn reap(mark: String, grace_ms: u64) -> Option<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("reap".to_owned());
    let started = thread.spawn(move || {
        kernel::reap_marked(&mark, grace_ms);
    });
    match started {
        Ok(thread) => Some(thread),
        Err(error) => {
            tracing::warn!("cannot start a thread to end what is left running: {error}");
            None
        }
    }
}

/// The fixes of the attempt before, the newest first, if a check got worse with them; and why they go.
fn worsening_fixes(state: &BootState) -> Vec<(MissionId, String)> {
    let regressed = boot::regressed_checks(state);
    if state.phase != Phase::Settling || regressed.is_empty() {
        return Vec::new();
    }
    let before = state.attempt.saturating_sub(1);
    let checks: Vec<&str> = regressed.iter().map(|check| check.as_str()).collect();
    let why = format!("with it the {} check got worse", checks.join(", "));
    state
        .missions
        .iter()
        .rev()
        .filter(|m| m.attempt == before && m.outcome == Some(HealOutcome::Applied) && !m.closed)
        .map(|m| (m.id, why.clone()))
        .collect()
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
