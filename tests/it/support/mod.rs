//! What whole-program tests share: a workspace in a temporary directory, the real `ubs` binary run
//! in it with a cleared environment, its output with moments and ids replaced by names.
//!
//! Each test file uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod alembic;
pub mod catalog;
pub mod definition;
pub mod mutate;
pub mod postgres;
pub mod real;
pub mod time;
pub mod venv;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that a test waits for anything; far more than it takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub fn ubs_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ubs"))
}

/// An application's directory.
pub struct Workspace {
    /// Removed with it.
    _dir: tempfile::TempDir,
    root: PathBuf,
    env: BTreeMap<String, String>,
}

/// What a run of `ubs` gave.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test, with everything that was said, unless the exit code is this.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Standard output as the one JSON document that it has to be.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON document ({error}):\n{}", self.stdout))
    }
}

impl Workspace {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().canonicalize().expect("its real name");
        let mut env = BTreeMap::new();
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        env.insert("PATH".to_owned(), path);
        env.insert("LC_ALL".to_owned(), "C.UTF-8".to_owned());
        // What runs for this workspace can be found by it, whoever started it.
        let name = root.display().to_string();
        env.insert("UBS_TEST_WORKSPACE".to_owned(), name);
        Self {
            _dir: dir,
            root,
            env,
        }
    }

    /// With a manifest.
    pub fn with_manifest(text: &str) -> Self {
        let workspace = Self::new();
        workspace.write("ubs.toml", text);
        workspace
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// With this variable in the environment of every run.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// `ubs` with these arguments, in this workspace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ubs_binary());
        command
            .args(arguments)
            .current_dir(&self.root)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn ubs(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().expect("ubs runs");
        Run::of(&output)
    }

    /// None of these texts is in the log of the last boot.
    #[track_caller]
    pub fn expect_not_logged(&self, secrets: &[&str]) {
        let log = self
            .ubs(&["replay", "last", "--events", "--json"])
            .expect(0);
        for secret in secrets {
            assert!(!log.stdout.contains(secret), "{}", log.stdout);
        }
    }

    /// Starts `ubs` and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let child = self.command(arguments).spawn().expect("ubs runs");
        Running { child: Some(child) }
    }

    /// A boot that is to be killed at that point; exit code -1 if it came there.
    pub fn boot_killed_at(&mut self, point: &str) -> Run {
        self.set_env("UBS_CRASH_AT", point);
        let run = self.start(&["boot", "--until-ready"]).wait();
        self.set_env("UBS_CRASH_AT", "");
        run
    }

    /// Waits until the health projection says this of the application.
    pub fn await_health(&self, wanted: &[&str]) -> Value {
        let begun = Instant::now();
        loop {
            let run = self.ubs(&["health", "--json"]);
            let health: Value = serde_json::from_str(&run.stdout).unwrap_or(Value::Null);
            if wanted.contains(&health["status"].as_str().unwrap_or("")) {
                return health;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "never {wanted:?}; last:\n{}\n{}",
                run.stdout,
                run.stderr
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every event of the newest boot, as JSON.
    pub fn events(&self) -> Vec<Value> {
        let run = self
            .ubs(&["replay", "last", "--events", "--json"])
            .expect(0);
        run.stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("one event a line"))
            .collect()
    }

    /// The kinds of the newest boot's events, in order.
    pub fn kinds(&self) -> Vec<String> {
        self.events()
            .iter()
            .map(|event| event["kind"].as_str().expect("a kind").to_owned())
            .collect()
    }

    /// Processes whose environment says that they belong to this workspace's services.
    pub fn leftovers(&self) -> Vec<u32> {
        let marker = format!("UBS_TEST_WORKSPACE={}", self.root.display());
        processes_with_env(&marker)
    }

    /// The text without what changes from run to run.
    pub fn normalise(&self, text: &str) -> String {
        let mut text = text.replace(&self.root.display().to_string(), "<workspace>");
        for (pattern, name) in [
            (
                r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "<id>",
            ),
            (
                r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?Z",
                "<moment>",
            ),
            (r"\b[0-9a-f]{64}\b", "<digest>"),
            (r" +\+\d+\.\d{3}s", " <offset>"),
            (r"\b\d+(?:\.\d+)? (?:ms|s|min)\b(?: \d+ s\b)?", "<duration>"),
            (r"\bprocess \d+", "process <pid>"),
            (r"\bsupervisor \d+", "supervisor <pid>"),
        ] {
            text = regex::Regex::new(pattern)
                .expect("a pattern")
                .replace_all(&text, name)
                .into_owned();
        }
        text
    }
}

/// A `ubs` that runs; killed when dropped.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a signal");
    }

    /// Waits for its end, with a bound.
    pub fn wait(mut self) -> Run {
        let mut child = self.child.take().expect("it runs");
        let mut pipes = (
            child.stdout.take().expect("piped"),
            child.stderr.take().expect("piped"),
        );
        let stdout = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipes.0.read_to_end(&mut text);
            text
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipes.1.read_to_end(&mut text);
            text
        });
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("ubs did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Run::of(&Output {
            status,
            stdout: stdout.join().expect("a reader"),
            stderr: stderr.join().expect("a reader"),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Live processes whose environment holds this entry.
pub fn processes_with_env(marker: &str) -> Vec<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|e| e == marker.as_bytes())
            })
        })
        .collect()
}

/// Waits until the condition holds.
#[track_caller]
pub fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of this machine that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// Runs an example program of the library; gives what it printed.
#[track_caller]
pub fn example(name: &str, arguments: &[&str]) -> String {
    // Cargo builds examples for the tests, beside the directory of the test programs.
    let tests = std::env::current_exe().expect("this test's program");
    let target = tests.ancestors().nth(2).expect("target/debug");
    let output = Command::new(target.join("examples").join(name))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("example {name}: {error}"));
    let run = Run::of(&output).expect(0);
    run.stdout
}

/// Builds the environments of the normal run, side by side; `.ci/run` starts it while the compiler works on something else.
#[test]
#[ignore = "prepares what other tests need"]
fn prepare() {
    let read = |room: &str, name: &str| real::requirements(room, name);
    let (flask, optuna) = (read("real", "ihatemoney"), read("schema", "optuna"));
    let lists: Vec<Vec<&str>> = vec![
        venv::WIDE_PACKAGES.to_vec(),
        venv::PACKAGES.to_vec(),
        flask.lines().filter(|line| !line.is_empty()).collect(),
        optuna.lines().filter(|line| !line.is_empty()).collect(),
        venv::OLD_PACKAGES.to_vec(),
    ];
    std::thread::scope(|scope| {
        for list in &lists {
            scope.spawn(|| venv::python_with(list));
        }
    });
}
