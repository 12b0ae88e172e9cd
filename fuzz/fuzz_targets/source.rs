//! Any bytes are a Python source or say why not: no panic, and no stack that runs out.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = ubs::source::read_text_of_one_file(bytes);
});
