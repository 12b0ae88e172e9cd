//! See `ubs::testing::proposal`; `tests/it/corpus.rs` replays `fuzz/seeds/proposal` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::proposal(bytes));
