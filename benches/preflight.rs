//! `ubs init` and the whole of `ubs preflight` on real applications, against the slowest single import
//! that the pre-flight has to run, by a bare interpreter, in the same run.
//!
//! `cargo bench --bench preflight`. The applications are those of `tests/real`.

#![allow(missing_docs)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::Workspace;
use support::real::check_out_in;
use ubs::Manifest;
use ubs::testing::imports;

const APPLICATIONS: [&str; 5] = ["gns3", "ihatemoney", "lnbits", "prefect", "pretalx"];
/// Each is run this often, in turn; the best run counts: nothing but a disturbance makes one slower.
const ROUNDS: usize = 5;

fn main() {
    // `cargo test --benches` calls this too: one application shows that it works.
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let (applications, rounds) = if testing {
        (&APPLICATIONS[..1], 1)
    } else {
        (&APPLICATIONS[..], ROUNDS)
    };
    println!("| application | files | init | slowest bare import | preflight | at most |");
    println!("|---|---|---|---|---|---|");
    for name in applications {
        let Some((workspace, ..)) = check_out_in("real", name) else {
            continue;
        };
        let init = best(rounds, || {
            timed(&mut workspace.command(&["init", "--force"]))
        });
        let manifest = Manifest::load(&workspace.path("ubs.toml")).unwrap();
        let statements = imports(&manifest);
        let (mut slowest, mut ours) = (Duration::ZERO, Duration::MAX);
        let mut bare = vec![Duration::MAX; statements.len()];
        for _ in 0..rounds {
            for (best, statement) in bare.iter_mut().zip(&statements) {
                *best = (*best).min(import(&workspace, statement));
            }
            ours = ours.min(timed(&mut workspace.command(&["preflight"])));
        }
        slowest = bare.into_iter().fold(slowest, Duration::max);
        println!(
            "| {name} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms |",
            count(workspace.root()),
            ms(init),
            ms(slowest),
            ms(ours),
            ms(slowest) * 1.3 + 150.0
        );
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn best(rounds: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..rounds).map(|_| run()).min().unwrap_or_default()
}

fn timed(command: &mut Command) -> Duration {
    let begun = Instant::now();
    command.output().expect("it runs");
    begun.elapsed()
}

fn import(workspace: &Workspace, statement: &str) -> Duration {
    let mut command = Command::new(workspace.path(".venv/bin/python"));
    command
        .args(["-B", "-c", statement])
        .current_dir(workspace.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    timed(&mut command)
}

fn count(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != ".venv")
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => count(&entry.path()),
            false => usize::from(entry.path().extension().is_some_and(|e| e == "py")),
        })
        .sum()
}
