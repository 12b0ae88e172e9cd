//! Healing a PostgreSQL database: by statements that only add, or by the application's own migrations.
//!
//! Both are tried on a clone and promoted in one transaction. Files import downwards: `migrations` and `statements`,
//! then `server_trial`, `replay`, `side_effects`, `transaction`, `catalog`, `clone_watch`, and `error` at the bottom. The relay is a room of
//! its own with one door ([`relay::Relay`]).

pub(super) mod catalog;
pub(super) mod clone_watch;
pub(super) mod error;
pub(super) mod migrations;
pub(super) mod relay;
pub(super) mod replay;
pub(super) mod server_trial;
pub(super) mod side_effects;
pub(super) mod statements;
pub(super) mod transaction;
