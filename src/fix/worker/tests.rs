//! What a worker does without a trial.

use super::*;
use crate::log::Log;

struct Place {
    dir: tempfile::TempDir,
    worker: Worker,
    mission: MissionId,
    failure: Failure,
}

const REQUIREMENT: &str = "flask==3.0";

/// A package is missing, and no Python can be found that would install it.
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::write(root.join("ubs.toml"), "[app]\nname = 'a'\n").unwrap();
    let manifest = Manifest::load(&root.join("ubs.toml")).unwrap();
    let state_dir = root.join(".ubs");
    std::fs::create_dir(&state_dir).unwrap();
    let missions = Missions::new(Log::open(&state_dir.join("log.db")).unwrap());
    let failure = Failure {
        fix: Some(Remedy::Packages {
            environment: "venv".into(),
            requirements: vec![REQUIREMENT.into()],
            vary: None,
            module: String::new(),
            what: "install flask".into(),
        }),
        ..crate::testing::reported_failure("web")
    };
    let filed = missions.file(Signature("a".into()), failure.clone());
    let mission = filed.unwrap().id.unwrap();
    let nowhere = root.join("nowhere").display().to_string();
    let process_env = BTreeMap::from([("PATH".to_owned(), nowhere)]);
    let worker = Worker::new("ubs", manifest, &state_dir, missions, process_env);
    Place {
        dir,
        worker,
        mission,
        failure,
    }
}

#[test]
fn only_what_the_fixer_of_packages_proposes_gets_exact_versions() {
    let mut place = place();
    let signature = Signature("a".into());
    let mut versions_of = |changes: Vec<Change>| {
        let proposal = Proposal {
            fixer: "playbook:a".into(),
            summary: "a".into(),
            risk: Risk::Guarded,
            changes,
        };
        let worker = &mut place.worker;
        let found = worker.with_versions(place.mission, &signature, &place.failure, proposal);
        found.unwrap().map(|proposal| proposal.changes)
    };
    let install = |version: &str| Change::Packages {
        environment: "venv".into(),
        install: vec![format!("flask=={version}")],
    };
    let run = Change::Run {
        command: vec!["make".into(), "packages".into()],
    };
    for changes in [
        vec![run.clone()],
        vec![install("2.0")],
        vec![install("3.0"), run],
    ] {
        assert_eq!(versions_of(changes.clone()), Ok(changes));
    }
    versions_of(vec![install("3.0")]).unwrap_err();
}

#[test]
fn a_search_that_is_cut_short_gives_its_mission_back() {
    let place = place();
    let worker = place
        .worker
        .clone()
        .cancelled_by(Arc::new(AtomicBool::new(true)));
    let worked = worker.work(place.mission).unwrap();
    assert_eq!(worked.outcome, HealOutcome::HeldElsewhere, "{worked:?}");
    let state = worker.missions.get(place.mission).unwrap();
    assert!(state.lease.is_none() && state.fixers_failed.is_empty());
    assert_eq!(
        place.worker.work(place.mission).unwrap().outcome,
        HealOutcome::NeedsPerson
    );
}

#[test]
fn a_place_that_cannot_be_changed_is_refused_before_a_trial() {
    let place = place();
    std::fs::write(place.dir.path().join("a.txt"), "").unwrap();
    let path = || "a.txt".to_owned();
    for change in [
        Change::AddMode {
            path: path(),
            bits: 0o077,
        },
        Change::MoveAside { path: path() },
    ] {
        let proposal = Proposal {
            fixer: "ann".into(),
            summary: "a".into(),
            risk: Risk::Edit,
            changes: vec![change],
        };
        let refused = place.worker.rehearse(place.mission, proposal).unwrap_err();
        assert!(matches!(refused, WorkError::Apply(_)), "{refused}");
    }
}
