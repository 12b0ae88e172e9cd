//! The pre-flight checks: each looks at a workspace and says what it saw as findings.
//!
//! May rely on `manifest`, `domain` and `sandbox`. Knows nothing of missions, fixers or boots. A check
//! changes nothing: application code runs only in the sandbox, databases are opened for reading.

mod advice;
mod as_run;
mod config;
mod context;
mod declared;
mod earlier;
mod edits;
mod gaps;
mod imports;
mod interpreter;
mod outcome;
mod packages;
mod python;
mod question;
mod raised;
mod registration;
mod rehearsal;
mod run;
mod schema;
mod shared;
mod sources;
mod start_script;
#[cfg(test)]
pub(crate) mod testing;
mod vault;
mod view;

pub(crate) use context::CheckContext;
pub(crate) use earlier::Earlier;
pub(crate) use gaps::{Gap, gaps};
pub(crate) use interpreter::{interpreter, service_environment};
pub(crate) use packages::{DeclaredPackage, declared_packages, normalise};
pub(crate) use registration::{LiveService, LiveSystem, check_running};
pub(crate) use run::run_check;
pub use schema::ExpectedSchema;
pub(crate) use schema::{migration_command, migration_tables};
pub(crate) use shared::SharedRuns;
pub(crate) use sources::Sources;
pub(crate) use view::{application_view, seen_root};
