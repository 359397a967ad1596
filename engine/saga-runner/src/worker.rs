//! A worker: the sagas of its share of the subjects, one input after the other; many steps at once.
//!
//! Everything it waits for is in one place: what it is told, what has become durable, what was answered, the next
//! timer. Dropped at any point it leaves nothing half done: what was appended is in the log, what was sent is sent again.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use engine_runtime::Tasks;
use event_store::{AppendError, Appended, Epoch, Position, RecordedEvent};
use eventsourcing::Timestamp;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lru::LruCache;
use parking_lot::Mutex;
use saga_engine::process::SubjectOf;
use saga_engine::{Answered, Begin, Input, State, Story as _, begin, next_timer, pending, react};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Key, KeyOf};
use super::memory::{Patience, Saga};
use super::runner::{Failed, Shared};
use super::send::send;
use super::stream::Cause;
use super::subscriber::{Subscriber, Trigger};
use super::subscription::{ActiveOf, Link, Told, WAITING, subject_of};
use super::timers::Timers;

/// How often a worker that waits looks whether the clock was set back: real time, since the clock itself is in question.
const LOOKS_AT_CLOCK: Duration = Duration::from_secs(5);
/// How far the clock must go back to count as set back: more than a running clock is corrected by at once.
const SET_BACK: TimeDelta = TimeDelta::seconds(10);

/// Timers handled before other inputs have their turn.
const TIMERS_AT_ONCE: usize = 64;

/// An append that a worker has waited for, and where the log ended before it.
pub(super) struct Done<S>(pub Key<S>, pub Result<Appended, AppendError>, pub Position);

type Flight<S> = Pin<Box<dyn Future<Output = Done<S>> + Send>>;

/// What a worker has waited for with its commands.
type Sent<S> = (Key<S>, Vec<Answered>);

pub(super) struct Worker<P: Subscriber> {
    pub shared: Arc<Shared<P>>,
    pub epoch: Epoch,
    pub head: watch::Receiver<Position>,
    pub sagas: LruCache<KeyOf<P>, Saga<P>>,
    timers: Timers<SubjectOf<P>>,
    /// The latest time that the clock has shown.
    latest: Timestamp,
    /// Sagas with something to send, for which there was no room.
    ready: VecDeque<KeyOf<P>>,
    queued: HashSet<KeyOf<P>>,
    /// Appends that are not durable yet. They are polled only between two inputs, so they must never hold anything that
    /// somebody else waits for: each is the answer to an append that the log already has.
    pub flights: FuturesUnordered<Flight<SubjectOf<P>>>,
    /// Commands on their way. Each is a task of its own: it holds the turn of a stream, a connection or a permit, and
    /// has to go on while the worker is busy with another saga.
    sends: JoinSet<Sent<SubjectOf<P>>>,
    steps: usize,
    /// How many workers a partition has.
    workers: usize,
    /// Nothing new is begun any more.
    ending: bool,
    /// Who wants to know which sagas are active once nothing is on its way.
    last: Option<oneshot::Sender<Vec<ActiveOf<P>>>>,
}

/// What a worker and its generation tell each other.
#[derive(Clone)]
pub(super) struct Signals {
    /// The epoch that the generation began in.
    pub epoch: Epoch,
    /// How many workers a partition has.
    pub workers: usize,
    /// The generation is over.
    pub ended: CancellationToken,
    /// A worker cannot go on.
    pub failed: CancellationToken,
    /// Why the first of them could not. Held for a move only.
    pub why: Arc<Mutex<Option<Failed>>>,
}

/// Starts a worker with its active sagas.
pub(super) fn spawn<P: Subscriber>(
    shared: Arc<Shared<P>>,
    tasks: &Tasks,
    signals: Signals,
    active: Vec<ActiveOf<P>>,
    saved_at: Option<Timestamp>,
) -> (Link<P>, JoinHandle<()>) {
    let (link, told) = mpsc::channel(WAITING);
    let mut worker = Worker {
        sagas: LruCache::unbounded(),
        workers: signals.workers,
        head: shared.store.head(),
        latest: saved_at.unwrap_or(Timestamp::MIN_UTC),
        shared,
        epoch: signals.epoch,
        timers: Timers::default(),
        ready: VecDeque::new(),
        queued: HashSet::new(),
        flights: FuturesUnordered::new(),
        sends: JoinSet::new(),
        steps: 0,
        ending: false,
        last: None,
    };
    for entry in active {
        // Whatever has been written since the checkpoint is behind this version: the first of it makes one look.
        worker.timers.set(&entry.key, entry.due, entry.open, 0);
        if entry.open {
            worker.enqueue(entry.key);
        }
    }
    let join = tasks.spawn("saga worker", async move {
        // However it ends, in a panic too, its generation learns of it.
        let _says_so = signals.failed.drop_guard();
        // Dropped at any point: a store that does not answer keeps nobody from handing the partition over.
        let run = async {
            tokio::select! { result = worker.run(told) => result, () = signals.ended.cancelled() => Ok(()) }
        };
        if let Err(error) = run.await {
            signals.why.lock().get_or_insert(error);
        }
        // When the worker has ended, nothing of it is sent any more.
        worker.sends.shutdown().await;
    });
    (link, join)
}

impl<P: Subscriber> Worker<P> {
    /// What this worker may have of the process's room for sagas or steps, which the workers of the partitions that the
    /// process has at the moment share.
    pub(super) fn room(&self, of_process: usize) -> usize {
        (of_process / (self.workers * self.shared.ways.owned())).max(1)
    }

    async fn run(&mut self, mut told: mpsc::Receiver<Told<P>>) -> Result<(), Failed> {
        let clock = self.shared.clock.clone();
        loop {
            if !self.ending {
                self.launch().await?;
            } else if self.flights.is_empty() && self.sends.is_empty() {
                self.tell_active();
            }
            self.look_at_clock();
            let next = self.timers.next().filter(|_| !self.ending);
            let timer =
                async { if let Some(at) = next { clock.sleep_until(at).await } else { std::future::pending().await } };
            tokio::select! {
                Some(done) = self.flights.next(), if !self.flights.is_empty() => self.done(done).await?,
                Some(sent) = self.sends.join_next(), if !self.sends.is_empty() => self.sent(sent).await?,
                message = told.recv() => match message {
                    Some(Told::Triggers(batch)) => {
                        for (event, trigger) in batch {
                            self.triggered(&event, trigger).await?;
                        }
                    }
                    Some(Told::Written(sagas)) => {
                        for (key, version) in sagas {
                            self.written(&key, version).await?;
                        }
                    }
                    Some(Told::Act(request)) => self.act(*request).await?,
                    Some(Told::Active(reply)) => {
                        let _ = reply.send(self.timers.all().collect()); // Nobody waits any more: nothing to tell.
                    }
                    Some(Told::Last(reply)) => (self.ending, self.last) = (true, Some(reply)),
                    None => return Ok(()),
                },
                () = tokio::time::sleep(LOOKS_AT_CLOCK) => {}
                () = timer => {
                    for key in self.timers.due(self.shared.clock.now(), TIMERS_AT_ONCE) {
                        self.input(&key, &Input::Time, None).await?;
                    }
                }
            }
        }
    }

    /// If the clock was set back, what was put off by it as it was before may be far away now: each saga that waits for a
    /// moment is looked at, and sets its moments right.
    fn look_at_clock(&mut self) {
        let now = self.shared.clock.now();
        if self.latest - now > SET_BACK {
            let (was, waiting) = (self.latest, self.timers.all_due(now));
            tracing::warn!(%was, is = %now, waiting, "the clock was set back; sagas that wait for a moment are looked at");
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    /// Says which sagas are active, to whom waited until nothing is on its way.
    fn tell_active(&mut self) {
        if let Some(reply) = self.last.take() {
            let _ = reply.send(self.timers.all().collect()); // Nobody waits any more: nothing to tell.
        }
    }

    /// A saga has events up to this version. If this worker has not written them, somebody else has: then it is read.
    async fn written(&mut self, key: &KeyOf<P>, version: u64) -> Result<(), Failed> {
        if !self.timers.is_behind(key, version) {
            return Ok(()); // Its own, or of a saga that has ended.
        }
        self.sagas.pop(key);
        self.input(key, &Input::Time, None).await
    }

    async fn triggered(&mut self, event: &RecordedEvent, trigger: Trigger<P>) -> Result<(), Failed> {
        let cause = Cause {
            id: event.id,
            correlation_id: event.metadata.correlation_id,
            traceparent: event.metadata.traceparent.clone(),
            person: None,
        };
        match trigger {
            Trigger::Begin(saga, start) => {
                let key = Key { saga: saga.into(), id: start.id(), subject: P::Story::subject(&start.facts) };
                if !self.timers.contains(&key) {
                    self.begin(&key, &start, &cause).await?;
                }
                Ok(())
            }
            Trigger::Fact(source, outside) => {
                let Some(subject) = subject_of::<P>(event) else { return Ok(()) };
                let input = Input::Fact(source, outside);
                // What is not active has ended, or never began: neither waits for anything.
                for key in self.timers.of_subject(subject) {
                    self.input(&key, &input, Some(&cause)).await?;
                }
                Ok(())
            }
        }
    }

    /// Begins a saga, unless it has begun: then the log says so, and it goes on from there.
    async fn begin(&mut self, key: &KeyOf<P>, start: &Begin<P>, cause: &Cause) -> Result<(), Failed> {
        let Some(definition) = P::newest(&key.saga) else { return Ok(()) };
        let stream = key.stream::<P>();
        let now = self.shared.clock.now();
        let events = begin(definition, &stream, start, now, &self.shared.settings);
        let mut saga = Saga::new(State::new(stream), None);
        if self.append(key, &mut saga, &events, cause, &mut None).await? {
            metrics::counter!("backstitch_sagas_started_total", "saga" => definition.name).increment(1);
            self.keep(key, saga);
            self.touched(key);
            return Ok(());
        }
        self.sagas.pop(key);
        self.input(key, &Input::Time, None).await
    }

    /// Takes an input in: judge, append, fold. Judged anew where somebody else wrote meanwhile.
    pub async fn input(&mut self, key: &KeyOf<P>, input: &Input<P>, cause: Option<&Cause>) -> Result<(), Failed> {
        let mut patience = Patience::default();
        while patience.lasts().await {
            let mut saga = self.taken(key).await?;
            let events = react(&saga.state, input, self.shared.clock.now(), &self.shared.settings);
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
        Err(Failed::Contended(key.stream::<P>()))
    }

    /// A saga may have changed: set its timer, send what is to be sent.
    pub fn touched(&mut self, key: &KeyOf<P>) {
        if self.retimed(key) && self.sagas.peek(key).is_some_and(|saga| saga.doubt == 0) {
            self.enqueue(key.clone());
        }
    }

    /// Sets a saga's timer. Whether it has commands open.
    fn retimed(&mut self, key: &KeyOf<P>) -> bool {
        let now = self.shared.clock.now();
        let Some(saga) = self.sagas.peek(key) else { return false };
        if saga.state.ended || saga.state.facts.is_none() {
            self.timers.remove(key);
            return false;
        }
        let open = !pending(&saga.state, now).is_empty();
        self.timers.set(key, next_timer(&saga.state, now), open, saga.state.version.unwrap_or_default());
        open
    }

    fn enqueue(&mut self, key: KeyOf<P>) {
        if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Sends what is to be sent, as far as the window allows.
    async fn launch(&mut self) -> Result<(), Failed> {
        while self.steps < self.room(self.shared.limits.window) {
            let Some(key) = self.ready.pop_front() else { return Ok(()) };
            self.queued.remove(&key);
            let mut saga = self.current(&key).await?;
            if saga.doubt == 0 {
                let now = self.shared.clock.now();
                for step in pending(&saga.state, now) {
                    let Some(mark) = step.commands.first().map(|command| (command.id, step.attempt)) else { continue };
                    if !saga.sent.contains(&mark) {
                        saga.sent.retain(|(id, _)| *id != mark.0);
                        saga.sent.push(mark);
                        saga.flying += 1;
                        self.steps += 1;
                        let from = (&saga.state, saga.seen);
                        let (key, answers) = (key.clone(), send(self.shared.clone(), &key.saga, from, step));
                        self.sends.spawn(async move { (key, answers.await) });
                    }
                }
            }
            self.keep(&key, saga);
            self.retimed(&key);
        }
        Ok(())
    }

    async fn done(&mut self, Done(key, result, end): Done<SubjectOf<P>>) -> Result<(), Failed> {
        let appended = result?; // The epoch has ended, or the log cannot be written: all is read again.
        // Read while this append was on its way, the saga in memory has not got it.
        let is_behind = |saga: &Saga<P>| saga.state.version < Some(appended.version);
        if appended.position <= end || self.sagas.peek(&key).is_none_or(is_behind) {
            // These very events stood there already, and more may: what was folded may be long past.
            self.sagas.pop(&key);
            return self.input(&key, &Input::Time, None).await;
        }
        if let Some(saga) = self.sagas.peek_mut(&key) {
            saga.doubt = saga.doubt.saturating_sub(1);
        }
        self.touched(&key);
        Ok(())
    }

    async fn sent(&mut self, sent: Result<Sent<SubjectOf<P>>, JoinError>) -> Result<(), Failed> {
        let (key, answers) = sent.map_err(|_| Failed::Worker)?; // It panicked: all is read again.
        self.steps -= 1;
        if let Some(saga) = self.sagas.peek_mut(&key) {
            saga.flying = saga.flying.saturating_sub(1);
        }
        let first = answers.first().map(|answer| answer.command_id);
        let cause = first.map(|id| Cause { id, correlation_id: id, traceparent: None, person: None });
        self.input(&key, &Input::Answers(answers), cause.as_ref()).await
    }
}
