//! Missions by what a person calls them.

use std::fmt::Write;

use super::error::{LogError, MissionsError};
use super::reader::Reader;
use crate::domain::ids::MissionId;
use crate::domain::mission::{MissionState, MissionStatus};

/// Hexadecimal digits of an id that are enough to look for it.
const ID_DIGITS_MIN: usize = 4;
/// Missions that an ambiguous name is explained with.
const CANDIDATES_MAX: usize = 8;

impl Reader {
    /// Finds a mission by its id, the beginning of it (at least 4 digits), or its slug; of several
    /// with one slug the open one.
    ///
    /// # Errors
    /// None, or more than one; or the log cannot be read.
    pub fn find_mission(&self, name: &str) -> Result<MissionState, MissionsError> {
        if let Ok(id) = name.parse::<MissionId>() {
            let state = self.mission(id)?;
            return state.ok_or_else(|| MissionsError::NotFound(name.to_owned()));
        }
        let mut found = self.missions_where("slug = ?1", [name])?;
        if found.len() > 1 && found.iter().any(|m| m.status != MissionStatus::Closed) {
            found.retain(|m| m.status != MissionStatus::Closed);
        }
        if found.is_empty() {
            found = find_by_digits(self, name)?;
        }
        match found.len() {
            0 => Err(MissionsError::NotFound(name.to_owned())),
            1 => Ok(found.remove(0)),
            count => Err(MissionsError::Ambiguous {
                name: name.to_owned(),
                candidates: name_candidates(&found, count),
            }),
        }
    }
}

fn name_candidates(found: &[MissionState], count: usize) -> Vec<String> {
    let mut candidates: Vec<String> = found
        .iter()
        .take(CANDIDATES_MAX)
        .map(|m| {
            let mut name = m.id.map_or_else(String::new, |id| id.to_string());
            // Writing to a string never fails.
            let _ = write!(name, " ({}, {})", m.slug, m.status.as_str());
            name
        })
        .collect();
    if count > CANDIDATES_MAX {
        candidates.push(format!("{} more", count - CANDIDATES_MAX));
    }
    candidates
}

/// Missions whose id begins with these hexadecimal digits; hyphens do not matter.
fn find_by_digits(reader: &Reader, name: &str) -> Result<Vec<MissionState>, LogError> {
    let digits: String = name.chars().filter(|c| *c != '-').collect();
    if !(ID_DIGITS_MIN..=32).contains(&digits.len()) {
        return Ok(vec![]);
    }
    let bound = |fill: &str| {
        let missing = 32 - digits.len();
        u128::from_str_radix(&format!("{digits}{}", fill.repeat(missing)), 16)
            .map(|id| id.to_be_bytes())
    };
    match (bound("0"), bound("f")) {
        (Ok(low), Ok(high)) => reader.missions_where("mission_id BETWEEN ?1 AND ?2", [low, high]),
        // Not hexadecimal.
        _ => Ok(vec![]),
    }
}
