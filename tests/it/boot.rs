//! Whole boots of applications made of shell services: order, readiness, degradation, restarts,
//! orderly stop, modes, and that nothing is left running.

use crate::support::{Workspace, await_that, free_port, time};
use nix::sys::signal::Signal;

/// Notes its start and its end in `order`, and runs until it is told to stop.
fn noting(name: &str) -> String {
    format!(
        "trap 'echo stop {name} >> order; exit 0' TERM; echo start {name} >> order; while :; do sleep 0.05; done"
    )
}

fn service(name: &str, script: &str, more: &str) -> String {
    format!("[[layer.service]]\nname = \"{name}\"\nrun = ['sh', '-c', '''{script}''']\n{more}\n")
}

fn layer(name: &str, more: &str, services: &[String]) -> String {
    format!(
        "[[layer]]\nname = \"{name}\"\n{more}\n{}",
        services.join("")
    )
}

fn manifest(parts: &[String]) -> String {
    format!(
        "[app]\nname = \"probe\"\nstable_after = \"200ms\"\n\n[heal]\nattempts = 2\nbackoff = \"10ms\"\n\n{}",
        parts.join("\n")
    )
}

fn three_layers() -> Workspace {
    Workspace::with_manifest(&manifest(&[
        layer(
            "one",
            "",
            &[service(
                "a",
                &noting("a"),
                "ready = { exec = ['test', '-s', 'order'], interval = '10ms' }",
            )],
        ),
        layer(
            "two",
            "",
            &[service(
                "b",
                &noting("b"),
                "ready = { exec = ['grep', '-q', 'start b', 'order'], interval = '10ms' }",
            )],
        ),
        layer(
            "three",
            "",
            &[service(
                "c",
                &noting("c"),
                "ready = { exec = ['grep', '-q', 'start c', 'order'], interval = '10ms' }",
            )],
        ),
    ]))
}

#[test]
fn layers_start_in_order_and_stop_in_reverse_and_nothing_is_left() {
    let workspace = three_layers();
    let run = workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0);
    let boot = run.json();
    assert_eq!(boot["outcome"], "stopped");
    assert_eq!(boot["decision"], "go_unproven");
    assert_eq!(boot["degraded"], false);
    assert_eq!(
        workspace.read("order"),
        "start a\nstart b\nstart c\nstop c\nstop b\nstop a\n"
    );
    assert!(workspace.leftovers().is_empty());
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn ctrl_c_and_sigterm_stop_in_order_with_exit_code_0() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let workspace = three_layers();
        let running = workspace.start(&["boot"]);
        workspace.await_health(&["healthy"]);
        running.signal(signal);
        let run = running.wait().expect(0);
        assert!(run.stdout.contains(signal.as_str()), "{}", run.stdout);
        assert!(
            workspace
                .read("order")
                .ends_with("stop c\nstop b\nstop a\n")
        );
        assert!(workspace.leftovers().is_empty());
        let health = workspace.ubs(&["health", "--json"]).expect(1).json();
        assert_eq!(health["status"], "down");
    }
}

#[test]
fn ubs_stop_stops_and_is_harmless_when_nothing_runs() {
    let workspace = three_layers();
    workspace.ubs(&["stop"]).expect(0);
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let stopped = workspace.ubs(&["stop", "--json"]).expect(0).json();
    assert_eq!(stopped["stopped"], true);
    running.wait().expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn a_second_supervisor_is_refused_and_the_first_goes_on() {
    let workspace = three_layers();
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let second = workspace.ubs(&["boot"]).expect(2);
    assert!(
        second.stderr.contains("already supervised")
            && second.stderr.contains(&running.pid().to_string()),
        "{}",
        second.stderr
    );
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}

#[test]
fn detached_it_runs_on_and_is_stopped_from_elsewhere() {
    let workspace = three_layers();
    let boot = workspace
        .ubs(&["boot", "--detach", "--json"])
        .expect(0)
        .json();
    assert_eq!(boot["phase"], "running");
    let status = workspace.ubs(&["status"]).expect(0);
    assert!(
        status.stdout.contains("supervised by process"),
        "{}",
        status.stdout
    );
    let again = workspace
        .ubs(&["boot", "--detach", "--until-ready"])
        .expect(2);
    assert!(
        again.stderr.contains("already supervised"),
        "{}",
        again.stderr
    );
    workspace.ubs(&["stop"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn an_optional_layer_that_fails_degrades_and_a_critical_one_fails_the_boot() {
    for (critical, code, outcome) in [(false, 0, "stopped"), (true, 1, "failed")] {
        let workspace = Workspace::with_manifest(&manifest(&[
            layer("base", "", &[service("a", &noting("a"), "")]),
            layer(
                "broken",
                &format!("critical = {critical}"),
                &[service(
                    "b",
                    "echo no such engine >&2; exit 7",
                    "ready = { exec = ['false'] }\nrestart = 'never'",
                )],
            ),
            layer("top", "", &[service("c", &noting("c"), "")]),
        ]));
        let boot = workspace
            .ubs(&["boot", "--until-ready", "--json"])
            .expect(code)
            .json();
        assert_eq!(boot["outcome"], outcome, "{boot:#}");
        let layers = boot["layers"].as_array().unwrap();
        assert_eq!(layers[1]["status"], "failed", "{boot:#}");
        let reason = layers[1]["reason"].as_str().unwrap();
        assert!(reason.contains("exit status 7"), "{reason}");
        let mission = &boot["missions"][0];
        assert!(
            mission["slug"]
                .as_str()
                .unwrap()
                .starts_with("boot_fix_broken_"),
            "{boot:#}"
        );
        assert_eq!(boot["attempts"], if critical { 2 } else { 1 });
        let shown = workspace
            .ubs(&[
                "missions",
                "show",
                mission["slug"].as_str().unwrap(),
                "--json",
            ])
            .expect(0)
            .json();
        assert!(
            shown["failure"]["traceback"]
                .as_str()
                .unwrap()
                .contains("no such engine")
        );
        assert!(workspace.leftovers().is_empty());
        workspace.ubs(&["log", "verify"]).expect(0);
    }
}

#[test]
fn with_strict_a_degraded_boot_has_an_exit_code_of_its_own() {
    let workspace = Workspace::with_manifest(&manifest(&[
        layer("base", "", &[service("a", &noting("a"), "")]),
        layer(
            "extra",
            "critical = false",
            &[service(
                "b",
                "exit 1",
                "restart = 'never'\nready = { exec = ['false'] }",
            )],
        ),
    ]));
    workspace
        .ubs(&["boot", "--until-ready", "--strict"])
        .expect(3);
}

#[test]
fn a_service_that_dies_is_restarted_with_back_off_and_given_up_in_the_end() {
    let _time = time::lock();
    let workspace = Workspace::with_manifest(&manifest(&[layer(
        "base",
        "critical = false",
        &[service(
            "flaky",
            "echo x >> starts; [ $(wc -l < starts) -ge 3 ] && exec sleep 1000; exit 1",
            "ready = { exec = ['sh', '-c', 'test $(wc -l < starts) -ge 3'], interval = '10ms' }\nrestart = { max = 5, window = '60s', backoff = '20ms', max_backoff = '100ms' }",
        )],
    )]));
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let kinds = workspace.kinds();
    let restarts = kinds
        .iter()
        .filter(|kind| *kind == "service_restarting")
        .count();
    assert_eq!(restarts, 2, "{kinds:?}");
    assert_eq!(workspace.read("starts").lines().count(), 3);

    let workspace = Workspace::with_manifest(&manifest(&[layer(
        "base",
        "critical = false",
        &[service(
            "hopeless",
            "exit 1",
            "ready = { exec = ['false'] }\nrestart = { max = 2, window = '60s', backoff = '10ms' }",
        )],
    )]));
    workspace
        .ubs(&["boot", "--until-ready", "--strict"])
        .expect(3);
    let kinds = workspace.kinds();
    let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    assert_eq!(
        (count("service_restarting"), count("service_failed")),
        (2, 1),
        "{kinds:?}"
    );
}

#[test]
fn a_service_that_dies_while_the_system_runs_comes_back() {
    let _time = time::lock();
    let workspace = Workspace::with_manifest(&manifest(&[layer(
        "base",
        "",
        &[service(
            "a",
            "echo $$$$ >> pids; exec sleep 1000",
            "restart = { backoff = '10ms', reset_after = '2s' }",
        )],
    )]));
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    await_that("a first process", || {
        std::fs::read_to_string(workspace.path("pids")).is_ok_and(|pids| pids.ends_with('\n'))
    });
    let pids = workspace.read("pids");
    let pid: i32 = pids
        .trim()
        .parse()
        .unwrap_or_else(|e| panic!("{pids:?}: {e}"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    await_that("a second process", || {
        workspace.read("pids").lines().count() == 2
    });
    let health = workspace.await_health(&["degraded"]);
    let reason = health["reason"].as_str().unwrap_or("");
    assert!(
        reason.contains("restarted once: it was ended: SIGKILL, not ours"),
        "{reason}"
    );
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    assert!(workspace.kinds().contains(&"service_restarting".to_owned()));
}

#[test]
fn readiness_is_asked_over_tcp_and_http() {
    let (tcp, http) = (free_port(), free_port());
    let server = |port: u16| format!("exec python3 -m http.server --bind 127.0.0.1 {port}");
    let workspace = Workspace::with_manifest(&manifest(&[
        layer(
            "tcp",
            "",
            &[service(
                "t",
                &server(tcp),
                &format!("ready = {{ tcp = '127.0.0.1:{tcp}', interval = '20ms' }}"),
            )],
        ),
        layer(
            "http",
            "",
            &[service(
                "h",
                &server(http),
                &format!("ready = {{ http = 'http://127.0.0.1:{http}/', interval = '20ms' }}"),
            )],
        ),
    ]));
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn a_port_that_another_process_has_is_no_readiness() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let workspace = Workspace::with_manifest(&manifest(&[layer(
        "web",
        "critical = false",
        &[service(
            "w",
            &noting("w"),
            &format!("ready = {{ tcp = '{address}', interval = '20ms', timeout = '1s' }}"),
        )],
    )]));
    let boot = workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0)
        .json();
    let reason = boot["layers"][0]["reason"].as_str().unwrap();
    let wanted = format!("another process listens on {address} already");
    assert!(reason.contains(&wanted), "{reason}");
    assert!(!workspace.path("order").exists(), "it was started");
    drop(other);
}

#[test]
fn a_service_that_is_never_ready_fails_its_layer_with_what_was_asked() {
    let _time = time::lock();
    let port = free_port();
    let workspace = Workspace::with_manifest(&manifest(&[layer(
        "mute",
        "critical = false",
        &[service(
            "m",
            "exec sleep 1000",
            &format!(
                "ready = {{ tcp = '127.0.0.1:{port}', interval = '20ms', timeout = '300ms' }}"
            ),
        )],
    )]));
    let boot = workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0)
        .json();
    let reason = boot["layers"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("was not ready within 300 ms"), "{reason}");
    assert!(reason.contains("refused"), "{reason}");
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn a_one_shot_runs_to_its_end_before_the_next_layer() {
    let workspace = Workspace::with_manifest(&manifest(&[
        layer(
            "prepare",
            "",
            &[service(
                "once",
                "sleep 0.2; echo prepared > done",
                "oneshot = true",
            )],
        ),
        layer(
            "use",
            "",
            &[service(
                "user",
                "cat done > seen; exec sleep 1000",
                "ready = { exec = ['test', '-s', 'seen'], interval = '10ms' }",
            )],
        ),
    ]));
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(workspace.read("seen"), "prepared\n");
}

#[test]
fn a_service_that_ignores_sigterm_is_killed_with_its_children() {
    let _time = time::lock();
    let workspace = Workspace::with_manifest(&manifest(&[layer(
        "base",
        "",
        &[service(
            "stubborn",
            "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo up > up; while :; do sleep 1; done",
            "ready = { exec = ['test', '-s', 'up'], interval = '10ms' }\nstop = { timeout = '200ms' }",
        )],
    )]));
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn fast_mode_checks_nothing_and_stops_at_the_first_error() {
    let workspace = Workspace::with_manifest(&manifest(&[
        layer("base", "", &[service("a", &noting("a"), "")]),
        layer(
            "extra",
            "critical = false",
            &[service("b", "exit 3", "oneshot = true")],
        ),
        layer("top", "", &[service("c", &noting("c"), "")]),
    ]));
    let run = workspace
        .ubs(&["boot", "--mode", "fast", "--json"])
        .expect(1);
    assert_eq!(run.json()["outcome"], "failed");
    let kinds = workspace.kinds();
    for kind in ["check_started", "mission_filed", "retried"] {
        assert!(!kinds.contains(&kind.to_owned()), "{kinds:?}");
    }
    assert!(!workspace.read("order").contains("start c"));
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn layered_mode_checks_only_where_asked_and_does_not_heal() {
    let text = manifest(&[layer("base", "", &[service("a", &noting("a"), "")])]);
    let workspace = Workspace::with_manifest(&format!(
        "{text}\n[config]\nfiles = ['.env']\n[config.vars.KEY]\nrequired = true\nsecret = true\ngenerate = true\n"
    ));
    let run = workspace
        .ubs(&["boot", "--mode", "layered", "--preflight", "--json"])
        .expect(1);
    assert_eq!(run.json()["decision"], "no_go");
    let kinds = workspace.kinds();
    assert!(kinds.contains(&"mission_filed".to_owned()), "{kinds:?}");
    assert!(!kinds.contains(&"fix_proposed".to_owned()), "{kinds:?}");
    assert!(!workspace.path(".env").exists());
    // No gate: what stands in the way shows where it stands.
    let arguments = ["boot", "--mode", "layered", "--until-ready", "--json"];
    let run = workspace.ubs(&arguments).expect(0);
    assert_eq!(run.json()["decision"], "go");
    let fast = ["boot", "--mode", "fast", "--preflight"];
    let refused = workspace.ubs(&fast).expect(2);
    assert!(refused.stderr.contains("--mode layered --preflight"));
}

#[test]
fn a_database_that_is_not_there_yet_is_waited_for() {
    let text = manifest(&[layer("base", "", &[service("a", &noting("a"), "")])]);
    let mut workspace = Workspace::with_manifest(&format!(
        "{text}\n[[schema]]\nname = 'main'\ndatabase = '${{URL}}'\n\
         expect = 'sql:s.sql'\n"
    ));
    workspace.write("s.sql", "CREATE TABLE a (x int);");
    workspace.set_env("URL", "postgresql://u:p@127.0.0.1:9/d");
    let run = workspace.ubs(&["boot", "--json"]).expect(1);
    let said = run.json().to_string();
    assert!(said.contains("all 2 attempts are used up"), "{said}");
    let events = workspace.events();
    let mut retried = events.iter().filter(|event| event["kind"] == "retried");
    let again = retried.next().unwrap();
    assert_eq!(retried.next(), None);
    // A server takes longer to start than a fix to be applied.
    let ms = |at: &serde_json::Value| {
        at.as_str()
            .unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>()
    };
    let (at, until) = (
        ms(&again["at"]).unwrap(),
        ms(&again["payload"]["at"]).unwrap(),
    );
    assert!((until - at).num_milliseconds() >= 1_000, "{again}");
}

#[test]
fn a_supervisor_that_was_killed_is_recorded_and_what_it_left_is_ended() {
    let workspace = three_layers();
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGKILL);
    running.wait();
    assert!(workspace.leftovers().len() >= 3);
    let health = workspace.ubs(&["health", "--json"]).expect(1).json();
    assert_eq!(health["status"], "unhealthy");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert!(workspace.leftovers().is_empty());
    let boots = workspace.ubs(&["boots", "--json"]).expect(0).json();
    assert_eq!(boots[0]["outcome"], "stopped");
    assert_eq!(boots[1]["outcome"], "interrupted");
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn ubs_stop_ends_what_a_killed_supervisor_left() {
    let workspace = three_layers();
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGKILL);
    running.wait();
    assert!(workspace.leftovers().len() >= 3);
    let unwatched = workspace.ubs(&["restart", "api"]).expect(1);
    assert!(
        unwatched.stderr.contains("the supervisor died"),
        "{}",
        unwatched.stderr
    );
    let stopped = workspace.ubs(&["stop", "--json"]).expect(0).json();
    assert!(
        stopped["processes_ended"].as_u64().unwrap() >= 3,
        "{stopped}"
    );
    assert!(workspace.leftovers().is_empty());
    let boots = workspace.ubs(&["boots", "--json"]).expect(0).json();
    assert_eq!(boots[0]["outcome"], "interrupted");
    let again = workspace.ubs(&["stop"]).expect(0);
    assert!(
        again.stderr.contains("nothing runs here"),
        "{}",
        again.stderr
    );
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn secrets_reach_neither_the_log_nor_the_terminal() {
    let mut workspace = Workspace::with_manifest(&format!(
        "{}\n[config.vars.API_TOKEN]\nrequired = true\nsecret = true\n",
        manifest(&[layer(
            "base",
            "critical = false",
            &[service(
                "a",
                "echo token is $API_TOKEN; echo $API_TOKEN >&2; exit 1",
                "restart = 'never'\nready = { exec = ['false'] }"
            )],
        )])
    ));
    let secret = "f00dcafe-is-the-real-token";
    workspace.set_env("API_TOKEN", secret);
    let run = workspace.ubs(&["boot", "--until-ready", "-v"]).expect(0);
    assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret));
    let mut looked = 0;
    for entry in walk(&workspace.path(".ubs")) {
        let bytes = std::fs::read(&entry).unwrap();
        let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!found, "{}", entry.display());
        looked += 1;
    }
    assert!(looked >= 2, "the log and the service's output");
}

#[test]
fn secrets_of_a_probe_reach_neither_the_log_nor_the_terminal() {
    let ready = "restart = 'never'\nready = { PROBE, timeout = '100ms', interval = '10ms' }";
    let one = |name: &str, more: &str| {
        layer(name, "critical = false", &[service(name, "sleep 60", more)])
    };
    let probed = |name: &str, probe: &str| one(name, &ready.replace("PROBE", probe));
    let live = "restart = 'never'\nlive = { http = 'http://127.0.0.1:1/live?token=${API_TOKEN}', \
                interval = '10ms', failures = 1 }";
    let mut workspace = Workspace::with_manifest(&format!(
        "{}\n[config.vars.API_TOKEN]\nrequired = true\nsecret = true\n",
        manifest(&[
            one("unlive", live),
            probed(
                "url",
                "http = 'http://127.0.0.1:1/health?token=${API_TOKEN}'"
            ),
            probed("name", "exec = ['./probe-${API_TOKEN}']"),
            probed("address", "tcp = '${API_TOKEN}.invalid:1'"),
        ])
    ));
    let secret = "f00dcafe-is-the-real-token";
    workspace.set_env("API_TOKEN", secret);
    let run = workspace.ubs(&["boot", "--until-ready", "-v"]).expect(0);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains(secret), "{said}");
    workspace.expect_not_logged(&[secret]);
    let log = workspace
        .ubs(&["replay", "last", "--events", "--json"])
        .expect(0)
        .stdout;
    for failed in [
        "health?token=[redacted]",
        "./probe-[redacted]",
        "[redacted].invalid:1",
    ] {
        assert!(log.contains(failed), "{failed}\n{log}");
    }
    let missions = workspace.ubs(&["missions", "list", "--json"]).stdout;
    assert!(!missions.contains(secret), "{missions}");
}

#[test]
fn state_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = three_layers();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&workspace.path(".ubs")), 0o700);
    for entry in walk(&workspace.path(".ubs")) {
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(directory)
        .unwrap()
        .flatten()
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path],
        })
        .collect()
}

#[test]
fn the_running_system_is_validated_and_what_broke_is_filed_not_healed_under_it() {
    let _time = time::lock();
    let workspace = Workspace::with_manifest(&format!(
        "{}\n[validate]\nevery = '1s'\n[config]\nfiles = ['.env']\n[config.vars.KEY]\nrequired = true\ndefault = 'x'\n",
        manifest(&[layer("base", "", &[service("a", &noting("a"), "")])])
    ));
    workspace.write(".env", "KEY=set\n");
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    workspace.write(".env", "KEY=\n");
    await_that("a mission", || {
        let missions = workspace.ubs(&["missions", "--json"]).json();
        missions[0]["failure"]["code"] == "config.missing"
    });
    // A boot would be told NO-GO; this one goes on.
    let health = workspace.await_health(&["degraded"]);
    assert_eq!(health["layers"][0]["status"], "up");
    workspace.write(".env", "KEY=set\n");
    await_that("the mission closed", || {
        workspace.ubs(&["missions", "--json"]).json() == serde_json::json!([])
    });
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    let kinds = workspace.kinds();
    let validations = kinds.iter().filter(|k| *k == "validation_finished");
    assert!(validations.count() >= 2, "{kinds:?}");
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn the_checks_run_on_the_running_system_when_somebody_asks() {
    let workspace = Workspace::with_manifest(&format!(
        "{}\n[config]\nfiles = ['.env']\n[config.vars.KEY]\nrequired = true\n",
        manifest(&[layer("base", "", &[service("a", &noting("a"), "")])])
    ));
    workspace.write(".env", "KEY=set\n");
    let none = workspace.ubs(&["validate"]).expect(1);
    assert!(none.stderr.contains("nothing runs here"), "{}", none.stderr);
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let good = workspace.ubs(&["validate"]).expect(0);
    let last = good.stdout.lines().last();
    assert_eq!(last, Some("validation 1: a boot would be told GO"));
    workspace.write(".env", "KEY=\n");
    let bad = workspace.ubs(&["validate", "--json"]).expect(1).json();
    assert_eq!(bad["validation"], 2);
    assert_eq!(bad["decision"], "no_go");
    assert_eq!(bad["because"][0], "config.missing KEY");
    await_that("a mission", || {
        let missions = workspace.ubs(&["missions", "--json"]).json();
        missions[0]["failure"]["code"] == "config.missing"
    });
    workspace.write(".env", "KEY=set\n");
    workspace.ubs(&["-q", "validate", "--strict"]).expect(0);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    let page = workspace.ubs(&["report"]).expect(0).stdout;
    assert!(page.contains("1 of 1 variable is set"), "{page}");
    assert!(page.contains("\nDECISION: GO\n"), "{page}");
    assert!(page.contains("layer base: stopped"), "{page}");
    let page = workspace
        .ubs(&["report", "last", "--json"])
        .expect(0)
        .json();
    assert_eq!(page["checks"][0]["status"], "healthy");
}

#[test]
fn a_fix_that_a_person_approves_brings_the_layer_up_in_the_running_system() {
    let workspace = Workspace::with_manifest(&manifest(&[
        layer("base", "", &[service("a", &noting("a"), "")]),
        layer(
            "extra",
            "critical = false\nrehearse = { command = ['test', '-f', 'engine'] }",
            &[service("b", &noting("b"), "")],
        ),
    ]));
    let text = workspace.read("ubs.toml");
    let text = text.replace("[heal]", "[heal]\nprobation = \"300ms\"");
    workspace.write("ubs.toml", &text);
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["degraded"]);
    // Nobody here knows it: it is on offer, and the boot's own worker does not stand in the way.
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    assert_eq!(missions[0]["status"], "filed");
    let slug = missions[0]["slug"].as_str().unwrap().to_owned();
    workspace.write(
        "fix.json",
        r#"{"summary": "bring the engine", "changes": [{"write": {"path": "engine", "text": "here\n"}}]}"#,
    );
    workspace
        .ubs(&["missions", "claim", &slug, "--worker", "ann"])
        .expect(0);
    // What failed is not well yet, whatever is said.
    let complete = ["missions", "complete", &slug, "--worker", "ann"];
    workspace.ubs(&complete).expect(1);
    let file = [
        "missions", "propose", &slug, "--worker", "ann", "--file", "fix.json",
    ];
    workspace.ubs(&file).expect(0);
    workspace.ubs(&["missions", "approve", &slug]).expect(0);
    let health = workspace.await_health(&["healthy"]);
    assert_eq!(health["layers"][1]["status"], "up");
    await_that("the blessing", || {
        let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
        fixes[0]["status"] == "blessed"
    });
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    assert_eq!(open, serde_json::json!([]));
    let undo = workspace.ubs(&["fixes", "undo", &slug]).expect(2);
    assert!(undo.stderr.contains("blessed since"), "{}", undo.stderr);
    running.signal(Signal::SIGTERM);
    let run = running.wait().expect(0);
    assert_eq!(run.stderr, "");
    assert!(workspace.read("order").contains("start b"));
    workspace.ubs(&["log", "verify"]).expect(0);
}

/// Answers with a document; the services are those of its paths.
fn document_server(paths: &str) -> String {
    format!(
        "import http.server, json, signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n\
         class H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        \
         self.end_headers()\n        self.wfile.write(json.dumps({{'openapi': '3.1.0', 'paths': {paths}}}).encode())\n    \
         def log_message(self, *_): pass\nhttp.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
}

#[test]
fn the_document_of_the_running_application_is_looked_at_after_the_boot() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let workspace = Workspace::with_manifest(&format!(
        "{}\n[registration]\nopenapi = 'http://127.0.0.1:{port}/openapi.json'\nservices = ['users', 'orders']\n",
        manifest(&[layer(
            "base",
            "",
            &[service("api", &format!("python3 server.py {port}"), "")]
        )])
    ));
    workspace.write(
        "server.py",
        &document_server("{'/api/users': {'get': {}}, '/api/orders/{id}': {'get': {}}}"),
    );
    let run = workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let said = "2 of 2 services mounted (100.0 %), 1 of 1 alive";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    let replay = workspace.ubs(&["replay", "last"]).expect(0);
    assert!(replay.stdout.contains(said), "{}", replay.stdout);
    workspace.write("server.py", &document_server("{'/api/users': {'get': {}}}"));
    workspace.ubs(&["boot", "--until-ready"]);
    let missions = workspace.ubs(&["missions", "--json"]).json();
    assert_eq!(
        missions[0]["failure"]["code"], "registration.missing_service",
        "{missions}"
    );
    assert_eq!(missions[0]["failure"]["subject"], "orders");
    workspace.ubs(&["log", "verify"]).expect(0);
}
