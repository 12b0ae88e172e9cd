//! How long to wait before trying again.

/// Wait before the `n`-th retry (from 1), in milliseconds: `base_ms` doubled each time, at most
/// `max_ms`, of which chance (`random_per_mille`, 0 to 1000) takes away up to a half, so that what
/// failed together does not come back together.
///
/// "Equal jitter" of Brooker, *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015.
#[must_use]
pub(crate) fn backoff_ms(n: u32, base_ms: u64, max_ms: u64, random_per_mille: u16) -> u64 {
    backoff_ms_with(n, base_ms, max_ms, 50, random_per_mille)
}

/// The same with a part of its own, in percent, that chance may take away.
#[must_use]
pub(crate) fn backoff_ms_with(
    n: u32,
    base_ms: u64,
    max_ms: u64,
    jitter_percent: u32,
    random_per_mille: u16,
) -> u64 {
    let factor = 1_u64.checked_shl(n.saturating_sub(1)).unwrap_or(u64::MAX);
    let full = base_ms.saturating_mul(factor).min(max_ms);
    let part = u128::from(full) * u128::from(jitter_percent.min(100)) / 100;
    let taken = part * u128::from(random_per_mille.min(1000)) / 1000;
    // At most the whole of a u64.
    full - u64::try_from(taken).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_longest_wait() {
        let waits: Vec<u64> = (0..8).map(|n| backoff_ms(n, 100, 1_500, 0)).collect();
        assert_eq!(waits, [100, 100, 200, 400, 800, 1_500, 1_500, 1_500]);
        assert_eq!(backoff_ms(4, 100, 1_500, 1_000), 400);
        assert_eq!(backoff_ms(1, 0, 1_500, 500), 0);
        assert_eq!(backoff_ms_with(3, 100, 1_500, 0, 1_000), 400);
        assert_eq!(backoff_ms_with(3, 100, 1_500, 100, 1_000), 0);
    }

    proptest::proptest! {
        #[test]
        fn it_is_never_longer_than_the_longest_and_never_shorter_than_half(
            n: u32, base: u64, max: u64, random: u16,
        ) {
            let (wait, full) = (backoff_ms(n, base, max, random), backoff_ms(n, base, max, 0));
            assert!(wait <= max && wait <= full && wait >= full / 2);
        }
    }
}
