//! Every fault for every process of a cluster, in one round.

use std::process::Command;

/// The gate hurts each process once (`tests/cluster.rs`); this hurts each process in every way.
#[test]
fn every_fault_of_every_process_of_a_cluster_is_survived() {
    let folder = tempfile::Builder::new().prefix("backstitch-torture-").tempdir().unwrap();
    let dir = folder.path().join("cluster");
    let status =
        Command::new(super::program()).args(["torture", "1", "--pause", "5", "--dir"]).arg(&dir).status().unwrap();
    assert!(status.success(), "{status}; the lines above name what does not hold");
}
