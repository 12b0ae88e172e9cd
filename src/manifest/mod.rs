//! `ubs.toml`: the declaration of one application, and the environment that goes with it.
//!
//! The leftmost room: it relies on nothing else of the crate. Reading goes from the text
//! ([`Manifest::parse`], `section`, one file a table) to plain data (`types`); every mistake of a file
//! is reported at once, with its place and what to do (`problem`). Nothing here starts a process.

mod api;
mod check;
mod choice;
mod command;
mod config;
mod env;
mod env_file;
mod env_write;
mod environment;
mod interpolate;
mod keys;
mod layer;
mod load;
mod logs;
mod measure;
mod needs;
mod notify;
mod order;
mod parse;
mod percent;
mod playbook;
mod playbook_read;
mod probe;
mod probe_spec;
mod problem;
mod read;
mod scalar;
mod section;
mod service_keys;
mod types;
mod value_check;
mod vault;
mod words;
mod write;

pub(crate) use choice::ChoiceError;
pub(crate) use env::*;
pub(crate) use env_write::{assignment_spans, set_variable};
pub(crate) use environment::EnvironmentError;
pub(crate) use environment::{add_env_file, secrets_among, sounds_secret, url_passwords};
pub(crate) use load::{MANIFEST_NAME, find_manifest};
pub(crate) use logs::{LogFormat, LogRules};
pub(crate) use measure::duration_of;
pub(crate) use notify::{Notify, NotifyBy, NotifyOn, WebhookShape};
pub(crate) use percent::percent_encoded;
pub(crate) use playbook::{MatchKey, Playbook, PlaybookEdit, PlaybookRisk, placeholders};
pub(crate) use probe_spec::{HttpRequest, Probe, ProbeKind};
pub use problem::{InvalidManifest, ManifestError, Problem};
pub(crate) use read::{UnreadFile, read_small, read_small_if};
pub use types::*;
pub(crate) use value_check::compile as compile_pattern;
pub(crate) use words::is_dotted;
pub(crate) use write::{Existing, sync_directory, write_atomically};
