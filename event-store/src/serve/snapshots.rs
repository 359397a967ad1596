//! Streams `snapshot-<stream>`: the log's snapshots under names of the protocol, so that a cluster's services keep theirs
//! where the log is. Only the last event of such a stream is kept; its revision is the version of the snapshot.
//!
//! Snapshots are short cuts that can be thrown away: they are not in the log, not in `$all` and in no subscription, and two
//! writers at the same expected revision are told apart only within this process.

use std::sync::Arc;

use bytes::Bytes;
use eventstore_client::proto::streams::ReadResp;
use eventstore_client::proto::streams::read_resp::read_event::RecordedEvent as Recorded;
use uuid::Uuid;

use super::append::{Outcome, Wanted};
use super::events::{self, IdForm};
use super::proposed::Proposed;
use super::refusal::{Refusal, identifier};
use crate::wire::{CONTENT_TYPE, SNAPSHOT_TYPE, SnapshotBody};
use crate::{EventStore, StreamName, StreamSnapshot};

/// A snapshot as the only event of its stream. When it was written is not kept: 1970.
pub(super) fn event(name: &str, snapshot: StreamSnapshot, form: IdForm) -> ReadResp {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{name}@{}", snapshot.version).as_bytes());
    let version = snapshot.version;
    let metadata = [("content-type", CONTENT_TYPE), ("created", "0"), ("type", SNAPSHOT_TYPE)];
    let data = serde_json::to_vec(&SnapshotBody::from(snapshot)).expect("numbers and a text become JSON");
    events::outside_the_log(Recorded {
        id: Some(events::id(id, form)),
        stream_identifier: Some(identifier(name)),
        stream_revision: version,
        prepare_position: 0,
        commit_position: 0,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect(),
        custom_metadata: Bytes::from_static(b"{}"),
        data: data.into(),
    })
}

/// Keeps two looks at what a writer expects apart.
pub(super) type Checked = Arc<tokio::sync::Mutex<()>>;

/// Keeps a snapshot, if the one before it is what the writer expects. Runs in a task of its own: it holds a lock while it
/// waits for the log, and a call is polled only while its client takes what is sent.
pub(super) async fn append(
    store: Arc<dyn EventStore>,
    of: StreamName,
    wanted: Wanted,
    events: Vec<Proposed>,
    checked: Checked,
) -> Result<Outcome, Refusal> {
    let bodies: Vec<SnapshotBody> = events.iter().map(body).collect::<Result<_, _>>()?;
    let _alone = if wanted == Wanted::Any { None } else { Some(checked.lock().await) };
    if wanted != Wanted::Any || bodies.is_empty() {
        let actual = store.load_snapshot(&of).await?.map(|snapshot| snapshot.version);
        if !wanted.fits(actual) {
            return Ok(Outcome::Conflict { actual });
        }
        if bodies.is_empty() {
            return Ok(Outcome::Done { version: actual, position: None });
        }
    }
    let Some(last) = bodies.into_iter().last() else { return Ok(Outcome::Done { version: None, position: None }) };
    let version = last.version;
    store.save_snapshot(&of, last.into()).await?;
    Ok(Outcome::Done { version: Some(version), position: None })
}

fn body(event: &Proposed) -> Result<SnapshotBody, Refusal> {
    let refused = |why: String| {
        Refusal::BadRequest(format!(
            "streams `snapshot-…` take only events of type `{SNAPSHOT_TYPE}` with the data \
             {{\"version\":number,\"schema\":number,\"state\":text}}: {why}"
        ))
    };
    if event.event_type != SNAPSHOT_TYPE {
        return Err(refused(format!("its type is `{}`", event.event_type)));
    }
    serde_json::from_slice(&event.data).map_err(|error| refused(error.to_string()))
}
