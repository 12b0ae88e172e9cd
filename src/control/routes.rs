//! The paths.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot, watch};

use super::ask::{Ask, Asks, Refused, Snapshot, Steer};
use super::events::{self, Follow};
use super::peer::Peer;
use super::{metrics, view};
use crate::domain::event::ServiceOrder;
use crate::domain::ids::Seq;
use crate::domain::redact::sanitise;

/// The loop answers within so long, or the supervisor hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Connections that may follow events at a time: others must get in too.
const FOLLOWERS_MAX: usize = 32;
/// Bytes of a name or path that a message repeats.
const NAME_BYTES_MAX: usize = 100;
/// What streams of events are.
const EVENT_STREAM: &str = "text/event-stream";
/// Every path, for who asks for another one.
const PATHS: &str = "/livez, /readyz, /health, /status, /services, /services/NAME, \
     POST /services/NAME/{start,stop,restart}, /boots/current, /events, /metrics, POST /wake";

/// What every request may use.
#[derive(Clone)]
pub(super) struct Shared {
    asks: Asks,
    head: watch::Receiver<Seq>,
    log: PathBuf,
    followers: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(asks: Asks, head: watch::Receiver<Seq>, log: &FilePath) -> Self {
        Self {
            asks,
            head,
            log: log.to_owned(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
        }
    }

    /// Asks the loop; an answer that says why, if it does not answer.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
        let silent = |why: &str| {
            let message = format!("the supervisor {why}");
            failure(StatusCode::SERVICE_UNAVAILABLE, "no_answer", message)
        };
        let (sender, answer) = oneshot::channel();
        self.asks
            .send(ask(sender))
            .map_err(|_| silent("is ending"))?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(silent("is ending")),
            Err(_) => Err(silent("does something else and does not answer; try again")),
        }
    }

    async fn look(&self) -> Result<Box<Snapshot>, Response> {
        self.ask(Ask::Look).await
    }
}

pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/services", get(services))
        .route("/services/{name}", get(service))
        .route("/services/{name}/start", post(start))
        .route("/services/{name}/stop", post(stop))
        .route("/services/{name}/restart", post(restart))
        .route("/boots/current", get(current_boot))
        .route("/events", get(follow))
        .route("/metrics", get(scrape))
        .route("/wake", post(wake))
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .with_state(shared)
}

/// What may be answered, or the answer that says why not.
type Answer = Result<Response, Response>;

fn flat(answer: Answer) -> Response {
    answer.unwrap_or_else(|response| response)
}

fn document(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => reply(status, "application/json", Body::from(text + "\n")),
        Err(error) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "bug",
            format!("the answer cannot be written: {error}"),
        ),
    }
}

fn reply(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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

/// It goes on for as long as its reader wants.
pub(super) fn is_endless(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind == EVENT_STREAM)
}

/// A name or path that somebody gave, as a message repeats it.
fn quoted(text: &str) -> String {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { "..." } else { "" };
    format!("`{}{more}`", sanitise(&text[..end]))
}

async fn livez(State(shared): State<Shared>) -> Response {
    flat(
        shared
            .look()
            .await
            .map(|_| document(StatusCode::OK, &json!({ "alive": true }))),
    )
}

async fn readyz(State(shared): State<Shared>) -> Response {
    flat(shared.look().await.map(|snapshot| {
        let reasons = view::unready_reasons(&snapshot.state);
        let status = if reasons.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let ready = reasons.is_empty();
        document(status, &json!({ "ready": ready, "reasons": reasons }))
    }))
}

async fn health(State(shared): State<Shared>) -> Response {
    let snapshot = shared.look().await;
    flat(snapshot.map(|found| document(StatusCode::OK, &view::health(&found))))
}

async fn status(State(shared): State<Shared>) -> Response {
    let snapshot = shared.look().await;
    flat(snapshot.map(|found| document(StatusCode::OK, &view::status(&found))))
}

async fn services(State(shared): State<Shared>) -> Response {
    let snapshot = shared.look().await;
    flat(snapshot.map(|found| {
        let services = view::services(&found.state);
        document(StatusCode::OK, &json!({ "services": services }))
    }))
}

async fn current_boot(State(shared): State<Shared>) -> Response {
    let snapshot = shared.look().await;
    flat(snapshot.map(|found| document(StatusCode::OK, &view::boot(&found))))
}

async fn scrape(State(shared): State<Shared>) -> Response {
    flat(shared.look().await.map(|snapshot| {
        let body = Body::from(metrics::text(&snapshot));
        reply(StatusCode::OK, "text/plain; version=0.0.4", body)
    }))
}

type Name = Result<Path<String>, PathRejection>;

// The error is the answer, and goes on as it is.
#[allow(clippy::result_large_err)]
fn name_of(name: Name) -> Result<String, Response> {
    match name {
        Ok(Path(name)) => Ok(name),
        Err(error) => Err(failure(
            StatusCode::BAD_REQUEST,
            "bad_request",
            error.body_text(),
        )),
    }
}

fn unknown_service(name: &str, near: Option<&str>) -> Response {
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let message = format!("the boot has no service {}{near}", quoted(name));
    failure(StatusCode::NOT_FOUND, "unknown_service", message)
}

async fn service(State(shared): State<Shared>, name: Name) -> Response {
    let found = async {
        let name = name_of(name)?;
        let snapshot = shared.look().await?;
        view::service(&snapshot.state, &name)
            .map(|service| document(StatusCode::OK, &service))
            .ok_or_else(|| unknown_service(&name, snapshot.nearest(&name).as_deref()))
    };
    flat(found.await)
}

async fn start(shared: State<Shared>, peer: Extension<Peer>, name: Name) -> Response {
    flat(steer(shared.0, peer.0, name, ServiceOrder::Start).await)
}

async fn stop(shared: State<Shared>, peer: Extension<Peer>, name: Name) -> Response {
    flat(steer(shared.0, peer.0, name, ServiceOrder::Stop).await)
}

async fn restart(shared: State<Shared>, peer: Extension<Peer>, name: Name) -> Response {
    flat(steer(shared.0, peer.0, name, ServiceOrder::Restart).await)
}

async fn steer(shared: Shared, peer: Peer, name: Name, order: ServiceOrder) -> Answer {
    let service = name_of(name)?;
    let (wanted, by) = (service.clone(), peer.name());
    let ask = |answer| {
        Ask::Steer(Steer {
            service: wanted,
            order,
            by,
            answer,
        })
    };
    match shared.ask(ask).await? {
        Ok(steered) => Ok(document(
            StatusCode::OK,
            &json!({
                "order": order.as_str(),
                "changed": steered.changed,
                "service": view::service(&steered.snapshot.state, &service),
            }),
        )),
        Err(Refused::Unknown { near }) => Err(unknown_service(&service, near.as_deref())),
        Err(Refused::Conflict(why)) => Err(failure(StatusCode::CONFLICT, "not_now", why)),
        Err(Refused::Failed(why)) => Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "failed", why)),
    }
}

async fn wake(State(shared): State<Shared>) -> Response {
    let woken = shared.ask(Ask::Wake).await;
    flat(woken.map(|()| document(StatusCode::OK, &json!({ "woken": true }))))
}

async fn follow(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let last_id = headers.get("last-event-id");
    let last_id = last_id.map(|id| id.to_str().unwrap_or("no text"));
    let after = match events::after_of(uri.query().unwrap_or(""), last_id) {
        Ok(after) => after,
        Err(message) => return failure(StatusCode::BAD_REQUEST, "bad_request", message),
    };
    let Ok(permit) = shared.followers.try_acquire_owned() else {
        return failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_followers",
            format!("{FOLLOWERS_MAX} readers follow the events already; close one, or try again"),
        );
    };
    match Follow::open(&shared.log, after, shared.head, permit) {
        Ok(events) => reply(StatusCode::OK, EVENT_STREAM, events.into_body()),
        Err(error) => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_log",
            format!("the log cannot be read: {error}"),
        ),
    }
}

async fn no_path(uri: Uri) -> Response {
    let message = format!("there is no path {}; there are {PATHS}", quoted(uri.path()));
    failure(StatusCode::NOT_FOUND, "not_found", message)
}

async fn no_method(method: Method, uri: Uri) -> Response {
    let message = format!(
        "{} is not for {}; there are {PATHS}",
        quoted(uri.path()),
        quoted(method.as_str())
    );
    failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
