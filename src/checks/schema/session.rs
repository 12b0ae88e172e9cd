//! A connection to PostgreSQL that may write: to databases of our own (clones, scratch), and to the live
//! database when a change that was proved is promoted. Each statement is bounded in time.
//!
//! A statement that somebody else wrote goes by the extended protocol, which takes one statement and no
//! more (postgresql.org/docs/current/protocol-flow.html), so that nothing hides behind a semicolon.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::postgres::{answered, beneath, open};
use super::postgres_url::PostgresUrl;

/// Given to the server for its own limit before ours strikes.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a server's message is shown.
const MESSAGE_BYTES_MAX: usize = 400;

/// The server did not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct ServerError {
    /// In words, without user and password.
    text: String,
    /// Why, as the server puts it (SQLSTATE).
    code: Option<String>,
    /// Where in the statement, counted in characters from 1.
    pub(super) position: Option<u32>,
}

impl ServerError {
    /// In words of our own.
    pub(crate) fn told(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: None,
            position: None,
        }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        use tokio_postgres::error::ErrorPosition;
        let Some(told) = error.as_db_error() else {
            let why = crate::domain::redact::truncate(&beneath(error), MESSAGE_BYTES_MAX);
            return Self::told(why);
        };
        let mut text = format!("{} ({})", told.message(), told.code().code());
        if let Some(detail) = told.detail() {
            text.push_str(": ");
            text.push_str(detail);
        }
        let text = crate::domain::redact::truncate(&text, MESSAGE_BYTES_MAX);
        Self {
            text: text.replace('\n', " "),
            code: Some(told.code().code().to_owned()),
            position: match told.position() {
                Some(ErrorPosition::Original(at)) => Some(*at),
                _ => None,
            },
        }
    }

    fn is(&self, state: &SqlState) -> bool {
        self.code.as_deref() == Some(state.code())
    }

    /// The user may not.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.is(&SqlState::INSUFFICIENT_PRIVILEGE)
    }

    /// Somebody else uses it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.is(&SqlState::OBJECT_IN_USE)
    }

    pub(super) fn is_unknown_function(&self) -> bool {
        self.is(&SqlState::UNDEFINED_FUNCTION)
    }

    pub(super) fn is_unknown_database(&self) -> bool {
        self.is(&SqlState::INVALID_CATALOG_NAME)
    }
}

/// An open connection.
pub struct Session {
    runtime: Runtime,
    client: Client,
    url: String,
    shown: String,
}

impl Session {
    /// Connects to the database of a URL, in any form that SQLAlchemy or libpq take.
    ///
    /// # Errors
    /// Why the server cannot be reached or refuses, without user and password.
    pub fn connect(url: &str) -> Result<Self, ServerError> {
        let parsed = PostgresUrl::parse(url).map_err(ServerError::told)?;
        let (runtime, client) = open(&parsed).map_err(|why| ServerError::told(why.to_string()))?;
        // No setting here: behind a pooler the application would get the connection with it.
        Ok(Self {
            runtime,
            client,
            url: url.to_owned(),
            shown: parsed.shown(),
        })
    }

    /// Connects to another database of the same server, as the same user.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_to(&self, database: &str) -> Result<Self, ServerError> {
        Self::connect(&self.url_of(database))
    }

    /// The URL of another database of the same server; it holds the password.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        PostgresUrl::with_database(&self.url, database)
    }

    /// For people: database and server.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn bounded<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ServerError> {
        answered(
            &self.runtime,
            limit,
            answer,
            ServerError::of,
            ServerError::told,
        )
    }

    /// On a connection to a database of our own: from now on, the server ends a statement that takes longer.
    ///
    /// # Errors
    /// The server did not do it.
    pub fn limit(&self, statement: Duration) -> Result<(), ServerError> {
        let sql = format!(
            "SET statement_timeout = {0}; SET lock_timeout = {0}; SET standard_conforming_strings = on; \
             SET client_min_messages = warning",
            statement.as_millis()
        );
        self.run(&sql, GRACE)
    }

    /// Runs statements of ours.
    ///
    /// # Errors
    /// The server did not do it, or did not answer in time.
    pub fn run(&self, sql: &str, limit: Duration) -> Result<(), ServerError> {
        self.bounded(limit + GRACE, self.client.batch_execute(sql))
    }

    /// Runs one statement that somebody else wrote.
    ///
    /// # Errors
    /// As [`Session::run`]; or there is more than one statement.
    pub fn run_one(&self, sql: &str, limit: Duration) -> Result<(), ServerError> {
        self.bounded(limit + GRACE, self.client.execute(sql, &[]))
            .map(drop)
    }

    /// The rows of a statement of ours, each value as text.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn rows(
        &self,
        sql: &str,
        limit: Duration,
    ) -> Result<Vec<Vec<Option<String>>>, ServerError> {
        let messages = self.bounded(limit + GRACE, self.client.simple_query(sql))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|at| row.get(at).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect())
    }

    /// The first value of a statement of ours.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn value(&self, sql: &str, limit: Duration) -> Result<Option<String>, ServerError> {
        let rows = self.rows(sql, limit)?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten()))
    }
}
