//! The mission: a durable work order for one failure, as a state machine.
//!
//! Pure: `decide` turns a command into events or refuses it, `evolve` folds an event into the
//! state. Life: filed → claimed (lease) → proposed → verified → (approved) → promoting → applied →
//! closed; a rejected proposal is retried with back-off until the mission is quarantined, which
//! means that a person is needed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::backoff::backoff_ms;
use crate::domain::event::{Event, FileChange, Verdict};
use crate::domain::finding::{CheckName, Finding, Location};
use crate::domain::ids::{At, BootId, Digest, MissionId, Signature};
use crate::domain::signature::sign_finding;

/// Claims before a mission is quarantined.
pub const MISSION_ATTEMPTS_MAX: u32 = 5;
/// Wait after the first rejection; doubles each time.
pub const REJECTION_BACKOFF_MS: u64 = 1_000;
/// Longest wait after a rejection.
pub const REJECTION_BACKOFF_MS_MAX: u64 = 15 * 60 * 1_000;
/// Longest lease that a worker may ask for: one day.
pub const LEASE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// What failed, as the mission carries it to whoever fixes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The check that found it; `None` if a layer failed while it ran.
    pub check: Option<CheckName>,
    /// Finding code, or `layer.failed`.
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// The layer that cannot start because of it.
    pub layer: Option<String>,
    /// The boot cannot go on without the fix.
    pub critical: bool,
    /// One sentence.
    pub error: String,
    /// What a person can do about it, if the check knew.
    pub remedy: Option<String>,
    /// The error in full, redacted.
    pub traceback: String,
    /// Where, if known.
    pub location: Option<Location>,
    /// What must be true for the mission to be closed.
    pub criteria: Vec<String>,
    /// What a fixer needs to know, as measured.
    pub facts: BTreeMap<String, String>,
}

impl Failure {
    /// The failure that a check's finding describes.
    #[must_use]
    pub fn of_finding(check: CheckName, finding: &Finding) -> Self {
        Self {
            check: Some(check),
            code: finding.code.clone(),
            subject: finding.subject.clone(),
            layer: finding.layer.clone(),
            critical: finding.severity == crate::domain::finding::Severity::Critical,
            error: finding.message.clone(),
            remedy: finding.remedy.clone(),
            traceback: finding.detail.clone(),
            location: finding.location.clone(),
            criteria: vec![
                format!(
                    "the {check} check no longer reports {} for {}",
                    finding.code, finding.subject
                ),
                "no other check is worse than before".to_owned(),
            ],
            facts: finding.facts.clone(),
        }
    }

    /// The name a person calls the mission by: `schema_fix_security_events`,
    /// `boot_fix_database_1764000000`.
    #[must_use]
    pub fn slug(&self, at: At) -> String {
        let family = self.code.split('.').next().unwrap_or("boot");
        let word = |text: &str| {
            let mut slug: String = text
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_lowercase()
                    } else {
                        '_'
                    }
                })
                .collect();
            slug.truncate(48);
            slug.trim_matches('_').to_owned()
        };
        match (self.check, &self.layer) {
            (None | Some(CheckName::Rehearsal), layer) => {
                let subject = layer.as_deref().unwrap_or(&self.subject);
                format!("boot_fix_{}_{}", word(subject), at.0.div_euclid(1_000_000))
            }
            _ => format!("{}_fix_{}", word(family), word(&self.subject)),
        }
    }
}

/// One failure with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFailure {
    /// Same cause, same signature.
    pub signature: Signature,
    /// What failed.
    pub failure: Failure,
}

/// The failures that the findings of one pre-flight describe: one for each signature, told by the
/// finding that a fixer can do most with (most facts; among equals the first).
pub fn group_failures<'a>(
    findings: impl IntoIterator<Item = (CheckName, &'a Finding)>,
) -> Vec<SignedFailure> {
    let mut failures: Vec<SignedFailure> = Vec::new();
    for (check, finding) in findings {
        let signature = sign_finding(finding);
        let failure = Failure::of_finding(check, finding);
        match failures.iter_mut().find(|f| f.signature == signature) {
            None => failures.push(SignedFailure { signature, failure }),
            Some(known) => {
                let critical = known.failure.critical || failure.critical;
                if failure.facts.len() > known.failure.facts.len() {
                    known.failure = failure;
                }
                known.failure.critical = critical;
            }
        }
    }
    failures
}

/// What a change to the application may endanger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Adds something; nothing that was there changes.
    Additive,
    /// A built-in source edit.
    Edit,
    /// An agent's, a playbook's or a person's free change.
    Open,
    /// Drops, deletes or rewrites.
    Destructive,
}

impl Risk {
    /// The stable name, as in JSON and in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Additive => "additive",
            Self::Edit => "edit",
            Self::Open => "open",
            Self::Destructive => "destructive",
        }
    }
}

/// One change that a proposal makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Insert text into a file; every other byte stays.
    Insert {
        /// File, relative to the workspace.
        path: String,
        /// Digest of the file that was read.
        before: Digest,
        /// Byte offset.
        offset: u64,
        /// What is inserted.
        text: String,
    },
    /// Write a whole file.
    Write {
        /// File, relative to the workspace.
        path: String,
        /// Digest of the file that was read; `None` if it must not exist.
        before: Option<Digest>,
        /// The new content.
        text: String,
    },
    /// Set a variable in an environment file; not for secrets.
    SetVariable {
        /// File, relative to the workspace.
        path: String,
        /// Name of the variable.
        name: String,
        /// The value.
        value: String,
    },
    /// Set a variable in an environment file to a random value that nobody sees.
    GenerateSecret {
        /// File, relative to the workspace.
        path: String,
        /// Name of the variable.
        name: String,
        /// Random bytes; the value is their hexadecimal text.
        bytes: u32,
    },
    /// Run statements in one transaction on a database.
    Sql {
        /// Name of the manifest's `[[schema]]`.
        schema: String,
        /// The statements, in order.
        statements: Vec<String>,
    },
    /// Run the application's own migrations on a database.
    Migrate {
        /// Name of the manifest's `[[schema]]`.
        schema: String,
        /// Who runs them.
        tool: MigrationTool,
        /// How far: `heads`, or a revision; for Django the alias of a database that is not its default one.
        target: String,
    },
}

/// What runs an application's migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationTool {
    /// `alembic upgrade`.
    Alembic,
    /// `flask db upgrade`.
    Flask,
    /// `manage.py migrate`.
    Django,
}

/// What a fixer proposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Who proposes: `create_table`, `extend_existing`, or a worker's name.
    pub fixer: String,
    /// One line for a person.
    pub summary: String,
    /// What it may endanger.
    pub risk: Risk,
    /// What it changes, in order.
    pub changes: Vec<Change>,
}

impl Proposal {
    /// The application's own migrations are part of it.
    #[must_use]
    pub fn runs_migrations(&self) -> bool {
        let is_migration = |change: &Change| matches!(change, Change::Migrate { .. });
        self.changes.iter().any(is_migration)
    }
}

/// A worker's hold on a mission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub worker: String,
    /// When it ends unless it is extended.
    pub until: At,
}

/// Where a mission stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum MissionStatus {
    /// Nothing happened yet: only `File` is allowed.
    #[default]
    Unfiled,
    /// Waits for a worker.
    Filed,
    /// A worker holds it.
    Claimed,
    /// A worker proposed a fix.
    Proposed,
    /// The fix was proved in the sandbox.
    Verified,
    /// The fix was proved, and policy wants a person to approve it.
    AwaitingApproval,
    /// The fix is being moved into the workspace.
    Promoting,
    /// The fix is in the workspace; the next attempt shows whether it holds.
    Applied,
    /// The last fix was no good; waits before it may be claimed again.
    Rejected,
    /// Needs a person.
    Quarantined,
    /// Done.
    Closed,
}

impl MissionStatus {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unfiled => "unfiled",
            Self::Filed => "filed",
            Self::Claimed => "claimed",
            Self::Proposed => "proposed",
            Self::Verified => "verified",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Promoting => "promoting",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Quarantined => "quarantined",
            Self::Closed => "closed",
        }
    }

    /// A worker holds the mission.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(
            self,
            Self::Claimed | Self::Proposed | Self::Verified | Self::Promoting
        )
    }
}

/// A mission, as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MissionState {
    /// Which one; `None` only before it is filed.
    pub id: Option<MissionId>,
    /// Same cause, same signature.
    pub signature: Option<Signature>,
    /// The name a person calls it by.
    pub slug: String,
    /// The boot that filed it.
    pub boot: Option<BootId>,
    /// Where it stands.
    pub status: MissionStatus,
    /// What failed.
    pub failure: Option<Failure>,
    /// When it was filed.
    pub filed_at: At,
    /// When something last happened.
    pub updated_at: At,
    /// Not claimable before this moment.
    pub not_before: At,
    /// Who holds it.
    pub lease: Option<Lease>,
    /// Claims so far.
    pub attempts: u32,
    /// How often the failure was seen again while the mission was open.
    pub recurrences: u32,
    /// The proposal in hand, or the last one.
    pub proposal: Option<Proposal>,
    /// Why it stands where it stands: the rejection, the quarantine, the resolution.
    pub reason: String,
    /// Fixers whose proposal was rejected, so that the next claim tries another.
    pub fixers_failed: Vec<String>,
}

/// A command to a mission. Moments and ids come in as data.
#[derive(Debug, Clone, PartialEq)]
pub enum MissionCommand {
    /// File it.
    File {
        /// The new mission.
        id: MissionId,
        /// Same cause, same signature.
        signature: Signature,
        /// What failed.
        failure: Failure,
    },
    /// The failure was seen again.
    Recur {
        /// What failed, as seen now: the facts may have changed.
        failure: Failure,
    },
    /// Take it.
    Claim {
        /// Who.
        worker: String,
        /// For how long.
        lease_ms: u64,
    },
    /// Hold it longer.
    Heartbeat {
        /// Who.
        worker: String,
        /// For how long from now.
        lease_ms: u64,
    },
    /// Give it back untouched.
    Release {
        /// Who.
        worker: String,
        /// Why.
        reason: String,
    },
    /// Propose a fix.
    Propose {
        /// Who.
        worker: String,
        /// What.
        proposal: Proposal,
    },
    /// The trial's outcome.
    Judge {
        /// Who.
        worker: String,
        /// What the trial showed.
        verdict: Verdict,
        /// Policy wants a person to approve a fix that holds.
        needs_approval: bool,
    },
    /// A person approves.
    Approve {
        /// Who.
        by: String,
    },
    /// The worker found no fix.
    GiveUp {
        /// Who.
        worker: String,
        /// Why not.
        reason: String,
    },
    /// A person declines, or withdraws the proposal.
    Decline {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The trial after the approval shows what nobody approved.
    AskAgain {
        /// What it shows.
        verdict: Verdict,
    },
    /// The fix is about to be moved into the workspace.
    StartPromotion {
        /// Files that will change.
        files: Vec<FileChange>,
        /// Schemas whose database will change.
        databases: Vec<String>,
    },
    /// The fix is in the workspace.
    FinishPromotion,
    /// The promotion was undone.
    UndoPromotion {
        /// Why.
        reason: String,
    },
    /// The fix was taken back after it had been applied.
    RollBack {
        /// Why.
        reason: String,
    },
    /// No one can do this but a person.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// Done.
    Close {
        /// How it was shown.
        resolution: String,
    },
    /// A person puts a quarantined mission back into the queue.
    Requeue {
        /// Who.
        by: String,
    },
}

/// A command that the mission's state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissionRefusal {
    /// Not in this state.
    #[error("a mission that is {status} cannot be {verb}{}", hint_for(.status))]
    WrongStatus {
        /// Where it stands.
        status: &'static str,
        /// What was asked.
        verb: &'static str,
    },
    /// Somebody else holds it.
    #[error("the mission is held by {holder} until {until}")]
    Held {
        /// Who.
        holder: String,
        /// Until when.
        until: At,
    },
    /// The lease ran out, or it was never this worker's.
    #[error("{worker} does not hold the mission (its lease may have run out; claim it again)")]
    NotHolder {
        /// Who asked.
        worker: String,
    },
    /// Back-off.
    #[error("the mission waits until {until} after its last rejection")]
    TooEarly {
        /// When it can be claimed.
        until: At,
    },
    /// The lease asked for is zero or too long.
    #[error("a lease lasts from 1 ms to {max} ms, not {asked} ms", max = LEASE_MS_MAX)]
    BadLease {
        /// What was asked.
        asked: u64,
    },
    /// The proposal changes nothing.
    #[error("the proposal changes nothing")]
    EmptyProposal,
}

/// What to do about a status that keeps workers away.
fn hint_for(status: &str) -> &'static str {
    match status {
        "quarantined" => " (it needs a person; `ubs missions requeue` lets workers try again)",
        "awaiting_approval" => " (`ubs missions approve` or `reject` it first)",
        _ => "",
    }
}

fn wrong(state: &MissionState, verb: &'static str) -> MissionRefusal {
    MissionRefusal::WrongStatus {
        status: state.status.as_str(),
        verb,
    }
}

fn require_holder(state: &MissionState, worker: &str, at: At) -> Result<(), MissionRefusal> {
    match &state.lease {
        Some(lease) if lease.worker == worker && at < lease.until => Ok(()),
        _ => Err(MissionRefusal::NotHolder {
            worker: worker.to_owned(),
        }),
    }
}

fn require_lease(lease_ms: u64) -> Result<(), MissionRefusal> {
    if (1..=LEASE_MS_MAX).contains(&lease_ms) {
        Ok(())
    } else {
        Err(MissionRefusal::BadLease { asked: lease_ms })
    }
}

fn rejection(state: &MissionState, at: At, reason: String) -> Vec<Event> {
    let mut events = vec![Event::FixRejected {
        reason,
        retry_at: at.plus_ms(rejection_backoff_ms(state.attempts)),
    }];
    if state.attempts >= MISSION_ATTEMPTS_MAX {
        events.push(Event::MissionQuarantined {
            reason: format!("{} fixes were tried and none held", state.attempts),
        });
    }
    events
}

/// The wait after the `attempts`-th claim was rejected.
#[must_use]
pub fn rejection_backoff_ms(attempts: u32) -> u64 {
    backoff_ms(attempts, REJECTION_BACKOFF_MS, REJECTION_BACKOFF_MS_MAX, 0)
}

/// What happens when `command` is given to a mission in `state` at `at`.
///
/// # Errors
/// The state does not allow the command.
pub fn decide(
    state: &MissionState,
    at: At,
    command: MissionCommand,
) -> Result<Vec<Event>, MissionRefusal> {
    use MissionCommand as C;
    use MissionStatus as S;
    if state.status == S::Unfiled && !matches!(command, C::File { .. }) {
        return Err(wrong(state, "worked on"));
    }
    match command {
        C::File {
            id,
            signature,
            failure,
        } => match state.status {
            S::Unfiled => Ok(vec![Event::MissionFiled {
                mission: id,
                slug: failure.slug(at),
                signature,
                failure,
            }]),
            _ => Err(wrong(state, "filed")),
        },
        C::Recur { failure } => match state.status {
            S::Closed => Err(wrong(state, "seen again")),
            _ => Ok(vec![Event::MissionRecurred {
                slug: state.slug.clone(),
                signature: state
                    .signature
                    .clone()
                    .unwrap_or_else(|| Signature(String::new())),
                failure,
            }]),
        },
        C::Claim { worker, lease_ms } => claim(state, at, worker, lease_ms),
        C::Heartbeat { worker, lease_ms } => {
            require_lease(lease_ms)?;
            require_holder(state, &worker, at)?;
            Ok(vec![Event::LeaseExtended {
                worker,
                until: at.plus_ms(lease_ms),
            }])
        }
        C::Release { worker, reason } => match state.status {
            S::Claimed | S::Proposed | S::Verified => {
                require_holder(state, &worker, at)?;
                Ok(vec![Event::MissionReleased { worker, reason }])
            }
            _ => Err(wrong(state, "released")),
        },
        C::Propose { worker, proposal } => {
            if state.status != S::Claimed {
                return Err(wrong(state, "given a proposal"));
            }
            require_holder(state, &worker, at)?;
            if proposal.changes.is_empty() {
                return Err(MissionRefusal::EmptyProposal);
            }
            Ok(vec![Event::FixProposed { worker, proposal }])
        }
        C::Judge {
            worker,
            verdict,
            needs_approval,
        } => {
            if state.status != S::Proposed {
                return Err(wrong(state, "judged"));
            }
            require_holder(state, &worker, at)?;
            if !verdict.holds {
                let reason = verdict.reason.clone();
                let mut events = vec![Event::FixTried { verdict }];
                events.extend(rejection(state, at, reason));
                return Ok(events);
            }
            let mut events = vec![Event::FixTried { verdict }, Event::FixVerified];
            if needs_approval {
                events.push(Event::ApprovalRequested);
            }
            Ok(events)
        }
        C::Approve { by } => match state.status {
            S::AwaitingApproval => Ok(vec![Event::FixApproved { by }]),
            _ => Err(wrong(state, "approved")),
        },
        C::AskAgain { verdict } => match state.status {
            S::Verified => Ok(vec![Event::FixTried { verdict }, Event::ApprovalRequested]),
            _ => Err(wrong(state, "put up for approval again")),
        },
        C::GiveUp { worker, reason } => match state.status {
            S::Claimed | S::Proposed | S::Verified => {
                require_holder(state, &worker, at)?;
                Ok(rejection(
                    state,
                    at,
                    format!("given up by {worker}: {reason}"),
                ))
            }
            _ => Err(wrong(state, "given up")),
        },
        C::Decline { by, reason } => match state.status {
            S::AwaitingApproval | S::Verified | S::Proposed | S::Claimed => {
                Ok(rejection(state, at, format!("declined by {by}: {reason}")))
            }
            _ => Err(wrong(state, "declined")),
        },
        C::StartPromotion { files, databases } => match state.status {
            S::Verified => Ok(vec![Event::PromotionStarted { files, databases }]),
            _ => Err(wrong(state, "promoted")),
        },
        C::FinishPromotion => match (state.status, &state.proposal) {
            (S::Promoting, Some(proposal)) => Ok(vec![Event::FixApplied {
                fixer: proposal.fixer.clone(),
                summary: proposal.summary.clone(),
            }]),
            _ => Err(wrong(state, "applied")),
        },
        C::UndoPromotion { reason } => match state.status {
            S::Promoting => {
                let mut events = vec![Event::PromotionUndone {
                    reason: reason.clone(),
                }];
                events.extend(rejection(state, at, reason));
                Ok(events)
            }
            _ => Err(wrong(state, "undone")),
        },
        C::RollBack { reason } => match state.status {
            S::Applied => {
                let mut events = vec![Event::FixRolledBack {
                    reason: reason.clone(),
                }];
                events.extend(rejection(state, at, reason));
                Ok(events)
            }
            _ => Err(wrong(state, "rolled back")),
        },
        C::Quarantine { reason } => match state.status {
            S::Closed | S::Quarantined | S::Promoting => Err(wrong(state, "quarantined")),
            _ => Ok(vec![Event::MissionQuarantined { reason }]),
        },
        C::Close { resolution } => match state.status {
            S::Closed | S::Promoting => Err(wrong(state, "closed")),
            _ => Ok(vec![Event::MissionClosed {
                slug: state.slug.clone(),
                resolution,
            }]),
        },
        C::Requeue { by } => match state.status {
            S::Quarantined | S::Rejected => Ok(vec![Event::MissionRequeued { by }]),
            _ => Err(wrong(state, "put back into the queue")),
        },
    }
}

fn claim(
    state: &MissionState,
    at: At,
    worker: String,
    lease_ms: u64,
) -> Result<Vec<Event>, MissionRefusal> {
    use MissionStatus as S;
    require_lease(lease_ms)?;
    let mut events = Vec::new();
    match state.status {
        S::Filed => {}
        S::Rejected if at >= state.not_before => {}
        S::Rejected => {
            return Err(MissionRefusal::TooEarly {
                until: state.not_before,
            });
        }
        S::Claimed | S::Proposed | S::Verified => match &state.lease {
            Some(lease) if at < lease.until => {
                return Err(MissionRefusal::Held {
                    holder: lease.worker.clone(),
                    until: lease.until,
                });
            }
            Some(lease) => events.push(Event::LeaseExpired {
                worker: lease.worker.clone(),
            }),
            None => {}
        },
        _ => return Err(wrong(state, "claimed")),
    }
    if state.attempts >= MISSION_ATTEMPTS_MAX {
        events.push(Event::MissionQuarantined {
            reason: format!("claimed {} times without a fix that holds", state.attempts),
        });
    } else {
        events.push(Event::MissionClaimed {
            worker,
            until: at.plus_ms(lease_ms),
        });
    }
    Ok(events)
}

/// The state after `event`, which belongs to this mission. Events of other kinds change nothing.
#[must_use]
pub fn evolve(
    mut state: MissionState,
    at: At,
    boot: Option<BootId>,
    event: &Event,
) -> MissionState {
    use MissionStatus as S;
    match event {
        Event::MissionFiled {
            mission,
            slug,
            signature,
            failure,
        } => {
            state = MissionState {
                id: Some(*mission),
                signature: Some(signature.clone()),
                slug: slug.clone(),
                boot,
                status: S::Filed,
                failure: Some(failure.clone()),
                filed_at: at,
                not_before: at,
                ..MissionState::default()
            };
        }
        Event::MissionRecurred { failure, .. } => {
            state.recurrences += 1;
            state.failure = Some(failure.clone());
            if state.status == S::Applied {
                // The fix did not hold: the mission is open again.
                if let Some(proposal) = &state.proposal {
                    state.fixers_failed.push(proposal.fixer.clone());
                }
                state.status = S::Filed;
                state.reason = "the failure came back after the fix".to_owned();
            }
        }
        Event::MissionClaimed { worker, until } => {
            state.status = S::Claimed;
            state.attempts += 1;
            state.lease = Some(Lease {
                worker: worker.clone(),
                until: *until,
            });
        }
        Event::LeaseExtended { worker, until } => {
            state.lease = Some(Lease {
                worker: worker.clone(),
                until: *until,
            });
        }
        Event::LeaseExpired { .. } => state.lease = None,
        Event::MissionReleased { reason, .. } => {
            state.status = S::Filed;
            // A mission given back untouched was not an attempt at it.
            state.attempts = state.attempts.saturating_sub(1);
            state.lease = None;
            state.reason = reason.clone();
        }
        Event::FixProposed { proposal, .. } => {
            state.status = S::Proposed;
            state.proposal = Some(proposal.clone());
        }
        Event::FixTried { verdict }
            if state
                .proposal
                .as_ref()
                .is_some_and(Proposal::runs_migrations) =>
        {
            state.reason.clone_from(&verdict.reason);
        }
        Event::FixVerified => state.status = S::Verified,
        Event::ApprovalRequested => {
            state.status = S::AwaitingApproval;
            state.lease = None;
            state.reason = match &state.proposal {
                // What migrations do is known from the trial alone.
                Some(proposal) if proposal.runs_migrations() => format!(
                    "proved, and waits for approval: {} ({})",
                    proposal.summary, state.reason
                ),
                Some(proposal) => format!("proved, and waits for approval: {}", proposal.summary),
                None => String::new(),
            };
        }
        Event::FixApproved { .. } => state.status = S::Verified,
        Event::FixRejected { reason, retry_at } => {
            state.status = S::Rejected;
            state.lease = None;
            state.not_before = *retry_at;
            state.reason = reason.clone();
            if let Some(proposal) = &state.proposal {
                state.fixers_failed.push(proposal.fixer.clone());
            }
        }
        Event::PromotionStarted { .. } => state.status = S::Promoting,
        Event::FixApplied { summary, .. } => {
            state.status = S::Applied;
            state.lease = None;
            state.reason = summary.clone();
        }
        Event::MissionQuarantined { reason } => {
            state.status = S::Quarantined;
            state.lease = None;
            state.reason = reason.clone();
        }
        Event::MissionRequeued { .. } => {
            state.status = S::Filed;
            state.attempts = 0;
            state.not_before = at;
            state.fixers_failed.clear();
        }
        Event::MissionClosed { resolution, .. } => {
            state.status = S::Closed;
            state.lease = None;
            state.reason = resolution.clone();
        }
        _ => return state,
    }
    state.updated_at = at;
    state
}

#[cfg(test)]
mod tests;
