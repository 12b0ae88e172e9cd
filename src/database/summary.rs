//! What a database is, in a few facts that say later whether it was the same one: how many tables it has, whether
//! there are rows, and the revision that its migration tool keeps. Never a value of a row.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use crate::database::handle::Live;
use crate::database::postgres::url::PostgresUrl;
use crate::database::sql::quote::identifier;
use crate::database::unreachable::Unreachable;
use crate::database::url::{is_postgres, sqlite_path};

/// Tables in which one row is looked for; of a larger database the first ones in order of their names.
const TABLES_LOOKED_AT_MAX: usize = 200;
/// Heads that an `alembic_version` table may hold.
const HEADS_MAX: usize = 16;
/// Longest revision that is kept, in characters.
const REVISION_CHARS_MAX: usize = 120;

/// The tables in which migration tools keep what they applied, and the expression that says how far they are.
const REVISIONS: [(&str, &str); 6] = [
    ("alembic_version", "version_num"),
    (
        "django_migrations",
        "(SELECT app || '.' || name FROM django_migrations ORDER BY id DESC LIMIT 1)",
    ),
    ("_sqlx_migrations", "max(version)"),
    ("refinery_schema_history", "max(version)"),
    (
        "flyway_schema_history",
        "(SELECT version FROM flyway_schema_history ORDER BY installed_rank DESC LIMIT 1)",
    ),
    ("schema_migrations", "max(version)"),
];

/// A database in a few facts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DatabaseSummary {
    /// What its migration tool says; heads of Alembic joined by `, `.
    pub revision: Option<String>,
    /// Tables, those of migration tools included.
    pub tables: u32,
    /// Some table that is not a migration tool's has a row.
    pub has_rows: bool,
}

/// A question that is being answered.
pub(crate) struct PendingSummary(mpsc::Receiver<Option<DatabaseSummary>>);

impl PendingSummary {
    /// Begins to look at the database that `url` leads to, seen from `root`.
    ///
    /// A server that does not answer may take seconds, and whoever asks has to go on: a thread waits for it, and
    /// ends with the connection's own bounds.
    pub(crate) fn ask(url: &str, root: &Path) -> Self {
        let (url, root) = (url.to_owned(), root.to_owned());
        let (answer, answered) = mpsc::channel();
        // Without a thread there is no answer, which is what the receiver then says.
        let _ = std::thread::Builder::new()
            .name("database-summary".to_owned())
            .spawn(move || answer.send(read(&url, &root)));
        Self(answered)
    }

    /// The answer, if there is one at `deadline`. `None` also if the database cannot be opened or is of another kind.
    /// A SQLite file that does not exist is a database without tables.
    #[must_use]
    pub(crate) fn by(self, deadline: Instant) -> Option<DatabaseSummary> {
        let limit = deadline.saturating_duration_since(Instant::now());
        self.0.recv_timeout(limit).ok()?
    }
}

/// What tells one database from another, without a password: the URL of SQLite as it is written, server, user and
/// name for PostgreSQL, and what follows the login for others.
#[must_use]
pub(crate) fn identity(url: &str) -> String {
    if is_postgres(url) {
        return PostgresUrl::parse(url).map_or_else(
            |_| "postgresql".to_owned(),
            |url| {
                format!(
                    "postgresql://{}@{}:{}/{}",
                    url.user, url.host, url.port, url.database
                )
            },
        );
    }
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", url));
    let place = rest.split('?').next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}")
}

fn read(url: &str, root: &Path) -> Option<DatabaseSummary> {
    let live = if is_postgres(url) {
        Live::postgres(url).ok()?
    } else {
        let path = sqlite_path(url, root)?;
        if !path.exists() {
            return Some(DatabaseSummary::default());
        }
        Live::sqlite(&path).ok()?
    };
    let tables = live.table_names().ok()?;
    let keeps_migrations = |table: &&String| REVISIONS.iter().any(|(name, _)| name == table);
    let has_rows = tables
        .iter()
        .filter(|table| !keeps_migrations(table))
        .take(TABLES_LOOKED_AT_MAX)
        .any(|table| has_a_row(&live, table).unwrap_or(false));
    Some(DatabaseSummary {
        revision: revision(&live, &tables),
        tables: u32::try_from(tables.len()).unwrap_or(u32::MAX),
        has_rows,
    })
}

fn has_a_row(live: &Live, table: &str) -> Result<bool, Unreachable> {
    let found = live.column(&format!("SELECT 1 FROM {} LIMIT 1", identifier(table)))?;
    Ok(!found.is_empty())
}

fn revision(live: &Live, tables: &[String]) -> Option<String> {
    let (table, column) = REVISIONS
        .iter()
        .find(|(name, _)| tables.iter().any(|table| table == name))?;
    let sql = format!(
        "SELECT {column} FROM {} LIMIT {HEADS_MAX}",
        identifier(table)
    );
    let mut heads = live.column(&sql).ok()?;
    heads.sort();
    heads.dedup();
    let text = heads.join(", ");
    (!text.is_empty()).then(|| text.chars().take(REVISION_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn summarize(url: &str, root: &Path) -> Option<DatabaseSummary> {
        PendingSummary::ask(url, root).by(Instant::now() + Duration::from_secs(10))
    }

    fn made_by(sql: &str) -> Option<DatabaseSummary> {
        let dir = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        summarize("sqlite:///app.db", dir.path())
    }

    #[test]
    fn an_empty_database_a_migrated_one_and_one_in_use_are_told_apart() {
        let summary = |revision: Option<&str>, tables, has_rows| {
            Some(DatabaseSummary {
                revision: revision.map(str::to_owned),
                tables,
                has_rows,
            })
        };
        assert_eq!(made_by(""), summary(None, 0, false));
        let migrated = "CREATE TABLE alembic_version (version_num TEXT); \
             INSERT INTO alembic_version VALUES ('b2'), ('a1'); CREATE TABLE orders (id INTEGER);";
        assert_eq!(made_by(migrated), summary(Some("a1, b2"), 2, false));
        let in_use = format!("{migrated} INSERT INTO orders VALUES (1)");
        assert_eq!(made_by(&in_use), summary(Some("a1, b2"), 2, true));
        assert_eq!(
            made_by(
                "CREATE TABLE django_migrations (id INTEGER, app TEXT, name TEXT); \
                 INSERT INTO django_migrations VALUES (1, 'shop', '0001'), (2, 'shop', '0002')"
            ),
            summary(Some("shop.0002"), 1, false)
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_empty_and_what_is_no_database_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let empty = summarize("sqlite:///none.db", dir.path());
        assert_eq!(empty, Some(DatabaseSummary::default()));
        assert!(!dir.path().join("none.db").exists());
        std::fs::write(
            dir.path().join("text.db"),
            "no database at all, but some text",
        )
        .unwrap();
        assert_eq!(summarize("sqlite:///text.db", dir.path()), None);
        assert_eq!(summarize("mysql://ann@db/shop", dir.path()), None);
    }

    #[test]
    fn a_server_that_does_not_answer_is_not_waited_for() {
        let deaf = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!(
            "postgresql://ann@127.0.0.1:{}/shop",
            deaf.local_addr().unwrap().port()
        );
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(50);
        assert_eq!(PendingSummary::ask(&url, Path::new("/")).by(deadline), None);
        // The connection itself is given five seconds.
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_password_is_no_part_of_what_tells_databases_apart() {
        let urls = [
            (
                "postgresql+asyncpg://ann:s3cret@db:5433/shop?sslmode=require",
                "postgresql://ann@db:5433/shop",
            ),
            (
                "postgres://ann@db/shop?password=s3cret",
                "postgresql://ann@db:5432/shop",
            ),
            ("sqlite:///data/app.db?timeout=5", "sqlite:///data/app.db"),
            ("mysql://ann:s3@cret@db/shop", "mysql://db/shop"),
        ];
        for (url, wanted) in urls {
            assert_eq!(identity(url), wanted);
        }
    }
}
