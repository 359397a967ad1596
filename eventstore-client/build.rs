//! Makes the Rust code of `proto/` without `protoc`.

use std::path::PathBuf;

use prost::Message as _;

/// The protocol's files.
const FILES: [&str; 4] = ["shared.proto", "streams.proto", "server_features.proto", "gossip.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // For the reflection service.
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure()
        // Data of events is shared with the buffer it arrived in, not copied.
        .bytes(".")
        // Three entries an event: no hashing, and always the same bytes.
        .btree_map(".")
        // The protocol's own empty message is `()` as Google's is.
        .extern_path(".event_store.client.Empty", "()")
        .compile_fds(set)?;
    Ok(())
}
