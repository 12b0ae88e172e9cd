//! How much of what is expected is there.

use crate::domain::finding::Measured;
use crate::domain::words::count;

/// How many of the expected services are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coverage {
    pub expected: usize,
    pub mounted: usize,
}

impl Coverage {
    /// 0 to 1; nothing expected is all there.
    pub(super) fn share(self) -> f64 {
        if self.expected == 0 {
            return 1.0;
        }
        // Numbers of services, far from where floating point loses whole numbers.
        #[allow(clippy::cast_precision_loss)]
        {
            self.mounted as f64 / self.expected as f64
        }
    }

    fn per_mille(self) -> u32 {
        if self.expected == 0 {
            return 1000;
        }
        u32::try_from(self.mounted * 1000 / self.expected).unwrap_or(1000)
    }

    /// `9 of 9 services mounted (100.0 %)`.
    pub(super) fn summary(self) -> String {
        if self.expected == 0 {
            return "no services are expected".to_owned();
        }
        format!(
            "{} of {} mounted ({:.1} %)",
            self.mounted,
            count(self.expected, "service"),
            self.share() * 100.0
        )
    }

    pub(super) fn measured(self, routes: usize) -> Measured {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Measured::Registration {
            expected: narrow(self.expected),
            mounted: narrow(self.mounted),
            routes: narrow(routes),
            coverage_per_mille: self.per_mille(),
        }
    }
}
