//! The circuit breaker of a replica: after some failures in a row it gets no calls for a while, then one call as a
//! trial.
//!
//! | state | calls pass | ends |
//! |---|---|---|
//! | closed | all | with [`FAILURES_MAX`] failures in a row: open |
//! | open | none | after its pause, with the next call: half open |
//! | half open | the one that opened it half | with its success: closed; with its failure, or when it is given up: open, for twice as long |

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use service_kit::Pauses;

/// Failures in a row after which a replica is left alone: one may be bad luck, and a replica that hangs costs each of them
/// the whole deadline of an attempt.
const FAILURES_MAX: u32 = 5;

/// How long a replica is left alone. At first: a process that was killed is back after about as long. The longest: below the
/// 10 s within which everything has to go on.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(500), Duration::from_secs(8));

/// The state of a circuit breaker: whether calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All calls pass.
    Closed,
    /// One call passes, as a trial.
    HalfOpen,
    /// No call passes.
    Open,
}

/// The state, with how often in a row it was opened.
#[derive(Debug)]
enum Now {
    Closed { failures: u32 },
    HalfOpen { openings: u32 },
    Open { until: Instant, openings: u32 },
}

/// A breaker of one replica.
pub struct Breaker {
    // Held for a look or a move, never across an await: a std mutex is enough.
    now: Mutex<Now>,
    told: Box<dyn Fn(State) + Send + Sync>,
}

/// The right to make one call, and the duty to say what came of it. Given up without a word (the caller was dropped), a
/// trial call counts as failed; another one says nothing.
#[derive(Debug)]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    trial: bool,
    said: bool,
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Breaker({:?})", self.lock())
    }
}

impl Breaker {
    /// Closed. `told` hears of each new state.
    pub fn new(told: impl Fn(State) + Send + Sync + 'static) -> Self {
        told(State::Closed);
        Self { now: Mutex::new(Now::Closed { failures: 0 }), told: Box::new(told) }
    }

    /// The right to make a call at `now`.
    ///
    /// # Errors
    /// How long there will be none.
    pub fn pass(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.lock();
        let trial = match *state {
            Now::Closed { .. } => false,
            Now::HalfOpen { openings } => return Err(PAUSES.after(openings)),
            Now::Open { until, .. } if now < until => return Err(until - now),
            Now::Open { openings, .. } => {
                *state = Now::HalfOpen { openings };
                (self.told)(State::HalfOpen);
                true
            }
        };
        Ok(Pass { breaker: self, trial, said: false })
    }

    /// The state at this moment.
    pub fn state(&self) -> State {
        match *self.lock() {
            Now::Closed { .. } => State::Closed,
            Now::HalfOpen { .. } => State::HalfOpen,
            Now::Open { .. } => State::Open,
        }
    }

    fn answered(&self) {
        let mut state = self.lock();
        if !matches!(*state, Now::Closed { failures: 0 }) {
            *state = Now::Closed { failures: 0 };
            (self.told)(State::Closed);
        }
    }

    fn failed(&self, now: Instant, trial: bool) {
        let mut state = self.lock();
        let openings = match &mut *state {
            Now::Closed { failures } => {
                *failures += 1;
                if *failures < FAILURES_MAX {
                    return;
                }
                1
            }
            Now::HalfOpen { openings } if trial => openings.saturating_add(1),
            Now::HalfOpen { .. } | Now::Open { .. } => return, // A call from before: known by now.
        };
        *state = Now::Open { until: now + PAUSES.after(openings), openings };
        (self.told)(State::Open);
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock()
    }
}

impl Pass<'_> {
    /// Records that the replica answered, with any answer.
    pub fn answered(mut self) {
        self.said = true;
        self.breaker.answered();
    }

    /// Records that the replica did not answer.
    pub fn failed(mut self, now: Instant) {
        self.said = true;
        self.breaker.failed(now, self.trial);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.said && self.trial {
            self.breaker.failed(Instant::now(), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE_FIRST: Duration = Duration::from_millis(500);

    fn opened(breaker: &Breaker, at: Instant) {
        for _ in 0..FAILURES_MAX {
            breaker.pass(at).unwrap().failed(at);
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_the_first_success() {
        let (breaker, start) = (Breaker::new(|_| ()), Instant::now());
        for _ in 0..FAILURES_MAX - 1 {
            breaker.pass(start).unwrap().failed(start);
        }
        breaker.pass(start).unwrap().answered();
        assert_eq!(breaker.state(), State::Closed, "not in a row");
        opened(&breaker, start);
        assert_eq!(breaker.pass(start).unwrap_err(), PAUSE_FIRST);
        let later = start + PAUSE_FIRST;
        let trial = breaker.pass(later).unwrap();
        assert!(breaker.pass(later).is_err(), "one call only");
        trial.answered();
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_trial_that_fails_or_is_given_up_opens_it_for_longer() {
        let (breaker, start) = (Breaker::new(|_| ()), Instant::now());
        opened(&breaker, start);
        let later = start + PAUSE_FIRST;
        breaker.pass(later).unwrap().failed(later);
        assert_eq!(breaker.pass(later).unwrap_err(), 2 * PAUSE_FIRST);
        drop(breaker.pass(later + 2 * PAUSE_FIRST).unwrap());
        assert_eq!(breaker.state(), State::Open);
        let mut at = later;
        for _ in 0..10 {
            at += Duration::from_secs(60);
            breaker.pass(at).unwrap().failed(at);
        }
        assert_eq!(breaker.pass(at).unwrap_err(), Duration::from_secs(8));
    }

    #[test]
    fn calls_from_before_do_not_open_it_for_longer() {
        let (breaker, start) = (Breaker::new(|_| ()), Instant::now());
        let under_way: Vec<Pass<'_>> = (0..20).map(|_| breaker.pass(start).unwrap()).collect();
        for pass in under_way {
            pass.failed(start);
        }
        assert_eq!(breaker.pass(start).unwrap_err(), PAUSE_FIRST);
    }
}
