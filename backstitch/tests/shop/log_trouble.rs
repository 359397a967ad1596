//! What a server says when its log cannot be written, is damaged, or is not where it was: over HTTP, and at a start.

use std::fs;
use std::path::Path;
use std::process::Command;

use all_in_one::{Config, System};
use event_store::sqlite::Faults;
use event_store::{EventStore, SqliteOptions};
use serde_json::json;
use service_kit::Clock;
use trials::demo::client::{Answer, once};

use crate::world::{PATIENCE, PROGRAM};

/// A server in this process, for commands only, whose log fails on order.
struct Server {
    system: System,
    faults: Faults,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (system, faults) = Self::open(&folder.path().join("data")).await;
        Self { system, faults, http: reqwest::Client::new(), _folder: folder }
    }

    async fn open(data: &Path) -> (System, Faults) {
        let faults = Faults::default();
        let mut config = Config::default();
        config.data.dir = data.to_owned();
        config.http.listen.set_port(0);
        (config.run.projections, config.run.sagas) = (false, false);
        let log = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
        (System::start_with(config, Clock::system(), log).await.unwrap(), faults)
    }

    async fn get(&self, path: &str) -> Answer {
        once(self.http.get(format!("{}{path}", self.system.url()))).await.unwrap()
    }

    async fn product(&self, sku: &str) -> Answer {
        let body = json!({"sku": sku, "name": "A mug", "price": {"amount": 1299, "currency": "EUR"}});
        let request = self.http.post(format!("{}/v1/products", self.system.url()));
        once(request.header("Idempotency-Key", sku).json(&body)).await.unwrap()
    }

    /// Asks until readiness is as wanted, and gives that answer.
    async fn until_ready(&self, ready: bool) -> Answer {
        let asking = async {
            loop {
                let answer = self.get("/health/ready").await;
                if (answer.status == 200) == ready {
                    return answer;
                }
            }
        };
        let answered = tokio::time::timeout(PATIENCE, asking).await;
        answered.unwrap_or_else(|_| panic!("readiness never became {ready}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_not_ready_and_passes_by_itself() {
    let server = Server::start().await;
    assert_eq!(server.product("MUG-0").await.status, 201);
    server.until_ready(true).await;
    server.faults.fail_commits(u32::MAX);
    let refused = server.product("MUG-1").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    let not_ready = server.until_ready(false).await;
    assert!(not_ready.body.to_string().contains("cannot be written"), "{}", not_ready.body);
    assert!(not_ready.header("retry-after").is_some());
    server.faults.fail_commits(0);
    server.until_ready(true).await; // Nobody sends a command meanwhile.
    assert_eq!(server.product("MUG-1").await.status, 201);
    server.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_of_the_log_that_hangs_for_long_is_not_alive_and_is_named() {
    let server = Server::start().await;
    server.faults.stall_commits();
    let (hangs, live) = tokio::join!(server.product("MUG-0"), async {
        let asking = async {
            loop {
                let live = server.get("/health/live").await;
                if live.status != 204 {
                    return live;
                }
            }
        };
        let live = tokio::time::timeout(PATIENCE * 2, asking).await.expect("it is noticed");
        server.faults.resume_commits();
        live
    });
    assert_eq!(live.status, 503, "{}", live.body);
    assert!(live.body.to_string().contains("log-write"), "{}", live.body);
    assert!(matches!(hangs.status, 201 | 503), "{}", hangs.body);
    let again = async { while server.get("/health/live").await.status != 204 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("it lives again");
    server.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_refuses_clients_with_a_time_and_is_not_ready() {
    let server = Server::start().await;
    server.faults.little_room(true);
    let not_ready = server.until_ready(false).await;
    assert!(not_ready.body.to_string().contains("free space"), "{}", not_ready.body);
    let refused = server.product("MUG-0").await;
    assert_eq!((refused.status, refused.problem()), (503, Some("unavailable")), "{}", refused.body);
    assert_eq!(refused.header("retry-after"), Some("30"));
    server.faults.little_room(false);
    server.until_ready(true).await;
    assert_eq!(server.product("MUG-0").await.status, 201);
    server.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_moved_away_under_the_server_is_not_ready_and_takes_nothing() {
    let server = Server::start().await;
    assert_eq!(server.product("MUG-0").await.status, 201);
    let log = server.system.store.path().to_owned();
    let away = log.with_extension("away");
    fs::rename(&log, &away).unwrap();
    let not_ready = server.until_ready(false).await;
    assert!(not_ready.body.to_string().contains("moved away"), "{}", not_ready.body);
    assert_eq!(server.product("MUG-1").await.status, 503);
    fs::rename(&away, &log).unwrap();
    server.until_ready(true).await;
    assert_eq!(server.product("MUG-1").await.status, 201);
    server.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_is_not_temporary_and_stops_commands() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (system, faults) = Server::open(&data).await;
    let server = Server { system, faults, http: reqwest::Client::new(), _folder: folder };
    for number in 0..300 {
        assert_eq!(server.product(&format!("MUG-{number}")).await.status, 201);
    }
    let Server { system, http, _folder, .. } = server;
    system.stop().await;
    // A letter of a product's name changes on the disk, in an event that no start looks at.
    let path = data.join("events.db");
    let mut bytes = fs::read(&path).unwrap();
    let payload = b"\"sku\":\"MUG-7\"";
    // Wherever it stands: a page that was split leaves a copy behind that nobody reads.
    let places: Vec<usize> = (0..bytes.len() - payload.len()).filter(|at| bytes[*at..].starts_with(payload)).collect();
    assert!(!places.is_empty(), "the payload stands as it was written");
    places.iter().for_each(|at| bytes[at + 7] ^= 0x02);
    fs::write(&path, bytes).unwrap();
    let (system, faults) = Server::open(&data).await;
    let server = Server { system, faults, http, _folder };
    let not_ready = server.until_ready(false).await;
    assert_eq!((not_ready.status, not_ready.problem()), (503, Some("log-damaged")), "{}", not_ready.body);
    assert!(not_ready.header("retry-after").is_none(), "it does not pass by itself");
    let health = server.get("/health").await;
    assert_eq!(health.body["dependencies"]["event-log"]["status"], "damaged");
    for answer in [server.product("MUG-X").await, server.get("/v1/streams/product-MUG-7").await] {
        assert_eq!((answer.status, answer.problem()), (503, Some("log-damaged")), "{}", answer.body);
        assert!(
            answer.header("retry-after").is_none() && answer.body.to_string().contains("at position"),
            "{}",
            answer.body
        );
    }
    server.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_beside_the_rest_of_a_log_that_was_moved_away_begins_no_empty_shop() {
    let server = Server::start().await;
    for number in 0..5 {
        assert_eq!(server.product(&format!("MUG-{number}")).await.status, 201);
    }
    // What a killed server leaves, as far as the log goes: but `events.db` is elsewhere.
    let folder = tempfile::tempdir().unwrap();
    let wal = folder.path().join("events.db-wal");
    fs::copy(server.system.store.path().with_extension("db-wal"), &wal).unwrap();
    let before = fs::read(&wal).unwrap();
    assert!(*server.system.store.head().borrow() > event_store::Position::START && !before.is_empty());
    let output = Command::new(PROGRAM)
        .args(["serve", "--no-projections", "--no-sagas", "--provider", "instant", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("events.db` is missing") && said.contains("--new-log"), "{said}");
    assert_eq!(fs::read(&wal).unwrap(), before);
    server.system.stop().await;
}
