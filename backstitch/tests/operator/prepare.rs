//! The tables of a release, made before any service runs.

use std::process::Command;

use service_kit::postgres::testing::fresh_database;

fn prepare(url: &str) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_backstitch"))
        .args(["projection", "prepare", "--json"])
        .env("DATABASE_URL", url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(told["items"].clone()).unwrap()
}

#[tokio::test]
async fn tables_are_made_once_however_often_they_are_prepared_and_a_password_is_not_told() {
    let url = fresh_database().await.unwrap();
    let first = prepare(&url);
    assert_eq!(first.len(), projection_service::projections::ALL.len(), "{first:?}");
    assert!(first.iter().all(|it| it["stage"] == "live" && it["generation"] == 1), "{first:?}");
    assert_eq!(prepare(&url), first);

    let output = Command::new(env!("CARGO_BIN_EXE_backstitch"))
        .args(["projection", "prepare"])
        .env("DATABASE_URL", "postgres://shop:not_for_you@127.0.0.1:1/shop")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("127.0.0.1:1/shop") && !said.contains("not_for_you"), "{said}");
}
