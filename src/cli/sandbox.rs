//! `ubs sandbox`: what a trial sees and may do, for whoever wants to look for himself.

use std::io::Write;

use serde::Serialize;
use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use crate::domain::event::ExitKind;
use crate::fix::run_in_trial;
use crate::kernel::{ScratchDirectory, sweep_scratch};
use crate::manifest::SandboxLimits;
use crate::sandbox::{Isolation, host_isolation};

/// Exit code for a command that took too long or used too much, as timeout(1) has it.
const ENDED: u8 = 124;
/// What the names of our temporary directories begin with.
const SCRATCH: &str = "ubs-sandbox-";
/// Added to the number of a signal, as shells do.
const SIGNAL_BASE: i32 = 128;

/// Run a command in the sandbox, or show what this host isolates.
///
/// The command sees what a trial of an unapproved fix sees: a copy of the workspace at its own path, clones of its
/// databases, dummies in the place of secrets, no network. Nothing that it writes stays.
///
/// Exit code: that of the command, 128 and the number of the signal that ended it, 124 if it took too long or used too
/// much; with --report 0, or 1 if the host does not give what `heal.sandbox.require` asks for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what this host isolates, and what not
    #[arg(long)]
    report: bool,
    /// Seconds until the command is ended; default: `time` of heal.sandbox.limits
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD", required_unless_present = "report")]
    command: Vec<String>,
}

#[derive(Serialize)]
struct ReportDocument {
    own_root: bool,
    isolated: Vec<String>,
    lines: Vec<String>,
    missing: Vec<String>,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    if args.command.is_empty() {
        return report(ui, &place);
    }
    let manifest = place.manifest()?;
    let temporary = std::env::temp_dir();
    sweep_scratch(&temporary, SCRATCH);
    let directory = ScratchDirectory::new_in(&temporary, SCRATCH).map_err(|error| {
        CliError::usage(
            format!("cannot make a temporary directory: {error}"),
            "see to it that $TMPDIR (or /tmp) can be written and has room",
        )
    })?;
    let timeout_ms = args
        .timeout
        .map_or(manifest.heal.sandbox_limits.time_ms, |seconds| {
            seconds * 1000
        });
    let outcome = run_in_trial(
        &manifest,
        &AppPaths::process_env(),
        &directory.path().join("trial"),
        &place.state_dir,
        args.command,
        timeout_ms,
    )?;
    let is_ended = outcome.timed_out || outcome.exceeded.is_some();
    if ui.json {
        ui.print_json(&json!({
            "exit": outcome.exit.to_string(),
            "timed_out": outcome.timed_out,
            "exceeded": outcome.exceeded,
            "duration_ms": outcome.duration_ms,
            "stdout": String::from_utf8_lossy(&outcome.stdout),
            "stderr": String::from_utf8_lossy(&outcome.stderr),
            "isolation": outcome.isolation.lines,
        }))?;
    } else {
        // As it is: these are the command's own words.
        let _ = std::io::stdout().write_all(&outcome.stdout);
        let _ = std::io::stderr().write_all(&outcome.stderr);
        if outcome.timed_out {
            ui.note(&format!("the command was ended after {timeout_ms} ms"));
        }
        if let Some(what) = &outcome.exceeded {
            ui.note(&format!(
                "the command was ended: it used {what} (`heal.sandbox.limits` in the manifest)"
            ));
        }
    }
    Ok(match outcome.exit {
        _ if is_ended => ENDED,
        ExitKind::Code(code) => u8::try_from(code).unwrap_or(exit::BAD),
        ExitKind::Signal(signal) => u8::try_from(SIGNAL_BASE + signal).unwrap_or(exit::BAD),
        ExitKind::Unknown => exit::BAD,
    })
}

fn report(ui: &Ui, place: &AppPaths) -> Result<u8, CliError> {
    // Without a manifest, what is there by default.
    let (limits, required) = match &place.manifest {
        Some(_) => {
            let heal = place.manifest()?.heal;
            (heal.sandbox_limits, heal.sandbox_require)
        }
        None => (SandboxLimits::default(), Vec::new()),
    };
    let Isolation {
        lines,
        isolated,
        has_own_root,
    } = host_isolation(limits);
    let missing: Vec<String> = required
        .into_iter()
        .filter(|name| !isolated.contains(name))
        .collect();
    let code = if missing.is_empty() {
        exit::GOOD
    } else {
        exit::BAD
    };
    if ui.json {
        ui.print_json(&ReportDocument {
            own_root: has_own_root,
            isolated,
            lines,
            missing,
        })?;
        return Ok(code);
    }
    let mut text = lines.join("\n");
    text.push('\n');
    if !missing.is_empty() {
        let line = format!(
            "required by heal.sandbox.require and missing: {}\n",
            missing.join(", ")
        );
        text.push_str(&line);
    }
    ui.print(&text)?;
    Ok(code)
}
