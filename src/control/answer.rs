//! How answers are written.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;

use crate::domain::redact::sanitise;

/// What streams of events are.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// Bytes of a name or path that a message repeats.
const NAME_BYTES_MAX: usize = 100;

/// What may be answered, or the answer that says why not.
pub(super) type Answer = Result<Response, Response>;

pub(super) fn flat(answer: Answer) -> Response {
    answer.unwrap_or_else(|response| response)
}

pub(super) fn document(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => reply(status, "application/json", Body::from(text + "\n")),
        Err(error) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "bug",
            format!("the answer cannot be written: {error}"),
        ),
    }
}

pub(super) fn reply(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One who is sent what comes, for as long as he wants.
pub(super) trait Follower: Sized + Send + 'static {
    /// What is sent next; `None` if it can no longer be read.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// An answer that goes on.
pub(super) fn followed(follower: impl Follower) -> Response {
    let texts = stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<_, Infallible>(text), follower))
    });
    reply(StatusCode::OK, EVENT_STREAM, Body::from_stream(texts))
}

/// The body of an answer that something is wrong.
pub(super) fn error_text(code: &str, message: &str) -> String {
    let mut text = json!({ "error": { "code": code, "message": message } }).to_string();
    text.push('\n');
    text
}

/// An answer that something is wrong.
pub(super) fn failure(status: StatusCode, code: &str, message: impl AsRef<str>) -> Response {
    let text = error_text(code, message.as_ref());
    reply(status, "application/json", Body::from(text))
}

/// The caller has to ask in another way.
pub(super) fn bad_request(message: impl AsRef<str>) -> Response {
    failure(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// It goes on for as long as its reader wants.
pub(super) fn is_endless(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind == EVENT_STREAM)
}

/// A name or path that somebody gave, as a message repeats it.
pub(super) fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    let more = if end < text.len() { "..." } else { "" };
    format!("`{}{more}`", sanitise(&text[..end]))
}
