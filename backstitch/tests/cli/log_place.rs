//! Which log the verbs of `store` look at: never silently another one than people mean.

use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use service_kit::health::{self, Need};
use service_kit::{Clock, Health, Tasks};
use tempfile::TempDir;

use super::canary::{Running, address_of};

/// The verb where the settings name a data folder, and nothing else is said.
fn with_settings(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstitch"))
        .args(arguments)
        .env_remove("BACKSTITCH_URL")
        .env_remove("DATABASE_URL")
        .env("BACKSTITCH__DATA__DIR", dir)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn answer(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_verb_asks_the_named_server_or_says_which_folder_it_reads() {
    let folder = TempDir::new().unwrap();
    let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    let dir = data.to_str().unwrap();
    let arguments = ["serve", "--data", dir, "--listen", "127.0.0.1:0", "--no-projections"];
    let mut server = Running::start("warn", &arguments);
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let url = format!("http://{}", address_of(&Running::until(&mut stdout, "Ctrl-C stops")));

    // The settings name another folder: the server that is named wins over them.
    let stats = with_settings(&elsewhere, &["store", "stats", "--url", &url, "--json"]);
    let numbers = answer(&stats);
    assert_eq!((&numbers["server"], &numbers["folder"]), (&json!(url), &json!(dir)), "{numbers}");
    assert!(told(&stats).contains(dir), "{}", told(&stats));
    let check = with_settings(&elsewhere, &["store", "check", "--url", &url, "--json"]);
    assert!(answer(&check)["path"].as_str().unwrap().starts_with(dir), "{check:?}");
    assert!(told(&check).contains(&format!("looking into {dir}, on which the server at {url} runs")), "{check:?}");

    let stats = with_settings(&data, &["store", "stats", "--json"]);
    assert!(told(&stats).contains(&format!("{dir} (neither --data nor --url was given); a server is running on it")));
    assert_eq!(answer(&stats)["folder"], dir);
    let named = with_settings(&elsewhere, &["store", "stats", "--url", &url, "--data", dir, "--json"]);
    assert_eq!((&answer(&named)["server"], &answer(&named)["folder"]), (&Value::Null, &json!(dir)));
    let missing = with_settings(&elsewhere, &["store", "check"]);
    let place = format!("{} (neither --data nor --url was given); no server is running on it", elsewhere.display());
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    assert!(told(&missing).contains(&place), "{}", told(&missing));

    let export = folder.path().join("shop.jsonl");
    another_log(&data, &["store", "export", "--to", export.to_str().unwrap()]);
    assert!(!export.exists(), "nothing was read");
    server.terminate(stdout);
    another_log(&data, &["store", "backup", folder.path().join("backup").to_str().unwrap()]);
}

/// A server names the folder, but it is not the server of this folder: that of another machine has the same path.
#[track_caller]
fn another_log(data: &Path, verb: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let health = Health::new(Clock::system());
    let log = health.register("event-log", Need::Required);
    log.up_with(data.join("events.db").display());
    let numbers =
        json!({ "events": 999, "streams": 1, "bytes": 1, "position": 999, "last_recorded_at": null, "categories": {} });
    let stats = get(async move || axum::Json(numbers.clone()));
    let router = Router::from(health::router(health)).route("/v1/store/stats", stats);
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.handle().block_on(async {
        Tasks::new().spawn("another", async move { _ = axum::serve(listener, router).await });
    });
    let output = with_settings(data, &[verb, &["--url", &url]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(told(&output).contains("run this where the server runs"), "{}", told(&output));
}
