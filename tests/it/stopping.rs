//! How services are stopped, who is reaped, and what a service gets of its supervisor.

use crate::support::{Running, Workspace, await_that, ubs_binary, venv};

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

fn manifest(services: &[(&str, &str, &str)]) -> String {
    let mut text = "[app]\nname = \"probe\"\n\n[[layer]]\nname = \"one\"\n".to_owned();
    for (name, script, more) in services {
        // A one-shot has no uptime to prove.
        let uptime = if more.contains("oneshot") || more.contains("min_uptime") {
            ""
        } else {
            "min_uptime = \"0s\""
        };
        text.push_str(&format!(
            "\n[[layer.service]]\nname = \"{name}\"\nrun = ['sh', '-c', '''{script}''']\n{uptime}\n{more}\n"
        ));
    }
    text
}

fn boot(workspace: &Workspace) -> Running {
    let running = workspace.start(&["boot", "--mode", "layered"]);
    await_that("the service runs", || workspace.path("up").exists());
    running
}

/// Ends in order, half a second after it was asked to.
const SLOW_WORKER: &str = "trap \"sleep 0.5; echo saved > saved; exit 0\" TERM; \
     echo up > up; while :; do sleep 0.05; done";

#[test]
fn a_wrapper_that_ends_first_does_not_cost_its_child_the_grace() {
    let workspace = Workspace::with_manifest(&manifest(&[(
        "a",
        "echo go && sh worker.sh; true",
        "stop = { timeout = \"30s\" }",
    )]));
    workspace.write("worker.sh", SLOW_WORKER);
    let running = boot(&workspace);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert_eq!(workspace.read("saved"), "saved\n");
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn daemons_in_a_session_of_their_own_are_ended_too_and_in_order() {
    let workspace = Workspace::with_manifest(&manifest(&[
        (
            "a",
            "setsid sh worker.sh & exec sleep 600",
            "stop = { timeout = \"30s\" }",
        ),
        ("b", "setsid sleep 600 & exit 0", "oneshot = true"),
    ]));
    workspace.write("worker.sh", SLOW_WORKER);
    let running = boot(&workspace);
    await_that("the task is done", || workspace.leftovers().len() >= 4);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert_eq!(workspace.read("saved"), "saved\n");
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn what_had_to_be_killed_is_said() {
    let script = "sh -c \"trap : TERM INT; echo up > up; while :; do sleep 0.05; done\"; true";
    let workspace = Workspace::with_manifest(&manifest(&[(
        "a",
        script,
        "stop = { timeout = \"300ms\" }",
    )]));
    let running = boot(&workspace);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert!(workspace.leftovers().is_empty());
    let replay = workspace.ubs(&["replay", "last"]).expect(0).stdout;
    assert!(
        replay.contains("a had not ended when asked to and was killed"),
        "{replay}"
    );
    let log = workspace.read(".ubs/logs/a.log");
    assert!(
        log.contains("ubs: did not end within 300 ms and was killed: sh (process "),
        "{log}"
    );
}

#[test]
fn signals_that_stop_nothing_are_answered_and_a_third_one_changes_nothing() {
    let script = "trap : TERM; echo up > up; while :; do sleep 0.05; done";
    let workspace =
        Workspace::with_manifest(&manifest(&[("a", script, "stop = { timeout = \"60s\" }")]));
    // In the background, so it has no terminal.
    workspace
        .ubs(&["boot", "--mode", "layered", "--detach"])
        .expect(0);
    let status = workspace.ubs(&["health", "--json"]).json();
    let lock: serde_json::Value =
        serde_json::from_str(&workspace.read(".ubs/supervisor.lock")).expect("JSON");
    let pid = i32::try_from(lock["process"]["pid"].as_i64().expect("a pid")).expect("a pid");
    let signal = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    for (harmless, said) in [
        (
            Signal::SIGUSR1,
            "SIGUSR1: the boot is running; a ready (process ",
        ),
        (Signal::SIGUSR2, "SIGUSR2: the log file of each service"),
        (
            Signal::SIGHUP,
            "SIGHUP: the environment files were read again",
        ),
    ] {
        signal(harmless).expect("it lives");
        await_that(said, || {
            workspace.read(".ubs/supervisor.log").contains(said)
        });
    }
    assert!(!workspace.leftovers().is_empty(), "{status}");
    assert!(
        !workspace
            .kinds()
            .iter()
            .any(|kind| kind == "stop_requested")
    );
    signal(Signal::SIGINT).expect("it lives");
    await_that("it stops", || {
        workspace
            .kinds()
            .iter()
            .any(|kind| kind == "stop_requested")
    });
    let begun = Instant::now();
    let _ = signal(Signal::SIGINT);
    let _ = signal(Signal::SIGINT);
    let path = format!("/proc/{pid}");
    await_that("it ends", || {
        !Path::new(&path).exists()
            || std::fs::read_to_string(format!("{path}/stat")).is_ok_and(|s| s.contains(") Z "))
    });
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(workspace.leftovers().is_empty());
}

/// Fifty orphans that end at once, and one that stays.
const ORPHANS: &str = "for i in $(seq 50); do sh -c \"sleep 0.1 &\"; done; setsid sleep 600 & \
     echo $! > stray; exec sh -c \"sleep 0.5; echo up > up; exec sleep 600\"";

/// What `/proc/PID/stat` says of each process: pid, state, parent.
fn processes() -> Vec<(u32, String, u32)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stat = |pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        Some((pid, fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    };
    pids.filter_map(stat).collect()
}

#[test]
fn orphans_are_adopted_and_collected() {
    let script = "(setsid sleep 600 &); ".to_owned() + ORPHANS;
    let workspace = Workspace::with_manifest(&manifest(&[("a", &script, "")]));
    let running = boot(&workspace);
    let ours = || {
        processes()
            .into_iter()
            .filter(|(_, _, parent)| *parent == running.pid())
    };
    await_that("one is adopted", || {
        ours().filter(|(_, state, _)| state != "Z").count() == 2
    });
    await_that("no zombie is left", || {
        !ours().any(|(_, state, _)| state == "Z")
    });
    running.signal(Signal::SIGTERM);
    running.wait();
    assert!(workspace.leftovers().is_empty());
}

#[test]
fn process_1_needs_no_home_and_no_writable_root() {
    let workspace = Workspace::with_manifest(&manifest(&[("a", ORPHANS, "")]));
    let script = format!(
        "mount --bind . . && cd . && mount -o remount,bind,ro / && cd '{}' && \
         exec '{}' boot --mode layered",
        workspace.root().display(),
        ubs_binary().display()
    );
    let namespaces = [
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
    ];
    let mut command = std::process::Command::new("unshare");
    let path = std::env::var("PATH").expect("a PATH");
    command
        .args(namespaces)
        .arg(&script)
        .env_clear()
        .env("PATH", path);
    command.current_dir(workspace.root());
    let Ok(mut child) = command.spawn() else {
        return venv::skipped("unshare", "no program unshare");
    };
    let mut ended = None;
    await_that(
        "the service runs, or there is no right to make namespaces",
        || {
            ended = child.try_wait().expect("a child");
            ended.is_some() || workspace.path("up").exists()
        },
    );
    if ended.is_some() && !workspace.path(".ubs").exists() {
        return venv::skipped("namespaces", "this user may not make namespaces");
    }
    assert_eq!(ended, None, "it ended");
    let first = processes()
        .into_iter()
        .find(|(_, _, parent)| *parent == child.id());
    let (first, ..) = first.expect("process 1");
    let zombies = || {
        let all = processes().into_iter();
        all.filter(|(_, state, parent)| *parent == first && state == "Z")
            .count()
    };
    await_that("no zombie is left", || zombies() == 0);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first).expect("a pid"));
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it lives");
    assert!(
        child.wait().expect("a child").success(),
        "it stops in order"
    );
}

#[test]
fn a_service_inherits_no_descriptor_and_no_raised_limit() {
    let script = "ulimit -Sn > limit; echo $$$$ > pid; echo up > up; exec sleep 600";
    let workspace = Workspace::with_manifest(&manifest(&[("a", script, "")]));
    let mut command = std::process::Command::new("sh");
    let start = format!(
        "ulimit -Sn 512; exec 7< ubs.toml 8> left-open; exec '{}' boot --mode layered",
        ubs_binary().display()
    );
    let path = std::env::var("PATH").expect("a PATH");
    command
        .args(["-c", &start])
        .current_dir(workspace.root())
        .env_clear()
        .env("PATH", path);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("sh");
    await_that("the service runs", || workspace.path("up").exists());
    assert_eq!(workspace.read("limit"), "512\n");
    // It has the old one itself for as long as the start of a process takes.
    await_that("it has a higher limit", || {
        let limits =
            std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("limits");
        let ours = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .expect("a limit");
        let soft = ours.split_whitespace().nth(3).unwrap_or_default();
        soft.len() >= 4 && soft != "512"
    });
    let fds = format!("/proc/{}/fd", workspace.read("pid").trim());
    await_that("sleep runs", || {
        let open = std::fs::read_dir(&fds).into_iter().flatten().flatten();
        let mut open: Vec<_> = open.map(|entry| entry.file_name()).collect();
        open.sort();
        open == ["0", "1", "2"]
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it lives");
    child.wait().expect("a child");
}

#[test]
fn a_user_has_its_home_and_groups_and_so_has_its_probe() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return venv::skipped("root", "only root may become another user");
    }
    let note = |file: &str| format!("echo $HOME $USER $LOGNAME $(id -un) $(id -G) > {file}");
    let more = format!(
        "user = 'nobody'\nready = {{ exec = ['sh', '-c', '{} && test -e up'], interval = '20ms' }}",
        note("probe")
    );
    let script = format!("{}; echo up > up; exec sleep 600", note("service"));
    let workspace = Workspace::with_manifest(&manifest(&[("a", &script, &more)]));
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(workspace.root(), open).expect("our directory");
    workspace
        .ubs(&["boot", "--mode", "layered", "--until-up"])
        .expect(0);
    let seen = workspace.read("service");
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("users")
        .expect("nobody");
    let wanted = format!(
        "{} nobody nobody nobody {}\n",
        nobody.dir.display(),
        nobody.gid
    );
    assert_eq!(seen, wanted);
    assert_eq!(workspace.read("probe"), wanted);
}

#[test]
fn a_stranger_that_answers_a_command_is_no_readiness_unless_it_is_meant() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = stranger.local_addr().expect("an address").port();
    let boot = |external: &str| {
        let connect = format!("import socket; socket.create_connection((\"127.0.0.1\", {port}))");
        let more = format!(
            "ready = {{ exec = ['python3', '-c', '{connect}'], interval = '20ms', timeout = '3s'{external} }}"
        );
        let manifest = manifest(&[("a", "exec sleep 600", &more)]);
        let manifest = manifest.replace("name = \"one\"", "name = \"one\"\ncritical = false");
        let workspace = Workspace::with_manifest(&manifest);
        let arguments = ["boot", "--mode", "layered", "--until-up", "--json"];
        let boot = workspace.ubs(&arguments).expect(0).json();
        boot["layers"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let reason = boot("");
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .expect("users")
        .expect("us");
    let wanted = format!(
        "port {port} is answered by process {}, ",
        std::process::id()
    );
    assert!(reason.contains(&wanted), "{reason}");
    assert!(
        reason.contains(&format!("of user {}", user.name)),
        "{reason}"
    );
    assert_eq!(boot(", external = true"), "");
}

/// A control group of version 1 or 2 with this much memory; removed when dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("ubs-test-{}", std::process::id());
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |controllers: &str| {
            let line = groups
                .lines()
                .find(|line| line.split(':').nth(1) == Some(controllers))?;
            Some(
                line.splitn(3, ':')
                    .nth(2)?
                    .trim_start_matches('/')
                    .to_owned(),
            )
        };
        let root = Path::new("/sys/fs/cgroup");
        let (parent, limit) = match own("memory") {
            Some(own) => (root.join("memory").join(own), "memory.limit_in_bytes"),
            None => (root.join(own("")?), "memory.max"),
        };
        let group = Self(parent.join(name));
        std::fs::create_dir(&group.0).ok()?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(group.0.join(limit))
            .ok()?;
        std::io::Write::write_all(&mut file, bytes.to_string().as_bytes()).ok()?;
        Some(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_kill_for_want_of_memory_is_told_from_another_one() {
    let reason = |script: &str, group: Option<&MemoryGroup>| {
        let workspace = Workspace::with_manifest(&manifest(&[(
            "a",
            script,
            // It ends before it is up, and with it the boot.
            "restart = 'never'\nmin_uptime = '60s'",
        )]));
        let enter = group.map_or(String::new(), |group| {
            format!("echo $$ > '{}/cgroup.procs' && ", group.0.display())
        });
        let start = format!(
            "{enter} exec '{}' boot --mode layered",
            ubs_binary().display()
        );
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", &start])
            .current_dir(workspace.root())
            .env_clear()
            .env("PATH", path);
        let output = command.output().expect("sh");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = reason("sleep 0.2; kill -9 $$$$", None);
    assert!(said.contains("SIGKILL, not ours"), "{said}");
    let Some(group) = MemoryGroup::new(256 << 20) else {
        return venv::skipped(
            "control group",
            "this user may not make one with a memory limit",
        );
    };
    let said = reason(
        "sleep 0.2; exec python3 -c \"b = b'x' * (1 << 30)\"",
        Some(&group),
    );
    assert!(said.contains("SIGKILL: out of memory"), "{said}");
}
