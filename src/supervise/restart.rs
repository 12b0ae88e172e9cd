//! How long to wait before a restart. Pure.

/// Wait before the `n`-th restart (from 1), in milliseconds: `base` doubled each time, at most `max`,
/// of which `jitter` (0 to 1, a random number) takes away up to a half, so that services that failed
/// together do not come back together.
///
/// "Equal jitter" of Brooker, *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
pub fn backoff_ms(n: u32, base: u64, max: u64, jitter: f64) -> u64 {
    let doublings = n.saturating_sub(1);
    let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let wait = base.saturating_mul(factor).min(max);
    let jitter = if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let half = wait / 2;
    // A large half may be rounded up on its way through a float.
    wait - ((half as f64 * jitter) as u64).min(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_longest_wait() {
        let waits: Vec<u64> = (0..8).map(|n| backoff_ms(n, 100, 1500, 0.0)).collect();
        assert_eq!(waits, [100, 100, 200, 400, 800, 1500, 1500, 1500]);
        assert_eq!(backoff_ms(4, 100, 1500, 1.0), 400);
        assert_eq!(backoff_ms(1, 0, 1500, 0.5), 0);
    }

    proptest::proptest! {
        #[test]
        fn it_is_never_longer_than_the_longest_and_never_shorter_than_half(
            n: u32, base: u64, max: u64, jitter: f64,
        ) {
            let (wait, full) = (backoff_ms(n, base, max, jitter), backoff_ms(n, base, max, 0.0));
            assert!(wait <= max && wait <= full && wait >= full / 2);
        }
    }
}
