//! What a mission carries: the failure, and the proposal that answers it.
//!
//! Plain data. Events hold it, so nothing here may know of an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::code::Code;
use crate::domain::finding::{CheckName, Finding, Location, Severity};
use crate::domain::ids::{At, Digest, Signature};
use crate::domain::remedy::{Cause, Remedy};
use crate::domain::remedy::{MigrationTool, TextEdit};

/// What failed, as the mission carries it to whoever fixes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The check that found it; `None` if a layer failed while it ran.
    pub check: Option<CheckName>,
    /// Finding code, or `layer.failed`.
    pub code: Code,
    /// What it is about.
    pub subject: String,
    /// The layer that cannot start because of it.
    pub layer: Option<String>,
    /// The boot cannot go on without the fix.
    pub critical: bool,
    /// One sentence.
    pub error: String,
    /// What a person can do about it, if the check knew.
    pub remedy: Option<String>,
    /// The error in full, redacted.
    pub traceback: String,
    /// Where, if known.
    pub location: Option<Location>,
    /// What must be true for the mission to be closed.
    pub criteria: Vec<String>,
    /// What a fixer can do about it.
    #[serde(default)]
    pub fix: Option<Remedy>,
    /// What signs it beside code and subject.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// What describes it, as measured.
    pub facts: BTreeMap<String, String>,
}

impl Failure {
    /// The failure that a check's finding describes.
    #[must_use]
    pub fn of_finding(check: CheckName, finding: &Finding) -> Self {
        Self {
            check: Some(check),
            code: finding.code.clone(),
            subject: finding.subject.clone(),
            layer: finding.layer.clone(),
            critical: finding.severity == Severity::Critical,
            error: finding.message.clone(),
            remedy: finding.remedy.clone(),
            traceback: finding.detail.clone(),
            location: finding.location.clone(),
            criteria: vec![
                format!(
                    "the {check} check no longer reports {} for {}",
                    finding.code, finding.subject
                ),
                "no other check is worse than before".to_owned(),
            ],
            fix: finding.fix.clone(),
            cause: finding.cause.clone(),
            facts: finding.facts.clone(),
        }
    }

    /// The name a person calls the mission by: `schema_fix_security_events`,
    /// `boot_fix_database_1764000000`.
    #[must_use]
    pub fn slug(&self, at: At) -> String {
        let family = self.code.family();
        let word = |text: &str| {
            let mut slug: String = text
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_lowercase()
                    } else {
                        '_'
                    }
                })
                .collect();
            slug.truncate(48);
            slug.trim_matches('_').to_owned()
        };
        match (self.check, &self.layer) {
            (None | Some(CheckName::Rehearsal), layer) => {
                let subject = layer.as_deref().unwrap_or(&self.subject);
                format!("boot_fix_{}_{}", word(subject), at.0.div_euclid(1_000_000))
            }
            _ => format!("{}_fix_{}", word(family), word(&self.subject)),
        }
    }
}

/// One failure with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFailure {
    /// Same cause, same signature.
    pub signature: Signature,
    /// What failed.
    pub failure: Failure,
}

/// What a change to the application may endanger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Risk {
    /// Adds something; nothing that was there changes.
    Additive,
    /// A built-in source edit.
    Edit,
    /// An agent's, a playbook's or a person's free change.
    Open,
    /// A free change of what guards the application (its manifest, environment files, tests ...), or one after which
    /// less is looked at: never without a person.
    Guarded,
    /// Drops, deletes or rewrites.
    Destructive,
}

impl Risk {
    /// The stable name, as in JSON and in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Additive => "additive",
            Self::Edit => "edit",
            Self::Open => "open",
            Self::Guarded => "guarded",
            Self::Destructive => "destructive",
        }
    }
}

/// One change that a proposal makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Insert text into a file; every other byte stays.
    Insert {
        /// File, relative to the workspace.
        path: String,
        /// Digest of the file that was read.
        before: Digest,
        /// Byte offset.
        offset: u64,
        /// What is inserted.
        text: String,
    },
    /// Write a whole file.
    Write {
        /// File, relative to the workspace.
        path: String,
        /// Digest of the file that was read; `None` if it must not exist.
        before: Option<Digest>,
        /// The new content.
        text: String,
    },
    /// Set a variable in an environment file; not for secrets.
    SetVariable {
        /// File, relative to the workspace.
        path: String,
        /// Name of the variable.
        name: String,
        /// The value.
        value: String,
    },
    /// Set a variable in an environment file to a random value that nobody sees.
    GenerateSecret {
        /// File, relative to the workspace.
        path: String,
        /// Name of the variable.
        name: String,
        /// Random bytes; the value is their hexadecimal text.
        bytes: u32,
    },
    /// Run statements in one transaction on a database.
    Sql {
        /// Name of the manifest's `[[schema]]`.
        schema: String,
        /// The statements, in order.
        statements: Vec<String>,
    },
    /// Run the application's own migrations on a database.
    Migrate {
        /// Name of the manifest's `[[schema]]`.
        schema: String,
        /// Who runs them.
        tool: MigrationTool,
        /// How far: `heads`, or a revision; for Django the alias of a database that is not its default one.
        target: String,
    },
    /// Replace parts of a file; every other byte stays.
    Edit {
        /// File, relative to the workspace.
        path: String,
        /// Digest of the file that was read.
        before: Digest,
        /// What is replaced, in the order of the file.
        edits: Vec<TextEdit>,
    },
    /// Make the installed packages of an environment of the workspace those of a list.
    Packages {
        /// Directory of the environment, relative to the workspace.
        environment: String,
        /// What is installed, as `name==version`.
        install: Vec<String>,
    },
    /// Delete a file.
    Delete {
        /// File, relative to the workspace.
        path: String,
        /// Digest of the file that was read.
        before: Digest,
    },
    /// Create a directory, with those above it that are missing.
    MakeDirectory {
        /// Directory, relative to the workspace.
        path: String,
    },
    /// Add permissions to those that a file or directory has.
    AddMode {
        /// File or directory, relative to the workspace.
        path: String,
        /// Permission bits that are added; those of its owner only.
        bits: u32,
    },
    /// Move a pid file, lock or socket of a process that is gone into the state directory.
    MoveAside {
        /// File, socket or directory, relative to the workspace.
        path: String,
    },
    /// Run a command in the workspace, without a shell.
    Run {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Wait before whatever failed is tried again.
    Wait {
        /// Milliseconds.
        ms: u64,
    },
    /// Let the running boot start services again, once all else is applied.
    Restart {
        /// Their names.
        services: Vec<String>,
    },
}

impl Change {
    /// The services that it lets the running boot start again.
    pub(crate) fn restarts(&self) -> &[String] {
        match self {
            Self::Restart { services } => services,
            _ => &[],
        }
    }
}

/// What a fixer proposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Who proposes: `create_table`, `extend_existing`, or a worker's name.
    pub fixer: String,
    /// One line for a person.
    pub summary: String,
    /// What it may endanger.
    pub risk: Risk,
    /// What it changes, in order.
    pub changes: Vec<Change>,
}

impl Proposal {
    /// The application's own migrations are part of it.
    #[must_use]
    pub fn runs_migrations(&self) -> bool {
        let is_migration = |change: &Change| matches!(change, Change::Migrate { .. });
        self.changes.iter().any(is_migration)
    }
}
