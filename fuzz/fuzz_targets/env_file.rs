//! Any text is an environment file, and a variable that was set is read back as it was given.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use ubs::manifest::{EnvFile, set_variable};

fuzz_target!(|input: (&str, &str)| {
    let (text, value) = input;
    let none = BTreeMap::new();
    let before = EnvFile::parse(text, &none, &none);
    let after_text = set_variable(text, "FUZZED", value);
    let after = EnvFile::parse(&after_text, &none, &none);
    if after_text == text {
        return;
    }
    let is_other = |entry: &&ubs::manifest::EnvEntry| entry.name != "FUZZED";
    let set = after.entries.iter().rev().find(|entry| !is_other(entry));
    assert_eq!(set.expect("it was set").value, value);
    if text.contains("${") {
        // What is put into others may grow past the bounds.
        return;
    }
    assert_eq!(before.malformed.len(), after.malformed.len());
    let others = |file: &EnvFile| file.entries.iter().filter(is_other).count();
    assert_eq!(others(&before), others(&after));
});
