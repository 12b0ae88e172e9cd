//! What can be asked of `ubs missions`.

use std::path::PathBuf;

/// The missions: list, show, and work on them.
///
/// A mission is named by its slug, its id, or the beginning of its id.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<MissionsCommand>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum MissionsCommand {
    /// List the open missions (this is what `ubs missions` does)
    List {
        /// The closed ones too
        #[arg(long)]
        all: bool,
    },
    /// Show one mission in full, with the diff of its proposal and the verdict
    Show {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
    },
    /// File a mission for a failure that ubs did not see itself
    File {
        /// What failed: a layer, a service, a component
        #[arg(long)]
        subject: String,
        /// What happened, in one sentence
        #[arg(long)]
        error: String,
        /// The layer that waits for it
        #[arg(long)]
        layer: Option<String>,
        /// A file with the traceback or log, `-` for standard input
        #[arg(long, value_name = "FILE")]
        traceback: Option<PathBuf>,
    },
    /// Take a mission, or the oldest that can be taken
    Claim {
        /// Which one [default: the oldest that can be taken]
        mission: Option<String>,
        #[command(flatten)]
        worker: WorkerArg,
        #[command(flatten)]
        lease: LeaseArg,
    },
    /// Hold a claimed mission longer
    Heartbeat {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        #[command(flatten)]
        lease: LeaseArg,
    },
    /// Propose a fix as JSON: it is tried in the sandbox, and applied if it holds and policy allows
    ///
    /// For example `{"summary": "...", "changes": [{"patch": "--- a/x.py\n+++ b/x.py\n@@ ..."}]}`. `write` and
    /// `insert` need `before`, the digest of the file as `claim --json` gave it; docs/missions.md has all forms.
    #[command(mut_arg("mission", |mission| {
        mission.help("Which one (slug or id); it must be claimed by the same worker")
    }))]
    Propose(ProposeArgs),
    /// Try a fix, and only say what came of it: nothing is recorded, nothing moves into the workspace
    ///
    /// Takes what `propose` takes, from anybody. Exit code 0 if the fix holds, 1 if it does not.
    Try(ProposeArgs),
    /// Close a mission that was fixed by hand, if its check no longer reports the failure
    Complete {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// How it was fixed
        #[arg(long, default_value = "fixed by hand")]
        resolution: String,
    },
    /// Say that a claimed mission could not be fixed; it is tried again later, or needs a person
    Fail {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// Why not
        #[arg(long)]
        reason: String,
    },
    /// Approve a fix that was proved and waits for it; it is proved once more and applied
    Approve {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        /// Who approves
        #[arg(long, default_value = "a person")]
        by: String,
    },
    /// Decline a fix that waits for approval
    Reject {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Who declines
        #[arg(long, default_value = "a person")]
        by: String,
    },
    /// Give a claimed mission back untouched
    Release {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        #[command(flatten)]
        worker: WorkerArg,
        /// Why
        #[arg(long, default_value = "given back")]
        reason: String,
    },
    /// Put a mission that needs a person back into the queue
    Requeue {
        /// Which one: its slug, its id, or the beginning of its id
        mission: String,
        /// Who does so
        #[arg(long, default_value = "a person")]
        by: String,
    },
}

/// A proposal for a mission, and whose it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ProposeArgs {
    /// Which one: its slug, its id, or the beginning of its id
    pub(super) mission: String,
    #[command(flatten)]
    pub(super) worker: WorkerArg,
    #[command(flatten)]
    pub(super) proposal: ProposalArgs,
}

/// A proposal: as JSON, or put together from a patch and files that go.
#[derive(Debug, clap::Args)]
pub(crate) struct ProposalArgs {
    /// The file with the proposal as JSON, at most 16 MiB; `-` for standard input [default: -]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["patch", "delete", "summary"])]
    pub(super) file: Option<PathBuf>,
    /// Instead: a file with a unified diff; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) patch: Vec<PathBuf>,
    /// Instead, or beside it: a file of the workspace to delete, as it is now
    #[arg(long, value_name = "PATH")]
    pub(super) delete: Vec<String>,
    /// What it does, in one line, beside --patch and --delete
    #[arg(long, value_name = "TEXT")]
    pub(super) summary: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArg {
    /// Name of the worker, the same from claim to end
    #[arg(
        long,
        value_name = "NAME",
        env = "UBS_WORKER",
        default_value = "a person"
    )]
    pub(super) worker: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct LeaseArg {
    /// Seconds that the mission is held without a heartbeat
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    lease: u64,
}

impl LeaseArg {
    pub(super) fn ms(&self) -> u64 {
        self.lease.saturating_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    /// All that the command line can do with missions and fixes, the control interface can.
    #[test]
    fn each_command_has_its_path_in_the_control_interface() {
        let text = include_str!("../../../schema/openapi.json");
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let has = |path: &str, method: &str| document["paths"][path][method].is_object();
        for (noun, one, command) in [
            (
                "missions",
                "mission",
                super::Args::augment_args(Command::new("missions")),
            ),
            (
                "fixes",
                "fix",
                crate::cli::fixes::Args::augment_args(Command::new("fixes")),
            ),
        ] {
            let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            assert!(names.len() > 3, "{names:?}");
            for name in names {
                let there = match name {
                    "list" => has(&format!("/{noun}"), "get"),
                    "show" => has(&format!("/{noun}/{{{one}}}"), "get"),
                    "file" => has(&format!("/{noun}"), "post"),
                    name => has(&format!("/{noun}/{{{one}}}/{name}"), "post"),
                };
                assert!(
                    there,
                    "`ubs {noun} {name}` has no path in schema/openapi.json"
                );
            }
        }
        assert!(has("/missions/claim", "post"), "of the oldest");
    }
}
