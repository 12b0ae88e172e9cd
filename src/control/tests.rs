//! The door, asked by raw bytes.
