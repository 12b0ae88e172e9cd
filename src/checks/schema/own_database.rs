//! Databases that `ubs` makes beside the live one and drops again: a clone for a trial, a scratch database
//! for SQL files.
//!
//! Whose they are is in the name (`ubs_KIND_OID_RANDOM`, with the live database's object id) and in an
//! advisory lock, which its maker holds in the live database for as long as it lives: what has such a
//! name, belongs to our user, and is locked by nobody, a kill left behind. Nothing else is ever dropped.

use std::time::Duration;

use super::postgres::{identifier, literal};
use super::session::{ServerError, Session};

/// How long the making of one may take.
const CREATE_MAX: Duration = Duration::from_secs(120);
/// How long its end may take: the server waits some seconds for whoever is still connected.
const DROP_MAX: Duration = Duration::from_secs(30);
const ASK_MAX: Duration = Duration::from_secs(10);

/// What one is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A clone on which a change is tried.
    Trial,
    /// Where SQL files are applied, to see what they make.
    Scratch,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Scratch => "scratch",
        }
    }
}

/// Of what one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Everything in the live database; nobody else may be connected to it meanwhile.
    Live,
    /// Nothing.
    Empty,
}

/// A database of ours; dropped with this.
pub struct OwnDatabase {
    /// To the live database; holds the lock.
    live: Session,
    name: String,
}

/// Whether the user of the connection may make databases; and who that is.
///
/// # Errors
/// The server did not answer.
pub fn may_create(live: &Session) -> Result<Result<(), String>, ServerError> {
    let rows = live.rows(
        "SELECT rolcreatedb OR rolsuper, rolname FROM pg_catalog.pg_roles WHERE rolname = current_user",
        ASK_MAX,
    )?;
    let row = rows.first().map(Vec::as_slice);
    Ok(match row {
        Some([Some(may), Some(_)]) if may == "t" => Ok(()),
        Some([_, Some(name)]) => Err(name.clone()),
        _ => Err(String::new()),
    })
}

impl OwnDatabase {
    /// Makes one beside the database of `live`, after dropping what a kill left behind.
    ///
    /// # Errors
    /// The user may not, somebody is connected to the template, or the server did not do it.
    pub fn create(
        live: Session,
        purpose: Purpose,
        template: Template,
    ) -> Result<Self, ServerError> {
        sweep(&live)?;
        let rows = live.rows(
            "SELECT oid, datname FROM pg_catalog.pg_database WHERE datname = current_database()",
            ASK_MAX,
        )?;
        let of = |at: usize| {
            rows.first()
                .and_then(|row| row.get(at)?.clone())
                .unwrap_or_default()
        };
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("ubs_{}_{}_{}", purpose.word(), of(0), &random[..16]);
        // Before it is there, so that nobody takes it for a leftover.
        live.run(&format!("SELECT pg_advisory_lock({})", key(&name)), ASK_MAX)?;
        let own = Self { live, name };
        let source = match template {
            Template::Live => identifier(&of(1)),
            Template::Empty => "template0".to_owned(),
        };
        own.live.run(
            &format!(
                "CREATE DATABASE {} TEMPLATE {source}",
                identifier(&own.name)
            ),
            CREATE_MAX,
        )?;
        // What the database or the user's settings there say of the search path is no part of a template.
        own.live.run(
            &format!(
                "ALTER DATABASE {} SET search_path FROM CURRENT",
                identifier(&own.name)
            ),
            ASK_MAX,
        )?;
        Ok(own)
    }

    /// Its URL; it holds the password.
    #[must_use]
    pub fn url(&self) -> String {
        self.live.url_of(&self.name)
    }

    /// A connection to it.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect(&self) -> Result<Session, ServerError> {
        self.live.connect_to(&self.name)
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        if let Err(error) = drop_database(&self.live, &self.name)
            && !error.is_unknown_database()
        {
            tracing::warn!(database = self.name, %error, "cannot drop a database of ours; the next check tries again");
        }
        // It ends with the connection, unless a pooler keeps that.
        let unlock = format!("SELECT pg_advisory_unlock({})", key(&self.name));
        if let Err(error) = self.live.run(&unlock, ASK_MAX) {
            tracing::debug!(database = self.name, %error, "cannot give a lock back");
        }
    }
}

fn key(name: &str) -> String {
    format!("pg_catalog.hashtextextended({}, 0)", literal(name))
}

fn drop_database(live: &Session, name: &str) -> Result<(), ServerError> {
    let name = identifier(name);
    match live.run(&format!("DROP DATABASE IF EXISTS {name}"), DROP_MAX) {
        // What a killed process had open, or what the application under trial still has.
        Err(error) if error.is_in_use() => live.run(
            // PostgreSQL 13 and newer.
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            DROP_MAX,
        ),
        other => other,
    }
}

/// [`sweep`], where it is no matter of life and death.
pub(super) fn sweep_at(url: &str) {
    if let Err(error) = Session::connect(url).and_then(|live| sweep(&live)) {
        tracing::warn!(%error, "cannot look for databases that a killed process left");
    }
}

/// Drops what a kill left behind beside this database: of our making, and locked by nobody.
///
/// # Errors
/// The server did not answer. What cannot be dropped is left, with a warning.
fn sweep(live: &Session) -> Result<(), ServerError> {
    let left = live.rows(
        "SELECT datname FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba \
         WHERE r.rolname = current_user AND datname ~ ('^ubs_(trial|scratch)_' || (SELECT oid FROM pg_catalog.pg_database \
         WHERE datname = current_database()) || '_[0-9a-f]{16}$')",
        ASK_MAX,
    )?;
    for name in left.into_iter().flatten().flatten() {
        let lock = live.value(
            &format!("SELECT pg_try_advisory_lock({})", key(&name)),
            ASK_MAX,
        )?;
        if lock.as_deref() != Some("t") {
            continue;
        }
        if let Err(error) = drop_database(live, &name) {
            tracing::warn!(database = name, %error, "cannot drop a database that a killed process left");
        }
        live.run(
            &format!("SELECT pg_advisory_unlock({})", key(&name)),
            ASK_MAX,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::postgres::Server;

    const OURS: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%'";

    #[test]
    fn what_a_kill_left_is_dropped_and_nothing_else() {
        let Some(server) = Server::start() else {
            return;
        };
        server.sql("postgres", "CREATE TABLE t AS SELECT 1 AS x");
        let url = server.url("postgresql", "postgres");
        let connect = || Session::connect(&url).unwrap();
        let alive = OwnDatabase::create(connect(), Purpose::Scratch, Template::Empty).unwrap();
        let clone = OwnDatabase::create(connect(), Purpose::Trial, Template::Live);
        // The other one's connection to the live database is in the way of a template.
        assert!(clone.is_err_and(|error| error.is_in_use()));
        let oid = server.sql(
            "postgres",
            "SELECT oid FROM pg_database WHERE datname = 'postgres'",
        );
        let oid = oid.trim();
        for name in [
            format!("ubs_trial_{oid}_0123456789abcdef"),
            format!("ubs_trial_{oid}9_0123456789abcdef"),
            format!("ubs_trial_{oid}_mine"),
        ] {
            server.sql("postgres", &format!("CREATE DATABASE {name} OWNER ann"));
        }
        server.sql(
            "postgres",
            &format!("CREATE DATABASE ubs_trial_{oid}_0123456789abcdee"),
        );
        assert_eq!(server.sql("postgres", OURS).trim(), "5");
        sweep(&connect()).unwrap();
        assert_eq!(server.sql("postgres", OURS).trim(), "4");
        drop(alive);
        assert_eq!(server.sql("postgres", OURS).trim(), "3");
        let clone = OwnDatabase::create(connect(), Purpose::Trial, Template::Live).unwrap();
        let session = clone.connect().unwrap();
        let x = session
            .value("SELECT x FROM t", Duration::from_secs(5))
            .unwrap();
        assert_eq!(x.as_deref(), Some("1"));
        drop(clone);
        assert_eq!(server.sql("postgres", OURS).trim(), "3");
        assert!(
            session
                .run_one("SELECT 1; SELECT 2", Duration::from_secs(1))
                .is_err()
        );
    }
}
