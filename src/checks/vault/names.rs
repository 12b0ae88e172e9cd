//! The names in a vault's answer, and whether anything stands behind them. Values are dropped where they are
//! read: none is ever kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroize;

use crate::manifest::EnvFile;

/// Name, and whether its value is there and not empty.
pub(super) type Names = BTreeMap<String, bool>;

/// Stands for a value: whether it is anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled(pub bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilledVisitor)
    }
}

struct FilledVisitor;

impl<'de> Visitor<'de> for FilledVisitor {
    type Value = Filled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
        Ok(Filled(!text.trim().is_empty()))
    }

    fn visit_unit<E>(self) -> Result<Filled, E> {
        Ok(Filled(false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Filled, A::Error> {
        let mut any = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Filled(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
        let mut any = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Filled(any))
    }
}

/// The names of an opened vault: a JSON object, or lines of `NAME=value`.
///
/// # Errors
/// What is wrong with it, by line; never any of its text.
pub(super) fn read_names(bytes: &[u8]) -> Result<Names, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    if text.trim_start().starts_with('{') {
        let names: BTreeMap<String, Filled> = serde_json::from_str(text)
            .map_err(|error| format!("is not a JSON object (line {})", error.line()))?;
        return Ok(names
            .into_iter()
            .map(|(name, Filled(is))| (name, is))
            .collect());
    }
    let nothing = BTreeMap::new();
    let mut file = EnvFile::parse(text, &nothing, &nothing);
    let mut names = Names::new();
    for entry in &mut file.entries {
        names.insert(std::mem::take(&mut entry.name), !entry.value.is_empty());
        entry.value.zeroize();
    }
    match file.malformed.first() {
        Some((line, _)) => Err(format!(
            "is neither a JSON object nor lines of NAME=value (line {line})"
        )),
        None => Ok(names),
    }
}
