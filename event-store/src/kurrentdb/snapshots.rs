//! Snapshots: the last event of the stream `snapshot-<stream>`. KurrentDB is instructed to keep no other (`$maxCount`);
//! a served log keeps no other anyway. Reads of the log through the port never contain them.

use bytes::Bytes;
use eventstore_client as client;
use uuid::Uuid;

use super::event::unread;
use crate::wire::{CONTENT_TYPE, SNAPSHOT_TYPE, SnapshotBody, snapshot_stream};
use crate::{ReadError, StreamName, StreamSnapshot};

/// The prefix of the stream in which KurrentDB keeps the metadata of a stream.
const METADATA_OF: &str = "$$";
/// Number of snapshots of a stream after which the instruction is repeated.
const LIMIT_EVERY: u64 = 16;
/// The metadata that instructs KurrentDB to keep one event.
const KEEP_ONE: &[u8] = br#"{"$maxCount":1}"#;

pub(super) async fn load(client: &client::Client, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
    let name = snapshot_stream(stream);
    let read = client.read_stream(&name, client::StreamFrom::End, client::Direction::Backward, 1).await;
    let events = read.map_err(|error| unread(client, &error))?.unwrap_or_default();
    let Some(event) = events.first() else { return Ok(None) };
    match serde_json::from_slice::<SnapshotBody>(&event.data) {
        Ok(body) => Ok(Some(body.into())),
        Err(error) => {
            // It is only a short cut: without it the stream is read.
            tracing::warn!(stream = name, %error, "a snapshot is not as it was written, and is passed over");
            Ok(None)
        }
    }
}

pub(super) async fn save(
    client: &client::Client,
    stream: &StreamName,
    snapshot: StreamSnapshot,
) -> Result<(), ReadError> {
    let name = snapshot_stream(stream);
    let body = SnapshotBody::from(snapshot);
    let data = serde_json::to_vec(&body).map_err(|error| ReadError::Unavailable {
        path: client.address().to_owned(),
        reason: format!("a snapshot of `{stream}` cannot be told in JSON: {error}"),
    })?;
    let event = proposed(&name, SNAPSHOT_TYPE, data);
    let saved = client.append(&name, client::Expected::Any, &[event]).await.map_err(|error| unread(client, &error))?;
    // A served log counts otherwise and keeps one event without being told.
    if is_limited_at(saved.revision) {
        limit(client, &name).await;
    }
    Ok(())
}

/// Whether the server is told, with the snapshot of this revision, to keep no other: when the stream has just begun, and again
/// from time to time, because its first writer may have died before it said so.
fn is_limited_at(revision: u64) -> bool {
    revision.is_multiple_of(LIMIT_EVERY)
}

/// Tells the server to keep the last event only. One that refuses keeps them all, which costs space and nothing else.
async fn limit(client: &client::Client, name: &str) {
    let of = format!("{METADATA_OF}{name}");
    let event = proposed(&of, "$metadata", KEEP_ONE.to_vec());
    if let Err(error) = client.append(&of, client::Expected::Any, &[event]).await {
        tracing::info!(stream = name, %error, "the event store will keep old snapshots");
    }
}

/// An event whose id follows from what it says: sent again it is the same.
fn proposed(stream: &str, event_type: &str, data: Vec<u8>) -> client::NewEvent {
    let of = Uuid::new_v5(&Uuid::NAMESPACE_URL, stream.as_bytes());
    client::NewEvent {
        id: Uuid::new_v5(&of, &data),
        event_type: event_type.into(),
        content_type: CONTENT_TYPE,
        data: data.into(),
        metadata: Bytes::from_static(b"{}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_at_the_first_snapshot_and_again_from_time_to_time_to_keep_one() {
        let told: Vec<u64> = (0..40).filter(|revision| is_limited_at(*revision)).collect();
        assert_eq!(told, [0, 16, 32]);
        let limits: serde_json::Value = serde_json::from_slice(KEEP_ONE).unwrap();
        assert_eq!(limits, serde_json::json!({ "$maxCount": 1 }));
        // Told again it is the same event, which a server that has it already does not append again.
        let of = proposed("$$snapshot-order-1", "$metadata", KEEP_ONE.to_vec());
        assert_eq!(of.id, proposed("$$snapshot-order-1", "$metadata", KEEP_ONE.to_vec()).id);
        assert_ne!(of.id, proposed("$$snapshot-order-2", "$metadata", KEEP_ONE.to_vec()).id);
    }
}
