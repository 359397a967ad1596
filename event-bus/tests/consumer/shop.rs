//! A topic with orders, a database with a row per handled event, and a consumer between them.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use event_bus::consumer::{Builder, Consumer, Received};
use event_bus::retry::is_passing;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, HandlerError, Retry, cloudevents};
use event_store::{Metadata, Position, RecordedEvent};
use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::value::RawValue;
use service_kit::postgres::testing::fresh_database;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

/// How long anything may take. Nothing here takes longer than some seconds on a busy machine.
pub const BOUND: Duration = Duration::from_secs(60);

/// How often it is looked whether a condition holds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(BOUND, answered).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

/// The data of `OrderPlaced`.
#[derive(Debug, serde::Deserialize)]
pub struct OrderPlaced {
    pub amount: i64,
}

/// A world of a test's own: a topic, a database.
pub struct Shop {
    pub config: BusConfig,
    pub topic: String,
    pub pool: PgPool,
    /// Of the database.
    pub url: String,
    pub producer: FutureProducer,
}

/// A pool of a new database whose table `handled` has no primary key, so that a double effect shows.
pub async fn database() -> (PgPool, String) {
    let url = fresh_database().await.unwrap();
    let pool = PgPoolOptions::new().max_connections(20).connect(&url).await.unwrap();
    make_tables(&pool).await;
    (pool, url)
}

/// The table of a handler.
pub async fn make_tables(pool: &PgPool) {
    sqlx::query(
        "create table handled (seq bigint generated always as identity, stream text not null, version bigint not null,
            position bigint not null, amount bigint not null, place text not null)",
    )
    .execute(pool)
    .await
    .unwrap();
}

impl Shop {
    pub async fn open(kafka: &Kafka, partitions: u16) -> Self {
        let topic = kafka.topic("orders", partitions).await.unwrap();
        let config = BusConfig {
            brokers: Some(kafka.brokers().to_owned()),
            topic: topic.clone(),
            partitions: partitions.into(),
            session_timeout_ms: 1_500,
            ..BusConfig::default()
        };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka.brokers())
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "300")
            .set("linger.ms", "5")
            .create()
            .unwrap();
        let (pool, url) = database().await;
        Self { config, topic, pool, url, producer }
    }

    /// A consumer with a handler for `OrderPlaced` 1 that writes a row, and fails if the table `refused` names the stream.
    pub fn consumer(&self, group: &str) -> Builder {
        Consumer::builder(&self.config, group)
            .retry(Retry { attempts: 3, first_pause: Duration::from_millis(10), ..Retry::default() })
            .on("OrderPlaced", 1, |received: Received<OrderPlaced>, connection| Box::pin(write(received, connection)))
    }

    /// Publishes events of a partition in order, and waits until Kafka has them.
    pub async fn publish(&self, partition: i32, events: &[RecordedEvent]) {
        let sent = events.iter().map(|event| {
            let headers = cloudevents::headers(event, "/test", Some(Position(event.position.0 - 1)));
            self.send(partition, event.metadata.partition_key.clone(), event.data.get().to_owned(), headers)
        });
        for one in futures_util::future::join_all(sent).await {
            assert!(one >= 0);
        }
    }

    /// Publishes any record; its offset.
    pub async fn send(&self, partition: i32, key: String, value: String, headers: OwnedHeaders) -> i64 {
        let record = FutureRecord::to(&self.topic).key(&key).payload(&value).partition(partition).headers(headers);
        self.producer.send(record, BOUND).await.unwrap().offset
    }

    /// What was handled, in the order of the transactions: (stream, version).
    pub async fn handled(&self) -> Vec<(String, i64)> {
        sqlx::query_as("select stream, version from handled order by seq").fetch_all(&self.pool).await.unwrap()
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until a query gives this number.
    pub async fn until(&self, query: &'static str, wanted: i64) {
        let mut found = 0;
        let reached = async {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            loop {
                ticks.tick().await;
                // While Postgres is away there is no number.
                match sqlx::query_scalar(query).fetch_one(&self.pool).await {
                    Ok(number) => found = number,
                    Err(error) => assert!(is_passing(&error), "{query}: {error}"),
                }
                if found == wanted {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(BOUND, reached).await;
        assert!(in_time.is_ok(), "`{query}` gives {found}, not {wanted}");
    }

    /// Fails if anything was handled twice, or within a stream out of order, or left out.
    pub async fn assert_each_once(&self, events: &[RecordedEvent]) {
        let mut wanted: Vec<(String, i64)> =
            events.iter().map(|event| (event.stream.to_string(), event.version.cast_signed())).collect();
        let mut found = self.handled().await;
        // A stable sort: within a stream the order of the transactions stays.
        found.sort_by(|one, other| one.0.cmp(&other.0));
        wanted.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, wanted);
    }
}

/// The handler: it writes a row.
pub async fn write(received: Received<OrderPlaced>, connection: &mut sqlx::PgConnection) -> Result<(), HandlerError> {
    let event = &received.event;
    if event.metadata.traceparent.is_none() {
        return Err(HandlerError::failed("the trace was lost on the way"));
    }
    let place = format!("{}/{}/{}", received.from.topic, received.from.partition, received.from.offset);
    sqlx::query("insert into handled (stream, version, position, amount, place) values ($1, $2, $3, $4, $5)")
        .bind(event.stream.as_str())
        .bind(event.version.cast_signed())
        .bind(event.position.0.cast_signed())
        .bind(received.data.amount)
        .bind(place)
        .execute(&mut *connection)
        .await?;
    let refused: Option<bool> =
        sqlx::query_scalar("select to_regclass('refused') is not null").fetch_one(&mut *connection).await?;
    if refused == Some(true) {
        let here: bool = sqlx::query_scalar("select exists (select 1 from refused where stream = $1)")
            .bind(event.stream.as_str())
            .fetch_one(connection)
            .await?;
        if here {
            return Err(HandlerError::failed("the order is refused by hand"));
        }
    }
    Ok(())
}

/// An event of the log.
pub fn placed(stream: &str, version: u64, position: u64) -> RecordedEvent {
    let at = DateTime::from_timestamp_millis(1_790_000_000_000).unwrap();
    let id = Uuid::from_u128(u128::from(position));
    RecordedEvent {
        id,
        stream: format!("order-{stream}").parse().unwrap(),
        version,
        position: Position(position),
        event_type: "OrderPlaced".into(),
        schema_version: 1,
        data: RawValue::from_string(format!("{{\"amount\":{position}}}")).unwrap(),
        metadata: Arc::new(Metadata {
            partition_key: stream.to_owned(),
            correlation_id: id,
            causation_id: id,
            command_id: id,
            command_hash: None,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            actor: "test".to_owned(),
            occurred_at: at,
        }),
        recorded_at: at,
    }
}

/// `orders` streams with `each` events, taking turns, from position `from` + 1.
pub fn orders(name: &str, orders: u64, each: u64, from: u64) -> Vec<RecordedEvent> {
    (0..orders * each).map(|n| placed(&format!("{name}{}", n % orders), n / orders, from + n + 1)).collect()
}
