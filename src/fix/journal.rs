//! The journal of one promotion: what is needed to finish or undo it after a crash, durable before
//! the workspace changes.
//!
//! A directory in the state directory, readable by its owner only, because the images may hold an environment file:
//! `journal/MISSION`, and `journal/MISSION.1`, `.2` for each further fix of the mission that is made while the one
//! before it is on probation, so that each can be taken back, the newest first.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apply::{PlannedFile, write_atomically};
use super::packages::JournalPackages;
use super::places::Place;
use super::run::Step;
use crate::domain::event::FileChange;
use crate::domain::ids::{Digest, MissionId};
use crate::domain::mission::Risk;
use crate::fix::postgres::server_trial::ServerOutcome;
use crate::kernel::remove_tree;
use crate::manifest::sync_directory;

const PLAN: &str = "plan.json";
const INTENT: &str = "taking-back.json";
const VERIFIED: &str = "verified";
/// Of everything in the journal.
const MODE: u32 = 0o600;

/// A fix is being taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TakeBack {
    /// The person who asked; `None` if the system got worse.
    pub by: Option<String>,
    pub why: String,
}

/// What a promotion changes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalPlan {
    /// Files, in order; images are beside the plan.
    pub files: Vec<JournalFile>,
    /// Databases, in order, after the files.
    pub databases: Vec<JournalDatabase>,
    /// Packages, before everything else.
    #[serde(default)]
    pub packages: Vec<JournalPackages>,
    /// Databases of servers, after those.
    #[serde(default)]
    pub servers: Vec<JournalServer>,
    /// Directories, modes and what is moved aside, before the files.
    #[serde(default)]
    pub places: Vec<Place>,
    /// Commands and waits, after everything else.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The playbook that made it, if its `verify` has to pass.
    #[serde(default)]
    pub verify: Option<String>,
}

/// One database of a server that a promotion changes. Where it is, the manifest and the environment say: a
/// URL may hold a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalServer {
    /// Name of the manifest's `[[schema]]`.
    pub schema: String,
    /// What is run, in one transaction; nothing, if migrations were recorded.
    pub statements: Vec<String>,
    /// What the trial showed, with what it recorded. The rows in it may be anybody's.
    pub outcome: ServerOutcome,
}

/// One file of a promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalFile {
    /// Path and digests.
    pub change: FileChange,
    /// Permission bits before.
    pub mode_before: Option<u32>,
    /// Permission bits after.
    pub mode: u32,
}

/// One database of a promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalDatabase {
    /// Name of the manifest's `[[schema]]`.
    pub schema: String,
    /// The database file.
    pub path: PathBuf,
    /// Where it was backed up to; `None` if it did not exist.
    pub backup: Option<PathBuf>,
    /// What is run, in one transaction.
    pub statements: Vec<String>,
    /// What the statements may do.
    pub risk: Risk,
    /// Definitions before.
    pub before: Digest,
    /// Definitions after, as the trial showed them.
    pub after: Digest,
    /// It is replaced by what its migrations made of it; the image lies beside the plan.
    #[serde(default)]
    pub migrated: Option<JournalImage>,
}

/// Contents of a database before and after its migrations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalImage {
    pub before: Digest,
    pub after: Digest,
}

/// The journal directory of one promotion.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    directory: PathBuf,
}

/// What tells the promotions of a mission apart: in names of what is kept of each.
pub(super) fn name_of(mission: MissionId, below: usize) -> String {
    match below {
        0 => mission.to_string(),
        _ => format!("{mission}.{below}"),
    }
}

fn parse_name(name: &str) -> Option<(MissionId, usize)> {
    let (mission, below) = match name.split_once('.') {
        Some((mission, below)) => (mission, below.parse().ok()?),
        None => (name, 0),
    };
    let mission = mission.parse().ok()?;
    (name_of(mission, below) == name).then_some((mission, below))
}

impl Journal {
    /// The journal of a promotion below the state directory; it need not exist. `below`: the fixes of the mission
    /// that are on probation already.
    pub(super) fn of(state_dir: &Path, mission: MissionId, below: usize) -> Self {
        Self {
            directory: state_dir.join("journal").join(name_of(mission, below)),
        }
    }

    /// Where it lies.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The missions that have one, and how many fixes lie below: a promotion goes on, or its fix is on probation.
    pub(super) fn kept(state_dir: &Path) -> io::Result<Vec<(MissionId, usize)>> {
        let entries = match fs::read_dir(state_dir.join("journal")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let mut kept = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            kept.extend(name.to_str().and_then(parse_name));
        }
        kept.sort();
        Ok(kept)
    }

    /// The journal of the mission's last promotion, if one is kept.
    pub(super) fn newest(state_dir: &Path, mission: MissionId) -> Option<Self> {
        let kept = Self::kept(state_dir).ok()?;
        let (_, below) = kept.into_iter().rfind(|(kept, _)| *kept == mission)?;
        Some(Self::of(state_dir, mission, below))
    }

    /// Removes all journals of a mission.
    pub(super) fn remove_all(state_dir: &Path, mission: MissionId) -> io::Result<()> {
        for (_, below) in Self::kept(state_dir)?
            .into_iter()
            .filter(|(kept, _)| *kept == mission)
        {
            Self::of(state_dir, mission, below).remove()?;
        }
        Ok(())
    }

    /// Notes that the fix is being taken back; durable when this returns.
    pub(super) fn intend(&self, intent: &TakeBack) -> io::Result<()> {
        let text = serde_json::to_vec(intent)?;
        write_atomically(&self.directory.join(INTENT), &text, MODE)
    }

    /// That the fix is being taken back, if it is.
    pub(super) fn intent(&self) -> io::Result<Option<TakeBack>> {
        match fs::read(self.directory.join(INTENT)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that what it had to pass was passed; durable when this returns.
    pub(super) fn note_verified(&self) -> io::Result<()> {
        write_atomically(&self.directory.join(VERIFIED), b"", MODE)
    }

    /// See [`Self::note_verified`].
    pub(super) fn is_verified(&self) -> bool {
        self.directory.join(VERIFIED).exists()
    }

    /// Contents of database `index` right after the promotion.
    pub(super) fn keep_contents(&self, index: usize, contents: Digest) -> io::Result<()> {
        let text = contents.to_string();
        write_atomically(&self.image("contents", index), text.as_bytes(), MODE)
    }

    /// See [`Self::keep_contents`]; `None` if they were not kept.
    pub(super) fn contents(&self, index: usize) -> Option<String> {
        fs::read_to_string(self.image("contents", index)).ok()
    }

    /// Notes that step `index` is about to begin, and, with `is_done`, that it has ended well; durable.
    pub(super) fn note_step(&self, index: usize, is_done: bool) -> io::Result<()> {
        let text: &[u8] = if is_done { b"done" } else { b"begun" };
        write_atomically(&self.image("step", index), text, MODE)
    }

    /// What was noted of step `index`: `Some(true)` if it has ended well, `Some(false)` if it began.
    pub(super) fn step(&self, index: usize) -> io::Result<Option<bool>> {
        match fs::read(self.image("step", index)) {
            Ok(text) => Ok(Some(text == b"done")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn image(&self, side: &str, index: usize) -> PathBuf {
        self.directory.join(format!("{side}-{index}"))
    }

    /// Writes plan and images; durable when this returns. `databases`: images of migrated databases, by
    /// their position in the plan; they are moved.
    pub(super) fn write(
        &self,
        plan: &JournalPlan,
        files: &[PlannedFile],
        databases: &[(usize, PathBuf)],
    ) -> io::Result<()> {
        self.remove()?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        for (index, file) in files.iter().enumerate() {
            if let Some(before) = &file.before {
                write_atomically(&self.image("before", index), before, MODE)?;
            }
            write_atomically(&self.image("after", index), &file.after, MODE)?;
        }
        for (index, image) in databases {
            let kept = self.database(*index);
            fs::rename(image, &kept)?;
            fs::set_permissions(&kept, fs::Permissions::from_mode(MODE))?;
            fs::File::open(&kept)?.sync_all()?;
        }
        let text = serde_json::to_vec_pretty(plan)?;
        write_atomically(&self.directory.join(PLAN), &text, MODE)?;
        match self.directory.parent() {
            Some(parent) => sync_directory(parent),
            None => Ok(()),
        }
    }

    /// The plan, `None` if there is no journal.
    pub(super) fn read(&self) -> io::Result<Option<JournalPlan>> {
        match fs::read(self.directory.join(PLAN)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Image of migrated database `index`.
    pub(super) fn database(&self, index: usize) -> PathBuf {
        self.image("database", index)
    }

    /// What file `index` held before.
    pub(super) fn before(&self, index: usize) -> io::Result<Vec<u8>> {
        fs::read(self.image("before", index))
    }

    /// What file `index` will hold.
    pub(super) fn after(&self, index: usize) -> io::Result<Vec<u8>> {
        fs::read(self.image("after", index))
    }

    /// Removes the journal.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.directory)
    }
}
