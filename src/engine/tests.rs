//! What holds for the whole room.

mod log_faults;
mod manifest_keys;
