//! Makes the Rust code of `schemas/proto` without `protoc`: server and client of our own services. Nothing without `service`.

#[cfg(feature = "service")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use prost::Message as _;

    println!("cargo:rerun-if-changed=../schemas/proto");
    let set = protox::compile(["backstitch/v1/commands.proto", "backstitch/v1/events.proto"], ["../schemas/proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // For the reflection service.
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    Ok(())
}

#[cfg(not(feature = "service"))]
fn main() {}
