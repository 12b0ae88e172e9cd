//! The one room that talks to the kernel: processes, signals, namespaces, limits, file clones.
//!
//! Everything here is Linux. It relies on nothing else of the crate but the plain types of
//! `domain` and `manifest`, and never decides anything: callers say what is wanted, and get what the kernel said.

// The reason for `unsafe`: code between `fork` and `exec` and system calls that no safe crate wraps
// (`mount_setattr`, `pidfd_open`, `close_range`, `FICLONE`). Nowhere else in the crate is it allowed.
#![allow(unsafe_code)]

mod c_strings;
mod census;
mod confine;
mod control_group;
mod crash;
mod descriptor;
mod disk;
mod enter;
#[cfg(test)]
mod faulty_disk;
mod file_watch;
mod filter;
mod give_back;
mod landlock;
mod leftover;
mod listeners;
mod lock_file;
mod loopback;
mod near;
mod new_root;
mod notify;
mod open_files;
mod orphans;
mod plan;
mod process;
mod program;
mod remove;
mod service_limits;
mod sock_diag;
mod step;
mod support;
mod usage;

pub(crate) use census::{Census, program_name};
pub(crate) use confine::{
    Confined, Confinement, Report, account, has_filter, in_new_session, run_as, spawn_confined,
};
pub(crate) use control_group::{ControlGroup, MemoryKills};
pub(crate) use crash::{crash_point, crash_point_at_event};
pub(crate) use descriptor::{
    PollEntry, poll, read_start_keeping_open, read_unless_database, set_nonblocking, try_reflink,
};
pub(crate) use disk::free_bytes;
#[cfg(test)]
pub(crate) use faulty_disk::{DiskFault, DiskOperation, FaultyDisk, Random};
pub(crate) use file_watch::FileWatch;
pub(crate) use filter::Sockets;
pub(crate) use give_back::give_back_memory;
pub(crate) use landlock::{Wall, has_landlock, landlock_version};
#[cfg(test)]
pub(crate) use leftover::dead_pid;
pub(crate) use leftover::{is_listened_on, leftover};
pub(crate) use listeners::{Listener, listener, owner_of};
pub(crate) use lock_file::{LockAttempt, LockFile};
pub(crate) use loopback::receive_listener;
pub(crate) use near::near_path;
pub(crate) use new_root::{NewRoot, RootEntry};
pub(crate) use notify::{Notice, NotifySocket, receive_notice};
pub(crate) use open_files::{close_inherited_on_exec, raise_open_files, spawn_as_before};
pub(crate) use orphans::{adopt_orphans, expect_child, forget_child, reap_orphans};
pub(crate) use plan::Namespaces;
#[cfg(test)]
pub(crate) use process::processes_with_env;
pub(crate) use process::{
    Signal, is_alive, kill_group, parse_signal, process_ref, reap_marked, signal_process,
};
pub(crate) use process::{exit_kind, open_pidfd, watch_pidfd};
pub(crate) use program::{find_program, find_program_again};
pub(crate) use remove::{ScratchDirectory, remove_tree, sweep_scratch};
pub(crate) use service_limits::limit_child;
pub(crate) use support::{IsolationSupport, isolation_support, outranks_the_confined};
pub(crate) use usage::{Usage, usage_of};
