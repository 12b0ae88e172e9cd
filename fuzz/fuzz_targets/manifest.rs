//! Any text is a manifest or a clear error: no panic, and every problem has its place in the text.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ubs::manifest::Manifest;

fuzz_target!(|text: &str| {
    if let Err(error) = Manifest::parse(text, Path::new("ubs.toml")) {
        assert!(!error.to_string().contains('\n'));
        let lines = text.split('\n').count();
        for problem in error.problems() {
            assert!(problem.line >= 1 && problem.line as usize <= lines);
            assert!(problem.column >= 1);
        }
    }
});
