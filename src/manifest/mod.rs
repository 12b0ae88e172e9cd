//! `ubs.toml`: the declaration of one application.

mod env;
mod types;

pub use env::*;
pub use types::*;
