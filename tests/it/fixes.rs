//! What becomes of a fix after it was applied: the next boot is worse and takes it back, or a person does.

use crate::support::{Workspace, time};
use serde_json::Value;

/// `base` runs well until it is started a second time beside an `engine`; `extra` needs an engine.
fn application() -> Workspace {
    Workspace::with_manifest(
        r#"
[app]
name = "probation"
stable_after = "100ms"

[heal]
attempts = 3
backoff = "10ms"

[[layer]]
name = "base"

[[layer.service]]
name = "web"
run = ['sh', '-c', '''test -f engine && test -f ran && exit 7; touch ran; trap 'exit 0' TERM; while :; do sleep 0.05; done''']
ready = { exec = ['test', '-f', 'ran'], interval = '10ms' }
restart = "never"

[[layer]]
name = "extra"
critical = false
rehearse = { command = ['test', '-f', 'engine'] }
"#,
    )
}

/// A boot, then a fix for `extra` between two boots; gives the mission's slug.
fn healed_between_boots(workspace: &Workspace) -> String {
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().expect("a mission").to_owned();
    workspace.write(
        "fix.json",
        r#"{"summary": "bring the engine", "changes": [{"write": {"path": "engine", "text": "here\n"}}]}"#,
    );
    for command in [
        &["missions", "claim", &slug, "--worker", "ann"][..],
        &[
            "missions", "propose", &slug, "--worker", "ann", "--file", "fix.json",
        ],
        &["missions", "approve", &slug, "--by", "bob"],
    ] {
        workspace.ubs(command).expect(0);
    }
    assert_eq!(workspace.read("engine"), "here\n");
    slug
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

#[test]
fn killed_while_a_fix_is_taken_back_or_blessed() {
    let _time = time::lock();
    for point in ["take_back.begun", "take_back.files", "take_back.recorded"] {
        let mut workspace = application();
        healed_between_boots(&workspace);
        let run = workspace.boot_killed_at(point);
        assert_eq!(run.code, -1, "{point}: {}{}", run.stdout, run.stderr);
        workspace.ubs(&["boot", "--until-ready"]).expect(0);
        assert!(!workspace.path("engine").exists(), "{point}");
        let fix = only_fix(&workspace);
        assert_eq!(fix["status"], "taken_back", "{point}: {fix:#}");
        workspace.ubs(&["log", "verify"]).expect(0);
    }
}
