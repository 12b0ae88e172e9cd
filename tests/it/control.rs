//! The door of a running supervisor, by the command line and by raw HTTP.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Workspace, await_that, free_port};
use nix::sys::signal::Signal;
use serde_json::Value;

fn workspace() -> Workspace {
    Workspace::with_manifest(
        "[app]\nname = \"door\"\nstable_after = \"200ms\"\n\
         [[layer]]\nname = \"all\"\n\
         [[layer.service]]\nname = \"api\"\nrun = ['sh', '-c', 'echo $$$$ $$WORD >> api; exec sleep 1000']\n\
         min_uptime = \"50ms\"\n\
         [[layer.service]]\nname = \"worker\"\nrun = \"sleep 1000\"\nmin_uptime = \"50ms\"\n",
    )
}

/// One request over the socket; its status and its body.
fn ask(workspace: &Workspace, method: &str, path: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(workspace.path(".ubs/control.sock")).expect("a socket");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: ubs\r\nConnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    (status.unwrap_or(0), body)
}

fn lines_of(workspace: &Workspace) -> Vec<String> {
    let text = workspace.read("api");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn services_are_stopped_started_and_restarted_by_command_and_by_http() {
    let workspace = workspace();
    workspace.write(".env", "WORD=first\n");
    let nothing = workspace.ubs(&["restart", "api"]).expect(1);
    assert!(
        nothing.stderr.contains("nothing runs here"),
        "{}",
        nothing.stderr
    );
    let running = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait", "--for", "stable"]).expect(0);
    let (status, ready) = ask(&workspace, "GET", "/readyz");
    assert_eq!((status, &ready["ready"]), (200, &Value::Bool(true)));
    // A last event may come between two looks.
    await_that("both say the same", || {
        let (_, health) = ask(&workspace, "GET", "/health");
        health == workspace.ubs(&["health", "--json"]).expect(0).json()
    });
    let unknown = workspace.ubs(&["stop", "wroker"]).expect(2);
    assert!(
        unknown.stderr.contains("did you mean `worker`?"),
        "{}",
        unknown.stderr
    );

    // A person stops it: it stays stopped, and that is said.
    let stopped = workspace.ubs(&["stop", "worker"]).expect(0);
    assert!(
        stopped.stdout.contains("worker: stopped"),
        "{}",
        stopped.stdout
    );
    let health = workspace.ubs(&["health"]).expect(1);
    assert!(
        health
            .stdout
            .contains("worker was stopped by a person (uid"),
        "{}",
        health.stdout
    );
    assert_eq!(ask(&workspace, "GET", "/readyz").0, 503);
    workspace
        .ubs(&["wait", "worker", "--for", "stopped"])
        .expect(0);
    workspace.ubs(&["wait", "worker"]).expect(1);
    let status = workspace.ubs(&["status", "worker"]).expect(1);
    assert!(status.stdout.contains("which says:"), "{}", status.stdout);
    let (code, answer) = ask(&workspace, "POST", "/services/worker/start");
    assert_eq!((code, &answer["changed"]), (200, &Value::Bool(true)));
    workspace
        .ubs(&["wait", "worker", "--timeout", "20s"])
        .expect(0);

    // A restart reads the environment anew, and ends the old one first.
    workspace.write(".env", "WORD=second\n");
    let restarted = workspace
        .ubs(&["restart", "api", "--json"])
        .expect(0)
        .json();
    assert_eq!(restarted["services"][0]["reached"], true);
    let lines = lines_of(&workspace);
    assert!(
        lines.len() == 2 && lines[0].ends_with(" first") && lines[1].ends_with(" second"),
        "{lines:?}"
    );
    let old = lines[0].split(' ').next().expect("a pid");
    assert!(!std::path::Path::new(&format!("/proc/{old}")).exists());
    let (_, services) = ask(&workspace, "GET", "/services");
    assert_eq!(services["services"][0]["restarts"], 0);
    assert!(
        ask(&workspace, "GET", "/metrics")
            .1
            .to_string()
            .contains("ubs_ready 1")
    );

    // The events, from the first one on.
    let mut follower = UnixStream::connect(workspace.path(".ubs/control.sock")).expect("a socket");
    let request = b"GET /events?after=0 HTTP/1.1\r\nHost: ubs\r\n\r\n";
    follower.write_all(request).expect("a request");
    let mut heard = String::new();
    while !heard.contains("service_steered") {
        let mut bytes = [0; 4096];
        let count = follower.read(&mut bytes).expect("events");
        assert!(count > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(heard.contains("\nid: 1\ndata: {"), "{heard}");

    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    assert!(!workspace.path(".ubs/control.sock").exists());
    let events = workspace.events();
    let steered = events.iter().filter(|e| e["kind"] == "service_steered");
    let orders: Vec<_> = steered.map(|e| e["payload"]["order"].clone()).collect();
    assert_eq!(orders, ["stop", "start", "restart"]);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn another_user_is_refused_and_a_long_path_is_no_matter() {
    let outer = Workspace::new();
    let long = format!("{}/{}", "d".repeat(100), "e".repeat(100));
    outer.write(&format!("{long}/ubs.toml"), &workspace().read("ubs.toml"));
    outer.write(&format!("{long}/.env"), "WORD=first\n");
    let dir = outer.path(&long).display().to_string();
    assert!(dir.len() > 200);
    let mut boot = outer.command(&["-C", &dir, "boot", "--mode", "layered"]);
    let mut running = boot.spawn().expect("ubs runs");
    outer.ubs(&["-C", &dir, "wait", "--for", "ready"]).expect(0);
    outer.ubs(&["-C", &dir, "restart", "worker"]).expect(0);
    if nix::unistd::geteuid().is_root() {
        // Even if somebody opened the directories to all.
        let mut path = outer.path(&long);
        path.push(".ubs/control.sock");
        for place in path.ancestors().take(5) {
            let _ = std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777));
        }
        let ask = "import socket,os\ns=socket.socket(socket.AF_UNIX)\ns.connect('control.sock')\n\
                   s.sendall(b'GET /health HTTP/1.1\\r\\n\\r\\n')\nprint(s.recv(999).decode())";
        let answer = Command::new("python3")
            .args(["-c", ask])
            .current_dir(path.parent().expect("a directory"))
            .uid(65_534)
            .output()
            .expect("python3");
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(said.starts_with("HTTP/1.1 403 "), "{said}{answer:?}");
        assert!(said.contains("other_user"), "{said}");
    }
    outer.ubs(&["-C", &dir, "stop"]).expect(0);
    running.wait().expect("its end");
    await_that("the end", || outer.leftovers().is_empty());
}

/// One request over TCP; its status and its body.
fn ask_over_tcp(port: u16, token: &str, request: &str, body: &str) -> (u16, Value) {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or(0),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn api_manifest(port: u16, run: &str) -> String {
    format!(
        "[app]\nname = \"door\"\n[api]\nlisten = \"127.0.0.1:{port}\"\ntoken_env = \"API_TOKEN\"\n\
         [[layer]]\nname = \"all\"\n\
         [[layer.service]]\nname = \"api\"\nrun = ['sh', '-c', '{run}']\nmin_uptime = \"50ms\"\n\
         [[layer.service]]\nname = \"worker\"\nrun = \"sleep 1000\"\nmin_uptime = \"50ms\"\n"
    )
}

#[test]
fn the_api_over_tcp_does_what_the_command_line_does() {
    let port = free_port();
    let first = "trap \"echo hup\" HUP; echo first; while :; do sleep 0.05; done";
    let mut workspace = Workspace::with_manifest(&api_manifest(port, first));
    workspace.set_env("API_TOKEN", TOKEN);
    let running = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait"]).expect(0);
    let ask = |request: &str, body: &str| ask_over_tcp(port, TOKEN, request, body);
    assert_eq!(ask_over_tcp(port, "x", "GET /status", "").0, 401);

    // What it uses, and what it printed.
    let (_, status) = ask("GET /status", "");
    let api = &status["services"][0];
    assert!(api["usage"]["memory_bytes"].as_u64() > Some(0), "{api}");
    workspace.ubs(&["signal", "api", "hup"]).expect(0);
    workspace.ubs(&["signal", "api", "nothing"]).expect(2);
    await_that("the signal is heard", || {
        let (_, output) = ask("GET /services/api/logs?lines=5", "");
        let lines = output["lines"].as_array().expect("lines");
        lines.iter().any(|line| line["text"] == "hup")
    });

    // Missions, from the filing to the end, by the same rules as the commands.
    let mut events = UnixStream::connect(workspace.path(".ubs/control.sock")).expect("a socket");
    write!(events, "GET /events HTTP/1.1\r\nHost: ubs\r\n\r\n").expect("a request");
    let mut start = [0; 15];
    events.read_exact(&mut start).expect("an answer");
    let (code, filed) = ask("POST /missions", r#"{"subject":"queue","error":"is full"}"#);
    assert_eq!(code, 200, "{filed}");
    // It belongs to no boot, and those who follow hear of it all the same.
    let patience = Some(std::time::Duration::from_secs(20));
    events
        .set_read_timeout(patience)
        .expect("a socket's option");
    let (mut told, mut part) = (String::new(), [0; 4096]);
    while !told.contains("mission_filed") {
        let read = events.read(&mut part).expect("the event comes");
        told.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    let (_, missions) = ask("GET /missions", "");
    let slug = missions[0]["slug"].as_str().expect("a mission").to_owned();
    assert_eq!(
        missions,
        workspace.ubs(&["missions", "--json"]).expect(0).json()
    );
    let (code, claimed) = ask(&format!("POST /missions/{slug}/claim"), r#"{"worker":"w"}"#);
    assert_eq!(
        (code, &claimed["status"]),
        (200, &"claimed".into()),
        "{claimed}"
    );
    let other = ask(
        &format!("POST /missions/{slug}/fail"),
        r#"{"worker":"x","reason":"r"}"#,
    );
    assert_eq!(
        (other.0, &other.1["error"]["code"]),
        (409, &"not_holder".into())
    );
    assert_eq!(ask("POST /missions/nobody/requeue", "").0, 404);
    let (_, boots) = ask("GET /boots", "");
    assert_eq!(boots, workspace.ubs(&["boots", "--json"]).expect(0).json());
    let (code, boot) = ask("GET /boots/last", "");
    assert_eq!((code, &boot["boot_id"]), (200, &boots[0]["boot_id"]));
    assert_eq!(ask("GET /boots/zzz", "").0, 404);

    // A reload restarts what it touches, and nothing else.
    let pids = || -> Vec<Value> {
        let (_, services) = ask("GET /services", "");
        let services = services["services"].as_array().expect("services").clone();
        services
            .iter()
            .map(|service| service["pid"].clone())
            .collect()
    };
    let before = pids();
    workspace.write("ubs.toml", "[app\n");
    workspace.ubs(&["reload"]).expect(2);
    let second = first.replace("first", "second");
    workspace.write("ubs.toml", &api_manifest(port, &second));
    let shown = workspace.ubs(&["reload", "--dry-run"]).expect(0);
    assert!(
        shown.stdout.contains("would be restarted: api"),
        "{}",
        shown.stdout
    );
    assert_eq!(pids(), before);
    let (_, reloaded) = ask("POST /reload", "");
    assert_eq!(
        reloaded["restart"],
        serde_json::json!(["api"]),
        "{reloaded}"
    );
    workspace.ubs(&["wait", "api"]).expect(0);
    let after = pids();
    assert!(
        after[0] != before[0] && after[1] == before[1],
        "{before:?} {after:?}"
    );
    assert!(workspace.read(".ubs/logs/api.log").contains("second"));
    let told = workspace.ubs(&["replay", "--events"]).expect(0);
    assert!(told.stdout.contains("by a reload"), "{}", told.stdout);

    // Its end is told with who asked for it.
    workspace.ubs(&["signal", "worker", "KILL"]).expect(0);
    await_that("the end is told", || {
        let told = workspace.ubs(&["replay", "--events"]).expect(0);
        told.stdout.contains("SIGKILL, sent by a person (uid")
    });
    workspace.ubs(&["stop"]).expect(0);
    drop(running);
}

#[test]
fn a_port_that_is_taken_is_said_and_the_boot_goes_on() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut workspace = Workspace::with_manifest(&api_manifest(port, "exec sleep 1000"));
    workspace.set_env("API_TOKEN", TOKEN);
    let running = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait"]).expect(0);
    let health = workspace.ubs(&["health", "--json"]).json();
    let reason = health["reason"].as_str().unwrap_or("");
    assert!(
        reason.contains("the API does not listen on 127.0.0.1:"),
        "{health}"
    );
    workspace.ubs(&["stop"]).expect(0);
    drop(running);
}

fn coming_and_going(more: &str) -> String {
    format!(
        "[app]\nname = \"door\"\nstable_after = \"100ms\"\n[[layer]]\nname = \"all\"\n\
         [[layer.service]]\nname = \"a\"\nrun = \"sleep 1000\"\nmin_uptime = \"300ms\"\n{more}"
    )
}

#[test]
fn services_come_and_go_with_a_reload_and_readyz_says_so() {
    const B: &str =
        "[[layer.service]]\nname = \"b\"\nrun = \"sleep 1000\"\nmin_uptime = \"300ms\"\n";
    const NEW: &str = "[[layer]]\nname = \"later\"\n[[layer.service]]\nname = \"c\"\nrun = \"sleep 1000\"\n\
                       min_uptime = \"50ms\"\n";
    let workspace = Workspace::with_manifest(&coming_and_going(""));
    let running = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait"]).expect(0);
    let pid_of =
        |service: &str| ask(&workspace, "GET", &format!("/services/{service}")).1["pid"].clone();
    let is_ready = || ask(&workspace, "GET", "/readyz");
    let first = pid_of("a");
    workspace.ubs(&["restart", "a", "--no-wait"]).expect(0);
    let (status, reasons) = is_ready();
    assert_eq!(status, 503, "{reasons}");
    await_that("it is ready after its restart", || is_ready().0 == 200);
    let second = pid_of("a");
    assert_ne!(first, second);

    workspace.write("ubs.toml", &coming_and_going(&format!("{B}{NEW}")));
    let shown = workspace.ubs(&["reload", "--dry-run"]).expect(0).stdout;
    assert!(
        shown.contains("would be started: b") && shown.contains("would be started: c"),
        "{shown}"
    );
    assert_eq!(
        (is_ready().0, ask(&workspace, "GET", "/services/b").0),
        (200, 404)
    );
    let (_, done) = ask(&workspace, "POST", "/reload");
    assert_eq!(done["start"], serde_json::json!(["b", "c"]), "{done}");
    let (status, reasons) = is_ready();
    assert!(
        status == 503 && reasons.to_string().contains("service b is"),
        "{reasons}"
    );
    workspace.ubs(&["wait"]).expect(0);
    assert_eq!((is_ready().0, pid_of("a")), (200, second.clone()));
    assert!(pid_of("c").is_u64());

    // How it is judged, and what is gone: nothing is restarted.
    let gone = pid_of("b").to_string();
    let judged = coming_and_going(NEW).replace("\"300ms\"", "\"300ms\"\nrestart = \"never\"");
    workspace.write("ubs.toml", &judged);
    let said = workspace.ubs(&["reload"]).expect(0).stdout;
    assert!(
        said.contains("is stopped: b") && said.contains("holds from now on: service a: `restart`"),
        "{said}"
    );
    await_that("it is gone", || {
        ask(&workspace, "GET", "/services/b").0 == 404
    });
    assert!(!std::path::Path::new(&format!("/proc/{gone}")).exists());
    assert_eq!((is_ready().0, pid_of("a")), (200, second));
    workspace.ubs(&["reload"]).expect(0);
    let told = workspace.ubs(&["replay"]).expect(0).stdout;
    assert_eq!(told.matches("[PLAN]").count(), 2, "{told}");
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn a_reload_takes_over_who_is_told_and_what_is_checked_and_refuses_before_it_does_anything() {
    let manifest = |more: &str| {
        format!(
            "[app]\nname = \"door\"\nstable_after = \"100ms\"\n[[layer]]\nname = \"all\"\ncritical = false\n\
             [[layer.service]]\nname = \"a\"\nrun = \"sleep 1000\"\nmin_uptime = \"50ms\"\nrestart = \"never\"\n{more}"
        )
    };
    const MORE: &str = "[config]\nfiles = [\".env\", \"more.env\"]\n[validate]\nevery = \"5m\"\n[[check]]\nname = \"there\"\n\
                        file = { path = \"ubs.toml\" }\n[[notify]]\non = [\"gave_up\"]\n\
                        exec = [\"sh\", \"-c\", \"cat >> told\"]\n[api]\nlisten = \"127.0.0.1:7717\"\n";
    const STUBBORN: &str = "[[layer.service]]\nname = \"b\"\nmin_uptime = \"50ms\"\nstop = { timeout = \"60s\" }\n\
                            run = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 0.05; done\"]\n";
    let workspace = Workspace::with_manifest(&manifest(STUBBORN));
    let running = workspace.start(&["boot"]);
    workspace.ubs(&["wait"]).expect(0);
    workspace.write(".env", "A=1\nno assignment\n");
    workspace.write("ubs.toml", &manifest(&format!("{STUBBORN}{MORE}")));
    // Told also to who only asks.
    for arguments in [&["reload", "--dry-run"][..], &["reload"]] {
        let refused = workspace.ubs(arguments).expect(1);
        assert!(refused.stderr.contains(".env:2"), "{}", refused.stderr);
    }
    workspace.write(".env", "A=1\n");
    let shown = workspace.ubs(&["reload", "--dry-run"]).expect(1).stdout;
    let done = workspace.ubs(&["reload"]).expect(1).stdout;
    assert_eq!(shown, done);
    for table in ["[config]", "[[check]]", "[validate]", "[[notify]]"] {
        assert!(
            done.contains(&format!("holds from now on: {table}\n")),
            "{done}"
        );
    }
    assert!(done.contains("takes a new boot: [api]"), "{done}");
    let kinds = workspace.kinds();
    let planned = kinds.iter().filter(|kind| *kind == "validation_planned");
    assert_eq!(planned.count(), 1, "{kinds:?}");
    workspace.ubs(&["signal", "a", "KILL"]).expect(0);
    await_that("somebody is told", || {
        let told = std::fs::read_to_string(workspace.path("told"));
        told.is_ok_and(|told| told.contains("service a is given up"))
    });
    // What the boot's plan refuses, too: nothing of one name is there twice.
    workspace.write("ubs.toml", &manifest(""));
    workspace.ubs(&["reload"]).expect(0);
    workspace.write(
        "ubs.toml",
        &manifest(&format!("[[layer]]\nname = \"later\"\n{STUBBORN}")),
    );
    for arguments in [&["reload", "--dry-run"][..], &["reload"]] {
        let refused = workspace.ubs(arguments).expect(1);
        assert!(
            refused.stderr.contains("service b of layer all is still"),
            "{}",
            refused.stderr
        );
    }
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGINT);
    running.wait();
    workspace.ubs(&["log", "verify"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}
