//! `ubs fixes`: what was applied, by whom, with what proof, and where it stands.

use clap::Subcommand;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use crate::domain::ids::Seq;
use crate::domain::mission::{Fix, FixStatus};
use crate::fix::{keep_fix, made_by, undo_fix};
use crate::log::{Missions, Reader, read_fixes};

/// List the fixes that were applied, look at one, take one back.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<FixesCommand>,
}

#[derive(Debug, Subcommand)]
enum FixesCommand {
    /// List them, oldest first
    List,
    /// Show one: what it changed, who made it, what proved it
    Show {
        /// Which one: its number, or the slug of its mission
        fix: String,
    },
    /// Keep what one changed, to be tried first when the same failure is met again
    ///
    /// It is proved anew then, and policy for its risk decides as it did the first time.
    Keep {
        /// Which one: its number, or the slug of its mission
        fix: String,
        /// Who does so
        #[arg(long, default_value = "a person")]
        by: String,
    },
    /// Take one on probation back: files as they were, databases if nobody has written to them since
    Undo {
        /// Which one: its number, or the slug of its mission
        fix: String,
        /// Who does so
        #[arg(long, default_value = "a person")]
        by: String,
        /// Why
        #[arg(long, default_value = "as asked")]
        reason: String,
    },
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    match args.command.unwrap_or(FixesCommand::List) {
        FixesCommand::List => list(ui, &place),
        FixesCommand::Show { fix } => {
            let fix = find(&place.existing_reader()?, &fix)?;
            if ui.json {
                ui.print_json(&fix)?;
            } else {
                ui.print(&in_full(ui, &fix))?;
            }
            Ok(exit::GOOD)
        }
        FixesCommand::Keep { fix, by } => keep(ui, &place, &fix, &by),
        FixesCommand::Undo { fix, by, reason } => undo(ui, &place, &fix, &by, &reason),
    }
}

fn list(ui: &Ui, place: &AppPaths) -> Result<u8, CliError> {
    let fixes = match place.reader()? {
        Some(reader) => read_fixes(&reader, None)?,
        None => Vec::new(),
    };
    if ui.json {
        ui.print_json(&fixes)?;
        return Ok(exit::GOOD);
    }
    if fixes.is_empty() {
        ui.note("no fix was ever applied here");
    }
    for fix in &fixes {
        ui.print(&summary(ui, fix))?;
    }
    Ok(exit::GOOD)
}

fn keep(ui: &Ui, place: &AppPaths, name: &str, by: &str) -> Result<u8, CliError> {
    let fix = find(&place.existing_reader()?, name)?;
    if matches!(fix.status, FixStatus::TakenBack | FixStatus::Undone) {
        return Err(CliError::usage(
            format!("fix {} was taken back: {}", fix.id, fix.reason),
            "keep a fix that is in the workspace (`ubs fixes`)",
        ));
    }
    if let Some(who) = made_by(&fix) {
        return Err(CliError::usage(
            format!(
                "fix {} is not kept: {who} made it, and makes it anew when the same failure is met",
                fix.id
            ),
            "keep a fix of an agent or a person (`ubs fixes` says whose each is)",
        ));
    }
    let path = keep_fix(&place.state_dir, &fix, by).map_err(|error| {
        CliError::failed(
            format!("cannot keep fix {}: {error}", fix.id),
            "see to it that the state directory can be written",
        )
    })?;
    // The log has no event of it: it decides nothing before it is proved again.
    if ui.json {
        let kept = path.display().to_string();
        ui.print_json(&serde_json::json!({ "fix": fix.id, "kept": kept }))?;
        return Ok(exit::GOOD);
    }
    ui.print(&render::labelled(
        ui.paint,
        ui.width,
        "[KEPT] ",
        Tone::Good,
        &format!(
            "fix {} of {}: tried first when the same failure is met again; remove {} to forget it",
            fix.id,
            fix.slug,
            path.display()
        ),
    ))?;
    Ok(exit::GOOD)
}

fn undo(ui: &Ui, place: &AppPaths, name: &str, by: &str, reason: &str) -> Result<u8, CliError> {
    let fix = find(&place.existing_reader()?, name)?;
    let missions = Missions::new(place.open_log()?);
    let done = undo_fix(
        &place.workspace,
        &place.state_dir,
        &missions,
        &fix,
        by,
        reason,
    )?;
    let fix = find(&place.existing_reader()?, &fix.id.to_string())?;
    if ui.json {
        ui.print_json(&fix)?;
        return Ok(exit::GOOD);
    }
    ui.print(&render::labelled(
        ui.paint,
        ui.width,
        "[TAKEN BACK] ",
        Tone::Warn,
        &format!("fix {} of {}: {done}", fix.id, fix.slug),
    ))?;
    ui.note("a running boot starts affected services again, unless `heal.restart` is \"never\"");
    Ok(exit::GOOD)
}

fn find(reader: &Reader, name: &str) -> Result<Fix, CliError> {
    let help = "`ubs fixes` lists the fixes with their numbers";
    let fixes = read_fixes(reader, None)?;
    let number = name.trim_start_matches('#').parse::<u64>().ok().map(Seq);
    // Of several fixes of one mission the last.
    let found = fixes
        .into_iter()
        .rev()
        .find(|fix| Some(fix.id) == number || fix.slug == name);
    found.ok_or_else(|| CliError::Absent {
        message: format!("there is no fix `{name}`"),
        help: help.to_owned(),
    })
}

fn words_of(status: FixStatus) -> (&'static str, Tone) {
    match status {
        FixStatus::Probation => ("on probation", Tone::Accent),
        FixStatus::Blessed => ("blessed", Tone::Good),
        FixStatus::TakenBack => ("taken back", Tone::Warn),
        FixStatus::Undone => ("undone", Tone::Warn),
    }
}

fn summary(ui: &Ui, fix: &Fix) -> String {
    let (word, tone) = words_of(fix.status);
    let mut text = format!(
        "{:>5}  {}  {}  {}\n",
        fix.id.to_string(),
        render::moment(fix.applied_at),
        ui.paint.tone(Tone::Strong, &render::cut(&fix.slug, 50)),
        ui.paint.tone(tone, word),
    );
    let dim = |text: &mut String, label: &str, said: &str| {
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            label,
            Tone::Dim,
            said,
        ));
    };
    dim(
        &mut text,
        "       ",
        &format!("{} ({}, by {})", fix.summary, fix.fixer, author(fix)),
    );
    if !fix.reason.is_empty() {
        dim(&mut text, "       · ", &fix.reason);
    }
    text
}

fn author(fix: &Fix) -> String {
    match &fix.approved_by {
        Some(by) => format!("{}, approved by {by}", fix.worker),
        None => fix.worker.clone(),
    }
}

fn in_full(ui: &Ui, fix: &Fix) -> String {
    let mut text = summary(ui, fix);
    let mut say = |label: &str, said: &str| {
        let label = format!("    {label}: ");
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            &label,
            Tone::Dim,
            said,
        ));
    };
    say("failure", &fix.failure);
    say("signature", &fix.signature.0);
    say("mission", &fix.mission.to_string());
    say("risk", fix.risk.as_str());
    match fix.boot {
        Some(boot) => say("applied in boot", &boot.to_string()),
        None => say("applied", "between two boots"),
    }
    for file in &fix.files {
        let verb = if file.before.is_some() {
            "changed"
        } else {
            "made"
        };
        say("file", &format!("{} ({verb})", file.path));
    }
    for database in &fix.databases {
        say("database", database);
    }
    if let Some(proof) = &fix.proof {
        say("proof", &proof.reason);
        for check in &proof.checks {
            let (before, after) = (check.before.as_str(), check.after.as_str());
            say("check", &format!("{}: {before} → {after}", check.check));
        }
    }
    if fix.status == FixStatus::Probation {
        say("take it back", &format!("`ubs fixes undo {}`", fix.id));
    }
    text
}

/// The fixes that were applied after event `after` and before event `before`, outside of any boot: one line each.
pub(super) fn lines_between(
    reader: &Reader,
    after: Seq,
    before: Seq,
) -> Result<Vec<String>, CliError> {
    let fixes = read_fixes(reader, None)?.into_iter();
    let between = fixes.filter(|fix| fix.id > after && fix.id < before && fix.boot.is_none());
    Ok(between.map(|fix| line(&fix)).collect())
}

/// A fix in one line, as a timeline and a difference say it.
pub(super) fn line(fix: &Fix) -> String {
    format!(
        "fix {} of {} ({}): {}",
        fix.id,
        fix.slug,
        author(fix),
        fix.summary
    )
}
