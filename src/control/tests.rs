//! The door, asked by raw bytes; what stands behind it is a loop that knows one boot.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc::unbounded_channel;

use super::ask::{Ask, Refused, Reloaded, Snapshot, Steered};
use super::gate::Tcp;
use super::metrics;
use super::routes::FOLLOWERS_MAX;
use super::server::{Bounds, CONNECTIONS_MAX, Door, Place};
use super::socket::{NAME, ShortPath, Socket};
use super::view::unready_reasons;
use crate::domain::boot::{BootState, LayerState, LayerStatus, Phase, ServiceState, ServiceStatus};
use crate::domain::event::{RestartPolicy, ServicePlan, ServiceRules, ServiceTerms};
use crate::domain::ids::{At, BootId};

const TOKEN: &str = "open-sesame-open-sesame";

/// In place of `ubs`: says how it was called, and fails as it does.
const PROGRAM: &str = "/bin/sh";
const SCRIPT: &str = r#"
    case "$*" in
        *replay*nobody) echo '{"error":{"code":"usage","message":"no boot is called so"}}'; exit 2;;
        *show*nobody) echo '{"error":{"code":"not_found","message":"there is no mission"}}'; exit 2;;
        *fail*) echo '{"error":{"code":"not_holder","message":"it is not claimed"}}'; exit 13;;
        *complete*) echo '{"outcome":"rejected"}'; exit 1;;
        *claim*) echo null; exit 1;;
        *broken) echo nothing; exit 1;;
        *propose*) read -r text; echo "{\"proposal\": $text}";;
        *) echo '{"done": true}';;
    esac
"#;

/// A workspace's state directory whose path has more bytes than a socket's address.
fn long_directory(below: &Path) -> std::path::PathBuf {
    let dir = below.join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&dir).unwrap();
    assert!(dir.as_os_str().len() > 200);
    dir
}

fn snapshot() -> Box<Snapshot> {
    let state = BootState {
        layers: vec![layer(vec![service("web", ServiceStatus::Ready)])],
        ..BootState::default()
    };
    Box::new(Snapshot {
        boot: BootId(uuid::Uuid::nil()),
        state,
        missions_open: 0,
        missions_need_person: 0,
        log_not_written_since: Some(At(7_000_000)),
        trouble: None,
        probes: BTreeMap::new(),
    })
}

fn service(name: &str, status: ServiceStatus) -> ServiceState {
    let plan = ServicePlan {
        name: name.into(),
        oneshot: false,
        restart: RestartPolicy::Never,
        restarts_max: 0,
        restart_window_ms: 0,
        restart_backoff_ms: 0,
        restart_backoff_ms_max: 0,
    };
    let (rules, terms) = (ServiceRules::default(), ServiceTerms::default());
    let mut service = ServiceState::fresh(&plan, rules, terms);
    service.status = status;
    service
}

fn layer(services: Vec<ServiceState>) -> LayerState {
    LayerState {
        name: "all".into(),
        critical: true,
        after: vec![],
        needing: false,
        status: LayerStatus::Up,
        started_at: None,
        up_at: None,
        failure: None,
        reason: String::new(),
        waits_for: None,
        services,
    }
}

/// Sends these bytes, and reads what comes until the other side closes.
async fn say(dir: &Path, bytes: &[u8]) -> String {
    let short = ShortPath::of(dir).unwrap();
    let mut stream = UnixStream::connect(short.to(NAME)).await.unwrap();
    // The other side may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(dir: &Path, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: ubs\r\nconnection: close\r\n\r\n");
    say(dir, request.as_bytes()).await
}

/// Runs a test beside an open door in a directory with a long path; gives the orders that came through.
fn beside_a_door<F: Future<Output = ()>>(
    test: impl FnOnce(std::path::PathBuf, SocketAddr) -> F,
) -> Vec<String> {
    let below = tempfile::tempdir().unwrap();
    let dir = long_directory(below.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let orders = Rc::clone(&heard);
    local.block_on(&runtime, async {
        let (asks, mut questions) = unbounded_channel();
        let place = Place {
            state_dir: dir.clone(),
            output_dir: dir.join("logs"),
            log: dir.join("log.db"),
            program: vec![PROGRAM.into(), "-c".into(), SCRIPT.into()],
            tcp: Some(Tcp {
                listen: "127.0.0.1:0".parse().unwrap(),
                token: Some(TOKEN.to_owned()),
                hosts: vec![],
            }),
        };
        let bounds = Bounds {
            head: Duration::from_millis(300),
            request: Duration::from_millis(300),
        };
        let opened = Door::open_with(&place, asks, bounds);
        assert!(opened.no_socket.is_none() && opened.no_tcp.is_none());
        let (door, at) = (opened.door, opened.tcp.unwrap());
        tokio::task::spawn_local(async move {
            while let Some(ask) = questions.recv().await {
                match ask {
                    Ask::Look(answer) => drop(answer.send(snapshot())),
                    Ask::Wake(answer) => {
                        heard.borrow_mut().push("wake".to_owned());
                        let _ = answer.send(());
                    }
                    Ask::Signal(wanted) => {
                        let (service, signal, by) = (wanted.service, wanted.signal, wanted.by);
                        heard.borrow_mut().push(format!("{signal} {service} {by}"));
                        let _ = wanted.answer.send(match signal.as_str() {
                            "HUP" => Ok("SIGHUP"),
                            _ => Err(Refused::Senseless("it is no signal".to_owned())),
                        });
                    }
                    Ask::Reload(wanted) => {
                        let dry_run = wanted.dry_run;
                        let _ = wanted.answer.send(Ok(Reloaded {
                            dry_run,
                            ..Reloaded::default()
                        }));
                    }
                    Ask::Steer(steer) => {
                        let order = steer.order.as_str();
                        heard
                            .borrow_mut()
                            .push(format!("{order} {} {}", steer.service, steer.by));
                        let changed = true;
                        let snapshot = snapshot();
                        drop(steer.answer.send(match steer.service.as_str() {
                            "web" => Ok(Steered { changed, snapshot }),
                            _ => Err(Refused::Unknown {
                                near: Some("web".to_owned()),
                            }),
                        }));
                    }
                }
            }
        });
        test(dir.clone(), at).await;
        drop(door);
        assert!(!dir.join(NAME).exists(), "the socket goes with the door");
    });
    drop(local);
    Rc::try_unwrap(orders).unwrap().into_inner()
}

#[test]
fn paths_are_answered_and_orders_come_through() {
    let heard = beside_a_door(|dir, _| async move {
        let mode = std::fs::metadata(dir.join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(get(&dir, "/livez").await.starts_with("HTTP/1.1 200 "));
        let ready = get(&dir, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(
            ready.contains(r#"{"ready":false,"reasons":["the boot is new"]}"#),
            "{ready}"
        );
        for path in [
            "/health",
            "/status",
            "/services",
            "/boots/current",
            "/metrics",
        ] {
            let answer = get(&dir, path).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
        // Only the supervisor knows.
        for path in ["/health", "/status", "/boots/current"] {
            let answer = get(&dir, path).await;
            let since = r#""log_not_written_since":"1970-01-01T00:00:07"#;
            assert!(answer.contains(since), "{path}: {answer}");
        }
        let post = "POST /services/wbe/stop HTTP/1.1\r\nhost: ubs\r\nconnection: close\r\n\r\n";
        let unknown = say(&dir, post.as_bytes()).await;
        assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
        assert!(
            unknown.contains("no service `wbe`; did you mean `web`?"),
            "{unknown}"
        );
        say(
            &dir,
            b"POST /wake HTTP/1.1\r\nhost: ubs\r\nconnection: close\r\n\r\n",
        )
        .await;
    });
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    assert_eq!(
        heard,
        [format!("stop wbe a person (uid {uid})"), "wake".to_owned()]
    );
}

#[test]
fn hostile_requests_are_refused_and_the_door_stays_open() {
    let heard = beside_a_door(|dir, _| async move {
        let close = "connection: close\r\n\r\n";
        let big = 70_000;
        for (request, wanted) in [
            ("\x16\x03\x01\x02\r\n\r\n".to_owned(), "400"),
            (
                format!("GET /{} HTTP/1.1\r\n{close}", "a".repeat(200_000)),
                "4",
            ),
            (
                format!("GET / HTTP/1.1\r\nx: {}\r\n{close}", "a".repeat(200_000)),
                "431",
            ),
            (format!("GET /nothing HTTP/1.1\r\n{close}"), "404"),
            (format!("DELETE /services HTTP/1.1\r\n{close}"), "405"),
            (format!("GET /services/%ff HTTP/1.1\r\n{close}"), "400"),
            (
                format!("GET /services/..%2f..%2fetc HTTP/1.1\r\n{close}"),
                "404",
            ),
            (format!("GET /events?after=x HTTP/1.1\r\n{close}"), "400"),
            // There is no log here.
            (format!("GET /events HTTP/1.1\r\n{close}"), "503"),
            (
                format!(
                    "POST /wake HTTP/1.1\r\ncontent-length: {big}\r\n{close}{}",
                    "b".repeat(big)
                ),
                "413",
            ),
            // A body that never comes.
            (
                format!("POST /wake HTTP/1.1\r\ncontent-length: 5\r\n{close}"),
                "408",
            ),
        ] {
            let answer = say(&dir, request.as_bytes()).await;
            let start = &request[..request.len().min(40)];
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {wanted}")),
                "{start}: {answer}"
            );
            if !["400", "4", "431"].contains(&wanted) {
                assert!(
                    answer.contains(r#"{"error":{"code":""#),
                    "{start}: {answer}"
                );
            }
            assert!(
                get(&dir, "/livez").await.starts_with("HTTP/1.1 200 "),
                "{start}"
            );
        }
        // A head that never ends is not waited for.
        let slow = say(&dir, b"GET /livez HTTP/1.1\r\nx: ").await;
        assert!(!slow.starts_with("HTTP/1.1 200"), "{slow}");
    });
    assert_eq!(heard, [""; 0]);
}

async fn say_over_tcp(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn over_tcp_the_token_and_our_own_name_are_needed() {
    let heard = beside_a_door(|dir, at| async move {
        let right = format!("host: {at}\r\nauthorization: Bearer {TOKEN}");
        for (headers, wanted) in [
            (right.clone(), "200"),
            (format!("{right}\r\norigin: http://{at}"), "200"),
            (format!("host: {at}"), "401"),
            (
                format!("host: {at}\r\nauthorization: Bearer {TOKEN}x"),
                "401",
            ),
            (format!("{right}\r\nauthorization: Bearer {TOKEN}"), "401"),
            (right.replace(&at.to_string(), "evil.example.com"), "403"),
            (right.replace("host:", "x-host:"), "403"),
            (
                format!("{right}\r\norigin: https://evil.example.com"),
                "403",
            ),
        ] {
            let request =
                format!("GET /services HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
            let answer = say_over_tcp(at, request.as_bytes()).await;
            let start = format!("HTTP/1.1 {wanted} ");
            assert!(answer.starts_with(&start), "{headers}: {answer}");
            assert_eq!(
                answer.contains("web"),
                wanted == "200",
                "{headers}: {answer}"
            );
        }
        // A wrong token gives no order, and what it sends is not read.
        let order = format!(
            "POST /services/web/stop HTTP/1.1\r\nhost: {at}\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"
        );
        let refused = say_over_tcp(at, order.as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        // A head that never ends is not waited for, and the socket answers meanwhile.
        let slow = say_over_tcp(at, b"GET /livez HTTP/1.1\r\nx: ").await;
        assert!(!slow.starts_with("HTTP/1.1 200"), "{slow}");
        assert!(get(&dir, "/livez").await.starts_with("HTTP/1.1 200 "));
        let good =
            format!("POST /services/web/stop HTTP/1.1\r\n{right}\r\nconnection: close\r\n\r\n");
        say_over_tcp(at, good.as_bytes()).await;
    });
    assert_eq!(heard, ["stop web a person (from 127.0.0.1)"]);
}

#[test]
fn there_are_only_so_many_followers_and_each_gets_every_event() {
    beside_a_door(|dir, _| async move {
        drop(crate::log::Log::open(&dir.join("log.db")).unwrap());
        let short = ShortPath::of(&dir).unwrap();
        let mut open = Vec::new();
        for path in ["/events", "/services/web/logs?follow=true"] {
            for _ in 0..FOLLOWERS_MAX / 2 {
                let mut stream = UnixStream::connect(short.to(NAME)).await.unwrap();
                let request = format!("GET {path} HTTP/1.1\r\nhost: ubs\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut head = [0; 15];
                stream.read_exact(&mut head).await.unwrap();
                assert_eq!(&head, b"HTTP/1.1 200 OK");
                open.push(stream);
            }
        }
        let refused = get(&dir, "/events").await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("too_many_followers"), "{refused}");
        // Others get in.
        assert!(get(&dir, "/livez").await.starts_with("HTTP/1.1 200 "));
        open.pop();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut stream = UnixStream::connect(short.to(NAME)).await.unwrap();
        let request = "GET /events HTTP/1.1\r\nhost: ubs\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK", "one that went away made room");
    });
}

#[test]
fn there_are_only_so_many_connections() {
    beside_a_door(|dir, _| async move {
        let short = ShortPath::of(&dir).unwrap();
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            open.push(UnixStream::connect(short.to(NAME)).await.unwrap());
        }
        let refused = get(&dir, "/livez").await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("too_many_connections"), "{refused}");
        drop(open);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(get(&dir, "/livez").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn a_dead_supervisors_socket_is_replaced_and_a_live_one_never() {
    let below = tempfile::tempdir().unwrap();
    let dir = long_directory(below.path());
    let (mut first, listener) = Socket::bind(&dir).unwrap();
    let error = Socket::bind(&dir).err().unwrap();
    assert!(error.to_string().contains("another supervisor"), "{error}");
    // Killed: nobody listens, and the file is left.
    drop(listener);
    let (second, listener) = Socket::bind(&dir).unwrap();
    drop(std::mem::replace(&mut first, second));
    assert!(
        dir.join(NAME).exists(),
        "the first one leaves the second one's file"
    );
    drop((first, listener));
    assert!(!dir.join(NAME).exists());
    std::fs::write(dir.join(NAME), "mine").unwrap();
    let error = Socket::bind(&dir).err().unwrap();
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(dir.join(NAME)).unwrap(), "mine");
}

#[test]
fn what_is_disabled_keeps_nothing_from_being_ready_and_has_a_state() {
    let layer = layer(vec![
        service("a", ServiceStatus::Ready),
        service("b", ServiceStatus::Disabled),
    ]);
    let mut snapshot = snapshot();
    snapshot.state.phase = Phase::Running;
    snapshot.state.layers = vec![layer];
    assert_eq!(unready_reasons(&snapshot.state), [""; 0]);
    assert!(
        metrics::text(&snapshot, &BTreeMap::new())
            .contains("service=\"b\",layer=\"all\",state=\"disabled\"} 1")
    );
    snapshot.state.layers[0].services[1].status = ServiceStatus::Skipped;
    assert_eq!(unready_reasons(&snapshot.state), ["service b is skipped"]);
    assert!(metrics::text(&snapshot, &BTreeMap::new()).contains("state=\"skipped\"} 1"));
}

mod openapi;
