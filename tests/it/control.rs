//! The door of a running supervisor, by the command line and by raw HTTP.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Workspace, await_that};
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
    let (_, health) = ask(&workspace, "GET", "/health");
    assert_eq!(
        health,
        workspace.ubs(&["health", "--json"]).expect(0).json()
    );
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
