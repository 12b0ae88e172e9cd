//! See `ubs::testing::source`; `tests/it/corpus.rs` replays `fuzz/seeds/source` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::source(bytes));
