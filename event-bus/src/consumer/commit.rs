//! One transaction: the offsets move, handlers write their rows, what cannot be handled is parked. All of it, or nothing.

use std::sync::Arc;
use std::time::Duration;

use event_store::RecordedEvent;
use futures_util::FutureExt as _;
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use service_kit::pg;
use sqlx::PgConnection;
use tracing::Instrument as _;

use super::handlers::{Found, Origin};
use super::letters::{self, Verdict};
use super::offsets::{self, Place, Reached};
use super::shared::Shared;
use crate::cloudevents;
use crate::dead_letter::Cause;
use crate::retry::{HandlerError, chain, is_passing};

/// A record and what is done about it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub record: Arc<OwnedMessage>,
    /// Where the partition stands behind it.
    pub after: Reached,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A watermark, a repeat, or an event of a type that nobody here wants.
    PassBy(Passed),
    Handle(Arc<RecordedEvent>),
    Park(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Watermark,
    Repeat,
    OtherType,
}

/// Why a transaction was rolled back.
#[derive(Debug)]
pub(super) enum Fault {
    /// The step of this index is at fault.
    At(usize, Verdict),
    /// Postgres refused, and it is not said which step's rows.
    Rows(String),
    /// Nothing is at fault: Postgres, or what a handler needs, is away.
    Away(String),
    /// Somebody else has moved the partition.
    Fenced,
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let said = chain(&error);
        if is_passing(&error) { Self::Away(format!("Postgres: {said}")) } else { Self::Rows(said) }
    }
}

/// The handling that a record needs, by its content.
pub(super) fn judge(shared: &Shared, record: &OwnedMessage) -> (Kind, i64) {
    let undecodable = |error: String| (Kind::Park(Verdict { cause: Cause::Undecodable, error, attempts: 1 }), 0);
    let event = match cloudevents::decode(record) {
        Ok(cloudevents::Record { event: Some(event), .. }) => event,
        Ok(watermark) => return (Kind::PassBy(Passed::Watermark), position(watermark.claim.position.0)),
        // Its position is not believed: what no program of ours wrote must not make later events look like repeats.
        Err(error) => return undecodable(error.to_string()),
    };
    let at = position(event.position.0);
    match shared.handlers.find(&event) {
        Found::Handler(_) => (Kind::Handle(Arc::new(event)), at),
        Found::OtherType => (Kind::PassBy(Passed::OtherType), at),
        Found::OtherVersion => {
            let known = shared.handlers.versions(&event.event_type);
            let (kind, version) = (&event.event_type, event.schema_version);
            let (verdict, _) = undecodable(format!(
                "{kind} has schema version {version}; this consumer reads {known}: deploy one that reads it, then retry"
            ));
            (verdict, at)
        }
    }
}

fn position(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Does the steps in one transaction, and moves the partition from `from` to behind the last of them.
pub(super) async fn commit(shared: &Arc<Shared>, place: &Place, from: &Reached, steps: &[Step]) -> Result<(), Fault> {
    let Some(to) = steps.last().map(|last| last.after.clone()) else { return Ok(()) };
    let (theirs, place, from, steps) = (Arc::clone(shared), place.clone(), from.clone(), steps.to_vec());
    pg::tx_or(&shared.pool, &shared.schema, bound(shared, steps.len()), move |connection| {
        Box::pin(async move {
            // First: another consumer that believes to own the partition waits here, and then finds that it has been advanced.
            let advances = tokio::time::timeout(pg::USUAL, offsets::advance(connection, &place, &from, &to));
            if !advances.await.unwrap_or_else(|_| Err(pg::late(pg::USUAL)))? {
                return Err(Fault::Fenced);
            }
            for (index, step) in steps.iter().enumerate() {
                match &step.kind {
                    Kind::PassBy(_) => {}
                    Kind::Handle(event) => {
                        handle(&theirs, event, &step.record, connection).await.map_err(|fault| fault.at(index))?
                    }
                    Kind::Park(verdict) => letters::park(connection, &place, &step.record, verdict).await?,
                }
            }
            Ok(())
        })
    })
    .await
}

/// The longest that a transaction with so many handlers may take; each handler has a limit of its own.
pub(super) fn bound(shared: &Shared, handlers: usize) -> Duration {
    let handlers = u32::try_from(handlers).unwrap_or(u32::MAX);
    shared.retry.time_limit.saturating_mul(handlers).saturating_add(pg::USUAL).min(pg::WHOLE_TABLES)
}

impl Fault {
    fn at(self, index: usize) -> Self {
        match self {
            Self::At(_, verdict) => Self::At(index, verdict),
            Self::Rows(_) | Self::Away(_) | Self::Fenced => self,
        }
    }
}

/// Runs the handler of an event. A panic and a time-out are failures like any other.
pub(super) async fn handle(
    shared: &Shared,
    event: &Arc<RecordedEvent>,
    record: &OwnedMessage,
    connection: &mut PgConnection,
) -> Result<(), Fault> {
    let Found::Handler(prepare) = shared.handlers.find(event) else { return Ok(()) };
    let from = Origin { topic: record.topic().to_owned(), partition: record.partition(), offset: record.offset() };
    let span = tracing::info_span!(
        "handle", group = shared.group, topic = from.topic, partition = from.partition, offset = from.offset,
        event.r#type = &*event.event_type, event.id = %event.id,
        correlation_id = %event.metadata.correlation_id, traceparent = event.metadata.traceparent.as_deref().map(|context| event_store::trace::split(context).0),
    );
    let failed = |cause, error| Fault::At(0, Verdict { cause, error, attempts: 1 });
    let call = match prepare(event, from) {
        Ok(call) => call,
        Err(error) => {
            return Err(failed(Cause::Undecodable, format!("the data of {} do not fit: {error}", event.event_type)));
        }
    };
    let limit = shared.retry.time_limit;
    let work = std::panic::AssertUnwindSafe(call(connection)).catch_unwind().instrument(span);
    let result = match tokio::time::timeout(limit, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
            Err(HandlerError::failed(format!("the handler panicked: {said}")))
        }
        Err(_) => Err(HandlerError::failed(format!("the handler took longer than {} ms", limit.as_millis()))),
    };
    result.map_err(|error| match error {
        HandlerError::Failed(error) => failed(Cause::Failed, chain(&*error)),
        HandlerError::Away(error) => Fault::Away(chain(&*error)),
    })
}
