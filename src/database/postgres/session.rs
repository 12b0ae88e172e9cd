//! A connection to PostgreSQL that may write: to databases of our own (clones, scratch), and to the live
//! database when a change that was proved is promoted. Each statement is bounded in time.
//!
//! A statement that somebody else wrote goes by the extended protocol, which takes one statement and no
//! more (postgresql.org/docs/current/protocol-flow.html), so that nothing hides behind a semicolon.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::database::postgres::connection::{answered, beneath, open};
use crate::database::postgres::url::PostgresUrl;
use crate::database::postgres::wire::{Canceller, WireError};
use crate::domain::ids::Digest;

/// Given to the server for its own limit before ours strikes.
const GRACE: Duration = Duration::from_secs(5);
/// How long a server that was started anew may take to let us in again.
const BACK_MAX: Duration = Duration::from_secs(3);
/// Until the next try.
const BACK_PAUSE: Duration = Duration::from_millis(100);
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
    pub(crate) position: Option<u32>,
}

impl ServerError {
    /// In words of our own.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: None,
            position: None,
        }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        use tokio_postgres::error::ErrorPosition;
        let Some(reported) = error.as_db_error() else {
            let why = crate::domain::redact::truncate(&beneath(error), MESSAGE_BYTES_MAX);
            return Self::new(why);
        };
        let mut text = format!("{} ({})", reported.message(), reported.code().code());
        if let Some(detail) = reported.detail() {
            text.push_str(": ");
            text.push_str(detail);
        }
        let text = crate::domain::redact::truncate(&text, MESSAGE_BYTES_MAX);
        Self {
            text: text.replace('\n', " "),
            code: Some(reported.code().code().to_owned()),
            position: match reported.position() {
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

    /// What is there is not of a kind with which that can be done.
    pub(crate) fn is_wrong_kind(&self) -> bool {
        self.is(&SqlState::WRONG_OBJECT_TYPE)
    }

    pub(crate) fn is_unknown_function(&self) -> bool {
        self.is(&SqlState::UNDEFINED_FUNCTION)
    }

    pub(crate) fn is_unknown_database(&self) -> bool {
        self.is(&SqlState::INVALID_CATALOG_NAME)
    }
}

/// A parameter of a statement as a program sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawParameter<'a> {
    /// Object id of its type; 0 if the program left that to the server.
    pub oid: u32,
    /// In which of the two formats of the type the value is.
    pub is_binary: bool,
    /// `None` for NULL.
    pub value: Option<&'a [u8]>,
}

type Boxed = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for RawParameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        Ok(match self.value {
            None => IsNull::Yes,
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.is_binary {
            Format::Binary
        } else {
            Format::Text
        }
    }

    to_sql_checked!();
}

/// A value of a row as the server sent it.
struct RowValue<'a>(&'a [u8]);

impl<'a> FromSql<'a> for RowValue<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Rows that it changed or gave.
    pub rows: u64,
    /// Over the rows that it gave, in their order.
    pub returned: Digest,
    /// The same in whatever order.
    pub found: u128,
}

/// An open connection.
pub(crate) struct Session {
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
    pub(crate) fn connect(url: &str) -> Result<Self, ServerError> {
        let parsed = PostgresUrl::parse(url).map_err(ServerError::new)?;
        let (runtime, client) = open(&parsed).map_err(|why| ServerError::new(why.to_string()))?;
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
    pub(crate) fn connect_to(&self, database: &str) -> Result<Self, ServerError> {
        Self::connect(&self.url_of(database))
    }

    /// Does this here, or over a new connection where this one is gone, as after a restart of the server.
    ///
    /// # Errors
    /// As [`Session::connect`], and those of `what`.
    pub(crate) fn or_again<T>(
        &self,
        what: impl Fn(&Self) -> Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        match what(self) {
            Err(_) if self.client.is_closed() => what(&self.again()?),
            done => done,
        }
    }

    /// A new connection, once the server lets us in.
    fn again(&self) -> Result<Self, ServerError> {
        let begun = Instant::now();
        loop {
            match Self::connect(&self.url) {
                Err(_) if begun.elapsed() < BACK_MAX => std::thread::sleep(BACK_PAUSE),
                done => return done,
            }
        }
    }

    /// The URL of another database of the same server; it holds the password.
    #[must_use]
    pub(crate) fn url_of(&self, database: &str) -> String {
        PostgresUrl::with_database(&self.url, database)
    }

    /// For people: database and server.
    #[must_use]
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn bounded<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ServerError> {
        let mut is_late = false;
        let answer = answered(&self.runtime, limit, answer, ServerError::of, |why| {
            is_late = true;
            ServerError::new(why)
        });
        if is_late {
            self.cancel();
        }
        answer
    }

    /// A server goes on with what nobody waits for, and keeps its locks meanwhile.
    fn cancel(&self) {
        let token = self.client.cancel_token();
        let asked = self.runtime.block_on(async {
            let url = PostgresUrl::parse(&self.url).map_err(WireError::new)?;
            let canceller = Canceller { url, token };
            let cancel = canceller.cancel();
            let late = |_| WireError::new("no answer");
            tokio::time::timeout(GRACE, cancel).await.map_err(late)?
        });
        if let Err(error) = asked {
            tracing::warn!(%error, "a statement that takes too long cannot be ended");
        }
    }

    /// On a connection to a database of our own: from now on, the server ends a statement that takes longer.
    ///
    /// # Errors
    /// The server did not do it.
    pub(crate) fn limit(&self, statement: Duration) -> Result<(), ServerError> {
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
    pub(crate) fn run(&self, sql: &str, limit: Duration) -> Result<(), ServerError> {
        self.bounded(limit + GRACE, self.client.batch_execute(sql))
    }

    /// Runs one statement that somebody else wrote.
    ///
    /// # Errors
    /// As [`Session::run`]; or there is more than one statement.
    pub(crate) fn run_one(&self, sql: &str, limit: Duration) -> Result<(), ServerError> {
        self.bounded(limit + GRACE, self.client.execute(sql, &[]))
            .map(drop)
    }

    /// Runs one statement as a program once ran it, with its parameters. Its rows are only counted and hashed.
    ///
    /// # Errors
    /// As [`Session::run_one`].
    pub(crate) fn run_again(
        &self,
        sql: &str,
        parameters: &[RawParameter<'_>],
        limit: Duration,
    ) -> Result<Done, ServerError> {
        // What the program left open, and types of this very database, are the server's to find.
        let known = |p: &RawParameter<'_>| Type::from_oid(p.oid).unwrap_or(Type::UNKNOWN);
        let types: Vec<Type> = parameters.iter().map(known).collect();
        self.bounded(limit + GRACE, async {
            let statement = self.client.prepare_typed(sql, &types).await?;
            let given = parameters.iter().map(|p| p as &(dyn ToSql + Sync));
            let rows = self.client.query_raw(&statement, given).await?;
            tokio::pin!(rows);
            let mut hasher = blake3::Hasher::new();
            let mut found = 0_u128;
            while let Some(row) = rows.try_next().await? {
                let mut of_row = blake3::Hasher::new();
                for at in 0..row.len() {
                    let value: Option<RowValue<'_>> = row.try_get(at)?;
                    let length = value.as_ref().map(|value| value.0.len() as u64);
                    of_row.update(&length.unwrap_or(u64::MAX).to_le_bytes());
                    of_row.update(value.map_or(&b""[..], |value| value.0));
                }
                let digest = of_row.finalize();
                hasher.update(digest.as_bytes());
                let mut half = [0; 16];
                half.copy_from_slice(&digest.as_bytes()[..16]);
                found = found.wrapping_add(u128::from_le_bytes(half));
            }
            Ok(Done {
                rows: rows.rows_affected().unwrap_or_default(),
                returned: Digest(*hasher.finalize().as_bytes()),
                found,
            })
        })
    }

    /// The rows of a statement of ours, each value as text.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(crate) fn rows(
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
    pub(crate) fn value(&self, sql: &str, limit: Duration) -> Result<Option<String>, ServerError> {
        let rows = self.rows(sql, limit)?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten()))
    }
}
