//! The wait before a retry: it doubles with each attempt up to a cap, and is drawn from its upper half, so that many
//! clients that failed together do not come back together.

use std::time::Duration;

/// The wait before attempt `attempt` (the first retry is 1): between half and all of `first * 2^(attempt-1)`, at most `cap`.
pub fn backoff(attempt: u32, first: Duration, cap: Duration) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(cap).mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_its_cap_and_is_never_less_than_half_of_that() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        for (attempt, whole) in [(0, 100), (1, 100), (2, 200), (4, 800), (5, 1000), (40, 1000), (u32::MAX, 1000)] {
            for _ in 0..100 {
                let wait = backoff(attempt, first, cap).as_millis();
                assert!((whole / 2..=whole).contains(&wait), "attempt {attempt}: {wait} ms");
            }
        }
    }
}
