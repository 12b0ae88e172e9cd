//! Readers of `/events` of a running supervisor: how late an event comes, and what the readers cost it.
//!
//! `cargo bench --bench control`. 200 readers over the control socket, 1,000 events a second written by another process
//! (this one), and 20 readers more that take nothing. Beside it a bare hyper loop in this process that hands the same
//! bytes to as many readers, without a log.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use ubs::{Event, Log, NewEvent, now};

/// In front of the moment, in microseconds, at which an event was given to the log.
const MARK: &str = "sent=";

/// One of so many readers looks at what it gets; the others take it.
const LOOKS_AT_ONE_IN: usize = 20;

struct Size {
    readers: usize,
    idle_readers: usize,
    events_a_second: u64,
    seconds: u64,
}

fn main() {
    // `cargo test --benches` calls this too: one short round shows that it works.
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let size = if testing {
        Size {
            readers: 4,
            idle_readers: 1,
            events_a_second: 100,
            seconds: 1,
        }
    } else {
        Size {
            readers: 200,
            idle_readers: 20,
            events_a_second: 1_000,
            seconds: 10,
        }
    };
    let dir = tempfile::tempdir().unwrap();
    bare(&size, dir.path());
    ours(&size, dir.path());
}

/// The reference.
fn bare(size: &Size, dir: &Path) {
    let socket = dir.join("bare.sock");
    let (sender, _) = broadcast::channel::<Bytes>(1 << 14);
    let (served, begun) = (sender.clone(), Instant::now());
    let at = socket.clone();
    std::thread::spawn(move || {
        local(async move {
            let listener = UnixListener::bind(&at).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let receiver = served.subscribe();
                let answer = service_fn(move |_| {
                    let events = stream::unfold(receiver.resubscribe(), |mut events| async {
                        let text = events.recv().await.ok()?;
                        Some((Ok::<_, Infallible>(Frame::data(text)), events))
                    });
                    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b": \n\n")))]);
                    let body = StreamBody::new(futures_util::StreamExt::chain(first, events));
                    async { Ok::<_, Infallible>(hyper::Response::new(body)) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::task::spawn_local(async { drop(connection.await) });
            }
        })
    });
    wait_for(&socket);
    let send = move |text: String| drop(sender.send(format!("data: {text}\n\n").into()));
    let late = measure(size, &socket, begun, &send);
    say("bare hyper loop", size, late);
}

fn ours(size: &Size, dir: &Path) {
    let root = dir.join("app");
    fs::create_dir(&root).unwrap();
    let manifest = "[app]\nname = \"bench\"\nstable_after = \"100ms\"\n[[layer]]\nname = \"all\"\n\
                    [[layer.service]]\nname = \"one\"\nrun = \"sleep 1000\"\n";
    fs::write(root.join("ubs.toml"), manifest).unwrap();
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_ubs"))
        .args(["boot", "--mode", "fast", "--quiet"])
        .current_dir(&root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let socket = root.join(".ubs/control.sock");
    wait_for(&socket);
    // Then it writes nothing itself.
    let stable = Command::new(env!("CARGO_BIN_EXE_ubs"))
        .args(["wait", "--for", "stable"])
        .current_dir(&root)
        .stdout(Stdio::null())
        .status();
    assert!(stable.unwrap().success());
    let log = Log::open(&root.join(".ubs/log.db")).unwrap();
    let before = memory_mb(supervisor.id(), "VmRSS");
    let ticks = ticks(supervisor.id());
    let commits = Mutex::new(Vec::new());
    let send = |text: String| {
        let begun = Instant::now();
        let event = Event::Note { text };
        let event = NewEvent {
            at: now(),
            boot: None,
            mission: None,
            event,
        };
        log.append(vec![event]).unwrap();
        let took = begun.elapsed().as_micros() as f32 / 1e3;
        commits.lock().unwrap().push(took);
    };
    let late = measure(size, &socket, Instant::now(), &send);
    say("ubs", size, late);
    let mut commits = commits.into_inner().unwrap();
    commits.sort_by(f32::total_cmp);
    println!(
        "  until an event is durable alone: p50 {:.1} ms, p99 {:.1} ms",
        commits[commits.len() / 2],
        commits[commits.len() * 99 / 100]
    );
    let used = (self::ticks(supervisor.id()) - ticks) as f64 / 100.0 / size.seconds as f64;
    println!(
        "  the supervisor: {before:.1} MB before, {:.1} MB at most; {:.0} % of a core",
        memory_mb(supervisor.id(), "VmHWM"),
        used * 100.0
    );
    let stop = Command::new(env!("CARGO_BIN_EXE_ubs"))
        .args(["stop", "--quiet"])
        .current_dir(&root)
        .status();
    assert!(stop.unwrap().success());
    supervisor.wait().unwrap();
}

/// Milliseconds between the giving of each event and its coming to each reader.
fn measure(
    size: &Size,
    socket: &Path,
    begun: Instant,
    send: &(impl Fn(String) + Sync),
) -> Vec<f32> {
    let stopped = Arc::new(AtomicBool::new(false));
    let ready = Arc::new(AtomicU64::new(0));
    let readers = {
        let (readers, idle) = (size.readers, size.idle_readers);
        let (stopped, ready, socket) = (stopped.clone(), ready.clone(), socket.to_owned());
        std::thread::spawn(move || local(read_all(socket, readers, idle, begun, ready, stopped)))
    };
    while ready.load(Ordering::SeqCst) < (size.readers + size.idle_readers) as u64 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (count, writers) = (size.events_a_second * size.seconds, 16);
    let next = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    let due =
                        start + Duration::from_micros(number * 1_000_000 / size.events_a_second);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let padding = "x".repeat(150);
                    send(format!("{MARK}{};{padding}", begun.elapsed().as_micros()));
                }
            });
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    stopped.store(true, Ordering::SeqCst);
    readers.join().unwrap()
}

async fn read_all(
    socket: PathBuf,
    readers: usize,
    idle: usize,
    begun: Instant,
    ready: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
) -> Vec<f32> {
    let mut all = Vec::new();
    let mut held = Vec::new();
    for number in 0..readers + idle {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let request = b"GET /events HTTP/1.1\r\nhost: ubs\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK", "reader {number}");
        ready.fetch_add(1, Ordering::SeqCst);
        if number >= readers {
            held.push(stream);
        } else {
            let stopped = stopped.clone();
            // This program would be too slow if it looked at all of it.
            let looks = number % LOOKS_AT_ONE_IN == 0;
            all.push(tokio::task::spawn_local(read(
                stream, begun, stopped, looks,
            )));
        }
    }
    let mut late = Vec::new();
    for reader in all {
        late.extend(reader.await.unwrap());
    }
    late
}

async fn read(
    mut stream: UnixStream,
    begun: Instant,
    stopped: Arc<AtomicBool>,
    looks: bool,
) -> Vec<f32> {
    let (mut late, mut text) = (Vec::new(), Vec::new());
    while !stopped.load(Ordering::SeqCst) {
        let reading = stream.read_buf(&mut text);
        match tokio::time::timeout(Duration::from_millis(100), reading).await {
            Ok(Ok(0)) => panic!("the reader was let go"),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => continue,
        }
        let now = begun.elapsed().as_micros() as u64;
        if !looks {
            text.clear();
            continue;
        }
        // What this program sends is ASCII; `find` is fast however this is compiled.
        let known = std::str::from_utf8(&text).unwrap();
        let mut whole = 0;
        while let Some(at) = known[whole..].find(MARK) {
            let number = &known[whole + at + MARK.len()..];
            let Some(end) = number.find(';') else {
                break;
            };
            let sent: u64 = number[..end].parse().unwrap();
            late.push(now.saturating_sub(sent) as f32 / 1e3);
            whole += at + MARK.len() + end;
        }
        text.drain(..whole);
    }
    late
}

fn local<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

fn wait_for(socket: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < end, "{} does not answer", socket.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn say(what: &str, size: &Size, mut late: Vec<f32>) {
    late.sort_by(f32::total_cmp);
    let wanted =
        size.readers.div_ceil(LOOKS_AT_ONE_IN) * (size.events_a_second * size.seconds) as usize;
    let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: {} readers, {} of {wanted} events at those that look; p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        size.readers,
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn memory_mb(pid: u32, what: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let kb: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024.0
}

fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
