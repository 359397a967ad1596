//! A client of Kafka, and what it has to say: its errors are kept, so that a failure can be told with its cause.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use crate::config::BusConfig;
use crate::error::BusError;

/// Keeps the last error that a client told of, and passes its log on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    // Held for one look or write, never across an await: a std mutex is enough.
    last: Arc<Mutex<Option<String>>>,
}

impl Told {
    /// The last error, if there was any.
    pub fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps an error.
    pub fn keep(&self, reason: &str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// The error for a question that was not answered.
    pub fn unreachable(&self, config: &BusConfig, error: &KafkaError) -> BusError {
        // "All brokers are down" and "timed out" say less than what was told before them.
        BusError::Unreachable {
            brokers: config.place().to_owned(),
            reason: self.last().unwrap_or_else(|| error.to_string()),
        }
    }
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "event_bus::kafka", fac, "{message}");
            }
            // Connections that fail: clients whose errors nobody polls say so only here.
            RDKafkaLogLevel::Error if fac == "FAIL" => {
                tracing::debug!(target: "event_bus::kafka", fac, "{message}");
                self.keep(message.split_once("]: ").map_or(message, |(_, reason)| reason));
            }
            // A broker that is away is told again and again; whoever waits for it says so once.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::debug!(target: "event_bus::kafka", fac, "{message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(target: "event_bus::kafka", fac, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "event_bus::kafka", %error, "{reason}");
        let all_down = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown);
        if !(all_down && self.last().is_some()) {
            self.keep(reason);
        }
    }
}

impl ConsumerContext for Told {}

/// A consumer that asks questions and is never given a partition.
pub(crate) fn asker(config: &BusConfig, group: Option<&str>) -> Result<BaseConsumer<Told>, BusError> {
    if config.brokers.is_none() {
        return Err(BusError::NoBrokers);
    }
    let mut client = config.client();
    if let Some(group) = group {
        client.set("group.id", group).set("enable.auto.commit", "false");
    }
    client.create_with_context(Told::default()).map_err(|error| client_error(config, error))
}

/// Whether Kafka answers: one round trip to a broker. Blocks, at most for the time-out of a request.
pub(crate) fn ask(config: &BusConfig, consumer: &BaseConsumer<Told>) -> Result<(), BusError> {
    let answer = consumer.fetch_metadata(Some(&config.topic), config.request_timeout());
    // Errors are told on the queue that `poll` reads.
    drop(consumer.poll(std::time::Duration::ZERO));
    answer.map(|_| ()).map_err(|error| consumer.context().unreachable(config, &error))
}

pub(crate) fn client_error(config: &BusConfig, error: KafkaError) -> BusError {
    BusError::Client { brokers: config.place().to_owned(), error }
}

/// Closes a client on a thread of its own: librdkafka may take seconds for it (rust-rdkafka #48, #611), or for ever, and
/// nobody who works should wait for that.
pub(crate) fn close_apart<T: Send + 'static>(client: T) {
    let closing = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client));
    if let Err(error) = closing {
        tracing::warn!(%error, "no thread to close a Kafka client on; it was closed in place");
    }
}

/// Asks Kafka by calls that block, apart from those who work.
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(BusError::Settings(format!("the program is ending: {error}"))),
    }
}
