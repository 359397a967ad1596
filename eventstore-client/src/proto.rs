//! The protocol's messages, client and server stubs, made by `build.rs` from `proto/`.
#![allow(missing_docs, clippy::all, clippy::wildcard_enum_match_arm, reason = "made by a generator")]

tonic::include_proto!("event_store.client");

/// Reading, following and appending.
pub mod streams {
    tonic::include_proto!("event_store.client.streams");
}

/// What a server can do.
pub mod server_features {
    tonic::include_proto!("event_store.client.server_features");
}

/// Who leads a cluster.
pub mod gossip {
    tonic::include_proto!("event_store.client.gossip");
}

/// All of it for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
