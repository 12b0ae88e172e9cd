//! What a sandboxed program and all that it started may use together, summed up every 100 ms.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::manifest::SandboxLimits;

/// Time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time between two looks at directories.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// Most files of them that are looked at; more are too many.
const FILES_MAX: u64 = 200_000;
/// Bytes of a page, which `/proc/PID/statm` counts in.
const PAGE_BYTES: u64 = 4096;

/// The bounds of one run.
pub(super) struct Bounds {
    child: u32,
    limits: SandboxLimits,
    /// The kernel counts processes and memory.
    is_grouped: bool,
    directories: Vec<PathBuf>,
    /// What lay in them before.
    before: u64,
    looked: Instant,
    measured: Instant,
}

impl Bounds {
    pub(super) fn new(
        child: u32,
        limits: SandboxLimits,
        is_grouped: bool,
        directories: &[PathBuf],
    ) -> Self {
        Self {
            child,
            limits,
            is_grouped,
            directories: directories.to_vec(),
            before: bytes_in(directories).unwrap_or(0),
            looked: Instant::now(),
            measured: Instant::now(),
        }
    }

    /// Somebody has to look now and then.
    pub(super) fn is_needed(&self) -> bool {
        !self.is_grouped || !self.directories.is_empty()
    }

    /// What there is too much of, if it is time to look: `more than 512 processes`.
    pub(super) fn exceeded(&mut self) -> Option<String> {
        if self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let limits = self.limits;
        if !self.is_grouped {
            let (processes, bytes) = used_by(self.child, limits.processes);
            if processes > limits.processes {
                return Some(format!("more than {} processes", limits.processes));
            }
            if bytes > limits.total_memory_bytes {
                let mib = limits.total_memory_bytes >> 20;
                return Some(format!("more than {mib} MiB of memory in total"));
            }
        }
        if !self.directories.is_empty() && self.measured.elapsed() >= DISK_EVERY {
            self.measured = Instant::now();
            return match bytes_in(&self.directories) {
                Some(bytes) if bytes.saturating_sub(self.before) <= limits.disk_bytes => None,
                Some(_) => Some(format!("more than {} MiB written", limits.disk_bytes >> 20)),
                None => Some(format!("more than {FILES_MAX} files written")),
            };
        }
        None
    }
}

/// Processes that descend from `ancestor`, and the memory that they have in use, bytes; not much further than
/// `processes_max`.
fn used_by(ancestor: u32, processes_max: u64) -> (u64, u64) {
    let (mut processes, mut bytes) = (0, 0);
    let mut nameless = BTreeMap::new();
    let mut left = vec![ancestor];
    while let Some(pid) = left.pop() {
        processes += 1;
        if processes > processes_max {
            break;
        }
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let statm = fs::read_to_string(directory.join("statm")).unwrap_or_default();
        let resident = statm
            .split(' ')
            .nth(1)
            .and_then(|field| field.parse::<u64>().ok());
        bytes += resident.unwrap_or(0) * PAGE_BYTES;
        nameless.extend(nameless_files(&directory));
        left.extend(children_of(&directory));
    }
    (processes, bytes + nameless.values().sum::<u64>())
}

/// Files without a name that a process holds open (`memfd_create`), by inode, and their bytes: memory that no process
/// has mapped.
fn nameless_files(process: &Path) -> Vec<(u64, u64)> {
    let descriptors = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let is_nameless = |to: PathBuf| to.as_os_str().as_bytes().starts_with(b"/memfd:");
    descriptors
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(is_nameless))
        .filter_map(|fd| fs::metadata(fd.path()).ok())
        .map(|about| (about.ino(), about.blocks() * 512))
        .collect()
}

/// proc_pid_children(5): of every thread.
fn children_of(process: &Path) -> Vec<u32> {
    let threads = fs::read_dir(process.join("task"))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| {
            let words = text.split_ascii_whitespace();
            words
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Bytes of the files below those directories; `None` for too many of them.
fn bytes_in(directories: &[PathBuf]) -> Option<u64> {
    let (mut bytes, mut files) = (0u64, 0u64);
    let mut left = directories.to_vec();
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            files += 1;
            if files > FILES_MAX {
                return None;
            }
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_dir() {
                left.push(entry.path());
            } else if found.is_file() {
                bytes = bytes.saturating_add(found.len());
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_with_all_that_it_started() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & sleep 60 & echo on; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let (processes, bytes) = used_by(child.id(), 100);
        for pid in children_of(Path::new(&format!("/proc/{}", child.id()))) {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        child.wait().unwrap();
        assert_eq!(processes, 3);
        assert!(bytes > 0);
    }

    #[test]
    fn what_is_written_is_summed_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 1000]).unwrap();
        assert_eq!(bytes_in(&[dir.path().to_owned()]), Some(1000));
    }
}
