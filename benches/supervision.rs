//! A running supervisor's cost, each figure beside its reference of the same run.
//!
//! `cargo bench --bench supervision`, or only some of it: `cargo bench --bench supervision -- chain idle`. The parts are
//! `start`, `chain`, `idle`, `probes` and `output`. The services are `sleep`, or this program itself.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Services of the parts that have many.
const SERVICES: usize = 200;
/// How many times as many the start has to be linear for.
const TIMES: usize = 5;
const START_ROUNDS: usize = 7;
const CHAIN: usize = 50;
const CHAIN_ROUNDS: usize = 5;
/// A service of the chain listens after so long.
const LISTENS_AFTER: Duration = Duration::from_millis(20);
/// An idle or probing supervisor is watched for so long.
const WATCHED: Duration = Duration::from_secs(10);
/// What the engine does after the start comes to rest: it looks at its log for some 3 s after a write.
const SETTLES_WITHIN: Duration = Duration::from_secs(4);
const OUTPUT_BYTES: usize = 161_000_000;
/// Bytes of one line of it, with its end.
const OUTPUT_LINE: usize = 100;
/// What a kernel counts processor time in, a second (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// Measures one thing, and prints it.
type Part = fn(&Size);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => return serve(&arguments[1..]),
        Some("print") => return print(&arguments[1..]),
        _ => {}
    }
    // `cargo test --benches` calls this too: one short round shows that it works.
    let testing = !arguments.iter().any(|argument| argument == "--bench");
    let size = Size::of(testing);
    let chosen: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let parts: [(&str, Part); 6] = [
        ("start", start),
        ("peers", peers),
        ("chain", chain),
        ("idle", idle),
        ("probes", probes),
        ("output", output),
    ];
    for (name, part) in parts {
        if chosen.is_empty() || chosen.iter().any(|wanted| *wanted == name) {
            part(&size);
        }
    }
}

/// How much of everything.
struct Size {
    services: usize,
    rounds: usize,
    chain: usize,
    chain_rounds: usize,
    watched: Duration,
    output: usize,
    /// For as long as what it prints is spread over.
    output_for: Duration,
}

impl Size {
    fn of(testing: bool) -> Self {
        if testing {
            let watched = Duration::from_millis(100);
            return Self {
                services: 3,
                rounds: 1,
                chain: 3,
                chain_rounds: 1,
                watched,
                output: 1_000_000,
                output_for: watched,
            };
        }
        Self {
            services: SERVICES,
            rounds: START_ROUNDS,
            chain: CHAIN,
            chain_rounds: CHAIN_ROUNDS,
            watched: WATCHED,
            output: OUTPUT_BYTES,
            output_for: WATCHED,
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ratio(ours: Duration, bare: Duration) -> f64 {
    ours.as_secs_f64() / bare.as_secs_f64()
}

// The parts.

/// From the start of `ubs` until it says that all are up, which is durable then.
fn start(size: &Size) {
    for services in [size.services, size.services * TIMES] {
        let (mut bare, mut up) = (Vec::new(), Vec::new());
        let (mut bare_ran, mut ran) = (Vec::new(), Vec::new());
        let mut memory = Memory::default();
        for _ in 0..size.rounds {
            let before = ran_for("/proc/thread-self");
            bare.push(spawn_bare(services));
            bare_ran.push(ran_for("/proc/thread-self").saturating_sub(before));
            let supervisor = Supervisor::boot(&sleepers(services));
            let threads = threads(supervisor.pid());
            ran.push(threads.iter().map(|thread| ran_for(thread)).sum());
            up.push(supervisor.up);
            // What only the start needed is given back once the boot is up.
            std::thread::sleep(Duration::from_millis(500));
            memory = Memory::of(supervisor.pid());
            supervisor.stop();
        }
        let (bare, up) = (median(bare), median(up));
        println!(
            "start of {services} services of `sleep`, median of {} rounds:",
            size.rounds
        );
        println!("  bare loop that spawns them      {:>8.1} ms", ms(bare));
        println!(
            "  ubs boot, all up and durable    {:>8.1} ms   ratio {:.2} (at most 1.3 at 200)",
            ms(up),
            ratio(up, bare)
        );
        println!(
            "  processor time without children {:>8.1} ms, of the bare loop {:.1} ms",
            ms(median(ran)),
            ms(median(bare_ran))
        );
        println!(
            "  resident memory                 {:>8.1} MB (at most 20 at 200): {:.1} its own, {:.1} of mapped files",
            memory.resident, memory.own, memory.mapped
        );
    }
}

/// The start with other supervisors, where they are installed: until all processes run, which is durable with none of
/// them. `apt install supervisor s6` on Debian.
fn peers(size: &Size) {
    type Peer = fn(&Path, usize, &str) -> Command;
    let peers: [(&str, Peer); 2] = [("supervisord", supervisord), ("s6-svscan", s6_svscan)];
    for (name, configured) in peers {
        if Command::new("which")
            .arg(name)
            .output()
            .is_ok_and(|found| !found.status.success())
        {
            println!("{name} is not installed, and not measured");
            continue;
        }
        let mut times = Vec::new();
        let mut memory = 0.0;
        for round in 0..size.rounds {
            let place = tempfile::tempdir().expect("a directory");
            // Nobody else sleeps so long.
            let seconds = format!("10{}{round}", std::process::id());
            let mut command = configured(place.path(), size.services, &seconds);
            let begun = Instant::now();
            let mut peer = spawn_quietly(&mut command);
            while running(&["sleep", &seconds]).len() < size.services {
                assert!(
                    begun.elapsed() < Duration::from_secs(60),
                    "{name} starts all"
                );
                std::thread::sleep(Duration::from_millis(2));
            }
            times.push(begun.elapsed());
            std::thread::sleep(Duration::from_millis(500));
            let helpers = running(&["s6-supervise"]);
            let pids = helpers.into_iter().chain([peer.id()]);
            memory = pids.map(|pid| Memory::of(pid).resident).sum();
            let pid = nix::unistd::Pid::from_raw(i32::try_from(peer.id()).expect("a pid"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
            peer.wait().expect("it ends");
        }
        println!(
            "start of {} services with {name}, until all run, median of {} rounds: {:.1} ms; {memory:.1} MB resident",
            size.services,
            size.rounds,
            ms(median(times)),
        );
    }
}

fn supervisord(place: &Path, services: usize, seconds: &str) -> Command {
    let programs = (0..services).map(|index| {
        format!(
            "[program:s{index}]\ncommand=sleep {seconds}\nstartsecs=0\nstopsignal=KILL\nstdout_logfile=NONE\n\
             stderr_logfile=NONE\n"
        )
    });
    let text = format!(
        "[supervisord]\nnodaemon=true\nlogfile=log\npidfile=pid\n{}",
        programs.collect::<String>()
    );
    fs::write(place.join("supervisord.conf"), text).expect("a file");
    let mut command = Command::new("supervisord");
    command.args(["-c", "supervisord.conf"]).current_dir(place);
    command
}

fn s6_svscan(place: &Path, services: usize, seconds: &str) -> Command {
    for index in 0..services {
        let directory = place.join(format!("s{index}"));
        fs::create_dir(&directory).expect("a directory");
        let run = directory.join("run");
        fs::write(&run, format!("#!/bin/sh\nexec sleep {seconds}\n")).expect("a file");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let mut command = Command::new("s6-svscan");
    command.arg(place);
    command
}

/// Pids of what runs with a command line that begins so.
fn running(command: &[&str]) -> Vec<u32> {
    let wanted: Vec<u8> = command
        .iter()
        .flat_map(|word| [word.as_bytes(), &[0]].concat())
        .collect();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(&wanted))
    };
    pids.filter(is_it).collect()
}

/// Each service starts once the one before is ready, by a port that it opens after 20 ms.
fn chain(size: &Size) {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..size.chain_rounds {
        let ports = free_ports(size.chain);
        bare.push(chain_bare(&ports));
        let supervisor = Supervisor::boot(&chained(&ports));
        ours.push(supervisor.up);
        supervisor.stop();
    }
    let (bare, ours) = (median(bare), median(ours));
    println!(
        "chain of {} services, each listening after 20 ms, median of {} rounds:",
        size.chain, size.chain_rounds
    );
    println!("  bare loop, a connect each ms    {:>8.1} ms", ms(bare));
    println!(
        "  ubs boot, until all are ready   {:>8.1} ms   ratio {:.2} (at most 1.3)",
        ms(ours),
        ratio(ours, bare)
    );
}

/// Nothing is due.
fn idle(size: &Size) {
    let supervisor = Supervisor::boot(&sleepers(size.services));
    std::thread::sleep(SETTLES_WITHIN);
    let before = wake_ups(supervisor.pid());
    std::thread::sleep(size.watched);
    let after = wake_ups(supervisor.pid());
    supervisor.stop();
    println!(
        "idle with {} services and no probes, {:.1} s:",
        size.services,
        size.watched.as_secs_f64()
    );
    println!(
        "  context switches, all threads   {:>8}      (none)",
        after - before
    );
}

/// Every service is asked over HTTP each second.
fn probes(size: &Size) {
    let ports = free_ports(size.services);
    let supervisor = Supervisor::boot(&probed(&ports));
    std::thread::sleep(SETTLES_WITHIN);
    let before = processor_time(supervisor.pid());
    std::thread::sleep(size.watched);
    let used = processor_time(supervisor.pid()) - before;
    supervisor.stop();
    println!(
        "{} http probes a second, {:.1} s:",
        size.services,
        size.watched.as_secs_f64()
    );
    println!(
        "  of one core                     {:>8.1} %    (under 5)",
        100.0 * used / size.watched.as_secs_f64()
    );
}

/// One service prints as fast as is asked; what it printed is numbered.
fn output(size: &Size) {
    let program = own_program();
    let (bytes, time) = (size.output, size.output_for.as_millis());
    let manifest = format!(
        "{HEAD}[[layer.service]]\nname = \"s0\"\nrun = ['{program}', 'print', '{bytes}', '{time}']\n{QUICK}"
    );
    let supervisor = Supervisor::boot(&manifest);
    let before = Memory::of(supervisor.pid()).resident;
    let begun = Instant::now();
    let used = processor_time(supervisor.pid());
    let mut most = before;
    let done = supervisor.path("done");
    while !Path::new(&done).exists() {
        most = most.max(Memory::of(supervisor.pid()).resident);
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let used = processor_time(supervisor.pid()) - used;
    let lines = bytes / OUTPUT_LINE;
    let kept = await_last_line(&supervisor, lines);
    supervisor.stop();
    println!(
        "{:.0} MB of output, wanted within {:.1} s:",
        bytes as f64 / 1e6,
        size.output_for.as_secs_f64()
    );
    println!(
        "  taken from the pipe in          {:>8.1} s, {:.1} s of a core",
        took.as_secs_f64(),
        used
    );
    println!(
        "  lines                           {lines:>8}      the last {kept} are in the log files, without a gap"
    );
    println!("  resident memory                 {before:>8.1} MB before, at most {most:.1} MB");
}

// What the supervisor is given.

const HEAD: &str = "[app]\nname = \"bench\"\nstable_after = \"0s\"\n\n[[layer]]\nname = \"all\"\n";
const QUICK: &str = "stop = { signal = \"KILL\" }\nmin_uptime = \"0s\"\n";

fn sleepers(services: usize) -> String {
    let services = (0..services).map(|index| {
        format!("[[layer.service]]\nname = \"s{index}\"\nrun = [\"sleep\", \"1000\"]\n{QUICK}")
    });
    format!("{HEAD}{}", services.collect::<String>())
}

fn chained(ports: &[u16]) -> String {
    let program = own_program();
    let services = ports.iter().enumerate().map(|(index, port)| {
        let needs = match index.checked_sub(1) {
            Some(before) => format!("needs = {{ s{before} = \"ready\" }}\n"),
            None => String::new(),
        };
        format!(
            "[[layer.service]]\nname = \"s{index}\"\nrun = ['{program}', 'serve', '{port}', '{}']\n\
             ready = {{ tcp = \"127.0.0.1:{port}\" }}\nstop = {{ signal = \"KILL\" }}\n{needs}",
            LISTENS_AFTER.as_millis()
        )
    });
    format!("{HEAD}{}", services.collect::<String>())
}

fn probed(ports: &[u16]) -> String {
    let program = own_program();
    let services = ports.iter().enumerate().map(|(index, port)| {
        format!(
            "[[layer.service]]\nname = \"s{index}\"\nrun = ['{program}', 'serve', '{port}', '0']\n\
             ready = {{ http = \"http://127.0.0.1:{port}/\", interval = \"100ms\" }}\nstop = {{ signal = \"KILL\" }}\n"
        )
    });
    format!("{HEAD}{}", services.collect::<String>())
}

// The references.

/// What any supervisor has to do at least.
fn spawn_bare(services: usize) -> Duration {
    let begun = Instant::now();
    let children: Vec<Child> = (0..services)
        .map(|_| spawn_quietly(Command::new("sleep").arg("1000")))
        .collect();
    let time = begun.elapsed();
    end(children);
    time
}

fn chain_bare(ports: &[u16]) -> Duration {
    let delay = LISTENS_AFTER.as_millis().to_string();
    let begun = Instant::now();
    let mut children = Vec::new();
    for port in ports {
        let mut command = Command::new(own_program());
        command.args(["serve", &port.to_string(), &delay]);
        children.push(spawn_quietly(&mut command));
        while TcpStream::connect(("127.0.0.1", *port)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let time = begun.elapsed();
    end(children);
    time
}

fn spawn_quietly(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs")
}

fn end(children: Vec<Child>) {
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

// The services.

/// Listens on a port after some milliseconds, and answers whatever it is asked with 200.
fn serve(arguments: &[String]) {
    let number = |index: usize| arguments[index].parse::<u64>().expect("a number");
    std::thread::sleep(Duration::from_millis(number(1)));
    let port = u16::try_from(number(0)).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        // A connection without a request is a tcp probe.
        if stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    }
}

/// Prints so many bytes of numbered lines, evenly over so many milliseconds; then says how many lines in `done`.
fn print(arguments: &[String]) {
    let number = |index: usize| arguments[index].parse::<usize>().expect("a number");
    let (lines, over_ms) = (number(0) / OUTPUT_LINE, number(1).max(1));
    let begun = Instant::now();
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    for line in 0..lines {
        writeln!(out, "{line:0width$}", width = OUTPUT_LINE - 1).expect("the pipe is read");
        if line % 1_000 == 0 {
            let due = Duration::from_millis((line as u64 * over_ms as u64) / lines as u64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    out.flush().expect("the pipe is read");
    fs::write("done", "").expect("a file");
    std::thread::sleep(Duration::from_secs(1000));
}

// The supervisor, and what is seen of it from outside.

struct Supervisor {
    workspace: tempfile::TempDir,
    child: Child,
    /// From its start until it said that all is up.
    up: Duration,
}

impl Supervisor {
    fn boot(manifest: &str) -> Self {
        let workspace = tempfile::tempdir().expect("a directory");
        fs::write(workspace.path().join("ubs.toml"), manifest).expect("a manifest");
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ubs"))
            .arg("-C")
            .arg(workspace.path())
            .arg("boot")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ubs runs");
        // It says so after the event is durable.
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let up = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.starts_with("[UP]"));
        let time = begun.elapsed();
        assert!(up, "it never came up");
        // Nobody reads on; a pipe that is closed would be an error of ours.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            workspace,
            child,
            up: time,
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn path(&self, name: &str) -> String {
        self.workspace.path().join(name).display().to_string()
    }

    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
        assert!(
            self.child.wait().expect("it ends").success(),
            "it did not stop in order"
        );
    }
}

#[derive(Default)]
struct Memory {
    resident: f64,
    own: f64,
    mapped: f64,
}

impl Memory {
    /// In MB.
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|text| text.trim().split(' ').next()?.parse::<f64>().ok());
            kib.expect("a field of /proc/PID/status") / 1024.0
        };
        Self {
            resident: field("VmRSS:"),
            own: field("RssAnon:"),
            mapped: field("RssFile:"),
        }
    }
}

fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .map(|task| task.path().display().to_string())
        .collect()
}

/// Each time that a thread got a processor after it had waited for something, or had to make room for another.
fn wake_ups(pid: u32) -> u64 {
    threads(pid)
        .iter()
        .map(|thread| fs::read_to_string(format!("{thread}/status")).unwrap_or_default())
        .flat_map(|status| {
            status
                .lines()
                .filter(|line| line.contains("ctxt_switches:"))
                .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
                .collect::<Vec<_>>()
        })
        .sum()
}

/// Seconds of processor time: its own, without those of its children.
fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / TICKS
}

/// How long a thread that lives had a processor; what others load the machine with does not count.
fn ran_for(thread: &str) -> Duration {
    let text = fs::read_to_string(format!("{thread}/schedstat")).unwrap_or_default();
    let first = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// Waits until the last line of the output is in the log file; how many lines before it are there without a gap.
fn await_last_line(supervisor: &Supervisor, lines: usize) -> usize {
    let name = supervisor.path(".ubs/logs/s0.log");
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(&name).unwrap_or_default();
        let last = text.lines().last().and_then(number_of);
        if last == Some(lines - 1) {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the last line of {lines} is missing; the last one is {last:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut numbers = Vec::new();
    for name in [
        format!("{name}.3"),
        format!("{name}.2"),
        format!("{name}.1"),
        name,
    ] {
        let text = fs::read_to_string(name).unwrap_or_default();
        numbers.extend(
            text.lines()
                .map(|line| number_of(line).expect("a numbered line")),
        );
    }
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "lines are missing");
    }
    numbers.len()
}

/// The number of a line of the log file, after its moment.
fn number_of(line: &str) -> Option<usize> {
    line.split_once(' ')?.1.parse().ok()
}

fn own_program() -> String {
    let program = std::env::current_exe().expect("this program");
    program.display().to_string()
}

/// Ports of this host that nobody uses now.
fn free_ports(number: usize) -> Vec<u16> {
    let listeners = (0..number).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    let listeners: Vec<TcpListener> = listeners.collect();
    let ports = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("an address").port());
    ports.collect()
}
