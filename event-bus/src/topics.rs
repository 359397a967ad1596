//! Topics that history can be trusted to: made if they are absent, refused if they would lose anything.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::config::BusConfig;
use crate::connection::{Asker, Told, blocking, client_error, close_apart};
use crate::error::BusError;

/// Between two attempts while Kafka is away.
const PAUSE: Duration = Duration::from_millis(500);
/// How often, in attempts, it is said that Kafka is away: at first, then every ten seconds.
const SAY_EVERY: u32 = 20;
/// The largest record that a topic of ours takes: the log's largest append (4 MiB), were it one event, and its headers.
pub(crate) const MAX_RECORD_BYTES: &str = "5242880";

/// Nothing that was published is ever deleted: the topic can be read again from its first record.
const KEEP_ALL: &[(&str, &str)] = &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// Waits for Kafka, makes the topic of all events if it is absent, and refuses it if it is not fit.
///
/// # Errors
/// [`BusError::Topic`] and others that trying again does not help. Kafka's absence is waited for, and said.
pub async fn ready(config: &BusConfig) -> Result<(), BusError> {
    patiently(config, |_| {}, || ensure(config, &config.topic, config.partitions, Keep::Everything)).await.map(|_| ())
}

/// The largest record that a topic takes, in bytes, for each that says so.
pub(crate) type Room = BTreeMap<String, usize>;

/// As [`ready`], with the relays' control topic and the public topics; `tell` hears why it waits.
pub(crate) async fn all_ready(config: &BusConfig, tell: impl Fn(&BusError)) -> Result<Room, BusError> {
    let control = config.control_topic();
    if let Some(topic) = config.public.values().find(|topic| **topic == config.topic || **topic == control) {
        return Err(BusError::Settings(format!(
            "`{topic}` cannot be a public topic too; name another in `[bus.public]`"
        )));
    }
    let public = config.public.values().map(|topic| (topic, config.partitions, Keep::Everything));
    let ours = [(&config.topic, config.partitions, Keep::Everything), (&control, 1, Keep::Nothing)];
    let mut room = Room::new();
    for (topic, partitions, keep) in ours.into_iter().chain(public) {
        let bytes = patiently(config, &tell, || ensure(config, topic, partitions, keep)).await?;
        room.extend(bytes.map(|bytes| (topic.clone(), bytes)));
    }
    Ok(room)
}

/// Looks whether somebody's topic is there, and makes the one for its dead letters if that is absent.
///
/// # Errors
/// [`BusError`], also while Kafka or the topic is not there yet: the caller asks again.
pub(crate) async fn ready_with_letters(config: &BusConfig, topic: &str, letters: &str) -> Result<(), BusError> {
    if look(config, topic).await?.is_none() {
        return Err(BusError::Topic {
            topic: topic.to_owned(),
            what: "does not exist".to_owned(),
            way_out: "it is waited for; correct its name, or start who publishes it".to_owned(),
        });
    }
    match look(config, letters).await? {
        Some(_) => Ok(()), // However many partitions it has: it is read by people.
        None => ensure(config, letters, 1, Keep::Everything).await.map(|_| ()),
    }
}

/// Deletes a topic, so that the relay makes it again and fills it from the log. One that is not there is no error.
///
/// # Errors
/// [`BusError`].
pub async fn delete(config: &BusConfig, topic: &str) -> Result<(), BusError> {
    let admin: AdminClient<Told> =
        config.client().create_with_context(Told::default()).map_err(|error| client_error(config, error))?;
    let deleted = admin.delete_topics(&[topic], &options(config)).await.map_err(|error| away(config, &admin, &error));
    let outcome = deleted.and_then(|deleted| match deleted.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) | Some(Ok(_)) | None => Ok(()),
        Some(Err((_, code))) => Err(BusError::Topic {
            topic: topic.to_owned(),
            what: format!("cannot be deleted: {code}"),
            way_out: "delete it by hand, or allow us to".to_owned(),
        }),
    });
    close_apart(admin);
    outcome
}

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// History: nothing in it may ever be deleted.
    Everything,
    /// Nothing but the last word of a relay (see [`crate::word`]).
    Nothing,
}

/// Tries until it works or trying does not help.
async fn patiently<T, F: Future<Output = Result<T, BusError>>>(
    config: &BusConfig,
    tell: impl Fn(&BusError),
    attempt: impl Fn() -> F,
) -> Result<T, BusError> {
    if config.brokers.is_none() {
        return Err(BusError::NoBrokers);
    }
    let mut attempts = 0_u32;
    loop {
        match attempt().await {
            Ok(found) => return Ok(found),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                if attempts.is_multiple_of(SAY_EVERY) {
                    tracing::warn!(%error, "waiting for Kafka");
                }
                tell(&error);
                attempts = attempts.wrapping_add(1);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The largest record that the topic takes, in bytes, where that matters and Kafka says so.
async fn ensure(config: &BusConfig, topic: &str, partitions: u32, keep: Keep) -> Result<Option<usize>, BusError> {
    let admin: AdminClient<Told> =
        config.client().create_with_context(Told::default()).map_err(|error| client_error(config, error))?;
    let outcome = async {
        let found = look(config, topic).await?;
        let found = match found {
            Some(found) => found,
            None => {
                make(config, &admin, topic, partitions, keep).await?;
                // Another process may have made it at the same time, otherwise.
                look(config, topic).await?.unwrap_or(partitions)
            }
        };
        judge_partitions(topic, found, partitions)?;
        match keep {
            Keep::Everything => {
                let found = settings(config, &admin, topic).await?;
                judge_settings(topic, &found)?;
                Ok(found.iter().find(|(name, _)| name == "max.message.bytes").and_then(|(_, bytes)| bytes.parse().ok()))
            }
            Keep::Nothing => Ok(None),
        }
    };
    let outcome = outcome.await;
    close_apart(admin);
    outcome
}

/// How many partitions the topic has; `None`: it does not exist.
async fn look(config: &BusConfig, topic: &str) -> Result<Option<u32>, BusError> {
    let (config, topic) = (config.clone(), topic.to_owned());
    blocking(move || {
        let asker = Asker::new(&config)?;
        let partitions = asker.partitions(&topic);
        close_apart(asker);
        partitions
    })
    .await
}

async fn make(
    config: &BusConfig,
    admin: &AdminClient<Told>,
    topic: &str,
    partitions: u32,
    keep: Keep,
) -> Result<(), BusError> {
    let wanted = i32::try_from(partitions).ok().filter(|partitions| *partitions > 0);
    let wanted = wanted.ok_or_else(|| BusError::Settings(format!("`partitions` is {partitions}; give 1 or more")))?;
    let new = NewTopic::new(topic, wanted, TopicReplication::Fixed(config.replication));
    let new = match keep {
        Keep::Everything => [KEEP_ALL, &[("max.message.bytes", MAX_RECORD_BYTES)]]
            .concat()
            .iter()
            .fold(new, |new, (k, v)| new.set(k, v)),
        Keep::Nothing => new,
    };
    let made = admin.create_topics([&new], &options(config)).await.map_err(|error| away(config, admin, &error))?;
    match made.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) if is_passing(code) => Err(away(config, admin, &KafkaError::AdminOp(code))),
        Some(Err((_, code))) => Err(BusError::Topic {
            topic: topic.to_owned(),
            what: format!("does not exist and cannot be made: {code}"),
            way_out: "make it by hand (retention.ms=-1, cleanup.policy=delete), or allow us to".to_owned(),
        }),
        Some(Ok(_)) | None => {
            tracing::info!(topic, partitions, "made the topic");
            Ok(())
        }
    }
}

/// The topic's settings of [`KEEP_ALL`], by name.
async fn settings(
    config: &BusConfig,
    admin: &AdminClient<Told>,
    topic: &str,
) -> Result<Vec<(String, String)>, BusError> {
    let asked = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options(config)).await;
    let resources = asked.map_err(|error| away(config, admin, &error))?;
    let of_topic = resources.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::UnknownTopicOrPartition));
    let of_topic = of_topic.map_err(|code| away(config, admin, &KafkaError::AdminOp(code)))?;
    Ok(of_topic.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

fn judge_partitions(topic: &str, found: u32, wanted: u32) -> Result<(), BusError> {
    if found == wanted {
        return Ok(());
    }
    Err(BusError::Topic {
        topic: topic.to_owned(),
        what: format!("has {found} partitions, not {wanted}"),
        way_out: format!(
            "set `partitions = {found}` in `[bus]` of every service, or name another topic there: events would lie in other partitions"
        ),
    })
}

fn judge_settings(topic: &str, found: &[(String, String)]) -> Result<(), BusError> {
    for (name, wanted) in KEEP_ALL {
        let Some((_, value)) = found.iter().find(|(found, _)| found == name) else { continue };
        if value != wanted {
            let loses =
                if *name == "cleanup.policy" { "compaction deletes history" } else { "it would delete history" };
            return Err(BusError::Topic {
                topic: topic.to_owned(),
                what: format!("has {name}={value}: {loses}"),
                way_out: format!(
                    "set it: kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={wanted}"
                ),
            });
        }
    }
    Ok(())
}

fn options(config: &BusConfig) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(config.request_timeout()))
        .operation_timeout(Some(config.request_timeout()))
}

fn away(config: &BusConfig, admin: &AdminClient<Told>, error: &KafkaError) -> BusError {
    admin.inner().context().unreachable(config, error)
}

/// What a broker says while it or its cluster is starting.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    [
        RDKafkaErrorCode::NotController,
        RDKafkaErrorCode::BrokerNotAvailable,
        RDKafkaErrorCode::RequestTimedOut,
        RDKafkaErrorCode::OperationTimedOut,
        RDKafkaErrorCode::CoordinatorLoadInProgress,
        RDKafkaErrorCode::InvalidReplicationFactor,
    ]
    .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(changed: &str, value: &str) -> Result<(), BusError> {
        let all = KEEP_ALL.iter().map(|(name, wanted)| ((*name).to_owned(), (*wanted).to_owned()));
        let of_topic = |(name, wanted): (String, String)| {
            let value = if name == changed { value.to_owned() } else { wanted };
            (name, value)
        };
        judge_settings("t", &all.map(of_topic).collect::<Vec<_>>())
    }

    #[test]
    fn a_topic_that_would_lose_history_is_refused_with_what_to_do() {
        assert!(judged("none", "").is_ok());
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "1"),
            ("retention.bytes", "9"),
        ] {
            let told = judged(name, value).unwrap_err().to_string();
            assert!(
                told.contains(&format!("{name}={value}")) && told.contains("--add-config") && !told.contains('\n'),
                "{told}"
            );
        }
    }

    #[test]
    fn another_number_of_partitions_is_refused_with_what_to_do() {
        assert!(judge_partitions("t", 6, 6).is_ok());
        let told = judge_partitions("t", 3, 6).unwrap_err().to_string();
        assert!(told.contains("has 3 partitions, not 6") && told.contains("partitions = 3"), "{told}");
    }
}
