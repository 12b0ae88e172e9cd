//! The rehearsal check: what each layer imports and calls, in a fresh interpreter in the sandbox, side
//! by side.
//!
//! A dry run may write nothing in the workspace. A layer that fails only because of that is degraded,
//! not failed: whether it starts is then known only when it starts.

mod check;
mod effects;
mod findings;
mod first_use;
mod layer;
#[cfg(test)]
mod tests;

pub(super) use check::check;
