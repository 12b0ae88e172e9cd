//! The siege: attempts to get out of a sandbox, each shown to succeed outside of it, as root and as an ordinary user.
//!
//! The attempts are programs below `tests/siege/attempts`; `victims.py` makes what they try to reach, `runner.py` runs
//! them. `ubs sandbox -- runner.py ...` must answer HELD where the same outside answers LEAKED. The table of the whole
//! siege is printed, and written to `siege.md` in Cargo's directory for tests.

mod ground;
mod proposals;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::support::venv::skipped;
use ground::{Answer, Ground, system_python};

/// Fewer attempts than this that succeed outside prove too little.
const PROVEN_MIN: usize = 45;

/// One of each kind, for the normal run.
const REPRESENTATIVES: [&str; 10] = [
    "answer_own_environment",
    "exhaust_closed_directory",
    "exhaust_daemon",
    "reach_capabilities",
    "reach_signal",
    "read_fingerprint_key",
    "read_live_env_file",
    "talk_socketpair_by_path",
    "write_fifo",
    "write_live_source",
];

/// An ordinary user that every Linux has (`nobody`).
const ORDINARY: u32 = 65_534;

/// Every attempt, by name.
fn all_attempts() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/siege/attempts");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("the attempts")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".py")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

/// The users as whom the attempts are run here; says so where one is missing.
fn users() -> Vec<Option<u32>> {
    if nix::unistd::geteuid().is_root() {
        return vec![None, Some(ORDINARY)];
    }
    skipped("the siege as root", "the tests do not run as root");
    vec![None]
}

fn user_name(user: Option<u32>) -> &'static str {
    match user {
        None if nix::unistd::geteuid().is_root() => "root",
        _ => "a user",
    }
}

type Answers = BTreeMap<String, Answer>;

/// Outside and inside of the sandbox, as this user.
fn besiege(user: Option<u32>, python: &Path, attempts: &[String]) -> (Answers, Answers) {
    let ground = Ground::prepare(user, python);
    let outside = ground.run_outside(attempts);
    let before = ground.state_of_victims();
    let inside = ground.run_inside(attempts);
    let after = ground.state_of_victims();
    assert_eq!(
        before, after,
        "the victims noticed something, whatever the attempts say"
    );
    assert_eq!(ground.left_behind(), [""; 0], "left behind by the sandbox");
    (outside, inside)
}

/// Each attempt's line, and what is wrong with it.
fn table(
    rows: &BTreeMap<Option<u32>, (Answers, Answers)>,
    attempts: &[String],
) -> (String, Vec<String>, usize) {
    let mut text = String::from("| attempt |");
    for user in rows.keys() {
        let _ = write!(text, " outside as {0} | inside as {0} |", user_name(*user));
    }
    text.push_str("\n|---|");
    text.push_str(&"---|---|".repeat(rows.len()));
    text.push('\n');
    let (mut wrong, mut proven) = (Vec::new(), 0);
    for name in attempts {
        let _ = write!(text, "| {name} |");
        let mut succeeds = false;
        for (user, (outside, inside)) in rows {
            let missing = Answer::Broken("it gave no answer".to_owned());
            let (out, within) = (
                outside.get(name).unwrap_or(&missing),
                inside.get(name).unwrap_or(&missing),
            );
            let shown = match out {
                Answer::Leaked(what) => format!("succeeds: {what}"),
                Answer::Held(why) | Answer::NotPossible(why) => format!("not possible here: {why}"),
                Answer::Broken(why) => format!("BROKEN: {why}"),
            };
            let _ = write!(text, " {} | {} |", cell(&shown), cell(&within.to_string()));
            succeeds |= matches!(out, Answer::Leaked(_));
            if matches!(within, Answer::Leaked(_) | Answer::Broken(_)) {
                wrong.push(format!("{name} inside as {}: {within}", user_name(*user)));
            }
            if let Answer::Broken(why) = out {
                wrong.push(format!("{name} outside as {}: {why}", user_name(*user)));
            }
        }
        proven += usize::from(succeeds);
        text.push('\n');
    }
    (text, wrong, proven)
}

/// Without what would end a cell of the table.
fn cell(text: &str) -> String {
    text.replace('|', "/").chars().take(100).collect()
}

/// Does this host give a sandbox a root of its own? The table is about one that has it.
fn has_own_root(user: Option<u32>, python: &Path) -> bool {
    let ground = Ground::prepare(user, python);
    let report = ground.ubs(&["sandbox", "--report", "--json"]).output();
    let report: serde_json::Value =
        serde_json::from_slice(&report.expect("ubs runs").stdout).unwrap_or_default();
    report["own_root"] == true
}

fn siege(attempts: &[String], proven_min: usize) {
    let Some(python) = system_python() else {
        return skipped("the siege", "no Python 3 in /usr/bin or /usr/local/bin");
    };
    let (able, unable): (Vec<_>, Vec<_>) = users()
        .into_iter()
        .partition(|user| has_own_root(*user, &python));
    for user in unable {
        skipped(
            "root of its own for a sandbox",
            &format!("as {}", user_name(user)),
        );
    }
    let rows: BTreeMap<_, _> = able
        .into_iter()
        .map(|user| (user, besiege(user, &python, attempts)))
        .collect();
    let (table, wrong, proven) = table(&rows, attempts);
    println!("{table}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("siege-{}.md", attempts.len()));
    std::fs::write(&file, &table).expect("the table is written");
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    assert!(
        proven >= proven_min,
        "only {proven} attempts succeed outside\n{table}"
    );
}

#[test]
fn one_attempt_of_each_kind_is_held() {
    let attempts = REPRESENTATIVES.map(str::to_owned);
    siege(&attempts, attempts.len());
}

const CLOSES_ITS_HOME: &str = r#"
import os

for root in (os.environ["HOME"], os.environ.get("TMPDIR", os.environ["HOME"]), "."):
    try:
        os.makedirs(os.path.join(root, "closed/within"))
        at = os.open(root, os.O_RDONLY)
        for _ in range(2_000):
            os.mkdir("d", dir_fd=at)
            at, above = os.open("d", os.O_RDONLY, dir_fd=at), at
            os.close(above)
        for name in ("closed/within", "closed", "."):
            os.chmod(os.path.join(root, name), 0)
    except OSError:
        pass
"#;

#[test]
fn what_a_rehearsal_closes_or_nests_deeply_is_removed() {
    let Some(python) = system_python() else {
        return skipped(
            "a rehearsal that closes its home",
            "no Python 3 in /usr/bin",
        );
    };
    for user in users() {
        let ground = Ground::prepare(user, &python);
        ground.write("app.py", CLOSES_ITS_HOME);
        ground.write(
            "ubs.toml",
            "[app]\nname = 'closes'\n[[layer]]\nname = 'all'\nrehearse = { imports = ['app'] }\n",
        );
        let run = ground.ubs(&["preflight"]).output().expect("ubs runs");
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.code().is_some_and(|code| code < 2), "{said}");
        assert!(
            said.contains("[REHEARSAL] all: PASS"),
            "the code did not run: {said}"
        );
        assert_eq!(ground.left_behind(), [""; 0], "as {}", user_name(user));
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn every_attempt_is_held() {
    siege(&all_attempts(), PROVEN_MIN);
}
