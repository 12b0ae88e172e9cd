//! One service, driven by an engine that does what it is told, with random ends, answers and waits.

use proptest::prelude::*;

use super::*;
use crate::domain::event::{
    Event, ExitKind, NeedCondition, OnFailure, ProcessRef, RestartPolicy, ServicePlan,
    ServiceRules, ServiceTerms,
};
use crate::domain::ids::At;

const MIN_UPTIME_MS: u64 = 1_000;
const RESET_AFTER_MS: u64 = 5_000;

fn fresh(oneshot: bool, probed: bool, restart: RestartPolicy, restarts_max: u32) -> ServiceState {
    let plan = ServicePlan {
        name: "api".into(),
        oneshot,
        restart,
        restarts_max,
        restart_window_ms: RESET_AFTER_MS,
        restart_backoff_ms: 10,
        restart_backoff_ms_max: 40,
    };
    let rules = ServiceRules {
        service: "api".into(),
        probed,
        min_uptime_ms: MIN_UPTIME_MS,
        stable_after_ms: 2_000,
        reset_after_ms: RESET_AFTER_MS,
        success: vec![42],
        on_failure: OnFailure::Nothing,
    };
    ServiceState::fresh(&plan, rules, ServiceTerms::default())
}

/// Something that may happen, whether it fits or not.
fn any_report() -> impl Strategy<Value = (Report, u64)> {
    let exit = prop_oneof![
        Just(ExitKind::Code(0)),
        Just(ExitKind::Code(1)),
        Just(ExitKind::Code(42)),
        Just(ExitKind::Signal(9)),
        Just(ExitKind::Unknown),
    ];
    let reason = prop_oneof![Just(None), Just(Some("liveness failed".to_owned()))];
    let report = prop_oneof![
        3 => Just(Report::Ready),
        1 => Just(Report::Unready("status 503".into())),
        4 => Just(Report::TimePassed),
        4 => (exit, reason).prop_map(|(exit, reason)| Report::Exited { exit, reason }),
        1 => Just(Report::Unstartable("no such program".into())),
        1 => Just(Report::Skipped("it needs db (ready), which failed".into())),
    ];
    (report, 0u64..4_000)
}

fn any_policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Always),
        Just(RestartPolicy::UnlessStopped),
        Just(RestartPolicy::Never),
    ]
}

/// The engine, and what it keeps by itself to compare with.
struct World {
    service: ServiceState,
    around: Surroundings,
    now_ms: u64,
    processes: u32,
    /// Ends that led to a restart since the service was last ready for long enough.
    ends: u32,
    ready_since_ms: Option<u64>,
    started_at_ms: u64,
    /// The probe said so since the process began.
    proved: bool,
    has_met: bool,
}

impl World {
    fn new(service: ServiceState) -> Self {
        Self {
            service,
            around: Surroundings::default(),
            now_ms: 1,
            processes: 0,
            ends: 0,
            ready_since_ms: None,
            started_at_ms: 0,
            proved: false,
            has_met: true,
        }
    }

    fn at(&self) -> At {
        At(i64::try_from(self.now_ms * 1_000).unwrap())
    }

    /// Tells the service, folds what follows, and holds it against what is known here.
    fn tell(&mut self, report: Report) -> Result<(), TestCaseError> {
        if matches!(report, Report::Exited { .. }) && self.processes == 0 {
            return Ok(());
        }
        let context = Context {
            at: self.at(),
            random_per_mille: 500,
        };
        let Ok(events) = decide(&self.service, self.around, context, report.clone()) else {
            prop_assert!(
                !matches!(report, Report::Exited { .. }),
                "an exit is never refused"
            );
            return Ok(());
        };
        for event in events {
            self.compare(&event, &report)?;
            let at = self.at();
            evolve(&mut self.service, at, self.around.stopping, &event);
        }
        prop_assert_eq!(self.service.is_alive(), self.processes == 1);
        prop_assert_eq!(self.service.ends, self.ends);
        Ok(())
    }

    fn compare(&mut self, event: &Event, report: &Report) -> Result<(), TestCaseError> {
        match event {
            Event::ServiceStarted { .. } => {
                prop_assert_eq!(self.processes, 0, "never two");
                self.processes = 1;
                self.proved = false;
                self.ready_since_ms = None;
                self.started_at_ms = self.now_ms;
            }
            Event::ServiceReady { .. } => {
                let service = &self.service;
                let earned = if service.plan.oneshot {
                    self.processes == 0
                } else if service.rules.probed {
                    *report == Report::Ready
                } else {
                    self.now_ms >= self.started_at_ms + MIN_UPTIME_MS
                };
                prop_assert!(earned, "ready without proof: {report:?}");
                self.ready_since_ms = Some(self.now_ms);
            }
            Event::ServiceUnready { .. } => self.ready_since_ms = None,
            Event::ServiceRecovered { .. } => {
                let since = self.ready_since_ms.unwrap();
                prop_assert!(self.now_ms >= since + RESET_AFTER_MS, "recovered too early");
                self.ends = 0;
            }
            Event::ServiceExited { .. } => {
                self.processes = 0;
                self.ready_since_ms = None;
            }
            Event::ServiceRestarting { restart, .. } => {
                self.ends += 1;
                prop_assert_eq!(*restart, self.ends, "each end counts");
                prop_assert!(!self.around.stopping, "what is stopped is not restarted");
                let plan = &self.service.plan;
                prop_assert!(plan.restart != RestartPolicy::Never && !plan.oneshot);
                prop_assert!(self.ends <= plan.restarts_max, "given up in time");
            }
            _ => {}
        }
        Ok(())
    }

    /// Does what is to be done now; says whether there was anything.
    fn act(&mut self) -> Result<bool, TestCaseError> {
        match next(&self.service, self.has_met) {
            Some(ProcessStep::Start { at }) => {
                prop_assert!(!self.service.is_alive());
                prop_assert!(!self.around.stopping || at.is_none());
                if self.around.stopping {
                    return Ok(false);
                }
                let at_ms = at.map_or(0, |at| u64::try_from(at.0 / 1_000).unwrap());
                self.now_ms = self.now_ms.max(at_ms);
                self.tell(Report::Started(ProcessRef::default()))?;
                Ok(true)
            }
            Some(ProcessStep::Stop) => {
                let exit = ExitKind::Signal(15);
                self.tell(Report::Exited { exit, reason: None })?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold_and_every_state_has_a_bound(
        oneshot: bool,
        probed: bool,
        policy in any_policy(),
        max in 0u32..4,
        history in proptest::collection::vec(any_report(), 0..60),
        stops_after in 0usize..80,
    ) {
        let policy = if oneshot { RestartPolicy::Never } else { policy };
        let mut world = World::new(fresh(oneshot, probed, policy, max));
        for (at, (report, wait_ms)) in history.into_iter().enumerate() {
            world.act()?;
            world.now_ms += wait_ms;
            if at == stops_after {
                world.around.stopping = true;
            }
            world.has_met = !matches!(report, Report::Skipped(_));
            world.tell(report)?;
        }
        world.has_met = true;
        // From here on nothing new happens: what has a bound reaches it, and then nothing is left to do.
        for _ in 0..40 {
            if world.act()? {
                continue;
            }
            if world.around.stopping && world.service.is_alive() {
                world.tell(Report::Exited { exit: ExitKind::Signal(15), reason: None })?;
                continue;
            }
            if let Some(moment) = world.service.next_moment() {
                world.now_ms = world.now_ms.max(u64::try_from(moment.0 / 1_000).unwrap());
                world.tell(Report::TimePassed)?;
                continue;
            }
            // The bounds that the engine keeps: the probe's time, or the one-shot's.
            if world.service.status == ServiceStatus::Starting {
                world.tell(Report::Unstartable("was not ready in time".into()))?;
                continue;
            }
            break;
        }
        use ServiceStatus as S;
        let service = &world.service;
        let rests = match service.status {
            S::Ready | S::Unready => service.is_alive() && !world.around.stopping,
            S::Done | S::Failed | S::Stopped => !service.is_alive(),
            S::Pending | S::Skipped | S::Restarting | S::Starting => world.around.stopping,
            S::Disabled => false,
        };
        prop_assert!(rests, "{:?} with {:?}", service.status, service.process);
    }
}

#[test]
fn what_a_service_is_to_one_that_needs_it() {
    use NeedCondition as C;
    use ServiceStatus as S;
    // Status, how it ended; then: ready, started, succeeded, completed. `+` met, `.` open, `-` lost.
    let rows = [
        (S::Pending, None, "...."),
        (S::Starting, None, ".+.."),
        (S::Ready, None, "++.."),
        (S::Unready, None, ".+.."),
        (S::Restarting, Some(1), "...."),
        (S::Done, Some(0), "++++"),
        (S::Stopped, Some(0), "---+"),
        (S::Failed, Some(1), "---+"),
        (S::Failed, None, "----"),
        (S::Skipped, None, "----"),
        (S::Disabled, None, "----"),
    ];
    for (status, exit, wanted) in rows {
        let mut needed = fresh(false, false, RestartPolicy::OnFailure, 3);
        needed.status = status;
        needed.exit = exit.map(ExitKind::Code);
        let found: String = [C::Ready, C::Started, C::Succeeded, C::Completed]
            .map(|condition| match judge(condition, &needed) {
                Standing::Met => '+',
                Standing::Open => '.',
                Standing::Lost(_) => '-',
            })
            .iter()
            .collect();
        assert_eq!(found, wanted, "{status:?} {exit:?}");
        assert_eq!(judge(C::Logged, &needed), judge(C::Ready, &needed));
    }
}

#[test]
fn disabled_is_never_started_and_a_second_process_is_refused() {
    let mut service = fresh(false, false, RestartPolicy::Always, 3);
    let context = Context {
        at: At(1),
        random_per_mille: 0,
    };
    let started = || Report::Started(ProcessRef::default());
    for event in decide(&service, Surroundings::default(), context, started()).unwrap() {
        evolve(&mut service, At(1), false, &event);
    }
    assert!(decide(&service, Surroundings::default(), context, started()).is_err());
    let terms = ServiceTerms {
        disabled: true,
        ..ServiceTerms::default()
    };
    let service = ServiceState::fresh(&service.plan, ServiceRules::default(), terms);
    assert_eq!(service.status, ServiceStatus::Disabled);
    assert_eq!(next(&service, true), None);
}
