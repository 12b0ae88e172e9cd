//! Where `ubs top` gets what it shows: threads that ask the supervisor, read the log and the output, and hand it over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::model::{LogLine, MissionRow, Order, Seen, Use};
use crate::cli::context::{AppPaths, CliError, supervisor_lives};
use crate::cli::logs::directory_of;
use crate::cli::running::{self, Source};
use crate::control::{Client, Entry, ServiceLog};
use crate::domain::health::Health;
use crate::domain::mission::{MissionState, MissionStatus};
use crate::log::now;

/// Time between two looks at the system.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time between two looks at the output.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Lines that are read of a service when it is selected.
const LINES_FIRST: usize = 1_000;
/// Lines handed over at once.
const LINES_AT_ONCE: usize = 1_000;
/// Longest time for a decision on a fix, which may try it.
const DECISION_WITHIN: Duration = Duration::from_secs(600);

/// Something new to show.
pub(super) enum News {
    Seen(Box<Seen>),
    Lines {
        service: String,
        lines: Vec<LogLine>,
    },
    Said(String),
}

/// Looks at the system for as long as somebody listens.
pub(super) fn look(place: &AppPaths, news: &Sender<News>) {
    let mut before: BTreeMap<String, (u64, Instant)> = BTreeMap::new();
    loop {
        let told = match seen(place, &mut before) {
            Ok(seen) => News::Seen(Box::new(seen)),
            Err(error) => News::Said(error.to_string()),
        };
        if news.send(told).is_err() {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn seen(place: &AppPaths, before: &mut BTreeMap<String, (u64, Instant)>) -> Result<Seen, CliError> {
    let found = running::now(place)?;
    let reader = place.reader()?;
    let missions = match &reader {
        Some(reader) => reader.missions(false)?,
        None => Vec::new(),
    };
    let (health, answers, silent) = match found {
        Some(now) => {
            let (answers, silent) = match now.source {
                Source::Supervisor => (true, None),
                Source::Log => (false, None),
                Source::LogInstead(why) | Source::Hanging(why) => (false, Some(why)),
            };
            (now.health, answers, silent)
        }
        None => match &reader {
            Some(reader) => (reader.health(supervisor_lives)?, false, None),
            None => (Health::unknown(), false, None),
        },
    };
    let uses = if answers {
        uses(place, before)
    } else {
        BTreeMap::new()
    };
    Ok(Seen {
        at: now(),
        health,
        runs: answers,
        silent,
        uses,
        missions: missions.iter().map(row_of).collect(),
    })
}

fn row_of(mission: &MissionState) -> MissionRow {
    let error = mission
        .failure
        .as_ref()
        .map(|failure| failure.error.as_str());
    let text = if mission.reason.is_empty() {
        error.unwrap_or_default()
    } else {
        &mission.reason
    };
    MissionRow {
        slug: mission.slug.clone(),
        status: mission.status.as_str(),
        awaits_approval: mission.status == MissionStatus::AwaitingApproval,
        needs_person: mission.status == MissionStatus::Quarantined,
        text: text.to_owned(),
    }
}

/// What each service uses; processor time is compared with that of the look before.
fn uses(place: &AppPaths, before: &mut BTreeMap<String, (u64, Instant)>) -> BTreeMap<String, Use> {
    let asked = Client::new(&place.state_dir).and_then(|client| client.get("/status"));
    let body = asked.map(|reply| reply.body).unwrap_or_default();
    let services = body["services"].as_array().cloned().unwrap_or_default();
    let used = services.iter().filter_map(|service| {
        let usage = &service["usage"];
        let name = service["name"].as_str()?.to_owned();
        let cpu_ms = usage["cpu_ms"].as_u64()?;
        let moment = Instant::now();
        let since = before.insert(name.clone(), (cpu_ms, moment));
        let cpu_percent = since.and_then(|(ms, then)| {
            let wall_ms = moment.duration_since(then).as_secs_f64() * 1e3;
            let spent_ms = cpu_ms.checked_sub(ms)? as f64;
            Some(100.0 * spent_ms / wall_ms)
        });
        let memory_bytes = usage["memory_bytes"].as_u64().unwrap_or(0);
        Some((
            name,
            Use {
                cpu_percent,
                memory_bytes,
            },
        ))
    });
    used.collect()
}

/// Reads the output of the service that was last wanted.
pub(super) fn read_output(place: &AppPaths, wanted: &Receiver<String>, news: &Sender<News>) {
    let directory = directory_of(place);
    let mut reading: Option<(String, ServiceLog)> = None;
    loop {
        match wanted.recv_timeout(READ_EVERY) {
            Ok(service) => {
                let Some(first) = begin(&directory, &service, &mut reading) else {
                    continue;
                };
                if news.send(first).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some((service, log)) = &mut reading else {
            continue;
        };
        let lines = more(log);
        if !lines.is_empty() {
            let service = service.clone();
            if news.send(News::Lines { service, lines }).is_err() {
                return;
            }
        }
    }
}

fn begin(
    directory: &Path,
    service: &str,
    reading: &mut Option<(String, ServiceLog)>,
) -> Option<News> {
    let path: PathBuf = directory.join(format!("{service}.log"));
    *reading = None;
    let opened = ServiceLog::open(&path, None).and_then(|mut log| {
        let last = log.last(LINES_FIRST, u64::MAX, |_| true)?;
        Ok((log, last))
    });
    match opened {
        Ok((log, last)) => {
            *reading = Some((service.to_owned(), log));
            let lines = last.into_iter().map(line_of).collect();
            let service = service.to_owned();
            Some(News::Lines { service, lines })
        }
        Err(error) => Some(News::Said(format!(
            "cannot read the output of {service}: {error}"
        ))),
    }
}

fn line_of(entry: Entry) -> LogLine {
    LogLine {
        at: entry.line.at,
        text: entry.line.text,
    }
}

fn more(log: &mut ServiceLog) -> Vec<LogLine> {
    let mut new = Vec::new();
    // What cannot be read now may be later.
    let _ = log.read_new(LINES_AT_ONCE, &mut new);
    new.into_iter().map(line_of).collect()
}

/// Gives an order in a thread of its own, and says what came of it.
pub(super) fn carry_out(place: &AppPaths, order: Order, news: &Sender<News>) {
    let state_dir = place.state_dir.clone();
    let news = news.clone();
    std::thread::spawn(move || {
        let words = order.words();
        let said = match give(&state_dir, &order) {
            Ok(()) => format!("{words}: done"),
            Err(why) => format!("{words}: {why}"),
        };
        let _ = news.send(News::Said(said));
    });
}

fn give(state_dir: &Path, order: &Order) -> Result<(), String> {
    let client = Client::new(state_dir).map_err(|error| error.to_string())?;
    let mission = |slug: &str, deed: &str, body: &Value| {
        let path = format!("{}/{deed}", Client::mission_path(slug));
        client.post_json_within(&path, body, DECISION_WITHIN)
    };
    let reply = match order {
        Order::Steer { service, order } => client.post(&format!(
            "{}/{}",
            Client::service_path(service),
            order.as_str()
        )),
        Order::Approve { slug } => mission(slug, "approve", &json!({})),
        Order::Reject { slug, reason } => mission(slug, "reject", &json!({ "reason": reason })),
    };
    let reply = reply.map_err(|error| error.to_string())?;
    match reply.error() {
        Some(why) => Err(why.to_owned()),
        None if !reply.is_good() => {
            Err("it did not move on; `ubs missions show` says why".to_owned())
        }
        None => Ok(()),
    }
}

/// A channel for news.
pub(super) fn news() -> (Sender<News>, Receiver<News>) {
    channel()
}
