//! What the probes of a running service took.

/// Of one running service, readiness and liveness together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProbeTimes {
    /// Answers and failures.
    pub tries: u64,
    pub failures: u64,
    /// The last try, microseconds.
    pub last_us: u64,
    /// All tries.
    pub total_us: u64,
}

impl ProbeTimes {
    /// One more try.
    pub(crate) fn note(&mut self, us: u64, good: bool) {
        self.tries = self.tries.saturating_add(1);
        self.failures = self.failures.saturating_add(u64::from(!good));
        self.last_us = us;
        self.total_us = self.total_us.saturating_add(us);
    }
}
