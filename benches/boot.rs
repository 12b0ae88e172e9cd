//! Clean boot of 200 services of `sleep`, against a bare loop that spawns them, in one run.
//!
//! `cargo bench --bench boot`. Prints the median of several rounds of each, taken in turn, and the
//! supervisor's resident memory once everything is up.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVICES: usize = 200;
const ROUNDS: usize = 7;

fn main() {
    // `cargo test --benches` calls this too: one short round shows that it works.
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let (services, rounds) = if testing { (5, 1) } else { (SERVICES, ROUNDS) };
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    let mut memory_kib = 0;
    for _ in 0..rounds {
        bare.push(spawn_bare(services));
        let (time, kib) = boot(services);
        ours.push(time);
        memory_kib = memory_kib.max(kib);
    }
    let (bare, ours) = (median(bare), median(ours));
    println!("clean boot of {services} services of `sleep`, median of {rounds} rounds:");
    println!("  bare loop that spawns them   {:>8.1} ms", ms(bare));
    println!("  ubs boot, until all are up   {:>8.1} ms", ms(ours));
    println!(
        "  ratio                        {:>8.2}   (at most 2)",
        ours.as_secs_f64() / bare.as_secs_f64()
    );
    println!(
        "  resident memory              {:>8.1} MB (under 20)",
        f64::from(memory_kib) / 1024.0
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The reference: what any supervisor has to do at least.
fn spawn_bare(services: usize) -> Duration {
    let begun = Instant::now();
    let mut children: Vec<Child> = (0..services)
        .map(|_| {
            Command::new("sleep")
                .arg("1000")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sleep runs")
        })
        .collect();
    let time = begun.elapsed();
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    time
}

/// From the start of the process until it says that everything is up, which is after that event is
/// durable; and the supervisor's resident memory then, in KiB.
fn boot(services: usize) -> (Duration, u32) {
    let workspace = tempfile::tempdir().expect("a directory");
    let mut manifest = "[app]\nname = \"bench\"\n\n[[layer]]\nname = \"all\"\n".to_owned();
    for index in 0..services {
        manifest.push_str(&format!(
            "[[layer.service]]\nname = \"s{index}\"\nrun = [\"sleep\", \"1000\"]\nstop = {{ signal = \"KILL\" }}\nmin_uptime = \"0s\"\n"
        ));
    }
    std::fs::write(workspace.path().join("ubs.toml"), manifest).expect("a manifest");
    let begun = Instant::now();
    let mut ubs = Command::new(env!("CARGO_BIN_EXE_ubs"))
        .arg("-C")
        .arg(workspace.path())
        .arg("boot")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ubs runs");
    // It says so after the event is durable.
    let stdout = ubs.stdout.take().expect("piped");
    let up = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.starts_with("[UP]"));
    assert!(up, "it never came up");
    let time = begun.elapsed();
    let kib = resident_kib(ubs.id());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(ubs.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
    assert!(
        ubs.wait().expect("it ends").success(),
        "it did not stop in order"
    );
    (time, kib)
}

fn resident_kib(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.trim().split(' ').next()?.parse().ok())
        .expect("VmRSS")
}
