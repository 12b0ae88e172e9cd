//! Golden frames: `schema/frames/vN/KIND.K.hex` are the bytes, `.json` what they say today.
//!
//! Version 2 is written and read: `UBS_BLESS=1 cargo test golden` writes the files that are missing or
//! differ. Do that for a kind or a version that was never released, and never for one that was.
//! Version 1 is only read, so its files stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// Kinds that version 1 did not have.
const KINDS_SINCE_V1: [&str; 16] = [
    "answer_not_attributed",
    "clock_set",
    "fix_blessed",
    "fix_undone",
    "layer_skipped",
    "log_gap",
    "log_pruned",
    "plan_changed",
    "rules_set",
    "service_recovered",
    "service_skipped",
    "service_stable",
    "service_steered",
    "service_unready",
    "terms_set",
    "validation_planned",
];
/// Files of version 1, which nobody adds to.
const FRAMES_V1: usize = 73;

fn dir_of(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/frames/v{version}"))
}

fn dir() -> PathBuf {
    dir_of(FRAME_VERSION)
}

/// Hexadecimal in lines of 32 bytes, so that a difference is seen in a review.
fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digits}\n")
    };
    bytes.chunks(32).map(line).collect()
}

fn of_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(byte).collect()
}

/// The bytes of one golden frame.
pub(super) fn frame_of(version: u16, name: &str) -> Vec<u8> {
    let path = dir_of(version).join(format!("{name}.hex"));
    of_hex(&fs::read_to_string(path).unwrap())
}

/// The samples with the names of their files.
fn named() -> Vec<(String, Event)> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    samples::all()
        .into_iter()
        .map(|event| {
            let count = seen.entry(event.kind()).or_default();
            *count += 1;
            (format!("{}.{count}", event.kind()), event)
        })
        .collect()
}

#[test]
fn no_kind_is_without_a_golden_frame() {
    let mut kinds: Vec<&str> = samples::all().iter().map(Event::kind).collect();
    kinds.dedup();
    assert_eq!(kinds, Event::KINDS);
    let mut expected: Vec<String> = named()
        .into_iter()
        .flat_map(|(name, _)| [format!("{name}.hex"), format!("{name}.json")])
        .collect();
    expected.sort();
    golden_frames_are_what_is_written_and_read();
    let mut found: Vec<String> = fs::read_dir(dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn golden_frames_are_what_is_written_and_read() {
    for (name, event) in named() {
        let (hex, json) = (
            dir().join(format!("{name}.hex")),
            dir().join(format!("{name}.json")),
        );
        let frame = encode_frame(&event).unwrap();
        if std::env::var_os("UBS_BLESS").is_some() {
            fs::create_dir_all(dir()).unwrap();
            fs::write(&hex, to_hex(&frame)).unwrap();
            let pretty = serde_json::to_string_pretty(&event).unwrap();
            fs::write(&json, pretty + "\n").unwrap();
        }
        let golden = of_hex(&fs::read_to_string(&hex).unwrap());
        assert_eq!(
            decode_frame(event.kind(), FRAME_VERSION, &golden),
            Body::Known(Box::new(event.clone())),
            "{name}"
        );
        assert_eq!(to_hex(&frame), to_hex(&golden), "{name}");
        let said: Event = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(said, event, "{name}");
    }
}

/// Every frame that version 1 wrote is still an event, and says what it said, with the remedy and
/// the cause that its facts were.
#[test]
fn golden_frames_of_version_1_are_read() {
    let mut kinds = std::collections::BTreeSet::new();
    let mut frames = 0;
    for entry in fs::read_dir(dir_of(1)).unwrap() {
        let json = entry.unwrap().path();
        if json.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let said: Event = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let hex = fs::read_to_string(json.with_extension("hex")).unwrap();
        let read = decode_frame(said.kind(), 1, &of_hex(&hex));
        assert_eq!(
            read,
            Body::Known(Box::new(said.clone())),
            "{}",
            json.display()
        );
        assert!(
            json.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(said.kind())
        );
        // And it can be written in today's layout.
        let again = encode_frame(&said).unwrap();
        assert_eq!(decode_frame(said.kind(), FRAME_VERSION, &again), read);
        kinds.insert(said.kind());
        frames += 1;
    }
    let all: std::collections::BTreeSet<_> = Event::KINDS.iter().copied().collect();
    let newer: Vec<_> = all.difference(&kinds).copied().collect();
    assert_eq!(newer, KINDS_SINCE_V1);
    assert_eq!(frames, FRAMES_V1);
}

/// What an older program filed can still be healed: each remedy is in a frame of version 1.
#[test]
fn the_facts_of_version_1_are_remedies_and_causes() {
    let failure_of = |n: u32| {
        let frame = frame_of(1, &format!("mission_filed.{n}"));
        match decode_frame("mission_filed", 1, &frame) {
            Body::Known(event) => match *event {
                Event::MissionFiled { failure, .. } => failure,
                other => panic!("{other:?}"),
            },
            opaque @ Body::Opaque { .. } => panic!("{opaque:?}"),
        }
    };
    let shape = |n: u32| {
        let failure = failure_of(n);
        let fix = serde_json::to_value(&failure.fix).unwrap();
        let kind = fix
            .get("kind")
            .and_then(|kind| kind.as_str())
            .map(str::to_owned);
        (
            kind.unwrap_or_default(),
            failure.cause.map(|cause| cause.text().to_owned()),
        )
    };
    let exception =
        "InvalidRequestError: Table 'users' is already defined for this MetaData instance.";
    for (n, kind, cause) in [
        // Its `ddl` is no list of statements.
        (1, "", None),
        (2, "run_statements", None),
        (3, "insert_text", Some(exception)),
        (4, "set_default", None),
        (5, "generate_secret", None),
        (6, "migrate", Some("0123456789abcdef")),
        (7, "migrate", Some("fedcba9876543210")),
        (8, "by_hand", None),
    ] {
        assert_eq!(shape(n), (kind.to_owned(), cause.map(str::to_owned)), "{n}");
    }
}

proptest! {
    /// What `fuzz/fuzz_targets/frame.rs` does, on every run of the tests.
    #[test]
    fn any_bytes_are_a_frame_or_opaque(
        kind in proptest::sample::select(Event::KINDS), version in 0u16..4, known in 1u8..3,
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = decode_frame(kind, version, &bytes);
        // And with a header that gets past the first checks.
        bytes.splice(0..0, [0xb2, known, 0]);
        match decode_frame(kind, known.into(), &bytes) {
            Body::Known(event) => prop_assert_eq!(event.kind(), kind),
            Body::Opaque { payload, .. } => prop_assert_eq!(payload, bytes),
        }
    }

    #[test]
    fn a_mutated_frame_is_another_event_or_opaque(
        which in any::<proptest::sample::Index>(), at in any::<proptest::sample::Index>(),
        byte in any::<u8>(), cut in any::<proptest::sample::Index>(),
    ) {
        let events = samples::all();
        let event = which.get(&events);
        let mut frame = encode_frame(event).unwrap();
        let place = at.index(frame.len());
        frame[place] = byte;
        if let Body::Known(read) = decode_frame(event.kind(), FRAME_VERSION, &frame) {
            prop_assert_eq!(read.kind(), event.kind());
        }
        frame.truncate(cut.index(frame.len()));
        let _ = decode_frame(event.kind(), FRAME_VERSION, &frame);
    }
}
