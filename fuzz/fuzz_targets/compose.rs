//! See `ubs::testing::compose`; `tests/it/corpus.rs` replays `fuzz/seeds/compose` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::compose(bytes));
