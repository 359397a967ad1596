//! The examples in the help of the verbs that read, typed as they are printed, against a shop that runs.

use std::process::Stdio;

use backstitch::cli::Cli;
use clap::CommandFactory as _;

use crate::world::{PROGRAM, Shopper as _, World};

/// Nouns whose reading verbs ask the running server, and verbs of theirs that change something or do not end.
const NOUNS: &[&str] =
    &["saga", "order", "lineage", "stream", "events", "projection", "dead-letter", "health", "config", "store"];
const LEFT_OUT: &[&str] = &[
    "tail",
    "retry",
    "resume",
    "skip",
    "compensate",
    "hand-over",
    "rebuild",
    "rollback",
    "retire",
    "prepare",
    "discard",
    "backup",
    "export",
    "import",
    "serve",
];

/// The examples of a command and of those below it, without comments.
fn examples(command: &clap::Command, found: &mut Vec<String>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let typed = help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("backstitch "));
    found.extend(typed.map(|line| line.split("  #").next().unwrap_or(line).trim_end().to_owned()));
    command.get_subcommands().for_each(|below| examples(below, found));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_reading_verbs_are_answered_by_a_running_shop() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    shop.placed_and_settled("example", &[("MUG", 1)], "tok_approve").await;
    let cli = Cli::command();
    let mut all = Vec::new();
    NOUNS.iter().filter_map(|noun| cli.find_subcommand(noun)).for_each(|noun| examples(noun, &mut all));
    let reads = |line: &&String| {
        let words: Vec<&str> = line.split(' ').collect();
        let elsewhere = ["--url", "--data", "&&", "/etc/"].iter().any(|other| line.contains(other));
        !elsewhere && !words.iter().any(|word| LEFT_OUT.contains(word))
    };
    let lines: Vec<&String> = all.iter().filter(reads).collect();
    assert!(lines.len() > 25, "examples were found: {lines:?}");
    let data = shop.processes.data();
    let mut wrong = Vec::new();
    for line in lines {
        // Only the program itself: what its output is piped into may not be there.
        let line = line.split(" | ").next().unwrap_or(line).replacen("backstitch", PROGRAM, 1);
        let mut shell = tokio::process::Command::new("bash");
        shell.args(["-c", &line]).env("BACKSTITCH_URL", &shop.processes.server.url).env("BACKSTITCH__DATA__DIR", &data);
        let output = shell.env("NO_COLOR", "1").stdin(Stdio::null()).output().await.unwrap();
        // 0: here it is. 1: there is no such order here. Anything else is no answer.
        if !matches!(output.status.code(), Some(0 | 1)) {
            wrong.push(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
