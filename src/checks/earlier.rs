//! What the last boot that was up ran on, as far as a check compares it with what is there now.
//!
//! Plain data; whoever runs the checks reads it from the log. Values are known by keyed digests only.

use std::collections::BTreeMap;
use std::fmt;

use crate::database::summary::identity;
use crate::domain::event::DatabasePrint;
use crate::domain::ids::{At, Digest};

/// The last boot that was up. Empty: there was none, or nobody knows.
#[derive(Clone, Default)]
pub(crate) struct Earlier {
    /// Key of the digests.
    pub key: Option<[u8; 32]>,
    /// When it was up.
    pub up_at: Option<At>,
    /// The database of each `[[schema]]` as it was when that boot began.
    pub databases: BTreeMap<String, DatabasePrint>,
    /// Tables that all databases had when that boot looked last.
    pub tables_seen: u32,
    /// Results that each declared check gave.
    pub declared_results: BTreeMap<String, u32>,
    /// Digests of the values of the application's variables.
    pub variables: BTreeMap<String, String>,
    /// Databases that a person said to begin anew with since: digest of the URL by name of the `[[schema]]`.
    pub accepted: BTreeMap<String, String>,
}

/// How the database of a `[[schema]]` was, next to what it is now.
#[derive(Debug, Clone)]
pub(crate) struct EarlierDatabase {
    /// When the boot was up.
    pub up_at: At,
    /// The URL is another one now; `None`: not known.
    pub is_elsewhere: Option<bool>,
    /// Tables that it had.
    pub tables: u32,
    /// Whether any of them had a row.
    pub has_rows: Option<bool>,
    /// Revision of its migrations.
    pub revision: Option<String>,
}

impl EarlierDatabase {
    /// An empty database is not what was there: it had something, or it was another one.
    #[must_use]
    pub(crate) fn was_not_empty(&self) -> bool {
        self.tables > 0 || self.has_rows == Some(true) || self.is_elsewhere == Some(true)
    }
}

impl fmt::Debug for Earlier {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Earlier")
            .field("up_at", &self.up_at)
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

impl Earlier {
    /// The short keyed digest of a value.
    #[must_use]
    pub(crate) fn digest(key: &[u8; 32], text: &str) -> String {
        Digest(*blake3::keyed_hash(key, text.as_bytes()).as_bytes()).short()
    }

    /// The variable had this value in the last boot that was up.
    #[must_use]
    pub(crate) fn had_value(&self, name: &str, value: &str) -> bool {
        self.key.as_ref().is_some_and(|key| {
            self.variables
                .get(name)
                .is_some_and(|known| *known == Self::digest(key, value))
        })
    }

    /// The variable had a value in the last boot that was up, and another one than this.
    #[must_use]
    pub(crate) fn had_another_value(&self, name: &str, value: &str) -> bool {
        let had_some = self.variables.contains_key(name) && !self.had_value(name, "");
        self.key.is_some() && had_some && !self.had_value(name, value)
    }

    /// The database of this `[[schema]]` was at this URL in the last boot that was up.
    #[must_use]
    pub(crate) fn was_at(&self, schema: &str, url: &str) -> bool {
        let known = self
            .databases
            .get(schema)
            .and_then(|print| print.url.as_ref());
        let now = self.identity_of(url);
        known.is_some() && known == now.as_ref()
    }

    /// Somebody said to begin anew with the one at `url`.
    #[must_use]
    pub(crate) fn is_accepted(&self, schema: &str, url: &str) -> bool {
        let now = self.identity_of(url);
        now.is_some() && self.accepted.get(schema) == now.as_ref()
    }

    /// What the log has of a URL.
    fn identity_of(&self, url: &str) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(Self::digest(key, &identity(url)))
    }

    /// How the database of this `[[schema]]` was, if a boot was up with it and nobody accepted the one at `url`
    /// since.
    #[must_use]
    pub(crate) fn database(&self, schema: &str, url: &str) -> Option<EarlierDatabase> {
        let (up_at, print) = (self.up_at?, self.databases.get(schema)?);
        if self.is_accepted(schema, url) {
            return None;
        }
        let now = self.identity_of(url);
        let is_elsewhere = match (&print.url, &now) {
            (Some(before), Some(now)) => Some(before != now),
            _ => None,
        };
        // A first boot begins with nothing, and has tables when it is up.
        let seen_later = if self.databases.len() == 1 {
            self.tables_seen
        } else {
            0
        };
        Some(EarlierDatabase {
            up_at,
            is_elsewhere,
            tables: print.tables.unwrap_or(0).max(seen_later),
            has_rows: print.has_rows,
            revision: print.revision.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_database_has_no_past_and_another_url_is_told() {
        let key = [7; 32];
        let at = |url: &str| Earlier::digest(&key, &identity(url));
        let mut earlier = Earlier {
            key: Some(key),
            up_at: Some(At(1)),
            tables_seen: 4,
            ..Earlier::default()
        };
        let print = DatabasePrint {
            url: Some(at("sqlite:///app.db")),
            tables: Some(0),
            ..DatabasePrint::default()
        };
        earlier.databases.insert("main".into(), print);
        let same = earlier.database("main", "sqlite:///app.db").unwrap();
        assert_eq!((same.is_elsewhere, same.tables), (Some(false), 4));
        let other = earlier.database("main", "sqlite:///ap.db").unwrap();
        assert_eq!(other.is_elsewhere, Some(true));
        assert!(earlier.was_at("main", "sqlite:///app.db"));
        assert!(!earlier.was_at("main", "sqlite:///ap.db"));
        assert!(!earlier.was_at("other", "sqlite:///app.db"));
        assert!(earlier.database("other", "sqlite:///app.db").is_none());
        earlier
            .accepted
            .insert("main".into(), at("sqlite:///ap.db"));
        assert!(earlier.database("main", "sqlite:///ap.db").is_none());
        assert!(earlier.database("main", "sqlite:///app.db").is_some());
    }
}
