//! Which version of a distribution is tried next: downwards in growing steps until one works, then up to the newest
//! that does. It takes for granted that what a version broke, later ones do not have again.

use std::str::FromStr;

use pep508_rs::pep440_rs::Version;

/// The search among the versions below one that is installed.
#[derive(Debug)]
pub(super) struct VersionSearch {
    /// The newest first.
    versions: Vec<Version>,
    /// Those before this one do not work.
    fails: usize,
    /// This one works.
    works: Option<usize>,
    steps: u32,
    /// The way goes up again, and not for the first time.
    has_turned: bool,
}

impl VersionSearch {
    /// Of the versions that an index has: those below `installed`, and no pre-release.
    pub(super) fn below(installed: &str, known: &[String]) -> Option<Self> {
        let installed = Version::from_str(installed).ok()?;
        let known = known.iter().filter_map(|text| Version::from_str(text).ok());
        let mut versions: Vec<Version> = known
            .filter(|version| *version < installed && !version.any_prerelease())
            .collect();
        versions.sort_by(|one, other| other.cmp(one));
        versions.dedup();
        Some(Self {
            versions,
            fails: 0,
            works: None,
            steps: 0,
            has_turned: false,
        })
    }

    /// Leaves out what is not allowed.
    pub(super) fn retain(&mut self, is_allowed: impl Fn(&Version) -> bool) {
        self.versions.retain(is_allowed);
    }

    fn next_index(&self) -> Option<usize> {
        if let Some(works) = self.works {
            let left = works - self.fails;
            // What breaks others comes with the first version of a line, mostly: it is tried first.
            let middle = if self.has_turned {
                left / 2
            } else {
                left.saturating_sub(1)
            };
            return (left > 0).then(|| self.fails + middle);
        }
        let rest = self.versions.get(self.fails..)?;
        let last = self.fails.checked_sub(1).map(|last| &self.versions[last]);
        // The same version line, the line below, then what is older by a major version.
        let further = |parts: usize| {
            let series =
                |version: &Version| version.release().iter().take(parts).copied().collect();
            let last: Vec<u64> = series(last?);
            let index = rest.iter().position(|version| {
                let series: Vec<u64> = series(version);
                series != last
            })?;
            Some(self.fails + index)
        };
        let step = match self.steps {
            0 => None,
            1 => further(2),
            _ => further(1).or_else(|| further(2)),
        };
        step.or((!rest.is_empty()).then_some(self.fails))
    }

    /// The version to be tried next; none if the newest that works is known, or there is none.
    pub(super) fn next(&self) -> Option<String> {
        self.next_index()
            .map(|index| self.versions[index].to_string())
    }

    /// What came of trying [`Self::next`].
    pub(super) fn tried(&mut self, works: bool) {
        let Some(index) = self.next_index() else {
            return;
        };
        self.steps += 1;
        self.has_turned = self.works.is_some();
        if works {
            self.works = Some(index);
        } else {
            self.fails = index + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version found and how many were tried, if those up to `newest` work.
    fn found(installed: &str, known: &[&str], newest: &str) -> (Option<String>, u32) {
        let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
        let mut search = VersionSearch::below(installed, &known).unwrap();
        let newest = Version::from_str(newest).unwrap();
        let (mut best, mut tries) = (None, 0);
        while let Some(version) = search.next() {
            tries += 1;
            let works = Version::from_str(&version).unwrap() <= newest;
            if works {
                best = Some(version);
            }
            search.tried(works);
        }
        (best, tries)
    }

    #[test]
    fn the_newest_that_works_is_found_in_few_steps() {
        let werkzeug = [
            "2.2.2", "2.2.3", "2.3.7", "2.3.8", "3.0.0", "3.0.1", "3.0.2", "3.0.3", "3.0.4",
            "3.0.5", "3.0.6", "3.1.0", "3.1.1", "3.1.2", "3.1.3", "3.1.4", "3.2.0rc1",
        ];
        assert_eq!(
            found("3.1.4", &werkzeug, "2.3.8"),
            (Some("2.3.8".to_owned()), 4)
        );
        assert_eq!(
            found("3.1.4", &werkzeug, "3.1.3"),
            (Some("3.1.3".to_owned()), 1)
        );
        assert_eq!(
            found("3.1.4", &werkzeug, "3.0.4").0.as_deref(),
            Some("3.0.4")
        );
        let setuptools = [
            "65.5.0", "80.9.0", "81.0.0", "82.0.0", "82.0.1", "83.0.0", "84.0.0",
        ];
        assert_eq!(
            found("84.1.0", &setuptools, "81.0.0"),
            (Some("81.0.0".to_owned()), 5)
        );
        assert_eq!(found("1.0", &["1.0", "1.1"], "1.0"), (None, 0));
        assert_eq!(found("2.0", &["1.0"], "0.1"), (None, 1));
    }
}
