//! The control interface by others' hands: a client that is made of the OpenAPI document, `curl`, the command line.

use std::process::Command;

use crate::support::Workspace;
use nix::sys::signal::Signal;
use serde_json::Value;

const CLIENT: &str = include_str!("control/client.py");

/// Twenty services in four layers.
fn twenty() -> Workspace {
    let mut manifest = "[app]\nname = \"twenty\"\nstable_after = \"50ms\"\n".to_owned();
    for layer in 0..4 {
        manifest.push_str(&format!("[[layer]]\nname = \"layer{layer}\"\n"));
        for service in (0..5).map(|n| layer * 5 + n) {
            manifest.push_str(&format!(
                "[[layer.service]]\nname = \"s{service}\"\nrun = ['sh', '-c', 'echo hello; exec sleep 1000']\n\
                 min_uptime = \"20ms\"\n"
            ));
        }
    }
    Workspace::with_manifest(&manifest)
}

#[test]
fn a_client_made_of_the_document_drives_every_path_of_a_system_of_twenty_services() {
    let workspace = twenty();
    let running = workspace.start(&["boot", "--mode", "layered", "--preflight"]);
    workspace.ubs(&["wait", "--for", "stable"]).expect(0);
    let client = Command::new("python3")
        .args(["-c", CLIENT])
        .current_dir(workspace.path(".ubs"))
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&client.stdout) + String::from_utf8_lossy(&client.stderr);
    assert!(client.status.success(), "{said}");
    assert!(said.contains("all as the document says"), "{said}");

    // The same by `curl`, and by the command line.
    let curl = |path: &str| -> Option<Value> {
        let url = format!("http://ubs{path}");
        let run = Command::new("curl")
            .args(["-sS", "--unix-socket", ".ubs/control.sock", &url])
            .current_dir(workspace.root())
            .output();
        match run {
            Ok(output) => Some(serde_json::from_slice(&output.stdout).expect("a document")),
            Err(error) => {
                eprintln!("skipped: curl: {error}");
                None
            }
        }
    };
    for (path, command) in [
        ("/missions?all=true", &["missions", "list", "--all"][..]),
        ("/boots", &["boots"]),
        ("/fixes", &["fixes"]),
        ("/boots/last", &["replay"]),
    ] {
        let mut command = command.to_vec();
        command.push("--json");
        let told = workspace.ubs(&command).json();
        let Some(answer) = curl(path) else { break };
        // What it was up to moves on meanwhile.
        if path != "/boots/last" && path != "/boots" {
            assert_eq!(answer, told, "{path}");
        }
        assert_eq!(answer.is_array(), told.is_array(), "{path}");
    }
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}

/// A program of Debian's package, installed if it is not here. `None`: it cannot be had, which is said.
fn debian(program: &str, package: &str) -> Option<&'static str> {
    let is_here = || Command::new(program).arg("--version").output().is_ok();
    if !is_here() && nix::unistd::geteuid().is_root() {
        let _ = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output();
    }
    if is_here() {
        return Some("it is here");
    }
    eprintln!("skipped: {program}: the package {package} cannot be installed here");
    assert!(std::env::var_os("CI").is_none(), "{program} is missing");
    None
}

#[test]
#[ignore = "installs Debian's package prometheus, and waits for its scrapes"]
fn a_real_prometheus_scrapes_the_metrics_and_evaluates_a_rule() {
    if debian("prometheus", "prometheus").is_none() {
        return;
    }
    let (api, web) = (crate::support::free_port(), crate::support::free_port());
    let mut workspace = twenty();
    let manifest = workspace.read("ubs.toml").replace(
        "[[layer]]\nname = \"layer0\"",
        &format!(
            "[api]\nlisten = \"127.0.0.1:{api}\"\ntoken_env = \"API_TOKEN\"\n[[layer]]\nname = \"layer0\""
        ),
    );
    workspace.write("ubs.toml", &manifest);
    let token = "0123456789abcdef0123456789abcdef";
    workspace.set_env("API_TOKEN", token);
    let running = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait", "--for", "stable"]).expect(0);
    workspace.write(
        "rules.yml",
        "groups:\n- name: ubs\n  rules:\n  - record: ubs:services:ready\n    \
         expr: sum(ubs_service_state{state=\"ready\"})\n  - alert: NotReady\n    expr: ubs_ready == 0\n",
    );
    workspace.write(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: ubs\n  authorization: {{credentials: {token}}}\n  \
             static_configs: [{{targets: ['127.0.0.1:{api}']}}]\n"
        ),
    );
    // The text as its own checker sees it.
    let text = Command::new("sh")
        .args([
            "-c",
            "curl -s --unix-socket .ubs/control.sock http://ubs/metrics | promtool check metrics",
        ])
        .current_dir(workspace.root())
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&text.stdout) + String::from_utf8_lossy(&text.stderr);
    assert!(text.status.success(), "{said}");
    let mut prometheus = Command::new("prometheus")
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=prometheus",
        ])
        .arg(format!("--web.listen-address=127.0.0.1:{web}"))
        .current_dir(workspace.root())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("prometheus");
    let ask = |query: &str| -> Value {
        let url = format!("http://127.0.0.1:{web}/api/v1/query");
        let run = Command::new("curl")
            .args([
                "-s",
                "-G",
                &url,
                "--data-urlencode",
                &format!("query={query}"),
            ])
            .output()
            .expect("curl");
        let answer: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
        answer["data"]["result"][0]["value"][1].clone()
    };
    crate::support::await_that("the rule has its value", || {
        ask("ubs:services:ready") == "20"
    });
    workspace.ubs(&["stop", "s7"]).expect(0);
    crate::support::await_that("the rule sees the stop", || {
        ask("ubs:services:ready") == "19"
    });
    crate::support::await_that("the alert fires", || {
        ask("ALERTS{alertname=\"NotReady\",alertstate=\"firing\"}") == "1"
    });
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}

/// Says what was posted to it over TLS, and takes it.
const TLS_SERVER: &str = "import http.server, ssl, sys\n\
    class H(http.server.BaseHTTPRequestHandler):\n    def do_POST(self):\n        \
    body = self.rfile.read(int(self.headers['content-length'])).decode()\n        \
    open('posted', 'a').write(self.path + ' ' + body + '\\n')\n        \
    self.send_response(204)\n        self.end_headers()\n    def log_message(self, *_): pass\n\
    s = http.server.HTTPServer(('127.0.0.1', 0), H)\n\
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\nc.load_cert_chain('cert.pem', 'key.pem')\n\
    s.socket = c.wrap_socket(s.socket, server_side=True)\nprint(s.server_port, flush=True)\ns.serve_forever()\n";

#[test]
fn a_webhook_is_told_over_tls_to_whom_is_trusted_only() {
    use std::io::BufRead;
    let mut workspace = Workspace::with_manifest("");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a key");
    workspace.write("cert.pem", &made.cert.pem());
    workspace.write("key.pem", &made.signing_key.serialize_pem());
    let mut server = Command::new("python3")
        .args(["-c", TLS_SERVER])
        .current_dir(workspace.root())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut port = String::new();
    let out = server.stdout.take().expect("its output");
    std::io::BufReader::new(out)
        .read_line(&mut port)
        .expect("its port");
    let port = port.trim();
    workspace.write(
        "ubs.toml",
        &format!(
            "[app]\nname = \"hook\"\n[[notify]]\non = [\"gave_up\"]\n\
             webhook = \"https://127.0.0.1:{port}/hook?key=${{HOOK_KEY}}\"\n\
             [[layer]]\nname = \"all\"\n[[layer.service]]\nname = \"a\"\nrun = \"sleep 1000\"\nmin_uptime = \"20ms\"\n\
             [[layer]]\nname = \"extra\"\ncritical = false\n\
             [[layer.service]]\nname = \"b\"\nrun = \"false\"\nrestart = \"never\"\n"
        ),
    );
    workspace.set_env("HOOK_KEY", "k-123");
    // Nobody whom this host trusts: it is tried again later, and said.
    let run = workspace.start(&["boot", "--mode", "layered"]);
    workspace.ubs(&["wait", "a"]).expect(0);
    crate::support::await_that("its service is given up", || {
        workspace.kinds().iter().any(|kind| kind == "boot_up")
    });
    run.signal(Signal::SIGTERM);
    let ended = run.wait();
    assert!(ended.stderr.contains("is not trusted"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("k-123"), "{}", ended.stderr);
    assert!(!workspace.path("posted").exists());
    let trusted = workspace.path("cert.pem").display().to_string();
    workspace.set_env("SSL_CERT_FILE", &trusted);
    let run = workspace.start(&["boot", "--mode", "layered"]);
    crate::support::await_that("it is told", || workspace.path("posted").exists());
    run.signal(Signal::SIGTERM);
    run.wait();
    let posted = workspace.read("posted");
    assert!(posted.starts_with("/hook?key=k-123 {"), "{posted}");
    assert!(
        posted.contains("\"on\":\"gave_up\"") && posted.contains("service b is given up"),
        "{posted}"
    );
    let _ = server.kill();
    let _ = server.wait();
}
