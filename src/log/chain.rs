//! The chain: each row's BLAKE3 value covers the row before it and all of its own columns.
//!
//! An edited, removed, inserted or reordered row breaks the chain at that row; a tail that was cut
//! off no longer has the event that the `head` row anchors, which is the last one or, while events are
//! being appended, one shortly before it. Somebody who may write the file and recomputes the
//! chain to its end is not caught: against that, keep the head digest that `ubs log verify` prints
//! somewhere else.
//!
//! One link is `BLAKE3 keyed_hash(key = chain value before, row)`; the value before the first event
//! is derived from a context string, so that no other use of BLAKE3 gives the same values. `row` is,
//! integers little-endian:
//!
//! ```text
//! seq 8, event id 16, at 8, version 2,
//! flags 1 (1: has a boot, 2: has a mission), boot 16 if it has one, mission 16 if it has one,
//! kind's length 2, payload's length 4, kind, payload
//! ```
//!
//! Every part has a fixed width, or its presence or length before it, so no two rows are the same
//! bytes. The header is short on purpose: a verified replay hashes 64 bytes at a time.

use std::sync::LazyLock;

use super::row::RawEvent;
use crate::domain::ids::Digest;

const CONTEXT: &str = "ubs event log 2026 chain v1";

/// The chain value before the first event.
pub(super) static GENESIS: LazyLock<Digest> =
    LazyLock::new(|| Digest(blake3::derive_key(CONTEXT, b"")));

/// The chain value of `event` after `before`. `buffer` is scratch space, so that a scan of a
/// million events allocates once.
pub(super) fn link(before: &Digest, event: &RawEvent<'_>, buffer: &mut Vec<u8>) -> Digest {
    const HAS_BOOT: u8 = 1;
    const HAS_MISSION: u8 = 2;
    buffer.clear();
    buffer.extend_from_slice(&event.seq.to_le_bytes());
    buffer.extend_from_slice(event.id.as_bytes());
    buffer.extend_from_slice(&event.at.to_le_bytes());
    buffer.extend_from_slice(&event.version.to_le_bytes());
    let flag = |present, flag| if present { flag } else { 0 };
    buffer.push(flag(event.boot.is_some(), HAS_BOOT) | flag(event.mission.is_some(), HAS_MISSION));
    for id in [&event.boot, &event.mission].into_iter().flatten() {
        buffer.extend_from_slice(id.as_bytes());
    }
    buffer.extend_from_slice(&event.kind_bytes().to_le_bytes());
    buffer.extend_from_slice(&event.payload_bytes().to_le_bytes());
    buffer.extend_from_slice(event.kind.as_bytes());
    buffer.extend_from_slice(event.payload);
    Digest(*blake3::keyed_hash(&before.0, buffer).as_bytes())
}
