//! The paths.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot, watch};

use super::answer::{Answer, bad_request, document, failure, flat, followed, quoted, reply};
use super::ask::{Ask, Asks, Refused, ReloadWanted, SignalWanted, Snapshot, Steer};
use super::command::{Commands, Line};
use super::events::{self, Follow, Source};
use super::logs::{self, FollowLog};
use super::missions::{Deed, Noun};
use super::peer::Peer;
use super::query::{number, query_of, switch};
use super::{metrics, missions, view};
use crate::domain::event::ServiceOrder;
use crate::domain::ids::Seq;
use crate::kernel::{Usage, usage_of};
use crate::log::{LogError, Reader};

/// The loop answers within so long, or the supervisor hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Connections that may follow events or output at a time: others must get in too.
pub(super) const FOLLOWERS_MAX: usize = 256;
/// What processes use is looked at again after so long.
const USAGE_EVERY: Duration = Duration::from_secs(1);
/// Boots that are listed where no number is given, and at most.
const BOOTS_DEFAULT: u32 = 20;
const BOOTS_MAX: u32 = 10_000;
/// What describes all of this.
const OPENAPI: &str = include_str!("../../schema/openapi.json");

/// What processes use, and when that was looked at.
type Looked = (Instant, BTreeMap<u32, Usage>);

/// What every request may use.
#[derive(Clone)]
pub(super) struct Shared {
    asks: Asks,
    head: watch::Receiver<Seq>,
    log: PathBuf,
    output_dir: PathBuf,
    events: Arc<Source>,
    followers: Arc<Semaphore>,
    commands: Commands,
    usage: Arc<Mutex<Option<Looked>>>,
}

impl Shared {
    pub(super) fn new(
        asks: Asks,
        head: watch::Receiver<Seq>,
        log: &FilePath,
        output_dir: &FilePath,
        program: Vec<OsString>,
    ) -> Self {
        Self {
            asks,
            head,
            log: log.to_owned(),
            output_dir: output_dir.to_owned(),
            events: Arc::new(Source::new(log)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            commands: Commands::new(program),
            usage: Arc::default(),
        }
    }

    /// Asks the loop; an answer that says why, if it does not answer.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
        let ending = || {
            let message = "the supervisor is ending";
            failure(StatusCode::SERVICE_UNAVAILABLE, "ending", message)
        };
        let (sender, answer) = oneshot::channel();
        self.asks.send(ask(sender)).map_err(|_| ending())?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(ending()),
            Err(_) => Err(failure(
                StatusCode::SERVICE_UNAVAILABLE,
                super::client::NO_ANSWER,
                "the supervisor does something else and does not answer; try again",
            )),
        }
    }

    async fn look(&self) -> Result<Box<Snapshot>, Response> {
        self.ask(Ask::Look).await
    }

    /// What the processes of each service use, by the pid of the main one; at most a second old.
    async fn usage(&self, snapshot: &Snapshot) -> BTreeMap<u32, Usage> {
        if let Some(known) = self.known_usage() {
            return known;
        }
        let services = snapshot.state.layers.iter().flat_map(|l| &l.services);
        let leaders: Vec<u32> = services
            .filter_map(|service| Some(service.process.as_ref()?.pid))
            .collect();
        // Not in the supervisor's own thread.
        let looked = tokio::task::spawn_blocking(move || usage_of(&leaders)).await;
        let usage = looked.unwrap_or_default();
        let mut known = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Instant::now(), usage.clone()));
        usage
    }

    fn known_usage(&self) -> Option<BTreeMap<u32, Usage>> {
        let known = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, usage) = known.as_ref()?;
        (at.elapsed() < USAGE_EVERY).then(|| usage.clone())
    }

    /// Reads the log in a thread of its own.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Response> {
        let log = self.log.clone();
        let read = move || read(&Reader::open(&log)?);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(no_log(&error.to_string())),
            Err(error) => Err(no_log(&error.to_string())),
        }
    }
}

type Handler = MethodRouter<Shared>;

/// Every path with its method; the OpenAPI document has the same.
pub(super) fn routes() -> Vec<(Method, String, Handler)> {
    let gets: [(&str, Handler); 17] = [
        ("/livez", get(livez)),
        ("/readyz", get(readyz)),
        ("/health", get(health)),
        ("/status", get(status)),
        ("/services", get(services)),
        ("/services/{name}", get(service)),
        ("/services/{name}/logs", get(service_logs)),
        ("/boots", get(boots)),
        ("/boots/current", get(current_boot)),
        ("/boots/{boot}", get(one_boot)),
        ("/missions", get(list_missions)),
        ("/missions/{mission}", get(one_mission)),
        ("/fixes", get(list_fixes)),
        ("/fixes/{fix}", get(one_fix)),
        ("/events", get(follow)),
        ("/metrics", get(scrape)),
        ("/openapi.json", get(openapi)),
    ];
    let posts: [(&str, Handler); 9] = [
        ("/services/{name}/start", post(start)),
        ("/services/{name}/stop", post(stop)),
        ("/services/{name}/restart", post(restart)),
        ("/services/{name}/signal", post(signal)),
        ("/missions", post(file_mission)),
        ("/missions/claim", post(claim_mission)),
        ("/reload", post(reload)),
        ("/validate", post(validate)),
        ("/wake", post(wake)),
    ];
    let of = |method: Method, (path, handler): (&str, Handler)| (method, path.to_owned(), handler);
    let deeds = missions::DEEDS.iter().map(|deed| {
        let path = format!("/missions/{{mission}}/{}", deed.name);
        (Method::POST, path, acts(Noun::Missions, deed))
    });
    let fix_deeds = missions::FIX_DEEDS.iter().map(|deed| {
        let path = format!("/fixes/{{fix}}/{}", deed.name);
        (Method::POST, path, acts(Noun::Fixes, deed))
    });
    gets.into_iter()
        .map(|route| of(Method::GET, route))
        .chain(posts.into_iter().map(|route| of(Method::POST, route)))
        .chain(deeds)
        .chain(fix_deeds)
        .collect()
}

fn acts(noun: Noun, deed: &'static Deed) -> Handler {
    post(
        move |shared: State<Shared>, peer: Extension<Peer>, name, body| {
            act_on(noun, deed, shared, peer, name, body)
        },
    )
}

pub(super) fn router(shared: Shared) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (_, path, handler)| {
            router.route(&path, handler)
        })
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .with_state(shared)
}

/// Most bytes of this request's body.
pub(super) fn body_bytes_max(request: &Parts) -> usize {
    missions::bytes_max_of(request.uri.path())
}

/// A trial of a fix may take minutes; it has bounds of its own.
pub(super) fn may_take_long(request: &Parts) -> bool {
    let path = request.uri.path();
    request.method == Method::POST && (path.starts_with("/missions") || path.starts_with("/fixes"))
}

fn no_log(why: &str) -> Response {
    let message = format!("the log cannot be read: {why}");
    failure(StatusCode::SERVICE_UNAVAILABLE, "no_log", message)
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
    let told = async {
        let snapshot = shared.look().await?;
        let usage = shared.usage(&snapshot).await;
        Ok(document(StatusCode::OK, &view::status(&snapshot, &usage)))
    };
    flat(told.await)
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
    let scraped = async {
        let snapshot = shared.look().await?;
        let usage = shared.usage(&snapshot).await;
        let body = Body::from(metrics::text(&snapshot, &usage));
        Ok(reply(StatusCode::OK, "text/plain; version=0.0.4", body))
    };
    flat(scraped.await)
}

async fn openapi() -> Response {
    reply(StatusCode::OK, "application/json", Body::from(OPENAPI))
}

type Name = Result<Path<String>, PathRejection>;

// The error is the answer, and goes on as it is.
#[allow(clippy::result_large_err)]
fn name_of(name: Name) -> Result<String, Response> {
    match name {
        Ok(Path(name)) => Ok(name),
        Err(error) => Err(bad_request(error.body_text())),
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
    let steered = shared.ask(ask).await?;
    let steered = steered.map_err(|refused| refusal(&service, refused))?;
    Ok(document(
        StatusCode::OK,
        &json!({
            "order": order.as_str(),
            "changed": steered.changed,
            "service": view::service(&steered.snapshot.state, &service),
        }),
    ))
}

fn refusal(service: &str, refused: Refused) -> Response {
    match refused {
        Refused::Unknown { near } => unknown_service(service, near.as_deref()),
        Refused::Senseless(why) => bad_request(why),
        Refused::Conflict(why) => failure(StatusCode::CONFLICT, "not_now", why),
        Refused::Failed(why) => failure(StatusCode::INTERNAL_SERVER_ERROR, "failed", why),
    }
}

async fn signal(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    name: Name,
    body: Bytes,
) -> Response {
    let signalled = async {
        let service = name_of(name)?;
        let given: Option<Value> = serde_json::from_slice(&body).ok();
        let given = given.as_ref().and_then(Value::as_object);
        let signal = given
            .filter(|given| given.len() == 1)
            .and_then(|given| given.get("signal")?.as_str());
        let signal = signal.ok_or_else(|| bad_request("the body is {\"signal\": \"HUP\"}"))?;
        let (wanted, signal, by) = (service.clone(), signal.to_owned(), peer.name());
        let ask = |answer| {
            Ask::Signal(SignalWanted {
                service: wanted,
                signal,
                by,
                answer,
            })
        };
        let sent = shared.ask(ask).await?;
        let sent = sent.map_err(|refused| refusal(&service, refused))?;
        Ok(document(
            StatusCode::OK,
            &json!({ "service": service, "signal": sent }),
        ))
    };
    flat(signalled.await)
}

async fn service_logs(State(shared): State<Shared>, name: Name, uri: Uri) -> Response {
    let told = async {
        let name = name_of(name)?;
        let query = query_of(uri.query().unwrap_or(""), &["lines", "follow"]);
        let wanted = query.and_then(|query| {
            let lines = number(&query, "lines", logs::LINES_DEFAULT, logs::LINES_MAX)?;
            Ok((lines, switch(&query, "follow")?))
        });
        let (lines, follows) = wanted.map_err(bad_request)?;
        let snapshot = shared.look().await?;
        // Only names of services: nothing that somebody sends becomes a path.
        if snapshot.state.service(&name).is_none() {
            return Err(unknown_service(&name, snapshot.nearest(&name).as_deref()));
        }
        let path = logs::path_of(&shared.output_dir, &name);
        let cannot = |error: std::io::Error| {
            let message = format!("the output of {name} cannot be read: {error}");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
        };
        if follows {
            let permit = follower(&shared)?;
            let open = move || FollowLog::open(&path, lines, permit);
            return Ok(followed(apart(open).await.map_err(cannot)?));
        }
        let tail = move || logs::tail(&path, lines);
        let lines = apart(tail).await.map_err(cannot)?;
        Ok(document(
            StatusCode::OK,
            &json!({ "service": name, "lines": lines }),
        ))
    };
    flat(told.await)
}

/// Reads files in a thread of its own: others are answered meanwhile.
async fn apart<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

async fn boots(State(shared): State<Shared>, uri: Uri) -> Response {
    let told = async {
        let query = query_of(uri.query().unwrap_or(""), &["number"]);
        let limit = query.and_then(|query| number(&query, "number", BOOTS_DEFAULT, BOOTS_MAX));
        let limit = limit.map_err(bad_request)?;
        let boots = shared.read(move |reader| reader.boots(limit)).await?;
        Ok(document(StatusCode::OK, &boots))
    };
    flat(told.await)
}

async fn one_boot(State(shared): State<Shared>, boot: Name) -> Response {
    match name_of(boot) {
        Ok(boot) => {
            let arguments = ["replay", "--", &boot.replace('\0', "")].map(str::to_owned);
            let line = Line {
                arguments: arguments.to_vec(),
                names: true,
                ..Line::default()
            };
            shared.commands.answer(line).await
        }
        Err(response) => response,
    }
}

async fn list_missions(State(shared): State<Shared>, uri: Uri) -> Response {
    let told = async {
        let query = query_of(uri.query().unwrap_or(""), &["all"]);
        let all = query.and_then(|query| switch(&query, "all"));
        let all = all.map_err(bad_request)?;
        let missions = shared.read(move |reader| reader.missions(all)).await?;
        Ok(document(StatusCode::OK, &missions))
    };
    flat(told.await)
}

async fn one_mission(shared: State<Shared>, mission: Name) -> Response {
    show(Noun::Missions, &shared, mission).await
}

async fn list_fixes(State(shared): State<Shared>) -> Response {
    let arguments = ["fixes", "list"].map(str::to_owned).to_vec();
    let line = Line {
        arguments,
        ..Line::default()
    };
    shared.commands.answer(line).await
}

async fn one_fix(shared: State<Shared>, fix: Name) -> Response {
    show(Noun::Fixes, &shared, fix).await
}

async fn show(noun: Noun, shared: &Shared, name: Name) -> Response {
    match name_of(name) {
        Ok(name) => {
            let line = missions::show(noun, &name.replace('\0', ""));
            shared.commands.answer(line).await
        }
        Err(response) => response,
    }
}

async fn file_mission(shared: State<Shared>, peer: Extension<Peer>, body: Bytes) -> Response {
    let (noun, deed) = (Noun::Missions, &missions::FILE);
    answer_deed(&shared, noun, deed, None, &body, &peer.name()).await
}

async fn claim_mission(shared: State<Shared>, peer: Extension<Peer>, body: Bytes) -> Response {
    let (noun, deed) = (Noun::Missions, &missions::CLAIM);
    answer_deed(&shared, noun, deed, None, &body, &peer.name()).await
}

async fn act_on(
    noun: Noun,
    deed: &'static Deed,
    shared: State<Shared>,
    peer: Extension<Peer>,
    name: Name,
    body: Bytes,
) -> Response {
    match name_of(name) {
        Ok(name) => answer_deed(&shared, noun, deed, Some(&name), &body, &peer.name()).await,
        Err(response) => response,
    }
}

async fn answer_deed(
    shared: &Shared,
    noun: Noun,
    deed: &Deed,
    name: Option<&str>,
    body: &[u8],
    who: &str,
) -> Response {
    match missions::act(noun, deed, name, body, who) {
        Ok(line) => shared.commands.answer(line).await,
        Err(why) => bad_request(why),
    }
}

async fn reload(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    body: Bytes,
) -> Response {
    let reloaded = async {
        // What stands in one and is not read would be a reload that nobody asked for.
        if !matches!(body.trim_ascii(), b"" | b"{}") {
            return Err(bad_request(
                "a reload has no body; `dry_run=true` belongs behind the `?`",
            ));
        }
        let query = query_of(uri.query().unwrap_or(""), &["dry_run"]);
        let dry_run = query.and_then(|query| switch(&query, "dry_run"));
        let dry_run = dry_run.map_err(bad_request)?;
        let by = peer.name();
        let ask = |answer| {
            Ask::Reload(ReloadWanted {
                dry_run,
                by,
                answer,
            })
        };
        let reloaded = shared.ask(ask).await?;
        let reloaded = reloaded.map_err(|refused| refusal("", refused))?;
        Ok(document(StatusCode::OK, &reloaded))
    };
    flat(reloaded.await)
}

async fn validate(State(shared): State<Shared>) -> Response {
    let begun = async {
        let begun = shared.ask(Ask::Validate).await?;
        let validation = begun.map_err(|refused| refusal("", refused))?;
        Ok(document(
            StatusCode::OK,
            &json!({ "validation": validation }),
        ))
    };
    flat(begun.await)
}

async fn wake(State(shared): State<Shared>) -> Response {
    let woken = shared.ask(Ask::Wake).await;
    flat(woken.map(|()| document(StatusCode::OK, &json!({ "woken": true }))))
}

// The error is the answer, and goes on as it is.
#[allow(clippy::result_large_err)]
fn follower(shared: &Shared) -> Result<tokio::sync::OwnedSemaphorePermit, Response> {
    let permit = Arc::clone(&shared.followers).try_acquire_owned();
    permit.map_err(|_| {
        failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_followers",
            format!("{FOLLOWERS_MAX} readers follow already; close one, or try again"),
        )
    })
}

async fn follow(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let last_id = headers.get("last-event-id");
    let last_id = last_id.map(|id| id.to_str().unwrap_or("no text"));
    let after = match events::after_of(uri.query().unwrap_or(""), last_id) {
        Ok(after) => after,
        Err(message) => return bad_request(message),
    };
    let permit = match follower(&shared) {
        Ok(permit) => permit,
        Err(refused) => return refused,
    };
    match Follow::open(&shared.events, after, shared.head, permit).await {
        Ok(events) => followed(events),
        Err(error) => no_log(&error.to_string()),
    }
}

async fn no_path(uri: Uri) -> Response {
    let path = quoted(uri.path());
    let message = format!("there is no path {path}; /openapi.json has all of them");
    failure(StatusCode::NOT_FOUND, "not_found", message)
}

async fn no_method(method: Method, uri: Uri) -> Response {
    let message = format!(
        "{} is not for {}; /openapi.json has all paths",
        quoted(method.as_str()),
        quoted(uri.path())
    );
    failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
