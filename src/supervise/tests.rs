//! Real shell scripts that stop well, badly, and not at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::ProbeFailure;
use super::output::{Clean, LINE_MAX};
use super::*;
use crate::domain::event::ExitKind;
use crate::kernel::{Signal, is_alive, process_ref, processes_with_env};
use crate::manifest::{LogRules, Probe, ProbeKind, ServiceLimits};

mod gifts;
mod probes;

const LONG: Duration = Duration::from_secs(60);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LONG, test)
            .await
            .expect("the test hangs")
    })
}

fn env() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())])
}

fn sh(dir: &Path, script: &str) -> ServiceSpec {
    ServiceSpec {
        name: "web".into(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        cwd: dir.to_path_buf(),
        env: env(),
        user: None,
        umask: None,
        limits: ServiceLimits::default(),
        workspace: dir.to_path_buf(),
        awaited_line: None,
        notifies: false,
        pings: BTreeMap::new(),
        marks: vec![],
        log_path: dir.join("logs/web.log"),
        logs: LogRules::default(),
        onlooker: None,
    }
}

fn plain() -> Clean {
    Arc::new(str::to_owned)
}

/// Until the service has printed that line.
async fn printed(service: &RunningService, line: &str) {
    while !service.tail().iter().any(|l| l == line) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_service_ends_by_itself_and_its_output_is_kept_clean_and_private() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut spec = sh(
            dir.path(),
            "echo \"password is $PW\"; echo err >&2; printf unfinished; exit 3",
        );
        spec.env.insert("PW".into(), "hunter2".into());
        let mut service = spawn(&spec, Arc::new(|l: &str| l.replace("hunter2", "***"))).unwrap();
        assert_eq!(service.exit(), None);
        assert_eq!(service.wait().await, ExitKind::Code(3));
        assert_eq!(service.wait().await, ExitKind::Code(3));
        assert!(!is_alive(&service.process));
        assert_eq!(service.tail(), ["password is ***", "err", "unfinished"]);
        let log = fs::read_to_string(&spec.log_path).unwrap();
        let first = log.lines().next().unwrap();
        let (time, text) = first.split_once(' ').unwrap();
        assert!(
            chrono::DateTime::parse_from_rfc3339(time).is_ok() && text == "password is ***",
            "{first}"
        );
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&spec.log_path), mode(spec.log_path.parent().unwrap())),
            (0o600, 0o700)
        );
    });
}

#[test]
fn a_service_that_listens_is_stopped_gracefully() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let mut service = spawn(&sh(dir.path(), script), plain()).unwrap();
        printed(&service, "up").await;
        assert_eq!(
            service.stop(Signal::SIGTERM, 30_000).await,
            ExitKind::Code(0)
        );
        assert_eq!(service.tail().last().unwrap(), "bye");
        assert!(
            service.signal(Signal::SIGTERM).is_ok(),
            "a signal after the end reaches nobody"
        );
    });
}

#[test]
fn a_service_that_is_halted_hears_the_signal_and_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let mut service = spawn(&sh(dir.path(), script), plain()).unwrap();
        printed(&service, "ready").await;
        service.signal(Signal::SIGSTOP).unwrap();
        assert_eq!(
            service.stop(Signal::SIGTERM, 20_000).await,
            ExitKind::Code(0)
        );
        assert_eq!(service.tail().last().map(String::as_str), Some("bye"));
    });
}

#[test]
fn a_service_that_does_not_listen_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut service = spawn(
            &sh(
                dir.path(),
                "trap '' TERM; echo up; while :; do sleep 1; done",
            ),
            plain(),
        )
        .unwrap();
        printed(&service, "up").await;
        assert_eq!(
            service.stop(Signal::SIGTERM, 100).await,
            ExitKind::Signal(9)
        );
        assert!(!is_alive(&service.process));
    });
}

#[test]
fn grandchildren_go_with_the_service_even_if_it_crashes_or_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let marker = format!("UBS_TEST={}", uuid::Uuid::now_v7());
    run(async {
        for ending in ["exit 1", "kill -9 $$", "sleep 600"] {
            let script = format!("(trap '' TERM; echo up; while :; do sleep 600; done) & {ending}");
            let mut spec = sh(dir.path(), &script);
            spec.env.insert("UBS_TEST".into(), marker[9..].to_owned());
            let mut service = spawn(&spec, plain()).unwrap();
            if ending == "sleep 600" {
                printed(&service, "up").await;
                drop(service);
            } else {
                assert!(!service.wait().await.is_success());
            }
            while !processes_with_env(&marker).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
}

#[test]
fn a_stray_that_left_the_group_does_not_keep_us_waiting_for_its_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let marker = format!("UBS_TEST={}", uuid::Uuid::now_v7());
    run(async {
        let mut spec = sh(
            dir.path(),
            "setsid sh -c 'echo up; echo > up; exec sleep 600' & while [ ! -e up ]; do sleep 0.01; done",
        );
        spec.env.insert("UBS_TEST".into(), marker[9..].to_owned());
        let mut service = spawn(&spec, plain()).unwrap();
        assert_eq!(service.wait().await, ExitKind::Code(0));
        assert_eq!(service.tail(), ["up"]);
    });
    assert_eq!(crate::kernel::reap_marked(&marker, 0), 1);
}

#[test]
fn long_output_is_rotated_and_long_lines_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; yes 0123456789012345678901234567890123456789 | head -n 800000; echo last";
        let spec = sh(dir.path(), script);
        let mut service = spawn(&spec, plain()).unwrap();
        assert_eq!(service.wait().await, ExitKind::Code(0));
        assert_eq!(
            (
                service.tail().len(),
                service.tail().last().unwrap().as_str()
            ),
            (40, "last")
        );
        let mut names: Vec<_> = fs::read_dir(dir.path().join("logs"))
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                assert!(e.metadata().unwrap().len() <= LogRules::default().size_max);
                e.file_name().into_string().unwrap()
            })
            .collect();
        names.sort();
        assert_eq!(names, ["web.log", "web.log.1", "web.log.2", "web.log.3"]);

        let mut spec = sh(
            dir.path(),
            "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next",
        );
        spec.log_path = dir.path().join("cut.log");
        let mut service = spawn(&spec, plain()).unwrap();
        service.wait().await;
        let cut = format!(
            "{} [{} bytes cut]",
            "x".repeat(LINE_MAX),
            100_000 - LINE_MAX
        );
        assert!(service.tail() == [cut.as_str(), "next"]);
    });
}

#[test]
fn what_cannot_be_started_is_an_error_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let error = |change: &dyn Fn(&mut ServiceSpec)| {
            let mut spec = sh(dir.path(), "true");
            change(&mut spec);
            spawn(&spec, plain()).unwrap_err().to_string()
        };
        assert!(
            error(&|s| s.argv[0] = "no-such".into())
                .contains("cannot run no-such for service web: no-such is not in PATH")
        );
        assert!(error(&|s| s.argv.clear()).contains("empty"));
        assert!(error(&|s| s.cwd = PathBuf::from("/gone")).contains("/gone"));
        assert!(
            error(&|s| s.user = Some("no-such-user".into()))
                .contains("there is no user no-such-user")
        );
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(error(&|s| s.log_path = s.cwd.join("file/log")).contains("cannot keep the output"));
        assert!(!error(&|s| s.argv = vec!["./file".into()]).is_empty());
    });
}

#[test]
fn another_user_is_taken_on_with_privileges_only() {
    let dir = tempfile::tempdir().unwrap();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run a service as another user");
        return;
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    run(async {
        let mut spec = sh(dir.path(), "id -un; id -Gn");
        spec.user = Some("nobody".into());
        let mut service = spawn(&spec, plain()).unwrap();
        assert_eq!(service.wait().await, ExitKind::Code(0));
        assert_eq!(service.tail()[0], "nobody");
        assert!(!service.tail()[1].contains("root"), "{:?}", service.tail());
    });
}

/// Answers each connection with the next of these texts, then keeps connections open in silence.
fn server(answers: &'static [&'static str]) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        let mut answers = answers.iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(answer) = answers.next() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            } else {
                open.push(stream);
            }
        }
    });
    address
}

async fn probe(kind: ProbeKind, timeout_ms: u64) -> Result<(), ProbeFailure> {
    let probe = Probe {
        kind,
        interval_ms: 10,
        timeout_ms,
        ..Probe::READY_DEFAULT
    };
    let spec = sh(Path::new("/"), "");
    let asked = Asked {
        spec: &spec,
        leader: None,
        signs: None,
    };
    probe_once(&probe, timeout_ms, asked).await
}

#[test]
fn http_is_probed_by_the_status_of_one_answer() {
    let address = server(&[
        "HTTP/1.1 200 OK\r\n\r\nok",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "this is no http\r\n\r\n",
        "",
    ]);
    run(async {
        let get = |timeout_ms| {
            probe(
                ProbeKind::Http(format!("http://{address}/health?x=1")),
                timeout_ms,
            )
        };
        assert_eq!(get(10_000).await, Ok(()));
        assert_eq!(get(10_000).await, Ok(()));
        assert!(
            get(10_000)
                .await
                .unwrap_err()
                .message
                .ends_with("status 503")
        );
        assert!(get(10_000).await.is_err());
        assert!(get(10_000).await.is_err());
        let silent = get(100).await.unwrap_err().message;
        assert!(silent.contains("did not answer within 100 ms"), "{silent}");
        for url in ["https://localhost/", "nonsense", "http://", "/path"] {
            assert!(
                probe(ProbeKind::Http(url.into()), 1000).await.is_err(),
                "{url}"
            );
        }
    });
}

#[test]
fn an_endless_head_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(&[b'a'; 4096]).is_ok() {}
    });
    run(async {
        assert!(
            !probe(ProbeKind::Http(url), 30_000)
                .await
                .unwrap_err()
                .message
                .contains("did not answer")
        )
    });
}

#[test]
fn tcp_is_probed_by_a_connection() {
    let address = server(&[]);
    run(async {
        assert_eq!(probe(ProbeKind::Tcp(address), 10_000).await, Ok(()));
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        assert!(
            probe(ProbeKind::Tcp(free.clone()), 10_000)
                .await
                .unwrap_err()
                .message
                .contains(&free)
        );
    });
}

#[test]
fn a_command_is_probed_by_its_exit_status_and_ended_with_all_it_started() {
    run(async {
        let exec = |script: &str| ProbeKind::Exec(["sh", "-c", script].map(str::to_owned).to_vec());
        assert_eq!(
            probe(exec("yes | head -c 1000000; exit 0"), 30_000).await,
            Ok(())
        );
        let failure = probe(exec("echo not yet; exit 4"), 10_000)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.message.as_str(), failure.output.as_str()),
            ("sh ended with exit status 4", "not yet")
        );
        let began = Instant::now();
        let failure = probe(exec("trap '' TERM; sleep 600 & echo $!; sleep 600"), 500)
            .await
            .unwrap_err();
        assert!(began.elapsed() < LONG / 2);
        assert!(failure.message.contains("did not end within 500 ms"));
        while process_ref(failure.output.parse().unwrap()).is_some_and(|p| is_alive(&p)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(
            probe(exec("yes"), 200).await.is_err(),
            "one that prints for ever"
        );
        assert!(
            probe(ProbeKind::Exec(vec!["no-such".into()]), 1000)
                .await
                .is_err()
        );
    });
}

#[test]
fn readiness_is_waited_for_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let spec = sh(dir.path(), "");
        let asked = Asked {
            spec: &spec,
            leader: None,
            signs: None,
        };
        let count = "echo x >> tries; test $(wc -l < tries) -ge 3";
        let kind = ProbeKind::Exec(["sh", "-c", count].map(str::to_owned).to_vec());
        let mut probe = Probe {
            kind,
            interval_ms: 10,
            ..Probe::READY_DEFAULT
        };
        assert_eq!(await_ready(&probe, asked).await, Readiness::Ready);
        assert_eq!(
            fs::read_to_string(dir.path().join("tries"))
                .unwrap()
                .lines()
                .count(),
            3
        );
        probe.kind = ProbeKind::Exec(["sh", "-c", "echo no; exit 1"].map(str::to_owned).to_vec());
        probe.timeout_ms = 300;
        let Readiness::TimedOut { last } = await_ready(&probe, asked).await else {
            panic!("ready")
        };
        assert_eq!(
            (last.message.as_str(), last.output.as_str()),
            ("sh ended with exit status 1", "no")
        );
    });
}

/// `cargo test --release --lib -- --ignored --nocapture supervisor_costs`: numbers, no verdict.
#[test]
#[ignore = "a measurement"]
fn supervisor_costs() {
    const SERVICES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let bare = Instant::now();
    let mut children: Vec<_> = (0..SERVICES)
        .map(|_| {
            std::process::Command::new("/bin/sleep")
                .arg("600")
                .spawn()
                .unwrap()
        })
        .collect();
    let bare = bare.elapsed();
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run(async {
        let ours = Instant::now();
        let mut services: Vec<_> = (0..SERVICES)
            .map(|i| {
                let mut spec = sh(dir.path(), "");
                spec.argv = vec!["sleep".into(), "600".into()];
                spec.log_path = dir.path().join(format!("logs/{i}.log"));
                spawn(&spec, plain()).unwrap()
            })
            .collect();
        let ours = ours.elapsed();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let memory = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        eprintln!("{SERVICES} services: bare {bare:?}, supervised {ours:?}; {memory}");
        for service in &mut services {
            assert_eq!(
                service.stop(Signal::SIGKILL, 10_000).await,
                ExitKind::Signal(9)
            );
        }
    });
}
