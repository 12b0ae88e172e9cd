//! Rows of `events` as they lie in the file: borrowed, and packed into pages for scans that hash and
//! decode on a second thread.

use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::codec::{self, UnreadFrame};
use super::record::{Body, Recorded};
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, Digest, EventId, MissionId, Seq};

/// The columns, in the order that [`RawEvent::of_row`] expects.
pub(super) const COLUMNS: &str =
    "seq, event_id, boot_id, mission_id, kind, version, at, payload, chain";
/// Rows that a page is made with.
const PAGE_ROWS: usize = 256;
/// Bytes after which a packed page is full: small enough for a processor's cache.
const PAGE_BYTES: usize = 96 << 10;
/// What a page is made with, so that a usual last row still fits; below the size at which an
/// allocator asks the system for fresh memory each time.
const PAGE_BYTES_MADE: usize = PAGE_BYTES + (16 << 10);

/// One row, borrowed from wherever it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEvent<'a> {
    pub seq: u64,
    pub id: Uuid,
    pub boot: Option<Uuid>,
    pub mission: Option<Uuid>,
    pub kind: &'a str,
    pub version: u16,
    pub at: i64,
    pub payload: &'a [u8],
    pub chain: Digest,
}

/// A row that `ubs` never wrote.
#[derive(Debug, Clone)]
pub(super) struct Malformed {
    pub seq: i64,
    pub column: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "event {}: its {} is malformed", self.seq, self.column)
    }
}

fn uuid_of(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Option<Uuid>>> {
    Ok(match row.get_ref(index)?.as_blob_or_null() {
        Ok(None) => Some(None),
        Ok(Some(bytes)) => Uuid::from_slice(bytes).ok().map(Some),
        Err(_) => None,
    })
}

impl<'a> RawEvent<'a> {
    /// The row, whose columns are [`COLUMNS`].
    pub(super) fn of_row(row: &'a Row<'_>) -> rusqlite::Result<Result<Self, Malformed>> {
        let place: i64 = row.get(0)?;
        let malformed = |column| Ok(Err(Malformed { seq: place, column }));
        let Ok(seq) = u64::try_from(place) else {
            return malformed("seq");
        };
        let Some(Some(id)) = uuid_of(row, 1)? else {
            return malformed("event_id");
        };
        let Some(boot) = uuid_of(row, 2)? else {
            return malformed("boot_id");
        };
        let Some(mission) = uuid_of(row, 3)? else {
            return malformed("mission_id");
        };
        // The widths that the chain gives their lengths.
        let kind = row.get_ref(4)?.as_str().ok();
        let Some(kind) = kind.filter(|kind| u16::try_from(kind.len()).is_ok()) else {
            return malformed("kind");
        };
        let Ok(version) = u16::try_from(row.get::<_, i64>(5)?) else {
            return malformed("version");
        };
        let payload = row.get_ref(7)?.as_blob().ok();
        let Some(payload) = payload.filter(|payload| u32::try_from(payload.len()).is_ok()) else {
            return malformed("payload");
        };
        let Some(chain) = row
            .get_ref(8)?
            .as_blob()
            .ok()
            .and_then(|b| b.try_into().ok())
        else {
            return malformed("chain");
        };
        Ok(Ok(Self {
            seq,
            id,
            boot,
            mission,
            kind,
            version,
            at: row.get(6)?,
            payload,
            chain: Digest(chain),
        }))
    }

    /// Length of the kind, which [`Self::of_row`] has seen to fit.
    pub(super) fn kind_bytes(&self) -> u16 {
        u16::try_from(self.kind.len()).unwrap_or(u16::MAX)
    }

    /// Length of the payload, which fits too.
    pub(super) fn payload_bytes(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX)
    }

    /// The event, if this program understands it; else why not.
    pub(super) fn decode(&self) -> Result<Event, UnreadFrame> {
        codec::decode(self.kind, self.version, self.payload)
    }

    pub(super) fn boot_id(&self) -> Option<BootId> {
        self.boot.map(BootId)
    }

    pub(super) fn mission_id(&self) -> Option<MissionId> {
        self.mission.map(MissionId)
    }

    /// An owned copy, decoded.
    pub(super) fn to_recorded(self) -> Recorded {
        Recorded {
            seq: Seq(self.seq),
            id: EventId(self.id),
            boot: self.boot_id(),
            mission: self.mission_id(),
            kind: self.kind.to_owned(),
            version: self.version,
            at: At(self.at),
            body: match self.decode() {
                Ok(event) => Body::Known(Box::new(event)),
                Err(unread) => Body::Opaque {
                    why: unread.into_text(),
                    payload: self.payload.to_vec(),
                },
            },
            chain: self.chain,
        }
    }
}

/// Calls `each` for every row after `after`, in order, until it gives an error.
pub(super) fn scan<E>(
    conn: &Connection,
    after: u64,
    to_error: impl Fn(rusqlite::Error) -> E,
    mut each: impl FnMut(Result<RawEvent<'_>, Malformed>) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE seq > ?1 ORDER BY seq");
    let mut statement = conn.prepare_cached(&sql).map_err(&to_error)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    // Place 0 and below are never written; a row there was inserted by somebody else.
    let after = if after == 0 { i64::MIN } else { after };
    let mut rows = statement.query([after]).map_err(&to_error)?;
    while let Some(row) = rows.next().map_err(&to_error)? {
        each(RawEvent::of_row(row).map_err(&to_error)?)?;
    }
    Ok(())
}

#[derive(Debug)]
struct PackedRow {
    seq: u64,
    id: Uuid,
    boot: Option<Uuid>,
    mission: Option<Uuid>,
    version: u16,
    at: i64,
    chain: Digest,
    /// Where the kind ends and the payload begins, and where that ends, in [`Page::bytes`].
    kind_end: usize,
    payload_end: usize,
}

/// Rows packed into one allocation, to be handed to another thread.
#[derive(Debug)]
pub(super) struct Page {
    bytes: Vec<u8>,
    rows: Vec<Result<PackedRow, Malformed>>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            bytes: Vec::with_capacity(PAGE_BYTES_MADE),
            rows: Vec::with_capacity(PAGE_ROWS),
        }
    }
}

impl Page {
    pub(super) fn push(&mut self, row: Result<RawEvent<'_>, Malformed>) {
        let packed = row.map(|raw| {
            self.bytes.extend_from_slice(raw.kind.as_bytes());
            let kind_end = self.bytes.len();
            self.bytes.extend_from_slice(raw.payload);
            PackedRow {
                seq: raw.seq,
                id: raw.id,
                boot: raw.boot,
                mission: raw.mission,
                version: raw.version,
                at: raw.at,
                chain: raw.chain,
                kind_end,
                payload_end: self.bytes.len(),
            }
        });
        self.rows.push(packed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= PAGE_BYTES || self.rows.len() >= PAGE_ROWS * 4
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    /// The rows from the `from`-th on, in the order in which they were pushed.
    pub(super) fn rows(
        &self,
        from: usize,
    ) -> impl Iterator<Item = Result<RawEvent<'_>, Malformed>> {
        let before = from.checked_sub(1).and_then(|before| self.end_of(before));
        let mut start = before.unwrap_or_default();
        self.rows.iter().skip(from).map(move |row| {
            let row = row.as_ref().map_err(Clone::clone)?;
            let kind = &self.bytes[start..row.kind_end];
            let payload = &self.bytes[row.kind_end..row.payload_end];
            start = row.payload_end;
            Ok(RawEvent {
                seq: row.seq,
                id: row.id,
                boot: row.boot,
                mission: row.mission,
                // Pushed from a `&str`, so this never fails.
                kind: std::str::from_utf8(kind).unwrap_or_default(),
                version: row.version,
                at: row.at,
                payload,
                chain: row.chain,
            })
        })
    }

    /// End of the last well-formed row up to and with the `index`-th.
    fn end_of(&self, index: usize) -> Option<usize> {
        self.rows[..=index]
            .iter()
            .rev()
            .find_map(|row| row.as_ref().ok().map(|row| row.payload_end))
    }
}
