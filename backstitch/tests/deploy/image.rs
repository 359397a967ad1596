//! `deploy/Dockerfile`, and the images that all files name.

use std::collections::{BTreeMap, BTreeSet};

use backstitch::cli::Cli;
use clap::Parser as _;

use crate::yaml::{none, root, text};
use crate::{compose, kubernetes};

const FILE: &str = "deploy/Dockerfile";

/// The instructions, each in one line.
fn instructions() -> Vec<String> {
    let whole = text(FILE).lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    whole.replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// The last stage's instructions.
fn of_the_last_stage() -> Vec<String> {
    let all = instructions();
    let begins = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    all[begins..].to_vec()
}

/// What the image asks of itself: the words after CMD.
pub fn health_check() -> Vec<String> {
    let line = of_the_last_stage().into_iter().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    serde_json::from_str(line.split_once("CMD ").unwrap().1.trim()).unwrap()
}

/// Fails unless it is a command of ours that tells of health.
pub fn is_health_check(words: &[String]) {
    assert_eq!(words[..2], ["backstitch", "health"], "{words:?}");
    assert!(Cli::try_parse_from(words).is_ok(), "{words:?}");
}

#[test]
fn every_image_has_one_release_everywhere_and_ours_is_this_one() {
    let of_dockerfile = instructions().into_iter().filter_map(|line| {
        let image = line.strip_prefix("FROM ")?.split_whitespace().next()?.to_owned();
        // A stage before it has no tag.
        image.contains(':').then(|| (FILE.to_owned(), image))
    });
    let mut releases: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let all: Vec<(String, String)> = of_dockerfile.chain(compose::images()).chain(kubernetes::images()).collect();
    assert!(all.len() > 20, "images were found: {all:?}");
    for (place, image) in all {
        let (name, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{place}: `{image}` has no tag"));
        // A whole release, not a series that moves on: `17.6`, not `17`.
        let pinned = tag.chars().next().is_some_and(|c| c.is_ascii_digit()) && tag.contains('.');
        assert!(pinned, "{place}: `{image}` is not pinned");
        releases.entry(name.to_owned()).or_default().insert(tag.to_owned(), place);
    }
    none(
        "images with several releases",
        releases.iter().filter(|(_, tags)| tags.len() > 1).map(|(name, tags)| format!("{name}: {tags:?}")),
    );
    let ours = &releases["backstitch"];
    assert!(ours.contains_key(env!("CARGO_PKG_VERSION")), "{ours:?}");
}

#[test]
fn the_image_is_built_with_the_toolchain_of_the_repository() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"')).unwrap();
    let built = instructions();
    assert!(built.iter().any(|line| line.starts_with(&format!("FROM rust:{channel}-"))), "{built:?}");
    assert!(built.iter().any(|line| line.contains(&format!("RUSTUP_TOOLCHAIN={channel} "))), "{built:?}");
}

#[test]
fn the_image_has_every_binary_and_is_nobody_in_particular() {
    let all = instructions().join("\n");
    let binaries: BTreeSet<String> = std::fs::read_dir(root())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().join("src/main.rs").is_file())
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "schemas") // Writes the contracts: a tool of the repository.
        .collect();
    assert_eq!(binaries.len(), 4, "{binaries:?}");
    for binary in &binaries {
        assert!(all.contains(&format!("-p {binary} ")), "{binary} is not built");
        assert!(all.contains(&format!("target/release/{binary} ")), "{binary} is not copied");
    }
    let run = of_the_last_stage();
    let user = run.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id >= 1000)), "{user}");
    is_health_check(&health_check());
}

#[test]
fn what_is_built_is_not_built_from_secrets_or_from_what_was_built() {
    let ignored = text(".dockerignore");
    for folder in ["/target", "/.git", "/deploy/secrets"] {
        assert!(ignored.lines().any(|line| line == folder), "{folder}");
    }
}
