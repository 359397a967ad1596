//! The suite that read models pass on a store of rows: what the engine promises of them, one rule a function. A test supplies a
//! [`Subject`] (Postgres) or an [`EmbeddedSubject`] (SQLite) and calls each rule from a test of the same name.
//!
//! The rows that a rule compares with are those of a plain fold: the whole log in its sequence, in one batch. `postgres.rs` and
//! `sqlite.rs` say how each store does what the rules ask.

#![allow(clippy::unwrap_used, reason = "a test suite: a failed step is a failed test")]

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use event_store::{Direction, EventStore, Filter, Position, RecordedEvent};

#[cfg(feature = "postgres")]
pub use self::postgres::Subject;
#[cfg(feature = "sqlite")]
pub use self::sqlite::EmbeddedSubject;
use crate::dead_letters::Parked;
use crate::projecting::batch::Batch;
use crate::projecting::projection::{Projection, apply};
use crate::projecting::row_store::RowStore;

/// What any wait in a rule may take at most; it ends a test that would hang.
const BOUND: Duration = Duration::from_secs(120);

/// All rows of a program's tables as readers see them, by table.
pub type Rows = BTreeMap<String, Vec<String>>;

/// Read models with what they keep in memory.
pub type Projections<S> = Vec<Box<dyn Projection<S>>>;

/// Read models, a log for them, and a place for their rows.
#[allow(async_fn_in_trait, reason = "a rule is awaited by one test")]
pub trait Subjects {
    /// The subject at work.
    type Bench: Bench;

    /// Opens the place of the rows.
    async fn bench(&self) -> Self::Bench;

    /// A log with events of several streams that the read models take, several of each.
    fn log(&self) -> &Arc<dyn EventStore>;

    /// What random choices follow from.
    fn seed(&self) -> u64;
}

/// What the rules ask of a store of rows.
#[allow(async_fn_in_trait, reason = "a rule is awaited by one test")]
pub trait Bench {
    /// The store.
    type Store: RowStore;
    /// Read models with their checkpoints, as a program that has just started has them.
    type Runner;

    /// Makes all tables anew.
    async fn empty(&self);

    /// Starts a program: a runner of before writes nothing more.
    async fn start(&self) -> Self::Runner;

    /// Writes a batch with its checkpoint. `None`: another runner has taken over, and nothing was written.
    async fn write(&self, runner: Self::Runner, batch: Delivered) -> Option<Self::Runner>;

    /// The checkpoints that are committed, with the names of their read models.
    async fn positions(&self) -> Vec<(&'static str, Position)>;

    /// The read models with nothing in memory.
    fn projections(&self) -> Projections<Self::Store>;

    /// Applies events to projections in one transaction, whatever the checkpoints say.
    async fn apply(
        &self,
        projections: Projections<Self::Store>,
        events: Vec<Arc<RecordedEvent>>,
    ) -> Projections<Self::Store>;

    /// Writes the rows of these events, and dies before the checkpoint.
    async fn die(&self, events: Vec<Arc<RecordedEvent>>);

    /// All rows of all tables.
    async fn rows(&self) -> Rows;

    /// Follows the log to its end at `head`, folds each read model again, and fails where that differs from what was there.
    async fn rebuild(&self, head: Position);
}

/// Events that arrive together.
#[derive(Debug)]
pub struct Delivered(Batch);

/// However the log is cut into batches, and wherever the program starts again between two, the rows are those of a plain fold;
/// and the checkpoints say after each batch how far they are.
pub async fn rows_do_not_depend_on_where_batches_end(subject: &impl Subjects) {
    let (mut trial, expected) = Trial::of(subject).await;
    let mut runner = trial.bench.start().await;
    let mut rest = trial.events.clone();
    while !rest.is_empty() {
        let most = [1, 7, 300][trial.dice.roll(3)].min(rest.len());
        let size = 1 + trial.dice.roll(most);
        let after = rest.split_off(size);
        let piece = std::mem::replace(&mut rest, after);
        let up_to = piece.last().unwrap().position;
        runner = trial.bench.write(runner, batch(piece)).await.unwrap();
        for (name, position) in trial.bench.positions().await {
            assert_eq!(position, up_to, "{name} is committed with its checkpoint");
        }
        if trial.dice.roll(4) == 0 {
            runner = trial.bench.start().await; // The program starts again.
        }
    }
    trial.expect(&expected, "in pieces").await;
}

/// An event that is delivered again changes nothing, in the same batch, in the next one and after a start.
pub async fn an_event_that_comes_again_changes_nothing(subject: &impl Subjects) {
    let (trial, expected) = Trial::of(subject).await;
    let mut projections = trial.bench.projections();
    for piece in trial.events.chunks(50) {
        let twice: Vec<_> = piece.iter().flat_map(|event| [Arc::clone(event), Arc::clone(event)]).collect();
        projections = trial.bench.apply(projections, twice).await;
        projections = trial.bench.apply(projections, piece.to_vec()).await;
    }
    trial.bench.apply(trial.bench.projections(), trial.events.clone()).await;
    trial.expect(&expected, "twice and again").await;
}

/// Streams may overtake each other, and events may be missing: what a stream lacks is read from the log before what follows.
pub async fn gaps_are_filled_whatever_the_sequence_of_events(subject: &impl Subjects) {
    let (mut trial, expected) = Trial::of(subject).await;
    let last: HashSet<Position> = trial
        .events
        .iter()
        .map(|event| (&event.stream, event.position))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .collect();
    let mut deliveries = trial.events.clone();
    deliveries.retain(|event| last.contains(&event.position) || trial.dice.roll(3) > 0);
    for at in (1..deliveries.len()).rev() {
        deliveries.swap(at, trial.dice.roll(at + 1));
    }
    let mut projections = trial.bench.projections();
    for piece in deliveries.chunks(40) {
        projections = trial.bench.apply(projections, piece.to_vec()).await;
    }
    trial.expect(&expected, "shuffled, with gaps").await;
}

/// A program that dies after it has written rows and before it has written the checkpoint leaves neither.
pub async fn a_kill_between_rows_and_checkpoint_leaves_neither(subject: &impl Subjects) {
    let (trial, expected) = Trial::of(subject).await;
    let (bench, (first, second)) = (&trial.bench, trial.events.split_at(trial.events.len() / 2));
    bench.write(bench.start().await, batch(first.to_vec())).await.unwrap();
    let (rows, positions) = (bench.rows().await, bench.positions().await);
    bench.die(second.to_vec()).await;
    assert_eq!((bench.rows().await, bench.positions().await), (rows, positions), "nothing of the batch is left");
    bench.write(bench.start().await, batch(second.to_vec())).await.unwrap();
    trial.expect(&expected, "after a kill").await;
}

/// A runner that was paused while another one took over writes nothing more.
pub async fn a_runner_whose_place_is_taken_writes_nothing(subject: &impl Subjects) {
    let (trial, expected) = Trial::of(subject).await;
    let (bench, (first, second)) = (&trial.bench, trial.events.split_at(trial.events.len() / 2));
    let paused = bench.start().await;
    let runner = bench.start().await;
    let rows = bench.rows().await;
    assert!(bench.write(paused, batch(first.to_vec())).await.is_none(), "it was not stopped");
    assert_eq!(bench.rows().await, rows, "nothing of the batch is left");
    let runner = bench.write(runner, batch(first.to_vec())).await.unwrap();
    bench.write(runner, batch(second.to_vec())).await.unwrap();
    trial.expect(&expected, "fed by the other one").await;
}

/// What is folded again from the beginning is the same to the cell as what was folded as events came, and takes its place.
pub async fn a_rebuild_is_equal_to_what_it_replaces(subject: &impl Subjects) {
    let (trial, expected) = Trial::of(subject).await;
    trial.bench.rebuild(trial.events.last().unwrap().position).await;
    trial.expect(&expected, "rebuilt").await;
}

/// A subject at work, in tables that are empty at first.
struct Trial<B> {
    bench: B,
    events: Vec<Arc<RecordedEvent>>,
    dice: Dice,
}

impl<B: Bench> Trial<B> {
    /// In empty tables, with the rows of a plain fold.
    async fn of(subject: &impl Subjects<Bench = B>) -> (Self, Rows) {
        let (bench, store) = (subject.bench().await, Arc::clone(subject.log()));
        let trial = Self { bench, events: all_events(&*store).await, dice: Dice(subject.seed()) };
        assert!(trial.events.len() > 10, "a log of {} events proves little", trial.events.len());
        trial.bench.empty().await;
        trial.bench.write(trial.bench.start().await, batch(trial.events.clone())).await.unwrap();
        let expected = trial.bench.rows().await;
        assert!(expected.values().any(|rows| !rows.is_empty()), "the read models take none of the events");
        trial.bench.empty().await;
        (trial, expected)
    }

    async fn expect(&self, expected: &Rows, how: &str) {
        for (table, rows) in self.bench.rows().await {
            // The first row that differs says more than all of them.
            for (found, expected) in rows.iter().zip(&expected[&table]) {
                assert_eq!(found, expected, "{table}, {how}");
            }
            assert_eq!(rows.len(), expected[&table].len(), "{table}, {how}");
        }
    }
}

/// Folds events into projections, whatever the checkpoints say.
async fn fold<S: RowStore>(
    sql: &mut S::Connection,
    store: &dyn EventStore,
    mut projections: Projections<S>,
    events: &[Arc<RecordedEvent>],
) -> Result<Projections<S>, S::Error> {
    for projection in &mut projections {
        let (mut parked, taken) = (Parked::default(), events.iter().filter(|event| projection.takes(&event.stream)));
        let taken: Vec<_> = taken.cloned().collect();
        apply(&mut **projection, sql, store, &taken, &mut parked).await?;
        assert!(parked.letters().is_empty(), "{}: {:?}", projection.name(), parked.letters());
    }
    Ok(projections)
}

fn batch(events: Vec<Arc<RecordedEvent>>) -> Delivered {
    let mut batch = Batch::default();
    batch.up_to = events.last().map_or(Position::START, |event| event.position);
    batch.events = events;
    Delivered(batch)
}

async fn all_events(store: &dyn EventStore) -> Vec<Arc<RecordedEvent>> {
    let mut all: Vec<Arc<RecordedEvent>> = Vec::new();
    loop {
        let after = all.last().map_or(Position::START, |event| event.position);
        let page = store.read_all(after, Direction::Forward, 1_000, &Filter::default()).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.into_iter().map(Arc::new));
    }
}

/// Random choices that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap_or(0)
    }
}
