//! Tests that depend on time: bounds of a second or two, back-off, services that count as stable.
//!
//! They hold one lock, so that at most one of them runs in a test process, beside tests to which time means nothing.
//! Included with `#[path]` by unit tests too.

#![allow(dead_code, unreachable_pub)] // Each includer uses what it needs.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held to the end of a test that depends on time: `let _time = time::lock();`, its first line.
pub fn lock() -> MutexGuard<'static, ()> {
    static TIME: Mutex<()> = Mutex::new(());
    // One that failed leaves nothing that matters to the next.
    TIME.lock().unwrap_or_else(PoisonError::into_inner)
}
