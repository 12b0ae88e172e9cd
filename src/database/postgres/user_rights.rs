//! What a server lets the user of a connection do, as far as trials need it.

use std::time::Duration;

use crate::database::postgres::connection::Postgres;
use crate::database::postgres::session::{ServerError, Session};
use crate::database::sql::quote::identifier;
use crate::database::unreachable::Unreachable;

const ASK_MAX: Duration = Duration::from_secs(10);

/// The rights of one user in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserRights {
    /// Who.
    pub name: String,
    is_superuser: bool,
    creates_databases: bool,
    creates_roles: bool,
    /// What in the database leads out of it, for people; nothing if empty.
    ways_out: String,
}

impl UserRights {
    /// One row, for [`UserRights::of`]. In a clone, what belongs to the user or a group of his (to a superuser:
    /// everything) belongs to the trial's role, but for what an extension brought; a function of somebody else stays his.
    const QUESTION: &str = "SELECT u.rolname, u.rolsuper, u.rolcreatedb OR u.rolsuper, u.rolcreaterole OR u.rolsuper, \
        (SELECT string_agg(w.way, ', ' ORDER BY w.way) FROM ( \
          SELECT 'the extension ' || extname AS way FROM pg_catalog.pg_extension \
            WHERE extname IN ('adminpack', 'aws_lambda', 'aws_s3', 'dblink', 'file_fdw', 'http', 'mysql_fdw', 'oracle_fdw', \
            'pg_background', 'pg_cron', 'pg_net', 'postgres_fdw', 'tds_fdw') \
          UNION ALL SELECT 'the foreign server ' || srvname FROM pg_catalog.pg_foreign_server \
          UNION ALL SELECT 'the language ' || lanname FROM pg_catalog.pg_language \
            WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c') \
          UNION ALL SELECT 'the function ' || p.oid::pg_catalog.regprocedure || ', which anybody may call and which runs with the \
            rights of ' || o.rolname FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner \
            WHERE p.prosecdef AND pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE') \
            AND p.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype) \
            AND (o.rolsuper OR o.rolcreaterole OR o.rolcreatedb OR EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members AS m \
              JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid WHERE m.member = o.oid AND g.rolname LIKE 'pg\\_%')) \
            AND (NOT pg_catalog.pg_has_role(u.oid, p.proowner, 'USAGE') OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS e \
              WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'))) AS w) \
        FROM pg_catalog.pg_roles AS u WHERE u.rolname = current_user";

    /// From the values of that row.
    fn of<'a>(value: impl Fn(usize) -> &'a str) -> Self {
        let is = |at: usize| value(at) == "t";
        Self {
            name: value(0).to_owned(),
            is_superuser: is(1),
            creates_databases: is(2),
            creates_roles: is(3),
            ways_out: value(4).to_owned(),
        }
    }

    /// Asks for them, over a connection that reads.
    pub(crate) fn ask(server: &Postgres) -> Result<Self, Unreachable> {
        let rows = server.rows(Self::QUESTION)?;
        Ok(Self::of(|at| {
            rows.first().and_then(|row| row.get(at)).unwrap_or_default()
        }))
    }

    /// Asks for them.
    ///
    /// # Errors
    /// The server did not answer.
    pub(crate) fn read(live: &Session) -> Result<Self, ServerError> {
        let rows = live.rows(Self::QUESTION, ASK_MAX)?;
        Ok(Self::of(|at| {
            let value = rows.first().and_then(|row| row.get(at));
            value.and_then(Option::as_deref).unwrap_or_default()
        }))
    }

    /// Whether anything in the database may be given to somebody else.
    #[must_use]
    pub(crate) fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// Why no clone can be made, if so; the end of a sentence.
    #[must_use]
    pub(crate) fn why_no_clone(&self) -> Option<String> {
        (!self.creates_databases).then(|| {
            format!(
                "the user {} may not create databases, and everything is tried on one of our own before \
                 (`ALTER ROLE {} CREATEDB` lets it)",
                self.name,
                identifier(&self.name)
            )
        })
    }

    /// Why migrations cannot be tried, if so; the end of a sentence.
    #[must_use]
    pub(crate) fn why_no_migrations(&self) -> Option<String> {
        if let Some(why) = self.why_no_clone() {
            return Some(why);
        }
        if !self.creates_roles {
            return Some(format!(
                "migrations are the application's own code, which is tried as a role that may do nothing but change the \
                 clone, and the user {} may not create roles (`ALTER ROLE {} CREATEROLE` lets it)",
                self.name,
                identifier(&self.name)
            ));
        }
        (!self.ways_out.is_empty()).then(|| {
            format!(
                "migrations are the application's own code, which must not reach beyond the clone, and out of it leads {}",
                self.ways_out
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::postgres::Server;

    #[test]
    fn whoever_may_not_make_a_clone_or_a_role_is_reported_so() {
        let Some(server) = Server::start() else {
            return;
        };
        let ann = server.url("postgresql", "postgres");
        let read = |url: &str| UserRights::read(&Session::connect(url).unwrap()).unwrap();
        assert_eq!(read(&ann).why_no_migrations(), None);
        assert!(read(&ann).is_superuser());
        let bob = server
            .database_of_bob("")
            .replace("postgresql+asyncpg", "postgresql");
        let rights = read(&bob);
        assert!(!rights.is_superuser());
        assert_eq!(rights.why_no_clone(), None);
        let why = rights.why_no_migrations().unwrap();
        assert!(why.contains("`ALTER ROLE \"bob\" CREATEROLE`"), "{why}");
        server.sql("postgres", "ALTER ROLE bob CREATEROLE");
        assert_eq!(read(&bob).why_no_migrations(), None);
        server.sql("postgres", "ALTER ROLE bob NOCREATEDB");
        let rights = read(&bob);
        let why = rights.why_no_clone().unwrap();
        assert!(why.contains("`ALTER ROLE \"bob\" CREATEDB`"), "{why}");
        assert_eq!(rights.why_no_migrations(), Some(why));
        server.sql(
            "postgres",
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w",
        );
        let why = read(&ann).why_no_migrations().unwrap();
        assert!(why.ends_with("leads the foreign server far"), "{why}");
    }

    #[test]
    fn a_function_with_more_rights_is_a_way_out_for_whom_it_does_not_belong_to() {
        let Some(server) = Server::start() else {
            return;
        };
        let bob = server
            .database_of_bob(
                "CREATE FUNCTION own() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
            )
            .replace("postgresql+asyncpg", "postgresql");
        let ann = server.url("postgresql", "app");
        server.sql("postgres", "ALTER ROLE bob CREATEROLE; CREATE ROLE carol");
        server.sql(
            "app",
            "CREATE FUNCTION audit() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             CREATE FUNCTION hers() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION hers() OWNER TO carol; \
             CREATE FUNCTION closed() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION closed() FROM PUBLIC",
        );
        let read = |url: &str| UserRights::read(&Session::connect(url).unwrap()).unwrap();
        assert_eq!(read(&bob).why_no_migrations(), None);
        server.sql("app", "GRANT EXECUTE ON FUNCTION closed() TO PUBLIC");
        let why = read(&bob).why_no_migrations().unwrap();
        let reported = "leads the function closed(), which anybody may call and which runs with the rights of postgres";
        assert!(why.ends_with(reported), "{why}");
        assert_eq!(read(&ann).why_no_migrations(), None);
    }
}
