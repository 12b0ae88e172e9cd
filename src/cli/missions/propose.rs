//! Proposing a fix, and what came of it.

use serde_json::{Value, json};

use super::super::context::{AppPaths, CliError, Ui};
use super::super::exit;
use super::super::render::{self, Tone};
use super::super::worker::{word_of, worked_json, worker_at};
use super::queue::id_of;
use super::text::{TEXT_BYTES_MAX, read_text, redactor};
use crate::domain::event::{HealOutcome, Verdict};
use crate::domain::ids::MissionId;
use crate::domain::mission::Proposal;
use crate::fix::{Worked, parse_proposal};

pub(super) fn propose(
    ui: &Ui,
    place: &AppPaths,
    name: &str,
    worker: &str,
    file: &std::path::Path,
) -> Result<u8, CliError> {
    let text = read_text(file)?;
    let (by, missions) = worker_at(place, worker)?;
    let state = missions.find(name)?;
    let id = id_of(&state)?;
    let proposal: Proposal = parse_proposal(&text, worker, &place.workspace).map_err(|error| {
        // It may quote a file.
        let message = redactor(place).clean(&error.to_string(), TEXT_BYTES_MAX);
        CliError::usage(message, "docs/missions.md has an example")
    })?;
    let (worked, verdict) = by.offer(id, proposal)?;
    report(ui, &state.slug, id, &worked, verdict.as_ref())
}

/// What came of work on a mission. Exit code 0 if the mission moved on, 1 if the fix does not hold.
pub(super) fn report(
    ui: &Ui,
    slug: &str,
    id: MissionId,
    worked: &Worked,
    verdict: Option<&Verdict>,
) -> Result<u8, CliError> {
    report_with(ui, slug, id, worked, verdict, Value::Null)
}

/// The same, with the diff of what was approved.
pub(super) fn report_with(
    ui: &Ui,
    slug: &str,
    id: MissionId,
    worked: &Worked,
    verdict: Option<&Verdict>,
    diff: Value,
) -> Result<u8, CliError> {
    if ui.json {
        let mut document = worked_json(slug, id, worked);
        document["verdict"] = json!(verdict);
        if !diff.is_null() {
            document["diff"] = diff;
        }
        ui.print_json(&document)?;
    } else {
        ui.print(&render::labelled(
            ui.paint,
            ui.width,
            &format!("[{}] ", word_of(worked.outcome)),
            Tone::Strong,
            &format!("{slug}: {}", worked.reason),
        ))?;
        if let Some(verdict) = verdict.filter(|_| ui.verbose) {
            for line in &verdict.isolation {
                ui.print(&render::labelled(
                    ui.paint,
                    ui.width,
                    "    ",
                    Tone::Dim,
                    line,
                ))?;
            }
        }
    }
    Ok(match worked.outcome {
        HealOutcome::Applied | HealOutcome::Closed | HealOutcome::AwaitingApproval => exit::GOOD,
        _ => exit::BAD,
    })
}
