//! The one source of time. Tests turn it by hand, so that 30 minutes pass in a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// A moment in UTC, in whole microseconds (what Postgres keeps).
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The time, real or turned by hand. Cheap to clone; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System,
    Manual(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The clock of the machine, in UTC.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands at `start` until it is turned.
    pub fn manual(start: Timestamp) -> Self {
        Self(Kind::Manual(Arc::new(watch::channel(start).0)))
    }

    /// Now, in whole microseconds.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => {
                let now = chrono::Utc::now();
                Timestamp::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
            }
            Kind::Manual(time) => *time.borrow(),
        }
    }

    /// Turns a manual clock forward and wakes who sleeps until then; the machine's clock is not touched.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(time) = &self.0 {
            time.send_modify(|now| *now += by);
        }
    }

    /// Sets a manual clock to a moment, later or earlier than what it shows; the machine's clock is not touched.
    pub fn set(&self, to: Timestamp) {
        if let Kind::Manual(time) = &self.0 {
            time.send_replace(to);
        }
    }

    /// Waits until it is `until`. Safe to drop while waiting.
    pub async fn sleep_until(&self, until: Timestamp) {
        match &self.0 {
            Kind::System => {
                // The machine's clock may be set back or forward meanwhile: look again at least every minute.
                while let Ok(rest) = (until - self.now()).to_std() {
                    if rest.is_zero() {
                        return;
                    }
                    tokio::time::sleep(rest.min(Duration::from_secs(60))).await;
                }
            }
            Kind::Manual(time) => {
                let mut time = time.subscribe();
                // The sender lives in `self`, so the wait ends only when the time has come.
                let _ = time.wait_for(|now| *now >= until).await;
            }
        }
    }

    /// Waits for a time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}
