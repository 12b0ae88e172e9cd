//! What makes a service ready: each kind of probe against real processes and sockets.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_rustls::rustls;

use super::*;
use crate::manifest::HttpRequest;

fn ready(kind: ProbeKind) -> Probe {
    Probe {
        kind,
        interval_ms: 10,
        ..Probe::READY_DEFAULT
    }
}

async fn wait(probe: &Probe, spec: &ServiceSpec, service: &RunningService) -> Readiness {
    let signs = service.signs();
    let asked = Asked {
        spec,
        leader: Some(service.process.pid),
        signs: Some(&signs),
    };
    await_ready(probe, asked).await
}

fn why(readiness: Readiness) -> String {
    match readiness {
        Readiness::Ready => "ready".to_owned(),
        Readiness::TimedOut { last } => last.message,
    }
}

#[test]
fn a_line_is_found_after_a_hundred_thousand_and_not_in_what_an_earlier_run_printed() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let script =
            "seq 100000; test -e again || { touch again; echo 'ready to serve'; }; exec sleep 600";
        let mut spec = sh(dir.path(), script);
        spec.awaited_line = regex::Regex::new("^ready to [a-z]+$").ok();
        let mut probe = ready(ProbeKind::Log("^ready to [a-z]+$".into()));
        let mut service = spawn(&spec, plain()).unwrap();
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        service.kill().await;
        let log = fs::read_to_string(&spec.log_path).unwrap();
        assert_eq!(log.lines().count(), 100_001, "nothing is lost");

        let mut service = spawn(&spec, plain()).unwrap();
        printed(&service, "100000").await;
        probe.timeout_ms = 100;
        assert_eq!(
            why(wait(&probe, &spec, &service).await),
            "no line of its output matches ^ready to [a-z]+$"
        );
        service.kill().await;
    });
}

/// Says that it is starting, and ready when there is a file `go`.
const SAYS: &str = "import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
print(os.environ['NOTIFY_SOCKET'], flush=True)
s.send(b'STATUS=warming \\x1b[1mup')
while not os.path.exists('go'): time.sleep(0.01)
s.send(b'READY=1\\nSTATUS=up')
time.sleep(600)";

#[test]
fn a_service_says_itself_that_it_is_ready_and_nobody_else_can() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        // A child says it, as in most wrappers.
        let mut spec = sh(dir.path(), "python3 says.py; exit 3");
        fs::write(dir.path().join("says.py"), SAYS).unwrap();
        let mark = format!("UBS_TEST={}", uuid::Uuid::now_v7());
        spec.env.insert("UBS_TEST".into(), mark[9..].to_owned());
        spec.marks = vec![mark];
        spec.notifies = true;
        let mut service = spawn(&spec, plain()).unwrap();
        while service.tail().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let socket = PathBuf::from(&service.tail()[0]);
        let mode = fs::metadata(socket.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
        stranger.send_to(b"READY=1", &socket).unwrap();
        let mut probe = ready(ProbeKind::Notify);
        probe.timeout_ms = 300;
        let said = why(wait(&probe, &spec, &service).await);
        assert!(
            said.contains("has not said READY=1; its status is: warming [1mup"),
            "{said}"
        );
        let us = format!("process {}", std::process::id());
        assert!(
            said.contains(&us) && said.contains("none of its processes"),
            "{said}"
        );
        fs::write(dir.path().join("go"), "").unwrap();
        probe.timeout_ms = 30_000;
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        service.kill().await;
        drop(service);
        // The task that heard it ends at its next turn.
        while socket.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_file_that_an_earlier_run_left_is_no_readiness() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        fs::write(dir.path().join("up"), "").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let spec = sh(
            dir.path(),
            "while ! test -e go; do sleep 0.01; done; echo > new; mv new up; exec sleep 600",
        );
        let mut service = spawn(&spec, plain()).unwrap();
        let mut probe = ready(ProbeKind::File("up".into()));
        probe.timeout_ms = 100;
        let said = why(wait(&probe, &spec, &service).await);
        assert!(
            said.contains("up is older than this start of the service"),
            "{said}"
        );
        let external = Probe {
            external: true,
            ..probe.clone()
        };
        assert_eq!(wait(&external, &spec, &service).await, Readiness::Ready);
        fs::write(dir.path().join("go"), "").unwrap();
        probe.timeout_ms = 30_000;
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        probe.kind = ProbeKind::File("missing".into());
        probe.timeout_ms = 50;
        assert_eq!(
            why(wait(&probe, &spec, &service).await),
            "missing does not exist"
        );
        service.kill().await;
    });
}

#[test]
fn successes_in_a_row_are_counted_and_a_try_has_its_own_time() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let spec = sh(dir.path(), "exec sleep 600");
        let mut service = spawn(&spec, plain()).unwrap();
        // Right, wrong, hanging, right, right, right.
        let script = "echo x >> tries; n=$(wc -l < tries); test $n = 3 && sleep 600; test $n != 2";
        let mut probe = ready(ProbeKind::Exec(
            ["sh", "-c", script].map(str::to_owned).to_vec(),
        ));
        probe.successes_min = 3;
        probe.try_ms = Some(300);
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        let tries = fs::read_to_string(dir.path().join("tries")).unwrap();
        assert_eq!(tries.lines().count(), 6);
        service.kill().await;
    });
}

#[test]
fn a_database_is_asked_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut spec = sh(dir.path(), "exec sleep 600");
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let ping = Ping::new(|| {
            // The first one hangs for longer than several tries last.
            if ASKED.fetch_add(1, Ordering::SeqCst) == 0 {
                std::thread::sleep(Duration::from_millis(400));
            }
            Err("it is starting up".to_owned())
        });
        spec.pings.insert("main".into(), ping);
        let mut service = spawn(&spec, plain()).unwrap();
        let mut probe = ready(ProbeKind::Sql("main".into()));
        (probe.try_ms, probe.timeout_ms) = (Some(30), 200);
        assert_eq!(
            why(wait(&probe, &spec, &service).await),
            "the database of schema main did not answer within 30 ms"
        );
        assert_eq!(ASKED.load(Ordering::SeqCst), 1, "no second one was begun");
        (probe.try_ms, probe.timeout_ms) = (None, 1000);
        let said = why(wait(&probe, &spec, &service).await);
        assert_eq!(said, "the database of schema main: it is starting up");
        service.kill().await;
    });
}

/// Answers each request with what `answer` makes of its head.
fn converse(mut stream: impl Read + Write, answer: fn(&str) -> &'static str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let text = answer(&String::from_utf8_lossy(&head));
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}

#[test]
fn an_answer_over_a_local_socket_is_compared_and_its_process_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            converse(stream.unwrap(), |head| {
                if head.starts_with("GET /deep?x=1 ")
                    && head.contains("host: shop.example\r\n")
                    && head.contains("x-token: abc\r\n")
                {
                    "HTTP/1.1 418 Teapot\r\ncontent-length: 12\r\n\r\n{\"db\": \"up\"}"
                } else {
                    "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n"
                }
            });
        }
    });
    run(async {
        let mut spec = sh(dir.path(), "exec sleep 600");
        let mut service = spawn(&spec, plain()).unwrap();
        let url = "http://localhost/deep?x=1".to_owned();
        let mut probe = ready(ProbeKind::Http(url));
        probe.timeout_ms = 100;
        probe.http = HttpRequest {
            statuses: vec![200, 418],
            body: Some(r#""db": *"up""#.into()),
            headers: [("Host", "shop.example"), ("X-Token", "abc")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            socket: Some("s".into()),
            ca_file: None,
        };
        // Without a mark nobody is a stranger.
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        spec.marks = vec!["UBS_TEST=another".into()];
        let said = why(wait(&probe, &spec, &service).await);
        assert!(
            said.contains(&format!("answered by process {}", std::process::id())),
            "{said}"
        );
        probe.external = true;
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        probe.http.body = Some("down".into());
        let said = why(wait(&probe, &spec, &service).await);
        assert!(
            said.ends_with("status 418, and the body does not match down"),
            "{said}"
        );
        probe.http.statuses.clear();
        let said = why(wait(&probe, &spec, &service).await);
        assert!(said.ends_with("status 418"), "{said}");
        service.kill().await;
    });
}

#[test]
fn a_server_over_tls_is_probed_with_the_authority_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            converse(
                rustls::StreamOwned::new(connection, stream),
                |_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            );
        }
    });
    run(async {
        let spec = sh(dir.path(), "exec sleep 600");
        let mut service = spawn(&spec, plain()).unwrap();
        let mut probe = ready(ProbeKind::Http(format!("https://127.0.0.1:{port}/")));
        probe.timeout_ms = 300;
        let said = why(wait(&probe, &spec, &service).await);
        assert!(said.contains("is not trusted"), "{said}");
        probe.timeout_ms = 10_000;
        probe.http.ca_file = Some("ca.pem".into());
        assert_eq!(wait(&probe, &spec, &service).await, Readiness::Ready);
        service.kill().await;
    });
}

#[test]
fn a_last_try_that_hung_until_the_end_says_so_and_not_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let spec = sh(dir.path(), "exec sleep 600");
        let mut service = spawn(&spec, plain()).unwrap();
        // Refuses at first, hangs then.
        let script = "test -e tried && exec sleep 600; touch tried; exit 7";
        let argv = ["sh", "-c", script].map(str::to_owned);
        let mut probe = ready(ProbeKind::Exec(argv.to_vec()));
        probe.timeout_ms = 300;
        let said = why(wait(&probe, &spec, &service).await);
        assert!(said.contains("did not end within"), "{said}");
        service.kill().await;
    });
}
