//! What a confined child does between `fork` and `exec`.
//!
//! Only async-signal-safe calls (signal-safety(7)), no allocation, no lock, no panic: other threads of
//! the parent may have held any lock at the time of the `fork`. All data is prepared in the [`Plan`].

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, RawFd};

use super::loopback::bring_loopback_up;
use super::plan::Plan;
use super::step::{
    CGROUP, CHDIR, EXEC, FILTER, FORK, Failure, IDENTITY, MAP_IDS, UNSHARE, as_c_str, check, errno,
    path_with_number,
};

/// The program's descriptor for its result.
const RESULT_FD: RawFd = 3;

/// capabilities(7): user id 0 gets nothing at exec, and whoever leaves it loses everything; for good.
const SECUREBITS: c_int = 0b1100_0011;

/// capset(2): the version of the interface with 64 bits.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Exit status of a child that could not execute the program; nobody sees it, the report says more.
const STATUS_FAILED: c_int = 127;

fn write_file(path: &CStr, content: &[u8]) -> bool {
    // SAFETY: `path` ends with NUL, `content` is a live slice; plain system calls.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return false;
        }
        let written = libc::write(fd, content.as_ptr().cast(), content.len());
        libc::close(fd);
        usize::try_from(written) == Ok(content.len())
    }
}

/// Closes every descriptor but `keep`.
fn close_all_but(keep: RawFd) {
    let keep = u32::try_from(keep).unwrap_or(0);
    // SAFETY: this process is about to wait and exit; it uses none of these descriptors again.
    unsafe {
        if keep > 0 {
            libc::syscall(libc::SYS_close_range, 0, keep - 1, 0);
        }
        if libc::syscall(libc::SYS_close_range, keep + 1, u32::MAX, 0) < 0 {
            for fd in (0..4096).filter(|fd| *fd != keep) {
                libc::close(fd.cast_signed());
            }
        }
    }
}

impl Plan {
    /// Confines the process and executes the program. Comes back never.
    pub(super) fn enter(&self) -> std::io::Result<()> {
        let (step, value) = match self.confine() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        self.report(step, value);
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(STATUS_FAILED) }
    }

    fn report(&self, step: i32, value: i32) {
        let (s, v) = (step.to_ne_bytes(), value.to_ne_bytes());
        let message = [s[0], s[1], s[2], s[3], v[0], v[1], v[2], v[3]];
        // SAFETY: a live array and its length. A pipe takes 8 bytes at once or not at all.
        unsafe {
            libc::write(
                self.status.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
            )
        };
    }

    fn confine(&self) -> Result<std::convert::Infallible, Failure> {
        let ns = self.namespaces;
        // SAFETY: plain system calls. `setsid` makes this process the leader of a group that can be killed.
        unsafe { libc::setsid() };
        for group in &self.control_groups {
            // SAFETY: a descriptor of ours, a live buffer.
            let entered = unsafe { libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            if entered != 1 {
                return Err((CGROUP, errno()));
            }
        }
        self.unshare()?;
        // SAFETY: as above. After `unshare`, which resets it for some users.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if ns.net {
            bring_loopback_up();
            if let Some(loopback) = &self.loopback {
                loopback.listen()?;
            }
        }
        if ns.root {
            // The monitor and the init hold a copy of our parent's memory, secrets included: nobody may trace them
            // or read their environment (prctl(2), PR_SET_DUMPABLE).
            // SAFETY: plain system calls; `fork` in a process that has only this thread.
            unsafe {
                libc::prctl(libc::PR_SET_DUMPABLE, 0);
                let init = check(FORK, libc::fork())?;
                if init > 0 {
                    self.wait_as_monitor(init);
                }
                // The init: dies with the monitor, and everything in the namespace with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            if let Some(root) = &self.root {
                root.enter(self.owner)?;
            }
            // SAFETY: `fork` in a process that has only this thread.
            let program = unsafe { check(FORK, libc::fork())? };
            if program > 0 {
                self.wait_as_init(program);
            }
            // A session of its own, so that `kill 0` means the program and not the init.
            // SAFETY: plain system call.
            unsafe { libc::setsid() };
        }
        self.become_program()
    }

    fn unshare(&self) -> Result<(), Failure> {
        let ns = self.namespaces;
        let mut flags = 0;
        for (wanted, flag) in [
            (ns.user, libc::CLONE_NEWUSER),
            (
                ns.root,
                libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWPID,
            ),
            (ns.net, libc::CLONE_NEWNET),
        ] {
            if wanted {
                flags |= flag;
            }
        }
        if flags == 0 {
            return Ok(());
        }
        let mut pipe = [-1; 2];
        let mut helper = -1;
        // Only a process that stays in the parent namespace may map more ids than its own.
        // SAFETY: plain system calls; `fork` in a process that has only this thread.
        unsafe {
            if let (true, Some(maps)) = (ns.user, &self.root_maps) {
                check(MAP_IDS, libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC))?;
                helper = check(FORK, libc::fork())?;
                if helper == 0 {
                    libc::close(pipe[1]);
                    map_ids_of_parent(pipe[0], maps);
                }
                libc::close(pipe[0]);
            }
            let unshared = check(UNSHARE, libc::unshare(flags));
            let mut mapped = false;
            if helper > 0 {
                if unshared.is_ok() {
                    libc::write(pipe[1], c"x".as_ptr().cast(), 1);
                }
                libc::close(pipe[1]);
                let mut status = 0;
                while libc::waitpid(helper, &raw mut status, 0) < 0 && errno() == libc::EINTR {}
                mapped = status == 0;
            }
            unshared?;
            if ns.user && !mapped {
                write_file(c"/proc/self/setgroups", b"deny");
                if !write_file(c"/proc/self/uid_map", &self.own_uid_map)
                    || !write_file(c"/proc/self/gid_map", &self.own_gid_map)
                {
                    return Err((MAP_IDS, errno()));
                }
            }
        }
        Ok(())
    }

    fn wait_as_monitor(&self, init: libc::pid_t) -> ! {
        // SAFETY: plain system calls, then the end of this process. It keeps no descriptor, so that neither our
        // caller's `spawn` nor a reader of the program's output waits for it.
        unsafe {
            close_all_but(0);
            libc::close(0);
            let mut status = 0;
            while libc::waitpid(init, &raw mut status, 0) < 0 && errno() == libc::EINTR {}
            libc::_exit(0)
        }
    }

    fn wait_as_init(&self, program: libc::pid_t) -> ! {
        close_all_but(self.status.as_raw_fd());
        // SAFETY: plain system calls, then the end of this process, with which the kernel ends the namespace.
        unsafe {
            loop {
                let mut status = 0;
                let ended = libc::waitpid(-1, &raw mut status, 0);
                if ended == program {
                    self.report(0, status);
                    libc::_exit(0);
                }
                if ended < 0 && errno() != libc::EINTR {
                    libc::_exit(STATUS_FAILED);
                }
            }
        }
    }

    /// Becomes the user that the program runs as, without a single capability, and without a way to one.
    fn give_up_rights(&self) -> Result<(), Failure> {
        let (uid, gid) = self.owner;
        // SAFETY: plain system calls; capset(2) gets structures laid out as the kernel wants them.
        unsafe {
            let mut capability = 0;
            // Both are refused to whoever has none to give up.
            libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0);
            while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
                capability += 1;
            }
            if self.changes_user {
                check(IDENTITY, libc::setgroups(0, std::ptr::null()))?;
                check(IDENTITY, libc::setresgid(gid, gid, gid))?;
                check(IDENTITY, libc::setresuid(uid, uid, uid))?;
                // Forgotten with the old user; without processes of its own the program must not outlive us.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            let header = [CAPABILITY_VERSION, 0];
            let none = [0u32; 6];
            let dropped = libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr());
            if dropped < 0 {
                return Err((IDENTITY, errno()));
            }
        }
        Ok(())
    }

    fn become_program(&self) -> Result<std::convert::Infallible, Failure> {
        // SAFETY: plain system calls on descriptors and strings that the plan holds.
        unsafe {
            if self.rehearse {
                libc::_exit(0);
            }
            self.give_up_rights()?;
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            check(CHDIR, libc::chdir(self.cwd.as_ptr()))?;
            libc::dup2(self.result.as_raw_fd(), RESULT_FD);
            let cloexec = libc::CLOSE_RANGE_CLOEXEC;
            if libc::syscall(libc::SYS_close_range, RESULT_FD + 1, u32::MAX, cloexec) < 0 {
                for fd in RESULT_FD + 1..4096 {
                    libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
            for &(resource, value) in &self.limits {
                lower_limit(resource, value);
            }
            if let Some(wall) = &self.wall {
                wall.restrict()?;
            }
            // Last: nothing of ours may need what they refuse. Needs NO_NEW_PRIVS; allocates nothing.
            for filter in self.filters {
                seccompiler::apply_filter(filter).map_err(|_| (FILTER, errno()))?;
            }
            libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
        }
        Err((EXEC, errno()))
    }
}

/// The helper that stays outside: waits until its parent has its namespace, and maps all ids of it.
fn map_ids_of_parent(go: RawFd, maps: &(Vec<u8>, Vec<u8>)) -> ! {
    // SAFETY: plain system calls on a live buffer, then the end of this process.
    unsafe {
        let mut byte = 0u8;
        let parent = u32::try_from(libc::getppid()).unwrap_or(0);
        let told = libc::read(go, (&raw mut byte).cast(), 1) == 1;
        let mapped =
            told && write_file(
                as_c_str(&path_with_number(b"/proc/", parent, b"/uid_map")),
                &maps.0,
            ) && write_file(
                as_c_str(&path_with_number(b"/proc/", parent, b"/gid_map")),
                &maps.1,
            );
        libc::_exit(c_int::from(!mapped))
    }
}

/// Lowers a limit, never above what the process may have already.
fn lower_limit(resource: libc::__rlimit_resource_t, value: u64) {
    // SAFETY: both calls get a live structure of the right type.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(resource, &raw mut limit) != 0 {
            return;
        }
        // CPU time: SIGXCPU at the soft limit, SIGKILL one second later at the hard one.
        let hard = if resource == libc::RLIMIT_CPU {
            value.saturating_add(1)
        } else {
            value
        };
        limit.rlim_max = limit.rlim_max.min(hard);
        limit.rlim_cur = limit.rlim_max.min(value);
        libc::setrlimit(resource, &raw const limit);
    }
}
