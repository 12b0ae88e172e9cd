//! Applications that do not want to be looked at, or that break everything around them: each is a finding
//! or passes, none hangs us, none forges a result, and nothing of it is left.

use std::time::{Duration, Instant};

use crate::checks::testing::{App, only, rehearse, time};
use crate::domain::finding::{CheckName, CheckReport, Finding, Measured, Severity};

/// A report of a layer that imports `app.py` with this text.
fn report_of(text: &str) -> Option<CheckReport> {
    let app = App::plain()?.file("app.py", text).imports("app");
    let begun = Instant::now();
    let report = app.check(CheckName::Rehearsal);
    assert!(begun.elapsed() < Duration::from_secs(25), "{text}");
    Some(report)
}

/// The finding that makes the layer fail.
fn failure(report: &CheckReport) -> &Finding {
    assert_eq!(report.failed_layers().count(), 1, "{report:#?}");
    let mut critical = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Critical);
    let found = critical.next().unwrap();
    assert!(critical.next().is_none(), "{report:#?}");
    found
}

/// The processes that have this word in their command line.
fn running(word: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.windows(word.len()).any(|w| w == word.as_bytes()))
        .count()
}

#[test]
fn what_was_replaced_does_not_disturb_the_answer() {
    for text in [
        "import sys\nclass N:\n    def write(self, x): raise OSError\n    def flush(self): raise OSError\n\
         sys.stdout = sys.stderr = N()\n",
        "import sys\nsys.modules['json'] = None\nsys.modules['traceback'] = None\n\
         import json_is_gone_but_this_is_not_asked as x\n",
        "import builtins\ndef no(*a, **k): raise RuntimeError('patched')\n\
         builtins.print = builtins.len = builtins.isinstance = builtins.repr = builtins.str = no\n",
        "import os\ndef no(*a, **k): raise RuntimeError('patched')\n\
         os.write = os.getpid = os.read = os.close = no\n",
        "import json, json.encoder\njson.dumps = None\njson.JSONEncoder.encode = None\n",
        "import sys\nsys.setrecursionlimit(60)\n",
        "import gc, sys\ngc.disable()\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\n",
    ] {
        let Some(report) = report_of(&format!("{text}\nraise ValueError('real end')\n")) else {
            return;
        };
        let found = failure(&report);
        let expected = if text.contains("json_is_gone") {
            "ModuleNotFoundError: No module named 'json_is_gone"
        } else {
            "ValueError: real end"
        };
        assert!(
            found.message.contains(expected),
            "{text}: {}",
            found.message
        );
        let Some(report) =
            report_of(&text.replace("import json_is_gone_but_this_is_not_asked as x", ""))
        else {
            return;
        };
        assert_eq!(report.findings, vec![], "{text}");
    }
}

#[test]
fn an_audit_hook_that_raises_is_the_applications_own_trouble() {
    let text = "import sys\n\
        def hook(event, args):\n    if event != 'sys.addaudithook': raise RuntimeError('no ' + event)\n\
        sys.addaudithook(hook)\n";
    let Some(report) = report_of(&format!("{text}import decimal\n")) else {
        return;
    };
    let found = failure(&report);
    assert!(
        found.message.contains("RuntimeError: no "),
        "{}",
        found.message
    );
    // One that comes after everything was imported breaks nothing.
    assert_eq!(report_of(text).unwrap().failed_layers().count(), 0);
}

#[test]
fn whatever_is_written_to_guessed_descriptors_is_no_answer() {
    let write = "import os, fcntl\n\
        for fd in range(0, 4096):\n    try: os.write(fd, LINE)\n    except OSError: pass\n";
    let correct = "b'\\n' + b'0' * 32 + b' {\"times\": [[\"app\", 1]], \"step\": \"\"}\\n'";
    for end in ["import os\nos._exit(0)\n", "raise ValueError('real')\n"] {
        let text = format!("LINE = {correct}\n{write}{end}");
        let Some(report) = report_of(&text) else {
            return;
        };
        let said = if end.contains("_exit") {
            "exited with status 0 before it was done"
        } else {
            "ValueError: real"
        };
        let message = &failure(&report).message;
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn the_nonce_is_in_no_module_and_no_argument() {
    let text = "import __main__, sys, os\n\
        kept = [n for n in vars(__main__) if not n.startswith('__')]\n\
        shown = open('/proc/self/cmdline').read() + ' '.join(sys.argv) + repr(sorted(os.environ))\n\
        import re\n\
        found = [m for m in list(sys.modules.values()) for v in list(getattr(m, '__dict__', {}).values())\n\
        \x20        if isinstance(v, str) and re.fullmatch('[0-9a-f]{32}', v)]\n\
        raise ValueError((kept, re.findall('[0-9a-f]{32}', shown), found))\n";
    let Some(report) = report_of(text) else {
        return;
    };
    let message = &failure(&report).message;
    assert!(message.contains("ValueError: ([], [], [])"), "{message}");
}

#[test]
fn who_steals_the_nonce_and_answers_too_is_not_believed() {
    // What one interpreter holds, code in it can find. An answer beside the probe's own shows it.
    let text = "import sys\n\
        frame = sys._getframe()\n\
        while 'answer' not in frame.f_globals: frame = frame.f_back\n\
        send = frame.f_globals['_send']\n\
        send('', {'times': [], 'step': ''})\n\
        raise ValueError('real')\n";
    let Some(report) = report_of(text) else {
        return;
    };
    let message = &failure(&report).message;
    assert!(message.contains("answered more than once"), "{message}");
}

#[test]
fn the_group_the_parent_and_everybody_else_may_be_killed() {
    for text in [
        "import os, signal\nos.killpg(0, signal.SIGKILL)\n",
        "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(os.getppid(), signal.SIGKILL)\nos._exit(0)\n",
        "import os, signal\nfor pid in range(1, 400):\n    try: os.kill(pid, signal.SIGTERM)\n    except OSError: pass\nos._exit(0)\n",
        "import os, signal\nos.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None\nos.kill(0, signal.SIGSTOP)\n",
    ] {
        let Some(app) = App::plain() else { return };
        if crate::kernel::isolation_support()
            .refused
            .contains_key("processes")
        {
            eprintln!("SKIPPED: processes cannot be isolated here, and this would end the tests");
            assert!(std::env::var_os("CI").is_none());
            return;
        }
        let mut short = rehearse(&["app"]);
        short.timeout_ms = 4_000;
        let app = app.file("app.py", text).layer("app", true, short);
        let begun = Instant::now();
        let report = app.check(CheckName::Rehearsal);
        assert!(begun.elapsed() < Duration::from_secs(20));
        failure(&report);
    }
}

#[test]
fn children_that_hide_are_gone_afterwards() {
    // In sessions of their own, with no environment, holding every descriptor.
    let word = format!("hidden-child-{}", uuid::Uuid::now_v7());
    let text = format!(
        "import os\n\
         for _ in range(3):\n    if os.fork() == 0:\n        os.setsid()\n        \
         os.execve('/bin/sh', ['sh', '-c', 'sleep 300; : {word}'], {{}})\n\
         import time; time.sleep(0.3)\n"
    );
    let Some(report) = report_of(&text) else {
        return;
    };
    assert_eq!(report.failed_layers().count(), 0);
    assert!(!report.findings.is_empty());
    if crate::kernel::isolation_support()
        .refused
        .contains_key("processes")
    {
        eprintln!("SKIPPED: a child without its mark is not found without a process namespace");
        return;
    }
    assert_eq!(running(&word), 0);
}

#[test]
fn a_gigabyte_on_both_streams_costs_no_memory_and_no_result() {
    let text = "import os\nline = b'x' * (1 << 20)\n\
        for _ in range(512):\n    os.write(1, line)\n    os.write(2, line)\n\
        os.write(1, b'the end\\n')\n";
    let Some(report) = report_of(text) else {
        return;
    };
    assert_eq!(report.failed_layers().count(), 0, "{report:#?}");
    assert!(format!("{report:?}").len() < 64 << 10);
}

#[test]
fn memory_recursion_and_descriptors_may_run_out() {
    for (text, said) in [
        (
            "x = []\nwhile True: x.append(bytearray(1 << 24))\n",
            "MemoryError",
        ),
        (
            "class B(BaseException): pass\nraise B('odd')\n",
            "B: odd (app.py:2)",
        ),
        (
            "import os\nfor fd in range(0, 21):\n    try: os.close(fd)\n    except OSError: pass\nraise ValueError('closed')\n",
            "ValueError: closed",
        ),
        ("import os\nwhile True: os.dup(0)\n", "Too many open files"),
        (
            "class E(Exception):\n    @property\n    def __cause__(self): raise E\n    __context__ = __cause__\nraise E('twisted')\n",
            "E",
        ),
    ] {
        let Some(report) = report_of(text) else {
            return;
        };
        let message = &failure(&report).message;
        // On a busy machine the bound on all memory may be met before Python has met its own.
        let is_out = said == "MemoryError" && message.contains("of memory in total");
        assert!(message.contains(said) || is_out, "{text}: {message}");
    }
}

#[test]
fn commands_have_the_same_bounds() {
    let _time = time::lock();
    let Some(app) = App::plain() else { return };
    // The one that hangs is to be ended soon; the others have time on a busy machine too.
    let command = |script: &str| {
        let mut command = rehearse(&[]);
        command.command = ["sh", "-c", script].map(str::to_owned).to_vec();
        command.timeout_ms = if script.ends_with("sleep 300") {
            3_000
        } else {
            20_000
        };
        command
    };
    let word = format!("side-child-{}", uuid::Uuid::now_v7());
    let app = app
        .layer("hangs", true, command("echo waiting; sleep 300"))
        .layer(
            "chatty",
            true,
            command("head -c 200000000 /dev/zero | tr '\\0' x; echo; echo the end >&2; exit 5"),
        )
        .layer(
            "leaves",
            true,
            command(&format!("sh -c 'sleep 300; : {word}' & exit 0")),
        )
        .layer("killed", true, command("kill -SEGV $$$$"))
        .layer("says", true, command("echo one; echo two"));
    let begun = Instant::now();
    let report = app.check(CheckName::Rehearsal);
    assert!(begun.elapsed() < Duration::from_secs(25));
    let reported: Vec<(&str, &str)> = report
        .findings
        .iter()
        .map(|f| (f.subject.as_str(), f.message.as_str()))
        .collect();
    assert_eq!(
        reported,
        [
            (
                "hangs",
                "layer hangs: the command sh did not finish within 3000 ms and was stopped: waiting"
            ),
            (
                "chatty",
                "layer chatty: the command sh exited with status 5: the end"
            ),
            (
                "killed",
                "layer killed: the command sh was killed by signal 11 (SIGSEGV: a crash in native code)"
            ),
        ]
    );
    assert_eq!(running(&word), 0);
    let Measured::Rehearsal { layers, .. } = &report.measured else {
        panic!("{report:#?}")
    };
    let seen = layers[4].seen.as_ref().unwrap();
    assert_eq!(seen.printed, ["one", "two"]);
    assert!(format!("{report:?}").len() < 64 << 10);
}

#[test]
fn side_effects_name_the_applications_own_frame_and_never_decide() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file(
            "app.py",
            "import helper\nimport pkg\nprint('hello')\nprint('again')\n",
        )
        .file(
            "helper.py",
            "import socket, subprocess, threading, time\n\
             def later():\n    time.sleep(300)\n\
             subprocess.run(['true'])\n\
             threading.Thread(target=later, name='worker', daemon=True).start()\n\
             s = socket.socket()\ntry: s.connect(('127.0.0.1', 9))\nexcept OSError: pass\n\
             try: open('made.txt', 'w')\nexcept OSError: pass\n\
             try: socket.getaddrinfo('db.example', 5432)\nexcept OSError: pass\n",
        )
        .file(
            "site-packages/pkg/__init__.py",
            "import os\nos.system('true')\n",
        )
        .imports("app");
    let mut app = app;
    app.manifest.python.path = vec![".".into(), "site-packages".into()];
    let report = app.check(CheckName::Rehearsal);
    assert_eq!(report.failed_layers().count(), 0);
    // Where it was started, or where it is: older Pythons do not tell the former.
    let thread = &report.findings[5].message;
    assert!(
        thread.ends_with("leaves a thread running: worker (helper.py:5)")
            || thread.ends_with("leaves a thread running: worker (helper.py:3)"),
        "{thread}"
    );
    let reported: Vec<(Severity, &str)> = report.findings[..5]
        .iter()
        .map(|f| {
            (
                f.severity,
                f.message.strip_prefix("layer app: the dry run ").unwrap(),
            )
        })
        .collect();
    assert_eq!(
        reported,
        [
            (
                Severity::Warning,
                "starts a process: subprocess.Popen true (helper.py:4)"
            ),
            (Severity::Warning, "connects to: 127.0.0.1:9 (helper.py:7)"),
            (
                Severity::Info,
                "starts a process: os.system true (by pkg) (app.py:2)"
            ),
            (
                Severity::Info,
                "looks up the address of: db.example (helper.py:11)"
            ),
            (Severity::Info, "writes to: made.txt (helper.py:9)"),
        ]
    );
    assert_eq!(report.findings.len(), 6);
    let warned = &report.findings[0];
    assert_eq!(warned.code, "rehearsal.side_effect");
    assert_eq!(warned.location.as_ref().unwrap().to_string(), "helper.py:4");
    let Measured::Rehearsal { layers, .. } = &report.measured else {
        panic!("{report:#?}")
    };
    let seen = layers[0].seen.as_ref().unwrap();
    assert_eq!(seen.printed, ["hello", "again"]);
    assert_eq!(seen.side_effects.len(), 6);
}

#[test]
fn a_failure_has_its_chain_its_print_and_the_slowest_modules() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("app.py", "print('before it failed')\nimport slow\nfrom conf import read\nread()\n")
        .file("slow.py", "import time\ntime.sleep(0.12)\nimport inner\n")
        .file("inner.py", "import time\ntime.sleep(0.06)\n")
        .file(
            "conf.py",
            "def read():\n    try:\n        return {}['DATABASE_URL']\n    except KeyError as e:\n        raise RuntimeError('no settings') from e\n",
        )
        .imports("app");
    let report = app.check(CheckName::Rehearsal);
    let found = only(&report, "rehearsal.failed");
    assert_eq!(
        found.message,
        "layer app: RuntimeError: no settings (conf.py:5); caused by KeyError: 'DATABASE_URL' (conf.py:3)"
    );
    assert!(
        found.detail.ends_with("It printed:\nbefore it failed\n"),
        "{}",
        found.detail
    );
    let Measured::Rehearsal { layers, .. } = &report.measured else {
        panic!("{report:#?}")
    };
    let slowest = &layers[0].seen.as_ref().unwrap().slowest_modules;
    let named: Vec<&str> = slowest.iter().map(|m| m.module.as_str()).collect();
    assert_eq!(named[..2], ["slow", "inner"]);
    // Its own time, without what it imports.
    assert!(
        (120..175).contains(&slowest[0].self_ms) || slowest[0].self_ms < 400,
        "{slowest:?}"
    );
    assert!(
        slowest[1].self_ms >= 60 && slowest.len() <= 5,
        "{slowest:?}"
    );
}

#[test]
fn of_a_group_the_members_are_reported() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file(
            "app.py",
            "import sys\n\
             if sys.version_info < (3, 11):\n    raise SystemExit('SKIP')\n\
             def one():\n    raise KeyError('first')\n\
             found = []\n\
             for make in (one, lambda: int('x')):\n    try: make()\n    except Exception as e: found.append(e)\n\
             raise ExceptionGroup('several', found)\n",
        )
        .imports("app");
    let report = app.check(CheckName::Rehearsal);
    let found = failure(&report);
    if found.message.contains("SKIP") {
        eprintln!("SKIPPED: this Python has no exception groups");
        return;
    }
    assert_eq!(
        found.message,
        "layer app: ExceptionGroup: several (2 sub-exceptions) (app.py:10); the first of them KeyError: \
         'first' (app.py:5); 1 more"
    );
    assert!(
        found.detail.contains("ValueError: invalid literal"),
        "{}",
        found.detail
    );
}
