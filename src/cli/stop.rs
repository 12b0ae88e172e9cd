//! `ubs stop`: asks the supervisor to stop everything in order, or some services, and waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::{Global, length_of_time};
use super::steer::steer;
use crate::domain::event::ServiceOrder;
use crate::domain::words::count;
use crate::engine::{end_interrupted, supervisor_of};
use crate::kernel::{self, Signal};

/// Time between two looks at the supervisor.
const POLL: Duration = Duration::from_millis(50);

/// Stop the running system in order; end what a supervisor that died left running.
///
/// With services only these, by a person's wish: they stay stopped, whatever their restart policy says, until
/// `ubs start`. Exit code: 0 if nothing (of these) runs any more, 1 if it still runs after the time allowed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services; the rest goes on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// How long to wait for its end, as 500ms, 60s or 5m
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = length_of_time)]
    timeout: Duration,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    if !args.services.is_empty() {
        let within = Some(args.timeout);
        return steer(ui, &place, ServiceOrder::Stop, &args.services, within);
    }
    let Some(supervisor) = supervisor_of(&place.state_dir) else {
        return end_leftovers(ui, &place);
    };
    let begun = Instant::now();
    if !kernel::signal_process(&supervisor.process, Signal::SIGTERM)
        && kernel::is_alive(&supervisor.process)
    {
        return Err(CliError::usage(
            format!(
                "cannot signal the supervisor, process {}",
                supervisor.process.pid
            ),
            "run this as the user who booted the application",
        ));
    }
    let deadline = begun + args.timeout;
    while kernel::is_alive(&supervisor.process) {
        if Instant::now() >= deadline {
            if ui.json {
                ui.print_json(
                    &json!({ "stopped": false, "was_running": true, "boot_id": supervisor.boot }),
                )?;
            }
            ui.note(&format!(
                "{} still runs after {:?}; process {} supervises it",
                supervisor.app, args.timeout, supervisor.process.pid
            ));
            return Ok(exit::BAD);
        }
        std::thread::sleep(POLL);
    }
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if ui.json {
        ui.print_json(&json!({
            "stopped": true,
            "was_running": true,
            "boot_id": supervisor.boot,
            "duration_ms": duration_ms,
        }))?;
    } else if !ui.quiet {
        ui.print(&format!(
            "{} is stopped ({})\n",
            super::render::cut(&supervisor.app, 60),
            super::render::duration(duration_ms)
        ))?;
    }
    Ok(exit::GOOD)
}

/// Nobody supervises: ends what a supervisor that died left running.
fn end_leftovers(ui: &Ui, place: &AppPaths) -> Result<u8, CliError> {
    let interrupted = match place.reader()? {
        Some(reader) if !reader.unfinished_boots()?.is_empty() => end_interrupted(
            &place.open_log()?,
            &reader,
            &place.workspace,
            &place.state_dir,
        )?,
        _ => Vec::new(),
    };
    let reaped: u32 = interrupted.iter().map(|boot| boot.reaped).sum();
    if ui.json {
        ui.print_json(&json!({
            "stopped": true,
            "was_running": false,
            "interrupted_boots": interrupted.iter().map(|boot| boot.boot).collect::<Vec<_>>(),
            "processes_ended": reaped,
        }))?;
    } else if let Some(boot) = interrupted.first() {
        ui.note(&format!(
            "the supervisor of {} had died; {}",
            super::render::cut(&boot.app, 60),
            match reaped {
                0 => "no process of the boot was left".to_owned(),
                n => format!("{} of the boot ended", count(n as usize, "process")),
            }
        ));
    } else {
        ui.note("nothing runs here");
    }
    Ok(exit::GOOD)
}
