//! One connection to a PostgreSQL server, for reading: one transaction that cannot write, each statement
//! and each wait bounded.
//!
//! Statements go by the simple protocol, so that a pooler between us and the server (which knows no
//! prepared statements of other connections) is no obstacle.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::database::postgres::tls::Tls;
use crate::database::postgres::url::{PostgresUrl, TlsMode};
use crate::database::sql::quote::{identifier, literal};
use crate::database::unreachable::{Unreachable, UnreachableKind};

/// How long the server may take to answer the first time.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may take, by the server's clock.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;
/// How long all of one answer may take, by ours: a server that hangs keeps no clock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long all questions about expressions together may take.
const ASKING_TIME_MAX: Duration = Duration::from_secs(20);
/// How much of a server's message is shown.
const MESSAGE_BYTES_MAX: usize = 300;

/// An open connection with a transaction for reading.
pub(crate) struct Postgres {
    runtime: Runtime,
    client: Client,
    /// For people.
    shown: String,
    /// What the questions about expressions took.
    asked: Cell<Duration>,
    has_savepoint: Cell<bool>,
}

impl Postgres {
    /// Connects and begins the transaction.
    ///
    /// # Errors
    /// Why the server cannot be reached or refuses, without user and password.
    pub(crate) fn connect(url: &PostgresUrl) -> Result<Self, Unreachable> {
        let (runtime, client) = open(url)?;
        let shown = url.shown();
        let opened = Self {
            runtime,
            client,
            shown,
            asked: Cell::default(),
            has_savepoint: Cell::default(),
        };
        opened.execute(&format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}; SET LOCAL lock_timeout = {STATEMENT_TIMEOUT_MS}; \
             SET LOCAL standard_conforming_strings = on; SET LOCAL quote_all_identifiers = off"
        ))?;
        Ok(opened)
    }

    /// For people: database and server.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn execute(&self, sql: &str) -> Result<(), Unreachable> {
        bounded(
            &self.runtime,
            ANSWER_TIMEOUT,
            self.client.batch_execute(sql),
        )
        .map_err(|why| why.of(&self.shown))
    }

    /// The rows of one statement, each value as text.
    pub(crate) fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, Unreachable> {
        let messages = bounded(&self.runtime, ANSWER_TIMEOUT, self.client.simple_query(sql))
            .map_err(|why| why.of(&self.shown))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// The rows of a query that the server may refuse; then the transaction goes on.
    ///
    /// # Errors
    /// It is refused, the connection is lost, or the server takes too long.
    pub(crate) fn ask(&self, query: &str) -> Result<Vec<SimpleQueryRow>, Unreachable> {
        if !self.has_savepoint.get() {
            self.execute("SAVEPOINT asked")?;
            self.has_savepoint.set(true);
        }
        let rows = self.rows(query);
        if rows.is_err() {
            self.execute("ROLLBACK TO SAVEPOINT asked")?;
        }
        rows
    }

    /// What the planner makes of the columns of a query, which is not run; `None` if it refuses the query.
    /// The transaction goes on.
    ///
    /// # Errors
    /// The connection is lost, or the server takes too long.
    pub(crate) fn explained(&self, query: &str) -> Result<Option<Vec<String>>, Unreachable> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Explained {
            plan: QueryPlan,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct QueryPlan {
            output: Vec<String>,
        }
        if self.is_exhausted() {
            return Err(Unreachable::other(format!(
                "{}: too many questions",
                self.shown
            )));
        }
        // In a statement of its own: of a text that cannot be parsed, nothing is run. It stays for all questions.
        if !self.has_savepoint.get() {
            self.execute("SAVEPOINT asked")?;
            self.has_savepoint.set(true);
        }
        let begin = Instant::now();
        let rows = self.rows(&format!(
            "EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) {query}"
        ));
        self.asked.set(self.asked.get() + begin.elapsed());
        let rows = match rows {
            Ok(rows) => rows,
            Err(why) => {
                self.execute("ROLLBACK TO SAVEPOINT asked")?;
                return if why.why.contains(NO_ANSWER) {
                    Err(why)
                } else {
                    Ok(None)
                };
            }
        };
        let text = rows.first().and_then(|row| row.get(0)).unwrap_or_default();
        let explained: Option<Vec<Explained>> = serde_json::from_str(text).ok();
        Ok(explained
            .and_then(|all| all.into_iter().next())
            .map(|one| one.plan.output))
    }

    /// Whether the questions about expressions took all of their time; no more are asked.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.asked.get() >= ASKING_TIME_MAX
    }

    /// At most `rows_max` rows of a small table as text; `None` if the search path leads to no such table.
    pub(crate) fn read_table(
        &self,
        table: &str,
        columns: &[&str],
        rows_max: usize,
    ) -> Result<Option<Vec<Vec<Option<String>>>>, Unreachable> {
        let quoted = match table.split_once('.') {
            Some((schema, table)) => format!("{}.{}", identifier(schema), identifier(table)),
            None => identifier(table),
        };
        let found = self.rows(&format!("SELECT to_regclass({})", literal(&quoted)))?;
        if found.first().and_then(|row| row.get(0)).is_none() {
            return Ok(None);
        }
        let wanted: Vec<String> = columns
            .iter()
            .map(|column| format!("{}::text", identifier(column)))
            .collect();
        let rows = self.rows(&format!(
            "SELECT {} FROM {quoted} LIMIT {rows_max}",
            wanted.join(", ")
        ))?;
        let text = |row: &SimpleQueryRow, at| row.get(at).map(str::to_owned);
        Ok(Some(
            rows.iter()
                .map(|row| (0..columns.len()).map(|at| text(row, at)).collect())
                .collect(),
        ))
    }
}

const NO_ANSWER: &str = "no answer within";

/// Opens a connection; what ends it, the client's next statement says.
pub(crate) fn open(url: &PostgresUrl) -> Result<(Runtime, Client), Unreachable> {
    let shown = url.shown();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Unreachable::other(format!("{shown}: {error}")))?;
    let tls = Tls::new(url).map_err(|why| Unreachable::other(format!("{shown}: {why}")))?;
    let mut config = login(url);
    if let Some(options) = &url.options {
        config.options(options);
    }
    let connecting = async {
        if url.is_socket() || url.tls == TlsMode::Disable {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(client)
        } else {
            let (client, connection) = config.connect(tls).await?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(client)
        }
    };
    let client =
        bounded(&runtime, CONNECT_TIMEOUT * 2, connecting).map_err(|why| why.of(&shown))?;
    Ok((runtime, client))
}

/// Where and as whom to log in; without the options of the URL.
pub(crate) fn login(url: &PostgresUrl) -> Config {
    let mut config = Config::new();
    config
        .host(&url.host)
        .port(url.port)
        .user(&url.user)
        .dbname(&url.database)
        .application_name("ubs")
        .connect_timeout(CONNECT_TIMEOUT)
        .ssl_mode(match url.tls {
            // A Unix socket has no TLS.
            _ if url.is_socket() => SslMode::Disable,
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
    if let Some(password) = &url.password {
        config.password(password);
    }
    config
}

fn bounded<T>(
    runtime: &Runtime,
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Unreachable> {
    let late = |late| Unreachable::new(late, UnreachableKind::Server);
    let refused = |error: &tokio_postgres::Error| Unreachable::new(in_words(error), kind_of(error));
    answered(runtime, limit, answer, refused, late)
}

/// Of which kind it is: by the server's code (PostgreSQL, appendix A), else by what the system says.
fn kind_of(error: &tokio_postgres::Error) -> UnreachableKind {
    let Some(reported) = error.as_db_error() else {
        let mut source = std::error::Error::source(error);
        while let Some(found) = source {
            if let Some(io) = found.downcast_ref::<std::io::Error>() {
                // A name that cannot be resolved has neither number nor kind (getaddrinfo(3)).
                let is_name = io.raw_os_error().is_none() && io.kind() == std::io::ErrorKind::Other;
                return match io.kind() {
                    _ if is_name || beneath(error).contains("lookup address") => {
                        UnreachableKind::Host
                    }
                    std::io::ErrorKind::PermissionDenied => UnreachableKind::Right,
                    _ => UnreachableKind::Server,
                };
            }
            source = found.source();
        }
        return UnreachableKind::Other;
    };
    match reported.code().code() {
        "28P01" | "28000" => UnreachableKind::Password,
        "3D000" => UnreachableKind::NoDatabase,
        "53300" => UnreachableKind::Connections,
        "57P01" | "57P02" | "57P03" => UnreachableKind::Starting,
        "55P03" | "57014" => UnreachableKind::Locked,
        "42501" => UnreachableKind::Right,
        _ => UnreachableKind::Other,
    }
}

/// Waits for an answer, at most for `limit`; what went wrong is worded by `refused` or, too late, by `late`.
pub(crate) fn answered<T, E>(
    runtime: &Runtime,
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    refused: impl FnOnce(&tokio_postgres::Error) -> E,
    late: impl FnOnce(String) -> E,
) -> Result<T, E> {
    runtime.block_on(async {
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|error| refused(&error)),
            Err(_) => Err(late(format!("{NO_ANSWER} {} s", limit.as_secs()))),
        }
    })
}

/// What is wrong with a connection that the server said nothing about.
pub(crate) fn beneath(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// What went wrong. The server's own words are cleaned and cut like everything from outside.
fn in_words(error: &tokio_postgres::Error) -> String {
    let Some(reported) = error.as_db_error() else {
        return crate::domain::redact::truncate(&beneath(error), MESSAGE_BYTES_MAX).to_string();
    };
    let code = reported.code();
    if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    {
        return "the server refuses the user or the password".to_owned();
    }
    if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        return format!("locked or busy: {NO_ANSWER} {STATEMENT_TIMEOUT_MS} ms");
    }
    let text = format!("{} ({})", reported.message(), code.code());
    crate::domain::redact::truncate(&text, MESSAGE_BYTES_MAX).to_string()
}
