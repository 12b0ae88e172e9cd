//! See `ubs::testing::relay_message`; `tests/it/corpus.rs` replays `fuzz/seeds/relay_message` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::relay_message(bytes));
