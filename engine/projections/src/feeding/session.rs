//! A runner's session: from taking a partition over to the first trouble, or to the next question what to feed.

use std::time::Duration;

use engine_runtime::pg;
use event_store::Position;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::feeding::checkpoint::{self, Checkpoint, Slice};
use crate::feeding::member::{Member, Unwritten};

/// In a cluster a position without new rows is written so often: watermarks come every 100 ms, and who waits elsewhere
/// reads it there.
pub(crate) const KEEP: Duration = Duration::from_millis(100);
/// In one process a position without new rows is written so often: nobody else reads it, but the next start goes on from
/// there, and what a start after a kill must pass by again stays some seconds' worth.
pub(crate) const KEEP_ALONE: Duration = Duration::from_secs(3);
/// How long a stop may take to write positions; what is not written is passed by again at the next start.
pub(crate) const KEEP_AT_STOP: Duration = Duration::from_secs(1);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the service is stopping")]
    Stopping,
    #[error("a read model that had stopped is tried again")]
    Retry,
    #[error("other generations are to be fed")]
    Regroup,
    #[error(
        "another runner has taken over the read models, or Postgres has lost what was committed there (a failover); going on \
         from what it has"
    )]
    Fenced,
    #[error("Postgres does not answer: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("the log cannot be followed: {0}")]
    Log(#[from] event_store::ReadError),
    #[error(
        "the read models have seen position {seen}, the log ends at {head}: its end is missing, or it is another log; \
         restore it, or, if it was restored from an older backup, let the read models be folded again: in a cluster \
         `backstitch cluster rewind --accept-restore`, in one process by deleting the folder `postgres` (or the schemas \
         `backstitch`, `live`, `read_<generation>`)"
    )]
    Ahead { seen: Position, head: Position },
    #[error(
        "the database holds the read models of another log: give this log a database of its own, or drop the schemas \
         `backstitch`, `live` and `read_<generation>` there"
    )]
    OtherLog,
}

impl From<Unwritten> for Ended {
    fn from(why: Unwritten) -> Self {
        match why {
            Unwritten::Fenced => Self::Fenced,
            Unwritten::Postgres(error) => Self::Postgres(error),
        }
    }
}

/// A session that stands: what it feeds, and how.
pub(crate) struct Session {
    pub pool: PgPool,
    pub members: Vec<Member>,
    /// The number of the generations that it feeds.
    pub revision: i64,
    /// Whether the database is known to belong to this log.
    pub bound: bool,
    /// Since when a member has stopped.
    pub stopped_since: Option<Instant>,
    /// When positions without rows were last written, and whether any has moved since.
    pub kept: (Instant, bool),
}

impl Session {
    /// Writes where the members stand. `Ended::Fenced`: another runner has taken over.
    pub async fn keep(&mut self) -> Result<(), Ended> {
        let moves: Vec<(Slice, Checkpoint)> =
            self.members.iter().map(|member| (member.seat.slice, member.seat.checkpoint)).collect();
        let ours =
            pg::tx(&self.pool, "backstitch", |sql| Box::pin(async move { checkpoint::advance(sql, &moves).await }));
        self.kept = (Instant::now(), false);
        match ours.await? {
            true => {
                for member in &mut self.members {
                    member.seat.checkpoint = member.seat.checkpoint.written();
                }
                Ok(())
            }
            false => Err(Ended::Fenced),
        }
    }

    /// The same before a stop, if Postgres answers soon.
    pub async fn keep_at_stop(mut self) {
        if !self.kept.1 {
            return; // Nothing has moved since.
        }
        match tokio::time::timeout(KEEP_AT_STOP, self.keep()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the positions of this stop were not kept"),
            Err(_) => tracing::debug!("the positions of this stop were not kept in time"),
        }
    }
}
