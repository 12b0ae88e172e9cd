//! The built-in fixers: each looks at a failure and proposes a change, or has nothing to say.
//!
//! A fixer changes nothing itself; it reads the workspace at most.

mod config;
mod migrate;
mod packages;
mod places;
mod said;
mod schema;
mod source;

use std::path::Path;

use crate::domain::mission::{Failure, Proposal};

/// Turns a failure into a proposal.
pub(super) trait Fixer {
    /// Stable name, as in the log.
    fn name(&self) -> &'static str;

    /// A proposal for this failure, if this fixer knows one. `root` is the workspace.
    fn propose(&self, failure: &Failure, root: &Path) -> Option<Proposal>;
}

/// A built-in fixer proposes just this for the failure, whoever says that it is theirs.
pub(super) fn is_built_in(failure: &Failure, root: &Path, proposal: &Proposal) -> bool {
    let mut proposed = FIXERS
        .iter()
        .filter_map(|fixer| fixer.propose(failure, root));
    proposed.any(|known| known.changes == proposal.changes)
}

/// All built-in fixers, in the order in which they are tried when nothing is known of their success.
pub(super) const FIXERS: [&dyn Fixer; 14] = [
    &migrate::Migrate,
    &source::ExtendExisting,
    &source::EditText,
    &packages::InstallPackages,
    &schema::CreateTable,
    &schema::AddColumn,
    &schema::CreateIndex,
    &schema::ChangeSchema,
    &config::SetDefault,
    &config::GenerateSecret,
    &places::MakeDirectory,
    &places::AddMode,
    &places::MoveAside,
    &said::AsItSaid,
];
