//! `ubs reload`: the manifest as it is now, for the boot that runs.

use serde_json::Value;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use super::steer::{require_good, silent, supervisor};

/// Read the manifest again, and do what its changes ask for, and nothing else.
///
/// Services whose command, environment, probes or limits changed are restarted, new ones are started, those that are
/// gone are stopped. What the checks look at holds for the next validation. What cannot change in a boot is named. A
/// manifest that is not valid changes nothing. Exit code: 0 all of it took effect (or would), 1 something takes a new
/// boot or nothing runs here, 2 the manifest is not valid.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let client = supervisor(&place)?;
    let path = format!("/reload?dry_run={}", args.dry_run);
    let reply = require_good(client.post(&path).map_err(silent)?)?;
    if ui.json {
        ui.print_json(&reply.body)?;
    } else {
        ui.print_unless_silent(&text(ui, &reply.body, args.dry_run))?;
    }
    let is_all = reply.body["left"].as_array().is_none_or(Vec::is_empty);
    Ok(if is_all { exit::GOOD } else { exit::BAD })
}

fn text(ui: &Ui, reloaded: &Value, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "is " };
    let labels = [
        ("restart", format!("{would}restarted: "), Tone::Good),
        (
            "at_next_start",
            "gets it at its next start: ".to_owned(),
            Tone::Dim,
        ),
        ("start", format!("{would}started: "), Tone::Good),
        ("stop", format!("{would}stopped: "), Tone::Warn),
        ("applied", "holds from now on: ".to_owned(), Tone::Good),
        ("left", "takes a new boot: ".to_owned(), Tone::Warn),
    ];
    let mut text = String::new();
    for (key, label, tone) in labels {
        for entry in reloaded[key].as_array().into_iter().flatten() {
            let entry = entry.as_str().unwrap_or("");
            text.push_str(&render::labelled(ui.paint, ui.width, &label, tone, entry));
        }
    }
    if text.is_empty() {
        text.push_str("nothing has changed\n");
    }
    text
}
