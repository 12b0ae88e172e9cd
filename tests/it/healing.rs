//! The healing truth: faults, each injected alone into an application that boots, and what `ubs` makes of it.
//!
//! The applications are written by `healing/app.py`, the faults and what is right for each by `healing/faults.py`. What is
//! broken and what is healed is decided by the application started by hand, without `ubs`, before and after; never by
//! the log. Names and ports are drawn by a seed.
//!
//!     UBS_HEALING=kind,kind UBS_HEALING_SEED=7 cargo test --test it -- --ignored --nocapture healing::the_healing_truth

mod judge;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::support::venv;
use judge::{Kind, Row, try_kind};

/// What the applications are made of.
const PACKAGES: [&str; 5] = [
    "fastapi==0.165.0",
    "sqlalchemy==2.1.9",
    "uvicorn==0.54.0",
    "alembic==1.20.1",
    "psycopg2-binary==2.9.13",
];

/// Of the groups that no other test of the normal run has, one each.
const REPRESENTATIVES: [&str; 4] = [
    "upload_directory_missing",
    "migration_pending",
    "near_value",
    "name_one_letter_off",
];

/// What is not as it should be yet; `docs/healing-truth.md` has the reasons.
const NOT_MET: [&str; 0] = [];

/// Kinds that are tried side by side.
const JOBS: usize = 3;

fn all_kinds() -> Option<(PathBuf, Vec<Kind>)> {
    let python = venv::python_with(&PACKAGES)?;
    let listed = judge::faults(&python).arg("list").output().expect("faults");
    let kinds = serde_json::from_slice(&listed.stdout).expect("kinds as JSON");
    Some((python, kinds))
}

fn run(python: &std::path::Path, kinds: &[Kind]) -> Vec<Row> {
    let seed = std::env::var("UBS_HEALING_SEED").unwrap_or_else(|_| "7".to_owned());
    eprintln!("healing: seed {seed}, {} kinds", kinds.len());
    let waiting = Mutex::new((0..kinds.len()).collect::<Vec<_>>());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().pop();
                    let Some(n) = next else { return };
                    let kind = &kinds[n];
                    let tried = std::panic::catch_unwind(|| try_kind(python, kind, &seed));
                    let row = tried.unwrap_or_else(|_| Row::untried(kind));
                    eprintln!("{}", row.line());
                    rows.lock().unwrap().push((n, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(n, _)| *n);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| kind | right | by hand before | told before the boot | boot | by hand after | proposals | outcome |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    let of = |right: &'static str| rows.iter().filter(move |row| row.right == right);
    let _ = writeln!(text);
    for right in ["auto", "wait"] {
        let healed = of(right).filter(|row| row.is_healed()).count();
        let _ = writeln!(
            text,
            "- `{right}`: {healed} of {} healed",
            of(right).count()
        );
    }
    let asked = of("ask").filter(|row| row.proposals > 0).count();
    let proved = of("ask").filter(|row| row.is_healed_by_approval()).count();
    let _ = writeln!(
        text,
        "- `ask`: {asked} of {} end as a proposal that waits for approval; {proved} work by hand once it is approved",
        of("ask").count()
    );
    let known = rows.iter().filter(|row| row.is_knowable);
    let told = known.clone().filter(|row| row.is_told).count();
    let _ = writeln!(text, "- told before the boot: {told} of {}", known.count());
    let controls = of("sound").filter(|row| row.wrong().is_empty()).count();
    let _ = writeln!(
        text,
        "- sound: {controls} of {} boot and stay as they are",
        of("sound").count()
    );
    let false_up = rows.iter().filter(|row| row.is_false_up()).count();
    let wrong = rows.iter().filter(|row| !row.wrong().is_empty()).count();
    let warned = rows.iter().filter(|row| row.is_up_with_a_warning()).count();
    let _ = writeln!(
        text,
        "- false \"up\": {false_up}; up where the probe does not look, with a warning: {warned}\n- wrong: {wrong}"
    );
    text
}

/// Each kind ends as is right for it, but for those that are known not to.
fn expect(rows: &[Row]) {
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for row in rows {
        match (row.is_met(), NOT_MET.contains(&row.kind.as_str())) {
            (false, false) => worse.push(row.line()),
            (true, true) => better.push(row.kind.clone()),
            _ => {}
        }
    }
    assert!(
        worse.is_empty(),
        "not as it should be:\n{}",
        worse.join("\n")
    );
    assert!(
        better.is_empty(),
        "met now, so take it out of NOT_MET: {better:?}"
    );
}

#[test]
fn representatives_of_the_healing_truth() {
    if let Some((python, mut kinds)) = all_kinds() {
        kinds.retain(|kind| REPRESENTATIVES.contains(&kind.kind.as_str()));
        assert_eq!(kinds.len(), REPRESENTATIVES.len());
        expect(&run(&python, &kinds));
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn the_healing_truth() {
    let Some((python, mut kinds)) = all_kinds() else {
        return;
    };
    let chosen = std::env::var("UBS_HEALING").unwrap_or_default();
    if !chosen.is_empty() {
        kinds.retain(|kind| chosen.split(',').any(|one| one == kind.kind));
    }
    let rows = run(&python, &kinds);
    let text = table(&rows);
    println!("{text}");
    let _ = std::fs::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("healing.md"),
        &text,
    );
    expect(&rows);
}
