//! `ubs missions`: the queue, for people and for programs that fix.

use std::io::Read;
use std::path::PathBuf;

use serde_json::json;

use super::render::{self, Tone};
use super::worker::{word_of, worked_json, worker_at};
use super::{CliError, Global, Place, Ui, exit};
use crate::domain::event::{HealOutcome, Verdict};
use crate::domain::ids::MissionId;
use crate::domain::mission::{
    Change, Failure, MigrationTool, MissionCommand, MissionState, MissionStatus, Proposal,
    SignedFailure,
};
use crate::domain::redact::Redactor;
use crate::domain::signature::sign_layer_failure;
use crate::fix::{Worked, parse_proposal};
use crate::log::Missions;

/// Longest text that a caller may file, bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The missions: list, show, and work on them.
///
/// A mission is named by its slug, its id, or the beginning of its id.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<MissionsCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum MissionsCommand {
    /// List the open missions (this is what `ubs missions` does)
    List {
        /// The closed ones too
        #[arg(long)]
        all: bool,
    },
    /// Show one mission in full
    Show {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
    },
    /// File a mission for a failure that ubs did not see itself
    File {
        /// What failed: a layer, a service, a component
        #[arg(long)]
        subject: String,
        /// What happened, in one sentence
        #[arg(long)]
        error: String,
        /// The layer that waits for it
        #[arg(long)]
        layer: Option<String>,
        /// A file with the traceback or log, `-` for standard input
        #[arg(long, value_name = "FILE")]
        traceback: Option<PathBuf>,
    },
    /// Take a mission, or the oldest that can be taken
    Claim {
        /// Which one [default: the oldest that can be taken]
        mission: Option<String>,
        #[command(flatten)]
        worker: WorkerArg,
        #[command(flatten)]
        lease: LeaseArg,
    },
    /// Hold a claimed mission longer
    Heartbeat {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        #[command(flatten)]
        lease: LeaseArg,
    },
    /// Propose a fix as JSON: it is tried in the sandbox, and applied if it holds and policy allows
    Propose {
        /// Which one (slug or id); it must be claimed by the same worker
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// The file with the proposal
        #[arg(long, value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Close a mission that was fixed by hand, if its check no longer reports the failure
    Complete {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// How it was fixed
        #[arg(long, default_value = "fixed by hand")]
        resolution: String,
    },
    /// Say that a claimed mission could not be fixed; it is tried again later, or needs a person
    Fail {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// Why not
        #[arg(long)]
        reason: String,
    },
    /// Approve a fix that was proved and waits for it; it is proved once more and applied
    Approve {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        /// Who approves
        #[arg(long, default_value = "a person")]
        by: String,
    },
    /// Decline a fix that waits for approval
    Reject {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Who declines
        #[arg(long, default_value = "a person")]
        by: String,
    },
    /// Give a claimed mission back untouched
    Release {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// Why
        #[arg(long, default_value = "given back")]
        reason: String,
    },
    /// Put a mission that needs a person back into the queue
    Requeue {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        /// Who does so
        #[arg(long, default_value = "a person")]
        by: String,
    },
}

#[derive(Debug, clap::Args)]
struct WorkerArg {
    /// Name of the worker, the same from claim to end
    #[arg(
        long,
        value_name = "NAME",
        env = "UBS_WORKER",
        default_value = "a person"
    )]
    worker: String,
}

#[derive(Debug, clap::Args)]
struct LeaseArg {
    /// Seconds that the mission is held without a heartbeat
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    lease: u64,
}

impl LeaseArg {
    fn ms(&self) -> u64 {
        self.lease.saturating_mul(1_000)
    }
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    use MissionsCommand as C;
    let place = Place::find(global)?;
    match args.command.unwrap_or(C::List { all: false }) {
        C::List { all } => list(ui, &place, all),
        C::Show { mission } => {
            let reader = place.existing_reader()?;
            let state = reader.find_mission(&mission)?;
            show(ui, &state)?;
            Ok(exit::GOOD)
        }
        C::File {
            subject,
            error,
            layer,
            traceback,
        } => file(ui, &place, subject, error, layer, traceback),
        C::Claim {
            mission,
            worker,
            lease,
        } => claim(ui, &place, mission, worker.worker, lease.ms()),
        C::Heartbeat {
            mission,
            worker,
            lease,
        } => {
            let command = MissionCommand::Heartbeat {
                worker: worker.worker,
                lease_ms: lease.ms(),
            };
            command_mission(ui, &place, &mission, command)
        }
        C::Propose {
            mission,
            worker,
            file,
        } => propose(ui, &place, &mission, &worker.worker, &file),
        C::Complete {
            mission,
            worker,
            resolution,
        } => {
            let (by, missions) = worker_at(&place, &worker.worker)?;
            let state = missions.find(&mission)?;
            let id = id_of(&state)?;
            let worked = by.complete(id, &clean(&place, &resolution)?)?;
            if worked.outcome == HealOutcome::Rejected && !ui.json {
                ui.print(&render::labelled(
                    ui.paint,
                    ui.width,
                    "[NOT CLOSED] ",
                    Tone::Bad,
                    &format!("{}: {}", state.slug, worked.reason),
                ))?;
                return Ok(exit::BAD);
            }
            report(ui, &state.slug, id, &worked, None)
        }
        C::Fail {
            mission,
            worker,
            reason,
        } => {
            let command = MissionCommand::GiveUp {
                worker: worker.worker,
                reason: clean(&place, &reason)?,
            };
            command_mission(ui, &place, &mission, command)
        }
        C::Approve { mission, by } => {
            let (worker, missions) = worker_at(&place, &by)?;
            let state = missions.find(&mission)?;
            let id = id_of(&state)?;
            let worked = worker.approve(id, &by)?;
            let code = report(ui, &state.slug, id, &worked, None)?;
            // Asked again: it is not what was approved.
            let is_applied = worked.outcome != HealOutcome::AwaitingApproval;
            Ok(if is_applied { code } else { exit::BAD })
        }
        C::Reject {
            mission,
            reason,
            by,
        } => {
            let reason = clean(&place, &reason)?;
            command_mission(ui, &place, &mission, MissionCommand::Decline { by, reason })
        }
        C::Release {
            mission,
            worker,
            reason,
        } => {
            let command = MissionCommand::Release {
                worker: worker.worker,
                reason: clean(&place, &reason)?,
            };
            command_mission(ui, &place, &mission, command)
        }
        C::Requeue { mission, by } => {
            command_mission(ui, &place, &mission, MissionCommand::Requeue { by })
        }
    }
}

/// Text of a caller, without secrets: those of the application where its manifest can be read.
fn clean(place: &Place, text: &str) -> Result<String, CliError> {
    Ok(redactor(place).clean(text, TEXT_BYTES_MAX))
}

fn redactor(place: &Place) -> Redactor {
    let secrets = place.manifest().ok().and_then(|manifest| {
        let environment = crate::manifest::Environment::load(
            &manifest,
            &manifest.workspace,
            Place::process_env().into_iter(),
        );
        Some(environment.ok()?.secret_values(&manifest))
    });
    Redactor::new(secrets.unwrap_or_default())
}

fn id_of(state: &MissionState) -> Result<MissionId, CliError> {
    state.id.ok_or_else(|| {
        CliError::usage(
            "the mission was never filed",
            "`ubs missions` lists the missions",
        )
    })
}

/// A queue that exists: commands on a mission make no new log.
fn queue(place: &Place) -> Result<Missions, CliError> {
    drop(place.existing_reader()?);
    Ok(Missions::new(place.open_log()?))
}

fn command_mission(
    ui: &Ui,
    place: &Place,
    name: &str,
    command: MissionCommand,
) -> Result<u8, CliError> {
    let missions = queue(place)?;
    let id = id_of(&missions.find(name)?)?;
    let state = missions.command(id, command)?;
    if ui.json {
        ui.print_json(&state)?;
    } else {
        ui.print(&summary(ui, &state))?;
    }
    Ok(exit::GOOD)
}

fn claim(
    ui: &Ui,
    place: &Place,
    mission: Option<String>,
    worker: String,
    lease_ms: u64,
) -> Result<u8, CliError> {
    let missions = queue(place)?;
    let claimed = match mission {
        Some(name) => {
            let id = id_of(&missions.find(&name)?)?;
            Some(missions.command(id, MissionCommand::Claim { worker, lease_ms })?)
        }
        None => missions.claim_next(&worker, lease_ms)?,
    };
    match claimed {
        Some(state) if state.status == MissionStatus::Claimed => {
            show(ui, &state)?;
            Ok(exit::GOOD)
        }
        Some(state) => {
            show(ui, &state)?;
            Ok(exit::BAD)
        }
        None => {
            if ui.json {
                ui.print_json(&serde_json::Value::Null)?;
            } else {
                ui.note("no mission can be taken now");
            }
            Ok(exit::BAD)
        }
    }
}

fn propose(
    ui: &Ui,
    place: &Place,
    name: &str,
    worker: &str,
    file: &std::path::Path,
) -> Result<u8, CliError> {
    let text = read_text(file)?;
    let (by, missions) = worker_at(place, worker)?;
    let state = missions.find(name)?;
    let id = id_of(&state)?;
    let proposal: Proposal = parse_proposal(&text, worker, &place.workspace)
        .map_err(|error| CliError::usage(error.to_string(), "docs/missions.md has an example"))?;
    let (worked, verdict) = by.offer(id, proposal)?;
    report(ui, &state.slug, id, &worked, verdict.as_ref())
}

/// What came of work on a mission. Exit code 0 if the mission moved on, 1 if the fix does not hold.
fn report(
    ui: &Ui,
    slug: &str,
    id: MissionId,
    worked: &Worked,
    verdict: Option<&Verdict>,
) -> Result<u8, CliError> {
    if ui.json {
        let mut document = worked_json(slug, id, worked);
        document["verdict"] = json!(verdict);
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

fn read_text(path: &std::path::Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text).map(drop))
    };
    match read {
        Ok(()) => Ok(text),
        Err(error) => Err(CliError::usage(
            format!("cannot read {}: {error}", path.display()),
            "give a file of UTF-8 text, or `-` for standard input",
        )),
    }
}

fn file(
    ui: &Ui,
    place: &Place,
    subject: String,
    error: String,
    layer: Option<String>,
    traceback: Option<PathBuf>,
) -> Result<u8, CliError> {
    let redactor = redactor(place);
    let clean = |text: &str| redactor.clean(text, TEXT_BYTES_MAX);
    let traceback = traceback
        .map(|path| read_text(&path))
        .transpose()?
        .map_or_else(String::new, |text| clean(&text));
    let (subject, error) = (clean(&subject), clean(&error));
    let signed = SignedFailure {
        signature: sign_layer_failure(layer.as_deref().unwrap_or(""), &subject, &error),
        failure: Failure {
            check: None,
            code: "reported.failure".to_owned(),
            subject,
            layer,
            critical: false,
            error,
            remedy: None,
            traceback,
            location: None,
            criteria: vec!["whoever filed it says that it is gone".to_owned()],
            fix: None,
            cause: None,
            facts: std::collections::BTreeMap::new(),
        },
    };
    let missions = Missions::new(place.open_log()?);
    let state = missions.file(signed.signature, signed.failure)?;
    if ui.json {
        ui.print_json(&state)?;
    } else {
        ui.print(&summary(ui, &state))?;
    }
    Ok(exit::GOOD)
}

fn list(ui: &Ui, place: &Place, all: bool) -> Result<u8, CliError> {
    let missions = match place.reader()? {
        Some(reader) => reader.missions(all)?,
        None => Vec::new(),
    };
    if ui.json {
        ui.print_json(&missions)?;
        return Ok(exit::GOOD);
    }
    if missions.is_empty() {
        ui.note(if all {
            "no mission was ever filed here"
        } else {
            "no open mission (the closed ones: `ubs missions list --all`)"
        });
    }
    for state in &missions {
        ui.print(&summary(ui, state))?;
    }
    Ok(exit::GOOD)
}

fn tone(status: MissionStatus) -> Tone {
    match status {
        MissionStatus::Closed | MissionStatus::Applied => Tone::Good,
        MissionStatus::Quarantined | MissionStatus::AwaitingApproval => Tone::Warn,
        MissionStatus::Rejected => Tone::Bad,
        _ => Tone::Accent,
    }
}

/// Two or three lines: where it stands, what failed, why it stands there.
fn summary(ui: &Ui, state: &MissionState) -> String {
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
fn todo(state: &MissionState) -> Option<String> {
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
fn change_text(ui: &Ui, change: &Change) -> String {
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

fn show(ui: &Ui, state: &MissionState) -> Result<(), CliError> {
    if ui.json {
        return ui.print_json(state);
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
        fact("code", &failure.code);
        fact("layer", failure.layer.as_deref().unwrap_or(""));
        for criterion in &failure.criteria {
            fact("fixed when", criterion);
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
