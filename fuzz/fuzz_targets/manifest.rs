//! See `ubs::testing::manifest`; `tests/it/corpus.rs` replays `fuzz/seeds/manifest` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::manifest(bytes));
