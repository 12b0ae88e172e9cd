//! `ubs validate`: the checks again, on the system that runs, now and not at the next hour.

use std::time::Duration;

use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::preflight::{because, check_json, checks_text, reports_of};
use super::render;
use super::running::{self, Now};
use super::steer::{require_good, silent, supervisor};
use crate::domain::boot::{BootState, Phase};
use crate::domain::finding::{CheckReport, Decision, decide_go};
use crate::domain::ids::BootId;

/// Time between two looks at the boot.
const POLL: Duration = Duration::from_millis(100);

/// Run the checks on the running system now, as it does by itself every hour.
///
/// Nothing is stopped or changed. What is found becomes missions, as after each validation. Exit code: 0 a boot would
/// be told GO, 1 it would be told NO-GO or nothing runs here, 3 with --strict it would be GO (degraded) or GO (unproven).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Return when the validation has begun
    #[arg(long, conflicts_with = "strict")]
    no_wait: bool,
    /// Exit with 3 if a boot would be told GO (degraded) or GO (unproven)
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let client = supervisor(&place)?;
    let reply = require_good(client.post("/validate").map_err(silent)?)?;
    let validation = reply.body["validation"].as_u64().unwrap_or(0);
    if args.no_wait {
        if ui.json {
            ui.print_json(&reply.body)?;
        } else {
            ui.print_unless_silent(&format!("validation {validation} runs\n"))?;
        }
        return Ok(exit::GOOD);
    }
    if ui.progress {
        ui.note(&format!(
            "validation {validation} of the running system ..."
        ));
    }
    let (boot, state) = finished(&place, validation)?;
    let reports = reports_of(&state);
    let decision = decide_go(&reports);
    if ui.json {
        ui.print_json(&json!({
            "boot_id": boot,
            "validation": validation,
            "decision": decision.as_str(),
            "because": because(&reports),
            "checks": reports.iter().map(check_json).collect::<Vec<_>>(),
        }))?;
    } else {
        ui.print(&text(ui, validation, &reports, decision))?;
    }
    Ok(exit::of_decision(decision, args.strict))
}

/// The boot as it is when this validation is over.
fn finished(place: &AppPaths, validation: u64) -> Result<(Option<BootId>, BootState), CliError> {
    loop {
        let now = running::now(place)?;
        let now = now.filter(|now| now.runs && now.state.phase == Phase::Running);
        let Some(Now { state, health, .. }) = now else {
            return Err(CliError::failed(
                "the system was stopped before the validation was over",
                "`ubs replay` shows what happened",
            ));
        };
        let is_over = !state.validating && u64::from(state.validations) >= validation;
        if is_over {
            return Ok((health.boot_id, state));
        }
        std::thread::sleep(POLL);
    }
}

fn text(ui: &Ui, validation: u64, reports: &[CheckReport], decision: Decision) -> String {
    let mut text = String::new();
    if !ui.quiet {
        text.push_str(&checks_text(ui, reports));
        text.push('\n');
    }
    let because = because(reports).join(", ");
    let because = match because.as_str() {
        "" => String::new(),
        because => format!(": {because}"),
    };
    let told = format!("a boot would be told {}{because}", decision.title());
    let tone = render::tone_of_decision(decision);
    let label = format!("validation {validation}: ");
    text.push_str(&render::labelled(ui.paint, ui.width, &label, tone, &told));
    text
}
