//! `ubs.toml`: the declaration of one application.

mod env;
mod load;
mod types;

pub use env::*;
pub use load::*;
pub use types::*;
