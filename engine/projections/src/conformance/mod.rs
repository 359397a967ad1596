//! The suite that read models pass on a store of rows: what the engine promises of them, one rule a function. A test supplies a
//! [`Subject`] and calls each rule from a test of the same name.
//!
//! The rows that a rule compares with are those of a plain fold: the whole log in its sequence, in one batch.

#![allow(clippy::unwrap_used, reason = "a test suite: a failed step is a failed test")]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Tasks, clock::Timestamp, pg};
use event_store::{Direction, EventStore, Filter, Position, RecordedEvent};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::sync::watch;

use crate::dead_letters::Parked;
use crate::feeding::checkpoint::{self, Share};
use crate::feeding::member::{Member, Seat, Unwritten, write};
use crate::generations::{self, Asked, Generation, Stage};
use crate::projecting::batch::Batch;
use crate::projecting::projection::{Projection, apply};
use crate::{ProjectionEngine, ReadModels, Setup};

/// What any wait in a rule may take at most; it ends a test that would hang.
const BOUND: Duration = Duration::from_secs(120);

/// The read models of a program, a log for them, and a database in which nothing else is.
pub struct Subject {
    /// The read models. No event of the log may park a stream of theirs.
    pub models: Arc<ReadModels>,
    /// A log with events of several streams that they take, several of each.
    pub store: Arc<dyn EventStore>,
    /// The database. Each rule makes the tables anew.
    pub url: String,
    /// What random choices follow from.
    pub seed: u64,
}

/// All rows of a program's tables as readers see them, by table.
type Rows = BTreeMap<String, Vec<String>>;

/// However the log is cut into batches, and wherever the program starts again between two, the rows are those of a plain fold;
/// and the checkpoints say after each batch how far they are.
pub async fn rows_do_not_depend_on_where_batches_end(subject: &Subject) {
    let (mut trial, expected) = Trial::of(subject).await;
    let mut members = trial.members().await;
    let mut rest = trial.events.clone();
    while !rest.is_empty() {
        let most = [1, 7, 300][trial.dice.roll(3)].min(rest.len());
        let size = 1 + trial.dice.roll(most);
        let after = rest.split_off(size);
        let piece = std::mem::replace(&mut rest, after);
        let up_to = piece.last().unwrap().position;
        members = write(&trial.pool, &trial.store, members, batch(piece)).await.unwrap().0;
        for generation in trial.generations().await {
            assert_eq!(generation.position(), up_to, "{} is committed with its checkpoint", generation.model.name);
        }
        if trial.dice.roll(4) == 0 {
            members = trial.members().await; // The program starts again.
        }
    }
    trial.expect(&expected, "in pieces").await;
}

/// An event that is delivered again changes nothing, in the same batch, in the next one and after a start.
pub async fn an_event_that_comes_again_changes_nothing(subject: &Subject) {
    let (trial, expected) = Trial::of(subject).await;
    let mut projections = trial.projections();
    for piece in trial.events.chunks(50) {
        let twice: Vec<_> = piece.iter().flat_map(|event| [Arc::clone(event), Arc::clone(event)]).collect();
        projections = trial.apply(projections, twice).await;
        projections = trial.apply(projections, piece.to_vec()).await;
    }
    trial.apply(trial.projections(), trial.events.clone()).await;
    trial.expect(&expected, "twice and again").await;
}

/// Streams may overtake each other, and events may be missing: what a stream lacks is read from the log before what follows.
pub async fn gaps_are_filled_whatever_the_sequence_of_events(subject: &Subject) {
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
    let mut projections = trial.projections();
    for piece in deliveries.chunks(40) {
        projections = trial.apply(projections, piece.to_vec()).await;
    }
    trial.expect(&expected, "shuffled, with gaps").await;
}

/// A program that dies after it has written rows and before it has written the checkpoint leaves neither.
pub async fn a_kill_between_rows_and_checkpoint_leaves_neither(subject: &Subject) {
    let (trial, expected) = Trial::of(subject).await;
    let (first, second) = trial.events.split_at(trial.events.len() / 2);
    write(&trial.pool, &trial.store, trial.members().await, batch(first.to_vec())).await.unwrap();
    let (rows, positions) = (trial.rows().await, trial.positions().await);
    let (store, events, projections) = (Arc::clone(&trial.store), second.to_vec(), trial.projections());
    let killed = pg::tx(&trial.pool, "read_1", move |sql| {
        Box::pin(async move {
            fold(sql, &*store, projections, &events).await?;
            Err::<(), _>(sqlx::Error::WorkerCrashed)
        })
    });
    assert!(matches!(killed.await, Err(sqlx::Error::WorkerCrashed)));
    assert_eq!((trial.rows().await, trial.positions().await), (rows, positions), "nothing of the batch is left");
    write(&trial.pool, &trial.store, trial.members().await, batch(second.to_vec())).await.unwrap();
    trial.expect(&expected, "after a kill").await;
}

/// A runner that was paused while another one took over writes nothing more.
pub async fn a_runner_whose_place_is_taken_writes_nothing(subject: &Subject) {
    let (trial, expected) = Trial::of(subject).await;
    let (first, second) = trial.events.split_at(trial.events.len() / 2);
    let paused = trial.members().await;
    let members = trial.members().await;
    let rows = trial.rows().await;
    let fenced = write(&trial.pool, &trial.store, paused, batch(first.to_vec())).await;
    assert!(matches!(fenced.map(|_| ()), Err(Unwritten::Fenced)));
    assert_eq!(trial.rows().await, rows, "nothing of the batch is left");
    let (members, _) = write(&trial.pool, &trial.store, members, batch(first.to_vec())).await.unwrap();
    write(&trial.pool, &trial.store, members, batch(second.to_vec())).await.unwrap();
    trial.expect(&expected, "fed by the other one").await;
}

/// What is folded again from the beginning is the same to the cell as what was folded as events came, and takes its place.
pub async fn a_rebuild_is_equal_to_what_it_replaces(subject: &Subject) {
    let (trial, expected) = Trial::of(subject).await;
    let (tasks, (_, url)) = (Tasks::new(), watch::channel(Some(subject.url.clone())));
    let (models, store) = (Arc::clone(&trial.models), Arc::clone(&trial.store));
    let engine = ProjectionEngine::start(Setup { models, only: Vec::new(), store, url, tasks: tasks.clone() });
    let head = trial.events.last().unwrap().position;
    assert!(engine.progress().all_reached(head, BOUND).await, "{:?}", engine.progress().statuses());
    for model in trial.models.all() {
        let asked = Asked {
            key: model.name.to_owned(),
            actor: "conformance".to_owned(),
            reason: None,
            at: Timestamp::UNIX_EPOCH,
        };
        engine.rebuild(*model, false, asked).await.unwrap();
        let rebuilt = async {
            loop {
                let all = engine.generations().await.unwrap();
                let own = all.into_iter().find(|it| it.model.name == model.name && it.number == 2);
                match own.filter(|own| matches!(own.stage, Stage::Live | Stage::Differs)) {
                    Some(own) => return own,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let rebuilt = tokio::time::timeout(BOUND, rebuilt).await.unwrap();
        assert_eq!(rebuilt.stage, Stage::Live, "{}: {:?}", model.name, rebuilt.comparison);
    }
    assert!(tasks.shut_down(BOUND).await, "the engine did not stop");
    trial.expect(&expected, "rebuilt").await;
}

/// A subject at work, in tables that are empty at first.
struct Trial {
    models: Arc<ReadModels>,
    store: Arc<dyn EventStore>,
    events: Vec<Arc<RecordedEvent>>,
    pool: PgPool,
    dice: Dice,
}

impl Trial {
    /// In empty tables, with the rows of a plain fold.
    async fn of(subject: &Subject) -> (Self, Rows) {
        let (models, store) = (Arc::clone(&subject.models), Arc::clone(&subject.store));
        let (pool, dice) = (PgPool::connect(&subject.url).await.unwrap(), Dice(subject.seed));
        let trial = Self { models, events: all_events(&*store).await, store, pool, dice };
        assert!(trial.events.len() > 10, "a log of {} events proves little", trial.events.len());
        trial.empty().await;
        write(&trial.pool, &trial.store, trial.members().await, batch(trial.events.clone())).await.unwrap();
        let expected = trial.rows().await;
        assert!(expected.values().any(|rows| !rows.is_empty()), "the read models take none of the events");
        trial.empty().await;
        (trial, expected)
    }

    /// Makes all tables anew.
    async fn empty(&self) {
        pg::tx(&self.pool, "public", |sql| {
            Box::pin(async move {
                let schemas = "select nspname::text from pg_namespace where nspname in ('backstitch', 'live') or nspname ~ '^read_'";
                let schemas: Vec<String> = sqlx::query_scalar(schemas).fetch_all(&mut *sql).await?;
                for schema in schemas {
                    sqlx::raw_sql(AssertSqlSafe(format!("drop schema {schema} cascade"))).execute(&mut *sql).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
        generations::prepare(&self.pool, &self.models, 1).await.unwrap();
    }

    /// The read models as a runner that starts now has them.
    async fn members(&self) -> Vec<Member> {
        let all = self.generations().await;
        let slices = all.iter().map(Generation::slice).collect();
        let taken = checkpoint::take_over(&self.pool, slices, Share::Whole(1), "conformance").await.unwrap();
        let seat = |(generation, (slice, checkpoint)): (Generation, _)| Seat {
            model: generation.model,
            slice,
            schema: generation.schema.as_str().into(),
            live: true,
            exact: true,
            checkpoint,
            parked: Parked::default(),
            stopped: false,
        };
        all.into_iter().zip(taken).map(seat).map(Member::new).collect()
    }

    async fn generations(&self) -> Vec<Generation> {
        generations::all(&self.pool, &self.models).await.unwrap()
    }

    async fn positions(&self) -> Vec<Position> {
        self.generations().await.iter().map(Generation::position).collect()
    }

    fn projections(&self) -> Vec<Box<dyn Projection>> {
        self.models.all().iter().map(|model| (model.make)()).collect()
    }

    /// Applies events to projections in one transaction, whatever the checkpoints say.
    async fn apply(
        &self,
        projections: Vec<Box<dyn Projection>>,
        events: Vec<Arc<RecordedEvent>>,
    ) -> Vec<Box<dyn Projection>> {
        let store = Arc::clone(&self.store);
        let applied = pg::tx(&self.pool, "read_1", move |sql| {
            Box::pin(async move { fold(sql, &*store, projections, &events).await })
        });
        applied.await.unwrap()
    }

    async fn rows(&self) -> Rows {
        let marks = self.models.all().iter().any(|model| model.marks).then_some("applied");
        let mut rows = Rows::new();
        for table in self.models.all().iter().flat_map(|model| model.tables).copied().chain(marks) {
            let text = format!("select to_jsonb(t)::text from live.{table} t order by 1");
            let asks = async |sql: &mut PgConnection| sqlx::query_scalar(AssertSqlSafe(text)).fetch_all(sql).await;
            rows.insert(table.to_owned(), pg::ask(&self.pool, BOUND, asks).await.unwrap());
        }
        rows
    }

    async fn expect(&self, expected: &Rows, how: &str) {
        for (table, rows) in self.rows().await {
            // The first row that differs says more than all of them.
            for (found, expected) in rows.iter().zip(&expected[&table]) {
                assert_eq!(found, expected, "{table}, {how}");
            }
            assert_eq!(rows.len(), expected[&table].len(), "{table}, {how}");
        }
    }
}

async fn fold(
    sql: &mut PgConnection,
    store: &dyn EventStore,
    mut projections: Vec<Box<dyn Projection>>,
    events: &[Arc<RecordedEvent>],
) -> Result<Vec<Box<dyn Projection>>, sqlx::Error> {
    for projection in &mut projections {
        let (mut parked, taken) = (Parked::default(), events.iter().filter(|event| projection.takes(&event.stream)));
        let taken: Vec<_> = taken.cloned().collect();
        apply(&mut **projection, sql, store, &taken, &mut parked).await?;
        assert!(parked.letters().is_empty(), "{}: {:?}", projection.name(), parked.letters());
    }
    Ok(projections)
}

fn batch(events: Vec<Arc<RecordedEvent>>) -> Batch {
    let mut batch = Batch::default();
    batch.up_to = events.last().map_or(Position::START, |event| event.position);
    batch.events = events;
    batch
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
