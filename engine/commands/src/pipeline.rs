//! The path of a command through its stream: it takes its turn, is compared with earlier requests, is decided on the
//! state that earlier commands leave, and queues its events. Then the next command has its turn, and the answer is
//! given when everything that it rests on is durable.
//!
//! *Invariant:* every answer of [`Pipeline::send`] rests on durable events only: an acceptance, a refusal, and an
//! answer without a change.
//! *Invariant:* a state folded from events that were lost is never decided on: it is read again.
//! *Invariant:* where others write the log, too, an answer that appends nothing is only given from a state that was all
//! there was at some moment after the question came. An append needs no such care: it says what it was decided on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_runtime::{Clock, Pauses, Tasks};
use event_store::{AppendError, Direction, Epoch, EventStore, Position, StreamName};
use eventsourcing::{Aggregate, Namespace, Timestamp};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::cache::{Beneath, Cache, Folded, Look, Slot};
use crate::command::{CommandMeta, Loaded, Origin, Reply, SendError};
use crate::decision::{Answer, Judged, append, judge};
use crate::engine::Request;
use crate::idempotency::{Answers, Known, Remembered, Window};
use crate::snapshot::{Snapshots, damaged, unreadable};

/// How often a command is decided again when somebody else wrote first or a commit failed. In one process a conflict
/// only follows on a dropped request or a new epoch, so twice is enough but for very bad luck.
const ATTEMPTS_MAX: u32 = 5;

/// The same where others write the log, too. Each conflict is somebody's success, so of R replicas that meet on one
/// stream a command loses a round with a chance of at most (R - 1) / R: among five, all rounds of 48 with 0.8^48, once
/// in 45 000 commands, and then it is told to come again.
const ATTEMPTS_SHARED_MAX: u32 = 48;

/// The longest pauses before such rounds: up to some appends' time, so that replicas do not run after each other.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(2), Duration::from_millis(64));

/// What all kinds of aggregates share.
pub(crate) struct Shared {
    pub store: Arc<dyn EventStore>,
    pub epoch: watch::Receiver<Epoch>,
    pub head: watch::Receiver<Position>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub answers: Answers,
    pub snapshots: Snapshots,
    ids: Namespace,
    attempts_max: u32,
}

impl Shared {
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, tasks: Tasks, ids: Namespace) -> Self {
        let (epoch, head, snapshots) = (store.epoch(), store.head(), Snapshots::new(store.clone(), clock.clone()));
        let attempts_max = if store.is_shared() { ATTEMPTS_SHARED_MAX } else { ATTEMPTS_MAX };
        Self { store, epoch, head, clock, tasks, answers: Answers::new(), snapshots, ids, attempts_max }
    }

    fn epoch(&self) -> Epoch {
        *self.epoch.borrow()
    }
}

/// What became of a command in its turn.
enum Turn {
    /// An answer, as soon as what is beneath is durable.
    Answer(Answer, Beneath),
    /// Somebody else wrote first: the stream is at least at this version, durable or queued.
    Again(Option<u64>),
    /// The epoch ended before its events were durable.
    Ended,
}

/// What became of the events that were decided.
enum Queued<A> {
    /// They are queued and in the state.
    Yes(Folded<A>),
    /// They are not, and nobody else wrote.
    Not(Folded<A>, AppendError),
    /// Somebody else wrote first, as in [`Turn::Again`]; the state as it was.
    Again(Folded<A>, Option<u64>),
    /// As [`Turn::Ended`].
    Ended,
}

/// The streams of one kind of aggregate.
pub(crate) struct Pipeline<A> {
    shared: Arc<Shared>,
    cache: Cache<A>,
}

impl<A: Aggregate> Pipeline<A> {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cache: Cache::new() }
    }

    /// Decides a command and waits until the answer is durable.
    pub async fn send(&self, request: &Request<'_, A::Command>) -> Result<Reply, SendError> {
        let entered = self.shared.epoch();
        let mut at_least = None;
        for attempt in 0..self.shared.attempts_max {
            if self.shared.store.is_shared() && attempt > 1 {
                tokio::time::sleep(pause(attempt)).await;
            }
            let begins = request.begins && attempt == 0;
            at_least = match self.turn(request, begins, at_least, entered).await? {
                // Dropped while it waits, the command is done all the same: its key finds the answer.
                Turn::Answer(answer, beneath) => match beneath.durable().await {
                    // Durable from here.
                    Ok(position) => return self.answer(request.meta, answer, position),
                    Err(AppendError::EpochEnded { .. } | AppendError::Unknown { .. })
                        if request.meta.origin == Origin::Machine =>
                    {
                        break;
                    }
                    // The log tells whether it was written.
                    Err(AppendError::EpochEnded { .. } | AppendError::Unknown { .. }) => None,
                    Err(error) => return Err(unwritten(&error)),
                },
                Turn::Again(version) => version,
                Turn::Ended if request.meta.origin == Origin::Machine => break,
                Turn::Ended => None,
            };
        }
        Err(SendError::unavailable("the log could not write it"))
    }

    /// The state with all that is queued for it, once that is durable.
    pub async fn load(&self, stream: &StreamName) -> Result<Loaded<A>, SendError> {
        let asked_at = self.shared.snapshots.moment();
        for _ in 0..ATTEMPTS_MAX {
            let slot = self.cache.slot(stream)?;
            let mut turn = slot.turn().await?;
            let mut folded = self.folded(&mut turn, stream, None).await?;
            self.refresh(stream, &mut folded, asked_at).await?;
            let (state, version, beneath) = (folded.state.clone(), folded.version, folded.beneath.clone());
            *turn = Some(folded);
            drop(turn);
            if let Ok(position) = beneath.durable().await {
                return Ok(Loaded { state, version, position });
            }
        }
        Err(SendError::unavailable("the log could not write what the state stands on"))
    }

    /// The answer to a client's command that appended, if it was sent before.
    pub async fn recall(&self, stream: &StreamName, meta: &CommandMeta) -> Result<Option<Reply>, SendError> {
        let Some(hash) = &meta.command_hash else { return Ok(None) };
        let asked_at = self.shared.snapshots.moment();
        let slot = self.cache.slot(stream)?;
        let mut turn = slot.turn().await?;
        let mut folded = self.folded(&mut turn, stream, None).await?;
        self.refresh(stream, &mut folded, asked_at).await?;
        self.recall_older(stream, meta, &mut folded).await?;
        let known = folded.window.find(meta.command_id, hash);
        *turn = Some(folded);
        match known {
            Known::No => Ok(None),
            Known::Done { version, position } => {
                Ok(Some(Reply { version: Some(version), position, replayed: true, changed: true }))
            }
            Known::InFlight => Err(SendError::InFlight),
            Known::OtherBody => Err(SendError::KeyReused),
        }
    }

    async fn turn(
        &self,
        request: &Request<'_, A::Command>,
        begins: bool,
        at_least: Option<u64>,
        entered: Epoch,
    ) -> Result<Turn, SendError> {
        let asked_at = self.shared.snapshots.moment();
        let slot: Arc<Slot<A>> = self.cache.slot(&request.stream)?;
        let mut turn = slot.turn().await?;
        if request.meta.origin == Origin::Machine && self.shared.epoch() != entered {
            // What made a machine send it may be among the lost events; if it is not, it is sent again.
            return Ok(Turn::Ended);
        }
        let mut folded = match (begins && turn.is_none(), asked_at) {
            (true, None) => Folded::empty(self.shared.epoch(), false),
            // Only a log that nobody else writes tells by its head whether an append was made before: see `proven`.
            (true, Some(_)) => self.shared.snapshots.begin(&request.stream).await?,
            (false, _) => self.folded(&mut turn, &request.stream, at_least).await?,
        };
        self.recall_older(&request.stream, request.meta, &mut folded).await?;
        let judged = self.judge(request, &mut folded, asked_at).await?;
        let (now, events) = match judged {
            Judged::Events(now, events) => (now, events),
            // What was only presumed of the stream is no ground for an answer: ask the log.
            Judged::Answer(_) if !folded.read => return Ok(Turn::Again(None)),
            Judged::Answer(answer) => {
                let beneath = match &answer {
                    // Of the moment only: they say nothing of the state, and waiting is what they spare the client.
                    Answer::No(SendError::InFlight | SendError::Busy { .. } | SendError::Full { .. }) => {
                        Beneath::Durable(Position::START)
                    }
                    Answer::No(_) | Answer::Appended { .. } | Answer::Replayed { .. } | Answer::AlreadySo { .. } => {
                        folded.beneath.clone()
                    }
                };
                *turn = Some(folded);
                return Ok(Turn::Answer(answer, beneath));
            }
        };
        let (presumed, known) = (!folded.read, *self.shared.head.borrow());
        match self.queue(request, folded, &events, now).await {
            Queued::Again(folded, version) => {
                // What others wrote is read on from here. In one process something was queued that nobody has read.
                *turn = asked_at.is_some().then_some(folded);
                Ok(Turn::Again(version))
            }
            Queued::Ended => Ok(Turn::Ended),
            Queued::Not(folded, error) => {
                // The state stands as it was, unless it was only presumed.
                *turn = folded.read.then_some(folded);
                Err(unwritten(&error))
            }
            Queued::Yes(folded) if presumed => self.proven(folded, known, &mut turn).await,
            Queued::Yes(folded) => {
                let (version, beneath) = (folded.version, folded.beneath.clone());
                *turn = Some(folded);
                Ok(Turn::Answer(Answer::Appended { version }, beneath))
            }
        }
    }

    /// Reads a client's command from the log if it is one of those that are remembered by where they stand there.
    async fn recall_older(
        &self,
        stream: &StreamName,
        meta: &CommandMeta,
        folded: &mut Folded<A>,
    ) -> Result<(), SendError> {
        if meta.command_hash.is_none() {
            return Ok(());
        }
        for version in folded.window.older_versions(meta.command_id) {
            let read = self.shared.store.read_stream(stream, version, Direction::Forward, 1).await;
            let found = read.map_err(unreadable)?;
            if found.first().is_some_and(|event| folded.window.recall(meta.command_id, event)) {
                break;
            }
        }
        Ok(())
    }

    /// Decides, and decides again if the answer would append nothing and others may have written since it was asked for.
    /// A command that waited for its turn while another one read the stream's end need not read it again.
    async fn judge(
        &self,
        request: &Request<'_, A::Command>,
        folded: &mut Folded<A>,
        asked_at: Option<Instant>,
    ) -> Result<Judged<A::Event>, SendError> {
        let judged = judge(folded, request.command, request.meta, self.shared.clock.now());
        if matches!(judged, Judged::Events(..)) || !folded.may_be_old(asked_at) {
            return Ok(judged);
        }
        self.refresh(&request.stream, folded, asked_at).await?;
        // Read anew, the window may know an older command no more.
        self.recall_older(&request.stream, request.meta, folded).await?;
        Ok(judge(folded, request.command, request.meta, self.shared.clock.now()))
    }

    /// Reads what others have written, if they may have since the question came.
    async fn refresh(
        &self,
        stream: &StreamName,
        folded: &mut Folded<A>,
        asked_at: Option<Instant>,
    ) -> Result<(), SendError> {
        if folded.may_be_old(asked_at) {
            self.shared.snapshots.catch_up(stream, folded, None).await?;
        }
        Ok(())
    }

    /// Queues the events and folds them. Dropped while it waits for the log, the events are queued or not; the slot is
    /// empty then, so the next command reads the log, and is told of a conflict if something is queued that it has not
    /// read.
    async fn queue(
        &self,
        request: &Request<'_, A::Command>,
        mut folded: Folded<A>,
        events: &[A::Event],
        now: Timestamp,
    ) -> Queued<A> {
        let append = append(self.shared.ids, request, &folded, events, now);
        let last_id = append.events.last().map(|event| event.id);
        let appended = match folded.beneath.look() {
            // Nothing beneath it can be lost any more, whatever commits fail.
            Look::Durable => self.shared.store.append(append).await,
            // What it was decided on may be lost by now, and somebody else may have written in its place.
            Look::Queued | Look::Lost => self.shared.store.append_within(folded.epoch, append).await,
        };
        let ticket = match appended {
            Ok(ticket) => ticket,
            Err(AppendError::Conflict { actual, .. }) => return Queued::Again(folded, actual),
            Err(AppendError::EpochEnded { .. } | AppendError::Unknown { .. }) => return Queued::Ended,
            Err(error) => return Queued::Not(folded, error),
        };
        let (version, epoch) = (ticket.last_version, ticket.epoch);
        let durable = ticket.durable().boxed().shared();
        folded.forget(now);
        let state = Arc::make_mut(&mut folded.state);
        events.iter().for_each(|event| state.evolve(event));
        if let Some(hash) = &request.meta.command_hash {
            let command_id = request.meta.command_id;
            let command = Remembered { command_id, hash: hash.clone(), version, position: None, at: now };
            folded.window.queued(command, durable.clone());
            tell_of_many(&request.stream, &folded.window);
        }
        (folded.version, folded.last_id, folded.last_at) = (Some(version), last_id, folded.last_at.max(Some(now)));
        // Not `seen_at`: these very events may have stood there already, and more behind them.
        (folded.beneath, folded.epoch) = (Beneath::Queued(durable), epoch);
        if Snapshots::is_due(&folded)
            && let Some(work) = self.shared.snapshots.take(&request.stream, &mut folded)
        {
            self.shared.tasks.spawn("snapshot", work);
        }
        Queued::Yes(folded)
    }

    /// Makes sure that a stream that was presumed to be new is. An append that was made before, by a command that came
    /// before a restart, is answered by the log as it was then, at a position that is long known; the stream may have
    /// gone on since. So nobody may build on the presumed state until the position is known: the turn is kept.
    async fn proven(
        &self,
        mut folded: Folded<A>,
        known: Position,
        turn: &mut Option<Folded<A>>,
    ) -> Result<Turn, SendError> {
        match folded.beneath.clone().durable().await {
            Ok(position) if position > known => {
                folded.read = true;
                let (version, beneath) = (folded.version, folded.beneath.clone());
                *turn = Some(folded);
                Ok(Turn::Answer(Answer::Appended { version }, beneath))
            }
            Ok(_) => Ok(Turn::Again(None)),
            Err(AppendError::EpochEnded { .. } | AppendError::Unknown { .. }) => Ok(Turn::Ended),
            Err(error) => Err(unwritten(&error)),
        }
    }

    /// Takes the state out of the slot, or reads it. Dropped while it reads, the slot stays empty.
    async fn folded(
        &self,
        turn: &mut Option<Folded<A>>,
        stream: &StreamName,
        at_least: Option<u64>,
    ) -> Result<Folded<A>, SendError> {
        let epoch = self.shared.epoch();
        match turn.take() {
            Some(mut folded) if folded.stands(epoch) => {
                if self.shared.store.is_shared() && folded.version < at_least {
                    self.shared.snapshots.catch_up(stream, &mut folded, at_least).await?;
                }
                Ok(folded)
            }
            Some(_) | None => self.shared.snapshots.load(stream, at_least).await,
        }
    }

    fn answer(&self, meta: &CommandMeta, answer: Answer, position: Position) -> Result<Reply, SendError> {
        let answer = match answer {
            Answer::Appended { version } => {
                return Ok(Reply { version, position, replayed: false, changed: true });
            }
            Answer::Replayed { version, position } => {
                return Ok(Reply { version: Some(version), position, replayed: true, changed: true });
            }
            Answer::AlreadySo { version } => Ok(Reply { version, position, replayed: false, changed: false }),
            Answer::No(error) => Err(error),
        };
        if let (Some(hash), true) = (&meta.command_hash, is_final(&answer)) {
            self.shared.answers.keep(meta.command_id, hash, &answer);
        }
        answer
    }
}

/// A stream that has had so many keys within a day is worth a look: a client may draw a new key for each attempt.
#[allow(clippy::cast_precision_loss, reason = "a metric is a float; counts stay far below 2^52")]
fn tell_of_many(stream: &StreamName, window: &Window) {
    let Some(keys) = window.many() else { return };
    metrics::gauge!("backstitch_stream_keys", "stream" => stream.to_string()).set(keys as f64);
    let reason = "more than half of the Idempotency-Keys that one stream can remember for a day are used";
    tracing::warn!(%stream, keys, reason, "a stream has had very many requests");
}

/// Up to twice as long from round to round, by chance, so that replicas part.
fn pause(attempt: u32) -> Duration {
    PAUSES.after(attempt).mul_f64(rand::random::<f64>())
}

/// Whether the answer is the command's own for good. The others tell of the moment and are judged again.
fn is_final(answer: &Result<Reply, SendError>) -> bool {
    match answer {
        Ok(_) | Err(SendError::Rejected { .. }) => true,
        Err(
            SendError::PreconditionFailed { .. }
            | SendError::KeyReused
            | SendError::InFlight
            | SendError::Busy { .. }
            | SendError::Full { .. }
            | SendError::Damaged { .. }
            | SendError::TooLate { .. }
            | SendError::Unavailable { .. },
        ) => false,
    }
}

fn unwritten(error: &AppendError) -> SendError {
    match error {
        AppendError::Overloaded => SendError::Busy { detail: "the log has too much to write" },
        AppendError::Refused { .. } | AppendError::Unwritable { .. } => {
            tracing::error!(%error, "the log does not take a command's events");
            SendError::unavailable("the log cannot be written at the moment")
        }
        AppendError::Damaged { path, what } => damaged(path, what),
        AppendError::Unavailable { .. } => SendError::unavailable("the event store cannot be reached at the moment"),
        AppendError::Conflict { .. } | AppendError::EpochEnded { .. } | AppendError::Unknown { .. } => {
            SendError::unavailable("the log could not write it")
        }
    }
}
