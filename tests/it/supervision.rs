//! What is said about a running system is true: whole programs of shell services.

use std::path::Path;

use crate::support::{Workspace, await_that};
use nix::sys::signal::Signal;

/// One critical layer with these services.
fn workspace(services: &[(&str, &str, &str)]) -> Workspace {
    let services: String = services
        .iter()
        .map(|(name, script, more)| {
            format!(
                "[[layer.service]]\nname = \"{name}\"\nrun = ['sh', '-c', '''{script}''']\n{more}\n"
            )
        })
        .collect();
    Workspace::with_manifest(&format!(
        "[app]\nname = \"truth\"\nstable_after = \"200ms\"\n[heal]\nattempts = 1\n\
         [[layer]]\nname = \"all\"\n{services}"
    ))
}

/// What a run printed, on one line.
fn said_by(run: &crate::support::Run) -> String {
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    words.join(" ")
}

#[test]
fn a_service_that_dies_at_once_is_never_ready_and_says_why() {
    let workspace = workspace(&[(
        "api",
        "echo \"ImportError: cannot import name go\"; echo bye; exit 1",
        "restart = { max = 1, backoff = '10ms' }",
    )]);
    let run = workspace.ubs(&["boot", "--until-up"]).expect(1);
    let said = said_by(&run);
    assert!(
        said.contains("it said: ImportError: cannot import name go"),
        "{said}"
    );
    let kinds = workspace.kinds();
    for kind in ["service_ready", "layer_up", "boot_up"] {
        assert!(!kinds.contains(&kind.to_owned()), "{kinds:?}");
    }
}

#[test]
fn only_what_was_chosen_starts_with_what_it_needs() {
    let started = |arguments: &[&str]| -> Vec<&str> {
        let run = |name: &str| format!("touch {name}; sleep 1000");
        let workspace = workspace(&[
            ("db", &run("db"), "min_uptime = '50ms'"),
            (
                "web",
                &run("web"),
                "min_uptime = '50ms'\nneeds = { db = 'ready' }",
            ),
            ("work", &run("work"), "min_uptime = '50ms'"),
            (
                "tools",
                &run("tools"),
                "min_uptime = '50ms'\nprofiles = ['debug']",
            ),
        ]);
        let boot = [&["boot", "--mode", "layered", "--until-ready"], arguments].concat();
        workspace.ubs(&boot).expect(0);
        // What is in the background would outlive the test; elsewhere nothing runs any more.
        workspace.ubs(&["stop"]);
        let names = ["db", "web", "work", "tools"].into_iter();
        names.filter(|name| workspace.path(name).exists()).collect()
    };
    assert_eq!(started(&["web"]), ["db", "web"]);
    assert_eq!(
        started(&["--profile", "debug"]),
        ["db", "web", "work", "tools"]
    );
    assert_eq!(started(&["--detach"]), ["db", "web", "work"]);
    let workspace = workspace(&[("web", "sleep 1000", "")]);
    let run = workspace.ubs(&["boot", "wbe"]).expect(2);
    assert!(run.stderr.contains("did you mean `web`?"), "{}", run.stderr);
}

#[test]
fn a_one_shot_that_hangs_and_a_service_that_ends_well_settle() {
    let hangs = workspace(&[(
        "migrate",
        "echo waiting for the lock; sleep 1000",
        "oneshot = true\ntimeout = '300ms'",
    )]);
    let run = hangs.ubs(&["boot", "--until-up"]).expect(1);
    let said = said_by(&run);
    assert!(said.contains("did not end within 300 ms"), "{said}");
    assert!(said.contains("it said: waiting for the lock"), "{said}");
    assert!(hangs.leftovers().is_empty());
    let ends = workspace(&[
        ("a", "exit 0", ""),
        (
            "b",
            "sleep 1000",
            "ready = { exec = ['false'], timeout = '20s' }",
        ),
    ]);
    let run = ends.ubs(&["boot", "--until-up"]).expect(1);
    let said = said_by(&run);
    assert!(
        said.contains("ended with exit status 0 before it was ready"),
        "{said}"
    );
    assert!(ends.leftovers().is_empty());
}

#[test]
fn a_crash_loop_is_degraded_with_its_count_and_leaves_its_sibling_alone() {
    let workspace = workspace(&[
        (
            "api",
            "echo $$$$ >> api; exec sleep 1000",
            "min_uptime = '100ms'",
        ),
        (
            "worker",
            "sleep 0.5; exit 3",
            "min_uptime = '100ms'\nrestart = { max = 3, backoff = '10ms' }",
        ),
    ]);
    let running = workspace.start(&["boot", "--mode", "layered"]);
    let health = workspace.await_health(&["degraded"]);
    let reason = health["reason"].as_str().unwrap_or("").to_owned();
    assert!(reason.contains("worker was restarted"), "{reason}");
    assert!(reason.contains("exit status 3"), "{reason}");
    let health = workspace.await_health(&["unhealthy"]);
    let reason = health["reason"].as_str().unwrap_or("");
    assert!(reason.contains("given up after 3 restarts"), "{reason}");
    assert_eq!(
        workspace.read("api").lines().count(),
        1,
        "the API was left alone"
    );
    assert_eq!(
        health["layers"][0]["services"][0]["status"],
        "up (not probed)"
    );
    await_that("a mission", || {
        workspace.kinds().contains(&"mission_filed".to_owned())
    });
    workspace.ubs(&["health"]).expect(1);
    running.signal(Signal::SIGTERM);
    running.wait().expect(1);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn readiness_that_is_lost_is_said_and_its_return_too() {
    let workspace = workspace(&[(
        "api",
        "touch ok; exec sleep 1000",
        "ready = { exec = ['test', '-e', 'ok'], interval = '20ms' }",
    )]);
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let said = said_by(&workspace.ubs(&["health"]));
    assert!(
        said.contains("answer not attributed: no port that it asks is known"),
        "{said}"
    );
    std::fs::remove_file(workspace.path("ok")).unwrap();
    let health = workspace.await_health(&["degraded"]);
    let reason = health["reason"].as_str().unwrap_or("");
    assert!(reason.contains("api is not ready any more"), "{reason}");
    assert_eq!(health["layers"][0]["services"][0]["status"], "unready");
    workspace.write("ok", "");
    workspace.await_health(&["healthy"]);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    let kinds = workspace.kinds();
    assert!(kinds.contains(&"service_unready".to_owned()));
    let starts = kinds.iter().filter(|kind| *kind == "service_started");
    assert_eq!(starts.count(), 1, "it was not restarted for that");
}

#[test]
fn up_and_not_stable_yet_is_starting_with_the_time_left() {
    let workspace = Workspace::with_manifest(
        "[app]\nname = \"truth\"\nstable_after = \"60s\"\n[[layer]]\nname = \"all\"\n[[layer.service]]\n\
         name = \"a\"\nrun = \"sleep 1000\"\nmin_uptime = \"50ms\"\n",
    );
    workspace
        .ubs(&["boot", "--detach", "--until-ready"])
        .expect(0);
    let run = workspace.ubs(&["health"]).expect(4);
    assert!(run.stdout.contains("stable in "), "{}", run.stdout);
    workspace.ubs(&["stop"]).expect(0);
    await_that("the end", || workspace.leftovers().is_empty());
}

#[test]
fn a_service_waits_for_its_needs_and_says_what_for() {
    let workspace = workspace(&[
        (
            "api",
            "test -e db-is-ready && exec sleep 1000",
            "needs = { db = 'ready' }\nmin_uptime = '50ms'",
        ),
        (
            "db",
            "touch db-runs; exec sleep 1000",
            "ready = { exec = ['test', '-e', 'db-is-ready'], interval = '20ms' }",
        ),
    ]);
    let running = workspace.start(&["boot"]);
    await_that("db to start", || workspace.path("db-runs").exists());
    let run = workspace.ubs(&["health"]).expect(4);
    let said = said_by(&run);
    assert!(said.contains("api waiting: db (ready)"), "{said}");
    workspace.write("db-is-ready", "");
    workspace.await_health(&["healthy"]);
    let starts = workspace.kinds();
    let starts = starts.iter().filter(|kind| *kind == "service_started");
    assert_eq!(starts.count(), 2, "each once");
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn the_end_of_a_vital_service_and_of_all_work_ends_the_boot() {
    let vital = workspace(&[
        (
            "main",
            "sleep 0.3; exit 42",
            "on_end = 'stop'\nmin_uptime = '50ms'",
        ),
        ("side", "exec sleep 1000", "min_uptime = '50ms'"),
    ]);
    vital.ubs(&["boot"]).expect(42);
    assert!(vital.leftovers().is_empty());
    let done = workspace(&[
        ("migrate", "exit 0", "oneshot = true"),
        (
            "report",
            "exit 0",
            "oneshot = true\nneeds = { migrate = 'succeeded' }",
        ),
    ]);
    done.ubs(&["boot"]).expect(0);
    assert!(done.leftovers().is_empty());
}

#[test]
fn what_is_started_again_reads_the_environment_files_as_they_are_now() {
    let workspace = Workspace::with_manifest(
        "[app]\nname = \"truth\"\n[config]\nfiles = [\".env\"]\n[[layer]]\nname = \"all\"\n[[layer.service]]\n\
         name = \"a\"\nrun = ['sh', '-c', 'echo $$GREETING >> said; while test ! -e go; do sleep 0.05; done; rm go; exit 1']\n\
         min_uptime = \"50ms\"\nrestart = { backoff = \"10ms\" }\n",
    );
    workspace.write(".env", "GREETING=one\n");
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_that("the first start", || workspace.path("said").exists());
    workspace.write(".env", "GREETING=two\n");
    workspace.write("go", "");
    await_that("the second start", || {
        workspace.read("said").lines().count() == 2
    });
    assert_eq!(workspace.read("said"), "one\ntwo\n");
    workspace.await_health(&["degraded"]);
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}

#[test]
fn a_service_gets_its_own_files_at_each_start_and_nothing_of_ours_if_that_is_asked() {
    let services = [(
        "api",
        "env > env$N; echo token $API_TOKEN; test $N = 2 && exec sleep 1000; \
         echo N=2 > own.env; echo API_TOKEN=s3cr3t-two >> own.env; exit 1",
        "env_file = ['own.env', { path = 'none.env', optional = true }]\nclean_env = true\n\
         env = { LAST = 'service' }\nmin_uptime = '50ms'\nrestart = { backoff = '10ms' }",
    )];
    let mut workspace = workspace(&services);
    workspace.set_env("OURS", "inherited");
    let run = workspace.ubs(&["boot", "--until-up"]).expect(1);
    let said = said_by(&run);
    assert!(
        said.contains("the environment file own.env of service api is missing"),
        "{said}"
    );
    workspace.write("own.env", "N=1\nAPI_TOKEN=s3cr3t-one\nLAST=file\n");
    workspace
        .ubs(&["boot", "--detach", "--until-ready"])
        .expect(0);
    let first = workspace.read("env1");
    assert!(
        first.contains("LAST=service\n") && first.contains("PATH="),
        "{first}"
    );
    assert!(!first.contains("OURS="), "{first}");
    assert!(workspace.read("env2").contains("API_TOKEN=s3cr3t-two"));
    workspace.ubs(&["stop"]).expect(0);
    await_that("the end", || workspace.leftovers().is_empty());
    let log = workspace.read(".ubs/logs/api.log");
    assert!(log.contains("token ") && !log.contains("s3cr3t"), "{log}");
    workspace.expect_not_logged(&["s3cr3t-one", "s3cr3t-two"]);
}

#[test]
fn services_are_ready_by_a_line_a_database_and_their_own_word_and_end_by_a_command() {
    let says = "import os, socket, time\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\ntime.sleep(1000)\n";
    let workspace = Workspace::with_manifest(
        "[app]\nname = \"truth\"\nstable_after = \"50ms\"\n\
         [[schema]]\nname = \"main\"\ndatabase = \"sqlite:///app.db\"\nexpect = \"sql:*.sql\"\n\
         [[layer]]\nname = \"all\"\n\
         [[layer.service]]\nname = \"line\"\nrun = ['sh', '-c', '''trap 'echo ended > ended; exit 0' USR1; \
         sleep 0.1; echo listening on 80; while :; do sleep 0.02; done''']\nready = { log = 'listening on \\d+' }\n\
         stop = { command = ['sh', '-c', 'kill -USR1 $MAINPID'], timeout = '20s' }\n\
         [[layer.service]]\nname = \"word\"\nrun = \"python3 says.py\"\nready = { notify = true }\n\
         [[layer.service]]\nname = \"rows\"\nrun = \"sleep 1000\"\nready = { sql = 'main' }\n",
    );
    workspace.write("says.py", says);
    workspace.write("t.sql", "CREATE TABLE t (n INT);");
    rusqlite::Connection::open(workspace.path("app.db"))
        .and_then(|database| database.execute_batch("CREATE TABLE t (n INT)"))
        .expect("a database");
    workspace
        .ubs(&["boot", "--mode", "layered", "--detach", "--until-ready"])
        .expect(0);
    let health = workspace.ubs(&["health", "--json"]).json();
    for at in 0..3 {
        assert_eq!(
            health["layers"][0]["services"][at]["status"], "ready",
            "{health}"
        );
    }
    workspace.ubs(&["stop"]).expect(0);
    await_that("the end", || workspace.leftovers().is_empty());
    assert_eq!(workspace.read("ended"), "ended\n");
}

#[test]
fn what_is_missing_is_no_good_end_and_what_runs_is_not_called_stopped() {
    let workspace = Workspace::with_manifest(
        "[app]\nname = \"truth\"\nstable_after = \"100ms\"\n\
         [[layer]]\nname = \"tasks\"\ncritical = false\n[[layer.service]]\nname = \"task\"\nrun = 'false'\n\
         oneshot = true\n[[layer]]\nname = \"app\"\n\
         [[layer.service]]\nname = \"api\"\nrun = 'sleep 1000'\nneeds = { task = 'ready' }\n\
         [[layer.service]]\nname = \"web\"\nrun = 'sleep 1000'\nmin_uptime = '50ms'\n",
    );
    let layered = ["boot", "--mode", "layered"];
    let until_ready = [&layered[..], &["--until-ready"]].concat();
    workspace.ubs(&until_ready).expect(1);
    let running = workspace.start(&layered);
    workspace.await_health(&["unhealthy"]);
    // It will not be by itself, so nobody waits for it.
    let waited = workspace.ubs(&["wait", "api"]).expect(1);
    assert!(
        waited.stderr.contains("api is skipped: it needs task"),
        "{}",
        waited.stderr
    );
    workspace
        .ubs(&["wait", "api", "--for", "stopped"])
        .expect(0);
    running.signal(Signal::SIGKILL);
    running.wait();
    let waited = workspace.ubs(&["wait", "--for", "stopped"]).expect(1);
    assert!(
        waited.stderr.contains("service web still runs as process"),
        "{}",
        waited.stderr
    );
    workspace.ubs(&["stop"]).expect(0);
    workspace.ubs(&["wait", "--for", "stopped"]).expect(0);
    assert!(workspace.leftovers().is_empty());
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_thousand_services_run_under_a_soft_limit_of_1024_open_files() {
    const SERVICES: usize = 1_000;
    let services: String = (0..SERVICES)
        .map(|index| {
            let run = match index {
                999 => "['sh', '-c', 'ulimit -Sn > limit; exec sleep 1000']",
                _ => "['sleep', '1000']",
            };
            format!(
                "[[layer.service]]\nname = \"s{index}\"\nrun = {run}\nmin_uptime = \"0s\"\nstop = {{ signal = \"KILL\" }}\n"
            )
        })
        .collect();
    let workspace = Workspace::with_manifest(&format!(
        "[app]\nname = \"many\"\nstable_after = \"0s\"\n[[layer]]\nname = \"all\"\n{services}"
    ));
    let program = crate::support::ubs_binary();
    let script = format!(
        "ulimit -Sn 1024; exec '{}' boot --mode layered",
        program.display()
    );
    let mut boot = std::process::Command::new("sh");
    boot.args(["-c", &script])
        .current_dir(workspace.root())
        .env("UBS_TEST_WORKSPACE", workspace.root())
        .stdout(std::process::Stdio::null());
    let mut boot = boot.spawn().expect("a shell");
    let said = workspace.ubs(&["wait", "--for", "ready", "--timeout", "100s"]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    // The supervisor itself carries the entry, too.
    assert_eq!(workspace.leftovers().len(), SERVICES + 1);
    await_that("its line", || workspace.path("limit").exists());
    assert_eq!(workspace.read("limit"), "1024\n");
    workspace.ubs(&["stop"]).expect(0);
    assert!(boot.wait().expect("its end").success());
    assert!(workspace.leftovers().is_empty());
}

/// The list of cases names tests that are there.
#[test]
fn each_case_of_other_process_managers_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = String::new();
    let mut open = vec![root.join("src"), root.join("tests/it")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push_str(&std::fs::read_to_string(path).expect("a source file"));
            }
        }
    }
    let cases = include_str!("supervision_cases.txt").lines();
    let cases = cases.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for case in cases {
        let (_, tests) = case.rsplit_once(": ").expect("CASE: TEST");
        for test in tests.split(", ").filter(|test| *test != "later") {
            assert!(found.contains(&format!("fn {test}() {{")), "{case}");
        }
        count += 1;
    }
    assert!(count >= 50, "{count} cases");
}
