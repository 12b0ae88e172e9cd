//! Healing: what turns a mission into a proposal, the trial that proves it, the promotion that
//! moves it into the workspace.
//!
//! May rely on `manifest`, `domain`, `log`, `checks` and `sandbox`. Knows nothing of boots: the same
//! worker serves a boot, `ubs worker` and a program that uses the library.

mod apply;
mod contents;
mod database;
mod diff;
mod dummies;
mod earlier;
mod fixers;
mod guarded;
mod journal;
mod migrate;
mod migration_run;
mod packages;
mod patch;
mod places;
mod playbooks;
mod postgres;
mod promote;
mod proposal;
mod run;
mod sandboxes;
mod shown;
mod take_back;
mod tracked;
mod trial;
mod verify;
mod worker;

pub(crate) use diff::{DiffPlace, program_of, proposal_diff, visible};
pub(crate) use earlier::{accept_new_database, read_earlier, value_key};
pub(crate) use playbooks::{keep_fix, made_by};
pub(crate) use postgres::relay::read_any as read_any_relay_message;
pub use promote::PromoteError;
pub(crate) use promote::recover_promotions;
pub(crate) use proposal::file_digest;
pub use proposal::{ProposalError, parse_proposal};
pub(crate) use run::command_text;
pub(crate) use sandboxes::sweep_sandboxes;
pub(crate) use shown::{keep_shown, shown_files};
pub(crate) use take_back::{
    bless, fixes_on_probation, is_going, recover_take_backs, roll_back, undo_fix,
};
pub use trial::TrialError;
pub(crate) use trial::{CheckPlace, checks_of, list_gaps, run_checks, run_in_trial, server_urls};
pub(crate) use verify::{awaited_verify, note_verified, unverified_missions};
pub(crate) use worker::Rehearsed;
pub use worker::{WorkError, Worked, Worker};
