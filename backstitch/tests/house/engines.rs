//! The engines are for any domain: they name no word of the shop, and who embeds them builds no more than they need.

use std::process::Command;

use crate::{none, root, rust_files, text};

/// Words that no engine may know.
const SHOP_WORDS: &[&str] = &["order", "payment", "stock", "shipment", "sku", "product", "customer"];
/// Phrases in which such a word means something else.
const SHOP_WORDS_IN_PASSING: &[&str] =
    &["in order", "in the order", "in this order", "order of", "order by", "position order", "commit order"];

#[test]
fn the_engines_name_no_word_of_the_shop() {
    let words = |source: &str| -> Vec<String> {
        let snake = source.replace(|c: char| !c.is_ascii_alphanumeric(), " ");
        let mut separated = String::new();
        for c in snake.chars() {
            if c.is_ascii_uppercase() {
                separated.push(' ');
            }
            separated.push(c.to_ascii_lowercase());
        }
        separated.split_whitespace().map(str::to_owned).collect()
    };
    let of_the_shop = |word: &String| SHOP_WORDS.iter().any(|shop| word == shop || *word == format!("{shop}s"));
    let engines: Vec<String> = rust_files().into_iter().filter(|path| path.starts_with("engine/")).collect();
    assert!(engines.len() > 10, "the walk found the engines");
    none(
        "words of the shop in an engine",
        engines.iter().flat_map(|path| {
            let source = text(path);
            let lines = source.lines().enumerate().filter(|(_, line)| {
                let rest =
                    SHOP_WORDS_IN_PASSING.iter().fold(line.to_lowercase(), |rest, phrase| rest.replace(phrase, ""));
                words(line).iter().any(of_the_shop) && words(&rest).iter().any(of_the_shop)
            });
            lines.map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())).collect::<Vec<_>>()
        }),
    );
}

/// The crates that an engine builds for a program that embeds it, which says so with these arguments for its features.
fn built_with(engine: &str, features: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", engine, "--edges", "normal", "--prefix", "none"])
        .args(features)
        .current_dir(root())
        .output()
        .expect("cargo runs this test, so it can be run");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("rusqlite") && tree.contains("event-store"), "{}", String::from_utf8_lossy(&output.stderr));
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn who_embeds_the_log_builds_neither_grpc_nor_tls() {
    let heavy = ["tonic", "prost", "rustls", "axum", "hyper", "sqlx", "rdkafka"];
    let built = built_with("command-engine", &[]).into_iter();
    none("heavy crates under the command engine", built.filter(|name| heavy.contains(&name.as_str())));
}

#[test]
fn who_embeds_the_projections_builds_neither_grpc_nor_http_nor_kafka() {
    let heavy = ["tonic", "prost", "axum", "hyper", "utoipa", "rdkafka", "service-kit", "domain"];
    let built = built_with("projection-engine", &[]).into_iter();
    none("heavy crates under the projection engine", built.filter(|name| heavy.contains(&name.as_str())));
}

#[test]
fn who_embeds_read_models_in_a_file_builds_nothing_of_postgres_either() {
    let heavy = [
        "sqlx",
        "sqlx-core",
        "sqlx-postgres",
        "tonic",
        "prost",
        "axum",
        "hyper",
        "utoipa",
        "rdkafka",
        "rustls",
        "service-kit",
        "domain",
    ];
    let built = built_with("projection-engine", &["--no-default-features", "--features", "sqlite"]);
    none(
        "heavy crates under the embedded read models",
        built.into_iter().filter(|name| heavy.contains(&name.as_str())),
    );
}

#[test]
fn who_embeds_the_sagas_builds_neither_grpc_nor_http_nor_kafka() {
    let heavy = ["tonic", "prost", "axum", "hyper", "utoipa", "rdkafka", "rustls", "sqlx", "service-kit", "domain"];
    let built = built_with("saga-runner", &["--features", "in-process"]).into_iter();
    none("heavy crates under the saga runner", built.filter(|name| heavy.contains(&name.as_str())));
}

#[test]
fn the_example_of_another_domain_stays_small_and_stands_on_the_engines_alone() {
    let heavy = ["tonic", "prost", "axum", "hyper", "utoipa", "rdkafka", "service-kit", "domain"];
    let built = built_with("tickets", &[]).into_iter();
    none("crates of the shop under the example", built.filter(|name| heavy.contains(&name.as_str())));
    let sources = rust_files().into_iter().filter(|path| path.starts_with("examples/tickets/src/"));
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines: usize = sources.map(|path| text(&path).lines().filter(is_code).count()).sum();
    assert!((300..=700).contains(&lines), "the example has {lines} lines of code");
}
