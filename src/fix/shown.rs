//! The files that a claim shows: their digests, and what they held, so that a proposal made for something else can
//! be refused with the difference.
//!
//! Copies lie in `claims/MISSION` of the state directory, for its owner only, until the mission is closed or claimed
//! again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

use super::apply::{read_file, write_atomically};
use super::patch::unified;
use crate::domain::ids::{Digest, MissionId};
use crate::domain::mission::{Change, Failure, MissionState, Proposal};
use crate::domain::remedy::Remedy;

/// Files of one mission.
const FILES_MAX: usize = 32;
/// A copy that is kept, bytes.
const COPY_BYTES_MAX: usize = 1 << 20;
/// Lines of a difference.
const LINES_MAX: usize = 60;

static TRACEBACK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^\s*File "([^"\n]{1,1024})", line \d+"#)
        .expect("a constant pattern, compiled in a test")
});

/// A file that a mission names, as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ShownFile {
    /// Relative to the workspace.
    pub path: String,
    /// What a proposal gives as `before`; none if the file does not exist.
    pub digest: Option<Digest>,
}

/// The files of the workspace that the mission names: where it failed, and what the traceback goes through.
pub(crate) fn shown_files(workspace: &Path, state: &MissionState) -> Vec<ShownFile> {
    let named = state
        .failure
        .iter()
        .flat_map(|failure| named_files(workspace, failure));
    let mut seen = BTreeSet::new();
    named
        .filter(|path| seen.insert(path.clone()))
        .take(FILES_MAX)
        .filter_map(|path| {
            let bytes = read_file(workspace, &path).ok()?;
            let digest = bytes.as_deref().map(Digest::of);
            Some(ShownFile { path, digest })
        })
        .collect()
}

fn named_files(workspace: &Path, failure: &Failure) -> Vec<String> {
    let mut files: Vec<String> = failure.location.iter().map(|at| at.file.clone()).collect();
    files.extend(failure.facts.get("file").cloned());
    if let Some(
        Remedy::InsertText { file, .. }
        | Remedy::SetDefault { file, .. }
        | Remedy::GenerateSecret { file, .. }
        | Remedy::EditText { file, .. },
    ) = &failure.fix
    {
        files.push(file.clone());
    }
    for found in TRACEBACK.captures_iter(&failure.traceback) {
        let path = Path::new(&found[1]);
        let inside = path.strip_prefix(workspace).unwrap_or(path);
        // What a traceback names without being there is no file of the workspace.
        if inside.is_relative() && workspace.join(inside).is_file() {
            files.extend(inside.to_str().map(str::to_owned));
        }
    }
    files
}

fn directory(state_dir: &Path, mission: MissionId) -> PathBuf {
    state_dir.join("claims").join(mission.to_string())
}

/// Keeps what the files held when they were shown.
///
/// # Errors
/// The state directory cannot be written.
pub(crate) fn keep_shown(
    workspace: &Path,
    state_dir: &Path,
    mission: MissionId,
    files: &[ShownFile],
) -> io::Result<()> {
    forget_shown(state_dir, mission)?;
    let directory = directory(state_dir, mission);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)?;
    for file in files {
        let Ok(Some(bytes)) = read_file(workspace, &file.path) else {
            continue;
        };
        if bytes.len() <= COPY_BYTES_MAX {
            let name = Digest::of(&bytes).to_string();
            write_atomically(&directory.join(name), &bytes, 0o600)?;
        }
    }
    Ok(())
}

/// Removes what is kept of a mission.
pub(super) fn forget_shown(state_dir: &Path, mission: MissionId) -> io::Result<()> {
    match fs::remove_dir_all(directory(state_dir, mission)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The first file that is not what the proposal was made for, and the difference.
pub(super) fn changed_meanwhile(
    workspace: &Path,
    state_dir: &Path,
    mission: MissionId,
    proposal: &Proposal,
) -> Option<(String, String)> {
    proposal.changes.iter().find_map(|change| {
        let (path, before, text) = match change {
            Change::Write { path, before, text } => (path, *before, Some(text)),
            Change::Insert { path, before, .. }
            | Change::Edit { path, before, .. }
            | Change::Delete { path, before } => (path, Some(*before), None),
            _ => return None,
        };
        let now = read_file(workspace, path).ok()?;
        if now.as_deref().map(Digest::of) == before {
            return None;
        }
        let text_now = String::from_utf8_lossy(now.as_deref().unwrap_or_default());
        let kept = before
            .and_then(|digest| {
                fs::read(directory(state_dir, mission).join(digest.to_string())).ok()
            })
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let difference = match (kept, text) {
            (Some(kept), _) => {
                let (shown, is_now) = (format!("{path} as it was shown"), format!("{path} now"));
                unified(&kept, &text_now, &shown, &is_now, Some(LINES_MAX))
            }
            (None, Some(text)) => {
                let (is_now, proposed) = (format!("{path} now"), format!("{path} as proposed"));
                unified(&text_now, text, &is_now, &proposed, Some(LINES_MAX))
            }
            (None, None) => String::new(),
        };
        Some((path.clone(), difference))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{CheckName, Finding, Severity};
    use crate::domain::mission::Risk;

    fn state(root: &Path) -> MissionState {
        let mut finding =
            Finding::new("rehearsal.failed", Severity::Critical, "apis", "no").at("app/a.py", 3, 0);
        finding.detail = format!(
            "Traceback:\n  File \"{}/app/b.py\", line 1, in <module>\n  File \"/usr/lib/python3/os.py\", line 2\n  \
             File \"../x.py\", line 2\n",
            root.display()
        );
        MissionState {
            failure: Some(Failure::of_finding(CheckName::Rehearsal, &finding)),
            ..MissionState::default()
        }
    }

    #[test]
    fn what_was_edited_after_it_was_shown_is_told_with_the_difference() {
        let (dir, state_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = dir.path();
        fs::create_dir(root.join("app")).unwrap();
        fs::write(root.join("app/a.py"), "import x\n").unwrap();
        fs::write(root.join("app/b.py"), "import a\n").unwrap();
        let files = shown_files(root, &state(root));
        let shown = |path: &str, text: &str| ShownFile {
            path: path.into(),
            digest: Some(Digest::of(text.as_bytes())),
        };
        assert_eq!(
            files,
            [
                shown("app/a.py", "import x\n"),
                shown("app/b.py", "import a\n")
            ]
        );
        let mission = MissionId(uuid::Uuid::nil());
        keep_shown(root, state_dir.path(), mission, &files).unwrap();
        let proposal = Proposal {
            fixer: "ann".into(),
            summary: "x".into(),
            risk: Risk::Open,
            changes: vec![Change::Write {
                path: "app/a.py".into(),
                before: files[0].digest,
                text: "import y\n".into(),
            }],
        };
        let changed = || changed_meanwhile(root, state_dir.path(), mission, &proposal);
        assert_eq!(changed(), None);
        fs::write(root.join("app/a.py"), "import x  # mine\n").unwrap();
        let (path, difference) = changed().unwrap();
        assert_eq!(path, "app/a.py");
        assert!(
            difference.contains("-import x\n+import x  # mine"),
            "{difference}"
        );
        forget_shown(state_dir.path(), mission).unwrap();
        assert!(changed().unwrap().1.contains("+import y"));
    }
}
