//! Real interpreters, honest and hostile applications.

mod as_run;
mod hostile;

use std::path::Path;
use std::time::Instant;

use crate::checks::testing::{App, only, problems, rehearse};
use crate::domain::finding::{
    CheckName, CheckReport, CheckStatus, Finding, Measured, RehearsalOutcome, Severity,
};
use crate::kernel::isolation_support;

fn check(app: &App) -> CheckReport {
    app.check(CheckName::Rehearsal)
}

/// The only finding of a layer that imports `app.py` with this text.
fn finding_of(text: &str) -> Option<Finding> {
    let app = App::plain()?.file("app.py", text).imports("app");
    let report = check(&app);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    Some(report.findings[0].clone())
}

#[test]
fn layers_that_import_and_run_pass() {
    let Some(app) = App::plain() else { return };
    let mut call = rehearse(&["pkg.a"]);
    call.call = Some("pkg.a:later.go".into());
    let mut command = rehearse(&[]);
    command.command = ["sh", "-c", "touch $HOME/x $TMPDIR/y"]
        .map(str::to_owned)
        .to_vec();
    let app = app
        .file("pkg/__init__.py", "")
        .file(
            "pkg/a.py",
            "import os, sys, tempfile\nprint('chatty', file=sys.stderr)\n\
             assert os.getcwd() in sys.path and '' not in sys.path, sys.path\n\
             tempfile.NamedTemporaryFile()\n\
             class later:\n    @staticmethod\n    async def go():\n        print('called')\n",
        )
        .layer("called", true, call)
        .layer("command", true, command);
    let report = check(&app);
    assert_eq!(report.findings, vec![]);
    assert_eq!(report.summary, "2 of 2 layers passed");
    let Measured::Rehearsal {
        layers, isolation, ..
    } = &report.measured
    else {
        panic!("{report:#?}")
    };
    assert!(
        layers
            .iter()
            .all(|l| l.outcome == RehearsalOutcome::Pass && l.duration_ms > 0)
    );
    assert!(isolation.iter().any(|line| line.starts_with("network: ")));
    assert!(!app.root().join("pkg/__pycache__").exists());
}

#[test]
fn each_failure_has_its_code_its_place_and_its_remedy() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("lib.py", "def compute_total():\n    pass\n")
        .file("syntax.py", "x = 1\ndef f(:\n    pass\n")
        .file("uses_syntax.py", "import syntax\n")
        .file("misspelt.py", "import os\nfrom lib import compute_totl\n")
        .file("no_module.py", "import lib\nimport pkg.sub\n")
        .file("pkg/__init__.py", "")
        .file("package.py", "import yaml_not_here.x\n")
        .file(
            "fails.py",
            "def f():\n    raise ValueError('bad\\nsecond line')\nf()\n",
        )
        .file("circle_a.py", "from circle_b import b\na = 1\n")
        .file("circle_b.py", "from circle_a import a\nb = 1\n");
    let mut app = app;
    for module in [
        "not_here_either",
        "syntax",
        "uses_syntax",
        "misspelt",
        "no_module",
        "package",
        "fails",
        "circle_a",
    ] {
        app = app.layer(module, module != "fails", rehearse(&[module]));
    }
    let report = check(&app);
    let reported: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{} {} {}", f.code, f.subject, f.location.as_ref().unwrap()))
        .collect();
    assert_eq!(
        reported,
        [
            "rehearsal.import_error not_here_either ubs.toml:1",
            "rehearsal.syntax_error syntax syntax.py:2:7",
            "rehearsal.syntax_error uses_syntax syntax.py:2:7",
            "rehearsal.import_error misspelt misspelt.py:2",
            "rehearsal.import_error no_module no_module.py:2",
            "rehearsal.missing_package package package.py:1",
            "rehearsal.import_error circle_a circle_b.py:1",
            "rehearsal.failed fails fails.py:2",
        ]
    );
    let remedy = |n: usize| report.findings[n].remedy.as_deref().unwrap();
    assert!(remedy(3).contains("but compute_total"), "{}", remedy(3));
    assert!(remedy(5).contains("install yaml_not_here"), "{}", remedy(5));
    assert!(remedy(6).contains("break the circle"), "{}", remedy(6));
    assert_eq!(report.findings[5].facts["package"], "yaml_not_here");
    let fails = &report.findings[7];
    assert_eq!(fails.severity, Severity::Warning);
    assert_eq!(fails.layer.as_deref(), Some("fails"));
    assert_eq!(fails.message, "layer fails: ValueError: bad (fails.py:2)");
    let cause = fails.cause.as_ref().unwrap();
    assert_eq!(cause.text(), "ValueError: bad\nsecond line");
    assert!(
        fails.detail.starts_with("fails.py:2 in f\n"),
        "{}",
        fails.detail
    );
    assert!(!fails.detail.contains("importlib") && !fails.detail.contains("<string>"));
    assert_eq!(report.summary, "0 of 8 layers passed");
    let Measured::Rehearsal { issues, .. } = &report.measured else {
        panic!()
    };
    assert_eq!(issues.len(), 8);
    assert_eq!(report.failed_layers().count(), 8);
    assert_eq!(report.status, CheckStatus::Critical);
}

#[test]
fn a_program_that_ends_early_is_a_finding() {
    for (text, said) in [
        (
            "import os\nos._exit(0)",
            "exited with status 0 before it was done",
        ),
        (
            "import os\nos._exit(7)",
            "exited with status 7 before it was done",
        ),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (app.py:2)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (app.py:1)"),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            "signal 9 (SIGKILL",
        ),
        (
            "def f(): f()\nf()",
            "RecursionError: maximum recursion depth exceeded",
        ),
        ("x = bytearray(64 << 30)", "MemoryError (app.py:1)"),
        ("import os\nos.closerange(3, 4096)", "before it was done"),
    ] {
        let Some(finding) = finding_of(text) else {
            return;
        };
        assert_eq!(finding.code, "rehearsal.failed");
        assert!(
            finding.message.contains(said),
            "{said}: {}",
            finding.message
        );
    }
}

#[test]
fn a_crash_in_native_code_says_where() {
    let Some(finding) = finding_of("import ctypes\n\nctypes.string_at(0)\n") else {
        return;
    };
    assert!(finding.message.contains("SIGSEGV"), "{}", finding.message);
    assert_eq!(finding.location.unwrap().to_string(), "app.py:3");
}

#[test]
fn a_program_that_hangs_is_ended_and_says_where_it_hung() {
    let Some(app) = App::plain() else { return };
    let mut short = rehearse(&["app"]);
    short.timeout_ms = 3_000;
    let app = app
        .file(
            "app.py",
            "def wait():\n    while True:\n        pass\nwait()\n",
        )
        .layer("hangs", true, short);
    let begun = Instant::now();
    let report = check(&app);
    assert!(begun.elapsed().as_secs() < 20);
    let finding = only(&report, "rehearsal.timeout");
    assert!(
        finding.message.contains("did not finish within 3000 ms"),
        "{}",
        finding.message
    );
    let line = finding.location.as_ref().unwrap().line;
    assert!((2..=3).contains(&line), "{line}");
}

#[test]
fn an_answer_cannot_be_forged_and_noise_does_not_disturb_it() {
    let forged = "import os, sys\n\
        for fd in [1, 2, 3] + list(range(4, 1024)):\n    \
            try:\n        os.write(fd, b'\\n{\"times\": [], \"step\": \"\"}\\n' * 3 + b'\\xff\\x00')\n    \
            except OSError: pass\n\
        raise ValueError('real')\n";
    let Some(finding) = finding_of(forged) else {
        return;
    };
    assert!(
        finding.message.contains("ValueError: real"),
        "{}",
        finding.message
    );
    let chatty = "import sys\n\
        for _ in range(1600):\n    sys.stdout.write('x' * 65536)\nraise ValueError('after 100 MB')\n";
    let finding = finding_of(chatty).unwrap();
    assert!(
        finding.message.contains("after 100 MB"),
        "{}",
        finding.message
    );
}

#[test]
fn children_are_not_waited_for_and_not_left() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file(
            "app.py",
            "import os, subprocess, threading, time\n\
             for _ in range(3):\n    subprocess.Popen(['sleep', '300'])\n\
             threading.Thread(target=time.sleep, args=(300,)).start()\n\
             if os.fork() == 0:\n    print('a child that goes on importing')\n",
        )
        .imports("app");
    let begun = Instant::now();
    let report = check(&app);
    // They are advice, and the layer passes.
    let reported: Vec<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(reported, ["rehearsal.side_effect"; 2]);
    assert_eq!(report.summary, "1 of 1 layer passed");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn hostile_text_is_cleaned() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file(
            "app.py",
            "import os\n\
             class Evil\x45rror(Exception):\n    def __str__(self):\n        return '\\x1b[2J\\u202e\\ud800' + os.environ['KEY'] + 'A' * 10_000_000\n\
             raise EvilError\n",
        )
        .file(".env", "KEY=hunter2hunter2\n")
        .var(
            "KEY",
            crate::manifest::Var {
                secret: true,
                ..Default::default()
            },
        )
        .imports("app");
    let mut app = app;
    app.manifest.config.files = vec![".env".into()];
    let report = check(&app);
    let finding = only(&report, "rehearsal.failed");
    let shown = format!("{report:?}");
    assert!(finding.message.contains("EvilError"), "{}", finding.message);
    assert!(shown.contains("[redacted]") && !shown.contains("hunter2"));
    assert!(
        !shown.contains('\u{1b}') && !shown.contains("\\u{1b}") && !shown.contains("\\u{202e}")
    );
    assert!(shown.len() < 64 << 10, "{}", shown.len());
    // One whose text cannot be had at all.
    let text = "class E(Exception):\n    def __str__(self):\n        raise SystemExit\nraise E\n";
    let finding = finding_of(text).unwrap();
    assert!(
        finding.message.contains("E: <unprintable>"),
        "{}",
        finding.message
    );
}

#[test]
fn one_failure_reads_the_same_in_every_copy_of_the_workspace() {
    let text = "import os\nraise ValueError(os.path.abspath('x/y.txt') + ' ' + os.path.expanduser('~/z'))\n";
    let exceptions: Option<Vec<String>> = (0..2)
        .map(|_| Some(finding_of(text)?.cause?.to_string()))
        .collect();
    let Some(exceptions) = exceptions else { return };
    assert_eq!(exceptions, ["ValueError: x/y.txt ~/z"; 2]);
}

#[test]
fn a_layer_that_writes_while_it_is_imported_is_reported_and_leaves_nothing() {
    let Some(app) = App::plain() else { return };
    if isolation_support().refused.contains_key("filesystem") {
        eprintln!("SKIPPED: the file system cannot be isolated");
        assert!(std::env::var_os("CI").is_none());
        return;
    }
    let write = "import os\ntry:\n    os.makedirs('logs')\nexcept OSError as e:\n    raise ValueError('logging') from e\n\
        open('logs/a', 'w').write('x')\nassert open('logs/a').read() == 'x'\n";
    let app = app
        .file("app.py", write)
        // What else is wrong shows behind it.
        .file("broken.py", format!("{write}\nimport no_such_package\n"))
        .imports("app")
        .imports("broken");
    let report = check(&app);
    assert_eq!(
        problems(&report),
        ["rehearsal.missing_package broken"],
        "{report:#?}"
    );
    let wrote = report
        .findings
        .iter()
        .filter(|f| f.code == "rehearsal.side_effect" && f.message.contains("logs"));
    assert!(wrote.count() >= 2, "{report:#?}");
    assert!(!app.root().join("logs").exists());
}

#[test]
fn what_a_layer_writes_into_the_common_directory_for_temporary_files_is_gone_afterwards() {
    let Some(app) = App::plain() else { return };
    if isolation_support().refused.contains_key("filesystem") {
        eprintln!("SKIPPED: the file system cannot be isolated");
        assert!(std::env::var_os("CI").is_none());
        return;
    }
    let mine = format!("/tmp/ubs-test-{}.db", std::process::id());
    let seen = tempfile::Builder::new().tempfile_in("/tmp").unwrap();
    let app = app
        .file(
            "app.py",
            format!(
                "import sqlite3\nc = sqlite3.connect('{mine}')\nc.execute('create table t (x)')\nc.commit()\n\
                 import os\nassert not os.path.exists('{0}')\nopen('{0}', 'w').write('changed')\nopen('local.py')\n",
                seen.path().display()
            ),
        )
        .file("local.py", "")
        .imports("app");
    let report = check(&app);
    assert!(problems(&report).is_empty(), "{report:#?}");
    assert!(!Path::new(&mine).exists());
    assert_eq!(std::fs::read(seen.path()).unwrap(), b"");
}

#[test]
fn a_path_outside_that_the_dry_run_is_not_shown_decides_nothing_and_is_named() {
    let Some(app) = App::plain() else { return };
    if isolation_support().refused.contains_key("filesystem") {
        eprintln!("SKIPPED: the file system cannot be isolated");
        assert!(std::env::var_os("CI").is_none());
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let model = outside.path().join("model.bin");
    std::fs::write(&model, "x").unwrap();
    let app = app
        .file("app.py", format!("open('{}').read()\n", model.display()))
        .file("gone.py", "open('/no/such/file').read()\n")
        .imports("app")
        .imports("gone");
    let report = check(&app);
    assert_eq!(
        problems(&report),
        ["rehearsal.failed gone", "rehearsal.outside_path app"]
    );
    let finding = report
        .findings
        .iter()
        .find(|f| f.code == "rehearsal.outside_path")
        .unwrap();
    assert_eq!(finding.severity, Severity::Warning);
    let named = format!("add \"{}\" to `read` of [sandbox]", model.display());
    assert!(
        finding.remedy.as_deref().unwrap().contains(&named),
        "{finding:?}"
    );
    let mut app = app;
    app.manifest.sandbox.read = vec![outside.path().to_owned()];
    assert_eq!(problems(&check(&app)), ["rehearsal.failed gone"]);
}

#[test]
fn what_only_a_dry_run_refuses_decides_nothing() {
    let Some(app) = App::plain() else { return };
    if isolation_support().refused.contains_key("filesystem") {
        eprintln!("SKIPPED: the file system cannot be isolated");
        assert!(std::env::var_os("CI").is_none());
        return;
    }
    // Every host has it, and no dry run.
    let host = "/var/log";
    let handler = format!(
        "import logging.config\nlogging.config.dictConfig({{'version': 1, 'handlers': {{'f': {{'class': \
         'logging.FileHandler', 'filename': '{host}/ubs-test.log'}}}}, 'root': {{'handlers': ['f']}}}})\n"
    );
    let exits = format!(
        "try:\n    open('{host}/ubs-test-x', 'a')\nexcept OSError:\n    raise SystemExit(1)\n"
    );
    let app = app
        .file("handler.py", handler)
        .file("exits.py", exits)
        .file(
            "makes.py",
            format!("import os\nos.makedirs('{host}/ubs-test/a')\n"),
        )
        .file(
            "run.py",
            "open('/run/app.pid', 'w')\nopen('/var/run/b', 'w')\n",
        )
        .file(
            "manager.py",
            "import multiprocessing as m\nm.get_context('fork').Manager()\n",
        )
        .file("local.py", "import socket\nsocket.socket(socket.AF_UNIX)\n")
        // These would fail as well when the application runs.
        .file("reads.py", format!("open('{host}/gone.conf')\n"))
        .file("deep.py", format!("open('{host}/no/such/app.log', 'a')\n"))
        .file(
            "denied.py",
            "raise PermissionError(13, 'Permission denied')\n",
        )
        .imports("handler")
        .imports("exits")
        .imports("makes")
        .imports("run")
        .imports("manager")
        .imports("local")
        .imports("reads")
        .imports("deep")
        .imports("denied");
    let mut command = rehearse(&[]);
    command.command = ["cat", &format!("{host}/.")].map(str::to_owned).to_vec();
    let app = app.layer("command", true, command);
    let report = check(&app);
    let mut said: Vec<String> = report
        .findings
        .iter()
        .filter(|f| f.severity != Severity::Info && f.code != "rehearsal.side_effect")
        .map(|f| format!("{:?} {} {}", f.severity, f.code, f.subject).to_lowercase())
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "critical rehearsal.failed deep",
            "critical rehearsal.failed denied",
            "critical rehearsal.failed reads",
            "warning rehearsal.failed local",
            "warning rehearsal.failed manager",
            "warning rehearsal.outside_path command",
            "warning rehearsal.outside_path exits",
            "warning rehearsal.outside_path handler",
            "warning rehearsal.outside_path makes",
        ],
        "{report:#?}"
    );
}

#[test]
fn commands_that_fail_say_how() {
    let Some(app) = App::plain() else { return };
    let command = |argv: &[&str]| {
        let mut command = rehearse(&[]);
        command.command = argv.iter().map(|word| (*word).into()).collect();
        command
    };
    let app = app
        .layer(
            "status",
            true,
            command(&["sh", "-c", "echo no such thing >&2; exit 4"]),
        )
        .layer("gone", true, command(&["there-is-no-such-program"]))
        .layer("variable", true, command(&["echo", "${NOT_SET_ANYWHERE}"]));
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "rehearsal.failed status",
            "rehearsal.failed gone",
            "rehearsal.failed variable"
        ]
    );
    assert_eq!(
        report.findings[0].message,
        "layer status: the command sh exited with status 4: no such thing"
    );
    assert_eq!(report.findings[0].detail, "no such thing\n");
}

#[test]
fn without_an_interpreter_the_check_is_an_error_and_says_what_to_do() {
    let Some(app) = App::plain() else { return };
    let mut app = app.file("app.py", "").imports("app");
    app.manifest.python.interpreter = Some("bin/nothing".into());
    let report = check(&app);
    assert_eq!(report.status, CheckStatus::Error);
    let finding = only(&report, "check.error");
    assert!(
        finding.message.contains("bin/nothing"),
        "{}",
        finding.message
    );
    app.manifest.python.interpreter = Some("./ubs.toml".into());
    let app = app.file("ubs.toml", "");
    let report = check(&app);
    let finding = only(&report, "check.error");
    assert!(
        finding.message.contains("is not an executable file"),
        "{}",
        finding.message
    );
}

#[test]
fn the_workspaces_own_environment_comes_first() {
    let Some(app) = App::plain() else { return };
    let environment = crate::manifest::Environment::load(
        &app.manifest,
        app.root(),
        app.process.clone().into_iter(),
    )
    .unwrap();
    let find = |root: &Path| crate::checks::interpreter(&app.manifest, root, &environment);
    let system = find(app.root()).unwrap();
    assert!(system.ends_with("python3"));
    let venv = app.root().join("venv/bin");
    std::fs::create_dir_all(&venv).unwrap();
    std::os::unix::fs::symlink(&system, venv.join("python")).unwrap();
    assert_eq!(find(app.root()).unwrap(), venv.join("python"));
    // A copy of the workspace has none, and uses the original's.
    let copy = tempfile::tempdir().unwrap();
    assert_eq!(find(copy.path()).unwrap(), venv.join("python"));
    let broken = app.root().join(".venv/bin");
    std::fs::create_dir_all(&broken).unwrap();
    std::os::unix::fs::symlink("/gone/python", broken.join("python")).unwrap();
    let why = find(app.root()).unwrap_err().to_string();
    assert!(why.contains(".venv/bin/python cannot be executed"), "{why}");
}
