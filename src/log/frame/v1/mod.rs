//! Version 1, which is only read: its structs are frozen.
//!
//! Here are the structs that version 2 changed; what it did not change is version 2's own. Where
//! version 2 has a typed remedy and cause, version 1 had facts, from which both are derived: a
//! mission that an older program filed can still be healed.

mod event;
mod facts;
mod failure;
mod fingerprint;
mod report;

pub(crate) use event::Event;
