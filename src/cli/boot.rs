//! `ubs boot`: check, heal, start the layers, supervise.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::context::{AppPaths, CliError, Ui, find_boot, supervisor_lives};
use super::exit;
use super::fixes::lines_between;
use super::options::{Chosen, Global};
use super::preflight::check_json;
use super::progress::Progress;
use super::render::{self, Tone};
use super::screen::Screen;
use crate::domain::boot::{BootState, Outcome};
use crate::domain::event::{HealOutcome, Mode};
use crate::domain::finding::Decision;
use crate::domain::healing::OFFERED;
use crate::domain::health::Health;
use crate::domain::ids::{At, BootId, Seq};
use crate::engine::{BootEnd, Until, supervisor_of};
use crate::log::now;
use crate::manifest::{Environment, Manifest};

/// Time between two looks at a boot that runs in the background.
const POLL: Duration = Duration::from_millis(50);

/// Check, heal, start the layers, and supervise; Ctrl-C stops everything in order.
///
/// Exit code: 0 the system was up and was stopped as asked, or is done, 1 NO-GO or it failed, 3 it was up
/// degraded (with --strict); that of a service with `on_end = "stop"` if its end stopped the boot.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// How much the boot does
    #[arg(long, value_enum, default_value_t = ModeArg::Resilient)]
    mode: ModeArg,
    /// Check before a layered boot too
    #[arg(long)]
    preflight: bool,
    /// Supervise in the background; return when the system is up and stable and nothing is left to heal
    #[arg(long)]
    detach: bool,
    /// Stop everything as soon as the system is up and stable and nothing is left to heal (for tests and CI)
    #[arg(long, conflicts_with = "detach")]
    until_up: bool,
    /// As --until-up, and with --detach too, but do not wait for services that are ready to be stable
    #[arg(long)]
    until_ready: bool,
    /// Exit with 3 if something optional is missing, or no check looked at anything
    #[arg(long)]
    strict: bool,
    /// Do not show what the services print
    #[arg(long)]
    no_output: bool,
    /// Begin anew with the database of this `[[schema]]`, although it is empty or another one than the last boot's
    #[arg(long, value_name = "NAME")]
    accept_new_database: Vec<String>,
}

/// A mode on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ModeArg {
    /// No pre-flight; the first error ends the boot
    Fast,
    /// Layers, boundaries, graceful degradation; no pre-flight (--preflight adds it), no healing
    Layered,
    /// Pre-flight, healing, retries, continuous validation
    Resilient,
}

impl ModeArg {
    fn mode(self) -> Mode {
        match self {
            Self::Fast => Mode::Fast,
            Self::Layered => Mode::Layered,
            Self::Resilient => Mode::Resilient,
        }
    }
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let mut manifest = place.manifest()?;
    args.chosen.apply(&mut manifest)?;
    for name in &args.accept_new_database {
        accept_new_database(&place, &manifest, name)?;
    }
    if args.preflight && args.mode == ModeArg::Fast {
        return Err(CliError::usage(
            "--preflight does not go with --mode fast, which checks nothing",
            "use --mode layered --preflight, or --mode resilient",
        ));
    }
    if args.detach {
        return detach(ui, &place, &args);
    }
    let until = match (args.until_ready, args.until_up) {
        (true, _) => Until::Settled,
        (_, true) => Until::Stable,
        (false, false) => Until::Stopped,
    };
    say_fixes_since_last_boot(ui, &place)?;
    let screen = Screen::to(std::io::stdout()).map_err(CliError::Output)?;
    let mut progress = Progress::to(ui, |text| screen.say(text));
    let is_shown = !args.no_output && !ui.json && !ui.quiet;
    let onlooker = is_shown.then(|| {
        let services = manifest.layers.iter().flat_map(|layer| &layer.services);
        let names: Vec<&str> = services.map(|service| service.name.as_str()).collect();
        screen.onlooker(ui.paint, &names)
    });
    let ended = place
        .boot(manifest)?
        .mode(args.mode.mode())
        .preflight(args.preflight)
        .until(until)
        .observe(|recorded, state| progress.show(recorded, state))
        .show_output(onlooker)
        .on_settled(|state| settled(ui, &screen, state, until))
        .run();
    drop(progress);
    screen.finish();
    finish(ui, &ended?, args.strict)
}

/// What was applied since the last boot, by a worker or a person: this boot is the first to run with it.
fn say_fixes_since_last_boot(ui: &Ui, place: &AppPaths) -> Result<(), CliError> {
    let reader = match place.reader() {
        Ok(Some(reader)) => reader,
        // The boot itself says what is wrong with the log.
        Ok(None) | Err(_) => return Ok(()),
    };
    let Ok(last) = reader.boots(1) else {
        return Ok(());
    };
    let after = last.first().map_or(Seq(0), |last| last.seq_last);
    for fix in lines_between(&reader, after, Seq(u64::MAX)).unwrap_or_default() {
        if !ui.json && !ui.quiet {
            let label = "[FIX] ";
            let text = format!("applied since the last boot: {fix}");
            ui.print(&render::labelled(
                ui.paint,
                ui.width,
                label,
                Tone::Good,
                &text,
            ))?;
        }
    }
    Ok(())
}

/// Notes that a database may be empty or new, for this boot and until one was up with it.
fn accept_new_database(place: &AppPaths, manifest: &Manifest, name: &str) -> Result<(), CliError> {
    let Some(schema) = manifest.schemas.iter().find(|schema| schema.name == name) else {
        let known: Vec<&str> = manifest.schemas.iter().map(|s| s.name.as_str()).collect();
        return Err(CliError::usage(
            format!(
                "--accept-new-database: the manifest has no [[schema]] named {name:?}{}",
                match known.as_slice() {
                    [] => String::new(),
                    known => format!("; it has {}", known.join(", ")),
                }
            ),
            "give the `name` of a [[schema]] of the manifest",
        ));
    };
    let environment = Environment::load(
        manifest,
        &manifest.workspace,
        AppPaths::process_env().into_iter(),
    )
    .map_err(|error| CliError::usage(error.to_string(), "correct the environment file"))?;
    let url = environment.expand_url(&schema.database).map_err(|error| {
        CliError::usage(
            format!("--accept-new-database: the URL of database {name} is not known: {error}"),
            "set the variable, or correct `database` in the manifest",
        )
    })?;
    // Makes the state directory, for us alone.
    drop(place.open_log()?);
    crate::fix::accept_new_database(&place.state_dir, name, &url).map_err(|error| {
        CliError::usage(
            format!("cannot write to {}: {error}", place.state_dir.display()),
            "give a directory that may be written with --state DIR",
        )
    })
}

/// Prints how the boot ended; gives the exit code.
pub(super) fn finish(ui: &Ui, end: &BootEnd, strict: bool) -> Result<u8, CliError> {
    if ui.json {
        ui.print_json(&boot_json(end.boot, &end.state))?;
    } else if ui.quiet {
        let word = end.state.outcome.map_or("running", Outcome::as_str);
        let degraded = if end.state.degraded {
            ", was up degraded"
        } else {
            ""
        };
        ui.print(&format!("{word}{degraded}\n"))?;
    } else {
        ui.print(&person_text(ui, &end.state))?;
    }
    Ok(code_of(&end.state, strict))
}

fn code_of(state: &BootState, strict: bool) -> u8 {
    if let (Some(code), Some(Outcome::Stopped)) = (state.exit_code, state.outcome) {
        return u8::try_from(code).unwrap_or(exit::BAD);
    }
    let good = match state.outcome {
        // What the application needs, and was given up or skipped, is no good end either.
        Some(Outcome::Stopped) | None => {
            state.up_at.is_some()
                && state.critical_layer_failure().is_none()
                && !state.is_needed_skipped()
        }
        Some(Outcome::Failed | Outcome::Interrupted) => false,
    };
    let is_unproven = state.decision == Some(Decision::GoUnproven);
    match (good, (state.degraded || is_unproven) && strict) {
        (false, _) => exit::BAD,
        (true, true) => exit::DEGRADED,
        (true, false) => exit::GOOD,
    }
}

fn settled(ui: &Ui, screen: &Screen, state: &BootState, until: Until) {
    if ui.json || ui.quiet || until != Until::Stopped {
        return;
    }
    let text = person_text(ui, state);
    screen.say(format!(
        "{text}{}\n",
        ui.paint
            .tone(Tone::Dim, "supervising; Ctrl-C stops everything in order")
    ));
}

/// What a person must still do.
pub(super) fn person_text(ui: &Ui, state: &BootState) -> String {
    let mut text = String::new();
    for mission in state.missions.iter().filter(|m| !m.closed) {
        let todo = match mission.outcome {
            Some(HealOutcome::NeedsPerson) if mission.reason.starts_with(OFFERED) => {
                mission.reason.as_str()
            }
            Some(HealOutcome::NeedsPerson) => "needs a person",
            Some(HealOutcome::AwaitingApproval) => "waits for your approval",
            Some(HealOutcome::Rejected) => "no fix held so far",
            None if state.outcome == Some(Outcome::Failed) => "is not healed",
            _ => continue,
        };
        if text.is_empty() {
            text.push_str("\nLeft for a person:\n");
        }
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "  ! ",
            Tone::Warn,
            &format!("{} {todo}: {}", mission.slug, mission.error),
        ));
        let advice = match mission.outcome {
            Some(HealOutcome::NeedsPerson) | None => mission.remedy.as_deref(),
            _ => Some(mission.reason.as_str()),
        };
        if let Some(advice) = advice.filter(|advice| !advice.is_empty()) {
            text.push_str(&render::labelled(
                ui.paint,
                ui.width,
                "    → ",
                Tone::Accent,
                advice,
            ));
        }
    }
    text
}

/// A boot as programs read it.
pub(super) fn boot_json(boot: BootId, state: &BootState) -> Value {
    let end = state.ended_at.unwrap_or(state.updated_at);
    let ms = |at: At| at.ms_since(state.started_at);
    json!({
        "boot_id": boot,
        "app": state.app,
        "mode": state.plan.mode,
        "phase": state.phase.as_str(),
        "outcome": state.outcome,
        "decision": state.decision.map(Decision::as_str),
        "degraded": state.degraded,
        "exit_code": state.exit_code,
        "attempts": state.attempt,
        "reason": state.reason,
        "started_at": state.started_at,
        "up_at": state.up_at,
        "ended_at": state.ended_at,
        "up_after_ms": state.up_at.map(ms),
        "duration_ms": ms(end),
        "checks": state.reports.values().map(check_json).collect::<Vec<_>>(),
        "layers": Health::of(boot, state, None, 0, 0).layers,
        "missions": state.missions.iter().map(|mission| json!({
            "mission_id": mission.id,
            "slug": mission.slug,
            "critical": mission.critical,
            "layer": mission.layer,
            "error": mission.error,
            "outcome": mission.outcome,
            "remedy": mission.remedy,
            "reason": mission.reason,
            "closed": mission.closed,
        })).collect::<Vec<_>>(),
    })
}

/// Starts the same boot in a session of its own, and waits until it is up or over.
fn detach(ui: &Ui, place: &AppPaths, args: &Args) -> Result<u8, CliError> {
    if let Some(running) = supervisor_of(&place.state_dir) {
        return Err(CliError::usage(
            format!(
                "{} is already supervised here by process {}",
                running.app, running.process.pid
            ),
            "`ubs status` shows it, `ubs stop` stops it",
        ));
    }
    // Made (and found to be ours) before anything runs in the background.
    drop(place.open_log()?);
    let output = place.state_dir.join("supervisor.log");
    let begun = now();
    let mut child = start_in_background(place, args, &output).map_err(|error| {
        CliError::usage(
            format!("cannot start the supervisor in the background: {error}"),
            "try without --detach",
        )
    })?;
    let reader = place.existing_reader()?;
    let mine = loop {
        let ended = child.try_wait().ok().flatten().is_some();
        let newest = reader.last_boot()?;
        if let Some(boot) = newest
            && let Some(state) = reader.boot(boot)?
            && state.started_at >= begun
        {
            break Some(boot);
        }
        if ended {
            break None;
        }
        std::thread::sleep(POLL);
    };
    let Some(boot) = mine else {
        let said = std::fs::read_to_string(&output).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        return Err(CliError::usage(
            format!(
                "the supervisor ended before it began: {}",
                last.unwrap_or("it said nothing")
            ),
            format!("see {}", output.display()),
        ));
    };
    if !ui.json && !ui.quiet {
        ui.print(&format!("boot {boot} runs in the background\n"))?;
    }
    wait_until_settled(ui, place, boot, args)
}

fn start_in_background(
    place: &AppPaths,
    args: &Args,
    output: &Path,
) -> std::io::Result<std::process::Child> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(output)?;
    let mode = args.mode.mode();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(place.as_arguments())
        .args(["--color", "never", "boot", "--mode", mode.as_str()])
        .args(args.preflight.then_some("--preflight"))
        // Nobody reads it there, and `ubs logs` has it.
        .arg("--no-output")
        .args(args.chosen.as_arguments())
        .env_remove("UBS_PROFILES")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    crate::kernel::in_new_session(&mut command);
    command.spawn()
}

fn wait_until_settled(
    ui: &Ui,
    place: &AppPaths,
    boot: BootId,
    args: &Args,
) -> Result<u8, CliError> {
    let reader = place.existing_reader()?;
    let boot = find_boot(&reader, &boot.to_string())?;
    loop {
        let state = reader.boot(boot)?.unwrap_or_default();
        let over = state.is_ended() || !supervisor_lives(&state);
        let enough = args.until_ready || state.is_stable();
        if over || enough && crate::engine::is_settled(&state) {
            if ui.json {
                ui.print_json(&boot_json(boot, &state))?;
            } else {
                let health = Health::of(boot, &state, Some(!over), 0, 0);
                ui.print(&super::health::text(ui, &health, None))?;
                ui.print(&person_text(ui, &state))?;
                if !over {
                    ui.note(
                        "`ubs status` shows it, `ubs logs SERVICE` its output, `ubs stop` stops it",
                    );
                }
            }
            return Ok(if over && !state.is_ended() {
                exit::BAD
            } else {
                code_of(&state, args.strict)
            });
        }
        std::thread::sleep(POLL);
    }
}
