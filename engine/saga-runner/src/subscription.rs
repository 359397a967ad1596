//! The subscription: from the source's events to the workers, and the checkpoint back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::waiting;
use event_store::{Delivery, Filter, Position, ReadError, RecordedEvent, Source, Subscription};
use eventsourcing::DecodeError;
use saga_engine::process::{EventOf, SubjectOf};
use saga_engine::{Begin, Event, Subject};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{self, Active, Checkpoint, Key, KeyOf};
use super::operator::Asked;
use super::runner::{Failed, Shared};
use super::stream::name_of;
use super::subscriber::{Subscriber, Trigger, source_of};

/// Batches that may wait for a worker: a few of the subscription's own, so that one slow append does not stop it.
pub(super) const WAITING: usize = 16;
/// How often the checkpoint is saved while something moves. What was taken in since is taken in again after a crash:
/// 2 s of a full load are read back within a second.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// One more second between two checkpoints for so many active sagas: writing some MB must stay a small share.
const SAGAS_PER_SECOND: usize = 10_000;
/// How long what is on its way may take to end, when a partition that others will have is to be given up.
const LAST_FLIGHTS: Duration = Duration::from_secs(2);
/// How long to wait before a subscription that says why it brings nothing is asked again.
const SILENCE: Duration = Duration::from_millis(500);

/// What a worker is told.
pub(super) enum Told<P: Subscriber> {
    /// What events make sagas do, by position.
    Triggers(Vec<(Arc<RecordedEvent>, Trigger<P>)>),
    /// These sagas have events up to these versions; who wrote them is not said.
    Written(Vec<(KeyOf<P>, u64)>),
    /// All that was told before has been taken in: say which sagas are active.
    Active(oneshot::Sender<Vec<ActiveOf<P>>>),
    /// Nothing more will be told: begin nothing new, and say which sagas are active when nothing is on its way.
    Last(oneshot::Sender<Vec<ActiveOf<P>>>),
    /// A person acts on a saga.
    Act(Box<Asked<P>>),
}

/// The way to a worker.
pub(super) type Link<P> = mpsc::Sender<Told<P>>;

/// An active saga of a process.
pub(super) type ActiveOf<P> = Active<SubjectOf<P>>;

/// The worker of a subject.
pub(super) fn worker_of(subject: &impl Subject, workers: usize) -> usize {
    // The last bytes of an id made by SHA-1 are as good as a hash of it.
    let bytes = subject.id().as_u128() as u64;
    usize::try_from(bytes % workers as u64).unwrap_or(0)
}

/// Takes the events in from `after` on, until the service stops (then a last checkpoint is saved) or something fails.
pub(super) async fn run<P: Subscriber>(
    shared: &Shared<P>,
    links: &[Link<P>],
    (source, after): (&dyn Source, Position),
    stopping: &CancellationToken,
) -> Result<(), Failed> {
    let partition = source.partition();
    let mut subscription = tokio::select! {
        subscription = waiting::named("the sagas' subscription to the log", follow::<P>(source, after)) => subscription?,
        () = stopping.cancelled() => return Ok(()),
    };
    shared.report.runs(partition);
    let (mut taken_in, mut saved) = (after, after);
    let mut save_every = SAVE_EVERY;
    let mut next_save = tokio::time::Instant::now() + save_every;
    let mut silent = false;
    loop {
        tokio::select! {
            delivery = subscription.next() => {
                if silent && matches!(delivery, Some(Ok(_))) {
                    silent = false;
                    shared.report.runs(partition);
                }
                match delivery {
                    Some(Ok(Delivery::Events { events, up_to })) => {
                        let what = format!("a worker of the sagas to take in the events up to position {up_to}");
                        waiting::named(what, route(shared, links, &events)).await?;
                        taken_in = up_to;
                    }
                    Some(Ok(Delivery::CaughtUp)) => {
                        tracing::info!(partition, position = %taken_in, "sagas have caught up");
                    }
                    // The bus is away, not the log: timers and commands go on, and the events when it comes back.
                    Some(Err(error @ ReadError::Unavailable { .. })) if shared.store.is_shared() => {
                        silent = true;
                        shared.report.pauses(partition, &error);
                        tokio::time::sleep(SILENCE).await;
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Failed::Closed),
                }
            },
            () = stopping.cancelled() => {
                last_save(shared, links, (partition, taken_in), taken_in > saved).await;
                return Ok(());
            }
            // Real time: how much is read again after a crash has nothing to do with the program's clock.
            () = tokio::time::sleep_until(next_save) => {
                if taken_in > saved {
                    let what = "the workers of the sagas to say which sagas are active";
                    let active = waiting::named(what, active_of(links, Told::Active)).await?;
                    let count = active.len();
                    save(shared, (partition, taken_in), active).await;
                    saved = taken_in;
                    save_every = SAVE_EVERY + Duration::from_secs((count / SAGAS_PER_SECOND) as u64);
                }
                next_save = tokio::time::Instant::now() + save_every;
            }
        }
    }
}

async fn follow<P: Subscriber>(source: &dyn Source, after: Position) -> Result<Subscription, ReadError> {
    let category = |saga: &str| format!("{}{saga}", P::CATEGORY_PREFIX);
    let sagas = P::DEFINITIONS.iter().map(|definition| category(definition.name)).collect::<Vec<_>>();
    let categories = P::CATEGORIES.iter().copied().chain(sagas.iter().map(String::as_str));
    source.follow(after, Filter::categories(categories)).await
}

async fn route<P: Subscriber>(
    shared: &Shared<P>,
    links: &[Link<P>],
    events: &[Arc<RecordedEvent>],
) -> Result<(), Failed> {
    let mut batches: Vec<Vec<_>> = links.iter().map(|_| Vec::new()).collect();
    let mut written: Vec<HashMap<KeyOf<P>, u64>> = links.iter().map(|_| HashMap::new()).collect();
    // Where nobody else writes the log, whatever a saga's stream has is of its worker.
    let looks = shared.store.is_shared();
    for event in events {
        let Some(subject) = subject_of::<P>(event) else { continue };
        if looks && let Some((id, saga)) = name_of::<P>(&event.stream) {
            let key = Key { saga: saga.into(), id, subject };
            written[worker_of(&subject, links.len())].insert(key, event.version); // The last one is the highest.
        }
        let triggers = if is_saga::<P>(event) { handover(event) } else { P::triggers(event, subject) };
        match triggers {
            Ok(triggers) => {
                let batch = &mut batches[worker_of(&subject, links.len())];
                batch.extend(triggers.into_iter().map(|trigger| (event.clone(), trigger)));
            }
            Err(error) => {
                // Only a newer program writes such an event; that one's sagas will take it in.
                let (stream, version) = (&event.stream, event.version);
                tracing::error!(%stream, version, %error, "an event cannot be read and is passed over by the sagas");
            }
        }
    }
    for ((link, batch), written) in links.iter().zip(batches).zip(written) {
        if !batch.is_empty() {
            link.send(Told::Triggers(batch)).await.map_err(|_| Failed::Worker)?;
        }
        if !written.is_empty() {
            link.send(Told::Written(written.into_iter().collect())).await.map_err(|_| Failed::Worker)?;
        }
    }
    Ok(())
}

/// Whether an event belongs to a saga, and not to a stream that sagas follow.
fn is_saga<P: Subscriber>(event: &RecordedEvent) -> bool {
    event.stream.category().starts_with(P::CATEGORY_PREFIX)
}

/// The subject that an event belongs to.
pub(super) fn subject_of<P: Subscriber>(event: &RecordedEvent) -> Option<SubjectOf<P>> {
    if is_saga::<P>(event) { P::parse_subject(&event.metadata.partition_key) } else { P::subject(event) }
}

/// The saga that takes over where this event of a saga says so.
fn handover<P: Subscriber>(recorded: &RecordedEvent) -> Result<Vec<Trigger<P>>, DecodeError> {
    if &*recorded.event_type != "SagaHandedOver" {
        return Ok(Vec::new()); // Not decoding the others is most of the subscription's speed.
    }
    let event: EventOf<P> = Event::decode(&recorded.event_type, recorded.schema_version, recorded.data.get())?;
    let Event::SagaHandedOver(e) = event else { return Ok(Vec::new()) };
    let begin = Begin { source: source_of(recorded), facts: e.facts.into() };
    Ok(P::newest(&e.to).map(|definition| Trigger::Begin(definition.name, begin)).into_iter().collect())
}

/// The active sagas of all workers, when each has taken in what it was told before.
async fn active_of<P: Subscriber>(
    links: &[Link<P>],
    ask: impl Fn(oneshot::Sender<Vec<ActiveOf<P>>>) -> Told<P>,
) -> Result<Vec<ActiveOf<P>>, Failed> {
    let mut answers = Vec::with_capacity(links.len());
    for link in links {
        let (reply, answer) = oneshot::channel();
        link.send(ask(reply)).await.map_err(|_| Failed::Worker)?;
        answers.push(answer);
    }
    let mut active = Vec::new();
    for answer in answers {
        active.extend(answer.await.map_err(|_| Failed::Worker)?);
    }
    Ok(active)
}

/// Saves how far the events have been taken in.
async fn save<P: Subscriber>(shared: &Shared<P>, (partition, position): (u32, Position), active: Vec<ActiveOf<P>>) {
    shared.report.active(partition, active.len());
    let checkpoint = Checkpoint { position, active, saved_at: Some(shared.clock.now()) };
    if let Err(error) = checkpoint::save::<P>(&*shared.store, shared.partition(partition), checkpoint).await {
        // The one before still holds; only more will be read again.
        tracing::warn!(partition, %error, "the sagas' checkpoint was not saved");
    }
}

/// The checkpoint of a generation that ends. Where others will have the partition, what is on its way ends first, so that
/// they need not send it again.
async fn last_save<P: Subscriber>(shared: &Shared<P>, links: &[Link<P>], at: (u32, Position), moved: bool) {
    if shared.store.is_shared() {
        match tokio::time::timeout(LAST_FLIGHTS, active_of(links, Told::Last)).await {
            Ok(Ok(active)) => return save(shared, at, active).await,
            Ok(Err(_)) => return, // A worker has failed; the checkpoint before holds.
            Err(_) => tracing::info!(partition = at.0, "commands are still on their way; others will send them again"),
        }
    }
    if moved && let Ok(active) = active_of(links, Told::Active).await {
        save(shared, at, active).await;
    }
}
