//! Backup, export and import, pruning.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Two boots that ended, one of them with a mission that is closed, and what follows.
fn a_log(path: &std::path::Path) -> Log {
    let log = Log::open(path).unwrap();
    for n in 1..=2_u8 {
        let (boot, at) = (boot_id(n.into()), i64::from(n) * 1_000);
        log.append(vec![
            of_boot(boot, at, boot_started("grace")),
            of_boot(boot, at + 1, Event::BootUp { degraded: false }),
            of_boot(boot, at + 2, Event::BootStopped),
            NewEvent {
                at: At(at + 3),
                ..note("between")
            },
        ])
        .unwrap();
    }
    log
}

/// As `ubs log export` writes it.
fn export(reader: &Reader) -> String {
    let mut text = String::new();
    reader
        .export(|recorded, frame| -> Result<(), LogError> {
            let hex = frame
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>();
            let line = serde_json::json!({
                "seq": recorded.seq, "event_id": recorded.id, "boot_id": recorded.boot,
                "mission_id": recorded.mission, "kind": recorded.kind, "version": recorded.version,
                "at": recorded.at, "chain": recorded.chain, "frame": hex,
            });
            writeln!(text, "{line}").unwrap();
            Ok(())
        })
        .unwrap();
    text
}

#[test]
fn a_backup_is_the_log_of_one_moment_and_overwrites_nothing() {
    let (dir, path) = place();
    let log = a_log(&path);
    let to = dir.path().join("copy.db");
    let reader = log.reader().unwrap();
    reader.backup(&to).unwrap();
    log.append(vec![note("later")]).unwrap();
    assert_sound(&to, 8);
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let error = reader.backup(&to).unwrap_err().to_string();
    assert!(error.contains("cannot overwrite"), "{error}");
    assert_sound(&to, 8);
    std::fs::write(dir.path().join("other.db-wal"), "x").unwrap();
    assert!(reader.backup(&dir.path().join("other.db")).is_err());
}

#[test]
fn an_export_is_imported_as_it_was_or_not_at_all() {
    let (dir, path) = place();
    let log = a_log(&path);
    let text = export(&log.reader().unwrap());
    let file = dir.path().join("export");
    let into = dir.path().join("other/log.db");
    let other = Log::open(&into).unwrap();
    let wrong = [
        (
            text.replacen("\"at\":\"1970", "\"at\":\"1971", 1),
            "line 1: event 1 (boot_started) does not fit the chain",
        ),
        (
            text.lines().skip(1).map(|l| format!("{l}\n")).collect(),
            "event 2 follows, and 1 is next",
        ),
        (
            text.replacen("\"frame\":\"", "\"frame\":\"z", 1),
            "its frame is not hexadecimal",
        ),
        (
            text.replacen("\"frame\"", "\"was\"", 1),
            "an older ubs exported it",
        ),
        (
            format!("{text}eve\n"),
            "line 9: it is no event of an export",
        ),
    ];
    for (text, expected) in wrong {
        std::fs::write(&file, text).unwrap();
        let error = other.import(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(other.reader().unwrap().head().unwrap(), Seq(0));
    }
    std::fs::write(&file, &text).unwrap();
    let (events, head) = other.import(&file).unwrap();
    let verified = log.reader().unwrap().verify().unwrap();
    assert_eq!((events, head), (8, verified.head));
    assert_sound(&into, 8);
    assert_eq!(projections(&into), projections(&path));
    let error = other.import(&file).unwrap_err().to_string();
    assert!(error.contains("has events already"), "{error}");
    assert_eq!(other.append(vec![note("goes on")]).unwrap(), [Seq(9)]);
    assert_sound(&into, 9);
}

#[test]
fn what_is_pruned_leaves_an_anchor_and_a_log_that_is_whole() {
    let (dir, path) = place();
    let log = a_log(&path);
    let reader = log.reader().unwrap();
    // The newest boot stays, however old.
    let pruned = log.prune(At(i64::MAX), None, vec![]).unwrap();
    assert_eq!((pruned.events, pruned.left), (4, 5));
    assert_eq!(
        pruned.held_by.unwrap(),
        "the newest boot, which begins with event 5"
    );
    assert_sound(&path, 5);
    assert_eq!(reader.boots(9).unwrap().len(), 1);
    assert_eq!(
        Replay::verified(&reader, boot_id(2), EventFilter::default())
            .unwrap()
            .count(),
        3
    );
    assert_eq!(reader.chain_problem().unwrap(), None);
    // An export of it is imported, and the chain goes on.
    let file = dir.path().join("export");
    std::fs::write(&file, export(&reader)).unwrap();
    let into = dir.path().join("other/log.db");
    Log::open(&into).unwrap().import(&file).unwrap();
    assert_sound(&into, 5);
    // What was not pruned and is missing is found all the same.
    drop((reader, log));
    change_behind_our_back(&path, "DELETE FROM events WHERE seq = 5");
    let problems = Reader::open(&path).unwrap().verify().unwrap().problems;
    assert_eq!(problems[0], "event 5 is missing");
}

#[test]
fn what_is_open_or_good_is_never_pruned() {
    let (_dir, path) = place();
    let log = a_log(&path);
    let filed = NewEvent {
        mission: Some(mission_id(1)),
        ..of_boot(
            boot_id(2),
            2_500,
            Event::MissionFiled {
                mission: mission_id(1),
                slug: "m".into(),
                signature: signature("s"),
                failure: failure("x"),
            },
        )
    };
    log.append(vec![
        filed,
        of_boot(boot_id(3), 3_000, boot_started("grace")),
    ])
    .unwrap();
    // The mission belongs to boot 2, which is therefore kept whole.
    let pruned = log.prune(At(2_900), None, vec![]).unwrap();
    assert_eq!(pruned.events, 4);
    assert!(pruned.held_by.unwrap().starts_with("an open mission"));
    assert_sound(&path, 7);
    let (_dir, path) = place();
    let log = a_log(&path);
    let kept = log.prune(At(1_900), Some(boot_id(1).0), vec![]).unwrap();
    assert_eq!((kept.events, kept.left), (0, 8));
    assert_eq!(
        kept.held_by.unwrap(),
        "the last good boot, which begins with event 1"
    );
}

#[test]
fn what_is_pruned_gives_its_room_back_while_the_log_is_open_and_a_fix_on_probation_keeps_its_story()
{
    let (_dir, path) = place();
    let log = a_log(&path);
    let mission = mission_id(1);
    let of_mission = |at, event| NewEvent {
        mission: Some(mission),
        ..of_boot(boot_id(1), at, event)
    };
    log.append(vec![
        of_mission(
            2_500,
            Event::MissionFiled {
                mission,
                slug: "m".into(),
                signature: signature("s"),
                failure: failure("x"),
            },
        ),
        of_mission(
            2_501,
            Event::MissionClosed {
                slug: "m".into(),
                resolution: "gone".into(),
            },
        ),
    ])
    .unwrap();
    let long: Vec<_> = (0..2_000)
        .map(|_| NewEvent {
            at: At(2_600),
            ..note(&"x".repeat(500))
        })
        .collect();
    log.append(long).unwrap();
    log.append(vec![of_boot(boot_id(3), 3_000, boot_started("grace"))])
        .unwrap();
    let kept = log.prune(At(2_900), None, vec![mission.0]).unwrap();
    assert!(
        kept.held_by.unwrap().starts_with("a fix on probation"),
        "its events are needed to bless it or to take it back"
    );
    let pruned = log.prune(At(2_900), None, vec![]).unwrap();
    assert!(pruned.events > 2_000);
    compact(&path).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 300_000, "{bytes} bytes are left");
    log.append(vec![note("later")]).unwrap();
    assert_sound(&path, pruned.left + 1);
}

#[test]
fn what_is_no_file_with_events_is_not_imported() {
    let (dir, path) = place();
    let log = Log::open(&path).unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (file, why) in [
        (empty.as_path(), "holds no event"),
        (pipe.as_path(), "no regular file"),
        (dir.path(), "no regular file"),
    ] {
        let error = log.import(file).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert_sound(&path, 0);
}
