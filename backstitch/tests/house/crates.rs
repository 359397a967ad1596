//! Who may import whom, and that the pure rules stay pure.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::{none, root, rust_files, text};

/// What the contracts describe.
#[rustfmt::skip]
const DESCRIBED: &[&str] = &["domain", "event-store", "event-bus", "service-kit", "command-service", "projection-service", "saga-orchestrator"];

/// What the program stands on.
#[rustfmt::skip]
const PROGRAM: &[&str] = &[
    "domain", "event-store", "event-bus", "service-kit", "command-service", "projection-service", "saga-orchestrator",
    "terminal", "gateway", "all-in-one", "trials",
];

/// The engines and the log: what a program of another domain stands on.
#[rustfmt::skip]
const ENGINES: &[&str] = &[
    "eventsourcing", "engine-runtime", "event-store", "command-engine", "projection-engine", "saga-engine", "saga-runner",
];

/// Who may import what of ours. Source: ARCHITECTURE.md, "Crates".
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("pauses", &[]),
    ("eventsourcing", &[]),
    ("engine-runtime", &["pauses"]),
    ("command-engine", &["eventsourcing", "engine-runtime", "event-store"]),
    ("projection-engine", &["eventsourcing", "engine-runtime", "event-store"]),
    ("saga-engine", &["eventsourcing", "pauses"]),
    ("saga-runner", &["eventsourcing", "engine-runtime", "event-store", "saga-engine", "command-engine"]),
    ("tickets", ENGINES),
    ("domain", &["eventsourcing", "saga-engine"]),
    ("eventstore-client", &["pauses"]),
    ("event-store", &["eventstore-client", "pauses", "secret"]),
    ("service-kit", &["engine-runtime", "secret"]),
    ("event-bus", &["event-store", "service-kit"]),
    ("command-service", &["command-engine", "domain", "event-store", "service-kit"]),
    ("projection-service", &["projection-engine", "domain", "event-store", "event-bus", "service-kit"]),
    (
        "saga-orchestrator",
        &["domain", "event-store", "event-bus", "eventsourcing", "saga-engine", "saga-runner", "service-kit"],
    ),
    ("schemas", DESCRIBED),
    ("terminal", &["service-kit"]),
    ("gateway", &["service-kit"]),
    (
        "all-in-one",
        &[
            "domain",
            "event-store",
            "service-kit",
            "command-service",
            "projection-service",
            "saga-orchestrator",
            "saga-runner",
            "gateway",
        ],
    ),
    (
        "trials",
        &["domain", "event-store", "service-kit", "command-service", "projection-service", "terminal", "all-in-one"],
    ),
    ("backstitch", PROGRAM),
];

/// What a crate may import besides that for its tests alone: tests of read models start a private Postgres.
const TESTS_MAY_IMPORT: &[(&str, &str)] = &[("projection-engine", "service-kit"), ("tickets", "service-kit")];

/// All that the pure rules stand on. None of it does IO, reads a clock or draws lots by itself.
const DOMAIN_STANDS_ON: &[&str] = &[
    "chrono",
    "eventsourcing",
    "iso_currency",
    "pauses",
    "saga-engine",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "strum",
    "thiserror",
    "uuid",
];

/// What a pure rule must not reach for.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::io::",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "new_v4",
    "now_v7",
    "println!",
    "async fn",
    ".await;",
    ".await?",
    ".await)",
    "f32",
    "f64",
];

/// The direct dependencies of every crate of ours, of every kind.
fn dependencies() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs this test, so it can be run");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON");
    let packages = metadata["packages"].as_array().expect("a workspace has packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("a package lists what it needs");
            let named = |d: &serde_json::Value| {
                (d["name"].as_str().unwrap_or_default().to_owned(), d["kind"].as_str() == Some("dev"))
            };
            (package["name"].as_str().unwrap_or_default().to_owned(), dependencies.iter().map(named).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let all = dependencies();
    let ours: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, listed, "every crate has its row in MAY_IMPORT");
    none(
        "imports that the architecture forbids (development included)",
        MAY_IMPORT.iter().flat_map(|(name, allowed)| {
            let imports = all[*name].iter().filter(|(import, _)| ours.contains(import.as_str()));
            imports
                .filter(|(import, dev)| !(*dev && TESTS_MAY_IMPORT.contains(&(*name, import.as_str()))))
                .filter(|(import, _)| import != name && !allowed.contains(&import.as_str()))
                .map(move |(import, _)| format!("{name} → {import}"))
                .collect::<Vec<_>>()
        }),
    );
}

#[test]
fn the_rules_stand_on_nothing_that_does_io() {
    let all = dependencies();
    for pure in ["domain", "eventsourcing", "saga-engine"] {
        let foreign = all[pure].iter().filter(|(name, dev)| !dev && !DOMAIN_STANDS_ON.contains(&name.as_str()));
        none(&format!("`{pure}` imports what is not on its list"), foreign.map(|(name, _)| name.clone()));
    }
    let folders = ["domain/src/", "engine/core/src/", "engine/sagas/src/", "pauses/src/"];
    let is_pure = |path: &String| folders.iter().any(|folder| path.starts_with(folder));
    none(
        "the pure rules reach outside",
        rust_files().into_iter().filter(is_pure).flat_map(|path| {
            let source = text(&path);
            let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let reached = IMPURE.iter().filter(|word| code.iter().any(|line| line.contains(**word)));
            reached.map(|word| format!("{path}: {word}")).collect::<Vec<_>>()
        }),
    );
}

#[test]
fn the_bare_limits_use_none_of_our_crates() {
    let source = text("backstitch/trials/src/bench/limit.rs");
    let ours = MAY_IMPORT.iter().map(|(name, _)| format!("{}::", name.replace('-', "_")));
    none(
        "bench/limit.rs uses our own code",
        ours.chain(["crate::".to_owned(), "super::".to_owned()]).filter(|path| source.contains(path)),
    );
}
