//! The text of SQL: tokens, statements, and what a statement does. Pure.

pub(crate) mod addition;
pub(crate) mod quote;
pub(crate) mod statement;
pub(crate) mod text;
pub(crate) mod words;
