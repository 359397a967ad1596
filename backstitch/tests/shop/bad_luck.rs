//! What the machine does to us: Postgres gone, folders and ports that cannot be used, a log that is not whole.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::world::{PROGRAM, Shopper, World, id, order_body};

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_sagas_go_on_without_postgres_and_queries_come_back_with_it() {
    let shop = World::start_with(&[]).await;
    shop.product("MUG", 10).await;
    let first = shop.placed_and_settled("before", &[("MUG", 1)], "tok_approve").await;
    let cluster = cluster(&shop.processes.data());
    // Without its settings it cannot be started again: it is gone for as long as this test says.
    let (settings, hidden) = (cluster.join("postgresql.conf"), cluster.join("hidden"));
    fs::rename(&settings, &hidden).unwrap();
    kill(&cluster);

    let body = order_body(&[("MUG", 1)], "tok_approve");
    let placed = shop.client.post("/v1/orders", "meanwhile", &body).await.unwrap().good().unwrap();
    let confirmed = shop.until_in_log(placed.text("id"), "OrderConfirmed").await;
    assert!(confirmed, "the saga needs no Postgres");
    let url = format!("{}/v1/orders/{}", shop.processes.server.url, first.text("id"));
    let refused = shop.until_refused(&url).await;
    assert_eq!((refused.status, refused.problem()), (503, Some("unavailable")), "{}", refused.body);
    assert!(refused.header("retry-after").is_some());

    // Now it is started again by itself, and the read models catch up: nothing to do here but to ask.
    fs::rename(&hidden, &settings).unwrap();
    let position = placed.position();
    let order = shop.settled(placed.text("id"), position).await;
    assert_eq!(order.text("status"), "confirmed");
    let books = shop.books().await;
    assert_eq!(books.orders[&id(&order)].events.last().map(String::as_str), Some("OrderConfirmed"));
    shop.cancel(order.text("id")).await;
    shop.cancel(first.text("id")).await;
    shop.adds_up().await;
}

/// The folder of the private Postgres in a data folder: where its pid file is.
fn cluster(data: &Path) -> PathBuf {
    fn find(folder: &Path) -> Option<PathBuf> {
        fs::read_dir(folder).ok()?.filter_map(Result::ok).find_map(|entry| {
            if entry.file_name() == "postmaster.pid" {
                return Some(folder.to_owned());
            }
            entry.path().is_dir().then(|| find(&entry.path())).flatten()
        })
    }
    find(data).expect("a private Postgres runs in the data folder")
}

/// Kills the postmaster of a cluster, the number in the first line of its pid file.
fn kill(cluster: &Path) {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    let postmaster: i32 =
        text.lines().next().and_then(|line| line.parse().ok()).expect("a pid file begins with a number");
    // SAFETY: kill takes numbers only; the process is one that this test's server started.
    assert_eq!(unsafe { libc::kill(postmaster, libc::SIGKILL) }, 0);
}

/// A server that must not start: what it says and how it ends. It is given `settings` besides the folder.
fn does_not_start(data: &Path, listen: &str) -> Output {
    let output = Command::new(PROGRAM)
        .args(["serve", "--no-projections", "--provider", "instant", "--listen", listen, "--data"])
        .arg(data)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let failure: Vec<&str> =
        said.lines().filter(|line| line.starts_with("error: ") || line.starts_with("hint: ")).collect();
    assert_eq!((output.status.code(), failure.len()), (Some(2), 2), "one line, and what to type: {said}");
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_taken_port_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = does_not_start(&folder.path().join("data"), &address);
    assert!(said(&output).contains(&format!("cannot listen on {address}")), "{}", said(&output));
}

#[test]
fn a_folder_that_cannot_be_written_is_told_in_one_line() {
    // A file where the folder should be: refused to root too, whom permissions do not stop.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("file").join("data");
    fs::write(folder.path().join("file"), "").unwrap();
    let output = does_not_start(&data, "127.0.0.1:0");
    assert!(said(&output).contains(&data.display().to_string()), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let shop = World::start().await;
    shop.product("MUG", 1).await;
    let data = shop.processes.data();
    let output = tokio::task::spawn_blocking(move || does_not_start(&data, "127.0.0.1:0")).await.unwrap();
    assert!(said(&output).contains("in use by another Backstitch process"), "{}", said(&output));
    shop.ask("/v1/stock/MUG/main/receive", &json!({"quantity": 2})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_or_foreign_log_is_refused_by_name_and_not_touched() {
    let mut shop = World::start().await;
    for n in 0..20 {
        shop.product(&format!("MUG-{n}"), 1).await;
    }
    shop.processes.server.stop().await.unwrap();
    let data = shop.processes.data();
    let mut files = fs::read_dir(&data).unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let log = files.find(|path| path.extension().is_some_and(|end| end == "db")).expect("the log's file");
    let whole = fs::read(&log).unwrap();
    for (what, bytes) in [
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("foreign", b"SQLite format 3\0but not ours".to_vec()),
        ("another program's", vec![7_u8; 8192]),
    ] {
        fs::write(&log, &bytes).unwrap();
        let (folder, name) = (data.clone(), log.display().to_string());
        let output = tokio::task::spawn_blocking(move || does_not_start(&folder, "127.0.0.1:0")).await.unwrap();
        assert!(said(&output).contains(&name), "{what}: the file is named: {}", said(&output));
        assert_eq!(fs::read(&log).unwrap(), bytes, "{what}: not touched");
    }
    fs::write(&log, &whole).unwrap();
    shop.processes.restart().await.unwrap();
    assert_eq!(shop.books().await.count("product", "ProductCreated"), 20, "the whole one is served again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stops_cleanly_within_5_seconds_and_goes_on_where_it_was() {
    let mut shop = World::start_with(&[]).await;
    shop.product("MUG", 10).await;
    let order = shop.placed_and_settled("kept", &[("MUG", 1)], "tok_approve").await;
    let took = shop.processes.server.stop().await.unwrap();
    assert!(took.as_secs() < 5, "a promise of the README: {took:?}");
    shop.processes.restart().await.unwrap();
    let done = shop.deliver(&shop.ready(&order).await).await;
    assert_eq!(done.text("status"), "completed");
    shop.adds_up().await;
}
