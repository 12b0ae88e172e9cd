//! Exit codes, stable from the first version.

/// GO, healthy, done.
pub(crate) const GOOD: u8 = 0;
/// NO-GO, unhealthy, a problem was found.
pub(crate) const BAD: u8 = 1;
/// Wrong use, bad manifest, bad file.
pub(crate) const USAGE: u8 = 2;
/// Being brought up, or up and not stable yet.
pub(crate) const STARTING: u8 = 4;
/// Degraded, with `--strict`.
pub(crate) const DEGRADED: u8 = 3;
