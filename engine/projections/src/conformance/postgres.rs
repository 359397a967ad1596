//! The suite on Postgres.

use std::sync::Arc;

use engine_runtime::{Tasks, clock::Timestamp, pg};
use event_store::{EventStore, Position, RecordedEvent};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::sync::watch;

use super::{BOUND, Bench, Delivered, Projections, Rows, Subjects, fold};
use crate::dead_letters::Parked;
use crate::feeding::checkpoint::{self, Share};
use crate::feeding::member::{Member, Seat, Unwritten, write};
use crate::generations::{self, Asked, Generation, Stage};
use crate::projecting::postgres::Postgres;
use crate::{ProjectionEngine, ReadModels, Setup};

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

impl Subjects for Subject {
    type Bench = Database;

    async fn bench(&self) -> Database {
        let (models, store) = (Arc::clone(&self.models), Arc::clone(&self.store));
        Database { models, store, url: self.url.clone(), pool: PgPool::connect(&self.url).await.unwrap() }
    }

    fn log(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The database at work.
pub struct Database {
    models: Arc<ReadModels>,
    store: Arc<dyn EventStore>,
    url: String,
    pool: PgPool,
}

impl Database {
    async fn generations(&self) -> Vec<Generation> {
        generations::all(&self.pool, &self.models).await.unwrap()
    }
}

impl Bench for Database {
    type Store = Postgres;
    type Runner = Runner;

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

    async fn start(&self) -> Runner {
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
        Runner(all.into_iter().zip(taken).map(seat).map(Member::new).collect())
    }

    async fn write(&self, runner: Runner, Delivered(batch): Delivered) -> Option<Runner> {
        match write(&self.pool, &self.store, runner.0, batch).await {
            Ok((members, _)) => Some(Runner(members)),
            Err(Unwritten::Fenced) => None,
            Err(error @ Unwritten::Postgres(_)) => panic!("{error}"),
        }
    }

    async fn positions(&self) -> Vec<(&'static str, Position)> {
        self.generations().await.iter().map(|generation| (generation.model.name, generation.position())).collect()
    }

    fn projections(&self) -> Projections<Postgres> {
        self.models.all().iter().map(|model| (model.make)()).collect()
    }

    async fn apply(
        &self,
        projections: Projections<Postgres>,
        events: Vec<Arc<RecordedEvent>>,
    ) -> Projections<Postgres> {
        let store = Arc::clone(&self.store);
        let applied = pg::tx(&self.pool, "read_1", move |sql| {
            Box::pin(async move { fold::<Postgres>(sql, &*store, projections, &events).await })
        });
        applied.await.unwrap()
    }

    async fn die(&self, events: Vec<Arc<RecordedEvent>>) {
        let (store, projections) = (Arc::clone(&self.store), self.projections());
        let killed = pg::tx(&self.pool, "read_1", move |sql| {
            Box::pin(async move {
                fold::<Postgres>(sql, &*store, projections, &events).await?;
                Err::<(), _>(sqlx::Error::WorkerCrashed)
            })
        });
        assert!(matches!(killed.await, Err(sqlx::Error::WorkerCrashed)));
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

    async fn rebuild(&self, head: Position) {
        let (tasks, (_, url)) = (Tasks::new(), watch::channel(Some(self.url.clone())));
        let (models, store) = (Arc::clone(&self.models), Arc::clone(&self.store));
        let engine = ProjectionEngine::start(Setup { models, only: Vec::new(), store, url, tasks: tasks.clone() });
        assert!(engine.progress().all_reached(head, BOUND).await, "{:?}", engine.progress().statuses());
        for model in self.models.all() {
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
    }
}

/// The read models as a runner that has just started has them.
pub struct Runner(Vec<Member>);
