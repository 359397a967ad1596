//! The two sets of features that the program is built with: without the parts of a cluster, and with them.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{none, root};

/// What a build of the program compiles, one crate of others a line with its features.
fn compiled(features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "backstitch", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p} [{f}]"])
        .args(features)
        .current_dir(root())
        .output()
        .expect("cargo runs this test, so it can be run");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("rusqlite"), "{}", String::from_utf8_lossy(&output.stderr));
    // Our own crates are shown with their folder.
    tree.lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.contains("(/"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_program_without_the_parts_of_a_cluster_builds_neither_kafka_nor_grpc() {
    let heavy = ["rdkafka", "rdkafka-sys", "zstd-sys", "tonic", "prost", "protox", "tonic-prost-build"];
    let is_heavy = |line: &String| line.split(' ').next().is_some_and(|name| heavy.contains(&name));
    none("crates that only a cluster needs", compiled(&[]).into_iter().filter(is_heavy));
    let with = compiled(&["--features", "cluster"]);
    assert_eq!(with.iter().filter(|line| is_heavy(line)).count(), heavy.len(), "{with:?}");
}

#[test]
fn a_build_with_the_parts_of_a_cluster_compiles_no_crate_of_others_again() {
    let (without, with) = (compiled(&[]), compiled(&["--features", "cluster"]));
    let again = without.difference(&with).map(|line| {
        let name = line.split(' ').next().unwrap_or_default();
        let other: Vec<&String> = with.iter().filter(|other| other.split(' ').next() == Some(name)).collect();
        format!("{line}, and with `cluster` {other:?}: see the features in backstitch/Cargo.toml")
    });
    none("crates whose features differ between the two builds", again.collect::<Vec<_>>());
}
