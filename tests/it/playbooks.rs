//! Playbooks that start services again, and that have to show that they worked.

use crate::support::Workspace;

/// A service that notes each start, and one of a layer that is not critical, which an edit lets start.
fn application(playbook: &str) -> Workspace {
    let workspace = Workspace::with_manifest(&format!(
        r#"
[app]
name = "played"
stable_after = "50ms"
[heal]
attempts = 2
backoff = "10ms"
[[heal.playbook]]
name = "engine"
match = {{ code = 'layer\.failed', output = 'no engine' }}
edits = [{{ path = 'conf', find = 'off', replace = 'on' }}]
{playbook}
[[layer]]
name = "base"
[[layer.service]]
name = "cache"
run = ["sh", "-c", "echo x >> starts; exec sleep 60"]
ready = {{ exec = ['test', '-f', 'starts'], interval = '10ms' }}
[[layer]]
name = "web"
critical = false
[[layer.service]]
name = "web"
run = ["sh", "-c", "grep -q on conf || {{ echo no engine >&2; exit 1; }}; touch ran; echo it runs; exec sleep 60"]
ready = {{ log = 'it runs' }}
restart = 'never'
"#
    ));
    workspace.write("conf", "engine off\n");
    workspace
}

fn starts(workspace: &Workspace) -> usize {
    workspace.read("starts").lines().count()
}

fn replay(workspace: &Workspace) -> String {
    let text = workspace.ubs(&["replay", "last"]).expect(0).stdout;
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_playbook_starts_what_it_names_again_and_heals_once_its_verify_has_passed() {
    let workspace = application(
        "risk = 'edit'\nrestart = ['cache']\n\
         verify = { exec = ['sh', '-c', 'test -f ran && test $(wc -l <starts) -ge 2'], timeout = '20s' }",
    );
    let run = workspace.ubs(&["boot", "--until-up"]).expect(0);
    assert_eq!(starts(&workspace), 2, "{}", run.stdout);
    assert_eq!(workspace.read("conf"), "engine on\n");
    let replayed = replay(&workspace);
    assert!(
        replayed.contains("is started again with the fix"),
        "{replayed}"
    );
    assert!(!replayed.contains(": healed:"), "{replayed}");
    let passed = replayed.find("its verify passed").expect(&replayed);
    let missions = workspace
        .ubs(&["missions", "list", "--all", "--json"])
        .expect(0)
        .json();
    assert_eq!(missions[0]["status"], "closed", "{missions:#}");
    // Not before it had passed.
    let closed = replayed.find(" closed: ").expect(&replayed);
    assert!(closed > passed, "{replayed}");
}

#[test]
fn a_playbook_whose_verify_does_not_pass_is_taken_back() {
    let workspace = application("risk = 'edit'\nverify = { file = 'never', timeout = '200ms' }");
    workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(workspace.read("conf"), "engine off\n");
    let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
    assert_eq!(fixes[0]["status"], "taken_back", "{fixes:#}");
    let reason = fixes[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("its verify did not pass: never does not exist"),
        "{reason}"
    );
    let missions = workspace
        .ubs(&["missions", "list", "--all", "--json"])
        .expect(0)
        .json();
    assert_ne!(missions[0]["status"], "closed", "{missions:#}");
}

#[test]
fn without_a_running_boot_nothing_is_said_to_be_started_again_or_to_have_worked() {
    let workspace = application("restart = ['cache']\nverify = { file = 'ran' }");
    workspace.ubs(&["boot", "--until-ready"]);
    assert_eq!(
        (starts(&workspace), workspace.read("conf")),
        (1, "engine off\n".to_owned())
    );
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = missions[0]["slug"].as_str().unwrap().to_owned();
    let shown = workspace.ubs(&["missions", "show", &slug]).expect(0).stdout;
    assert!(shown.contains("start again cache, if it runs"), "{shown}");
    // What was approved is another playbook's by now.
    let manifest = workspace.read("ubs.toml");
    workspace.write("ubs.toml", &manifest.replace("\"engine\"", "\"motor\""));
    let gone = workspace.ubs(&["missions", "approve", &slug]);
    let gone = gone.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(gone.contains("has no playbook engine any more"), "{gone}");
    workspace.write("ubs.toml", &manifest);
    workspace.ubs(&["worker", "--once"]);
    let said = workspace.ubs(&["missions", "approve", &slug]).expect(0);
    let said = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("no boot is running, so cache is not started again"),
        "{said}"
    );
    assert!(
        said.contains("whether it worked is asked in the next boot"),
        "{said}"
    );
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    assert_eq!(missions[0]["status"], "applied", "{missions:#}");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    let replayed = replay(&workspace);
    assert!(replayed.contains("its verify passed"), "{replayed}");
}
