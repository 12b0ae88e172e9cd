//! Databases and roles of ours that a killed process left beside a live database: found by their names, dropped if
//! nobody holds their locks.

use std::time::Duration;

use crate::database::postgres::own_lock::{try_lock, unlock};
use crate::database::postgres::session::{ServerError, Session};
use crate::database::sql::quote::identifier;

const ASK_MAX: Duration = Duration::from_secs(10);
/// How long the end of a database may take: the server waits some seconds for whoever is still connected.
const DROP_MAX: Duration = Duration::from_secs(30);

/// Drops a database, whoever is connected to it.
pub(crate) fn drop_database(live: &Session, name: &str) -> Result<(), ServerError> {
    let name = identifier(name);
    let plain = || live.run(&format!("DROP DATABASE IF EXISTS {name}"), DROP_MAX);
    let dropped = match plain() {
        // Whoever owns a database may declare it a template, and those are not dropped.
        Err(error) if error.is_wrong_kind() => {
            live.run(&format!("ALTER DATABASE {name} IS_TEMPLATE false"), ASK_MAX)?;
            plain()
        }
        other => other,
    };
    match dropped {
        // What a killed process had open, or what the application under trial still has.
        Err(error) if error.is_in_use() => live.run(
            // PostgreSQL 13 and newer.
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            DROP_MAX,
        ),
        other => other,
    }
}

/// Drops a role that owns nothing any more.
pub(crate) fn drop_role(live: &Session, name: &str) -> Result<(), ServerError> {
    live.run(
        &format!("DROP ROLE IF EXISTS {}", identifier(name)),
        ASK_MAX,
    )
}

/// [`sweep`], where it is no matter of life and death.
pub(crate) fn sweep_at(url: &str) {
    if let Err(error) = Session::connect(url).and_then(|live| sweep(&live)) {
        tracing::warn!(%error, "cannot look for databases that a killed process left");
    }
}

/// Drops what a kill left behind beside this database: databases and roles of our making, locked by nobody.
///
/// # Errors
/// The server did not answer. What cannot be dropped is left, with a warning.
pub(crate) fn sweep(live: &Session) -> Result<(), ServerError> {
    let left = live.rows(
        "SELECT datname FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba, \
         (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) AS this \
         WHERE (r.rolname = current_user OR r.rolname ~ ('^ubs_role_' || this.oid || '_[0-9a-f]{16}$') \
           AND pg_has_role(r.oid, 'MEMBER')) \
         AND datname ~ ('^ubs_(trial|scratch)_' || this.oid || '_[0-9a-f]{16}$')",
        ASK_MAX,
    )?;
    for name in left.into_iter().flatten().flatten() {
        if !try_lock(live, &name)? {
            continue;
        }
        if let Err(error) = drop_database(live, &name) {
            tracing::warn!(database = name, %error, "cannot drop a database that a killed process left");
        }
        unlock(live, &name);
    }
    sweep_roles(live)
}

/// Roles, after their databases.
fn sweep_roles(live: &Session) -> Result<(), ServerError> {
    let left = live.rows(
        "SELECT rolname FROM pg_catalog.pg_roles AS r WHERE rolname ~ ('^ubs_role_' || (SELECT oid FROM \
         pg_catalog.pg_database WHERE datname = current_database()) || '_[0-9a-f]{16}$') \
         AND NOT rolsuper AND pg_has_role(r.oid, 'MEMBER')",
        ASK_MAX,
    )?;
    for name in left.into_iter().flatten().flatten() {
        if !try_lock(live, &name)? {
            continue;
        }
        if let Err(error) = drop_role(live, &name) {
            tracing::warn!(role = name, %error, "cannot drop a role that a killed process left");
        }
        unlock(live, &name);
    }
    Ok(())
}
