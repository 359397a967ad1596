//! The private Postgres, started from the machine's own binaries.

use std::time::Duration;

use service_kit::pg;
use service_kit::postgres::testing::{TestCluster, fresh_database};
use service_kit::postgres::{PrivatePostgres, Settings, giving_way};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection};

async fn one(url: &str) -> Result<i32, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("select 1").fetch_one(&mut connection).await
}

/// Tries until it answers; the harness's own time-out ends a test that waits in vain.
async fn answers(url: &str) {
    while one(url).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_cluster_is_made_once_and_keeps_its_rows_over_a_stop() {
    let folder = tempfile::Builder::new().prefix("backstitch-pg").tempdir_in("/tmp").unwrap();
    open_to_all(folder.path());
    let first = PrivatePostgres::start(&folder.path().join("pg"), Settings::testing()).await.unwrap();
    let url = first.database("shop").await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("create table kept (n int)").execute(&mut connection).await.unwrap();
    assert_eq!(one(&first.tcp_url("shop").unwrap()).await.unwrap(), 1, "over TCP with its password");
    let without = format!("postgres://backstitch@127.0.0.1:{}/shop", first.port());
    assert!(one(&without).await.is_err(), "over TCP without a password");
    first.stop().await;
    let second = PrivatePostgres::start(&folder.path().join("pg"), Settings::testing()).await.unwrap();
    let mut connection = PgConnection::connect(&second.database("shop").await.unwrap()).await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 0);
    drop(connection);
    second.stop().await;
}

#[tokio::test]
async fn a_killed_postmaster_is_started_again_at_the_same_address() {
    let cluster = TestCluster::start().await.unwrap();
    let url = cluster.fresh_database().await.unwrap();
    answers(&url).await;
    let pid = cluster.postgres().pid().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    while cluster.postgres().pid().is_none_or(|now| now == pid) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answers(&url).await;
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (one, two) = (fresh_database().await.unwrap(), fresh_database().await.unwrap());
    assert_ne!(one, two);
    answers(&one).await;
    answers(&two).await;
}

#[tokio::test]
async fn a_folder_that_postgres_cannot_reach_is_refused_by_name() {
    let folder = tempfile::Builder::new().prefix("backstitch-pg").tempdir_in("/tmp").unwrap(); // Mode 0700, ours.
    let result = PrivatePostgres::start(&folder.path().join("pg"), Settings::testing()).await;
    match result {
        // As root, Postgres runs as another user, which cannot enter the folder.
        Err(error) => assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}"),
        Ok(postgres) => postgres.stop().await,
    }
}

/// How nice a process is, from -20 to 19. Source: proc_pid_stat(5), field 19; the second one ends at the last bracket.
fn niceness(process: &str) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    let niceness = stat.rsplit_once(')').and_then(|(_, from_third)| from_third.split_whitespace().nth(16));
    niceness.and_then(|text| text.parse().ok()).expect("a number")
}

#[tokio::test]
async fn backends_that_give_way_are_nicer_than_the_server_and_all_others_are_not() {
    let cluster = TestCluster::start().await.unwrap();
    let url = cluster.fresh_database().await.unwrap();
    for (options, nicer) in [(PgPoolOptions::new(), 0), (giving_way(PgPoolOptions::new()), 15)] {
        let pool = options.connect(&url).await.unwrap();
        let which = async |sql: &mut PgConnection| sqlx::query_scalar("select pg_backend_pid()").fetch_one(sql).await;
        let backend: i32 = pg::ask(&pool, Duration::from_secs(10), which).await.unwrap();
        assert_eq!(niceness(&backend.to_string()), (niceness("self") + nicer).min(19));
    }
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("the folder is ours");
}
