//! A consumer that any team can use: handlers by event type, effects exactly once per record, in order per key.
//!
//! ```no_run
//! # use event_bus::{BusConfig, consumer::Consumer};
//! # #[derive(serde::Deserialize)] struct OrderPlaced { order_id: String }
//! # async fn example(config: BusConfig, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! let consumer = Consumer::builder(&config, "billing")
//!     .on("OrderPlaced", 1, |received: event_bus::consumer::Received<OrderPlaced>, connection| Box::pin(async move {
//!         sqlx::query("insert into invoices (order_id) values ($1)").bind(received.data.order_id).execute(connection).await?;
//!         Ok(())
//!     }))
//!     .start(&pool)
//!     .await?;
//! // … until SIGTERM
//! consumer.shut_down(std::time::Duration::from_secs(10)).await;
//! # Ok(()) }
//! ```
//!
//! A handler writes its rows on the connection it is given; they, the offsets (`bus_offsets`) and what is parked
//! (`bus_dead_letters`) are one Postgres transaction. Kafka's own committed offsets are for its tools only.
//!
//! *Invariant:* the rows of a handler exist exactly once per record, whichever consumer is killed, paused or replaced
//! at any time.
//! *Invariant:* a record at a position of the log that was handled before (a relay repeats it, or the topic was filled
//! again) is skipped.

mod commit;
mod handlers;
mod letters;
mod offsets;
mod reading;
mod settling;
mod shared;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use service_kit::Tasks;
use service_kit::health::Reporter;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

pub use handlers::{Handled, Origin, Received};
pub use letters::DEAD_LETTERS;
pub use shared::Counts;

use self::handlers::Handlers;
use self::letters::LetterTopic;
use self::offsets::Place;
use self::shared::{At, Shared, Stats};
use crate::config::BusConfig;
use crate::error::BusError;
use crate::membership::Membership;
use crate::retry::Retry;
use crate::topics;

/// Records in one transaction, at most. More gain little: a commit costs as much as some 20 inserts.
const BATCH: usize = 100;

/// Why a consumer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would do nothing.
    #[error("the consumer `{0}` has no handler; give it one with `.on(type, version, handler)`")]
    NoHandler(String),
    /// Kafka's settings.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Its tables cannot be made.
    #[error("the tables of the consumer `{group}` cannot be made in the schema `{schema}`")]
    Postgres {
        /// The consumer's group.
        group: String,
        /// The Postgres schema of its tables.
        schema: String,
        /// What Postgres says.
        source: sqlx::Error,
    },
}

/// What a consumer is made of.
pub struct Builder {
    config: BusConfig,
    group: String,
    topics: Vec<String>,
    handlers: Handlers,
    schema: String,
    retry: Retry,
    batch: usize,
    health: Option<Reporter>,
}

/// A running consumer. Dropped, it stops in the background; better is [`Consumer::shut_down`].
pub struct Consumer {
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl Consumer {
    /// A consumer of `config.topic`, in the consumer group of this whole name: those of one name share the partitions.
    pub fn builder(config: &BusConfig, group: &str) -> Builder {
        Builder {
            config: config.clone(),
            group: group.to_owned(),
            topics: Vec::new(),
            handlers: Handlers::default(),
            schema: "public".to_owned(),
            retry: Retry::default(),
            batch: BATCH,
            health: None,
        }
    }

    /// How many records went which way since the start.
    pub fn counts(&self) -> Counts {
        self.shared.stats.counts()
    }

    /// What keeps it from going on at this moment, in one line.
    pub fn trouble(&self) -> Option<String> {
        self.shared.first_trouble()
    }

    /// Stops: what is under way is finished and committed, the group is left so that others take over at once, the
    /// clients are closed. Waits at most `bound`; `false`: something hangs and is left behind. What that still commits
    /// is what nobody else has, for its offsets move only from where it stands.
    pub async fn shut_down(self, bound: Duration) -> bool {
        self.shared.stopping.cancel();
        self.tasks.shut_down(bound).await
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
        self.tasks.stop();
    }
}

impl Builder {
    /// Consumes this topic; called again, several. Without: `config.topic`.
    #[must_use]
    pub fn topic(mut self, topic: &str) -> Self {
        self.topics.push(topic.to_owned());
        self
    }

    /// Adds a handler for events of a type and a version of its schema. The data are decoded as `T`. Data that do not
    /// fit become a dead letter, and so does a version of a handled type without a handler. Types without a handler are
    /// skipped.
    ///
    /// The handler's rows belong on the connection that it is given. What it does elsewhere may be done again.
    #[must_use]
    pub fn on<T, F>(mut self, event_type: &str, schema_version: u16, handler: F) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: for<'c> Fn(Received<T>, &'c mut PgConnection) -> Handled<'c> + Send + Sync + 'static,
    {
        self.handlers.add(event_type, schema_version, handler);
        self
    }

    /// The Postgres schema of its tables, which handlers find on the search path too. Without: `public`. It must exist.
    #[must_use]
    pub fn schema(mut self, schema: &str) -> Self {
        schema.clone_into(&mut self.schema);
        self
    }

    /// How failed handlers are tried again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How many records may share a transaction, at least 1. Without: 100.
    #[must_use]
    pub fn batch(mut self, records: usize) -> Self {
        self.batch = records.max(1);
        self
    }

    /// Where it says how it is, for `/health`.
    #[must_use]
    pub fn report_to(mut self, health: Reporter) -> Self {
        self.health = Some(health);
        self
    }

    /// Makes its tables and starts it. Kafka and topics that are not there yet are waited for, and told.
    ///
    /// # Errors
    /// [`StartError`]: what waiting does not help, and a Postgres that does not answer.
    pub async fn start(self, pool: &PgPool) -> Result<Consumer, StartError> {
        if self.handlers.is_empty() {
            return Err(StartError::NoHandler(self.group));
        }
        if self.config.brokers.is_none() {
            return Err(BusError::NoBrokers.into());
        }
        let Self { config, group, mut topics, handlers, schema, retry, batch, health } = self;
        if let Err(source) = offsets::prepare(pool, &schema).await {
            return Err(StartError::Postgres { group, schema, source });
        }
        if topics.is_empty() {
            topics.push(config.topic.clone());
        }
        let letters = LetterTopic::new(&config)?;
        let shared = Arc::new(Shared {
            config,
            group,
            pool: pool.clone(),
            schema,
            handlers,
            retry,
            batch,
            letters,
            stats: Stats::default(),
            health,
            troubles: Mutex::default(),
            stopping: CancellationToken::new(),
        });
        let tasks = Tasks::new();
        for topic in topics {
            let (theirs, all) = (Arc::clone(&shared), tasks.clone());
            tasks.spawn("bus-consumer", async move { consume(theirs, all, topic).await });
        }
        Ok(Consumer { shared, tasks })
    }
}

/// One topic: its partitions come and go, each with a worker.
async fn consume(shared: Arc<Shared>, tasks: Tasks, topic: String) {
    // Partition -1: the topic as a whole.
    let whole = Place { group: shared.group.clone(), topic: topic.clone(), partition: -1 };
    let membership = loop {
        let joined = match topics::ready_with_letters(&shared.config, &topic, &format!("{topic}{DEAD_LETTERS}")).await {
            Ok(()) => Membership::join(&shared.config, &topic, &shared.group),
            Err(error) => Err(error),
        };
        match joined {
            Ok(membership) => break membership,
            Err(error) => shared.trouble(&whole, At::Reading, Some(&error.to_string())),
        }
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(shared.retry.longest_pause) => {}
        }
    };
    shared.trouble(&whole, At::Reading, None);
    shared.say_how_it_is();
    loop {
        let held = tokio::select! {
            biased;
            () = shared.stopping.cancelled() => break,
            held = membership.next() => held,
        };
        let Some(held) = held else { break };
        tasks.spawn("bus-consumer-partition", worker::run(Arc::clone(&shared), topic.clone(), held));
    }
    membership.leave().await;
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({})", self.shared.group)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Builder({})", self.group)
    }
}
