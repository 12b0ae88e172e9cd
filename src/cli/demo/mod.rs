//! `ubs demo`: a real application that comes broken, healed and booted before one's eyes.

mod set_up;
mod step;
mod tour;

use std::path::PathBuf;

use super::boot::{finish, person_text};
use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::progress::Progress;
use super::render::{self, Tone};
use crate::domain::boot::BootState;
use crate::engine::{BootEnd, Until};
use step::say;

/// Unpack a real, broken example application, heal it, boot it, show what happened.
///
/// Needs Python 3 with venv, and the network for the packages that the application pins. Exit
/// code: 0 if the application came up, 1 if it did not, 2 if something that is needed is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to: a directory that is empty or does not exist
    #[arg(default_value = "ubs-demo", value_name = "DIR")]
    directory: PathBuf,
    /// Keep the application running in the foreground until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// The Python to make the virtual environment with [default: python3, then python, in PATH]
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    if global.names_a_place() {
        return Err(CliError::usage(
            "`ubs demo` brings its own workspace, manifest and state",
            "say where with `ubs demo DIR`, without -C, --manifest and --state",
        ));
    }
    let port = set_up::set_up(ui, &args.directory, args.python.as_deref())?;
    let place = AppPaths::of_workspace(&args.directory)?;
    say(ui, "boot it in mode resilient: check, heal, retry, start")?;
    let manifest = place.manifest()?;
    let until = if args.keep {
        Until::Stopped
    } else {
        // What was healed is closed when it is stable.
        Until::Stable
    };
    let mut progress = Progress::new(ui);
    let end = place
        .boot(manifest)?
        .until(until)
        .observe(|recorded, state| progress.show(recorded, state))
        .on_settled(|_| {
            let text = tour::tour(ui, port, args.keep);
            let _ = ui.print_unless_silent(&text);
        })
        .run()?;
    if ui.json || ui.quiet {
        return finish(ui, &end, false);
    }
    ui.print(&closing_words(ui, &args.directory, &end))?;
    Ok(if end.state.up_at.is_some() && end.is_good() {
        exit::GOOD
    } else {
        exit::BAD
    })
}

fn closing_words(ui: &Ui, directory: &std::path::Path, end: &BootEnd) -> String {
    let rule = ui.paint.tone(Tone::Accent, &render::rule(ui.width, '='));
    let mut text = format!(
        "\n{rule}\n{}\n{rule}\n",
        ui.paint.tone(Tone::Strong, "  WHAT HAPPENED")
    );
    text.push_str(&healed_text(ui, &end.state));
    text.push_str(&person_text(ui, &end.state));
    if end.state.up_at.is_none() {
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "\nThe application did not come up: ",
            Tone::Bad,
            &end.state.reason,
        ));
    }
    let dir = directory.display();
    text.push_str("\nLook around (the application need not run):\n");
    let ubs = own_name();
    for (command, what) in [
        ("replay last", "the whole boot, event by event"),
        ("health", "how it is, and why"),
        ("missions list --all", "what was broken, and what healed it"),
        (
            "boot",
            "boot it again, until Ctrl-C; what was healed stays healed",
        ),
    ] {
        text.push_str(&format!("  {ubs} -C {dir} {command}\n      {what}\n"));
    }
    text
}

/// How this program is called: by its name if that is found in `PATH`, else by its path.
fn own_name() -> String {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join("ubs").is_file())
    });
    match std::env::current_exe() {
        Ok(program) if !found => {
            let here = std::env::current_dir().unwrap_or_default();
            let shorter = program.strip_prefix(&here).unwrap_or(&program);
            shorter.display().to_string()
        }
        _ => "ubs".to_owned(),
    }
}

fn healed_text(ui: &Ui, state: &BootState) -> String {
    let healed: Vec<_> = state.missions.iter().filter(|m| m.closed).collect();
    if healed.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "Healed in {}:\n",
        render::count(state.attempt as usize, "attempt")
    );
    for mission in healed {
        text.push_str(&render::labelled(
            ui.paint,
            ui.width,
            "  ✓ ",
            Tone::Good,
            &format!("{}: {}", mission.slug, mission.error),
        ));
    }
    text
}
