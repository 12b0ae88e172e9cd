//! Looks at the log without changing anything: the connection is read-only, and it neither creates
//! nor migrates. Safe beside any number of writers, and on a copy of a log in a read-only directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::Serialize;
use uuid::Uuid;

use super::error::LogError;
use super::events::{EventFilter, Events};
use super::layout::{PROJECTION_FORMAT, SCHEMA_VERSION};
use super::migrate;
use super::tables::{from_sql, load_boot, load_mission, load_missions, parts, placed};
use crate::domain::boot::{self, BootState, Outcome};
use crate::domain::event::{Event, Verdict};
use crate::domain::health::{Health, HealthStatus};
use crate::domain::ids::{At, BootId, MissionId, Seq};
use crate::domain::mission::{self, MissionState, MissionStatus};

/// The log, open for reading.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    path: PathBuf,
}

/// One boot in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BootSummary {
    /// Which boot.
    pub boot_id: BootId,
    /// Name of the application.
    pub app: String,
    /// `fast`, `layered`, `resilient`.
    pub mode: String,
    /// Where it stands.
    pub phase: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// The newest decision.
    pub decision: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Something optional is missing.
    pub degraded: bool,
    /// When it began.
    pub started_at: At,
    /// When the system was first up.
    pub up_at: Option<At>,
    /// When it ended.
    pub ended_at: Option<At>,
    /// When it was last heard of, if its supervisor died; what was after that nobody knows.
    pub known_until: Option<At>,
    /// Why it stands where it stands.
    pub reason: String,
    /// Its first event.
    pub seq_first: Seq,
    /// Its last event.
    pub seq_last: Seq,
}

impl BootSummary {
    const COLUMNS: &'static str = "boot_id, app, mode, phase, outcome, decision, attempts, \
         degraded, started_at, up_at, ended_at, reason, seq_first, seq_last";

    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            boot_id: BootId(Uuid::from_bytes(row.get(0)?)),
            app: row.get(1)?,
            mode: row.get(2)?,
            phase: row.get(3)?,
            outcome: row.get(4)?,
            decision: row.get(5)?,
            attempts: row.get(6)?,
            degraded: row.get(7)?,
            started_at: At(row.get(8)?),
            up_at: row.get::<_, Option<i64>>(9)?.map(At),
            ended_at: row.get::<_, Option<i64>>(10)?.map(At),
            known_until: None,
            reason: row.get(11)?,
            seq_first: Seq(from_sql(row.get(12)?)),
            seq_last: Seq(from_sql(row.get(13)?)),
        })
    }
}

/// Size of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LogStats {
    /// Events.
    pub events: u64,
    /// Boots.
    pub boots: u64,
    /// Missions.
    pub missions: u64,
    /// Bytes of the file, without what waits in its `-wal`.
    pub bytes: u64,
    /// Version of the file's layout.
    pub schema_version: u32,
    /// First event.
    pub first_at: Option<At>,
    /// Last event.
    pub last_at: Option<At>,
    /// Events of each kind.
    pub kinds: BTreeMap<String, u64>,
}

/// How one fixer fared with one signature. Each proposal counts once.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FixRecord {
    /// Which fixer.
    pub fixer: String,
    /// Missions that it closed.
    pub closed: u32,
    /// Proposals that did not hold, or were declined or undone.
    pub rejected: u32,
    /// Fixes that were taken back after they had been applied.
    pub rolled_back: u32,
}

impl Reader {
    /// Opens an existing log for reading only.
    ///
    /// # Errors
    /// There is none, it is not a log, it is of another layout, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let (conn, path) = migrate::open_reader(path)?;
        Ok(Self { conn, path })
    }

    /// Where it is: absolute, with the directory's links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    pub(super) fn error(&self, source: rusqlite::Error) -> LogError {
        LogError::of(&self.path, source)
    }

    /// One moment of the log, for several queries that must agree. Ends when it is dropped.
    pub(super) fn snapshot(&self) -> Result<Transaction<'_>, LogError> {
        self.conn
            .unchecked_transaction()
            .map_err(|source| self.error(source))
    }

    fn query<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LogError> {
        let run = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.conn.prepare_cached(sql)?;
            statement.query_map(values, read)?.collect()
        };
        run().map_err(|source| self.error(source))
    }

    fn query_one<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, LogError> {
        let run = || self.conn.prepare_cached(sql)?.query_row(values, read);
        run().optional().map_err(|source| self.error(source))
    }

    /// Refuses to read states that another version of the program made: they are rebuilt by the next
    /// writer.
    fn require_current_projections(&self) -> Result<(), LogError> {
        let format = self.query_one("SELECT projection_format FROM head", [], |row| row.get(0))?;
        match format {
            Some(found) if found != PROJECTION_FORMAT => Err(LogError::OtherProjections {
                path: self.path.clone(),
                found,
                known: PROJECTION_FORMAT,
            }),
            _ => Ok(()),
        }
    }

    fn count(&self, sql: &str) -> Result<u64, LogError> {
        let count = self.query_one(sql, [], |row| row.get(0))?;
        Ok(from_sql(count.unwrap_or(0)))
    }

    /// Place of the newest event; 0 if there is none.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn head(&self) -> Result<Seq, LogError> {
        let last = "SELECT seq FROM events ORDER BY seq DESC LIMIT 1";
        self.count(last).map(Seq)
    }

    /// Events in order.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn events(&self, filter: EventFilter) -> Result<Events<'_>, LogError> {
        Events::new(&self.conn, &self.path, filter)
    }

    /// The boot's state now; `None` if it has not begun.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boot(&self, boot: BootId) -> Result<Option<BootState>, LogError> {
        self.require_current_projections()?;
        Ok(load_boot(&self.conn, &self.path, boot)?.map(|row| row.state))
    }

    /// The newest boot: the one that began last.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn last_boot(&self) -> Result<Option<BootId>, LogError> {
        self.query_one(
            "SELECT boot_id FROM boots ORDER BY seq_first DESC LIMIT 1",
            [],
            |row| Ok(BootId(Uuid::from_bytes(row.get(0)?))),
        )
    }

    /// Boots, newest first, at most `limit`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boots(&self, limit: u32) -> Result<Vec<BootSummary>, LogError> {
        let sql = format!(
            "SELECT {} FROM boots ORDER BY seq_first DESC LIMIT ?1",
            BootSummary::COLUMNS
        );
        let mut boots = self.query(&sql, [limit], BootSummary::of_row)?;
        for boot in &mut boots {
            let died = match boot.outcome.as_deref() {
                Some(outcome) => outcome == Outcome::Interrupted.as_str(),
                None => load_boot(&self.conn, &self.path, boot.boot_id)?
                    .is_some_and(|row| is_orphaned(&row.state)),
            };
            if died {
                boot.known_until = self.last_heard_of(boot.boot_id)?;
            }
        }
        Ok(boots)
    }

    /// The newest boot that came up with everything and ended as asked, or still runs.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn last_good_boot(&self) -> Result<Option<BootId>, LogError> {
        let candidates = self.query(
            "SELECT boot_id FROM boots WHERE up_at IS NOT NULL AND NOT degraded \
             AND (outcome = 'stopped' OR phase = 'running') ORDER BY seq_first DESC",
            [],
            |row| Ok(BootId(Uuid::from_bytes(row.get(0)?))),
        )?;
        for boot in candidates {
            let row = load_boot(&self.conn, &self.path, boot)?;
            if row.is_some_and(|row| !is_orphaned(&row.state)) {
                return Ok(Some(boot));
            }
        }
        Ok(None)
    }

    /// When a boot itself last said something. What others did to its missions, and what a later
    /// process found out about it, tells nothing of whether it lived.
    fn last_heard_of(&self, boot: BootId) -> Result<Option<At>, LogError> {
        let last = self.query_one(
            "SELECT max(at) FROM events INDEXED BY events_of_boot \
             WHERE boot_id = ?1 AND mission_id IS NULL AND kind <> 'boot_interrupted'",
            [boot.0.as_bytes()],
            |row| row.get::<_, Option<i64>>(0),
        )?;
        Ok(last.flatten().map(At))
    }

    /// Boots that have begun and not ended, oldest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn unfinished_boots(&self) -> Result<Vec<(BootId, BootState)>, LogError> {
        self.require_current_projections()?;
        let rows = self.query(
            "SELECT seq_first, seq_last, state, boot_id FROM boots WHERE phase <> 'ended' \
             ORDER BY seq_first",
            [],
            |row| Ok((BootId(Uuid::from_bytes(row.get(3)?)), parts(row)?)),
        )?;
        rows.into_iter()
            .map(|(boot, row)| {
                let row = placed(&self.path, || format!("boot {boot}"), row)?;
                Ok((boot, row.state))
            })
            .collect()
    }

    /// The mission's state now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn mission(&self, mission: MissionId) -> Result<Option<MissionState>, LogError> {
        self.require_current_projections()?;
        Ok(load_mission(&self.conn, &self.path, mission)?.map(|row| row.state))
    }

    /// What the last trial of the mission's proposal in hand showed; `None` if there was none.
    pub(crate) fn last_verdict(&self, mission: MissionId) -> Result<Option<Verdict>, LogError> {
        let filter = EventFilter {
            mission: Some(mission),
            ..EventFilter::default()
        };
        let mut last = None;
        for recorded in self.events(filter)? {
            match recorded?.event() {
                Some(Event::FixProposed { .. }) => last = None,
                Some(Event::FixTried { verdict }) => last = Some(verdict.clone()),
                _ => {}
            }
        }
        Ok(last)
    }

    /// Missions, oldest first; the closed ones too if `all`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn missions(&self, all: bool) -> Result<Vec<MissionState>, LogError> {
        let condition = if all { "TRUE" } else { "status <> 'closed'" };
        self.missions_where(condition, [])
    }

    pub(super) fn missions_where(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<MissionState>, LogError> {
        self.require_current_projections()?;
        load_missions(&self.conn, &self.path, condition, values)
    }

    pub(super) fn mission_ids_with_status(
        &self,
        status: MissionStatus,
    ) -> Result<Vec<MissionId>, LogError> {
        self.query(
            "SELECT mission_id FROM missions WHERE status = ?1 ORDER BY seq_first",
            [status.as_str()],
            |row| Ok(MissionId(Uuid::from_bytes(row.get(0)?))),
        )
    }

    pub(super) fn fix_records(
        &self,
        signature: &crate::domain::ids::Signature,
    ) -> Result<Vec<FixRecord>, LogError> {
        self.query(
            "SELECT fixer, closed, rejected, rolled_back FROM fix_memory WHERE signature = ?1 \
             ORDER BY fixer",
            [&signature.0],
            |row| {
                Ok(FixRecord {
                    fixer: row.get(0)?,
                    closed: row.get(1)?,
                    rejected: row.get(2)?,
                    rolled_back: row.get(3)?,
                })
            },
        )
    }

    /// Missions that are open, and those of them that need a person.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn mission_counts(&self) -> Result<(u64, u64), LogError> {
        let counts = self.query_one(
            "SELECT count(*), coalesce(sum(status IN ('quarantined', 'awaiting_approval')), 0) \
             FROM missions WHERE status <> 'closed'",
            [],
            |row| Ok((from_sql(row.get(0)?), from_sql(row.get(1)?))),
        )?;
        Ok(counts.unwrap_or_default())
    }

    /// Health now. `supervisor_alive` is asked whether the newest boot's supervisor still runs.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn health(
        &self,
        supervisor_alive: impl FnOnce(&BootState) -> bool,
    ) -> Result<Health, LogError> {
        let snapshot = self.snapshot()?;
        let counts = self.mission_counts()?;
        let newest = match self.last_boot()? {
            Some(boot) => self.boot(boot)?.map(|state| (boot, state)),
            None => None,
        };
        drop(snapshot);
        Ok(match newest {
            Some((boot, state)) => {
                let alive = supervisor_alive(&state);
                Health::of(boot, &state, Some(alive), counts.0, counts.1)
            }
            None => unknown(counts),
        })
    }

    /// Health as it was at that moment: the newest boot that had begun by then, and the missions
    /// that were open then, both folded from their events. After the last event of a boot whose
    /// supervisor died it is unknown.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn health_at(&self, at: At) -> Result<Health, LogError> {
        let _snapshot = self.snapshot()?;
        let counts = self.mission_counts_at(at)?;
        let boot = self.query_one(
            "SELECT boot_id FROM boots WHERE started_at <= ?1 ORDER BY seq_first DESC LIMIT 1",
            [at.0],
            |row| Ok(BootId(Uuid::from_bytes(row.get(0)?))),
        )?;
        let Some(boot) = boot else {
            return Ok(unknown(counts));
        };
        let filter = EventFilter {
            boot: Some(boot),
            until_at: Some(at),
            ..EventFilter::default()
        };
        let mut state = BootState::default();
        for recorded in self.events(filter)? {
            let recorded = recorded?;
            if let Some(event) = recorded.event() {
                state = boot::evolve(state, recorded.at, recorded.mission, event);
            }
        }
        let mut health = Health::of(boot, &state, None, counts.0, counts.1);
        if !state.is_ended()
            && let Some(now) = load_boot(&self.conn, &self.path, boot)?
            && (now.state.outcome == Some(Outcome::Interrupted) || is_orphaned(&now.state))
            && let Some(last) = self.last_heard_of(boot)?.filter(|last| *last < at)
        {
            health.status = HealthStatus::Unknown;
            health.stable_at = None;
            health.reason = Some(format!(
                "the supervisor died and was last heard of at {last}; what was after that nobody recorded"
            ));
        }
        Ok(health)
    }

    fn mission_counts_at(&self, at: At) -> Result<(u64, u64), LogError> {
        // Closed is final, so what was closed by then needs no folding.
        let candidates = self.query(
            "SELECT mission_id FROM missions \
             WHERE filed_at <= ?1 AND NOT (status = 'closed' AND updated_at <= ?1)",
            [at.0],
            |row| Ok(MissionId(Uuid::from_bytes(row.get(0)?))),
        )?;
        let (mut open, mut need_person) = (0, 0);
        for id in candidates {
            let filter = EventFilter {
                mission: Some(id),
                until_at: Some(at),
                ..EventFilter::default()
            };
            let mut state = MissionState::default();
            for recorded in self.events(filter)? {
                let recorded = recorded?;
                if let Some(event) = recorded.event() {
                    state = mission::evolve(state, recorded.at, recorded.boot, event);
                }
            }
            match state.status {
                MissionStatus::Unfiled | MissionStatus::Closed => {}
                MissionStatus::Quarantined | MissionStatus::AwaitingApproval => {
                    open += 1;
                    need_person += 1;
                }
                _ => open += 1,
            }
        }
        Ok((open, need_person))
    }

    /// Size of the log. Reads every event's kind.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn stats(&self) -> Result<LogStats, LogError> {
        let _snapshot = self.snapshot()?;
        let moment = |sql| self.query_one(sql, [], |row| Ok(At(row.get(0)?)));
        let kinds = self.query(
            "SELECT kind, count(*) FROM events GROUP BY kind",
            [],
            |row| Ok((row.get(0)?, from_sql(row.get(1)?))),
        )?;
        Ok(LogStats {
            events: kinds.iter().map(|(_, count)| count).sum(),
            boots: self.count("SELECT count(*) FROM boots")?,
            missions: self.count("SELECT count(*) FROM missions")?,
            bytes: std::fs::metadata(&self.path)
                .map_err(LogError::io("look at", &self.path))?
                .len(),
            // Checked when it was opened.
            schema_version: u32::try_from(SCHEMA_VERSION).unwrap_or(u32::MAX),
            first_at: moment("SELECT at FROM events ORDER BY seq LIMIT 1")?,
            last_at: moment("SELECT at FROM events ORDER BY seq DESC LIMIT 1")?,
            kinds: kinds.into_iter().collect(),
        })
    }
}

/// The boot has not ended, and its supervisor is gone.
fn is_orphaned(state: &BootState) -> bool {
    let supervisor = state.supervisor.as_ref();
    !state.is_ended() && !supervisor.is_some_and(crate::kernel::is_alive)
}

/// Health before the first boot, when there may be missions all the same.
fn unknown((open, need_person): (u64, u64)) -> Health {
    Health {
        missions_open: open,
        missions_need_person: need_person,
        ..Health::unknown()
    }
}
