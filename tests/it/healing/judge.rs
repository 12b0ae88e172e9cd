//! One fault, from injection to verdict.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::support::Workspace;
use crate::support::postgres::Server;

/// A boot that has not settled after this is ended, and has no claim.
const BOOT_MAX: Duration = Duration::from_secs(150);
/// How long faults that time heals last.
const HELD: Duration = Duration::from_secs(12);

/// A kind of fault, and what is right for it.
#[derive(Debug, Deserialize)]
pub struct Kind {
    pub kind: String,
    right: String,
    /// What a finding has to match; empty if a look cannot know it.
    tells: String,
    style: String,
    /// The application works with it.
    #[serde(default)]
    works: bool,
    /// What `.env` must still hold at the end.
    #[serde(default)]
    keeps: String,
    /// What is changed without asking all the same: secrets that may be generated, declared defaults.
    #[serde(default)]
    may_change: Vec<String>,
    /// A sound boot was before.
    #[serde(default)]
    known: bool,
    /// A sound boot's supervisor was killed.
    #[serde(default)]
    orphan: bool,
    /// What a superuser of the database does, and takes back after a while.
    #[serde(default)]
    superuser: String,
    #[serde(default)]
    after_12s: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Row {
    pub kind: String,
    pub right: String,
    pub is_knowable: bool,
    pub is_told: bool,
    pub proposals: usize,
    before: String,
    boot: i32,
    after: String,
    approved: Option<String>,
    wrongs: Vec<String>,
    seconds: u64,
}

impl Row {
    /// The fault could not be injected, or the suite itself has one.
    pub fn untried(kind: &Kind) -> Self {
        Self {
            kind: kind.kind.clone(),
            right: kind.right.clone(),
            is_knowable: !kind.tells.is_empty(),
            is_told: false,
            proposals: 0,
            before: String::new(),
            boot: -1,
            after: String::new(),
            approved: None,
            wrongs: vec!["it could not be tried".to_owned()],
            seconds: 0,
        }
    }

    pub fn is_healed(&self) -> bool {
        self.before != WORKS && self.after == WORKS && self.boot == 0
    }

    pub fn is_healed_by_approval(&self) -> bool {
        self.approved.as_deref() == Some(WORKS)
    }

    /// Broken, called up, and nobody was told.
    pub fn is_false_up(&self) -> bool {
        self.boot == 0 && self.after != WORKS && !self.is_told
    }

    /// Broken where the probe does not look, called up, and told of before.
    pub fn is_up_with_a_warning(&self) -> bool {
        self.boot == 0 && self.after != WORKS && self.is_told
    }

    pub fn wrong(&self) -> String {
        self.wrongs.join("; ")
    }

    /// Is all of it as is right for this kind?
    pub fn is_met(&self) -> bool {
        let is_told = self.is_told || !self.is_knowable;
        let rest = match self.right.as_str() {
            "auto" | "wait" => self.is_healed(),
            "ask" => self.proposals == 1 && self.is_healed_by_approval(),
            _ => true,
        };
        is_told && rest && self.wrongs.is_empty() && !self.is_false_up()
    }

    fn outcome(&self) -> String {
        let mut text = match self.right.as_str() {
            _ if !self.wrongs.is_empty() => format!("**wrong: {}**", self.wrong()),
            _ if self.is_false_up() => "**false up**".to_owned(),
            _ if self.is_up_with_a_warning() => "up, with a warning".to_owned(),
            "sound" => "sound".to_owned(),
            _ if self.proposals == 0 && self.is_healed() => "healed".to_owned(),
            _ if self.is_healed_by_approval() => "healed once approved".to_owned(),
            _ => "left".to_owned(),
        };
        if !self.is_met() && self.wrongs.is_empty() {
            text.push_str(" (not met)");
        }
        text
    }

    pub fn line(&self) -> String {
        let told = match (self.is_knowable, self.is_told) {
            (false, _) => "-",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        let cell = |text: &str| {
            text.replace('|', "/")
                .replace('\n', " ")
                .chars()
                .take(70)
                .collect::<String>()
        };
        let approved = match &self.approved {
            Some(what) => format!(", approved: {}", cell(what)),
            None => String::new(),
        };
        format!(
            "| {} | {} | {} | {told} | {} ({} s) | {} | {}{approved} | {} |",
            self.kind,
            self.right,
            cell(&self.before),
            self.boot,
            self.seconds,
            cell(&self.after),
            self.proposals,
            self.outcome(),
        )
    }
}

const WORKS: &str = "works";

/// The program of faults.
pub fn faults(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/healing/faults.py"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null());
    command
}

struct Ground<'a> {
    python: &'a Path,
    kind: &'a Kind,
    seed: &'a str,
    workspace: Workspace,
    /// With the URL of its database.
    server: Option<(Server, String)>,
}

/// A fault that lasts until this is dropped.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ground<'_> {
    fn faults(&self, what: &str) -> Command {
        let mut command = faults(self.python);
        command
            .args([what, &self.kind.kind, self.seed])
            .arg(self.workspace.root());
        command.args(self.server.as_ref().map(|(_, url)| url));
        command
    }

    fn make(&self) {
        let output = self.faults("make").output().expect("faults");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.kind.kind);
    }

    fn inject(&self) -> Held {
        self.as_superuser(&self.kind.superuser);
        let mut command = self.faults("inject");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("faults");
        let mut said = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut said)
            .expect("it says something");
        assert_eq!(
            said.trim(),
            "ready",
            "{} cannot be injected",
            self.kind.kind
        );
        Held(child)
    }

    fn as_superuser(&self, script: &str) {
        if let Some((server, _)) = &self.server
            && !script.is_empty()
        {
            let database = match script.starts_with("ALTER DATABASE") {
                true => "postgres",
                false => "app",
            };
            server.sql(database, script);
        }
    }

    fn by_hand(&self) -> String {
        let output = self.faults("by_hand").output().expect("faults");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match said.is_empty() {
            true => format!("?? {}", String::from_utf8_lossy(&output.stderr)),
            false => said,
        }
    }

    /// Everything in the workspace and in its database, but what any run leaves.
    fn digest(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![self.workspace.root().to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
                let path = entry.path();
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if matches!(&*name, ".ubs" | "__pycache__" | "run") || name.ends_with("-journal") {
                    continue;
                }
                let about = std::fs::symlink_metadata(&path).expect("it is there");
                let content = match about.is_file() {
                    true => blake3::hash(&std::fs::read(&path).unwrap_or_default()).to_string(),
                    false => "-".to_owned(),
                };
                let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
                if about.is_dir() {
                    waiting.push(path.clone());
                }
                found.insert(path.display().to_string(), format!("{mode:o} {content}"));
            }
        }
        if let Some((server, _)) = &self.server {
            found.insert("database".to_owned(), server.dump("app"));
        }
        found
    }

    /// Exit code, and what was said.
    fn boot(&self) -> (i32, String) {
        let mut command = self.workspace.command(&["boot", "--until-up"]);
        let out = tempfile::tempfile().expect("a file");
        let mut child = command
            .stdout(out.try_clone().expect("a file"))
            .stderr(out.try_clone().expect("a file"))
            .spawn()
            .expect("ubs runs");
        let begun = Instant::now();
        let code = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status.code().unwrap_or(-1);
            }
            if begun.elapsed() > BOOT_MAX {
                let pid = i32::try_from(child.id()).expect("a pid");
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGTERM,
                );
                let _ = child.wait();
                break 99;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        use std::io::{Read, Seek};
        let mut out = out;
        let mut text = String::new();
        let _ = out.rewind();
        let _ = out.read_to_string(&mut text);
        (code, text)
    }

    fn missions(&self) -> Vec<Value> {
        let run = self.workspace.ubs(&["missions", "--json"]);
        serde_json::from_str(&run.stdout).unwrap_or_default()
    }
}

/// Injects a fault, looks, boots, and starts the application by hand before and after.
pub fn try_kind(python: &Path, kind: &Kind, seed: &str) -> Row {
    let server = kind.style.ends_with("postgres").then(|| {
        let server = Server::start().expect("a PostgreSQL server");
        let url = server
            .database_of_bob("SELECT 1")
            .replace("asyncpg", "psycopg2");
        (server, url)
    });
    let mut workspace = Workspace::new();
    if kind.style == "packages" {
        let wheels = workspace.path("wheels").display().to_string();
        workspace.set_env("PIP_FIND_LINKS", &wheels);
        workspace.set_env("PIP_NO_INDEX", "1");
    }
    let ground = Ground {
        python,
        kind,
        seed,
        workspace,
        server,
    };
    ground.make();
    let mut wrongs = Vec::new();
    if kind.known {
        let (code, said) = ground.boot();
        assert_eq!(code, 0, "{}: the sound boot: {said}", kind.kind);
    }
    if kind.orphan {
        leave_an_orphan(&ground.workspace);
    }
    let mut held = ground.inject();
    let before = ground.by_hand();
    let begun = Instant::now();
    if kind.right == "wait" {
        drop(held);
        ground.as_superuser(&kind.after_12s);
        held = ground.inject();
    }
    let at_first = ground.digest();
    let look = ground.workspace.ubs(&["preflight", "--json"]);
    let found = findings(&look.stdout);
    // A file that cannot be read at all is no finding, but an error.
    let is_told =
        tells(kind, &found) || look.code == 2 && tells(kind, &[Value::from(look.stderr.clone())]);
    if ground.digest() != at_first {
        wrongs.push("a look changed something".to_owned());
    }
    let healer = &ground;
    let (boot, said) = std::thread::scope(|scope| {
        if !kind.after_12s.is_empty() {
            scope.spawn(move || {
                std::thread::sleep(HELD.saturating_sub(begun.elapsed()));
                healer.as_superuser(&kind.after_12s);
            });
        }
        healer.boot()
    });
    let seconds = begun.elapsed().as_secs();
    let at_last = ground.digest();
    let missions = ground.missions();
    if kind.right == "wait" {
        std::thread::sleep(HELD.saturating_sub(begun.elapsed()));
    }
    let after = ground.by_hand();
    let waiting: Vec<&Value> = missions
        .iter()
        .filter(|m| m["status"] == "awaiting_approval")
        .collect();
    let changed: Vec<&String> = at_last
        .iter()
        .filter(|(path, digest)| at_first.get(*path) != Some(*digest))
        .map(|(path, _)| path)
        .chain(at_first.keys().filter(|path| !at_last.contains_key(*path)))
        .filter(|path| {
            !kind
                .may_change
                .iter()
                .any(|name| path.ends_with(name.as_str()))
        })
        .collect();
    if before == WORKS && after != WORKS {
        wrongs.push("it works no longer".to_owned());
    }
    match kind.right.as_str() {
        "sound" => {
            if boot != 0 || look.code != 0 {
                wrongs.push(format!("a false alarm (look {}, boot {boot})", look.code));
            }
            if !changed.is_empty() {
                wrongs.push(format!("it changed {changed:?}"));
            }
            if before != WORKS {
                wrongs.push("the control does not work".to_owned());
            }
        }
        "ask" if !changed.is_empty() => {
            wrongs.push(format!("it changed {changed:?} without asking"))
        }
        "told" if !changed.is_empty() => {
            wrongs.push(format!("it changed {changed:?}, which is a person's to do"));
        }
        _ => {}
    }
    if kind.works && boot != 0 {
        wrongs.push("what works is stopped".to_owned());
    }
    let approved = (!waiting.is_empty()).then(|| {
        for mission in &waiting {
            let slug = mission["slug"].as_str().expect("a slug");
            ground.workspace.ubs(&["missions", "approve", slug]);
        }
        ground.by_hand()
    });
    if approved.as_deref().is_some_and(|what| what != WORKS) && kind.right == "ask" {
        wrongs.push("what was approved heals nothing".to_owned());
    }
    let kept = std::fs::read_to_string(ground.workspace.path(".env")).unwrap_or_default();
    if !kind.keeps.is_empty() && approved.is_none() && !kept.contains(&kind.keeps) {
        wrongs.push("the old value is gone".to_owned());
    }
    drop(held);
    for pid in ground.workspace.leftovers() {
        wrongs.push(format!("process {pid} was left behind"));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let row = Row {
        kind: kind.kind.clone(),
        right: kind.right.clone(),
        is_knowable: !kind.tells.is_empty(),
        is_told,
        proposals: waiting.len(),
        before,
        boot,
        after,
        approved,
        wrongs,
        seconds,
    };
    if let Some(directory) = std::env::var_os("UBS_HEALING_SAID") {
        let text = format!("{}\n\n{found:#?}\n\n{said}\n\n{missions:#?}\n", row.line());
        let _ = std::fs::write(Path::new(&directory).join(&kind.kind), text);
    }
    row
}

fn findings(look: &str) -> Vec<Value> {
    let look: Value = serde_json::from_str(look).unwrap_or_default();
    let checks = look["checks"].as_array().cloned().unwrap_or_default();
    let all = checks
        .into_iter()
        .flat_map(|check| check["findings"].as_array().cloned().unwrap_or_default());
    all.filter(|finding| finding["severity"] != "info")
        .collect()
}

fn tells(kind: &Kind, found: &[Value]) -> bool {
    let Ok(pattern) = regex::Regex::new(&format!("(?i){}", kind.tells)) else {
        return false;
    };
    !kind.tells.is_empty()
        && found
            .iter()
            .any(|finding| pattern.is_match(&finding.to_string()))
}

/// A boot whose supervisor is killed, so that its services run on.
fn leave_an_orphan(workspace: &Workspace) {
    workspace
        .ubs(&["boot", "--detach", "--until-ready"])
        .expect(0);
    let is_ubs = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ubs")
    };
    let found = workspace.leftovers();
    let pid = found.into_iter().find(is_ubs).expect("a supervisor");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("a signal");
}
