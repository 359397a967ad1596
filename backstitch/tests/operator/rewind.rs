//! After a log was restored from an older backup: what was made from it is shown, and dropped only when that is accepted.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::derive;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, Relay, status};
use event_store::serve::{ServeOptions, Server};
use event_store::{Append, EventStore, Expected, Metadata, NewEvent, Position, SqliteOptions, SqliteStore};
use projection_service::{generations, projections};
use service_kit::postgres::testing::fresh_database;
use service_kit::{Clock, Tasks};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// A guard against a test that hangs; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log with so many events.
async fn log(folder: &std::path::Path, events: u64) -> Arc<SqliteStore> {
    let log = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
    for number in 0..events {
        let metadata = Metadata {
            partition_key: "x".to_owned(),
            correlation_id: uuid::Uuid::nil(),
            causation_id: uuid::Uuid::nil(),
            command_id: uuid::Uuid::nil(),
            command_hash: None,
            traceparent: None,
            actor: "dev".to_owned(),
            occurred_at: Clock::system().now(),
        };
        let event = NewEvent {
            id: derive(&["rewind", &number.to_string()]),
            event_type: "ProductActivated".into(),
            schema_version: 1,
            data: serde_json::value::to_raw_value(&serde_json::json!({})).unwrap(),
            metadata: Arc::new(metadata),
        };
        let stream = "product-X".parse().unwrap();
        let append = Append { stream, expected: Expected::at(number.checked_sub(1)), events: vec![event] };
        log.append(append).await.unwrap().durable().await.unwrap();
    }
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_ahead_of_a_restored_log_is_dropped_only_once_the_restore_is_accepted() {
    let (dir, tasks, kafka) = (tempfile::tempdir().unwrap(), Tasks::new(), Kafka::shared().await.unwrap());
    let topic = kafka.topic("restored", 1).await.unwrap();
    let bus = BusConfig { brokers: Some(kafka.brokers().to_owned()), topic, partitions: 1, ..BusConfig::default() };
    // The topic and the read models are filled from a log of three events.
    let (relay, stop) = (Relay::new(bus.clone(), log(&dir.path().join("before"), 3).await), CancellationToken::new());
    let mut relayed = relay.status();
    let filled = async {
        tokio::select! {
            _ = relay.run(stop.clone()) => {}
            _ = relayed.wait_for(|status| status.position == Position(3)) => {}
        }
    };
    tokio::time::timeout(PATIENCE, filled).await.expect("the topic is filled");
    let url = fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    generations::prepare(&pool, &projections::read_models(), 1).await.unwrap();
    sqlx::query("update backstitch.projection_checkpoints set position = 3").execute(&pool).await.unwrap();
    // What is served is a log of one.
    let restored = log(&dir.path().join("restored"), 1).await;
    let options = ServeOptions::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let server = Server::bind(restored, options).await.unwrap();
    let (store, stop) = (server.connection_string(), tasks.stopping());
    tasks.spawn("log", async move { server.run(stop.cancelled_owned()).await.unwrap() });
    let rewind = async |more: &'static [&'static str]| -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
        command.args(["cluster", "rewind"]).args(more).current_dir(dir.path()).env("DATABASE_URL", &url);
        command.env("BACKSTITCH__EVENT_STORE__URL", &store).env("BACKSTITCH__BUS__TOPIC", &bus.topic);
        command.env("BACKSTITCH__BUS__BROKERS", kafka.brokers()).env("BACKSTITCH__BUS__PARTITIONS", "1");
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.stdin(std::process::Stdio::null()).output())
                .await
                .unwrap()
                .unwrap();
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    };
    let (code, said) = rewind(&[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ends at position 1") && said.contains("holds position 3"), "{said}");
    assert!(said.contains("have seen position 3") && said.contains("--accept-restore"), "{said}");
    assert_eq!(rewind(&["--accept-restore"]).await.0, Some(2), "nobody can be asked");
    assert!(status::status(&bus).await.is_ok(), "nothing was dropped so far");
    let (code, said) = rewind(&["--accept-restore", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("restart the command services"), "{said}");
    let schemas = "select count(*) from pg_namespace where nspname in ('backstitch', 'live', 'read_1')";
    assert_eq!(sqlx::query_scalar::<_, i64>(schemas).fetch_one(&pool).await.unwrap(), 0);
    let (code, said) = rewind(&[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing is ahead of the log"), "{said}");
    tasks.shut_down(PATIENCE).await;
}
