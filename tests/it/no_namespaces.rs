//! A host that gives no namespaces: `ubs` inside of its own sandbox, which refuses them.

use crate::support::{Workspace, ubs_binary};

/// Runs a script in the sandbox of the workspace, in which `$UBS` is this program.
fn inside(script: &str) -> Option<String> {
    let binary = ubs_binary().canonicalize().unwrap();
    let manifest = format!(
        "[app]\nname = 'shop'\n[sandbox]\nread = ['{}']\n[[schema]]\nname = 'main'\n\
         database = 'sqlite:///app.db'\nexpect = 'sql:*.sql'\n[[layer]]\nname = 'web'\n\
         rehearse = {{ imports = ['app'] }}\n[[layer.service]]\nname = 'web'\nrun = 'sleep 600'\n",
        binary.parent().unwrap().display()
    );
    let workspace = Workspace::with_manifest(&manifest);
    let report = workspace.ubs(&["sandbox", "--report", "--json"]).expect(0);
    if report.json()["own_root"] != true || !report.stdout.contains("Landlock") {
        eprintln!("skipped: this host has no namespaces, or no Landlock");
        assert!(std::env::var_os("CI").is_none());
        return None;
    }
    workspace.write(
        "1.sql",
        "CREATE TABLE a (id INTEGER PRIMARY KEY);\nCREATE TABLE b (id INTEGER PRIMARY KEY);\n",
    );
    workspace.write("app.py", "import helper\nopen('/etc/hostname').read()\n");
    workspace.write("helper.py", "");
    let database = rusqlite::Connection::open(workspace.path("app.db")).unwrap();
    database
        .execute_batch("CREATE TABLE a (id INTEGER PRIMARY KEY); INSERT INTO a VALUES (1)")
        .unwrap();
    drop(database);
    let script = format!("UBS={}; {script}", binary.display());
    let run = workspace.ubs(&["sandbox", "--", "sh", "-c", &script]);
    Some(run.stdout + &run.stderr)
}

#[test]
fn nothing_is_promoted_by_itself_and_what_is_missing_is_named() {
    let script = "$UBS boot --until-up; $UBS sandbox --report; $UBS sandbox -- cat $PWD/../other /etc/shadow";
    let Some(said) = inside(script) else {
        return;
    };
    for wanted in [
        "needs approval: this host gives",
        "no sockets at all",
        "Landlock version",
        "processes: not isolated",
        "[REHEARSAL] web: PASS",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("root:"), "{said}");
}
