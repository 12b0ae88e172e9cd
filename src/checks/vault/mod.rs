//! The vault: reachable, unsealed, and each named key present.
//!
//! Part of the config check. Values are dropped as they are read and never reach a finding: only names
//! are kept. A vault is outside of the workspace, so a trial on a copy asks the very vault that the
//! workspace has, with the workspace's own environment: what a proposal wrote into the copy can
//! neither send the token elsewhere nor run a program in the vault's name.

mod asked;
mod check;
mod command;
mod fernet;
mod file;
mod hashicorp;
mod names;
#[cfg(test)]
mod tests;

pub(super) use check::check;
