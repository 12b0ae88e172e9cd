//! The durable queue of missions. Every command is decided inside the write transaction that records
//! it, so two workers, in whatever process, never both get a mission.

use uuid::Uuid;

use super::error::{LogError, MissionsError};
use super::events::EventFilter;
use super::reader::{FixRecord, Reader};
use super::record::{NewEvent, now};
use super::store::Log;
use super::tx::Tx;
use crate::domain::event::Event;
use crate::domain::ids::{At, BootId, MissionId, Signature};
use crate::domain::mission::{
    self, Failure, Fix, FixFold, LEASE_MS_MAX, MissionCommand, MissionState, MissionStatus,
};

/// Longest that heartbeats hold a mission after it was claimed: one day, as the longest lease.
const HOLD_MS_MAX: u64 = LEASE_MS_MAX;

/// The durable queue of missions.
#[derive(Debug, Clone)]
pub struct Missions {
    log: Log,
    boot: Option<BootId>,
}

impl Missions {
    /// The queue in this log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self { log, boot: None }
    }

    /// With every event that is recorded through it belonging to this boot too.
    #[must_use]
    pub fn in_boot(mut self, boot: BootId) -> Self {
        self.boot = Some(boot);
        self
    }

    /// The log that the queue lies in.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// One mission.
    ///
    /// # Errors
    /// No such mission, or the log cannot be read.
    pub fn get(&self, mission: MissionId) -> Result<MissionState, MissionsError> {
        let state = self.log.read(|reader| reader.mission(mission))?;
        state.ok_or_else(|| MissionsError::NotFound(mission.to_string()))
    }

    /// Gives a command to a mission; decided and recorded in one transaction. Gives the state after it.
    ///
    /// # Errors
    /// No such mission, its state does not allow the command, or the log cannot be written.
    pub fn command(
        &self,
        mission: MissionId,
        command: MissionCommand,
    ) -> Result<MissionState, MissionsError> {
        let boot = self.boot;
        self.log.transact(move |tx| {
            let files = matches!(command, MissionCommand::File { .. });
            let state = match tx.mission(mission)? {
                Some(state) => state,
                None if files => MissionState::default(),
                None => return Err(MissionsError::NotFound(mission.to_string())),
            };
            let command = match command {
                MissionCommand::Heartbeat { worker, lease_ms } => {
                    let left_ms = hold_left_ms(tx, mission)?;
                    let lease_ms = match left_ms {
                        // Too late by the lease itself.
                        0 => lease_ms,
                        left_ms => lease_ms.min(left_ms),
                    };
                    MissionCommand::Heartbeat { worker, lease_ms }
                }
                other => other,
            };
            // Another one has its failure by now: the closed one stays closed.
            let takes_back = matches!(
                command,
                MissionCommand::RollBack { .. } | MissionCommand::Undo { .. }
            );
            let stays_closed = takes_back
                && state.status == MissionStatus::Closed
                && match &state.signature {
                    Some(signature) => tx.open_mission_by_signature(signature)?.is_some(),
                    None => false,
                };
            let mut events = mission::decide(&state, now(), command)?;
            if stays_closed {
                events.truncate(1);
            }
            append(tx, boot, mission, state, now(), events)
        })?
    }

    /// Files a mission for a failure, or records that its open mission's failure was seen again.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn file(
        &self,
        signature: Signature,
        failure: Failure,
    ) -> Result<MissionState, MissionsError> {
        let boot = self.boot;
        self.log.transact(move |tx| {
            let known = tx.open_mission_by_signature(&signature)?;
            if let Some((id, state)) = known.and_then(|state| Some((state.id?, state))) {
                let command = MissionCommand::Recur { failure };
                return record(tx, boot, id, state, now(), command);
            }
            let id = MissionId(Uuid::now_v7());
            let command = MissionCommand::File {
                id,
                signature,
                failure,
            };
            record(tx, boot, id, MissionState::default(), now(), command)
        })?
    }

    /// Claims the oldest mission that may be claimed now, also one whose lease ran out; `None` if
    /// there is none. A mission whose fix was approved waits for its promotion, not for a claim.
    ///
    /// # Errors
    /// The lease is zero or too long, or the log cannot be written.
    pub fn claim_next(
        &self,
        worker: &str,
        lease_ms: u64,
    ) -> Result<Option<MissionState>, MissionsError> {
        let (boot, worker) = (self.boot, worker.to_owned());
        self.log.transact(move |tx| {
            let at = now();
            loop {
                let next = tx.missions_where(CLAIMABLE, [at.0])?.into_iter().next();
                let Some((id, state)) = next.and_then(|state| Some((state.id?, state))) else {
                    return Ok(None);
                };
                let command = MissionCommand::Claim {
                    worker: worker.clone(),
                    lease_ms,
                };
                let state = record(tx, boot, id, state, at, command)?;
                // One that was claimed too often is quarantined instead; then the next one.
                if state.status == MissionStatus::Claimed {
                    return Ok(Some(state));
                }
            }
        })?
    }

    /// Finds a mission by its id, the beginning of it (at least 4 digits), or its slug; of several
    /// with one slug the open one.
    ///
    /// # Errors
    /// None, or more than one; or the log cannot be read.
    pub fn find(&self, name: &str) -> Result<MissionState, MissionsError> {
        self.log.read(|reader| reader.find_mission(name))
    }

    /// Every mission that is not closed, oldest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open(&self) -> Result<Vec<MissionState>, MissionsError> {
        self.log.read(|reader| Ok(reader.missions(false)?))
    }

    /// Missions that stand there, oldest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn with_status(&self, status: MissionStatus) -> Result<Vec<MissionId>, MissionsError> {
        self.log
            .read(|reader| Ok(reader.mission_ids_with_status(status)?))
    }

    /// What is remembered of fixes for this signature, by the fixers' names.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn fix_memory(&self, signature: &Signature) -> Result<Vec<FixRecord>, MissionsError> {
        self.log.read(|reader| Ok(reader.fix_records(signature)?))
    }
}

/// The oldest mission that `mission::decide` lets be claimed at moment `?1`.
const CLAIMABLE: &str = "seq_first = (SELECT min(seq_first) FROM missions \
     WHERE status <> 'closed' AND (status = 'filed' OR status = 'rejected' AND not_before <= ?1 \
     OR status IN ('claimed', 'proposed', 'verified') AND lease_until <= ?1))";

/// A mission that is filed is called as no other open one is: what a person types means one of them.
pub(crate) fn name_apart(tx: &mut Tx<'_>, events: &mut [Event]) -> Result<(), LogError> {
    for event in events {
        let Event::MissionFiled { slug, .. } = event else {
            continue;
        };
        let plain = slug.clone();
        let mut number = 1_u32;
        while !tx
            .missions_where("slug = ?1 AND status <> 'closed'", [slug.as_str()])?
            .is_empty()
        {
            number = number.saturating_add(1);
            *slug = format!("{plain}_{number}");
        }
    }
    Ok(())
}

/// For how long the mission's last claim may still be extended: whoever holds a mission for longer does not mend it.
fn hold_left_ms(tx: &mut Tx<'_>, mission: MissionId) -> Result<u64, LogError> {
    let claimed = tx.last_claimed_at(mission)?.unwrap_or_else(now);
    Ok(claimed.plus_ms(HOLD_MS_MAX).ms_since(now()))
}

/// Every fix that was applied, or those of one mission, in the order of their application.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn read_fixes(
    reader: &Reader,
    mission: Option<MissionId>,
) -> Result<Vec<Fix>, LogError> {
    let missions = match mission {
        Some(mission) => vec![mission],
        None => {
            let proposed = reader.missions(true)?.into_iter();
            let proposed = proposed.filter(|state| state.proposal.is_some());
            proposed.filter_map(|state| state.id).collect()
        }
    };
    let mut fixes = Vec::new();
    for mission in missions {
        let filter = EventFilter {
            mission: Some(mission),
            ..EventFilter::default()
        };
        let mut fold = FixFold::default();
        for recorded in reader.events(filter)? {
            let recorded = recorded?;
            if let Some(event) = recorded.event() {
                fold.see(recorded.seq, recorded.at, recorded.boot, event);
            }
        }
        fixes.extend(fold.fixes());
    }
    fixes.sort_by_key(|fix| fix.id);
    Ok(fixes)
}

/// Decides, records, and gives the state after. `boot` is the one that works on the mission; what
/// others do belongs to the running boot that waits for the mission, if one does.
fn record(
    tx: &mut Tx<'_>,
    boot: Option<BootId>,
    id: MissionId,
    state: MissionState,
    at: At,
    command: MissionCommand,
) -> Result<MissionState, MissionsError> {
    let events = mission::decide(&state, at, command)?;
    append(tx, boot, id, state, at, events)
}

fn append(
    tx: &mut Tx<'_>,
    boot: Option<BootId>,
    id: MissionId,
    mut state: MissionState,
    at: At,
    mut events: Vec<Event>,
) -> Result<MissionState, MissionsError> {
    name_apart(tx, &mut events)?;
    let boot = match boot {
        Some(boot) => Some(boot),
        None => tx.boot_concerned(id)?,
    };
    for event in events {
        state = mission::evolve(state, at, boot, &event);
        tx.append(NewEvent {
            at,
            boot,
            mission: Some(id),
            event,
        })?;
    }
    Ok(state)
}
