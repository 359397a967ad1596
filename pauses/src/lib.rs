//! The pauses between attempts at what fails, for all crates: each is twice as long as the one before, up to a longest.
//!
//! Nothing is drawn by chance and no clock is read here: the rules of sagas store the times that follow from a pause.
//! Who wants clients that failed together to part shortens or stretches the pause by a lot of its own. The crate `backon` is
//! not used because it computes in `f32`, which moves a stored time by some nanoseconds, and because its jitter exceeds the
//! longest pause.

use std::time::Duration;

/// The pauses of one loop or of one kind of attempt, and the number of failures since it last went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Pauses {
    /// Pauses that begin with `first` and double up to `longest`.
    pub const fn doubling(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The pause after so many failures in a row, counted from 1.
    pub fn after(&self, failures: u32) -> Duration {
        let times = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(times).min(self.longest)
    }

    /// Counts a failure, and returns the pause after it.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.after(self.failures)
    }

    /// Forgets the failures so far: it went well, or for long enough.
    pub fn went_well(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(100), Duration::from_secs(1));

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (failures, pause) in [(0, 100), (1, 100), (2, 200), (4, 800), (5, 1000), (40, 1000), (u32::MAX, 1000)] {
            assert_eq!(PAUSES.after(failures), Duration::from_millis(pause), "after {failures} failures");
        }
        assert_eq!(Pauses::doubling(Duration::MAX, Duration::MAX).after(u32::MAX), Duration::MAX);
    }

    #[test]
    fn failures_in_a_row_are_counted_until_it_goes_well() {
        let mut pauses = PAUSES;
        let in_a_row: Vec<u128> = (0..6).map(|_| pauses.failed().as_millis()).collect();
        assert_eq!(in_a_row, [100, 200, 400, 800, 1000, 1000]);
        pauses.went_well();
        assert_eq!(pauses.failed(), Duration::from_millis(100));
    }
}
