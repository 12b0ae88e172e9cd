//! Filing a mission for a failure that ubs did not see itself.

use std::path::PathBuf;

use super::super::context::{AppPaths, CliError, Ui};
use super::super::exit;
use super::show::summary;
use super::text::{TEXT_BYTES_MAX, read_text, redactor};
use crate::domain::code::Code;
use crate::domain::mission::{Failure, SignedFailure};
use crate::domain::signature::sign_layer_failure;
use crate::log::Missions;

pub(super) fn file(
    ui: &Ui,
    place: &AppPaths,
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
        signature: sign_layer_failure(layer.as_deref().unwrap_or(""), &subject, &error, &traceback),
        failure: Failure {
            check: None,
            code: Code::ReportedFailure,
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
