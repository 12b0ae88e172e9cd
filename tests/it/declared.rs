//! `[[check]]`: a check that the manifest declares decides over a boot, and its mission closes with it.

use crate::support::Workspace;

const MANIFEST: &str = r#"
[app]
name = "shop"

[[layer]]
name = "web"
[[layer.service]]
name = "web"
run = ["sleep", "1000"]
ready = { exec = ["true"] }

[[check]]
name = "queues"
run = ["sh", "queues.sh"]
format = "json"
remedy = "run: make queues"

[[check]]
name = "after"
run = "true"
needs = ["queues"]
"#;
/// Each queue has to be declared.
const SCRIPT: &str = r#"
for queue in mails bills; do
    grep -q "$queue" queues.txt ||
        echo "{\"rule\": \"undeclared\", \"subject\": \"$queue\", \"message\": \"nobody declares it\"}"
done
echo '{"results": 2}'
"#;

#[test]
fn a_declared_check_decides_and_its_mission_closes_when_it_passes() {
    let app = Workspace::with_manifest(MANIFEST);
    app.write("queues.sh", SCRIPT);
    app.write("queues.txt", "mails\n");
    let found = app.ubs(&["preflight", "--json"]).expect(1).json();
    assert_eq!(found["decision"], "no_go");
    assert_eq!(found["because"][0], "check.queues.undeclared bills");
    assert_eq!(
        found["coverage"]["looked_at"],
        serde_json::json!(["check.queues"])
    );
    let left = found["coverage"]["not_looked_at"]
        .as_array()
        .expect("a list");
    let after = left
        .iter()
        .find(|left| left["check"] == "check.after")
        .expect("the other check");
    assert_eq!(after["why"], "needs queues, which did not pass");
    let skipped = app
        .ubs(&["preflight", "--skip", "queues", "--format", "junit"])
        .expect(0);
    assert!(
        skipped.stdout.contains("name=\"check.after\""),
        "{}",
        skipped.stdout
    );
    let boot = app.ubs(&["boot", "--until-ready"]).expect(1);
    let line = "NO-GO: check.queues.undeclared bills";
    assert!(boot.stdout.contains(line), "{}", boot.stdout);
    assert!(
        app.ubs(&["missions"])
            .stdout
            .contains("bills: nobody declares it")
    );
    app.write("queues.txt", "mails\nbills\n");
    app.ubs(&["boot", "--until-ready"]).expect(0);
    let missions = app.ubs(&["missions"]).stdout;
    assert!(!missions.contains("bills"), "{missions}");
    // An answer that says less than in the last boot is none.
    app.write("queues.sh", "echo '{\"findings\": []}'");
    let found = app
        .ubs(&["preflight", "--only", "queues", "--json"])
        .expect(1)
        .json();
    assert_eq!(found["because"][0], "check.queues.error queues");
}
