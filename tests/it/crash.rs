//! `kill -9` of the supervisor at every event of a healing boot, then `ubs boot` again: the log
//! verifies, the interrupted boot is recorded as such, no service runs twice, a half-done promotion
//! is finished or undone, and the new boot succeeds.
//!
//! The application needs no Python, so that every instant can be tried.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Workspace, time};

/// Says `TWICE` if it is started while another one of it runs. Silent: once its supervisor is dead,
/// nobody reads its output, and a shell that prints dies before its trap has done its work.
fn exclusive(name: &str) -> String {
    format!(
        "exec 2>/dev/null; trap 'rmdir lock-{name}; exit 0' TERM; mkdir lock-{name} || echo {name} TWICE >> twice; while :; do sleep 0.05; done"
    )
}

fn broken_application() -> Workspace {
    let service = |name: &str| {
        format!(
            "[[layer.service]]\nname = \"{name}\"\nrun = ['sh', '-c', '''{}''']\nready = {{ exec = ['test', '-d', 'lock-{name}'], interval = '10ms' }}\n",
            exclusive(name)
        )
    };
    let workspace = Workspace::with_manifest(&format!(
        r#"
[app]
name = "crash"
stable_after = "200ms"

[config]
files = [".env"]

[config.vars.SECRET_KEY]
required = true
secret = true
generate = true
min_length = 16

[config.vars.LOG_LEVEL]
required = true
default = "info"

[config.vars.DATABASE_URL]
required = true

[[schema]]
name = "main"
database = "${{DATABASE_URL}}"
expect = "sql:schema/*.sql"

[heal]
backoff = "1ms"

[[layer]]
name = "storage"
rehearse = {{ command = ["true"] }}
{}
[[layer]]
name = "extra"
critical = false
rehearse = {{ command = ["false"] }}

[[layer]]
name = "work"
rehearse = {{ command = ["true"] }}
{}"#,
        service("storage"),
        service("work"),
    ));
    workspace.write(
        "schema/0001.sql",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, seen_at TEXT);\n\
         CREATE TABLE security_events (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id));\n",
    );
    workspace.write(
        ".env",
        "# kept\nSECRET_KEY=change-me\nDATABASE_URL=sqlite:///app.db\n",
    );
    rusqlite::Connection::open(workspace.path("app.db"))
        .unwrap()
        .execute_batch(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
             INSERT INTO users (name) VALUES ('ann'), ('bob');",
        )
        .unwrap();
    workspace
}

/// Boots again after a crash, and looks at everything that must hold.
fn recover_and_check(workspace: &Workspace, point: &str) {
    let boots_before = workspace.ubs(&["boots", "--json"]).json();
    let verified = workspace.ubs(&["log", "verify"]);
    assert!(
        verified.code == 0 || boots_before.as_array().is_some_and(Vec::is_empty),
        "{point}: the log of the crashed boot: {}{}",
        verified.stdout,
        verified.stderr
    );
    let boot = workspace.ubs(&["boot", "--until-up", "--json"]);
    assert_eq!(boot.code, 0, "{point}: {}{}", boot.stdout, boot.stderr);
    let boot = boot.json();
    assert_eq!(boot["outcome"], "stopped", "{point}: {boot:#}");
    assert_eq!(boot["degraded"], true, "{point}: {boot:#}");
    assert!(
        !workspace.path("twice").exists(),
        "{point}: a service ran twice: {}\n{}",
        workspace.read("twice"),
        workspace.ubs(&["replay", "last"]).stdout
    );
    assert_eq!(
        workspace.leftovers(),
        Vec::<u32>::new(),
        "{point}: left running"
    );
    let boots = workspace.ubs(&["boots", "--json"]).expect(0).json();
    // Killed after its last event, the boot had ended already.
    let ended = boots_before[0]["outcome"] == "stopped";
    let expected = if ended { "stopped" } else { "interrupted" };
    for earlier in &boots.as_array().unwrap()[1..] {
        assert_eq!(earlier["outcome"], expected, "{point}: {earlier:#}");
    }
    workspace.ubs(&["log", "verify"]).expect(0);
    check_healed(workspace, point);
}

/// Every fix is in the workspace, once, and nothing else changed.
fn check_healed(workspace: &Workspace, point: &str) {
    let env = workspace.read(".env");
    let values = |name: &str| {
        env.lines()
            .filter_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert!(env.starts_with("# kept\n"), "{point}: {env}");
    assert_eq!(values("LOG_LEVEL"), ["info"], "{point}: {env}");
    let secrets = values("SECRET_KEY");
    assert!(
        secrets.len() == 1 && secrets[0].len() == 64,
        "{point}: the secret"
    );
    let database = rusqlite::Connection::open(workspace.path("app.db")).unwrap();
    let rows: i64 = database
        .query_row(
            "SELECT count(*) FROM users WHERE seen_at IS NULL",
            [],
            |row| row.get(0),
        )
        .unwrap_or_else(|error| panic!("{point}: the column: {error}"));
    assert_eq!(rows, 2, "{point}: the rows");
    database
        .query_row("SELECT count(*) FROM security_events", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap_or_else(|error| panic!("{point}: the table: {error}"));
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let open: Vec<_> = open
        .as_array()
        .unwrap()
        .iter()
        .map(|mission| mission["failure"]["code"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(open, ["rehearsal.failed"], "{point}: missions left open");
}

/// Kills a boot at that point; false if it never came there.
fn crash_at(point: &str) -> bool {
    let mut workspace = broken_application();
    workspace.set_env("UBS_CRASH_AT", point);
    // To the end: the last events close what was healed.
    let run = workspace.ubs(&["boot", "--until-up"]);
    workspace.set_env("UBS_CRASH_AT", "");
    if run.code == 0 {
        return false;
    }
    assert_eq!(run.code, -1, "{point}: {}{}", run.stdout, run.stderr);
    recover_and_check(&workspace, point);
    true
}

/// Number of events of the boot when nothing crashes.
fn events_of_a_healthy_run() -> u64 {
    let workspace = broken_application();
    workspace.ubs(&["boot", "--until-up"]).expect(0);
    check_healed(&workspace, "no crash");
    let stats = workspace.ubs(&["log", "stats", "--json"]).expect(0).json();
    stats["events"].as_u64().unwrap()
}

/// Tries every event index from `first` in steps, two at a time.
fn crash_around_events(point: &str, first: u64, step: usize) {
    let _time = time::lock();
    let events = events_of_a_healthy_run();
    assert!(events > 40, "only {events} events: this is no healing boot");
    let tried: Vec<u64> = (first..=events).step_by(step).collect();
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(seq) = tried.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    if !crash_at(&format!("{point}:{seq}")) {
                        missed.lock().unwrap().push(*seq);
                    }
                }
            });
        }
    });
    // Probes and checks that run side by side may come in another order, so that a run can be an
    // event or two shorter than the recorded one; no more than that.
    let missed = missed.into_inner().unwrap();
    assert!(missed.len() <= 2, "never reached: {missed:?} of {events}");
}

#[test]
fn killed_right_after_some_events() {
    crash_around_events("after_commit", 1, 20);
}

#[test]
fn killed_right_before_some_events_are_durable() {
    crash_around_events("before_commit", 9, 22);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn killed_right_after_every_event() {
    crash_around_events("after_commit", 1, 1);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn killed_right_before_every_event_is_durable() {
    crash_around_events("before_commit", 1, 1);
}

#[test]
fn killed_in_the_middle_of_a_promotion() {
    let points = [
        "promote.journaled",
        "promote.file_written",
        "promote.database_changed",
        "promote.carried_out",
    ];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || assert!(crash_at(point), "{point} was never reached"));
        }
    });
}
