//! `ubs health` and `ubs status`: the health projection, now or at a past moment.

use super::context::{AppPaths, CliError, Ui, moment_of, supervisor_lives};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use crate::domain::health::{Health, HealthStatus, LayerHealth};
use crate::domain::ids::At;
use crate::log::now;

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

/// Show the running system.
///
/// Exit code: as `ubs health`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Exit with 3 if the system is degraded
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let at = args.at.as_deref().map(moment_of).transpose()?;
    let health = match (place.reader()?, at) {
        (None, _) => Health::unknown(),
        (Some(reader), None) => reader.health(supervisor_lives)?,
        (Some(reader), Some(at)) => reader.health_at(at)?,
    };
    show(ui, &health, at, args.strict)
}

pub(crate) fn run_status(ui: &Ui, global: &Global, args: StatusArgs) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let health = match place.reader()? {
        None => Health::unknown(),
        Some(reader) => reader.health(supervisor_lives)?,
    };
    if !ui.json && !ui.quiet {
        let supervisor = match crate::engine::supervisor_of(&place.state_dir) {
            Some(found) => format!(
                "supervised by process {} ({})\n",
                found.process.pid,
                render::cut(&found.app, 40)
            ),
            None => "no supervisor runs here\n".to_owned(),
        };
        ui.print(&supervisor)?;
    }
    show(ui, &health, None, args.strict)
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
        "skipped" => Tone::Warn,
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
        let pid = service
            .pid
            .map_or_else(String::new, |pid| format!(", process {pid}"));
        let restarts = match service.restarts {
            0 => String::new(),
            n => format!(", {}", render::count(n, "restart")),
        };
        let error = service
            .error
            .as_ref()
            .map_or_else(String::new, |error| format!(": {error}"));
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "      ",
            Tone::Dim,
            &format!("{} {}{pid}{restarts}{error}", service.name, service.status),
        ));
    }
    text
}
