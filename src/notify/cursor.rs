//! How far somebody was told: a small file for each, so that a kill tells something twice at most, and loses nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::ids::{At, Seq};
use crate::manifest::{Existing, write_atomically};

/// Of one cause one notice in so long a time.
const ONCE_IN_US: i64 = 3_600_000_000;
/// Causes that are remembered.
const CAUSES_MAX: usize = 1_000;

/// When a cause was last told, and how often it was not since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    at: At,
    suppressed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The last event that is done with.
    seq: Seq,
    told: BTreeMap<String, Told>,
}

/// How far somebody was told.
#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    kept: Kept,
    is_changed: bool,
}

impl Cursor {
    /// The one in the file; without it, or if it cannot be understood, from `head` on, and that is written at once.
    pub(super) fn open(path: &Path, head: Seq) -> io::Result<Self> {
        let kept = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_changed = kept.is_none();
        let told = BTreeMap::new();
        let mut cursor = Self {
            path: path.to_owned(),
            kept: kept.unwrap_or(Kept { seq: head, told }),
            is_changed,
        };
        // The log was made anew.
        if cursor.kept.seq > head {
            cursor.kept.seq = head;
            cursor.is_changed = true;
        }
        cursor.write()?;
        Ok(cursor)
    }

    pub(super) fn seq(&self) -> Seq {
        self.kept.seq
    }

    /// How often this cause was not told before, if it is time to tell it; otherwise it is counted.
    pub(super) fn may_tell(&mut self, cause: &str, at: At) -> Option<u64> {
        let Some(told) = self.kept.told.get_mut(cause) else {
            return Some(0);
        };
        if at.0.saturating_sub(told.at.0) >= ONCE_IN_US {
            return Some(told.suppressed);
        }
        told.suppressed += 1;
        self.is_changed = true;
        None
    }

    /// It was told.
    pub(super) fn tell(&mut self, cause: &str, at: At) {
        let old = At(at.0.saturating_sub(ONCE_IN_US));
        let told = &mut self.kept.told;
        told.retain(|_, told| told.at > old || told.suppressed > 0);
        if told.len() >= CAUSES_MAX {
            let oldest = told.iter().min_by_key(|(_, told)| told.at);
            if let Some(cause) = oldest.map(|(cause, _)| cause.clone()) {
                told.remove(&cause);
            }
        }
        let suppressed = 0;
        told.insert(cause.to_owned(), Told { at, suppressed });
        self.is_changed = true;
    }

    /// This event, and all before it, is done with.
    pub(super) fn pass(&mut self, seq: Seq) {
        if seq > self.kept.seq {
            self.kept.seq = seq;
            self.is_changed = true;
        }
    }

    /// Writes it, if it is another than before.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.kept).map_err(io::Error::other)?;
        write_atomically(&self.path, &text, 0o600, Existing::Replaced)?;
        self.is_changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_an_hour_and_counted_meanwhile_across_starts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let hour = |n: i64| At(n * ONCE_IN_US);
        let mut cursor = Cursor::open(&path, Seq(7)).unwrap();
        assert_eq!(
            (cursor.seq(), cursor.may_tell("x", hour(1))),
            (Seq(7), Some(0))
        );
        cursor.tell("x", hour(1));
        cursor.pass(Seq(9));
        cursor.write().unwrap();
        assert_eq!(cursor.may_tell("x", hour(1)), None);
        cursor.write().unwrap();
        let mut again = Cursor::open(&path, Seq(20)).unwrap();
        assert_eq!(again.seq(), Seq(9));
        assert_eq!(again.may_tell("y", hour(1)), Some(0));
        assert_eq!(again.may_tell("x", hour(2)), Some(1));
        // Another log, which is shorter.
        assert_eq!(Cursor::open(&path, Seq(3)).unwrap().seq(), Seq(3));
    }
}
