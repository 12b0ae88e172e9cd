//! What an application's code sees of the host while a check runs it.

use std::path::{Component, Path, PathBuf};

use super::context::CheckContext;
use super::interpreter::{VENV_INTERPRETERS, interpreter};
use super::raised::Raised;
use super::start_script::{SHELL, start_scripts};
use crate::domain::redact::Redactor;
use crate::manifest::{Environment, Manifest, Origin};
use crate::sandbox::{View, has_own_root};

/// A path of this host that a check does not show to the application's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotShown {
    path: PathBuf,
    /// It was to be written, or something in it.
    is_written: bool,
}

impl NotShown {
    /// Which path, and why what failed for it decides nothing.
    pub(super) fn why(&self, redactor: &Redactor) -> String {
        let path = redactor.clean(&self.path.display().to_string(), PATH_BYTES_MAX);
        let why = if self.is_written {
            "is on this host, and a check may write nothing there, so this is not decided"
        } else {
            "exists on this host and is not shown to the check, so this is not decided"
        };
        format!("{path} {why}")
    }

    pub(super) fn remedy(&self) -> String {
        if self.is_written {
            return "a dry run may write nothing outside of the workspace: let the application write when it runs \
                    and not while it is imported, if that is possible"
                .to_owned();
        }
        if self.path.starts_with("/sys") {
            return "no sandbox shows /sys: let the application do without it, or look when it runs and not while it \
                    is imported"
                .to_owned();
        }
        format!(
            "add \"{}\" to `read` of [sandbox] in the manifest, if the application needs it",
            self.path.display()
        )
    }
}

/// What the sandbox may be to blame for, and not the application.
#[derive(Debug)]
pub(super) enum SandboxCause {
    /// A path of this host is not shown.
    NotShown(NotShown),
    /// A local socket was refused.
    Refused,
    /// Nothing may be written in the workspace.
    ReadOnly,
    /// Nobody answers over the network, which is not there.
    NoNetwork,
    /// Its tables are made by what runs before it.
    NoTables,
    /// A command of the boot makes directories before it.
    NoDirectory,
}

impl SandboxCause {
    /// Why the failure decides nothing; `run`: what failed, `check` or `dry run`.
    pub(super) fn why(&self, run: &str, redactor: &Redactor) -> String {
        match self {
            Self::NotShown(path) => path.why(redactor),
            Self::Refused => {
                format!("a {run} can make no local (Unix) socket, so this is not decided")
            }
            Self::ReadOnly => format!("the {run} is read-only, which may be the cause"),
            Self::NoTables => {
                "its tables are made, or compared, elsewhere in this boot, so this is not decided"
                    .to_owned()
            }
            Self::NoDirectory => format!(
                "a command of the boot makes directories (`mkdir`), which the {run} does not run, so this is not decided"
            ),
            Self::NoNetwork => format!("a {run} has no network, so this is not decided"),
        }
    }

    /// What to do, where that does not depend on what was looked at; `who`: `application` or `layer`.
    pub(super) fn remedy(&self, who: &str) -> Option<String> {
        match self {
            Self::NotShown(path) => Some(path.remedy()),
            Self::Refused => Some(format!(
                "let the {who} make its sockets when it runs and not while it is imported"
            )),
            Self::ReadOnly => None,
            Self::NoTables => Some("see what the schema check says of its database".to_owned()),
            Self::NoDirectory => Some(format!(
                "let a task of an earlier layer make the directory, or see that the {who} finds it"
            )),
            Self::NoNetwork => Some(format!(
                "let the {who} connect when it runs and not while it starts, or see that what it needs is up; a dry run \
                 may connect with rehearse.network = true"
            )),
        }
    }
}

/// Paths of an exception that are looked up.
const PATHS_MAX: usize = 16;
/// Longest path that is shown, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// Absolute paths in a text, and those below the home directory, which is written `~`.
fn paths_in<'a>(text: &'a str, home: Option<&'a Path>) -> impl Iterator<Item = PathBuf> {
    let ends = |c: char| c.is_whitespace() || "'\"`()[]{}<>,;=".contains(c);
    text.split(ends).filter_map(move |word| {
        let word = word.trim_end_matches(['.', ':', '!', '?']);
        let path = match (word.strip_prefix("~/"), home) {
            (Some(below), Some(home)) => home.join(below),
            _ => PathBuf::from(word),
        };
        let is_plain = path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        (path.is_absolute() && is_plain && path.parent().is_some()).then_some(path)
    })
}

/// The application's view of `root`, the workspace or a copy of it: at the path of the live workspace, with what the
/// manifest names of the host. `state`: the state directory, which it must not see.
pub(crate) fn application_view(
    manifest: &Manifest,
    root: &Path,
    environment: &Environment,
    state: Option<&Path>,
) -> View {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let live = real(&manifest.workspace);
    let mut view = View::new(&real(root), &live);
    view.state = state.map(real);
    view.shown = manifest.sandbox.read.clone();
    let live_files = live_files(manifest, root, environment);
    let value = |name: &str| -> Option<&str> {
        let found = match (environment.values.get(name), &live_files) {
            (Some(found @ (_, Origin::Process)), _) => Some(found),
            (_, Some(live)) => live.values.get(name),
            (found, None) => found,
        };
        found.map(|(value, _)| value.as_str())
    };
    let of_environment = value("PYTHONPATH").unwrap_or_default().split(':');
    let of_manifest = manifest.python.path.iter().map(String::as_str);
    let imported = of_manifest.chain(of_environment).map(Path::new);
    view.imported.extend(
        imported
            .filter(|path| path.is_absolute())
            .map(Path::to_owned),
    );
    // By what the manifest and the live workspace say, and nothing that a proposal can change.
    let named = manifest
        .python
        .interpreter
        .as_deref()
        .filter(|path| path.contains('/'));
    view.interpreters = named
        .into_iter()
        .chain(VENV_INTERPRETERS)
        .map(|path| live.join(path))
        .filter(|path| path.exists())
        .collect();
    view.interpreters.sort();
    view.interpreters.dedup();
    view.home = value("HOME").map(PathBuf::from);
    // Packages that were installed for the user lie below the home directory.
    if let Some(home) = &view.home {
        for name in ["lib", "bin"] {
            view.imported.push(home.join(".local").join(name));
        }
    }
    view
}

/// What the environment files of the live workspace say, if `root` is a copy of it: what a proposal changes in the
/// copy shows nothing of the host. Files that cannot be read say nothing.
fn live_files(manifest: &Manifest, root: &Path, environment: &Environment) -> Option<Environment> {
    if root == manifest.workspace {
        return None;
    }
    let of_process = environment.values.iter().filter_map(|(name, found)| {
        let (value, origin) = found;
        matches!(origin, Origin::Process).then(|| (name.clone(), value.clone()))
    });
    let live = Environment::load(manifest, &manifest.workspace, of_process);
    Some(live.unwrap_or_default())
}

impl CheckContext<'_> {
    /// See [`application_view`].
    pub(super) fn view(&self) -> View {
        application_view(self.manifest, self.root, self.environment, self.state)
    }

    /// What a start-up that failed may lack only because nothing of the boot ran before it.
    pub(super) fn start_cause(&self, raised: &Raised) -> Option<SandboxCause> {
        let mut services = self
            .manifest
            .layers
            .iter()
            .flat_map(|layer| &layer.services);
        let is_made = !self.manifest.schemas.is_empty() || services.any(|service| service.oneshot);
        if is_made && raised.undefined {
            return Some(SandboxCause::NoTables);
        }
        // The dry run has no capability. It runs as the owner of the workspace where a service of root's would be root.
        let may_pass = raised.denied == "capability"
            || (raised.denied == "file" && nix::unistd::geteuid().is_root());
        may_pass.then_some(SandboxCause::ReadOnly)
    }

    /// What of the sandbox an exception may come from: what failed may work when the application runs.
    pub(super) fn sandbox_cause(&self, raised: &Raised) -> Option<SandboxCause> {
        let messages = raised.chain.iter().map(|link| link.message.as_str());
        // SQLite does not say which file it was.
        let texts = [raised.message.as_str(), raised.beyond.as_str()];
        let beyond = (!raised.beyond.is_empty()).then(|| raised.beyond.clone());
        let unwritten: Vec<String> = raised.unwritten.iter().cloned().chain(beyond).collect();
        if let Some(path) = self.not_shown_in(texts.into_iter().chain(messages), &unwritten) {
            return Some(SandboxCause::NotShown(path));
        }
        if self.is_made_before(raised) {
            return Some(SandboxCause::NoDirectory);
        }
        match (raised.refused, raised.read_only, raised.network) {
            (true, ..) => Some(SandboxCause::Refused),
            (false, true, _) => Some(SandboxCause::ReadOnly),
            (false, false, true) => Some(SandboxCause::NoNetwork),
            (false, false, false) => None,
        }
    }

    /// The directory that was not there is one that a command of the boot, or a shell script that it runs, makes.
    fn is_made_before(&self, raised: &Raised) -> bool {
        let beyond = Path::new(&raised.beyond).parent();
        let directory = match raised.directory.as_str() {
            "" => beyond,
            directory => Some(Path::new(directory)),
        };
        let name = directory
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let Some(name) = name else {
            return false;
        };
        let makes = |text: &str| {
            let lines = text
                .lines()
                .filter(|line| line.contains("mkdir") || line.contains("install -d"));
            lines.into_iter().any(|line| line.contains(name))
        };
        let services = self
            .manifest
            .layers
            .iter()
            .flat_map(|layer| &layer.services);
        services.into_iter().any(|service| {
            let mut texts = start_scripts(self.root, service, SHELL);
            makes(&service.run.join(" ")) || texts.any(|text| makes(&text))
        })
    }

    /// A path that a text names, and that this host has but does not show to a dry run, or a directory of this host
    /// into which a new file was to be written. `unwritten`: paths that were to be written.
    pub(super) fn not_shown_in<'t>(
        &self,
        texts: impl Iterator<Item = &'t str>,
        unwritten: &[String],
    ) -> Option<NotShown> {
        let view = self.view();
        let program = interpreter(self.manifest, self.root, self.environment).unwrap_or_default();
        let is_of_host = |path: &Path| {
            let is_of_state = view.state.as_ref().is_some_and(|s| path.starts_with(s));
            !is_of_state && !view.shows(path, &program) && path.symlink_metadata().is_ok()
        };
        let paths = texts.flat_map(|text| paths_in(text, view.home.as_deref()));
        paths.take(PATHS_MAX).find_map(|path| {
            let is_written = unwritten.iter().any(|written| Path::new(written) == path);
            let parent = path.parent().filter(|p| is_written && p.parent().is_some());
            let found = if is_of_host(&path) {
                path
            } else {
                parent
                    .filter(|p| is_of_host(p) && may_be_written(p))?
                    .to_owned()
            };
            Some(NotShown {
                path: found,
                is_written,
            })
        })
    }

    /// Where the application's code finds itself.
    pub(super) fn seen_root(&self) -> PathBuf {
        seen_root(self.manifest, self.root)
    }
}

/// A directory in which whoever runs `ubs` may make a file (access(2)): without that, its services cannot either.
fn may_be_written(directory: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    directory.is_dir() && access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Where an application's code finds itself when it runs in `root`, the workspace or a copy of it.
pub(crate) fn seen_root(manifest: &Manifest, root: &Path) -> PathBuf {
    if has_own_root()
        && let Ok(live) = manifest.workspace.canonicalize()
    {
        live
    } else {
        root.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_what_an_exception_says() {
        let found = |text| -> Vec<String> {
            let paths = paths_in(text, Some(Path::new("/home/a")));
            paths.map(|path| path.display().to_string()).collect()
        };
        let text = "[Errno 2] No such file or directory: '/opt/models/x.bin'";
        assert_eq!(found(text), ["/opt/models/x.bin"]);
        assert_eq!(found("Directory \"~/static\" is gone."), ["/home/a/static"]);
        assert_eq!(
            found("see https://x.example/y, a/b, /a/../etc/shadow and /"),
            [""; 0]
        );
    }
}
