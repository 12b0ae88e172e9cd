//! Text that a caller gives: read within a bound of size, and without secrets.

use std::io::Read;

use super::super::context::{AppPaths, CliError};
use crate::domain::redact::Redactor;

/// Longest text that a caller may file, bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;

/// Text of a caller, without secrets: those of the application where its manifest can be read.
pub(super) fn clean(place: &AppPaths, text: &str) -> Result<String, CliError> {
    Ok(redactor(place).clean(text, TEXT_BYTES_MAX))
}

pub(super) fn redactor(place: &AppPaths) -> Redactor {
    let secrets = place.manifest().ok().and_then(|manifest| {
        let environment = crate::manifest::Environment::load(
            &manifest,
            &manifest.workspace,
            AppPaths::process_env().into_iter(),
        );
        Some(environment.ok()?.secret_values(&manifest))
    });
    Redactor::new(secrets.unwrap_or_default())
}

pub(super) fn read_text(path: &std::path::Path) -> Result<String, CliError> {
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
