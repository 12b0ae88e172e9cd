//! The siege by proposals and workers: paths, statements, answers and documents that are meant to do harm.

use std::fs;
use std::time::Duration;

use base64::Engine;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Run, Workspace, await_that};

const MANIFEST: &str = "[app]\nname = 'besieged'\n[heal]\nattempts = 1\n\
    [config]\nfiles = ['.env']\n[config.vars.SECRET_KEY]\nsecret = true\nrequired = true\n\
    [[layer]]\nname = 'apis'\nrehearse = { imports = ['app'] }\n\
    [[schema]]\nname = 'main'\ndatabase = 'sqlite:///app.db'\nexpect = 'sql:schema.sql'\n";

const SECRET: &str = "Qz7-live-secret-of-the-besieged-81";

/// An application that cannot be imported, with a database that lacks a table, and a mission that a bot holds.
fn besieged() -> (Workspace, String) {
    let workspace = Workspace::with_manifest(MANIFEST);
    workspace.write(".env", &format!("SECRET_KEY={SECRET}\n"));
    workspace.write("app/__init__.py", "import nothing_of_that_name\n");
    workspace.write("schema.sql", "CREATE TABLE t (x INTEGER);\n");
    let database = Connection::open(workspace.path("app.db")).expect("a database");
    let filled = database.execute_batch("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1);");
    filled.expect("a table");
    fs::create_dir_all(workspace.path(".git")).expect("a directory");
    // Files the mission.
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    let open = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = open[0]["slug"].as_str().expect("a slug").to_owned();
    (workspace, slug)
}

fn claim(workspace: &Workspace, slug: &str) {
    // What waits for approval is declined; after a rejection there is a back-off, which a person may end.
    workspace.ubs(&["missions", "reject", slug, "--reason", "the next one"]);
    workspace.ubs(&["missions", "requeue", slug]);
    let run = workspace.ubs(&["missions", "claim", slug, "--worker", "bot"]);
    assert!(
        run.code == 0 || run.stderr.contains("held by bot"),
        "{}",
        run.stderr
    );
}

fn propose(workspace: &Workspace, slug: &str, worker: &str, text: &str) -> Run {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("fix.json");
    fs::write(&file, text).expect("a proposal");
    let file = file.to_str().expect("UTF-8");
    workspace.ubs(&[
        "missions", "propose", slug, "--worker", worker, "--file", file, "--json",
    ])
}

fn proposal(change: &Value) -> String {
    json!({"summary": "a fix", "changes": [change]}).to_string()
}

/// Names of everything in the workspace but the log, which notes proposals.
fn names(workspace: &Workspace) -> Vec<String> {
    let mut dirs = vec![workspace.root().to_owned()];
    let mut names = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
            let name = entry.path().display().to_string();
            if !name.contains("/.ubs/log.db") {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}

#[test]
fn no_path_leads_a_proposal_out_or_into_what_is_not_its_own() {
    let (workspace, slug) = besieged();
    let outside = tempfile::tempdir().expect("a directory outside");
    let planted = workspace.path("planted");
    std::os::unix::fs::symlink(outside.path(), &planted).expect("a link");
    std::os::unix::fs::symlink("/etc/hostname", workspace.path("file_link")).expect("a link");
    claim(&workspace, &slug);
    let before = names(&workspace);
    for path in [
        "../escaped",
        "app/../../escaped",
        "/tmp/escaped",
        "//tmp/escaped",
        "./../escaped",
        "planted/escaped",
        "file_link",
        ".git/hooks/pre-commit",
        ".GIT/hooks/pre-commit",
        ".Git/config",
        ".g\u{200c}it/config",
        ".g\u{131}t/config",
        ".git./config",
        ".git /config",
        "git~1/config",
        ".ubs/log.db",
        ".UBS/fingerprint.key",
        ".ub\u{17f}/fingerprint.key",
        ".u\u{feff}bs/fingerprint.key",
        "app/.ubs/log.db",
        "line\nfeed",
        "escape\u{1b}[2Jd",
        "reversed\u{202e}yp.exe",
        "",
        ".",
    ] {
        let change = json!({"write": {"path": path, "before": null, "text": "x"}});
        let run = propose(&workspace, &slug, "bot", &proposal(&change));
        let said = format!("{}{}", run.stdout, run.stderr);
        let is_refused = run.code == 2 && said.contains("may not touch");
        assert!(is_refused, "{path:?}: {said}");
        assert!(
            !said.contains(['\u{1b}', '\u{202e}']),
            "{path:?} steers the terminal"
        );
        assert_eq!(names(&workspace), before, "{path:?}");
    }
    assert_eq!(fs::read_dir(outside.path()).expect("outside").count(), 0);
}

#[test]
fn no_statement_of_a_proposal_does_more_than_add() {
    let (workspace, slug) = besieged();
    let image = || fs::read(workspace.path("app.db")).expect("the database");
    let before = image();
    let escaped = workspace.path("escaped.db");
    for statement in [
        "CREATE TABLE a (x); DROP TABLE t".to_owned(),
        format!("ATTACH '{}' AS other", escaped.display()),
        format!("VACUUM INTO '{}'", escaped.display()),
        "VACUUM".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "PRAGMA journal_mode = DELETE".to_owned(),
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END".to_owned(),
        "ALTER TABLE t RENAME TO u".to_owned(),
        "ALTER TABLE t RENAME COLUMN x TO y".to_owned(),
        "DELETE FROM t".to_owned(),
        "INSERT INTO t VALUES (2)".to_owned(),
        "CREATE TABLE a AS SELECT load_extension('x')".to_owned(),
        "CREATE TABLE a AS SELECT writefile('escaped.db', 'x')".to_owned(),
        "CREATE VIRTUAL TABLE a USING csv(filename = '/etc/passwd')".to_owned(),
        "COMMIT".to_owned(),
    ] {
        claim(&workspace, &slug);
        let change = json!({"sql": {"schema": "main", "statements": [statement]}});
        let run = propose(&workspace, &slug, "bot", &proposal(&change));
        let said = format!("{}{}", run.stdout, run.stderr);
        let is_refused = run.code == 2 || (run.code == 1 && run.json()["outcome"] == "rejected");
        assert!(is_refused, "{statement}: {said}");
        assert_eq!(image(), before, "{statement}");
        assert!(!escaped.exists(), "{statement}");
    }
}

/// Of the text `s`, in Python. No redactor knows the first one: the live secret must not be there to be read.
const ENCODINGS: &str = "'.'.join(str(ord(c) + 1) for c in s), base64.b32encode(s.encode()).decode(), s, s[::-1], \
    base64.b64encode(s.encode()).decode(), s.encode().hex()";

#[test]
fn what_code_on_trial_says_has_no_live_secret_in_any_encoding() {
    let (workspace, slug) = besieged();
    let live = workspace.path(".env");
    let base32 = "KF5DOLLMNF3GKLLTMVRXEZLUFVXWMLLUNBSS2YTFONUWKZ3FMQWTQMI";
    let encoded = [
        SECRET.to_owned(),
        SECRET.chars().rev().collect(),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(SECRET),
        base32.to_owned(),
        SECRET.bytes().map(|byte| format!("{byte:02x}")).collect(),
        SECRET
            .bytes()
            .map(|byte| (byte + 1).to_string())
            .collect::<Vec<_>>()
            .join("."),
    ];
    for (what, code) in [
        ("an exception", "raise RuntimeError(told)"),
        (
            "a missing module",
            "raise ModuleNotFoundError(told, name=told)",
        ),
        ("a missing attribute", "raise AttributeError(told)"),
        ("an exit", "raise SystemExit(told)"),
        (
            "output",
            "import sys; print(told); print(told, file=sys.stderr); raise RuntimeError()",
        ),
        ("a file name", "exec(compile('1/0', told, 'exec'))"),
        (
            "the name of a function",
            "exec('def f_' + re.sub(r'\\W', '_', told) + '(): 1/0')",
        ),
    ] {
        let text = format!(
            "import base64, os, re\n\
                 def read(path):\n    try:\n        return open(path).read()\n    except OSError:\n        return ''\n\
                 found = [os.environ.get('SECRET_KEY', '')]\n\
                 found += [read(p) for p in ('.env', {:?}, os.getcwd().split('/.ubs/')[0] + '/.env')][::-1]\n\
                 told = ' '.join(e for t in found for s in t.strip().split('=')[-1:] for e in (\
                 {ENCODINGS}))\n{code}\n",
            live.display().to_string(),
        );
        claim(&workspace, &slug);
        let before = blake3::hash(workspace.read("app/__init__.py").as_bytes()).to_string();
        let change = json!({"write": {"path": "app/__init__.py", "before": before, "text": text}});
        let run = propose(&workspace, &slug, "bot", &proposal(&change));
        let said = format!("{}{}", run.stdout, run.stderr);
        for secret in &encoded {
            assert!(!said.contains(secret.as_str()), "{what}: {said}");
        }
        workspace.expect_not_logged(&encoded.each_ref().map(String::as_str));
        assert_ne!(run.code, 2, "{what} was not tried: {said}");
    }
}

#[test]
fn what_a_proposal_edits_shows_nothing_more_of_the_host() {
    let (workspace, slug) = besieged();
    let other = "Kx3-of-another-deployment-5519";
    workspace.write(".env.production", &format!("API_TOKEN={other}\n"));
    let beside = tempfile::tempdir().expect("a directory beside the workspace");
    fs::write(beside.path().join("note"), "Vb6-beside-the-workspace").expect("a file");
    let live = workspace.root().display().to_string();
    let paths = format!("{}:{live}:{live}/.ubs:/etc:/root", beside.path().display());
    let variables = format!("PYTHONPATH={paths}\nHOME={}\n", beside.path().display());
    // What comes back is in an encoding that no redactor knows.
    let note = beside.path().join("note").display().to_string();
    let code = format!(
        "import os\ndef read(path):\n    try:\n        text = open(path).read()[:60]\n    except OSError:\n        \
         return '-'\n    return '.'.join(str(ord(c) + 1) for c in text)\nfound = [read(p) for p in ('.env', \
         '.env.production', {live:?} + '/.env', {note:?})]\n\
         raise RuntimeError('tried ' + ' '.join(found) + str(os.path.exists('/etc/shadow')))\n",
    );
    claim(&workspace, &slug);
    let before = |path: &str| blake3::hash(workspace.read(path).as_bytes()).to_string();
    let (file, end) = ("app/__init__.py", workspace.read(".env").len());
    let changes = [
        json!({"insert": {"path": ".env", "before": before(".env"), "offset": end, "text": variables}}),
        json!({"write": {"path": file, "before": before(file), "text": code}}),
    ];
    let text = json!({"summary": "a fix", "changes": changes}).to_string();
    let run = propose(&workspace, &slug, "bot", &text);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("tried"), "it was not tried: {said}");
    assert!(!said.contains("True"), "/etc was shown: {said}");
    for secret in [SECRET, other, "Vb6-beside-the-workspace"] {
        let codes: Vec<String> = secret.bytes().map(|byte| (byte + 1).to_string()).collect();
        assert!(!said.contains(&codes.join(".")), "{secret}: {said}");
    }
}

#[test]
fn a_workspace_whose_path_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let outer = tempfile::tempdir().expect("a temporary directory");
    let odd = outer.path().join(std::ffi::OsStr::from_bytes(b"a\xff"));
    fs::create_dir(&odd).expect("a directory");
    fs::write(odd.join("ubs.toml"), MANIFEST).expect("a manifest");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_ubs"))
        .current_dir(&odd)
        .arg("preflight")
        .output()
        .expect("ubs runs");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("not UTF-8"), "{said}");
}

#[test]
fn a_worker_has_its_own_missions_for_as_long_as_it_holds_them() {
    let (workspace, slug) = besieged();
    workspace.ubs(&["missions", "requeue", &slug]);
    let change = proposal(&json!({"write": {"path": "new.py", "before": null, "text": "x = 1\n"}}));
    let unclaimed = propose(&workspace, &slug, "bot", &change);
    assert_eq!(unclaimed.code, 15, "{}", unclaimed.stderr);
    workspace.ubs(&["missions", "requeue", &slug]);
    let short = [
        "missions", "claim", &slug, "--worker", "bot", "--lease", "1",
    ];
    workspace.ubs(&short).expect(0);
    let anothers = propose(&workspace, &slug, "other", &change);
    assert_eq!(anothers.code, 13, "{}", anothers.stderr);
    // It comes back too late: another one holds the mission by then.
    await_that("the lease is over", || {
        std::thread::sleep(Duration::from_millis(100));
        workspace
            .ubs(&["missions", "claim", &slug, "--worker", "other"])
            .code
            == 0
    });
    workspace
        .ubs(&["missions", "heartbeat", &slug, "--worker", "bot"])
        .expect(13);
    let late = propose(&workspace, &slug, "bot", &change);
    assert_eq!(late.code, 13, "{}", late.stderr);
    workspace
        .ubs(&["missions", "release", &slug, "--worker", "bot"])
        .expect(13);
    // The same proposal once more after it was judged.
    propose(&workspace, &slug, "other", &change);
    let replayed = propose(&workspace, &slug, "other", &change);
    assert_eq!(replayed.code, 15, "{}", replayed.stdout);
    assert!(!workspace.path("new.py").exists());
    workspace.ubs(&["log", "verify"]).expect(0);
}

#[test]
fn documents_without_measure_are_refused() {
    let (workspace, slug) = besieged();
    claim(&workspace, &slug);
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let long = json!({"write": {"path": "x", "before": null, "text": "x".repeat(12 << 20)}});
    let many: Vec<Value> = (0..1_000)
        .map(|at| json!({"write": {"path": format!("f{at}"), "before": null, "text": ""}}))
        .collect();
    for (what, text) in [
        ("deep JSON", deep),
        ("a file of 12 MiB", proposal(&long)),
        (
            "1,000 changes",
            json!({"summary": "x", "changes": many}).to_string(),
        ),
        ("no JSON", "\0".repeat(4096)),
        (
            "a number for a text",
            "{\"summary\": 1e400, \"changes\": []}".to_owned(),
        ),
        ("a null", "null".to_owned()),
        ("nothing", String::new()),
    ] {
        let run = propose(&workspace, &slug, "bot", &text);
        let is_refused = run.code == 2 || (run.code == 1 && run.json()["outcome"] == "rejected");
        assert!(is_refused, "{what}: {} {}", run.code, run.stderr);
        assert!(
            run.stderr.len() < 4096,
            "{what}: a message of {} bytes",
            run.stderr.len()
        );
        claim(&workspace, &slug);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let huge = dir.path().join("huge.json");
    let file = fs::File::create(&huge).expect("a file");
    file.set_len(200 << 20).expect("a sparse file");
    let huge = huge.to_str().expect("UTF-8");
    workspace
        .ubs(&[
            "missions", "propose", &slug, "--worker", "bot", "--file", huge,
        ])
        .expect(2);
}
