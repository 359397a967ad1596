//! The sagas that a worker has in memory: out of the log and, with what follows, back into it.
//!
//! *Invariant:* what is in memory is never the last word. An append says at which version it was decided, and where
//! somebody else has written the saga it is read and judged again. Nothing is sent that follows from a state of which it
//! is not known that, a moment ago, it was the newest.

use std::time::Duration;

use event_store::{AppendError, Direction, Position, StreamName};
use eventsourcing::Timestamp;
use rand::RngExt;
use saga_engine::process::EventOf;
use saga_engine::{Event, State};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::checkpoint::KeyOf;
use super::operator::Answer;
use super::runner::Failed;
use super::stream::{Cause, append, load};
use super::subscriber::{Ended, Subscriber};
use super::worker::{Done, Worker};

/// How often an input is judged because somebody else wrote the saga meanwhile. That is another orchestrator, one that
/// was paused or has not heard yet that the partition is no longer its own. A saga has some 40 events, so who meets more
/// than that many appends one after the other has met something else.
const CONFLICTS: u32 = 40;
/// The longest wait before an input is judged again, drawn anew each time: two who act on the same saga fall out of
/// step, and one of them finds it as the other has left it.
const CONFLICT_PAUSE_MS: u64 = 64;
/// How often an append is tried while the store has too much to write, 5 ms apart: one second.
const OVERLOADS: u32 = 200;
/// How long a saga of a shared log, once seen to be at its newest version, is taken to be: long enough that a step's own
/// append and what it sends need no look in between; far below the time in which a participant could forget
/// (`send.rs`).
const TRUSTED: Duration = Duration::from_secs(5);

/// A saga in memory.
pub(super) struct Saga<P: Subscriber> {
    pub state: State<P>,
    /// Appends that are not durable yet. While there are any, nothing is sent.
    pub doubt: u32,
    /// Steps whose commands are on their way.
    pub flying: u32,
    /// What this process has sent: the first command of a step and the attempt.
    pub sent: Vec<(Uuid, u32)>,
    /// When the state was last known to be the newest.
    pub seen: Timestamp,
}

impl<P: Subscriber> Saga<P> {
    /// A saga as it was read, or is to begin. One that is to begin was not read: nobody has seen that it has not.
    pub fn new(state: State<P>, seen: Option<Timestamp>) -> Self {
        Self { state, doubt: 0, flying: 0, sent: Vec::new(), seen: seen.unwrap_or(Timestamp::MIN_UTC) }
    }

    /// Whether its state can be taken to be the newest. Also not where the clock was set back.
    fn is_trusted(&self, now: Timestamp) -> bool {
        (now - self.seen).to_std().is_ok_and(|age| age <= TRUSTED)
    }
}

/// Judging an input again, and how long that can go on.
#[derive(Default)]
pub(super) struct Patience {
    judged: u32,
}

impl Patience {
    /// Whether to judge (again), after a pause that grows.
    pub async fn lasts(&mut self) -> bool {
        if self.judged > 1 {
            let most = CONFLICT_PAUSE_MS.min(1 << self.judged.min(10));
            let pause = rand::rng().random_range(1..=most);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.judged += 1;
        self.judged <= CONFLICTS
    }
}

/// One line for each saga that ends.
fn tell<P: Subscriber>(key: &KeyOf<P>, event: &EventOf<P>, cause: &Cause) {
    use Event as E;
    let how = match event {
        E::SagaCompleted(_) => "completed",
        E::SagaCompensated(_) => "compensated",
        E::SagaHandedOver(_) => "handed over",
        E::SagaStarted(_)
        | E::SagaInputRecorded(_)
        | E::StepStarted(_)
        | E::CommandAnswered(_)
        | E::StepRetryScheduled(_)
        | E::StepRenewed(_)
        | E::StepSucceeded(_)
        | E::StepFailed(_)
        | E::CompensationStarted(_)
        | E::UndoStarted(_)
        | E::UndoSucceeded(_)
        | E::SagaNeedsAttention(_)
        | E::OperatorActed(_) => return,
    };
    let (saga, id, subject) = (&*key.saga, key.id, key.subject);
    P::log_end(&Ended { saga, id, subject, correlation_id: cause.correlation_id, how });
}

impl<P: Subscriber> Worker<P> {
    /// A saga out of memory, else out of the log.
    pub async fn taken(&mut self, key: &KeyOf<P>) -> Result<Saga<P>, Failed> {
        if let Some(saga) = self.sagas.pop(key) {
            return Ok(saga);
        }
        let seen = self.shared.clock.now();
        let state = load(&*self.shared.store, &stream_of::<P>(key)?).await?;
        Ok(Saga::new(state, Some(seen)))
    }

    /// A saga as it is now, before something is sent that follows from it. Where nobody else writes the log, what is in
    /// memory is so by itself.
    pub async fn current(&mut self, key: &KeyOf<P>) -> Result<Saga<P>, Failed> {
        let mut saga = self.taken(key).await?;
        let now = self.shared.clock.now();
        if !self.shared.store.is_shared() {
            saga.seen = now;
            return Ok(saga);
        }
        if saga.is_trusted(now) {
            return Ok(saga);
        }
        let next = saga.state.version.map_or(0, |version| version + 1);
        if self.shared.store.read_stream(&stream_of::<P>(key)?, next, Direction::Forward, 1).await?.is_empty() {
            saga.seen = now;
            return Ok(saga);
        }
        self.taken(key).await // It has left the memory above, so it is read anew.
    }

    /// Queues events, and says so to `waiting` once they are durable; `false` if somebody else wrote first.
    pub async fn append(
        &mut self,
        key: &KeyOf<P>,
        saga: &mut Saga<P>,
        events: &[EventOf<P>],
        cause: &Cause,
        waiting: &mut Option<oneshot::Sender<Answer>>,
    ) -> Result<bool, Failed> {
        let mut overloads = 0;
        loop {
            let now = self.shared.clock.now();
            let end: Position = *self.head.borrow();
            match append((&*self.shared.store, self.epoch), &mut saga.state, events, cause, now).await {
                Ok(ticket) => {
                    for event in events {
                        metrics::counter!("backstitch_saga_events_total", "type" => event.name()).increment(1);
                        tell::<P>(key, event, cause);
                    }
                    // The same events again are accepted wherever they already stand: that is no sign that nothing has
                    // followed. So only who knew it shortly before knows it still.
                    if saga.is_trusted(now) {
                        saga.seen = now;
                    }
                    saga.doubt += 1;
                    let (key, waiting) = (key.clone(), waiting.take());
                    self.flights.push(Box::pin(async move {
                        let result = ticket.durable().await;
                        // Durable from here. Dropped before, who waits hears that there is no answer.
                        if let (Ok(_), Some(waiting)) = (&result, waiting) {
                            let _ = waiting.send(Answer::Done);
                        }
                        Done(key, result, end)
                    }));
                    return Ok(true);
                }
                Err(AppendError::Conflict { .. }) => return Ok(false),
                Err(AppendError::Overloaded) if overloads < OVERLOADS => {
                    overloads += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Keeps a saga in memory. One with something on its way is never dropped; there are no more of those than the
    /// window and the appends in flight.
    pub fn keep(&mut self, key: &KeyOf<P>, saga: Saga<P>) {
        self.sagas.push(key.clone(), saga);
        let mut looked_at = 0;
        let room = self.room(self.shared.limits.cached_sagas);
        while self.sagas.len() > room && looked_at < 8 {
            looked_at += 1;
            match self.sagas.pop_lru() {
                Some((busy, saga)) if saga.doubt > 0 || saga.flying > 0 => {
                    self.sagas.push(busy, saga);
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

fn stream_of<P: Subscriber>(key: &KeyOf<P>) -> Result<StreamName, Failed> {
    let name = key.stream::<P>();
    name.parse().map_err(|_| Failed::Name(name))
}
