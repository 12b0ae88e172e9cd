//! `ubs report`: what the checks of a boot found and what became of it, on one page, from the log alone.

use serde_json::json;

use super::context::{AppPaths, CliError, Ui, find_boot, supervisor_lives};
use super::exit;
use super::health;
use super::options::Global;
use super::preflight::{check_json, checks_text, reports_of};
use super::render::{self, Tone};
use crate::domain::health::Health;

/// Show what the checks of a boot found, and how it stands or ended.
///
/// Of each check it is the newest report: the hourly validation takes the place of the pre-flight. `ubs replay` shows
/// what happened in its order. The application need not run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which boot: an id, its beginning, `last`, `last~1` or `last-good`
    #[arg(default_value = "last", value_name = "BOOT")]
    boot: String,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let reader = place.existing_reader()?;
    let boot = find_boot(&reader, &args.boot)?;
    let state = reader.boot(boot)?.unwrap_or_default();
    // Missions of then: what is open now may be another boot's.
    let then = reader.health_at(state.updated_at)?;
    let (open, need_person) = (then.missions_open, then.missions_need_person);
    let alive = Some(supervisor_lives(&state));
    let health = Health::of(boot, &state, alive, open, need_person);
    let reports = reports_of(&state);
    if ui.json {
        ui.print_json(&json!({
            "boot_id": boot,
            "started_at": state.started_at,
            "decision": state.decision.map(|decision| decision.as_str()),
            "checks": reports.iter().map(check_json).collect::<Vec<_>>(),
            "state": health,
        }))?;
        return Ok(exit::GOOD);
    }
    let rule = ui.paint.tone(Tone::Accent, &render::rule(ui.width, '='));
    let app = render::cut(health.app.as_deref().unwrap_or("this workspace"), 40);
    let title = format!("  BOOT · {app} · {}", render::moment(state.started_at));
    let mut text = format!("{rule}\n{}\n{rule}\n", ui.paint.tone(Tone::Strong, &title));
    text.push_str(&checks_text(ui, &reports));
    let told = match state.decision {
        Some(decision) => ui.paint.tone(
            render::tone_of_decision(decision),
            &format!("DECISION: {}", decision.title()),
        ),
        None => "DECISION: none, no check was run".to_owned(),
    };
    text.push_str(&format!("\n{told}\n\n"));
    text.push_str(&health::text(ui, &health, Some(state.updated_at)));
    ui.print(&text)?;
    Ok(exit::GOOD)
}
