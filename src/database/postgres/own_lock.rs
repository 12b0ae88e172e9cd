//! The names of what `ubs` makes beside a live database, and the advisory locks that say who of them is alive.

use std::time::Duration;

use crate::database::postgres::session::{ServerError, Session};
use crate::database::sql::quote::literal;

const ASK_MAX: Duration = Duration::from_secs(10);

/// A name that nobody has yet, for something beside the database of `live`.
pub(crate) fn own_name(live: &Session, word: &str) -> Result<String, ServerError> {
    let oid = live.value(
        "SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()",
        ASK_MAX,
    )?;
    let random = uuid::Uuid::new_v4().simple().to_string();
    Ok(format!(
        "ubs_{word}_{}_{}",
        oid.unwrap_or_default(),
        &random[..16]
    ))
}

fn key(name: &str) -> String {
    format!("pg_catalog.hashtextextended({}, 0)", literal(name))
}

/// From now on, what has this name is no leftover.
pub(crate) fn lock(live: &Session, name: &str) -> Result<(), ServerError> {
    live.run(&format!("SELECT pg_advisory_lock({})", key(name)), ASK_MAX)
}

/// `false`: somebody else lives who made it.
pub(crate) fn try_lock(live: &Session, name: &str) -> Result<bool, ServerError> {
    let sql = format!("SELECT pg_try_advisory_lock({})", key(name));
    Ok(live.value(&sql, ASK_MAX)?.as_deref() == Some("t"))
}

/// The lock ends with the connection too, unless a pooler keeps that.
pub(crate) fn unlock(live: &Session, name: &str) {
    let unlock = format!("SELECT pg_advisory_unlock({})", key(name));
    if let Err(error) = live.run(&unlock, ASK_MAX) {
        tracing::debug!(name, %error, "cannot give a lock back");
    }
}
