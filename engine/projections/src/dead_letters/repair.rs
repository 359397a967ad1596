//! What an operator does with a parked key, inside one transaction of the runner: try, retry, discard.
//!
//! The stream is read from the log from the event at which it stands, and applied as a batch would be. Whatever comes of
//! it is in the rows and in `dead_letters` together: when the process dies in the middle, nothing has happened, and the
//! same request again does it.

use std::collections::HashMap;
use std::sync::Arc;

use event_store::{EventStore, StreamName};
use parking_lot::{Mutex, MutexGuard};
use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::letters::{Discarding, Letter, Parked};
use super::resume::resume;
use super::table;
use crate::feeding::checkpoint::Slice;
use crate::projecting::postgres::Postgres;
use crate::projecting::projection::Projection;
use crate::projecting::row_store::{roll_back, savepoint};
use crate::read_model::ReadModel;

/// Requests that wait for the runner: people and scripts ask one at a time.
const MOST_REQUESTS: usize = 16;

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Sees whether it would work now, and changes nothing.
    Try,
    /// Applies the stream from where it stands.
    Retry,
    /// Moves past the event at which it stands, for ever, and goes on.
    Discard(Discarding),
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// How many events were applied.
    pub applied: u64,
    /// The version that was moved past, now or by the same request before.
    pub discarded: Option<u64>,
    /// Nothing was done: the same request had done it before.
    pub replayed: bool,
    /// Where the stream stands now; `None`: it is not parked any more.
    pub parked: Option<Letter>,
    /// Keys that came to rest with it.
    pub(crate) at_rest: Vec<Uuid>,
}

/// Why it must not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The runner does not feed it.
    #[error("no generation {0} of this read model is fed at the moment")]
    NotFed(i32),
    /// There is nothing to move past.
    #[error("the stream is not parked: there is no event to discard")]
    NotParked,
    /// It is not in the way any more.
    #[error("version {0} can be applied now: retry it instead, then nothing is lost")]
    WouldWork(u64),
    /// What follows would have no row to change.
    #[error(
        "version 0 begins the row of this stream: without it, what follows would change nothing that can be shown; \
         remove the cause (or run a release that reads it), then retry"
    )]
    BeginsRow,
}

/// What a request gets.
pub type Reply = Result<Repaired, Refusal>;

/// An operator's wish, on its way to the runner.
#[derive(Debug)]
pub(crate) struct Request {
    pub slice: Slice,
    pub stream: StreamName,
    pub verb: Verb,
    pub reply: oneshot::Sender<Reply>,
}

/// The ways to the runners of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    /// By partition. Held for a map operation only.
    runners: Arc<Mutex<HashMap<u32, mpsc::Sender<Request>>>>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Answered {
    /// The runner's answer.
    Reply(Reply),
    /// The runner has no time now, or stands still.
    Busy,
    /// The partition's runner is not in this process.
    Elsewhere,
}

impl Desk {
    /// A way to the runner of a partition, and its end there.
    pub fn open(&self, partition: u32) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(MOST_REQUESTS);
        self.lock().insert(partition, sender);
        receiver
    }

    /// The runner whose end this is works no more.
    pub fn close(&self, partition: u32, end: mpsc::Receiver<Request>) {
        drop(end);
        let mut runners = self.lock();
        // Its successor may be there already.
        if runners.get(&partition).is_some_and(mpsc::Sender::is_closed) {
            runners.remove(&partition);
        }
    }

    /// Asks a partition's runner. Dropped while waiting, it may still be done.
    pub async fn ask(&self, partition: u32, slice: Slice, stream: StreamName, verb: Verb) -> Answered {
        let Some(runner) = self.lock().get(&partition).cloned() else { return Answered::Elsewhere };
        let (reply, answer) = oneshot::channel();
        if runner.try_send(Request { slice, stream, verb, reply }).is_err() {
            return Answered::Busy;
        }
        answer.await.map_or(Answered::Busy, Answered::Reply)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, mpsc::Sender<Request>>> {
        self.runners.lock()
    }
}

/// Does what is asked, with one parked stream of one projection. `parked` is as it must be once the transaction has
/// committed.
///
/// # Errors
/// What Postgres says; the transaction must not commit then.
pub async fn repair(
    model: &ReadModel,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    slice: Slice,
    (stream, verb): (&StreamName, &Verb),
    parked: &mut Parked,
) -> Result<Reply, sqlx::Error> {
    let fresh = model.make;
    match verb {
        Verb::Try => Ok(Ok(attempt(fresh, sql, store, stream, parked).await?)),
        Verb::Retry => Ok(Ok(retry(fresh, sql, store, stream, parked).await?)),
        Verb::Discard(by) => {
            if let Some(version) = table::discarded_by(sql, slice, stream, by.request_id).await? {
                let now = parked.letter(stream).cloned();
                let replayed =
                    Repaired { discarded: Some(version), replayed: true, parked: now, ..Repaired::default() };
                return Ok(Ok(replayed));
            }
            let Some(letter) = parked.letter(stream).cloned() else { return Ok(Err(Refusal::NotParked)) };
            let now = attempt(fresh, sql, store, stream, parked).await?;
            if now.parked.is_none_or(|now| now.version > letter.version) {
                return Ok(Err(Refusal::WouldWork(letter.version)));
            }
            if letter.version == 0 && model.begins_row {
                return Ok(Err(Refusal::BeginsRow));
            }
            table::record_discard(sql, slice, (stream, &letter), by).await?;
            parked.discard(stream, letter.version);
            let resumed = retry(fresh, sql, store, stream, parked).await?;
            Ok(Ok(Repaired { discarded: Some(letter.version), ..resumed }))
        }
    }
}

/// What [`retry`] would do; nothing of it stays.
async fn attempt(
    fresh: fn() -> Box<dyn Projection>,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    stream: &StreamName,
    parked: &Parked,
) -> Result<Repaired, sqlx::Error> {
    savepoint::<Postgres>(sql).await?;
    let tried = retry(fresh, sql, store, stream, &mut parked.clone()).await;
    roll_back::<Postgres>(sql).await?;
    tried
}

/// Applies a parked stream from where it stands, as far as that goes.
async fn retry(
    fresh: fn() -> Box<dyn Projection>,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    stream: &StreamName,
    parked: &mut Parked,
) -> Result<Repaired, sqlx::Error> {
    let (applied, at_rest) = resume(fresh, sql, store, stream, parked).await?;
    let (applied, stands) = (applied.folded + applied.skipped, parked.letter(stream).cloned());
    Ok(Repaired { applied, at_rest, parked: stands, ..Repaired::default() })
}
