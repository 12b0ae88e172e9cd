//! The schema check: what the code expects in each database against what is there, and tables that the
//! code defines twice.

mod approval;
mod between;
mod caution;
mod check;
mod comparison;
mod constraint_details;
mod definitions;
mod diff;
mod duplicate;
mod expected;
mod index_details;
mod indexes;
mod maker;
mod migrations;
mod origin;
mod pairs;
mod proposed;
mod rename;
mod requests;
mod revision;
mod rules;
mod scratch;
mod sql_files;
mod sql_names;
mod statements;
#[cfg(test)]
mod tests;

pub use between::ExpectedSchema;
pub(super) use check::check;
pub(crate) use migrations::{migration_command, migration_tables};
