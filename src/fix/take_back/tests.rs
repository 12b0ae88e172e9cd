//! Promotions that are taken back: by the system, by a person, and after a crash in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::promote::{PromotionPlace, finish_promotion, promote};
use super::super::trial::{Databases, Trial};
use super::*;
use crate::domain::event::Verdict;
use crate::domain::finding::{CheckName, Finding, Severity};
use crate::domain::ids::Signature;
use crate::domain::mission::{Change, Failure, MissionStatus, Proposal, Risk};
use crate::fix::database::{apply_statements, definitions_digest};
use crate::kernel::{DiskFault, FaultyDisk};
use crate::log::Log;

struct Place {
    dir: tempfile::TempDir,
    missions: Missions,
    _disk: FaultyDisk,
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
        Self::on_disk(move || is_full.load(Ordering::SeqCst))
    }

    /// The disk of the log is asked before each operation whether it is full.
    fn on_disk(mut is_full: impl FnMut() -> bool + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().canonicalize().unwrap().join(".ubs");
        fs::create_dir(&state_dir).unwrap();
        let disk = FaultyDisk::at(&state_dir, 1);
        let log = Log::open(&state_dir.join("log.db")).unwrap();
        disk.fail_when(move |_| is_full().then_some(DiskFault::Full));
        let missions = Missions::new(log);
        Self {
            dir,
            missions,
            _disk: disk,
        }
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

    /// A fix that was approved and applied; a further one, if the name had one already.
    fn apply(&self, name: &str, changes: Vec<Change>) -> Fix {
        self.try_to_apply_after(name, changes, || ()).unwrap()
    }

    /// `proved` is called right before the promotion.
    fn try_to_apply_after(
        &self,
        name: &str,
        changes: Vec<Change>,
        proved: impl FnOnce(),
    ) -> Result<Fix, PromoteError> {
        let finding = Finding::new("config.missing", Severity::Critical, name, "missing");
        let filed = self
            .missions
            .file(
                Signature(name.into()),
                Failure::of_finding(CheckName::Config, &finding),
            )
            .unwrap();
        let id = filed.id.unwrap();
        if filed.status == MissionStatus::Applied {
            let failure = filed.failure.unwrap();
            let recur = MissionCommand::Recur { failure };
            self.missions.command(id, recur).unwrap();
        }
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
        proved();
        promote(place, id, &proposal, &databases, trial, None)?;
        Ok(last_fix(&self.missions, id).unwrap().unwrap())
    }

    fn events(&self) -> usize {
        let reader = self.missions.log().reader().unwrap();
        let all = reader.events(crate::log::EventFilter::default());
        all.unwrap().count()
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
        let reader = self.missions.log().reader().unwrap();
        let below = on_probation(&reader, fix.mission).unwrap().len();
        Journal::of(&self.state_dir(), fix.mission, below.saturating_sub(1))
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
fn a_second_fix_of_a_mission_leaves_the_first_what_takes_it_back() {
    let place = Place::new();
    fs::write(place.root().join("a.py"), "old\n").unwrap();
    fs::write(place.root().join(".env"), "KEY=one\n").unwrap();
    let set = |value: &str| Change::SetVariable {
        path: ".env".into(),
        name: "KEY".into(),
        value: value.into(),
    };
    let first = place.apply("one", vec![place.write("a.py", "new\n"), set("two")]);
    let second = place.apply("one", vec![place.write("a.py", "newer\n"), set("three")]);
    assert_eq!(first.mission, second.mission);
    let kept = fs::read_dir(place.state_dir().join("replaced")).unwrap();
    assert_eq!(kept.count(), 2, "both values of before");
    let refused = place.undo(&first).unwrap_err().to_string();
    let wanted = format!("fix {} of the same mission", second.id);
    assert!(refused.contains(&wanted), "{refused}");
    place.undo(&second).unwrap();
    assert_eq!(place.read("a.py"), "new\n");
    let again = place.undo(&second).unwrap_err().to_string();
    assert!(again.contains("undone already"), "{again}");
    // A third one takes the place of the second.
    let third = Change::Write {
        path: "b.py".into(),
        before: None,
        text: "made\n".into(),
    };
    let requeue = MissionCommand::Requeue { by: "bob".into() };
    place.missions.command(first.mission, requeue).unwrap();
    let third = place.apply("one", vec![third]);
    for why in ["worse", "still worse"] {
        let (root, state_dir) = (place.root(), place.state_dir());
        roll_back(root, &state_dir, &place.missions, first.mission, why).unwrap();
    }
    assert_eq!(place.read("a.py"), "old\n");
    assert_eq!(place.read(".env"), "KEY=one\n");
    assert!(!place.root().join("b.py").exists());
    let statuses: Vec<_> = fixes_of(&place.missions, third.mission).unwrap();
    let statuses: Vec<_> = statuses.iter().map(|fix| fix.status).collect();
    let [undone, taken] = [FixStatus::Undone, FixStatus::TakenBack];
    assert_eq!(statuses, [taken, undone, taken]);
    assert_eq!(Journal::kept(&place.state_dir()).unwrap(), []);
}

#[test]
fn fixes_of_one_mission_are_blessed_together() {
    let place = Place::new();
    let first = place.apply("one", vec![place.write("a.py", "new\n")]);
    let second = place.apply("one", vec![place.write("a.py", "newer\n")]);
    let waiting = fixes_on_probation(&place.state_dir(), &place.missions).unwrap();
    let ids: Vec<_> = waiting.iter().map(|fix| fix.id).collect();
    assert_eq!(ids, [second.id]);
    bless(&place.state_dir(), &place.missions, first.mission, 300_000).unwrap();
    let fixes = fixes_of(&place.missions, first.mission).unwrap();
    assert!(fixes.iter().all(|fix| fix.status == FixStatus::Blessed));
    assert_eq!(Journal::kept(&place.state_dir()).unwrap(), []);
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
    let journal = Journal::of(&place.state_dir(), fix.mission, 0);
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
    let before = place.events();
    let worse = roll_back(
        place.root(),
        &place.state_dir(),
        &place.missions,
        fix.mission,
        "it is worse",
    );
    assert!(worse.unwrap_err().to_string().contains("undone already"));
    assert!(place.undo(&fix).is_err());
    assert_eq!(
        place.events(),
        before,
        "nothing is logged of what was not done"
    );
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

/// The disk of the log is full for good from operation `n` of a promotion on, and then works again.
fn promote_with_trouble_at(n: u64) -> bool {
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let count = Arc::clone(&left);
    let place = Place::on_disk(move || {
        let step = |left: u64| (left != u64::MAX).then(|| left.saturating_sub(1));
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) == Ok(0)
    });
    fs::write(place.root().join("a.py"), "old\n").unwrap();
    let file = place.root().join("app.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    let users = "CREATE TABLE users (id INTEGER PRIMARY KEY);";
    database.execute_batch(users).unwrap();
    drop(database);
    let sql = Change::Sql {
        schema: "main".into(),
        statements: vec!["CREATE TABLE events (id INTEGER PRIMARY KEY)".into()],
    };
    // The trouble begins once the fix is proved.
    let begins = || left.store(n, Ordering::SeqCst);
    let tried = place.try_to_apply_after("one", vec![place.write("a.py", "new\n"), sql], begins);
    let is_whole = tried.is_ok();
    left.store(u64::MAX, Ordering::SeqCst);
    let mission = place.missions.open().unwrap()[0].id.unwrap();
    let status = || place.missions.get(mission).unwrap().status;
    if status() == MissionStatus::Promoting {
        let here = PromotionPlace {
            workspace: place.root(),
            state_dir: &place.state_dir(),
            missions: &place.missions,
        };
        let recovery = finish_promotion(here, mission, &std::collections::BTreeMap::new());
        assert!(recovery.unwrap().unwrap().finished, "write {n}");
    }
    // All of it or nothing, and the log knows which.
    let is_applied = status() == MissionStatus::Applied;
    assert!(is_applied || !is_whole, "write {n}");
    assert_eq!(place.read("a.py") == "new\n", is_applied, "write {n}");
    assert_eq!(
        rows(&place, "SELECT count(*) FROM events").is_ok(),
        is_applied,
        "write {n}"
    );
    let waiting = fixes_on_probation(&place.state_dir(), &place.missions).unwrap();
    assert_eq!(waiting.len(), usize::from(is_applied), "write {n}");
    let verified = place
        .missions
        .log()
        .reader()
        .unwrap()
        .chain_problem()
        .unwrap();
    assert!(verified.is_none(), "write {n}");
    is_whole
}

#[test]
fn a_promotion_during_which_the_log_fails_is_whole_or_nothing_once_it_works_again() {
    let whole = (0..).find(|n| promote_with_trouble_at(*n));
    // Two commits: frames of the write-ahead log, and a sync.
    assert!(whole.unwrap() >= 6, "{whole:?}");
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
