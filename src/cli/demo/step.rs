//! What the demo says it is doing.

use super::super::context::{CliError, Ui};
use super::super::render::Tone;

/// A step of the demo, so that nobody wonders what is going on.
pub(super) fn say(ui: &Ui, text: &str) -> Result<(), CliError> {
    let line = format!("{} {text}\n", ui.paint.tone(Tone::Accent, "[DEMO]"));
    ui.print_unless_silent(&line)
}
