//! What the application's source defines, read without running it: tables.

use serde::Deserialize;

use super::CheckContext;
use super::python::{Answer, PROBE_TIMEOUT_MS, ProbeError, Program, run_probe};

/// What `scan.py` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Scan {
    pub tables: Vec<TableDefinition>,
    /// For each entry module: indexes of tables, in the order in which importing it defines them.
    pub reached: Vec<Vec<usize>>,
}

/// A class with `__tablename__`, or a call of `Table`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct TableDefinition {
    pub table: String,
    /// Relative to the workspace.
    pub file: String,
    pub line: u32,
    /// In bytes, 0-based, as Python's `ast` counts.
    pub column: u32,
    /// With its decorators.
    pub first_line: u32,
    pub end_line: u32,
    /// Empty for a call.
    pub class: String,
    /// Which `MetaData` it belongs to; empty where that cannot be told.
    pub metadata: String,
    /// It is certainly defined, for that `MetaData`, whenever its module is imported.
    pub sure: bool,
    /// It extends or keeps an earlier definition.
    pub extends: bool,
    /// A base class brings `__table_args__`.
    pub inherits_args: bool,
}

/// Reads the source. A scan that gives no answer gives an empty one: it only ever adds to what a check
/// knows from running the application.
pub(super) fn scan(
    context: &CheckContext<'_>,
    tables: bool,
    entries: &[&str],
) -> Result<Scan, ProbeError> {
    let paths = &context.manifest.python.path;
    let here = [".".to_owned()];
    let input = serde_json::json!({
        "roots": if paths.is_empty() { &here[..] } else { paths },
        "tables": tables,
        "entries": entries,
    });
    let ran = run_probe::<Scan>(context, Program::Scan, input, PROBE_TIMEOUT_MS, false)?;
    Ok(match ran.answer {
        Answer::Given(scan) => scan,
        Answer::None(why) => {
            tracing::debug!(why = why.why, "the source was not scanned");
            Scan::default()
        }
    })
}
