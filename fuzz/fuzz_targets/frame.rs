//! See `ubs::testing::frame`; `tests/it/corpus.rs` replays `fuzz/seeds/frame` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::frame(bytes));
