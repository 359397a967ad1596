//! What people see of the command line: every help text as it was looked over, exit codes, where output goes.
//!
//! `BACKSTITCH_GOLDEN=write cargo test -p backstitch --features cluster --test cli` writes the golden files anew; look at the difference.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod bench;
mod canary;
mod examples;
mod log_place;
mod pipes;
mod ports;
mod secret_files;
mod telling;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::CommandFactory;

fn backstitch(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstitch"))
        .args(arguments)
        .env_remove("BACKSTITCH_URL")
        .env_remove("DATABASE_URL")
        .env("COLUMNS", "110")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program can be started")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares with a golden file, or writes it when told to.
fn compare(name: &str, found: &str) -> Option<String> {
    let path = golden(name);
    if std::env::var("BACKSTITCH_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::write(&path, found).expect("golden files can be written when asked for");
        return None;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    (expected != found).then(|| format!("{name} differs; it is now:\n{found}"))
}

/// Every command and its subcommands, as words after `backstitch`.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let mut words = words.to_vec();
            words.push(below.get_name().to_owned());
            walk(below, &words, found);
        }
    }
    let mut found = Vec::new();
    walk(&backstitch::cli::Cli::command(), &[], &mut found);
    found
}

#[test]
fn every_help_text_is_the_one_that_was_looked_over() {
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    let mut names = Vec::new();
    let differences: Vec<String> = commands
        .iter()
        .filter_map(|words| {
            let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            arguments.push("--help");
            let output = backstitch(&arguments);
            assert_eq!(output.status.code(), Some(0), "{words:?}");
            let name = std::iter::once("help").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
            let name = format!("{name}.txt");
            let text = String::from_utf8(output.stdout).expect("help is text");
            let difference = compare(&name, &text);
            names.push(name);
            difference
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let written = fs::read_dir(golden("")).expect("the folder is checked in");
    let stray: Vec<String> = written
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("help") && !names.contains(name))
        .collect();
    assert!(stray.is_empty(), "golden files of no command: {stray:?}");
}

#[test]
fn data_goes_to_stdout_and_what_goes_wrong_to_stderr() {
    let version = backstitch(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(version.stdout.starts_with(b"backstitch ") && version.stderr.is_empty());
    assert!(String::from_utf8_lossy(&version.stdout).contains(" ("), "it names the commit or a development build");
    // As JSON where JSON was asked for, and the address may stand before the verb.
    let unreachable = backstitch(&["--url", "http://127.0.0.1:9", "saga", "list", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&unreachable.stderr).expect("an error is JSON too");
    assert_eq!((unreachable.status.code(), &told["exit_code"]), (Some(2), &2.into()));
    assert!(told["error"].as_str().is_some_and(|what| what.contains("127.0.0.1:9")), "{told}");
    let wrong = backstitch(&["saga", "list", "--state", "asleep", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&wrong.stderr).expect("so is one about arguments");
    assert!(told["error"].as_str().is_some_and(|what| what.contains("asleep")), "{told}");
    let unreachable = backstitch(&["stream", "list", "--url", "http://127.0.0.1:9"]);
    let said = String::from_utf8(unreachable.stderr).expect("messages are text");
    assert_eq!((unreachable.status.code(), unreachable.stdout.len()), (Some(2), 0));
    assert!(said.starts_with("error: ") && said.contains("\n\nhint: "), "{said}");
}

#[test]
fn wrong_arguments_have_no_answer_and_a_hint() {
    for arguments in [&["stream", "read"][..], &["bench", "nothing"], &["demo", "--orders", "0"], &["sage"]] {
        let output = backstitch(arguments);
        let said = String::from_utf8(output.stderr).expect("messages are text");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(said.contains("hint: "), "{arguments:?}: {said}");
    }
}

#[test]
fn completions_are_offered_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = backstitch(&["completions", shell]);
        let script = String::from_utf8(output.stdout).expect("completions are text");
        assert_eq!(output.status.code(), Some(0));
        assert!(script.contains("projection") && script.contains("everything"), "{shell}");
        for name in ["sales_by_day", "needs_attention", "payment_reconciliation", "record_shipped"] {
            assert!(script.contains(name), "{shell} offers no `{name}`");
        }
    }
}

#[test]
fn health_is_told_by_the_exit_code_and_says_what_is_missing() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let health = service_kit::Health::new(service_kit::Clock::system());
    let store = health.register("event-store", service_kit::health::Need::Required);
    let router = axum::Router::from(service_kit::health::router(health));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    runtime.handle().block_on(async {
        service_kit::Tasks::new().spawn("health", async move { _ = axum::serve(listener, router).await });
    });
    store.up();
    let output = backstitch(&["health", "--url", &url]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    store.down("the disk is full");
    let output = backstitch(&["health", "--url", &url]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the disk is full") && said.contains("event-store"), "{said}");
    drop(runtime);
    assert_eq!(backstitch(&["health", "--url", &url]).status.code(), Some(2));
}

#[test]
fn a_settings_file_is_checked_and_shown_before_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("backstitch.toml");
    fs::write(&file, "[http]\nlisten = \"127.0.0.1:7410\"\n[gateway]\nlisten_on = \"x\"\n[gatewya]\nlisten = \"x\"\n")
        .unwrap();
    let path = file.to_str().expect("its name is text");
    let output = backstitch(&["config", "check", path]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 2, "each fault is one line, once: {said}");
    assert!(said.contains("`gateway.listen_on`") && said.contains("`gatewya`") && said.contains(path), "{said}");

    fs::write(&file, "[http]\nlisten = \"127.0.0.1:7410\"\n[provider]\nwebhook_secret = \"whsec_bm90IGZvciB5b3UsIG5vdCBmb3IgYW55Ym9keSBlbHNl\"\n")
        .unwrap();
    assert_eq!(backstitch(&["config", "check", path]).status.code(), Some(0));
    let output = backstitch(&["config", "show", "--config", path, "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let settings = shown["items"].as_array().expect("a list");
    let of = |key: &str| settings.iter().find(|setting| setting["key"] == key).expect("every key is shown");
    assert_eq!((&of("http.listen")["value"], &of("http.listen")["from"]), (&"127.0.0.1:7410".into(), &path.into()));
    assert_eq!(of("limits.body_bytes")["from"], "default");
    assert_eq!(of("provider.webhook_secret")["value"], "***");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("not_for_you"));
}
