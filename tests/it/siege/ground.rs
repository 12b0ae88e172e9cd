//! Where the siege takes place: a workspace with secrets, victims outside of it, and `ubs` where any user may run it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::ubs_binary;

const MANIFEST: &str = r#"
[app]
name = "siege"

[config]
files = [".env"]

[config.vars.SECRET_KEY]
secret = true
required = true

[[layer]]
name = "all"

[[layer.service]]
name = "once"
run = ["true"]
oneshot = true
"#;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It reached what it should not.
    Leaked(String),
    /// It did not.
    Held(String),
    /// This host has no such thing.
    NotPossible(String),
    /// The attempt itself is wrong.
    Broken(String),
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let rest = rest.trim().to_owned();
        match word {
            "LEAKED" => Self::Leaked(rest),
            "HELD" => Self::Held(rest),
            "NOT_POSSIBLE" => Self::NotPossible(rest),
            "LEFT" if fs::symlink_metadata(&rest).is_ok() => {
                remove(Path::new(&rest));
                Self::Leaked("it is still there".to_owned())
            }
            "LEFT" => Self::Held("it is gone".to_owned()),
            "RUNNING" => match processes_with(&rest) {
                pids if pids.is_empty() => Self::Held("it has ended".to_owned()),
                pids => {
                    for pid in pids {
                        let pid = nix::unistd::Pid::from_raw(pid);
                        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                    }
                    Self::Leaked("it still runs".to_owned())
                }
            },
            _ => Self::Broken(text.to_owned()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaked(what) => write!(f, "LEAKED: {what}"),
            Self::Held(why) => write!(f, "held: {why}"),
            Self::NotPossible(why) => write!(f, "held: {why}"),
            Self::Broken(why) => write!(f, "BROKEN: {why}"),
        }
    }
}

/// Python where every user finds it; one in somebody's home is none.
pub fn system_python() -> Option<PathBuf> {
    let known = ["/usr/bin/python3", "/usr/local/bin/python3"].map(PathBuf::from);
    known.into_iter().find(|path| path.exists())
}

/// Processes with this word in their command line.
fn processes_with(marker: &str) -> Vec<i32> {
    let has_it = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == marker.as_bytes())
        })
    };
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(has_it)
        .collect()
}

/// Removes a tree that may be too deep for `remove_dir_all`, or closed.
fn remove(path: &Path) {
    let _ = Command::new("chmod")
        .args(["-R", "u+rwx"])
        .arg(path)
        .stderr(Stdio::null())
        .status();
    let _ = Command::new("rm").arg("-rf").arg(path).status();
}

pub struct Ground {
    base: PathBuf,
    python: PathBuf,
    user: Option<u32>,
    victims: Child,
    /// What only root could make, and only root can remove.
    run_directory: Option<PathBuf>,
    keeps: tempfile::TempDir,
}

impl Ground {
    /// Makes everything, as and for this user.
    pub fn prepare(user: Option<u32>, python: &Path) -> Self {
        let keeps = tempfile::Builder::new()
            .prefix("ubs-siege-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/var/tmp")
            .expect("a directory in /var/tmp");
        let base = keeps.path().canonicalize().expect("its real name");
        for name in ["bin", "ws", "tmp", "victims"] {
            fs::create_dir(base.join(name)).expect("a directory");
        }
        fs::copy(ubs_binary(), base.join("bin/ubs")).expect("ubs is copied");
        let workspace = base.join("ws");
        fs::write(workspace.join("ubs.toml"), MANIFEST).expect("a manifest");
        fs::write(
            workspace.join(".env"),
            "SECRET_KEY=planted-in-the-live-workspace\n",
        )
        .expect("an .env");
        fs::write(workspace.join("app.py"), "print('up')\n").expect("an application");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/siege");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&sources)
            .arg(workspace.join("siege"))
            .status();
        assert!(copied.expect("cp").success());
        if let Some(user) = user {
            own(&workspace, user);
            own(&base.join("tmp"), user);
        }
        let mut ground = Self {
            python: python.to_owned(),
            user,
            // Replaced below; nothing is started before the log is there.
            victims: Command::new("true").spawn().expect("true"),
            run_directory: None,
            base,
            keeps,
        };
        let boot = ground
            .as_user(&ground.base.join("bin/ubs"))
            .args(["boot", "--until-ready"])
            .output();
        let boot = boot.expect("ubs runs");
        assert!(
            boot.status.success(),
            "{}",
            String::from_utf8_lossy(&boot.stderr)
        );
        ground.start_victims();
        ground
    }

    fn start_victims(&mut self) {
        let _ = self.victims.wait();
        let mut victims = Command::new(&self.python)
            .arg(self.base.join("ws/siege/victims.py"))
            .args([self.base.join("victims"), self.base.join("ws")])
            .args(self.user.map(|user| user.to_string()))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the victims start");
        let mut line = String::new();
        let output = victims.stdout.take().expect("a pipe");
        self.victims = victims;
        BufReader::new(output)
            .read_line(&mut line)
            .expect("their parameters");
        let parameters: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        assert!(parameters.is_object(), "the victims said {line:?}");
        let run_file = parameters["SIEGE_RUN_FILE"].as_str().map(PathBuf::from);
        self.run_directory = run_file.and_then(|file| Some(file.parent()?.to_owned()));
        fs::write(self.base.join("ws/siege/parameters.json"), line).expect("the parameters");
    }

    /// A program, in the workspace, with an environment that holds a secret of the supervisor.
    fn as_user(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.base.join("ws"))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.base.join("victims/home"))
            .env("TMPDIR", self.base.join("tmp"))
            .env("SIEGE_SUPERVISORS_OWN", "supervisor-secret-4f1d")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// `ubs` as this user, in the workspace.
    pub fn ubs(&self, arguments: &[&str]) -> Command {
        let mut command = self.as_user(&self.base.join("bin/ubs"));
        command.args(arguments);
        command
    }

    /// A file of the workspace.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.base.join("ws").join(name);
        fs::write(&path, text).expect("a file");
        if let Some(user) = self.user {
            own(&path, user);
        }
    }

    /// `program ARGUMENTS`, with the workspace open as descriptor 9, as a careless caller would have it.
    fn with_descriptor(&self, program: &Path) -> Command {
        let mut command = self.as_user(Path::new("/bin/sh"));
        command
            .args(["-c", "exec 9<. && exec \"$@\"", "sh"])
            .arg(program);
        command
    }

    fn answers(&self, mut command: Command, attempts: &[String]) -> BTreeMap<String, Answer> {
        let output = command
            .arg(self.base.join("ws/siege/runner.py"))
            .arg(self.base.join("ws/siege/parameters.json"))
            .args(attempts)
            .output()
            .expect("the runner runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut answers: BTreeMap<String, Answer> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, answer)| (name.to_owned(), Answer::parse(answer)))
            .collect();
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        // Exhausting may end the whole sandbox, which holds it too.
        if let [only] = attempts
            && only.starts_with("exhaust_")
            && answers.is_empty()
            && output.status.code() != Some(2)
        {
            let how = format!("the sandbox was ended ({}): {last}", output.status);
            answers.insert(only.clone(), Answer::Held(how));
        }
        for name in attempts {
            let missing = || Answer::Broken(format!("no answer ({}): {last}", output.status));
            answers.entry(name.clone()).or_insert_with(missing);
        }
        answers
    }

    /// The attempts without a sandbox. Their temporary directory is in memory: a disk takes minutes.
    pub fn run_outside(&self, attempts: &[String]) -> BTreeMap<String, Answer> {
        let mut command = self.with_descriptor(&self.python);
        if Path::new("/dev/shm").is_dir() {
            command.env("TMPDIR", "/dev/shm");
        }
        self.answers(command, attempts)
    }

    /// The attempts in the sandbox of the workspace: one start for those that leave the others alone.
    pub fn run_inside(&self, attempts: &[String]) -> BTreeMap<String, Answer> {
        let (alone, together): (Vec<String>, Vec<String>) = attempts
            .iter()
            .cloned()
            .partition(|name| name.starts_with("exhaust_"));
        let alone = alone.into_iter().map(|name| vec![name]);
        let mut answers = BTreeMap::new();
        for group in alone.chain([together]).filter(|group| !group.is_empty()) {
            let mut command = self.with_descriptor(&self.base.join("bin/ubs"));
            command
                .arg("-C")
                .arg(self.base.join("ws"))
                .args(["sandbox", "--"])
                .arg(&self.python);
            answers.extend(self.answers(command, &group));
        }
        answers
    }

    /// What the victims heard, and everything of theirs that an attempt could have changed.
    pub fn state_of_victims(&self) -> Vec<String> {
        let mut state = Vec::new();
        for directory in ["victims", "ws"] {
            describe(&self.base.join(directory), &mut state);
        }
        state
    }

    /// What the sandbox left in the temporary directory and the state directory.
    pub fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        // The boot before made a directory in `scratch` for each check.
        let checks = ["config", "schema", "rehearsal", "registration"]
            .map(|name| format!("ws/.ubs/scratch/{name}"));
        for directory in ["tmp", "ws/.ubs/sandboxes"]
            .map(str::to_owned)
            .iter()
            .chain(&checks)
        {
            let entries = fs::read_dir(self.base.join(directory))
                .into_iter()
                .flatten()
                .flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        left
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Its end of file lets it remove what it made elsewhere.
        drop(self.victims.stdin.take());
        let _ = self.victims.wait();
        if let Some(directory) = &self.run_directory {
            remove(directory);
        }
        remove(self.keeps.path());
    }
}

/// Gives a tree to this user.
fn own(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("chown");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            own(&entry.path(), user);
        }
    }
}

/// Names, modes, sizes and times of everything below; not of the log, to which `ubs` itself may write.
fn describe(path: &Path, state: &mut Vec<String>) {
    let Ok(about) = fs::symlink_metadata(path) else {
        return;
    };
    let name = path.display().to_string();
    if name.contains("/.ubs/log.db") || name.ends_with("/.ubs") {
        return;
    }
    if about.is_dir() {
        state.push(format!("{name} {:o}", about.mode()));
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        entries.iter().for_each(|entry| describe(entry, state));
    } else {
        state.push(format!(
            "{name} {:o} {} {}.{}",
            about.mode(),
            about.len(),
            about.mtime(),
            about.mtime_nsec()
        ));
    }
}
