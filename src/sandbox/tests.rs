//! Real programs that do everything wrong, under full isolation and under none.

mod loopback;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::run::run_with;
use super::*;
use crate::domain::event::ExitKind;
use crate::kernel::{IsolationSupport, isolation_support, processes_with_env};
use crate::manifest::SandboxLimits;

const TIMEOUT_MS: u64 = 60_000;

pub(super) fn spec(dir: &Path, argv: &[&str]) -> SandboxSpec {
    SandboxSpec {
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        cwd: dir.to_path_buf(),
        env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
        writable: vec![dir.to_path_buf()],
        view: None,
        home: None,
        network: false,
        limits: SandboxLimits::default(),
        timeout_ms: TIMEOUT_MS,
        stdin: Vec::new(),
        stdin_more: None,
        loopback: None,
    }
}

fn sh(dir: &Path, script: &str) -> SandboxSpec {
    spec(dir, &["sh", "-c", script])
}

pub(super) fn nothing() -> IsolationSupport {
    let refused =
        ["network", "filesystem", "processes"].map(|n| (n, "switched off by this test".to_owned()));
    IsolationSupport {
        refused: BTreeMap::from(refused),
        ..Default::default()
    }
}

/// Both ends of what a host may offer.
fn both(test: impl Fn(&IsolationSupport)) {
    test(isolation_support());
    test(&nothing());
}

/// The host can isolate that; otherwise the test says so, and fails in CI.
pub(super) fn host_has(name: &str) -> bool {
    let Some(why) = isolation_support().refused.get(name) else {
        return true;
    };
    eprintln!("SKIPPED: {name} cannot be isolated: {why}");
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must be able to isolate {name}: {why}"
    );
    false
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_program_gets_its_input_and_environment_and_gives_output_and_result() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        let script = "cat; echo err >&2; printf '%s' \"$A/$UBS_RESULT_FD\" >&3; pwd; exit 7";
        let mut spec = sh(dir.path(), script);
        spec.stdin = b"input\n".repeat(100_000);
        spec.env.insert("A".into(), "b c".into());
        let out = run_with(&spec, support).unwrap();
        assert_eq!(out.exit, ExitKind::Code(7), "{}", text(&out.stderr));
        assert!(text(&out.stdout).starts_with("input\ninput\n"));
        assert_eq!(text(&out.stderr), "err\n");
        assert_eq!(text(&out.result), "b c/3");
        assert!(!out.result_truncated && !out.timed_out);
    });
}

#[test]
fn more_input_follows_until_its_end_and_is_given_up_with_the_program() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        for (script, lines, whole) in [("cat | wc -l", "200001\n", true), ("exit 0", "", false)] {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let giver = std::thread::spawn(move || {
                use std::io::Write;
                writer.write_all(&b"more\n".repeat(200_000)).is_ok()
            });
            let mut spec = sh(dir.path(), script);
            spec.stdin = b"first\n".to_vec();
            spec.stdin_more = Some(std::sync::Arc::new(reader.into()));
            let out = run_with(&spec, support).unwrap();
            assert_eq!(out.exit, ExitKind::Code(0));
            assert!(!out.timed_out);
            assert_eq!(text(&out.stdout).trim_start(), lines);
            // Who still writes when the program has ended is not left waiting.
            drop(spec);
            assert_eq!(giver.join().unwrap(), whole);
        }
    });
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        let out = run_with(&spec(dir.path(), &["env"]), support).unwrap();
        let mut names: Vec<_> = text(&out.stdout)
            .lines()
            .filter_map(|l| l.split_once('=').map(|p| p.0.to_owned()))
            .collect();
        names.sort();
        assert_eq!(names, ["PATH", "UBS_RESULT_FD", "UBS_SANDBOX"]);
    });
}

#[test]
fn a_secret_of_the_parent_is_nowhere_to_be_found() {
    if !host_has("processes") {
        return;
    }
    // CARGO_MANIFEST_DIR is in our environment and not in the sandbox's.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let dir = tempfile::tempdir().unwrap();
    let script = "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c ^CARGO_MANIFEST_DIR; \
        head -c 1 /proc/1/environ; ls -d /proc/[0-9]* | wc -l";
    let out = run_sandboxed(&sh(dir.path(), script)).unwrap();
    assert!(
        text(&out.stdout).starts_with("0\n"),
        "{} {}",
        text(&out.stdout),
        text(&out.stderr)
    );
    assert!(
        text(&out.stderr).contains("/proc/1/environ"),
        "the init may not be read: {}",
        text(&out.stderr)
    );
    // Where all else is refused, at least another process's environment is out of reach for root.
    if crate::kernel::outranks_the_confined() {
        let script = format!("cat /proc/{}/environ", std::process::id());
        let out = run_with(&sh(dir.path(), &script), &nothing()).unwrap();
        assert_ne!(out.exit, ExitKind::Code(0));
    }
}

#[test]
fn the_network_is_out_of_reach_but_the_program_may_talk_to_itself() {
    if !host_has("network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let script = "import socket,sys
def reach(a):
    try: socket.create_connection(a, 5); return 'reached'
    except OSError as e: return 'refused'
own = socket.socket(); own.bind(('127.0.0.1', 0)); own.listen()
print(reach(('127.0.0.1', int(sys.argv[1]))), reach(('1.1.1.1', 53)), reach(own.getsockname()))";
    let run = |network| {
        let mut spec = spec(dir.path(), &["python3", "-c", script, &port]);
        spec.network = network;
        run_sandboxed(&spec).unwrap()
    };
    let out = run(false);
    assert_eq!(
        text(&out.stdout),
        "refused refused reached\n",
        "{}",
        text(&out.stderr)
    );
    assert!(out.isolation.isolated.contains(&"network".into()));
    let out = run(true);
    assert!(
        text(&out.stdout).starts_with("reached "),
        "{}",
        text(&out.stderr)
    );
    assert!(
        out.isolation
            .lines
            .contains(&"network: not isolated (allowed for this command)".into())
    );
}

#[test]
fn only_the_writable_directories_can_be_written() {
    if !host_has("filesystem") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in/cwd"), dir.path().join("out"));
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    let script = format!(
        "echo ok > here && echo ok > ../above && echo ok > /dev/null && echo ok > /dev/shm/x || exit 1
         for f in {0}/x /usr/lib/ubs-x /etc/ubs-x /ubs-x /dev/ubs-x /proc/sys/kernel/core_pattern; do
           (echo bad > $f) 2>/dev/null && echo wrote $f; done
         mount -o remount,rw / 2>/dev/null && echo remounted
         mount -o remount,rw,bind / 2>/dev/null && echo remounted; ls /dev",
        outside.display()
    );
    let mut spec = sh(&inside, &script);
    spec.writable = vec![dir.path().join("in")];
    let out = run_sandboxed(&spec).unwrap();
    assert_eq!(out.exit, ExitKind::Code(0), "{}", text(&out.stderr));
    assert!(
        !text(&out.stdout).contains("wrote") && !text(&out.stdout).contains("remounted"),
        "{}",
        text(&out.stdout)
    );
    assert!(
        !text(&out.stdout).contains("da\n"),
        "no disks: {}",
        text(&out.stdout)
    );
    assert_eq!(
        std::fs::read_to_string(inside.join("here")).unwrap(),
        "ok\n"
    );
    assert!(dir.path().join("in/above").exists());
    assert!(!Path::new("/dev/shm/x").exists());
}

#[test]
fn memory_file_size_and_cpu_time_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        let mut spec = spec(
            dir.path(),
            &["python3", "-c", "x = bytearray(1 << 30); print('got it')"],
        );
        spec.limits.memory_bytes = 512 << 20;
        let out = run_with(&spec, support).unwrap();
        assert!(
            text(&out.stderr).contains("MemoryError"),
            "{}",
            text(&out.stderr)
        );

        let mut spec = sh(dir.path(), "exec head -c 100000 /dev/zero > big");
        spec.limits.file_bytes = 4096;
        let out = run_with(&spec, support).unwrap();
        assert_ne!(out.exit, ExitKind::Code(0));
        assert_eq!(
            std::fs::metadata(dir.path().join("big")).unwrap().len(),
            4096
        );

        let mut spec = sh(dir.path(), "while :; do :; done");
        spec.limits.cpu_s = 1;
        let out = run_with(&spec, support).unwrap();
        assert!(
            matches!(out.exit, ExitKind::Signal(libc::SIGXCPU | libc::SIGKILL)),
            "{:?}",
            out.exit
        );
        assert!(!out.timed_out);
    });
}

#[test]
fn a_signal_is_reported_as_one() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        for (script, signal) in [
            ("kill -SEGV $$", libc::SIGSEGV),
            ("kill -KILL $$", 9),
            ("trap '' TERM; kill -9 0", 9),
        ] {
            let out = run_with(&sh(dir.path(), script), support).unwrap();
            assert_eq!(out.exit, ExitKind::Signal(signal), "{script}");
        }
        let crash = "import ctypes; ctypes.string_at(0)";
        let out = run_with(&spec(dir.path(), &["python3", "-c", crash]), support).unwrap();
        assert_eq!(out.exit, ExitKind::Signal(libc::SIGSEGV));
        let out = run_with(
            &spec(dir.path(), &["python3", "-c", "import os; os._exit(5)"]),
            support,
        )
        .unwrap();
        assert_eq!(out.exit, ExitKind::Code(5));
    });
}

/// Forks twice, leaves the session, ignores SIGTERM, keeps all pipes open.
const DAEMON: &str = "import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open('daemon', 'w').close()
    time.sleep(600)
while not os.path.exists('daemon'): time.sleep(0.01)
open('env', 'w').write(os.environ['UBS_SANDBOX'])
";

fn no_stray(dir: &Path) {
    let marker = format!(
        "UBS_SANDBOX={}",
        std::fs::read_to_string(dir.join("env")).unwrap()
    );
    assert!(processes_with_env(&marker).is_empty());
    std::fs::remove_file(dir.join("daemon")).unwrap();
}

#[test]
fn what_a_program_leaves_behind_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        let began = Instant::now();
        let out = run_with(&spec(dir.path(), &["python3", "-c", DAEMON]), support).unwrap();
        assert_eq!(out.exit, ExitKind::Code(0), "{}", text(&out.stderr));
        assert!(
            began.elapsed() < Duration::from_millis(TIMEOUT_MS / 2),
            "the stray's open pipe kept us"
        );
        no_stray(dir.path());
    });
}

#[test]
fn a_timeout_ends_the_program_and_its_grandchildren() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        let script = format!(
            "{DAEMON}\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.closerange(0, 4)\ntime.sleep(600)"
        );
        let mut spec = spec(dir.path(), &["python3", "-c", &script]);
        spec.timeout_ms = 3000;
        let out = run_with(&spec, support).unwrap();
        assert!(out.timed_out);
        assert_eq!(out.exit, ExitKind::Signal(libc::SIGKILL));
        assert!(out.duration_ms < TIMEOUT_MS / 2);
        no_stray(dir.path());
    });
}

#[test]
fn a_gigabyte_of_output_is_read_and_mostly_dropped() {
    let dir = tempfile::tempdir().unwrap();
    both(|support| {
        let out = run_with(
            &sh(
                dir.path(),
                "head -c 1000000000 /dev/zero; head -c 20000000 /dev/zero >&3",
            ),
            support,
        )
        .unwrap();
        assert_eq!(out.exit, ExitKind::Code(0));
        assert_eq!(
            (out.stdout.len(), out.result.len(), out.result_truncated),
            (256 << 10, 16 << 20, true)
        );
    });
}

#[test]
fn what_cannot_be_started_is_an_error_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("bad-interpreter");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    both(|support| {
        let error = |argv: &[&str]| {
            run_with(&spec(dir.path(), argv), support)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&["no-such-program"]).contains("no-such-program is not in PATH"));
        assert!(
            error(&["./bad-interpreter"]).contains("execute the program"),
            "{}",
            error(&["./bad-interpreter"])
        );
        assert!(error(&[]).contains("empty"));
        let mut gone = spec(dir.path(), &["true"]);
        gone.cwd = dir.path().join("gone");
        assert!(run_with(&gone, support).is_err());
    });
}

#[test]
fn what_a_host_does_not_give_is_said_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let out = run_with(&spec(dir.path(), &["true"]), &nothing()).unwrap();
    for name in ["network", "filesystem", "processes"] {
        let begin = format!("{name}: ");
        let lines = &out.isolation.lines;
        assert!(
            lines
                .iter()
                .any(|l| l.starts_with(&begin) && l.contains("switched off by this test")),
            "{name}: {lines:?}"
        );
    }
    assert!(!out.isolation.isolated.contains(&"processes".to_owned()));
    assert!(out.isolation.isolated.contains(&"memory".to_owned()));
}

/// Not a test: the process that [`nothing_outlives_a_killed_supervisor`] kills.
#[test]
#[ignore = "run by another test"]
fn supervisor_to_be_killed() {
    let Some(dir) = std::env::var_os("UBS_TEST_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let script = "printf %s $UBS_SANDBOX > env.tmp; mv env.tmp env; sleep 600";
    let _ = run_sandboxed(&sh(dir, script));
}

#[test]
fn nothing_outlives_a_killed_supervisor() {
    if !host_has("processes") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut supervisor = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::tests::supervisor_to_be_killed",
            "--ignored",
        ])
        .env("UBS_TEST_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_millis(TIMEOUT_MS);
    let wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(Instant::now() < until, "waited too long");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(&|| dir.path().join("env").exists());
    let id = std::fs::read_to_string(dir.path().join("env")).unwrap();
    let marker = format!("UBS_SANDBOX={id}");
    assert!(!processes_with_env(&marker).is_empty());
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    wait_for(&|| processes_with_env(&marker).is_empty());
}

#[test]
fn links_to_directories_are_followed_and_missing_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
    both(|support| {
        let mut spec = sh(&dir.path().join("link"), "echo ok > file");
        let out = run_with(&spec, support).unwrap();
        assert_eq!(out.exit, ExitKind::Code(0), "{}", text(&out.stderr));
        spec.writable.push(dir.path().join("gone"));
        assert!(
            run_with(&spec, support)
                .unwrap_err()
                .to_string()
                .contains("gone")
        );
    });
}

#[test]
fn a_copy_is_seen_at_the_path_of_the_live_workspace_and_nothing_else_exists() {
    if !host_has("filesystem") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (live, copy, other) = (
        dir.path().join("live"),
        dir.path().join("copy"),
        dir.path().join("other"),
    );
    for (directory, content) in [(&live, "live"), (&copy, "copy"), (&other, "other")] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("which"), content).unwrap();
    }
    std::fs::create_dir_all(live.join(".venv/bin")).unwrap();
    std::fs::write(live.join(".venv/bin/tool"), "of the environment").unwrap();
    prepare_copy(&copy, &live).unwrap();
    let script = format!(
        "pwd; cat which {0}/which; echo; cat .venv/bin/tool; echo; ls {1}; ls -A $HOME | wc -l; \
         echo new > which; echo x > $HOME/x; echo x > /tmp/x; cat which; \
         (echo bad > .venv/bin/tool) 2>/dev/null || echo read-only; \
         cat {1}/other/which {1}/copy/which /etc/shadow /root/.ssh/* 2>/dev/null; grep -i capeff /proc/self/status",
        live.display(),
        dir.path().display(),
    );
    let mut spec = sh(&copy, &script);
    spec.writable = Vec::new();
    spec.home = Some(other.clone());
    spec.view = Some(View::new(&copy, &live));
    let out = run_sandboxed(&spec).unwrap();
    let expected = format!(
        "{0}\ncopycopy\nof the environment\nlive\n0\nnew\nread-only\nCapEff:\t0000000000000000\n",
        live.display()
    );
    assert_eq!(text(&out.stdout), expected, "{}", text(&out.stderr));
    assert_eq!(std::fs::read_to_string(copy.join("which")).unwrap(), "copy");
    // The live workspace, as itself: without our state.
    std::fs::create_dir(live.join(".ubs")).unwrap();
    std::fs::write(live.join(".ubs/log.db"), "secret").unwrap();
    let mut spec = sh(&live, "cat which; ls -A .ubs | wc -l");
    spec.writable = Vec::new();
    spec.view = Some(View {
        state: Some(live.join(".ubs")),
        ..View::new(&live, &live)
    });
    let out = run_sandboxed(&spec).unwrap();
    assert_eq!(text(&out.stdout), "live0\n", "{}", text(&out.stderr));
}

#[test]
fn where_there_are_no_namespaces_other_paths_are_refused() {
    if !crate::kernel::has_landlock() {
        eprintln!("SKIPPED: this kernel has no Landlock");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    for directory in [&inside, &outside, &inside.join(".ubs")] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("file"), "text").unwrap();
    }
    let script = format!(
        "cat file; ls; cat {0}/file; cat .ubs/file; echo x > {0}/new; echo x > new; echo x > $HOME/new && echo; cat /etc/shadow",
        outside.display()
    );
    let mut spec = sh(&inside, &script);
    let home = tempfile::tempdir().unwrap();
    spec.writable = Vec::new();
    spec.home = Some(home.path().to_owned());
    spec.view = Some(View {
        state: Some(inside.join(".ubs")),
        ..View::new(&inside, &inside)
    });
    let out = run_with(&spec, &nothing()).unwrap();
    assert_eq!(text(&out.stdout), "textfile\n\n", "{}", text(&out.stderr));
    assert!(home.path().join("new").exists() && !outside.join("new").exists());
    assert!(!out.isolation.has_own_root);
}

#[test]
fn processes_memory_and_files_are_bounded_in_total() {
    if !host_has("filesystem") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut forks = spec(
        dir.path(),
        &[
            "python3",
            "-c",
            "import os, time\nmade = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\n        made += 1\nexcept OSError: pass\nprint(made, flush=True)",
        ],
    );
    forks.limits.processes = 64;
    forks.timeout_ms = 20_000;
    let out = run_sandboxed(&forks).unwrap();
    let made: u64 = text(&out.stdout).trim().parse().unwrap_or(0);
    // A control group refuses the next one; a watcher ends them all.
    assert!(
        made < 64 && (made > 0 || out.exceeded.is_some()),
        "{made} {:?}",
        out.exceeded
    );
    let mut disk = sh(
        dir.path(),
        "cd /tmp && head -c 9000000 /dev/zero > a; wc -c < a",
    );
    disk.limits.disk_bytes = 4 << 20;
    let out = run_sandboxed(&disk).unwrap();
    assert_eq!(text(&out.stdout), "4194304\n", "{}", text(&out.stderr));
}

#[test]
fn local_sockets_cannot_be_reached_and_pairs_can_be_made() {
    if !host_has("network") {
        return;
    }
    assert!(crate::kernel::has_filter(), "this kernel filters no calls");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("database.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let program = "import socket, sys\n\
        left, right = socket.socketpair()\n\
        left.send(b'pair'); print(right.recv(9).decode())\n\
        try:\n    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print('reached')\n\
        except OSError as e: print(e.strerror)\n\
        import ctypes\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        print(libc.syscall(425, 8, 0), ctypes.get_errno())\n";
    let argv = ["python3", "-c", program, path.to_str().unwrap()];
    let mut spec = spec(dir.path(), &argv);
    let out = run_sandboxed(&spec).unwrap();
    assert_eq!(
        text(&out.stdout),
        "pair\nPermission denied\n-1 13\n",
        "{}",
        text(&out.stderr)
    );
    let said = out.isolation.lines.join("\n");
    assert!(said.contains("no local sockets"), "{said}");
    // Where the network is allowed, so are the sockets of this host.
    spec.network = true;
    let out = run_sandboxed(&spec).unwrap();
    assert!(
        text(&out.stdout).contains("reached"),
        "{}",
        text(&out.stderr)
    );
    drop(listener);
}
