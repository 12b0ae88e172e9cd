//! Layouts of events: the log's own structs for everything that lies in a frame.
//!
//! bincode encodes by position, so these structs are the format. They are apart from the domain's
//! types, which may be renamed, reordered and extended without an old log noticing:
//!
//! - [`v2`] is written and read. [`mirror`] pairs each of its structs with its type of the domain.
//! - [`v1`] is only read. It has structs of its own for what version 2 changed, shares the rest, and
//!   is upcast to version 2.
//!
//! A released layout is frozen; golden frames in `schema/frames/` hold us to it. To add a variant at
//! the end of an enum keeps old frames readable. Any other change makes a new version: copy what
//! changes into the old version's module, then change the new one.

#[macro_use]
mod mirror;
pub(super) mod v1;
pub(super) mod v2;

pub(super) use mirror::Mirror;
