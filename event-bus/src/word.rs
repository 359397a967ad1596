//! What the active relay says of itself to those who follow: the last record of the control topic. They cannot see why
//! nothing comes; it can.

use std::time::Duration;

use event_store::Position;
use rdkafka::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::{Deserialize, Serialize};

use crate::config::BusConfig;
use crate::connection::{Told, blocking, client_error, close_apart};
use crate::error::BusError;
use crate::records::Records;

/// How long saying it may take: it is told again with the next failure.
const SAID_WITHIN: Duration = Duration::from_secs(2);
/// Records at the end of the topic that are looked at: the last one is what counts, and marks of Kafka's own may follow.
const LOOK_BACK: i64 = 16;

/// What a relay says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Everything at or below is published.
    pub position: Position,
    /// Why nothing more is; none: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The same in one word, as [`BusError::cause`] gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Says it. Not taken by Kafka, it is lost: followers then know no more than before.
pub(crate) async fn say(config: &BusConfig, word: &Word) -> Result<(), BusError> {
    let (config, value) = (config.clone(), serde_json::to_vec(word).unwrap_or_default());
    blocking(move || {
        let made = config.client().set("message.timeout.ms", "2000").create_with_context(Told::default());
        let producer: BaseProducer<Told> = made.map_err(|error| client_error(&config, error))?;
        let topic = config.control_topic();
        let sent = producer.send(BaseRecord::<(), [u8]>::to(&topic).partition(0).payload(&value));
        let outcome = match sent {
            Ok(()) => producer.flush(SAID_WITHIN),
            Err((error, _)) => Err(error),
        };
        let outcome = outcome.map_err(|error| client_error(&config, error));
        close_apart(producer);
        outcome
    })
    .await
}

/// What the active relay said last; `None`: nothing that can be read.
///
/// # Errors
/// [`BusError`]: Kafka does not answer.
pub async fn heard(config: &BusConfig) -> Result<Option<Word>, BusError> {
    let config = config.clone();
    blocking(move || {
        let records = Records::new(&config, &config.control_topic(), 0)?;
        let (first, end) = records.ends()?;
        let mut last = None;
        records.each((end - LOOK_BACK).max(first), end, |_, record| {
            let read = record.payload().and_then(|payload| serde_json::from_slice(payload).ok());
            last = read.or(last.take());
            true
        })?;
        close_apart(records);
        Ok(last)
    })
    .await
}
