//! `[bus]`: where Kafka is, what our topic is called, how patient we are.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::Deserialize;
use service_kit::secret::Secret;

/// `[bus]`. Without `brokers` there is no bus: everything runs in one process and follows the log itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// Kafka's addresses, `host:port`, comma separated; none: no bus.
    pub brokers: Option<String>,
    /// The topic that holds every event.
    pub topic: String,
    /// Its partitions. A topic with another number is refused: which events a partition holds follows from it.
    #[serde(deserialize_with = "service_kit::config::within::<1, 1024, _, _>")]
    pub partitions: u32,
    /// How many brokers keep each partition when a topic is made; -1: what the brokers do by default.
    #[serde(deserialize_with = "service_kit::config::within::<-1, 32767, _, _>")]
    pub replication: i32,
    /// CloudEvents `source` of what is published: a URI reference that names this shop.
    pub source: String,
    /// What the names of our consumer groups begin with.
    pub group_prefix: String,
    /// After this long without a sign of life a member's partitions go to others, 1 000 to 60 000. Kafka's brokers refuse
    /// less than 6 000 unless their `group.min.session.timeout.ms` says so.
    #[serde(deserialize_with = "service_kit::config::within::<1000, 60000, _, _>")]
    pub session_timeout_ms: u32,
    /// How long a partition that is to be handed over waits for the work on it to end.
    #[serde(deserialize_with = "service_kit::config::within::<1, 300000, _, _>")]
    pub handover_ms: u32,
    /// How often, at most, idle partitions are told how far the log has come.
    #[serde(deserialize_with = "service_kit::config::within::<1, 60000, _, _>")]
    pub watermark_ms: u32,
    /// How long one question to a broker may take.
    #[serde(deserialize_with = "service_kit::config::within::<1, 300000, _, _>")]
    pub request_timeout_ms: u32,
    /// Public topics: category → topic, for other teams. The relay copies the category's events there too.
    pub public: BTreeMap<String, String>,
    /// Further properties of librdkafka, such as `security_protocol`, `sasl_username`: `_` stands for its `.`, so that they
    /// can be given in the environment. No value is ever shown: several are secrets, and librdkafka adds names.
    pub client: BTreeMap<String, Secret>,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            brokers: None,
            topic: "backstitch.events".to_owned(),
            partitions: 6,
            replication: -1,
            source: "/backstitch".to_owned(),
            group_prefix: "backstitch.".to_owned(),
            session_timeout_ms: 6_000,
            handover_ms: 10_000,
            watermark_ms: 100,
            request_timeout_ms: 5_000,
            public: BTreeMap::new(),
            client: BTreeMap::new(),
        }
    }
}

impl BusConfig {
    /// The name of a consumer group of ours, such as `backstitch.sagas`.
    pub fn group(&self, name: &str) -> String {
        format!("{}{name}", self.group_prefix)
    }

    /// The topic with one partition by which relays agree who is active.
    pub fn control_topic(&self) -> String {
        format!("{}.relay", self.topic)
    }

    /// What every client of Kafka is made with.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers.as_deref().unwrap_or_default())
            .set("client.id", "backstitch")
            // A broker that restarts is back within seconds: ask often (the default waits up to 10 s).
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "300")
            .set("socket.keepalive.enable", "true")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("topic.metadata.refresh.fast.interval.ms", "100")
            // A topic is looked for before it is used; one that is unknown then was deleted (the default waits 30 s).
            .set("topic.metadata.propagation.max.ms", "3000")
            .set("log.connection.close", "false")
            // What the client says besides its errors goes to our log, where the filter decides.
            .set_log_level(RDKafkaLogLevel::Notice);
        for (name, value) in &self.client {
            // All of librdkafka's names are small; those of the environment often are not.
            client.set(name.to_lowercase().replace('_', "."), value.reveal());
        }
        client
    }

    /// A consumer of a partition that we choose ourselves, at an offset that we choose ourselves.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut client = self.client();
        client
            // librdkafka wants a name; nothing is joined and nothing committed under it.
            .set("group.id", self.group("reader"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // An offset that is not there means that the topic was made anew: we look again where we are.
            .set("auto.offset.reset", "error")
            // Nobody of ours writes in transactions; somebody else's open one must not hold us up.
            .set("isolation.level", "read_uncommitted")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "20")
            // 10 000 records or 8 MiB read ahead: some 50 ms of work.
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "8192");
        client
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }

    pub(crate) fn handover(&self) -> Duration {
        Duration::from_millis(self.handover_ms.into())
    }

    pub(crate) fn watermark_every(&self) -> Duration {
        Duration::from_millis(self.watermark_ms.into())
    }

    /// The brokers, for messages.
    pub(crate) fn place(&self) -> &str {
        self.brokers.as_deref().unwrap_or("(no brokers)")
    }
}
