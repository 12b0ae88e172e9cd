//! Any bytes are a frame or opaque: never a panic, never an allocation beyond the codec's limit; and
//! what was understood is written and read again as the same event.
//!
//! The first byte picks the kind, so that the fuzzer does not have to guess names. A good corpus:
//! the golden frames of `schema/frames/v1` and `v2`, each with a byte for its kind before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ubs::domain::event::Event;
use ubs::log::{Body, FRAME_VERSION, decode_frame, encode_frame};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, frame)) = bytes.split_first() else {
        return;
    };
    let kind = Event::KINDS[usize::from(*kind) % Event::KINDS.len()];
    for version in 0..=FRAME_VERSION + 1 {
        match decode_frame(kind, version, frame) {
            Body::Opaque { payload, .. } => assert_eq!(payload, frame),
            Body::Known(event) => {
                assert_eq!(event.kind(), kind);
                // Not always the same bytes: an integer may have been written longer than it must.
                let again = encode_frame(&event).expect("what was read fits");
                assert_eq!(decode_frame(kind, FRAME_VERSION, &again), Body::Known(event));
            }
        }
    }
});
