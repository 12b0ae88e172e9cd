//! The log as a whole: a backup of the file, an export that can be imported again, and the pruning of
//! its beginning.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use uuid::Uuid;

use super::codec;
use super::error::LogError;
use super::reader::Reader;
use super::record::{NewEvent, Recorded, now};
use super::row::{RawEvent, scan};
use super::store::Log;
use super::tables::from_sql;
use super::tx::Tx;
use super::verify::Base;
use crate::domain::event::Event;
use crate::domain::ids::{At, Digest};

/// Pages that are copied at once.
const BACKUP_PAGES: i32 = 4_096;
/// How long giving room back waits for whoever writes.
const COMPACT_WITHIN: Duration = Duration::from_secs(5);
/// Longest line of an export: the largest frame in hexadecimal, and its payload as JSON.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// An export cannot be imported, or a backup not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// The export is not as it was written.
    #[error("{}, line {line}: {why}; nothing was imported", path.display())]
    Line {
        path: PathBuf,
        line: u64,
        why: String,
    },
    /// There are events already.
    #[error("the log {} has events already, and two logs cannot be joined into one chain; import into an empty state directory (--state DIR)", path.display())]
    NotEmpty { path: PathBuf },
}

/// What was pruned.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Pruned {
    /// Events that were removed.
    pub events: u64,
    /// Events that are left.
    pub left: u64,
    /// What keeps events that are old enough to go.
    pub held_by: Option<String>,
}

/// One line of an export. What it says in JSON is for people and programs; the frame is what is imported.
#[derive(Debug, Deserialize)]
struct Exported {
    seq: u64,
    event_id: Uuid,
    boot_id: Option<Uuid>,
    mission_id: Option<Uuid>,
    kind: String,
    version: u16,
    at: At,
    chain: Digest,
    frame: Option<String>,
}

fn of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

impl Reader {
    /// Copies the log into a new file (mode 0600), as it is at one moment, whoever writes meanwhile.
    ///
    /// # Errors
    /// The file exists or cannot be written, or the log cannot be read.
    pub(crate) fn backup(&self, to: &Path) -> Result<(), ArchiveError> {
        let io = |what| {
            move |source| ArchiveError::Io {
                what,
                path: to.to_owned(),
                source,
            }
        };
        if std::fs::symlink_metadata(to).is_ok() {
            let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(io("overwrite")(source));
        }
        // SQLite would take what lies there for the new file's own.
        for suffix in ["-wal", "-journal", "-shm"] {
            let mut beside = to.as_os_str().to_owned();
            beside.push(suffix);
            if Path::new(&beside).exists() {
                let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
                return Err(io(
                    "write a backup beside a left-over -wal, -journal or -shm file of",
                )(source));
            }
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)
            .map_err(io("create"))?;
        let copied = self.copy_into(to).and_then(|()| {
            std::fs::File::open(to)
                .and_then(|file| file.sync_all())
                .map_err(io("sync"))
        });
        if copied.is_err() {
            let _ = std::fs::remove_file(to);
        }
        copied
    }

    fn copy_into(&self, to: &Path) -> Result<(), ArchiveError> {
        let error = |source| LogError::of(to, source);
        let _snapshot = self.snapshot()?;
        let mut copy = Connection::open(to).map_err(error)?;
        let backup = rusqlite::backup::Backup::new(self.conn(), &mut copy).map_err(error)?;
        backup
            .run_to_completion(BACKUP_PAGES, Duration::ZERO, None)
            .map_err(error)?;
        Ok(())
    }

    /// Calls `each` for every event with its frame, in order, at one moment of the log.
    ///
    /// # Errors
    /// The log cannot be read, or `each` fails.
    pub(crate) fn export<E: From<LogError>>(
        &self,
        mut each: impl FnMut(&Recorded, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _snapshot = self.snapshot()?;
        let to_error = |source| E::from(self.error(source));
        scan(self.conn(), 0, to_error, |row| {
            let raw = row.map_err(|malformed| LogError::Damaged {
                path: self.path().to_owned(),
                detail: malformed.to_string(),
            })?;
            each(&raw.to_recorded(), raw.payload)
        })
    }
}

/// The lines of an export, with their numbers.
fn lines(
    path: &Path,
    mut each: impl FnMut(u64, Exported) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    use std::io::Read;
    let io = |source| ArchiveError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    };
    // It is read twice, while everybody who writes waits: no pipe, no device.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        let source =
            std::io::Error::other("it is no regular file; write the export into one first");
        return Err(io(source));
    }
    let mut file = BufReader::new(std::fs::File::open(path).map_err(io)?);
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let read = file
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_line(&mut text)
            .map_err(io)?;
        if read == 0 {
            break;
        }
        let exported = serde_json::from_str(&text).map_err(|error| ArchiveError::Line {
            path: path.to_owned(),
            line,
            why: format!("it is no event of an export: {error}"),
        })?;
        each(line, exported)?;
    }
    Ok(())
}

/// What comes before the first event of an export.
fn base_of(path: &Path) -> Result<Base, ArchiveError> {
    let mut first = None;
    let mut base = Base::default();
    lines(path, |_, exported| {
        first = first.or(Some(exported.seq));
        if exported.kind == "log_pruned"
            && let Some(frame) = exported.frame.as_deref().and_then(of_hex)
            && let Ok(Event::LogPruned { last, chain, .. }) =
                codec::decode(&exported.kind, exported.version, &frame)
        {
            base = Base { seq: last, chain };
        }
        Ok(())
    })?;
    match first {
        None => Err(ArchiveError::Line {
            path: path.to_owned(),
            line: 1,
            why: "the file holds no event".to_owned(),
        }),
        Some(first) if first > 1 => Ok(base),
        Some(_) => Ok(Base::default()),
    }
}

impl Log {
    /// Takes over an export, whose chain has to be intact, into this log, which has to be empty: all of it or
    /// nothing. Gives the number of events and the chain's end.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(crate) fn import(&self, path: &Path) -> Result<(u64, Digest), ArchiveError> {
        let path = path.to_owned();
        let base = base_of(&path)?;
        self.transact(move |tx| {
            let ledger = &mut *tx.ledger;
            if !ledger.is_empty() {
                return Err(ArchiveError::NotEmpty {
                    path: ledger.path().to_owned(),
                });
            }
            ledger.start_after(base.seq, base.chain);
            lines(&path, |line, exported| {
                let wrong = |why: String| ArchiveError::Line {
                    path: path.clone(),
                    line,
                    why,
                };
                let frame = exported.frame.as_deref().ok_or_else(|| {
                    wrong("it has no frame: an older ubs exported it; export it again".to_owned())
                })?;
                let frame = of_hex(frame)
                    .ok_or_else(|| wrong("its frame is not hexadecimal".to_owned()))?;
                if exported.seq != ledger.next_seq() {
                    return Err(wrong(format!(
                        "event {} follows, and {} is next",
                        exported.seq,
                        ledger.next_seq()
                    )));
                }
                let chain = ledger.insert_as_it_was(RawEvent {
                    seq: exported.seq,
                    id: exported.event_id,
                    boot: exported.boot_id,
                    mission: exported.mission_id,
                    kind: &exported.kind,
                    version: exported.version,
                    at: exported.at.0,
                    payload: &frame,
                    chain: exported.chain,
                })?;
                if chain == exported.chain {
                    Ok(())
                } else {
                    Err(wrong(format!(
                        "event {} ({}) does not fit the chain: it was edited, moved or inserted",
                        exported.seq, exported.kind
                    )))
                }
            })?;
            let events = ledger.rebuild()?;
            Ok((events, ledger.chain_end()))
        })?
    }

    /// Removes events from the beginning on, up to the last that is older than `before`, and never one that a
    /// boot or mission needs which is not wholly old: one that runs, the newest, the last good one, an open
    /// mission. An event says what was removed, and anchors what follows.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(crate) fn prune(
        &self,
        before: At,
        last_good: Option<Uuid>,
        on_probation: Vec<Uuid>,
    ) -> Result<Pruned, LogError> {
        self.transact(move |tx| prune(tx, before, last_good, &on_probation))?
    }
}

/// Gives the room of what was pruned back to the disk. Needs as much free room as the log has left, and waits a few
/// seconds for whoever writes; nothing is lost if it cannot be done. Gives the bytes of the file then.
///
/// # Errors
/// The file stays as large as it is.
pub(crate) fn compact(path: &Path) -> Result<u64, LogError> {
    let error = |source| LogError::of(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(error)?;
    conn.busy_timeout(COMPACT_WITHIN).map_err(error)?;
    conn.execute_batch("VACUUM").map_err(error)?;
    // A reader that is in the way keeps the file as long as before; the next checkpoint shortens it.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(error)?;
    let pages = |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    let (count, size): (i64, i64) = (
        pages("page_count").map_err(error)?,
        pages("page_size").map_err(error)?,
    );
    Ok(from_sql(count.saturating_mul(size)))
}

fn prune(
    tx: &mut Tx<'_>,
    before: At,
    last_good: Option<Uuid>,
    on_probation: &[Uuid],
) -> Result<Pruned, LogError> {
    tx.ledger.flush()?;
    let (found, first) = tx.ledger.read(|_, conn, path| {
        let error = |source| LogError::of(path, source);
        let first = conn.query_row("SELECT coalesce(min(seq), 0) FROM events", [], |row| {
            row.get(0)
        });
        Ok((
            prunable(conn, before, last_good, on_probation).map_err(error)?,
            from_sql(first.map_err(error)?),
        ))
    })?;
    let (last, held_by) = found;
    if last < first.max(1) {
        let left = tx.ledger.next_seq().saturating_sub(first.max(1));
        return Ok(Pruned {
            events: 0,
            left,
            held_by,
        });
    }
    let events = last - first + 1;
    let chain = tx.ledger.remove_up_to(last)?;
    tx.append(NewEvent {
        at: now(),
        boot: None,
        mission: None,
        event: Event::LogPruned {
            events,
            last,
            chain,
            before,
        },
    })?;
    let left = tx.ledger.rebuild()?;
    Ok(Pruned {
        events,
        left,
        held_by,
    })
}

/// The last event that may go, and what keeps the next one if that is old enough.
fn prunable(
    conn: &Connection,
    before: At,
    last_good: Option<Uuid>,
    on_probation: &[Uuid],
) -> rusqlite::Result<(u64, Option<String>)> {
    let one = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        conn.query_row(sql, values, |row| row.get::<_, Option<i64>>(0))
    };
    let end = one("SELECT max(seq) FROM events", &[])?.unwrap_or(0);
    let young = one("SELECT min(seq) FROM events WHERE at >= ?1", &[&before.0])?;
    let mut last = young.map_or(end, |young| young - 1);
    let mut held_by = None;
    let good = last_good.map(|boot| boot.as_bytes().to_vec());
    let holders: [(&str, &str, &[&dyn rusqlite::ToSql]); 4] = [
        (
            "a boot that has not ended",
            "SELECT min(seq_first) FROM boots WHERE phase <> 'ended'",
            &[],
        ),
        ("the newest boot", "SELECT max(seq_first) FROM boots", &[]),
        (
            "the last good boot",
            "SELECT seq_first FROM boots WHERE boot_id = ?1 UNION ALL SELECT NULL LIMIT 1",
            &[&good],
        ),
        (
            "an open mission",
            "SELECT min(seq_first) FROM missions WHERE status <> 'closed'",
            &[],
        ),
    ];
    for (name, sql, values) in holders {
        if let Some(first) = one(sql, values)?.filter(|first| *first <= last) {
            last = first - 1;
            held_by = Some(format!("{name}, which begins with event {first}"));
        }
    }
    for mission in on_probation {
        let sql = "SELECT min(seq_first) FROM missions WHERE mission_id = ?1";
        let first = one(sql, &[&mission.as_bytes().to_vec()])?;
        if let Some(first) = first.filter(|first| *first <= last) {
            last = first - 1;
            held_by = Some(format!(
                "a fix on probation, whose mission begins with event {first}"
            ));
        }
    }
    // What begins before the cut and ends after it is kept whole: its state cannot be made of a part.
    loop {
        let sql = "SELECT min(seq_first) FROM (SELECT seq_first, seq_last FROM boots \
             UNION ALL SELECT seq_first, seq_last FROM missions) \
             WHERE seq_first <= ?1 AND seq_last > ?1";
        match one(sql, &[&last])? {
            Some(first) => last = first - 1,
            None => return Ok((from_sql(last), held_by)),
        }
    }
}
