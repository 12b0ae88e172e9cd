//! Applications with migrations: what their history says, and how far the database is.
//!
//! Alembic and SQL folders are read without running anything; Django's graph is built by the
//! application's own interpreter in the sandbox, without a connection. What was applied is read from
//! the tools' own tables.

mod alembic;
mod applied_migrations;
mod command;
mod config_file;
mod django;
mod django_draft;
mod draft;
mod environment;
mod examine;
mod graph;
mod pending;
mod revision;
mod sql_folder;
mod sql_tools;
mod status;
#[cfg(test)]
mod tests;
mod text_file;
mod upgrader;

pub(crate) use command::{migration_command, migration_tables};
pub(super) use draft::Draft;
pub(super) use examine::{examine, leave_to_migrations};
pub(super) use status::RevisionPlace;
