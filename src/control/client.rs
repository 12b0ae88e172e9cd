//! Asks the supervisor of a state directory, for the commands.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::socket::{NAME, ShortPath};

/// Longest time for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest time to say that there is something new.
const POKE_WITHIN: Duration = Duration::from_millis(500);

/// The code of the answer of a supervisor whose loop does not answer.
pub(super) const NO_ANSWER: &str = "no_answer";

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens: no supervisor runs here, or it has no socket.
    #[error("nobody listens on {NAME}: {0}")]
    Absent(io::Error),
    /// Somebody listens and does not answer as it should.
    #[error("the supervisor does not answer: {0}")]
    Silent(String),
    /// Somebody listens and says nothing at all.
    #[error("the supervisor does not answer: nothing within {} s", within.as_secs())]
    Hangs { within: Duration },
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    /// What went wrong, if something did.
    pub(crate) fn error(&self) -> Option<&str> {
        self.body.get("error")?.get("message")?.as_str()
    }

    /// The door answers, and behind it nobody does.
    pub(crate) fn is_of_a_hanging_loop(&self) -> bool {
        let code = self.body.get("error").and_then(|error| error.get("code"));
        code.is_some_and(|code| code == NO_ANSWER)
    }

    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Asks one supervisor; each question has a connection of its own.
pub(crate) struct Client {
    runtime: Runtime,
    dir: ShortPath,
}

impl Client {
    /// For the supervisor whose state lies in `state_dir`.
    pub(crate) fn new(state_dir: &Path) -> Result<Self, ClientError> {
        let dir = ShortPath::of(state_dir).map_err(ClientError::Absent)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ClientError::Absent)?;
        Ok(Self { runtime, dir })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.ask(Method::GET, path, None, ANSWER_WITHIN)
    }

    pub(crate) fn post(&self, path: &str) -> Result<Reply, ClientError> {
        self.ask(Method::POST, path, None, ANSWER_WITHIN)
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Result<Reply, ClientError> {
        self.ask(Method::POST, path, Some(body), ANSWER_WITHIN)
    }

    /// For what may take longer, such as the trial of a fix.
    pub(crate) fn post_json_within(
        &self,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> Result<Reply, ClientError> {
        self.ask(Method::POST, path, Some(body), within)
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Reply, ClientError> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let silent = |error: hyper::Error| ClientError::Silent(error.to_string());
        let asked = async {
            let socket = self.dir.to(NAME);
            let stream = UnixStream::connect(socket).await.map_err(absent)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(silent)?;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "ubs")
                .header("connection", "close")
                .header("content-type", "application/json")
                .body(Full::new(body))
                .map_err(|error| ClientError::Silent(error.to_string()))?;
            let answered = async {
                let response = sender.send_request(request).await.map_err(silent)?;
                let status = response.status().as_u16();
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                    .collect()
                    .await
                    .map_err(|error| ClientError::Silent(error.to_string()))?;
                let body = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
                    ClientError::Silent(format!("what it says is not JSON: {error}"))
                })?;
                Ok(Reply { status, body })
            };
            let mut connection = std::pin::pin!(connection);
            let mut answered = std::pin::pin!(answered);
            tokio::select! {
                answer = answered.as_mut() => return answer,
                ended = connection.as_mut() => ended.map_err(silent)?,
            }
            answered.await
        };
        self.runtime.block_on(async {
            let timed = tokio::time::timeout(within, asked).await;
            timed.unwrap_or(Err(ClientError::Hangs { within }))
        })
    }

    /// The path of a mission, whatever its slug holds.
    pub(crate) fn mission_path(slug: &str) -> String {
        format!("/missions/{}", utf8_percent_encode(slug, NON_ALPHANUMERIC))
    }

    /// The path of a service, whatever its name holds.
    pub(crate) fn service_path(name: &str) -> String {
        format!("/services/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
    }
}

fn absent(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::WouldBlock => ClientError::Silent("it has too many callers".to_owned()),
        io::ErrorKind::PermissionDenied => ClientError::Silent(format!(
            "{error}; run this as the user who booted the application"
        )),
        _ => ClientError::Absent(error),
    }
}

/// Tells the supervisor, if there is one, that the log has something new.
pub(crate) fn poke(state_dir: &Path) {
    // Without it the supervisor finds out by itself, later.
    if let Ok(client) = Client::new(state_dir) {
        let _ = client.ask(Method::POST, "/wake", None, POKE_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_listens_and_says_nothing_hangs_and_one_that_is_not_there_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let ask = || {
            let client = Client::new(dir.path()).unwrap();
            let within = Duration::from_millis(50);
            client.post_json_within("/livez", &Value::Null, within)
        };
        assert!(matches!(ask(), Err(ClientError::Absent(_))));
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join(NAME)).unwrap();
        assert!(matches!(ask(), Err(ClientError::Hangs { .. })));
    }
}
