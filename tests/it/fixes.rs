//! What becomes of a fix after it was applied: the next boot is worse and takes it back, or a person does.

use crate::support::{PATIENCE, Workspace, time};
use serde_json::Value;

/// `web` runs this; `extra` needs an engine. With so many databases.
fn application_of(web: &str, heal: &str, databases: usize) -> Workspace {
    let restart = match web {
        STEADY => "{ backoff = '10ms' }",
        _ => "'never'",
    };
    let mut text = format!(
        r#"
[app]
name = "probation"
stable_after = "100ms"

[heal]
attempts = 3
backoff = "10ms"
{heal}

[[layer]]
name = "base"

[[layer.service]]
name = "web"
run = ['sh', '-c', '''{web}''']
ready = {{ exec = ['test', '-f', 'ran'], interval = '10ms' }}
restart = {restart}

[[layer]]
name = "extra"
critical = false
rehearse = {{ command = ['test', '-f', 'engine'] }}
"#
    );
    for n in 0..databases {
        text.push_str(&format!(
            "\n[[schema]]\nname = \"db{n}\"\ndatabase = \"sqlite:///db{n}.db\"\nexpect = \"sql:schema/*.sql\"\n"
        ));
    }
    let workspace = Workspace::with_manifest(&text);
    let table = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);";
    workspace.write("schema/0001.sql", table);
    for n in 0..databases {
        let live = rusqlite::Connection::open(workspace.path(&format!("db{n}.db")));
        live.and_then(|live| live.execute_batch(table))
            .expect("a database");
    }
    workspace
}

const STEADY: &str = "touch ran; trap 'exit 0' TERM; while :; do test -f engine && test -f poison && exit 9; sleep 0.05; done";
/// Until it is started a second time beside an engine.
const ONCE: &str = "test -f engine && test -f again && exit 7; test -f engine && touch again; touch ran; \
     trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// `base` runs well until it is started a second time beside an `engine`.
fn application() -> Workspace {
    let web = "test -f engine && test -f ran && exit 7; touch ran; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    application_of(web, "", 0)
}

/// A boot, then a fix for `extra` that waits for approval, and changes each database too; gives the mission's slug.
fn proposed_between_boots(workspace: &Workspace) -> String {
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().expect("a mission").to_owned();
    let databases = (0..9).filter(|n| workspace.path(&format!("db{n}.db")).exists());
    let index = "CREATE INDEX users_by_name ON users (name)";
    let statements = databases
        .map(|n| format!(r#", {{"sql": {{"schema": "db{n}", "statements": ["{index}"]}}}}"#));
    let statements: String = statements.collect();
    workspace.write(
        "fix.json",
        &format!(
            r#"{{"summary": "bring the engine", "changes": [{{"write": {{"path": "engine", "text": "here\n"}}}}{statements}]}}"#
        ),
    );
    for command in [
        &["missions", "claim", &slug, "--worker", "ann"][..],
        &[
            "missions", "propose", &slug, "--worker", "ann", "--file", "fix.json",
        ],
    ] {
        workspace.ubs(command).expect(0);
    }
    slug
}

/// A boot, then a fix for `extra` between two boots; gives the mission's slug.
fn healed_between_boots(workspace: &Workspace) -> String {
    let slug = proposed_between_boots(workspace);
    workspace
        .ubs(&["missions", "approve", &slug, "--by", "bob"])
        .expect(0);
    assert_eq!(workspace.read("engine"), "here\n");
    slug
}

/// How many databases have what the fix gave them.
fn indexes(workspace: &Workspace) -> usize {
    let databases = (0..9).map(|n| workspace.path(&format!("db{n}.db")));
    let has_index = |path: &std::path::PathBuf| {
        let live = rusqlite::Connection::open(path).expect("a database");
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'users_by_name'";
        live.query_row(sql, [], |row| row.get::<_, i64>(0))
            .expect("an answer")
            == 1
    };
    databases
        .filter(|path| path.exists())
        .filter(has_index)
        .count()
}

/// Events of that kind in the whole log.
fn events_of(workspace: &Workspace, kind: &str) -> usize {
    let export = workspace.ubs(&["log", "export"]).expect(0).stdout;
    let kind = format!("\"kind\":\"{kind}\"");
    export.lines().filter(|line| line.contains(&kind)).count()
}

fn await_status(workspace: &Workspace, status: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let fix = only_fix(workspace);
        if fix["status"] == status {
            return fix;
        }
        assert!(begun.elapsed() < PATIENCE, "never {status}: {fix:#}");
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}

fn journals(workspace: &Workspace) -> usize {
    std::fs::read_dir(workspace.path(".ubs/journal")).map_or(0, Iterator::count)
}

fn only_fix(workspace: &Workspace) -> Value {
    let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
    assert_eq!(fixes.as_array().map(Vec::len), Some(1), "{fixes:#}");
    fixes[0].clone()
}

#[test]
fn a_fix_that_breaks_the_next_boot_is_taken_back_and_named() {
    let _time = time::lock();
    let workspace = application();
    let slug = healed_between_boots(&workspace);
    let fix = only_fix(&workspace);
    assert_eq!(fix["status"], "probation", "{fix:#}");
    assert_eq!(
        (&fix["worker"], &fix["approved_by"]),
        (&"ann".into(), &"bob".into())
    );
    assert_eq!(fix["boot"], Value::Null);
    assert_eq!(fix["proof"]["holds"], true);
    let boot = workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert!(
        boot.stdout.contains("applied since the last boot: fix"),
        "{}",
        boot.stdout
    );
    assert!(!workspace.path("engine").exists(), "{}", boot.stdout);
    let fix = only_fix(&workspace);
    assert_eq!(fix["status"], "taken_back", "{fix:#}");
    let reason = fix["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("service web ended with exit status 7"),
        "{reason}"
    );
    let replay = workspace.ubs(&["replay", "last"]).expect(0).stdout;
    assert!(replay.contains("applied before this boot: fix"), "{replay}");
    assert!(replay.contains("[ROLLBACK]"), "{replay}");
    let boots = workspace.ubs(&["boots", "--json"]).expect(0).json();
    let id = |n: usize| boots[n]["boot_id"].as_str().expect("an id").to_owned();
    let diff = workspace
        .ubs(&["diff", &id(1), &id(0), "--json"])
        .expect(0)
        .json();
    let about: Vec<_> = diff["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .filter(|one| one["about"] == "fix")
        .collect();
    assert_eq!(about[0]["name"], slug.as_str(), "{diff:#}");
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn a_person_takes_a_fix_back_and_nobody_makes_it_anew() {
    let workspace = application();
    let slug = healed_between_boots(&workspace);
    workspace.write("engine", "by hand\n");
    let refused = workspace.ubs(&["fixes", "undo", &slug]).expect(2);
    assert!(
        refused.stderr.contains("engine was changed since"),
        "{}",
        refused.stderr
    );
    workspace.write("engine", "here\n");
    let undone = workspace
        .ubs(&["fixes", "undo", &slug, "--by", "bob", "--json"])
        .expect(0)
        .json();
    assert_eq!(undone["status"], "undone");
    assert!(!workspace.path("engine").exists());
    let mission = workspace
        .ubs(&["missions", "show", &slug, "--json"])
        .expect(0)
        .json();
    assert_eq!(mission["status"], "quarantined", "{mission:#}");
    let shown = workspace.ubs(&["fixes", "show", &slug]).expect(0).stdout;
    assert!(
        shown.contains("by bob") && shown.contains("bring the engine"),
        "{shown}"
    );
    workspace.ubs(&["log", "verify"]).expect(0);
}

fn killed_while_taking_back(point: &str, databases: usize) {
    let web = "test -f engine && test -f ran && exit 7; touch ran; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let mut workspace = application_of(web, "", databases);
    healed_between_boots(&workspace);
    assert_eq!(indexes(&workspace), databases, "{point}");
    let run = workspace.boot_killed_at(point);
    assert_eq!(run.code, -1, "{point}: {}{}", run.stdout, run.stderr);
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert!(!workspace.path("engine").exists(), "{point}");
    assert_eq!(indexes(&workspace), 0, "{point}");
    let fix = only_fix(&workspace);
    assert_eq!(fix["status"], "taken_back", "{point}: {fix:#}");
    assert_eq!(events_of(&workspace, "fix_rolled_back"), 1, "{point}");
    assert_eq!(journals(&workspace), 0, "{point}");
    workspace.ubs(&["log", "verify"]).expect(0);
}

/// A promotion is killed at that point; then two promoters and a boot come at once.
fn killed_while_promoting(point: &str, databases: usize) {
    let mut workspace = application_of(STEADY, "", databases);
    let slug = proposed_between_boots(&workspace);
    let approve = ["missions", "approve", &slug, "--by", "bob"];
    workspace.set_env("UBS_CRASH_AT", point);
    let run = workspace.ubs(&approve);
    assert_eq!(run.code, -1, "{point}: {}{}", run.stdout, run.stderr);
    workspace.set_env("UBS_CRASH_AT", "");
    let boot = workspace.start(&["boot"]);
    let beside = [
        workspace.start(&approve),
        workspace.start(&["worker", "--once"]),
        workspace.start(&approve),
    ];
    for other in beside {
        let run = other.wait();
        // 15: the mission has moved on meanwhile.
        let is_expected = (0..=2).contains(&run.code) || run.code == 15;
        assert!(is_expected, "{point}: {}: {}", run.code, run.stderr);
        assert!(!run.stderr.contains("panicked"), "{point}: {}", run.stderr);
    }
    let begun = std::time::Instant::now();
    while events_of(&workspace, "fix_applied") == 0 {
        assert!(begun.elapsed() < PATIENCE, "{point}: never applied");
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    workspace.await_health(&["healthy", "degraded"]);
    boot.signal(nix::sys::signal::Signal::SIGTERM);
    boot.wait().expect(0);
    assert_eq!(workspace.read("engine"), "here\n", "{point}");
    assert_eq!(indexes(&workspace), databases, "{point}");
    assert_eq!(events_of(&workspace, "fix_applied"), 1, "{point}");
    assert_eq!(only_fix(&workspace)["status"], "probation", "{point}");
    workspace.ubs(&["log", "verify"]).expect(0);
}

fn killed_while_blessing(point: &str, databases: usize) {
    let mut workspace = application_of(STEADY, "probation = \"50ms\"", databases);
    healed_between_boots(&workspace);
    workspace.set_env("UBS_CRASH_AT", point);
    let run = workspace.start(&["boot"]).wait();
    assert_eq!(run.code, -1, "{point}: {}{}", run.stdout, run.stderr);
    workspace.set_env("UBS_CRASH_AT", "");
    let boot = workspace.start(&["boot"]);
    await_status(&workspace, "blessed");
    let begun = std::time::Instant::now();
    while journals(&workspace) > 0 {
        assert!(begun.elapsed() < PATIENCE, "{point}: the journal stays");
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    workspace.await_health(&["healthy", "degraded"]);
    boot.signal(nix::sys::signal::Signal::SIGTERM);
    boot.wait().expect(0);
    assert_eq!(events_of(&workspace, "fix_blessed"), 1, "{point}");
    assert_eq!(workspace.read("engine"), "here\n", "{point}");
    assert_eq!(indexes(&workspace), databases, "{point}");
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn killed_at_a_step_of_a_fix_s_life() {
    let _time = time::lock();
    std::thread::scope(|scope| {
        scope.spawn(|| killed_while_taking_back("take_back.databases", 2));
        scope.spawn(|| killed_while_promoting("promote.database_changed", 2));
        scope.spawn(|| killed_while_blessing("bless.recorded", 0));
    });
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn killed_at_every_step_of_a_fix_s_life() {
    let _time = time::lock();
    for databases in 1..=2 {
        for step in ["begun", "files", "databases", "recorded"] {
            killed_while_taking_back(&format!("take_back.{step}"), databases);
        }
        for step in [
            "journaled",
            "file_written",
            "database_changed",
            "carried_out",
        ] {
            killed_while_promoting(&format!("promote.{step}"), databases);
        }
        for step in ["begun", "recorded"] {
            killed_while_blessing(&format!("bless.{step}"), databases);
        }
    }
}

#[test]
fn a_fix_that_breaks_the_second_boot_with_it_is_taken_back_though_the_first_was_killed() {
    let _time = time::lock();
    let workspace = application_of(ONCE, "", 0);
    healed_between_boots(&workspace);
    let boot = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    boot.signal(nix::sys::signal::Signal::SIGKILL);
    boot.wait();
    assert_eq!(only_fix(&workspace)["status"], "probation");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let fix = only_fix(&workspace);
    assert_eq!(fix["status"], "taken_back", "{fix:#}");
    assert!(!workspace.path("engine").exists());
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn a_fix_that_breaks_only_at_run_time_is_taken_back() {
    let _time = time::lock();
    let workspace = application_of(STEADY, "", 0);
    healed_between_boots(&workspace);
    let boot = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    workspace.write("poison", "");
    let fix = await_status(&workspace, "taken_back");
    let reason = fix["reason"].as_str().expect("a reason");
    assert!(reason.contains("web"), "{reason}");
    assert!(!workspace.path("engine").exists());
    boot.signal(nix::sys::signal::Signal::SIGTERM);
    boot.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn a_fix_after_which_its_failure_comes_back_in_the_same_boot_is_taken_back() {
    let _time = time::lock();
    let workspace = application_of(STEADY, "", 0);
    let manifest = workspace.read("ubs.toml").replace(
        "rehearse = { command = ['test', '-f', 'engine'] }",
        "rehearse = { command = ['true'] }\n\n[[layer.service]]\nname = 'job'\nrestart = 'never'\n\
         run = ['sh', '-c', 'sleep 0.05; exit 3']\nready = { exec = ['false'], interval = '10ms' }",
    );
    workspace.write("ubs.toml", &manifest);
    let boot = workspace.start(&["boot"]);
    let begun = std::time::Instant::now();
    let slug = loop {
        let open = workspace.ubs(&["missions", "--json"]);
        let open: Value = serde_json::from_str(&open.stdout).unwrap_or(Value::Null);
        if let Some(slug) = open[0]["slug"].as_str() {
            break slug.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "no mission");
        std::thread::sleep(std::time::Duration::from_millis(30));
    };
    workspace.write(
        "fix.json",
        r#"{"summary": "bring the engine", "changes": [{"write": {"path": "engine", "text": "here\n"}}]}"#,
    );
    let propose = [
        "missions", "propose", &slug, "--worker", "ann", "--file", "fix.json",
    ];
    for command in [
        &["missions", "claim", &slug, "--worker", "ann"][..],
        &propose,
        &["missions", "approve", &slug, "--by", "bob"],
    ] {
        workspace.ubs(command).expect(0);
    }
    let fix = await_status(&workspace, "taken_back");
    let reason = fix["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("its failure came back"), "{reason}");
    assert!(!workspace.path("engine").exists());
    boot.signal(nix::sys::signal::Signal::SIGTERM);
    boot.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn two_people_undo_a_fix_beside_a_running_boot_and_one_does() {
    let _time = time::lock();
    let workspace = application_of(STEADY, "", 1);
    let slug = healed_between_boots(&workspace);
    let boot = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let both = [(), ()].map(|()| workspace.start(&["fixes", "undo", &slug]));
    let mut codes = both.map(|undo| undo.wait().code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 2]);
    assert_eq!(only_fix(&workspace)["status"], "undone");
    assert_eq!(events_of(&workspace, "fix_undone"), 1);
    assert_eq!((indexes(&workspace), journals(&workspace)), (0, 0));
    boot.signal(nix::sys::signal::Signal::SIGTERM);
    boot.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_probation_of_its_default_length_ends_in_a_blessing() {
    let workspace = application_of(STEADY, "", 0);
    healed_between_boots(&workspace);
    let boot = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    std::thread::sleep(std::time::Duration::from_secs(270));
    assert_eq!(only_fix(&workspace)["status"], "probation");
    let fix = await_status(&workspace, "blessed");
    assert_eq!(fix["reason"], "the system was healthy with it for 300 s");
    boot.signal(nix::sys::signal::Signal::SIGTERM);
    boot.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
}
