//! `ubs start`, `ubs restart` and `ubs stop SERVICE`: ask the running supervisor, and wait for what comes of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::context::{AppPaths, CliError, Ui, nearest};
use super::exit;
use super::options::{Global, length_of_time};
use super::render::{self, Tone};
use crate::control::{Client, ClientError, Reply};
use crate::domain::event::ServiceOrder;
use crate::engine::supervisor_of;

/// Time between two looks at a service.
const POLL: Duration = Duration::from_millis(30);

/// Start services that were stopped, are done, or were given up; their restarts are counted from zero.
///
/// Exit code: 0 if all of them are ready (or done), 1 if one is not, or nothing runs here.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    what: What,
}

/// Stop services and start them again, with the environment as it is now.
///
/// Exit code: as `ubs start`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct What {
    /// Which services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
    /// How long to wait until they are ready, as 500ms, 60s or 5m
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = length_of_time)]
    timeout: Duration,
    /// Return when the supervisor has taken the order
    #[arg(long)]
    no_wait: bool,
}

pub(crate) fn run_start(ui: &Ui, global: &Global, args: StartArgs) -> Result<u8, CliError> {
    run(ui, global, ServiceOrder::Start, args.what)
}

pub(crate) fn run_restart(ui: &Ui, global: &Global, args: RestartArgs) -> Result<u8, CliError> {
    run(ui, global, ServiceOrder::Restart, args.what)
}

fn run(ui: &Ui, global: &Global, order: ServiceOrder, what: What) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let within = (!what.no_wait).then_some(what.timeout);
    steer(ui, &place, order, &what.services, within)
}

/// Gives the order for each service, then waits for so long until each is where it should be.
pub(super) fn steer(
    ui: &Ui,
    place: &AppPaths,
    order: ServiceOrder,
    services: &[String],
    within: Option<Duration>,
) -> Result<u8, CliError> {
    let client = supervisor(place)?;
    let known = services_now(&client)?;
    for name in services {
        if service_named(&known, name).is_none() {
            return Err(unknown(name, &known));
        }
    }
    let begun = Instant::now();
    let (mut changed, mut asked) = (Vec::new(), Vec::new());
    for name in services {
        let path = format!("{}/{}", Client::service_path(name), order.as_str());
        let reply = require_good(client.post(&path).map_err(silent)?)?;
        changed.push(reply.body["changed"] == true);
        asked.push(reply.body["service"]["pid"].as_u64());
    }
    let mut left = within;
    let found = loop {
        let now = services_now(&client)?;
        let of = |name| service_named(&now, name).cloned().unwrap_or(Value::Null);
        let found: Vec<Value> = services.iter().map(|name| of(name)).collect();
        let mut each = found.iter().zip(&asked);
        let is_open = each.any(|(service, pid)| reached(order, *pid, service).is_none());
        left = left.filter(|within| begun.elapsed() < *within && is_open);
        if left.is_none() {
            break found;
        }
        std::thread::sleep(POLL);
    };
    let good = |(service, pid): (&Value, &Option<u64>)| {
        within.is_none() || reached(order, *pid, service) == Some(true)
    };
    let good: Vec<bool> = found.iter().zip(&asked).map(good).collect();
    let each = || found.iter().zip(&good).zip(&changed);
    if ui.json {
        let services = each().map(|((service, good), changed)| {
            json!({ "changed": changed, "reached": good, "service": service })
        });
        let services: Vec<Value> = services.collect();
        ui.print_json(&json!({ "order": order.as_str(), "services": services }))?;
    } else if !ui.quiet {
        for ((service, good), changed) in each() {
            ui.print(&line(ui, service, *good, *changed))?;
        }
    }
    Ok(if good.iter().all(|good| *good) {
        exit::GOOD
    } else {
        exit::BAD
    })
}

/// The service is where the order wants it, or will not be; `None`: it may be yet. `asked` is the process that it had
/// when the order was taken.
fn reached(order: ServiceOrder, asked: Option<u64>, service: &Value) -> Option<bool> {
    let status = service["status"].as_str().unwrap_or("");
    if order == ServiceOrder::Stop {
        return match service["pid"].as_u64() {
            None => Some(true),
            // Only somebody else's order starts it again; what is stopping is on its way.
            pid => {
                let is_new = asked.is_some() && pid != asked && status != "stopping";
                is_new.then_some(false)
            }
        };
    }
    match status {
        "ready" | "done" | "up (not probed)" => Some(true),
        "failed" | "stopped" | "skipped" => Some(false),
        _ => None,
    }
}

fn line(ui: &Ui, service: &Value, good: bool, changed: bool) -> String {
    let text = |key: &str| service[key].as_str();
    let pid = match service["pid"].as_u64() {
        Some(pid) => format!(", process {pid}"),
        None => String::new(),
    };
    let error = text("error").map_or_else(String::new, |error| format!(": {error}"));
    let already = if changed { "" } else { " already" };
    render::labelled(
        ui.paint,
        ui.width,
        &format!("{}: ", render::cut(text("name").unwrap_or("?"), 40)),
        if good { Tone::Good } else { Tone::Bad },
        &format!(
            "{}{already}{pid}{error}",
            text("status").unwrap_or("unknown")
        ),
    )
}

/// The supervisor that runs here.
pub(super) fn supervisor(place: &AppPaths) -> Result<Client, CliError> {
    if supervisor_of(&place.state_dir).is_none() {
        // A log that cannot be read is another command's news.
        let reader = place.reader().ok().flatten();
        let unfinished = reader.and_then(|reader| reader.unfinished_boots().ok());
        if unfinished.is_some_and(|boots| !boots.is_empty()) {
            return Err(CliError::failed(
                "the supervisor died; what it had started may run on, and nobody watches it",
                "`ubs boot` ends that and starts anew, `ubs stop` only ends it",
            ));
        }
        return Err(CliError::failed(
            "nothing runs here",
            "boot first with `ubs boot --detach`, or say where the application is with -C DIR",
        ));
    }
    Client::new(&place.state_dir).map_err(silent)
}

pub(super) fn silent(error: ClientError) -> CliError {
    CliError::failed(
        error.to_string(),
        "it may just be starting or ending: try again, and see `ubs status`",
    )
}

pub(super) fn require_good(reply: Reply) -> Result<Reply, CliError> {
    match reply.error() {
        Some(message) if reply.status == 404 => {
            Err(CliError::usage(message, "`ubs status` lists the services"))
        }
        Some(message) if reply.status == 400 => Err(CliError::usage(
            message,
            "`--help` of the command says what it takes",
        )),
        Some(message) => Err(CliError::failed(message, "see `ubs status`")),
        None => Ok(reply),
    }
}

/// Every service, as the supervisor knows it now.
fn services_now(client: &Client) -> Result<Vec<Value>, CliError> {
    let reply = require_good(client.get("/services").map_err(silent)?)?;
    Ok(reply.body["services"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

fn service_named<'a>(services: &'a [Value], name: &str) -> Option<&'a Value> {
    services.iter().find(|service| service["name"] == name)
}

fn unknown(name: &str, known: &[Value]) -> CliError {
    let names = known.iter().filter_map(|service| service["name"].as_str());
    let names: Vec<String> = names.map(str::to_owned).collect();
    unknown_service(name, &names)
}

/// The boot has no such service.
pub(super) fn unknown_service(name: &str, names: &[String]) -> CliError {
    CliError::usage(
        format!("the boot has no service `{name}`{}", nearest(name, names)),
        format!("it has {}", names.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_over_once_the_process_is_gone_or_somebody_started_another_one() {
        let stop = |asked: Option<u64>, status, pid: Option<u64>| {
            let service = json!({ "status": status, "pid": pid });
            reached(ServiceOrder::Stop, asked, &service)
        };
        assert_eq!(stop(Some(7), "stopping", Some(7)), None);
        assert_eq!(stop(Some(7), "stopped", None), Some(true));
        assert_eq!(stop(None, "stopped", None), Some(true));
        assert_eq!(stop(Some(7), "starting", Some(8)), Some(false));
        // Somebody's start, and the next stop.
        assert_eq!(stop(Some(7), "stopping", Some(8)), None);
        // It was being started when the order was taken.
        assert_eq!(stop(None, "starting", Some(8)), None);
    }
}
