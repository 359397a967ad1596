//! How the embedded log is, for `/health` and `/metrics`: it is looked at once a second, by reading it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::sqlite::{LogTrouble, SqliteStore};
use service_kit::Tasks;
use service_kit::health::{Pulse, Reporter};

/// How often the log is looked at: a process that cannot serve is taken out of use within seconds.
const EVERY: Duration = Duration::from_secs(1);
/// How long the look may take before the log counts as hanging. It waits in the queue of all reads, whose answers take
/// milliseconds; so long a wait means that clients wait as long.
const WITHIN: Duration = Duration::from_secs(5);
/// A log message about trouble that lasts comes again after this.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// The thread that writes goes on about once a second; with a longer silence this part of the process no longer counts as
/// alive, and half a minute later `/health/live` says so: a restart helps, where waiting does not.
const WRITER_WITHIN: Duration = Duration::from_secs(10);

/// Where it is told how the log is.
pub struct Told {
    /// For `/health` and `/health/ready`.
    pub reporter: Reporter,
    /// For `/health/live`.
    pub pulse: Arc<Pulse>,
}

/// Looks at the log until the tasks are to end, and says how it is.
pub fn watch(store: Arc<SqliteStore>, told: Option<Told>, tasks: &Tasks) {
    let stop = tasks.stopping();
    tasks.spawn("log-health", async move {
        let mut said = Said::default();
        loop {
            let found = store.examine(WITHIN).await;
            said.look(&store, &found);
            count(&store, &found);
            if let Some(Told { reporter, pulse }) = &told {
                if store.writer_silent_for() < WRITER_WITHIN {
                    pulse.beat();
                }
                match &found {
                    Ok(()) => reporter.up_with(store.path().display()),
                    Err(trouble @ LogTrouble::Damaged(_)) => reporter.damaged(trouble),
                    Err(trouble) => reporter.down(trouble),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}

/// What was logged last of a trouble.
#[derive(Default)]
struct Said {
    /// The trouble's kind, and when it was logged.
    last: Option<(std::mem::Discriminant<LogTrouble>, Instant)>,
}

impl Said {
    fn look(&mut self, store: &SqliteStore, found: &Result<(), LogTrouble>) {
        let log = store.path().display();
        match (found, self.last) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                tracing::info!(%log, "the log is read and written again");
                self.last = None;
            }
            (Err(trouble), last) => {
                let kind = std::mem::discriminant(trouble);
                if last.is_none_or(|(before, at)| before != kind || at.elapsed() >= SAID_AGAIN) {
                    tracing::error!(%log, %trouble, "not ready: the log does not do what it should");
                    self.last = Some((kind, Instant::now()));
                }
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floats: sizes of files are exact up to 8 PB")]
fn count(store: &SqliteStore, found: &Result<(), LogTrouble>) {
    let numbers = store.numbers();
    let is = |kind: fn(&LogTrouble) -> bool| f64::from(u8::from(found.as_ref().err().is_some_and(kind)));
    metrics::gauge!("backstitch_log_wal_bytes").set(numbers.wal_bytes as f64);
    metrics::gauge!("backstitch_log_checkpoint_age_s").set(numbers.checkpoint_overdue.as_secs_f64());
    metrics::gauge!("backstitch_log_disk_free_bytes").set(numbers.disk_free_bytes as f64);
    metrics::gauge!("backstitch_log_disk_bytes").set(numbers.disk_bytes as f64);
    metrics::gauge!("backstitch_log_damaged").set(is(|trouble| matches!(trouble, LogTrouble::Damaged(_))));
    metrics::gauge!("backstitch_log_unwritable").set(is(|trouble| matches!(trouble, LogTrouble::Unwritable(_))));
    metrics::gauge!("backstitch_log_hanging").set(is(|trouble| matches!(trouble, LogTrouble::Hanging(_))));
    metrics::gauge!("backstitch_log_short_of_room").set(is(|trouble| matches!(trouble, LogTrouble::Short(_))));
}
