//! What a proposal risks, and what policy says about that.

use crate::domain::mission::{Change, Proposal, Risk};
use crate::fix::guarded::guards;
use crate::fix::trial::Databases;
use crate::manifest::{Manifest, Policies, Policy};

/// Who wrote a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// One of the fixers in this program.
    BuiltIn,
    /// A program, an agent, a person.
    Other,
}

/// What the changes really risk, whatever the proposal says of itself. Statements are held to what
/// is additive by SQLite itself; PostgreSQL has nothing of the kind, so there those of others, like their
/// files and variables, are theirs to answer for; files that guard the application more so.
pub(super) fn effective_risk(
    proposal: &Proposal,
    author: Author,
    databases: &Databases,
    manifest: &Manifest,
) -> Risk {
    let of_change = |change: &Change| match (change, author) {
        (Change::Sql { schema, .. }, Author::Other) if databases.servers.contains_key(schema) => {
            Risk::Open
        }
        (Change::Sql { .. }, _) => Risk::Additive,
        // The application's own code, run as it is; what it does is measured in the trial.
        (Change::Migrate { .. }, _) => Risk::Additive,
        (
            Change::Insert { path, .. }
            | Change::Write { path, .. }
            | Change::SetVariable { path, .. }
            | Change::GenerateSecret { path, .. },
            Author::Other,
        ) if guards(path, manifest).is_some() => Risk::Guarded,
        (_, Author::Other) => Risk::Open,
        (Change::SetVariable { .. } | Change::GenerateSecret { .. }, _) => Risk::Additive,
        (Change::Insert { .. } | Change::Write { .. }, _) => Risk::Edit,
    };
    let changes = proposal.changes.iter().map(of_change);
    changes.max().unwrap_or(Risk::Additive).max(proposal.risk)
}

/// What may be done with a change of this risk.
pub(super) fn policy_of(policies: &Policies, risk: Risk) -> Policy {
    match risk {
        Risk::Additive => policies.additive,
        Risk::Edit => policies.edit,
        Risk::Open => policies.open,
        // Never without approval; the manifest refuses `auto`.
        Risk::Guarded if policies.guarded == Policy::Auto => Policy::Approve,
        Risk::Guarded => policies.guarded,
        // Never without approval, whatever the manifest says.
        Risk::Destructive if policies.destructive == Policy::Auto => Policy::Approve,
        Risk::Destructive => policies.destructive,
    }
}
