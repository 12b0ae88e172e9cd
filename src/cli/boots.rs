//! `ubs boots`: the list of boots.

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use crate::log::BootSummary;

/// List the boots, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    number: u32,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let boots = match place.reader()? {
        Some(reader) => reader.boots(args.number)?,
        None => Vec::new(),
    };
    if ui.json {
        ui.print_json(&boots)?;
        return Ok(exit::GOOD);
    }
    if boots.is_empty() {
        ui.note("no boot yet; `ubs boot` runs the first");
    }
    for boot in &boots {
        ui.print(&text(ui, boot))?;
    }
    Ok(exit::GOOD)
}

fn text(ui: &Ui, boot: &BootSummary) -> String {
    let (word, tone) = match boot.outcome.as_deref() {
        Some("stopped") => ("stopped", Tone::Good),
        Some("failed") => ("FAILED", Tone::Bad),
        Some("interrupted") => ("INTERRUPTED", Tone::Bad),
        _ if boot.known_until.is_some() => ("SUPERVISOR GONE", Tone::Bad),
        _ if boot.phase == "running" && boot.degraded => ("up, degraded", Tone::Warn),
        _ if boot.phase == "running" => ("up", Tone::Good),
        _ => (boot.phase.as_str(), Tone::Accent),
    };
    let took = |until: Option<crate::domain::ids::At>| {
        until.map_or_else(
            || "-".to_owned(),
            |at| render::duration(at.ms_since(boot.started_at)),
        )
    };
    let mut text = format!(
        "{}  {}  {:<9}  {}\n",
        boot.boot_id,
        render::moment(boot.started_at),
        boot.mode,
        ui.paint.tone(tone, word)
    );
    let detail = format!(
        "{}: {}, up after {}, {} after {}{}",
        boot.app,
        render::count(boot.attempts as usize, "attempt"),
        took(boot.up_at),
        // What was between the last event and the finding of it, nobody knows.
        if boot.known_until.is_some() {
            "last heard of"
        } else {
            "ended"
        },
        took(boot.known_until.or(boot.ended_at)),
        if boot.reason.is_empty() {
            String::new()
        } else {
            format!("; {}", boot.reason)
        }
    );
    text.push_str(&ui.paint.tone(
        Tone::Dim,
        &format!("  {}", render::cut(&detail, ui.width.saturating_sub(2))),
    ));
    text.push('\n');
    text
}
