//! One mission: in a few lines, or in full.

use super::super::context::{CliError, Place, Ui};
use super::super::render::{self, Tone};
use crate::domain::mission::{Change, MissionState, MissionStatus};
use crate::domain::remedy::MigrationTool;
use crate::fix::shown_files;

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

/// Lines of a change that are shown; with --json it is shown whole.
const CHANGE_LINES_MAX: usize = 60;

/// One change of a proposal: whoever approves it has to see it.
pub(super) fn change_text(ui: &Ui, change: &Change) -> String {
    let (head, body) = match change {
        Change::Insert {
            path, offset, text, ..
        } => (format!("insert into {path} at byte {offset}"), text.clone()),
        Change::Write { path, before, text } => {
            let verb = if before.is_some() {
                "replace"
            } else {
                "create"
            };
            (format!("{verb} {path}"), text.clone())
        }
        Change::SetVariable { path, name, value } => {
            (format!("set {name} in {path}"), format!("{name}={value}"))
        }
        Change::GenerateSecret { path, name, bytes } => (
            format!("set {name} in {path} to {bytes} random bytes that nobody sees"),
            String::new(),
        ),
        Change::Sql { schema, statements } => {
            (format!("run on database {schema}"), statements.join(";\n"))
        }
        Change::Migrate {
            schema,
            tool,
            target,
        } => {
            let tool = match tool {
                MigrationTool::Alembic => "alembic upgrade",
                MigrationTool::Flask => "flask db upgrade",
                MigrationTool::Django => "django migrate",
            };
            (
                format!(
                    "run the application's migrations on database {schema} ({tool}, to {target})"
                ),
                String::new(),
            )
        }
    };
    let mut text = render::labelled(ui.paint, ui.width, "    change: ", Tone::Dim, &head);
    let body = crate::domain::redact::sanitise(&body);
    for line in body.lines().take(CHANGE_LINES_MAX) {
        text.push_str(&ui.paint.tone(Tone::Good, &format!("      + {line}")));
        text.push('\n');
    }
    let more = body.lines().count().saturating_sub(CHANGE_LINES_MAX);
    if more > 0 {
        text.push_str(&format!("      ... {more} more lines (--json shows all)\n"));
    }
    text
}

pub(super) fn show(ui: &Ui, place: &Place, state: &MissionState) -> Result<(), CliError> {
    let files = shown_files(&place.workspace, state);
    if ui.json {
        let mut document = serde_json::to_value(state).map_err(|e| CliError::Output(e.into()))?;
        document["files"] = serde_json::json!(files);
        return ui.print_json(&document);
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
    ui.print(&text)
}
