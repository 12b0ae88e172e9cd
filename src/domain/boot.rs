//! The boot machine.
