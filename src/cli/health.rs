//! `ubs health` and `ubs status`: the health projection, now or at a past moment.

use std::io::IsTerminal;
use std::time::Duration;

use super::context::{AppPaths, CliError, Ui, moment_of, supervisor_lives};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use super::running::{self, Now, Source};
use super::steer::unknown_service;
use crate::control::service_json;
use crate::domain::health::{Health, HealthStatus, LayerHealth, ServiceHealth};
use crate::domain::ids::At;
use crate::log::now;

/// Time between two looks with `--watch`.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Show the health projection, also of a past moment.
///
/// Exit code: 0 healthy (or degraded, without --strict), 3 degraded with --strict, 4 starting (being brought
/// up, or up and not stable yet), 1 anything else.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As it was then: RFC 3339 (2026-11-24T10:00:00Z), or so long ago (90s, 10m, 2h, 3d)
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// Exit with 3 if the system is degraded
    #[arg(long)]
    strict: bool,
}

/// Show the running system: its supervisor is asked, and if it does not answer, the log.
///
/// Exit code: as `ubs health`; with a service, by how that stands.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Go on: show it again when it changes, until Ctrl-C or until nothing runs here any more
    #[arg(short, long)]
    watch: bool,
    /// Exit with 3 if the system is degraded
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let at = args.at.as_deref().map(moment_of).transpose()?;
    let health = match at {
        None => {
            let (health, now) = now_or_log(&place)?;
            note_source(ui, now.as_ref());
            health
        }
        Some(at) => match place.reader()? {
            Some(reader) => reader.health_at(at)?,
            None => Health::unknown(),
        },
    };
    show(ui, &health, at, args.strict)
}

/// Says on standard error that the log had to answer.
fn note_source(ui: &Ui, now: Option<&Now>) {
    if let Some(now) = now {
        running::note_source(ui, &now.source);
    }
}

/// Health as the supervisor says it, else as the log does.
fn now_or_log(place: &AppPaths) -> Result<(Health, Option<Now>), CliError> {
    if let Some(now) = running::now(place)? {
        return Ok((now.health.clone(), Some(now)));
    }
    // There may be missions all the same.
    let health = match place.reader()? {
        Some(reader) => reader.health(supervisor_lives)?,
        None => Health::unknown(),
    };
    Ok((health, None))
}

pub(crate) fn run_status(ui: &Ui, global: &Global, args: StatusArgs) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    if !args.watch {
        return show_status(ui, &place, &args, now_or_log(&place)?);
    }
    let is_terminal = std::io::stdout().is_terminal() && !ui.json;
    let mut shown: Option<Health> = None;
    loop {
        let looked = now_or_log(&place)?;
        if shown.as_ref() != Some(&looked.0) {
            let runs = looked.1.as_ref().is_some_and(|now| now.runs);
            shown = Some(looked.0.clone());
            if is_terminal {
                // The screen of a terminal is cleared; a file gets one after the other.
                ui.print("\x1b[H\x1b[2J\x1b[3J")?;
            }
            let code = show_status(ui, &place, &args, looked)?;
            if !runs {
                return Ok(code);
            }
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn show_status(
    ui: &Ui,
    place: &AppPaths,
    args: &StatusArgs,
    (health, now): (Health, Option<Now>),
) -> Result<u8, CliError> {
    note_source(ui, now.as_ref());
    if !ui.json && !ui.quiet {
        let says = match now.as_ref().map(|now| &now.source) {
            Some(Source::Supervisor) => ", which says:",
            Some(Source::LogInstead(_) | Source::Hanging(_)) => {
                ", which does not answer; the log says:"
            }
            _ => "",
        };
        let supervisor = match crate::engine::supervisor_of(&place.state_dir) {
            Some(found) => format!(
                "supervised by process {} ({}){says}\n",
                found.process.pid,
                render::cut(&found.app, 40)
            ),
            None => "no supervisor runs here\n".to_owned(),
        };
        ui.print(&supervisor)?;
    }
    match (&args.service, now) {
        (Some(name), Some(now)) => show_service(ui, &now, name, args.strict),
        (Some(_), None) => Err(CliError::failed(
            "nothing was booted here yet",
            "`ubs boot` boots it; -C DIR says where the application is",
        )),
        (None, _) => show(ui, &health, None, args.strict),
    }
}

fn show_service(ui: &Ui, now: &Now, name: &str, strict: bool) -> Result<u8, CliError> {
    let of_layer = |layer: &LayerHealth| -> Vec<String> {
        layer.services.iter().map(|s| s.name.clone()).collect()
    };
    let found = now
        .health
        .layers
        .iter()
        .find_map(|l| l.services.iter().find(|s| s.name == name));
    let (Some(service), Some(json)) = (found, service_json(&now.state, name)) else {
        let names: Vec<String> = now.health.layers.iter().flat_map(of_layer).collect();
        return Err(unknown_service(name, &names));
    };
    if ui.json {
        ui.print_json(&json)?;
    } else {
        let text = |key: &str| json[key].as_str();
        let mut more = format!(", layer {}", text("layer").unwrap_or("?"));
        if let Some(exit) = text("last_exit") {
            more.push_str(&format!(", last ended with {exit}"));
        }
        if let Some(by) = text("stopped_by") {
            more.push_str(&format!(", stopped by {by}"));
        }
        ui.print(&service_text(ui, "", service, &more))?;
    }
    Ok(match service.status {
        _ if !now.runs => exit::BAD,
        "ready" | "up (not probed)" | "done" if service.restarts == 0 => exit::GOOD,
        "failed" | "stopped" => exit::BAD,
        "pending" | "starting" | "stopping" => exit::STARTING,
        _ if strict => exit::DEGRADED,
        _ => exit::GOOD,
    })
}

fn show(ui: &Ui, health: &Health, at: Option<At>, strict: bool) -> Result<u8, CliError> {
    if ui.json {
        ui.print_json(health)?;
    } else {
        ui.print(&text(ui, health, at))?;
    }
    Ok(match health.status {
        HealthStatus::Healthy => exit::GOOD,
        HealthStatus::Degraded if strict => exit::DEGRADED,
        HealthStatus::Degraded => exit::GOOD,
        HealthStatus::Starting => exit::STARTING,
        _ => exit::BAD,
    })
}

fn tone(status: HealthStatus) -> Tone {
    match status {
        HealthStatus::Healthy => Tone::Good,
        HealthStatus::Degraded => Tone::Warn,
        HealthStatus::Unhealthy => Tone::Bad,
        HealthStatus::Starting => Tone::Accent,
        HealthStatus::Down | HealthStatus::Unknown => Tone::Dim,
    }
}

/// Health as a person reads it.
pub(crate) fn text(ui: &Ui, health: &Health, at: Option<At>) -> String {
    let word = health.status.as_str().to_uppercase();
    let when = at.map_or_else(String::new, |at| format!(" at {}", render::moment(at)));
    let app = health.app.as_deref().unwrap_or("this workspace");
    let mut text = format!(
        "{}  {}{when}\n",
        ui.paint.tone(tone(health.status), &word),
        render::cut(app, 40)
    );
    if ui.quiet {
        return text;
    }
    let Some(boot) = health.boot_id else {
        text.push_str("  it was not booted before that; `ubs boot` boots it\n");
        return text;
    };
    let attempt = match health.attempt {
        0 => String::new(),
        n => format!(", attempt {n}"),
    };
    text.push_str(&format!("  boot {boot} ({}{attempt})\n", health.phase));
    if let Some(reason) = &health.reason {
        text.push_str(&render::wrap("  ", reason, ui.width));
        text.push('\n');
    }
    if let Some(stable_at) = health.stable_at {
        let left = stable_at.ms_since(at.unwrap_or_else(now));
        text.push_str(&format!("  stable in {}\n", render::duration(left)));
    }
    if let (Some(up), None, None) = (health.up_at, health.outcome, at) {
        text.push_str(&format!(
            "  up since {} ({})\n",
            render::moment(up),
            render::duration(now().ms_since(up))
        ));
    }
    for layer in &health.layers {
        text.push_str(&layer_text(ui, layer));
    }
    for check in &health.checks {
        let status = check.status.as_str();
        let head = format!("  check {}: ", check.name);
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            &head,
            render::tone_of_status(check.status),
            &format!("{status}, {}", check.summary),
        ));
    }
    if let Some(since) = health.log_not_written_since {
        let said = format!("not written since {}", render::moment(since));
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "  log: ",
            Tone::Bad,
            &said,
        ));
    }
    if health.missions_open > 0 {
        let open = usize::try_from(health.missions_open).unwrap_or(usize::MAX);
        let line = format!(
            "{} open, {} of them for a person: `ubs missions` lists them",
            render::count(open, "mission"),
            health.missions_need_person
        );
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "  ",
            Tone::Warn,
            &line,
        ));
    }
    text
}

fn layer_text(ui: &Ui, layer: &LayerHealth) -> String {
    let tone = match layer.status {
        "up" => Tone::Good,
        "failed" => Tone::Bad,
        "skipped" | "incomplete" => Tone::Warn,
        "starting" => Tone::Accent,
        _ => Tone::Dim,
    };
    let kind = if layer.critical { "" } else { " (optional)" };
    let reason = layer
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {reason}"));
    let mut text = render::labelled(
        ui.paint,
        ui.width,
        &format!("  layer {}{kind}: ", layer.name),
        tone,
        &format!("{}{reason}", layer.status),
    );
    for service in &layer.services {
        text.push_str(&service_text(ui, "      ", service, ""));
    }
    text
}

fn service_text(ui: &Ui, indent: &str, service: &ServiceHealth, more: &str) -> String {
    let pid = service
        .pid
        .map_or_else(String::new, |pid| format!(", process {pid}"));
    let restarts = match service.restarts {
        0 => String::new(),
        n => format!(", {}", render::count(n, "restart")),
    };
    let error = match &service.error {
        _ if !service.waits_for.is_empty() => format!(": {}", service.waits_for.join(", ")),
        Some(error) => format!(": {error}"),
        None => String::new(),
    };
    let note = match &service.note {
        Some(note) => format!(", {note}"),
        None => String::new(),
    };
    render::labelled(
        ui.paint,
        ui.width,
        indent,
        Tone::Dim,
        &format!(
            "{} {}{pid}{restarts}{more}{error}{note}",
            service.name, service.status
        ),
    )
}
