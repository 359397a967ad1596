//! What a stream's name means here.

use eventstore_client::proto::StreamIdentifier;

use super::refusal::Refusal;
use crate::StreamName;
use crate::wire::SNAPSHOT_PREFIX;

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A stream of the log, which may or may not exist.
    Stream(StreamName),
    /// The snapshot of this stream.
    Snapshot(StreamName),
    /// The metadata of a snapshot's stream, of which clients set `$maxCount` 1, as it already is.
    SnapshotMetadata,
    /// A stream of KurrentDB's own system, or metadata of a stream. Does not exist here.
    System,
    /// No stream of ours can be called so.
    Unnameable,
}

/// What a name means, and the name as text.
pub(super) fn target(identifier: Option<&StreamIdentifier>) -> Result<(Target, String), Refusal> {
    let bytes = identifier.map(|identifier| &*identifier.stream_name).unwrap_or_default();
    let name = std::str::from_utf8(bytes).map_err(|_| bad("the stream's name is not UTF-8"))?;
    if name.is_empty() {
        return Err(bad("the call names no stream"));
    }
    Ok((of_name(name), name.to_owned()))
}

fn of_name(name: &str) -> Target {
    if let Some(rest) = name.strip_prefix("$$") {
        return if rest.starts_with(SNAPSHOT_PREFIX) { Target::SnapshotMetadata } else { Target::System };
    }
    if name.starts_with('$') {
        return Target::System;
    }
    match name.strip_prefix(SNAPSHOT_PREFIX) {
        Some(of) => of.parse().map_or(Target::Unnameable, Target::Snapshot),
        None => name.parse().map_or(Target::Unnameable, Target::Stream),
    }
}

fn bad(what: &str) -> Refusal {
    Refusal::BadRequest(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_stream_a_snapshot_or_nothing_of_ours() {
        let name = |text: &str| text.parse::<StreamName>().unwrap();
        for (text, means) in [
            ("order-1", Target::Stream(name("order-1"))),
            ("snapshot", Target::Stream(name("snapshot"))),
            ("snapshot-order-1", Target::Snapshot(name("order-1"))),
            ("snapshot-", Target::Unnameable),
            ("$$snapshot-order-1", Target::SnapshotMetadata),
            ("$$order-1", Target::System),
            ("$all", Target::System),
            ("with space", Target::Unnameable),
            ("bestellung-ü", Target::Unnameable),
        ] {
            assert_eq!(of_name(text), means, "{text}");
        }
        assert!(target(None).is_err());
        assert!(target(Some(&StreamIdentifier { stream_name: vec![0xff].into() })).is_err());
    }
}
