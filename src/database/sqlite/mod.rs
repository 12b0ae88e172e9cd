//! SQLite databases: read without a trace, and the statements that add to them.

pub(crate) mod add_column;
pub(crate) mod live;
pub(crate) mod rebuild;
pub(crate) mod text;
