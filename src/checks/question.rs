//! A question to a probe program: how it is written, and how long its answer may take.

/// Wall time of a probe whose time the manifest does not set.
pub(super) const PROBE_TIMEOUT_MS: u64 = 30_000;

/// A length, a line's end, and JSON: what the prelude reads.
pub(super) fn frame(document: &serde_json::Value) -> Vec<u8> {
    let json = document.to_string();
    format!("{}\n{json}", json.len()).into_bytes()
}
