//! The confined side's view of the file system: read-only, but for what may be written.
//!
//! Runs between `fork` and `exec`: only async-signal-safe calls, and nothing is allocated.

use std::ffi::{CStr, c_int, c_long};

use super::plan::{OverlayPlan, Plan, TmpPlan};
use super::step::{
    BIND, DEV, Failure, HIDE, OVERLAY, PRIVATE, READ_ONLY, WRITABLE, as_c_str, check, errno,
    path_with_number,
};

/// Devices that every program may expect.
const DEVICES: [&CStr; 6] = [
    c"/dev/null",
    c"/dev/zero",
    c"/dev/full",
    c"/dev/random",
    c"/dev/urandom",
    c"/dev/tty",
];

/// Links that every program may expect.
const DEV_LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// mount_setattr(2): `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const AT_RECURSIVE: c_int = 0x8000;
/// open_tree(2).
const OPEN_TREE_CLONE: c_int = 1;
/// move_mount(2).
const MOVE_MOUNT_F_EMPTY_PATH: c_long = 4;

pub(super) fn mount(
    step: i32,
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: u64,
    data: &CStr,
) -> Result<(), Failure> {
    // SAFETY: all strings end with NUL and live through the call.
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    check(step, done).map(drop)
}

fn set_mount_attributes(
    step: i32,
    path: &CStr,
    recursive: bool,
    set: u64,
    clear: u64,
) -> Result<(), Failure> {
    let attr = MountAttr {
        set,
        clear,
        propagation: 0,
        userns: 0,
    };
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `path` ends with NUL; `attr` is laid out as the kernel wants it and its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD as c_long,
            path.as_ptr(),
            c_long::from(flags),
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if done < 0 {
        Err((step, errno()))
    } else {
        Ok(())
    }
}

impl Plan {
    /// Arranges all mounts; the process has its own mount namespace.
    pub(super) fn arrange_mounts(&self) -> Result<(), Failure> {
        mount(
            PRIVATE,
            c"none",
            c"/",
            c"",
            libc::MS_REC | libc::MS_PRIVATE,
            c"",
        )?;
        let mut tmp_layer = -1;
        if let Some(overlay) = &self.overlay {
            tmp_layer = lay_over(overlay)?;
        }
        for dir in &self.writable {
            mount(BIND, dir, dir, c"", libc::MS_BIND | libc::MS_REC, c"")?;
        }
        let tmp = self
            .overlay
            .as_ref()
            .and_then(|overlay| overlay.tmp.as_ref());
        let has_tmp = match tmp {
            Some(plan) if tmp_layer >= 0 => put_over_tmp(plan, tmp_layer)?,
            _ => false,
        };
        for (path, is_dir) in &self.hidden {
            let hidden = if *is_dir {
                mount(
                    HIDE,
                    c"tmpfs",
                    path,
                    c"tmpfs",
                    libc::MS_NOSUID | libc::MS_NODEV,
                    c"mode=0555,size=4k",
                )
            } else {
                mount(HIDE, c"/dev/null", path, c"", libc::MS_BIND, c"")
            };
            match hidden {
                // Gone, or out of our reach anyway.
                Err((_, libc::ENOENT | libc::ENOTDIR | libc::EACCES)) | Ok(()) => {}
                Err(failure) => return Err(failure),
            }
        }
        if self.fresh_dev {
            build_dev()?;
        }
        set_mount_attributes(
            READ_ONLY,
            c"/",
            true,
            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID,
            0,
        )?;
        if self.fresh_dev {
            set_mount_attributes(WRITABLE, c"/dev/shm", false, 0, MOUNT_ATTR_RDONLY)?;
        }
        if let Some(overlay) = &self.overlay {
            set_mount_attributes(WRITABLE, &overlay.target, false, 0, MOUNT_ATTR_RDONLY)?;
        }
        if has_tmp {
            set_mount_attributes(WRITABLE, c"/tmp", false, 0, MOUNT_ATTR_RDONLY)?;
        }
        for dir in &self.writable {
            // Recursion is refused if something below is read-only on the host too: then it stays so.
            set_mount_attributes(WRITABLE, dir, true, 0, MOUNT_ATTR_RDONLY)
                .or_else(|_| set_mount_attributes(WRITABLE, dir, false, 0, MOUNT_ATTR_RDONLY))?;
        }
        Ok(())
    }
}

/// What is written below the target goes to memory, and with the namespace. Gives the layer for `/tmp`, not
/// yet anywhere; -1 if there is none.
fn lay_over(overlay: &OverlayPlan) -> Result<c_long, Failure> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    mount(
        OVERLAY,
        c"tmpfs",
        &overlay.base,
        c"tmpfs",
        flags,
        c"mode=0700,size=256m",
    )?;
    for directory in [&overlay.upper, &overlay.work] {
        // SAFETY: a string that ends with NUL.
        check(OVERLAY, unsafe { libc::mkdir(directory.as_ptr(), 0o755) })?;
    }
    // Before the other one, which may hide the base.
    let tmp_layer = match &overlay.tmp {
        Some(plan) => layer_for_tmp(plan)?,
        None => -1,
    };
    mount(
        OVERLAY,
        c"overlay",
        &overlay.target,
        c"overlay",
        flags,
        &overlay.options,
    )?;
    Ok(tmp_layer)
}

/// Mounts below `/tmp` that stay, and no more than a program is given.
const KEPT_MAX: usize = 8;

/// A layer over `/tmp` as a detached mount (open_tree(2)); -1 if the kernel does not want to.
fn layer_for_tmp(plan: &TmpPlan) -> Result<c_long, Failure> {
    for (directory, mode) in [
        (&plan.upper, 0o1777),
        (&plan.work, 0o700),
        (&plan.merged, 0o700),
    ] {
        // SAFETY: a string that ends with NUL.
        check(OVERLAY, unsafe { libc::mkdir(directory.as_ptr(), mode) })?;
        // The mask of this process must not take anything away.
        // SAFETY: as above.
        check(OVERLAY, unsafe { libc::chmod(directory.as_ptr(), mode) })?;
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let laid = mount(
        OVERLAY,
        c"overlay",
        &plan.merged,
        c"overlay",
        flags,
        &plan.options,
    );
    if laid.is_err() {
        return Ok(-1);
    }
    let layer = open_tree(&plan.merged);
    // SAFETY: a string that ends with NUL.
    check(OVERLAY, unsafe {
        libc::umount2(plan.merged.as_ptr(), libc::MNT_DETACH)
    })?;
    Ok(layer)
}

/// Puts the layer over `/tmp`, and what is mounted below it on top again; `false` if the kernel does not want
/// to.
fn put_over_tmp(plan: &TmpPlan, layer: c_long) -> Result<bool, Failure> {
    let mut trees = [-1; KEPT_MAX];
    if plan.kept.len() > KEPT_MAX {
        return Ok(false);
    }
    for (tree, path) in trees.iter_mut().zip(&plan.kept) {
        *tree = open_tree(path);
    }
    let is_complete = trees.iter().take(plan.kept.len()).all(|tree| *tree >= 0);
    if is_complete {
        move_mount(layer, c"/tmp")?;
        for (tree, path) in trees.iter().zip(&plan.kept) {
            move_mount(*tree, path)?;
        }
    }
    for tree in trees.iter().filter(|tree| **tree >= 0).chain([&layer]) {
        // SAFETY: descriptors of our own.
        unsafe { libc::syscall(libc::SYS_close, *tree) };
    }
    Ok(is_complete)
}

/// A copy of the mounts at that path, not yet anywhere; negative if it fails.
fn open_tree(path: &CStr) -> c_long {
    // SAFETY: a string that ends with NUL.
    unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD as c_long,
            path.as_ptr(),
            c_long::from(OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC),
        )
    }
}

/// move_mount(2).
fn move_mount(tree: c_long, path: &CStr) -> Result<(), Failure> {
    // SAFETY: strings that end with NUL.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            libc::AT_FDCWD as c_long,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if moved < 0 {
        Err((OVERLAY, errno()))
    } else {
        Ok(())
    }
}

/// A `/dev` that holds the harmless devices only, and an empty `/dev/shm`: a read-only mount does not
/// keep root from writing to a disk's device.
fn build_dev() -> Result<(), Failure> {
    let mut nodes = [-1; DEVICES.len()];
    // SAFETY: plain system calls on strings that end with NUL.
    unsafe {
        for (node, device) in nodes.iter_mut().zip(DEVICES) {
            *node = libc::open(device.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        }
        mount(
            DEV,
            c"tmpfs",
            c"/dev",
            c"tmpfs",
            libc::MS_NOSUID,
            c"mode=0755,size=64k",
        )?;
        for (node, device) in nodes
            .into_iter()
            .zip(DEVICES)
            .filter(|(node, _)| *node >= 0)
        {
            let file = check(
                DEV,
                libc::open(
                    device.as_ptr(),
                    libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC,
                    0o600,
                ),
            )?;
            libc::close(file);
            let source = path_with_number(b"/proc/self/fd/", node.cast_unsigned(), b"");
            mount(DEV, as_c_str(&source), device, c"", libc::MS_BIND, c"")?;
            libc::close(node);
        }
        for (to, link) in DEV_LINKS {
            libc::symlink(to.as_ptr(), link.as_ptr());
        }
        check(DEV, libc::mkdir(c"/dev/shm".as_ptr(), 0o700))?;
        mount(
            DEV,
            c"tmpfs",
            c"/dev/shm",
            c"tmpfs",
            libc::MS_NOSUID | libc::MS_NODEV,
            c"mode=1777,size=512m",
        )
    }
}
