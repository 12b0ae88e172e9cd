//! See `ubs::testing::env_file`; `tests/it/corpus.rs` replays `fuzz/seeds/env_file` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::env_file(bytes));
