//! The mission: a durable work order for one failure.

mod machine;

pub use machine::*;
