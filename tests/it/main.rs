//! Whole-program tests: one binary, a module a suite, so that the suites run side by side.
//!
//! What they share is `support`; how they are run is in `CONTRIBUTING.md`.

#![allow(unreachable_pub)]

mod api;
mod boot;
mod boots;
mod circles;
mod cli;
mod control;
mod corpus;
mod crash;
mod declared;
mod demo;
mod fixes;
mod healing;
mod init;
mod interrupt;
mod left_behind;
mod log_examples;
mod log_trouble;
mod manifest_keys;
mod migrations;
mod no_namespaces;
mod output;
mod packages;
mod playbooks;
mod postgres;
mod proof;
mod public_api;
mod real;
mod rooms;
mod schedules;
mod schema;
mod server_migrations;
mod siege;
mod stopping;
mod supervision;
mod support;
mod top;
mod workspaces;
mod wrong_heals;
