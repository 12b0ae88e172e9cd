//! Packages: what is installed for the application's interpreter, what is declared, and whether the two
//! agree, as `pip check` would say it.
//!
//! Everything is read from metadata, in parallel with nothing of the application running. Requirements
//! follow PEP 508 and versions PEP 440. What cannot be understood is left out, never guessed.

mod conflicts;
mod declared;
mod installed;
mod inventory;
mod names;
mod need;
mod poetry;
mod remedy;
#[cfg(test)]
mod tests;

pub(super) use inventory::Packages;
pub(crate) use names::normalise;
pub(super) use names::package_of;
pub(super) use remedy::{ADD_TO_REQUIREMENTS, anew_fix, moved_fix};
pub(crate) use remedy::{DeclaredPackage, declared_packages};
