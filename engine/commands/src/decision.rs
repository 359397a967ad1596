//! One decision: from a command, the state that earlier commands leave, and what is known of earlier requests.

use std::sync::Arc;

use event_store::{Append, Expected, Metadata, NewEvent, Position};
use eventsourcing::{Aggregate, Namespace, Rejected as _, Timestamp};

use crate::cache::Folded;
use crate::command::{CommandMeta, SendError};
use crate::engine::Request;
use crate::idempotency::Known;

/// The kind of an answer to a command, given once the events that it rests on are durable.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The command appended events now; the answer rests on them.
    Appended { version: Option<u64> },
    /// The command appended its events before.
    Replayed { version: u64, position: Position },
    /// The command had nothing to change.
    AlreadySo { version: Option<u64> },
    /// The command was refused.
    No(SendError),
}

/// The result of a decision.
pub(crate) enum Judged<E> {
    /// Events to append, at this time.
    Events(Timestamp, Vec<E>),
    /// Nothing to append.
    Answer(Answer),
}

/// Decides a command on a state: what came before it first, then its conditions, then the rules.
pub(crate) fn judge<A: Aggregate>(
    folded: &mut Folded<A>,
    command: &A::Command,
    meta: &CommandMeta,
    now: Timestamp,
) -> Judged<A::Event> {
    let no = |error| Judged::Answer(Answer::No(error));
    folded.forget_requests(now);
    if let Some(hash) = &meta.command_hash {
        match folded.window.find(meta.command_id, hash) {
            Known::No => {}
            Known::Done { version, position } => return Judged::Answer(Answer::Replayed { version, position }),
            Known::InFlight => return no(SendError::InFlight),
            Known::OtherBody => return no(SendError::KeyReused),
        }
        if let Err(wait) = folded.window.room(now) {
            // Rounded up: a client that comes too early would be refused again.
            let retry_after_s = u32::try_from(wait.num_seconds().max(0) + 1).unwrap_or(u32::MAX);
            let detail = "this stream has had all the requests that it can remember for a day".to_owned();
            return no(SendError::Full { detail, retry_after_s });
        }
    }
    if let Some(expected) = meta.if_match
        && folded.version != Some(expected)
    {
        return no(SendError::PreconditionFailed { expected, actual: folded.version });
    }
    let decided = folded.state.decide(command, now);
    if decided.as_ref().is_ok_and(Vec::is_empty) {
        // Also if it comes late: it has long been carried out, and nothing follows.
        return Judged::Answer(Answer::AlreadySo { version: folded.version });
    }
    if let Some(late) = too_late(meta, folded.last_at, now) {
        return no(late);
    }
    match decided {
        Err(rejection) => {
            no(SendError::Rejected { code: rejection.code(), detail: rejection.to_string(), replayed: false })
        }
        Ok(events) => Judged::Events(now, events),
    }
}

/// Whether a command comes after its deadline. The clock and the stream's latest event are both compared, so that neither
/// a clock that was set back nor one that is ahead lets a late duplicate meet what has been forgotten.
fn too_late(meta: &CommandMeta, stream_time: Option<Timestamp>, now: Timestamp) -> Option<SendError> {
    let not_after = meta.not_after?;
    let of_stream = meta.stream_not_after.map_or(not_after, |later| later.max(not_after));
    let late = now > not_after || stream_time.is_some_and(|time| time > of_stream);
    late.then_some(SendError::TooLate { not_after, now, stream_time })
}

/// The append that a decision leads to.
pub(crate) fn append<A: Aggregate>(
    ids: Namespace,
    request: &Request<'_, A::Command>,
    folded: &Folded<A>,
    events: &[A::Event],
    now: Timestamp,
) -> Append {
    let meta = request.meta;
    // A stream's key is settled by its first event, so only then the state after it is needed.
    let key = if folded.version.is_none() { A::fold(events).partition_key() } else { folded.state.partition_key() };
    let metadata = Arc::new(Metadata {
        partition_key: key.unwrap_or_else(|| request.stream.as_str().to_owned()),
        correlation_id: meta.correlation_id,
        causation_id: meta.causation_id,
        command_id: meta.command_id,
        command_hash: meta.command_hash.clone(),
        traceparent: meta.traceparent.clone(),
        actor: meta.actor.clone(),
        occurred_at: now,
    });
    let new_event = |(index, event): (usize, &A::Event)| {
        let encoded = A::encode(event);
        NewEvent {
            id: ids.event_id(meta.command_id, index, encoded.data.get()),
            event_type: encoded.event_type.into(),
            schema_version: encoded.schema_version,
            data: encoded.data,
            metadata: metadata.clone(),
        }
    };
    Append {
        stream: request.stream.clone(),
        expected: Expected::at(folded.version),
        events: events.iter().enumerate().map(new_event).collect(),
    }
}
