//! Golden frames: `schema/frames/v1/KIND.N.hex` are the bytes, `.json` what they say.
//!
//! `UBS_BLESS=1 cargo test golden` writes those that are missing or differ. Do that for a kind or a
//! version that was never released, and never for one that was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/frames/v1")
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
            decode_frame(event.kind(), 1, &golden),
            Body::Known(Box::new(event.clone())),
            "{name}"
        );
        assert_eq!(to_hex(&frame), to_hex(&golden), "{name}");
        let said: Event = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(said, event, "{name}");
    }
}

proptest! {
    /// What `fuzz/fuzz_targets/frame.rs` does, on every run of the tests.
    #[test]
    fn any_bytes_are_a_frame_or_opaque(
        kind in proptest::sample::select(Event::KINDS), version in 0u16..3,
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = decode_frame(kind, version, &bytes);
        // And with a header that gets past the first checks.
        bytes.splice(0..0, [0xb2, 1, 0]);
        match decode_frame(kind, 1, &bytes) {
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
        if let Body::Known(read) = decode_frame(event.kind(), 1, &frame) {
            prop_assert_eq!(read.kind(), event.kind());
        }
        frame.truncate(cut.index(frame.len()));
        let _ = decode_frame(event.kind(), 1, &frame);
    }
}
