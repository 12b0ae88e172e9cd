//! For tests: a disk under SQLite files that fails, tears writes and loses power as the test says.
//!
//! A shim over SQLite's own file system (a "VFS", <https://www.sqlite.org/vfs.html>): the files below the directory of a
//! [`FaultyDisk`] go through it, all others go past it. What was written and not synced is remembered, so that
//! [`FaultyDisk::after_power_cut`] can say what a machine that dies now may find: of each such write all, a part, or
//! nothing.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use rusqlite::ffi;

/// What a disk writes whole or not at all, bytes.
const SECTOR: usize = 512;

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskOperation {
    Write,
    Truncate,
    Sync,
    Delete,
}

/// What the disk does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// It is full: a part is written, and ENOSPC. A sync of a full disk is an I/O error.
    Full,
    /// EIO: a write is torn; of what waited for a sync a part is lost, whatever a later sync says.
    Error,
    /// The power goes: nothing is done, now and from now on.
    PowerCut,
}

type Faults = Box<dyn FnMut(DiskOperation) -> Option<DiskFault> + Send>;

/// Xorshift: numbers that depend on the seed alone (Marsaglia, "Xorshift RNGs", 2003).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `n - 1`; 0 of nothing.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n.max(1)
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }
}

/// A change that waits for a sync.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Truncate(size) => content.truncate(*size),
        }
    }

    /// All of it, some of its sectors, or nothing.
    fn apply_in_part(&self, content: &mut Vec<u8>, random: &mut Random) {
        match (random.below(3), self) {
            (0, _) => {}
            (1, Self::Write { at, bytes }) => {
                for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                    if random.below(2) == 0 {
                        let (at, bytes) = (at + n * SECTOR, sector.to_vec());
                        Self::Write { at, bytes }.apply(content);
                    }
                }
            }
            _ => self.apply(content),
        }
    }
}

/// A file as the disk has it, and what the disk was told since the last sync.
#[derive(Debug, Default)]
struct DiskFile {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl DiskFile {
    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn lose(&mut self, random: &mut Random) {
        for change in self.pending.drain(..) {
            change.apply_in_part(&mut self.durable, random);
        }
    }
}

struct Disk {
    files: BTreeMap<PathBuf, DiskFile>,
    faults: Option<Faults>,
    random: Random,
    operations: u64,
    is_off: bool,
}

impl Disk {
    fn fault(&mut self, operation: DiskOperation) -> Option<DiskFault> {
        if self.is_off {
            return Some(DiskFault::PowerCut);
        }
        self.operations += 1;
        let fault = self.faults.as_mut().and_then(|faults| faults(operation));
        self.is_off = fault == Some(DiskFault::PowerCut);
        fault
    }
}

type SharedDisk = Arc<Mutex<Disk>>;

fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By directory.
static DISKS: Mutex<BTreeMap<PathBuf, SharedDisk>> = Mutex::new(BTreeMap::new());

fn disks() -> MutexGuard<'static, BTreeMap<PathBuf, SharedDisk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite files that lie right in one directory; those that are open when it is dropped stay on it.
pub(crate) struct FaultyDisk {
    directory: PathBuf,
    disk: SharedDisk,
}

impl FaultyDisk {
    /// `directory` without links, as SQLite names it. What is torn and lost depends on `seed`.
    pub(crate) fn at(directory: &Path, seed: u64) -> Self {
        register();
        let disk = Arc::new(Mutex::new(Disk {
            files: BTreeMap::new(),
            faults: None,
            random: Random::new(seed),
            operations: 0,
            is_off: false,
        }));
        disks().insert(directory.to_owned(), Arc::clone(&disk));
        Self {
            directory: directory.to_owned(),
            disk,
        }
    }

    /// `faults` is asked at each operation from now on.
    pub(crate) fn fail_when(
        &self,
        faults: impl FnMut(DiskOperation) -> Option<DiskFault> + Send + 'static,
    ) {
        locked(&self.disk).faults = Some(Box::new(faults));
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        locked(&self.disk).operations
    }

    /// Writes the files as a machine that lost its power now may find them.
    pub(crate) fn after_power_cut(&self, into: &Path) -> std::io::Result<()> {
        let mut disk = locked(&self.disk);
        let Disk { files, random, .. } = &mut *disk;
        for (path, file) in files.iter_mut() {
            file.lose(random);
            let name = path.file_name().unwrap_or_default();
            std::fs::write(into.join(name), &file.durable)?;
        }
        Ok(())
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        disks().remove(&self.directory);
    }
}

/// What SQLite has of an open file; the file of its own file system lies behind it.
#[repr(C)]
struct ShimFile {
    methods: *const ffi::sqlite3_io_methods,
    disk: *const Mutex<Disk>,
    path: *mut PathBuf,
    _aligned: usize,
}

fn under() -> *mut ffi::sqlite3_vfs {
    static UNDER: OnceLock<usize> = OnceLock::new();
    // SAFETY: it may be called at any time; a file system that is registered stays.
    *UNDER.get_or_init(|| unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) } as usize)
        as *mut ffi::sqlite3_vfs
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the copy differs from SQLite's own in what it opens and deletes, and lives for ever.
        unsafe {
            let mut shim = *under();
            let size = c_int::try_from(size_of::<ShimFile>()).unwrap_or(c_int::MAX);
            shim.szOsFile += size;
            shim.zName = c"ubs-faulty".as_ptr();
            shim.pNext = std::ptr::null_mut();
            shim.xOpen = Some(open);
            shim.xDelete = Some(delete);
            ffi::sqlite3_vfs_register(Box::leak(Box::new(shim)), 1);
        }
    });
}

/// The disk that a path lies on.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn disk_of(name: *const c_char) -> Option<(SharedDisk, PathBuf)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as above.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    let path = Path::new(OsStr::from_bytes(bytes));
    let disk = disks().get(path.parent()?).cloned()?;
    Some((disk, path.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a name and room for a file; the file system below is never unloaded.
    unsafe {
        let vfs = under();
        let Some(open) = (*vfs).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let Some((disk, path)) = disk_of(name) else {
            return open(vfs, name, file, flags, out);
        };
        let below = below(file);
        (*below).pMethods = std::ptr::null();
        let opened = open(vfs, name, below, flags, out);
        if (*below).pMethods.is_null() {
            (*file).pMethods = std::ptr::null();
            return opened;
        }
        let read = || std::fs::read(&path).unwrap_or_default();
        let mut state = locked(&disk);
        state.files.entry(path.clone()).or_insert_with(|| DiskFile {
            durable: read(),
            pending: vec![],
        });
        drop(state);
        let shim = file.cast::<ShimFile>();
        (*shim).disk = Arc::into_raw(disk);
        (*shim).path = Box::into_raw(Box::new(path));
        (*shim).methods = &raw const METHODS;
        opened
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: as for `open`.
    unsafe {
        let vfs = under();
        let found = disk_of(name);
        if let Some((disk, _)) = &found
            && locked(disk).fault(DiskOperation::Delete).is_some()
        {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let deleted = (*vfs)
            .xDelete
            .map_or(ffi::SQLITE_IOERR, |delete| delete(vfs, name, sync));
        if let (Some((disk, path)), ffi::SQLITE_OK) = (found, deleted) {
            locked(&disk).files.remove(&path);
        }
        deleted
    }
}

/// The file of the file system below.
///
/// # Safety
/// `file` has the room that `register` asked for.
unsafe fn below(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: as above; both parts are aligned to 16 bytes less than SQLite's own room is.
    unsafe { file.cast::<ShimFile>().add(1).cast() }
}

/// Calls a method of the file below.
macro_rules! pass {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls it with a file that `open` opened.
        unsafe {
            let below = below($file);
            (*(*below).pMethods).$method.map_or(ffi::SQLITE_IOERR, |call| call(below $(, $argument)*))
        }
    }};
}

/// A method that only passes its call on.
macro_rules! passing {
    ($($name:ident $method:ident ($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            pass!(file, $method $(, $argument)*)
        }
    )*};
}

passing! {
    read xRead(to: *mut c_void, amount: c_int, at: i64);
    size xFileSize(size: *mut i64);
    lock xLock(level: c_int);
    unlock xUnlock(level: c_int);
    check_reserved xCheckReservedLock(out: *mut c_int);
    control xFileControl(operation: c_int, argument: *mut c_void);
    sector_size xSectorSize();
    characteristics xDeviceCharacteristics();
    shm_map xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void);
    shm_lock xShmLock(offset: c_int, n: c_int, flags: c_int);
    shm_unmap xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `pass`.
    unsafe {
        let below = below(file);
        if let Some(barrier) = (*(*below).pMethods).xShmBarrier {
            barrier(below);
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The disk of an open file, and its path.
///
/// # Safety
/// `open` opened it, and it is not closed.
unsafe fn place<'a>(file: *mut ffi::sqlite3_file) -> (MutexGuard<'a, Disk>, &'a Path) {
    // SAFETY: as above.
    unsafe {
        let shim = file.cast::<ShimFile>();
        (locked(&*(*shim).disk), &*(*shim).path)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let closed = pass!(file, xClose);
    // SAFETY: `open` made both, and SQLite closes a file once.
    unsafe {
        let shim = file.cast::<ShimFile>();
        drop(Arc::from_raw((*shim).disk));
        drop(Box::from_raw((*shim).path));
    }
    closed
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: i64,
) -> c_int {
    let length = usize::try_from(amount).unwrap_or(0);
    // SAFETY: SQLite gives that many bytes.
    let (bytes, (mut disk, path)) = unsafe {
        (
            std::slice::from_raw_parts(from.cast::<u8>(), length),
            place(file),
        )
    };
    let fault = disk.fault(DiskOperation::Write);
    let (kept, answer) = match fault {
        None => (length, ffi::SQLITE_OK),
        Some(DiskFault::PowerCut) => return ffi::SQLITE_IOERR_WRITE,
        Some(DiskFault::Full) => (disk.random.index(length), ffi::SQLITE_FULL),
        Some(DiskFault::Error) => (disk.random.index(length), ffi::SQLITE_IOERR_WRITE),
    };
    let written = if kept > 0 {
        let kept = c_int::try_from(kept).unwrap_or(0);
        pass!(file, xWrite, from, kept, at)
    } else {
        ffi::SQLITE_OK
    };
    if written != ffi::SQLITE_OK {
        return written;
    }
    if let (Some(file), Ok(at)) = (disk.files.get_mut(path), usize::try_from(at)) {
        let bytes = bytes[..kept].to_vec();
        file.pending.push(Change::Write { at, bytes });
    }
    answer
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite calls it with a file that `open` opened.
    let (mut disk, path) = unsafe { place(file) };
    if disk.fault(DiskOperation::Truncate).is_some() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    let truncated = pass!(file, xTruncate, size);
    if truncated == ffi::SQLITE_OK
        && let (Some(file), Ok(size)) = (disk.files.get_mut(path), usize::try_from(size))
    {
        file.pending.push(Change::Truncate(size));
    }
    truncated
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as above.
    let (mut disk, path) = unsafe { place(file) };
    let fault = disk.fault(DiskOperation::Sync);
    let Disk { files, random, .. } = &mut *disk;
    let file = files.get_mut(path);
    match (fault, file) {
        // The disk of the test is what remembers; the one below need not be waited for.
        (None, Some(file)) => file.sync(),
        (Some(DiskFault::Full | DiskFault::Error), Some(file)) => file.lose(random),
        _ => {}
    }
    fault.map_or(ffi::SQLITE_OK, |_| ffi::SQLITE_IOERR_FSYNC)
}
