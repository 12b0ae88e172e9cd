//! A live database of either kind, opened for reading: its schema, and the rows of a small table.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::database::model::DatabaseSchema;
use crate::database::postgres::connection::Postgres;
use crate::database::postgres::ddl::Rights;
use crate::database::postgres::schema;
use crate::database::postgres::url::PostgresUrl;
use crate::database::postgres::user_rights::UserRights;
use crate::database::sql::quote::identifier;
use crate::database::sqlite::live;
use crate::database::unreachable::Unreachable;
use crate::database::url::{Database, is_postgres, parse_url};

/// A database that answers.
pub(crate) enum Live {
    Sqlite {
        connection: Box<Connection>,
        path: PathBuf,
    },
    Postgres(Box<Postgres>),
}

impl Live {
    /// Opens the file of a SQLite database, which exists.
    pub(crate) fn sqlite(path: &Path) -> Result<Self, Unreachable> {
        Ok(Self::Sqlite {
            connection: Box::new(live::open(path)?),
            path: path.to_owned(),
        })
    }

    /// Connects to a PostgreSQL server.
    pub(crate) fn postgres(url: &str) -> Result<Self, Unreachable> {
        let url = PostgresUrl::parse(url).map_err(Unreachable::other)?;
        Ok(Self::Postgres(Box::new(Postgres::connect(&url)?)))
    }

    /// Whether the database at the URL, as an application in `root` would open it, answers a question.
    ///
    /// # Errors
    /// Why it does not, without user and password.
    pub(crate) fn ping(url: &str, root: &Path) -> Result<(), Unreachable> {
        let live = match parse_url(url, root) {
            Database::File(path) if !path.exists() => {
                return Err(Unreachable::other(format!(
                    "{} does not exist",
                    path.display()
                )));
            }
            Database::File(path) => Self::sqlite(&path)?,
            Database::Memory => {
                return Err(Unreachable::other(
                    "it is in the application's memory".to_owned(),
                ));
            }
            Database::Other if is_postgres(url) => Self::postgres(url)?,
            Database::Other => {
                let why = "neither a SQLite nor a PostgreSQL database can be asked at its URL";
                return Err(Unreachable::other(why.to_owned()));
            }
        };
        let question = match &live {
            Self::Postgres(_) => "SELECT 1",
            // Reads the file: SQLite answers `SELECT 1` without it.
            Self::Sqlite { .. } => "SELECT count(*) FROM main.sqlite_schema",
        };
        live.column(question).map(drop)
    }

    /// All of the schema: on PostgreSQL what the search path leads to and what lies in the schemas
    /// `wanted`.
    pub(crate) fn schema(&self, wanted: &[&str]) -> Result<DatabaseSchema, Unreachable> {
        match self {
            Self::Postgres(server) => schema::read_schema(server, wanted),
            Self::Sqlite { connection, path } => {
                live::read_schema(connection).map_err(|error| live::unreachable(&error, path))
            }
        }
    }

    /// What may be changed there automatically.
    pub(crate) fn rights(&self) -> Result<Rights, Unreachable> {
        match self {
            Self::Postgres(server) => Rights::read(server),
            Self::Sqlite { .. } => Ok(Rights::default()),
        }
    }

    /// What the user of the connection may do on its server.
    pub(crate) fn user_rights(&self) -> Result<UserRights, Unreachable> {
        match self {
            Self::Postgres(server) => UserRights::ask(server),
            Self::Sqlite { .. } => Ok(UserRights::default()),
        }
    }

    /// For people.
    pub(crate) fn shown(&self, root: &Path) -> String {
        match self {
            Self::Postgres(server) => server.shown().to_owned(),
            Self::Sqlite { path, .. } => path
                .strip_prefix(root)
                .unwrap_or(path)
                .display()
                .to_string(),
        }
    }

    /// The names of all tables, sorted: on PostgreSQL those that the search path leads to.
    pub(crate) fn table_names(&self) -> Result<Vec<String>, Unreachable> {
        self.column(match self {
            Self::Postgres(_) => {
                "SELECT c.relname FROM pg_catalog.pg_class AS c WHERE c.relkind IN ('r', 'p') \
                 AND pg_catalog.pg_table_is_visible(c.oid) \
                 AND c.relnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace \
                 WHERE nspname IN ('pg_catalog', 'information_schema')) ORDER BY 1"
            }
            Self::Sqlite { .. } => {
                "SELECT name FROM main.sqlite_schema WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1"
            }
        })
    }

    /// The values of the first column of a query as text, without those that are NULL.
    pub(crate) fn column(&self, sql: &str) -> Result<Vec<String>, Unreachable> {
        match self {
            Self::Postgres(server) => {
                let rows = server.rows(sql)?;
                Ok(rows
                    .iter()
                    .filter_map(|row| row.get(0).map(str::to_owned))
                    .collect())
            }
            Self::Sqlite { connection, path } => {
                let read = || {
                    let mut statement = connection.prepare(sql)?;
                    let rows = statement.query_map([], |row| Ok(as_text(row.get_ref(0)?)))?;
                    rows.collect::<rusqlite::Result<Vec<_>>>()
                };
                read()
                    .map(|rows| rows.into_iter().flatten().collect())
                    .map_err(|error| live::unreachable(&error, path))
            }
        }
    }

    /// The same of a query that the database may refuse.
    pub(crate) fn try_column(&self, sql: &str) -> Result<Vec<String>, Unreachable> {
        match self {
            Self::Postgres(server) => Ok(server
                .ask(sql)?
                .iter()
                .filter_map(|row| row.get(0).map(str::to_owned))
                .collect()),
            Self::Sqlite { .. } => self.column(sql),
        }
    }

    /// At most `rows_max` rows of a small table, each value as text; `None` if there is no such table.
    /// For what migration tools keep: `alembic_version`, `django_migrations`.
    pub(crate) fn read_table(
        &self,
        table: &str,
        columns: &[&str],
        rows_max: usize,
    ) -> Result<Option<Vec<Vec<Option<String>>>>, Unreachable> {
        let (connection, path) = match self {
            Self::Postgres(server) => return server.read_table(table, columns, rows_max),
            Self::Sqlite { connection, path } => (connection, path),
        };
        let read = || -> rusqlite::Result<Option<Vec<Vec<Option<String>>>>> {
            let exists: bool = connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type IN ('table', 'view') \
                 AND name = ?1 COLLATE NOCASE)",
                [table],
                |row| row.get(0),
            )?;
            if !exists {
                return Ok(None);
            }
            let wanted: Vec<String> = columns.iter().map(|name| identifier(name)).collect();
            let mut statement = connection.prepare(&format!(
                "SELECT {} FROM main.{} LIMIT {rows_max}",
                wanted.join(", "),
                identifier(table)
            ))?;
            let rows = statement.query_map([], |row| {
                (0..columns.len())
                    .map(|at| Ok(as_text(row.get_ref(at)?)))
                    .collect()
            })?;
            rows.collect::<rusqlite::Result<_>>().map(Some)
        };
        read().map_err(|error| live::unreachable(&error, path))
    }
}

fn as_text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_table_is_read_as_text_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE Alembic_Version (version_num TEXT, n INT); INSERT INTO alembic_version VALUES ('a1', 2), ('b2', NULL)")
            .unwrap();
        let live = Live::sqlite(&path).unwrap();
        let rows = live.read_table("alembic_version", &["version_num", "n"], 10);
        let text = |s: &str| Some(s.to_owned());
        assert_eq!(
            rows.unwrap(),
            Some(vec![vec![text("a1"), text("2")], vec![text("b2"), None]])
        );
        let one = live.read_table("alembic_version", &["n"], 1).unwrap();
        assert_eq!(one, Some(vec![vec![text("2")]]));
        assert_eq!(live.read_table("none", &["n"], 1).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_a_database_answers() {
        let dir = tempfile::tempdir().unwrap();
        let ping = |url: &str| Live::ping(url, dir.path()).map_err(|why| why.to_string());
        assert!(
            ping("sqlite:///app.db")
                .unwrap_err()
                .contains("does not exist")
        );
        std::fs::write(
            dir.path().join("app.db"),
            "no database, but long enough to look at",
        )
        .unwrap();
        assert!(
            ping("sqlite:///app.db")
                .unwrap_err()
                .contains("no SQLite database")
        );
        std::fs::remove_file(dir.path().join("app.db")).unwrap();
        let connection = Connection::open(dir.path().join("app.db")).unwrap();
        connection.execute_batch("CREATE TABLE t (n INT)").unwrap();
        assert_eq!(ping("sqlite:///app.db"), Ok(()));
        assert!(ping("mysql://a:s3cr3t@b/c").is_err_and(|why| !why.contains("s3cr3t")));
    }

    #[test]
    fn a_small_table_of_a_real_server_is_read_and_a_server_that_is_not_there_says_so() {
        use crate::checks::testing::postgres::Server;
        let Some(server) = Server::start() else {
            return;
        };
        server.sql("postgres", "CREATE TABLE alembic_version (version_num varchar(32), n int); INSERT INTO alembic_version VALUES ('a1', NULL)");
        let socket = format!(
            "postgresql+psycopg2://postgres@/postgres?host={}&port={}",
            server.socket().display(),
            server.port
        );
        for url in [
            server.url("postgresql+asyncpg", "postgres"),
            server.url("postgres", "postgres") + "?sslmode=disable",
            socket,
        ] {
            Live::ping(&url, Path::new("/")).unwrap_or_else(|why| panic!("{why}"));
            let live = Live::postgres(&url).unwrap_or_else(|why| panic!("{why}"));
            let rows = live.read_table("alembic_version", &["version_num", "n"], 9);
            assert_eq!(rows.unwrap(), Some(vec![vec![Some("a1".to_owned()), None]]));
            assert_eq!(live.read_table("no\"ne", &["n"], 1).unwrap(), None);
        }
        let why = |url: &str| match Live::postgres(url) {
            Ok(_) => panic!("connected"),
            Err(why) => why.to_string(),
        };
        let wrong = format!("postgresql://ann:s3cr3t@127.0.0.1:{}/x", server.port);
        let at = format!("127.0.0.1:{}", server.port);
        assert_eq!(
            why(&wrong),
            format!("x at {at}: the server refuses the user or the password")
        );
        let reported = why(&server.url("postgresql", "none"));
        assert!(
            reported.contains("does not exist") && !reported.contains("ss/w"),
            "{reported}"
        );
        let reported = why(&(server.url("postgresql", "postgres") + "?sslmode=require"));
        assert!(reported.to_lowercase().contains("tls"), "{reported}");
        let reported = why("postgresql://ann:s3cr3t@127.0.0.1:1/x");
        assert!(
            reported.contains("refused") && !reported.contains("s3cr3t"),
            "{reported}"
        );
    }
}
