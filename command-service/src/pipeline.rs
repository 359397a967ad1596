//! The way of a command through its stream: take its turn, look whether it came before, decide on the state that those
//! before it leave, queue the events, let the next one in, and answer when everything beneath is durable.
//!
//! *Invariant:* what [`Pipeline::send`] returns stands on durable events only, whether it is a yes, a no or an
//! "already so".
//! *Invariant:* a state folded from events that were lost is never decided on: it is read again.

use std::sync::Arc;

use domain::{Aggregate, Timestamp};
use event_store::{AppendError, Epoch, EventStore, Position, StreamName};
use futures_util::FutureExt as _;
use service_kit::{Clock, Tasks};
use tokio::sync::watch;

use crate::bus::{CommandMeta, Loaded, Origin, Reply, SendError};
use crate::cache::{Beneath, Cache, Folded, Slot};
use crate::decision::{Answer, Judged, Request, append, judge};
use crate::idempotency::{Answers, Known, Remembered};
use crate::snapshot::{Snapshots, unavailable};

/// How often a command is decided again when somebody else wrote first or a commit failed. In one process a conflict
/// only follows on a dropped request or a new epoch, so twice is enough but for very bad luck.
const ATTEMPTS_MAX: usize = 5;

/// What all kinds of aggregates share.
pub(crate) struct Shared {
    pub store: Arc<dyn EventStore>,
    pub epoch: watch::Receiver<Epoch>,
    pub head: watch::Receiver<Position>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub answers: Answers,
    pub snapshots: Snapshots,
}

impl Shared {
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, tasks: Tasks) -> Self {
        let (epoch, head, snapshots) = (store.epoch(), store.head(), Snapshots::new(store.clone()));
        Self { store, epoch, head, clock, tasks, answers: Answers::new(), snapshots }
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
    /// Somebody else wrote first, as in [`Turn::Again`].
    Again(Option<u64>),
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
    pub async fn send(&self, request: Request<'_, A::Command>) -> Result<Reply, SendError> {
        let entered = self.shared.epoch();
        let mut at_least = None;
        for attempt in 0..ATTEMPTS_MAX {
            let begins = request.begins && attempt == 0;
            at_least = match self.turn(&request, begins, at_least, entered).await? {
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
        Err(unavailable("the log could not write it"))
    }

    /// The state with all that is queued for it, once that is durable.
    pub async fn load(&self, stream: &StreamName) -> Result<Loaded<A>, SendError> {
        for _ in 0..ATTEMPTS_MAX {
            let slot = self.cache.slot(stream)?;
            let mut turn = slot.turn().await?;
            let folded = self.folded(&mut turn, stream, None).await?;
            let (state, version, beneath) = (folded.state.clone(), folded.version, folded.beneath.clone());
            *turn = Some(folded);
            drop(turn);
            if let Ok(position) = beneath.durable().await {
                return Ok(Loaded { state, version, position });
            }
        }
        Err(unavailable("the log could not write what the state stands on"))
    }

    /// The answer to a client's command that appended, if it was sent before.
    pub async fn recall(&self, stream: &StreamName, meta: &CommandMeta) -> Result<Option<Reply>, SendError> {
        let Some(hash) = &meta.command_hash else { return Ok(None) };
        let slot = self.cache.slot(stream)?;
        let mut turn = slot.turn().await?;
        let mut folded = self.folded(&mut turn, stream, None).await?;
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
        let slot: Arc<Slot<A>> = self.cache.slot(&request.stream)?;
        let mut turn = slot.turn().await?;
        if request.meta.origin == Origin::Machine && self.shared.epoch() != entered {
            // What made a machine send it may be among the lost events; if it is not, it is sent again.
            return Ok(Turn::Ended);
        }
        let mut folded = if begins && turn.is_none() {
            Folded::empty(self.shared.epoch(), false)
        } else {
            self.folded(&mut turn, &request.stream, at_least).await?
        };
        let judged = judge(&mut folded, request.command, request.meta, self.shared.clock.now());
        let (now, events) = match judged {
            Judged::Events(now, events) => (now, events),
            // What was only presumed of the stream is no ground for an answer: ask the log.
            Judged::Answer(_) if !folded.read => return Ok(Turn::Again(None)),
            Judged::Answer(answer) => {
                let beneath = match &answer {
                    // Of the moment only: they say nothing of the state, and waiting is what they spare the client.
                    Answer::No(SendError::InFlight | SendError::Busy { .. }) => Beneath::Durable(Position::START),
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
            Queued::Again(version) => Ok(Turn::Again(version)),
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
        let append = append(request, &folded, events, now);
        let last_id = append.events.last().map(|event| event.id);
        let ticket = match self.shared.store.append(append).await {
            Ok(ticket) => ticket,
            Err(AppendError::Conflict { actual, .. }) => return Queued::Again(actual),
            Err(AppendError::EpochEnded { .. } | AppendError::Unknown { .. }) => return Queued::Ended,
            Err(error) => return Queued::Not(folded, error),
        };
        let (version, epoch) = (ticket.last_version, ticket.epoch);
        let durable = ticket.durable().boxed().shared();
        let state = Arc::make_mut(&mut folded.state);
        events.iter().for_each(|event| state.evolve(event));
        if let Some(hash) = &request.meta.command_hash {
            let command_id = request.meta.command_id;
            let command = Remembered { command_id, hash: hash.clone(), version, position: None, at: now };
            folded.window.queued(command, durable.clone());
        }
        (folded.version, folded.last_id, folded.last_at) = (Some(version), last_id, folded.last_at.max(Some(now)));
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
            Some(folded) if folded.stands(epoch) => Ok(folded),
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

/// Whether the answer is the command's own for good. The others tell of the moment and are judged again.
fn is_final(answer: &Result<Reply, SendError>) -> bool {
    match answer {
        Ok(_) | Err(SendError::Rejected { .. }) => true,
        Err(
            SendError::PreconditionFailed { .. }
            | SendError::KeyReused
            | SendError::InFlight
            | SendError::Busy { .. }
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
            unavailable("the log cannot be written at the moment")
        }
        AppendError::Unavailable { .. } => unavailable("the event store cannot be reached at the moment"),
        AppendError::Conflict { .. } | AppendError::EpochEnded { .. } | AppendError::Unknown { .. } => {
            unavailable("the log could not write it")
        }
    }
}
