//! A client of Kafka that keeps its errors, so that a failure can be reported with its cause.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::groups::GroupInfo;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};

use crate::config::BusConfig;
use crate::error::BusError;
use crate::status::Group;
use service_kit::secret::MASK;

/// Keeps the last error that a client reported, and passes its log messages on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    // Held for one look or write, never across an await.
    last: Arc<Mutex<Option<String>>>,
}

impl Told {
    /// The last error, if there was any.
    pub fn last(&self) -> Option<String> {
        self.last.lock().clone()
    }

    /// Keeps an error in place of the one before.
    pub fn keep(&self, reason: &str) {
        *self.last.lock() = Some(reason.to_owned());
    }

    /// The error of a question that was not answered.
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
            // librdkafka reports a broker that is away again and again; the code that waits for it logs that once.
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

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Asks questions and receives the errors when they are not answered. It is a producer that produces nothing: of all
/// clients only these pass on the text of an error (rdkafka gives a consumer's user no more than its code).
pub(crate) struct Asker {
    config: BusConfig,
    client: BaseProducer<Told>,
}

impl Asker {
    pub fn new(config: &BusConfig) -> Result<Self, BusError> {
        if config.brokers.is_none() {
            return Err(BusError::NoBrokers);
        }
        let mut client = config.client();
        client.set("allow.auto.create.topics", "false");
        let client = client.create_with_context(Told::default()).map_err(|error| client_error(config, error))?;
        Ok(Self { config: config.clone(), client })
    }

    /// The number of partitions of a topic; `None` if it does not exist. Blocks, at most for the time-out of a request.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, BusError> {
        let answer = self.client.client().fetch_metadata(Some(topic), self.config.request_timeout());
        let metadata = answer.map_err(|error| {
            self.client.poll(Duration::from_millis(100)); // Hands over what has gone wrong.
            self.client.client().context().unreachable(&self.config, &error)
        })?;
        let found = metadata.topics().iter().find(|it| it.name() == topic);
        let partitions = u32::try_from(found.map_or(0, |it| it.partitions().len()));
        Ok(partitions.ok().filter(|partitions| *partitions > 0))
    }

    /// All consumer groups, without their lag.
    pub fn groups(&self) -> Result<Vec<Group>, BusError> {
        let answer = self.client.client().fetch_group_list(None, self.config.request_timeout());
        let list = answer.map_err(|error| self.client.client().context().unreachable(&self.config, &error))?;
        let group = |group: &GroupInfo| Group {
            name: group.name().to_owned(),
            state: group.state().to_owned(),
            members: group.members().len(),
            lag_records: Vec::new(),
        };
        Ok(list.groups().iter().map(group).collect())
    }
}

pub(crate) fn client_error(config: &BusConfig, error: KafkaError) -> BusError {
    // The library repeats the value of a property that it does not take, which may be a password.
    let error = if let KafkaError::ClientConfig(result, what, name, value) = error {
        let what = if value.is_empty() { what } else { what.replace(&value, MASK) };
        KafkaError::ClientConfig(result, what, name, MASK.to_owned())
    } else {
        error
    };
    BusError::Client { brokers: config.place().to_owned(), error }
}

/// Closes a client on a thread of its own: librdkafka may take seconds for it (rust-rdkafka #48, #611), or never end,
/// and no other work should wait for that.
pub(crate) fn close_apart<T: Send + 'static>(client: T) {
    let closing = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client));
    if let Err(error) = closing {
        tracing::warn!(%error, "no thread to close a Kafka client on; it was closed in place");
    }
}

/// Asks Kafka by calls that block, on a thread for blocking work.
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(BusError::Settings(format!("the program is ending: {error}"))),
    }
}
