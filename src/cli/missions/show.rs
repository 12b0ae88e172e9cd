//! One mission: in a few lines, or in full.

use super::super::context::{AppPaths, CliError, Ui};
use super::super::render::{self, Tone};
use super::text::redactor;
use crate::domain::event::Verdict;
use crate::domain::mission::{Change, MissionState, MissionStatus};
use crate::domain::words::count;
use crate::fix::{DiffPlace, command_text, program_of, proposal_diff, shown_files, visible};

pub(super) fn tone(status: MissionStatus) -> Tone {
    match status {
        MissionStatus::Closed | MissionStatus::Applied => Tone::Good,
        MissionStatus::Quarantined | MissionStatus::AwaitingApproval => Tone::Warn,
        MissionStatus::Rejected => Tone::Bad,
        _ => Tone::Accent,
    }
}

/// Two or three lines: where it stands, what failed, why it stands there.
pub(super) fn summary(ui: &Ui, state: &MissionState) -> String {
    let status = match state.status {
        MissionStatus::Quarantined => "needs a person",
        MissionStatus::AwaitingApproval => "waits for approval",
        other => other.as_str(),
    };
    let mut text = format!(
        "{}  {}\n",
        ui.paint.tone(Tone::Strong, &render::cut(&state.slug, 60)),
        ui.paint.tone(tone(state.status), status)
    );
    if let Some(failure) = &state.failure {
        let place = failure
            .location
            .as_ref()
            .map(|location| format!(" ({location})"))
            .filter(|place| !failure.error.ends_with(place))
            .unwrap_or_default();
        text.push_str(&render::wrap(
            "    ",
            &format!("{}{place}", failure.error),
            ui.width,
        ));
        text.push('\n');
    }
    if !state.reason.is_empty() {
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "    · ",
            Tone::Dim,
            &state.reason,
        ));
    }
    if let Some(todo) = todo(state) {
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "    → ",
            Tone::Accent,
            &todo,
        ));
    }
    text
}

/// What a person can do about a mission that waits for one.
pub(super) fn todo(state: &MissionState) -> Option<String> {
    let slug = &state.slug;
    match state.status {
        MissionStatus::AwaitingApproval => Some(format!(
            "look at it with `ubs missions show {slug}`, then `ubs missions approve {slug}`, \
             or `ubs missions reject {slug} --reason ...`"
        )),
        MissionStatus::Filed => Some(format!(
            "a worker may claim it (`ubs missions claim {slug}`); or mend it, then `ubs missions complete {slug}` \
             closes it"
        )),
        MissionStatus::Quarantined => {
            let advice = state.failure.as_ref().and_then(|f| f.remedy.as_deref());
            let close = format!("then `ubs missions complete {slug}` closes it");
            Some(match advice {
                Some(advice) => format!("{advice}; {close}"),
                None => format!("mend it, {close}"),
            })
        }
        _ => None,
    }
}

/// One change of a proposal, in a line; the diff shows it in full.
fn change_text(ui: &Ui, change: &Change) -> String {
    let head = match change {
        Change::Insert { path, offset, .. } => format!("insert into {path} at byte {offset}"),
        Change::Edit { path, edits, .. } => {
            format!("change {path} in {}", count(edits.len(), "place"))
        }
        Change::Packages {
            environment,
            install,
        } => format!("install {} into {environment}", install.join(", ")),
        Change::Write { path, before, .. } => {
            let verb = if before.is_some() { "change" } else { "create" };
            format!("{verb} {path}")
        }
        Change::SetVariable { path, name, .. } => format!("set {name} in {path}"),
        Change::GenerateSecret { path, name, bytes } => {
            format!("set {name} in {path} to {bytes} random bytes that nobody sees")
        }
        Change::Sql { schema, .. } => format!("run statements on database {schema}"),
        Change::Migrate {
            schema,
            tool,
            target,
        } => format!(
            "run the application's migrations on database {schema} ({}, to {target})",
            program_of(*tool)
        ),
        Change::Delete { path, .. } => format!("delete {path}"),
        Change::MakeDirectory { path } => format!("create the directory {path}"),
        Change::AddMode { path, bits } => format!("add the permissions {bits:03o} to {path}"),
        Change::MoveAside { path } => format!("move {path} aside, into the state directory"),
        Change::Run { command } => format!("run {}", command_text(command)),
        Change::Wait { ms } => format!("wait {ms} ms"),
        Change::Restart { services } => format!("start again {}, if it runs", services.join(", ")),
    };
    render::labelled(ui.paint, ui.width, "    change: ", Tone::Dim, &head)
}

/// The whole proposal as a unified diff; `None` without a proposal.
fn diff_of(place: &AppPaths, state: &MissionState) -> Option<String> {
    let proposal = state.proposal.as_ref()?;
    let manifest = place.manifest().ok();
    let place = DiffPlace {
        workspace: &place.workspace,
        state_dir: &place.state_dir,
        manifest: manifest.as_ref(),
        redactor: &redactor(place),
    };
    Some(proposal_diff(&place, state.id, proposal))
}

/// What the last trial of the proposal in hand showed.
fn verdict_of(place: &AppPaths, state: &MissionState) -> Result<Option<Verdict>, CliError> {
    match (place.reader()?, state.id, &state.proposal) {
        (Some(reader), Some(id), Some(_)) => Ok(reader.last_verdict(id)?),
        _ => Ok(None),
    }
}

fn verdict_text(ui: &Ui, verdict: &Verdict) -> String {
    let (tone, word) = if verdict.holds {
        (Tone::Good, "holds")
    } else {
        (Tone::Bad, "does not hold")
    };
    let mut text = render::labelled(
        ui.paint,
        ui.width,
        "  verdict: ",
        Tone::Dim,
        &format!("it {word}: {}", verdict.reason),
    );
    if !verdict.checks.is_empty() {
        text.push_str(&ui.paint.tone(tone, "    check         before    after"));
        text.push('\n');
    }
    for change in &verdict.checks {
        text.push_str(&format!(
            "    {:<13} {:<9} {}\n",
            change.check.as_str(),
            change.before.as_str(),
            ui.paint
                .tone(render::tone_of_status(change.after), change.after.as_str())
        ));
    }
    for line in &verdict.isolation {
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "    isolation: ",
            Tone::Dim,
            line,
        ));
    }
    text
}

fn diff_text(ui: &Ui, diff: &str) -> String {
    let mut text = String::new();
    for line in visible(diff).lines() {
        let tone = match line.as_bytes().first() {
            _ if line.starts_with("--- ") || line.starts_with("+++ ") => Tone::Strong,
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            Some(b'@') => Tone::Accent,
            _ => Tone::Dim,
        };
        text.push_str(&ui.paint.tone(tone, line));
        text.push('\n');
    }
    text
}

/// What a person approves: the verdict, and the diff of everything.
pub(super) fn approval_text(
    ui: &Ui,
    place: &AppPaths,
    state: &MissionState,
) -> Result<String, CliError> {
    let mut text = String::new();
    if let Some(verdict) = verdict_of(place, state)? {
        text.push_str(&verdict_text(ui, &verdict));
    }
    if let Some(diff) = diff_of(place, state) {
        text.push_str(&ui.paint.tone(Tone::Dim, "  diff:"));
        text.push('\n');
        text.push_str(&diff_text(ui, &diff));
    }
    Ok(text)
}

/// The mission with what a program needs beside it: files with their digests, the diff, the verdict.
pub(super) fn document(
    place: &AppPaths,
    state: &MissionState,
) -> Result<serde_json::Value, CliError> {
    let mut document = serde_json::to_value(state).map_err(|e| CliError::Output(e.into()))?;
    document["files"] = serde_json::json!(shown_files(&place.workspace, state));
    document["diff"] = serde_json::json!(diff_of(place, state));
    document["verdict"] = serde_json::json!(verdict_of(place, state)?);
    Ok(document)
}

pub(super) fn show(ui: &Ui, place: &AppPaths, state: &MissionState) -> Result<(), CliError> {
    if ui.json {
        return ui.print_json(&document(place, state)?);
    }
    let mut text = summary(ui, state);
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&render::labelled(
                ui.paint,
                ui.width,
                &format!("  {name}: "),
                Tone::Dim,
                value,
            ));
        }
    };
    fact("id", &state.id.map(|id| id.to_string()).unwrap_or_default());
    fact("filed", &render::moment(state.filed_at));
    if let Some(signature) = &state.signature {
        fact("signature", &signature.to_string());
    }
    fact("claims", &state.attempts.to_string());
    fact("seen again", &state.recurrences.to_string());
    if let Some(lease) = &state.lease {
        fact(
            "held",
            &format!("by {} until {}", lease.worker, render::moment(lease.until)),
        );
    }
    if let Some(failure) = &state.failure {
        fact("code", failure.code.as_str());
        fact("layer", failure.layer.as_deref().unwrap_or(""));
        for criterion in &failure.criteria {
            fact("fixed when", criterion);
        }
        if let Some(fix) = &failure.fix {
            fact("fix", &fix.to_string());
        }
        for (name, value) in &failure.facts {
            fact(&format!("fact {name}"), value);
        }
    }
    if let Some(proposal) = &state.proposal {
        fact(
            "proposal",
            &format!(
                "{} ({}, {})",
                proposal.summary,
                proposal.fixer,
                proposal.risk.as_str()
            ),
        );
        for change in &proposal.changes {
            text.push_str(&change_text(ui, change));
        }
    }
    if let Some(failure) = &state.failure
        && !failure.traceback.is_empty()
    {
        text.push_str("  traceback:\n");
        for line in crate::domain::redact::sanitise(&failure.traceback).lines() {
            text.push_str(&ui.paint.tone(Tone::Dim, &format!("    | {line}")));
            text.push('\n');
        }
    }
    text.push_str(&approval_text(ui, place, state)?);
    ui.print_long(&text)
}
