//! A log that cannot be written stops nothing: the full disk, the file system that became read-only, a lock
//! that is held for long. The first two in a mount namespace of their own, which takes root.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};

use crate::support::{Run, Workspace, await_that, processes_with_env};

/// A talkative service.
const MANIFEST: &str = "[app]\nname = 'stubborn'\nstable_after = '100ms'\n[[layer]]\nname = 'all'\n\
     [[layer.service]]\nname = 'api'\nrestart = { max = 50, backoff = '10ms' }\n\
     run = ['sh', '-c', 'while :; do printf \"%0500d\\n\" 7; sleep 0.02; done']\n";

/// What the validation finds broken each second, once `.env` is empty, and heals.
const HEALED: &str = "[validate]\nevery = '1s'\n[heal]\nbackoff = '1ms'\n[config]\nfiles = ['.env']\n\
     [config.vars.LEVEL]\nrequired = true\ndefault = 'info'\n";

/// A supervisor whose state directory is a file system of its own, seen by nobody else.
struct Mounted {
    workspace: Workspace,
    supervisor: Child,
}

impl Mounted {
    /// `mount` is what makes the file system, at `$STATE`. `None` where that is not allowed.
    fn boot(mount: &str) -> Option<Self> {
        Self::boot_of(Workspace::with_manifest(MANIFEST), mount)
    }

    fn boot_of(workspace: Workspace, mount: &str) -> Option<Self> {
        std::fs::create_dir(workspace.path(".ubs")).unwrap();
        let state = workspace.path(".ubs").display().to_string();
        let ubs = crate::support::ubs_binary().display().to_string();
        let script = format!(
            "STATE='{state}'; export PATH=$PATH:/usr/sbin:/sbin; {mount} || exit 77; \
             chmod 700 \"$STATE\"; exec '{ubs}' boot"
        );
        let mut command = workspace.command(&[]);
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "sh", "-c", &script])
            .current_dir(workspace.root())
            .env_clear()
            .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command.stdin(Stdio::null());
        let mut supervisor = unshare.spawn().ok()?;
        for _ in 0..1_000 {
            if let Some(status) = supervisor.try_wait().unwrap() {
                let run = Run::of(&supervisor.wait_with_output().unwrap());
                assert!(
                    status.code() == Some(77) || run.stderr.contains("unshare"),
                    "{}{}",
                    run.stdout,
                    run.stderr
                );
                eprintln!("SKIPPED: this host lets nobody mount: {}", run.stderr);
                assert!(std::env::var_os("CI").is_none(), "CI has to be able to");
                return None;
            }
            if !services(&workspace).is_empty() {
                let mounted = Self {
                    workspace,
                    supervisor,
                };
                await_that("the boot is up", || {
                    mounted.kinds().contains(&"service_stable".to_owned())
                });
                return Some(mounted);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no service was started");
    }

    /// A file of the state directory, as the supervisor sees it.
    fn state(&self, name: &str) -> PathBuf {
        let state = self.workspace.path(".ubs").display().to_string();
        PathBuf::from(format!("/proc/{}/root{state}/{name}", self.supervisor.id()))
    }

    /// `ubs` where the file system is seen.
    fn ubs(&self, arguments: &[&str]) -> Run {
        let own = self.workspace.command(arguments);
        let output = Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.supervisor.id()))
            .arg("--")
            .arg(own.get_program())
            .arg("-C")
            .arg(self.workspace.root())
            .args(own.get_args())
            .output()
            .unwrap();
        Run::of(&output)
    }

    fn kinds(&self) -> Vec<String> {
        let run = self.ubs(&["replay", "last", "--events", "--json"]);
        let kind = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["kind"].as_str().unwrap().to_owned()
        };
        run.stdout.lines().map(kind).collect()
    }

    /// The service dies, and another process of it runs.
    fn kill_service(&self) {
        let before = services(&self.workspace);
        for pid in &before {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        await_that("the service was started again", || {
            let now = services(&self.workspace);
            !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
        });
    }

    fn stop(self) -> Run {
        kill(
            Pid::from_raw(self.supervisor.id().cast_signed()),
            Signal::SIGTERM,
        )
        .unwrap();
        Run::of(&self.supervisor.wait_with_output().unwrap())
    }
}

/// The processes of the service, without what they start.
fn services(workspace: &Workspace) -> Vec<i32> {
    let mark = "UBS_SERVICE=api";
    let ours = format!("UBS_TEST_WORKSPACE={}", workspace.root().display());
    let ours = processes_with_env(&ours);
    let all = processes_with_env(mark);
    all.into_iter()
        .filter(|pid| ours.contains(pid))
        .filter(|pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim() == "sh")
        })
        .map(u32::cast_signed)
        // A shell is a copy of itself before it is what it starts, and outlives the one that was killed.
        .filter(|pid| getpgid(Some(Pid::from_raw(*pid))) == Ok(Pid::from_raw(*pid)))
        .collect()
}

#[test]
fn a_full_disk_stops_no_service_and_what_was_kept_is_written_later() {
    let Some(mounted) = Mounted::boot("mount -t tmpfs -o size=2m tmpfs \"$STATE\"") else {
        return;
    };
    let filler = mounted.state("filler");
    let full = std::fs::write(&filler, vec![0; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let before = mounted.kinds();
    for _ in 0..4 {
        mounted.kill_service();
    }
    std::thread::sleep(Duration::from_millis(200));
    let meanwhile = mounted.kinds();
    assert!(!meanwhile.contains(&"log_gap".to_owned()));
    assert!(meanwhile.len() < before.len() + 12, "{meanwhile:?}");
    std::fs::remove_file(&filler).unwrap();
    await_that("the gap is told", || {
        mounted.kinds().contains(&"log_gap".to_owned())
    });
    // What was kept is written in pieces.
    await_that("each end is told", || {
        let kinds = mounted.kinds();
        kinds
            .iter()
            .filter(|kind| *kind == "service_exited")
            .count()
            == 4
    });
    mounted.kill_service();
    let verified = mounted.ubs(&["log", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    let output = std::fs::read_to_string(mounted.state("logs/api.log")).unwrap();
    let missing = output.lines().find(|line| line.contains("[ubs: "));
    let missing = missing.expect("the missing lines are told");
    assert!(
        missing.contains("are missing here: No space left"),
        "{missing}"
    );
    let end = mounted.stop().expect(0);
    assert!(end.stdout.contains("none is lost"), "{}", end.stdout);
    assert!(end.stderr.contains("the services go on"), "{}", end.stderr);
}

#[test]
fn a_file_system_that_became_read_only_stops_no_service() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(4 << 20).unwrap();
    let image = image.path().display().to_string();
    let mount =
        format!("mkfs.ext4 -q '{image}' && mount -o loop,errors=remount-ro '{image}' \"$STATE\"");
    let Some(mounted) = Mounted::boot(&mount) else {
        return;
    };
    // What a failing disk does.
    let mounts =
        std::fs::read_to_string(format!("/proc/{}/mounts", mounted.supervisor.id())).unwrap();
    let state = mounted.workspace.path(".ubs").display().to_string();
    let device = mounts.lines().find(|line| line.contains(&state)).unwrap();
    let device = device
        .split(' ')
        .next()
        .unwrap()
        .trim_start_matches("/dev/");
    if let Err(error) = std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test")
    {
        eprintln!("SKIPPED: no error can be made here: {error}");
        mounted.stop().expect(0);
        return;
    }
    let refused = std::fs::write(mounted.state("x"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    for _ in 0..2 {
        mounted.kill_service();
    }
    let end = mounted.stop().expect(0);
    assert!(end.stderr.contains("were not written"), "{}", end.stderr);
}

#[test]
fn a_log_that_another_process_holds_stops_no_service() {
    let workspace = Workspace::with_manifest(MANIFEST);
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let holder = rusqlite::Connection::open(workspace.path(".ubs/log.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = services(&workspace);
    for pid in &first {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    await_that("the service was started again", || {
        let now = services(&workspace);
        !now.is_empty() && now.iter().all(|pid| !first.contains(pid))
    });
    let health = workspace.ubs(&["health", "--json"]).json();
    assert!(health["log_not_written_since"].is_string(), "{health}");
    holder.execute_batch("ROLLBACK").unwrap();
    await_that("the gap is told", || {
        workspace.kinds().contains(&"log_gap".to_owned())
    });
    let health = workspace.ubs(&["health", "--json"]).json();
    assert!(health.get("log_not_written_since").is_none(), "{health}");
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
}

fn broken_by_an_empty_file() -> Workspace {
    let workspace = Workspace::with_manifest(&format!("{MANIFEST}{HEALED}"));
    workspace.write(".env", "LEVEL=debug\n");
    workspace
}

#[test]
#[ignore = "seconds: `.ci/run --all`"]
fn healing_waits_for_a_full_disk_and_goes_on_when_there_is_room() {
    let workspace = broken_by_an_empty_file();
    let mount = "mount -t tmpfs -o size=64m tmpfs \"$STATE\"";
    let Some(mounted) = Mounted::boot_of(workspace, mount) else {
        return;
    };
    let filler = mounted.state("filler");
    std::fs::write(&filler, vec![0; 80 << 20]).unwrap_err();
    mounted.kill_service();
    mounted.workspace.write(".env", "");
    // Several validations find it.
    std::thread::sleep(Duration::from_secs(4));
    mounted.kill_service();
    assert_eq!(mounted.workspace.read(".env"), "");
    assert!(!mounted.kinds().contains(&"promotion_started".to_owned()));
    std::fs::remove_file(&filler).unwrap();
    await_that("it is healed", || {
        mounted.kinds().contains(&"fix_applied".to_owned())
    });
    assert_eq!(mounted.workspace.read(".env"), "LEVEL=info\n");
    assert!(mounted.kinds().contains(&"log_gap".to_owned()));
    let verified = mounted.ubs(&["log", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    mounted.stop().expect(0);
}

#[test]
#[ignore = "a minute: `.ci/run --all`"]
fn healing_waits_for_a_log_that_is_locked_for_a_minute() {
    let workspace = broken_by_an_empty_file();
    let running = workspace.start(&["boot"]);
    workspace.await_health(&["healthy"]);
    let holder = rusqlite::Connection::open(workspace.path(".ubs/log.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    workspace.write(".env", "");
    let first = services(&workspace);
    for pid in &first {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    std::thread::sleep(Duration::from_secs(60));
    let now = services(&workspace);
    assert!(!now.is_empty() && now.iter().all(|pid| !first.contains(pid)));
    assert_eq!(workspace.read(".env"), "");
    holder.execute_batch("ROLLBACK").unwrap();
    await_that("it is healed", || {
        workspace.kinds().contains(&"fix_applied".to_owned())
    });
    assert_eq!(workspace.read(".env"), "LEVEL=info\n");
    assert!(workspace.kinds().contains(&"log_gap".to_owned()));
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    workspace.ubs(&["log", "verify"]).expect(0);
}
