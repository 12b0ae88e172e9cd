//! See `ubs::testing::sql_text`; `tests/it/corpus.rs` replays `fuzz/seeds/sql_text` with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ubs::testing::sql_text(bytes));
