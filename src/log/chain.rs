//! The chain: each row's BLAKE3 value covers the row before it and all of its own columns.
//!
//! An edited, removed, inserted or reordered row breaks the chain at that row; a tail that was cut
//! off no longer ends where the `head` row says. Somebody who may write the file and recomputes the
//! chain to its end is not caught: against that, keep the head digest that `ubs log verify` prints
//! somewhere else.
//!
//! One link is `keyed_hash(KEY, link)`, where `KEY` is derived from a context string (so that no
//! other use of BLAKE3 gives the same value) and `link` is, integers little-endian:
//!
//! ```text
//! chain before   32      boot     1 + 16 (0 and zeros if there is none)      kind     4 + n
//! seq             8      mission  1 + 16                                      version  8
//! event id       16                                                           at       8
//!                                                                             payload  8 + n
//! ```
//!
//! Every part has a fixed width or its length before it, so no two rows have the same link.

use std::sync::LazyLock;

use super::scan::RawEvent;
use crate::domain::ids::Digest;

const CONTEXT: &str = "ubs event log 2026 chain v1";

static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key(CONTEXT, b""));

/// The chain value before the first event.
pub const GENESIS: Digest = Digest([0; 32]);

/// The chain value of `event` after `before`. `buffer` is scratch space, so that a scan of a
/// million events allocates once.
pub(super) fn link(before: &Digest, event: &RawEvent<'_>, buffer: &mut Vec<u8>) -> Digest {
    buffer.clear();
    buffer.extend_from_slice(&before.0);
    buffer.extend_from_slice(&event.seq.to_le_bytes());
    buffer.extend_from_slice(event.id.as_bytes());
    for id in [event.boot, event.mission] {
        buffer.push(u8::from(id.is_some()));
        buffer.extend_from_slice(id.unwrap_or_default().as_bytes());
    }
    // A kind or payload is bounded by SQLite's largest value, far below these widths.
    buffer.extend_from_slice(&(event.kind.len() as u32).to_le_bytes());
    buffer.extend_from_slice(event.kind.as_bytes());
    buffer.extend_from_slice(&event.version.to_le_bytes());
    buffer.extend_from_slice(&event.at.to_le_bytes());
    buffer.extend_from_slice(&(event.payload.len() as u64).to_le_bytes());
    buffer.extend_from_slice(event.payload);
    Digest(*blake3::keyed_hash(&KEY, buffer).as_bytes())
}
