//! The config check: the variables that the manifest declares against the environment that the
//! application would get, and the environment files against the example file.
//!
//! The value of a secret never leaves this file: findings say what is wrong with it, not what it is.

mod certificates;
mod check;
mod drivers;
mod files;
mod mend;
mod named_files;
mod obstacles;
mod parts;
mod reads;
mod services;
mod value;

pub(super) use check::check;
pub(super) use drivers::mend_postgres;
pub(super) use mend::replace_part;
