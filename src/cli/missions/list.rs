//! The list of missions.

use super::super::context::{AppPaths, CliError, Ui};
use super::super::exit;
use super::show::summary;

pub(super) fn list(ui: &Ui, place: &AppPaths, all: bool) -> Result<u8, CliError> {
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
