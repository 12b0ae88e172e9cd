//! What holds for the whole room.

mod manifest_keys;
