//! Proposing a fix, and what came of it.

use serde_json::{Value, json};

use super::super::context::{AppPaths, CliError, Ui};
use super::super::exit;
use super::super::render::{self, Tone};
use super::super::worker::{word_of, worked_json, worker_at};
use super::args::{ProposalArgs, ProposeArgs};
use super::queue::id_of;
use super::text::{TEXT_BYTES_MAX, read_text, redactor};
use crate::domain::event::{HealOutcome, Verdict};
use crate::domain::ids::MissionId;
use crate::domain::mission::Proposal;
use crate::fix::{Rehearsed, Worked, file_digest, parse_proposal};
use crate::manifest::Policy;

pub(super) fn propose(ui: &Ui, place: &AppPaths, args: &ProposeArgs) -> Result<u8, CliError> {
    let worker = &args.worker.worker;
    let text = proposal_text(place, &args.proposal)?;
    let (by, missions) = worker_at(place, worker)?;
    let state = missions.find(&args.mission)?;
    let id = id_of(&state)?;
    let proposal = read_proposal(place, &text, worker)?;
    let (worked, verdict) = by.offer(id, proposal)?;
    report(ui, &state.slug, id, &worked, verdict.as_ref())
}

/// A trial that changes nothing. Exit code 0 if the fix holds, 1 if it does not.
pub(super) fn try_only(ui: &Ui, place: &AppPaths, args: &ProposeArgs) -> Result<u8, CliError> {
    let worker = &args.worker.worker;
    let text = proposal_text(place, &args.proposal)?;
    drop(place.existing_reader()?);
    let (by, missions) = worker_at(place, worker)?;
    let state = missions.find(&args.mission)?;
    let id = id_of(&state)?;
    let tried = by.rehearse(id, read_proposal(place, &text, worker)?)?;
    let Rehearsed {
        verdict,
        risk,
        policy,
    } = tried;
    if ui.json {
        ui.print_json(&json!({
            "mission_id": id,
            "slug": state.slug,
            "holds": verdict.holds,
            "reason": verdict.reason,
            "risk": risk,
            "policy": policy.as_str(),
            "verdict": verdict,
        }))?;
    } else {
        let next = match (verdict.holds, policy) {
            (false, _) => "",
            (true, Policy::Auto) => "; proposed, it would be applied",
            (true, Policy::Approve) => "; proposed, it would wait for approval",
            (true, Policy::Report) => {
                "; proposed, it would not be applied: policy for it is report"
            }
        };
        let (word, tone) = match verdict.holds {
            true => ("[HOLDS] ", Tone::Good),
            false => ("[DOES NOT HOLD] ", Tone::Bad),
        };
        let text = format!(
            "{}: {}{next} (nothing was changed)",
            state.slug, verdict.reason
        );
        ui.print(&render::labelled(ui.paint, ui.width, word, tone, &text))?;
    }
    Ok(if verdict.holds { exit::GOOD } else { exit::BAD })
}

/// The proposal as JSON, as it was given or put together from a patch and files that go.
fn proposal_text(place: &AppPaths, given: &ProposalArgs) -> Result<String, CliError> {
    if given.patch.is_empty() && given.delete.is_empty() {
        let file = given.file.as_deref();
        return read_text(file.unwrap_or(std::path::Path::new("-")));
    }
    let mut changes = Vec::new();
    for patch in &given.patch {
        changes.push(json!({ "patch": read_text(patch)? }));
    }
    for path in &given.delete {
        let before = file_digest(&place.workspace, path).map_err(|error| CliError::Proposal {
            message: error.to_string(),
        })?;
        let Some(before) = before else {
            let message = format!("there is no file {path:?} to delete");
            return Err(CliError::Proposal { message });
        };
        changes.push(json!({ "delete": { "path": path, "before": before } }));
    }
    let summary = match &given.summary {
        Some(summary) => summary.clone(),
        None if given.delete.is_empty() => "apply a patch".to_owned(),
        None => format!("delete {}", given.delete.join(", ")),
    };
    Ok(json!({ "summary": summary, "changes": changes }).to_string())
}

fn read_proposal(place: &AppPaths, text: &str, worker: &str) -> Result<Proposal, CliError> {
    parse_proposal(text, worker, &place.workspace).map_err(|error| {
        // It may quote a file.
        let message = redactor(place).clean(&error.to_string(), TEXT_BYTES_MAX);
        CliError::Proposal { message }
    })
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
