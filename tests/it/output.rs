//! What services print: on the terminal of a boot, in its files, and through `ubs logs`; and who hears how it ended.

use serde_json::Value;

use crate::support::Workspace;

const MANIFEST: &str = r#"
[app]
name = "shop"
[logs]
directory = "output"
format = "json"
[[layer]]
name = "first"
[[layer.service]]
name = "migrate"
run = ["sh", "-c", "printf 'one \\033[31mred\\033[0m\\n'; echo two >&2"]
oneshot = true
[[layer]]
name = "second"
[[layer.service]]
name = "db"
run = ["sh", "-c", "echo three; exit 1"]
restart = "never"
[[notify]]
on = ["no_go"]
exec = ["sh", "-c", "cat >> told"]
"#;

#[test]
fn a_boot_shows_what_its_services_print_and_somebody_hears_that_it_failed() {
    let workspace = Workspace::with_manifest(MANIFEST);
    let run = workspace.ubs(&["boot", "--mode", "fast"]).expect(1);
    for line in [
        "migrate | one red\n",
        "migrate | two\n",
        "db      | three\n",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
    let told: Value = serde_json::from_str(&workspace.read("told")).unwrap();
    assert_eq!(
        (&told["on"], &told["kind"]),
        (&"no_go".into(), &"boot_failed".into())
    );
    let run = workspace
        .ubs(&["boot", "--mode", "fast", "--no-output"])
        .expect(1);
    assert!(!run.stdout.contains("| three"), "{}", run.stdout);
    workspace
        .ubs(&["boot", "--mode", "fast", "--json"])
        .expect(1)
        .json();
    // The same cause is told once an hour.
    assert_eq!(workspace.read("told").lines().count(), 1);

    let texts = |arguments: &[&str]| -> Vec<String> {
        let run = workspace
            .ubs(&[&["logs", "--json"], arguments].concat())
            .expect(0);
        let lines = run.stdout.lines();
        let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        lines
            .map(|line| read(line)["text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts(&["--boot", "last~1"]), ["one red", "two", "three"]);
    assert_eq!(texts(&["-n", "2"]), ["two", "three"]);
    assert_eq!(
        texts(&["migrate", "--grep", "^t", "--since", "1h"]),
        ["two"; 3]
    );
    let line = workspace.ubs(&["logs", "-n", "1"]).expect(0).stdout;
    assert!(
        line.starts_with("db      | 20") && line.ends_with("Z three\n"),
        "{line}"
    );
    workspace.ubs(&["logs", "--grep", "("]).expect(2);
    // It needs a terminal.
    workspace.ubs(&["top"]).expect(2);
}

#[test]
fn output_of_the_last_minutes_is_merged_over_services_and_files_put_aside() {
    let workspace = Workspace::with_manifest(MANIFEST);
    let moment = |minutes_ago: i64| {
        let moment = chrono::Utc::now() - chrono::Duration::minutes(minutes_ago);
        moment.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    };
    std::fs::create_dir_all(workspace.path("output")).expect("a directory");
    let lines = |minutes: &[i64]| -> String {
        let lines = minutes.iter();
        lines
            .map(|ago| format!("{} {ago}\n", moment(*ago)))
            .collect()
    };
    for (file, minutes) in [
        ("a.log.2", &[60, 30][..]),
        ("a.log.1", &[20, 9]),
        ("a.log", &[6, 1]),
        ("b.log.1", &[8, 5]),
        ("c.log", &[40, 7, 2]),
        ("d.log", &[3]),
    ] {
        workspace.write(&format!("output/{file}"), &lines(minutes));
    }
    let shown = workspace
        .ubs(&["logs", "a", "b", "c", "--since", "10m"])
        .expect(0)
        .stdout;
    let texts: Vec<&str> = shown
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap_or(""))
        .collect();
    assert_eq!(texts, ["9", "8", "7", "6", "5", "2", "1"], "{shown}");
    assert!(shown.starts_with("a | "), "{shown}");
}
