//! A worker: the sagas of its share of the orders, one input after the other; many steps at once.
//!
//! Everything it waits for is in one place: what it is told, what has become durable, what was answered, the next
//! timer. Dropped at any point it leaves nothing half done: what was appended is in the log, what was sent is sent again.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use event_store::{AppendError, Appended, Epoch, RecordedEvent, StreamName};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lru::LruCache;
use service_kit::Tasks;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::checkpoint::{Active, Key};
use super::feed::{Link, Told, WAITING, order_of};
use super::operator::Answer;
use super::send::send;
use super::timers::Timers;
use super::{Failed, Shared};
use crate::engine::{Answered, Begin, Input, State, begin, next_timer, pending, react};
use crate::stream::{Cause, Feed, append, load};

/// How often an input is judged anew because somebody else wrote the saga meanwhile. Only another orchestrator does,
/// at a take-over; five times in a row it is no take-over.
pub(super) const CONFLICTS: u32 = 5;
/// How often an append is tried while the store has too much to write, 5 ms apart: one second.
const OVERLOADS: u32 = 200;
/// Timers handled before other inputs have their turn.
const TIMERS_AT_ONCE: usize = 64;

/// A saga in memory.
pub(super) struct Saga {
    pub state: State,
    /// Appends that are not durable yet. While there are any, nothing is sent.
    doubt: u32,
    /// Steps whose commands are on their way.
    flying: u32,
    /// What this process has sent: the first command of a step and the attempt.
    sent: Vec<(Uuid, u32)>,
}

enum Done {
    Durable(Key, Result<Appended, AppendError>),
    Answered(Key, Vec<Answered>),
}

type Flight = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) struct Worker {
    pub shared: Arc<Shared>,
    epoch: Epoch,
    sagas: LruCache<Key, Saga>,
    cached: usize,
    timers: Timers,
    /// Sagas with something to send, for which there was no room.
    ready: VecDeque<Key>,
    queued: HashSet<Key>,
    flights: FuturesUnordered<Flight>,
    steps: usize,
    window: usize,
}

/// What a worker and its generation tell each other.
#[derive(Clone)]
pub(super) struct Signals {
    /// The epoch that the generation began in.
    pub epoch: Epoch,
    /// The generation is over.
    pub ended: CancellationToken,
    /// The worker cannot go on.
    pub failed: CancellationToken,
}

/// Starts a worker with its active sagas.
pub(super) fn spawn(
    shared: Arc<Shared>,
    tasks: &Tasks,
    signals: Signals,
    active: Vec<Active>,
) -> (Link, JoinHandle<()>) {
    let (link, told) = mpsc::channel(WAITING);
    let workers = shared.config.workers.max(1);
    let mut worker = Worker {
        sagas: LruCache::unbounded(),
        cached: (shared.config.cached_sagas / workers).max(1),
        window: (shared.config.window / workers).max(1),
        shared,
        epoch: signals.epoch,
        timers: Timers::default(),
        ready: VecDeque::new(),
        queued: HashSet::new(),
        flights: FuturesUnordered::new(),
        steps: 0,
    };
    for entry in active {
        worker.timers.set(&entry.key, entry.due, entry.open);
        if entry.open {
            worker.enqueue(entry.key);
        }
    }
    let join = tasks.spawn("saga worker", async move {
        // However it ends, in a panic too, its generation learns of it.
        let _says_so = signals.failed.drop_guard();
        match worker.run(told, signals.ended).await {
            Ok(()) | Err(Failed::Append(AppendError::EpochEnded { .. })) => {}
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a saga worker failed"),
        }
    });
    (link, join)
}

impl Worker {
    async fn run(&mut self, mut told: mpsc::Receiver<Told>, ended: CancellationToken) -> Result<(), Failed> {
        let clock = self.shared.clock.clone();
        loop {
            self.launch().await?;
            let next = self.timers.next();
            let timer =
                async { if let Some(at) = next { clock.sleep_until(at).await } else { std::future::pending().await } };
            tokio::select! {
                () = ended.cancelled() => return Ok(()),
                Some(done) = self.flights.next(), if !self.flights.is_empty() => self.done(done).await?,
                message = told.recv() => match message {
                    Some(Told::Feed(batch)) => {
                        for (event, feed) in batch {
                            self.feed(&event, feed).await?;
                        }
                    }
                    Some(Told::Act(request)) => self.act(*request).await?,
                    Some(Told::Active(reply)) => {
                        let _ = reply.send(self.timers.all().collect()); // Nobody waits any more: nothing to tell.
                    }
                    None => return Ok(()),
                },
                () = timer => {
                    for key in self.timers.due(self.shared.clock.now(), TIMERS_AT_ONCE) {
                        self.input(&key, &Input::Time, None).await?;
                    }
                }
            }
        }
    }

    async fn feed(&mut self, event: &RecordedEvent, feed: Feed) -> Result<(), Failed> {
        let cause = Cause {
            id: event.id,
            correlation_id: event.metadata.correlation_id,
            traceparent: event.metadata.traceparent.clone(),
            person: None,
        };
        match feed {
            Feed::Begin(saga, start) => {
                let key = Key { saga: saga.into(), id: start.id(), order_id: start.facts.order_id() };
                if !self.timers.contains(&key) {
                    self.begin(&key, &start, &cause).await?;
                }
                Ok(())
            }
            Feed::Fact(source, outside) => {
                let Some(order_id) = order_of(event) else { return Ok(()) };
                let input = Input::Fact(source, outside);
                // What is not active has ended, or never began: neither waits for anything.
                for key in self.timers.of_order(order_id) {
                    self.input(&key, &input, Some(&cause)).await?;
                }
                Ok(())
            }
        }
    }

    /// Begins a saga, unless it has begun: then the log says so, and it goes on from there.
    async fn begin(&mut self, key: &Key, start: &Begin, cause: &Cause) -> Result<(), Failed> {
        let Some(definition) = crate::sagas::newest(&key.saga) else { return Ok(()) };
        let stream = key.stream();
        let now = self.shared.clock.now();
        let events = begin(definition, &stream, start, now, &self.shared.config);
        let mut saga = Saga { state: State::new(stream), doubt: 0, flying: 0, sent: Vec::new() };
        if self.append(key, &mut saga, &events, cause, &mut None).await? {
            metrics::counter!("sagas_started_total", "saga" => definition.name).increment(1);
            self.keep(key, saga);
            self.touched(key);
            return Ok(());
        }
        self.sagas.pop(key);
        self.input(key, &Input::Time, None).await
    }

    /// Takes an input in: judge, append, fold. Judged anew where somebody else wrote meanwhile.
    pub async fn input(&mut self, key: &Key, input: &Input, cause: Option<&Cause>) -> Result<(), Failed> {
        for _ in 0..CONFLICTS {
            let mut saga = self.taken(key).await?;
            let events = react(&saga.state, input, self.shared.clock.now(), &self.shared.config);
            let itself = || Cause {
                id: saga.state.last_event,
                correlation_id: saga.state.correlation_id,
                traceparent: saga.state.traceparent.clone(),
                person: None,
            };
            let cause = match cause {
                // The story is the saga's, also where a provider's webhook began one of its own.
                Some(cause) => Cause { id: cause.id, ..itself() },
                None => itself(),
            };
            if events.is_empty() || self.append(key, &mut saga, &events, &cause, &mut None).await? {
                self.keep(key, saga);
                self.touched(key);
                return Ok(());
            }
        }
        Err(Failed::Contended(key.stream()))
    }

    /// A saga out of memory, else out of the log.
    pub async fn taken(&mut self, key: &Key) -> Result<Saga, Failed> {
        if let Some(saga) = self.sagas.pop(key) {
            return Ok(saga);
        }
        let stream: StreamName = key.stream().parse().map_err(|_| Failed::Name(key.stream()))?;
        let state = load(&*self.shared.store, &stream).await?;
        Ok(Saga { state, doubt: 0, flying: 0, sent: Vec::new() })
    }

    /// Queues events, and says so to `waiting` once they are durable; `false` if somebody else wrote first.
    pub async fn append(
        &mut self,
        key: &Key,
        saga: &mut Saga,
        events: &[domain::saga::Event],
        cause: &Cause,
        waiting: &mut Option<oneshot::Sender<Answer>>,
    ) -> Result<bool, Failed> {
        let mut overloads = 0;
        loop {
            let now = self.shared.clock.now();
            match append((&*self.shared.store, self.epoch), &mut saga.state, events, cause, now).await {
                Ok(ticket) => {
                    for event in events {
                        metrics::counter!("saga_events_total", "type" => event.name()).increment(1);
                    }
                    saga.doubt += 1;
                    let (key, waiting) = (key.clone(), waiting.take());
                    self.flights.push(Box::pin(async move {
                        let result = ticket.durable().await;
                        // Durable from here. Dropped before, who waits hears that there is no answer.
                        if let (Ok(_), Some(waiting)) = (&result, waiting) {
                            let _ = waiting.send(Answer::Done);
                        }
                        Done::Durable(key, result)
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
    pub fn keep(&mut self, key: &Key, saga: Saga) {
        self.sagas.push(key.clone(), saga);
        let mut looked_at = 0;
        while self.sagas.len() > self.cached && looked_at < 8 {
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

    /// A saga may have changed: set its timer, send what is to be sent.
    pub fn touched(&mut self, key: &Key) {
        if self.retimed(key) && self.sagas.peek(key).is_some_and(|saga| saga.doubt == 0) {
            self.enqueue(key.clone());
        }
    }

    /// Sets a saga's timer. Whether it has commands open.
    fn retimed(&mut self, key: &Key) -> bool {
        let now = self.shared.clock.now();
        let Some(saga) = self.sagas.peek(key) else { return false };
        if saga.state.ended || saga.state.facts.is_none() {
            self.timers.remove(key);
            return false;
        }
        let open = !pending(&saga.state, now).is_empty();
        self.timers.set(key, next_timer(&saga.state, now), open);
        open
    }

    fn enqueue(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Sends what is to be sent, as far as the window allows.
    async fn launch(&mut self) -> Result<(), Failed> {
        while self.steps < self.window {
            let Some(key) = self.ready.pop_front() else { return Ok(()) };
            self.queued.remove(&key);
            let mut saga = self.taken(&key).await?;
            if saga.doubt == 0 {
                let now = self.shared.clock.now();
                for step in pending(&saga.state, now) {
                    let Some(mark) = step.commands.first().map(|command| (command.id, step.attempt)) else { continue };
                    if !saga.sent.contains(&mark) {
                        saga.sent.retain(|(id, _)| *id != mark.0);
                        saga.sent.push(mark);
                        saga.flying += 1;
                        self.steps += 1;
                        let (key, answers) = (key.clone(), send(self.shared.clone(), &key.saga, &saga.state, step));
                        self.flights.push(Box::pin(async move { Done::Answered(key, answers.await) }));
                    }
                }
            }
            self.keep(&key, saga);
            self.retimed(&key);
        }
        Ok(())
    }

    async fn done(&mut self, done: Done) -> Result<(), Failed> {
        match done {
            Done::Durable(key, result) => {
                result?; // The epoch has ended, or the log cannot be written: all is read again.
                if let Some(saga) = self.sagas.peek_mut(&key) {
                    saga.doubt = saga.doubt.saturating_sub(1);
                }
                self.touched(&key);
                Ok(())
            }
            Done::Answered(key, answers) => {
                self.steps -= 1;
                if let Some(saga) = self.sagas.peek_mut(&key) {
                    saga.flying = saga.flying.saturating_sub(1);
                }
                let first = answers.first().map(|answer| answer.command_id);
                let cause = first.map(|id| Cause { id, correlation_id: id, traceparent: None, person: None });
                self.input(&key, &Input::Answers(answers), cause.as_ref()).await
            }
        }
    }
}
