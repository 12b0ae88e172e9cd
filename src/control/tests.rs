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
        *nobody) echo '{"error":{"code":"not_found","message":"there is no mission"}}'; exit 2;;
        *fail*) echo '{"error":{"code":"not_holder","message":"it is not claimed"}}'; exit 13;;
        *complete*) echo '{"outcome":"rejected"}'; exit 1;;
        *claim*) echo null; exit 1;;
        *fixes?list) echo '[]';;
        *missions?try*) echo '{"done": false}'; exit 1;;
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
            taken: Duration::from_millis(300),
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
                    Ask::Validate(answer) => drop(answer.send(Ok(2))),
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

/// Sends these parts with a pause after each, and reads what comes until the other side closes.
async fn say_slowly(dir: &Path, parts: &[&[u8]], pause: Duration) -> String {
    let short = ShortPath::of(dir).unwrap();
    let stream = UnixStream::connect(short.to(NAME)).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    let writing = tokio::task::spawn_local(async move {
        for part in parts {
            if to.write_all(&part).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        // Open until the other side closes.
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(to);
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), from.read_to_end(&mut answer)).await;
    writing.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bodies_without_end_and_what_hides_a_second_request_are_refused() {
    let heard = beside_a_door(|dir, _| async move {
        let chunked = b"POST /wake HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = [b"4000\r\n".to_vec(), vec![b'c'; 0x4000], b"\r\n".to_vec()].concat();
        let mut endless = vec![&chunked[..]];
        endless.resize(40, &chunk);
        let large = say_slowly(&dir, &endless, Duration::ZERO).await;
        assert!(large.starts_with("HTTP/1.1 413 "), "{large}");
        let mut slow = vec![&chunked[..]];
        slow.resize(40, b"1\r\nx\r\n");
        let late = say_slowly(&dir, &slow, Duration::from_millis(40)).await;
        assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
        let close = "connection: close\r\n\r\n";
        for (request, wanted) in [
            // Two lengths, or a length and chunks: a proxy in front may see another end of it.
            (
                format!(
                    "POST /wake HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 30\r\n{close}abc"
                ),
                "400",
            ),
            (
                format!("POST /wake HTTP/1.1\r\ncontent-length: -1\r\n{close}"),
                "400",
            ),
            (
                format!("POST /wake HTTP/1.1\r\ntransfer-encoding: gzip\r\n{close}"),
                "400",
            ),
            (format!("GET /services/%00 HTTP/1.1\r\n{close}"), "404"),
            (
                format!("GET /services/%2e%2e/%2e%2e/etc HTTP/1.1\r\n{close}"),
                "404",
            ),
            (
                format!("GET /services/web%2f..%2f..%2f..%2fetc%2fpasswd/logs HTTP/1.1\r\n{close}"),
                "404",
            ),
            (format!("GET /../../etc/passwd HTTP/1.1\r\n{close}"), "404"),
            (
                format!(
                    "GET /missions?all={} HTTP/1.1\r\n{close}",
                    "1".repeat(50_000)
                ),
                "400",
            ),
            (
                format!("OPTIONS /services HTTP/1.1\r\norigin: http://evil\r\n{close}"),
                "405",
            ),
            (format!("TRACE /services HTTP/1.1\r\n{close}"), "405"),
            (
                format!("GET /livez HTTP/1.1\r\n{}{close}", "a: b\r\n".repeat(200)),
                "431",
            ),
            (format!("GET /livez HTTP/3.0\r\n{close}"), "400"),
            (format!("GET /livez HTTP/1.1\r\na b: c\r\n{close}"), "400"),
        ] {
            let answer = say(&dir, request.as_bytes()).await;
            let start: String = request.chars().take(60).collect();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {wanted}")),
                "{start}: {answer}"
            );
            assert!(
                !answer.to_lowercase().contains("access-control"),
                "{start}: {answer}"
            );
        }
        let no_text = say(
            &dir,
            b"GET /services/\xff\xfe HTTP/1.1\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(no_text.starts_with("HTTP/1.1 400 "), "{no_text}");
        let head = say(
            &dir,
            format!("HEAD /services HTTP/1.1\r\n{close}").as_bytes(),
        )
        .await;
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        let old = say(&dir, b"GET /livez HTTP/1.0\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
        // Many at once are answered in their order, and no more than fit.
        let mut many = "GET /livez HTTP/1.1\r\n\r\n".repeat(200);
        many.push_str(&format!("GET /nothing HTTP/1.1\r\n{close}"));
        let answers = say(&dir, many.as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 200);
        assert!(answers.contains("no path"), "the last one is the last");
    });
    assert_eq!(heard, [""; 0]);
}

#[test]
fn slow_heads_hold_up_nobody_and_are_let_go() {
    beside_a_door(|dir, at| async move {
        let mut slow = Vec::new();
        for _ in 0..200 {
            let parts: [&[u8]; 40] = [b"x"; 40];
            let dir = dir.clone();
            slow.push(tokio::task::spawn_local(async move {
                say_slowly(&dir, &parts, Duration::from_millis(50)).await
            }));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(get(&dir, "/livez").await.starts_with("HTTP/1.1 200 "));
        // Those of the socket are not in the way of the others.
        let right = format!("host: {at}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close");
        let request = format!("GET /livez HTTP/1.1\r\n{right}\r\n\r\n");
        let answer = say_over_tcp(at, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // Under another name than ours, also where the request itself says it.
        for line in [
            "GET http://evil.example.com/services",
            "GET //evil.example.com/services",
        ] {
            let request = format!("{line} HTTP/1.1\r\n{right}\r\n\r\n");
            let answer = say_over_tcp(at, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 40"), "{line}: {answer}");
            assert!(!answer.contains("web"), "{line}: {answer}");
        }
        for one in slow {
            let answer = one.await.unwrap();
            assert!(!answer.contains(" 200 "), "{answer}");
        }
    });
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
fn who_follows_and_takes_nothing_is_let_go() {
    beside_a_door(|dir, _| async move {
        let log = crate::log::Log::open(&dir.join("log.db")).unwrap();
        // More than fits into the buffers between the two.
        for _ in 0..8 {
            let text = "x".repeat(200_000);
            let event = crate::domain::event::Event::Note { text };
            let event = crate::log::NewEvent {
                at: At(1),
                boot: None,
                mission: None,
                event,
            };
            log.append(vec![event]).unwrap();
        }
        let short = ShortPath::of(&dir).unwrap();
        let mut stream = UnixStream::connect(short.to(NAME)).await.unwrap();
        let request = b"GET /events?after=0 HTTP/1.1\r\nhost: ubs\r\n\r\n";
        stream.write_all(request).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut taken = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut taken));
        // Its end comes, and not the last event.
        assert!(read.await.is_ok(), "it is still open");
        assert!(!String::from_utf8_lossy(&taken).contains("id: 8\n"));
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
    // Killed: nobody listens, and the file is left. A process that another test starts has the listener until its exec.
    drop(listener);
    let begun = std::time::Instant::now();
    let (second, listener) = loop {
        match Socket::bind(&dir) {
            Ok(bound) => break bound,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(5), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
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

/// What `promtool check metrics` asks of a text, by the description of the format: a fault, if there is one.
fn metrics_fault(text: &str) -> Option<String> {
    let (mut kinds, mut seen) = (BTreeMap::new(), std::collections::BTreeSet::new());
    let (mut helped, mut family) = (String::new(), String::new());
    for line in text.lines() {
        let fault = |why: &str| Some(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ')?;
            if help.is_empty() || kinds.contains_key(name) {
                return fault("no help, or a second one");
            }
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ')?;
            let is_counter = kind == "counter";
            if name != helped || !(is_counter || kind == "gauge") {
                return fault("a type without its help, or a strange one");
            }
            if is_counter != name.ends_with("_total") {
                return fault("`_total` is for counters");
            }
            let units = ["milliseconds", "minutes", "megabytes", "percent", "count"];
            if units.iter().any(|unit| name.contains(unit)) {
                return fault("no base unit");
            }
            kinds.insert(name.to_owned(), kind.to_owned());
            family = name.to_owned();
        } else {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            if line[..end] != family {
                return fault("a sample outside of its family");
            }
            let (series, value) = line.rsplit_once(' ')?;
            if value.parse::<f64>().is_err() {
                return fault("no number");
            }
            if !seen.insert(series.to_owned()) {
                return fault("twice");
            }
            // Inside of quotes only escaped ones, and no end of a line.
            let labels = series[end..].replace("\\\\", "").replace("\\\"", "");
            if labels.matches('"').count() % 2 != 0 {
                return fault("quotes");
            }
        }
    }
    None
}

#[test]
fn metrics_are_what_prometheus_takes() {
    let mut snapshot = snapshot();
    snapshot.state.app = "a \"name\" with \\ and\nlines".to_owned();
    snapshot.state.phase = Phase::Running;
    snapshot.probes.insert("web".into(), {
        let mut times = crate::domain::probes::ProbeTimes::default();
        times.note(1_500, false);
        times
    });
    let pid = 7;
    snapshot.state.layers[0].services[0].process = Some(crate::domain::event::ProcessRef {
        pid,
        start_ticks: 1,
        host_boot: "h".into(),
    });
    let usage = BTreeMap::from([(pid, crate::kernel::Usage::default())]);
    let text = metrics::text(&snapshot, &usage);
    assert_eq!(metrics_fault(&text), None, "{text}");
    let app = "app=\"a \\\"name\\\" with \\\\ and\\nlines\"";
    assert!(text.contains(app), "{text}");
    assert!(text.contains("ubs_service_probe_failures_total{service=\"web\",layer=\"all\"} 1\n"));
    assert!(text.contains("ubs_service_probe_seconds{service=\"web\",layer=\"all\"} 0.0015\n"));
    let wrong = text.replace("# TYPE ubs_ready gauge", "# TYPE ubs_ready counter");
    assert!(metrics_fault(&wrong).is_some());
    assert!(metrics_fault(&format!("{text}{text}")).is_some());
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
