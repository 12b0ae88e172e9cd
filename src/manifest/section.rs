//! Typed reading of one TOML table: each wrong type, unknown key and bad value is reported with its
//! place, and reading goes on, so that a person sees all mistakes at once.

use std::cell::{Cell, RefCell};
use std::ops::{Range, RangeInclusive};

use toml_edit::{Item, TableLike, Value};

use super::keys::{Keys, TABLES};
use super::measure::{duration_ms, show_duration};
use super::problem::{Fault, shown};
use super::scalar::{
    Controls, kind, quantity, scalar_text, scalar_text_of, string, string_of, wrong_type,
};
use super::words::{did_you_mean, nearest};

/// Most entries of one list.
pub(super) const LIST_ENTRIES_MAX: usize = 1000;
/// Searches for the nearest right word in one file: a hostile file must not keep us busy.
const SUGGESTIONS_MAX: u32 = 100;

/// Bytes of the manifest.
pub(super) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// The values alone.
pub(super) fn values<T>(list: Vec<Spanned<T>>) -> Vec<T> {
    list.into_iter().map(|entry| entry.value).collect()
}

/// Collects the faults of one file.
#[derive(Debug)]
pub(super) struct Faults {
    /// Byte where each line begins, but for the first.
    line_starts: Vec<usize>,
    found: RefCell<Vec<(Span, Fault)>>,
    suggestions: Cell<u32>,
}

impl Faults {
    pub(super) fn new(text: &str) -> Self {
        Self {
            line_starts: text.match_indices('\n').map(|(at, _)| at + 1).collect(),
            found: RefCell::default(),
            suggestions: Cell::default(),
        }
    }

    /// Line of a byte, 1-based.
    pub(super) fn line(&self, offset: usize) -> u32 {
        let before = self.line_starts.partition_point(|start| *start <= offset);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    pub(super) fn report(&self, span: Span, fault: Fault) {
        self.found.borrow_mut().push((span, fault));
    }

    pub(super) fn into_found(self) -> Vec<(Span, Fault)> {
        self.found.into_inner()
    }

    /// The nearest candidate, while the search is still affordable.
    pub(super) fn suggest<'c>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        self.suggestions
            .set(self.suggestions.get().saturating_add(1));
        (self.suggestions.get() <= SUGGESTIONS_MAX)
            .then(|| nearest(word, candidates))
            .flatten()
    }
}

/// One table of the manifest.
#[derive(Clone)]
pub(super) struct Section<'r> {
    faults: &'r Faults,
    table: &'r dyn TableLike,
    /// Its header, or the inline table.
    span: Span,
    keys: &'static Keys,
    /// Known keys that unknown ones were probably meant to be.
    meant: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// Opens a table and reports every key that is not known in it.
    pub(super) fn open(
        faults: &'r Faults,
        table: &'r dyn TableLike,
        span: Span,
        keys: &'static Keys,
    ) -> Self {
        let mut section = Self {
            faults,
            table,
            span,
            keys,
            meant: Vec::new(),
        };
        for (key, _) in table.iter() {
            if !keys.known.contains(&key) && !keys.dropped.contains(&key) {
                let (fault, meant) = section.unknown(key);
                faults.report(section.key_span(key), fault);
                section.meant.extend(meant);
            }
        }
        section
    }

    fn unknown(&self, key: &str) -> (Fault, Option<&'static str>) {
        let title = self.keys.title;
        if self.keys.later.contains(&key) {
            let full = if self.keys.path.is_empty() {
                format!("[{key}]")
            } else {
                format!("{}.{key}", self.keys.path)
            };
            let fault = Fault::new(
                "not supported in this version",
                format!("`{full}` is not supported in this version"),
                "take it out; this version would not do what it asks for",
            );
            return (fault, None);
        }
        let near = self.faults.suggest(key, self.keys.known.iter().copied());
        let elsewhere = || TABLES.iter().find(|table| table.known.contains(&key));
        let help = match (near, elsewhere()) {
            (None, Some(table)) => format!("`{key}` belongs into {}", table.title),
            _ => format!("{title} has the keys {}", self.keys.known.join(", ")),
        };
        let message = format!("unknown key `{}`{}", shown(key), did_you_mean(near));
        (Fault::new("unknown key", message, help), near)
    }

    pub(super) fn faults(&self) -> &'r Faults {
        self.faults
    }

    /// Where a missing key is reported.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Line of the table in the file, 1-based.
    pub(super) fn line(&self) -> u32 {
        self.faults.line(self.span.start)
    }

    pub(super) fn key_span(&self, key: &str) -> Span {
        self.table
            .get_key_value(key)
            .and_then(|(key, _)| key.span())
            .unwrap_or_else(|| self.span.clone())
    }

    /// Where the value of the key stands.
    pub(super) fn value_span(&self, key: &str) -> Span {
        self.table
            .get(key)
            .and_then(Item::span)
            .unwrap_or_else(|| self.key_span(key))
    }

    /// Whether this table can have the key at all.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.keys.known.contains(&key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.item(key).is_some()
    }

    pub(super) fn item(&self, key: &str) -> Option<&'r Item> {
        debug_assert!(
            self.keys.known.contains(&key) || self.keys.dropped.contains(&key),
            "{key} is missing in keys.rs"
        );
        self.table.get(key).filter(|item| !item.is_none())
    }

    /// Reports a fault of the key's value.
    pub(super) fn fault(&self, key: &str, fault: Fault) {
        self.faults.report(self.value_span(key), fault);
    }

    /// Reports that a key has to be there, unless it is, with a slip in its name.
    pub(super) fn missing(&self, key: &str, example: &str) {
        if self.meant.contains(&key) {
            return;
        }
        self.faults.report(
            self.span(),
            Fault::new(
                format!("`{key}` is missing"),
                format!("{} has no `{key}`", self.keys.title),
                format!("add `{key} = {example}`"),
            ),
        );
    }

    /// Reports a key that means something beside another one only, which is not there.
    pub(super) fn only_with(&self, key: &str, other: &str, help: &str) {
        if self.has(key) && !self.has(other) {
            let fault = Fault::new(
                format!("only with `{other}`"),
                format!("`{key}` has a meaning with `{other}` only"),
                help,
            );
            self.faults.report(self.key_span(key), fault);
        }
    }

    /// Reports the second of two keys that stand for the same.
    pub(super) fn one_only(&self, first: &str, second: &str, reported: &str) {
        if self.has(first) && self.has(second) {
            let fault = Fault::new(
                "one too many",
                format!("`{first}` and `{second}` stand for the same"),
                "keep one of the two",
            );
            self.fault(reported, fault);
        }
    }

    fn keep<T>(&self, span: Span, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.report(span, fault)).ok()
    }

    /// A string, read by `read`.
    pub(super) fn parse<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'r str) -> Result<T, Fault>,
    ) -> Option<T> {
        let item = self.item(key)?;
        let result = string(item, key, Controls::None).and_then(read);
        self.keep(self.value_span(key), result)
    }

    /// A string that may have several lines, read by `read`.
    pub(super) fn parse_lines<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'r str) -> Result<T, Fault>,
    ) -> Option<T> {
        let item = self.item(key)?;
        let result = string(item, key, Controls::Lines).and_then(read);
        self.keep(self.value_span(key), result)
    }

    /// A string, number or boolean, as text.
    pub(super) fn scalar_text(&self, key: &str) -> Option<String> {
        self.keep(self.value_span(key), scalar_text(self.item(key)?, key))
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let item = self.item(key)?;
        let result = item
            .as_bool()
            .ok_or_else(|| wrong_type(item, key, "a boolean", "true or false, without quotes"));
        self.keep(self.value_span(key), result)
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let item = self.item(key)?;
        let result = item
            .as_integer()
            .ok_or_else(|| wrong_type(item, key, "a whole number", "for example 3, without quotes"))
            .and_then(|number| {
                u32::try_from(number)
                    .ok()
                    .filter(|number| range.contains(number))
                    .ok_or_else(|| {
                        Fault::new(
                            "out of range",
                            format!("`{key}` cannot be {number}"),
                            format!("write a number from {} to {}", range.start(), range.end()),
                        )
                    })
            });
        self.keep(self.value_span(key), result)
    }

    /// A number, whole or not.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let item = self.item(key)?;
        #[allow(clippy::cast_precision_loss)] // Bounds beyond 2^53 may be a little off.
        let number = item
            .as_float()
            .or_else(|| item.as_integer().map(|whole| whole as f64));
        let result = match number {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(wrong_type(
                item,
                key,
                "a number",
                "for example 1 or 0.9, without quotes",
            )),
        };
        self.keep(self.value_span(key), result)
    }

    /// A duration of at least `ms_min`, in milliseconds.
    pub(super) fn duration(&self, key: &str, ms_min: u64) -> Option<u64> {
        let item = self.item(key)?;
        let result = quantity(item, key, "s", "200ms").and_then(duration_ms);
        let result = result.and_then(|ms| {
            if ms >= ms_min {
                return Ok(ms);
            }
            Err(Fault::new(
                "too short",
                format!("`{key}` cannot be shorter than {}", show_duration(ms_min)),
                format!("write at least \"{}\"", show_duration(ms_min)),
            ))
        });
        self.keep(self.value_span(key), result)
    }

    /// A size, read by `read`.
    pub(super) fn size(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<u64, Fault>,
    ) -> Option<u64> {
        let result = quantity(self.item(key)?, key, "MiB", "2GiB").and_then(read);
        self.keep(self.value_span(key), result)
    }

    /// A list of strings, each read by `read`; what cannot be read is reported and left out.
    pub(super) fn list<T>(
        &self,
        key: &str,
        mut read: impl FnMut(&str) -> Result<T, Fault>,
    ) -> Option<Vec<Spanned<T>>> {
        let read = |value: &Value| string_of(value, key, Controls::None).and_then(&mut read);
        self.entries(key, "strings", read)
    }

    /// A list of strings that may have several lines each.
    pub(super) fn list_of_lines(&self, key: &str) -> Option<Vec<String>> {
        let entries = self.entries(key, "strings", |value| {
            string_of(value, key, Controls::Lines).map(str::to_owned)
        })?;
        Some(values(entries))
    }

    /// A list of strings, numbers and booleans, as text.
    pub(super) fn list_of_scalars(&self, key: &str) -> Option<Vec<Spanned<String>>> {
        self.entries(key, "strings", |value| scalar_text_of(value, key))
    }

    /// A list, each entry read by `read`.
    pub(super) fn entries<T>(
        &self,
        key: &str,
        what: &str,
        mut read: impl FnMut(&'r Value) -> Result<T, Fault>,
    ) -> Option<Vec<Spanned<T>>> {
        let item = self.item(key)?;
        let Some(array) = item.as_array() else {
            let fault = wrong_type(
                item,
                key,
                &format!("a list of {what}"),
                "a list in square brackets, for example [\"first\", \"second\"]",
            );
            self.fault(key, fault);
            return None;
        };
        if array.len() > LIST_ENTRIES_MAX {
            self.fault(key, too_many(key, array.len(), LIST_ENTRIES_MAX));
            return None;
        }
        let entry = |value: &'r Value| {
            let span = value.span().unwrap_or_else(|| self.value_span(key));
            let value = self.keep(span.clone(), read(value))?;
            Some(Spanned { value, span })
        };
        Some(array.iter().filter_map(entry).collect())
    }

    /// A table below this one.
    pub(super) fn section(&self, key: &str, keys: &'static Keys) -> Option<Self> {
        let item = self.item(key)?;
        let Some(table) = item.as_table_like() else {
            let fault = if item.is_array_of_tables() {
                Fault::new(
                    "one too many brackets",
                    format!("there is one `{key}` only"),
                    format!("write [{}] with single brackets", keys.path),
                )
            } else {
                wrong_type(
                    item,
                    key,
                    "a table",
                    "a table, for example { key = \"value\" }",
                )
            };
            self.fault(key, fault);
            return None;
        };
        let span = self.value_span(key);
        Some(Self::open(self.faults, table, span, keys))
    }

    /// A list of tables below this one, at most `count_max`.
    pub(super) fn sections(&self, key: &str, keys: &'static Keys, count_max: usize) -> Vec<Self> {
        let Some(item) = self.item(key) else {
            return vec![];
        };
        let mut tables: Vec<(&'r dyn TableLike, Option<Span>)> = Vec::new();
        match item {
            Item::ArrayOfTables(array) => {
                tables.extend(array.iter().map(|table| (table as _, table.span())));
            }
            Item::Value(Value::Array(array)) if array.iter().all(Value::is_inline_table) => {
                let inline = array.iter().filter_map(Value::as_inline_table);
                tables.extend(inline.map(|table| (table as _, table.span())));
            }
            _ => {
                let help = format!("write [[{}]] with two brackets, once for each", keys.path);
                let fault = Fault::new(
                    "not a list of tables",
                    format!("`{key}` is a list of tables, and this is {}", kind(item)),
                    help,
                );
                self.fault(key, fault);
            }
        }
        if tables.len() > count_max {
            let span = tables[count_max]
                .1
                .clone()
                .unwrap_or_else(|| self.value_span(key));
            self.faults
                .report(span, too_many(key, tables.len(), count_max));
            tables.truncate(count_max);
        }
        tables
            .into_iter()
            .map(|(table, span)| {
                let span = span.unwrap_or_else(|| self.value_span(key));
                Self::open(self.faults, table, span, keys)
            })
            .collect()
    }

    /// A table below this one whose keys are names, each value read as text.
    pub(super) fn texts(&self, key: &str) -> Vec<(Spanned<&'r str>, Spanned<String>)> {
        let Some(item) = self.item(key) else {
            return vec![];
        };
        let Some(table) = item.as_table_like() else {
            let fault = wrong_type(
                item,
                key,
                "a table",
                "a table, for example { PORT = \"8000\" }",
            );
            self.fault(key, fault);
            return vec![];
        };
        if table.len() > LIST_ENTRIES_MAX {
            self.fault(key, too_many(key, table.len(), LIST_ENTRIES_MAX));
            return vec![];
        }
        let entry = |(name, item): (&'r str, &'r Item)| {
            let span = table.key(name).and_then(toml_edit::Key::span);
            let name = Spanned {
                value: name,
                span: span.unwrap_or_else(|| self.value_span(key)),
            };
            let span = item.span().unwrap_or_else(|| name.span.clone());
            let value = self.keep(span.clone(), scalar_text(item, name.value))?;
            Some((name, Spanned { value, span }))
        };
        table.iter().filter_map(entry).collect()
    }

    /// A table in a list.
    pub(super) fn entry(&self, table: &'r dyn TableLike, span: Span, keys: &'static Keys) -> Self {
        Self::open(self.faults, table, span, keys)
    }

    /// A table that stands under a name chosen by the user.
    pub(super) fn named(
        &self,
        name: &str,
        item: &'r Item,
        name_span: Span,
        keys: &'static Keys,
    ) -> Option<Self> {
        let Some(table) = item.as_table_like() else {
            let fault = wrong_type(
                item,
                name,
                "a table",
                "a table, for example { required = true }",
            );
            self.faults.report(item.span().unwrap_or(name_span), fault);
            return None;
        };
        let span = item.span().unwrap_or(name_span);
        Some(Self::open(self.faults, table, span, keys))
    }
}

fn too_many(key: &str, count: usize, count_max: usize) -> Fault {
    Fault::new(
        "too many",
        format!("`{key}` has {count} entries, and {count_max} are allowed"),
        "a manifest of this size is most likely generated; declare less in it",
    )
}
