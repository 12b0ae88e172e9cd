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
        // Installed code runs with everything the application may.
        (Change::Packages { .. }, Author::Other) => Risk::Guarded,
        (Change::Sql { .. }, _) => Risk::Additive,
        // The application's own code, run as it is; what it does is measured in the trial.
        (Change::Migrate { .. }, _) => Risk::Additive,
        (Change::Delete { .. }, _) => Risk::Destructive,
        // What a command does is its own affair: a person looks at it first.
        (Change::Run { .. }, _) => Risk::Guarded,
        (Change::Wait { .. }, _) => Risk::Additive,
        (
            Change::Insert { path, .. }
            | Change::Edit { path, .. }
            | Change::Write { path, .. }
            | Change::SetVariable { path, .. }
            | Change::GenerateSecret { path, .. }
            | Change::MakeDirectory { path }
            | Change::AddMode { path, .. }
            | Change::MoveAside { path },
            Author::Other,
        ) if guards(path, manifest).is_some() => Risk::Guarded,
        (_, Author::Other) => Risk::Open,
        (
            Change::SetVariable { .. }
            | Change::GenerateSecret { .. }
            | Change::MakeDirectory { .. }
            | Change::Packages { .. }
            // Nothing is changed by it; it costs what a start costs.
            | Change::Restart { .. },
            _,
        ) => Risk::Additive,
        (
            Change::Insert { .. }
            | Change::Edit { .. }
            | Change::Write { .. }
            | Change::AddMode { .. }
            | Change::MoveAside { .. },
            _,
        ) => Risk::Edit,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_change_of_what_guards_is_guarded_and_never_automatic() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ubs.toml"), "[app]\nname = \"a\"\n").unwrap();
        let manifest = Manifest::load(&dir.path().join("ubs.toml")).unwrap();
        let set = |path: &str| Change::SetVariable {
            path: path.to_owned(),
            name: "LEVEL".to_owned(),
            value: "info".to_owned(),
        };
        let write = |path: &str| Change::Write {
            path: path.to_owned(),
            before: None,
            text: String::new(),
        };
        for (changes, author, risk) in [
            (vec![set(".env")], Author::BuiltIn, Risk::Additive),
            (vec![set(".env")], Author::Other, Risk::Guarded),
            (vec![write("app.py")], Author::BuiltIn, Risk::Edit),
            (vec![write("app.py")], Author::Other, Risk::Open),
            (
                vec![write("app.py"), write("ubs.toml")],
                Author::Other,
                Risk::Guarded,
            ),
        ] {
            let proposal = Proposal {
                fixer: "bot".to_owned(),
                summary: "x".to_owned(),
                risk: Risk::Additive,
                changes,
            };
            let found = effective_risk(&proposal, author, &Databases::default(), &manifest);
            assert_eq!(found, risk, "{:?} by {author:?}", proposal.changes);
        }
        let all = Policies {
            additive: Policy::Auto,
            edit: Policy::Auto,
            open: Policy::Auto,
            guarded: Policy::Auto,
            destructive: Policy::Auto,
        };
        assert_eq!(policy_of(&all, Risk::Open), Policy::Auto);
        assert_eq!(policy_of(&all, Risk::Guarded), Policy::Approve);
    }
    #[test]
    fn each_class_has_the_policy_that_the_manifest_gives_it() {
        for (risk, word, policy) in [
            (Risk::Additive, "additive = 'report'", Policy::Report),
            (Risk::Edit, "edit = 'approve'", Policy::Approve),
            (Risk::Open, "open = 'auto'", Policy::Auto),
            (Risk::Guarded, "guarded = 'report'", Policy::Report),
            (Risk::Destructive, "destructive = 'report'", Policy::Report),
        ] {
            let of = |line: &str| {
                let text = format!("[app]\nname = 'a'\n[heal.policy]\n{line}\n");
                let manifest = Manifest::parse(&text, std::path::Path::new("ubs.toml")).unwrap();
                policy_of(&manifest.heal.policy, risk)
            };
            assert_eq!(of(word), policy, "{word}");
            assert_ne!(of(""), policy, "{word}");
        }
    }
}
