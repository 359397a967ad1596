//! Why the bus did not do what was asked.

use event_store::{Position, ReadError};
use rdkafka::error::KafkaError;

/// Why the bus did not do what was asked. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There are no settings to connect with.
    #[error("no Kafka is named: set `brokers` in `[bus]`, such as \"127.0.0.1:9092\"")]
    NoBrokers,
    /// The settings contradict themselves.
    #[error("`[bus]` is not valid: {0}")]
    Settings(String),
    /// The brokers do not answer, or refuse the connection. It is retried; this error is reported meanwhile.
    #[error("Kafka at {brokers} does not answer: {reason}; start it, or correct `brokers` in `[bus]`")]
    Unreachable {
        /// The addresses of the brokers.
        brokers: String,
        /// What the client says.
        reason: String,
    },
    /// The settings of a topic would let it lose events.
    #[error("the topic `{topic}` {what}; {way_out}")]
    Topic {
        /// The topic's name.
        topic: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        way_out: String,
    },
    /// The topic and the log do not belong to the same history.
    #[error(
        "the topic `{topic}` holds position {seen}, which is not in this log (its end: {head}): the log is another one, or its end is missing; \
         point `[event_store]` at the right log, or, if it was restored from an older backup, let the topic be filled again: \
         `backstitch cluster rewind --accept-restore`"
    )]
    AnotherLog {
        /// Which topic.
        topic: String,
        /// What it holds.
        seen: Position,
        /// Where the log ends.
        head: Position,
    },
    /// Records were not taken.
    #[error("Kafka did not take a record of `{topic}`: {reason}")]
    Refused {
        /// Which topic.
        topic: String,
        /// What the broker or the client says.
        reason: String,
    },
    /// A record is larger than its topic takes. The relay waits there, so that nothing overtakes it, and goes on by itself.
    #[error(
        "the event at position {position} is a record of about {bytes} bytes, and the topic `{topic}` does not take it; raise its limit: \
         kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config max.message.bytes={needed}"
    )]
    TooLarge {
        /// Which topic.
        topic: String,
        /// Where the event is in the log.
        position: Position,
        /// How large its record is, before compression.
        bytes: usize,
        /// What the topic should take: the largest record there can be.
        needed: &'static str,
    },
    /// The topic lacks events that it must have.
    #[error(
        "partition {partition} of the topic `{topic}` lacks what follows position {after} (it goes on behind {next}); \
         fill it with `backstitch bus republish --from {after}`"
    )]
    Lacking {
        /// Which topic.
        topic: String,
        /// Which of its partitions.
        partition: u32,
        /// What is there without a hole.
        after: Position,
        /// Where it goes on.
        next: Position,
    },
    /// The client library refuses.
    #[error("the Kafka client at {brokers}: {error}")]
    Client {
        /// The addresses of the brokers.
        brokers: String,
        /// What it says.
        error: KafkaError,
    },
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] ReadError),
}

impl BusError {
    /// Whether trying again cannot help: a person must change something.
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoBrokers | Self::Settings(_) | Self::Topic { .. } => true,
            Self::Unreachable { .. }
            | Self::AnotherLog { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Lacking { .. }
            | Self::Client { .. }
            | Self::Store(_) => false,
        }
    }

    /// All that [`Self::cause`] can give.
    pub const CAUSES: &[&str] =
        &["settings", "kafka", "topic", "another_log", "refused", "record_too_large", "lacking", "event_store"];

    /// The kind of error in a word, for a metric's label.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::NoBrokers | Self::Settings(_) => "settings",
            Self::Unreachable { .. } | Self::Client { .. } => "kafka",
            Self::Topic { .. } => "topic",
            Self::AnotherLog { .. } => "another_log",
            Self::Refused { .. } => "refused",
            Self::TooLarge { .. } => "record_too_large",
            Self::Lacking { .. } => "lacking",
            Self::Store(_) => "event_store",
        }
    }
}
