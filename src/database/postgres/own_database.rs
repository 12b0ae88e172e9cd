//! Databases that `ubs` makes beside the live one and drops again: a clone for a trial, a scratch database
//! for SQL files.
//!
//! Whose they are is in the name (`ubs_KIND_OID_RANDOM`, with the live database's object id) and in an
//! advisory lock, which its maker holds in the live database for as long as it lives: what has such a
//! name, belongs to our user or to a role of ours, and is locked by nobody, a kill left behind. Nothing else
//! is ever dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::database::postgres::leftovers::{drop_database, sweep};
use crate::database::postgres::own_lock::{lock, own_name, unlock};
use crate::database::postgres::own_role::OwnRole;
use crate::database::postgres::session::{ServerError, Session};
use crate::database::postgres::url::PostgresUrl;
use crate::database::sql::quote::identifier;

/// How long the making of one may take.
const CREATE_MAX: Duration = Duration::from_secs(120);
const ASK_MAX: Duration = Duration::from_secs(10);

/// What one is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
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
#[derive(Clone, Copy)]
pub(crate) enum Template<'a> {
    /// Everything in the live database; nobody else may be connected to it meanwhile.
    Live,
    /// Everything in another one of ours; nobody may be connected to that one.
    Own(&'a OwnDatabase),
    /// Nothing.
    Empty,
}

/// A database of ours; dropped with this.
pub(crate) struct OwnDatabase {
    /// To the live database; holds the lock.
    live: Arc<Session>,
    name: String,
    /// Who owns it, if not the user of that connection. Lives longer than the database.
    owner: Option<Arc<OwnRole>>,
}

impl OwnDatabase {
    /// Makes one beside the database of `live`, after dropping what a kill left behind.
    ///
    /// # Errors
    /// The user may not, somebody is connected to the template, or the server did not do it.
    pub(crate) fn create(
        live: &Arc<Session>,
        purpose: Purpose,
        template: Template<'_>,
    ) -> Result<Self, ServerError> {
        sweep(live)?;
        Self::make(live, purpose, template, None)
    }

    /// Makes one for a trial that belongs to a role of ours, with everything in it; connections to it are that role's.
    ///
    /// # Errors
    /// As [`OwnDatabase::create`].
    pub(crate) fn create_owned(
        live: &Arc<Session>,
        template: Template<'_>,
        owner: &Arc<OwnRole>,
    ) -> Result<Self, ServerError> {
        let own = Self::make(live, Purpose::Trial, template, Some(owner))?;
        if matches!(template, Template::Live) {
            own.live
                .connect_to(&own.name)
                .and_then(|inside| owner.adopt(&inside))?;
        }
        Ok(own)
    }

    /// Another one with everything that is in this one, to which nobody may be connected; for the same owner.
    ///
    /// # Errors
    /// As [`OwnDatabase::create`].
    pub(crate) fn duplicate(&self) -> Result<Self, ServerError> {
        Self::make(
            &self.live,
            Purpose::Trial,
            Template::Own(self),
            self.owner.as_ref(),
        )
    }

    fn make(
        live: &Arc<Session>,
        purpose: Purpose,
        template: Template<'_>,
        owner: Option<&Arc<OwnRole>>,
    ) -> Result<Self, ServerError> {
        let own = Self {
            live: Arc::clone(live),
            name: own_name(live, purpose.word())?,
            owner: owner.map(Arc::clone),
        };
        // Before it is there, so that nobody takes it for a leftover.
        lock(live, &own.name)?;
        let source = match template {
            Template::Live => {
                let name = live.value("SELECT current_database()", ASK_MAX)?;
                identifier(&name.unwrap_or_default())
            }
            Template::Own(other) => identifier(&other.name),
            Template::Empty => "template0".to_owned(),
        };
        let name = identifier(&own.name);
        let owned = owner.map_or_else(String::new, |role| {
            format!(" OWNER {}", identifier(role.name()))
        });
        live.run(
            &format!("CREATE DATABASE {name} TEMPLATE {source}{owned}"),
            CREATE_MAX,
        )?;
        own.set_search_path()?;
        Ok(own)
    }

    /// What the database or the user's settings there say of the search path is no part of a template; and the
    /// schema that `"$user"` leads to is the user's.
    fn set_search_path(&self) -> Result<(), ServerError> {
        let (live, name) = (&self.live, identifier(&self.name));
        let path = match &self.owner {
            None => None,
            Some(_) => live.value(
                "SELECT string_agg(quote_ident(s), ', ') FROM unnest(current_schemas(false)) AS s",
                ASK_MAX,
            )?,
        };
        let path = path.map_or_else(|| "FROM CURRENT".to_owned(), |path| format!("TO {path}"));
        live.run(
            &format!("ALTER DATABASE {name} SET search_path {path}"),
            ASK_MAX,
        )
    }

    /// Takes back what its owner may have changed of it, and of himself, from a database beside it: settings, the
    /// password, who may connect.
    ///
    /// # Errors
    /// The server did not do it.
    pub(crate) fn restore(&self) -> Result<(), ServerError> {
        let name = identifier(&self.name);
        let options = "ALLOW_CONNECTIONS true CONNECTION LIMIT -1 IS_TEMPLATE false";
        for change in [options, "RESET ALL"] {
            let sql = format!("ALTER DATABASE {name} {change}");
            self.live.run(&sql, ASK_MAX)?;
        }
        if let Some(owner) = &self.owner {
            owner.restore(&name)?;
        }
        self.set_search_path()
    }

    /// Its name on the server.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, for the user of the live database or for its own role; it holds the password.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        self.url_like(&self.live.url_of(&self.name))
    }

    /// Its URL in the form of one that leads to the live database: by that driver, with those options.
    #[must_use]
    pub(crate) fn url_like(&self, url: &str) -> String {
        match &self.owner {
            None => PostgresUrl::with_database(url, &self.name),
            Some(role) => role.url_like(url, &self.name),
        }
    }

    /// A connection to it.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub(crate) fn connect(&self) -> Result<Session, ServerError> {
        Session::connect(&self.url())
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let dropped = self.live.or_again(|live| drop_database(live, &self.name));
        if let Err(error) = dropped
            && !error.is_unknown_database()
        {
            tracing::warn!(database = self.name, %error, "cannot drop a database of ours; the next check tries again");
        }
        unlock(&self.live, &self.name);
    }
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
        let connect = || Arc::new(Session::connect(&url).unwrap());
        let alive = OwnDatabase::create(&connect(), Purpose::Scratch, Template::Empty).unwrap();
        let clone = OwnDatabase::create(&connect(), Purpose::Trial, Template::Live);
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
        let clone = OwnDatabase::create(&connect(), Purpose::Trial, Template::Live).unwrap();
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
