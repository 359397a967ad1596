//! Makes the Rust client of `schemas/proto`'s `Commands` without `protoc`. Nothing without `service`.

#[cfg(feature = "service")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../schemas/proto");
    let set = protox::compile(["backstitch/v1/commands.proto"], ["../schemas/proto"])?;
    tonic_prost_build::configure().bytes(".").build_server(false).compile_fds(set)?;
    Ok(())
}

#[cfg(not(feature = "service"))]
fn main() {}
