//! A log, a topic of its own on a Kafka, and a plain look at its records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event_bus::relay::Status;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, BusError, Relay};
use event_store::conformance::{append, stream};
use event_store::{
    Delivery, Direction, EventStore, Expected, Filter, Position, RecordedEvent, Source, SqliteOptions, SqliteStore,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use service_kit::Tasks;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything that is waited for comes within this, on a machine that does much else.
pub const BOUND: Duration = Duration::from_secs(60);
pub const PARTITIONS: u32 = 3;

/// A log, and how to reach Kafka.
pub struct World {
    pub config: BusConfig,
    pub store: Arc<SqliteStore>,
    pub tasks: Tasks,
    /// Added to the numbers of streams, for a log of other events.
    pub shift: u64,
    written: AtomicU64,
    _dir: TempDir,
}

/// A relay that runs.
pub struct Running {
    pub status: watch::Receiver<Status>,
    pub stop: CancellationToken,
    /// Fired, the relay is dropped in whatever it does.
    pub kill: CancellationToken,
    pub task: JoinHandle<()>,
    pub outcome: watch::Receiver<Option<String>>,
}

impl World {
    pub async fn shared(name: &str) -> Self {
        Self::on(Kafka::shared().await.unwrap(), name)
    }

    pub fn on(kafka: &Kafka, name: &str) -> Self {
        Self::at(kafka.brokers(), name)
    }

    pub fn at(brokers: &str, name: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
        let config = BusConfig {
            brokers: Some(brokers.to_owned()),
            topic: format!("{name}.events"),
            partitions: PARTITIONS,
            group_prefix: format!("{name}."),
            session_timeout_ms: 1_500,
            watermark_ms: 50,
            ..BusConfig::default()
        };
        Self { config, store, tasks: Tasks::new(), shift: 0, written: AtomicU64::new(0), _dir: dir }
    }

    /// Appends `appends` times three events, over 40 streams of four categories; returns when they are durable.
    pub async fn write(&self, appends: u64) {
        let mut tickets = Vec::new();
        for _ in 0..appends {
            let number = self.written.fetch_add(1, Ordering::Relaxed);
            let category = ["order", "payment", "stock", "shipment"][(number % 4) as usize];
            let of = stream(&format!("{category}-{}", number % 40 + self.shift));
            let first = number / 40 * 3;
            let expected = Expected::at(first.checked_sub(1));
            tickets.push(self.store.append(append(&of, expected, first, 3)).await.unwrap());
        }
        for ticket in tickets {
            ticket.durable().await.unwrap();
        }
    }

    /// Appends three events to one stream, so to one partition.
    pub async fn write_to(&self, name: &str, first: u64) {
        let append = append(&stream(name), Expected::at(first.checked_sub(1)), first, 3);
        self.store.append(append).await.unwrap().durable().await.unwrap();
    }

    pub fn head(&self) -> Position {
        *self.store.head().borrow()
    }

    pub async fn log(&self) -> Vec<RecordedEvent> {
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let from = events.last().map_or(Position::START, |event| event.position);
            let page = self.store.read_all(from, Direction::Forward, 10_000, &Filter::default()).await.unwrap();
            if page.is_empty() {
                return events;
            }
            events.extend(page);
        }
    }

    pub fn relay(&self) -> Running {
        self.relay_of(self.store.clone())
    }

    pub fn relay_of(&self, store: Arc<dyn EventStore>) -> Running {
        let relay = Relay::new(self.config.clone(), store);
        let (status, stop, kill) = (relay.status(), CancellationToken::new(), CancellationToken::new());
        let (said, outcome) = watch::channel(None);
        let (stopped, killed) = (stop.clone(), kill.clone());
        let task = self.tasks.spawn("relay", async move {
            tokio::select! {
                ended = relay.run(stopped) => {
                    let text = |error: BusError| error.to_string();
                    said.send_replace(Some(ended.err().map_or_else(|| "stopped".to_owned(), text)));
                }
                () = killed.cancelled() => {}
            }
        });
        Running { status, stop, kill, task, outcome }
    }

    /// Publishes all that is in the log now, and stops.
    pub async fn relay_all(&self) {
        let relay = self.relay();
        relay.acknowledged(self.head()).await;
        relay.stop().await;
    }

    /// All records by partition, as a plain client sees them.
    pub async fn records(&self) -> Vec<Vec<Seen>> {
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || read_topic(&config, &config.topic)).await.unwrap()
    }
}

impl Running {
    /// Waits until everything up to `position` is acknowledged by Kafka.
    pub async fn acknowledged(&self, position: Position) {
        self.until(|status| status.position >= position).await;
    }

    pub async fn until(&self, is_so: impl FnMut(&Status) -> bool) {
        let mut status = self.status.clone();
        match tokio::time::timeout(BOUND, status.wait_for(is_so)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => panic!("the relay ended: {:?}", *self.outcome.borrow()),
            Err(_) => panic!("the relay did not get there: {:?}", *self.status.borrow()),
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        within(BOUND, self.task).await.unwrap();
    }

    /// Drops the relay, in whatever it does.
    pub async fn kill(self) {
        self.kill.cancel();
        within(BOUND, self.task).await.unwrap();
    }
}

/// A record as a plain client sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub offset: i64,
    pub kind: String,
    pub position: u64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    pub fn is_event(&self) -> bool {
        self.kind != "backstitch.watermark"
    }
}

/// What comes within the bound, or the test has failed.
pub async fn within<T>(bound: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(bound, future).await.expect("it comes within the bound")
}

/// Reads a topic from its first records to those that are its last ones now.
pub fn read_topic(config: &BusConfig, topic: &str) -> Vec<Vec<Seen>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config.brokers.as_deref().unwrap())
        .set("group.id", "a-plain-look")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), BOUND).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    (0..i32::try_from(partitions).unwrap())
        .map(|partition| {
            let (low, high) = consumer.fetch_watermarks(topic, partition, BOUND).unwrap();
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
            consumer.assign(&place).unwrap();
            let mut seen = Vec::new();
            while seen.last().map_or(low, |last: &Seen| last.offset + 1) < high {
                let Some(record) = consumer.poll(BOUND) else { continue };
                seen.push(look(&record.unwrap()));
            }
            seen
        })
        .collect()
}

fn look(record: &impl Message) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = record.headers().map(|headers| {
        let named = headers.iter().map(|header| (header.key.to_owned(), header.value.map_or_else(String::new, text)));
        named.collect::<Vec<_>>()
    });
    let headers = headers.unwrap_or_default();
    let of = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone());
    Seen {
        offset: record.offset(),
        kind: of("ce_type").unwrap_or_default(),
        position: of("ce_sequence").and_then(|text| text.parse().ok()).unwrap_or_default(),
        key: record.key().map(text),
        value: record.payload().map(text),
        headers,
    }
}

/// Every event of the log is in its partition, in order, repeats apart, and nothing else is.
pub fn the_log_is_in(records: &[Vec<Seen>], log: &[RecordedEvent]) {
    let mut found = 0;
    for (partition, records) in records.iter().enumerate() {
        let mut last = 0;
        let mut expected = log.iter().filter(|event| partition_of(event) == partition).peekable();
        for record in records.iter().filter(|record| record.is_event()) {
            if record.position <= last {
                continue; // A repeat.
            }
            let event = expected.next().unwrap_or_else(|| panic!("no such event in the log: {record:?}"));
            assert_eq!(record.position, event.position.0, "partition {partition}: an event was left out");
            assert_eq!(record.value.as_deref(), Some(event.data.get()));
            assert_eq!(record.key.as_deref(), Some(&*event.metadata.partition_key));
            assert_eq!(record.header("ce_id"), event.id.to_string());
            last = record.position;
            found += 1;
        }
        assert!(expected.peek().is_none(), "partition {partition} lacks what is behind {last}");
    }
    assert_eq!(found, log.len());
}

pub fn partition_of(event: &RecordedEvent) -> usize {
    event_store::partition::of(event.metadata.partition_key.as_bytes(), PARTITIONS) as usize
}

/// Follows until everything of the partition at or below `end` was delivered.
pub async fn follow_to(source: &dyn Source, after: Position, end: Position, filter: Filter) -> Vec<Arc<RecordedEvent>> {
    let mut feed = source.follow(after, filter).await.unwrap();
    let (mut found, mut seen) = (Vec::new(), after);
    while seen < end {
        match within(BOUND, feed.next()).await.unwrap().unwrap() {
            Delivery::CaughtUp => {}
            Delivery::Events { events, up_to } => {
                assert!(up_to > seen, "the checkpoint moves with each delivery");
                assert!(events.iter().all(|event| event.position > seen && event.position <= up_to));
                seen = up_to;
                found.extend(events);
            }
        }
    }
    found
}
