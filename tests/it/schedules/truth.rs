//! What is true of the services, from `/proc` and a client of our own, and what may be said of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Declared;
use crate::support::Workspace;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Fewer looks than this prove nothing: the machine may have stood still between two.
pub(super) const LOOKS_MIN: u32 = 4;
/// Our own client waits so long for an answer.
const ANSWERS_WITHIN: Duration = Duration::from_millis(100);

/// What the supervisor says has to agree with what is true, after a time that the change is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// The process that runs is the one that is named.
    Process,
    /// What is being stopped is, until nothing of it is left: its main process may end before.
    Stopping,
    /// What is called ready answers.
    ReadyAnswers,
    /// What answers is called ready.
    AnsweringIsReady,
    /// What runs and is not probed is called up.
    RunningIsUp,
    /// HEALTHY, and every service runs and answers.
    Health,
    /// The supervisor answers.
    Answers,
}

impl Rule {
    /// How long the instant of change may last.
    pub(super) fn tolerated(self) -> Duration {
        Duration::from_millis(match self {
            // An end and a start are told by the kernel.
            Self::Process => 700,
            // After an end, all processes of the host are looked at, with a pause of four times what that costs.
            Self::Stopping => 5_000,
            // Asked again each second; three failures in a row, 300 ms each and 50 ms apart: 2 s, and as much again for
            // a machine on which ten schedules run at once.
            Self::ReadyAnswers | Self::Health => 4_000,
            Self::AnsweringIsReady => 2_000,
            Self::RunningIsUp => 1_000,
            // What an earlier one left has a second to end.
            Self::Answers => 10_000,
        })
    }
}

/// A process that a service was.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) pid: u32,
    start: u64,
    /// When this test first knew of it.
    pub(super) seen: Instant,
}

/// What is true of one service now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pid: Option<u32>,
    answers: bool,
}

pub(super) struct Truth {
    root: PathBuf,
    runs: BTreeMap<&'static str, Vec<Seen>>,
    /// Since when, and at how many looks, something was said that is not true.
    broken: BTreeMap<(Rule, String), (Instant, u32)>,
    answered: bool,
}

impl Truth {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            runs: BTreeMap::new(),
            broken: BTreeMap::new(),
            answered: false,
        }
    }

    /// A new supervisor begins.
    pub(super) fn begin_anew(&mut self) {
        self.broken.clear();
        self.answered = false;
    }

    pub(super) fn was_answered(&self) -> bool {
        self.answered
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = (&'static str, &Seen)> {
        self.runs
            .iter()
            .flat_map(|(name, runs)| runs.iter().map(move |run| (*name, run)))
    }

    /// The process of a service that runs, if one does.
    pub(super) fn process_of(&mut self, name: &'static str) -> Option<u32> {
        let text =
            std::fs::read_to_string(self.root.join(format!("{name}.runs"))).unwrap_or_default();
        let runs = self.runs.entry(name).or_default();
        // A line that is being written has no end yet.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .skip(runs.len())
        {
            let (pid, start) = line.trim().split_once(' ').expect("a pid and a moment");
            let (pid, start) = (
                pid.parse().expect("a pid"),
                start.parse().expect("a moment"),
            );
            runs.push(Seen {
                pid,
                start,
                seen: Instant::now(),
            });
        }
        let alive: Vec<u32> = runs
            .iter()
            .filter(|run| start_of(run.pid) == Some(run.start))
            .map(|run| run.pid)
            .collect();
        assert!(alive.len() <= 1, "{name} runs as {alive:?}");
        alive.first().copied()
    }

    pub(super) fn look(&mut self, services: &[Declared]) -> BTreeMap<&'static str, Kept> {
        let services = services.iter().map(|service| {
            let pid = self.process_of(service.name);
            let answer = service.address.as_deref().and_then(answer_of);
            (
                service.name,
                Kept {
                    pid,
                    answers: answer.is_some() && answer == pid,
                },
            )
        });
        services.collect()
    }

    pub(super) fn unanswered(&mut self) {
        let broken = self.keep(
            Instant::now(),
            vec![(Rule::Answers, "the supervisor".to_owned())],
        );
        assert!(broken.is_none(), "the supervisor does not answer");
    }

    /// Remembers what was broken just now; what has been for too long.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        broken: Vec<(Rule, String)>,
    ) -> Option<(Rule, String, Duration)> {
        if !broken.iter().any(|(rule, _)| *rule == Rule::Answers) {
            self.answered = true;
        }
        self.broken.retain(|key, _| broken.contains(key));
        for key in broken {
            let kept = self.broken.entry(key).or_insert((now, 0));
            kept.1 += 1;
        }
        self.broken
            .iter()
            .find_map(|((rule, what), (since, looks))| {
                let lasted = now.saturating_duration_since(*since);
                (lasted > rule.tolerated() && *looks >= LOOKS_MIN)
                    .then(|| (*rule, what.clone(), lasted))
            })
    }
}

/// What was said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: String,
    pub(super) services: BTreeMap<String, SaidOfOne>,
}

#[derive(Debug)]
pub(super) struct SaidOfOne {
    pub(super) status: String,
    pid: Option<u32>,
}

impl Said {
    /// The services that are called ready.
    pub(super) fn ready(&self) -> Vec<String> {
        let services = self.services.iter();
        let ready = services.filter(|(_, service)| service.is_called_ready());
        ready.map(|(name, _)| name.clone()).collect()
    }

    /// By the document of health.
    pub(super) fn of(health: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let layers = health["layers"].as_array().into_iter().flatten();
        let services = layers.flat_map(|layer| layer["services"].as_array().into_iter().flatten());
        let services = services.map(|service| {
            let pid = service["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok());
            (
                text(&service["name"]),
                SaidOfOne {
                    status: text(&service["status"]),
                    pid,
                },
            )
        });
        Self {
            status: text(&health["status"]),
            services: services.collect(),
        }
    }
}

impl SaidOfOne {
    fn is_called_ready(&self) -> bool {
        matches!(self.status.as_str(), "ready" | "up (not probed)")
    }
}

/// What is said and not true.
pub(super) fn disagreements(
    services: &[Declared],
    truth: &BTreeMap<&'static str, Kept>,
    said: &Said,
) -> Vec<(Rule, String)> {
    let mut broken = Vec::new();
    for service in services {
        let name = service.name;
        let is = &truth[name];
        let Some(word) = said.services.get(name) else {
            continue;
        };
        let is_called_ready = word.is_called_ready();
        assert!(
            !is_called_ready || word.pid.is_some(),
            "{name} is {} without a process",
            word.status
        );
        // A process that has just begun has not told us yet, so what is named may live.
        let is_beginning = is.pid.is_none() && word.pid.is_some_and(|pid| start_of(pid).is_some());
        if word.pid != is.pid && !is_beginning {
            let rule = match word.status.as_str() {
                "stopping" if is.pid.is_none() => Rule::Stopping,
                _ => Rule::Process,
            };
            broken.push((
                rule,
                format!(
                    "{name} is {:?} by {:?}, and runs as {:?}",
                    word.status, word.pid, is.pid
                ),
            ));
        }
        let probed = service.address.is_some();
        if probed && is_called_ready && !is.answers {
            broken.push((
                Rule::ReadyAnswers,
                format!("{name} is {:?} and does not answer", word.status),
            ));
        }
        let is_up = matches!(
            word.status.as_str(),
            "ready" | "up (not probed)" | "stopping" | "stopped"
        );
        if is.pid.is_some() && word.pid == is.pid && !is_up {
            if probed && is.answers {
                broken.push((
                    Rule::AnsweringIsReady,
                    format!("{name} answers and is {:?}", word.status),
                ));
            } else if !probed {
                broken.push((
                    Rule::RunningIsUp,
                    format!("{name} runs and is {:?}", word.status),
                ));
            }
        }
        if said.status == "healthy" && (is.pid.is_none() || probed && !is.answers) {
            broken.push((Rule::Health, format!("healthy, and {name} is not well")));
        }
    }
    broken
}

/// When a live process began, in ticks since the host did; with its id that names it.
pub(super) fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie runs no more.
    let runs = !matches!(fields.first(), Some(&("Z" | "X")));
    runs.then(|| fields.get(19)?.parse().ok()).flatten()
}

pub(super) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a pid");
    // It may have ended meanwhile.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// The process that answers there.
fn answer_of(address: &str) -> Option<u32> {
    let address: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWERS_WITHIN).ok()?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN)).ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n")?.1.parse().ok()
}

/// One request over the control socket; `None` if nobody answers.
pub(super) fn ask(workspace: &Workspace, method: &str, path: &str) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(workspace.path(".ubs/control.sock")).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: ubs\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((
        head.get(9..12)?.parse().ok()?,
        serde_json::from_str(body).ok()?,
    ))
}
