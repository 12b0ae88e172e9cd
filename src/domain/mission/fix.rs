//! A fix that is in the workspace, or was: who made it, what proved it, and where it stands.
//!
//! Folded from a mission's events alone, beside the mission's own state: a fix outlives its mission, which closes when
//! what failed is up, while the fix is on probation for longer.

use serde::Serialize;

use super::order::{Change, Proposal, Risk};
use crate::domain::event::{Event, FileChange, Verdict};
use crate::domain::ids::{At, BootId, MissionId, Seq, Signature};

/// Where a fix stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FixStatus {
    /// In the workspace, until the system has been healthy with it for long enough.
    Probation,
    /// In the workspace for good.
    Blessed,
    /// The system was worse with it.
    TakenBack,
    /// A person took it back.
    Undone,
}

impl FixStatus {
    /// The stable name, as in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Probation => "probation",
            Self::Blessed => "blessed",
            Self::TakenBack => "taken_back",
            Self::Undone => "undone",
        }
    }
}

/// A fix that was applied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Fix {
    /// The number of the event that says that it was applied.
    pub id: Seq,
    /// The mission it is for.
    pub mission: MissionId,
    /// What a person calls the mission.
    pub slug: String,
    /// Same cause, same signature.
    pub signature: Signature,
    /// What failed, in one sentence.
    pub failure: String,
    /// The layer that waited for it.
    pub layer: Option<String>,
    /// What made the proposal.
    pub fixer: String,
    /// The worker that proposed it.
    pub worker: String,
    /// Who approved it, if somebody had to.
    pub approved_by: Option<String>,
    /// One line.
    pub summary: String,
    /// What it may endanger.
    pub risk: Risk,
    /// What the trial showed.
    pub proof: Option<Verdict>,
    /// Files that it changed.
    pub files: Vec<FileChange>,
    /// Schemas whose database it changed.
    pub databases: Vec<String>,
    /// What was proposed; shown with the mission.
    #[serde(skip)]
    pub changes: Vec<Change>,
    /// When it was applied.
    pub applied_at: At,
    /// The boot in which it was applied; `None` between two boots.
    pub boot: Option<BootId>,
    /// Where it stands.
    pub status: FixStatus,
    /// Why it stands there.
    pub reason: String,
    /// Since when.
    pub since: At,
}

/// Folds the events of one mission into its fixes.
#[derive(Debug, Default)]
pub(crate) struct FixFold {
    fixes: Vec<Fix>,
    filed: Option<(MissionId, String, Signature)>,
    failure: (String, Option<String>),
    proposal: Option<(String, Proposal)>,
    approved_by: Option<String>,
    proof: Option<Verdict>,
    changed: (Vec<FileChange>, Vec<String>),
}

impl FixFold {
    /// Folds one event of the mission.
    pub(crate) fn see(&mut self, seq: Seq, at: At, boot: Option<BootId>, event: &Event) {
        match event {
            Event::MissionFiled {
                mission,
                slug,
                signature,
                failure,
            } => {
                self.filed = Some((*mission, slug.clone(), signature.clone()));
                self.failure = (failure.error.clone(), failure.layer.clone());
            }
            Event::MissionRecurred { failure, .. } => {
                self.failure = (failure.error.clone(), failure.layer.clone());
            }
            Event::FixProposed { worker, proposal } => {
                self.proposal = Some((worker.clone(), proposal.clone()));
                self.approved_by = None;
                self.proof = None;
            }
            Event::FixTried { verdict } => self.proof = Some(verdict.clone()),
            Event::FixApproved { by } => self.approved_by = Some(by.clone()),
            Event::PromotionStarted { files, databases } => {
                self.changed = (files.clone(), databases.clone());
            }
            Event::FixApplied { fixer, summary } => self.apply(seq, at, boot, fixer, summary),
            Event::FixBlessed { healthy_ms } => {
                let reason = format!(
                    "the system was healthy with it for {} s",
                    healthy_ms / 1_000
                );
                // Healthy with the newest is healthy with all of them.
                while self.settle(at, FixStatus::Blessed, &reason) {}
            }
            Event::FixRolledBack { reason } => {
                self.take_back(at, FixStatus::TakenBack, reason);
            }
            Event::FixUndone { by, reason } => {
                self.take_back(at, FixStatus::Undone, &format!("by {by}: {reason}"));
            }
            _ => {}
        }
    }

    fn apply(&mut self, seq: Seq, at: At, boot: Option<BootId>, fixer: &str, summary: &str) {
        let (Some((mission, slug, signature)), Some((worker, proposal))) =
            (&self.filed, &self.proposal)
        else {
            return;
        };
        let (files, databases) = std::mem::take(&mut self.changed);
        // Applied outside of a boot: it goes before that one can.
        if let Some(below) = top(&mut self.fixes) {
            below.reason = format!("fix {seq} was made on top of it");
            below.since = at;
        }
        self.fixes.push(Fix {
            id: seq,
            mission: *mission,
            slug: slug.clone(),
            signature: signature.clone(),
            failure: self.failure.0.clone(),
            layer: self.failure.1.clone(),
            fixer: fixer.to_owned(),
            worker: worker.clone(),
            approved_by: self.approved_by.clone(),
            summary: summary.to_owned(),
            risk: proposal.risk,
            proof: self.proof.clone(),
            files,
            databases,
            changes: proposal.changes.clone(),
            applied_at: at,
            boot,
            status: FixStatus::Probation,
            reason: String::new(),
            since: at,
        });
    }

    /// False if none is on probation.
    fn settle(&mut self, at: At, status: FixStatus, reason: &str) -> bool {
        let Some(fix) = top(&mut self.fixes) else {
            return false;
        };
        fix.status = status;
        fix.reason = reason.to_owned();
        fix.since = at;
        true
    }

    fn take_back(&mut self, at: At, status: FixStatus, reason: &str) {
        let Some(id) = top(&mut self.fixes).map(|fix| fix.id) else {
            return;
        };
        self.settle(at, status, reason);
        if let Some(below) = top(&mut self.fixes) {
            below.reason = format!("fix {id}, which was made on top of it, was taken back");
            below.since = at;
        }
    }

    /// The mission's fixes, oldest first.
    pub(crate) fn fixes(self) -> Vec<Fix> {
        self.fixes
    }
}

/// The newest one on probation: only that one can be taken back.
fn top(fixes: &mut [Fix]) -> Option<&mut Fix> {
    let mut newest_first = fixes.iter_mut().rev();
    newest_first.find(|fix| fix.status == FixStatus::Probation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{CheckName, Finding, Severity};
    use crate::domain::mission::{Failure, MissionCommand, MissionState, decide, evolve};

    struct Life(MissionState, FixFold, u64);

    impl Life {
        fn begin() -> Self {
            let mut life = Self(MissionState::default(), FixFold::default(), 0);
            let finding = Finding::new("schema.missing_table", Severity::Critical, "t", "missing");
            let failure = Failure::of_finding(CheckName::Schema, &finding);
            life.give(MissionCommand::File {
                id: MissionId(uuid::Uuid::from_u128(7)),
                signature: Signature("s".into()),
                failure,
            });
            life
        }

        fn give(&mut self, command: MissionCommand) {
            self.2 += 60_000_000;
            let at = At(i64::try_from(self.2).unwrap());
            let events = decide(&self.0, at, command).unwrap();
            for event in events {
                self.2 += 1;
                self.1.see(Seq(self.2), at, None, &event);
                self.0 = evolve(std::mem::take(&mut self.0), at, None, &event);
            }
        }

        fn heal(&mut self) {
            let worker = || "ann".to_owned();
            self.give(MissionCommand::Claim {
                worker: worker(),
                lease_ms: 600_000,
            });
            self.give(MissionCommand::Propose {
                worker: worker(),
                proposal: Proposal {
                    fixer: "agent".into(),
                    summary: "bring it".into(),
                    risk: Risk::Open,
                    changes: vec![Change::SetVariable {
                        path: ".env".into(),
                        name: "A".into(),
                        value: "1".into(),
                    }],
                },
            });
            self.give(MissionCommand::Judge {
                worker: worker(),
                verdict: Verdict {
                    holds: true,
                    reason: "it works".into(),
                    checks: vec![],
                    isolation: vec![],
                    duration_ms: 1,
                },
                needs_approval: true,
            });
            self.give(MissionCommand::Approve { by: "bob".into() });
            self.give(MissionCommand::StartPromotion {
                files: vec![],
                databases: vec!["main".into()],
            });
            self.give(MissionCommand::FinishPromotion);
        }
    }

    #[test]
    fn a_fix_outlives_its_mission_and_says_who_made_it_and_what_proved_it() {
        let mut life = Life::begin();
        life.heal();
        life.give(MissionCommand::Close {
            resolution: "its layer is stable".into(),
        });
        life.give(MissionCommand::Bless {
            healthy_ms: 300_000,
        });
        assert_eq!(life.0.status.as_str(), "closed");
        let fixes = life.1.fixes();
        assert_eq!(fixes.len(), 1);
        let fix = &fixes[0];
        assert_eq!(fix.status, FixStatus::Blessed);
        assert_eq!((fix.worker.as_str(), fix.fixer.as_str()), ("ann", "agent"));
        assert_eq!(fix.approved_by.as_deref(), Some("bob"));
        assert_eq!(fix.proof.as_ref().unwrap().reason, "it works");
        assert_eq!(fix.databases, ["main"]);
    }

    #[test]
    fn a_closed_mission_whose_fix_is_taken_back_is_open_again_and_knows_which_fixer_failed() {
        let mut life = Life::begin();
        life.heal();
        life.give(MissionCommand::Close {
            resolution: "its layer is stable".into(),
        });
        life.give(MissionCommand::RollBack {
            reason: "the next boot was worse".into(),
        });
        assert_eq!(life.0.status.as_str(), "rejected");
        assert_eq!(life.0.fixers_failed, ["agent"]);
        assert_eq!(life.1.fixes()[0].status, FixStatus::TakenBack);
    }

    #[test]
    fn what_a_person_undoes_is_not_made_anew() {
        let mut life = Life::begin();
        life.heal();
        life.give(MissionCommand::Undo {
            by: "bob".into(),
            reason: "not like this".into(),
        });
        assert_eq!(life.0.status.as_str(), "quarantined");
        assert_eq!(life.0.fixers_failed, ["agent"]);
        let refused = decide(
            &life.0,
            At(1 << 40),
            MissionCommand::Bless { healthy_ms: 1 },
        );
        assert!(refused.is_err());
        assert_eq!(life.1.fixes()[0].status, FixStatus::Undone);
    }
}
