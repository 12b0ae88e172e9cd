//! A role that `ubs` makes for one trial of migrations and drops again: it owns the clones, may connect and
//! nothing else, and its password is known to nobody but us.
//!
//! Whatever code under trial does with a session of it stays in the clone: it is no member of any other
//! role, owns nothing outside, and may make neither databases nor roles. It is named and locked like the
//! databases ([`super::own_database`]), so a kill leaves nothing for long.

use std::sync::Arc;
use std::time::Duration;

use crate::database::postgres::leftovers::{drop_role, sweep};
use crate::database::postgres::own_lock::{lock, own_name, unlock};
use crate::database::postgres::session::{ServerError, Session};
use crate::database::postgres::url::PostgresUrl;
use crate::database::postgres::user_rights::UserRights;
use crate::database::sql::quote::{identifier, literal};

const ASK_MAX: Duration = Duration::from_secs(10);
/// How long everything in a clone may take to get its new owner.
const ADOPT_MAX: Duration = Duration::from_secs(60);
/// Sessions of one trial.
const CONNECTIONS_MAX: u32 = 32;
/// Temporary files of one of its sessions.
const FILES_MAX: &str = "1GB";
/// After this, nobody can log in even if the role is left.
const VALID: &str = "2 hours";

/// See the module. Dropped with this, which has to be after its databases.
pub(crate) struct OwnRole {
    live: Arc<Session>,
    name: String,
    password: String,
}

impl OwnRole {
    /// Makes one on the server of `live`, whose user has to be able to give databases to it.
    ///
    /// # Errors
    /// The user may not, or the server did not do it.
    pub(crate) fn create(live: &Arc<Session>) -> Result<Self, ServerError> {
        sweep(live)?;
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let own = Self {
            live: Arc::clone(live),
            name: own_name(live, "role")?,
            password: format!("{}{}", random(), random()),
        };
        lock(live, &own.name)?;
        let until = live
            .value(&format!("SELECT now() + interval '{VALID}'"), ASK_MAX)?
            .unwrap_or_default();
        let is_superuser = UserRights::read(live)?.is_superuser();
        let role = identifier(&own.name);
        let create = format!(
            "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS \
             CONNECTION LIMIT {CONNECTIONS_MAX} PASSWORD {} VALID UNTIL {}",
            own.verifier(),
            literal(&until)
        );
        if is_superuser {
            live.run(&create, ASK_MAX)?;
            own.limit_files()?;
        } else {
            // Only a member may give something to a role. Both at once, since only a member drops what a kill leaves.
            let grant = format!("GRANT {role} TO CURRENT_USER");
            live.run(&format!("{create}; {grant}"), ASK_MAX)?;
        }
        Ok(own)
    }

    /// What a statement needs besides the database it works on, on the live server's disk. Only a superuser sets that,
    /// or takes it back.
    fn limit_files(&self) -> Result<(), ServerError> {
        let role = identifier(&self.name);
        let limit = format!("ALTER ROLE {role} SET temp_file_limit = '{FILES_MAX}'");
        self.live.run(&limit, ASK_MAX)
    }

    /// Not the password itself, which a server may log.
    fn verifier(&self) -> String {
        literal(&postgres_protocol::password::scram_sha_256(
            self.password.as_bytes(),
        ))
    }

    /// Takes back what it may have changed of itself, which anybody may: its password, and its settings for this
    /// database (a name in quotes) or all.
    pub(crate) fn restore(&self, database: &str) -> Result<(), ServerError> {
        let role = identifier(&self.name);
        for change in [
            format!("PASSWORD {}", self.verifier()),
            "RESET ALL".to_owned(),
            format!("IN DATABASE {database} RESET ALL"),
        ] {
            self.live
                .run(&format!("ALTER ROLE {role} {change}"), ASK_MAX)?;
        }
        if UserRights::read(&self.live)?.is_superuser() {
            self.limit_files()?;
        }
        Ok(())
    }

    /// Its name on the server.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL of a database of the server of `url`, in that one's form, for this role; it holds the password.
    pub(crate) fn url_like(&self, url: &str, database: &str) -> String {
        let url = PostgresUrl::with_database(url, database);
        PostgresUrl::with_login(&url, &self.name, &self.password)
    }

    /// Gives this role everything in a clone that belongs to the user of `inside`, or to a group of which he is a
    /// member; to a superuser, everything does.
    /// What an extension brought stays whose it is.
    pub(crate) fn adopt(&self, inside: &Session) -> Result<(), ServerError> {
        // What belongs to a group is each member's to change.
        let owner = |owner: &str| format!("pg_has_role({owner}, 'USAGE')");
        let ours = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";
        let bound = |class: &str, oid: &str, kinds: &str| {
            format!(
                "NOT EXISTS (SELECT 1 FROM pg_depend AS e WHERE e.classid = '{class}'::regclass AND e.objid = {oid} \
                 AND e.deptype IN ({kinds}))"
            )
        };
        // A sequence of a column goes with its table; partitions and their keys depend on it too, and do not.
        let relation = format!(
            "{} AND (c.relkind <> 'S' OR {})",
            bound("pg_class", "c.oid", "'e'"),
            bound("pg_class", "c.oid", "'a', 'i'")
        );
        let statements = format!(
            "SELECT format('SCHEMA %I', n.nspname) FROM pg_namespace AS n WHERE {ours} AND {} \
               AND pg_get_userbyid(n.nspowner) NOT LIKE 'pg\\_%' AND {} \
             UNION ALL SELECT format('%s %I.%I', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' \
               WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, n.nspname, c.relname) \
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'c') AND {ours} AND {} AND {} \
             UNION ALL SELECT format('%s %I.%I', CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, n.nspname, t.typname) \
               FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace \
               WHERE t.typtype IN ('e', 'd', 'r') AND {ours} AND {} AND {} \
             UNION ALL SELECT format('ROUTINE %s', p.oid::regprocedure) FROM pg_proc AS p \
               JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE {ours} AND {} AND {}",
            owner("n.nspowner"),
            bound("pg_namespace", "n.oid", "'e'"),
            owner("c.relowner"),
            relation,
            owner("t.typowner"),
            bound("pg_type", "t.oid", "'e', 'i'"),
            owner("p.proowner"),
            bound("pg_proc", "p.oid", "'e', 'i'"),
        );
        let role = identifier(&self.name);
        let found = inside.rows(&statements, ASK_MAX)?;
        let script: Vec<String> = found
            .into_iter()
            .flatten()
            .flatten()
            .map(|what| format!("ALTER {what} OWNER TO {role}"))
            .collect();
        if script.is_empty() {
            return Ok(());
        }
        inside.run(&script.join(";\n"), ADOPT_MAX)
    }
}

impl Drop for OwnRole {
    fn drop(&mut self) {
        let dropped = self.live.or_again(|live| drop_role(live, &self.name));
        if let Err(error) = dropped {
            tracing::warn!(role = self.name, %error, "cannot drop a role of ours; the next check tries again");
        }
        unlock(&self.live, &self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::dump::copy_into;
    use super::super::own_database::{OwnDatabase, Template};
    use super::*;
    use crate::checks::testing::postgres::Server;

    const LEFT: &str = "SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'ubs\\_%') + \
                        (SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%')";

    const SCRIPT: &str = "CREATE SCHEMA shop; CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN age AS int CHECK (VALUE > 0); \
        CREATE TABLE users (id serial PRIMARY KEY, mood mood, age age); INSERT INTO users (mood, age) VALUES ('good', 7); \
        CREATE TABLE shop.items (id int GENERATED ALWAYS AS IDENTITY); CREATE SEQUENCE numbers; \
        CREATE VIEW old AS SELECT * FROM users; CREATE MATERIALIZED VIEW kept AS SELECT 1 AS x; \
        CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE two(x int) LANGUAGE sql AS 'SELECT 1'; \
        CREATE AGGREGATE all_of(int) (sfunc = int4pl, stype = int)";

    /// Everything that migrations do with what is theirs.
    const CHANGES: &str = "ALTER TABLE users ADD COLUMN x int; DROP VIEW old; ALTER TYPE mood RENAME TO feeling; ALTER DOMAIN age DROP CONSTRAINT age_check; \
        ALTER TABLE shop.items ADD COLUMN y int; ALTER SEQUENCE numbers RESTART 7; REFRESH MATERIALIZED VIEW kept; \
        CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'; DROP PROCEDURE two(int); DROP AGGREGATE all_of(int); \
        INSERT INTO users (mood, age) VALUES ('bad', 8); CREATE TABLE shop.new (z int); CREATE TABLE new (z int); DROP SCHEMA shop CASCADE";

    fn users() -> Option<(Server, [String; 2])> {
        let server = Server::start()?;
        let bob = server.database_of_bob(SCRIPT);
        server.sql("postgres", "ALTER ROLE bob CREATEROLE");
        let bob = bob.replace("+asyncpg", "");
        let ann = server.url("postgresql", "app");
        Some((server, [bob, ann]))
    }

    #[test]
    fn a_clone_belongs_to_its_role_whoever_makes_it() {
        let Some((server, urls)) = users() else {
            return;
        };
        for url in urls {
            let live = Arc::new(Session::connect(&url).unwrap());
            let role = Arc::new(OwnRole::create(&live).unwrap());
            let template = OwnDatabase::create_owned(&live, Template::Live, &role).unwrap();
            let second = template.duplicate().unwrap();
            let copy = OwnDatabase::create_owned(&live, Template::Empty, &role).unwrap();
            copy_into(&url, &copy, &[]).unwrap();
            for clone in [&template, &second, &copy] {
                let session = clone.connect().unwrap();
                let value = |sql: &str| session.value(sql, ASK_MAX).unwrap().unwrap();
                assert_eq!(value("SELECT current_user"), role.name());
                session.run(CHANGES, ASK_MAX).unwrap();
                assert_eq!(value("SELECT count(*) FROM users"), "2", "{url}");
                assert_eq!(value("SELECT one()"), "2");
            }
            let without = OwnDatabase::create_owned(&live, Template::Empty, &role).unwrap();
            copy_into(&url, &without, &["public.users".to_owned()]).unwrap();
            let session = without.connect().unwrap();
            let rows = session.value("SELECT count(*) FROM users", ASK_MAX);
            assert_eq!(rows.unwrap().unwrap(), "0");
            drop((session, role, template, second, copy, without, live));
            assert_eq!(server.sql("postgres", LEFT).trim(), "0", "{url}");
            assert_eq!(server.sql("app", "SELECT count(*) FROM users").trim(), "1");
        }
    }

    #[test]
    fn what_belongs_to_a_group_is_its_members_to_change() {
        let Some((server, [bob, _])) = users() else {
            return;
        };
        server.sql("postgres", "CREATE ROLE team; GRANT team TO bob");
        server.sql("app", "REASSIGN OWNED BY bob TO team");
        let live = Arc::new(Session::connect(&bob).unwrap());
        let role = Arc::new(OwnRole::create(&live).unwrap());
        let clone = OwnDatabase::create_owned(&live, Template::Live, &role).unwrap();
        clone.connect().unwrap().run(CHANGES, ASK_MAX).unwrap();
        // Who only may use it owns none of it.
        server.sql(
            "app",
            "ALTER TABLE users OWNER TO postgres; GRANT ALL ON users TO bob",
        );
        drop(clone);
        let clone = OwnDatabase::create_owned(&live, Template::Live, &role).unwrap();
        let done = clone
            .connect()
            .unwrap()
            .run("ALTER TABLE users ADD COLUMN x int", ASK_MAX);
        assert!(done.is_err_and(|error| error.is_denied()));
    }

    #[test]
    fn a_session_of_the_role_reaches_nothing_else() {
        let Some((server, [bob, _])) = users() else {
            return;
        };
        let live = Arc::new(Session::connect(&bob).unwrap());
        let role = Arc::new(OwnRole::create(&live).unwrap());
        let clone = OwnDatabase::create_owned(&live, Template::Live, &role).unwrap();
        server.sql("postgres", "GRANT pg_read_all_data TO bob");
        for forbidden in [
            "DROP DATABASE app",
            "ALTER DATABASE app SET search_path = 'x'",
            "ALTER DATABASE app RENAME TO other",
            "CREATE DATABASE other",
            "CREATE ROLE other",
            "ALTER ROLE bob PASSWORD 'x'",
            "ALTER ROLE bob SET search_path = 'x'",
            "DROP ROLE bob",
            "SET ROLE bob",
            "SET SESSION AUTHORIZATION bob",
            "GRANT pg_read_all_data TO CURRENT_USER",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app'",
            "COPY users TO PROGRAM 'cat'",
            "COPY users TO '/tmp/ubs-test'",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT lo_import('/etc/passwd')",
            "ALTER SYSTEM SET work_mem = '1MB'",
            "CREATE EXTENSION dblink",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''x'''; END $$",
        ] {
            // A session each: what one leaves is not in the way of the next.
            let session = clone.connect().unwrap();
            let done = session.rows(forbidden, ASK_MAX);
            // Whom it may not end, it does not see.
            let is_nothing = done.as_ref().is_ok_and(Vec::is_empty);
            let is_denied = done.as_ref().is_err_and(ServerError::is_denied);
            assert!(is_nothing || is_denied, "{forbidden}: {done:?}");
        }
        assert!(live.value("SELECT 1", ASK_MAX).is_ok());
    }

    #[test]
    fn what_a_kill_left_is_dropped_with_its_databases() {
        let Some((server, [bob, ann])) = users() else {
            return;
        };
        let oid = server.sql("app", "SELECT oid FROM pg_database WHERE datname = 'app'");
        let oid = oid.trim();
        let left = |random: &str| {
            server.sql(
                "postgres",
                &format!(
                    "SET ROLE bob; CREATE ROLE ubs_role_{oid}_{random} LOGIN; GRANT ubs_role_{oid}_{random} TO bob"
                ),
            );
            server.sql(
                "postgres",
                &format!("CREATE DATABASE ubs_trial_{oid}_{random} OWNER ubs_role_{oid}_{random}"),
            );
        };
        for url in [&bob, &ann] {
            left("0123456789abcdef");
            left("0123456789abcdee");
            let live = Arc::new(Session::connect(url).unwrap());
            let alive = OwnRole::create(&live).unwrap();
            assert_eq!(server.sql("postgres", LEFT).trim(), "1", "{url}");
            // Held by another session.
            let other = Session::connect(url).unwrap();
            sweep(&other).unwrap();
            assert_eq!(server.sql("postgres", LEFT).trim(), "1", "{url}");
            drop(alive);
            assert_eq!(server.sql("postgres", LEFT).trim(), "0", "{url}");
        }
    }
}
