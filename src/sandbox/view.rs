//! What a sandboxed program sees of the host: the system, its interpreter, the workspace, what the manifest names,
//! and nothing else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::private::is_private;
use super::python_paths::interpreter_paths;
use super::stand_in::ENVIRONMENTS;
use super::system::{
    DEVICES, LINKS, OF_ETC, OF_USR, SCRATCH, SYSTEM, is_shown_by_system, loader_directories, show,
    system,
};
use crate::kernel::{NewRoot, RootEntry, Wall};

/// The workspace as a program sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// What is seen as the workspace: itself, or a copy of it.
    pub workspace: PathBuf,
    /// Where it is seen: at the path of the live one.
    pub at: PathBuf,
    /// It looks writable; what is written lies in memory and is gone afterwards.
    pub looks_writable: bool,
    /// The state directory of this program, which is not to be seen.
    pub state: Option<PathBuf>,
    /// What else is shown, read-only: what the manifest names.
    pub shown: Vec<PathBuf>,
    /// Where the application imports from; shown where nothing private lies there.
    pub imported: Vec<PathBuf>,
    /// The application's home directory: empty, in memory.
    pub home: Option<PathBuf>,
    /// The application's interpreters: whatever the program is, it may run them.
    pub interpreters: Vec<PathBuf>,
}

impl View {
    /// `workspace` is seen at `at`, and looks writable where the kernel can do that.
    pub(crate) fn new(workspace: &Path, at: &Path) -> Self {
        Self {
            workspace: workspace.to_owned(),
            at: at.to_owned(),
            looks_writable: !has_mounts_below(workspace),
            state: None,
            shown: Vec::new(),
            imported: Vec::new(),
            home: None,
            interpreters: Vec::new(),
        }
    }

    /// That program sees what the host has at that path.
    pub(crate) fn shows(&self, path: &Path, program: &Path) -> bool {
        let of_etc = path
            .strip_prefix("/etc")
            .is_ok_and(|below| OF_ETC.iter().any(|name| below.starts_with(name)));
        let kernel = ["/proc", "/dev"];
        of_etc
            || is_shown_by_system(path)
            || kernel.iter().any(|kernel| path.starts_with(kernel))
            || path.starts_with(&self.at)
            || self.shown.iter().any(|shown| path.starts_with(shown))
            || self
                .by_itself(program)
                .iter()
                .any(|shown| path.starts_with(shown))
    }

    /// What is shown although nobody named it: the interpreters, and where the application imports from. It is found in
    /// the live workspace, never in a copy, which may have been changed by somebody without that right.
    fn by_itself(&self, program: &Path) -> Vec<PathBuf> {
        let mut paths = interpreter_paths(&self.inside(program));
        let others = self.interpreters.iter().filter(|other| *other != program);
        paths.extend(others.flat_map(|other| interpreter_paths(other)));
        paths.extend(self.imported.iter().cloned());
        paths.retain(|path| !is_private(path));
        paths
    }

    /// A copy is seen in the place of the live workspace.
    fn is_copy(&self) -> bool {
        self.workspace != self.at
    }

    /// Showing that path leads neither into the live workspace beside its copy nor to the state directory, also where
    /// it is a link. A directory above them may be shown at its own path, where both are covered.
    fn may_show(&self, path: &Path) -> bool {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let leads_to = |hidden: &Path| {
            real.starts_with(hidden) || (hidden.starts_with(&real) && path != real.as_path())
        };
        if self.state.as_ref().is_some_and(|state| leads_to(state)) {
            return false;
        }
        let is_left_out = |name: &OsStr| LEFT_OUT.iter().any(|left| name == OsStr::new(left));
        let of_copy = |path: &Path| {
            path.strip_prefix(&self.at)
                .is_ok_and(|below| !below.components().any(|part| is_left_out(part.as_os_str())))
        };
        !self.is_copy()
            || !(of_copy(path)
                || of_copy(&real)
                || (leads_to(&self.at) && !real.starts_with(&self.at)))
    }

    /// The path by which the program finds something of the workspace.
    pub(super) fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.workspace) {
            Ok(below) if below.as_os_str().is_empty() => self.at.clone(),
            Ok(below) => self.at.join(below),
            Err(_) => path.to_owned(),
        }
    }
}

/// Where the home directory is if the application's own cannot be one.
const HOME_DEFAULT: &str = "/home/sandbox";

/// Files and directories in the bounded memory, for each byte of it.
const BYTES_PER_FILE: u64 = 8 << 10;

/// What a copy leaves out and may be shown of the live workspace.
const LEFT_OUT: [&str; 4] = [".venv", "venv", "node_modules", ".git"];
/// What is put together for one program.
pub(super) struct Sight<'a> {
    pub view: Option<&'a View>,
    /// The program's file.
    pub program: &'a Path,
    pub cwd: &'a Path,
    /// Directories of the host that may be written, at their own paths.
    pub writable: &'a [PathBuf],
    pub network: bool,
    pub disk_bytes: u64,
}

/// The root, and the home directory in it.
pub(super) fn new_root(sight: &Sight<'_>) -> (NewRoot, PathBuf) {
    let mut entries = Vec::new();
    system(&mut entries, sight.network);
    for path in DEVICES {
        entries.push(RootEntry::Device { path: path.into() });
    }
    for (to, at) in LINKS {
        entries.push(RootEntry::Link {
            to: to.into(),
            at: at.into(),
        });
    }
    for at in SCRATCH {
        entries.push(RootEntry::Scratch {
            at: at.into(),
            is_for_all: true,
        });
    }
    let wanted = sight.view.and_then(|view| view.home.as_deref());
    let home = wanted
        .filter(|home| can_be_home(home, sight))
        .unwrap_or(Path::new(HOME_DEFAULT));
    entries.push(RootEntry::Scratch {
        at: home.to_owned(),
        is_for_all: false,
    });
    let at = sight.view.map(|view| view.at.as_path());
    let is_of_workspace = |path: &&PathBuf| {
        sight
            .view
            .is_some_and(|view| path.starts_with(&view.workspace))
    };
    let (of_workspace, elsewhere): (Vec<_>, Vec<_>) =
        sight.writable.iter().partition(is_of_workspace);
    // Parents first, or they would hide what lies in them. What lies in the workspace comes after it.
    let mut shown = shown_paths(sight);
    shown.retain(|path| !is_shown_by_system(path));
    let (inside, outside): (Vec<_>, Vec<_>) = shown
        .into_iter()
        .partition(|path| at.is_some_and(|at| path.starts_with(at)));
    entries.extend(outside.iter().cloned().map(show));
    if let Some(view) = sight.view {
        // A directory that is shown may hold the state directory.
        if let Some(state) = view.state.as_ref().filter(|state| state.is_dir())
            && (is_shown_by_system(state) || outside.iter().any(|path| state.starts_with(path)))
        {
            entries.push(RootEntry::Scratch {
                at: state.clone(),
                is_for_all: false,
            });
        }
        let (from, at) = (view.workspace.clone(), view.at.clone());
        entries.push(if view.looks_writable {
            RootEntry::Cover { from, at }
        } else {
            RootEntry::Show { from, at }
        });
        entries.extend(
            of_workspace
                .iter()
                .map(|path| write(path, &view.inside(path))),
        );
        let is_copy = view.is_copy();
        let environments = ENVIRONMENTS.iter().map(|name| view.at.join(name));
        if is_copy {
            let others = environments.filter(|path| {
                path.is_dir() && !inside.contains(path) && !is_private(path) && view.may_show(path)
            });
            entries.extend(others.map(show));
        }
        // Only a copy lacks what lies in the live workspace.
        entries.extend(inside.into_iter().filter(|_| is_copy).map(show));
        if let Some(state) = view.state.as_deref().filter(|s| s.starts_with(&view.at)) {
            entries.push(RootEntry::Empty {
                at: state.to_owned(),
            });
        }
    }
    entries.extend(elsewhere.into_iter().map(|path| write(path, path)));
    let root = NewRoot {
        entries,
        scratch_bytes: sight.disk_bytes,
        scratch_files: sight.disk_bytes / BYTES_PER_FILE,
    };
    (root, home.to_owned())
}

/// What may be written in a root of the program's own.
pub(super) fn writable_in(root: &NewRoot) -> Vec<PathBuf> {
    let entries = root.entries.iter();
    let written = entries.filter_map(|entry| match entry {
        RootEntry::Write { at, .. }
        | RootEntry::Cover { at, .. }
        | RootEntry::Scratch { at, .. } => Some(at.clone()),
        RootEntry::Device { path } => Some(path.clone()),
        _ => None,
    });
    written.collect()
}

/// What may be read and written on a host that gives no root of the program's own.
pub(super) fn wall(sight: &Sight<'_>, no_tcp: bool) -> Wall {
    let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    for base in ["/usr", "/usr/local"] {
        readable.extend(OF_USR.iter().map(|name| Path::new(base).join(name)));
    }
    readable.extend(OF_ETC.iter().map(|name| Path::new("/etc").join(name)));
    readable.push("/proc".into());
    let mut shown = shown_paths(sight);
    if let Some(view) = sight.view {
        let live = view.is_copy().then_some(view.at.as_path());
        for hidden in live.into_iter().chain(view.state.as_deref()) {
            let (above, others): (Vec<_>, Vec<_>) =
                shown.into_iter().partition(|path| hidden.starts_with(path));
            shown = others;
            shown.extend(above.iter().flat_map(|path| all_but(path, hidden)));
        }
    }
    readable.extend(shown);
    let mut listable = Vec::new();
    if let Some(view) = sight.view {
        let mut state = view.state.as_deref().into_iter();
        match state.find(|state| state.starts_with(&view.workspace)) {
            None => readable.push(view.workspace.clone()),
            Some(state) => {
                readable.extend(all_but(&view.workspace, state));
                // The names in the state directory are no secret, and modules are found by listing.
                listable.push(view.workspace.clone());
            }
        }
    } else {
        readable.push(sight.cwd.to_owned());
    }
    let mut writable: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    writable.extend(sight.writable.iter().cloned());
    Wall {
        writable,
        readable: Some(readable),
        listable,
        no_tcp,
    }
}

/// What lies in a directory, but for what leads to `hidden`.
fn all_but(directory: &Path, hidden: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut above = directory.to_owned();
    while above != hidden {
        let names = fs::read_dir(&above).into_iter().flatten().flatten();
        let entries = names.map(|entry| entry.path());
        paths.extend(entries.filter(|path| !hidden.starts_with(path)));
        let Some(next) = hidden
            .strip_prefix(&above)
            .ok()
            .and_then(|below| below.components().next())
        else {
            break;
        };
        above.push(next);
    }
    paths
}

fn write(from: &Path, at: &Path) -> RootEntry {
    RootEntry::Write {
        from: from.to_owned(),
        at: at.to_owned(),
    }
}

/// What is shown beside the system and the workspace, parents first, each once.
fn shown_paths(sight: &Sight<'_>) -> Vec<PathBuf> {
    let mut shown: BTreeSet<PathBuf> = loader_directories().into_iter().collect();
    match sight.view {
        Some(view) => {
            shown.extend(view.by_itself(sight.program));
            shown.extend(view.shown.iter().cloned());
            shown = shown.into_iter().filter_map(plain).collect();
            shown.retain(|path| view.may_show(path));
        }
        None => {
            let by_itself = interpreter_paths(sight.program);
            shown.extend(by_itself.into_iter().filter(|path| !is_private(path)));
            shown.insert(sight.cwd.to_owned());
        }
    }
    // A set of paths is ordered by their components.
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in shown {
        let is_there = kept
            .last()
            .is_some_and(|above: &PathBuf| path.starts_with(above));
        let is_written = sight
            .writable
            .iter()
            .any(|written| path.starts_with(written));
        if path.parent().is_some() && !is_there && !is_written {
            kept.push(path);
        }
    }
    kept
}

/// The path, or where it leads if it holds `..`; `None` if it is not absolute or no path at all.
fn plain(path: PathBuf) -> Option<PathBuf> {
    let is_plain = path
        .components()
        .skip(1)
        .all(|part| matches!(part, Component::Normal(_)));
    let has_nul = path.as_os_str().as_bytes().contains(&0);
    if !path.is_absolute() || has_nul {
        return None;
    }
    if is_plain {
        Some(path)
    } else {
        path.canonicalize().ok()
    }
}

/// Not where the system, the interpreter or the workspace itself lies.
fn can_be_home(home: &Path, sight: &Sight<'_>) -> bool {
    let taken = [
        "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev", "/nix", "/tmp",
    ];
    home.is_absolute()
        && home.parent().is_some()
        && home
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir))
        && !taken.iter().any(|taken| home.starts_with(taken))
        && sight.view.is_none_or(|view| !home.starts_with(&view.at))
}

/// Something is mounted below that directory (proc_pid_mountinfo(5)); a file that cannot be read says yes.
#[must_use]
pub(crate) fn has_mounts_below(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else {
        return true;
    };
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return true;
    };
    mounts.lines().any(|line| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        // Blanks and the like are written in octal.
        let point = point
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\");
        let point = Path::new(&point);
        point != directory && point.starts_with(&directory)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A live workspace and a copy of it, as their real paths.
    fn places() -> (tempfile::TempDir, View) {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        for name in [
            "app/ws/src",
            "app/ws/.venv/lib",
            "app/copy",
            "app/state",
            "app/lib",
        ] {
            fs::create_dir_all(real.join(name)).unwrap();
        }
        let mut view = View::new(&real.join("app/copy"), &real.join("app/ws"));
        view.state = Some(real.join("app/state"));
        (dir, view)
    }

    #[test]
    fn no_path_leads_to_the_live_workspace_or_the_state_directory() {
        let (dir, view) = places();
        let app = dir.path().canonicalize().unwrap().join("app");
        for (name, to) in [("venv", "."), ("node_modules", "..")] {
            symlink(to, app.join("ws").join(name)).unwrap();
        }
        for (name, to) in [("to_ws", "ws"), ("to_state", "state"), ("to_all", ".")] {
            symlink(to, app.join(name)).unwrap();
        }
        for hidden in [
            "ws",
            "ws/src",
            "ws/.env",
            "ws/venv",
            "ws/node_modules",
            "to_ws",
            "to_ws/src",
            "state",
            "state/log.db",
            "to_state",
            "to_all",
        ] {
            assert!(!view.may_show(&app.join(hidden)), "{hidden}");
        }
        for shown in ["", "lib", "ws/.venv", "ws/.venv/lib"] {
            assert!(
                view.may_show(app.join(shown).components().as_path()),
                "{shown}"
            );
        }
    }

    #[test]
    fn whatever_the_program_is_it_may_run_the_applications_interpreter() {
        let (dir, mut view) = places();
        let python = dir
            .path()
            .canonicalize()
            .unwrap()
            .join("elsewhere/bin/python3");
        std::fs::create_dir_all(python.parent().unwrap()).unwrap();
        std::fs::write(&python, "").unwrap();
        let shell = Path::new("/bin/sh");
        let is_seen = |view: &View| view.shows(&python, shell);
        assert!(!is_seen(&view));
        view.interpreters = vec![python.clone()];
        assert!(is_seen(&view));
    }

    #[test]
    fn a_copy_lies_over_every_directory_that_is_shown_and_the_state_directory_is_covered() {
        let (dir, mut view) = places();
        let app = dir.path().canonicalize().unwrap().join("app");
        view.shown = vec![app.clone()];
        view.imported = vec![
            app.join("ws"),
            app.join("ws/src"),
            "/etc".into(),
            "/".into(),
        ];
        let sight = Sight {
            view: Some(&view),
            program: Path::new("/bin/sh"),
            cwd: &view.workspace,
            writable: &[],
            network: false,
            disk_bytes: 1 << 20,
        };
        let entries = new_root(&sight).0.entries;
        let position = |wanted: &RootEntry| entries.iter().position(|entry| entry == wanted);
        let parent = position(&show(app.clone()));
        let covered = entries.iter().position(
            |entry| matches!(entry, RootEntry::Scratch { at, .. } if *at == app.join("state")),
        );
        let copy = entries.iter().position(|entry| match entry {
            RootEntry::Cover { at, .. } | RootEntry::Show { at, .. } => *at == app.join("ws"),
            _ => false,
        });
        assert!(
            parent.is_some() && parent < covered && parent < copy,
            "{entries:?}"
        );
        for live in [
            "/etc".into(),
            "/".into(),
            app.join("ws"),
            app.join("ws/src"),
        ] {
            assert_eq!(position(&show(live)), None);
        }
    }
}
