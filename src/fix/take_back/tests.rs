//! Promotions that are taken back: by the system, by a person, and after a crash in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::promote::{PromotionPlace, promote};
use super::super::trial::{Databases, Trial};
use super::*;
use crate::domain::event::Verdict;
use crate::domain::finding::{CheckName, Finding, Severity};
use crate::domain::ids::Signature;
use crate::domain::mission::{Change, Failure, MissionStatus, Proposal, Risk};
use crate::fix::database::{apply_statements, definitions_digest};
use crate::log::Log;

struct Place {
    dir: tempfile::TempDir,
    missions: Missions,
}

fn verdict() -> Verdict {
    Verdict {
        holds: true,
        reason: "it works".into(),
        checks: vec![],
        isolation: vec![],
        duration_ms: 1,
    }
}

impl Place {
    fn new() -> Self {
        Self::on_disk_that_fills(Arc::default())
    }

    fn on_disk_that_fills(is_full: Arc<AtomicBool>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join(".ubs");
        fs::create_dir(&state_dir).unwrap();
        let log = Log::open_on_disk_that_fills(&state_dir.join("log.db"), is_full).unwrap();
        let missions = Missions::new(log);
        Self { dir, missions }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join(".ubs")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).unwrap()
    }

    /// A fix that was approved and applied.
    fn apply(&self, name: &str, changes: Vec<Change>) -> Fix {
        let finding = Finding::new("config.missing", Severity::Critical, name, "missing");
        let filed = self
            .missions
            .file(
                Signature(name.into()),
                Failure::of_finding(CheckName::Config, &finding),
            )
            .unwrap();
        let id = filed.id.unwrap();
        let proposal = Proposal {
            fixer: "ann".into(),
            summary: name.into(),
            risk: Risk::Additive,
            changes,
        };
        let worker = || "ann".to_owned();
        for command in [
            MissionCommand::Claim {
                worker: worker(),
                lease_ms: 60_000,
            },
            MissionCommand::Propose {
                worker: worker(),
                proposal: proposal.clone(),
            },
            MissionCommand::Judge {
                worker: worker(),
                verdict: verdict(),
                needs_approval: false,
            },
        ] {
            self.missions.command(id, command).unwrap();
        }
        let mut trial = Trial {
            verdict: verdict(),
            definitions: std::collections::BTreeMap::new(),
            migrated: std::collections::BTreeMap::new(),
            servers: std::collections::BTreeMap::new(),
            wheels: None,
            risk: Risk::Additive,
            side_effects: vec![],
            doubts: vec![],
        };
        let mut databases = Databases::default();
        let database = self.root().join("app.db");
        if database.exists() {
            let copy = self.root().join("copy.db");
            fs::copy(&database, &copy).unwrap();
            for change in &proposal.changes {
                if let Change::Sql { statements, .. } = change {
                    apply_statements(&copy, statements, Risk::Additive).unwrap();
                }
            }
            trial
                .definitions
                .insert("main".into(), definitions_digest(&copy).unwrap());
            databases.files.insert("main".into(), database);
        }
        let place = PromotionPlace {
            workspace: self.root(),
            state_dir: &self.state_dir(),
            missions: &self.missions,
        };
        promote(place, id, &proposal, &databases, trial).unwrap();
        last_fix(&self.missions, id).unwrap().unwrap()
    }

    fn write(&self, path: &str, text: &str) -> Change {
        let before = fs::read(self.root().join(path)).ok();
        Change::Write {
            path: path.into(),
            before: before.map(|bytes| Digest::of(&bytes)),
            text: text.into(),
        }
    }

    fn undo(&self, fix: &Fix) -> Result<String, PromoteError> {
        undo_fix(
            self.root(),
            &self.state_dir(),
            &self.missions,
            fix,
            "bob",
            "as asked",
        )
    }

    fn status(&self, fix: &Fix) -> FixStatus {
        let last = last_fix(&self.missions, fix.mission).unwrap();
        last.unwrap().status
    }

    fn has_journal(&self, fix: &Fix) -> bool {
        Journal::of(&self.state_dir(), fix.mission)
            .read()
            .unwrap()
            .is_some()
    }
}

#[test]
fn a_person_undoes_a_fix_of_a_closed_mission_and_it_is_not_made_anew() {
    let place = Place::new();
    fs::write(place.root().join("a.py"), "old\n").unwrap();
    let fix = place.apply(
        "one",
        vec![place.write("a.py", "new\n"), place.write("b.py", "made\n")],
    );
    assert_eq!(place.read("a.py"), "new\n");
    let close = MissionCommand::Close {
        resolution: "stable".into(),
    };
    place.missions.command(fix.mission, close).unwrap();
    forget_if_settled(&place.state_dir(), &place.missions, fix.mission).unwrap();
    place.undo(&fix).unwrap();
    assert_eq!(place.read("a.py"), "old\n");
    assert!(!place.root().join("b.py").exists());
    assert_eq!(place.status(&fix), FixStatus::Undone);
    assert!(!place.has_journal(&fix));
    let mission = place.missions.get(fix.mission).unwrap();
    assert_eq!(mission.status, MissionStatus::Quarantined);
    let again = place.undo(&fix).unwrap_err().to_string();
    assert!(again.contains("undone already"), "{again}");
}

#[test]
fn a_fix_on_which_something_stands_is_not_undone() {
    let place = Place::new();
    fs::write(place.root().join("a.py"), "old\n").unwrap();
    let first = place.apply("one", vec![place.write("a.py", "new\n")]);
    let second = place.apply("two", vec![place.write("a.py", "newer\n")]);
    let refused = place.undo(&first).unwrap_err().to_string();
    assert!(refused.contains("the later fix"), "{refused}");
    assert!(refused.contains("undo that one first"), "{refused}");
    fs::write(place.root().join("a.py"), "by hand\n").unwrap();
    let refused = place.undo(&second).unwrap_err().to_string();
    assert!(refused.contains("a.py was changed since"), "{refused}");
    assert_eq!(place.read("a.py"), "by hand\n");
    // Newest first, each is as it was before it.
    fs::write(place.root().join("a.py"), "newer\n").unwrap();
    place.undo(&second).unwrap();
    place.undo(&first).unwrap();
    assert_eq!(place.read("a.py"), "old\n");
}

#[test]
fn a_blessed_fix_stays_and_what_was_kept_of_it_goes() {
    let place = Place::new();
    let fix = place.apply("one", vec![place.write("a.py", "new\n")]);
    let waiting = fixes_on_probation(&place.state_dir(), &place.missions).unwrap();
    assert_eq!(waiting.len(), 1);
    bless(&place.state_dir(), &place.missions, fix.mission, 300_000).unwrap();
    assert!(!place.has_journal(&fix));
    assert_eq!(place.status(&fix), FixStatus::Blessed);
    let refused = place.undo(&fix).unwrap_err().to_string();
    assert!(refused.contains("blessed since"), "{refused}");
    assert_eq!(place.read("a.py"), "new\n");
}

fn rows(place: &Place, sql: &str) -> rusqlite::Result<i64> {
    let database = rusqlite::Connection::open(place.root().join("app.db"))?;
    database.query_row(sql, [], |row| row.get(0))
}

#[test]
fn a_database_comes_back_from_its_backup_only_if_nobody_has_written_since() {
    for written in [false, true] {
        let place = Place::new();
        let database = rusqlite::Connection::open(place.root().join("app.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1);",
            )
            .unwrap();
        drop(database);
        let sql = Change::Sql {
            schema: "main".into(),
            statements: vec!["CREATE TABLE events (id INTEGER PRIMARY KEY)".into()],
        };
        let fix = place.apply("one", vec![sql]);
        assert_eq!(rows(&place, "SELECT count(*) FROM events").unwrap(), 0);
        if written {
            let database = rusqlite::Connection::open(place.root().join("app.db")).unwrap();
            database
                .execute("INSERT INTO users VALUES (2)", [])
                .unwrap();
        }
        let said = roll_back(
            place.root(),
            &place.state_dir(),
            &place.missions,
            fix.mission,
            "the next boot was worse",
        )
        .unwrap();
        let is_left = rows(&place, "SELECT count(*) FROM events").is_ok();
        assert_eq!(is_left, written, "{said}");
        assert_eq!(said.contains("it was written to since"), written, "{said}");
        assert_eq!(
            said.contains("database main is as it was"),
            !written,
            "{said}"
        );
        let kept = rows(&place, "SELECT count(*) FROM users").unwrap();
        assert_eq!(kept, if written { 2 } else { 1 });
    }
}

#[test]
fn a_crash_while_taking_back_is_finished_by_the_next_boot() {
    let place = Place::new();
    fs::write(place.root().join("a.py"), "old\n").unwrap();
    let fix = place.apply("one", vec![place.write("a.py", "new\n")]);
    let recover = || recover_take_backs(place.root(), &place.state_dir(), &place.missions);
    // Nothing was begun: nothing is taken back.
    recover().unwrap();
    assert_eq!(place.status(&fix), FixStatus::Probation);
    let journal = Journal::of(&place.state_dir(), fix.mission);
    let intent = TakeBack {
        by: None,
        why: "the next boot was worse".into(),
    };
    journal.intend(&intent).unwrap();
    undo_files(place.root(), &journal, &journal.read().unwrap().unwrap()).unwrap();
    recover().unwrap();
    assert_eq!(place.read("a.py"), "old\n");
    assert_eq!(place.status(&fix), FixStatus::TakenBack);
    assert!(!place.has_journal(&fix));
}

#[test]
fn a_crash_after_the_blessing_leaves_a_journal_that_the_next_look_removes() {
    let place = Place::new();
    let fix = place.apply("one", vec![place.write("a.py", "new\n")]);
    let bless = MissionCommand::Bless { healthy_ms: 1 };
    place.missions.command(fix.mission, bless).unwrap();
    assert!(place.has_journal(&fix));
    let waiting = fixes_on_probation(&place.state_dir(), &place.missions).unwrap();
    assert_eq!(waiting.len(), 0);
    assert!(!place.has_journal(&fix));
    assert_eq!(place.read("a.py"), "new\n");
}

#[test]
fn whoever_comes_second_takes_nothing_back() {
    let place = Place::new();
    let fix = place.apply("one", vec![place.write("a.py", "new\n")]);
    place.undo(&fix).unwrap();
    let events = || {
        let reader = place.missions.log().reader().unwrap();
        reader
            .events(crate::log::EventFilter::default())
            .unwrap()
            .count()
    };
    let before = events();
    let worse = roll_back(
        place.root(),
        &place.state_dir(),
        &place.missions,
        fix.mission,
        "it is worse",
    );
    assert!(worse.unwrap_err().to_string().contains("undone already"));
    assert!(place.undo(&fix).is_err());
    assert_eq!(events(), before, "nothing is logged of what was not done");
    assert_eq!(place.status(&fix), FixStatus::Undone);
}

#[test]
fn a_fix_is_taken_back_though_a_worker_holds_its_mission_again() {
    let place = Place::new();
    let claim = |fix: &Fix| {
        let failure = place.missions.get(fix.mission).unwrap().failure.unwrap();
        for command in [
            MissionCommand::Recur { failure },
            MissionCommand::Claim {
                worker: "eve".into(),
                lease_ms: 60_000,
            },
        ] {
            place.missions.command(fix.mission, command).unwrap();
        }
    };
    let undone = place.apply("one", vec![place.write("a.py", "new\n")]);
    claim(&undone);
    place.undo(&undone).unwrap();
    let rolled = place.apply("two", vec![place.write("b.py", "new\n")]);
    claim(&rolled);
    roll_back(
        place.root(),
        &place.state_dir(),
        &place.missions,
        rolled.mission,
        "worse",
    )
    .unwrap();
    for (fix, status) in [
        (&undone, FixStatus::Undone),
        (&rolled, FixStatus::TakenBack),
    ] {
        assert_eq!(place.status(fix), status);
        assert!(!place.has_journal(fix));
        let state = place.missions.get(fix.mission).unwrap();
        assert_eq!(state.lease.unwrap().worker, "eve");
    }
    assert!(!place.root().join("a.py").exists() && !place.root().join("b.py").exists());
}

#[test]
fn a_log_that_fills_while_a_fix_is_taken_back_delays_the_end_of_it_and_no_blessing_comes_between() {
    let is_full = Arc::new(AtomicBool::new(false));
    let place = Place::on_disk_that_fills(Arc::clone(&is_full));
    fs::write(place.root().join("a.py"), "old\n").unwrap();
    let fix = place.apply("one", vec![place.write("a.py", "new\n")]);
    is_full.store(true, Ordering::SeqCst);
    assert!(place.undo(&fix).is_err());
    assert!(is_going(&place.state_dir(), fix.mission));
    is_full.store(false, Ordering::SeqCst);
    let blessed = bless(&place.state_dir(), &place.missions, fix.mission, 1).unwrap();
    assert!(!blessed, "its files are gone");
    recover_take_backs(place.root(), &place.state_dir(), &place.missions).unwrap();
    assert_eq!(place.read("a.py"), "old\n");
    assert_eq!(place.status(&fix), FixStatus::Undone);
    assert!(!place.has_journal(&fix));
}

#[test]
fn the_journal_of_a_promotion_that_never_began_goes_once_nobody_holds_its_mission() {
    let place = Place::new();
    let finding = Finding::new("config.missing", Severity::Critical, "x", "missing");
    let failure = Failure::of_finding(CheckName::Config, &finding);
    let filed = place.missions.file(Signature("x".into()), failure).unwrap();
    let id = filed.id.unwrap();
    let claim = MissionCommand::Claim {
        worker: "ann".into(),
        lease_ms: 60_000,
    };
    place.missions.command(id, claim).unwrap();
    let directory = place.state_dir().join("journal").join(id.to_string());
    fs::create_dir_all(&directory).unwrap();
    fixes_on_probation(&place.state_dir(), &place.missions).unwrap();
    assert!(directory.exists(), "somebody may be writing it");
    let release = MissionCommand::Release {
        worker: "ann".into(),
        reason: "x".into(),
    };
    place.missions.command(id, release).unwrap();
    fixes_on_probation(&place.state_dir(), &place.missions).unwrap();
    assert!(!directory.exists());
}
