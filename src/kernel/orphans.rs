//! Adopting and collecting orphans: processes whose parent ended before them (`PR_SET_CHILD_SUBREAPER`, prctl(2)).
//!
//! An adopted process becomes a child of our main thread; one that we start is a child of the thread that starts it
//! (`/proc/PID/task/TID/children`, proc(5)). So the orphans are the children of the main thread that it did not start.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, PoisonError};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, gettid};

/// The children that somebody here waits for.
static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// From now on orphans below us are ours. `false` where they cannot be told from other children: on a thread that is
/// not the main one, or without the kernel's list of children.
pub(crate) fn adopt_orphans() -> bool {
    gettid() == getpid()
        && children_of_this_thread().is_some()
        && nix::sys::prctl::set_child_subreaper(true).is_ok()
}

/// Somebody waits for this child: it is no orphan.
pub(crate) fn expect_child(pid: u32) {
    STARTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(pid);
}

/// Nobody waits for this child any more, or it has been waited for.
pub(crate) fn forget_child(pid: u32) {
    STARTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&pid);
}

/// Collects every orphan that has ended; gives how many. On the main thread only, since only its children are looked at.
pub(crate) fn reap_orphans() -> u32 {
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let children = children_of_this_thread().unwrap_or_default();
    let orphans = children.iter().filter(|pid| !started.contains(pid));
    let ended = orphans.filter(|&&pid| {
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
        pid.is_some_and(|pid| {
            let status = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            status.is_ok_and(|status| status != WaitStatus::StillAlive)
        })
    });
    u32::try_from(ended.count()).unwrap_or(u32::MAX)
}

fn children_of_this_thread() -> Option<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/self/task/{}/children", gettid())).ok()?;
    let pids = text.split_ascii_whitespace();
    Some(pids.filter_map(|pid| pid.parse().ok()).collect())
}
