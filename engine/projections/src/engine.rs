//! The engine at work: what follows the log, what works on generations, and what operators ask of both.

use std::sync::Arc;

use engine_runtime::Tasks;
use event_store::{EventStore, Position, ReadError, Source, StreamName, WholeLog};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::dead_letters::repair::{Answered, Desk, Verb};
use crate::feeding::checkpoint::Slice;
use crate::feeding::report::Reporter;
use crate::feeding::runner::Runner;
use crate::feeding::{Feeder, Replica, end_of};
use crate::generations::rebuild::{Rebuilds, Wake};
use crate::generations::requests::{self, Done, Refused};
use crate::generations::{self, Asked, Generation, Regroup, indexes, turn};
use crate::progress::Progress;
use crate::progress::board::Board;
use crate::read_model::{ReadModel, ReadModels};

/// What an engine is started with.
pub struct Setup {
    /// The read models of this program.
    pub models: Arc<ReadModels>,
    /// The names of those that are fed here; none: all. A bench measures one at a time.
    pub only: Vec<String>,
    /// The log that is followed.
    pub store: Arc<dyn EventStore>,
    /// Gives the database's URL once Postgres is ready to be asked. Until then, and whenever it is gone, the read models stand
    /// still and go on by themselves.
    pub url: watch::Receiver<Option<String>>,
    /// The tasks in which all runs; it ends when they are stopped.
    pub tasks: Tasks,
}

/// The running read models. Cheap to clone.
#[derive(Clone)]
pub struct ProjectionEngine {
    models: Arc<ReadModels>,
    names: Vec<&'static str>,
    store: Arc<dyn EventStore>,
    database: Database,
    progress: Arc<Progress>,
    regroup: Arc<Regroup>,
    wake: Arc<Wake>,
    replica: Replica,
    /// In a cluster, what reads how far all replicas are.
    board: Option<Arc<Board>>,
    /// The way to the runners, for operators.
    pub(crate) desk: Desk,
    pub(crate) tasks: Tasks,
}

impl std::fmt::Debug for ProjectionEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProjectionEngine({})", self.replica.name)
    }
}

impl ProjectionEngine {
    /// Starts to follow the log as the only process over its database.
    pub fn start(setup: Setup) -> Self {
        let engine = Self::new(setup, Replica::alone());
        let report = Reporter { progress: Arc::clone(&engine.progress), board: None, partition: 0 };
        let log = Arc::new(WholeLog(Arc::clone(&engine.store)));
        let runner = engine.runner(log, report, engine.tasks.stopping());
        let (mut requests, closing) = (engine.desk.open(0), engine.database.clone());
        engine.tasks.spawn("projections", async move {
            runner.run(&mut requests).await;
            closing.close().await;
        });
        engine.rebuilds().start();
        engine.complete_indexes();
        engine
    }

    /// Starts as one of several replicas over one database: it tells how far the read models of all replicas are, and feeds the
    /// partitions that the [`Feeder`] is given.
    pub fn start_shared(setup: Setup, replica: Replica) -> (Self, Feeder) {
        let mut engine = Self::new(setup, replica);
        engine.regroup = Arc::new(Regroup::across(engine.database.clone()));
        let told = (Arc::clone(&engine.progress), Arc::clone(&engine.regroup));
        let board = Board::new(Arc::clone(&engine.models), engine.database.clone(), told, engine.replica.partitions);
        engine.board = Some(Arc::clone(&board));
        let tasks = &engine.tasks;
        tasks.spawn("read-models-board", Arc::clone(&board).run(tasks.clone()));
        tasks.spawn("generations", turn::take_turns(engine.database.clone(), engine.rebuilds()));
        let closing = (tasks.stopping(), engine.database.clone());
        tasks.spawn("read-models-close", async move {
            closing.0.cancelled().await;
            closing.1.close().await;
        });
        engine.complete_indexes();
        let feeder = Feeder::new(engine.clone(), board);
        (engine, feeder)
    }

    fn new(setup: Setup, replica: Replica) -> Self {
        let Setup { models, only, store, url, tasks } = setup;
        let mut names = models.names();
        names.retain(|name| only.is_empty() || only.iter().any(|only| only == name));
        Self {
            progress: Progress::new(names.iter().copied()),
            database: Database::new(url, replica.partitions),
            regroup: Arc::default(),
            wake: Arc::default(),
            desk: Desk::default(),
            models,
            names,
            store,
            replica,
            board: None,
            tasks,
        }
    }

    pub(crate) fn runner(&self, source: Arc<dyn Source>, report: Reporter, stopping: CancellationToken) -> Runner {
        Runner {
            models: Arc::clone(&self.models),
            store: Arc::clone(&self.store),
            source,
            replica: self.replica.clone(),
            database: self.database.clone(),
            report,
            regroup: Arc::clone(&self.regroup),
            stopping,
            names: self.names.clone(),
        }
    }

    fn complete_indexes(&self) {
        let (database, models, tasks) = (self.database.clone(), Arc::clone(&self.models), self.tasks.clone());
        self.tasks.spawn("indexes", indexes::complete_in_background(database, models, tasks));
    }

    fn rebuilds(&self) -> Rebuilds {
        Rebuilds {
            models: Arc::clone(&self.models),
            store: Arc::clone(&self.store),
            replica: self.replica.clone(),
            database: self.database.clone(),
            progress: Arc::clone(&self.progress),
            regroup: Arc::clone(&self.regroup),
            wake: Arc::clone(&self.wake),
            tasks: self.tasks.clone(),
        }
    }

    /// The read models that it was started with.
    pub fn models(&self) -> &Arc<ReadModels> {
        &self.models
    }

    /// How far the read models are.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Which replica this is.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// In a cluster, makes sure that what [`Self::progress`] says of all replicas is not older than some milliseconds.
    ///
    /// # Errors
    /// What Postgres says; what was read before stays then.
    pub async fn look(&self) -> Result<(), sqlx::Error> {
        match &self.board {
            Some(board) => board.fresh().await,
            None => Ok(()),
        }
    }

    /// The last position of the log. Of one that others write too it is asked: what is known here may be old.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn head(&self) -> Result<Position, ReadError> {
        let known = *self.store.head().borrow();
        match self.store.is_shared() {
            true => Ok(known.max(end_of(&*self.store).await?)),
            false => Ok(known),
        }
    }

    /// All generations of the read models.
    ///
    /// # Errors
    /// What Postgres says; [`sqlx::Error::PoolClosed`]: the read models have not started.
    pub async fn generations(&self) -> Result<Vec<Generation>, sqlx::Error> {
        generations::all(&self.pool().await?, &self.models).await
    }

    /// Makes a new generation beside the live one, folded from the beginning; once it has caught up and is the same, answers
    /// come from it. Where one waits because it differs, it is compared again.
    ///
    /// # Errors
    /// A [`Refused`].
    pub async fn rebuild(&self, model: ReadModel, accept_differences: bool, asked: Asked) -> Result<Done, Refused> {
        let done = requests::rebuild(&self.pool().await?, &self.models, model, accept_differences, asked).await?;
        self.wake.all();
        Ok(done)
    }

    /// Makes a generation that is folded up to a position and no further.
    ///
    /// # Errors
    /// A [`Refused`].
    pub async fn replay(&self, model: ReadModel, until: Position, asked: Asked) -> Result<Done, Refused> {
        let done = requests::replay(&self.pool().await?, &self.models, model, until, asked).await?;
        self.wake.all();
        Ok(done)
    }

    /// Lets answers come from the generation before, at once: it was fed all the time.
    ///
    /// # Errors
    /// A [`Refused`].
    pub async fn roll_back(&self, model: ReadModel, asked: &Asked) -> Result<Done, Refused> {
        let done = requests::roll_back(&self.pool().await?, &self.models, model, asked).await?;
        // If the caller is gone here: answers come from it already, and the runner learns of it at its next session.
        self.regroup.ask().await;
        Ok(done)
    }

    /// Drops a generation that answers do not come from; without a number, the previous one.
    ///
    /// # Errors
    /// A [`Refused`].
    pub async fn retire(&self, model: ReadModel, number: Option<i32>, asked: Asked) -> Result<Done, Refused> {
        let done = requests::retire(&self.pool().await?, &self.models, model, number, asked).await?;
        self.wake.all();
        Ok(done)
    }

    /// Tries, retries or discards a parked stream, between two batches of the runner of its partition. Dropped while waiting,
    /// it may still be done.
    pub async fn repair(&self, partition: u32, slice: Slice, stream: StreamName, verb: Verb) -> Answered {
        self.desk.ask(partition, slice, stream, verb).await
    }

    /// What writes, once the tables are there.
    async fn pool(&self) -> Result<PgPool, sqlx::Error> {
        let pool = match self.progress.is_ready() {
            true => self.database.writer().await?,
            false => None,
        };
        pool.ok_or(sqlx::Error::PoolClosed)
    }
}
