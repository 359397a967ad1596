//! Makes the Rust code of `schemas/proto` without `protoc`: server and client of our own services.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 2] = ["backstitch/v1/commands.proto", "backstitch/v1/events.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../schemas/proto");
    let set = protox::compile(FILES, ["../schemas/proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // For the reflection service.
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    Ok(())
}
