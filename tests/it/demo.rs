//! `ubs demo` for real: a virtual environment, packages, the broken application, healing, HTTP, and
//! then everything that looks back, while the application is down.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Workspace, venv};
use serde_json::Value;

#[test]
fn the_demo_heals_boots_answers_and_can_be_looked_back_at() {
    let workspace = Workspace::new();
    let run = workspace.ubs(&["demo"]);
    if run.code == 2 && run.stderr.contains("cannot install the packages") {
        return venv::skipped("package index", &run.stderr);
    }
    let run = run.expect(0);
    for said in [
        // What the original names, each found.
        "schema.missing_table",
        "schema.missing_column",
        "schema.duplicate_table",
        "config.placeholder",
        "registration.unmounted_router",
        "rehearsal.",
        // Healed, retried, up.
        "[GOVERNANCE]",
        "[AUTO-FIX]",
        "Schema fixed automatically",
        "APPLIED",
        "[RETRY]",
        "DECISION: NO-GO",
        "DECISION: GO (4 of 4 checks)\n",
        "All services registered",
        "[UP] all layers are up",
        "200 {",
        "ubs -C ubs-demo replay last",
        "ubs -C ubs-demo health",
    ] {
        assert!(run.stdout.contains(said), "no {said:?} in\n{}", run.stdout);
    }
    assert!(
        run.stdout
            .lines()
            .all(|line| line.chars().count() <= 80 || line.contains("http://"))
    );
    assert!(!run.stdout.contains("Left for a person"), "{}", run.stdout);
    assert_eq!(workspace.leftovers(), Vec::<u32>::new());
    look_at_the_workspace(&workspace, &run.stdout);
    look_back(&workspace);
    boot_again(&workspace);
}

fn look_at_the_workspace(workspace: &Workspace, said: &str) {
    let env = workspace.read("ubs-demo/.env");
    let mode = std::fs::metadata(workspace.path("ubs-demo/.env"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = env
        .lines()
        .find_map(|line| line.strip_prefix("SECRET_KEY="))
        .expect("a secret");
    assert_eq!(secret.len(), 64);
    assert!(!said.contains(secret), "the secret was shown");
    // The source edit is an insertion of one line: the rest of the file is as it was shipped.
    let healed = workspace.read("ubs-demo/backend/learning/models.py");
    let shipped = include_str!("../../examples/demo/backend/learning/models.py");
    let inserted: Vec<&str> = healed
        .lines()
        .filter(|l| l.contains("extend_existing"))
        .collect();
    assert_eq!(inserted.len(), 1, "{healed}");
    assert_eq!(
        healed.replacen(&format!("{}\n", inserted[0]), "", 1),
        shipped
    );
    // The name one letter off, wherever it stands; the router beside its siblings, in their order.
    let healed = workspace.read("ubs-demo/backend/ingestion/worker.py");
    let shipped = include_str!("../../examples/demo/backend/ingestion/worker.py");
    assert_eq!(healed, shipped.replace("parse_markdwn", "parse_markdown"));
    let healed = workspace.read("ubs-demo/backend/main.py");
    let shipped = include_str!("../../examples/demo/backend/main.py");
    let last = "app.include_router(memory.router)\n";
    let expected = shipped
        .replace("    database,\n", "    chat,\n    database,\n")
        .replace(last, &format!("{last}app.include_router(chat.router)\n"));
    assert_eq!(healed, expected);
}

fn look_back(workspace: &Workspace) {
    let demo = |arguments: &[&str]| {
        let mut all = vec!["-C", "ubs-demo"];
        all.extend(arguments);
        workspace.ubs(&all)
    };
    demo(&["log", "verify"]).expect(0);
    let boots = demo(&["boots", "--json"]).expect(0).json();
    assert_eq!(boots.as_array().unwrap().len(), 1);
    assert_eq!(
        (&boots[0]["outcome"], &boots[0]["degraded"]),
        (&Value::from("stopped"), &Value::from(false))
    );
    let health = demo(&["health", "--json"]).expect(1).json();
    assert_eq!(health["status"], "down");
    // A moment at which it was up.
    let up = boots[0]["up_at"].as_str().unwrap();
    let then = demo(&["health", "--at", up, "--json"]).expect(4).json();
    assert_eq!(then["status"], "starting");
    let missions = demo(&["missions", "--json"]).expect(0).json();
    assert_eq!(missions.as_array().unwrap().len(), 0, "{missions:#}");
    let timeline = demo(&["replay", "last"]).expect(0);
    assert!(timeline.stdout.contains("[AUTO-FIX]") && timeline.stdout.contains("+0.000s"));
    let events = demo(&["replay", "last", "--events", "--json"]).expect(0);
    let events: Vec<Value> = events
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The state at the moment of the first decision.
    let decided = events
        .iter()
        .find(|event| event["kind"] == "decision_made")
        .unwrap();
    let seq = decided["seq"].to_string();
    let state = demo(&["replay", "last", "--until", &seq, "--json"])
        .expect(0)
        .json();
    assert_eq!(state["state"]["decision"], "no_go");
    assert_eq!(state["state"]["phase"], "settling");
    // What programs do with the log: the examples of the library.
    let log = workspace.path("ubs-demo/.ubs/log.db");
    let log = log.to_str().unwrap();
    let walked = crate::support::example("replay", &[log]);
    assert!(walked.contains("boot_stopped"), "{walked}");
    let asked = crate::support::example("health", &[log, up]);
    assert!(asked.to_lowercase().contains("starting"), "{asked}");
    // Rebuilt projections are the same.
    demo(&["log", "rebuild"]).expect(0);
    demo(&["log", "verify"]).expect(0);
}

fn boot_again(workspace: &Workspace) {
    let boot = workspace
        .ubs(&["-C", "ubs-demo", "boot", "--until-ready", "--json"])
        .expect(0)
        .json();
    assert_eq!(boot["attempts"], 1, "{boot:#}");
    assert_eq!(boot["decision"], "go");
    let rehearsal = boot["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "rehearsal")
        .unwrap();
    assert_eq!(rehearsal["rehearsal"]["layers_tested"], 6);
    assert_eq!(rehearsal["rehearsal"]["layers_passed"], 6);
    assert_eq!(workspace.leftovers(), Vec::<u32>::new());
    workspace
        .ubs(&["-C", "ubs-demo", "preflight", "--strict"])
        .expect(0);
}

#[test]
fn without_python_it_says_what_to_install_and_leaves_nothing() {
    let mut workspace = Workspace::new();
    workspace.set_env("PATH", "/nowhere");
    let run = workspace.ubs(&["demo"]).expect(2);
    assert!(
        run.stderr.contains("needs Python 3") && run.stderr.contains("apt install"),
        "{}",
        run.stderr
    );
    assert!(!workspace.path("ubs-demo").exists());
}

#[test]
fn without_packages_to_be_had_it_says_so_and_leaves_nothing() {
    let mut workspace = Workspace::new();
    workspace.set_env("PIP_NO_INDEX", "1");
    workspace.set_env("PIP_NO_CACHE_DIR", "1");
    let run = workspace.ubs(&["demo"]).expect(2);
    assert!(
        run.stderr.contains("cannot install the packages"),
        "{}",
        run.stderr
    );
    assert!(!workspace.path("ubs-demo").exists());
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_kept() {
    let workspace = Workspace::new();
    workspace.write("ubs-demo/mine", "precious");
    let run = workspace.ubs(&["demo"]).expect(2);
    assert!(run.stderr.contains("is not empty"), "{}", run.stderr);
    assert_eq!(workspace.read("ubs-demo/mine"), "precious");
}
