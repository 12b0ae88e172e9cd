//! A control group for one sandbox: the kernel counts its processes and its memory together. And the count of kills for
//! want of memory in the group of a process.
//!
//! Version 2 where it is delegated to us (<https://docs.kernel.org/admin-guide/cgroup-v2.html>), else the `pids` and
//! `memory` hierarchies of version 1, both or none.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for the kernel to let go of what ended.
const REMOVED_MAX: Duration = Duration::from_secs(2);

/// What every group's name begins with; a UUIDv7 follows.
const NAME: &str = "ubs-";
/// A group without processes is left over if it is older: nobody needs so long to enter the one that he made.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// A control group; removed when dropped, by when its processes must have ended.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    directories: Vec<PathBuf>,
}

impl ControlGroup {
    /// One with that UUIDv7 in its name, below our own; `None` where this process may not make any.
    pub(crate) fn new(id: &str, processes_max: u64, memory_bytes_max: u64) -> Option<Self> {
        /// Once refused, always refused.
        static REFUSED: AtomicBool = AtomicBool::new(false);
        if REFUSED.load(Ordering::Relaxed) {
            return None;
        }
        static SWEPT: Once = Once::new();
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let parents = own_directories(&own, Path::new("/sys/fs/cgroup"));
        SWEPT.call_once(|| parents.iter().flatten().for_each(|parent| sweep(parent)));
        let name = format!("{NAME}{id}");
        let group = parents
            .iter()
            .find_map(|parents| make(parents, &name, processes_max, memory_bytes_max));
        if group.is_none() {
            REFUSED.store(true, Ordering::Relaxed);
        }
        group
    }

    /// Whether this process may make any; tried once in its life.
    pub(crate) fn can_be_made() -> bool {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| {
            let id = uuid::Uuid::now_v7().to_string();
            Self::new(&id, u64::from(u32::MAX), 1 << 30).is_some()
        })
    }

    /// What a process writes `0` to in order to enter.
    pub(super) fn entrances(&self) -> io::Result<Vec<OwnedFd>> {
        self.directories
            .iter()
            .map(|directory| {
                let file = OpenOptions::new()
                    .write(true)
                    .open(directory.join("cgroup.procs"))?;
                Ok(OwnedFd::from(file))
            })
            .collect()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let until = Instant::now() + REMOVED_MAX;
        for directory in &self.directories {
            while let Err(error) = fs::remove_dir(directory) {
                if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= until {
                    tracing::debug!(path = %directory.display(), %error, "a control group stays");
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Where a group counts its kills: version 2, version 1.
const KILLS_COUNTED_IN: [&str; 2] = ["memory.events", "memory.oom_control"];

/// Which files these are is looked up anew after so long: the start of many asks for each of them, and hardly anybody
/// moves a supervisor to another group.
const COUNTERS_KEPT: Duration = Duration::from_secs(1);

/// The files that count for our own control group, and when they were looked up.
static COUNTERS: Mutex<Option<(Instant, Arc<[PathBuf]>)>> = Mutex::new(None);

fn own_counters() -> Arc<[PathBuf]> {
    let mut kept = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, files)) = &*kept
        && at.elapsed() < COUNTERS_KEPT
    {
        return Arc::clone(files);
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let directories = own_directories(&groups, Path::new("/sys/fs/cgroup"));
    let all = directories
        .into_iter()
        .flatten()
        .flat_map(|directory| KILLS_COUNTED_IN.map(|name| directory.join(name)));
    let files: Arc<[PathBuf]> = all.filter(|path| path.exists()).collect();
    *kept = Some((Instant::now(), Arc::clone(&files)));
    files
}

/// How often the kernel had killed for want of memory in the control group of a process, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryKills {
    before: Vec<(PathBuf, u64)>,
}

impl MemoryKills {
    /// Now, in our own group, where what we start begins. Nothing is known where there is no count.
    pub(crate) fn in_own_group() -> Self {
        let files = own_counters();
        let counts = files.iter().filter_map(|path| {
            let count = memory_kills(&fs::read_to_string(path).ok()?)?;
            Some((path.clone(), count))
        });
        Self {
            before: counts.collect(),
        }
    }

    /// There were more since then.
    pub(crate) fn have_grown(&self) -> bool {
        self.before.iter().any(|(path, before)| {
            let text = fs::read_to_string(path).unwrap_or_default();
            memory_kills(&text).is_some_and(|count| count > *before)
        })
    }
}

/// The number after `oom_kill`.
fn memory_kills(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Where our own groups lie: that of version 2, and those of version 1, `pids` first.
fn own_directories(own: &str, mounted: &Path) -> Vec<Vec<PathBuf>> {
    let of = |wanted: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers
                .split(',')
                .any(|name| name == wanted)
                .then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mut found = Vec::new();
    if let Some(path) = of("") {
        let unified = mounted.join("unified");
        let base = if unified.is_dir() {
            unified
        } else {
            mounted.to_owned()
        };
        found.push(vec![base.join(path)]);
    }
    if let (Some(pids), Some(memory)) = (of("pids"), of("memory")) {
        found.push(vec![
            mounted.join("pids").join(pids),
            mounted.join("memory").join(memory),
        ]);
    }
    found
}

/// Removes groups of sandboxes whose `ubs` was killed. The kernel refuses to remove one with processes in it.
fn sweep(parent: &Path) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let made = name.to_str().and_then(made_at);
        if made.is_some_and(|made| made + LEFT_AFTER < now)
            && let Err(error) = fs::remove_dir(entry.path())
        {
            tracing::debug!(path = %entry.path().display(), %error, "a control group stays");
        }
    }
}

/// When the group of that name was made, since 1970; `None`: it is not ours.
fn made_at(name: &str) -> Option<Duration> {
    let id: uuid::Uuid = name.strip_prefix(NAME)?.parse().ok()?;
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Some(Duration::new(seconds, nanoseconds))
}

fn make(
    parents: &[PathBuf],
    name: &str,
    processes_max: u64,
    memory_bytes_max: u64,
) -> Option<ControlGroup> {
    let mut group = ControlGroup {
        directories: Vec::new(),
    };
    for parent in parents {
        let directory = parent.join(name);
        fs::create_dir(&directory).ok()?;
        group.directories.push(directory);
    }
    let set = |names: &[&str], value: u64| {
        group.directories.iter().any(|directory| {
            names
                .iter()
                .any(|name| write_existing(&directory.join(name), value).is_ok())
        })
    };
    let is_bounded = set(&["pids.max"], processes_max)
        && set(&["memory.max", "memory.limit_in_bytes"], memory_bytes_max);
    is_bounded.then_some(group)
}

/// Never makes a file, where these file systems would take one.
fn write_existing(path: &Path, value: u64) -> io::Result<()> {
    use std::io::Write;
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    file.write_all(value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_both_versions_are_found() {
        let root = tempfile::tempdir().unwrap();
        let own = "8:pids:/a\n4:cpu,memory:/b/c\n0::/d\n";
        let at = |path: &str| root.path().join(path);
        assert_eq!(
            own_directories(own, root.path()),
            [vec![at("d")], vec![at("pids/a"), at("memory/b/c")]]
        );
        assert_eq!(own_directories("0::/\n", root.path()), [vec![at("")]]);
        assert!(own_directories("", root.path()).is_empty());
    }

    #[test]
    fn groups_that_were_left_are_removed_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        let old = |nth: u8| {
            let id = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000, &[nth; 10]);
            format!("ubs-{}", id.into_uuid())
        };
        let (left, busy) = (old(1), old(2));
        let new = format!("ubs-{}", uuid::Uuid::now_v7());
        let random = "ubs-7f3d1c1e-8f43-4c2b-9a55-0d3f5a1c2b3d";
        for name in [&left, &busy, &new, random, "ubs.service", "system.slice"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join(&busy).join("in it"), "").unwrap();
        sweep(root.path());
        assert!(!root.path().join(&left).exists());
        for name in [&busy, &new, random, "ubs.service", "system.slice"] {
            assert!(root.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn kills_for_want_of_memory_are_counted_in_both_versions() {
        let version_1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let version_2 = "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(memory_kills(version_1), Some(2));
        assert_eq!(memory_kills(version_2), Some(1));
        assert_eq!(memory_kills("low 0\n"), None);
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("memory.events");
        let kills = MemoryKills {
            before: vec![(path.clone(), 1)],
        };
        fs::write(&path, version_2).unwrap();
        assert!(!kills.have_grown());
        fs::write(&path, version_1).unwrap();
        assert!(kills.have_grown());
    }

    #[test]
    fn a_group_without_its_bounds_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(make(&[root.path().to_owned()], "x", 1, 1).is_none());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
