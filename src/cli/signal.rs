//! `ubs signal`: a signal for the main process of a service.

use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use super::steer::{require_good, silent, supervisor};
use crate::control::Client;

/// Send a signal to the main process of a service, such as HUP for a program that reads its files again.
///
/// Exit code: 0 it was sent; 1 no process of it runs, or nothing runs here; 2 there is no such service or signal.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which service
    service: String,
    /// Which signal, as HUP, USR1 or SIGTERM
    signal: String,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let client = supervisor(&place)?;
    let path = format!("{}/signal", Client::service_path(&args.service));
    let asked = client.post_json(&path, &json!({ "signal": args.signal }));
    let reply = require_good(asked.map_err(silent)?)?;
    if ui.json {
        ui.print_json(&reply.body)?;
    } else {
        let sent = reply.body["signal"].as_str().unwrap_or("the signal");
        ui.print_unless_silent(&format!("{}: {sent} was sent\n", args.service))?;
    }
    Ok(exit::GOOD)
}
