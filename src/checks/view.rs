//! What an application's code sees of the host while a check runs it.

use std::path::{Path, PathBuf};

use super::context::CheckContext;
use crate::manifest::{Environment, Manifest};
use crate::sandbox::{View, has_own_root};

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
    let value = |name: &str| {
        environment
            .values
            .get(name)
            .map(|(value, _)| value.as_str())
    };
    let of_environment = value("PYTHONPATH").unwrap_or_default().split(':');
    let of_manifest = manifest.python.path.iter().map(String::as_str);
    let imported = of_manifest.chain(of_environment).map(Path::new);
    view.shown.extend(
        imported
            .filter(|path| path.is_absolute())
            .map(Path::to_owned),
    );
    view.home = value("HOME").map(PathBuf::from);
    // Packages that were installed for the user lie below the home directory.
    if let Some(home) = &view.home {
        for name in ["lib", "bin"] {
            view.shown.push(home.join(".local").join(name));
        }
    }
    view
}

impl CheckContext<'_> {
    /// See [`application_view`].
    pub(super) fn view(&self) -> View {
        application_view(self.manifest, self.root, self.environment, self.state)
    }

    /// Where the application's code finds itself.
    pub(super) fn seen_root(&self) -> PathBuf {
        seen_root(self.manifest, self.root)
    }
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
