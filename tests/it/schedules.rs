//! Random schedules: real services crash, hang and are slow, they and the supervisor are killed, people stop, start and
//! restart them. At every sample, what the supervisor says must agree with `/proc` and with a client of this test's own.
//!
//! A schedule follows from its seed, except for the moments at which the machine lets things happen. One that failed is
//! run again with `UBS_SCHEDULE=17 cargo test --test it -- schedules::thirty`; `UBS_SCHEDULES=100` says how many the long
//! test runs.

mod service;
mod truth;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Workspace, time};
use serde_json::Value;
use truth::{Kept, Rule, Said, Truth};

/// Schedules that run at once: most of their time they wait.
const AT_ONCE: usize = 10;
const NORMAL: u64 = 30;
const LONG: u64 = 1_000;
/// What is done to one system.
const ACTS: usize = 7;
/// Longest time between two of them.
const ACTS_WITHIN_MS: u64 = 450;
/// Between two samples.
const SAMPLE: Duration = Duration::from_millis(60);
/// After a supervisor was killed so soon after a start, that start need not be in the log.
const NOT_LOGGED_YET: Duration = Duration::from_secs(2);

#[test]
fn thirty_random_schedules_end_well_and_are_told_truly() {
    let _time = time::lock();
    run_all(1..=NORMAL, AT_ONCE);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_thousand_random_schedules_end_well_and_are_told_truly() {
    let _time = time::lock();
    let number = std::env::var("UBS_SCHEDULES").ok();
    let number = number.map_or(LONG, |number| number.parse().expect("a number"));
    // Fewer than in the normal run: for a quarter of an hour other long tests run beside them.
    run_all(NORMAL + 1..=NORMAL + number, AT_ONCE / 2);
}

fn run_all(seeds: std::ops::RangeInclusive<u64>, at_once: usize) {
    let seeds: Vec<u64> = match std::env::var("UBS_SCHEDULE") {
        Ok(seed) => vec![seed.parse().expect("a seed")],
        Err(_) => seeds.collect(),
    };
    let next = AtomicU64::new(0);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let worker = || {
            let mut failed = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(&seed) = usize::try_from(index).ok().and_then(|i| seeds.get(i)) else {
                    return failed;
                };
                // In a thread of its own, whose name is in the message of what fails.
                let schedule = std::thread::Builder::new().name(format!("schedule {seed}"));
                let schedule = schedule.spawn(move || Schedule::new(seed).run());
                if schedule.expect("a thread").join().is_err() {
                    failed.push(seed);
                }
            }
        };
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        let failed = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker"));
        failed.collect()
    });
    assert!(
        failed.is_empty(),
        "schedules {failed:?} failed; one is run again with `UBS_SCHEDULE=SEED`"
    );
}

/// Splitmix64: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A service as the manifest has it.
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    /// Where it answers, if it is probed.
    pub(crate) address: Option<String>,
    /// A probe restarts it if it hangs.
    watched: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Kill(usize),
    Freeze(usize),
    Order(&'static str, usize),
    KillSupervisor,
    AskByCommand,
}

struct Schedule {
    seed: u64,
    random: Random,
    workspace: Workspace,
    services: Vec<Declared>,
    mode: &'static str,
    supervisor: Option<Child>,
    /// When supervisors were killed.
    killed: Vec<Instant>,
    /// Orders that were answered, so they are durable.
    taken: usize,
    truth: Truth,
    /// Services that were called ready when the supervisor was asked last.
    ready: Vec<String>,
    /// What was done, for who has to find out what went wrong.
    story: String,
    begun: Instant,
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let out = std::fs::read_to_string(self.workspace.path("boot.out")).unwrap_or_default();
            let log = self.workspace.ubs(&["replay", "last"]);
            eprintln!(
                "schedule {}:\n{}\n--- its boots\n{out}\n--- the last one\n{}",
                self.seed, self.story, log.stdout
            );
        }
        if let Some(mut child) = self.supervisor.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Nothing of a schedule that failed may disturb another one.
        for pid in self.workspace.leftovers() {
            truth::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut workspace = Workspace::new();
        // An address that no other schedule of this machine uses: all of 127.0.0.0/8 is this host.
        let id = std::process::id();
        let (b, c, d) = (1 + id / 65_536 % 250, id / 256 % 256, id % 256);
        let port = 10_000 + seed % 2_000 * 4;
        let address = |index: u64| Some(format!("127.{b}.{c}.{d}:{}", port + index));
        let services = vec![
            Declared {
                name: "api",
                address: address(0),
                watched: true,
            },
            Declared {
                name: "worker",
                address: None,
                watched: false,
            },
            Declared {
                name: "web",
                address: address(1),
                watched: random.one_in(2),
            },
            Declared {
                name: "extra",
                address: None,
                watched: false,
            },
        ];
        let mut manifest = "[app]\nname = \"schedule\"\nstable_after = \"200ms\"\n[heal]\nattempts = 1\nbackoff = \"10ms\"\n".to_owned();
        for (index, service) in services.iter().enumerate() {
            match index {
                0 => manifest.push_str("[[layer]]\nname = \"needed\"\n"),
                3 => manifest.push_str(
                    "[[layer]]\nname = \"optional\"\ncritical = false\nafter = [\"needed\"]\n",
                ),
                _ => {}
            }
            manifest.push_str(&declare(service, &mut random));
        }
        workspace.write("ubs.toml", &manifest);
        workspace.set_env("SCHEDULE_IN", &workspace.root().display().to_string());
        let mode = if random.one_in(4) {
            "resilient"
        } else {
            "layered"
        };
        let truth = Truth::new(workspace.root());
        Self {
            seed,
            random,
            workspace,
            services,
            mode,
            supervisor: None,
            killed: Vec::new(),
            taken: 0,
            truth,
            ready: Vec::new(),
            story: format!("{mode}\n{manifest}"),
            begun: Instant::now(),
        }
    }

    fn run(mut self) {
        self.boot();
        for _ in 0..ACTS {
            let pause = self.random.below(ACTS_WITHIN_MS);
            self.watch_for(Duration::from_millis(pause));
            let act = self.choose();
            self.tell(&format!("{act:?}"));
            self.perform(act);
        }
        self.let_settle();
        self.stop();
        self.judge();
    }

    fn tell(&mut self, what: &str) {
        let at = self.begun.elapsed().as_millis();
        let _ = writeln!(self.story, "{at:>6} ms  {what}");
    }

    fn boot(&mut self) {
        let path = self.workspace.path("boot.out");
        let out = File::options()
            .create(true)
            .append(true)
            .open(path)
            .expect("a file");
        let mut command = self.workspace.command(&["boot", "--mode", self.mode]);
        command
            .stdout(out.try_clone().expect("a descriptor"))
            .stderr(out);
        self.supervisor = Some(command.spawn().expect("ubs runs"));
        self.truth.begin_anew();
    }

    fn choose(&mut self) -> Act {
        let service = usize::try_from(self.random.below(self.services.len() as u64)).unwrap_or(0);
        match self.random.below(12) {
            0..=2 => Act::Kill(service),
            3..=4 if self.services[service].watched => Act::Freeze(service),
            3..=5 => Act::Order("restart", service),
            6 => Act::Order("stop", service),
            7 => Act::Order("start", service),
            8..=9 => Act::KillSupervisor,
            _ => Act::AskByCommand,
        }
    }

    fn perform(&mut self, act: Act) {
        use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
        match act {
            Act::Kill(service) | Act::Freeze(service) => {
                let name = self.services[service].name;
                let signal = match act {
                    Act::Kill(_) => SIGKILL,
                    // Nothing asks whether it hangs before it was ready; it would be given up after half a minute.
                    _ if !self.ready.iter().any(|ready| ready == name) => return,
                    _ => SIGSTOP,
                };
                if let Some(pid) = self.truth.process_of(name) {
                    self.tell(&format!("{signal} to {pid} of {name}"));
                    truth::kill(pid, signal);
                }
            }
            Act::Order(order, service) => self.order(order, self.services[service].name),
            Act::KillSupervisor => {
                let mut child = self.supervisor.take().expect("it runs");
                child.kill().expect("a signal");
                child.wait().expect("its end");
                self.killed.push(Instant::now());
                let log = self.workspace.root().join(".ubs/log.db");
                // Killed before it has made its log, nothing is known.
                if self.random.one_in(2) && log.exists() {
                    let health = self.workspace.ubs(&["health", "--json"]);
                    // Killed before its first event, it is unknown.
                    let said = health.json()["status"].clone();
                    assert!(
                        said == "unhealthy"
                            || said == "unknown"
                            || said == "down" && self.killed.len() > 1,
                        "the supervisor was killed, and health says {said}: {}",
                        health.stdout
                    );
                    assert!(
                        health.code == 1 || said == "unknown",
                        "exit code {}",
                        health.code
                    );
                }
                std::thread::sleep(Duration::from_millis(self.random.below(200)));
                self.boot();
            }
            Act::AskByCommand => {
                let truth = self.truth.look(&self.services);
                let run = self.workspace.ubs(&["health", "--json"]);
                // A boot that is just beginning is not known yet.
                if self.truth.was_answered() && run.stderr.is_empty() {
                    let said = Said::of(&run.json());
                    self.compare(&truth, &said);
                }
            }
        }
    }

    /// Refused is an answer too: a service whose layer has not begun, a supervisor that is just beginning.
    fn order(&mut self, order: &str, name: &str) {
        let answer = truth::ask(
            &self.workspace,
            "POST",
            &format!("/services/{name}/{order}"),
        );
        if let Some((200, answer)) = &answer
            && answer["changed"] == Value::Bool(true)
        {
            self.taken += 1;
        }
        self.tell(&format!("answered {}", answer.map_or(0, |answer| answer.0)));
    }

    fn watch_for(&mut self, time: Duration) {
        let begun = Instant::now();
        loop {
            self.sample();
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(SAMPLE.min(left));
        }
    }

    /// Looks, asks and compares once; what was said.
    fn sample(&mut self) -> Option<Said> {
        if let Some(child) = &mut self.supervisor {
            let end = child.try_wait().expect("a child");
            assert!(end.is_none(), "the supervisor ended by itself: {end:?}");
        }
        let truth = self.truth.look(&self.services);
        let said = truth::ask(&self.workspace, "GET", "/health").filter(|(code, _)| *code == 200);
        self.ready.clear();
        let Some((_, document)) = said else {
            self.truth.unanswered();
            return None;
        };
        let said = Said::of(&document);
        self.ready = said.ready();
        self.compare(&truth, &said);
        Some(said)
    }

    fn compare(&mut self, truth: &BTreeMap<&'static str, Kept>, said: &Said) {
        let broken = truth::disagreements(&self.services, truth, said);
        if let Some((rule, what, lasted)) = self.truth.keep(Instant::now(), broken) {
            panic!("{rule:?} for {} ms: {what}", lasted.as_millis());
        }
    }

    /// Starts what a person stopped: then all has to come up, in bounded time.
    fn let_settle(&mut self) {
        self.tell("all is to come up");
        let begun = Instant::now();
        loop {
            let said = self.sample();
            if let Some(said) = said {
                if said.status == "healthy" {
                    break;
                }
                for service in 0..self.services.len() {
                    let name = self.services[service].name;
                    let entry = said.services.get(name);
                    if entry
                        .is_some_and(|entry| matches!(entry.status.as_str(), "stopped" | "failed"))
                    {
                        self.order("start", name);
                    }
                }
                assert!(
                    begun.elapsed() < PATIENCE / 4,
                    "it never became healthy: {said:?}"
                );
            }
            assert!(begun.elapsed() < PATIENCE / 4, "it never answered");
            std::thread::sleep(SAMPLE);
        }
    }

    fn stop(&mut self) {
        self.tell("the end");
        let mut child = self.supervisor.take().expect("it runs");
        truth::kill(child.id(), nix::sys::signal::Signal::SIGTERM);
        let begun = Instant::now();
        let end = loop {
            if let Some(end) = child.try_wait().expect("a child") {
                break end;
            }
            if begun.elapsed() > PATIENCE / 4 {
                self.supervisor = Some(child);
                panic!("it did not end");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(end.success(), "it ended with {end}");
    }

    /// No orphan, no double start, no lost event.
    fn judge(&mut self) {
        let leftovers = self.workspace.leftovers();
        assert!(leftovers.is_empty(), "left running: {leftovers:?}");
        let twice = self.workspace.path("twice");
        assert!(
            !twice.exists(),
            "started twice: {}",
            self.workspace.read("twice")
        );
        let verified = self.workspace.ubs(&["log", "verify"]);
        assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
        let boots = self
            .workspace
            .ubs(&["boots", "--json", "-n", "100"])
            .expect(0)
            .json();
        let (mut started, mut orders) = (Vec::new(), 0);
        for boot in boots.as_array().expect("boots") {
            let id = boot["boot_id"].as_str().expect("an id");
            let events = self
                .workspace
                .ubs(&["replay", id, "--events", "--json"])
                .expect(0);
            for line in events.stdout.lines() {
                let event: Value = serde_json::from_str(line).expect("an event");
                match event["kind"].as_str() {
                    Some("service_started") => {
                        started.push(event["payload"]["process"]["pid"].as_u64())
                    }
                    Some("service_steered") => orders += 1,
                    _ => {}
                }
            }
        }
        assert!(
            orders >= self.taken,
            "{} orders were taken, {orders} are in the log",
            self.taken
        );
        for (name, run) in self.truth.runs() {
            let soon = |killed: &Instant| {
                *killed >= run.seen - NOT_LOGGED_YET && *killed <= run.seen + NOT_LOGGED_YET
            };
            assert!(
                started.contains(&Some(u64::from(run.pid))) || self.killed.iter().any(soon),
                "the start of process {} of {name} is not in the log",
                run.pid
            );
        }
    }
}

/// Its part of the manifest, with a plan for each of its starts.
fn declare(service: &Declared, random: &mut Random) -> String {
    let mut plan = Vec::new();
    // Up to three starts that are slow or crash; all later ones go well.
    for _ in 0..random.below(4) {
        let slow = if random.one_in(3) {
            random.below(300)
        } else {
            0
        };
        let life = if random.one_in(2) {
            random.below(600)
        } else {
            3_600_000
        };
        plan.push(format!("{slow}/{life}/{}", 1 + random.below(3)));
    }
    plan.push("0/3600000/0".to_owned());
    let program = std::env::current_exe().expect("this program");
    let (name, program, plan) = (service.name, program.display(), plan.join(";"));
    let address = service.address.as_deref().unwrap_or("");
    let mut text = format!(
        "[[layer.service]]\nname = \"{name}\"\n\
         run = ['{program}', '--exact', 'schedules::service::run', '--ignored', '--nocapture']\n\
         env = {{ SCHEDULE_SERVICE = \"{name}\", SCHEDULE_PLAN = \"{plan}\", SCHEDULE_ADDRESS = \"{address}\" }}\n\
         min_uptime = \"100ms\"\nstop = {{ timeout = \"1s\" }}\n\
         restart = {{ policy = \"always\", max = \"unlimited\", backoff = \"20ms\", max_backoff = \"100ms\", reset_after = \"1s\" }}\n"
    );
    if service.address.is_some() {
        let _ = writeln!(
            text,
            "ready = {{ http = \"http://{address}/\", interval = \"50ms\", try_timeout = \"300ms\" }}"
        );
    }
    if service.watched {
        let _ = writeln!(
            text,
            "live = {{ http = \"http://{address}/\", interval = \"150ms\", timeout = \"300ms\", failures = 2 }}"
        );
    }
    text
}

/// The instant of a change is given time, and a machine that stood still between two looks proves nothing.
#[test]
fn a_disagreement_counts_once_it_lasts() {
    let mut truth = Truth::new(std::path::Path::new("/nonexistent"));
    let broken = || vec![(Rule::Process, "api".to_owned())];
    let begun = Instant::now();
    let late = begun + Rule::Process.tolerated() + Duration::from_millis(1);
    assert!(truth.keep(begun, broken()).is_none());
    assert!(truth.keep(late, broken()).is_none());
    assert!(truth.keep(late, Vec::new()).is_none());
    for _ in 0..truth::LOOKS_MIN {
        assert!(truth.keep(begun, broken()).is_none());
    }
    assert!(truth.keep(late, broken()).is_some());
}
