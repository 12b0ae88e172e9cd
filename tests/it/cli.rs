//! The command line as people and programs meet it: wrong use, bad files, JSON, pipes, and what a
//! person sees (snapshots).

use std::process::Stdio;

use crate::support::Workspace;
use serde_json::Value;

const SMALL: &str = r#"
[app]
name = "small"
stable_after = "200ms"

[config]
files = [".env"]

[config.vars.PORT]
required = true
kind = "int"
min = 1
max = 65535

[config.vars.SECRET_KEY]
required = true
secret = true
min_length = 16

[heal]
attempts = 2
backoff = "1ms"

[[layer]]
name = "base"
rehearse = { command = ["true"] }

[[layer.service]]
name = "a"
run = "sleep 1000"
stop = { signal = "KILL" }

[[layer]]
name = "extra"
critical = false
rehearse = { command = ["sh", "-c", "echo the engine is missing >&2; exit 3"] }
"#;

fn small() -> Workspace {
    let workspace = Workspace::with_manifest(SMALL);
    workspace.write(".env", "PORT=8080\nSECRET_KEY=4f9a0c7be2d1834560fe\n");
    workspace
}

#[test]
fn help_and_version_are_no_errors_and_wrong_words_are() {
    let workspace = Workspace::new();
    let help = workspace.ubs(&["--help"]).expect(0);
    for command in [
        "demo",
        "preflight",
        "boot",
        "replay",
        "health",
        "missions",
        "worker",
        "log",
    ] {
        assert!(help.stdout.contains(command), "{command}\n{}", help.stdout);
    }
    assert!(help.stdout.lines().all(|line| line.len() <= 100));
    assert!(
        workspace
            .ubs(&["--version"])
            .expect(0)
            .stdout
            .starts_with("ubs ")
    );
    let wrong = workspace.ubs(&["preflite"]).expect(2);
    assert!(wrong.stderr.contains("preflight"), "{}", wrong.stderr);
    workspace.ubs(&["boot", "--mode", "hasty"]).expect(2);
    workspace.ubs(&[]).expect(2);
}

#[test]
fn without_a_manifest_it_says_what_to_do_and_makes_nothing() {
    let workspace = Workspace::new();
    for command in ["preflight", "boot", "worker"] {
        let run = workspace.ubs(&[command]).expect(2);
        assert!(
            run.stderr.contains("no ubs.toml") && run.stderr.contains("help:"),
            "{}",
            run.stderr
        );
    }
    assert!(!workspace.path(".ubs").exists());
    let run = workspace.ubs(&["-C", "nowhere", "preflight"]).expect(2);
    assert!(run.stderr.contains("nowhere"), "{}", run.stderr);
}

#[test]
fn looking_back_before_the_first_boot_is_no_crash() {
    let workspace = small();
    assert_eq!(
        workspace.ubs(&["boots", "--json"]).expect(0).json(),
        Value::Array(vec![])
    );
    assert_eq!(
        workspace.ubs(&["missions", "--json"]).expect(0).json(),
        Value::Array(vec![])
    );
    assert_eq!(
        workspace.ubs(&["health", "--json"]).expect(1).json()["status"],
        "unknown"
    );
    for arguments in [
        &["replay", "last"][..],
        &["log", "verify"],
        &["missions", "show", "x"],
    ] {
        let run = workspace.ubs(arguments).expect(2);
        assert!(run.stderr.contains("there is no log"), "{}", run.stderr);
    }
    assert!(!workspace.path(".ubs").exists());
}

#[test]
fn a_file_that_is_not_the_log_is_refused_and_kept() {
    let workspace = small();
    workspace.write(".ubs/log.db", "this is somebody's diary\n");
    for arguments in [
        &["boot"][..],
        &["health"],
        &["boots"],
        &["replay"],
        &["log", "rebuild"],
    ] {
        let run = workspace.ubs(arguments).expect(2);
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    }
    assert_eq!(workspace.read(".ubs/log.db"), "this is somebody's diary\n");
}

#[test]
fn bad_manifests_are_refused_with_the_line_and_the_nearest_word() {
    for (bad, said) in [
        (
            "[app]\nname = \"x\"\n[[layer]]\nname = \"a\"\ncritcal = true\n",
            &["ubs.toml:5", "critical"][..],
        ),
        (
            "[app]\nname = \"x\"\n[[layer]]\nname = \"a\"\n[[layer]]\nname = \"a\"\n",
            &["ubs.toml:6", "a"],
        ),
        (
            "[app]\nname = \"x\"\n[[layer]]\nname = \"a\"\nafter = [\"b\"]\n[[layer]]\nname = \"b\"\nafter = [\"a\"]\n",
            &["ubs.toml:", "a", "b"],
        ),
        (
            "[app]\nname = \"x\"\n[[layer]]\nname = \"a\"\nafter = [\"databse\"]\n[[layer]]\nname = \"database\"\n",
            &["ubs.toml:5", "database"],
        ),
        ("[app\n", &["ubs.toml:1"]),
    ] {
        let workspace = Workspace::with_manifest(bad);
        for command in ["preflight", "boot"] {
            let run = workspace.ubs(&[command]).expect(2);
            for word in said {
                assert!(run.stderr.contains(word), "no {word:?} in\n{}", run.stderr);
            }
        }
        assert!(!workspace.path(".ubs").exists());
    }
}

#[test]
fn preflight_says_what_is_wrong_and_where() {
    let workspace = small();
    workspace.write(".env", "PORT=eighty\nSECRET_KEY=change-me\n");
    let run = workspace.ubs(&["preflight"]).expect(1);
    insta::assert_snapshot!("preflight_no_go", workspace.normalise(&run.stdout));
    assert!(
        !workspace.path(".ubs").exists(),
        "a pre-flight leaves nothing behind"
    );
    let json = workspace.ubs(&["preflight", "--json"]).expect(1).json();
    assert_eq!(json["decision"], "no_go");
    let config = &json["checks"][0];
    assert_eq!(
        (&config["name"], &config["status"]),
        (&Value::from("config"), &Value::from("critical"))
    );
    let finding = &config["findings"][0];
    assert_eq!(finding["location"]["file"], ".env");
    for key in ["code", "severity", "subject", "message", "remedy"] {
        assert!(finding[key].is_string(), "{key}: {finding:#}");
    }
}

#[test]
fn a_boot_is_shown_and_replayed_the_same_way_every_time() {
    let workspace = small();
    let normalise = |text: &str| {
        // The slug of a boot's mission ends in the second of its filing.
        let seconds = regex::Regex::new(r"_\d{10}\b").unwrap();
        let offer = regex::Regex::new(r"until \d\d:\d\d UTC").unwrap();
        let text = seconds.replace_all(text, "_0123456789");
        workspace.normalise(&offer.replace_all(&text, "until 12:34 UTC"))
    };
    let run = workspace.ubs(&["boot", "--until-ready"]).expect(0);
    insta::assert_snapshot!("boot_degraded", normalise(&run.stdout));
    assert!(
        run.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        run.stdout
    );
    let health = workspace.ubs(&["health"]).expect(1);
    insta::assert_snapshot!("health_down", normalise(&health.stdout));
    let missions = workspace.ubs(&["missions"]).expect(0);
    insta::assert_snapshot!("missions", normalise(&missions.stdout));
    // Twice the same, from the log alone.
    let replay = || workspace.ubs(&["replay", "last"]).expect(0).stdout;
    assert_eq!(replay(), replay());
    assert!(replay().lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn json_is_one_document_and_messages_go_elsewhere() {
    let workspace = small();
    workspace
        .ubs(&["boot", "--until-ready", "--json"])
        .expect(0)
        .json();
    for arguments in [
        &["preflight"][..],
        &["boots"],
        &["health"],
        &["status"],
        &["missions"],
        &["replay", "last"],
        &["diff", "last", "last"],
        &["log", "verify"],
        &["log", "stats"],
        &["log", "rebuild"],
        &["stop"],
    ] {
        let mut all = arguments.to_vec();
        all.push("--json");
        workspace.ubs(&all).json();
    }
    for arguments in [&["replay", "--events", "--json"][..], &["log", "export"]] {
        let run = workspace.ubs(arguments).expect(0);
        for line in run.stdout.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            for key in [
                "seq", "event_id", "kind", "version", "at", "payload", "chain",
            ] {
                assert!(!event[key].is_null(), "{key}: {event}");
            }
        }
        assert!(run.stdout.lines().count() > 10);
    }
}

#[test]
fn a_program_gets_one_document_when_it_fails_too() {
    let workspace = Workspace::with_manifest("[app]\nname = 3\nnmae = 'x'\n");
    let json = workspace.ubs(&["preflight", "--json"]).expect(2).json();
    let problems = json["error"]["problems"].as_array().unwrap();
    assert_eq!(problems[0]["line"], 2, "{json:#}");
    let json = workspace.ubs(&["replay", "--json"]).expect(2).json();
    assert!(
        json["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no log")
    );
    assert!(json["error"]["help"].is_string());
}

#[test]
fn a_pipe_that_is_closed_is_nobodys_fault() {
    let workspace = small();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    for arguments in [
        &["replay", "--events", "--json"][..],
        &["log", "export"],
        &["boots"],
    ] {
        let mut child = workspace.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    // A boot goes on without its reader.
    let mut child = workspace
        .command(&["boot", "--until-ready"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(workspace.leftovers(), Vec::<u32>::new());
}

#[test]
fn colour_is_for_terminals_and_can_be_asked_for() {
    let workspace = small();
    let plain = workspace.ubs(&["preflight"]).expect(0);
    assert!(!plain.stdout.contains('\u{1b}'));
    let painted = workspace.ubs(&["preflight", "--color", "always"]).expect(0);
    assert!(painted.stdout.contains("\u{1b}[32m"));
    let json = workspace
        .ubs(&["preflight", "--color", "always", "--json"])
        .expect(0);
    assert!(!json.stdout.contains('\u{1b}'));
}

#[test]
fn an_edited_log_is_found_and_the_row_is_named() {
    let workspace = small();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
    let log = rusqlite::Connection::open(workspace.path(".ubs/log.db")).unwrap();
    log.execute_batch(
        "DROP TRIGGER events_are_never_updated; UPDATE events SET at = at + 1 WHERE seq = 7",
    )
    .unwrap();
    drop(log);
    let run = workspace.ubs(&["log", "verify"]).expect(1);
    assert!(
        run.stdout.contains('7') && run.stdout.contains("NOT INTACT"),
        "{}",
        run.stdout
    );
    // Nobody reads a replay of it unwarned.
    let replay = workspace.ubs(&["replay"]).expect(0).stdout;
    assert!(replay.starts_with("[LOG] NOT INTACT: "), "{replay}");
    let events = workspace.ubs(&["replay", "--events"]).expect(0);
    assert!(events.stderr.contains("event 7 ("), "{}", events.stderr);
    workspace.ubs(&["log", "prune", "--keep", "0s"]).expect(2);
}

#[test]
fn boots_go_by_name_and_a_log_is_kept_elsewhere() {
    let workspace = Workspace::with_manifest(
        "[app]\nname = 'good'\n[[layer]]\nname = 'a'\n[[layer.service]]\nname = 'a'\nrun = 'sleep 600'\n",
    );
    let boot = || workspace.ubs(&["boot", "--until-ready"]).expect(0);
    boot();
    let other = |name: &str| {
        std::fs::create_dir_all(workspace.path(name)).unwrap();
        workspace.path(name).display().to_string()
    };
    // A log.db as it is without what its write-ahead log has of the next boot.
    let behind = other("behind");
    std::fs::copy(workspace.path(".ubs/log.db"), format!("{behind}/log.db")).unwrap();
    boot();
    let lock = format!("{behind}/supervisor.lock");
    std::fs::copy(workspace.path(".ubs/supervisor.lock"), lock).unwrap();
    let verified = workspace
        .ubs(&["log", "verify", "--state", &behind])
        .expect(1);
    let words: Vec<&str> = verified.stdout.split_whitespace().collect();
    let said = words.join(" ");
    assert!(
        said.contains("the write-ahead log is missing: supervisor.lock names boot"),
        "{said}"
    );

    let boots = workspace.ubs(&["boots", "--json"]).json();
    for (name, n) in [("last", 0), ("last~0", 0), ("last~1", 1), ("last-good", 0)] {
        let replay = workspace.ubs(&["replay", name, "--json"]).expect(0).json();
        assert_eq!(replay["boot_id"], boots[n]["boot_id"], "{name}");
    }
    for name in ["last~2", "last~", "last~x"] {
        workspace.ubs(&["replay", name]).expect(2);
    }
    // Its timeline has the numbers that `--until` takes.
    let replay = workspace.ubs(&["replay", "last"]).expect(0).stdout;
    let seq = replay
        .lines()
        .next_back()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let until = workspace
        .ubs(&["replay", "last", "--until", seq])
        .expect(0)
        .stdout;
    assert!(
        until.contains(&format!("state after event {seq}:")),
        "{until}"
    );

    let export = workspace.path("export").display().to_string();
    workspace.ubs(&["log", "export", "-o", &export]).expect(0);
    let imported = other("imported");
    workspace
        .ubs(&["log", "import", &export, "--state", &imported])
        .expect(0);
    workspace
        .ubs(&["log", "import", &export, "--state", &imported])
        .expect(2);
    let head = |state: &str| {
        workspace
            .ubs(&["log", "verify", "--json", "--state", state])
            .expect(0)
            .json()["head"]
            .clone()
    };
    let live = workspace.path(".ubs").display().to_string();
    assert_eq!(head(&imported), head(&live));
    let backup = format!("{}/log.db", other("backup"));
    workspace.ubs(&["log", "backup", &backup]).expect(0);
    workspace.ubs(&["log", "backup", &backup]).expect(2);
    assert_eq!(head(&other("backup")), head(&live));
    let pruned = workspace
        .ubs(&["log", "prune", "--keep", "0s"])
        .expect(0)
        .stdout;
    assert!(
        pruned.contains("the newest boot, which begins with event"),
        "{pruned}"
    );
    head(&live);
    assert_eq!(
        workspace
            .ubs(&["boots", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn moments_boots_and_missions_that_are_not_there_are_named() {
    let workspace = small();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    for arguments in [
        &["health", "--at", "yesterday"][..],
        &["replay", "nonsense"],
        &["replay", "last", "--until", "soon"],
        &["missions", "show", "nonsense"],
        &["missions", "approve", "nonsense"],
        &["logs", "../../etc/passwd"],
        &["diff", "last", "nonsense"],
    ] {
        let run = workspace.ubs(arguments).expect(2);
        assert!(
            run.stderr.starts_with("error: "),
            "{arguments:?}: {}",
            run.stderr
        );
    }
    assert_eq!(
        workspace
            .ubs(&["health", "--at", "1h", "--json"])
            .expect(1)
            .json()["status"],
        "unknown"
    );
}

#[test]
fn a_fix_worker_takes_a_mission_from_claim_to_verdict() {
    let workspace = small();
    workspace.write(
        "ubs.toml",
        &SMALL.replace("exit 3\"]", "exit 3\", \"\"]").replace(
            "command = [\"sh\", \"-c\", \"echo the engine is missing >&2; exit 3\", \"\"]",
            "command = [\"sh\", \"-c\", \"test -f engine || { echo the engine is missing >&2; exit 3; }\"]",
        ),
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().unwrap().to_owned();
    // On offer: no built-in fixer knows it.
    assert_eq!(open[0]["status"], "filed");
    let claimed = workspace
        .ubs(&["missions", "claim", "--worker", "bot", "--json"])
        .expect(0)
        .json();
    assert_eq!(claimed["slug"], slug.as_str());
    workspace
        .ubs(&["missions", "claim", "--worker", "other"])
        .expect(1);
    workspace
        .ubs(&["missions", "heartbeat", &slug, "--worker", "other"])
        .expect(13);
    workspace
        .ubs(&["missions", "heartbeat", &slug, "--worker", "bot"])
        .expect(0);
    // One that does not help, one that leaves the workspace, one that helps.
    workspace.write(
        "bad.json",
        r#"{"summary": "x", "changes": [{"write": {"path": "other", "text": "x"}}]}"#,
    );
    let verdict = workspace
        .ubs(&[
            "missions", "propose", &slug, "--worker", "bot", "--file", "bad.json", "--json",
        ])
        .expect(1)
        .json();
    assert_eq!(verdict["outcome"], "rejected");
    assert!(!workspace.path("other").exists());
    workspace.ubs(&["missions", "requeue", &slug]).expect(0);
    workspace
        .ubs(&["missions", "claim", &slug, "--worker", "bot"])
        .expect(0);
    workspace.write(
        "hostile.json",
        r#"{"summary": "x", "changes": [{"write": {"path": "../escaped", "text": "x"}}]}"#,
    );
    workspace
        .ubs(&[
            "missions",
            "propose",
            &slug,
            "--worker",
            "bot",
            "--file",
            "hostile.json",
        ])
        .expect(2);
    workspace.write("good.json", r#"{"summary": "bring the engine", "changes": [{"write": {"path": "engine", "text": "here\n"}}]}"#);
    let verdict = workspace
        .ubs(&[
            "missions",
            "propose",
            &slug,
            "--worker",
            "bot",
            "--file",
            "good.json",
            "--json",
        ])
        .expect(0)
        .json();
    assert_eq!(verdict["outcome"], "awaiting_approval");
    assert_eq!(verdict["verdict"]["holds"], true);
    assert!(
        !workspace.path("engine").exists(),
        "only a person may let it in"
    );
    workspace
        .ubs(&["missions", "approve", &slug, "--by", "ann"])
        .expect(0);
    assert_eq!(workspace.read("engine"), "here\n");
    let boot = workspace
        .ubs(&["boot", "--until-ready", "--strict", "--json"])
        .expect(0)
        .json();
    assert_eq!(boot["degraded"], false);
    assert_eq!(
        workspace.ubs(&["missions", "--json"]).expect(0).json(),
        Value::Array(vec![])
    );
}

#[test]
fn code_that_nobody_approved_sees_dummies_in_the_place_of_secrets() {
    let mut workspace = Workspace::with_manifest(
        "[app]\nname = 'x'\n[config.vars.SECRET_KEY]\nsecret = true\nrequired = true\n\
         [config.vars.API_TOKEN]\nsecret = true\nrequired = true\n\
         [[layer]]\nname = 'a'\nrehearse = { command = ['sh', 'check.sh'] }\n",
    );
    workspace.set_env("API_TOKEN", "tok-mqzvbkwtyhgr");
    let kept = workspace.path("kept.env");
    std::fs::write(&kept, "SECRET_KEY=\"kx7Qm2Vw9Zt4Rb6Y\"\n").unwrap();
    std::os::unix::fs::symlink(&kept, workspace.path(".env")).unwrap();
    workspace.write("check.sh", "exit 1\n");
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().unwrap().to_owned();
    workspace.ubs(&["missions", "requeue", &slug]);
    workspace
        .ubs(&["missions", "claim", &slug, "--worker", "bot"])
        .expect(0);
    // Says the secrets in a form that no redactor knows.
    workspace.write(
        "fix.json",
        r#"{"summary": "x", "changes": [{"write": {"path": "check.sh",
            "before": "BEFORE", "text": "echo \"$SECRET_KEY $API_TOKEN $(cat .env)\" | rev >&2; exit 1\n"}}]}"#
        .replace("BEFORE", &blake3::hash(b"exit 1\n").to_string()).as_str(),
    );
    let verdict = workspace
        .ubs(&[
            "missions", "propose", &slug, "--worker", "bot", "--file", "fix.json", "--json",
        ])
        .expect(1);
    assert!(
        verdict.stdout.contains("=YEK_TERCES"),
        "it ran:\n{}",
        verdict.stdout
    );
    for secret in ["Y6bR4tZ9", "rghytwkbvzqm", "kx7Qm2Vw", "mqzvbkw"] {
        assert!(!verdict.stdout.contains(secret), "{}", verdict.stdout);
    }
    assert_eq!(
        workspace.read("kept.env"),
        "SECRET_KEY=\"kx7Qm2Vw9Zt4Rb6Y\"\n"
    );
}

#[test]
fn the_worker_example_claims_proposes_and_shows_the_verdict() {
    let workspace = small();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    workspace
        .ubs(&["missions", "requeue", open[0]["slug"].as_str().unwrap()])
        .expect(0);
    workspace.write(
        "fix.json",
        r#"{"summary": "hope", "changes": [{"write": {"path": "hope.txt", "text": "x"}}]}"#,
    );
    let root = workspace.root().to_str().unwrap();
    let said = crate::support::example(
        "worker",
        &[root, workspace.path("fix.json").to_str().unwrap()],
    );
    assert!(said.contains("claimed boot_fix_extra_"), "{said}");
    assert!(said.contains("verdict: does not hold"), "{said}");
    assert!(crate::support::example("worker", &[root, "fix.json"]).contains("no mission waits"));
}

#[test]
fn a_go_says_what_it_rests_on() {
    let nothing = Workspace::with_manifest("[app]\nname = 'shop'\n");
    let run = nothing.ubs(&["preflight", "--json"]).expect(0).json();
    assert_eq!(run["decision"], "go_unproven");
    assert_eq!(run["coverage"]["looked_at"], serde_json::json!([]));
    assert_eq!(
        run["coverage"]["not_looked_at"].as_array().unwrap().len(),
        4
    );
    nothing.ubs(&["preflight", "--strict"]).expect(3);
    let shown = nothing.ubs(&["preflight"]).expect(0).stdout;
    assert!(shown.contains("DECISION: GO (unproven)"), "{shown}");
    let some = Workspace::with_manifest("[app]\nname = 'shop'\n[config.vars.LEVEL]\n");
    let shown = some.ubs(&["preflight", "--strict"]).expect(0).stdout;
    let ground = "1 of 4 checks; not looked at: schema, rehearsal, registration";
    assert!(shown.contains(ground), "{shown}");
}

#[test]
fn a_worker_in_any_language_tries_first_and_reads_stable_codes() {
    let workspace = Workspace::with_manifest(
        "[app]\nname = 'x'\n[heal.policy]\nopen = 'auto'\n[[layer]]\nname = 'a'\nrehearse = { command = ['sh', 'check.sh'] }\n",
    );
    workspace.write("check.sh", "exit 1\n");
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().unwrap().to_owned();
    let code = |arguments: &[&str], exit: i32| {
        let run = workspace.ubs(arguments).expect(exit).json();
        run["error"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        code(&["missions", "show", "no_such", "--json"], 2),
        "not_found"
    );
    let heartbeat = ["missions", "heartbeat", &slug, "--worker", "x", "--json"];
    assert_eq!(code(&heartbeat, 13), "not_holder");
    workspace.write(
        "bad.diff",
        "--- a/check.sh\n+++ b/check.sh\n@@ -1 +1 @@\n-exit 2\n+exit 0\n",
    );
    let bad = ["try", &slug, "--patch", "bad.diff", "--json"];
    assert_eq!(code(&bad, 2), "bad_proposal");
    workspace.write(
        "no.diff",
        "--- a/check.sh\n+++ b/check.sh\n@@ -1 +1 @@\n-exit 1\n+exit 3\n",
    );
    workspace.write(
        "yes.diff",
        "--- a/check.sh\n+++ b/check.sh\n@@ -1 +1 @@\n-exit 1\n+exit 0\n",
    );
    let events = || workspace.ubs(&["log", "stats", "--json"]).expect(0).json()["events"].clone();
    let before = events();
    let tried = workspace
        .ubs(&["try", &slug, "--patch", "no.diff", "--json"])
        .expect(1)
        .json();
    assert_eq!(tried["holds"], false);
    let tried = workspace
        .ubs(&["missions", "try", &slug, "--patch", "yes.diff", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&tried["holds"], tried["risk"].as_str()),
        (&Value::Bool(true), Some("open"))
    );
    assert_eq!(
        (workspace.read("check.sh").as_str(), events()),
        ("exit 1\n", before)
    );
    let gone = [
        "try", &slug, "--delete", "no.diff", "--patch", "yes.diff", "--json",
    ];
    let tried = workspace.ubs(&gone).expect(0).json();
    assert_eq!(
        (tried["risk"].as_str(), tried["policy"].as_str()),
        (Some("destructive"), Some("approve"))
    );

    workspace.ubs(&["missions", "requeue", &slug]);
    let worker = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/worker.py");
    let ran = std::process::Command::new("python3")
        .arg(worker)
        .arg(workspace.root())
        .args(["bad.diff", "no.diff", "yes.diff"].map(|file| workspace.path(file)))
        .env("UBS", env!("CARGO_BIN_EXE_ubs"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    for word in [
        "claimed",
        "refused: bad_proposal",
        "does not hold",
        "holds: ",
        "applied: ",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(workspace.read("check.sh"), "exit 0\n");
}
