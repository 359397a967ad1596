//! How often a command may be sent to a further replica: so that replicas which are all overloaded are not sent several
//! times as many commands as sagas issue.
//!
//! A bucket of tokens. Each command pays in a part of a token, and each further replica that it is sent to costs a whole one.
//! An empty bucket means that the command is answered with what the last replica said, and its saga tries again later.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a command pays in, in thousandths of a token: in the long run one command in five may be sent to a second replica.
const PAID_IN: u32 = 200;

/// What a further replica costs, in thousandths of a token.
const COSTS: u32 = 1_000;

/// The most that is saved, in thousandths of a token: enough for all steps of a full window to ask a second replica when
/// one dies, before its breaker opens.
const SAVED_MAX: u32 = 512 * COSTS;

/// The bucket of a client, full at first.
#[derive(Debug)]
pub(super) struct Budget {
    saved: AtomicU32,
}

impl Budget {
    /// A budget that is full.
    pub fn new() -> Self {
        Self { saved: AtomicU32::new(SAVED_MAX) }
    }

    /// Pays in for a command that is sent for the first time.
    pub fn pay_in(&self) {
        self.save(PAID_IN);
    }

    /// What was paid for was not done.
    pub fn give_back(&self) {
        self.save(COSTS);
    }

    fn save(&self, amount: u32) {
        let more = |saved: u32| Some(saved.saturating_add(amount).min(SAVED_MAX));
        // The closure never says no.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether a command may be sent to one more replica. If so, that is paid for.
    pub fn pays_for_another(&self) -> bool {
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(COSTS)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_all_refuse_get_at_most_a_fifth_more_once_savings_are_spent() {
        let budget = Budget::new();
        while budget.pays_for_another() {}
        let again = (0..10_000).filter(|_| {
            budget.pay_in();
            budget.pays_for_another()
        });
        assert_eq!(again.count(), 2_000);
    }

    #[test]
    fn quiet_times_save_no_more_than_the_bucket_holds() {
        let budget = Budget::new();
        (0..10_000).for_each(|_| budget.pay_in());
        let mut times = 0;
        while budget.pays_for_another() {
            times += 1;
        }
        assert_eq!(times, 512);
    }
}
