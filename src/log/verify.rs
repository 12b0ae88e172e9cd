//! `ubs log verify`: is every event as it was written, and are the projections what they add up to?
//!
//! Two threads: this one scans the rows, the other hashes, decodes and folds. Memory is bounded by
//! a few pages of rows, whatever the size of the log; the rebuilt projections are compared in a
//! second database in memory.

use std::collections::BTreeMap;
use std::path::Path;

use crossbeam_channel::bounded;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::codec::UnreadFrame;
use super::error::LogError;
use super::layout::PROJECTION_FORMAT;
use super::projection::Projector;
use super::reader::Reader;
use super::row::{COLUMNS, Malformed, Page, RawEvent, scan};
use super::tables::{from_sql, to_sql};
use super::{chain, migrate};
use crate::domain::event::Event;
use crate::domain::ids::Digest;

/// Problems that are told one by one; more are counted.
const PROBLEMS_MAX: usize = 100;
/// Pages on their way from one thread to the other: enough that neither waits for the other's time slice.
pub(super) const PAGES_AHEAD: usize = 16;

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Events looked at.
    pub events: u64,
    /// Events of a kind or version that this program does not know.
    pub opaque: u64,
    /// Chain value of the last event. Kept elsewhere, it shows that nobody rewrote the whole log.
    pub head: Digest,
    /// Where the chain breaks or a row is wrong, worst first; empty if all is well.
    pub problems: Vec<String>,
}

/// What the log has at the anchor's place.
#[derive(Debug, Clone, Copy)]
enum Anchored {
    NotSeen,
    Unreadable,
    Seen(Digest),
}

/// Follows the chain from row to row.
#[derive(Debug)]
pub(super) struct ChainCheck {
    seq: u64,
    chain: Digest,
    /// The row before is not there or not readable: the next one cannot be checked against it.
    gap: bool,
    anchor: Option<(u64, Digest)>,
    anchored: Anchored,
    buffer: Vec<u8>,
}

impl ChainCheck {
    /// Of a log that goes on after `base`.
    pub(super) fn new(base: Base, anchor: Option<(u64, Digest)>) -> Self {
        Self {
            seq: base.seq,
            chain: base.chain,
            gap: false,
            anchor,
            anchored: match anchor {
                // Before the first event.
                Some((seq, _)) if seq == base.seq => Anchored::Seen(base.chain),
                _ => Anchored::NotSeen,
            },
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Checks that `raw` is the next row; what is wrong with it, if something is.
    pub(super) fn check(&mut self, raw: &RawEvent<'_>) -> Result<(), String> {
        let (before, chain) = (self.seq, self.chain);
        let skipped = std::mem::take(&mut self.gap);
        self.seq = raw.seq;
        self.chain = raw.chain;
        if self.anchor.is_some_and(|(seq, _)| seq == raw.seq) {
            self.anchored = Anchored::Seen(raw.chain);
        }
        if raw.seq <= before {
            return Err(format!("event {} was inserted", raw.seq));
        }
        match raw.seq - before {
            1 if skipped => Ok(()),
            1 if chain::link(&chain, raw, &mut self.buffer) == raw.chain => Ok(()),
            1 => Err(format!(
                "event {} ({}) does not fit the chain: it was edited, moved or inserted, or the \
                 chain value of event {before} was",
                raw.seq, raw.kind
            )),
            2 => Err(format!("event {} is missing", before + 1)),
            _ => Err(format!(
                "events {} to {} are missing",
                before + 1,
                raw.seq - 1
            )),
        }
    }

    fn skip(&mut self, malformed: &Malformed) {
        self.seq = from_sql(malformed.seq);
        self.gap = true;
        if self.anchor.is_some_and(|(seq, _)| seq == self.seq) {
            self.anchored = Anchored::Unreadable;
        }
    }

    /// Checks, after the last row, that what was anchored is in the log.
    pub(super) fn check_end(&self) -> Result<(), String> {
        let Some((seq, chain)) = self.anchor else {
            return Err("the head row, which anchors the end of the log, is missing".to_owned());
        };
        match self.anchored {
            _ if seq > self.seq && self.seq == 0 => Err(format!(
                "the log is empty, yet event {seq} was anchored: the end was cut off"
            )),
            _ if seq > self.seq => Err(format!(
                "the log ends at event {}, yet event {seq} was anchored: the end was cut off",
                self.seq
            )),
            Anchored::NotSeen => Err(format!("event {seq}, which was anchored, is missing")),
            Anchored::Seen(found) if found != chain => Err(format!(
                "event {seq} is not the one that was anchored: the log was rewritten, or the head \
                 row was"
            )),
            // Unreadable: that was told when it was met.
            Anchored::Seen(_) | Anchored::Unreadable => Ok(()),
        }
    }
}

/// What comes before the first event: nothing, or what was pruned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub seq: u64,
    pub chain: Digest,
}

impl Default for Base {
    fn default() -> Self {
        Self {
            seq: 0,
            chain: *chain::GENESIS,
        }
    }
}

/// What comes before the first event. The newest `log_pruned` says it, if the first event is not the first
/// that was ever written.
pub(super) fn read_base(conn: &Connection) -> rusqlite::Result<Base> {
    let first: Option<i64> = conn.query_row("SELECT min(seq) FROM events", [], |row| row.get(0))?;
    if first.is_none_or(|first| first <= 1) {
        return Ok(Base::default());
    }
    let sql =
        format!("SELECT {COLUMNS} FROM events WHERE kind = 'log_pruned' ORDER BY seq DESC LIMIT 1");
    let pruned = conn
        .query_row(&sql, [], |row| {
            let raw = RawEvent::of_row(row)?;
            Ok(raw.ok().and_then(|raw| raw.decode().ok()))
        })
        .optional()?;
    Ok(match pruned.flatten() {
        Some(Event::LogPruned { last, chain, .. }) => Base { seq: last, chain },
        _ => Base::default(),
    })
}

/// The anchor, from the head row.
pub(super) fn read_anchor(conn: &Connection) -> rusqlite::Result<Option<(u64, Digest)>> {
    conn.query_row("SELECT seq, chain FROM head", [], |row| {
        Ok((from_sql(row.get(0)?), Digest(row.get(1)?)))
    })
    .optional()
}

#[derive(Default)]
struct Problems {
    told: Vec<String>,
    more: u64,
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.told.len() < PROBLEMS_MAX {
            self.told.push(problem);
        } else {
            self.more += 1;
        }
    }
}

/// The second thread's work: what it found and the projections that it rebuilt.
struct Fold {
    chain: ChainCheck,
    events: u64,
    opaque: u64,
    problems: Problems,
    projector: Projector,
    scratch: Connection,
}

impl Fold {
    fn take(&mut self, path: &Path, row: Result<RawEvent<'_>, Malformed>) -> Result<(), LogError> {
        self.events += 1;
        let raw = match row {
            Ok(raw) => raw,
            Err(malformed) => {
                self.chain.skip(&malformed);
                self.problems.add(malformed.to_string());
                return Ok(());
            }
        };
        if let Err(problem) = self.chain.check(&raw) {
            self.problems.add(problem);
        }
        match raw.decode() {
            Ok(event) => self.projector.fold(&self.scratch, path, &raw, &event)?,
            Err(unread) => {
                self.opaque += 1;
                if let UnreadFrame::Broken(why) = unread {
                    self.problems
                        .add(format!("event {} ({}): {why}", raw.seq, raw.kind));
                }
            }
        }
        Ok(())
    }
}

impl Reader {
    /// Reads every event and checks the chain, the frames and the projections.
    ///
    /// That the end was cut off shows by the anchor, which follows the end of the log at a small
    /// distance, or by a boot or mission whose last event is gone. A cut of nothing but events after
    /// the anchor that belong to neither is not found (`schema/README.md`).
    ///
    /// What is wrong with the file is a problem in the answer; the log may be in use meanwhile.
    ///
    /// # Errors
    /// The log cannot be read at all.
    pub fn verify(&self) -> Result<Verification, LogError> {
        let _snapshot = self.snapshot()?;
        let anchor = read_anchor(self.conn()).map_err(|source| self.error(source))?;
        let base = read_base(self.conn()).map_err(|source| self.error(source))?;
        let fold = Fold {
            chain: ChainCheck::new(base, anchor),
            events: 0,
            opaque: 0,
            problems: Problems::default(),
            projector: Projector::default(),
            scratch: migrate::open_scratch(self.path())?,
        };
        // On a connection of its own, so that its reading runs beside the folding.
        let pages = Self::open(self.path())?;
        let (damage, scanned) = std::thread::scope(|scope| {
            let checking = scope.spawn(move || pages.quick_check());
            let scanned = self.scan_and_fold(fold);
            let damage = checking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (damage, scanned)
        });
        let (fold, unreadable) = scanned?;
        let mut problems = Problems::default();
        for problem in damage.into_iter().chain(fold.problems.told) {
            problems.add(problem);
        }
        problems.more += fold.problems.more;
        // What was not read is not missing.
        let last = match unreadable {
            Some(_) => u64::MAX,
            None => fold.chain.seq,
        };
        if let Some(error) = unreadable {
            problems.add(format!(
                "nothing can be read after event {}: {error}",
                fold.chain.seq
            ));
        } else if let Err(problem) = fold.chain.check_end() {
            problems.add(problem);
        }
        for problem in self.compare_projections(&fold.scratch, last)? {
            problems.add(problem);
        }
        for problem in self.compare_layout(&fold.scratch)? {
            problems.add(problem);
        }
        if problems.more > 0 {
            let more = format!("and {} more", problems.more);
            problems.told.push(more);
        }
        Ok(Verification {
            events: fold.events,
            opaque: fold.opaque,
            head: fold.chain.chain,
            problems: problems.told,
        })
    }

    /// What first shows that the events are not those that were written, if they are not. Looks at the
    /// chain alone, which takes a fraction of [`Self::verify`]'s time.
    ///
    /// # Errors
    /// The log cannot be read at all.
    pub(crate) fn chain_problem(&self) -> Result<Option<String>, LogError> {
        let error = |source| self.error(source);
        let _snapshot = self.snapshot()?;
        let anchor = read_anchor(self.conn()).map_err(error)?;
        let base = read_base(self.conn()).map_err(error)?;
        let mut chain = ChainCheck::new(base, anchor);
        let to_error = |source| Err(self.error(source));
        let scanned = scan(self.conn(), 0, to_error, |row| {
            let problem = match row {
                Ok(raw) => chain.check(&raw).err(),
                Err(malformed) => Some(malformed.to_string()),
            };
            problem.map_or(Ok(()), |problem| Err(Ok(problem)))
        });
        match scanned {
            Ok(()) => Ok(chain.check_end().err()),
            Err(Ok(problem)) => Ok(Some(problem)),
            Err(Err(error)) => Err(error),
        }
    }

    /// SQLite's own check of the file's pages.
    fn quick_check(&self) -> Vec<String> {
        let run = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.conn().prepare("PRAGMA quick_check(20)")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let lines = match run() {
            Ok(lines) => lines,
            Err(error) => vec![error.to_string()],
        };
        lines
            .into_iter()
            .filter(|line| line != "ok")
            .map(|line| format!("the file is damaged: {line}"))
            .collect()
    }

    /// Reads all rows; what stopped the reading, if something did, comes with the result.
    fn scan_and_fold(&self, mut fold: Fold) -> Result<(Fold, Option<rusqlite::Error>), LogError> {
        let (pages, full) = bounded::<Page>(PAGES_AHEAD);
        let (empties, empty) = bounded::<Page>(PAGES_AHEAD + 2);
        let path = self.path();
        std::thread::scope(|scope| {
            let folding = scope.spawn(move || -> Result<Fold, LogError> {
                for mut page in full {
                    for row in page.rows(0) {
                        fold.take(path, row)?;
                    }
                    page.clear();
                    // Full: the page is simply dropped.
                    let _ = empties.try_send(page);
                }
                fold.projector.flush(&fold.scratch, path)?;
                Ok(fold)
            });
            let mut page = Page::default();
            let scanned = scan(
                self.conn(),
                0,
                Some,
                |row| -> Result<(), Option<rusqlite::Error>> {
                    page.push(row);
                    if !page.is_full() {
                        return Ok(());
                    }
                    let next = empty.try_recv().unwrap_or_default();
                    // The other end is gone only if folding failed, which is reported below.
                    pages
                        .send(std::mem::replace(&mut page, next))
                        .map_err(|_| None)
                },
            );
            let _ = pages.send(page);
            drop(pages);
            let fold = match folding.join() {
                Ok(fold) => fold?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok((fold, scanned.err().flatten()))
        })
    }

    /// What the file lacks of its tables, indexes and triggers, or has in another form.
    fn compare_layout(&self, made: &Connection) -> Result<Vec<String>, LogError> {
        let objects = |conn: &Connection| -> rusqlite::Result<BTreeMap<(String, String), String>> {
            let sql = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL";
            let mut statement = conn.prepare(sql)?;
            let row = |row: &rusqlite::Row<'_>| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
            statement.query_map([], row)?.collect()
        };
        let found = objects(self.conn()).map_err(|source| self.error(source))?;
        let wanted = objects(made).map_err(|source| self.error(source))?;
        let mut problems = Vec::new();
        for ((kind, name), sql) in &wanted {
            match found.get(&(kind.clone(), name.clone())) {
                Some(other) if other == sql => {}
                Some(_) => {
                    problems.push(format!("the {kind} {name} is not the one that ubs makes"))
                }
                None => problems.push(format!("the {kind} {name} is missing: somebody dropped it")),
            }
        }
        let more = found.keys().filter(|key| !wanted.contains_key(key));
        problems.extend(more.map(|(kind, name)| format!("the {kind} {name} is not of ubs")));
        Ok(problems)
    }

    /// Compares every row of every projection with a rebuilt one. `last` is where the log ends.
    fn compare_projections(
        &self,
        rebuilt: &Connection,
        last: u64,
    ) -> Result<Vec<String>, LogError> {
        let error = |source| self.error(source);
        let mut problems = vec![];
        let format: Option<i64> = self
            .conn()
            .query_row("SELECT projection_format FROM head", [], |row| row.get(0))
            .optional()
            .map_err(error)?;
        if let Some(format) = format.filter(|format| *format != PROJECTION_FORMAT) {
            problems.push(format!(
                "the projections have format {format}, this ubs makes format \
                 {PROJECTION_FORMAT}; `ubs log rebuild` makes them anew"
            ));
            return Ok(problems);
        }
        for (table, order) in [
            ("boots", "seq_first"),
            ("missions", "seq_first"),
            ("fix_memory", "signature, fixer"),
        ] {
            if table != "fix_memory"
                && let Some((id, seq)) = self.row_after_end(table, last).map_err(error)?
            {
                // No word of a rebuild: it would hide what is missing.
                problems.push(format!(
                    "the log ends at event {last}, yet the row {id} of projection {table} has seen \
                     event {seq}: the end was cut off, or that row was changed"
                ));
                continue;
            }
            let sql = format!("SELECT * FROM {table} ORDER BY {order}");
            if let Some(row) = first_difference(self.conn(), rebuilt, &sql).map_err(error)? {
                problems.push(format!(
                    "projection {table} differs from its events, first in the row {row}; \
                     `ubs log rebuild` makes it anew"
                ));
            }
        }
        Ok(problems)
    }

    /// The boot or mission whose last event is farthest behind the end of the log, and that event.
    fn row_after_end(&self, table: &str, last: u64) -> rusqlite::Result<Option<(String, i64)>> {
        let id = table.trim_end_matches('s');
        let sql = format!(
            "SELECT {id}_id, seq_last FROM {table} WHERE seq_last > ?1 ORDER BY seq_last DESC LIMIT 1"
        );
        let row = |row: &rusqlite::Row<'_>| Ok((name_value(&row.get(0)?), row.get(1)?));
        self.conn().query_row(&sql, [to_sql(last)], row).optional()
    }
}

/// The key of the first row that one has and the other has not.
fn first_difference(
    ours: &Connection,
    rebuilt: &Connection,
    sql: &str,
) -> rusqlite::Result<Option<String>> {
    let (mut ours, mut rebuilt) = (ours.prepare(sql)?, rebuilt.prepare(sql)?);
    let columns = ours.column_count();
    let (mut ours, mut rebuilt) = (ours.query([])?, rebuilt.query([])?);
    loop {
        let values = |row: Option<&rusqlite::Row<'_>>| -> rusqlite::Result<Option<Vec<Value>>> {
            row.map(|row| (0..columns).map(|i| row.get(i)).collect())
                .transpose()
        };
        let (left, right) = (values(ours.next()?)?, values(rebuilt.next()?)?);
        match (&left, &right) {
            (None, None) => return Ok(None),
            (left, right) if left == right => {}
            _ => {
                let key = left.or(right).unwrap_or_default();
                let key: Vec<_> = key.iter().take(2).map(name_value).collect();
                return Ok(Some(key.join(" ")));
            }
        }
    }
}

fn name_value(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => match uuid::Uuid::from_slice(bytes) {
            Ok(id) => id.to_string(),
            Err(_) => format!("{} bytes", bytes.len()),
        },
        other => format!("{other:?}"),
    }
}
