//! Proved means proved: what only hides a failure is no fix, what guards the application waits for a person, and an
//! edit of a person is never lost.

use serde_json::{Value, json};

use crate::support::Workspace;

const BROKEN: &str = "\"\"\"Chat.\"\"\"\n\nfrom .helpers import parse\n\nANSWER = parse(\"1\")\n";
const MENDED: &str =
    "\"\"\"Chat.\"\"\"\n\nfrom .helpers import parse_text\n\nANSWER = parse_text(\"1\")\n";
const MANIFEST: &str = "[app]\nname = 'shop'\n[heal]\nattempts = 1\npolicy = { open = 'auto' }\n\
    [[layer]]\nname = 'apis'\nrehearse = { imports = ['app'] }\n";

/// An application with a module that imports what is not there, and its mission; `None` without a Python.
fn broken() -> Option<(Workspace, String)> {
    let python = std::process::Command::new("python3").arg("-V").output();
    if python.is_err() {
        eprintln!("skipped: no python3 in PATH");
        return None;
    }
    let workspace = Workspace::with_manifest(MANIFEST);
    workspace.write(
        "app/__init__.py",
        "from . import extra\nfrom . import chat\n",
    );
    workspace.write("app/extra.py", "X = 1\n");
    workspace.write("app/chat.py", BROKEN);
    workspace.write(
        "app/helpers.py",
        "def parse_text(text):\n    return int(text)\n",
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().expect("a mission").to_owned();
    Some((workspace, slug))
}

fn claim(workspace: &Workspace, slug: &str) -> Value {
    workspace.ubs(&["missions", "requeue", slug]);
    let claim = ["missions", "claim", slug, "--worker", "bot", "--json"];
    workspace.ubs(&claim).expect(0).json()
}

fn propose(workspace: &Workspace, slug: &str, changes: &Value) -> crate::support::Run {
    // Not in the workspace, of which trials make a copy.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("fix.json");
    let text = json!({"summary": "a fix", "changes": changes}).to_string();
    std::fs::write(&file, text).expect("a proposal");
    let name = file.to_str().expect("UTF-8");
    workspace.ubs(&[
        "missions", "propose", slug, "--worker", "bot", "--file", name, "--json",
    ])
}

/// A write of a file that is there, by one who read it.
fn write(workspace: &Workspace, path: &str, text: &str) -> Value {
    let before = blake3::hash(workspace.read(path).as_bytes()).to_string();
    json!({"write": {"path": path, "before": before, "text": text}})
}

#[test]
fn what_hides_the_failure_is_no_fix_and_what_guards_the_application_waits() {
    let Some((workspace, slug)) = broken() else {
        return;
    };
    let no_rehearsal = MANIFEST.replace("rehearse = { imports = ['app'] }\n", "critical = false\n");
    for (what, changes) in [
        (
            "an exit in the place of the module",
            vec![write(&workspace, "app/chat.py", "raise SystemExit(1)\n")],
        ),
        (
            "an import that may fail",
            vec![write(
                &workspace,
                "app/__init__.py",
                "from . import extra\ntry:\n    from . import chat\nexcept Exception:\n    chat = None\n",
            )],
        ),
        (
            "a manifest that asks for less",
            vec![write(&workspace, "ubs.toml", &no_rehearsal)],
        ),
    ] {
        claim(&workspace, &slug);
        let answer = propose(&workspace, &slug, &json!(changes)).expect(1).json();
        assert_eq!(answer["verdict"]["holds"], false, "{what}: {answer:#}");
    }
    // A fix that holds, with what nobody but a person lets in.
    let mended = write(&workspace, "app/chat.py", MENDED);
    for (what, word, other) in [
        (
            "the manifest is relaxed beside it",
            "a fix",
            write(
                &workspace,
                "ubs.toml",
                &MANIFEST.replace("attempts = 1", "attempts = 9"),
            ),
        ),
        (
            "a variable is set beside it",
            "a fix",
            json!({"set_variable": {"path": ".env", "name": "LEVEL", "value": "info"}}),
        ),
        (
            "less is imported than before",
            "no longer imports app/extra.py",
            write(&workspace, "app/__init__.py", "from . import chat\n"),
        ),
    ] {
        claim(&workspace, &slug);
        let answer = propose(&workspace, &slug, &json!([mended, other]))
            .expect(0)
            .json();
        assert_eq!(answer["outcome"], "awaiting_approval", "{what}: {answer:#}");
        let reason = answer["reason"].as_str().expect("a reason");
        assert!(reason.contains(word), "{what}: {reason}");
        assert_eq!(workspace.read("app/chat.py"), BROKEN, "{what}");
        // Whoever approves sees all of it.
        let shown = workspace.ubs(&["missions", "show", &slug]).expect(0).stdout;
        for line in [
            "-from .helpers import parse\n+from .helpers import parse_text",
            "rehearsal     critical  healthy",
            "isolation: ",
        ] {
            assert!(shown.contains(line), "{what}: no {line}\n{shown}");
        }
        let document = workspace
            .ubs(&["missions", "show", &slug, "--json"])
            .expect(0)
            .json();
        let diff = document["diff"].as_str().expect("a diff");
        assert!(
            diff.starts_with("--- a/app/chat.py\n+++ b/app/chat.py\n@@"),
            "{diff}"
        );
        assert_eq!(document["verdict"]["holds"], true);
        workspace
            .ubs(&["missions", "reject", &slug, "--reason", "no"])
            .expect(0);
    }
    claim(&workspace, &slug);
    let answer = propose(&workspace, &slug, &json!([mended]))
        .expect(0)
        .json();
    assert_eq!(answer["outcome"], "applied", "{answer:#}");
    assert_eq!(workspace.read("app/chat.py"), MENDED);
}

#[test]
fn an_edit_between_claim_and_proposal_is_never_lost() {
    let Some((workspace, slug)) = broken() else {
        return;
    };
    let claimed = claim(&workspace, &slug);
    let shown = claimed["files"].as_array().expect("files");
    let chat = shown
        .iter()
        .find(|file| file["path"] == "app/chat.py")
        .expect("the file that failed");
    let stale =
        json!([{"write": {"path": "app/chat.py", "before": chat["digest"], "text": MENDED}}]);
    let edited = BROKEN.replace("Chat.", "Chat, by Ann.");
    workspace.write("app/chat.py", &edited);
    let refused = propose(&workspace, &slug, &stale).expect(18);
    for line in [
        "is not what the proposal was made for",
        "-\\\"\\\"\\\"Chat.",
        "+\\\"\\\"\\\"Chat, by Ann.",
    ] {
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains(line), "no {line}: {said}");
    }
    let blind = json!([{"write": {"path": "app/chat.py", "text": MENDED}}]);
    let refused = propose(&workspace, &slug, &blind).expect(2);
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("needs `before`"));
    for (path, why) in [
        (".venv/lib/x.pth", "no trial has it"),
        ("../x.py", "leaves the workspace"),
    ] {
        let away = json!([{"write": {"path": path, "before": null, "text": ""}}]);
        let refused = propose(&workspace, &slug, &away).expect(2);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains(why), "{said}");
    }
    let endless = [
        "missions",
        "propose",
        &slug,
        "--worker",
        "bot",
        "--file",
        "/dev/zero",
    ];
    let refused = workspace.ubs(&endless).expect(2);
    assert!(refused.stderr.contains("not a file"), "{}", refused.stderr);
    assert_eq!(workspace.read("app/chat.py"), edited);
    // The mission is still the worker's. A patch of other lines keeps the edit.
    let patch = "--- a/app/chat.py\n+++ b/app/chat.py\n@@ -3,3 +3,3 @@\n-from .helpers import parse\n\
        +from .helpers import parse_text\n \n-ANSWER = parse(\"1\")\n+ANSWER = parse_text(\"1\")\n";
    let answer = propose(&workspace, &slug, &json!([{ "patch": patch }]))
        .expect(0)
        .json();
    assert_eq!(answer["outcome"], "applied", "{answer:#}");
    assert_eq!(
        workspace.read("app/chat.py"),
        MENDED.replace("Chat.", "Chat, by Ann.")
    );
}

#[test]
fn two_approvals_at_once_promote_once_and_the_first_one_s_journal_stays() {
    let Some((workspace, slug)) = broken() else {
        return;
    };
    let manifest = MANIFEST.replace("open = 'auto'", "open = 'approve'");
    workspace.write("ubs.toml", &manifest);
    claim(&workspace, &slug);
    let mended = write(&workspace, "app/chat.py", MENDED);
    let answer = propose(&workspace, &slug, &json!([mended]))
        .expect(0)
        .json();
    assert_eq!(answer["outcome"], "awaiting_approval", "{answer:#}");
    let approve = || workspace.ubs(&["missions", "approve", &slug, "--by", "ann"]);
    std::thread::scope(|scope| {
        let both = [scope.spawn(approve), scope.spawn(approve)];
        for one in both {
            let run = one.join().expect("a run");
            assert!([0, 1, 15].contains(&run.code), "{}", run.stderr);
        }
    });
    assert_eq!(workspace.read("app/chat.py"), MENDED);
    let log = rusqlite::Connection::open(workspace.path(".ubs/log.db")).expect("the log");
    for kind in ["promotion_started", "fix_applied"] {
        let count = "SELECT count(*) FROM events WHERE kind = ?1";
        let count: u32 = log
            .query_row(count, [kind], |row| row.get(0))
            .expect("a count");
        assert_eq!(count, 1, "{kind}");
    }
    let journals = std::fs::read_dir(workspace.path(".ubs/journal")).expect("journals");
    let journal = journals.flatten().next().expect("a journal").path();
    assert_eq!(
        std::fs::read_to_string(journal.join("before-0")).expect("an image"),
        BROKEN
    );
}

#[test]
fn a_trial_that_takes_longer_than_its_lease_is_judged() {
    let Some((workspace, slug)) = broken() else {
        return;
    };
    workspace.ubs(&["missions", "requeue", &slug]);
    let claim = [
        "missions", "claim", &slug, "--worker", "bot", "--lease", "2", "--json",
    ];
    workspace.ubs(&claim).expect(0);
    let slow = format!("import time\ntime.sleep(4)\n{MENDED}");
    let mended = write(&workspace, "app/chat.py", &slow);
    let answer = propose(&workspace, &slug, &json!([mended]))
        .expect(0)
        .json();
    assert_eq!(answer["outcome"], "applied", "{answer:#}");
}

#[test]
fn an_error_on_one_mission_does_not_end_the_worker() {
    let manifest = "[app]\nname = 'shop'\n\
        [[schema]]\nname = 'one'\ndatabase = 'sqlite:///one.db'\nexpect = 'sql:one.sql'\n\
        [[schema]]\nname = 'two'\ndatabase = 'sqlite:///two.db'\nexpect = 'sql:two.sql'\n\
        [[layer]]\nname = 'web'\n[[layer.service]]\nname = 'web'\nrun = 'sleep 600'\n";
    let workspace = Workspace::with_manifest(manifest);
    for name in ["one", "two"] {
        workspace.write(
            &format!("{name}.sql"),
            &format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY);\n"),
        );
    }
    // Where trials would be is a file.
    workspace.write(".ubs/sandboxes", "");
    workspace.ubs(&["boot", "--until-up"]).expect(1);
    let run = workspace.ubs(&["worker", "--once", "--json"]).expect(1);
    let worked = run.json();
    let outcomes: Vec<&str> = worked
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|one| one["outcome"].as_str())
        .collect();
    assert_eq!(outcomes, ["error", "error"], "{worked:#}\n{}", run.stderr);
    std::fs::remove_file(workspace.path(".ubs/sandboxes")).expect("it is there");
    workspace.ubs(&["worker", "--once"]).expect(0);
    workspace.ubs(&["preflight"]).expect(0);
}
